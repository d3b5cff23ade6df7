//! The hand-off: who fills the outbox of an idle client writes to it at once, and hands off
//! to the writer thread only what would block.
//!
//! Waking a parked writer thread costs more than the write itself, and it would wake for
//! every message of a quiet room. So a reader that has queued something somewhere keeps
//! that in mind, and before it does anything that can block, it writes to each of these
//! clients what is queued for it, in one write that does not block. What the kernel does
//! not take at once is the writer's, who may block.
//!
//! Several who speak to the same crowd at once would each write to each of its clients.
//! So one who is about to, and knows that others have spoken since it last did, lets
//! those run first who can: what they add goes into the same write, since the duty is
//! already taken. Nor does anybody wait for more than so much: who has queued
//! [`CORKED`] deliveries, or has filled a queue by half, writes at once.
//!
//! Knows nothing of what is queued. With `--no-hand-off` it only wakes the writers,
//! which is slower, and there to be compared.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::batch::Batch;
use super::primitives::{send_now, yield_now};
use super::{Duty, NotQueued, Outbox};
use crate::limits::{CORKED, CROWD, HAND_OFF_ROUNDS, IDLE_ITEMS};
use crate::protocol::reply::Delivery;

/// What the readers of a server have in common.
pub struct HandOff {
    is_on: bool,
    /// How often one of them has spoken to a crowd. It only says whether another has
    /// since, and orders nothing.
    spoken: AtomicU64,
}

impl HandOff {
    /// Without it, all writing is left to the writers.
    pub fn new(is_on: bool) -> Arc<HandOff> {
        Arc::new(HandOff {
            is_on,
            spoken: AtomicU64::new(0),
        })
    }
}

/// What one reader has queued and not yet seen to. It belongs to the reader's thread.
///
/// Dropping it flushes it, so that a reader that panics leaves nothing lying.
pub struct Cork {
    hand_off: Arc<HandOff>,
    outboxes: RefCell<VecDeque<Arc<Outbox>>>,
    /// How many deliveries it has queued since it was flushed.
    queued: Cell<usize>,
    /// How often anybody had spoken to a crowd when this reader last did.
    last_spoken: Cell<u64>,
    /// Empty, and kept for its buffers.
    batch: Cell<Batch>,
}

impl Cork {
    /// Of a reader that has queued nothing.
    pub fn new(hand_off: Arc<HandOff>) -> Cork {
        Cork {
            hand_off,
            outboxes: RefCell::default(),
            queued: Cell::default(),
            last_spoken: Cell::default(),
            batch: Cell::default(),
        }
    }

    /// Queues a delivery ([`Outbox::send`]), and takes up the duty if it is ours. Sees to
    /// all there is if that has become much.
    pub fn send(&self, outbox: &Arc<Outbox>, delivery: &Delivery) -> Result<(), NotQueued> {
        self.take_up(outbox.send(delivery)?, outbox);
        let queued = self.queued.get() + 1;
        self.queued.set(queued);
        if queued >= CORKED {
            self.flush();
        }
        Ok(())
    }

    /// Keeps in mind that this outbox is to be drained, if that is ours to do.
    pub(super) fn take_up(&self, duty: Duty, outbox: &Arc<Outbox>) {
        match duty {
            Duty::Yours => self.outboxes.borrow_mut().push_back(Arc::clone(outbox)),
            Duty::YoursNow => self.see_to(std::iter::once(Arc::clone(outbox))),
            Duty::NotYours => {}
        }
    }

    /// Sees to everything that was queued. To be done before anything that can block: a
    /// read, a pause, waiting for one's own client.
    pub fn flush(&self) {
        let to_a_crowd = self.queued.take() >= CROWD && self.hand_off.is_on;
        let in_company = to_a_crowd && self.speaks_in_company();
        if in_company && self.outboxes.borrow().len() >= CROWD {
            yield_now();
        }
        self.see_to(std::iter::from_fn(|| self.next()));
    }

