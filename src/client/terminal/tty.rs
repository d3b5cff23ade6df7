//! Sets the mode of the terminal, and restores it.
//!
//! Does not know the text on the screen. Threads, which end with the process:
//!
//! - `signals` blocks until SIGTERM or SIGHUP arrives. It restores the terminal and lets the
//!   signal end the process.
//! - `resizes` blocks until the window changes its size, or until the process continues after a
//!   stop. Then it requests that the line is painted again.
//!
//! Invariant: *whenever another program may use the terminal, its mode is the one from before
//! the start*: after the end, after SIGTERM and SIGHUP, and while Ctrl-Z has stopped the client.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::kill_current_process_group;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::printer::Printer;
use super::wrap::AUTOWRAP_ON;
use crate::threads::spawn;

/// Disables bracketed paste, which the editor enables.
const PASTE_MARKS_OFF: &str = "\x1B[?2004l";

/// _POSIX_VDISABLE: disables a special key.
const NO_KEY: u8 = 0;

/// The terminal in the client's mode. Dropping it restores the original mode.
#[derive(Debug)]
pub struct Tty {
    modes: Arc<Modes>,
    /// Whether a SIGINT of Ctrl-C has arrived.
    interrupted: Arc<AtomicBool>,
    /// Whether the next SIGINT ends the process.
    leaving: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Modes {
    original: Termios,
    /// The mode between two lines: no echo, and every key waits for the next line.
    ///
    /// rustyline restores this mode after each line. In rustyline's own mode, the special keys
    /// are the same as here.
    quiet: Termios,
}

impl Tty {
    /// Sets the client's mode and starts the thread `signals`.
    ///
    /// The caller must not have started another thread that could get the signals.
    pub fn take_over() -> io::Result<Tty> {
        let original = tcgetattr(io::stdin())?;
        let mut quiet = original.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        // Otherwise a signal discards the keys that were typed before it.
        quiet.local_modes |= LocalModes::NOFLSH;
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            quiet.special_codes[key] = NO_KEY;
        }
        let tty = Tty {
            modes: Arc::new(Modes { original, quiet }),
            interrupted: Arc::default(),
            leaving: Arc::default(),
        };
        // While this `Tty` exists, SIGINT only sets `interrupted`. After its drop, SIGINT ends
        // the process.
        flag::register_conditional_default(SIGINT, Arc::clone(&tty.leaving))?;
        flag::register(SIGINT, Arc::clone(&tty.interrupted))?;
        tty.modes.set(&tty.modes.quiet);
        let mut signals = Signals::new([SIGTERM, SIGHUP])?;
        let modes = Arc::clone(&tty.modes);
        spawn("signals", move || {
            if let Some(signal) = signals.forever().next() {
                modes.restore();
                let _ = emulate_default_handler(signal);
            }
        })?;
        Ok(tty)
    }

    /// Blocks SIGWINCH and SIGCONT in this thread, and in all threads that it starts later.
    ///
    /// Otherwise rustyline handles SIGWINCH and erases rows that are not its own.
    pub fn block_resizes() -> io::Result<()> {
        resizes().thread_block()?;
        Ok(())
    }

    /// Starts the thread `resizes`, which waits for the blocked signals.
    pub fn watch_resizes(printer: Printer) -> io::Result<()> {
        spawn("resizes", move || {
            while resizes().wait().is_ok() {
                printer.request_repaint();
            }
        })?;
        Ok(())
    }

    /// Sets the mode in which keys wait for the next line.
    ///
    /// Another program may have changed the mode.
    pub fn set_quiet(&self) {
        self.modes.set(&self.modes.quiet);
    }

    /// Stops the process like Ctrl-Z in other programs, until SIGCONT.
    pub fn suspend(&self) {
        self.modes.restore();
        let _ = kill_current_process_group(rustix::process::Signal::TSTP);
        self.set_quiet();
    }

    /// Makes Ctrl-C a signal, see [`is_interrupted`](Tty::is_interrupted).
    pub fn begin_interruptible(&self) {
        self.interrupted.store(false, Ordering::SeqCst);
        let mut mode = self.modes.quiet.clone();
        mode.local_modes |= LocalModes::ISIG;
        self.modes.set(&mode);
    }

    /// Returns whether Ctrl-C was pressed since
    /// [`begin_interruptible`](Tty::begin_interruptible).
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

impl Modes {
    fn set(&self, mode: &Termios) {
        // This fails only if the terminal was closed, and then the editor ends.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, mode);
    }

    fn restore(&self) {
        self.set(&self.original);
        let mut stdout = io::stdout();
        let _ = stdout.write_all(format!("{PASTE_MARKS_OFF}{AUTOWRAP_ON}\r").as_bytes());
        let _ = stdout.flush();
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.modes.restore();
    }
}

/// Returns the signals after which the line must be painted again.
fn resizes() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGWINCH);
    signals.add(Signal::SIGCONT);
    signals
}
