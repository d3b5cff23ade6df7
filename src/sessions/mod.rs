//! Who is here: the connections, the sessions and their names, behind the one
//! lock that the threads share.
//!
//! It hands each connection's outbox and socket on, and does not use them. It does not know
//! commands.
//!
//! # The lock rule
//!
//! While a thread holds the lock, it does no I/O, no logging, no second `read()` (a waiting
//! `write()` between the two would deadlock both), nothing that can block except the short
//! lock of an outbox, and nothing that can panic half-way through an update. So every method
//! takes the lock once, briefly, and returns copies: a snapshot of the outboxes that a
//! broadcast goes to, not a view of the map.
//!
//! Invariant, whenever the lock is free: *`names` and `members` refer to each other one to
//! one, and so do `members` and `outboxes`. `snapshot`, if there is one, has the same outboxes.
//! A member belongs to a connection or is in `lingering`. `addresses` counts `connections` and
//! `lingering`.* A name is claimed, changed and released in one write section each, so it
//! belongs to one session at any instant. A connection ends or detaches a session only if the
//! session still belongs to it. It checks its number, which no other connection ever has.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::RwLock;

use crate::outbox::{Attachment, Outbox};
use crate::protocol::token::Token;
use crate::protocol::username::Username;
pub use registration::Registration;
use state::{LingeringEntry, State};

pub mod per_address;
mod registration;
mod state;
#[cfg(test)]
mod tests;

/// All connections and sessions of a server.
pub struct Sessions {
    state: RwLock<State>,
    /// The most clients: connections, and lingering sessions.
    capacity: usize,
    /// The most clients of one address.
    per_address: usize,
    /// Wakes the sweeper when a session begins to linger. One token is as good as many.
    expiry_signal: (Sender<()>, Receiver<()>),
}

/// A session at the moment of its lookup.
#[derive(Clone)]
pub struct Session {
    /// A secret: a client that sends it acts for the session.
    pub token: Token,
    /// Its name at that moment.
    pub name: Username,
    /// The queue of its deliveries. Any connection may be attached to it.
    pub outbox: Arc<Outbox>,
}

/// Why a session does not get a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Another session has the name.
    Taken,
    /// The session has ended.
    Gone,
    /// The server shuts down.
    Closing,
    /// The system has no thread left for the writer of the connection.
    NoThread,
}

impl Sessions {
    /// Room for `capacity` clients, and for `per_address` of one address (`None`: any number).
    pub fn new(capacity: usize, per_address: Option<usize>) -> Arc<Sessions> {
        Arc::new(Sessions {
            state: RwLock::default(),
            capacity,
            per_address: per_address.unwrap_or(usize::MAX),
            expiry_signal: bounded(1),
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
        let (_, token) = state.names.get(&key)?;
        Some(state.members.get(token)?.session.clone())
    }

    /// The outboxes of all sessions, in the order in which the sessions were claimed.
    ///
    /// A snapshot is shared by all broadcasts until a session begins or ends. So a broadcast
    /// holds the lock for the copy of one pointer, except the first one after a change.
    pub fn outboxes(&self) -> Arc<[Arc<Outbox>]> {
        let state = self.state.read();
        if let Some(snapshot) = state.snapshot.get() {
            return Arc::clone(snapshot);
        }
        let snapshot: Arc<[_]> = state.outboxes.values().map(Arc::clone).collect();
        // Fails if another broadcast has just set the same one.
        let _ = state.snapshot.set(Arc::clone(&snapshot));
        snapshot
    }

    /// The names that begin with `prefix`, in any case: the first of them in order, as many as
    /// fit into `room` bytes with a space before each, and how many there are in all. The
    /// others are only counted, without a look at them.
    pub fn names(&self, prefix: &str, room: usize) -> (Vec<Username>, usize) {
        let first = prefix.to_ascii_lowercase();
        // No name contains DEL, and every character of a name is less.
        let end = format!("{first}\u{7F}");
        let state = self.state.read();
        let range = (Bound::Included(&*first), Bound::Excluded(&*end));
        let mut matches = state.names.range::<str, _>(range);
        let (mut listed, mut size) = (Vec::new(), 0);
        for (_, (name, _)) in matches.by_ref() {
            size += " ".len() + name.as_str().len();
            if size > room {
                let count = listed.len() + 1 + matches.count();
                return (listed, count);
            }
            listed.push(name.clone());
        }
        let count = listed.len();
        (listed, count)
    }

    /// Gives the session of `token` this name, and releases its old one. False if it has the
    /// name already, spelled so.
    pub fn rename(&self, token: Token, name: &Username) -> Result<bool, NameError> {
        let mut state = self.state.write();
        let is_new = state.check_name(token, name)?;
        state.set_name(token, name);
        Ok(is_new)
    }

    /// Ends the session of `token`, which belongs to another connection or lingers, and closes
    /// its outbox. Both happen under one lock: between them, that connection could still get
    /// `Set a name first`. False if the session had ended before.
    pub fn end_and_close_outbox(&self, token: Token) -> bool {
        self.state.write().end_and_close_outbox(token).is_some()
    }

    /// Ends the sessions that have lingered for `time`. Returns them, and when the next one
    /// will have.
    pub fn expire_lingering(
        &self,
        now: Instant,
        time: Duration,
    ) -> (Vec<Session>, Option<Instant>) {
        let mut state = self.state.write();
        let mut ended = Vec::new();
        while let Some((_, &LingeringEntry { since, token, .. })) =
            state.lingering.first_key_value()
        {
            if now < since + time {
                return (ended, Some(since + time));
            }
            ended.extend(state.end_and_close_outbox(token));
        }
        (ended, None)
    }

    /// Receives a token when a session begins to linger.
    pub fn expiry_signal(&self) -> &Receiver<()> {
        &self.expiry_signal.1
    }

    /// Admits no connection any more, and lets no session begin or be resumed. Returns all
    /// connections, for a last message. Their sessions end with them.
    pub fn close(&self) -> Vec<Arc<Attachment>> {
        let mut state = self.state.write();
        state.closing = true;
        state.connections.values().map(Arc::clone).collect()
    }
}
