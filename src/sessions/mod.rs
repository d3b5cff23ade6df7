//! The session map: all connections, sessions and names of a server, behind the session-map
//! lock.
//!
//! The rule of this folder: no sockets and no I/O. It stores each connection's outbox and
//! socket, and passes them on without using them.
//!
//! Does not know commands, or why a caller looks a session up.
//!
//! # The session-map lock
//!
//! All threads share this lock. In the lock order it comes after the presence lock, under which
//! every change of sessions and names is made, and before the queue lock of an outbox. While a
//! thread holds it:
//!
//! - It does no I/O and no logging.
//! - It does not lock for reading a second time. If a `write()` waits between two `read()`
//!   calls of one thread, both threads deadlock.
//! - It calls nothing that can block, except the short queue lock of an outbox.
//! - It calls nothing that can panic half-way through an update.
//!
//! So every method takes the lock once, briefly, and returns copies. A broadcast gets a
//! snapshot of the outboxes, not a view of the map.
//!
//! Invariant, whenever the lock is free:
//!
//! - *`names` and `sessions` refer to each other one to one, and so do `sessions` and
//!   `outboxes`. `snapshot`, if it is set, has the same outboxes.*
//! - *A session belongs to a connection or is in `lingering`.*
//! - *`addresses` counts `connections` and `lingering`.*
//! - *`ended_names` has entries of `connections` only.*
//!
//! A rename takes two write sections, with the watchers told in between ([`presence`]): the
//! names change, then the name under which the session sends. The presence lock is held
//! throughout, so no other change comes between. A name belongs to one session at any instant.
//! A connection ends, renames or detaches a session only if the session still belongs to it. It
//! compares its number, which no other connection ever has.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};

use crate::outbox::direct_write::PendingWrites;
use crate::outbox::{Attachment, Outbox};
use crate::protocol::token::Token;
use crate::protocol::username::Username;
use access::AccessTokens;
use history::History;
use presence::{Change, Watchers};
pub use registration::{Claim, Registration};
use state::{LingeringEntry, State};

pub mod access;
pub mod history;
pub mod per_address;
pub mod presence;
mod registration;
#[cfg(feature = "redis")]
mod shared;
mod state;
#[cfg(test)]
mod tests;

/// All connections and sessions of a server.
pub struct Sessions {
    /// The presence lock. A thread that changes sessions or names takes it before the
    /// session-map lock.
    watchers: Mutex<Watchers>,
    state: RwLock<State>,
    /// The newest broadcasts.
    pub history: History,
    /// The tokens that open the server, if it is not open to everyone.
    pub access: AccessTokens,
    /// The maximum number of clients: connections and lingering sessions.
    capacity: usize,
    /// The maximum number of clients from one address.
    per_address: usize,
    /// Wakes the sweeper when a session begins to linger. One signal is as good as many.
    expiry_signal: (Sender<()>, Receiver<()>),
}

/// A session at the moment of its lookup.
#[derive(Clone)]
pub struct Session {
    /// A secret: a client that sends it acts for the session.
    pub token: Token,
    /// The name at the moment of the lookup.
    pub name: Username,
    /// The session's queue. It stays the same when another connection resumes the session.
    pub outbox: Arc<Outbox>,
}

