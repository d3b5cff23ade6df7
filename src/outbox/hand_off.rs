//! The hand-off: who fills the outbox of an idle client drains it on the spot.
//!
//! Waking a parked writer thread costs more than the write itself, and it would wake for
//! every message of a quiet room. So a reader that has queued something somewhere keeps
//! that in mind, and before it does anything that can block, it writes to each of these
//! clients what is queued for it, in one write that does not block. What the kernel does
//! not take at once is the writer's, who may block.
//!
//! Knows nothing of what is queued. With `--no-hand-off` it only wakes the writers,
//! which is slower, and there to be compared.

use std::cell::Cell;
use std::net::Shutdown;
use std::sync::Arc;

use super::batch::Batch;
use super::primitives::send_now;
use super::{Duty, NotQueued, Outbox};
use crate::limits::{HAND_OFF_ROUNDS, IDLE_ITEMS};
use crate::protocol::reply::Delivery;

/// What one reader has queued and not yet seen to. It belongs to the reader's thread.
///
/// Dropping it flushes it, so that a reader that panics leaves nothing lying.
pub struct Cork {
    outboxes: Cell<Vec<Arc<Outbox>>>,
    batch: Cell<Batch>,
    hand_off: bool,
}

impl Cork {
    /// Of a reader that has queued nothing. Without the hand-off, it leaves all writing
    /// to the writers.
    pub fn new(hand_off: bool) -> Cork {
        Cork {
            outboxes: Cell::default(),
            batch: Cell::default(),
            hand_off,
        }
    }

    /// Queues a delivery ([`Outbox::send`]), and takes up the duty if it is ours.
    pub fn send(&self, outbox: &Arc<Outbox>, delivery: &Delivery) -> Result<(), NotQueued> {
        outbox.send(delivery).map(|duty| self.take_up(duty, outbox))
    }

    /// Keeps in mind that this outbox is to be drained, if that is ours to do.
    pub(super) fn take_up(&self, duty: Duty, outbox: &Arc<Outbox>) {
        if duty == Duty::Yours {
            let mut outboxes = self.outboxes.take();
            outboxes.push(Arc::clone(outbox));
            self.outboxes.set(outboxes);
        }
    }

    /// Sees to everything that was queued. To be done before anything that can block: a
    /// read, a pause, waiting for one's own client.
    pub fn flush(&self) {
        let mut outboxes = self.outboxes.take();
        let mut batch = self.batch.take();
        for outbox in outboxes.drain(..) {
            if self.hand_off {
                outbox.drain(&mut batch);
            } else {
                outbox.account.lock().wake_writer();
            }
        }
        outboxes.shrink_to(IDLE_ITEMS);
        self.batch.set(batch);
        self.outboxes.set(outboxes);
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
        let Some(mut half) = self.half.try_lock() else {
            // Its writer is at it already, or another reader, or still the writer of a
            // connection which has been taken over, for whom the next one waits.
            return self.account.lock().wake_writer();
        };
        let mut account = self.account.lock();
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
            batch.pull(&mut half, self, &mut account, connection);
            let stopped = batch.leave_last(&mut half);
            if batch.is_empty() && !stopped {
                account.attended = false;
                // While the account is locked, so that whoever has the duty next finds
                // it free.
                drop(half);
                return;
            }
            drop(account);
            batch.encode(self.token.get().copied());
            let written = send_now(&socket, batch.to_write());
            account = self.account.lock();
            let count = *written.as_ref().unwrap_or(&0);
            batch.take(count, &mut half, &mut account);
            let is_torn = half.begun.is_some();
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
            } else if stopped || !half.items.is_empty() {
                break;
            }
        }
        account.wake_writer();
    }
}
