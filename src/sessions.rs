//! Who is here: the connections, the sessions and their names, behind the one
//! lock that the threads share.
//!
//! It knows outboxes and no sockets, names and no commands.
//!
//! # The lock rule
//!
//! While the lock is held there is no I/O, no logging, nothing that can block but the
//! short locks of an outbox and a connection's end of it, no second `read()` (a thread
//! that waits for `write()` in between would deadlock both), and nothing that can panic
//! half-way through an update. So every method here takes it once, briefly, and gives
//! back copies: the `Arc`s of the outboxes that a broadcast goes to, not a look at the
//! map while it goes.
//!
//! The invariant, whenever the lock is free: *`names` and `members` name each other,
//! one to one, and a member is either some connection's or in `lingering`.* A name
//! is claimed, changed and given up in one write section each, so it belongs to one
//! session at any instant; and a connection ends or detaches a session only if it
//! is still its own, by the connection's number, which is never given again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::RwLock;

use crate::outbox::{Attachment, Evicted, Outbox};
use crate::protocol::reply::{Notice, Reply, Response};
use crate::protocol::token::Token;
use crate::protocol::username::{NameKey, Username};

/// All connections and sessions of a server.
pub struct Sessions {
    state: RwLock<State>,
    /// How many clients there may be: connections, and sessions that linger.
    capacity: usize,
    /// Tells the sweeper that a session lingers. One telling is as good as many.
    lingers: (Sender<()>, Receiver<()>),
}

#[derive(Default)]
struct State {
    /// Set by the shutdown, under the same lock as everything else, so that no
    /// connection can slip in behind it.
    closing: bool,
    /// The number of the last connection.
    last_number: u64,
    /// Each connection's end of its outbox, with a session or without.
    connections: HashMap<u64, Arc<Attachment>>,
    members: HashMap<Token, Member>,
    names: HashMap<NameKey, Token>,
    /// The sessions without a connection, in the order in which they lost it, which
    /// the number of that connection's breaking tells apart.
    lingering: BTreeMap<u64, (Instant, Token)>,
    last_break: u64,
}

/// A session, with what only this module has to know.
struct Member {
    session: Session,
    holder: Holder,
    /// Its token has stood in a header, so that its client is known to know it.
    token_was_used: AtomicBool,
}

/// To whom a session belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The connection of this number.
    Connection(u64),
    /// None; it lingers, under this key.
    Lingering(u64),
}

/// A session as it stood when it was looked up.
#[derive(Clone)]
pub struct Session {
    /// Who knows it is this session.
    pub token: Token,
    /// Its name at that moment.
    pub name: Username,
    /// Where its deliveries go, whichever connection is attached to it.
    pub outbox: Arc<Outbox>,
}

/// What came of wanting a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// The session has the name now.
    Done,
    /// It had it already, spelled so.
    Unchanged,
    /// Another session has it.
    Taken,
    /// The session has ended.
    Gone,
}

/// What came of a session whose connection broke.
pub enum Broken {
    /// It waits to be resumed.
    Lingers(Session),
    /// It has ended.
    Ended(Session),
    /// The connection had none, or none any more.
    NoSession,
}

impl Sessions {
    /// Room for `capacity` clients.
    pub fn new(capacity: usize) -> Arc<Sessions> {
        Arc::new(Sessions {
            state: RwLock::default(),
            capacity,
            lingers: bounded(1),
        })
    }

    /// Lets a connection in, or says with which notice it is to be refused.
    ///
    /// It may come to resume a session that lingers, so none gives way to it before it
    /// [claims](Admission::claim) a name.
    pub fn admit(self: &Arc<Self>, outbox: Arc<Outbox>) -> Result<Admission, Notice> {
        let mut state = self.state.write();
        if state.closing {
            return Err(Notice::ShuttingDown);
        }
        if state.connections.len() >= self.capacity {
            return Err(Notice::ServerIsFull);
        }
        state.last_number += 1;
        let number = state.last_number;
        let attachment = Arc::new(Attachment::new(number, outbox));
        state.connections.insert(number, Arc::clone(&attachment));
        Ok(Admission {
            sessions: Arc::clone(self),
            number,
            attachment,
            session: None,
        })
    }

