//! What is printed while somebody types: whole lines, above the line being typed, in
//! the order in which they came.
//!
//! Knows nothing of what the lines say. The thread `printer` gives them to the line
//! editor, which is the only one to know what its line looks like; while there is no
//! line being edited, they wait.
//!
//! The invariant: a line is given to the editor only while it edits, because in the
//! moment between two lines it would print it after the prompt of the last one.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use rustyline::ExternalPrinter;

use crate::limits::{STACK, UNSHOWN_LINES};

/// How long a new line waits for one that is being given to the editor. That takes
/// microseconds, unless the editor has one in hand already; then there is no danger.
const HANDING_OVER: Duration = Duration::from_millis(20);

/// How long the lines that wait are printed for, when one leaves.
const FLUSH_TIME: Duration = Duration::from_secs(1);

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

/// Holds the printer back where it must not print.
#[derive(Debug)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug)]
struct GateState {
    now: Now,
    /// The printer is giving a line to the editor.
    handing_over: bool,
}

/// What the terminal is used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// A line is being edited: print above it.
    Editing,
    /// Between two lines: wait.
    BetweenLines,
    /// There is no editor: just print.
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
            state: Mutex::new(GateState {
                now,
                handing_over: false,
            }),
            changed: Condvar::new(),
        });
        let screen = Screen {
            to_print,
            gate: Arc::clone(&gate),
        };
        thread::Builder::new()
            .name("printer".to_owned())
            .stack_size(STACK)
            .spawn(move || print_all(&printing, &gate, editor))?;
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

    /// A line is being edited from now on.
    pub fn editing(&self) {
        self.gate.set(Now::Editing);
    }

    /// The line has been accepted, or is about to be.
    pub fn between_lines(&self) {
        self.gate.set(Now::BetweenLines);
        let mut state = self.gate.state.lock();
        if state.handing_over {
            self.gate.changed.wait_for(&mut state, HANDING_OVER);
        }
    }

    /// No line will be edited any more.
    pub fn plain(&self) {
        self.gate.set(Now::Plain);
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
        if state.now != Now::Plain {
            state.now = now;
        }
        self.changed.notify_all();
    }

    /// Waits until printing is allowed. Gives whether it is to go by the editor.
    fn pass(&self) -> bool {
        let mut state = self.state.lock();
        while state.now == Now::BetweenLines {
            self.changed.wait(&mut state);
        }
        state.handing_over = state.now == Now::Editing;
        state.handing_over
    }

    fn handed_over(&self) {
        self.state.lock().handing_over = false;
        self.changed.notify_all();
    }
}

/// The thread `printer`: ends when nobody can give it lines any more.
fn print_all(printing: &Receiver<ToPrint>, gate: &Gate, mut editor: Option<impl ExternalPrinter>) {
    for to_print in printing {
        let ToPrint::Line(line) = to_print else {
            continue;
        };
        match &mut editor {
            Some(editor) if gate.pass() => {
                // It fails when the terminal is gone, which the editor notices.
                let _ = editor.print(line + "\n");
                gate.handed_over();
            }
            _ => write_line(&line),
        }
    }
}

/// As println!, which panics where nobody reads any more.
fn write_line(line: &str) {
    let _ = io::stdout()
        .lock()
        .write_all(format!("{line}\n").as_bytes());
}
