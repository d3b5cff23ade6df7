//! The writer thread, `writer-N`: writes to one connection what its session's outbox holds.
//!
//! It is started before the connection's first name, and attached with it. It blocks in three
//! calls:
//!
//! - on its wake channel;
//! - in write(2), at most for the write timeout a batch;
//! - at its end, until its reader thread reads no more, at most for [`CLOSE_TIMEOUT`].
//!
//! It ends when its wake channel is disconnected, because the connection is detached, or when
//! the outbox is closed and written.
//!
//! Does not know requests or names.
//!
//! Invariant: *it writes only while its connection is attached, and never waits for another
//! thread's write.*
//!
//! # Why there is a writer thread if reader threads write
//!
//! A reader thread writes only what the kernel accepts at once. A thread that may block has
//! to write the rest, or one slow client would delay all others.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use super::batch::Batch;
use super::primitives::{JoinHandle, Receiver, RecvTimeoutError, Sender, bounded, spawn};
use super::{Attached, Attachment, Evicted, Loss, Outbox, Phase};
use crate::limits::CLOSE_TIMEOUT;
use crate::protocol::reply::Reply;

/// The reader thread's handle of its writer thread, which may not have started yet.
///
/// Dropping it ends the output. So a panic in the reader thread leaves no writer thread.
pub struct Writer {
    /// The connection.
    pub attachment: Arc<Attachment>,
    /// The thread's wake, until the connection is attached.
    wake: Option<Sender<()>>,
    woken: Receiver<()>,
    /// Dropped when the reader thread reads no more. The writer thread waits for that.
    reading: Option<Sender<Infallible>>,
    reader_gone: Receiver<Infallible>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Makes the handle of this connection's writer thread. Does not start the thread.
    ///
    /// The accept thread calls this, because making the channels takes much stack. In the reader
    /// thread it would take a page more of every idle client's memory.
    pub fn new(attachment: Arc<Attachment>) -> Writer {
        let (wake, woken) = bounded(1);
        let (reading, reader_gone) = bounded(0);
        Writer {
            attachment,
            wake: Some(wake),
            woken,
            reading: Some(reading),
            reader_gone,
            thread: None,
        }
    }

    /// Starts the thread, unless it has been started. The thread waits until the connection is
    /// attached.
    ///
    /// An error means that the system has no thread left.
    pub fn start(&mut self) -> io::Result<()> {
        if self.thread.is_none() {
            let thread = WriterThread {
                attachment: Arc::clone(&self.attachment),
                woken: self.woken.clone(),
                reader_gone: self.reader_gone.clone(),
            };
            let name = format!("writer-{}", self.attachment.number);
            self.thread = Some(spawn(name, move || thread.run())?);
        }
        Ok(())
    }

    /// Attaches the connection to the outbox of its session, with this as its first response.
    /// The caller then has the duty to drain. The thread must have been started. A connection
    /// is attached only once.
    pub fn attach(&mut self, outbox: &Arc<Outbox>, first: &Reply) -> Option<Evicted> {
        let connection = Arc::clone(&self.attachment);
        connection.set_outbox(outbox);
        outbox.attach(Attached {
            connection,
            wake: self.wake.take()?,
            first: Some(first.encode()),
        })
    }

    /// Waits until the thread has ended. The outbox must be closed, or the connection
    /// detached, and the reader thread reads no more requests.
    pub fn end(&mut self) {
        (self.wake, self.reading) = (None, None);
        if let Some(thread) = self.thread.take() {
            // The panic of a writer thread has been logged, and has lost its connection.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.attachment.finish(None);
        }
    }
}

/// The data of a running writer thread.
struct WriterThread {
    attachment: Arc<Attachment>,
    /// Disconnected when the connection is detached, or ends without a session.
    woken: Receiver<()>,
    /// Disconnected when the reader thread reads no more.
    reader_gone: Receiver<Infallible>,
}

impl WriterThread {
    /// Runs until the connection is detached, or the outbox is closed and written.
    fn run(self) {
        let mut batch = Batch::default();
        let mut is_done = false;
        while !is_done && self.woken.recv().is_ok() {
            if let Some(outbox) = self.attachment.outbox() {
                is_done = self.drain(outbox, &mut batch);
            }
        }
        // Only the reader thread writes to a connection that has no session.
        if let Some(outbox) = self.attachment.outbox() {
            self.close(outbox);
        }
    }

    /// Writes batches until the queue is empty, another thread writes, or the connection is
    /// detached. True if all is written and nothing will follow.
    fn drain(&self, outbox: &Outbox, batch: &mut Batch) -> bool {
        let connection = &self.attachment;
        let mut may_block = false;
        let mut state = outbox.state.lock();
        while state.is_attached(connection.number) {
            let Some(write) = outbox.begin_write(&mut state, batch, may_block) else {
                return state.phase == Phase::Done;
            };
            // Other threads can enqueue while this thread encodes and writes.
            drop(state);
            write.batch.encode(outbox);
            let bytes = write.batch.to_write();
            let (count, failed) = if may_block {
                connection.write_batch(bytes, |count| write.batch.rest_of_message(count))
            } else {
                connection.write_now(bytes)
            };
            state = write.end(count, failed);
            // It blocks only if the kernel has not accepted all. Otherwise a connection that is
            // evicted at this moment could not get its notice.
            may_block = !may_block && !state.unwritten.is_empty();
        }
        // The items of a batch that was lost here belong to the next connection. This thread
        // ends when its wake is dropped: by then an evicted connection has got its notice.
        state.wake_writer();
        false
    }

    /// Closes the connection. The client reads the end of input behind the last message, and
    /// closes its side. Until then the socket must stay open, and the reader thread must read
    /// from it: a close with unread input resets the connection and destroys that message
    /// (RFC 1122, 4.2.2.13).
    fn close(&self, outbox: &Outbox) {
        outbox.detach(self.attachment.number);
        if let None | Some(Loss::ResumedElsewhere) = self.attachment.loss() {
            self.attachment.end_output();
            let reader_gone = self.reader_gone.recv_timeout(CLOSE_TIMEOUT);
            if reader_gone == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
        self.attachment.shutdown_socket();
    }
}
