//! The data behind the session-map lock, and the single steps of a change.
//!
//! Does not know the lock: the caller holds it for writing.
//!
//! Invariant: the one of [`sessions`](super). A method here may be one step of a change, so
//! the invariant holds again when the caller's change is complete.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::per_address::{AddressCounts, AddressKey};
use super::{NameError, Session};
use crate::outbox::{Attachment, Outbox};
use crate::protocol::token::Token;
use crate::protocol::username::{NameKey, Username};

/// The data of a session map.
#[derive(Default)]
pub(super) struct State {
    /// Set by the shutdown. The same lock protects it, so no connection can register and no
    /// session can begin or be resumed afterwards.
    pub(super) closing: bool,
    /// All connections, with or without a session, by number.
    pub(super) connections: HashMap<u64, Arc<Attachment>>,
    pub(super) sessions: HashMap<Token, SessionEntry>,
    /// The names in the order of a list, each in its owner's spelling.
    pub(super) names: BTreeMap<NameKey, (Username, Token)>,
    /// The recipients of a broadcast, by the number of the connection that claimed the session.
    /// The outboxes and the kernel's sockets are in memory in about that order. That saves a
    /// twentieth of a broadcast to thousands (`make bench ARGS=fanout-4000-1-8`).
    pub(super) outboxes: BTreeMap<u64, Arc<Outbox>>,
    /// A copy of the values of `outboxes`, for the next broadcast. Empty after a change.
    pub(super) snapshot: OnceLock<Arc<[Arc<Outbox>]>>,
    /// The lingering sessions. A session whose connection was lost later has a greater key.
    pub(super) lingering: BTreeMap<u64, LingeringEntry>,
    pub(super) addresses: AddressCounts,
    /// The last names of connections whose session has ended, by their numbers, for the log.
    /// An entry is removed with its connection.
    pub(super) ended_names: HashMap<u64, Username>,
}

/// A lingering session.
pub(super) struct LingeringEntry {
    pub(super) since: Instant,
    pub(super) token: Token,
    /// The address of its last connection.
    pub(super) address: Option<AddressKey>,
}

/// A session, with the fields that only the session map needs.
pub(super) struct SessionEntry {
    pub(super) session: Session,
    pub(super) owner: Owner,
    /// Number of the connection that claimed the session: the key in `outboxes`.
    pub(super) claimed_by: u64,
    /// True after a client has sent the token. Then the client knows the token.
    pub(super) token_was_used: AtomicBool,
}

/// The owner of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The connection of this number.
    Connection(u64),
    /// No connection: the session lingers. The number is the key in `lingering`.
    Lingering(u64),
}

impl State {
    /// Returns the session's old name, if this one is another, or why it cannot have this one.
    pub(super) fn check_name(
        &self,
        token: Token,
        name: &Username,
    ) -> Result<Option<Username>, NameError> {
        let entry = self.sessions.get(&token).ok_or(NameError::Gone)?;
        match self.names.get(&name.key()) {
            Some((_, owner)) if *owner != token => Err(NameError::Taken),
            _ => Ok(Some(&entry.session.name)
                .filter(|old| *old != name)
                .cloned()),
        }
    }

    /// First step of a rename: the session has the new name, which must be free, and no longer
    /// the old one. It still sends under the old one.
    pub(super) fn reserve_name(&mut self, token: Token, old: &Username, name: &Username) {
        self.names.remove(&old.key());
        self.names.insert(name.key(), (name.clone(), token));
    }

    /// Second step of a rename: the session sends under its new name.
    pub(super) fn set_name(&mut self, token: Token, name: &Username) {
        if let Some(SessionEntry { session, .. }) = self.sessions.get_mut(&token) {
            session.name = name.clone();
        }
    }

    /// Ends a session and releases its name. The outbox stays open for a last message.
    pub(super) fn end(&mut self, token: Token) -> Option<Session> {
        let SessionEntry {
            session,
            owner,
            claimed_by,
            ..
        } = self.sessions.remove(&token)?;
        self.names.remove(&session.name.key());
        self.outboxes.remove(&claimed_by);
        self.snapshot = OnceLock::new();
        if let Owner::Connection(number) = owner {
            self.ended_names.insert(number, session.name.clone());
        }
        self.remove_lingering(owner);
        Some(session)
    }

    /// Ends a session and closes its outbox.
    pub(super) fn end_and_close_outbox(&mut self, token: Token) -> Option<Session> {
        self.end(token).inspect(|session| session.outbox.finish())
    }

    /// Makes this connection the owner of a session.
    pub(super) fn reassign(&mut self, token: Token, connection: u64) {
        if let Some(entry) = self.sessions.get_mut(&token) {
            let before = std::mem::replace(&mut entry.owner, Owner::Connection(connection));
            self.remove_lingering(before);
        }
    }

    /// Removes the entry of a lingering session. Does nothing for another owner.
    pub(super) fn remove_lingering(&mut self, owner: Owner) {
        if let Owner::Lingering(key) = owner
            && let Some(LingeringEntry { address, .. }) = self.lingering.remove(&key)
        {
            self.addresses.change(address, |it| {
                it.lingering.remove(&key);
            });
        }
    }

    /// Removes a connection. Does nothing if it has been removed before.
    pub(super) fn remove_connection(&mut self, connection: u64, address: Option<AddressKey>) {
        self.ended_names.remove(&connection);
        if self.connections.remove(&connection).is_some() {
            self.addresses.change(address, |it| {
                it.connections = it.connections.saturating_sub(1)
            });
        }
    }

    /// Returns whether the session still belongs to this connection.
    pub(super) fn is_owned_by(&self, token: Token, connection: u64) -> bool {
        let entry = self.sessions.get(&token);
        entry.is_some_and(|entry| entry.owner == Owner::Connection(connection))
    }
}