    fn see_to(&self, outboxes: impl Iterator<Item = Arc<Outbox>>) {
        // Taken, so that what a panic leaves in it is not written to another client.
        let mut batch = self.batch.take();
        for outbox in outboxes {
            if self.hand_off.is_on {
                outbox.drain(&mut batch);
            } else {
                outbox.account.lock().wake_writer();
            }
        }
        self.batch.set(batch);
    }

    /// One at a time, so that a panic at one leaves the others for the drop.
    fn next(&self) -> Option<Arc<Outbox>> {
        let mut outboxes = self.outboxes.borrow_mut();
        let next = outboxes.pop_front();
        if next.is_none() {
            outboxes.shrink_to(IDLE_ITEMS);
        }
        next
    }

    /// Counts that this reader speaks to a crowd. True if another has since it last did, so
    /// that one is likely to be about to again. A reader that speaks alone does not yield,
    /// because on a busy machine that costs a time slice for nothing.
    pub(super) fn speaks_in_company(&self) -> bool {
        let spoken = self.hand_off.spoken.fetch_add(1, Ordering::Relaxed);
        self.last_spoken.replace(spoken + 1) != spoken
    }
}

impl Drop for Cork {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Outbox {
    /// Writes what there is, as far as the kernel takes it at once. Passes the duty on
    /// to the writer where it does not, where there is something that only the writer
    /// can see to, and after [`HAND_OFF_ROUNDS`] batches.
    fn drain(&self, batch: &mut Batch) {
        let _on_panic = OnPanic(self);
        let Some(mut outlet) = self.outlet.try_lock() else {
            // Its writer is at it already, or another reader, or still the writer of a
            // connection which has been taken over, for whom the next one waits.
            return self.account.lock().wake_writer();
        };
        let mut account = self.account.lock();
        // Out of here by `return` the duty is done with, or another's; by `break` it is
        // passed on to the writer.
        for _ in 0..HAND_OFF_ROUNDS {
            let Some(attached) = &account.attached else {
                // Whoever attaches will look.
                return;
            };
            let is_broken = |(failed, _): &(u64, _)| *failed == attached.connection;
            if account.failed.as_ref().is_some_and(is_broken) {
                // The first error is the one that tells a break from a close.
                break;
            }
            if attached.from.is_some() {
                // Its writer will look when it arrives. Before that, the answer to what
                // brought it here has to be written.
                return;
            }
            let (connection, socket) = (attached.connection, Arc::clone(&attached.socket));
            batch.pull(&mut outlet, self, &mut account, connection);
            let stopped = batch.leave_last(&mut outlet);
            if batch.is_empty() && !stopped {
                account.duty_taken = false;
                // While the account is locked, so that whoever has the duty next finds
                // it free.
                drop(outlet);
                return;
            }
            drop(account);
            batch.encode(self.token.get().copied());
            let written = send_now(&socket, batch.to_write());
            let count = *written.as_ref().unwrap_or(&0);
            batch.trace(count);
            account = self.account.lock();
            batch.settle(count, &mut outlet, &mut account);
            let is_torn = outlet.begun.is_some();
            account.writing = is_torn.then_some(connection);
            self.changed.notify_all();
            if let Err(e) = written {
                account.failed = Some((connection, e));
                break;
            }
            if !account.is_attached(connection) {
                // Taken over in the meantime. A message was begun there, and nothing
                // can stand in the middle of it.
                if is_torn {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            } else if stopped || !outlet.items.is_empty() {
                break;
            }
        }
        // First, so that it does not wake only to wait for it.
        drop(outlet);
        account.wake_writer();
    }
}

/// What a panic leaves of an outbox is not known, so its client has to come back. Without
/// this, nobody would have the duty any more, and that client would wait in silence.
struct OnPanic<'a>(&'a Outbox);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut account = self.0.account.lock();
            if let Some(attached) = &account.attached {
                let _ = attached.socket.shutdown(Shutdown::Both);
            }
            account.wake_writer();
        }
    }
}
