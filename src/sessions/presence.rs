//! Presence: the presence lock, and what the watching sessions are told under it.
//!
//! Every session begins, ends and changes its name under the presence lock, which comes before the
//! session-map lock. A `Change` holds it, from before the map changes until the change is
//! queued for all watchers. So all watchers are told all changes in one order. The session-map
//! lock is free while they are told, so other threads read the map meanwhile.
//!
//! Does not know the session map, or why it changes.
//!
//! Invariant, whenever the presence lock is free: *each watcher is a session that has not
//! ended, and was told each change since it began to watch.*

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Session;
use crate::outbox::direct_write::PendingWrites;
use crate::outbox::{MustDrain, Outbox};
use crate::protocol::presence::Presence;
use crate::protocol::reply::Delivery;
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// The data behind the presence lock.
#[derive(Default)]
pub(super) struct Watchers {
    outboxes: HashMap<Token, Arc<Outbox>>,
    /// Set by the shutdown. From then on no presence is delivered.
    is_closed: bool,
    /// Called with the token of each session that ends, instead of telling the watchers.
    #[cfg(feature = "redis")]
    pub(super) on_end: Option<OnEnd>,
}

/// Gets the end of each session. It is called under the presence lock, so it must not block.
#[cfg(feature = "redis")]
pub type OnEnd = Box<dyn Fn(Token) + Send>;

impl Watchers {
    /// Makes a session watch, or stops it. Returns false if that changes nothing.
    pub(super) fn set(&mut self, session: &Session, is_on: bool) -> bool {
        let before = match is_on {
            true => self
                .outboxes
                .insert(session.token, Arc::clone(&session.outbox)),
            false => self.outboxes.remove(&session.token),
        };
        before.is_some() != is_on
    }

    /// Stops all presence, because the server shuts down.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }
}

/// One change of the sessions or their names. It holds the presence lock.
pub(super) struct Change<'a> {
    watchers: MutexGuard<'a, Watchers>,
    /// The outboxes that it has filled, which its thread must drain.
    filled: Vec<(MustDrain, Arc<Outbox>)>,
}

impl Change<'_> {
    /// Takes the presence lock. The caller holds no other lock.
    pub(super) fn begin(lock: &Mutex<Watchers>) -> Change<'_> {
        Change {
            watchers: lock.lock(),
            filled: Vec::new(),
        }
    }

    /// Tells the watchers that a session has begun.
    pub(super) fn joined(&mut self, session: &Session) {
        self.tell(Some(session.token), || {
            Presence::Joined(session.name.clone())
        });
    }

    /// Tells the watchers that a session has ended. It watches no more.
    pub(super) fn left(&mut self, session: &Session) {
        self.watchers.outboxes.remove(&session.token);
        #[cfg(feature = "redis")]
        if let Some(on_end) = &self.watchers.on_end {
            return on_end(session.token);
        }
        self.tell(Some(session.token), || Presence::Left(session.name.clone()));
    }

    /// Tells the watchers that the session of this token has changed its name.
    pub(super) fn renamed(&mut self, token: Token, old: Username, new: &Username) {
        let new = new.clone();
        self.tell(Some(token), || Presence::Renamed { old, new });
    }

    /// Tells the watchers of a change at any server, except the session that it is about.
    #[cfg(feature = "redis")]
    pub(super) fn announce(&mut self, about: Option<Token>, presence: &Presence) {
        self.tell(about, || presence.clone());
    }

    /// Tells the watchers that they have missed this many changes.
    #[cfg(feature = "redis")]
    pub(super) fn missed(&self, count: u64) {
        for outbox in self.watchers.outboxes.values() {
            outbox.miss(count);
        }
    }

    /// Releases the presence lock, and passes the filled outboxes on to be drained.
    pub(super) fn end(self, pending: &PendingWrites) {
        let Change { watchers, filled } = self;
        drop(watchers);
        // All of them before the first drain, so that one that panics leaves no duty behind.
        for (_, outbox) in &filled {
            pending.note(MustDrain::Soon, outbox);
        }
        for (duty, outbox) in filled {
            if duty == MustDrain::Now {
                pending.note(duty, &outbox);
            }
        }
    }

    /// Queues a change for all watchers except the session that it is about.
    fn tell(&mut self, about: Option<Token>, presence: impl FnOnce() -> Presence) {
        if self.watchers.outboxes.is_empty() || self.watchers.is_closed {
            return;
        }
        let delivery = Delivery::presence(&presence());
        for (token, outbox) in &self.watchers.outboxes {
            // If the queue does not take it, the outbox has counted it as missed, or is closed.
            if Some(*token) != about
                && let Ok(duty) = outbox.send_presence(&delivery)
                && duty != MustDrain::No
            {
                self.filled.push((duty, Arc::clone(outbox)));
            }
        }
    }
}
