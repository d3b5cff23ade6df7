//! What a typed line means.
//!
//! Pure. Does not know the terminal that the line comes from or the connection that it goes
//! to. Only the first line of a pasted block can be a command: the others are its text.
//!
//! Invariant: *a mistake never becomes a message*. A line that looks like a command, also
//! with blanks before its slash, is a command of this list or is not sent.

use std::fmt;

use unicode_width::UnicodeWidthChar;

use crate::client::split::texts;
use crate::protocol::text::{Printable, Text, Unprintable, is_blank};
use crate::protocol::username::{BadName, Username};

/// What a line, or a block of them, asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserInput {
    /// Nothing: it is blank.
    Nothing,
    /// Send this.
    Say {
        /// To whom.
        to: Recipient,
        /// In this many messages.
        texts: Vec<Text>,
        /// How many bytes stand before the text: the command and the name.
        before: usize,
    },
    /// List who is here.
    Names {
        /// How their names begin.
        prefix: Printable,
    },
    /// Change the own name.
    Name(Username),
    /// Hide what this user sends; `None` lists the hidden users.
    Ignore(Option<Username>),
    /// Show it again.
    Unignore(Username),
    /// Tell the commands.
    Help,
    /// Leave.
    Quit,
}

/// To whom a text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// To everyone.
    All,
    /// To this one.
    One(Username),
    /// To the user that wrote privately last. The line is not sent like that
    /// ([`is_reply`]).
    LastPrivate,
}

/// Why a line means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputError {
    /// There is no such command.
    NotACommand(Printable),
    /// The command wants other arguments.
    Usage(&'static CommandSpec),
    /// What stands for a name is none.
    BadName,
    /// A command that is no message stands before other lines.
    MoreLines,
    /// The line has blanks before its slash.
    BlankBeforeSlash,
    /// This line, below a text for all, is a private message.
    PrivateBelow(usize),
    /// `/quit` with a text.
    QuitText,
    /// It contains what the server does not take.
    Unprintable(Unprintable),
}

/// A command, as `/help` lists it.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The word, with its slash.
    pub word: &'static str,
    /// Other words for it, which users of other programs know.
    pub aliases: &'static [&'static str],
    /// Its arguments.
    pub arguments: &'static str,
    /// What it does.
    pub does: &'static str,
}

/// All commands: what is not in here is a mistake.
pub const COMMANDS: [CommandSpec; 8] = [
    CommandSpec {
        word: "/msg",
        aliases: &["/w"],
        arguments: "NAME TEXT",
        does: "writes to one, privately",
    },
    CommandSpec {
        word: "/reply",
        aliases: &[],
        arguments: "TEXT",
        does: "writes to the one that wrote to you privately last",
    },
    CommandSpec {
        word: "/names",
        aliases: &["/who"],
        arguments: "[PREFIX]",
        does: "lists who is here",
    },
    CommandSpec {
        word: "/name",
        aliases: &["/nick"],
        arguments: "NEW",
        does: "changes your name",
    },
    CommandSpec {
        word: "/ignore",
        aliases: &[],
        arguments: "[NAME]",
        does: "hides what NAME sends, until you leave",
    },
    CommandSpec {
        word: "/unignore",
        aliases: &[],
        arguments: "NAME",
        does: "shows it again",
    },
    CommandSpec {
        word: "/help",
        aliases: &[],
        arguments: "",
        does: "shows this",
    },
    CommandSpec {
        word: "/quit",
        aliases: &["/q", "/exit"],
        arguments: "",
        does: "leaves",
    },
];

impl UserInput {
    /// Reads what was typed or pasted: one line, or several.
    pub fn parse(typed: &str) -> Result<UserInput, InputError> {
        if is_blank(typed) {
            return Ok(UserInput::Nothing);
        }
        if !typed.starts_with('/') && trim_blanks(typed).starts_with('/') {
            return Err(InputError::BlankBeforeSlash);
        }
        match typed.strip_prefix('/') {
            None => UserInput::say_to_all(typed, typed),
            Some(text) if text.starts_with('/') => UserInput::say_to_all(typed, text),
            Some(_) => UserInput::parse_command(typed),
        }
    }

