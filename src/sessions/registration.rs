//! The registration of one connection in the session map, while the connection lives.
//!
//! Does not know requests. Does no I/O: it holds the connection's [`Writer`] for the reader
//! thread.
//!
//! Invariant: *a connection has at most one session in its life, and changes that session only
//! while it still owns it.*

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::RwLockWriteGuard;

use super::per_address::AddressKey;
use super::presence::Change;
use super::state::{LingeringEntry, Owner, SessionEntry, State};
use super::{NameError, Session, Sessions};
use crate::outbox::direct_write::{DirectWrites, PendingWrites};
use crate::outbox::writer::Writer;
use crate::outbox::{Attachment, Evicted, MustDrain, Outbox};
use crate::protocol::reply::{Notice, Reply, Response};
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// The registration of a connection in the session map, and its session once it has one.
///
/// Dropping it ends the session and frees the slot, also after a panic. So no dead client
/// keeps a name.
pub struct Registration {
    pub(super) sessions: Arc<Sessions>,
    address: Option<AddressKey>,
    /// The writer thread. It is started outside all locks, before the connection's first name is
    /// claimed. If the name is refused, the thread stays for the next try. The reader thread
    /// ends it.
    pub writer: Writer,
    session: Option<Token>,
}

impl Sessions {
    /// Registers a connection, or returns the notice with which it must be refused.
    ///
    /// The client may want to resume a lingering session. So no session is evicted to make room
    /// before the connection [claims](Registration::claim) a name.
    pub fn register(
        self: &Arc<Self>,
        attachment: Attachment,
        address: Option<AddressKey>,
    ) -> Result<Registration, Notice> {
        let attachment = Arc::new(attachment);
        let mut state = self.state.write();
        if state.closing {
            return Err(Notice::ShuttingDown);
        }
        if state.addresses.connections(address) >= self.per_address {
            return Err(Notice::TooManyFromAddress);
        }
        if state.connections.len() >= self.capacity {
            return Err(Notice::ServerIsFull);
        }
        let connection = Arc::clone(&attachment);
        state.connections.insert(attachment.number, connection);
        state.addresses.change(address, |it| it.connections += 1);
        Ok(Registration {
            sessions: Arc::clone(self),
            address,
            writer: Writer::new(attachment),
            session: None,
        })
    }

    /// Returns the session to evict if a limit is exceeded: of the lingering sessions that count
    /// for the limit, the one that has lingered longest.
    fn eviction_candidate(&self, state: &State, address: Option<AddressKey>) -> Option<Token> {
        let longest = if state.addresses.count(address) > self.per_address {
            state.addresses.longest_lingering(address)
        } else if state.connections.len() + state.lingering.len() > self.capacity {
            state.lingering.keys().next().copied()
        } else {
            None
        };
        Some(state.lingering.get(&longest?)?.token)
    }
}

/// A session that is to begin, with the connection that claims it.
pub struct Claim {
    session: Session,
    /// The number of the connection.
    connection: u64,
    /// The address of the connection.
    address: Option<AddressKey>,
}

impl Claim {
    /// Returns the session that it makes.
    #[cfg(feature = "redis")]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Sessions {
    /// Makes the session of a claim, which has no connection yet, and tells the watchers. Returns
    /// the sessions that were evicted to make room.
    pub(super) fn insert(
        &self,
        claim: Claim,
        change: &mut Change<'_>,
    ) -> Result<Vec<Session>, NameError> {
        let Claim {
            session,
            connection,
            address,
        } = claim;
        let key = session.name.key();
        let mut state = self.state.write();
        if state.closing {
            return Err(NameError::Closing);
        }
        if state.names.contains_key(&key) {
            return Err(NameError::Taken);
        }
        let mut ended = Vec::new();
        while let Some(longest) = self.eviction_candidate(&state, address) {
            ended.extend(state.end_and_close_outbox(longest));
        }
        let (token, name) = (session.token, session.name.clone());
        state.names.insert(key, (name, token));
        state
            .outboxes
            .insert(connection, Arc::clone(&session.outbox));
        state.snapshot = OnceLock::new();
        let entry = SessionEntry {
            session: session.clone(),
            owner: Owner::Connection(connection),
            claimed_by: connection,
            token_was_used: false.into(),
        };
        state.sessions.insert(token, entry);
        drop(state);
        for session in &ended {
            change.left(session);
        }
        change.joined(&session);
        Ok(ended)
    }

