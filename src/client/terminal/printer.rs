//! Printing while a line is being typed: whole lines, above that line, in their order.
//!
//! Does not know what the lines say, or how the editor paints. Lines wait in a queue of
//! this module. The editor takes them when it paints ([`Printer::take_queued`]), and only
//! then. The thread `printer` makes it paint: it blocks until lines wait while a line is
//! being edited, wakes the editor, and ends with the process.
//!
//! Invariant: *a line leaves the queue in the same step in which it is written*. So the
//! moment in which the editor begins, ends or is stopped costs no line and repeats none. A
//! wake-up that comes too early or too late prints nothing by itself.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::tcgetwinsize;
use rustyline::ExternalPrinter;

use crate::limits::{DEFAULT_COLUMNS, MAX_RECENT_LINES, MAX_UNSHOWN_LINES, RESIZE_DELAY};
use crate::threads::spawn;

/// The wake-up, which the editor writes before it paints its line again. It moves the
/// cursor up and down, because the editor adds a line end to anything that has none.
const WAKE_UP: &str = "\x1B[A\n";

/// Where lines go, from any thread.
#[derive(Clone, Debug)]
pub struct Printer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held while lines are written, so that they keep their order.
    state: Mutex<State>,
    changed: Condvar,
    /// The kernel edits the line, and shows it without telling.
    is_dumb: bool,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    queue: VecDeque<String>,
    /// The editor has been woken for what is in the queue.
    woken: bool,
    /// The line is to be painted anew, because the terminal has changed at that moment.
    repaint: Option<Instant>,
    /// When the editor has painted last.
    painted: Instant,
    /// The last lines, and when they were written.
    recent: VecDeque<(Instant, String)>,
}

/// What the terminal is used for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A line is being edited: the editor prints.
    Editing,
    /// The editor begins or ends: lines wait.
    Held,
    /// There is no editor: lines are written at once.
    Direct,
    /// The kernel edits a line, which may have begun: lines are written below it.
    Kernel,
}

impl Printer {
    /// Starts the printer, if there is an editor that paints.
    pub fn start(editor: Option<impl ExternalPrinter + Send + 'static>) -> io::Result<Printer> {
        let printer = Printer(Arc::new(Shared {
            state: Mutex::new(State {
                phase: Phase::Direct,
                queue: VecDeque::new(),
                woken: false,
                repaint: None,
                painted: Instant::now(),
                recent: VecDeque::new(),
            }),
            changed: Condvar::new(),
            is_dumb: editor.is_none(),
        }));
        if let Some(editor) = editor {
            let shared = Arc::clone(&printer.0);
            spawn("printer", move || wake_editor(&shared, editor))?;
        }
        Ok(printer)
    }

    /// Prints a line, now or when the editor paints. Blocks while [`MAX_UNSHOWN_LINES`]
    /// wait, which the thread that edits must not: it has [`print_now`](Printer::print_now).
    pub fn print(&self, line: String) {
        let mut state = self.0.state.lock();
        while state.waits() && state.queue.len() >= MAX_UNSHOWN_LINES {
            self.0.changed.wait(&mut state);
        }
        match state.phase {
            Phase::Kernel => write(&format!("\n{line}\n")),
            Phase::Direct => write(&state.note(line)),
            Phase::Editing | Phase::Held => {
                state.queue.push_back(line);
                self.0.changed.notify_all();
            }
        }
    }

    /// Prints a line at once, behind those that wait: for the thread that edits, between
    /// two lines.
    pub fn print_now(&self, line: &str) {
        let mut state = self.0.state.lock();
        write(&(state.take_queued() + &state.note(line.to_owned())));
        self.0.changed.notify_all();
    }

    /// Takes the lines that wait, each with its line end, for a painting of the editor.
    pub fn take_queued(&self) -> String {
        let mut state = self.0.state.lock();
        state.painted = Instant::now();
        self.0.changed.notify_all();
        state.take_queued()
    }

    /// A line is being edited from now on, and painted by the caller.
    pub fn editing(&self) {
        let mut state = self.0.state.lock();
        if state.phase == Phase::Held {
            state.phase = Phase::Editing;
            state.woken = false;
            self.0.changed.notify_all();
        }
    }

    /// The editor is about to begin. Lines wait until it paints, if it does.
    pub fn begin(&self) {
        self.0.state.lock().phase = match self.0.is_dumb {
            true => Phase::Kernel,
            false => Phase::Held,
        };
    }

    /// The editor has ended, or is about to. Lines wait.
    pub fn hold(&self) {
        self.0.state.lock().phase = match self.0.is_dumb {
            true => Phase::Direct,
            false => Phase::Held,
        };
    }

    /// Writes this at once, before the lines that wait.
    pub fn write(&self, text: &str) {
        let _state = self.0.state.lock();
        write(text);
    }

    /// There is no editor now, and the cursor is at the left edge: lines are written at
    /// once, first those that wait.
    pub fn direct(&self) {
        let mut state = self.0.state.lock();
        let queued = state.take_queued();
        if !queued.is_empty() {
            write(&queued);
        }
        state.phase = Phase::Direct;
        self.0.changed.notify_all();
    }

