//! What a typed line means, and how a long text is cut into messages.
//!
//! Pure: knows neither the terminal that the line comes from nor the connection that
//! it goes to. A line that is a mistake never becomes a message.

use std::fmt;

use crate::limits::TEXT_CHARS;
use crate::protocol::text::{Printable, Text, Unprintable};
use crate::protocol::username::{BadName, Username};

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Nothing: it is blank.
    Nothing,
    /// Send this to everyone, in so many messages.
    Broadcast(Vec<Text>),
    /// Send this to one.
    Private {
        /// To whom; `None` for whoever wrote privately last.
        to: Option<Username>,
        /// What, in so many messages.
        texts: Vec<Text>,
    },
    /// List who is here.
    Names {
        /// How their names begin.
        prefix: Printable,
    },
    /// Change the own name.
    Name(Username),
    /// Tell the commands.
    Help,
    /// Leave.
    Quit,
}

/// Why a line means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// There is no such command.
    NotACommand(String),
    /// The command wants other arguments.
    Usage(&'static Row),
    /// What stands for a name is none.
    BadName,
    /// It contains what the server does not take.
    Unprintable(Unprintable),
}

/// A command, as `/help` lists it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The word, with its slash.
    pub word: &'static str,
    /// Its arguments.
    pub arguments: &'static str,
    /// What it does.
    pub does: &'static str,
}

/// All commands: what is not in here is a mistake.
pub const COMMANDS: [Row; 6] = [
    Row {
        word: "/msg",
        arguments: "NAME TEXT",
        does: "writes to one, privately",
    },
    Row {
        word: "/reply",
        arguments: "TEXT",
        does: "writes to whoever wrote to you privately last",
    },
    Row {
        word: "/names",
        arguments: "[PREFIX]",
        does: "lists who is here",
    },
    Row {
        word: "/name",
        arguments: "NEW",
        does: "changes your name",
    },
    Row {
        word: "/help",
        arguments: "",
        does: "shows this",
    },
    Row {
        word: "/quit",
        arguments: "",
        does: "leaves",
    },
];

impl Typed {
    /// Reads one line, without its end.
    pub fn parse(line: &str) -> Result<Typed, Mistake> {
        if line.trim().is_empty() {
            return Ok(Typed::Nothing);
        }
        match line.strip_prefix('/') {
            None => Ok(Typed::Broadcast(texts(line.as_bytes())?)),
            Some(text) if text.starts_with('/') => Ok(Typed::Broadcast(texts(text.as_bytes())?)),
            Some(_) => Typed::parse_command(line),
        }
    }

    fn parse_command(line: &str) -> Result<Typed, Mistake> {
        let (word, arguments) = split_word(line);
        let Some(row) = COMMANDS.iter().find(|row| row.word == word) else {
            return Err(Mistake::NotACommand(word.to_owned()));
        };
        let (first, rest) = split_word(arguments);
        match row.word {
            "/msg" if !rest.trim().is_empty() => Ok(Typed::Private {
                to: Some(Username::new(first)?),
                texts: texts(rest.as_bytes())?,
            }),
            "/reply" if !arguments.is_empty() => Ok(Typed::Private {
                to: None,
                texts: texts(arguments.as_bytes())?,
            }),
            "/names" if rest.is_empty() => Ok(Typed::Names {
                prefix: Printable::new(first.as_bytes())?,
            }),
            "/name" if !first.is_empty() && rest.is_empty() => {
                Ok(Typed::Name(Username::new(first)?))
            }
            "/help" if first.is_empty() => Ok(Typed::Help),
            "/quit" if first.is_empty() => Ok(Typed::Quit),
            _ => Err(Mistake::Usage(row)),
        }
    }
}

/// The first word, and what follows the spaces after it.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim_start_matches(' '))
}

/// The messages that a text is sent as: one, unless it is over the length of a message
/// ([`TEXT_CHARS`]). Then it is cut at the last space that leaves a piece short enough,
/// or, where there is none, at that length. Blank pieces, and a blank text, are none.
pub fn texts(text: &[u8]) -> Result<Vec<Text>, Unprintable> {
    let printable = Printable::new(text)?;
    let mut rest = printable.as_str();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = cut(rest, TEXT_CHARS);
        texts.extend(Text::new(Printable::new(piece.as_bytes())?));
        rest = after;
    }
    Ok(texts)
}

/// Cuts off a piece of at most `most` characters. The space at the cut is in neither.
fn cut(text: &str, most: usize) -> (&str, &str) {
    let Some((end, beyond)) = text.char_indices().nth(most) else {
        return (text, "");
    };
    if beyond == ' ' {
        return (&text[..end], &text[end + 1..]);
    }
    match text[..end].rfind(' ') {
        Some(space) if space > 0 => (&text[..space], &text[space + 1..]),
        _ => text.split_at(end),
    }
}

impl From<BadName> for Mistake {
    fn from(BadName: BadName) -> Mistake {
        Mistake::BadName
    }
}

impl From<Unprintable> for Mistake {
    fn from(unprintable: Unprintable) -> Mistake {
        Mistake::Unprintable(unprintable)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::NotACommand(word) => write!(
                f,
                "{word} is not a command; /help lists them, and // sends a slash"
            ),
            Mistake::Usage(row) => write!(f, "Usage: {}", row.usage()),
            Mistake::BadName => write!(f, "{BadName}"),
            Mistake::Unprintable(unprintable) => write!(f, "{unprintable}"),
        }
    }
}

