//! Filters the input of the terminal before rustyline makes editing commands of it.
//!
//! Does not know a connection. Knows the line only as text. Three kinds of input are not keys
//! for the line:
//!
//! - Keys that end the editing ([`Ending`]).
//! - A paste between its marks.
//! - Reports of the terminal, for a mouse or as a response to a query. rustyline takes the
//!   start of a report for an unknown key, and the rest for typed text.
//!
//! Invariant: *a paste or a report without an end does not swallow keys forever*. A paste
//! without its end mark ends with Ctrl-C, or with the first key after a pause of
//! [`PASTE_TIMEOUT`]. A report ends after a pause of [`REPORT_TIMEOUT`].

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::command;
use super::printer::Printer;
use super::wrap::cells_of;
use crate::limits::{MAX_PASTED_LINES, PASTE_TIMEOUT, REPORT_TIMEOUT};

/// The reason why the editing of a line ended without Enter.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// Ctrl-C.
    Interrupt {
        /// Whether the line was not empty.
        cleared: bool,
    },
    /// Ctrl-D on an empty line.
    End,
    /// Ctrl-Z.
    Suspend {
        /// The position of the cursor in the line, in bytes.
        cursor: usize,
    },
    /// A paste that is too long to be edited.
    Block {
        /// The pasted text.
        text: String,
        /// The position of the cursor in the line, in bytes.
        cursor: usize,
    },
}

/// The task of the completer, the only helper that rustyline lets change the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// TAB: complete the word.
    Word,
    /// A space after `/reply`: replace it by `/msg NAME`.
    Reply,
    /// Ctrl-R: search the history for the line.
    History,
}

/// The state of the input, which the editor and rustyline's handler share.
#[derive(Debug)]
pub struct Keys {
    printer: Printer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ending: Option<Ending>,
    completion: Option<CompletionKind>,
    paste: Option<Paste>,
    report: Option<Report>,
    /// The columns of the prompt.
    prompt_columns: usize,
}

/// A paste without its end mark yet.
#[derive(Debug)]
struct Paste {
    text: String,
    after_cr: bool,
    last: Instant,
}

/// A report that may continue.
#[derive(Debug)]
struct Report {
    kind: ReportKind,
    last: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportKind {
    /// After `ESC [` and a byte that starts no known key.
    Csi {
        /// Whether at least one byte of the parameters has arrived.
        begun: bool,
    },
    /// After `ESC [ M`: the number of missing bytes.
    Mouse(u8),
    /// After `ESC ]`, `ESC P`, `ESC _` or `ESC ^`: a text up to BEL or `ESC \`.
    Text,
}

impl Keys {
    /// Makes the state for a terminal from which no key has arrived yet.
    pub fn new(printer: Printer) -> Arc<Keys> {
        Arc::new(Keys {
            printer,
            state: Mutex::default(),
        })
    }

    /// Resets the state before the editing of a line.
    pub fn begin(&self, prompt_columns: usize) {
        let mut state = self.state.lock();
        state.prompt_columns = prompt_columns;
        state.ending = None;
        state.completion = None;
    }

    /// Takes the reason why the editing ended, or `None` if Enter ended it.
    pub fn take_ending(&self) -> Option<Ending> {
        self.state.lock().ending.take()
    }

    /// Takes the task of the completer.
    pub fn take_completion_kind(&self) -> CompletionKind {
        self.state
            .lock()
            .completion
            .take()
            .unwrap_or(CompletionKind::Word)
    }

