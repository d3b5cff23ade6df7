//! The thread `sweeper`, which ends the sessions that have lingered out.
//!
//! It blocks until a session lingers, and from then on until the time of the one that
//! has lingered longest is up, so that an idle server has nothing to do.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};
use log::info;

use crate::sessions::Sessions;
use crate::threads::spawn;

/// Starts the thread. It ends when the last sender of `stopped` is dropped, and
/// nobody waits for it.
pub(super) fn start(
    sessions: &Arc<Sessions>,
    linger: Duration,
    stopped: &Receiver<Infallible>,
) -> io::Result<()> {
    let (sessions, stopped) = (Arc::clone(sessions), stopped.clone());
    spawn("sweeper", move || sweep(&sessions, linger, &stopped))?;
    Ok(())
}

fn sweep(sessions: &Sessions, linger: Duration, stopped: &Receiver<Infallible>) {
    let mut due = never();
    loop {
        select! {
            recv(stopped) -> _ => return,
            recv(sessions.lingers()) -> _ => {}
            recv(due) -> _ => {}
        }
        let (ended, next) = sessions.end_lingered_out(Instant::now(), linger);
        for session in ended {
            info!("expired lingering session of {}", session.name);
        }
        due = next.map_or_else(never, at);
    }
}