impl Row {
    /// The word and its arguments.
    pub fn usage(&self) -> String {
        format!("{} {}", self.word, self.arguments)
            .trim_end()
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(name: &str) -> Username {
        Username::new(name).unwrap()
    }

    fn text(text: &str) -> Text {
        Text::new(Printable::new(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_line_is_a_broadcast_unless_it_begins_with_one_slash() {
        let broadcast = |line: &str| Ok(Typed::Broadcast(vec![text(line)]));
        for line in ["hello", " /quit", "привет 🙂", "a/b", "  two  spaces "] {
            assert_eq!(Typed::parse(line), broadcast(line), "{line:?}");
        }
        assert_eq!(Typed::parse("//etc"), broadcast("/etc"));
        assert_eq!(Typed::parse("///"), broadcast("//"));
        for blank in ["", " ", "\t "] {
            assert_eq!(Typed::parse(blank), Ok(Typed::Nothing), "{blank:?}");
        }
    }

    #[test]
    fn commands_take_their_arguments() {
        let private = |to: Option<&str>, line: &str| {
            Ok(Typed::Private {
                to: to.map(name),
                texts: vec![text(line)],
            })
        };
        assert_eq!(
            Typed::parse("/msg bob hi  there "),
            private(Some("bob"), "hi  there ")
        );
        assert_eq!(
            Typed::parse("/msg  bob /quit"),
            private(Some("bob"), "/quit")
        );
        assert_eq!(Typed::parse("/reply hi"), private(None, "hi"));
        let prefix = |prefix: &str| Printable::new(prefix.as_bytes()).unwrap();
        assert_eq!(
            Typed::parse("/names"),
            Ok(Typed::Names { prefix: prefix("") })
        );
        assert_eq!(
            Typed::parse("/names b "),
            Ok(Typed::Names {
                prefix: prefix("b")
            })
        );
        assert_eq!(Typed::parse("/name bob "), Ok(Typed::Name(name("bob"))));
        assert_eq!(Typed::parse("/help"), Ok(Typed::Help));
        assert_eq!(Typed::parse("/quit "), Ok(Typed::Quit));
    }

    #[test]
    fn a_mistake_says_what_is_wanted_and_is_never_a_message() {
        for (line, problem) in [
            (
                "/",
                "/ is not a command; /help lists them, and // sends a slash",
            ),
            (
                "/etc/passwd",
                "/etc/passwd is not a command; /help lists them, and // sends a slash",
            ),
            (
                "/MSG bob hi",
                "/MSG is not a command; /help lists them, and // sends a slash",
            ),
            ("/msg", "Usage: /msg NAME TEXT"),
            ("/msg bob", "Usage: /msg NAME TEXT"),
            ("/msg bob  ", "Usage: /msg NAME TEXT"),
            ("/msg b hi", "A name is 2 to 63 of A-Z a-z 0-9 _ -"),
            ("/reply ", "Usage: /reply TEXT"),
            ("/name", "Usage: /name NEW"),
            ("/name x", "A name is 2 to 63 of A-Z a-z 0-9 _ -"),
            ("/name bob smith", "Usage: /name NEW"),
            ("/names a b", "Usage: /names [PREFIX]"),
            ("/help me", "Usage: /help"),
            ("/quit now", "Usage: /quit"),
            ("a\u{7}b", "Forbidden character U+0007"),
            ("/msg bob \u{1B}[2J", "Forbidden character U+001B"),
        ] {
            let mistake = Typed::parse(line).expect_err(line);
            assert_eq!(mistake.to_string(), problem, "{line:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_space_where_there_is_one() {
        let lengths = |line: &str| -> Vec<usize> {
            let texts = texts(line.as_bytes()).unwrap();
            texts
                .iter()
                .map(|text| text.as_str().chars().count())
                .collect()
        };
        let word = "я".repeat(2_047);
        assert_eq!(lengths(&word), [2_047]);
        assert_eq!(lengths(&format!("{word}я")), [2_047, 1]);
        assert_eq!(lengths(&format!("{word} я")), [2_047, 1]);
        assert_eq!(lengths(&format!("a {word}")), [1, 2_047]);
        assert_eq!(lengths(&format!(" {word}")), [2_047, 1]);
        assert_eq!(lengths(&" ".repeat(5_000)), []);
        assert_eq!(cut("one two three", 8), ("one two", "three"));
        assert_eq!(cut("one two three", 7), ("one two", "three"));
        assert_eq!(cut("one two three", 6), ("one", "two three"));
    }

    proptest! {
        #[test]
        fn nothing_but_spaces_at_the_cuts_is_lost(line in "[a-z 🙂]{0,9000}") {
            let pieces = texts(line.as_bytes()).unwrap();
            let letters = |text: &str| text.replace(' ', "");
            let joined: String = pieces.iter().map(|text| letters(text.as_str())).collect();
            prop_assert_eq!(joined, letters(&line));
        }

        #[test]
        fn no_line_panics(line: String) {
            let _ = Typed::parse(&line);
            let _ = Typed::parse(&format!("/msg bob {line}"));
        }
    }
}
