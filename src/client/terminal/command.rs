//! Parses what the user types: commands and messages.
//!
//! Pure. Does not know the terminal or the connection. In a pasted block, only the first line
//! can be a command. The other lines are its text.
//!
//! Invariant: *a mistake never becomes a message*. A line that looks like a command, also
//! with blanks before its slash, is a command of [`COMMANDS`] or is not sent.

use std::fmt;

use unicode_width::UnicodeWidthChar;

use crate::client::split::split_text;
use crate::limits::{DEFAULT_RECENT, MAX_RECENT};
use crate::protocol::text::{Printable, Text, Unprintable, is_blank};
use crate::protocol::username::{BadName, Username};

/// A parsed line or block of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserInput {
    /// A blank input, which does nothing.
    Nothing,
    /// One or more messages.
    Send {
        /// The recipient of all messages.
        recipient: Recipient,
        /// The text of each message.
        texts: Vec<Text>,
        /// Where the text starts, in bytes. The command and the name precede it.
        text_offset: usize,
    },
    /// `/names`: list the users that are online.
    ListNames {
        /// The start of their names.
        prefix: Printable,
    },
    /// `/name`: change the user's own name.
    SetName(Username),
    /// `/presence`: show users that log in or out, or stop it.
    WatchPresence {
        /// Whether to show them.
        is_on: bool,
    },
    /// `/recent`: show the last messages again.
    RecentMessages {
        /// Their number, 1 to [`MAX_RECENT`].
        count: usize,
    },
    /// `/ignore`: hide the messages of this user. `None` lists the ignored users.
    Ignore(Option<Username>),
    /// `/unignore`: show the messages of this user again.
    Unignore(Username),
    /// `/help`: list the commands.
    Help,
    /// `/quit`: quit the client.
    Quit,
}

/// The recipient of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// All other users.
    Everyone,
    /// One user.
    User(Username),
    /// The last user that sent a private message. The text is not sent in this form, see
    /// [`is_reply`].
    LastPrivateSender,
}

/// The reason why an input is neither a command nor a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputError {
    /// There is no such command.
    UnknownCommand(Printable),
    /// The command needs other arguments.
    Usage(&'static CommandSpec),
    /// The argument is not a valid name.
    BadName,
    /// The argument of `/recent` is not a number from 1 to [`MAX_RECENT`].
    BadCount,
    /// Other lines follow a command that sends no message.
    ExtraLines,
    /// The line has blanks before its slash.
    BlankBeforeSlash,
    /// The line of this number, in a broadcast, looks like a private message.
    PrivateLineInBlock(usize),
    /// `/quit` has a text.
    QuitWithText,
    /// The text contains a character that the server refuses.
    Unprintable(Unprintable),
}

/// A command and its entry in `/help`.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// The command word, with its slash.
    pub word: &'static str,
    /// Other words for the command, which users know from other programs.
    pub aliases: &'static [&'static str],
    /// The arguments.
    pub arguments: &'static str,
    /// The effect of the command.
    pub description: &'static str,
}

/// All commands. Any other word with a slash is a mistake.
pub const COMMANDS: [CommandSpec; 10] = [
    CommandSpec {
        word: "/msg",
        aliases: &["/w"],
        arguments: "NAME TEXT",
        description: "sends TEXT to one user",
    },
    CommandSpec {
        word: "/reply",
        aliases: &[],
        arguments: "TEXT",
        description: "sends TEXT to the sender of the last private message",
    },
    CommandSpec {
        word: "/names",
        aliases: &["/who"],
        arguments: "[PREFIX]",
        description: "lists the users online",
    },
    CommandSpec {
        word: "/name",
        aliases: &["/nick"],
        arguments: "NEW",
        description: "changes your name",
    },
    CommandSpec {
        word: "/recent",
        aliases: &[],
        arguments: "[N]",
        description: "shows the last N messages (20)",
    },
    CommandSpec {
        word: "/presence",
        aliases: &[],
        arguments: "on|off",
        description: "shows or hides users that log in or out",
    },
    CommandSpec {
        word: "/ignore",
        aliases: &[],
        arguments: "[NAME]",
        description: "hides messages from NAME, or lists ignored users",
    },
    CommandSpec {
        word: "/unignore",
        aliases: &[],
        arguments: "NAME",
        description: "shows messages from NAME again",
    },
    CommandSpec {
        word: "/help",
        aliases: &[],
        arguments: "",
        description: "shows this list",
    },
    CommandSpec {
        word: "/quit",
        aliases: &["/q", "/exit"],
        arguments: "",
        description: "quits",
    },
];