    /// Returns whether a line with this paste is too long to be edited.
    ///
    /// It is if it has more than [`MAX_PASTED_LINES`] lines, or if it is taller than the
    /// window: the editor cannot paint such a line.
    fn is_block(&self, line: &str, paste: &str, prompt_columns: usize) -> bool {
        let (columns, rows) = self.printer.size();
        let whole = format!("{line}{paste}");
        let taken = whole
            .split('\n')
            .map(|line| cells_of(line) / columns + 1)
            .sum::<usize>();
        paste.lines().count() > MAX_PASTED_LINES || taken + prompt_columns / columns + 1 >= rows
    }
}

/// rustyline's handler for all keys.
pub struct KeyHandler(pub Arc<Keys>);

impl ConditionalEventHandler for KeyHandler {
    fn handle(
        &self,
        event: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext,
    ) -> Option<Cmd> {
        let key = *event.get(0)?;
        let now = Instant::now();
        let mut state = self.0.state.lock();
        if let Some(paste) = state.paste.take() {
            return Some(self.0.paste(&mut state, paste, key, now, context));
        }
        if state.is_report(key, now) {
            return Some(Cmd::Noop);
        }
        let KeyEvent(code, modifiers) = key;
        let (line, cursor) = (context.line(), context.pos());
        let ending = match (code, modifiers) {
            (KeyCode::Char('C'), Modifiers::CTRL) => Ending::Interrupt {
                cleared: !line.is_empty(),
            },
            (KeyCode::Char('D'), Modifiers::CTRL) if line.is_empty() => Ending::End,
            (KeyCode::Char('Z'), Modifiers::CTRL) => Ending::Suspend { cursor },
            (KeyCode::BracketedPasteStart, _) => {
                state.paste = Some(Paste {
                    text: String::new(),
                    after_cr: false,
                    last: now,
                });
                return Some(Cmd::Noop);
            }
            // `Tty` sets some special keys of the terminal to NO_KEY, the byte of Ctrl-@. So
            // rustyline would take Ctrl-@ for one of these keys.
            (KeyCode::Char('@'), Modifiers::CTRL) => return Some(Cmd::Noop),
            (KeyCode::Char('R'), Modifiers::CTRL) => {
                state.completion = Some(CompletionKind::History);
                return Some(Cmd::Complete);
            }
            (KeyCode::Char(' '), Modifiers::NONE)
                if cursor == line.len() && command::is_reply(line) =>
            {
                state.completion = Some(CompletionKind::Reply);
                return Some(Cmd::Complete);
            }
            _ => return None,
        };
        state.ending = Some(ending);
        Some(Cmd::AcceptLine)
    }
}

impl Keys {
    /// Handles a key inside a paste.
    fn paste(
        &self,
        state: &mut State,
        mut paste: Paste,
        key: KeyEvent,
        now: Instant,
        context: &EventContext,
    ) -> Cmd {
        let KeyEvent(code, modifiers) = key;
        let is_over = now.duration_since(paste.last) > PASTE_TIMEOUT;
        let after_cr = std::mem::replace(&mut paste.after_cr, code == KeyCode::Enter);
        paste.last = now;
        match (code, modifiers) {
            (KeyCode::BracketedPasteEnd, _) => return self.end_paste(state, paste, context),
            (KeyCode::Char('C'), Modifiers::CTRL) => {
                state.ending = Some(Ending::Interrupt { cleared: true });
                return Cmd::AcceptLine;
            }
            // This Enter only ends the paste. The user presses Enter again after seeing the
            // text.
            (KeyCode::Enter, _) if is_over => {}
            (KeyCode::Enter, _) => paste.text.push('\n'),
            (KeyCode::Char('J'), Modifiers::CTRL) if after_cr => {}
            (KeyCode::Char('J'), Modifiers::CTRL) => paste.text.push('\n'),
            (KeyCode::Tab, _) => paste.text.push('\t'),
            (KeyCode::Char(c), Modifiers::NONE) => paste.text.push(c),
            // A control character stays in the text, so that sending it reports an error.
            (KeyCode::Char(c @ '@'..='_'), Modifiers::CTRL) => {
                paste.text.push(char::from(c as u8 - b'@'));
            }
            _ => {}
        }
        if is_over {
            return self.end_paste(state, paste, context);
        }
        state.paste = Some(paste);
        Cmd::Noop
    }

