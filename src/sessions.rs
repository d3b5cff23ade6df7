//! Who is here: the connections, the sessions and their names, behind the one
//! lock that the threads share.
//!
//! It knows outboxes and no sockets, names and no commands.
//!
//! # The lock rule
//!
//! While the lock is held there is no I/O, no logging, nothing that can block,
//! no second `read()` (a writer that waits in between would deadlock both), and
//! nothing that can panic half-way through an update. So every method here takes
//! it once, briefly, and gives back copies: the `Arc`s of the outboxes that a
//! broadcast goes to, not a look at the map while it goes.
//!
//! The invariant, whenever the lock is free: *`names` and `sessions` name each
//! other, one to one.* A name is claimed, changed and given up in one write
//! section each, so it belongs to one session at any instant.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::outbox::Outbox;
use crate::protocol::reply::{Notice, Reply, Response};
use crate::protocol::token::Token;
use crate::protocol::username::{NameKey, Username};

/// All connections and sessions of a server.
pub struct Sessions {
    state: RwLock<State>,
    /// How many connections there may be.
    capacity: usize,
}

#[derive(Default)]
struct State {
    /// Set by the shutdown, under the same lock as everything else, so that no
    /// connection can slip in behind it.
    closing: bool,
    /// The number of the last connection.
    last_number: u64,
    /// The outbox of each connection, session or not.
    connections: HashMap<u64, Arc<Outbox>>,
    sessions: HashMap<Token, Session>,
    names: HashMap<NameKey, Token>,
}

/// A session as it stood when it was looked up.
#[derive(Clone)]
pub struct Session {
    /// Who knows it is this session.
    pub token: Token,
    /// Its name at that moment.
    pub name: Username,
    /// Where its deliveries go, wherever that is attached.
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

impl Sessions {
    /// Room for `capacity` connections.
    pub fn new(capacity: usize) -> Arc<Sessions> {
        Arc::new(Sessions {
            state: RwLock::default(),
            capacity,
        })
    }

    /// Lets a connection in, or says with which notice it is to be refused.
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
        state.connections.insert(number, Arc::clone(&outbox));
        Ok(Admission {
            sessions: Arc::clone(self),
            number,
            outbox,
            session: None,
        })
    }

    /// The session of this token, if it lives.
    pub fn by_token(&self, token: Token) -> Option<Session> {
        self.state.read().sessions.get(&token).cloned()
    }

    /// The session that has this name, whatever the case.
    pub fn by_name(&self, name: &Username) -> Option<Session> {
        let key = name.key();
        let state = self.state.read();
        state.sessions.get(state.names.get(&key)?).cloned()
    }

    /// The outboxes of all sessions but that of `token`.
    pub fn all_but(&self, token: Token) -> Vec<Arc<Outbox>> {
        let state = self.state.read();
        let others = state
            .sessions
            .values()
            .filter(|session| session.token != token);
        others.map(|session| Arc::clone(&session.outbox)).collect()
    }

    /// The names of all sessions, in no order.
    pub fn names(&self) -> Vec<Username> {
        self.state
            .read()
            .sessions
            .values()
            .map(|session| session.name.clone())
            .collect()
    }

    /// Gives the session of `token` another name, and its old one up.
    pub fn rename(&self, token: Token, name: &Username) -> Rename {
        let key = name.key();
        let mut state = self.state.write();
        let State {
            sessions, names, ..
        } = &mut *state;
        let Some(session) = sessions.get_mut(&token) else {
            return Rename::Gone;
        };
        if session.name == *name {
            return Rename::Unchanged;
        }
        if names.get(&key).is_some_and(|&owner| owner != token) {
            return Rename::Taken;
        }
        names.remove(&session.name.key());
        names.insert(key, token);
        session.name = name.clone();
        Rename::Done
    }

    /// Ends the session of `token`: its name is free at once. Its outbox is left
    /// open, for a last word; `None` if the session had ended before.
    fn end(&self, token: Token) -> Option<Session> {
        self.state.write().end(token)
    }

    /// Ends the session of `token`, which is another connection's: its outbox is
    /// finished in the same section, so that the connection is answered nothing
    /// more as if it had never had a session. False if it had ended before.
    pub fn end_and_finish(&self, token: Token) -> bool {
        let mut state = self.state.write();
        let ended = state.end(token);
        if let Some(session) = &ended {
            session.outbox.finish();
        }
        ended.is_some()
    }

    /// Lets no connection in any more, and gives the outboxes of those that are
    /// there, for a last word. Their sessions end with them.
    pub fn close(&self) -> Vec<Arc<Outbox>> {
        let mut state = self.state.write();
        state.closing = true;
        state.connections.values().cloned().collect()
    }
}

impl State {
    fn end(&mut self, token: Token) -> Option<Session> {
        let session = self.sessions.remove(&token)?;
        self.names.remove(&session.name.key());
        Some(session)
    }
}

/// A connection's place among the others, and its session once it has one.
///
/// Dropping it gives both up, so that a reader leaves its session however it
/// ends, by a panic too, and no ghost keeps the name.
pub struct Admission {
    sessions: Arc<Sessions>,
    number: u64,
    outbox: Arc<Outbox>,
    session: Option<Token>,
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

    /// The connection's outbox.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The token of the connection's session, which may have ended by another's
    /// hand.
    pub fn token(&self) -> Option<Token> {
        self.session
    }

    /// Makes the connection's session, of this name and token, unless another
    /// session has the name. The answer is queued here, before anyone can find
    /// the session, so that it stands before the first delivery.
    ///
    /// The connection has no session yet, and the token is fresh.
    pub fn claim(&mut self, name: &Username, token: Token) -> Result<(), Taken> {
        debug_assert!(self.session.is_none());
        let key = name.key();
        let answer = Reply {
            header: Some(token),
            response: Response::YouAre(name.clone()),
        };
        let session = Session {
            token,
            name: name.clone(),
            outbox: Arc::clone(&self.outbox),
        };
        let mut state = self.sessions.state.write();
        if state.names.contains_key(&key) {
            return Err(Taken);
        }
        self.outbox.belong_to(token);
        self.outbox.answer(&answer);
        state.names.insert(key, token);
        state.sessions.insert(token, session);
        self.session = Some(token);
        Ok(())
    }

    /// Ends the connection's session, if it has one, and keeps its place.
    pub fn end_session(&mut self) -> Option<Session> {
        self.sessions.end(self.session.take()?)
    }
}

/// Another session has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

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
        assert_eq!(alice.claim(&name("Alice"), token(1)), Ok(()));
        assert_eq!(other.claim(&name("aLICE"), token(2)), Err(Taken));
        assert_eq!(other.token(), None);
        let found = sessions.by_name(&name("ALICE")).unwrap();
        assert_eq!((found.name.as_str(), found.token), ("Alice", token(1)));
        drop(alice);
        assert!(sessions.by_token(token(1)).is_none());
        assert_eq!(other.claim(&name("alice"), token(3)), Ok(()));
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
                .any(|outbox| Arc::ptr_eq(outbox, members[1].outbox()))
        );
    }
}