impl UserInput {
    /// Parses a typed or pasted input of one or more lines.
    pub fn parse(typed: &str) -> Result<UserInput, InputError> {
        if is_blank(typed) {
            return Ok(UserInput::Nothing);
        }
        if !typed.starts_with('/') && trim_blanks(typed).starts_with('/') {
            return Err(InputError::BlankBeforeSlash);
        }
        match typed.strip_prefix('/') {
            None => UserInput::parse_broadcast(typed, typed),
            Some(text) if text.starts_with('/') => UserInput::parse_broadcast(typed, text),
            Some(_) => UserInput::parse_command(typed),
        }
    }

    fn parse_command(typed: &str) -> Result<UserInput, InputError> {
        let (word, arguments) = split_word(typed);
        let Some(command) = CommandSpec::find(word) else {
            return Err(InputError::UnknownCommand(Printable::lossy(
                word.as_bytes(),
            )));
        };
        let (first, rest) = split_word(arguments);
        match command.word {
            "/msg" if !is_blank(rest) => {
                UserInput::parse_texts(Recipient::User(Username::new(first)?), typed, rest)
            }
            "/reply" if !is_blank(arguments) => {
                UserInput::parse_texts(Recipient::LastPrivateSender, typed, arguments)
            }
            "/msg" | "/reply" => Err(InputError::Usage(command)),
            _ if typed.trim_end().contains('\n') => Err(InputError::ExtraLines),
            "/names" if rest.is_empty() => Ok(UserInput::ListNames {
                prefix: Printable::new(first.as_bytes())?,
            }),
            "/name" if !first.is_empty() && rest.is_empty() => {
                Ok(UserInput::SetName(Username::new(first)?))
            }
            "/presence" if first.eq_ignore_ascii_case("on") && rest.is_empty() => {
                Ok(UserInput::WatchPresence { is_on: true })
            }
            "/presence" if first.eq_ignore_ascii_case("off") && rest.is_empty() => {
                Ok(UserInput::WatchPresence { is_on: false })
            }
            "/recent" if first.is_empty() => Ok(UserInput::RecentMessages {
                count: DEFAULT_RECENT,
            }),
            "/recent" if rest.is_empty() => match parse_count(first) {
                Some(count) => Ok(UserInput::RecentMessages { count }),
                None => Err(InputError::BadCount),
            },
            "/ignore" if first.is_empty() => Ok(UserInput::Ignore(None)),
            "/ignore" if rest.is_empty() => Ok(UserInput::Ignore(Some(Username::new(first)?))),
            "/unignore" if !first.is_empty() && rest.is_empty() => {
                Ok(UserInput::Unignore(Username::new(first)?))
            }
            "/help" if first.is_empty() => Ok(UserInput::Help),
            "/quit" if first.is_empty() => Ok(UserInput::Quit),
            "/quit" => Err(InputError::QuitWithText),
            _ => Err(InputError::Usage(command)),
        }
    }

    /// Parses a broadcast, in which no line may look like a private message.
    fn parse_broadcast(typed: &str, text: &str) -> Result<UserInput, InputError> {
        let is_private = |line: &str| {
            let (word, _) = split_word(trim_blanks(line));
            CommandSpec::find(word).is_some_and(|it| matches!(it.word, "/msg" | "/reply"))
        };
        match text.lines().skip(1).position(is_private) {
            Some(below) => Err(InputError::PrivateLineInBlock(below + 2)),
            None => UserInput::parse_texts(Recipient::Everyone, typed, text),
        }
    }

    /// Makes the messages of `text`, which must be the end of `typed`.
    fn parse_texts(recipient: Recipient, typed: &str, text: &str) -> Result<UserInput, InputError> {
        let texts: Result<Vec<_>, _> = text
            .lines()
            .map(|line| split_text(line.as_bytes()))
            .collect();
        Ok(UserInput::Send {
            recipient,
            texts: texts?.concat(),
            text_offset: typed.len() - text.len(),
        })
    }
}

