//! Formats events as lines.
//!
//! Pure. Does not know where a row ends ([`wrap`](super::wrap)).
//! Invariant: *a line begins with the time and the speaker, in a form that no text can
//! imitate*. No name contains a space, a parenthesis, `*` or `!`. Only the first row of a text
//! begins at the left edge.
//!
//! ```text
//! 14:02 alice: hello              a broadcast
//! 14:02 alice (to you): hello     a private message
//! 14:02 alice (names you): hello  a broadcast that contains the user's name
//! 14:02 bob (to alice): hello     the user's own private message; bob is the user
//! 14:02 * 2 online: alice, bob    information from the client or the server
//! 13:47 alice: hello              a message of before, dimmed
//! 14:02 ! No one is named carol   an error
//! ```

use std::fmt::Display;

use super::wrap::{RowShape, cells_of, wrap_text};
use crate::protocol::reply::Scope;
use crate::protocol::server_message::Message;
use crate::protocol::username::Username;

/// The format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub colours: bool,
    /// Whether the terminal knows control sequences.
    pub controls: bool,
    /// The columns of a row. Later rows are indented. `None` for one row of any length.
    pub columns: Option<usize>,
}

/// The foreground colours of names, by their numbers (console_codes(4)).
///
/// Black and white are missing because they may be the background. Red is for errors.
const NAME_COLOURS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

const RED: u8 = 31;
const BOLD: u8 = 1;
const REVERSE: u8 = 7;
const DIM: u8 = 2;

/// The columns of the time and the space after it, before the name.
pub const TIME_WIDTH: usize = "14:02 ".len();

impl Style {
    /// The style without colours, control sequences or rows.
    pub const PLAIN: Style = Style {
        colours: false,
        controls: false,
        columns: None,
    };

    /// Returns the style for a terminal of this many columns.
    pub fn with_columns(self, columns: Option<usize>) -> Style {
        Style { columns, ..self }
    }

    /// Formats a message from another user to the user `me`.
    pub fn message(self, time: &str, message: &Message, me: &Username) -> String {
        let sender = self.name(&message.sender);
        let is_named = mentions(message.text.as_str(), me);
        let to = match message.scope {
            Scope::Private => self.paint(BOLD, " (to you)"),
            Scope::Broadcast if is_named && !self.colours => " (names you)".to_owned(),
            Scope::Broadcast => String::new(),
        };
        let text = match is_named && self.colours {
            true => self.mark_name(message.text.as_str(), me),
            false => message.text.as_str().to_owned(),
        };
        self.line(format!("{} {sender}{to}: ", self.dim(time)), &text)
    }

    /// Formats the user's own message.
    pub fn own_message(
        self,
        time: &str,
        me: &Username,
        to: Option<&Username>,
        text: &str,
    ) -> String {
        let (time, me) = (self.dim(time), self.name(me));
        let prefix = match to {
            None => format!("{time} {me}: "),
            Some(to) => format!("{time} {me} (to {}): ", self.name(to)),
        };
        self.line(prefix, text)
    }

    /// Formats information from the client or the server.
    pub fn info(self, time: &str, text: impl Display) -> String {
        self.line(format!("{} * ", self.dim(time)), &text.to_string())
    }

    /// Formats information that matters less, all of it dimmed.
    pub fn faint_info(self, time: &str, text: impl Display) -> String {
        self.faint(format!("{time} * "), &text.to_string())
    }

    /// Formats a message of before, all of it dimmed.
    pub fn past_message(self, time: &str, sender: &Username, text: &str) -> String {
        self.faint(format!("{time} {sender}: "), text)
    }

    /// Joins a prefix and the rows of a text, and dims all rows at once.
    fn faint(self, prefix: String, text: &str) -> String {
        let rows = self.rows_of(text, cells_of(&prefix));
        self.dim(&(prefix + &rows))
    }

    /// Formats an error.
    pub fn error(self, time: &str, text: impl Display) -> String {
        let prefix = format!("{} ", self.dim(time));
        // Colour all rows at once: no word of an error has its own colour.
        let text = self.rows_of(&format!("! {text}"), cells_of(&prefix));
        prefix + &self.paint(RED, &text)
    }

    /// Joins a prefix and the rows of a text.
    fn line(self, prefix: String, text: &str) -> String {
        let rows = self.rows_of(text, cells_of(&prefix));
        prefix + &rows
    }

    /// Splits a text into rows. The first row follows a prefix of this many columns.
    fn rows_of(self, text: &str, prefix_columns: usize) -> String {
        let Some(columns) = self.columns else {
            return text.to_owned();
        };
        // A narrow terminal has no room for a wide indent.
        let indent = if columns < 2 * TIME_WIDTH + 2 {
            1
        } else {
            TIME_WIDTH
        };
        let controls = self.controls;
        wrap_text(
            text,
            prefix_columns,
            RowShape {
                columns,
                indent,
                controls,
            },
        )
    }

    /// Marks this name in a text, wherever it is a whole word.
    fn mark_name(self, text: &str, name: &Username) -> String {
        let mut marked = String::new();
        for part in text.split_inclusive(|c| !Username::may_contain(c)) {
            let word = part.trim_end_matches(|c| !Username::may_contain(c));
            let after = &part[word.len()..];
            match word.eq_ignore_ascii_case(name.as_str()) {
                true => marked.push_str(&self.paint(REVERSE, word)),
                false => marked.push_str(word),
            }
            marked.push_str(after);
        }
        marked
    }

