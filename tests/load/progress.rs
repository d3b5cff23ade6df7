//! The progress line at a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// The interval between two updates of the line.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// A progress line on stderr. It is empty if stderr is not a terminal.
pub(crate) struct Progress {
    what: String,
    began: Instant,
    shown: Instant,
    is_terminal: bool,
}

impl Progress {
    /// Makes a progress line with this title.
    pub(crate) fn of(what: String) -> Progress {
        let now = Instant::now();
        Progress {
            what,
            began: now,
            shown: now,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Shows how much is done, of the total.
    pub(crate) fn show(&mut self, (done, of): (u64, u64)) {
        if !self.is_terminal || self.shown.elapsed() < UPDATE_INTERVAL {
            return;
        }
        self.shown = Instant::now();
        let (what, seconds) = (&self.what, self.began.elapsed().as_secs());
        let _ = write!(io::stderr(), "\r{what}: {done} of {of}, {seconds} s\x1b[K");
    }
}

/// Removes the line before other output.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
