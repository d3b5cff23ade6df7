//! One batch: items that were taken out of an outbox, and their bytes, for one write.
//!
//! Does not know the socket: the caller writes the bytes, without the queue lock.
//!
//! Invariant: *from [`Outbox::begin_write`] to [`Write::end`] the drain is [`Drain::Writing`] or
//! [`Drain::Blocking`].* So no other thread takes items out meanwhile.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use log::{Level, log_enabled, trace};

use super::{
    Attachment, Drain, Item, Loss, Outbox, Phase, QueueGuard, QueueState, memory_of_response,
};
use crate::limits;
use crate::protocol::redact::Redacted;

/// A batch. It is empty except during a write, and is kept for its buffers.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// The kernel has already accepted this many of these bytes.
    partial: usize,
    /// The items, each with the number of its bytes.
    items: VecDeque<(Item, usize)>,
    connection: u64,
}

impl Batch {
    /// Takes items out of the queue for the attached connection, as many as fit into one write.
    /// Returns the connection.
    fn take_items(&mut self, outbox: &Outbox, state: &mut QueueState) -> Option<Arc<Attachment>> {
        let attached = state.attached.as_mut()?;
        let connection = Arc::clone(&attached.connection);
        self.connection = connection.number;
        let mut first = attached.first.take().map(|bytes| {
            state.responses += memory_of_response(bytes.len());
            let connection = self.connection;
            Item::Response { connection, bytes }
        });
        self.partial = connection.partial.swap(0, Ordering::Relaxed);
        let mut size = 0;
        while size + limits::MAX_MESSAGE <= limits::MAX_BATCH {
            let next = first.take().or_else(|| state.unwritten.pop_front());
            let Some(item) = next.or_else(|| outbox.items.try_recv().ok()) else {
                break;
            };
            let item = match item {
                Item::Gap => Item::Notice(state.close_gap()),
                // The connection that asked is no longer attached.
                Item::Response { connection, bytes } if connection != self.connection => {
                    state.responses -= memory_of_response(bytes.len());
                    continue;
                }
                item => item,
            };
            size += match &item {
                Item::Response { bytes, .. } => bytes.len(),
                Item::Delivery(delivery) => delivery.wire_len(),
                Item::Notice(_) | Item::Gap => limits::MAX_NOTICE,
            };
            self.items.push_back((item, 0));
        }
        Some(connection)
    }

    /// Encodes the items, for the session of this outbox.
    pub(super) fn encode(&mut self, outbox: &Outbox) {
        for (item, length) in &mut self.items {
            let start = self.bytes.len();
            match item {
                Item::Response { bytes, .. } => self.bytes.extend_from_slice(bytes),
                Item::Delivery(delivery) => delivery.encode(Some(outbox.token), &mut self.bytes),
                Item::Notice(notice) => notice.encode(Some(outbox.token), &mut self.bytes),
                Item::Gap => {}
            }
            *length = self.bytes.len() - start;
        }
    }

    /// Returns the bytes that the kernel has not accepted yet.
    pub(super) fn to_write(&self) -> &[u8] {
        &self.bytes[self.partial..]
    }

    /// Returns the rest of the message in which `count` accepted bytes end. It is empty if they
    /// end a message.
    pub(super) fn rest_of_message(&self, count: usize) -> &[u8] {
        let count = self.partial + count;
        let mut end = 0;
        for (_, length) in &self.items {
            if end >= count {
                break;
            }
            end += length;
        }
        &self.bytes[count..end.max(count)]
    }

    /// Logs the lines that the kernel has accepted completely with these `count` bytes.
    fn trace(&self, count: usize) {
        if !log_enabled!(Level::Trace) {
            return;
        }
        let mut end = 0;
        for line in self.bytes.split_inclusive(|&byte| byte == b'\n') {
            end += line.len();
            if (self.partial + 1..=self.partial + count).contains(&end) {
                let line = Redacted(line.strip_suffix(b"\r\n").unwrap_or(line));
                trace!("<{} {line}", self.connection);
            }
        }
    }

