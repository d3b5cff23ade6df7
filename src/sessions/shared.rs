//! What a session map needs more if several servers share one chat.
//!
//! Then a registry outside decides about names, and tells every server of every change. A claim
//! or a rename waits for that: its thread prepares it here, and the thread that hears of the
//! change carries it out. The end of a session takes effect at once, and the registry hears of it
//! afterwards.
//!
//! Does not know the registry, or how it tells.
//!
//! Invariant: *the watchers hear of a change only when the registry tells of it.*

use std::sync::Arc;

use super::presence::{Change, OnEnd};
use super::registration::Claim;
use super::{NameError, Registration, Session, Sessions};
use crate::outbox::direct_write::PendingWrites;
use crate::outbox::{Evicted, Outbox};
use crate::protocol::presence::Presence;
use crate::protocol::reply::{Notice, Response};
use crate::protocol::token::Token;
use crate::protocol::username::Username;

impl Sessions {
    /// From now on, calls this with the token of each session that ends, instead of telling the
    /// watchers. It is called under the presence lock, so it must not block.
    pub fn on_end(&self, on_end: OnEnd) {
        self.watchers.lock().on_end = Some(on_end);
    }

    /// Carries out a claim that the registry has accepted, and tells the watchers. The session
    /// takes deliveries from then on. Returns the sessions that were evicted to make room.
    pub fn begin(&self, claim: Claim, pending: &PendingWrites) -> Result<Vec<Session>, NameError> {
        let mut change = Change::begin(&self.watchers);
        let ended = self.insert(claim, &mut change)?;
        change.end(pending);
        Ok(ended)
    }

    /// Returns why this session cannot have this name, as far as this server knows. `Ok(false)`
    /// means that it has the name in this spelling.
    pub fn check_name(&self, token: Token, name: &Username) -> Result<bool, NameError> {
        let state = self.state.read();
        if state.closing {
            return Err(NameError::Closing);
        }
        Ok(state.check_name(token, name)?.is_some())
    }

    /// Carries out a rename that the registry has accepted, and tells the watchers.
    pub fn rename(
        &self,
        token: Token,
        name: &Username,
        pending: &PendingWrites,
    ) -> Result<bool, NameError> {
        let mut change = Change::begin(&self.watchers);
        let state = self.state.write();
        let has_changed = self.change_name(state, token, name, &mut change)?;
        change.end(pending);
        Ok(has_changed)
    }

    /// Tells the watchers of a change, except the session that it is about.
    pub fn announce(&self, about: Option<Token>, presence: &Presence, pending: &PendingWrites) {
        let mut change = Change::begin(&self.watchers);
        change.announce(about, presence);
        change.end(pending);
    }

    /// Tells all sessions that they have missed this many messages.
    pub fn missed_messages(&self, count: u64) {
        for outbox in self.outboxes().iter() {
            outbox.miss(count);
        }
    }

    /// Tells the watchers that they have missed this many changes.
    pub fn missed_presence(&self, count: u64) {
        Change::begin(&self.watchers).missed(count);
    }

    /// Ends a session with this notice as its last message. Returns false if it had ended.
    pub fn end_with_notice(&self, token: Token, notice: Notice, pending: &PendingWrites) -> bool {
        let mut change = Change::begin(&self.watchers);
        let ended = self.state.write().end(token);
        let Some(ended) = ended else {
            return false;
        };
        ended.outbox.finish_with_notice(notice);
        change.left(&ended);
        change.end(pending);
        true
    }

    /// Returns whether the shutdown has begun.
    pub fn is_closing(&self) -> bool {
        self.state.read().closing
    }

    /// Returns all sessions, each with its token and its name. The end of each other session has
    /// been passed on before.
    pub fn all(&self) -> Vec<(Token, Username)> {
        let _no_change = self.watchers.lock();
        let state = self.state.read();
        let sessions = state.names.values();
        sessions
            .map(|(name, token)| (*token, name.clone()))
            .collect()
    }
}

impl Registration {
    /// Prepares a session of this name and token for the connection: its writer thread has
    /// started, and no session of this server has the name.
    pub fn prepare_claim(&mut self, name: &Username, token: Token) -> Result<Claim, NameError> {
        debug_assert!(self.token().is_none());
        let state = self.sessions().state.read();
        if state.closing {
            return Err(NameError::Closing);
        }
        if state.names.contains_key(&name.key()) {
            return Err(NameError::Taken);
        }
        drop(state);
        self.writer.start().map_err(|_| NameError::NoThread)?;
        let outbox = Outbox::new(token, self.attachment().queue_size);
        Ok(self.claim_of(name, &outbox))
    }

    /// Attaches the connection to the session that has begun with its claim.
    pub fn attach_claimed(
        &mut self,
        claimed: &Session,
        pending: &PendingWrites,
    ) -> Result<(), NameError> {
        self.attach_to(
            claimed.token,
            Response::YouAre(claimed.name.clone()),
            pending,
        )?;
        Ok(())
    }

    /// Resumes the session of `token` under the name that it has. Before, the registry may have
    /// renamed it for this connection.
    pub fn resume_unchanged(
        &mut self,
        token: Token,
        is_renamed: bool,
        pending: &PendingWrites,
    ) -> Result<Option<Evicted>, NameError> {
        self.writer.start().map_err(|_| NameError::NoThread)?;
        let name = self.sessions().by_token(token).ok_or(NameError::Gone)?.name;
        let response = match is_renamed {
            true => Response::YouAre(name),
            false => Response::YouAreAlready(name),
        };
        self.attach_to(token, response, pending)
    }

    /// Attaches the connection to a session, and detaches the connection that had it.
    fn attach_to(
        &mut self,
        token: Token,
        response: Response,
        pending: &PendingWrites,
    ) -> Result<Option<Evicted>, NameError> {
        let sessions = Arc::clone(&self.sessions);
        let change = Change::begin(&sessions.watchers);
        let mut state = sessions.state.write();
        if state.closing {
            return Err(NameError::Closing);
        }
        let entry = state.sessions.get(&token).ok_or(NameError::Gone)?;
        let outbox = Arc::clone(&entry.session.outbox);
        state.reassign(token, self.attachment().number);
        drop(state);
        Ok(self.attach_resumed(&outbox, response, change, pending))
    }

    /// Returns why the connection's session cannot have this name, as far as this server knows.
    /// `Ok(false)` means that it has the name in this spelling.
    pub fn check_rename(&self, name: &Username) -> Result<bool, NameError> {
        let token = self.token().ok_or(NameError::Gone)?;
        let state = self.sessions().state.read();
        // Another connection may have resumed it.
        if !state.is_owned_by(token, self.attachment().number) {
            return Err(NameError::Gone);
        }
        Ok(state.check_name(token, name)?.is_some())
    }
}
