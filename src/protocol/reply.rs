//! The messages of the server (section 3): responses, deliveries and notices.
//!
//! Does not know sessions, or to which connection a message goes.
//!
//! Invariant: *every part of a message is valid by its type, so a message contains exactly
//! three line ends.* The texts of the protocol are in this file only.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

use super::presence::{PRESENCE, Presence};
use super::request::{BadArguments, BadLine, BadStatusLine, Verb};
use super::status::Status;
use super::text::{BadText, Printable, Text, Unprintable};
use super::token::Token;
use super::unreachable::Unreachable;
use super::username::{BadName, Username};
use crate::limits::{MAX_LINE, USUAL_RESPONSE_SIZE};

/// A response with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The token of the session that the request acted for.
    pub header: Option<Token>,
    /// The response.
    pub response: Response,
}

/// The response to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The session now has this name.
    YouAre(Username),
    /// The session already had this name, in this spelling.
    YouAreAlready(Username),
    /// A private message is in the queue of the session of this name.
    Delivered(Username),
    /// A broadcast is in this many queues.
    DeliveredTo(usize),
    /// The names that match a `List-names`.
    Online {
        /// The first of them in order: at least those that fit into a line.
        names: Vec<Username>,
        /// The number of all of them.
        count: usize,
    },
    /// The response to `Watch-presence`.
    Watching {
        /// Whether the session watches now.
        is_on: bool,
        /// Whether that is a change.
        changed: bool,
    },
    /// The response to `Recent-messages`, with the messages that are sent in front of it.
    Recent(Vec<Recent>),
    /// The response to `Ping`.
    Pong(Option<Printable>),
    /// The response to `Help`.
    Help,
    /// The response to `Quit`. No message follows it.
    Goodbye,
    /// The status line of the request is bad.
    BadStatusLine(BadStatusLine),
    /// The header or the body is too long or not printable.
    Fault(BadLine),
    /// The body is empty or begins with a space.
    EmptyRequest,
    /// The arguments are bad.
    BadArguments(BadArguments),
    /// The command needs a session, and the connection has none.
    SetANameFirst,
    /// A new session needs an access token.
    NeedsAccessToken,
    /// The header is not the token of a live session.
    UnknownToken,
    /// Another session has this name.
    Taken(Username),
    /// The connection already has a session, of this name, and cannot resume another.
    ThisConnectionIs(Username),
    /// The system has no thread left for a session of this connection.
    ServerIsFull,
    /// The session belongs to another server of this chat, so it cannot be resumed here.
    SessionElsewhere,
    /// No session has this name.
    NoOneIsNamed(Username),
    /// This word is not a command.
    NotACommand(Printable),
    /// The queue of this recipient is full.
    CannotTakeMore(Username),
    /// Another server of this chat cannot be asked.
    Unreachable(Unreachable),
    /// The handling of the request panicked.
    Failed,
}

/// The recipients of a message: one session or all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For one recipient.
    Private,
    /// For every session except the sender's.
    Broadcast,
}

impl Scope {
    /// Returns its word in a delivery.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Private => "private",
            Scope::Broadcast => "broadcast",
        }
    }
}

/// The beginning of a delivery's data. No response with the status 200 begins so.
pub const DELIVERY: &str = "Incoming-message ";

/// The beginning of the data of each message in a response to `Recent-messages`.
pub const RECENT: &str = "Incoming-recent ";

/// The data of [`Response::SessionElsewhere`]. It tells a client to try the next server.
pub const SESSION_ELSEWHERE: &str = "This session is at another server";

/// The data of [`Notice::TakenMeanwhile`], behind the name.
const TAKEN_MEANWHILE: &str = " was taken while the servers could not reach each other";

/// The characters of a time of UTC, cut to the second.
const TIME_LEN: usize = "2026-11-25T21:04:05Z".len();

/// A message from one client to another.
///
/// Its data is encoded once, and all recipients share it. Only the header, which is written
/// before it, differs from one recipient to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    data: Arc<str>,
}

/// A kept broadcast, as a part of the response to `Recent-messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// When the server got it.
    pub time: SystemTime,
    /// The broadcast.
    pub message: Delivery,
}

/// A message that the server sends unasked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// This many deliveries did not fit into the queue.
    Missed(u64),
    /// Closing: the server shuts down.
    ShuttingDown,
    /// Closing: no name was set by the login deadline, this many seconds after connecting.
    TooSlowToLogIn(u64),
    /// Closing: the server has as many clients as it may have.
    ServerIsFull,
    /// Closing: the address has as many connections as it may have.
    TooManyFromAddress,
    /// Closing: another connection has resumed the session.
    ResumedElsewhere,
    /// Closing: the kernel did not accept a whole batch within the write timeout.
    ReadTooSlowly,
    /// Closing: the session's name went to another server of this chat.
    TakenMeanwhile(Username),
}