    /// Gives a session this name, and tells the watchers between the two steps. Returns false if
    /// it already has the name in this spelling.
    pub(super) fn change_name(
        &self,
        mut state: RwLockWriteGuard<'_, State>,
        token: Token,
        name: &Username,
        change: &mut Change<'_>,
    ) -> Result<bool, NameError> {
        let Some(old) = state.check_name(token, name)? else {
            return Ok(false);
        };
        state.reserve_name(token, &old, name);
        drop(state);
        change.renamed(token, old, name);
        self.state.write().set_name(token, name);
        Ok(true)
    }
}

impl Registration {
    /// Returns the claim of a session of this name and outbox for the connection.
    pub(super) fn claim_of(&self, name: &Username, outbox: &Arc<Outbox>) -> Claim {
        Claim {
            session: Session {
                token: outbox.token(),
                name: name.clone(),
                outbox: Arc::clone(outbox),
            },
            connection: self.writer.attachment.number,
            address: self.address,
        }
    }

    /// Returns the session map.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Returns the connection.
    pub fn attachment(&self) -> &Arc<Attachment> {
        &self.writer.attachment
    }

    /// Returns the token of the connection's session. That session may have ended since, or may
    /// belong to another connection.
    pub fn token(&self) -> Option<Token> {
        self.session
    }

    /// Returns the name of the connection's session, or the last one if the session has ended.
    pub fn name(&self) -> Option<Username> {
        let state = self.sessions.state.read();
        let entry = self.session.and_then(|token| state.sessions.get(&token));
        match entry {
            Some(entry) => Some(entry.session.name.clone()),
            None => state.ended_names.get(&self.attachment().number).cloned(),
        }
    }

    /// Makes a session of this name and token for the connection, unless the name is taken.
    ///
    /// The response is the first message of the session's outbox. The connection is attached
    /// after the watchers are told, so no watcher can see the response or a message of the new
    /// session before. If room is needed, the sessions that have lingered longest are evicted
    /// and returned. The connection must not have a session yet, and the token must be fresh.
    pub fn claim(
        &mut self,
        name: &Username,
        token: Token,
        pending: &PendingWrites,
    ) -> Result<Vec<Session>, NameError> {
        debug_assert!(self.session.is_none());
        self.writer.start().map_err(|_| NameError::NoThread)?;
        let outbox = Outbox::new(token, self.writer.attachment.queue_size);
        self.begin_session(name, &outbox, pending)
    }

    /// Makes the session of this outbox, after the writer thread has started.
    ///
    /// Not inlined: its frame would be below those of two functions that take much stack. That
    /// would be a page more of every idle client's memory.
    #[inline(never)]
    fn begin_session(
        &mut self,
        name: &Username,
        outbox: &Arc<Outbox>,
        pending: &PendingWrites,
    ) -> Result<Vec<Session>, NameError> {
        let claim = self.claim_of(name, outbox);
        let mut change = Change::begin(&self.sessions.watchers);
        let ended = self.sessions.insert(claim, &mut change)?;
        let _ = attach(&mut self.writer, outbox, Response::YouAre(name.clone()));
        // Before the end of the change, which may write to a watcher and panic.
        self.session = Some(outbox.token());
        change.end(pending);
        pending.note(MustDrain::Soon, outbox);
        Ok(ended)
    }

    /// Resumes the session of `token` under this name. An error changes nothing.
    ///
    /// If another connection had the session, it is detached and returned. The caller must evict
    /// it. The response precedes all deliveries that are queued. The connection must not have a
    /// session yet.
    pub fn resume(
        &mut self,
        token: Token,
        name: &Username,
        pending: &PendingWrites,
    ) -> Result<Option<Evicted>, NameError> {
        debug_assert!(self.session.is_none());
        self.writer.start().map_err(|_| NameError::NoThread)?;
        let sessions = Arc::clone(&self.sessions);
        let mut change = Change::begin(&sessions.watchers);
        let mut state = sessions.state.write();
        if state.closing {
            return Err(NameError::Closing);
        }
        let renamed = state.check_name(token, name)?;
        let entry = state.sessions.get(&token).ok_or(NameError::Gone)?;
        let outbox = Arc::clone(&entry.session.outbox);
        state.reassign(token, self.writer.attachment.number);
        let response = if let Some(old) = renamed {
            state.reserve_name(token, &old, name);
            drop(state);
            change.renamed(token, old, name);
            sessions.state.write().set_name(token, name);
            Response::YouAre(name.clone())
        } else {
            drop(state);
            Response::YouAreAlready(name.clone())
        };
        Ok(self.attach_resumed(&outbox, response, change, pending))
    }

