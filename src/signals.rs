//! SIGINT and SIGTERM, in a thread that blocks on them.

use std::io;

use log::info;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{self, signal_name};

use crate::server::ShutdownHandle;
use crate::threads::spawn;

/// Lets the first signal shut the server down, and the second end the process at
/// once, as a signal does that nobody handles.
///
/// The thread, `signals`, lives as long as the process, and nobody waits for it.
pub fn shut_down_on_signals(server: ShutdownHandle) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    spawn("signals", move || {
        let mut signals = signals.forever();
        if let Some(signal) = signals.next() {
            info!("{}", signal_name(signal).unwrap_or("a signal"));
            server.shutdown();
        }
        if let Some(signal) = signals.next() {
            let _ = low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}