    /// The session of this token, if it lives.
    pub fn by_token(&self, token: Token) -> Option<Session> {
        Some(self.state.read().members.get(&token)?.session.clone())
    }

    /// The same for a token that a client has sent, and so is known to know.
    pub fn by_token_of_client(&self, token: Token) -> Option<Session> {
        let state = self.state.read();
        let member = state.members.get(&token)?;
        member.token_was_used.store(true, Ordering::Relaxed);
        Some(member.session.clone())
    }

    /// The session that has this name, whatever the case.
    pub fn by_name(&self, name: &Username) -> Option<Session> {
        let key = name.key();
        let state = self.state.read();
        Some(state.members.get(state.names.get(&key)?)?.session.clone())
    }

    /// The outboxes of all sessions but that of `token`.
    pub fn all_but(&self, token: Token) -> Vec<Arc<Outbox>> {
        let state = self.state.read();
        let sessions = state.members.values().map(|member| &member.session);
        let others = sessions.filter(|session| session.token != token);
        others.map(|session| Arc::clone(&session.outbox)).collect()
    }

    /// The names of all sessions, in no order.
    pub fn names(&self) -> Vec<Username> {
        let state = self.state.read();
        state
            .members
            .values()
            .map(|member| member.session.name.clone())
            .collect()
    }

    /// Gives the session of `token` another name, and its old one up.
    pub fn rename(&self, token: Token, name: &Username) -> Rename {
        let mut state = self.state.write();
        let rename = state.try_name(token, name);
        if rename == Rename::Done {
            state.set_name(token, name);
        }
        rename
    }

    /// Ends the session of `token`, which is another connection's or nobody's. Both
    /// under one lock, or that connection could still be answered `Set a name first`
    /// in between. False if it had ended before.
    pub fn end_and_finish(&self, token: Token) -> bool {
        self.state.write().end_and_finish(token).is_some()
    }

    /// Ends the sessions that have lingered for `time`, and says when the next will
    /// have.
    pub fn end_lingered_out(
        &self,
        now: Instant,
        time: Duration,
    ) -> (Vec<Session>, Option<Instant>) {
        let mut state = self.state.write();
        let mut ended = Vec::new();
        while let Some((_, &(since, token))) = state.lingering.first_key_value() {
            if now < since + time {
                return (ended, Some(since + time));
            }
            ended.extend(state.end_and_finish(token));
        }
        (ended, None)
    }

    /// Where the sweeper is told that a session lingers.
    pub fn lingers(&self) -> &Receiver<()> {
        &self.lingers.1
    }

    /// Lets no connection in any more, and none resume a session; gives those that are
    /// there, for a last word. Their sessions end with them.
    pub fn close(&self) -> Vec<Arc<Attachment>> {
        let mut state = self.state.write();
        state.closing = true;
        state.connections.values().cloned().collect()
    }
}

impl State {
    /// What would come of giving this session this name.
    fn try_name(&self, token: Token, name: &Username) -> Rename {
        match (self.members.get(&token), self.names.get(&name.key())) {
            (None, _) => Rename::Gone,
            (Some(member), _) if member.session.name == *name => Rename::Unchanged,
            (Some(_), Some(&owner)) if owner != token => Rename::Taken,
            (Some(_), _) => Rename::Done,
        }
    }

    fn set_name(&mut self, token: Token, name: &Username) {
        if let Some(Member { session, .. }) = self.members.get_mut(&token) {
            self.names.remove(&session.name.key());
            self.names.insert(name.key(), token);
            session.name = name.clone();
        }
    }

    /// Ends a session: its name is free at once. Its outbox is left open, for a last
    /// word.
    fn end(&mut self, token: Token) -> Option<Session> {
        let Member {
            session, holder, ..
        } = self.members.remove(&token)?;
        self.names.remove(&session.name.key());
        if let Holder::Lingering(key) = holder {
            self.lingering.remove(&key);
        }
        Some(session)
    }

