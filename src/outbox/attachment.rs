//! One connection, as its own reader thread and the shutdown use it: its socket and, from its
//! first name on, the outbox of its session.
//!
//! Without a session there is no queue and no writer thread. The reader thread writes its few
//! responses itself, and no other thread writes to that socket.
//!
//! Does not know names.
//!
//! Invariant: *nothing that a connection enqueues is written once another connection has
//! attached to the outbox.*

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::direct_write::PendingWrites;
use super::primitives::{Condvar, Mutex, Receiver, RecvTimeoutError, Socket, send_now};
use super::{Attached, Drain, Item, MustDrain, Outbox, Phase, QueueState, memory_of_response};
use crate::limits;
use crate::protocol::reply::Notice;

/// A connection: its socket, and the outbox that it is attached to, or was.
pub struct Attachment {
    /// The connection's number. No other connection of the server ever has it.
    pub number: u64,
    /// The client's socket: one descriptor, which both threads and the shutdown share.
    pub socket: Arc<Socket>,
    /// The limit for the outbox of its session, in bytes of deliveries.
    pub queue_size: usize,
    /// The longest time for one batch.
    pub write_timeout: Duration,
    /// Disconnected at the shutdown.
    shutdown: Receiver<Infallible>,
    /// Set once, when the connection gets its session.
    outbox: OnceLock<Arc<Outbox>>,
    /// Set once, when a write has failed. The kernel reports an error only to the first
    /// call, so it is kept for the reader thread, which needs it too.
    loss: OnceLock<Loss>,
    /// A partial write: the kernel has accepted this many bytes of the outbox's first item.
    /// Used only under the queue lock, so it needs no ordering of its own.
    pub(super) partial: AtomicUsize,
    /// Nothing more is written without a session. The shutdown waits for that.
    output_ended: Mutex<bool>,
    /// Notified when the output has ended.
    ended: Condvar,
}

/// The reason why nothing more is written to a connection.
#[derive(Debug)]
pub enum Loss {
    /// The kernel had not accepted a whole batch at the write timeout.
    TooSlow,
    /// A write failed.
    WriteFailed(io::Error),
    /// Another connection has resumed the session.
    ResumedElsewhere,
}

impl Attachment {
    /// Makes the connection of this number and socket. The outbox of its session holds `queue_size`
    /// bytes of deliveries. A batch may take `write_timeout`, which must also be the socket's.
    /// `shutdown` is disconnected when the server shuts down.
    pub fn new(
        number: u64,
        socket: Arc<Socket>,
        queue_size: usize,
        write_timeout: Duration,
        shutdown: Receiver<Infallible>,
    ) -> Attachment {
        Attachment {
            number,
            socket,
            queue_size,
            write_timeout,
            shutdown,
            outbox: OnceLock::new(),
            loss: OnceLock::new(),
            partial: AtomicUsize::new(0),
            output_ended: Mutex::new(false),
            ended: Condvar::new(),
        }
    }

