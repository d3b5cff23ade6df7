//! Prints logins, logouts and renames of other users, with a limit for lines.
//!
//! The thread `presence` prints the line about the changes that had none of their own
//! ([`throttle`](super::throttle)). It blocks until a change waits, then until the end of its
//! second. It ends with the conversation's [`PresencePrinter`].
//!
//! Does not know which changes are shown. Invariant: *a change that has a line of its own is
//! printed before the event that follows it*.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::day;
use super::format::Style;
use super::printer::Printer;
use super::throttle::PresenceThrottle;
use crate::protocol::presence::Presence;
use crate::threads::spawn;

/// Prints changes, on any thread.
pub struct PresencePrinter {
    lines: Arc<Lines>,
    /// When held changes must be printed. Dropping it ends the thread.
    wakes_tx: Sender<Instant>,
}

struct Lines {
    /// Held while a line is printed, so that the lines keep their order. Printing can wait for
    /// the editor, so the thread that edits must not take it.
    throttle: Mutex<PresenceThrottle>,
    printer: Printer,
    style: Style,
}

impl PresencePrinter {
    /// Starts the thread `presence`.
    pub fn start(printer: Printer, style: Style) -> io::Result<PresencePrinter> {
        let lines = Arc::new(Lines {
            throttle: Mutex::default(),
            printer,
            style,
        });
        let (wakes_tx, wakes_rx) = unbounded();
        let of_thread = Arc::clone(&lines);
        spawn("presence", move || of_thread.print_held(&wakes_rx))?;
        Ok(PresencePrinter { lines, wakes_tx })
    }

    /// Prints a change now, or with others at the end of its second.
    pub fn print(&self, change: &Presence) {
        let mut throttle = self.lines.throttle.lock();
        let (texts, wakes) = throttle.on_change(change, Instant::now());
        texts.iter().for_each(|text| self.lines.print(text));
        if let Some(wakes) = wakes {
            let _ = self.wakes_tx.send(wakes);
        }
    }
}

impl Lines {
    /// Runs the thread `presence`.
    fn print_held(&self, wakes_rx: &Receiver<Instant>) {
        for wakes in wakes_rx {
            thread::sleep(wakes.saturating_duration_since(Instant::now()));
            let mut throttle = self.throttle.lock();
            if let Some(text) = throttle.on_time(Instant::now()) {
                self.print(&text);
            }
        }
    }

    fn print(&self, text: &str) {
        let style = self.style.with_columns(Some(self.printer.columns()));
        self.printer.print(style.faint_info(&day::now(), text));
    }
}