    /// Makes the editor end, if a line is being edited, so that the line is painted anew:
    /// for the thread that knows of a change of the terminal.
    ///
    /// The signal is one that the editor handles until it has been held, for which it
    /// needs this lock.
    pub fn repaint(&self) {
        let mut state = self.0.state.lock();
        if state.phase == Phase::Editing {
            state.phase = Phase::Held;
            state.repaint = Some(Instant::now());
            let _ = kill_process(getpid(), Signal::INT);
        }
    }

    /// When [`repaint`](Printer::repaint) has ended the editor, if it has since this was asked
    /// last.
    pub fn take_repaint(&self) -> Option<Instant> {
        self.0.state.lock().repaint.take()
    }

    /// The last lines that the editor may have erased when it painted after a change of the
    /// window and before it knew: this many that were there, and all that came then.
    ///
    /// Terminals tell a change up to a quarter of a second later ([`RESIZE_DELAY`]).
    pub fn perhaps_erased(&self, told: Instant, rows: usize) -> Vec<String> {
        let state = self.0.state.lock();
        let Some(changed) = told
            .checked_sub(RESIZE_DELAY)
            .filter(|it| *it < state.painted)
        else {
            return Vec::new();
        };
        let since = state
            .recent
            .partition_point(|(written, _)| *written < changed);
        let lines = state.recent.range(since.saturating_sub(rows)..);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// How many columns and rows the terminal has now.
    pub fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok();
        let (columns, rows) = size.map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()));
        match columns {
            // A terminal that does not say so, as on a serial line.
            0 => (DEFAULT_COLUMNS, usize::MAX),
            _ => (columns, rows),
        }
    }

    /// How many columns the terminal has now.
    pub fn columns(&self) -> usize {
        self.size().0
    }

    /// Whether the kernel edits the line, because the terminal cannot move its cursor.
    pub fn is_dumb(&self) -> bool {
        self.0.is_dumb
    }
}

impl State {
    fn waits(&self) -> bool {
        matches!(self.phase, Phase::Editing | Phase::Held)
    }

    fn take_queued(&mut self) -> String {
        self.woken = false;
        let queue = std::mem::take(&mut self.queue);
        queue.into_iter().map(|line| self.note(line)).collect()
    }

    /// The line with its end, which is written now.
    fn note(&mut self, line: String) -> String {
        let ended = format!("{line}\n");
        if self.recent.len() == MAX_RECENT_LINES {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), line));
        ended
    }
}

/// The thread `printer`.
fn wake_editor(shared: &Shared, mut editor: impl ExternalPrinter) {
    loop {
        let mut state = shared.state.lock();
        while state.phase != Phase::Editing || state.queue.is_empty() || state.woken {
            shared.changed.wait(&mut state);
        }
        state.woken = true;
        // It blocks while an earlier wake-up has not been seen.
        drop(state);
        if editor.print(WAKE_UP.to_owned()).is_err() {
            return;
        }
    }
}

/// As print!, which panics when the terminal is gone.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Sender, bounded};
    use std::time::Duration;

    /// An editor that tells when it is woken.
    struct Editor(Sender<String>);

    impl ExternalPrinter for Editor {
        fn print(&mut self, wake_up: String) -> rustyline::Result<()> {
            self.0.send(wake_up).expect("it listens");
            Ok(())
        }
    }

    #[test]
    fn lines_printed_around_a_late_resize_are_returned() {
        let (given, _woken) = bounded(0);
        let printer = Printer::start(Some(Editor(given))).unwrap();
        printer.hold();
        for number in 1..=3 {
            printer.print(number.to_string());
        }
        assert_eq!(printer.take_queued(), "1\n2\n3\n");
        let told = Instant::now();
        assert_eq!(printer.perhaps_erased(told, 1), ["1", "2", "3"]);
        // Nothing was painted then.
        let later = told + 2 * RESIZE_DELAY;
        assert_eq!(printer.perhaps_erased(later, 1), Vec::<String>::new());
    }

    #[test]
    fn printer_wakes_editor_once_and_only_while_it_edits() {
        let (given, woken) = bounded(0);
        let printer = Printer::start(Some(Editor(given))).unwrap();
        let wakes = || woken.recv_timeout(Duration::from_secs(10)).unwrap();
        let sleeps = || {
            let early = woken.recv_timeout(Duration::from_millis(30));
            assert!(early.is_err(), "{early:?}");
        };
        printer.hold();
        for number in 1..=4 {
            printer.print(number.to_string());
        }
        sleeps();
        printer.editing();
        assert_eq!(wakes(), WAKE_UP);
        printer.print("5".to_owned());
        sleeps();
        assert_eq!(printer.take_queued(), "1\n2\n3\n4\n5\n");
        printer.print("6".to_owned());
        wakes();
        // The wake-up came too late; what waits is neither lost nor repeated.
        printer.hold();
        printer.print("7".to_owned());
        sleeps();
        printer.editing();
        wakes();
        assert_eq!(printer.take_queued(), "6\n7\n");
        assert_eq!(printer.take_queued(), "");
        printer.direct();
        printer.editing();
        sleeps();
    }
}
