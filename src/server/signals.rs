//! SIGINT, SIGTERM and SIGHUP, in a thread that blocks on them.
//!
//! Does not know what a shutdown does. The thread is `signals`. It blocks in a read from the
//! pipe of `signal_hook`, and ends with the process.
//!
//! Invariant: a SIGHUP never ends a server that was started with SIGHUP ignored, so that `nohup`
//! works. It stays ignored, or loads the access file again.

use std::fs;
use std::io;
use std::sync::Arc;

use log::info;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{self, signal_name};

use crate::server::ShutdownHandle;
use crate::server::access::AccessFile;
use crate::threads::spawn;

/// Starts a graceful shutdown on the first signal, and ends the process on the second.
///
/// The second signal acts as if no program handled it. A SIGHUP never counts as the second:
/// a terminal that closes sends SIGHUP twice, once from its shell and once from the kernel.
/// With an access file, a SIGHUP loads the file again and does nothing else, under `nohup` too.
pub fn handle_signals(
    server: ShutdownHandle,
    access_file: Option<Arc<AccessFile>>,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // A process whose /proc is not mounted handles it, as it does without nohup.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if access_file.is_some() || !is_ignored(SIGHUP, &status) {
        signals.add_signal(SIGHUP)?;
    }
    spawn("signals", move || {
        let mut signals = signals.forever().filter(|&signal| match &access_file {
            Some(file) if signal == SIGHUP => {
                file.reload();
                false
            }
            _ => true,
        });
        if let Some(signal) = signals.next() {
            info!("received {}", signal_name(signal).unwrap_or("a signal"));
            server.shutdown();
        }
        if let Some(signal) = signals.find(|&signal| signal != SIGHUP) {
            let _ = low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Returns whether a process ignores a signal, from its `/proc/PID/status`
/// (proc_pid_status(5)).
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signals count from 1, bits from 0.
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "Name:\tchat-server\nSigBlk:\tffff\nSigIgn:\t0000000000001001\nSigCgt:\t0002";
        assert!(is_ignored(SIGHUP, status));
        assert!(!is_ignored(SIGINT, status));
        assert!(!is_ignored(SIGTERM, status));
        assert!(!is_ignored(SIGHUP, &status.replace("1001", "1000")));
        assert!(!is_ignored(SIGHUP, ""));
        assert!(!is_ignored(SIGHUP, "SigIgn:\tnone"));
    }
}
