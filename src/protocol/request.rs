//! Requests (sections 1, 2 and 6): from three lines to a valid [`Command`], and back.
//!
//! Does not know sessions, or what a command does.
//!
//! Invariant: *all parts of a [`Command`] are valid.*
//!
//! A request is parsed in steps. Between the steps, the caller makes the checks that need the
//! sessions. So the first fault determines the response (section 6):
//!
//! 1. [`check_status_line`] checks the first line.
//! 2. [`Request::into_lines`] returns the other two, or the fault of a bad line.
//! 3. [`Header`] says for which session the request acts. Its token may be unknown.
//! 4. [`Verb::parse`] reads the command word.
//! 5. [`Command::parse`] reads the arguments.

use super::text::{BadText, Printable, Text, Unprintable};
use super::token::Token;
use super::username::{BadName, Username};
use crate::limits::{DEFAULT_RECENT, MAX_RECENT};
use crate::protocol::framing::Line;

/// The fault of a status line, which must be empty in a request.
///
/// Only that line is dropped. The next line is a status line again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStatusLine {
    /// The line is longer than the limit.
    TooLong,
    /// The line ends as the first line of an HTTP request does. The lines after it are
    /// ignored, because one of them could be a request.
    Http,
    /// The line is not empty.
    NotEmpty,
}

/// The lines of a request, before its session is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The second line.
    pub header: Result<Header, BadLine>,
    /// The third line.
    pub body: Result<Printable, BadLine>,
}

/// The session for which a request acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection's own session.
    Empty,
    /// The session of this token, if it is live.
    Token(Token),
    /// No session: the line is not a token.
    NotAToken,
}

/// The fault of a header or body that is not one printable line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// The line is longer than the limit.
    TooLong,
    /// The line is not printable.
    Unprintable(Unprintable),
}

/// A command word.
///
/// One table has the spec of each command. The parser, the usage lines and the help text come
/// from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Takes a name, or changes to it.
    SetName,
    /// Sends a text to one session.
    PrivateMessage,
    /// Sends a text to every other session.
    BroadcastMessage,
    /// Lists the names of the sessions.
    ListNames,
    /// Starts or stops presence deliveries to the session.
    WatchPresence,
    /// Returns the newest broadcasts that the server keeps.
    RecentMessages,
    /// Does nothing. Its response shows that all requests before it have been executed.
    Ping,
    /// Lists the commands.
    Help,
    /// Ends the session and the connection.
    Quit,
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the verb of the same name")]
pub enum Command {
    SetName(Username),
    PrivateMessage {
        to: Username,
        text: Text,
    },
    BroadcastMessage(Text),
    ListNames {
        prefix: Printable,
    },
    WatchPresence {
        is_on: bool,
    },
    RecentMessages {
        /// 1 to [`MAX_RECENT`].
        count: usize,
    },
    /// The text after the word, if there was a space.
    Ping(Option<Printable>),
    Help,
    Quit,
}

/// The fault of a command's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadArguments {
    /// The name is not valid.
    BadName,
    /// The text has more than 2,047 characters.
    TextTooLong,
    /// An argument is missing or blank, or is given to a command without arguments.
    Usage(Verb),
}

/// Checks the first line of a request, which must be empty.
pub fn check_status_line(line: Line<'_>) -> Result<(), BadStatusLine> {
    match line {
        Line::Whole(b"") => Ok(()),
        Line::Whole(line) if line.ends_with(b" HTTP/1.0") || line.ends_with(b" HTTP/1.1") => {
            Err(BadStatusLine::Http)
        }
        Line::Whole(_) => Err(BadStatusLine::NotEmpty),
        Line::TooLong => Err(BadStatusLine::TooLong),
    }
}

