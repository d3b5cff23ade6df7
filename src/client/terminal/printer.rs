//! Prints whole lines above the line that the user types, in their order.
//!
//! Does not know the meaning of the lines, or how the editor paints. Lines wait in a queue of
//! this module. The editor takes them when it paints ([`Printer::take_queued`]), and only
//! then.
//!
//! The thread `printer` makes the editor paint. It blocks until the user edits a line and other
//! lines wait, and then wakes the editor. It ends with the process.
//!
//! Invariant: *a line leaves the queue in the step that writes it*. So no line is lost or
//! repeated when the editor starts, ends or is interrupted. A wake-up that is too early or too
//! late prints nothing by itself.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::tcgetwinsize;
use rustyline::ExternalPrinter;

use crate::limits::{DEFAULT_COLUMNS, MAX_RECENT_LINES, MAX_UNSHOWN_LINES, RESIZE_DELAY};
use crate::threads::spawn;

/// The text that wakes the editor, which writes it before it paints its line again.
///
/// It moves the cursor up and down. The editor adds a line end to any text without one.
const WAKE_UP: &str = "\x1B[A\n";

/// A handle to print lines, for any thread.
#[derive(Clone, Debug)]
pub struct Printer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Held while lines are written, so that they keep their order.
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the kernel edits the line, because the terminal cannot move its cursor.
    is_dumb: bool,
    /// Reaches its end of input when the editor must end.
    end_rx: PipeReader,
}

#[derive(Debug)]
struct State {
    /// Dropped when the editor must end.
    end_tx: Option<PipeWriter>,
    editor: EditorState,
    queue: VecDeque<String>,
    /// Whether the editor was woken for the lines in the queue.
    is_woken: bool,
    /// When a change of the terminal interrupted the editor, which then repaints its line.
    repaint: Option<Instant>,
    /// When the editor last painted.
    last_painted: Instant,
    /// The last lines, with the time at which each was written.
    recent: VecDeque<(Instant, String)>,
}

/// The state of the editor, which decides when a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EditorState {
    /// The user edits a line. Lines wait until the editor paints.
    Editing,
    /// The editor starts or ends. Lines wait.
    Held,
    /// No line is edited. Lines are written at once.
    Closed,
    /// The kernel edits a line. Lines are written at once, below it.
    KernelEditing,
}

impl Printer {
    /// Makes a printer, and starts the thread `printer` if an editor paints.
    ///
    /// Without an editor, the kernel edits the line.
    pub fn start(editor: Option<impl ExternalPrinter + Send + 'static>) -> io::Result<Printer> {
        let (end_rx, end_tx) = io::pipe()?;
        let printer = Printer(Arc::new(Shared {
            state: Mutex::new(State {
                end_tx: Some(end_tx),
                editor: EditorState::Closed,
                queue: VecDeque::new(),
                is_woken: false,
                repaint: None,
                last_painted: Instant::now(),
                recent: VecDeque::new(),
            }),
            changed: Condvar::new(),
            is_dumb: editor.is_none(),
            end_rx,
        }));
        if let Some(editor) = editor {
            let shared = Arc::clone(&printer.0);
            spawn("printer", move || wake_editor(&shared, editor))?;
        }
        Ok(printer)
    }

    /// Prints a line, now or when the editor paints. Blocks while [`MAX_UNSHOWN_LINES`] wait.
    ///
    /// The thread that edits must not call this, because it would wait for itself. It calls
    /// [`print_now`](Printer::print_now).
    pub fn print(&self, line: String) {
        let mut state = self.0.state.lock();
        while state.is_holding_lines() && state.queue.len() >= MAX_UNSHOWN_LINES {
            self.0.changed.wait(&mut state);
        }
        match state.editor {
            EditorState::KernelEditing => write(&format!("\n{line}\n")),
            EditorState::Closed => write(&state.record(line)),
            EditorState::Editing | EditorState::Held => {
                state.queue.push_back(line);
                self.0.changed.notify_all();
            }
        }
    }

    /// Prints the waiting lines and then this one. For the thread that edits, between two
    /// inputs.
    pub fn print_now(&self, line: &str) {
        let mut state = self.0.state.lock();
        write(&(state.take_queued() + &state.record(line.to_owned())));
        self.0.changed.notify_all();
    }