    fn parse_command(typed: &str) -> Result<UserInput, InputError> {
        let (word, arguments) = split_word(typed);
        let Some(command) = CommandSpec::find(word) else {
            return Err(InputError::NotACommand(Printable::lossy(word.as_bytes())));
        };
        let (first, rest) = split_word(arguments);
        match command.word {
            "/msg" if !is_blank(rest) => {
                UserInput::say(Recipient::One(Username::new(first)?), typed, rest)
            }
            "/reply" if !is_blank(arguments) => {
                UserInput::say(Recipient::LastPrivate, typed, arguments)
            }
            "/msg" | "/reply" => Err(InputError::Usage(command)),
            _ if typed.trim_end().contains('\n') => Err(InputError::MoreLines),
            "/names" if rest.is_empty() => Ok(UserInput::Names {
                prefix: Printable::new(first.as_bytes())?,
            }),
            "/name" if !first.is_empty() && rest.is_empty() => {
                Ok(UserInput::Name(Username::new(first)?))
            }
            "/ignore" if first.is_empty() => Ok(UserInput::Ignore(None)),
            "/ignore" if rest.is_empty() => Ok(UserInput::Ignore(Some(Username::new(first)?))),
            "/unignore" if !first.is_empty() && rest.is_empty() => {
                Ok(UserInput::Unignore(Username::new(first)?))
            }
            "/help" if first.is_empty() => Ok(UserInput::Help),
            "/quit" if first.is_empty() => Ok(UserInput::Quit),
            "/quit" => Err(InputError::QuitText),
            _ => Err(InputError::Usage(command)),
        }
    }

    /// A text for all, in which no line is meant for one.
    fn say_to_all(typed: &str, text: &str) -> Result<UserInput, InputError> {
        let is_private = |line: &str| {
            let (word, _) = split_word(trim_blanks(line));
            CommandSpec::find(word).is_some_and(|it| matches!(it.word, "/msg" | "/reply"))
        };
        match text.lines().skip(1).position(is_private) {
            Some(below) => Err(InputError::PrivateBelow(below + 2)),
            None => UserInput::say(Recipient::All, typed, text),
        }
    }

    /// The text is the end of what was typed.
    fn say(to: Recipient, typed: &str, text: &str) -> Result<UserInput, InputError> {
        let texts: Result<Vec<_>, _> = text.lines().map(|line| texts(line.as_bytes())).collect();
        Ok(UserInput::Say {
            to,
            texts: texts?.concat(),
            before: typed.len() - text.len(),
        })
    }
}

/// Whether this word is `/reply`, which is replaced by `/msg NAME` before anything is sent:
/// the user that wrote last may be another one by then.
pub fn is_reply(word: &str) -> bool {
    CommandSpec::find(word).is_some_and(|command| command.word == "/reply")
}

/// The line without what looks like nothing before it.
pub fn trim_blanks(line: &str) -> &str {
    line.trim_start_matches(|c: char| {
        is_blank(c.encode_utf8(&mut [0; 4])) || c.is_control() || c.width() == Some(0)
    })
}

/// The first word, and what follows the spaces and line ends after it.
fn split_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\n']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start_matches([' ', '\n']))
}

impl From<BadName> for InputError {
    fn from(BadName: BadName) -> InputError {
        InputError::BadName
    }
}

impl From<Unprintable> for InputError {
    fn from(unprintable: Unprintable) -> InputError {
        InputError::Unprintable(unprintable)
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::NotACommand(word) => write!(
                f,
                "{} is not a command; /help lists them, and // sends a slash",
                word.as_str()
            ),
            InputError::Usage(row) => write!(f, "Usage: {}", row.usage()),
            InputError::BadName => write!(f, "{BadName}"),
            InputError::MoreLines => f.write_str("That command stands alone, without more lines"),
            InputError::BlankBeforeSlash => {
                f.write_str("Not sent: a command begins with its slash, and // sends a slash")
            }
            InputError::PrivateBelow(line) => {
                write!(
                    f,
                    "Not sent: line {line} is a private message in a text for all"
                )
            }
            InputError::QuitText => f.write_str("/quit takes no text: /quit alone leaves"),
            InputError::Unprintable(unprintable) => write!(f, "{unprintable}"),
        }
    }
}

