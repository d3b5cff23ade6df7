//! The thread `broadcaster`: drains the outboxes of broadcasts to many clients.
//!
//! A reader thread that has filled many outboxes gives the list to this thread, and goes on.
//! While the list waits, reader threads enqueue further messages for the same clients. Those
//! messages join writes that have not been made. So there are fewer writes, and each carries
//! more. On a machine with several processors, one queues while the other writes.
//!
//! It blocks only while it waits for a list. It never blocks on a client: it drains without
//! blocking, as a reader thread does ([`direct_write`](super::direct_write)). It ends when its
//! channel is disconnected, because the last reader thread has dropped its handle. The shutdown
//! does not wait for it: a closed outbox has its writer thread. With `--no-direct-writes` there is
//! no such thread.
//!
//! Does not know which messages are queued, or for how many clients.
//!
//! Invariant: *a list that it has accepted is drained, also if a drain panics.*
//!
//! # How long its work can become
//!
//! A reader thread no longer pays for its broadcasts with its own writes. Four rules bound
//! what it leaves to this thread:
//!
//! - An outbox is on one list at most, while its duty is assigned. What is enqueued meanwhile
//!   adds bytes and no entry.
//! - If a queue passes half of its limit, the reader thread that fills it drains it at once.
//!   Such an outbox can be on a second list. The drain of the first list then finds the queue
//!   empty, which costs no write.
//! - At most [`MAX_BROADCASTER_LISTS`] lists wait. If the channel is full, the reader thread
//!   drains its list itself.
//! - The sender's own outbox is on the list too, behind the recipients. So the sender gets its
//!   response after they got the message. If it does not wait for the response, it is stopped
//!   after 64 KiB of unwritten responses (section 7.6), which is one list later.

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use super::Outbox;
use super::batch::Batch;
use super::primitives::{Receiver, Sender, TrySendError, bounded, catch_unwind, spawn, yield_now};
use crate::limits::MAX_BROADCASTER_LISTS;

/// Outboxes that must be drained, in this order.
pub(super) type List = VecDeque<Arc<Outbox>>;

/// The channel to the thread, which ends when this is dropped.
pub(super) struct Broadcaster {
    pub(super) lists: Sender<List>,
}

impl Broadcaster {
    /// Starts the thread. An error means that the system has no thread left.
    pub(super) fn start() -> io::Result<Broadcaster> {
        let (lists, given) = bounded(MAX_BROADCASTER_LISTS);
        spawn("broadcaster".to_owned(), move || drain_lists(&given))?;
        Ok(Broadcaster { lists })
    }

    /// Gives the thread the duty to drain these outboxes. If too many lists wait, the caller
    /// gets the list back, and the duty with it.
    pub(super) fn assign(&self, list: List) -> Result<(), List> {
        self.lists.try_send(list).map_err(TrySendError::into_inner)
    }
}

/// Drains one list after the other, until the channel is disconnected.
pub(super) fn drain_lists(lists: &Receiver<List>) {
    let mut batch = Batch::default();
    while let Ok(list) = lists.recv() {
        // Reader threads that are ready to run enqueue first, and their messages join the
        // writes.
        yield_now();
        for outbox in list {
            let drained = catch_unwind(AssertUnwindSafe(|| outbox.drain(&mut batch)));
            if drained.is_err() {
                // The panic has been logged and has lost its connection. The batch may hold
                // bytes of that client, which no other client may get.
                batch = Batch::default();
            }
        }
    }
}
