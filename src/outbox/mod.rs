//! A session's outbox: the queue of everything that the server writes to one client.
//!
//! The rule of this folder: it holds the queue and its writing. It has no names and no commands.
//!
//! Three kinds of thread drain it. A reader thread that has filled it writes without
//! blocking ([`direct_write`]). The thread [`broadcaster`] does the same for a reader thread that
//! has filled many. The session's [`writer`] thread sends what would block.
//!
//! An outbox belongs to a session. At most one connection is *attached* to it. When
//! another connection attaches, it gets the deliveries that are still queued.
//!
//! Does not know names, commands or other clients. A sender does not know the connection.
//!
//! # The contract of `send`
//!
//! The server's guarantees about delivery rest on [`Outbox::send`]:
//!
//! 1. It never blocks: not on the network, not on the client, and not on a lock under
//!    which a thread blocks on either.
//! 2. It keeps the order of one caller's sends.
//! 3. Any thread may call it.
//! 4. It enqueues the delivery, or returns why not. If the queue is full, it counts the
//!    missed message.
//! 5. The count reaches the client as a notice at the gap: behind all earlier deliveries,
//!    and before the next delivery that fits.
//!
//! In return, a thread that gets the [`MustDrain`] drains the outbox before its next call that
//! can block, or gives the duty to the thread `broadcaster`. A
//! [`PendingWrites`](direct_write::PendingWrites) remembers these outboxes.
//!
//! # The queue and its lock
//!
//! ```text
//!   any thread ── send ───┐  one mutex, held until the item is in the channel:
//!   reader ───── respond ─┼─► bytes queued, gaps, the attached connection, the drain
//!   shutdown ──── finish ─┘        │
//!                                  ▼
//!                    the client's crossbeam channel ──► the draining thread ──► socket
//!                                           (takes a batch, and writes it without the lock)
//! ```
//!
//! Invariants:
//!
//! - *An item enters and leaves the channel under the queue lock, and nothing enters after
//!   the phase has left `Open`.* So the channel has the order of the sends,
//!   and a gap's notice is exactly at the gap.
//! - *If the queue is not empty and a connection is attached, then a thread has the duty to
//!   drain it (`Drain`).* That thread drains until it sees the queue empty under the lock,
//!   or it wakes the attached writer thread.
//! - *At most one thread writes, and only to the connection that was attached when it took
//!   its batch.* What the kernel did not accept goes back, in order. Responses to another
//!   connection are dropped there.
//!
//! No thread waits for another thread's write. If the drain is `Writing`, a second thread
//! leaves: the writing thread looks again before it stops.
//!
//! A model checker tries these invariants in many thread orders (`make model`). `make
//! mutation-test` breaks them one by one, and the model has to notice.

use std::collections::VecDeque;
use std::sync::Arc;

use self::primitives::{Condvar, Mutex, MutexGuard, Receiver, Sender, unbounded};
use crate::limits::RESPONSE_OVERHEAD;
use crate::protocol::reply::{Delivery, Notice};
use crate::protocol::token::Token;

mod attachment;
mod batch;
pub mod broadcaster;
pub mod direct_write;
#[cfg(not(model))]
mod primitives;
#[cfg(model)]
#[path = "model/primitives.rs"]
mod primitives;
pub mod writer;

pub use attachment::{Attachment, Evicted, Loss};
#[cfg(not(model))]
pub(crate) use primitives::send_now;

#[cfg(all(test, model))]
mod model;
#[cfg(all(test, not(model)))]
pub(crate) mod tests;

/// The queue of everything that the server writes to one client.
pub struct Outbox {
    /// The header of every message in it.
    token: Token,
    /// The limit for `QueueState::deliveries`, in bytes.
    limit: usize,
    /// The client's channel. It is unbounded, because the limit counts bytes. A bounded
    /// channel would also allocate all of its slots at once.
    queue: Sender<Item>,
    /// The other end, for the draining thread. It stays with the session, so that the
    /// writer thread of the next connection can go on.
    items: Receiver<Item>,
    state: Mutex<QueueState>,
    /// Notified after each write, and when the phase or the attached connection changes.
    /// The client's own reader thread waits on it, and the shutdown.
    changed: Condvar,
}