impl Request {
    /// Returns both lines, or the fault that determines the response.
    ///
    /// Length comes before encoding, and encoding before characters. If both lines have the same
    /// kind of fault, the header's counts.
    pub fn into_lines(self) -> Result<(Header, Printable), BadLine> {
        let rank = |fault| match fault {
            BadLine::TooLong => 0,
            BadLine::Unprintable(Unprintable::NotUtf8) => 1,
            BadLine::Unprintable(Unprintable::Forbidden(_)) => 2,
        };
        match (self.header, self.body) {
            (Ok(header), Ok(body)) => Ok((header, body)),
            (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => Err(fault),
            (Err(header), Err(body)) => Err(if rank(body) < rank(header) {
                body
            } else {
                header
            }),
        }
    }

    /// Encodes the request with which a client sends `command`.
    pub fn encode(header: Option<Token>, command: &Command) -> Vec<u8> {
        let mut bytes = b"\r\n".to_vec();
        if let Some(token) = header {
            bytes.extend(token.hex());
        }
        bytes.extend(b"\r\n");
        bytes.extend(command.to_body().bytes());
        bytes.extend(b"\r\n");
        bytes
    }
}

impl Header {
    /// Parses the second line of a request.
    pub fn parse(line: Line<'_>) -> Result<Header, BadLine> {
        let line = printable(line)?;
        Ok(match line.as_str() {
            "" => Header::Empty,
            digits => Token::from_hex(digits).map_or(Header::NotAToken, Header::Token),
        })
    }
}

/// Checks a line that may be any printable text, as the third of a request.
pub fn printable(line: Line<'_>) -> Result<Printable, BadLine> {
    match line {
        Line::Whole(line) => Printable::new(line).map_err(BadLine::Unprintable),
        Line::TooLong => Err(BadLine::TooLong),
    }
}

/// The fixed properties of a command.
struct CommandSpec {
    word: &'static str,
    arguments: &'static str,
    needs_session: bool,
}

impl Verb {
    /// All commands, in the order of the help text.
    pub const ALL: [Verb; 9] = [
        Verb::SetName,
        Verb::PrivateMessage,
        Verb::BroadcastMessage,
        Verb::ListNames,
        Verb::WatchPresence,
        Verb::RecentMessages,
        Verb::Ping,
        Verb::Help,
        Verb::Quit,
    ];

    const fn spec(self) -> CommandSpec {
        let (word, arguments, needs_session) = match self {
            Verb::SetName => ("Set-name", "NAME", false),
            Verb::PrivateMessage => ("Private-message", "NAME TEXT", true),
            Verb::BroadcastMessage => ("Broadcast-message", "TEXT", true),
            Verb::ListNames => ("List-names", "[PREFIX]", true),
            Verb::WatchPresence => ("Watch-presence", "on|off", true),
            Verb::RecentMessages => ("Recent-messages", "[N]", true),
            Verb::Ping => ("Ping", "[TEXT]", false),
            Verb::Help => ("Help", "", false),
            Verb::Quit => ("Quit", "", false),
        };
        CommandSpec {
            word,
            arguments,
            needs_session,
        }
    }

    /// Parses a command word, in any ASCII case.
    pub fn parse(word: &str) -> Option<Verb> {
        Verb::ALL
            .into_iter()
            .find(|verb| verb.word().eq_ignore_ascii_case(word))
    }

    /// Returns the command word.
    pub fn word(self) -> &'static str {
        self.spec().word
    }

    /// Returns the command word and its arguments, as section 2 shows them.
    pub fn usage(self) -> String {
        let CommandSpec {
            word, arguments, ..
        } = self.spec();
        if arguments.is_empty() {
            word.to_owned()
        } else {
            format!("{word} {arguments}")
        }
    }

    /// Returns whether the command can only be executed for a session.
    pub fn needs_session(self) -> bool {
        self.spec().needs_session
    }
}

impl Command {
    /// Makes the command that sends a text to one session, or to all others.
    pub fn message(to: Option<Username>, text: Text) -> Command {
        match to {
            Some(to) => Command::PrivateMessage { to, text },
            None => Command::BroadcastMessage(text),
        }
    }

