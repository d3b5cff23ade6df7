//! How what happens looks: one line of characters for each thing.
//!
//! Pure, but for the clock. The invariant: a line begins with the time and then with
//! who is speaking, in a form that no text can imitate, because no name contains a
//! space, a parenthesis, `*` or `!`, and because a text that takes more than one row goes
//! on further to the right ([`Style::columns`]).
//!
//! ```text
//! 14:02 alice: hello              to everyone
//! 14:02 alice (to you): hello     to you alone
//! 14:02 you (to alice): hello     by you, to alice alone (with your own name)
//! 14:02 * alice is here           the client or the server
//! 14:02 ! No one is named carol   something that went wrong
//! ```

use std::fmt::Display;

use jiff::Zoned;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::protocol::from_server::Message;
use crate::protocol::reply::Scope;
use crate::protocol::username::Username;

/// How lines are to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With colours.
    pub colours: bool,
    /// In rows of this many columns, the next ones indented; `None` for rows of any length.
    pub columns: Option<usize>,
}

/// The foreground colours that names have, by their numbers (console_codes(4)): all
/// but black and white, which may be the background's, and red, which is for errors.
const NAME_COLOURS: [u8; 10] = [32, 33, 34, 35, 36, 92, 93, 94, 95, 96];

const RED: u8 = 31;
const BOLD: u8 = 1;
const DIM: u8 = 2;

/// The time of day, as a line begins with it.
pub fn time() -> String {
    Zoned::now().strftime("%H:%M").to_string()
}

