//! The target `reply`: the client's parser of messages, for three lines without their ends.

use chat::net::line_reader::LineReader;
use chat::protocol::framing::Line;
use chat::protocol::presence::Presence;
use chat::protocol::reply::{self, Delivery, Reply, Response, Scope};
use chat::protocol::server_message::{Content, Message, Recent, ServerMessage, parse_name_list};
use chat::protocol::status::Status;
use chat::protocol::text::{Printable, Text};
use chat::protocol::token::Token;
use chat::protocol::username::Username;

use crate::{letter, three_lines};

/// Parses the lines as a client does, then encodes and parses the result again. Then encodes and
/// parses all responses that can contain the words of the third line.
pub fn check(input: &[u8]) {
    let [status, header, data] = three_lines(input);
    let token = str::from_utf8(header).ok().and_then(Token::from_hex);
    let read = ServerMessage::parse([status, header, data].map(Line::Whole));
    if let Ok(ServerMessage {
        header: its,
        content,
    }) = &read
    {
        assert!(*its == token && (token.is_some() || header.is_empty()));
        check_content(token, content, status, data);
    } else {
        let kinds: [&[u8]; 2] = [b"Incoming-message ", b"Incoming-recent "];
        let is_message = status == b"200 OK" && kinds.iter().any(|kind| data.starts_with(kind));
        let is_status = Status::ALL
            .iter()
            .any(|known| known.line().as_bytes() == status);
        let is_header = token.is_some() || header.is_empty();
        assert!(
            is_message || !is_status || !is_header,
            "a response was rejected"
        );
    }
    let data = Printable::lossy(data);
    check_printable(&data);
    check_possible_messages(token, &data);
}

fn check_content(token: Option<Token>, content: &Content, status: &[u8], data: &[u8]) {
    match content {
        Content::Message(Message {
            scope,
            sender,
            text,
        }) => {
            assert!(letter::is_name(sender.as_str()));
            check_printable(text);
            // A server may send a text that no client can send.
            if let Ok(sent) = Text::new(text.clone()) {
                let again = Delivery::new(*scope, sender, &sent);
                let mut bytes = Vec::new();
                again.encode(token, &mut bytes);
                assert_eq!(read_back(&bytes), (token, content.clone()));
            }
        }
        Content::Presence(change) => {
            assert_eq!(status, b"200 OK");
            let mut bytes = Vec::new();
            Delivery::presence(change).encode(token, &mut bytes);
            assert_eq!(read_back(&bytes), (token, content.clone()));
        }
        Content::Recent(Recent { time, sender, text }) => {
            assert_eq!(status, b"200 OK");
            assert!(letter::is_name(sender.as_str()));
            check_printable(text);
            // A server may send a time that this server does not send.
            if let (Ok(sent), 0) = (Text::new(text.clone()), time.subsec_nanosecond()) {
                let message = Delivery::new(Scope::Broadcast, sender, &sent);
                let time = *time;
                let bytes = reply::Recent {
                    time: time.into(),
                    message,
                }
                .encode(token);
                assert_eq!(read_back(&bytes), (token, content.clone()));
            }
        }
        Content::OtherIncoming => {
            assert!(status == b"200 OK" && data.starts_with(b"Incoming-"));
        }
        Content::Notice(notice) => {
            assert_eq!(notice.status().line().as_bytes(), status);
            assert_eq!(notice.to_string().as_bytes(), data);
            let mut bytes = Vec::new();
            notice.encode(token, &mut bytes);
            assert_eq!(read_back(&bytes), (token, content.clone()));
        }
        Content::Answer { status: its, text } => {
            assert_eq!(its.line().as_bytes(), status);
            check_printable(text);
            let is_incoming = text.as_str().starts_with("Incoming-");
            assert!(!is_incoming || *its != Status::Ok, "it is not a response");
            if letter::good(Some(data)).is_ok() {
                assert_eq!(text.as_str().as_bytes(), data);
            }
        }
    }
}