    fn end_and_finish(&mut self, token: Token) -> Option<Session> {
        self.end(token).inspect(|session| session.outbox.finish())
    }

    /// Gives a session to a connection.
    fn hand_over(&mut self, token: Token, connection: u64) {
        if let Some(member) = self.members.get_mut(&token) {
            if let Holder::Lingering(key) = member.holder {
                self.lingering.remove(&key);
            }
            member.holder = Holder::Connection(connection);
        }
    }

    fn is_held_by(&self, token: Token, connection: u64) -> bool {
        let member = self.members.get(&token);
        member.is_some_and(|member| member.holder == Holder::Connection(connection))
    }
}

/// A connection's place among the others, and its session once it has one.
///
/// Dropping it gives both up, so that a reader leaves its session however it
/// ends, by a panic too, and no ghost keeps the name.
pub struct Admission {
    sessions: Arc<Sessions>,
    number: u64,
    attachment: Arc<Attachment>,
    session: Option<Token>,
}

/// Another session has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

/// A session that a connection has resumed, in the session map; the rest is to be
/// done without its lock.
pub struct Resumed {
    /// The session, under the name it has now.
    pub session: Session,
    /// Whether it had another before.
    pub renamed: bool,
    /// The connection that had it, if one had.
    pub evicted: Option<Evicted>,
}

/// Why a session was not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotResumed {
    /// Another session has the name.
    Taken,
    /// There is no such session any more.
    Gone,
    /// The connection is about to close, and so is told nothing more than that.
    Closing,
}

impl Admission {
    /// The number of the connection, which is never given again.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// All sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The connection's end of its outbox.
    pub fn attachment(&self) -> &Arc<Attachment> {
        &self.attachment
    }

    /// The token of the connection's session, which may have ended, or gone to
    /// another connection.
    pub fn token(&self) -> Option<Token> {
        self.session
    }

    /// Makes the connection's session, of this name and token, unless another
    /// session has the name. The answer is queued here, before anyone can find
    /// the session, so that it stands before the first delivery.
    ///
    /// Where room is needed, the sessions that have lingered longest end, and are given
    /// back. The connection has no session yet, and the token is fresh.
    pub fn claim(&mut self, name: &Username, token: Token) -> Result<Vec<Session>, Taken> {
        debug_assert!(self.session.is_none());
        let key = name.key();
        let answer = Reply {
            header: Some(token),
            response: Response::YouAre(name.clone()),
        };
        let outbox = self.attachment.outbox();
        let session = Session {
            token,
            name: name.clone(),
            outbox,
        };
        let mut state = self.sessions.state.write();
        if state.names.contains_key(&key) {
            return Err(Taken);
        }
        let mut ended = Vec::new();
        while state.connections.len() + state.lingering.len() > self.sessions.capacity {
            let Some((_, &(_, longest))) = state.lingering.first_key_value() else {
                break;
            };
            ended.extend(state.end_and_finish(longest));
        }
        session.outbox.belong_to(token);
        self.attachment.answer(&answer);
        state.names.insert(key, token);
        let holder = Holder::Connection(self.number);
        state.members.insert(
            token,
            Member {
                session,
                holder,
                token_was_used: false.into(),
            },
        );
        self.session = Some(token);
        Ok(ended)
    }

    /// Takes the session of `token` over, or up again, under this name. Where that is
    /// refused, nothing has changed; where it is done, the connection that had the
    /// session is attached no more.
    ///
    /// The connection has no session yet.
    pub fn resume(&mut self, token: Token, name: &Username) -> Result<Resumed, NotResumed> {
        debug_assert!(self.session.is_none());
        let mut state = self.sessions.state.write();
        if state.closing {
            return Err(NotResumed::Closing);
        }
        let rename = state.try_name(token, name);
        if rename == Rename::Taken {
            return Err(NotResumed::Taken);
        }
        let Some(member) = state.members.get(&token) else {
            return Err(NotResumed::Gone);
        };
        let outbox = Arc::clone(&member.session.outbox);
        let Ok(evicted) = self.attachment.take_place_at(&outbox) else {
            return Err(NotResumed::Closing);
        };
        state.set_name(token, name);
        state.hand_over(token, self.number);
        self.session = Some(token);
        let session = Session {
            token,
            name: name.clone(),
            outbox,
        };
        Ok(Resumed {
            session,
            renamed: rename == Rename::Done,
            evicted,
        })
    }