/// The reason why a session does not get a name.
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
    /// Makes an empty map for at most `capacity` clients, and at most `per_address` from one
    /// address (`None`: no limit). It keeps the newest `history` broadcasts.
    pub fn new(capacity: usize, per_address: Option<usize>, history: usize) -> Arc<Sessions> {
        Arc::new(Sessions {
            watchers: Mutex::default(),
            state: RwLock::default(),
            history: History::new(history),
            access: AccessTokens::default(),
            capacity,
            per_address: per_address.unwrap_or(usize::MAX),
            expiry_signal: bounded(1),
        })
    }

    /// Returns the session of this token, if it has not ended.
    pub fn by_token(&self, token: Token) -> Option<Session> {
        Some(self.state.read().sessions.get(&token)?.session.clone())
    }

    /// Returns the session of a token that a client has sent. Marks the token as used: a
    /// session may linger only if its client knows the token.
    pub fn use_token(&self, token: Token) -> Option<Session> {
        let state = self.state.read();
        let entry = state.sessions.get(&token)?;
        entry.token_was_used.store(true, Ordering::Relaxed);
        Some(entry.session.clone())
    }

    /// Returns the session of this name, in any case.
    pub fn by_name(&self, name: &Username) -> Option<Session> {
        let key = name.key();
        let state = self.state.read();
        let (name, token) = state.names.get(&key)?;
        Some(Session {
            // The session itself may still send under its former name.
            name: name.clone(),
            ..state.sessions.get(token)?.session.clone()
        })
    }

    /// Returns the outboxes of all sessions, in the order of the numbers of the connections that
    /// claimed them.
    ///
    /// All broadcasts share one snapshot until a session begins or ends. So a broadcast holds
    /// the lock while it copies one pointer. Only the first broadcast after a change copies the
    /// list.
    pub fn outboxes(&self) -> Arc<[Arc<Outbox>]> {
        let state = self.state.read();
        if let Some(snapshot) = state.snapshot.get() {
            return Arc::clone(snapshot);
        }
        let snapshot: Arc<[_]> = state.outboxes.values().map(Arc::clone).collect();
        // Fails if another broadcast has just set a snapshot of the same outboxes.
        let _ = state.snapshot.set(Arc::clone(&snapshot));
        snapshot
    }

    /// Returns the first names with this prefix, in any case, and the number of all of them.
    ///
    /// The names are in order. Each takes a space and its length, and together they fit into
    /// `room` bytes. The other names are only counted, not copied.
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

    /// Makes a session watch presence, or stops it. Returns false if that changes nothing.
    pub fn watch(&self, session: &Session, is_on: bool) -> bool {
        let mut watchers = self.watchers.lock();
        // A session that has ended since its lookup would be told of changes for ever.
        let has_ended = self.by_token(session.token).is_none();
        has_ended || watchers.set(session, is_on)
    }

    /// Ends the session of `token` and closes its outbox. Returns false if it had already ended.
    ///
    /// The session lingers or belongs to another connection. Both steps happen under one lock.
    /// Between them, a request of that connection could get `Set a name first`.
    pub fn end_and_close_outbox(&self, token: Token, pending: &PendingWrites) -> bool {
        let mut change = Change::begin(&self.watchers);
        let Some(ended) = self.state.write().end_and_close_outbox(token) else {
            return false;
        };
        change.left(&ended);
        change.end(pending);
        true
    }

    /// Ends the sessions that have lingered for `time`. Returns them, and the time at which the
    /// next session expires.
    pub fn expire_lingering(
        &self,
        now: Instant,
        time: Duration,
        pending: &PendingWrites,
    ) -> (Vec<Session>, Option<Instant>) {
        let mut change = Change::begin(&self.watchers);
        let mut state = self.state.write();
        let (mut ended, mut next) = (Vec::new(), None);
        while let Some((_, &LingeringEntry { since, token, .. })) =
            state.lingering.first_key_value()
        {
            if now < since + time {
                next = Some(since + time);
                break;
            }
            ended.extend(state.end_and_close_outbox(token));
        }
        drop(state);
        for session in &ended {
            change.left(session);
        }
        change.end(pending);
        (ended, next)
    }

    /// Returns the channel on which a signal arrives when a session begins to linger.
    pub fn expiry_signal(&self) -> &Receiver<()> {
        &self.expiry_signal.1
    }

    /// Closes the map: no connection can register, and no session can begin or be resumed. No
    /// presence is delivered any more.
    ///
    /// Returns all connections, so that the shutdown can send each a last message. Their
    /// sessions end with them.
    pub fn close(&self) -> Vec<Arc<Attachment>> {
        let mut watchers = self.watchers.lock();
        watchers.close();
        let mut state = self.state.write();
        state.closing = true;
        state.connections.values().map(Arc::clone).collect()
    }
}
