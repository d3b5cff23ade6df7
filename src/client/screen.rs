//! What is printed while somebody types: whole lines, above the line being typed, in
//! the order in which they came.
//!
//! Knows nothing of what the lines say. The thread `printer` gives them to the line
//! editor, which is the only one to know what its line looks like; while there is no
//! line being edited, they wait.
//!
//! Two invariants. *A line is given to the editor only while it edits*, because in the
//! moment between two lines it would print it after the prompt of the last one. *It has
//! one line in hand at most, until it has painted that*, so that giving it one never
//! blocks, and what it has not painted when the user leaves can be printed after all.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use rustix::termios::tcgetwinsize;
use rustyline::ExternalPrinter;

use crate::limits::{FLUSH_TIME, UNSHOWN_LINES};
use crate::threads::spawn;

/// Where lines go, from any thread.
#[derive(Clone, Debug)]
pub struct Screen {
    to_print: Sender<ToPrint>,
    gate: Arc<Gate>,
}

/// What the printer is given.
#[derive(Debug)]
enum ToPrint {
    Line(String),
    /// Everything before this has been printed once it is dropped.
    Flush(#[expect(dead_code, reason = "it is there to be dropped")] Sender<Infallible>),
}

/// Holds the printer back where it must not print. Its lock is held for a moment, by the
/// thread that edits and by the printer.
#[derive(Debug)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug)]
struct GateState {
    now: Now,
    /// What the editor has been given and has not painted.
    in_hand: Option<String>,
}

/// What the terminal is used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// A line is being edited: print above it.
    Editing,
    /// Between two lines: wait.
    BetweenLines,
    /// There is no editor, or no more: just print.
    Plain,
}

impl Screen {
    /// Starts the printer, which prints by way of the editor, if there is one.
    pub fn start(editor: Option<impl ExternalPrinter + Send + 'static>) -> io::Result<Screen> {
        let (to_print, printing) = bounded(UNSHOWN_LINES);
        let now = match editor {
            Some(_) => Now::BetweenLines,
            None => Now::Plain,
        };
        let gate = Arc::new(Gate {
            state: Mutex::new(GateState { now, in_hand: None }),
            changed: Condvar::new(),
        });
        let screen = Screen {
            to_print,
            gate: Arc::clone(&gate),
        };
        spawn("printer", move || print_all(&printing, &gate, editor))?;
        Ok(screen)
    }

    /// Prints a line, sooner or later. Blocks if [`UNSHOWN_LINES`] are waiting already,
    /// which the thread that edits cannot afford: it has [`say`](Screen::say).
    pub fn print(&self, line: String) {
        // Without the printer, the terminal is gone.
        let _ = self.to_print.send(ToPrint::Line(line));
    }

    /// Prints a line at once, for the thread that edits, between two lines.
    pub fn say(&self, line: &str) {
        write_line(line);
    }

    /// How many columns the terminal has now, if it says so.
    pub fn columns(&self) -> Option<usize> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        Some(size.ws_col.into()).filter(|&columns| columns > 0)
    }

    /// A line is being edited from now on.
    pub fn editing(&self) {
        self.gate.set(Now::Editing);
    }

    /// The editor has painted the line that it had in hand, above its own.
    pub fn painted(&self) {
        self.gate.state.lock().in_hand = None;
        self.gate.changed.notify_all();
    }

    /// The line has been accepted, or is about to be.
    pub fn between_lines(&self) {
        self.gate.set(Now::BetweenLines);
    }

    /// There is no editor any more.
    pub fn plain(&self) {
        self.gate.set(Now::Plain);
        if let Some(line) = self.gate.state.lock().in_hand.take() {
            write_line(line.trim_end());
        }
    }

    /// Waits until all that has come by now is printed, or the terminal has been stopped
    /// for too long.
    pub fn flush(&self) {
        let (flushed, wait) = bounded(0);
        if self.to_print.try_send(ToPrint::Flush(flushed)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIME);
        }
    }
}

impl Gate {
    fn set(&self, now: Now) {
        let mut state = self.state.lock();
        // Back to editing there is no way.
        if state.now != Now::Plain {
            state.now = now;
        }
        self.changed.notify_all();
    }

    /// Gives the editor a line as soon as it edits and has nothing in hand. Gives the line
    /// back if there is no editor any more.
    ///
    /// The lock is held while the line is given, so that the editor cannot stop editing in
    /// between. An editor with an empty hand takes it at once.
    fn hand(&self, line: String, editor: &mut impl ExternalPrinter) -> Result<(), String> {
        let mut state = self.state.lock();
        while state.now == Now::BetweenLines || state.now == Now::Editing && state.in_hand.is_some()
        {
            self.changed.wait(&mut state);
        }
        if state.now == Now::Plain {
            return Err(line);
        }
        state.in_hand = Some(line.clone());
        // It fails when the terminal is gone, which the editor notices.
        let _ = editor.print(line);
        Ok(())
    }
}

/// The thread `printer`: ends when nobody can give it lines any more.
fn print_all(printing: &Receiver<ToPrint>, gate: &Gate, mut editor: Option<impl ExternalPrinter>) {
    for to_print in printing {
        let ToPrint::Line(line) = to_print else {
            continue;
        };
        let handed = match &mut editor {
            Some(editor) => gate.hand(line + "\n", editor),
            None => Err(line),
        };
        if let Err(line) = handed {
            write_line(line.trim_end());
        }
    }
}

/// As println!, which panics where nobody reads any more.
fn write_line(line: &str) {
    let _ = io::stdout()
        .lock()
        .write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// An editor that tells what it is given.
    struct Editor(Sender<String>);

    impl ExternalPrinter for Editor {
        fn print(&mut self, line: String) -> rustyline::Result<()> {
            self.0
                .try_send(line)
                .expect("it has one line in hand at most");
            Ok(())
        }
    }

    #[test]
    fn the_editor_is_given_a_line_at_a_time_and_only_while_it_edits() {
        let (given, painting) = bounded(1);
        let screen = Screen::start(Some(Editor(given))).unwrap();
        let next = || painting.recv_timeout(Duration::from_secs(10)).unwrap();
        let nothing = || {
            let early = painting.recv_timeout(Duration::from_millis(30));
            assert!(early.is_err(), "{early:?}");
        };
        for number in 1..=4 {
            screen.print(number.to_string());
        }
        nothing();
        screen.editing();
        assert_eq!(next(), "1\n");
        nothing();
        screen.painted();
        assert_eq!(next(), "2\n");
        screen.between_lines();
        screen.painted();
        nothing();
        screen.editing();
        assert_eq!(next(), "3\n");
        // From now on it is printed without the editor, and the editor is asked no more.
        screen.plain();
        screen.editing();
        screen.flush();
        nothing();
    }
}