    /// Empties the batch after a write of `count` bytes. Items that the kernel accepted
    /// completely leave the queue's counts, the others go back.
    fn commit_written(&mut self, count: usize, connection: &Attachment, state: &mut QueueState) {
        let mut count = self.partial + count;
        while let Some((item, length)) = self.items.pop_front() {
            if length > count {
                self.items.push_front((item, length));
                break;
            }
            count -= length;
            match item {
                Item::Response { .. } => state.responses -= memory_of_response(length),
                Item::Delivery(_) => state.deliveries -= length,
                Item::Notice(_) | Item::Gap => {}
            }
        }
        connection.partial.store(count, Ordering::Relaxed);
        self.put_back(state);
    }

    /// Empties the batch. All of its items go back to the queue, in order.
    fn put_back(&mut self, state: &mut QueueState) {
        for (item, _) in self.items.drain(..).rev() {
            state.unwritten.push_front(item);
        }
        if state.unwritten.is_empty() {
            state.unwritten.shrink_to(limits::MAX_IDLE_ITEMS);
        }
        self.partial = 0;
        self.bytes.clear();
        self.bytes.shrink_to(limits::MAX_IDLE_BATCH);
        self.items.shrink_to(limits::MAX_IDLE_ITEMS);
    }
}

/// A write in progress. Its thread is the only one that writes for this outbox.
pub(super) struct Write<'a, 'b> {
    outbox: &'a Outbox,
    pub(super) connection: Arc<Attachment>,
    pub(super) batch: &'b mut Batch,
    has_ended: bool,
}

impl Outbox {
    /// Takes a batch out for the attached connection, and makes the caller the writing
    /// thread. `None` if another thread writes, if no connection is attached, or if nothing
    /// is queued. Then the caller has no duty any more. Only the connection's own writer thread
    /// may block in the write.
    pub(super) fn begin_write<'b>(
        &self,
        state: &mut QueueState,
        batch: &'b mut Batch,
        may_block: bool,
    ) -> Option<Write<'_, 'b>> {
        if matches!(state.drain, Drain::Writing(_) | Drain::Blocking(_)) {
            return None;
        }
        state.drain = Drain::Idle;
        let connection = batch.take_items(self, state)?;
        if !batch.items.is_empty() {
            state.drain = match may_block {
                true => Drain::Blocking(connection.number),
                false => Drain::Writing(connection.number),
            };
            return Some(Write {
                outbox: self,
                connection,
                batch,
                has_ended: false,
            });
        }
        if state.phase == Phase::Closing {
            state.phase = Phase::Done;
            state.wake_writer();
        }
        self.changed.notify_all();
        None
    }
}

impl<'a> Write<'a, '_> {
    /// Ends the write. The kernel has accepted `count` bytes. The caller keeps the duty. If
    /// the write failed, the connection is lost.
    pub(super) fn end(mut self, count: usize, failed: Option<Loss>) -> QueueGuard<'a> {
        self.batch.trace(count);
        let mut state = self.outbox.state.lock();
        self.batch
            .commit_written(count, &self.connection, &mut state);
        state.drain = Drain::Assigned;
        if let Some(loss) = failed {
            state.lose(&self.connection, loss);
        }
        self.outbox.changed.notify_all();
        self.has_ended = true;
        state
    }
}

/// After a panic the client must reconnect. It gets the items of the batch again, even if the
/// kernel has accepted some. Without this, no thread would have the duty, and the client would
/// wait in silence.
impl Drop for Write<'_, '_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let mut state = self.outbox.state.lock();
            self.batch.put_back(&mut state);
            state.drain = Drain::Idle;
            let panicked = io::Error::other("the server panicked while it wrote");
            state.lose(&self.connection, Loss::WriteFailed(panicked));
            // Another connection may have attached since.
            state.wake_writer();
            drop(state);
            self.outbox.changed.notify_all();
            self.connection.shutdown_socket();
        }
    }
}
