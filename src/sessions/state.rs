//! What the session-map lock protects, and the steps that a change of it is made of.
//!
//! Does not know the lock: a caller holds it for writing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::per_address::{AddressCounts, AddressKey};
use super::{NameError, Session};
use crate::outbox::{Attachment, Outbox};
use crate::protocol::token::Token;
use crate::protocol::username::{NameKey, Username};

#[derive(Default)]
pub(super) struct State {
    /// Set by the shutdown, under the same lock as everything else, so that no connection
    /// can enter and no session can begin or be resumed after it.
    pub(super) closing: bool,
    /// All connections, with a session or without, by their numbers.
    pub(super) connections: HashMap<u64, Arc<Attachment>>,
    pub(super) members: HashMap<Token, SessionEntry>,
    /// In the order in which names are listed, each as its owner spells it.
    pub(super) names: BTreeMap<NameKey, (Username, Token)>,
    /// The recipients of a broadcast, in the order in which their sessions were claimed. They
    /// and the kernel's sockets are in memory in about that order. That saves a twentieth of a
    /// broadcast to thousands (`make bench ARGS=fanout-4000-1-8`).
    pub(super) outboxes: BTreeMap<u64, Arc<Outbox>>,
    /// The values of `outboxes`, for the next broadcast. Empty after a change.
    pub(super) snapshot: OnceLock<Arc<[Arc<Outbox>]>>,
    /// The sessions without a connection. A session that was lost later has a greater key.
    pub(super) lingering: BTreeMap<u64, LingeringEntry>,
    pub(super) addresses: AddressCounts,
}

/// A session that lingers.
pub(super) struct LingeringEntry {
    pub(super) since: Instant,
    pub(super) token: Token,
    /// The address of its last connection.
    pub(super) address: Option<AddressKey>,
}

/// A session, with what only this module needs.
pub(super) struct SessionEntry {
    pub(super) session: Session,
    pub(super) owner: Owner,
    /// Its key among the outboxes.
    pub(super) claimed_by: u64,
    /// A client has sent its token, so the client knows the token.
    pub(super) token_was_used: AtomicBool,
}

/// The owner of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The connection of this number.
    Connection(u64),
    /// None. It lingers, under this key.
    Lingering(u64),
}

impl State {
    /// Whether this name would be new to this session, or why it cannot have it.
    pub(super) fn check_name(&self, token: Token, name: &Username) -> Result<bool, NameError> {
        let member = self.members.get(&token).ok_or(NameError::Gone)?;
        match self.names.get(&name.key()) {
            Some((_, owner)) if *owner != token => Err(NameError::Taken),
            _ => Ok(member.session.name != *name),
        }
    }

    pub(super) fn set_name(&mut self, token: Token, name: &Username) {
        if let Some(SessionEntry { session, .. }) = self.members.get_mut(&token) {
            self.names.remove(&session.name.key());
            self.names.insert(name.key(), (name.clone(), token));
            session.name = name.clone();
        }
    }

    /// Ends a session: its name is free at once. Its outbox stays open, for a last message.
    pub(super) fn end(&mut self, token: Token) -> Option<Session> {
        let SessionEntry {
            session,
            owner,
            claimed_by,
            ..
        } = self.members.remove(&token)?;
        self.names.remove(&session.name.key());
        self.outboxes.remove(&claimed_by);
        self.snapshot = OnceLock::new();
        self.remove_lingering(owner);
        Some(session)
    }

    pub(super) fn end_and_close_outbox(&mut self, token: Token) -> Option<Session> {
        self.end(token).inspect(|session| session.outbox.finish())
    }

    /// Gives a session to a connection.
    pub(super) fn reassign(&mut self, token: Token, connection: u64) {
        if let Some(member) = self.members.get_mut(&token) {
            let before = std::mem::replace(&mut member.owner, Owner::Connection(connection));
            self.remove_lingering(before);
        }
    }

    pub(super) fn remove_lingering(&mut self, owner: Owner) {
        if let Owner::Lingering(key) = owner
            && let Some(LingeringEntry { address, .. }) = self.lingering.remove(&key)
        {
            self.addresses.change(address, |it| {
                it.lingering.remove(&key);
            });
        }
    }

    pub(super) fn remove_connection(&mut self, connection: u64, address: Option<AddressKey>) {
        if self.connections.remove(&connection).is_some() {
            self.addresses.change(address, |it| {
                it.connections = it.connections.saturating_sub(1)
            });
        }
    }

    pub(super) fn is_owned_by(&self, token: Token, connection: u64) -> bool {
        let member = self.members.get(&token);
        member.is_some_and(|member| member.owner == Owner::Connection(connection))
    }
}