/// The state of the queue, which its lock protects.
#[derive(Default)]
struct QueueState {
    /// Bytes of deliveries that the kernel has not accepted. A delivery counts until the
    /// kernel has accepted all of it.
    deliveries: usize,
    /// The memory of responses that the kernel has not accepted ([`memory_of_response`]). Those
    /// to an earlier connection count until the next batch drops them.
    responses: usize,
    /// The gaps in the queue, in order: how many deliveries did not fit. Each has an item
    /// in the channel, at the gap.
    gaps: VecDeque<u64>,
    /// Nothing was queued behind the last gap, so the next missed delivery belongs to it.
    in_gap: bool,
    phase: Phase,
    attached: Option<Attached>,
    /// The number of the connection that has attached last.
    last_attached: u64,
    drain: Drain,
    /// Items that were taken out of the channel and not written. They precede the channel.
    unwritten: VecDeque<Item>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Nothing more enters. The connection ends when all is written.
    Closing,
    /// All is written, or no connection is left that could write it.
    Done,
}

/// Which thread has the duty to drain the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Drain {
    /// None. The queue is empty, or no connection is attached.
    #[default]
    Idle,
    /// A thread that will drain it soon: a reader thread that has filled it, the thread
    /// `broadcaster`, which has it on a list, or the writer thread, which has been woken.
    Assigned,
    /// The thread that writes a batch to this connection at this moment, without blocking.
    Writing(u64),
    /// The writer thread of this connection, which may be blocked in a write.
    Blocking(u64),
}

/// The connection that is attached to an outbox.
struct Attached {
    connection: Arc<Attachment>,
    /// Wakes its writer thread, which ends when this is dropped. One signal is as good as many.
    wake: Sender<()>,
    /// The response to the `Set-name` that attached it. It precedes everything that is queued.
    first: Option<Vec<u8>>,
}

/// What is queued. The kinds differ in what happens when a connection is lost.
enum Item {
    /// A response, or the answer to a telnet command, for the connection that asked.
    Response {
        connection: u64,
        bytes: Vec<u8>,
    },
    Delivery(Delivery),
    Notice(Notice),
    /// The first of the queue's gaps. It becomes a notice when it is taken out and its
    /// count is known.
    Gap,
}

/// Which thread must drain an outbox now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the thread that gets the duty must drain the outbox"]
pub enum MustDrain {
    /// The caller, before its next call that can block.
    Soon,
    /// The caller, now: the queue has just passed half of its limit. Another thread may have
    /// the duty too, but may not run soon.
    Now,
    /// Another thread, which will look again. Or none, because no connection is attached.
    No,
}

/// The reason why a delivery was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no room now. The client will get a notice of the gap.
    Full,
    /// The outbox is closed, because the session ends.
    Closed,
}

// A slot of the channel takes one word more, and an allocation up to two.
const _: () = assert!(size_of::<Item>() + 3 * size_of::<usize>() <= RESPONSE_OVERHEAD);

/// Returns the memory that a response of `length` bytes takes while it is queued.
fn memory_of_response(length: usize) -> usize {
    length + RESPONSE_OVERHEAD
}

impl Outbox {
    /// Makes an open outbox for the session of this token, with at most `limit` bytes of
    /// deliveries.
    ///
    /// Not inlined: to make a channel takes much stack. In its caller's frame that would be a page
    /// more of every idle client's memory.
    #[inline(never)]
    pub fn new(token: Token, limit: usize) -> Arc<Outbox> {
        let (queue, items) = unbounded();
        Arc::new(Outbox {
            token,
            limit,
            queue,
            items,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Returns the token of its session.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Enqueues a delivery. The module's documentation has the contract.
    pub fn send(&self, delivery: &Delivery) -> Result<MustDrain, SendError> {
        let length = delivery.wire_len();
        self.send_if(delivery, |deliveries| deliveries + length <= self.limit)
    }

    /// Enqueues a presence delivery, with the same contract. It fits only while less than half
    /// of the queue is in use, so that the rest is kept for messages.
    pub fn send_presence(&self, delivery: &Delivery) -> Result<MustDrain, SendError> {
        self.send_if(delivery, |deliveries| 2 * deliveries < self.limit)
    }

    /// Enqueues a delivery if it fits behind the deliveries in the queue, which have this many bytes.
    fn send_if(
        &self,
        delivery: &Delivery,
        fits_behind: impl FnOnce(usize) -> bool,
    ) -> Result<MustDrain, SendError> {
        let length = delivery.wire_len();
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Err(SendError::Closed);
        }
        if !fits_behind(state.deliveries) {
            self.record_missed(&mut state, 1);
            return Err(SendError::Full);
        }
        state.in_gap = false;
        let was_half_full = state.deliveries > self.limit / 2;
        state.deliveries += length;
        let duty = self.enqueue(&mut state, Item::Delivery(delivery.clone()));
        let is_half_full = state.deliveries > self.limit / 2;
        let is_pressing = is_half_full && !was_half_full && state.attached.is_some();
        Ok(if is_pressing { MustDrain::Now } else { duty })
    }

    /// Closes the outbox. What is queued is still written, then the connection ends. Only
    /// the first call has an effect.
    pub fn finish(&self) {
        self.finish_with(self.state.lock(), None);
    }

    /// Closes the outbox, with this item as the last one.
    fn finish_with(&self, mut state: QueueGuard<'_>, last: Option<Item>) {
        if state.phase != Phase::Open {
            return;
        }
        if let Some(item) = last {
            let _ = self.enqueue(&mut state, item);
        }
        state.phase = match state.attached {
            Some(_) => Phase::Closing,
            None => Phase::Done,
        };
        // Only the writer thread can end the connection.
        state.wake_writer();
        self.changed.notify_all();
    }

    /// Counts deliveries that were lost before they reached this queue. The client gets a notice
    /// of the gap, as if they had not fitted.
    #[cfg(feature = "redis")]
    pub fn miss(&self, count: u64) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            self.record_missed(&mut state, count);
        }
    }