    /// Formats a name in its colour. It is the same in all runs and on all machines.
    pub fn name(self, name: &Username) -> String {
        // FNV-1a of the name in lower case. It is short and never changes. The hashes of std
        // may change between releases.
        let hash = name.as_str().bytes().fold(0x811C_9DC5, |hash: u32, byte| {
            (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
        });
        let colour = NAME_COLOURS[hash as usize % NAME_COLOURS.len()];
        self.paint(colour, name.as_str())
    }

    /// Dims a text that matters less than the rest of its line.
    pub fn dim(self, text: &str) -> String {
        self.paint(DIM, text)
    }

    fn paint(self, code: u8, text: &str) -> String {
        match self.colours {
            true => format!("\x1B[{code}m{text}\x1B[0m"),
            false => text.to_owned(),
        }
    }
}

/// Returns whether a text contains this name as a whole word, in any case.
pub fn mentions(text: &str, name: &Username) -> bool {
    text.split(|c| !Username::may_contain(c))
        .any(|word| word.eq_ignore_ascii_case(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, printable};

    const PLAIN: Style = Style::PLAIN;
    const COLOURED: Style = Style {
        colours: true,
        ..PLAIN
    };

    fn message(scope: Scope, text: &str) -> Message {
        Message {
            scope,
            sender: name("alice"),
            text: printable(text),
        }
    }

    #[test]
    fn time_and_sender_precede_the_text() {
        let (alice, bob) = (name("alice"), name("bob"));
        let broadcast = message(Scope::Broadcast, "hello");
        let shown = PLAIN.message("14:02", &broadcast, &bob);
        assert_eq!(shown, "14:02 alice: hello");
        let private = message(Scope::Private, "hello");
        let shown = PLAIN.message("14:02", &private, &bob);
        assert_eq!(shown, "14:02 alice (to you): hello");
        assert_eq!(
            PLAIN.own_message("14:02", &alice, None, "hi"),
            "14:02 alice: hi"
        );
        assert_eq!(
            PLAIN.own_message("14:02", &alice, Some(&bob), "hi"),
            "14:02 alice (to bob): hi"
        );
        assert_eq!(PLAIN.info("14:02", "hi"), "14:02 * hi");
        assert_eq!(PLAIN.error("14:02", "hi"), "14:02 ! hi");
        assert_eq!(PLAIN.faint_info("14:02", "hi"), "14:02 * hi");
        assert_eq!(
            PLAIN.past_message("14:02", &alice, "hello"),
            "14:02 alice: hello"
        );
    }

    #[test]
    fn faint_lines_are_dimmed_as_a_whole() {
        let narrow = COLOURED.with_columns(Some(20));
        assert_eq!(
            narrow.faint_info("14:02", "one two three"),
            "\x1B[2m14:02 * one two\n      three\x1B[0m"
        );
        assert_eq!(
            narrow.past_message("14:02", &name("alice"), "two three"),
            "\x1B[2m14:02 alice: two\n      three\x1B[0m"
        );
    }

    #[test]
    fn own_name_is_marked_with_and_without_colour() {
        let bob = name("bob");
        let hello = message(Scope::Broadcast, "hi BOB, kebob");
        let shown = PLAIN.message("14:02", &hello, &bob);
        assert_eq!(shown, "14:02 alice (names you): hi BOB, kebob");
        let shown = COLOURED.message("14:02", &hello, &bob);
        assert!(
            shown.ends_with(": hi \x1B[7mBOB\x1B[0m, kebob"),
            "{shown:?}"
        );
    }

    #[test]
    fn colours_leave_the_text_unchanged() {
        let (broadcast, bob) = (message(Scope::Private, "hello"), name("bob"));
        let mut line = COLOURED.message("14:02", &broadcast, &bob);
        assert!(line.contains("\x1B["), "{line:?}");
        while let Some(begin) = line.find('\x1B') {
            let end = begin + line[begin..].find('m').unwrap();
            line.replace_range(begin..=end, "");
        }
        assert_eq!(line, PLAIN.message("14:02", &broadcast, &bob));
    }

    #[test]
    fn name_colour_is_fixed_and_ignores_case() {
        assert_eq!(COLOURED.name(&name("alice")), "\x1B[96malice\x1B[0m");
        assert_eq!(COLOURED.name(&name("ALICE")), "\x1B[96mALICE\x1B[0m");
        let colours: std::collections::HashSet<String> = (10..99)
            .map(|n| COLOURED.name(&name(&n.to_string()))[..5].to_owned())
            .collect();
        assert_eq!(colours.len(), NAME_COLOURS.len());
    }

    #[test]
    fn later_rows_do_not_begin_in_the_time_column() {
        let (style, bob) = (PLAIN.with_columns(Some(30)), name("bob"));
        let spaces = " ".repeat(16);
        let fake = message(
            Scope::Broadcast,
            &format!("x{spaces}01:01 carol: I owe you 100"),
        );
        assert_eq!(
            style.message("14:02", &fake, &bob),
            "14:02 alice: x\n      01:01 carol: I owe you\n      100"
        );
        let long = style.error("14:02", "No one is named carol. Not sent: hi");
        assert_eq!(long, "14:02 ! No one is named carol.\n      Not sent: hi");
        let narrow = PLAIN.with_columns(Some(10));
        let shown = narrow.info("14:02", "one two three");
        assert_eq!(shown, "14:02 * \n one two\n three");
    }

    #[test]
    fn mention_must_be_a_whole_word() {
        let bob = name("bob");
        for text in ["bob", "hi BOB!", "(bob)", "bob's", "привет, bob"] {
            assert!(mentions(text, &bob), "{text:?}");
        }
        for text in ["", "bobby", "b-bob", "kebob", "bob_"] {
            assert!(!mentions(text, &bob), "{text:?}");
        }
    }
}
