//! What the keyboard sends, before rustyline makes commands of it.
//!
//! Knows the line only as text, and no connection. Three things arrive here that are no
//! keys for the line: keys that end the editing ([`Ending`]); a paste between its marks;
//! and reports of the terminal (a mouse, an answer to a query), of which rustyline takes the
//! beginning for an unknown key and the rest for typed text.
//!
//! Invariant: *a key is never lost to something that does not end*. A paste without an end
//! mark ends with Ctrl-C or after a pause. A report without an end ends after a short one.

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

/// Why the editing of a line ended, if not by Enter.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// Ctrl-C.
    Interrupt {
        /// Something had been typed.
        cleared: bool,
    },
    /// Ctrl-D on an empty line.
    End,
    /// Ctrl-Z, with the cursor at this byte.
    Suspend {
        /// The cursor.
        cursor: usize,
    },
    /// A paste that is too long to be edited, at this byte of the line.
    Block {
        /// What was pasted.
        text: String,
        /// The cursor.
        cursor: usize,
    },
}

/// What the completer is to do, which alone may change the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// TAB: complete the word.
    Complete,
    /// A space behind `/reply`: say to whom.
    Addressee,
    /// Ctrl-R: search the history for the line.
    Search,
}

/// The keyboard's state. The editor and rustyline's handler share it.
#[derive(Debug)]
pub struct Keys {
    printer: Printer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ending: Option<Ending>,
    wish: Option<Wish>,
    paste: Option<Paste>,
    report: Option<Report>,
    /// The columns before the line.
    prompt: usize,
}

/// A paste that has begun and not ended.
#[derive(Debug)]
struct Paste {
    text: String,
    after_cr: bool,
    last: Instant,
}

/// A report that may go on.
#[derive(Debug)]
struct Report {
    kind: ReportKind,
    last: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportKind {
    /// After `ESC [` and a byte that begins no key.
    Csi {
        /// At least one byte of its parameters has come.
        begun: bool,
    },
    /// After `ESC [ M`: bytes that are still to come.
    Mouse(u8),
    /// After `ESC ]`, `ESC P`, `ESC _` or `ESC ^`: a text that BEL or `ESC \` ends.
    Text,
}

impl Keys {
    /// Nothing has been typed yet.
    pub fn new(printer: Printer) -> Arc<Keys> {
        Arc::new(Keys {
            printer,
            state: Mutex::default(),
        })
    }

    /// The editing of a line begins, behind a prompt of this many columns.
    pub fn begin(&self, prompt: usize) {
        let mut state = self.state.lock();
        state.prompt = prompt;
        state.ending = None;
        state.wish = None;
    }

    /// Why the editing ended, if not by Enter.
    pub fn take_ending(&self) -> Option<Ending> {
        self.state.lock().ending.take()
    }

    /// What the completer is to do.
    pub fn take_wish(&self) -> Wish {
        self.state.lock().wish.take().unwrap_or(Wish::Complete)
    }

    /// Whether a line with this paste in it is too long to be edited: it has too many
    /// lines, or is taller than the window, which the editor cannot paint.
    fn is_block(&self, line: &str, paste: &str, prompt: usize) -> bool {
        let (columns, rows) = self.printer.size();
        let whole = format!("{line}{paste}");
        let taken = whole
            .split('\n')
            .map(|line| cells_of(line) / columns + 1)
            .sum::<usize>();
        paste.lines().count() > MAX_PASTED_LINES || taken + prompt / columns + 1 >= rows
    }
}

/// rustyline's handler for all keys.
pub struct Handler(pub Arc<Keys>);

impl ConditionalEventHandler for Handler {
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
            // What rustyline takes for the keys that have no meaning here (NO_KEY).
            (KeyCode::Char('@'), Modifiers::CTRL) => return Some(Cmd::Noop),
            (KeyCode::Char('R'), Modifiers::CTRL) => {
                state.wish = Some(Wish::Search);
                return Some(Cmd::Complete);
            }
            (KeyCode::Char(' '), Modifiers::NONE)
                if cursor == line.len() && command::is_reply(line) =>
            {
                state.wish = Some(Wish::Addressee);
                return Some(Cmd::Complete);
            }
            _ => return None,
        };
        state.ending = Some(ending);
        Some(Cmd::AcceptLine)
    }
}

impl Keys {
    /// A key inside a paste.
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
            // It is pressed once more, when the text is to be seen.
            (KeyCode::Enter, _) if is_over => {}
            (KeyCode::Enter, _) => paste.text.push('\n'),
            (KeyCode::Char('J'), Modifiers::CTRL) if after_cr => {}
            (KeyCode::Char('J'), Modifiers::CTRL) => paste.text.push('\n'),
            (KeyCode::Tab, _) => paste.text.push('\t'),
            (KeyCode::Char(c), Modifiers::NONE) => paste.text.push(c),
            // No text, which is told when it is to be sent.
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
        if self.is_block(context.line(), &text, state.prompt) {
            let cursor = context.pos();
            state.ending = Some(Ending::Block { text, cursor });
            return Cmd::AcceptLine;
        }
        Cmd::Insert(1, text)
    }
}

impl State {
    /// Whether this belongs to a report, and is no key.
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

    /// What is left for the line of these keys, each a millisecond after the last.
    fn left_of(keys: impl IntoIterator<Item = KeyEvent>) -> Vec<KeyEvent> {
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
            assert_eq!(left_of(keys), expected, "{tail:?}");
        }
        let end = || [KeyEvent::alt('\\')].into_iter();
        for first in [']', 'P', '_'] {
            let begin = [KeyEvent::alt(first)].into_iter();
            let text = begin.chain(chars("11;rgb:1e1e/1e1e/1e1e"));
            assert_eq!(left_of(text.chain(end()).chain(chars("hi"))), expected);
        }
        let bell = chars("11;?\u{7}hi");
        assert_eq!(
            left_of([KeyEvent::alt(']')].into_iter().chain(bell)),
            expected
        );
    }

    #[test]
    fn keys_are_not_taken_for_a_report() {
        // One without a tail, and one that does not end.
        let keys = || [UNKNOWN].into_iter().chain(chars("hi"));
        assert_eq!(left_of(keys()), left_of(chars("hi")));
        let (mut state, start) = (State::default(), Instant::now());
        assert!(state.is_report(KeyEvent::alt(']'), start));
        let late = start + REPORT_TIMEOUT;
        assert!(!state.is_report(KeyEvent::new('h', Modifiers::NONE), late));
    }
}
