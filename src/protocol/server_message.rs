//! The messages of the server as a client parses them (section 3): a response, a message or a
//! notice.
//!
//! It is the inverse of [`reply`](super::reply), and equally strict about the form of a
//! message. It is not strict about characters: it replaces those that are forbidden.
//!
//! Does not know which request a response answers.
//!
//! Invariant: *all text that it returns is [`Printable`], so a terminal can show it.*

use std::fmt;

use jiff::Timestamp;

use super::presence::{PRESENCE, Presence};
use super::reply::{DELIVERY, Notice, RECENT, Scope};
use super::status::Status;
use super::text::Printable;
use super::token::Token;
use super::username::Username;
use crate::protocol::framing::Line;

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerMessage {
    /// The token of the session that it is for, if it has one.
    pub header: Option<Token>,
    /// The content, by its kind.
    pub content: Content,
}

/// The content of a message of the server, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A delivery: the message of another client.
    Message(Message),
    /// A presence delivery: a user joined, left or changed its name.
    Presence(Presence),
    /// A kept broadcast: a part of the response to `Recent-messages`.
    Recent(Recent),
    /// A message of a kind that this client does not know. It must be ignored.
    OtherIncoming,
    /// A message that the server sends unasked.
    Notice(Notice),
    /// Any other message: the response to a request.
    Answer {
        /// The status of the response.
        status: Status,
        /// The data of the response, a text for people.
        text: Printable,
    },
}

/// A message of another client, as its recipient gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The recipients.
    pub scope: Scope,
    /// The name of the sender.
    pub sender: Username,
    /// The text.
    pub text: Printable,
}

/// A broadcast that the server has kept, as its reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// When the server got it, to the second.
    pub time: Timestamp,
    /// The name of the sender at that time.
    pub sender: Username,
    /// The text.
    pub text: Printable,
}

/// The error for three lines that are not a message of this protocol.
///
/// The peer is not a server of this protocol, so its further lines have no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMessage;

impl ServerMessage {
    /// Parses the three lines of a message.
    pub fn parse(lines: [Line<'_>; 3]) -> Result<ServerMessage, MalformedMessage> {
        let mut whole = [b"".as_slice(); 3];
        for (bytes, line) in whole.iter_mut().zip(lines) {
            let Line::Whole(line) = line else {
                return Err(MalformedMessage);
            };
            *bytes = line;
        }
        let [status, header, data] = whole;
        Ok(ServerMessage {
            header: parse_header(header)?,
            content: Content::parse(
                Status::parse(status).ok_or(MalformedMessage)?,
                Printable::lossy(data),
            )?,
        })
    }
}

fn parse_header(line: &[u8]) -> Result<Option<Token>, MalformedMessage> {
    if line.is_empty() {
        return Ok(None);
    }
    let token = str::from_utf8(line).ok().and_then(Token::from_hex);
    token.map(Some).ok_or(MalformedMessage)
}

impl Content {
    fn parse(status: Status, data: Printable) -> Result<Content, MalformedMessage> {
        if status == Status::Ok && data.as_str().starts_with("Incoming-") {
            return Content::parse_incoming(&data);
        }
        Ok(match Notice::parse(status, data.as_str()) {
            Some(notice) => Content::Notice(notice),
            None => Content::Answer { status, text: data },
        })
    }
}

impl Content {
    /// Parses data that is not a response, because it begins with `Incoming-`.
    fn parse_incoming(data: &Printable) -> Result<Content, MalformedMessage> {
        if data.as_str().starts_with(DELIVERY) {
            return Message::parse(data).map(Content::Message);
        }
        if data.as_str().starts_with(RECENT) {
            return Recent::parse(data).map(Content::Recent);
        }
        let change = data
            .as_str()
            .strip_prefix(PRESENCE)
            .and_then(Presence::parse);
        Ok(change.map_or(Content::OtherIncoming, Content::Presence))
    }
}

impl Recent {
    /// Parses the data of a kept broadcast.
    fn parse(data: &Printable) -> Result<Recent, MalformedMessage> {
        let (_, rest) = data.split_word();
        let (time, rest) = rest.ok_or(MalformedMessage)?.split_word();
        let (sender, text) = rest.ok_or(MalformedMessage)?.split_word();
        Ok(Recent {
            time: parse_time(time.as_str()).ok_or(MalformedMessage)?,
            sender: Username::new(sender.as_str()).map_err(|_| MalformedMessage)?,
            text: text.ok_or(MalformedMessage)?,
        })
    }
}

/// Parses a time of UTC to the second. jiff alone would take other forms too.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    (time.subsec_nanosecond() == 0 && time.to_string() == text).then_some(time)
}

