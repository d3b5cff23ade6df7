//! Direct writes: a reader thread that has filled the outbox of an idle client also writes
//! it, without blocking. The writer thread sends only what would block.
//!
//! To wake a parked writer thread costs more than the write itself, and a quiet room would
//! wake one for every message. So a reader thread remembers the outboxes that it has filled.
//! Before its next call that can block, it drains each of them, with one write per batch that
//! does not block.
//!
//! If it has filled many outboxes, it gives the list to the thread
//! [`broadcaster`](super::broadcaster), which drains them in the same way, and goes on. Fewer
//! outboxes are many if other threads broadcast too: the messages of all of them then join the
//! same writes. The delay has a limit: a thread drains or gives its list away when it has queued
//! [`MAX_UNFLUSHED_DELIVERIES`] deliveries. It drains an outbox at once when its queue has passed
//! half of its limit.
//!
//! With `--no-direct-writes`, a reader thread only wakes the writer threads. That is slower, and
//! exists for comparison.
//!
//! Does not know which messages are queued.
//!
//! Invariant: *no drain here blocks, and a thread drops a duty only by draining or passing it on.*

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::batch::Batch;
use super::broadcaster::{Broadcaster, List};
use super::{Attached, Drain, MustDrain, Outbox, Phase, QueueState, SendError};
use crate::limits::{
    MAX_DIRECT_BATCHES, MAX_IDLE_ITEMS, MAX_UNFLUSHED_DELIVERIES, MIN_BROADCAST_DELIVERIES,
    MIN_BROADCASTER_OUTBOXES,
};
use crate::protocol::reply::Delivery;

/// The state that the reader threads of a server share for their direct writes.
pub struct DirectWrites {
    is_on: bool,
    /// `None` with writer threads only. Dropped with the last reader thread's handle.
    pub(super) broadcaster: Option<Broadcaster>,
    /// How many broadcasts to a crowd there were. A reader thread only compares it with an
    /// earlier value, so it orders nothing.
    broadcasts: AtomicU64,
}

impl DirectWrites {
    /// Makes the state for direct writes without the thread `broadcaster`, or for writer threads
    /// only.
    pub fn new(is_on: bool) -> Arc<DirectWrites> {
        DirectWrites::with(is_on, None)
    }

    /// Makes the state, and starts the thread `broadcaster` for direct writes. An error means
    /// that the system has no thread left.
    pub fn start(is_on: bool) -> io::Result<Arc<DirectWrites>> {
        let broadcaster = is_on.then(Broadcaster::start).transpose()?;
        Ok(DirectWrites::with(is_on, broadcaster))
    }

    pub(super) fn with(is_on: bool, broadcaster: Option<Broadcaster>) -> Arc<DirectWrites> {
        Arc::new(DirectWrites {
            is_on,
            broadcaster,
            broadcasts: AtomicU64::new(0),
        })
    }
}

/// The outboxes that one reader thread has filled and must still drain.
///
/// Dropping it flushes it. So a reader thread that panics leaves no duty behind.
pub struct PendingWrites {
    direct_writes: Arc<DirectWrites>,
    outboxes: RefCell<List>,
    /// How many deliveries the thread has queued since the last flush.
    queued: Cell<usize>,
    /// [`DirectWrites::broadcasts`] after this thread's last broadcast to a crowd.
    last_broadcast: Cell<u64>,
    /// Empty. It is kept for its buffers.
    batch: Cell<Batch>,
}

impl PendingWrites {
    /// Makes the pending writes of a reader thread that has queued nothing.
    pub fn new(direct_writes: Arc<DirectWrites>) -> PendingWrites {
        PendingWrites {
            direct_writes,
            outboxes: RefCell::default(),
            queued: Cell::default(),
            last_broadcast: Cell::default(),
            batch: Cell::default(),
        }
    }

    /// Enqueues a delivery ([`Outbox::send`]) and remembers the duty. Flushes after
    /// [`MAX_UNFLUSHED_DELIVERIES`] deliveries.
    pub fn send(&self, outbox: &Arc<Outbox>, delivery: &Delivery) -> Result<(), SendError> {
        self.note(outbox.send(delivery)?, outbox);
        let queued = self.queued.get() + 1;
        self.queued.set(queued);
        if queued >= MAX_UNFLUSHED_DELIVERIES {
            self.flush();
        }
        Ok(())
    }

