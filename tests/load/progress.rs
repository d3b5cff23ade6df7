//! The line that tells a person at a terminal that something is going on.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes: fast enough to look alive.
const EVERY: Duration = Duration::from_millis(100);

/// A line on stderr, if that is a terminal; else nothing.
pub(crate) struct Progress {
    what: String,
    began: Instant,
    shown: Instant,
    is_terminal: bool,
}

impl Progress {
    /// The progress of this.
    pub(crate) fn of(what: String) -> Progress {
        let now = Instant::now();
        Progress {
            what,
            began: now,
            shown: now,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    /// So much is done, of so much.
    pub(crate) fn show(&mut self, (done, of): (u64, u64)) {
        if !self.is_terminal || self.shown.elapsed() < EVERY {
            return;
        }
        self.shown = Instant::now();
        let (what, seconds) = (&self.what, self.began.elapsed().as_secs());
        let _ = write!(io::stderr(), "\r{what}: {done} of {of}, {seconds} s\x1b[K");
    }
}

/// The line is gone before anything else is written.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
