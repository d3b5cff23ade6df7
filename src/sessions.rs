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
//! one to one, and so do `members` and `outboxes`; a member is either some connection's
//! or in `lingering`, and `origins` counts what is in `connections` and in `lingering`.*
//! A name is claimed, changed and given up in one write section each, so it belongs to
//! one session at any instant; and a connection ends or detaches a session only if it is
//! still its own, by the connection's number, which is never given again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::RwLock;

use crate::origin::{Origin, Origins};
use crate::outbox::hand_off::Cork;
use crate::outbox::{Attachment, Evicted, Outbox};
use crate::protocol::reply::{Notice, Reply, Response};
use crate::protocol::token::Token;
use crate::protocol::username::{NameKey, Username};

#[cfg(test)]
mod tests;

/// All connections and sessions of a server.
pub struct Sessions {
    state: RwLock<State>,
    /// How many clients there may be: connections, and sessions that linger.
    capacity: usize,
    /// How many of one origin.
    per_origin: usize,
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
    connections: HashMap<u64, Place>,
    members: HashMap<Token, Member>,
    names: HashMap<NameKey, Token>,
    /// Where a broadcast goes, in the order in which the sessions were claimed. They, and
    /// the kernel's sockets, lie in memory in about that order, which saves a twentieth of
    /// a broadcast to thousands (`make bench ARGS=fanout-4000-1-8`).
    outboxes: BTreeMap<u64, (Token, Arc<Outbox>)>,
    /// The sessions without a connection, by keys that rise in the order in which they
    /// lost it.
    lingering: BTreeMap<u64, Lingering>,
    origins: Origins,
}

/// What the map keeps of a connection that was let in.
struct Place {
    attachment: Arc<Attachment>,
    origin: Option<Origin>,
}

/// A session that lingers.
struct Lingering {
    since: Instant,
    token: Token,
    /// That of its last connection.
    origin: Option<Origin>,
}

/// A session, with what only this module has to know.
struct Member {
    session: Session,
    holder: Holder,
    /// Its key among the outboxes.
    claimed_by: u64,
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
    /// Room for `capacity` clients, of which `per_origin` may be of one origin; `None`
    /// for any number.
    pub fn new(capacity: usize, per_origin: Option<usize>) -> Arc<Sessions> {
        Arc::new(Sessions {
            state: RwLock::default(),
            capacity,
            per_origin: per_origin.unwrap_or(usize::MAX),
            lingers: bounded(1),
        })
    }

    /// Lets a connection in, or says with which notice it is to be refused.
    ///
    /// It may come to resume a session that lingers, so none gives way to it before it
    /// [claims](Admission::claim) a name.
    pub fn admit(
        self: &Arc<Self>,
        outbox: Arc<Outbox>,
        origin: Option<Origin>,
    ) -> Result<Admission, Notice> {
        let mut state = self.state.write();
        if state.closing {
            return Err(Notice::ShuttingDown);
        }
        if state.origins.connections(origin) >= self.per_origin {
            return Err(Notice::TooManyFromAddress);
        }
        if state.connections.len() >= self.capacity {
            return Err(Notice::ServerIsFull);
        }
        state.last_number += 1;
        let number = state.last_number;
        let attachment = Arc::new(Attachment::new(number, outbox));
        let place = Place {
            attachment: Arc::clone(&attachment),
            origin,
        };
        state.connections.insert(number, place);
        state.origins.add_connection(origin);
        Ok(Admission {
            sessions: Arc::clone(self),
            number,
            origin,
            attachment,
            session: None,
        })
    }

    /// The session of this token, if it lives.
    pub fn by_token(&self, token: Token) -> Option<Session> {
        Some(self.state.read().members.get(&token)?.session.clone())
    }

