//! How what happens looks: one line of characters for each thing.
//!
//! Pure, but for the clock. Does not know where a row ends ([`wrap`](super::wrap)).
//! Invariant: a line begins with the time and then with the speaker, in a form that no text
//! can imitate. No name contains a space, a parenthesis, `*` or `!`, and no row of a text
//! but the first begins at the left edge.
//!
//! ```text
//! 14:02 alice: hello              to everyone
//! 14:02 alice (to you): hello     to you alone
//! 14:02 alice (names you): hello  to everyone, with your name in it
//! 14:02 you (to alice): hello     by you, to alice alone (with your own name)
//! 14:02 * alice is here           the client or the server
//! 14:02 ! No one is named carol   something that went wrong
//! ```

use std::fmt::Display;

use jiff::Zoned;

use super::wrap::{Rows, cells_of, in_rows};
use crate::protocol::reply::Scope;
use crate::protocol::server_message::Message;
use crate::protocol::username::Username;

/// How lines are to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With colours.
    pub colours: bool,
    /// For a terminal that knows control sequences.
    pub controls: bool,
    /// In rows of this many columns, the next ones indented; `None` for rows of any length.
    pub columns: Option<usize>,
}

/// The foreground colours that names have, by their numbers (console_codes(4)): all
/// but black and white, which may be the background's, and red, which is for errors.
const NAME_COLOURS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

const RED: u8 = 31;
const BOLD: u8 = 1;
const REVERSE: u8 = 7;
const DIM: u8 = 2;

/// The time of day, as a line begins with it.
pub fn time() -> String {
    Zoned::now().strftime("%H:%M").to_string()
}

/// The width of what stands before a name: the time and a space.
pub const BEFORE_NAME: usize = "14:02 ".len();

impl Style {
    /// Nothing but the characters.
    pub const PLAIN: Style = Style {
        colours: false,
        controls: false,
        columns: None,
    };

    /// The same for a terminal of this many columns.
    pub fn with_columns(self, columns: Option<usize>) -> Style {
        Style { columns, ..self }
    }

    /// A message that another user sent to the one of this name.
    pub fn message(self, time: &str, message: &Message, me: &Username) -> String {
        let sender = self.name(&message.sender);
        let is_named = mentions(message.text.as_str(), me);
        let to = match message.scope {
            Scope::Private => self.paint(BOLD, " (to you)"),
            Scope::Broadcast if is_named && !self.colours => " (names you)".to_owned(),
            Scope::Broadcast => String::new(),
        };
        let text = match is_named && self.colours {
            true => self.mark(message.text.as_str(), me),
            false => message.text.as_str().to_owned(),
        };
        self.line(format!("{} {sender}{to}: ", self.dim(time)), &text)
    }

    /// A message of one's own.
    pub fn own(self, time: &str, me: &Username, to: Option<&Username>, text: &str) -> String {
        let (time, me) = (self.dim(time), self.name(me));
        let before = match to {
            None => format!("{time} {me}: "),
            Some(to) => format!("{time} {me} (to {}): ", self.name(to)),
        };
        self.line(before, text)
    }

    /// What the client or the server has to say.
    pub fn info(self, time: &str, text: impl Display) -> String {
        self.line(format!("{} * ", self.dim(time)), &text.to_string())
    }

    /// What went wrong.
    pub fn error(self, time: &str, text: impl Display) -> String {
        let before = format!("{} ", self.dim(time));
        // Coloured as a whole, because no word of it has a colour of its own.
        let text = self.rows_of(&format!("! {text}"), cells_of(&before));
        before + &self.paint(RED, &text)
    }

    /// A text behind what stands before it.
    fn line(self, before: String, text: &str) -> String {
        let rows = self.rows_of(text, cells_of(&before));
        before + &rows
    }

    fn rows_of(self, text: &str, before: usize) -> String {
        let Some(columns) = self.columns else {
            return text.to_owned();
        };
        // A terminal of a few columns has little to indent with.
        let indent = if columns < 2 * BEFORE_NAME + 2 {
            1
        } else {
            BEFORE_NAME
        };
        let controls = self.controls;
        in_rows(
            text,
            before,
            Rows {
                columns,
                indent,
                controls,
            },
        )
    }

    /// The text with this name in it marked, wherever it is a word.
    fn mark(self, text: &str, name: &Username) -> String {
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

    /// A name in its colour, which is the same at all times and on all machines.
    pub fn name(self, name: &Username) -> String {
        // FNV-1a of the name whatever its case: short, and fixed for good, which std's
        // hashes are not.
        let hash = name.as_str().bytes().fold(0x811C_9DC5, |hash: u32, byte| {
            (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
        });
        let colour = NAME_COLOURS[hash as usize % NAME_COLOURS.len()];
        self.paint(colour, name.as_str())
    }

    /// What matters less than the rest of its line.
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

/// Whether a text speaks of this name, in any case, as a word of its own.
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
        assert_eq!(PLAIN.own("14:02", &alice, None, "hi"), "14:02 alice: hi");
        assert_eq!(
            PLAIN.own("14:02", &alice, Some(&bob), "hi"),
            "14:02 alice (to bob): hi"
        );
        assert_eq!(PLAIN.info("14:02", "hi"), "14:02 * hi");
        assert_eq!(PLAIN.error("14:02", "hi"), "14:02 ! hi");
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
        let long = style.error("14:02", "No one is named carol; not sent: hi");
        assert_eq!(long, "14:02 ! No one is named carol;\n      not sent: hi");
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
