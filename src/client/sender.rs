//! The `sender` thread writes requests, in order, to the current connection.
//!
//! Does not know responses, or how a connection is made: it gets connections from the
//! [`receiver`](super::receiver) thread. It blocks until there is a request and a connection,
//! and in writing. It ends when all requests are sent and the client's handle is dropped, or
//! when the user quits while there is no connection.
//!
//! An automatic request is for one connection. It precedes the user's requests that wait, and is
//! dropped with its connection.
//!
//! Invariant: *a request goes to the next connection only if no byte of it was written*.

use std::convert::Infallible;
use std::io;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, never, select};

use super::connection::ServerResponse;
use super::requests::Requests;
use crate::limits::{EMPTY_ROOM_INTERVAL, EMPTY_ROOM_TIMEOUT};
use crate::protocol::request::Command;
use crate::protocol::text::Printable;

/// A request on its way to the sender thread.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) request: Command,
    /// Takes the response, which otherwise is an event.
    pub(super) response_tx: Option<Sender<ServerResponse>>,
}

/// A connection that has a session.
pub(super) struct ReadyConnection {
    pub(super) requests: Requests,
    /// When it logged in.
    pub(super) since: Instant,
    /// The session is new: the other users may not be back yet.
    pub(super) is_new: bool,
    /// The automatic requests for this connection.
    pub(super) automatic_rx: Receiver<Command>,
}

/// The state of the thread `sender`.
pub(super) struct SenderThread {
    pub(super) outgoing_rx: Receiver<Outgoing>,
    pub(super) connections_rx: Receiver<ReadyConnection>,
    pub(super) quit_rx: Receiver<Infallible>,
    pub(super) connection: Option<ReadyConnection>,
}

impl SenderThread {
    /// Sends requests until the thread ends. Returns those that it could not send.
    pub(super) fn run(mut self) -> Vec<Command> {
        loop {
            let automatic_rx = match &self.connection {
                Some(connection) => connection.automatic_rx.clone(),
                None => never(),
            };
            select! {
                recv(self.outgoing_rx) -> outgoing => {
                    let Ok(outgoing) = outgoing else {
                        return Vec::new();
                    };
                    if !self.send(&outgoing) {
                        let unsent = self.outgoing_rx.try_iter().map(|outgoing| outgoing.request);
                        return std::iter::once(outgoing.request).chain(unsent).collect();
                    }
                }
                recv(self.connections_rx) -> next => match next {
                    Ok(next) => self.connection = Some(next),
                    // Otherwise `select!` returns at once from now on.
                    Err(_) => self.connections_rx = never(),
                },
                recv(automatic_rx) -> request => match (request, &mut self.connection) {
                    (Ok(request), Some(connection)) => connection.send_automatic(&request),
                    (Ok(_), None) => {}
                    (Err(_), Some(connection)) => connection.automatic_rx = never(),
                    (Err(_), None) => {}
                },
            }
        }
    }

    /// Sends a request of the user, on the next connection if there is none. Returns false if
    /// the user quits before.
    fn send(&mut self, outgoing: &Outgoing) -> bool {
        loop {
            if let Some(connection) = &mut self.connection {
                connection.send_waiting_automatic();
                let is_new = std::mem::take(&mut connection.is_new);
                if is_new && outgoing.request.as_message().is_some() {
                    self.wait_for_others();
                }
            }
            let requests = self.connection.as_ref().map(|it| &it.requests);
            if try_send(requests, outgoing) {
                return true;
            }
            match self.next_connection() {
                Some(next) => self.connection = Some(next),
                None => return false,
            }
        }
    }

    /// Blocks until there is a connection. Returns `None` if the user quits before.
    fn next_connection(&self) -> Option<ReadyConnection> {
        // `select!` takes any of the cases that are ready. A connection that is ready must
        // win, so that everything is sent before the client quits.
        self.connections_rx.try_recv().ok().or_else(|| {
            select! {
                recv(self.connections_rx) -> next => next.ok(),
                recv(self.quit_rx) -> _ => self.connections_rx.try_recv().ok(),
            }
        })
    }

    /// Waits until another user is online, at most [`EMPTY_ROOM_TIMEOUT`] after the login.
    ///
    /// After a restart of the server, all clients reconnect within the same few seconds. A
    /// message that is sent before the others are back reaches none of them.
    fn wait_for_others(&self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let deadline = connection.since + EMPTY_ROOM_TIMEOUT;
        let names = Command::ListNames {
            prefix: Printable::default(),
        };
        while Instant::now() < deadline {
            connection.send_waiting_automatic();
            let Ok(response_rx) = connection.requests.ask(&names) else {
                return;
            };
            match response_rx.recv_deadline(deadline) {
                Ok(response) if response.name_count() <= 1 => {}
                _ => return,
            }
            let quit = self.quit_rx.recv_timeout(EMPTY_ROOM_INTERVAL);
            if quit.is_err_and(|e| e.is_disconnected()) {
                return;
            }
        }
    }
}

impl ReadyConnection {
    /// Sends the automatic requests that wait.
    fn send_waiting_automatic(&self) {
        while let Ok(request) = self.automatic_rx.try_recv() {
            self.send_automatic(&request);
        }
    }

    /// Sends an automatic request. If the connection is closed, the request is dropped.
    fn send_automatic(&self, request: &Command) {
        let _ = self.requests.send_automatic(request);
    }
}

/// Sends the request. Returns false if the connection was closed before, so that no byte was
/// written.
///
/// After a failed write it returns true, because a part may have arrived.
pub(super) fn try_send(connection: Option<&Requests>, outgoing: &Outgoing) -> bool {
    connection.is_some_and(|connection| {
        match connection.send(&outgoing.request, outgoing.response_tx.clone()) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => false,
            Ok(()) | Err(_) => true,
        }
    })
}