    /// Takes the waiting lines, each with its line end. The editor must write them now.
    pub fn take_queued(&self) -> String {
        let mut state = self.0.state.lock();
        state.last_painted = Instant::now();
        self.0.changed.notify_all();
        state.take_queued()
    }

    /// Allows wake-ups of the editor. The caller paints the line now.
    pub fn set_editing(&self) {
        let mut state = self.0.state.lock();
        if state.editor == EditorState::Held {
            state.editor = EditorState::Editing;
            state.is_woken = false;
            self.0.changed.notify_all();
            if state.end_tx.is_none() {
                state.interrupt();
            }
        }
    }

    /// Prepares for the start of the editor. Lines wait until it paints.
    ///
    /// If the kernel edits, lines do not wait.
    pub fn begin_editing(&self) {
        self.0.state.lock().editor = match self.0.is_dumb {
            true => EditorState::KernelEditing,
            false => EditorState::Held,
        };
    }

    /// Makes lines wait, because the editor ends.
    ///
    /// If the kernel edits, lines do not wait.
    pub fn hold(&self) {
        self.0.state.lock().editor = match self.0.is_dumb {
            true => EditorState::Closed,
            false => EditorState::Held,
        };
    }

    /// Writes a text at once, before the waiting lines.
    pub fn write(&self, text: &str) {
        let _state = self.0.state.lock();
        write(text);
    }

    /// Writes the waiting lines, and from now on every line at once.
    ///
    /// No editor runs, and the cursor must be at the left edge.
    pub fn close_editor(&self) {
        let mut state = self.0.state.lock();
        let queued = state.take_queued();
        if !queued.is_empty() {
            write(&queued);
        }
        state.editor = EditorState::Closed;
        self.0.changed.notify_all();
    }

    /// Interrupts the editor, so that it paints its line again. Has no effect between inputs.
    ///
    /// The thread `resizes` calls it after a change of the terminal. It sends SIGINT, which
    /// the editor handles until it calls [`hold`](Printer::hold). That call needs the lock that
    /// is held here, so the editor still handles the signal.
    pub fn request_repaint(&self) {
        let mut state = self.0.state.lock();
        if state.editor == EditorState::Editing {
            state.repaint = Some(Instant::now());
            state.interrupt();
        }
    }

    /// Ends the editor: now, and whenever it starts again.
    pub fn end_editor(&self) {
        let mut state = self.0.state.lock();
        state.end_tx = None;
        if state.editor == EditorState::Editing {
            state.interrupt();
        }
    }

    /// Returns whether the editor must end.
    pub fn must_end(&self) -> bool {
        self.0.state.lock().end_tx.is_none()
    }

    /// Blocks until there is input or the editor must end.
    ///
    /// If the kernel edits, no signal can interrupt the read of a line.
    pub fn wait_for_input(&self) {
        let stdin = io::stdin();
        let mut ready = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&self.0.end_rx, PollFlags::IN),
        ];
        // It fails only if a signal interrupts it. An error of the terminal makes it return.
        while poll(&mut ready, None).is_err() {}
    }

    /// Takes the time at which [`request_repaint`](Printer::request_repaint) has interrupted the
    /// editor, if it has.
    pub fn take_repaint(&self) -> Option<Instant> {
        self.0.state.lock().repaint.take()
    }

    /// Returns the last lines that the editor may have erased.
    ///
    /// The editor erases lines if it paints after a change of the window and before the
    /// terminal reports it. A terminal can report it a quarter of a second late
    /// ([`RESIZE_DELAY`]). `reported` is the time of the report. The result is the last `rows`
    /// lines before the change, and all lines since.
    pub fn possibly_erased(&self, reported: Instant, rows: usize) -> Vec<String> {
        let state = self.0.state.lock();
        let Some(changed) = reported
            .checked_sub(RESIZE_DELAY)
            .filter(|it| *it < state.last_painted)
        else {
            return Vec::new();
        };
        let since = state
            .recent
            .partition_point(|(written, _)| *written < changed);
        let lines = state.recent.range(since.saturating_sub(rows)..);
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// Returns the present columns and rows of the terminal.
    pub fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok();
        let (columns, rows) = size.map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()));
        match columns {
            // Some terminals do not report a size, for example on a serial line.
            0 => (DEFAULT_COLUMNS, usize::MAX),
            _ => (columns, rows),
        }
    }

    /// Returns the present columns of the terminal.
    pub fn columns(&self) -> usize {
        self.size().0
    }

    /// Returns whether the kernel edits the line, because the terminal cannot move its cursor.
    pub fn is_dumb(&self) -> bool {
        self.0.is_dumb
    }
}