/// The same for programs: ISO 8601 with the offset of the time zone.
pub fn timestamp() -> String {
    Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// The width of what stands before a name: the time and a space.
pub const BEFORE_NAME: usize = "14:02 ".len();

impl Style {
    /// Nothing but the characters.
    pub const PLAIN: Style = Style {
        colours: false,
        columns: None,
    };

    /// The same for a terminal of this many columns.
    pub fn with_columns(self, columns: Option<usize>) -> Style {
        Style { columns, ..self }
    }

    /// A message that somebody sent.
    pub fn message(self, time: &str, message: &Message) -> String {
        let sender = self.name(&message.sender);
        let to = match message.scope {
            Scope::Broadcast => String::new(),
            Scope::Private => self.paint(BOLD, " (to you)"),
        };
        let to_width = if to.is_empty() { 0 } else { " (to you)".len() };
        let width = BEFORE_NAME + message.sender.as_str().len() + to_width + ": ".len();
        let text = self.in_rows(width, message.text.as_str());
        format!("{} {sender}{to}: {text}", self.dim(time))
    }

    /// A message of one's own.
    pub fn own(self, time: &str, me: &Username, to: Option<&Username>, text: &str) -> String {
        let width = Style::PLAIN.before_own(time, me, to).len();
        self.before_own(time, me, to) + &self.in_rows(width, text)
    }

    /// What stands before the text of an own message, to one or to all.
    pub fn before_own(self, time: &str, me: &Username, to: Option<&Username>) -> String {
        let (time, me) = (self.dim(time), self.name(me));
        match to {
            None => format!("{time} {me}: "),
            Some(to) => format!("{time} {me} (to {}): ", self.name(to)),
        }
    }

    /// What the client or the server has to say.
    pub fn info(self, time: &str, text: impl Display) -> String {
        let text = format!("* {text}");
        // Where there are colours in it, its width is not that of its characters.
        let text = match text.contains('\x1B') {
            true => text,
            false => self.in_rows(BEFORE_NAME, &text),
        };
        format!("{} {text}", self.dim(time))
    }

    /// What went wrong.
    pub fn error(self, time: &str, text: impl Display) -> String {
        let text = self.in_rows(BEFORE_NAME, &format!("! {text}"));
        format!("{} {}", self.dim(time), self.paint(RED, &text))
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

    /// A text in rows, of which the first has room behind what is so wide, and the others
    /// are indented as far as a name is. They end at a space where there is one.
    fn in_rows(self, before: usize, text: &str) -> String {
        let columns = self.columns.unwrap_or(usize::MAX);
        // A terminal of a few columns has nothing to indent with.
        if columns < 2 * BEFORE_NAME + 2 {
            return text.to_owned();
        }
        let (mut rows, mut row, mut width) = (String::new(), String::new(), before);
        for c in text.chars() {
            // A TAB goes on to the next multiple of eight.
            let of_c = match c {
                '\t' => 8 - width % 8,
                c => c.width().unwrap_or(0),
            };
            if width + of_c > columns {
                let end = match row.rfind(' ') {
                    Some(space) if c != ' ' => space + 1,
                    _ => row.len(),
                };
                let rest = row.split_off(end);
                rows.push_str(row.trim_end());
                rows.push('\n');
                rows.push_str(&" ".repeat(BEFORE_NAME));
                width = BEFORE_NAME + rest.width();
                row = rest;
                if c == ' ' {
                    continue;
                }
            }
            row.push(c);
            width += of_c;
        }
        rows + &row
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
    fn the_time_and_the_sender_stand_before_the_text() {
        let broadcast = message(Scope::Broadcast, "hello");
        assert_eq!(PLAIN.message("14:02", &broadcast), "14:02 alice: hello");
        let private = message(Scope::Private, "hello");
        assert_eq!(
            PLAIN.message("14:02", &private),
            "14:02 alice (to you): hello"
        );
        let (alice, bob) = (name("alice"), name("bob"));
        assert_eq!(PLAIN.before_own("14:02", &alice, None), "14:02 alice: ");
        assert_eq!(
            PLAIN.before_own("14:02", &alice, Some(&bob)),
            "14:02 alice (to bob): "
        );
        assert_eq!(PLAIN.info("14:02", "hi"), "14:02 * hi");
        assert_eq!(PLAIN.error("14:02", "hi"), "14:02 ! hi");
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let broadcast = message(Scope::Private, "hello");
        let mut line = COLOURED.message("14:02", &broadcast);
        assert!(line.contains("\x1B["), "{line:?}");
        while let Some(begin) = line.find('\x1B') {
            let end = begin + line[begin..].find('m').unwrap();
            line.replace_range(begin..=end, "");
        }
        assert_eq!(line, PLAIN.message("14:02", &broadcast));
    }

    #[test]
    fn a_name_has_its_colour_for_good_and_whatever_its_case() {
        assert_eq!(COLOURED.name(&name("alice")), "\x1B[96malice\x1B[0m");
        assert_eq!(COLOURED.name(&name("ALICE")), "\x1B[96mALICE\x1B[0m");
        let colours: std::collections::HashSet<String> = (10..99)
            .map(|n| COLOURED.name(&name(&n.to_string()))[..5].to_owned())
            .collect();
        assert_eq!(colours.len(), NAME_COLOURS.len());
    }

    #[test]
    fn no_row_but_the_first_begins_where_the_time_stands() {
        let style = PLAIN.with_columns(Some(30));
        let spaces = " ".repeat(16);
        let fake = message(
            Scope::Broadcast,
            &format!("x{spaces}01:01 carol: I owe you 100"),
        );
        let shown = style.message("14:02", &fake);
        assert_eq!(
            shown,
            "14:02 alice: x\n      01:01 carol: I owe you\n      100"
        );
        for text in [
            "слово ".repeat(50),
            "x".repeat(500),
            "🙂".repeat(99),
            "a\tb".repeat(40),
        ] {
            let shown = style.message("14:02", &message(Scope::Private, &text));
            for (number, row) in shown.lines().enumerate() {
                assert!(row.width() <= 30, "{row:?}");
                assert!(number == 0 || row.starts_with("      "), "{row:?}");
            }
            let letters = |text: &str| text.replace([' ', '\n'], "");
            let all = letters(&format!("14:02 alice (to you): {text}"));
            assert_eq!(letters(&shown), all);
        }
        let long = style.error("14:02", "No one is named carol; not sent: hi");
        assert_eq!(long, "14:02 ! No one is named carol;\n      not sent: hi");
        assert_eq!(
            style.own("14:02", &name("alice"), None, &"y".repeat(20)),
            "14:02 alice: yyyyyyyyyyyyyyyyy\n      yyy"
        );
        let narrow = PLAIN.with_columns(Some(10));
        let text = "y".repeat(20);
        let shown = narrow.own("14:02", &name("alice"), None, &text);
        assert_eq!(shown, format!("14:02 alice: {text}"));
    }

    #[test]
    fn a_name_is_mentioned_as_a_word() {
        let bob = name("bob");
        for text in ["bob", "hi BOB!", "(bob)", "bob's", "привет, bob"] {
            assert!(mentions(text, &bob), "{text:?}");
        }
        for text in ["", "bobby", "b-bob", "kebob", "bob_"] {
            assert!(!mentions(text, &bob), "{text:?}");
        }
    }
}