/// Returns whether this word is `/reply`.
///
/// The editor replaces it by `/msg NAME` before the text is sent. Otherwise a private message
/// that arrives meanwhile would change the recipient.
pub fn is_reply(word: &str) -> bool {
    CommandSpec::find(word).is_some_and(|command| command.word == "/reply")
}

/// Returns the line without the blank and invisible characters at its start.
pub fn trim_blanks(line: &str) -> &str {
    line.trim_start_matches(|c: char| {
        is_blank(c.encode_utf8(&mut [0; 4])) || c.is_control() || c.width() == Some(0)
    })
}

/// Splits off the first word, and the spaces and line ends after it.
fn split_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\n']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start_matches([' ', '\n']))
}

/// Parses the number of messages for `/recent`.
fn parse_count(word: &str) -> Option<usize> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let count = is_number.then(|| word.parse().ok()).flatten();
    count.filter(|count| (1..=MAX_RECENT).contains(count))
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
            InputError::UnknownCommand(word) => write!(
                f,
                "{} is not a command. /help lists the commands, // sends a slash",
                word.as_str()
            ),
            InputError::Usage(command) => write!(f, "Usage: {}", command.usage()),
            InputError::BadName => write!(f, "{BadName}"),
            InputError::BadCount => write!(f, "/recent: expected a number from 1 to {MAX_RECENT}"),
            InputError::ExtraLines => f.write_str("This command takes no further lines"),
            InputError::BlankBeforeSlash => {
                f.write_str("Not sent: blanks before the slash. Remove them, or // sends a slash")
            }
            InputError::PrivateLineInBlock(line) => {
                write!(
                    f,
                    "Not sent: line {line} is a private message, but the text is for all users"
                )
            }
            InputError::QuitWithText => f.write_str("/quit takes no text"),
            InputError::Unprintable(unprintable) => write!(f, "{unprintable}"),
        }
    }
}