    /// Ends the connection's session, if it is still its own, and keeps its place.
    pub fn end_session(&mut self) -> Option<Session> {
        let token = self.session.take()?;
        let mut state = self.sessions.state.write();
        if state.is_held_by(token, self.number) {
            state.end(token)
        } else {
            None
        }
    }

    /// Gives the connection's session and place up because the connection is broken.
    /// If its client is known to know the token, the session lingers.
    pub fn break_session(&mut self, may_linger: bool) -> Broken {
        let Some(token) = self.session.take() else {
            return Broken::NoSession;
        };
        let mut state = self.sessions.state.write();
        if !state.is_held_by(token, self.number) {
            return Broken::NoSession;
        }
        let key = state.last_break + 1;
        let lasts = |member: &Member| member.token_was_used.load(Ordering::Relaxed);
        let Some(member) = state
            .members
            .get_mut(&token)
            .filter(|it| may_linger && lasts(it))
        else {
            return state
                .end_and_finish(token)
                .map_or(Broken::NoSession, Broken::Ended);
        };
        member.holder = Holder::Lingering(key);
        let session = member.session.clone();
        state.last_break = key;
        state.lingering.insert(key, (Instant::now(), token));
        // So that the two do not count as two clients.
        state.connections.remove(&self.number);
        drop(state);
        // Fails if it has been told before and has not looked yet.
        let _ = self.sessions.lingers.0.try_send(());
        Broken::Lingers(session)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.end_session();
        self.sessions.state.write().connections.remove(&self.number);
    }
}

