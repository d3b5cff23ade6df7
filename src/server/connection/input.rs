//! The bytes that a reader thread reads from its client, and those that it drops at the end.
//!
//! Answers telnet commands on the way, and watches the login deadline. Before each read it
//! drains the outboxes that the thread has filled.
//!
//! Does not know lines or requests.
//!
//! Invariant: a reset is never taken for an end of input. Either `read` returns its error, or the
//! attachment has it as its loss.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use log::debug;

use crate::outbox::Attachment;
use crate::outbox::direct_write::PendingWrites;
use crate::protocol::telnet::TelnetFilter;
use crate::server::rate_limit::RateLimiter;

/// The client's bytes without telnet commands. Without a session, only those that arrive before
/// the login deadline.
pub(super) struct Input<'a> {
    pub(super) attachment: &'a Attachment,
    pub(super) pending: &'a PendingWrites,
    pub(super) telnet: TelnetFilter,
    pub(super) rate_limiter: &'a mut RateLimiter,
    /// The time by which there must be a session. `None` if there is one.
    pub(super) login_deadline: Option<Instant>,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.pending.flush();
            if !self.attachment.wait_for_room(self.pending) {
                return Ok(0);
            }
            if let Some(deadline) = self.login_deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(0);
                }
                // SO_RCVTIMEO bounds one call of recv(2). Without a new value for each call, a
                // client that trickles bytes would extend the deadline.
                self.attachment.socket.set_read_timeout(Some(left))?;
            }
            let count = match (&*self.attachment.socket).read(buffer) {
                // The kernel counts in its own ticks, so the timeout may be a little early.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                result => result?,
            };
            let mut answers = Vec::new();
            let kept = self.telnet.filter(&mut buffer[..count], &mut answers);
            if !answers.is_empty() {
                self.attachment.respond(answers, self.pending);
                self.wait_for_rate();
            }
            // If the client has sent only telnet commands, `kept` is 0, and this is not the end
            // of input.
            if kept > 0 {
                return Ok(kept);
            }
            if count == 0 {
                return self.end_of_input();
            }
        }
    }
}

impl Input<'_> {
    /// Returns whether the login deadline has passed without a session.
    ///
    /// The reader thread asks before each request too. Requests that it has already read may
    /// wait, because the rate limit delays each by up to a second. A client that does not read
    /// its responses is left to the write timeout.
    pub(super) fn login_deadline_passed(&self) -> bool {
        self.login_deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Counts a request, or the telnet commands of one read. Blocks while the client is faster
    /// than its rate limit.
    pub(super) fn wait_for_rate(&mut self) {
        let delay = self.rate_limiter.delay(Instant::now());
        if !delay.is_zero() {
            debug!("rate limit exceeded: waiting {} ms", delay.as_millis());
            self.attachment.pause(delay, self.pending);
        }
    }

    /// Removes the login deadline, because there is a session. From then on a read has no
    /// timeout, and costs one system call.
    pub(super) fn clear_login_deadline(&mut self) -> io::Result<()> {
        match self.login_deadline.take() {
            Some(_) => self.attachment.socket.set_read_timeout(None),
            None => Ok(()),
        }
    }

    /// Tells an end of input from a reset, after a read has returned 0 bytes.
    ///
    /// The read returns 0 after a reset, too, if another thread's write has got the error. A
    /// socket that still has a peer was closed, and not reset. If it has no peer and its error
    /// is EPIPE, the client had closed its side before the reset (`tcp_reset` in the kernel).
    /// That is an end of input too. With any other error the connection is lost.
    fn end_of_input(&self) -> io::Result<usize> {
        let socket = &self.attachment.socket;
        if socket.peer_addr().is_ok() {
            return Ok(0);
        }
        match socket.take_error() {
            Ok(Some(e)) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            Ok(Some(_)) | Err(_) => Ok(0),
            // Another thread's write has the error. When that write ends, the error is the loss
            // of the attachment.
            Ok(None) => {
                self.attachment.wait_for_write();
                Ok(0)
            }
        }
    }
}

/// Reads and drops what the client still sends, until it closes its side or the deadline has
/// passed. Otherwise a close would reset the connection and destroy the last message.
pub fn drain_input(mut socket: &TcpStream, deadline: Instant, buffer: &mut [u8]) {
    loop {
        // std refuses a timeout of zero. The shortest reads once what has already arrived.
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.max(Duration::from_millis(1));
        let read = socket
            .set_read_timeout(Some(timeout))
            .and_then(|()| socket.read(buffer));
        if !matches!(read, Ok(1..)) || left.is_zero() {
            break;
        }
    }
}