    /// Remembers an outbox that the caller must drain, or drains it now if it must be now.
    pub(crate) fn note(&self, duty: MustDrain, outbox: &Arc<Outbox>) {
        match duty {
            MustDrain::Soon => self.outboxes.borrow_mut().push_back(Arc::clone(outbox)),
            MustDrain::Now => self.drain_all(std::iter::once(Arc::clone(outbox))),
            MustDrain::No => {}
        }
    }

    /// Drains all remembered outboxes, or gives them to the thread `broadcaster` if they are
    /// many. The caller must flush before every call that can block: a read, a pause, a wait
    /// for its own client.
    pub fn flush(&self) {
        let is_large_broadcast =
            self.queued.take() >= MIN_BROADCAST_DELIVERIES && self.direct_writes.is_on;
        let others_broadcast = is_large_broadcast && self.others_broadcast_since();
        let minimum = if others_broadcast {
            MIN_BROADCAST_DELIVERIES
        } else {
            MIN_BROADCASTER_OUTBOXES
        };
        if self.outboxes.borrow().len() < minimum || !self.assign_to_broadcaster() {
            self.drain_all(std::iter::from_fn(|| self.next()));
        }
    }

    /// Gives all remembered outboxes to the thread `broadcaster`. False if that is not possible.
    fn assign_to_broadcaster(&self) -> bool {
        let Some(broadcaster) = &self.direct_writes.broadcaster else {
            return false;
        };
        // After a panic, the writer threads get the duty. `drain_all` wakes them.
        if thread::panicking() {
            return false;
        }
        let assigned = broadcaster.assign(self.outboxes.take());
        assigned.map_err(|list| self.outboxes.replace(list)).is_ok()
    }

    /// Drains these outboxes, or wakes their writer threads.
    fn drain_all(&self, outboxes: impl Iterator<Item = Arc<Outbox>>) {
        // Taken, so that no bytes of a batch that panicked go to another client. While this
        // thread unwinds, it leaves the writing to others: a second panic would abort.
        let mut batch = self.batch.take();
        let writes = self.direct_writes.is_on && !thread::panicking();
        for outbox in outboxes {
            if writes {
                outbox.drain(&mut batch);
            } else {
                outbox.state.lock().wake_writer();
            }
        }
        self.batch.set(batch);
    }

    /// Takes the next remembered outbox. It takes one at a time, so that a panic leaves the others
    /// for the drop.
    fn next(&self) -> Option<Arc<Outbox>> {
        let mut outboxes = self.outboxes.borrow_mut();
        let next = outboxes.pop_front();
        if next.is_none() {
            outboxes.shrink_to(MAX_IDLE_ITEMS);
        }
        next
    }

    /// Counts a broadcast to a crowd. True if another thread has broadcast since this thread's
    /// last one: it will probably do so again now.
    pub(super) fn others_broadcast_since(&self) -> bool {
        let broadcasts = self
            .direct_writes
            .broadcasts
            .fetch_add(1, Ordering::Relaxed);
        self.last_broadcast.replace(broadcasts + 1) != broadcasts
    }
}

impl Drop for PendingWrites {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Outbox {
    /// Drains the queue without blocking. If the kernel does not accept all of a batch, or after
    /// [`MAX_DIRECT_BATCHES`] batches, it passes the duty on to the writer thread.
    pub(super) fn drain(&self, batch: &mut Batch) {
        let mut state = self.state.lock();
        for _ in 0..MAX_DIRECT_BATCHES {
            let Some(write) = self.begin_write(&mut state, batch, false) else {
                return;
            };
            drop(state);
            write.batch.encode(self);
            let (count, failed) = write.connection.write_now(write.batch.to_write());
            state = write.end(count, failed);
            if self.is_written(&state) {
                state.drain = Drain::Idle;
                return;
            }
            if !state.unwritten.is_empty() {
                break;
            }
        }
        state.wake_writer();
    }

    /// Returns whether the queue is open and empty. Under the queue lock no item can enter, so the
    /// thread that sees this has no duty any more.
    fn is_written(&self, state: &QueueState) -> bool {
        let has_first = |attached: &Attached| attached.first.is_some();
        state.phase == Phase::Open
            && state.unwritten.is_empty()
            && self.items.is_empty()
            && !state.attached.as_ref().is_some_and(has_first)
    }
}