impl Message {
    /// Parses the data of a delivery.
    fn parse(data: &Printable) -> Result<Message, MalformedMessage> {
        let (_, rest) = data.split_word();
        let (scope, rest) = rest.ok_or(MalformedMessage)?.split_word();
        let (sender, text) = rest.ok_or(MalformedMessage)?.split_word();
        let scope = [Scope::Private, Scope::Broadcast]
            .into_iter()
            .find(|known| known.word() == scope.as_str());
        Ok(Message {
            scope: scope.ok_or(MalformedMessage)?,
            sender: Username::new(sender.as_str()).map_err(|_| MalformedMessage)?,
            text: text.ok_or(MalformedMessage)?,
        })
    }
}

/// Returns the names in the response to `List-names`.
///
/// These are not all names if they do not fit into the line.
pub fn parse_name_list(answer: &Printable) -> Vec<Username> {
    let (count, names) = answer.as_str().split_once(" online: ").unwrap_or_default();
    let words: Vec<&str> = names.split(' ').collect();
    let names = match &words[..] {
        // `and` and `more` are valid names, so the count decides.
        [listed @ .., "and", others, "more"] if counts_match(count, listed.len(), others) => listed,
        all => all,
    };
    names
        .iter()
        .filter_map(|name| Username::new(name).ok())
        .collect()
}

/// Returns whether the listed names and the others add up to the count.
///
/// If `and`, the number and `more` were three names, the number would have to be 3. But `3` is too
/// short for a name.
fn counts_match(count: &str, listed: usize, others: &str) -> bool {
    let count = count
        .parse()
        .ok()
        .and_then(|count: usize| count.checked_sub(listed));
    count.is_some_and(|count| count.to_string() == others)
}

impl fmt::Display for MalformedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server does not speak CP/0.0.0")
    }
}

impl std::error::Error for MalformedMessage {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_LINE;
    use crate::net::line_reader::LineReader;
    use crate::protocol::literals::{
        name, names, notices, printable, printables, responses, texts, times,
    };
    use crate::protocol::presence::tests::changes;
    use crate::protocol::reply::{self, Delivery, Reply, Response};
    use proptest::prelude::*;

    /// Parses the first three lines of these bytes.
    fn read(bytes: &[u8]) -> Result<ServerMessage, MalformedMessage> {
        let mut reader = LineReader::new(bytes);
        let lines: [Option<Vec<u8>>; 3] =
            [(); 3].map(
                |()| match reader.next_line().unwrap().expect("three lines") {
                    Line::Whole(line) => Some(line.to_vec()),
                    Line::TooLong => None,
                },
            );
        ServerMessage::parse([0, 1, 2].map(|n| match &lines[n] {
            Some(line) => Line::Whole(line),
            None => Line::TooLong,
        }))
    }

    #[test]
    fn time_of_a_kept_broadcast_has_one_form() {
        let data = |time: &str| printable(&format!("Incoming-recent {time} bob hi"));
        assert!(Recent::parse(&data("2026-11-25T21:04:05Z")).is_ok());
        for time in [
            "2026-11-25T21:04:05.5Z",
            "2026-11-25T21:04:05+00:00",
            "2026-11-25t21:04:05z",
            "2026-11-25T21:04Z",
            "2026-13-25T21:04:05Z",
            "",
        ] {
            assert_eq!(
                Recent::parse(&data(time)),
                Err(MalformedMessage),
                "{time:?}"
            );
        }
    }