impl CommandSpec {
    /// The command of this word, whatever its case.
    pub fn find(word: &str) -> Option<&'static CommandSpec> {
        COMMANDS.iter().find(|command| {
            let is_word = |known: &&str| known.eq_ignore_ascii_case(word);
            is_word(&command.word) || command.aliases.iter().any(is_word)
        })
    }

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
    use crate::protocol::literals::{name, printable, text};
    use proptest::prelude::*;

    fn say(to: Recipient, before: usize, lines: &[&str]) -> Result<UserInput, InputError> {
        Ok(UserInput::Say {
            to,
            texts: lines.iter().copied().map(text).collect(),
            before,
        })
    }

    #[test]
    fn line_is_a_broadcast_unless_it_begins_with_one_slash() {
        for line in ["hello", "привет 🙂", "a/b", "  two  spaces "] {
            assert_eq!(
                UserInput::parse(line),
                say(Recipient::All, 0, &[line]),
                "{line:?}"
            );
        }
        assert_eq!(UserInput::parse("//etc"), say(Recipient::All, 1, &["/etc"]));
        assert_eq!(UserInput::parse("///"), say(Recipient::All, 1, &["//"]));
        for blank in ["", " ", "\t ", "\n\n", "\u{200B}\n \u{2800}"] {
            assert_eq!(UserInput::parse(blank), Ok(UserInput::Nothing), "{blank:?}");
        }
    }

    #[test]
    fn commands_parse_their_arguments() {
        let bob = || Recipient::One(name("bob"));
        assert_eq!(
            UserInput::parse("/msg bob hi  there "),
            say(bob(), 9, &["hi  there "])
        );
        assert_eq!(
            UserInput::parse("/msg  bob /quit"),
            say(bob(), 10, &["/quit"])
        );
        assert_eq!(
            UserInput::parse("/reply hi"),
            say(Recipient::LastPrivate, 7, &["hi"])
        );
        let prefix = |prefix: &str| {
            Ok(UserInput::Names {
                prefix: printable(prefix),
            })
        };
        assert_eq!(UserInput::parse("/names"), prefix(""));
        assert_eq!(UserInput::parse("/names b "), prefix("b"));
        assert_eq!(
            UserInput::parse("/name bob "),
            Ok(UserInput::Name(name("bob")))
        );
        assert_eq!(UserInput::parse("/help"), Ok(UserInput::Help));
        assert_eq!(UserInput::parse("/quit \n"), Ok(UserInput::Quit));
        let hidden = |name| Ok(UserInput::Ignore(name));
        assert_eq!(UserInput::parse("/ignore bob"), hidden(Some(name("bob"))));
        assert_eq!(UserInput::parse("/ignore"), hidden(None));
        assert_eq!(
            UserInput::parse("/unignore bob"),
            Ok(UserInput::Unignore(name("bob")))
        );
    }

    #[test]
    fn command_word_matches_in_any_case_and_by_alias() {
        let quit = || Ok(UserInput::Quit);
        for line in ["/quit", "/QUIT", "/Quit", "/q", "/exit", "/EXIT"] {
            assert_eq!(UserInput::parse(line), quit(), "{line:?}");
        }
        let bob = || Recipient::One(name("bob"));
        for line in ["/MSG bob hi", "/msg bob hi"] {
            assert_eq!(UserInput::parse(line), say(bob(), 9, &["hi"]), "{line:?}");
        }
        assert_eq!(UserInput::parse("/w bob hi"), say(bob(), 7, &["hi"]));
        assert_eq!(
            UserInput::parse("/nick bob"),
            Ok(UserInput::Name(name("bob")))
        );
        assert_eq!(UserInput::parse("/who"), UserInput::parse("/names"));
        assert!(is_reply("/reply") && is_reply("/REPLY") && !is_reply("/repl"));
    }

    #[test]
    fn misplaced_command_is_an_error() {
        for before in [
            " ", "\n", "\t ", "\r\n", "\u{A0}", "\u{FEFF}", "\u{200B}", "\u{3164}", "\u{2800}",
        ] {
            for line in ["/msg bob secret", "/quit", "/", "//x"] {
                let typed = format!("{before}{line}");
                assert_eq!(
                    UserInput::parse(&typed),
                    Err(InputError::BlankBeforeSlash),
                    "{typed:?}"
                );
            }
        }
        for below in [
            "/msg bob secret",
            "  /MSG bob secret",
            "/w bob secret",
            "/reply secret",
        ] {
            let typed = format!("hello\n\n{below}\n");
            assert_eq!(
                UserInput::parse(&typed),
                Err(InputError::PrivateBelow(3)),
                "{typed:?}"
            );
        }
    }

    #[test]
    fn first_line_of_a_block_is_the_command_for_all_lines() {
        let block = "one\n/quit\n\n//three\n";
        let lines = ["one", "/quit", "//three"];
        assert_eq!(UserInput::parse(block), say(Recipient::All, 0, &lines));
        let private = format!("/msg bob {block}");
        let bob = Recipient::One(name("bob"));
        assert_eq!(UserInput::parse(&private), say(bob.clone(), 9, &lines));
        let below = format!("/msg bob\n{block}");
        assert_eq!(UserInput::parse(&below), say(bob, 9, &lines));
        let reply = format!("/reply {block}");
        assert_eq!(
            UserInput::parse(&reply),
            say(Recipient::LastPrivate, 7, &lines)
        );
        for (block, problem) in [
            (
                "/names\nhi",
                "That command stands alone, without more lines",
            ),
            (
                "/*\n * hi",
                "/* is not a command; /help lists them, and // sends a slash",
            ),
        ] {
            let mistake = UserInput::parse(block).expect_err(block);
            assert_eq!(mistake.to_string(), problem);
        }
    }

    #[test]
    fn input_error_says_how_to_correct_it() {
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
                "/MGS bob hi",
                "/MGS is not a command; /help lists them, and // sends a slash",
            ),
            (
                " /msg bob hi",
                "Not sent: a command begins with its slash, and // sends a slash",
            ),
            (
                "hi\n/msg bob hi",
                "Not sent: line 2 is a private message in a text for all",
            ),
            ("/msg", "Usage: /msg NAME TEXT"),
            ("/msg bob", "Usage: /msg NAME TEXT"),
            ("/msg bob  ", "Usage: /msg NAME TEXT"),
            ("/msg bob \u{200B}", "Usage: /msg NAME TEXT"),
            ("/reply \u{FEFF}", "Usage: /reply TEXT"),
            ("/msg b hi", "A name is 2 to 63 of A-Z a-z 0-9 _ -"),
            ("/reply ", "Usage: /reply TEXT"),
            ("/name", "Usage: /name NEW"),
            ("/name x", "A name is 2 to 63 of A-Z a-z 0-9 _ -"),
            ("/name bob smith", "Usage: /name NEW"),
            ("/names a b", "Usage: /names [PREFIX]"),
            ("/help me", "Usage: /help"),
            ("/quit now", "/quit takes no text: /quit alone leaves"),
            ("a\u{7}b", "Forbidden character U+0007"),
            ("/msg bob \u{1B}[2J", "Forbidden character U+001B"),
        ] {
            let mistake = UserInput::parse(line).expect_err(line);
            assert_eq!(mistake.to_string(), problem, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn user_input_parser_never_panics(line: String) {
            let _ = UserInput::parse(&line);
            let _ = UserInput::parse(&format!("/msg bob {line}"));
        }
    }
}
