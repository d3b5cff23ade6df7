//! The shutdown: its request, and what it does to the clients.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use log::warn;

use crate::limits;
use crate::outbox::Attachment;
use crate::sessions::Sessions;

/// Ends a running server, from any thread.
#[derive(Clone)]
pub struct ShutdownHandle {
    pub(super) stop: Sender<()>,
}

impl ShutdownHandle {
    /// Begins the shutdown, and does not wait for it.
    pub fn shutdown(&self) {
        // Fails if it has been asked for before, or has ended.
        let _ = self.stop.try_send(());
    }
}

/// Tells everyone, lets the writers write, and sees the threads off.
pub(super) fn shut_down_clients(
    sessions: &Sessions,
    grace: Duration,
    readers_rx: &Receiver<Infallible>,
) {
    let connections = sessions.close();
    for connection in &connections {
        connection.shut_down();
    }
    let deadline = Instant::now() + grace;
    let is_written = |connection: &&Arc<Attachment>| connection.wait_until_written(deadline);
    let written = connections.iter().filter(is_written).count();
    if written < connections.len() {
        warn!(
            "{} clients did not take what was queued for them",
            connections.len() - written
        );
    }
    // Everyone has the last line before them; those who close their side now,
    // leave by the normal path.
    if !disconnected_within(readers_rx, limits::SHUTDOWN_CLOSE_TIMEOUT) {
        for connection in &connections {
            connection.shutdown_socket();
        }
        if !disconnected_within(readers_rx, limits::THREAD_EXIT_TIMEOUT) {
            warn!("some threads did not leave");
        }
    }
}

/// Whether every sender of this channel is dropped within so long.
pub(super) fn disconnected_within(channel: &Receiver<Infallible>, time: Duration) -> bool {
    channel.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
}