    #[test]
    fn notices_are_distinguished_from_responses() {
        for notice in [
            Notice::Missed(1),
            Notice::Missed(u64::MAX),
            Notice::ShuttingDown,
            Notice::TooSlowToLogIn(60),
            Notice::ServerIsFull,
            Notice::TooManyFromAddress,
            Notice::ResumedElsewhere,
            Notice::ReadTooSlowly,
            Notice::TakenMeanwhile(name("alice")),
        ] {
            let mut bytes = Vec::new();
            notice.encode(None, &mut bytes);
            assert_eq!(read(&bytes).unwrap().content, Content::Notice(notice));
        }
        // These names and words make a response look as similar to a notice as possible.
        for response in [
            Response::Taken(name("Missed")),
            Response::CannotTakeMore(name("Missed")),
            Response::NotACommand(printable("Missed")),
            Response::NotACommand(printable("Incoming-message")),
            Response::Pong(Some(printable("Missed 3 messages: you read too slowly"))),
        ] {
            let (status, text) = (response.status(), printable(&response.to_string()));
            let bytes = Reply {
                header: None,
                response,
            }
            .encode();
            let content = Content::Answer { status, text };
            assert_eq!(
                read(&bytes),
                Ok(ServerMessage {
                    header: None,
                    content
                })
            );
        }
        assert_eq!(
            Notice::parse(
                Status::BadGateway,
                "Missed 07 messages: you read too slowly"
            ),
            None
        );
        assert_eq!(Notice::parse(Status::Ok, "The server is full"), None);
    }

    #[test]
    fn malformed_messages_are_rejected() {
        let token = "0".repeat(32);
        for lines in [
            "200\r\n\r\nhi\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhi\r\n",
            "\r\n200 OK\r\nhi\r\n",
            "200 OK\r\nxyz\r\nhi\r\n",
            "200 OK\r\n\r\nIncoming-message secret bob hi\r\n",
            "200 OK\r\n\r\nIncoming-message private b hi\r\n",
            "200 OK\r\n\r\nIncoming-message private bob\r\n",
            "200 OK\r\n\r\nIncoming-message \r\n",
            "200 OK\r\n\r\nIncoming-recent \r\n",
            "200 OK\r\n\r\nIncoming-recent now bob hi\r\n",
            "200 OK\r\n\r\nIncoming-recent 2026-11-25T21:04:05Z b hi\r\n",
            "200 OK\r\n\r\nIncoming-recent 2026-11-25T21:04:05Z bob\r\n",
        ] {
            assert_eq!(read(lines.as_bytes()), Err(MalformedMessage), "{lines:?}");
        }
        for start in [
            "",
            "Incoming-message private bob ",
            "Incoming-presence joined ",
        ] {
            let long = start.to_owned() + &"x".repeat(MAX_LINE + 1 - start.len());
            let long = format!("200 OK\r\n{token}\r\n{long}\r\n");
            assert_eq!(read(long.as_bytes()), Err(MalformedMessage), "{start:?}");
        }
    }

    #[test]
    fn unknown_kinds_are_told_apart_from_responses() {
        for data in [
            "Incoming-",
            "Incoming-presence",
            "Incoming-presence ",
            "Incoming-presence moved bob",
            "Incoming-recent",
            "Incoming-message",
            "Incoming-weather rain",
        ] {
            let lines = |status: &str| format!("{status}\r\n\r\n{data}\r\n");
            let content = read(lines("200 OK").as_bytes()).unwrap().content;
            assert_eq!(content, Content::OtherIncoming, "{data:?}");
            let content = read(lines("501 Not Implemented").as_bytes())
                .unwrap()
                .content;
            assert!(matches!(content, Content::Answer { .. }), "{data:?}");
        }
    }

    #[test]
    fn control_characters_in_messages_are_replaced() {
        let bytes = b"200 OK\r\n\r\nIncoming-message broadcast bob \x1B[2J\xC2\x9Bhi\r\n";
        let Ok(ServerMessage {
            content: Content::Message(message),
            ..
        }) = read(bytes)
        else {
            panic!("a message")
        };
        assert_eq!(message.text.as_str(), "\u{FFFD}[2J\u{FFFD}hi");
    }

    #[test]
    fn names_of_a_list_are_parsed() {
        let names: Vec<Username> = (0..500).map(|n| name(&format!("name-{n:040}"))).collect();
        for count in [0, 1, 2, 500] {
            let answer = printable(
                &Response::Online {
                    names: names[..count].to_vec(),
                    count,
                }
                .to_string(),
            );
            let listed = parse_name_list(&answer);
            assert_eq!(listed, names[..listed.len()]);
            assert!(listed.len() == count || (count == 500 && listed.len() > 150));
        }
        for names in [
            vec![name("and"), name("more")],
            vec![name("al"), name("and"), name("bob"), name("more")],
            vec![name("al"), name("and"), name("11"), name("more")],
            vec![name("al"), name("and"), name("03"), name("more")],
        ] {
            let answer = printable(
                &Response::Online {
                    names: names.clone(),
                    count: names.len(),
                }
                .to_string(),
            );
            assert_eq!(parse_name_list(&answer), names);
        }
    }