impl Reply {
    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        // Most responses fit into this size, so they need one allocation.
        let mut bytes = Vec::with_capacity(USUAL_RESPONSE_SIZE);
        encode_start(self.response.status(), self.header, &mut bytes);
        // A write into a Vec cannot fail.
        let _ = write!(bytes, "{}", self.response);
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

impl Response {
    /// Returns its status (section 5).
    pub fn status(&self) -> Status {
        match self {
            Response::YouAre(_)
            | Response::Delivered(_)
            | Response::DeliveredTo(_)
            | Response::Online { .. }
            | Response::Watching { changed: true, .. }
            | Response::Recent(_)
            | Response::Pong(_)
            | Response::Help
            | Response::Goodbye => Status::Ok,
            Response::YouAreAlready(_) | Response::Watching { changed: false, .. } => {
                Status::NotModified
            }
            Response::BadStatusLine(BadStatusLine::TooLong | BadStatusLine::NotEmpty)
            | Response::Fault(_)
            | Response::EmptyRequest
            | Response::BadArguments(_) => Status::BadRequest,
            Response::SetANameFirst | Response::NeedsAccessToken | Response::UnknownToken => {
                Status::Unauthorized
            }
            Response::Taken(_)
            | Response::ThisConnectionIs(_)
            | Response::ServerIsFull
            | Response::SessionElsewhere => Status::Forbidden,
            Response::NoOneIsNamed(_) => Status::NotFound,
            Response::BadStatusLine(BadStatusLine::Http) => Status::TeaPocket,
            Response::Failed => Status::InternalServerError,
            Response::NotACommand(_) => Status::NotImplemented,
            Response::CannotTakeMore(_) | Response::Unreachable(_) => Status::BadGateway,
        }
    }
}

/// Shows the data: the third line, without its line end.
impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Response::YouAre(name) => write!(f, "You are {name}"),
            Response::YouAreAlready(name) => write!(f, "You are already {name}"),
            Response::Delivered(name) => write!(f, "Delivered to {name}"),
            Response::DeliveredTo(count) => write!(f, "Delivered to {count}"),
            Response::Online { names, count } => f.write_str(&online(names, *count)),
            Response::Watching { is_on: true, .. } => f.write_str("Watching presence"),
            Response::Watching { is_on: false, .. } => f.write_str("Not watching presence"),
            Response::Recent(messages) => write!(f, "{} recent", messages.len()),
            Response::Pong(None) => f.write_str("Pong"),
            Response::Pong(Some(text)) => write!(f, "Pong {}", text.as_str()),
            Response::Help => {
                let usages: Vec<String> = Verb::ALL.into_iter().map(Verb::usage).collect();
                write!(f, "Commands: {}", usages.join(", "))
            }
            Response::Goodbye => f.write_str("Goodbye"),
            Response::BadStatusLine(BadStatusLine::NotEmpty) => {
                f.write_str("A request is an empty line, a token line and a request line")
            }
            Response::BadStatusLine(BadStatusLine::TooLong) | Response::Fault(BadLine::TooLong) => {
                f.write_str("Line too long")
            }
            Response::BadStatusLine(BadStatusLine::Http) => {
                f.write_str("This is a chat server, not a web server")
            }
            Response::Fault(BadLine::Unprintable(fault)) => write!(f, "{fault}"),
            Response::EmptyRequest => f.write_str("Empty request"),
            Response::BadArguments(BadArguments::BadName) => write!(f, "{BadName}"),
            Response::BadArguments(BadArguments::TextTooLong) => write!(f, "{}", BadText::TooLong),
            Response::BadArguments(BadArguments::Usage(verb)) => {
                write!(f, "Usage: {}", verb.usage())
            }
            Response::SetANameFirst => f.write_str("Set a name first"),
            Response::NeedsAccessToken => f.write_str("This server needs an access token"),
            Response::UnknownToken => f.write_str("Unknown token"),
            Response::Taken(name) => write!(f, "{name} is taken"),
            Response::ThisConnectionIs(name) => write!(f, "This connection is {name}"),
            Response::ServerIsFull => write!(f, "{}", Notice::ServerIsFull),
            Response::SessionElsewhere => f.write_str(SESSION_ELSEWHERE),
            Response::NoOneIsNamed(name) => write!(f, "No one is named {name}"),
            Response::NotACommand(word) => {
                write!(f, "{} is not a command; try Help", word.as_str())
            }
            Response::CannotTakeMore(name) => write!(f, "{name} cannot take more messages now"),
            Response::Unreachable(why) => write!(f, "{why}"),
            Response::Failed => f.write_str("The server failed to answer this request"),
        }
    }
}

