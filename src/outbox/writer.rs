//! The writer thread, `writer-N`: drains the outbox that its connection is attached
//! to into the connection's socket.
//!
//! It blocks on its `wake`, which whoever passes the duty to drain on to it sends, and
//! which is disconnected when it is attached no more; on the socket, for a batch no longer
//! than the write timeout, and until somebody shuts the socket down; for an instant on the
//! outlet, while a reader drains the outbox, or the writer before it has not noticed yet that
//! its connection was taken over; and at its end a second at most, for its reader.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::batch::{Batch, Last};
use super::primitives::{Receiver, Sender, Socket, bounded, send_now};
use super::{Attached, Attachment, Outbox, State};
use crate::limits;
use crate::protocol::reply::Notice;
#[cfg(not(model))]
use crate::threads::spawn;

/// What a connection's reader knows of its writer.
///
/// Dropping it finishes the outbox, so that a reader that panics leaves no writer
/// behind.
pub struct Writer {
    attachment: Arc<Attachment>,
    /// Dropped when the reader reads no more, for which the writer waits.
    reading: Option<Sender<Infallible>>,
    /// Disconnected when the writer writes no more.
    written: Receiver<Infallible>,
    thread: Option<JoinHandle<io::Result<Ending>>>,
}

/// Why a writer has come to its end, if its connection is not broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All was written, up to the item that ends the queue.
    Written,
    /// Another connection has taken the place of this one, or the reader has broken
    /// it off.
    Detached,
}

/// Attaches a connection to its outbox, and starts the thread that writes to `socket`
/// what is queued there. A batch that is not wholly taken in `timeout` breaks the
/// connection.
///
/// An error means that there is no thread to be had, or no timeout for the socket.
#[cfg(not(model))]
pub fn start(
    attachment: &Arc<Attachment>,
    socket: Arc<Socket>,
    timeout: Duration,
) -> io::Result<Writer> {
    let (reading, reader_gone) = bounded(0);
    let (writing, written) = bounded(0);
    // SO_SNDTIMEO bounds one call of send(2), and a batch is one call.
    socket.set_write_timeout(Some(timeout))?;
    let writer = Box::new(WriterThread::attach(attachment, socket, timeout));
    let leaving = Arc::clone(attachment);
    let name = format!("writer-{}", attachment.connection);
    let thread = spawn(name, move || writer.run(&leaving, writing, &reader_gone))
        .inspect_err(|_| attachment.writer_has_gone())?;
    Ok(Writer {
        attachment: Arc::clone(attachment),
        reading: Some(reading),
        written,
        thread: Some(thread),
    })
}

impl Writer {
    /// Blocks until the writer writes no more. The outbox is to be finished, or the
    /// connection detached.
    pub fn wait_until_written(&self) {
        // Nothing is ever sent, so this is the disconnection.
        let _ = self.written.recv();
    }

    /// Says that nothing more is read from the connection, and waits until the
    /// thread has ended. An error is that of the write that broke the connection.
    pub fn end(mut self) -> io::Result<Ending> {
        self.reading = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(io::Error::other("the writer panicked")),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.attachment.finish(None);
    }
}

/// What a writer thread has.
pub(super) struct WriterThread {
    connection: u64,
    /// The outbox that it drains.
    outbox: Arc<Outbox>,
    socket: Arc<Socket>,
    /// Disconnected when the connection is attached no more.
    woken: Receiver<()>,
    /// See [`Attached`].
    is_torn: Arc<AtomicBool>,
    timeout: Duration,
    /// Kept for its buffers; empty but in the course of a write.
    batch: Batch,
}

/// Ends a writer thread, by whichever way it leaves, a panic included: the
/// connection is detached, and whatever its reader is blocked in, it leaves too.
struct Leave<'a> {
    attachment: &'a Attachment,
    socket: &'a Socket,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        // In this order, so that the reader does not take our shutting the socket
        // down for an end of input.
        self.attachment.writer_has_gone();
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What there is to do when the channel has been looked at.
enum Next {
    Wait,
    GoOver(Arc<Outbox>),
    End(Ending),
}

impl WriterThread {
    /// Attaches the connection, and makes what its writer needs. Not inlined: making a
    /// channel takes much stack, which would be part of `start`'s frame, and so of every
    /// idle client's memory.
    #[inline(never)]
    pub(super) fn attach(
        attachment: &Attachment,
        socket: Arc<Socket>,
        timeout: Duration,
    ) -> WriterThread {
        let (wake, woken) = bounded(1);
        let is_torn = Arc::new(AtomicBool::new(false));
        let outbox = attachment.outbox();
        let connection = attachment.connection;
        attachment.current.lock().socket = Some(Arc::clone(&socket));
        outbox.attach(Attached {
            connection,
            socket: Arc::clone(&socket),
            wake,
            from: None,
            is_torn: Arc::clone(&is_torn),
        });
        WriterThread {
            connection,
            outbox,
            socket,
            woken,
            is_torn,
            timeout,
            batch: Batch::default(),
        }
    }