impl CommandSpec {
    /// Returns the command with this word or alias, in upper or lower case.
    pub fn find(word: &str) -> Option<&'static CommandSpec> {
        COMMANDS.iter().find(|command| {
            let is_word = |known: &&str| known.eq_ignore_ascii_case(word);
            is_word(&command.word) || command.aliases.iter().any(is_word)
        })
    }

    /// Returns the command word and its arguments, for `/help` and errors.
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

    fn sent(
        recipient: Recipient,
        text_offset: usize,
        lines: &[&str],
    ) -> Result<UserInput, InputError> {
        Ok(UserInput::Send {
            recipient,
            texts: lines.iter().copied().map(text).collect(),
            text_offset,
        })
    }

    #[test]
    fn line_is_a_broadcast_unless_it_begins_with_one_slash() {
        for line in ["hello", "привет 🙂", "a/b", "  two  spaces "] {
            assert_eq!(
                UserInput::parse(line),
                sent(Recipient::Everyone, 0, &[line]),
                "{line:?}"
            );
        }
        assert_eq!(
            UserInput::parse("//etc"),
            sent(Recipient::Everyone, 1, &["/etc"])
        );
        assert_eq!(
            UserInput::parse("///"),
            sent(Recipient::Everyone, 1, &["//"])
        );
        for blank in ["", " ", "\t ", "\n\n", "\u{200B}\n \u{2800}"] {
            assert_eq!(UserInput::parse(blank), Ok(UserInput::Nothing), "{blank:?}");
        }
    }

    #[test]
    fn commands_parse_their_arguments() {
        let bob = || Recipient::User(name("bob"));
        assert_eq!(
            UserInput::parse("/msg bob hi  there "),
            sent(bob(), 9, &["hi  there "])
        );
        assert_eq!(
            UserInput::parse("/msg  bob /quit"),
            sent(bob(), 10, &["/quit"])
        );
        assert_eq!(
            UserInput::parse("/reply hi"),
            sent(Recipient::LastPrivateSender, 7, &["hi"])
        );
        let prefix = |prefix: &str| {
            Ok(UserInput::ListNames {
                prefix: printable(prefix),
            })
        };
        assert_eq!(UserInput::parse("/names"), prefix(""));
        assert_eq!(UserInput::parse("/names b "), prefix("b"));
        assert_eq!(
            UserInput::parse("/name bob "),
            Ok(UserInput::SetName(name("bob")))
        );
        assert_eq!(UserInput::parse("/help"), Ok(UserInput::Help));
        assert_eq!(UserInput::parse("/quit \n"), Ok(UserInput::Quit));
        let recent = |count| Ok(UserInput::RecentMessages { count });
        assert_eq!(UserInput::parse("/recent"), recent(20));
        assert_eq!(UserInput::parse("/recent 1 "), recent(1));
        assert_eq!(UserInput::parse("/RECENT 1000"), recent(1_000));
        for (line, is_on) in [("/presence on", true), ("/presence OFF ", false)] {
            let expected = Ok(UserInput::WatchPresence { is_on });
            assert_eq!(UserInput::parse(line), expected);
        }
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
        let bob = || Recipient::User(name("bob"));
        for line in ["/MSG bob hi", "/msg bob hi"] {
            assert_eq!(UserInput::parse(line), sent(bob(), 9, &["hi"]), "{line:?}");
        }
        assert_eq!(UserInput::parse("/w bob hi"), sent(bob(), 7, &["hi"]));
        assert_eq!(
            UserInput::parse("/nick bob"),
            Ok(UserInput::SetName(name("bob")))
        );
        assert_eq!(UserInput::parse("/who"), UserInput::parse("/names"));
        assert!(is_reply("/reply") && is_reply("/REPLY") && !is_reply("/repl"));
    }

    #[test]
    fn misplaced_command_is_an_error() {
        for blanks in [
            " ", "\n", "\t ", "\r\n", "\u{A0}", "\u{FEFF}", "\u{200B}", "\u{3164}", "\u{2800}",
        ] {
            for line in ["/msg bob secret", "/quit", "/", "//x"] {
                let typed = format!("{blanks}{line}");
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
                Err(InputError::PrivateLineInBlock(3)),
                "{typed:?}"
            );
        }
    }

    #[test]
    fn first_line_of_a_block_is_the_command_for_all_lines() {
        let block = "one\n/quit\n\n//three\n";
        let lines = ["one", "/quit", "//three"];
        assert_eq!(
            UserInput::parse(block),
            sent(Recipient::Everyone, 0, &lines)
        );
        let private = format!("/msg bob {block}");
        let bob = Recipient::User(name("bob"));
        assert_eq!(UserInput::parse(&private), sent(bob.clone(), 9, &lines));
        let below = format!("/msg bob\n{block}");
        assert_eq!(UserInput::parse(&below), sent(bob, 9, &lines));
        let reply = format!("/reply {block}");
        assert_eq!(
            UserInput::parse(&reply),
            sent(Recipient::LastPrivateSender, 7, &lines)
        );
        for (block, problem) in [
            ("/names\nhi", "This command takes no further lines"),
            (
                "/*\n * hi",
                "/* is not a command. /help lists the commands, // sends a slash",
            ),
        ] {
            let error = UserInput::parse(block).expect_err(block);
            assert_eq!(error.to_string(), problem);
        }
    }

    #[test]
    fn input_error_says_how_to_correct_it() {
        for (line, problem) in [
            (
                "/",
                "/ is not a command. /help lists the commands, // sends a slash",
            ),
            (
                "/etc/passwd",
                "/etc/passwd is not a command. /help lists the commands, // sends a slash",
            ),
            (
                "/MGS bob hi",
                "/MGS is not a command. /help lists the commands, // sends a slash",
            ),
            (
                " /msg bob hi",
                "Not sent: blanks before the slash. Remove them, or // sends a slash",
            ),
            (
                "hi\n/msg bob hi",
                "Not sent: line 2 is a private message, but the text is for all users",
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
            ("/presence", "Usage: /presence on|off"),
            ("/presence maybe", "Usage: /presence on|off"),
            ("/presence on off", "Usage: /presence on|off"),
            ("/recent 0", "/recent: expected a number from 1 to 1000"),
            ("/recent 1001", "/recent: expected a number from 1 to 1000"),
            ("/recent +5", "/recent: expected a number from 1 to 1000"),
            ("/recent 5 6", "Usage: /recent [N]"),
            ("/help me", "Usage: /help"),
            ("/quit now", "/quit takes no text"),
            ("a\u{7}b", "Forbidden character U+0007"),
            ("/msg bob \u{1B}[2J", "Forbidden character U+001B"),
        ] {
            let error = UserInput::parse(line).expect_err(line);
            assert_eq!(error.to_string(), problem, "{line:?}");
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