impl fmt::Display for Unprintable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unprintable::NotUtf8 => f.write_str("Not UTF-8"),
            Unprintable::Forbidden(c) => write!(f, "Forbidden character U+{:04X}", u32::from(*c)),
        }
    }
}

impl std::error::Error for Unprintable {}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("A name is 2 to 63 of A-Z a-z 0-9 _ -")
    }
}

impl std::error::Error for BadName {}

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Never sent: the response to a blank text is the usage of the command.
            BadText::Blank => f.write_str("A text is not blank"),
            BadText::TooLong => f.write_str("A text is at most 2047 characters"),
        }
    }
}

impl std::error::Error for BadText {}

impl Delivery {
    /// Encodes the data of a message, the same for all recipients.
    pub fn new(scope: Scope, sender: &Username, text: &Text) -> Delivery {
        // `concat` knows the length, so the string is allocated once.
        let parts = [
            DELIVERY,
            scope.word(),
            " ",
            sender.as_str(),
            " ",
            text.as_str(),
        ];
        Delivery {
            data: parts.concat().into(),
        }
    }

    /// Makes the delivery of a change to watching sessions.
    pub fn presence(change: &Presence) -> Delivery {
        Delivery {
            data: format!("{PRESENCE}{change}").into(),
        }
    }

    /// Returns the length of the whole message in bytes, the same for each recipient.
    pub fn wire_len(&self) -> usize {
        Status::Ok.line().len() + Token::DIGITS + self.data.len() + 3 * "\r\n".len()
    }

    /// Appends the message for the session of this token.
    pub fn encode(&self, token: Option<Token>, bytes: &mut Vec<u8>) {
        encode(Status::Ok, token, &self.data, bytes);
    }

    /// The sender and the text of a broadcast.
    fn sender_and_text(&self) -> &str {
        let start = DELIVERY.len() + Scope::Broadcast.word().len() + " ".len();
        self.data.get(start..).unwrap_or_default()
    }
}

impl Recent {
    /// Returns the bytes of the message on the wire, the same for each recipient.
    pub fn wire_len(&self) -> usize {
        let data = RECENT.len() + TIME_LEN + " ".len() + self.message.sender_and_text().len();
        Status::Ok.line().len() + Token::DIGITS + data + 3 * "\r\n".len()
    }

    /// Encodes the message for the session of this token.
    pub fn encode(&self, token: Option<Token>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.wire_len());
        encode_start(Status::Ok, token, &mut bytes);
        // A time that no calendar has is shown as the first one.
        let time = Timestamp::try_from(self.time).unwrap_or(Timestamp::UNIX_EPOCH);
        let message = self.message.sender_and_text();
        // A write into a Vec cannot fail. jiff cuts the time to the second.
        let _ = write!(bytes, "{RECENT}{time:.0} {message}\r\n");
        bytes
    }
}

impl Notice {
    /// Encodes the message for a connection whose session has this token.
    pub fn encoded(&self, token: Option<Token>) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(token, &mut bytes);
        bytes
    }

    /// Parses a status and data. Returns `None` if they are not a notice.
    pub fn parse(status: Status, data: &str) -> Option<Notice> {
        // A notice with a number is made from the number alone. `find` compares the whole text.
        let number = |before| data.strip_prefix(before)?.split(' ').next()?.parse().ok();
        let missed = number("Missed ").map(Notice::Missed);
        let taken = data.strip_suffix(TAKEN_MEANWHILE);
        let taken = taken.and_then(|name| Username::new(name).ok());
        let too_slow = number("Too slow: set a name within ").map(Notice::TooSlowToLogIn);
        [
            Notice::ShuttingDown,
            Notice::ServerIsFull,
            Notice::TooManyFromAddress,
            Notice::ResumedElsewhere,
            Notice::ReadTooSlowly,
        ]
        .into_iter()
        .chain(missed)
        .chain(too_slow)
        .chain(taken.map(Notice::TakenMeanwhile))
        .find(|notice| notice.status() == status && notice.to_string() == data)
    }

    /// Returns its status (section 3).
    pub fn status(&self) -> Status {
        match self {
            Notice::Missed(_) | Notice::ShuttingDown | Notice::ReadTooSlowly => Status::BadGateway,
            Notice::TooSlowToLogIn(_) => Status::Unauthorized,
            Notice::ServerIsFull
            | Notice::TooManyFromAddress
            | Notice::ResumedElsewhere
            | Notice::TakenMeanwhile(_) => Status::Forbidden,
        }
    }

    /// Appends the message for a connection whose session has, or had, this token.
    pub fn encode(&self, token: Option<Token>, bytes: &mut Vec<u8>) {
        encode(self.status(), token, &self.to_string(), bytes);
    }
}