    /// Last steps of a resumption: the connection is attached, and the change ends.
    pub(super) fn attach_resumed(
        &mut self,
        outbox: &Arc<Outbox>,
        response: Response,
        change: Change<'_>,
        pending: &PendingWrites,
    ) -> Option<Evicted> {
        let evicted = attach(&mut self.writer, outbox, response);
        // As in `begin_session`.
        self.session = Some(outbox.token());
        change.end(pending);
        pending.note(MustDrain::Soon, outbox);
        evicted
    }

    /// Gives the session this name, and releases its old name, if it still belongs to this
    /// connection. Returns false if the session already has the name in this spelling.
    pub fn rename(&self, name: &Username, pending: &PendingWrites) -> Result<bool, NameError> {
        let token = self.session.ok_or(NameError::Gone)?;
        let mut change = Change::begin(&self.sessions.watchers);
        let state = self.sessions.state.write();
        // Another connection may have resumed it while this thread waited for the presence lock.
        if !state.is_owned_by(token, self.writer.attachment.number) {
            return Err(NameError::Gone);
        }
        let has_changed = self.sessions.change_name(state, token, name, &mut change)?;
        change.end(pending);
        Ok(has_changed)
    }

    /// Ends the session, if it still belongs to this connection. The connection stays registered.
    pub fn end_session(&mut self, pending: &PendingWrites) -> Option<Session> {
        let token = self.session.take()?;
        let mut change = Change::begin(&self.sessions.watchers);
        let mut state = self.sessions.state.write();
        if !state.is_owned_by(token, self.writer.attachment.number) {
            return None;
        }
        let ended = state.end(token)?;
        drop(state);
        change.left(&ended);
        change.end(pending);
        Some(ended)
    }

    /// Releases the session after the connection was lost, if it still belongs to it.
    ///
    /// Returns the session, and whether it lingers. It lingers if that is allowed and its client
    /// knows the token. Otherwise it ends.
    pub fn break_session(
        &mut self,
        may_linger: bool,
        pending: &PendingWrites,
    ) -> Option<(Session, bool)> {
        let number = self.writer.attachment.number;
        let token = self.session.take()?;
        let mut change = Change::begin(&self.sessions.watchers);
        let mut state = self.sessions.state.write();
        if !state.is_owned_by(token, number) {
            return None;
        }
        let last = state.lingering.last_key_value();
        let key = last.map_or(0, |(last, _)| last + 1);
        let entry = state.sessions.get_mut(&token)?;
        if !may_linger || !entry.token_was_used.load(Ordering::Relaxed) {
            let ended = state.end_and_close_outbox(token)?;
            drop(state);
            change.left(&ended);
            change.end(pending);
            return Some((ended, false));
        }
        entry.owner = Owner::Lingering(key);
        let session = entry.session.clone();
        let lingering = LingeringEntry {
            since: Instant::now(),
            token,
            address: self.address,
        };
        state.lingering.insert(key, lingering);
        state.addresses.change(self.address, |it| {
            it.lingering.insert(key);
        });
        // Otherwise the connection and its session would count as two clients.
        state.remove_connection(number, self.address);
        drop(state);
        // Fails if the sweeper has been woken before and has not looked yet.
        let _ = self.sessions.expiry_signal.0.try_send(());
        Some((session, true))
    }
}

/// Attaches the writer's connection to an outbox, with this first response.
fn attach(writer: &mut Writer, outbox: &Arc<Outbox>, response: Response) -> Option<Evicted> {
    let header = Some(outbox.token());
    writer.attach(outbox, &Reply { header, response })
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Only after a panic there still is a session. Then the writer threads drain.
        if self.session.is_some() {
            self.end_session(&PendingWrites::new(DirectWrites::new(false)));
        }
        let mut state = self.sessions.state.write();
        state.remove_connection(self.writer.attachment.number, self.address);
    }
}
