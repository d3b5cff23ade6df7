//! The `sweeper` thread ends sessions whose linger time has expired.
//!
//! It blocks on three channels: the shutdown, the signal that a session begins to linger, and a
//! timer for the session that expires next. It ends at the shutdown.
//!
//! Does not know connections.
//!
//! Invariant: while no session lingers, the thread does not wake.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};
use log::info;

use crate::outbox::direct_write::{DirectWrites, PendingWrites};
use crate::sessions::Sessions;
use crate::threads::spawn;

/// Starts the thread. It ends when the last sender of `shutdown_rx` is dropped. No other thread
/// waits for its end.
pub(super) fn start(
    sessions: &Arc<Sessions>,
    linger: Duration,
    direct_writes: &Arc<DirectWrites>,
    shutdown_rx: &Receiver<Infallible>,
) -> io::Result<()> {
    let (sessions, shutdown_rx) = (Arc::clone(sessions), shutdown_rx.clone());
    let direct_writes = Arc::clone(direct_writes);
    spawn("sweeper", move || {
        sweep(&sessions, linger, direct_writes, &shutdown_rx);
    })?;
    Ok(())
}

fn sweep(
    sessions: &Sessions,
    linger: Duration,
    direct_writes: Arc<DirectWrites>,
    shutdown_rx: &Receiver<Infallible>,
) {
    let pending = PendingWrites::new(direct_writes);
    let mut due = never();
    loop {
        select! {
            recv(shutdown_rx) -> _ => return,
            recv(sessions.expiry_signal()) -> _ => {}
            recv(due) -> _ => {}
        }
        let (ended, next) = sessions.expire_lingering(Instant::now(), linger, &pending);
        pending.flush();
        for session in ended {
            info!("expired lingering session of {}", session.name);
        }
        due = next.map_or_else(never, at);
    }
}