/// Shows the data: the third line, without its line end.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Missed(count) => write!(f, "Missed {count} messages: you read too slowly"),
            Notice::ShuttingDown => f.write_str("The server is shutting down"),
            Notice::TooSlowToLogIn(seconds) => {
                write!(f, "Too slow: set a name within {seconds} seconds")
            }
            Notice::ServerIsFull => f.write_str("The server is full"),
            Notice::TooManyFromAddress => f.write_str("Too many connections from your address"),
            Notice::ResumedElsewhere => {
                f.write_str("This session was resumed from another connection")
            }
            Notice::ReadTooSlowly => f.write_str("You read too slowly"),
            Notice::TakenMeanwhile(name) => write!(f, "{name}{TAKEN_MEANWHILE}"),
        }
    }
}

/// Appends the three lines of a message.
fn encode(status: Status, header: Option<Token>, data: &str, bytes: &mut Vec<u8>) {
    encode_start(status, header, bytes);
    bytes.extend_from_slice(data.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// Appends the first two lines of a message.
fn encode_start(status: Status, header: Option<Token>, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(status.line().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if let Some(token) = header {
        bytes.extend_from_slice(&token.hex());
    }
    bytes.extend_from_slice(b"\r\n");
}

/// Returns `N online: NAME NAME …`, at most one line.
///
/// If not all names fit, it lists as many as fit, and then the number of the others. `names`
/// are the first of all `count` names.
fn online(names: &[Username], count: usize) -> String {
    if count == 0 {
        return "0 online".to_owned();
    }
    let mut line = format!("{count} online:");
    let space = |name: &Username| " ".len() + name.as_str().len();
    let size = line.len() + names.iter().map(space).sum::<usize>();
    let all_fit = names.len() == count && size <= MAX_LINE;
    let mut others = count;
    for name in names {
        if !all_fit && line.len() + space(name) + and_more(others - 1).len() > MAX_LINE {
            break;
        }
        line.push(' ');
        line.push_str(name.as_str());
        others -= 1;
    }
    if others > 0 {
        line.push_str(&and_more(others));
    }
    line
}

fn and_more(count: usize) -> String {
    format!(" and {count} more")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_NAME, MAX_TEXT_CHARS};
    use crate::protocol::literals::{self, name, printable, responses, text, times};
    use proptest::prelude::*;

    #[test]
    fn encoded_message_has_three_lines() {
        let token = Token::from_bits([0xAB; 16]);
        let reply = Reply {
            header: Some(token),
            response: Response::YouAre(name("alice")),
        };
        let expected = format!("200 OK\r\n{}\r\nYou are alice\r\n", "ab".repeat(16));
        assert_eq!(reply.encode(), expected.as_bytes());
        let reply = Reply {
            header: None,
            response: Response::SetANameFirst,
        };
        assert_eq!(
            reply.encode(),
            b"401 Unauthorized\r\n\r\nSet a name first\r\n"
        );
        let mut notice = Vec::new();
        Notice::Missed(3).encode(None, &mut notice);
        let expected = "502 Bad Gateway\r\n\r\nMissed 3 messages: you read too slowly\r\n";
        assert_eq!(notice, expected.as_bytes());
    }

    #[test]
    fn delivery_length_is_exact_and_prefix_is_unambiguous() {
        let text = text("приве́т 🙂");
        for scope in [Scope::Private, Scope::Broadcast] {
            let delivery = Delivery::new(scope, &name("bob"), &text);
            let mut bytes = Vec::new();
            delivery.encode(Some(Token::from_bits([1; 16])), &mut bytes);
            assert_eq!(bytes.len(), delivery.wire_len());
            let data = str::from_utf8(&bytes).unwrap().lines().nth(2).unwrap();
            let scope = format!("{scope:?}").to_lowercase();
            assert_eq!(
                data,
                format!("Incoming-message {scope} bob {}", text.as_str())
            );
        }
        // The data of all other responses begins with a fixed word or a count. These begin with
        // a word of the client. Their status differs from that of a delivery.
        for response in [
            Response::NotACommand(printable("Incoming-message")),
            Response::Taken(name("Incoming-message")),
            Response::CannotTakeMore(name("Incoming-message")),
        ] {
            assert_ne!(response.status(), Status::Ok);
        }
    }

    #[test]
    fn longest_messages_fit_into_a_line() {
        let (longest, token) = (name(&"n".repeat(MAX_NAME)), Some(Token::from_bits([1; 16])));
        let text = text(&"🙂".repeat(MAX_TEXT_CHARS));
        let (old, new) = (longest.clone(), longest.clone());
        let deliveries = [
            Delivery::new(Scope::Broadcast, &longest, &text),
            Delivery::presence(&Presence::Renamed { old, new }),
        ];
        let recent = Recent {
            time: Timestamp::UNIX_EPOCH.into(),
            message: deliveries[0].clone(),
        };
        let mut bytes = recent.encode(token);
        assert_eq!(bytes.len(), recent.wire_len());
        for delivery in deliveries {
            delivery.encode(token, &mut bytes);
        }
        let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), 3 * 3 + 1);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE + 1));
    }

    proptest! {
        #[test]
        fn response_with_status_200_never_begins_as_incoming(response in responses()) {
            let is_incoming = response.to_string().starts_with("Incoming-");
            prop_assert!(!is_incoming || response.status() != Status::Ok);
        }

        #[test]
        fn length_on_the_wire_is_exact_and_time_has_seconds(
            time in times(),
            sender in literals::names(),
            text in literals::texts(),
        ) {
            let token = Some(Token::from_bits([1; 16]));
            let message = Delivery::new(Scope::Broadcast, &sender, &text);
            let mut bytes = Vec::new();
            message.encode(token, &mut bytes);
            prop_assert_eq!(bytes.len(), message.wire_len());
            let recent = Recent { time: time.into(), message };
            let bytes = recent.encode(token);
            prop_assert_eq!(bytes.len(), recent.wire_len());
            let whole = Timestamp::from_second(time.as_second()).unwrap();
            let data = format!("Incoming-recent {whole} {sender} {}\r\n", text.as_str());
            prop_assert!(bytes.ends_with(data.as_bytes()));
        }
    }

    #[test]
    fn delivery_clones_share_the_encoded_data() {
        let delivery = Delivery::new(Scope::Broadcast, &name("bob"), &text("hi"));
        assert!(Arc::ptr_eq(&delivery.data, &delivery.clone().data));
    }

    #[test]
    fn forbidden_characters_are_named_with_at_least_four_digits() {
        let data = |c| Response::Fault(BadLine::Unprintable(Unprintable::Forbidden(c))).to_string();
        assert_eq!(data('\u{7}'), "Forbidden character U+0007");
        assert_eq!(data('\u{202E}'), "Forbidden character U+202E");
    }

    /// Does what the protocol says in the simplest way: tries all lengths, the longest first.
    fn online_by_the_letter(names: &[Username]) -> String {
        let count = names.len();
        let list = |listed: usize| {
            let names: Vec<&str> = names[..listed].iter().map(Username::as_str).collect();
            names.join(" ")
        };
        (0..=count)
            .rev()
            .map(|listed| match count - listed {
                0 => format!("{count} online: {}", list(count)),
                others => format!("{count} online: {} and {others} more", list(listed)),
            })
            .find(|line| line.len() <= MAX_LINE)
            .unwrap()
    }

    /// Returns the names that the session map would return: no more than may fit into a line.
    fn first_of(names: &[Username]) -> &[Username] {
        let mut size = 0;
        let fits = |name: &&Username| {
            size += 1 + name.as_str().len();
            size <= MAX_LINE
        };
        &names[..names.iter().take_while(fits).count()]
    }

    #[test]
    fn name_list_fills_the_line() {
        assert_eq!(online(&[], 0), "0 online");
        assert_eq!(online(&[name("ann"), name("Bob")], 2), "2 online: ann Bob");
        // These counts and lengths are around the limit of a line, so an error of one byte
        // would show.
        for last in 2..=63 {
            for count in [131, 132, 133, 134, 160, 1_000, 1_001] {
                let mut names: Vec<Username> =
                    (1..count).map(|n| name(&format!("{n:063}"))).collect();
                names.push(name(&"z".repeat(last)));
                assert_eq!(
                    online(&names, names.len()),
                    online_by_the_letter(&names),
                    "{count}, {last}"
                );
                let first = first_of(&names);
                assert_eq!(online(first, names.len()), online_by_the_letter(&names));
                names.push(name("zz"));
                assert_eq!(
                    online(&names, names.len()),
                    online_by_the_letter(&names),
                    "{count}, {last}, 2"
                );
            }
        }
    }
}