    /// The session of a token that a client has sent. Remembers that its client knows the
    /// token, so that it may linger.
    pub fn use_token(&self, token: Token) -> Option<Session> {
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
        let others = state.outboxes.values().filter(|(of, _)| *of != token);
        others.map(|(_, outbox)| Arc::clone(outbox)).collect()
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
        let rename = state.check_name(token, name);
        if rename == Rename::Done {
            state.set_name(token, name);
        }
        rename
    }

    /// Ends the session of `token`, which is another connection's or nobody's, and
    /// finishes its outbox, under one lock, or that connection could still be answered `Set a name first`
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
        while let Some((_, &Lingering { since, token, .. })) = state.lingering.first_key_value() {
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
        let places = state.connections.values();
        places.map(|place| Arc::clone(&place.attachment)).collect()
    }

    /// The session that is to end so that there is room: where a cap is exceeded, the one
    /// that has lingered longest of all that count for it.
    fn to_give_way(&self, state: &State, origin: Option<Origin>) -> Option<Token> {
        let of_origin = || {
            let key = state.origins.longest_lingering(origin)?;
            state.lingering.get(&key)
        };
        let of_all = || Some(state.lingering.first_key_value()?.1);
        let longest = if state.origins.count(origin) > self.per_origin {
            of_origin()
        } else if state.connections.len() + state.lingering.len() > self.capacity {
            of_all()
        } else {
            None
        };
        Some(longest?.token)
    }
}

impl State {
    /// What would come of giving this session this name.
    fn check_name(&self, token: Token, name: &Username) -> Rename {
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
            session,
            holder,
            claimed_by,
            ..
        } = self.members.remove(&token)?;
        self.names.remove(&session.name.key());
        self.outboxes.remove(&claimed_by);
        self.linger_no_more(holder);
        Some(session)
    }

    fn end_and_finish(&mut self, token: Token) -> Option<Session> {
        self.end(token).inspect(|session| session.outbox.finish())
    }

    /// Gives a session to a connection.
    fn hand_over(&mut self, token: Token, connection: u64) {
        if let Some(member) = self.members.get_mut(&token) {
            let before = std::mem::replace(&mut member.holder, Holder::Connection(connection));
            self.linger_no_more(before);
        }
    }

    fn linger_no_more(&mut self, holder: Holder) {
        if let Holder::Lingering(key) = holder
            && let Some(Lingering { origin, .. }) = self.lingering.remove(&key)
        {
            self.origins.remove_lingering(origin, key);
        }
    }

    fn give_place_up(&mut self, connection: u64) {
        if let Some(Place { origin, .. }) = self.connections.remove(&connection) {
            self.origins.remove_connection(origin);
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
    origin: Option<Origin>,
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
    pub fn claim(
        &mut self,
        name: &Username,
        token: Token,
        cork: &Cork,
    ) -> Result<Vec<Session>, Taken> {
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
        while let Some(longest) = self.sessions.to_give_way(&state, self.origin) {
            ended.extend(state.end_and_finish(longest));
        }
        session.outbox.belong_to(token);
        self.attachment.answer(&answer, cork);
        state.names.insert(key, token);
        let outbox = Arc::clone(&session.outbox);
        state.outboxes.insert(self.number, (token, outbox));
        state.members.insert(
            token,
            Member {
                session,
                holder: Holder::Connection(self.number),
                claimed_by: self.number,
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
        let rename = state.check_name(token, name);
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
        let key = state
            .lingering
            .last_key_value()
            .map_or(0, |(last, _)| last + 1);
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
        let origin = self.origin;
        let lingering = Lingering {
            since: Instant::now(),
            token,
            origin,
        };
        state.lingering.insert(key, lingering);
        state.origins.add_lingering(origin, key);
        // So that the two do not count as two clients.
        state.give_place_up(self.number);
        drop(state);
        // Fails if it has been told before and has not looked yet.
        let _ = self.sessions.lingers.0.try_send(());
        Broken::Lingers(session)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.end_session();
        self.sessions.state.write().give_place_up(self.number);
    }
}