    /// Returns the recipient and the text of a message. No recipient means a broadcast.
    pub fn as_message(&self) -> Option<(Option<&Username>, &Text)> {
        match self {
            Command::PrivateMessage { to, text } => Some((Some(to), text)),
            Command::BroadcastMessage(text) => Some((None, text)),
            _ => None,
        }
    }

    /// Parses the arguments of `verb`: the text after the space that follows the command word.
    ///
    /// They are `None` without such a space. Empty arguments count as none, except for `Ping`,
    /// whose response repeats them.
    pub fn parse(verb: Verb, arguments: Option<Printable>) -> Result<Command, BadArguments> {
        if verb == Verb::Ping {
            return Ok(Command::Ping(arguments));
        }
        let usage = BadArguments::Usage(verb);
        match (
            verb,
            arguments.filter(|arguments| !arguments.as_str().is_empty()),
        ) {
            (Verb::SetName, Some(name)) => Ok(Command::SetName(Username::new(name.as_str())?)),
            (Verb::PrivateMessage, Some(arguments)) => {
                let name = arguments.first_word();
                if name.is_empty() {
                    return Err(usage);
                }
                let to = Username::new(name)?;
                let text = arguments.after_first_word().ok_or(usage)?;
                let text = text_or(usage, text)?;
                Ok(Command::PrivateMessage { to, text })
            }
            (Verb::BroadcastMessage, Some(text)) => {
                Ok(Command::BroadcastMessage(text_or(usage, text)?))
            }
            (Verb::ListNames, prefix) => Ok(Command::ListNames {
                prefix: prefix.unwrap_or_default(),
            }),
            (Verb::WatchPresence, Some(word)) => match word.as_str() {
                word if word.eq_ignore_ascii_case("on") => {
                    Ok(Command::WatchPresence { is_on: true })
                }
                word if word.eq_ignore_ascii_case("off") => {
                    Ok(Command::WatchPresence { is_on: false })
                }
                _ => Err(usage),
            },
            (Verb::RecentMessages, None) => Ok(Command::RecentMessages {
                count: DEFAULT_RECENT,
            }),
            (Verb::RecentMessages, Some(digits)) => {
                // The parser of std takes a sign too.
                let digits = Some(digits.as_str()).filter(|it| !it.starts_with('+'));
                let count = digits.and_then(|digits| digits.parse().ok());
                match count.filter(|count| (1..=MAX_RECENT).contains(count)) {
                    Some(count) => Ok(Command::RecentMessages { count }),
                    None => Err(usage),
                }
            }
            (Verb::Help, None) => Ok(Command::Help),
            (Verb::Quit, None) => Ok(Command::Quit),
            _ => Err(usage),
        }
    }

    /// Returns the third line of the request, without its line end.
    fn to_body(&self) -> String {
        let (verb, arguments) = match self {
            Command::SetName(name) => (Verb::SetName, Some(name.to_string())),
            Command::PrivateMessage { to, text } => (
                Verb::PrivateMessage,
                Some(format!("{to} {}", text.as_str())),
            ),
            Command::BroadcastMessage(text) => {
                (Verb::BroadcastMessage, Some(text.as_str().to_owned()))
            }
            Command::ListNames { prefix } => (
                Verb::ListNames,
                Some(prefix.as_str().to_owned()).filter(|p| !p.is_empty()),
            ),
            Command::Ping(text) => (
                Verb::Ping,
                text.as_ref().map(|text| text.as_str().to_owned()),
            ),
            Command::WatchPresence { is_on } => {
                let word = if *is_on { "on" } else { "off" };
                (Verb::WatchPresence, Some(word.to_owned()))
            }
            Command::RecentMessages { count } => (Verb::RecentMessages, Some(count.to_string())),
            Command::Help => (Verb::Help, None),
            Command::Quit => (Verb::Quit, None),
        };
        match arguments {
            Some(arguments) => format!("{} {arguments}", verb.word()),
            None => verb.word().to_owned(),
        }
    }
}