fn check_printable(text: &Printable) {
    assert!(!text.as_str().chars().any(letter::is_forbidden));
}

/// Checks that a client correctly parses the responses and deliveries with these words, even if
/// they look like other messages.
fn check_possible_messages(token: Option<Token>, data: &Printable) {
    // A longer text does not fit into a line with `Pong`, so no client can request it.
    if data.as_str().len() > 8_512 - "Pong ".len() {
        return;
    }
    let (word, _) = data.split_word();
    let names: Vec<Username> = data
        .as_str()
        .split(' ')
        .filter_map(|word| Username::new(word).ok())
        .collect();
    let mut responses = vec![
        Response::Pong(Some(data.clone())),
        Response::NotACommand(word.first_chars(32)),
        Response::DeliveredTo(data.as_str().len()),
        Response::Recent(Vec::new()),
    ];
    for name in names.iter().take(3) {
        responses.extend([
            Response::YouAre(name.clone()),
            Response::YouAreAlready(name.clone()),
            Response::Delivered(name.clone()),
            Response::Taken(name.clone()),
            Response::ThisConnectionIs(name.clone()),
            Response::NoOneIsNamed(name.clone()),
            Response::CannotTakeMore(name.clone()),
        ]);
    }
    for response in responses {
        assert_eq!(text_read(token, &response), response.to_string());
    }
    if let [old, .., new] = &names[..] {
        let (old, new) = (old.clone(), new.clone());
        for change in [
            Presence::Joined(old.clone()),
            Presence::Left(new.clone()),
            Presence::Renamed { old, new },
        ] {
            let delivery = Delivery::presence(&change);
            let mut bytes = Vec::new();
            delivery.encode(token, &mut bytes);
            if token.is_some() {
                assert_eq!(bytes.len(), delivery.wire_len());
            }
            assert_eq!(read_back(&bytes), (token, Content::Presence(change)));
        }
    }
    let online = text_read(
        token,
        &Response::Online {
            names: names.clone(),
            count: names.len(),
        },
    );
    let listed = parse_name_list(&Printable::lossy(online.as_bytes()));
    assert_eq!(listed, names[..listed.len()], "{online:?}");
    // A missing name did not fit into the line.
    assert!(listed.len() == names.len() || online.len() > 8_512 - 64 - " and 0000 more".len());

    if let (Some(sender), Ok(text)) = (names.first(), Text::new(data.clone())) {
        for scope in [Scope::Private, Scope::Broadcast] {
            let delivery = Delivery::new(scope, sender, &text);
            let mut bytes = Vec::new();
            delivery.encode(token, &mut bytes);
            if token.is_some() {
                assert_eq!(bytes.len(), delivery.wire_len());
            }
            let (sender, text) = (sender.clone(), data.clone());
            let message = Message {
                scope,
                sender,
                text,
            };
            assert_eq!(read_back(&bytes), (token, Content::Message(message)));
        }
    }
}

/// Encodes a response, parses it as a client, and returns its text.
fn text_read(token: Option<Token>, response: &Response) -> String {
    let reply = Reply {
        header: token,
        response: response.clone(),
    };
    match read_back(&reply.encode()) {
        (header, Content::Answer { status, text }) => {
            assert_eq!((header, status), (token, response.status()));
            text.as_str().to_owned()
        }
        (_, other) => panic!("{response:?} was parsed as {other:?}"),
    }
}

/// Parses the only message in these bytes.
fn read_back(bytes: &[u8]) -> (Option<Token>, Content) {
    let mut reader = LineReader::new(bytes);
    let mut next = || match reader.next_line() {
        Ok(Some(Line::Whole(line))) => line.to_vec(),
        other => panic!("{other:?} is not the next of three lines"),
    };
    let lines = [next(), next(), next()];
    assert!(matches!(reader.next_line(), Ok(None)));
    let lines = lines.each_ref().map(|line| Line::Whole(line));
    let ServerMessage { header, content } = ServerMessage::parse(lines).expect("a message");
    (header, content)
}