    pub(super) fn run(
        mut self,
        attachment: &Attachment,
        writing: Sender<Infallible>,
        reader_gone: &Receiver<Infallible>,
    ) -> io::Result<Ending> {
        let socket = Arc::clone(&self.socket);
        let _leave = Leave {
            attachment,
            socket: &socket,
        };
        let ending = self.write_until_end()?;
        match ending {
            Ending::Written => self.outbox.say_done(),
            Ending::Detached => {
                if !self.is_torn.load(Ordering::Relaxed) {
                    self.say(Notice::ResumedElsewhere, &[]);
                }
            }
        }
        drop(writing);
        // The client reads the end of input behind the last line, and closes its
        // side. Until then the socket must stay open, with the reader reading from
        // it: closing it with unread input in it would reset the connection and
        // destroy that line (RFC 1122, 4.2.2.13).
        let _ = socket.shutdown(Shutdown::Write);
        let _ = reader_gone.recv_timeout(limits::CLOSING_TIME);
        Ok(ending)
    }

    fn write_until_end(&mut self) -> io::Result<Ending> {
        loop {
            match self.write_what_there_is()? {
                // The disconnection is seen when it looks again.
                Next::Wait => drop(self.woken.recv()),
                Next::GoOver(session) => {
                    self.outbox.detach(self.connection);
                    session.arrive(self.connection);
                    self.outbox = session;
                }
                Next::End(ending) => return Ok(ending),
            }
        }
    }

    /// Writes batches until the channel is empty.
    fn write_what_there_is(&mut self) -> io::Result<Next> {
        let outbox = Arc::clone(&self.outbox);
        let mut outlet = outbox.outlet.lock();
        let mut account = outbox.account.lock();
        loop {
            if !account.is_attached(self.connection) {
                return Ok(Next::End(Ending::Detached));
            }
            if let Some((_, e)) = account
                .failed
                .take_if(|(connection, _)| *connection == self.connection)
            {
                outlet.give_up(self.connection, &mut account);
                account.let_go(self.connection);
                outbox.changed.notify_all();
                return Err(e);
            }
            account.writing = Some(self.connection);
            self.batch
                .pull(&mut outlet, &outbox, &mut account, self.connection);
            // So that nobody waits for the encoding.
            drop(account);
            self.batch.encode(outbox.token.get().copied());
            let (mut count, result) = self.write(self.batch.to_write());
            if result
                .as_ref()
                .is_err_and(|e| e.kind() == io::ErrorKind::TimedOut)
            {
                // Best effort: a message that was begun is to end before it.
                let rest = self.batch.rest_of_message(count);
                count += self.say(Notice::ReadTooSlowly, rest).min(rest.len());
            }
            self.batch.trace(count);
            account = outbox.account.lock();
            let last = self.batch.settle(count, &mut outlet, &mut account);
            account.writing = None;
            outbox.changed.notify_all();
            if let Err(e) = result {
                outlet.give_up(self.connection, &mut account);
                // Before anyone else can have the outlet, and write behind the last word.
                account.let_go(self.connection);
                return Err(e);
            }
            match last {
                Some(Last::GoOver(session)) => return Ok(Next::GoOver(session)),
                Some(Last::End) => return Ok(Next::End(Ending::Written)),
                None if outlet.items.is_empty() && outbox.items.is_empty() => {
                    account.duty_taken = false;
                    // While the account is locked, so that whoever has the duty next
                    // finds it free.
                    drop(outlet);
                    return Ok(Next::Wait);
                }
                None => {}
            }
        }
    }

    /// Writes, and says how many bytes the kernel took, which may be some even if
    /// the connection breaks or the time is up.
    fn write(&self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let too_slow = || io::Error::new(io::ErrorKind::TimedOut, "it reads too slowly");
        let deadline = Instant::now() + self.timeout;
        let mut taken = 0;
        while taken < bytes.len() {
            match (&*self.socket).write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return (taken, Err(too_slow())),
                Err(e) => return (taken, Err(e)),
            }
            if taken < bytes.len() && Instant::now() >= deadline {
                return (taken, Err(too_slow()));
            }
        }
        (taken, Ok(()))
    }

    /// Says a last word behind these bytes, as far as the kernel takes both at once,
    /// and how many bytes it took.
    fn say(&self, notice: Notice, rest: &[u8]) -> usize {
        let mut bytes = rest.to_vec();
        notice.encode(self.outbox.token.get().copied(), &mut bytes);
        send_now(&self.socket, &bytes).unwrap_or(0)
    }
}

impl Outbox {
    /// All has been written, to the end.
    fn say_done(&self) {
        self.account.lock().state = State::Done;
        self.changed.notify_all();
    }
}
