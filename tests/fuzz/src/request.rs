//! The target `request`: the server's parser of requests, for three lines without their ends.

use chat::net::line_reader::LineReader;
use chat::protocol::framing::Line;
use chat::protocol::reply::Response;
use chat::protocol::request::{
    self, BadLine, BadStatusLine, Command, Header, Request, Verb, check_status_line,
};
use chat::protocol::text::Printable;
use chat::protocol::token::Token;

use crate::{letter, three_lines};

/// Parses the lines as the server does, and compares the result with the reference. Then encodes
/// the result as a client does, and parses it again.
pub fn check(input: &[u8]) {
    let [status, header, body] = three_lines(input);
    let bad_line = check_status_line(Line::Whole(status)).map_err(Response::BadStatusLine);
    assert_eq!(
        bad_line.err().map(said),
        letter::bad_status_line(Some(status))
    );

    let (good_header, good_body) = (letter::good(Some(header)), letter::good(Some(body)));
    let request = Request {
        header: Header::parse(Line::Whole(header)),
        body: request::printable(Line::Whole(body)),
    };
    match (request.into_lines(), letter::both(good_header, good_body)) {
        (Ok((header, body)), Ok((its_header, its_body))) => {
            check_header(header, its_header);
            check_body(header, &body, its_body);
        }
        (Err(fault), Err(its_fault)) => assert_eq!(said(Response::Fault(fault)), its_fault.said()),
        (read, expected) => panic!("{read:?}, expected {expected:?}"),
    }
}

fn check_header(header: Header, line: &str) {
    match header {
        Header::Empty => assert_eq!(line, ""),
        Header::Token(token) => {
            assert!(letter::is_token(line));
            assert_eq!(token.hex(), line.as_bytes());
        }
        Header::NotAToken => assert!(!line.is_empty() && !letter::is_token(line)),
    }
}

fn check_body(header: Header, body: &Printable, line: &str) {
    assert_eq!(body.as_str(), line);
    let (word, arguments) = body.split_word();
    let expected = letter::command(line, true);
    let Some(verb) = Verb::parse(word.as_str()) else {
        assert!(expected.is_err(), "{line:?} is a command");
        return;
    };
    match (Command::parse(verb, arguments), expected) {
        (Ok(command), Ok(expected)) => {
            assert_eq!(by_the_letter(&command), expected);
            let token = match header {
                Header::Token(token) => Some(token),
                Header::Empty | Header::NotAToken => None,
            };
            assert_eq!(
                read_back(&Request::encode(token, &command)),
                (token, command)
            );
        }
        (Err(bad), Err(expected)) => assert_eq!(said(Response::BadArguments(bad)), expected),
        (read, expected) => panic!("{read:?}, expected {expected:?}"),
    }
}

/// Returns status and text of a response.
fn said(response: Response) -> letter::Said {
    (response.status().line(), response.to_string())
}

fn by_the_letter(command: &Command) -> letter::Command<'_> {
    match command {
        Command::SetName(name) => letter::Command::SetName(name.as_str()),
        Command::PrivateMessage { to, text } => {
            letter::Command::PrivateMessage(to.as_str(), text.as_str())
        }
        Command::BroadcastMessage(text) => letter::Command::BroadcastMessage(text.as_str()),
        Command::ListNames { prefix } => letter::Command::ListNames(prefix.as_str()),
        Command::WatchPresence { is_on } => letter::Command::WatchPresence(*is_on),
        Command::RecentMessages { count } => letter::Command::RecentMessages(*count),
        Command::Ping(text) => letter::Command::Ping(text.as_ref().map(Printable::as_str)),
        Command::Help => letter::Command::Help,
        Command::Quit => letter::Command::Quit,
    }
}

/// Parses the only request in these bytes.
fn read_back(bytes: &[u8]) -> (Option<Token>, Command) {
    let mut reader = LineReader::new(bytes);
    let mut next = || match reader.next_line() {
        Ok(Some(Line::Whole(line))) => line.to_vec(),
        other => panic!("{other:?} is not the next of three lines"),
    };
    let [status, header, body] = [next(), next(), next()];
    assert!(matches!(reader.next_line(), Ok(None)));
    assert_eq!(
        check_status_line(Line::Whole(&status)),
        Ok::<(), BadStatusLine>(())
    );
    let header = match Header::parse(Line::Whole(&header)) {
        Ok(Header::Empty) => None,
        Ok(Header::Token(token)) => Some(token),
        other => panic!("{other:?} is not what a client sends"),
    };
    let body: Result<Printable, BadLine> = request::printable(Line::Whole(&body));
    let (word, arguments) = body.expect("a good line").split_word();
    let verb = Verb::parse(word.as_str()).expect("a command");
    let command = Command::parse(verb, arguments).expect("good arguments");
    (header, command)
}
