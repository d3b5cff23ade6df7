//! The `sender` thread writes requests, in order, to the current connection.
//!
//! Does not know responses, or how a connection is made: it gets connections from the
//! [`receiver`](super::receiver) thread. It blocks until there is a request and a connection,
//! and in writing. It ends when all requests are sent and the client's handle is dropped, or
//! when the user quits while there is no connection.
//!
//! Invariant: *a request goes to the next connection only if no byte of it was written*.

use std::convert::Infallible;
use std::io;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, select};

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
}

/// The state of the thread `sender`.
pub(super) struct SenderThread {
    pub(super) outgoing_rx: Receiver<Outgoing>,
    pub(super) connections_rx: Receiver<ReadyConnection>,
    pub(super) quit_rx: Receiver<Infallible>,
}

impl SenderThread {
    /// Sends requests until the thread ends. Returns those that it could not send.
    pub(super) fn run(self) -> Vec<Command> {
        let mut connection = None;
        while let Ok(outgoing) = self.outgoing_rx.recv() {
            while !try_send(connection.as_ref(), &outgoing) {
                let Some(ready) = self.next_connection() else {
                    let unsent = self.outgoing_rx.try_iter().map(|outgoing| outgoing.request);
                    return std::iter::once(outgoing.request).chain(unsent).collect();
                };
                if ready.is_new && outgoing.request.as_message().is_some() {
                    self.wait_for_others(&ready);
                }
                connection = Some(ready.requests);
            }
        }
        Vec::new()
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
    fn wait_for_others(&self, ready: &ReadyConnection) {
        let deadline = ready.since + EMPTY_ROOM_TIMEOUT;
        let names = Command::ListNames {
            prefix: Printable::default(),
        };
        while Instant::now() < deadline {
            let Ok(response_rx) = ready.requests.ask(&names) else {
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