    /// Returns the outbox of its session, if it has had one.
    pub fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.get()
    }

    /// Returns why nothing more is written to the connection, if it is lost.
    pub fn loss(&self) -> Option<&Loss> {
        self.loss.get()
    }

    /// Sends the response to a request of this connection, or the answer to a telnet command,
    /// behind everything that the request caused. Without a session it blocks until the kernel
    /// accepts the response, so it flushes first. It drops the response if nothing more is
    /// written to the connection.
    pub fn respond(&self, bytes: Vec<u8>, pending: &PendingWrites) {
        self.respond_with([bytes], pending);
    }

    /// Sends a response that is made of several messages, with nothing between them.
    pub fn respond_with(
        &self,
        messages: impl IntoIterator<Item = Vec<u8>>,
        pending: &PendingWrites,
    ) {
        let Some(outbox) = self.outbox() else {
            pending.flush();
            // One write: the write timeout counts for all of them.
            let messages: Vec<_> = messages.into_iter().collect();
            return self.write(&messages.concat());
        };
        let mut state = outbox.state.lock();
        if !state.is_open_for(self.number) {
            return;
        }
        let mut duty = MustDrain::No;
        for bytes in messages {
            let response = self.response_item(bytes, &mut state);
            if outbox.enqueue(&mut state, response) == MustDrain::Soon {
                duty = MustDrain::Soon;
            }
        }
        drop(state);
        pending.note(duty, outbox);
    }

    /// Ends the output, with this as the last message if there is one.
    pub fn finish(&self, last: Option<Vec<u8>>) {
        let Some(outbox) = self.outbox() else {
            self.write(&last.unwrap_or_default());
            return self.end_output();
        };
        let mut state = outbox.state.lock();
        if state.is_open_for(self.number) {
            let last = last.map(|bytes| self.response_item(bytes, &mut state));
            outbox.finish_with(state, last);
        }
    }

    /// Makes an item of a response, and counts its memory.
    fn response_item(&self, bytes: Vec<u8>, state: &mut QueueState) -> Item {
        state.responses += memory_of_response(bytes.len());
        let connection = self.number;
        Item::Response { connection, bytes }
    }

    /// Closes the connection for the shutdown, with a notice behind all that is queued. Without a
    /// session, the reader thread sends the notice: an end of input wakes it.
    ///
    /// The session map must be closed, so that the connection cannot get a session now.
    pub fn shut_down(&self) {
        match self.outbox() {
            Some(outbox) => {
                let notice = Item::Notice(Notice::ShuttingDown);
                outbox.finish_with(outbox.state.lock(), Some(notice));
            }
            None => {
                // Fails if the client has already reset the connection.
                let _ = self.socket.shutdown(Shutdown::Read);
            }
        }
    }

    /// Blocks until everything is written to a connection that is shut down, or it is lost.
    /// Returns false if neither has happened by the deadline.
    pub fn wait_until_written(&self, deadline: Instant) -> bool {
        let Some(outbox) = self.outbox() else {
            let mut has_ended = self.output_ended.lock();
            while !*has_ended && !self.ended.wait_until(&mut has_ended, deadline).timed_out() {}
            return *has_ended;
        };
        let mut state = outbox.state.lock();
        while state.phase == Phase::Closing
            && !outbox.changed.wait_until(&mut state, deadline).timed_out()
        {}
        state.phase == Phase::Done
    }

    /// Blocks the reader thread while unwritten responses to its client take too much memory
    /// (section 7.6). Returns false if no further request of the connection is executed.
    pub fn wait_for_room(&self, pending: &PendingWrites) -> bool {
        let Some(outbox) = self.outbox() else {
            return self.is_served();
        };
        let has_room = |state: &QueueState| state.responses < limits::MAX_UNWRITTEN_RESPONSES;
        let mut state = outbox.state.lock();
        if !has_room(&state) {
            drop(state);
            pending.flush();
            state = outbox.state.lock();
        }
        while state.is_open_for(self.number) && !has_room(&state) {
            outbox.changed.wait(&mut state);
        }
        self.is_served_by(&state)
    }

    /// Blocks the reader thread for this time, or until no further request of the connection is
    /// executed.
    pub fn pause(&self, time: Duration, pending: &PendingWrites) {
        pending.flush();
        let Some(outbox) = self.outbox() else {
            let _ = self.shutdown.recv_timeout(time);
            return;
        };
        let deadline = Instant::now() + time;
        let mut state = outbox.state.lock();
        while self.is_served_by(&state)
            && !outbox.changed.wait_until(&mut state, deadline).timed_out()
        {}
    }

    /// Blocks until no thread writes to the connection. Such a write ends soon: it does not
    /// block, or the connection has been reset. Returns true at once if the writer thread of a
    /// detached connection may be blocked.
    pub fn wait_for_write(&self) -> bool {
        let Some(outbox) = self.outbox() else {
            return false;
        };
        let mut state = outbox.state.lock();
        while state.drain == Drain::Writing(self.number)
            || state.drain == Drain::Blocking(self.number) && state.is_attached(self.number)
        {
            outbox.changed.wait(&mut state);
        }
        state.drain == Drain::Blocking(self.number)
    }

    /// Returns whether further requests of the connection are executed: it can be written to, or
    /// a write has failed.
    ///
    /// A failed write means that the client has reset the connection. Then the requests that the
    /// kernel has received before are still executed (section 4). They are not executed after the
    /// write timeout, the shutdown, or the end or resumption of the session elsewhere.
    pub fn is_served(&self) -> bool {
        match self.outbox() {
            Some(outbox) => self.is_served_by(&outbox.state.lock()),
            None => !matches!(self.loss(), Some(Loss::TooSlow)) && !self.is_shutting_down(),
        }
    }

    fn is_served_by(&self, state: &QueueState) -> bool {
        let was_reset = matches!(self.loss(), Some(Loss::WriteFailed(_)));
        let is_latest = state.phase == Phase::Open && state.last_attached == self.number;
        is_latest && (state.is_attached(self.number) || was_reset)
    }

    /// Returns whether the server shuts down.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.recv_timeout(Duration::ZERO) == Err(RecvTimeoutError::Disconnected)
    }

    /// Shuts the socket down. Threads that are blocked in a read or a write of it return.
    pub fn shutdown_socket(&self) {
        // Fails if the client has already reset the connection.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Shuts the socket down and detaches the connection. Deliveries stay queued for the next
    /// connection.
    pub fn abort(&self) {
        self.shutdown_socket();
        if let Some(outbox) = self.outbox() {
            outbox.detach(self.number);
        }
    }

    /// Sets the outbox of its session. A connection has only one session in its life.
    pub(super) fn set_outbox(&self, outbox: &Arc<Outbox>) {
        let set = self.outbox.set(Arc::clone(outbox));
        debug_assert!(set.is_ok(), "a connection has one session in its life");
    }

    /// Sets why the connection is lost. Only the first call has an effect, so that no later one
    /// hides a reset.
    pub(super) fn set_lost(&self, loss: Loss) {
        let _ = self.loss.set(loss);
    }

    /// Sends the end of input to the client.
    pub(super) fn end_output(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
        *self.output_ended.lock() = true;
        self.ended.notify_all();
    }

    /// Writes a message without a session. Only the reader thread may do that.
    fn write(&self, bytes: &[u8]) {
        if self.loss().is_none()
            && let (_, Some(loss)) = self.write_batch(bytes, |count| &bytes[count..])
        {
            self.set_lost(loss);
            // Nothing new can arrive. What the kernel has received can still be read.
            self.shutdown_socket();
        }
    }

    /// Writes as many bytes as the kernel accepts at once. Returns their number.
    pub(super) fn write_now(&self, bytes: &[u8]) -> (usize, Option<Loss>) {
        match send_now(&self.socket, bytes) {
            Ok(count) => (count, None),
            Err(e) => (0, Some(Loss::WriteFailed(e))),
        }
    }

    /// Writes a batch. Blocks until the kernel has accepted all of it, at most for the write
    /// timeout. Returns how many bytes it accepted.
    ///
    /// A client that is too slow gets a notice, if the kernel accepts it at once. It follows
    /// the message that was written in part, whose rest `rest_of_message` returns.
    pub(super) fn write_batch<'a>(
        &self,
        bytes: &[u8],
        rest_of_message: impl FnOnce(usize) -> &'a [u8],
    ) -> (usize, Option<Loss>) {
        // SO_SNDTIMEO bounds one call of send(2), so a client that trickles needs a deadline.
        let deadline = Instant::now() + self.write_timeout;
        let mut accepted = 0;
        while accepted < bytes.len() {
            let is_timeout = match (&*self.socket).write(&bytes[accepted..]) {
                Ok(count) => {
                    accepted += count;
                    accepted < bytes.len() && Instant::now() >= deadline
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => false,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => true,
                Err(e) => return (accepted, Some(Loss::WriteFailed(e))),
            };
            if is_timeout {
                let rest = rest_of_message(accepted);
                let more = self.send_notice_behind(rest, Notice::ReadTooSlowly);
                return (accepted + more.min(rest.len()), Some(Loss::TooSlow));
            }
        }
        (accepted, None)
    }

    /// Sends a notice behind these bytes, as far as the kernel accepts both at once. Returns
    /// how many bytes it accepted.
    fn send_notice_behind(&self, rest: &[u8], notice: Notice) -> usize {
        let mut bytes = rest.to_vec();
        notice.encode(self.outbox().map(|outbox| outbox.token()), &mut bytes);
        send_now(&self.socket, &bytes).unwrap_or(0)
    }
}

/// A connection that was attached until another connection attached to its outbox.
///
/// Its writer thread ends when this is dropped.
pub struct Evicted(pub(super) Attached);

impl Evicted {
    /// Ends the connection with a notice, without waiting for its client. If a message was
    /// partial, or its writer thread may be blocked in one, no notice can follow, and the socket
    /// is shut down. Its writer thread closes the connection.
    pub fn evict(self) {
        let Attached {
            connection, first, ..
        } = &self.0;
        if connection.wait_for_write() || connection.partial.load(Ordering::Relaxed) > 0 {
            return connection.shutdown_socket();
        }
        let first = first.as_deref().unwrap_or_default();
        connection.send_notice_behind(first, Notice::ResumedElsewhere);
    }
}
