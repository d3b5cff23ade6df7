//! What a reader thread reads from, and what it drops at the end.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use log::debug;

use crate::outbox::Attachment;
use crate::outbox::direct_write::PendingWrites;
use crate::protocol::telnet::TelnetFilter;
use crate::server::rate_limit::RateLimiter;

/// The client's bytes without telnet's, which are answered on the way; until there is
/// a session, those that come before the login deadline.
pub(super) struct Input<'a> {
    pub(super) attachment: &'a Attachment,
    pub(super) pending: &'a PendingWrites,
    pub(super) telnet: TelnetFilter,
    pub(super) rate: &'a mut RateLimiter,
    /// By when there is to be a session; `None` once there is one.
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
                // SO_RCVTIMEO bounds one call of recv(2), so it is set before each, or a
                // byte now and then would prolong the time.
                self.attachment.socket.set_read_timeout(Some(left))?;
            }
            let count = match (&*self.attachment.socket).read(buffer) {
                // The kernel counts in ticks of its own, so it may be a little early.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                result => result?,
            };
            let mut answers = Vec::new();
            let kept = self.telnet.filter(&mut buffer[..count], &mut answers);
            if !answers.is_empty() {
                self.attachment.respond(answers, self.pending);
                self.wait_for_rate();
            }
            // Nothing but telnet's is not the end of input.
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
    /// Whether the login deadline has passed without a session.
    ///
    /// Asked at each request too, since requests that have been read may be answered later:
    /// the rate delays each by up to a second. (A client that does not take its answers is
    /// left to the write timeout.)
    pub(super) fn login_deadline_passed(&self) -> bool {
        self.login_deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Counts a request, or telnet commands that were answered, and blocks while the client is
    /// faster than the rate.
    pub(super) fn wait_for_rate(&mut self) {
        let delay = self.rate.delay(Instant::now());
        if !delay.is_zero() {
            debug!("asks too fast: waits {} ms", delay.as_millis());
            self.attachment.pause(delay, self.pending);
        }
    }

    /// There is a session: from now on a read takes its time, and costs one system call.
    pub(super) fn clear_login_deadline(&mut self) -> io::Result<()> {
        match self.login_deadline.take() {
            Some(_) => self.attachment.socket.set_read_timeout(None),
            None => Ok(()),
        }
    }

    /// Called when a read gives nothing: an orderly end, or a reset whose error another
    /// thread's write has been told. A socket that still has a peer was closed in order. One
    /// without was reset: after its client had closed in order, if the error is EPIPE
    /// (tcp_reset in the kernel), so that is an end of input too; with any other error it is
    /// a break.
    fn end_of_input(&self) -> io::Result<usize> {
        if self.attachment.socket.peer_addr().is_ok() {
            return Ok(0);
        }
        match self.attachment.socket.take_error() {
            Ok(Some(e)) if e.kind() != io::ErrorKind::BrokenPipe => Err(e),
            Ok(Some(_)) | Err(_) => Ok(0),
            // Another thread's write has taken it, and keeps it when it ends.
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
        // std refuses a timeout of zero. The least is one look at what has arrived.
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
