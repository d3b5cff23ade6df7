//! The mode of the terminal: taken over at the beginning, given back whenever others use it.
//!
//! Does not know what is typed or shown. Threads: `signals` blocks until SIGTERM or SIGHUP
//! comes, restores the terminal and lets the signal end the process. `resizes` blocks until
//! the window has another size, or the process goes on after a stop, and has the line
//! painted anew. Both end with the process.
//!
//! Invariant: *whenever another program may use the terminal, it is as it was before the
//! start*: after the end, after SIGTERM and SIGHUP, and while the client is stopped by
//! Ctrl-Z.

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

/// The mode reset of pasting with marks, which the editor sets.
const PASTE_MARKS_OFF: &str = "\x1B[?2004l";

/// _POSIX_VDISABLE: no key has this meaning.
const NO_KEY: u8 = 0;

/// The terminal, until this is dropped.
#[derive(Debug)]
pub struct Tty {
    modes: Arc<Modes>,
    /// Ctrl-C was pressed while it was a signal.
    interrupted: Arc<AtomicBool>,
    /// The next Ctrl-C that is a signal ends the process.
    leaving: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Modes {
    original: Termios,
    /// Between two lines: no echo, and every key waits for the next line. rustyline restores
    /// this mode after each line. In its own, keys keep the meanings that they have here.
    quiet: Termios,
}

impl Tty {
    /// Takes the terminal over. Has to be called before any thread is started that could
    /// get the signals.
    pub fn take_over() -> io::Result<Tty> {
        let original = tcgetattr(io::stdin())?;
        let mut quiet = original.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        // A signal does not throw away what was typed before it.
        quiet.local_modes |= LocalModes::NOFLSH;
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            quiet.special_codes[key] = NO_KEY;
        }
        let tty = Tty {
            modes: Arc::new(Modes { original, quiet }),
            interrupted: Arc::default(),
            leaving: Arc::default(),
        };
        // In this order: the second sees the flag as it was before the signal.
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

    /// Keeps SIGWINCH from all threads that are started from now on. rustyline would handle
    /// it, and erase rows that are not its own.
    pub fn block_resizes() -> io::Result<()> {
        resizes().thread_block()?;
        Ok(())
    }

    /// Starts the thread `resizes`.
    pub fn watch_resizes(printer: Printer) -> io::Result<()> {
        spawn("resizes", move || {
            while resizes().wait().is_ok() {
                printer.repaint();
            }
        })?;
        Ok(())
    }

    /// Makes keys wait for the next line, also after another program has set the mode.
    pub fn quiet(&self) {
        self.modes.set(&self.modes.quiet);
    }

    /// Stops the process, as Ctrl-Z does in other programs, until it is told to go on.
    pub fn suspend(&self) {
        self.modes.restore();
        let _ = kill_current_process_group(rustix::process::Signal::TSTP);
        self.quiet();
    }

    /// From now on Ctrl-C interrupts ([`is_interrupted`](Tty::is_interrupted)).
    pub fn begin_interruptible(&self) {
        self.interrupted.store(false, Ordering::SeqCst);
        let mut mode = self.modes.quiet.clone();
        mode.local_modes |= LocalModes::ISIG;
        self.modes.set(&mode);
    }

    /// Whether Ctrl-C was pressed since [`begin_interruptible`](Tty::begin_interruptible).
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }
}

impl Modes {
    fn set(&self, mode: &Termios) {
        // It fails when the terminal is gone, which the editor notices.
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

fn resizes() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGWINCH);
    signals.add(Signal::SIGCONT);
    signals
}
