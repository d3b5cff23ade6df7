//! The sending half of a connection: writes requests and remembers which are pending.
//!
//! Does not know what a response means, or when a silent server needs a `Ping`. Any number of
//! threads can send at the same time.
//!
//! Invariant: *pending requests are in the order in which they were written*. A thread notes
//! a request and writes it under one lock.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, connect_unspec, send};

#[cfg(doc)]
use super::connection::Connection;
use super::connection::ServerResponse;
use crate::protocol::request::{Command, Request};
use crate::protocol::token::Token;

/// The sending half of a [`Connection`], for any number of threads.
#[derive(Clone, Debug)]
pub struct Requests(pub(super) Arc<Shared>);

/// The parts of a connection that both halves use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) socket: TcpStream,
    /// Held while a request is noted and written. The write blocks while the server does not
    /// read, so the thread that reads responses must not wait for this lock.
    sending: Mutex<()>,
    /// Never held during a blocking call. Taken after `sending`.
    pub(super) pending: Mutex<PendingRequests>,
}

/// The requests that wait for a response, and the token that later requests carry.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    pub(super) token: Option<Token>,
    pub(super) queue: VecDeque<PendingRequest>,
    /// No more requests can be sent.
    closed: bool,
}

/// A request that was sent and has no response yet.
#[derive(Debug)]
pub struct PendingRequest {
    /// The request.
    pub request: Command,
    /// When it was sent.
    sent: Instant,
    /// Takes the response, which otherwise is an event. If this is dropped, its receiver
    /// learns that no response will come.
    pub(super) response_tx: Option<Sender<ServerResponse>>,
    /// True if the client has sent it without its user.
    pub(super) is_automatic: bool,
}

impl Requests {
    /// Sends a request. The response will be an event. Blocks while the server does not read.
    ///
    /// Fails with [`NotConnected`](io::ErrorKind::NotConnected) if the connection was closed
    /// before. After any other failure, the request may have reached the server.
    pub fn request(&self, request: &Command) -> io::Result<()> {
        self.send(request, None)
    }

    /// Sends a request. The response goes to the returned receiver and is not an event.
    ///
    /// A thread must call [`Connection::next_event`], or the response does not arrive. If the
    /// connection ends before it does, the receiver is disconnected.
    pub fn ask(&self, request: &Command) -> io::Result<Receiver<ServerResponse>> {
        let (response_tx, response_rx) = bounded(1);
        self.send(request, Some(response_tx)).map(|()| response_rx)
    }

    /// Sends a request. The response goes to the sender, or is an event without one.
    pub(super) fn send(
        &self,
        request: &Command,
        response_tx: Option<Sender<ServerResponse>>,
    ) -> io::Result<()> {
        self.write(request, response_tx, false)
    }

    /// Sends a request for the client itself. The response is an event that
    /// [says so](ServerResponse::is_automatic).
    pub(super) fn send_automatic(&self, request: &Command) -> io::Result<()> {
        self.write(request, None, true)
    }

    fn write(
        &self,
        request: &Command,
        response_tx: Option<Sender<ServerResponse>>,
        is_automatic: bool,
    ) -> io::Result<()> {
        let _sending = self.0.sending.lock();
        let mut pending = self.0.pending.lock();
        if pending.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let bytes = Request::encode(pending.token, request);
        pending.queue.push_back(PendingRequest {
            request: request.clone(),
            sent: Instant::now(),
            response_tx,
            is_automatic,
        });
        drop(pending);
        let written = (&self.0.socket).write_all(&bytes);
        if written.is_err() {
            // A part may be written, so the server would not understand a later request.
            self.0.pending.lock().closed = true;
        }
        written
    }

    /// Closes the connection at once, and returns the requests that have no response.
    ///
    /// The caller cannot know whether the server executed these. A thread that is blocked in
    /// a read or a write of this connection returns.
    pub fn close(&self) -> VecDeque<PendingRequest> {
        let unanswered = {
            let mut pending = self.0.pending.lock();
            pending.closed = true;
            std::mem::take(&mut pending.queue)
        };
        let _ = self.0.socket.shutdown(Shutdown::Both);
        unanswered
    }
}

impl Shared {
    pub(super) fn new(socket: TcpStream) -> Shared {
        Shared {
            socket,
            sending: Mutex::default(),
            pending: Mutex::default(),
        }
    }

    /// Returns when the first pending request was sent.
    pub(super) fn first_pending_since(&self) -> Option<Instant> {
        self.pending.lock().queue.front().map(|it| it.sent)
    }

    /// Resets the connection.
    ///
    /// An end of input would later look to a frozen server like a user that quits. The server
    /// would end the session, which the client wants to resume.
    pub(super) fn reset(&self) {
        if connect_unspec(&self.socket).is_err() {
            // It fails while another thread is blocked in a write. Then unsent bytes fill the
            // socket, an end of input waits behind them, and the reset at the close overtakes
            // both.
            let _ = set_socket_linger(&self.socket, Some(Duration::ZERO));
        }
    }

    /// Sends a `Ping` and drops its response. Never blocks.
    ///
    /// If another thread is writing, or the kernel has no room, it sends nothing: an earlier
    /// request already asks for a response.
    pub(super) fn ping(&self) {
        let Some(_sending) = self.sending.try_lock() else {
            return;
        };
        let mut pending = self.pending.lock();
        let bytes = Request::encode(pending.token, &Command::Ping(None));
        match send(
            &self.socket,
            &bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(count) if count == bytes.len() => pending.queue.push_back(PendingRequest {
                request: Command::Ping(None),
                sent: Instant::now(),
                response_tx: Some(bounded(1).0),
                is_automatic: true,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            // After a partial write the server would not understand a later request.
            Ok(_) | Err(_) => pending.closed = true,
        }
    }
}