    /// Any message of a server, as the bytes that it sends and as the content that arrives.
    fn messages() -> impl Strategy<Value = (Option<Token>, Vec<u8>, Content)> {
        let scopes = prop::sample::select(vec![Scope::Private, Scope::Broadcast]);
        let delivery = |delivery: Delivery, token| {
            let mut bytes = Vec::new();
            delivery.encode(token, &mut bytes);
            bytes
        };
        let message = (scopes, names(), texts()).prop_map(|(scope, sender, text)| {
            let sent = Delivery::new(scope, &sender, &text);
            let text = printable(text.as_str());
            let message = Message {
                scope,
                sender,
                text,
            };
            (Sent::Delivery(sent), Content::Message(message))
        });
        let presence = changes().prop_map(|change| {
            let sent = Delivery::presence(&change);
            (Sent::Delivery(sent), Content::Presence(change))
        });
        let recent = (times(), names(), texts()).prop_map(|(time, sender, text)| {
            let message = Delivery::new(Scope::Broadcast, &sender, &text);
            let sent = reply::Recent {
                time: time.into(),
                message,
            };
            let time = Timestamp::from_second(time.as_second()).unwrap();
            let text = printable(text.as_str());
            (
                Sent::Recent(sent),
                Content::Recent(Recent { time, sender, text }),
            )
        });
        let notice = notices().prop_map(|it| (Sent::Notice(it.clone()), Content::Notice(it)));
        let response = responses().prop_map(|response| {
            let (status, text) = (response.status(), printable(&response.to_string()));
            (Sent::Response(response), Content::Answer { status, text })
        });
        let all = prop_oneof![message, presence, recent, notice, response];
        (any::<Option<[u8; 16]>>(), all).prop_map(move |(bits, (sent, content))| {
            let token = bits.map(Token::from_bits);
            let bytes = match sent {
                Sent::Delivery(it) => delivery(it, token),
                Sent::Recent(it) => it.encode(token),
                Sent::Notice(it) => it.encoded(token),
                Sent::Response(response) => Reply {
                    header: token,
                    response,
                }
                .encode(),
            };
            (token, bytes, content)
        })
    }

    /// A message before its header is known.
    #[derive(Clone, Debug)]
    enum Sent {
        Delivery(Delivery),
        Recent(reply::Recent),
        Notice(Notice),
        Response(Response),
    }

    proptest! {
        #[test]
        fn encoded_message_parses_to_the_same((header, bytes, content) in messages()) {
            prop_assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 3);
            prop_assert_eq!(read(&bytes), Ok(ServerMessage { header, content }));
        }

        #[test]
        fn incoming_data_with_status_200_is_no_response(rest: Vec<u8>, text in printables()) {
            let rest: [&[u8]; 2] = [&rest, text.as_str().as_bytes()];
            for kind in ["", "message ", "presence ", "recent ", "recent 2026-11-25T21:04:05Z "] {
                for rest in rest {
                    let data = [b"Incoming-", kind.as_bytes(), rest].concat();
                    let lines = [&b"200 OK"[..], b"", &data].map(Line::Whole);
                    let content = ServerMessage::parse(lines).map(|it| it.content);
                    let is_response = matches!(content, Ok(Content::Answer { .. } | Content::Notice(_)));
                    prop_assert!(!is_response, "{:?}", content);
                }
            }
        }

        #[test]
        fn server_message_parser_never_panics(lines: [Vec<u8>; 3]) {
            let [status, header, data] = &lines;
            let _ = ServerMessage::parse([status, header, data].map(|line| Line::Whole(line)));
            let _ = ServerMessage::parse([
                Line::Whole(b"200 OK"),
                Line::Whole(b""),
                Line::Whole(data),
            ]);
            parse_name_list(&Printable::lossy(data));
        }
    }
}