#[cfg(test)]
impl Sessions {
    /// Runs this while nobody else can have the lock.
    pub(crate) fn while_locked(&self, run: impl FnOnce()) {
        let _state = self.state.write();
        run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    fn name(name: &str) -> Username {
        Username::new(name).unwrap()
    }

    fn token(bits: u8) -> Token {
        Token::from_bits([bits; 16])
    }

    fn connect(sessions: &Arc<Sessions>) -> Admission {
        sessions
            .admit(Arc::new(Outbox::new(1 << 20)))
            .expect("room")
    }

    #[test]
    fn a_name_is_taken_whatever_the_case_until_its_owner_leaves() {
        let sessions = Sessions::new(10);
        let (mut alice, mut other) = (connect(&sessions), connect(&sessions));
        assert!(alice.claim(&name("Alice"), token(1)).is_ok());
        assert_eq!(other.claim(&name("aLICE"), token(2)).err(), Some(Taken));
        assert_eq!(other.token(), None);
        let found = sessions.by_name(&name("ALICE")).unwrap();
        assert_eq!((found.name.as_str(), found.token), ("Alice", token(1)));
        drop(alice);
        assert!(sessions.by_token(token(1)).is_none());
        assert!(other.claim(&name("alice"), token(3)).is_ok());
    }

    #[test]
    fn a_rename_takes_the_new_name_and_frees_the_old() {
        let sessions = Sessions::new(10);
        let (mut bob, mut carol) = (connect(&sessions), connect(&sessions));
        bob.claim(&name("bob"), token(1)).unwrap();
        carol.claim(&name("carol"), token(2)).unwrap();
        assert_eq!(sessions.rename(token(1), &name("bob")), Rename::Unchanged);
        assert_eq!(sessions.rename(token(1), &name("Bob")), Rename::Done);
        assert_eq!(sessions.by_name(&name("BOB")).unwrap().token, token(1));
        assert_eq!(sessions.rename(token(1), &name("CAROL")), Rename::Taken);
        assert_eq!(sessions.rename(token(1), &name("dave")), Rename::Done);
        assert!(sessions.by_name(&name("bob")).is_none());
        assert_eq!(sessions.by_name(&name("dave")).unwrap().token, token(1));
        drop(bob);
        assert!(sessions.by_name(&name("dave")).is_none());
        assert_eq!(sessions.rename(token(1), &name("dave")), Rename::Gone);
        assert_eq!(sessions.names(), [name("carol")]);
    }

    #[test]
    fn of_many_who_race_for_a_name_one_gets_it() {
        for _ in 0..50 {
            let sessions = Sessions::new(100);
            let barrier = Barrier::new(8);
            let winners: usize = thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|n| {
                        let (sessions, barrier) = (&sessions, &barrier);
                        scope.spawn(move || {
                            let mut connection = connect(sessions);
                            barrier.wait();
                            let won = connection.claim(&name("alice"), token(n)).is_ok();
                            barrier.wait();
                            usize::from(won)
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum()
            });
            assert_eq!(winners, 1);
            assert!(sessions.names().is_empty(), "everyone has left");
        }
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_one_leaves() {
        let sessions = Sessions::new(2);
        let admit = || sessions.admit(Arc::new(Outbox::new(1 << 20)));
        let (first, _second) = (connect(&sessions), connect(&sessions));
        assert_eq!(admit().err(), Some(Notice::ServerIsFull));
        drop(first);
        let third = admit().unwrap();
        assert_eq!(third.number(), 3, "numbers are not given again");
    }

    #[test]
    fn a_closed_server_admits_nobody_and_knows_who_is_there() {
        let sessions = Sessions::new(10);
        let (mut alice, _nameless) = (connect(&sessions), connect(&sessions));
        alice.claim(&name("alice"), token(1)).unwrap();
        assert_eq!(sessions.close().len(), 2, "with a session or without");
        assert!(
            sessions.by_token(token(1)).is_some(),
            "until its connection ends"
        );
        assert!(sessions.admit(Arc::new(Outbox::new(1 << 20))).is_err());
    }

    #[test]
    fn a_broadcast_goes_to_everyone_but_its_sender() {
        let sessions = Sessions::new(10);
        let mut members = Vec::new();
        for bits in 0..3 {
            let mut member = connect(&sessions);
            member
                .claim(&name(&format!("user{bits}")), token(bits))
                .unwrap();
            members.push(member);
        }
        let _without_a_session = connect(&sessions);
        let outboxes = sessions.all_but(token(1));
        assert_eq!(outboxes.len(), 2);
        assert!(
            !outboxes
                .iter()
                .any(|outbox| Arc::ptr_eq(outbox, &members[1].attachment().outbox()))
        );
    }

    /// A session whose connection broke after its token was used; its token.
    fn linger(sessions: &Arc<Sessions>, its_name: &str, bits: u8) -> Token {
        let mut connection = connect(sessions);
        connection.claim(&name(its_name), token(bits)).unwrap();
        sessions.by_token_of_client(token(bits)).unwrap();
        assert!(matches!(connection.break_session(true), Broken::Lingers(_)));
        token(bits)
    }

    #[test]
    fn a_broken_session_lingers_if_its_token_was_used_and_that_is_allowed() {
        let sessions = Sessions::new(10);
        for (was_used, may_linger, lingers) in [
            (true, true, true),
            (true, false, false),
            (false, true, false),
        ] {
            let mut connection = connect(&sessions);
            connection.claim(&name("alice"), token(1)).unwrap();
            // To be looked up by the server is not to be used by the client.
            sessions.by_token(token(1)).unwrap();
            if was_used {
                sessions.by_token_of_client(token(1)).unwrap();
            }
            let broken = connection.break_session(may_linger);
            assert_eq!(matches!(broken, Broken::Lingers(_)), lingers);
            drop(connection);
            assert_eq!(sessions.by_name(&name("alice")).is_some(), lingers);
            sessions.end_and_finish(token(1));
        }
    }

    #[test]
    fn who_was_taken_over_from_can_neither_end_nor_break_the_session() {
        let sessions = Sessions::new(10);
        let alice = token(1);
        let mut first = attached(&sessions);
        first.claim(&name("alice"), alice).unwrap();
        sessions.by_token_of_client(alice).unwrap();
        let mut second = attached(&sessions);
        let resumed = second.resume(alice, &name("Alice")).expect("it is there");
        assert!(resumed.renamed && resumed.evicted.is_some());
        assert!(matches!(first.break_session(true), Broken::NoSession));
        let mut third = attached(&sessions);
        assert!(
            third
                .resume(alice, &name("Alice"))
                .is_ok_and(|resumed| !resumed.renamed)
        );
        assert!(second.end_session().is_none());
        drop((first, second));
        assert_eq!(sessions.by_name(&name("ALICE")).unwrap().token, alice);
        assert!(third.end_session().is_some());
    }

    /// A connection that is attached to its outbox, as one with a writer is.
    fn attached(sessions: &Arc<Sessions>) -> Admission {
        let admission = connect(sessions);
        admission.attachment().attach_for_test();
        admission
    }

    #[test]
    fn a_refused_resumption_changes_nothing() {
        let sessions = Sessions::new(10);
        let alice = linger(&sessions, "alice", 1);
        let (mut bob, mut newcomer) = (attached(&sessions), attached(&sessions));
        bob.claim(&name("bob"), token(2)).unwrap();
        assert_eq!(
            newcomer.resume(alice, &name("BOB")).err(),
            Some(NotResumed::Taken)
        );
        assert_eq!(
            newcomer.resume(token(3), &name("carol")).err(),
            Some(NotResumed::Gone)
        );
        assert_eq!(newcomer.token(), None);
        let (ended, next) = sessions.end_lingered_out(Instant::now(), Duration::ZERO);
        assert_eq!(
            (ended[0].name.as_str(), ended.len(), next),
            ("alice", 1, None)
        );
        newcomer.claim(&name("alice"), token(4)).unwrap();
    }

    #[test]
    fn sessions_linger_out_in_the_order_in_which_they_broke() {
        let sessions = Sessions::new(10);
        let (one, two) = (linger(&sessions, "one", 1), linger(&sessions, "two", 2));
        let mut resuming = attached(&sessions);
        assert!(resuming.resume(one, &name("one")).is_ok());
        assert!(matches!(resuming.break_session(true), Broken::Lingers(_)));
        let minute = Duration::from_secs(60);
        let (ended, next) = sessions.end_lingered_out(Instant::now(), minute);
        assert!(ended.is_empty() && next.is_some_and(|next| next > Instant::now()));
        let (ended, _) = sessions.end_lingered_out(Instant::now() + 2 * minute, minute);
        assert_eq!(
            ended.iter().map(|it| it.token).collect::<Vec<_>>(),
            [two, one]
        );
    }

    #[test]
    fn the_longest_lingering_gives_way_only_where_a_session_needs_the_room() {
        let sessions = Sessions::new(3);
        let (one, two) = (linger(&sessions, "one", 1), linger(&sessions, "two", 2));
        let ended = |admission: &mut Admission, its_name: &str, bits: u8| {
            let ended = admission
                .claim(&name(its_name), token(bits))
                .expect("a free name");
            ended
                .iter()
                .map(|session| session.token)
                .collect::<Vec<_>>()
        };
        let mut first = connect(&sessions);
        assert_eq!(ended(&mut first, "first", 3), []);
        // One that has no name yet may have come to resume.
        let mut second = connect(&sessions);
        assert!(sessions.by_token(one).is_some());
        assert_eq!(ended(&mut second, "second", 4), [one]);
        let mut third = attached(&sessions);
        assert!(third.resume(two, &name("two")).is_ok());
        let full = sessions.admit(Arc::new(Outbox::new(1 << 20)));
        assert_eq!(full.err(), Some(Notice::ServerIsFull));
    }

    #[test]
    fn a_closing_server_lets_nobody_resume() {
        let sessions = Sessions::new(3);
        let one = linger(&sessions, "one", 1);
        let mut late = attached(&sessions);
        sessions.close();
        assert_eq!(
            late.resume(one, &name("one")).err(),
            Some(NotResumed::Closing)
        );
        assert_eq!(late.token(), None);
    }
}