/// Checks a text. A blank text is reported as the usage of its command.
fn text_or(usage: BadArguments, text: Printable) -> Result<Text, BadArguments> {
    Text::new(text).map_err(|bad| match bad {
        BadText::TooLong => BadArguments::TextTooLong,
        BadText::Blank => usage,
    })
}

impl From<BadName> for BadArguments {
    fn from(BadName: BadName) -> BadArguments {
        BadArguments::BadName
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::line_reader::LineReader;
    use crate::protocol::literals::{self, names, printables, texts};
    use proptest::prelude::*;

    fn parse(body: &str) -> Result<Command, BadArguments> {
        let (word, arguments) = literals::printable(body).split_word();
        Command::parse(Verb::parse(word.as_str()).expect("a command"), arguments)
    }

    #[test]
    fn status_line_is_checked_for_length_and_http_only() {
        let check = |line: &[u8]| check_status_line(Line::Whole(line));
        assert_eq!(check(b""), Ok(()));
        assert_eq!(check(b"GET / HTTP/1.1"), Err(BadStatusLine::Http));
        assert_eq!(check(b"\xFF\x07 HTTP/1.0"), Err(BadStatusLine::Http));
        for other in [
            "GET / HTTP/2",
            "HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1.1 ",
            " ",
            "\u{7}",
        ] {
            assert_eq!(
                check(other.as_bytes()),
                Err(BadStatusLine::NotEmpty),
                "{other:?}"
            );
        }
        assert_eq!(
            check_status_line(Line::TooLong),
            Err(BadStatusLine::TooLong)
        );
    }

    #[test]
    fn header_parses_as_empty_token_or_neither() {
        let parse = |line: &[u8]| Header::parse(Line::Whole(line));
        assert_eq!(parse(b""), Ok(Header::Empty));
        let digits = "00112233445566778899aabbccddeeff";
        assert_eq!(
            parse(digits.as_bytes()),
            Ok(Header::Token(Token::from_hex(digits).unwrap()))
        );
        assert_eq!(
            parse(digits.to_uppercase().as_bytes()),
            Ok(Header::NotAToken)
        );
        assert_eq!(parse(b" "), Ok(Header::NotAToken));
        let fault = BadLine::Unprintable(Unprintable::Forbidden('\r'));
        assert_eq!(parse(b"\r"), Err(fault));
        assert_eq!(Header::parse(Line::TooLong), Err(BadLine::TooLong));
    }

    #[test]
    fn earlier_check_determines_the_reported_fault() {
        let [too_long, not_utf8, one, two] = [
            BadLine::TooLong,
            BadLine::Unprintable(Unprintable::NotUtf8),
            BadLine::Unprintable(Unprintable::Forbidden('\u{1}')),
            BadLine::Unprintable(Unprintable::Forbidden('\u{2}')),
        ];
        let fault = |header, body| {
            let (header, body): (Option<BadLine>, Option<BadLine>) = (header, body);
            Request {
                header: header.map_or(Ok(Header::Empty), Err),
                body: body.map_or(Ok(literals::printable("x")), Err),
            }
            .into_lines()
            .err()
        };
        assert_eq!(fault(None, None), None);
        assert_eq!(fault(Some(two), None), Some(two));
        assert_eq!(fault(Some(two), Some(one)), Some(two));
        assert_eq!(fault(Some(one), Some(not_utf8)), Some(not_utf8));
        assert_eq!(fault(Some(not_utf8), Some(too_long)), Some(too_long));
    }

    #[test]
    fn verb_ignores_ascii_case_and_usage_shows_its_spelling() {
        assert_eq!(Verb::parse("sEt-NAME"), Some(Verb::SetName));
        assert_eq!(Verb::parse("Set-name "), None);
        // Unicode counts this character as an S, and ASCII does not.
        assert_eq!(Verb::parse("\u{17F}et-name"), None);
        assert_eq!(Verb::PrivateMessage.usage(), "Private-message NAME TEXT");
        assert_eq!(Verb::Quit.usage(), "Quit");
    }

    #[test]
    fn text_keeps_its_spaces() {
        let Ok(Command::PrivateMessage { to, text }) = parse("private-message Bob  a  b ") else {
            panic!("a private message")
        };
        assert_eq!((to.as_str(), text.as_str()), ("Bob", " a  b "));
    }

    #[test]
    fn bad_arguments_are_distinguished() {
        let usage = |verb| Err(BadArguments::Usage(verb));
        for body in ["Set-name", "Set-name "] {
            assert_eq!(parse(body), usage(Verb::SetName), "{body:?}");
        }
        for body in ["Private-message", "Private-message ", "Private-message  hi"] {
            assert_eq!(parse(body), usage(Verb::PrivateMessage), "{body:?}");
        }
        for body in [
            "Private-message bob",
            "Private-message bob ",
            "Private-message bob \t ",
        ] {
            assert_eq!(parse(body), usage(Verb::PrivateMessage), "{body:?}");
        }
        for body in [
            "Broadcast-message",
            "Broadcast-message ",
            "Broadcast-message   ",
        ] {
            assert_eq!(parse(body), usage(Verb::BroadcastMessage), "{body:?}");
        }
        assert_eq!(parse("Help me"), usage(Verb::Help));
        assert_eq!(parse("Quit  "), usage(Verb::Quit));
        for body in [
            "Set-name x",
            "Set-name  bob",
            "Set-name bob smith",
            "Private-message b hi",
        ] {
            assert_eq!(parse(body), Err(BadArguments::BadName), "{body:?}");
        }
        let long = "x".repeat(2_048);
        assert_eq!(
            parse(&format!("Broadcast-message {long}")),
            Err(BadArguments::TextTooLong)
        );
        assert_eq!(
            parse(&format!("Private-message b! {long}")),
            Err(BadArguments::BadName)
        );
    }

    #[test]
    fn ping_keeps_its_text_exactly() {
        for (body, text) in [
            ("Ping", None),
            ("Ping ", Some("")),
            ("Ping  x ", Some(" x ")),
        ] {
            assert_eq!(
                parse(body),
                Ok(Command::Ping(text.map(literals::printable)))
            );
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        prop_oneof![
            names().prop_map(Command::SetName),
            (names(), texts()).prop_map(|(to, text)| Command::PrivateMessage { to, text }),
            texts().prop_map(Command::BroadcastMessage),
            printables().prop_map(|prefix| Command::ListNames { prefix }),
            any::<bool>().prop_map(|is_on| Command::WatchPresence { is_on }),
            (1..=MAX_RECENT).prop_map(|count| Command::RecentMessages { count }),
            prop::option::of(printables()).prop_map(Command::Ping),
            Just(Command::Help),
            Just(Command::Quit),
        ]
    }

    proptest! {
        #[test]
        fn encoded_request_parses_to_the_same_command(
            bits: Option<[u8; 16]>,
            command in commands(),
        ) {
            let token = bits.map(Token::from_bits);
            let bytes = Request::encode(token, &command);
            let mut lines = LineReader::new(&bytes[..]);
            prop_assert_eq!(check_status_line(lines.next_line().unwrap().unwrap()), Ok(()));
            let header = Header::parse(lines.next_line().unwrap().unwrap()).unwrap();
            prop_assert_eq!(header, token.map_or(Header::Empty, Header::Token));
            let body = printable(lines.next_line().unwrap().unwrap()).unwrap();
            prop_assert_eq!(parse(body.as_str()), Ok(command));
            prop_assert_eq!(lines.next_line().unwrap(), None);
        }

        #[test]
        fn command_parser_never_panics(body: Vec<u8>) {
            if let Ok(body) = printable(Line::Whole(&body)) {
                let (_, arguments) = body.split_word();
                for verb in Verb::ALL {
                    let _ = Command::parse(verb, arguments.clone());
                }
            }
        }
    }
}