    fn end_paste(&self, state: &mut State, paste: Paste, context: &EventContext) -> Cmd {
        let text = paste.text;
        if self.is_block(context.line(), &text, state.prompt_columns) {
            let cursor = context.pos();
            state.ending = Some(Ending::Block { text, cursor });
            return Cmd::AcceptLine;
        }
        Cmd::Insert(1, text)
    }
}

impl State {
    /// Returns whether this belongs to a report and is not a key.
    fn is_report(&mut self, key: KeyEvent, now: Instant) -> bool {
        let KeyEvent(code, modifiers) = key;
        let report = self.report.take();
        let report = report.filter(|report| now.duration_since(report.last) < REPORT_TIMEOUT);
        let next = match (report.map(|report| report.kind), code, modifiers) {
            (Some(ReportKind::Text), KeyCode::Char('G'), Modifiers::CTRL)
            | (Some(ReportKind::Text), KeyCode::Char('\\'), Modifiers::ALT) => return true,
            (Some(ReportKind::Text), ..) => ReportKind::Text,
            (Some(ReportKind::Mouse(1)), ..) => return true,
            (Some(ReportKind::Mouse(left)), ..) => ReportKind::Mouse(left - 1),
            (Some(ReportKind::Csi { .. }), KeyCode::Char('0'..='?'), Modifiers::NONE) => {
                ReportKind::Csi { begun: true }
            }
            (Some(ReportKind::Csi { begun: false }), KeyCode::Char(' '..='/'), Modifiers::NONE) => {
                ReportKind::Mouse(2)
            }
            (Some(ReportKind::Csi { begun: true }), KeyCode::Char(' '..='/'), Modifiers::NONE) => {
                ReportKind::Csi { begun: true }
            }
            (Some(ReportKind::Csi { begun: true }), KeyCode::Char('@'..='~'), Modifiers::NONE) => {
                return true;
            }
            (_, KeyCode::UnknownEscSeq, _) => ReportKind::Csi { begun: false },
            (_, KeyCode::Char(']' | 'P' | '_' | '^'), Modifiers::ALT) => ReportKind::Text,
            _ => return false,
        };
        self.report = Some(Report {
            kind: next,
            last: now,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const UNKNOWN: KeyEvent = KeyEvent(KeyCode::UnknownEscSeq, Modifiers::NONE);

    /// Returns the keys that remain for the line. They arrive a millisecond apart.
    fn keys_for_line(keys: impl IntoIterator<Item = KeyEvent>) -> Vec<KeyEvent> {
        let (mut state, start) = (State::default(), Instant::now());
        let keys = keys.into_iter().zip(0..);
        keys.filter(|(key, number)| !state.is_report(*key, start + Duration::from_millis(*number)))
            .map(|(key, _)| key)
            .collect()
    }

    fn chars(text: &str) -> impl Iterator<Item = KeyEvent> {
        text.chars().map(|c| KeyEvent::new(c, Modifiers::NONE))
    }

    #[test]
    fn terminal_reports_are_filtered_from_keys() {
        let expected: Vec<KeyEvent> = chars("hi").collect();
        for tail in ["0;10;5M", "62;22c", "2;1$y", " !!", "13~"] {
            let keys = [UNKNOWN].into_iter().chain(chars(tail)).chain(chars("hi"));
            assert_eq!(keys_for_line(keys), expected, "{tail:?}");
        }
        let end = || [KeyEvent::alt('\\')].into_iter();
        for first in [']', 'P', '_'] {
            let begin = [KeyEvent::alt(first)].into_iter();
            let text = begin.chain(chars("11;rgb:1e1e/1e1e/1e1e"));
            assert_eq!(
                keys_for_line(text.chain(end()).chain(chars("hi"))),
                expected
            );
        }
        let bell = chars("11;?\u{7}hi");
        assert_eq!(
            keys_for_line([KeyEvent::alt(']')].into_iter().chain(bell)),
            expected
        );
    }

    #[test]
    fn keys_are_not_taken_for_a_report() {
        // A report without a tail, and a report without an end.
        let keys = || [UNKNOWN].into_iter().chain(chars("hi"));
        assert_eq!(keys_for_line(keys()), keys_for_line(chars("hi")));
        let (mut state, start) = (State::default(), Instant::now());
        assert!(state.is_report(KeyEvent::alt(']'), start));
        let late = start + REPORT_TIMEOUT;
        assert!(!state.is_report(KeyEvent::new('h', Modifiers::NONE), late));
    }
}
