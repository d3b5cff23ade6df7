//! The graceful shutdown: its request, and the end of all connections.
//!
//! Any thread can request it with a [`ShutdownHandle`]. The main thread carries it out, at the end
//! of `Server::run`. It blocks at most for the grace period, [`SHUTDOWN_CLOSE_TIMEOUT`] and
//! [`THREAD_EXIT_TIMEOUT`], one after the other.
//!
//! Does not know signals or listeners.
//!
//! Invariant: no client and no thread can delay it for longer. Within these times, each client
//! that reads fast enough gets all queued messages, the notice of the shutdown and the end of
//! input.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use log::warn;

use crate::limits::{SHUTDOWN_CLOSE_TIMEOUT, THREAD_EXIT_TIMEOUT};
use crate::outbox::Attachment;

/// A handle that shuts a running server down, from any thread.
#[derive(Clone)]
pub struct ShutdownHandle {
    pub(super) request: Sender<()>,
}

impl ShutdownHandle {
    /// Requests the shutdown, and does not wait for it.
    pub fn shutdown(&self) {
        // Fails if the shutdown was requested before, or the server has ended.
        let _ = self.request.try_send(());
    }
}

/// Closes these connections, each with a notice behind its queue, and waits for their threads.
///
/// The accept threads must have ended, and the session map must be closed. A connection that is still open after the grace period and
/// [`SHUTDOWN_CLOSE_TIMEOUT`] is shut down at once.
pub(super) fn shut_down_clients(
    connections: &[Arc<Attachment>],
    grace: Duration,
    readers_rx: &Receiver<Infallible>,
) {
    for connection in connections {
        connection.shut_down();
    }
    let deadline = Instant::now() + grace;
    let is_written = |connection: &&Arc<Attachment>| connection.wait_until_written(deadline);
    let written = connections.iter().filter(is_written).count();
    if written < connections.len() {
        warn!(
            "grace period expired: {} clients have unsent messages",
            connections.len() - written
        );
    }
    // The clients have got their last message. The threads of a client that now closes its side
    // end as after any end of input.
    if !disconnected_within(readers_rx, SHUTDOWN_CLOSE_TIMEOUT) {
        for connection in connections {
            connection.shutdown_socket();
        }
        if !disconnected_within(readers_rx, THREAD_EXIT_TIMEOUT) {
            warn!("shutdown timeout: some threads are still running");
        }
    }
}

/// Blocks until every sender of this channel is dropped, at most for `time`. Returns whether they
/// are.
pub(super) fn disconnected_within(channel: &Receiver<Infallible>, time: Duration) -> bool {
    channel.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
}