impl State {
    /// Interrupts the editor, which handles the SIGINT.
    fn interrupt(&mut self) {
        self.editor = EditorState::Held;
        let _ = kill_process(getpid(), Signal::INT);
    }

    fn is_holding_lines(&self) -> bool {
        matches!(self.editor, EditorState::Editing | EditorState::Held)
    }

    fn take_queued(&mut self) -> String {
        self.is_woken = false;
        let queue = std::mem::take(&mut self.queue);
        queue.into_iter().map(|line| self.record(line)).collect()
    }

    /// Records a line that the caller writes now. Returns it with its line end.
    fn record(&mut self, line: String) -> String {
        let ended = format!("{line}\n");
        if self.recent.len() == MAX_RECENT_LINES {
            self.recent.pop_front();
        }
        self.recent.push_back((Instant::now(), line));
        ended
    }
}

/// Runs the thread `printer`.
fn wake_editor(shared: &Shared, mut editor: impl ExternalPrinter) {
    loop {
        let mut state = shared.state.lock();
        while state.editor != EditorState::Editing || state.queue.is_empty() || state.is_woken {
            shared.changed.wait(&mut state);
        }
        state.is_woken = true;
        // Release the lock: `print` blocks while the editor has not read an earlier wake-up.
        drop(state);
        if editor.print(WAKE_UP.to_owned()).is_err() {
            return;
        }
    }
}

/// Writes a text to stdout.
fn write(text: &str) {
    // `print!` panics after the terminal was closed.
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

    /// An editor that reports its wake-ups.
    struct Editor(Sender<String>);

    impl ExternalPrinter for Editor {
        fn print(&mut self, wake_up: String) -> rustyline::Result<()> {
            self.0.send(wake_up).expect("the test receives");
            Ok(())
        }
    }

    #[test]
    fn lines_printed_around_a_late_resize_are_returned() {
        let (woken_tx, _woken_rx) = bounded(0);
        let printer = Printer::start(Some(Editor(woken_tx))).unwrap();
        printer.hold();
        for number in 1..=3 {
            printer.print(number.to_string());
        }
        assert_eq!(printer.take_queued(), "1\n2\n3\n");
        let reported = Instant::now();
        assert_eq!(printer.possibly_erased(reported, 1), ["1", "2", "3"]);
        // The editor has not painted since that change.
        let later = reported + 2 * RESIZE_DELAY;
        assert_eq!(printer.possibly_erased(later, 1), Vec::<String>::new());
    }

    #[test]
    fn printer_wakes_editor_once_and_only_while_it_edits() {
        let (woken_tx, woken_rx) = bounded(0);
        let printer = Printer::start(Some(Editor(woken_tx))).unwrap();
        let wake_up = || woken_rx.recv_timeout(Duration::from_secs(10)).unwrap();
        let expect_no_wake_up = || {
            let early = woken_rx.recv_timeout(Duration::from_millis(30));
            assert!(early.is_err(), "{early:?}");
        };
        printer.hold();
        for number in 1..=4 {
            printer.print(number.to_string());
        }
        expect_no_wake_up();
        printer.set_editing();
        assert_eq!(wake_up(), WAKE_UP);
        printer.print("5".to_owned());
        expect_no_wake_up();
        assert_eq!(printer.take_queued(), "1\n2\n3\n4\n5\n");
        printer.print("6".to_owned());
        wake_up();
        // This wake-up is too late. The waiting lines are neither lost nor repeated.
        printer.hold();
        printer.print("7".to_owned());
        expect_no_wake_up();
        printer.set_editing();
        wake_up();
        assert_eq!(printer.take_queued(), "6\n7\n");
        assert_eq!(printer.take_queued(), "");
        printer.close_editor();
        printer.set_editing();
        expect_no_wake_up();
    }
}