    /// Closes the outbox, with this notice as the last message. Only the first close has an effect.
    #[cfg(feature = "redis")]
    pub fn finish_with_notice(&self, notice: Notice) {
        self.finish_with(self.state.lock(), Some(Item::Notice(notice)));
    }

    /// Counts deliveries that do not fit.
    fn record_missed(&self, state: &mut QueueState, count: u64) {
        match state.gaps.back_mut() {
            Some(missed) if state.in_gap => *missed = missed.saturating_add(count),
            _ => {
                state.gaps.push_back(count);
                state.in_gap = true;
                if self.enqueue(state, Item::Gap) == MustDrain::Soon {
                    state.wake_writer();
                }
            }
        }
    }

    /// Puts an item into the channel.
    fn enqueue(&self, state: &mut QueueState, item: Item) -> MustDrain {
        // Fails only without a receiver, and the outbox holds one itself.
        let _ = self.queue.send(item);
        if state.drain != Drain::Idle || state.attached.is_none() {
            return MustDrain::No;
        }
        state.drain = Drain::Assigned;
        MustDrain::Soon
    }

    /// Attaches a connection, and detaches the previous one. The caller then has the duty to
    /// drain, and must [evict](Evicted::evict) the previous connection.
    fn attach(&self, attached: Attached) -> Option<Evicted> {
        let mut state = self.state.lock();
        if state.drain == Drain::Idle {
            state.drain = Drain::Assigned;
        }
        state.last_attached = attached.connection.number;
        let before = state.attached.replace(attached);
        self.changed.notify_all();
        let attached = before?;
        attached.connection.set_lost(Loss::ResumedElsewhere);
        Some(Evicted(attached))
    }

    /// Detaches this connection, if it is the attached one.
    fn detach(&self, connection: u64) {
        self.state.lock().detach(connection);
        self.changed.notify_all();
    }
}

type QueueGuard<'a> = MutexGuard<'a, QueueState>;

impl QueueState {
    /// Closes the first gap. Returns the notice of it, which the client gets now.
    fn close_gap(&mut self) -> Notice {
        let missed = self.gaps.pop_front().unwrap_or(0);
        self.in_gap &= !self.gaps.is_empty();
        Notice::Missed(missed)
    }

    /// Passes the duty to drain on to the writer thread of the attached connection. If none
    /// is attached, the next connection that attaches has the duty.
    fn wake_writer(&mut self) {
        if let Some(attached) = &self.attached {
            if self.drain == Drain::Idle {
                self.drain = Drain::Assigned;
            }
            // Fails if it has been woken before and has not looked yet.
            let _ = attached.wake.try_send(());
        }
    }

    /// Detaches this connection, if it is the attached one. Its writer thread then ends.
    fn detach(&mut self, connection: u64) {
        if self.is_attached(connection) {
            self.attached = None;
            if self.phase == Phase::Closing {
                self.phase = Phase::Done;
            }
        }
    }

    /// Detaches a connection that cannot be written to, unless another has attached since.
    fn lose(&mut self, connection: &Attachment, loss: Loss) {
        if self.is_attached(connection.number) {
            connection.set_lost(loss);
            self.detach(connection.number);
        }
    }

    /// Returns whether this connection is the attached one.
    fn is_attached(&self, connection: u64) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|attached| attached.connection.number == connection)
    }

    /// Returns whether what this connection enqueues can still be written.
    fn is_open_for(&self, connection: u64) -> bool {
        self.phase == Phase::Open && self.is_attached(connection)
    }
}
