//! The target `connection`: the whole stream of one client, up to its end of input.
//!
//! The real server serves a loopback connection: [`connection::serve`] runs on a thread, with a
//! writer thread. Only the accept loop is missing. Two lingering sessions exist before, so that
//! the client has recipients and sessions to resume. They have short queues, and the tokens of
//! the guide's conversation.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use chat::limits;
use chat::outbox::Attachment;
use chat::outbox::direct_write::{DirectWrites, PendingWrites};
use chat::protocol::framing::Line;
use chat::protocol::reply::Notice;
use chat::protocol::server_message::{Content, ServerMessage};
use chat::protocol::token::Token;
use chat::protocol::username::Username;
use chat::server::connection::{self, Connection};
use chat::server::rate_limit::RateLimiter;
use chat::server::refusal::Refuser;
use chat::sessions::Sessions;
use crossbeam_channel::never;
use log::{LevelFilter, Log, Metadata, Record};

use crate::model::{Model, Received};
use crate::{choose, cut, letter};

/// The names and tokens of the lingering sessions.
pub const RESIDENTS: [(&str, &str); 2] = [
    ("bob", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
    ("dora", "9c8b7a69584736251403f2e1d0c9b8a7"),
];

/// The queue limit of each lingering session, in bytes: two or three short deliveries.
pub const RESIDENT_QUEUE: usize = 256;

/// The values of `--history`. The input determines which one holds.
const HISTORIES: [usize; 4] = [200, 60, 3, 0];

/// The time limit of a read. A server that sends nothing for this time hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

const WRITE_TIMEOUT: Duration = Duration::from_secs(limits::DEFAULT_WRITE_TIMEOUT as u64);

/// Serves a client that sends these bytes, and compares the received messages with the
/// expected ones.
pub fn check(stream: &[u8]) {
    let history = HISTORIES[choose(stream, 41) % HISTORIES.len()];
    let sessions = Sessions::new(10, None, history);
    for (number, (name, token)) in (1..).zip(RESIDENTS) {
        settle(&sessions, number, name, token);
    }
    log().clear();
    let received = converse(&sessions, stream);

    let (text, questions) = letter::telnet(stream);
    let (messages, answers) = split(&received);
    let mut model = Model::new(history);
    let server_closed = model.check(&letter::lines(&text), &messages);
    assert!(
        answers == questions || server_closed && questions.starts_with(&answers),
        "the telnet answers are {answers:?}, expected {questions:?}"
    );

    // The client's own session has ended with its connection.
    let mut names: Vec<String> = sessions
        .names("", usize::MAX)
        .0
        .iter()
        .map(Username::to_string)
        .collect();
    names.sort();
    assert_eq!(names, model.names_left());
    assert!(
        sessions.close().is_empty(),
        "the connection is still registered"
    );
    check_log(&model);
}

/// Makes a lingering session, as after the loss of its connection.
fn settle(sessions: &Arc<Sessions>, number: u64, name: &str, token: &str) {
    // Shut down after the first session, so that nothing can be written to it.
    static LOST: OnceLock<Arc<TcpStream>> = OnceLock::new();
    let socket = LOST.get_or_init(|| Arc::new(connect().1));
    let attachment = attachment(number, Arc::clone(socket), RESIDENT_QUEUE);
    let mut registration = sessions.register(attachment, None).expect("there is room");
    let token = Token::from_hex(token).expect("a token");
    let name = Username::new(name).expect("a name");
    let pending = PendingWrites::new(DirectWrites::new(false));
    let claimed = registration.claim(&name, token, &pending);
    assert!(claimed.is_ok_and(|ended| ended.is_empty()));
    // Otherwise the session could not linger.
    sessions.use_token(token).expect("a session");
    registration.attachment().abort();
    registration.writer.end();
    let broken = registration.break_session(true, &pending);
    assert!(matches!(broken, Some((_, true))));
}

/// Returns the client's and the server's end of a connection.
fn connect() -> (TcpStream, TcpStream, SocketAddr) {
    static LISTENER: OnceLock<TcpListener> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let client =
        TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (socket, peer) = listener.accept().expect("the same connection");
    (client, socket, peer)
}

fn attachment(number: u64, socket: Arc<TcpStream>, queue_size: usize) -> Attachment {
    Attachment::new(number, socket, queue_size, WRITE_TIMEOUT, never())
}

/// Returns all that the server sends to a client that sends these bytes and half-closes.
fn converse(sessions: &Arc<Sessions>, stream: &[u8]) -> Vec<u8> {
    static REFUSER: OnceLock<Refuser> = OnceLock::new();
    let refuser = REFUSER.get_or_init(|| Refuser::start().expect("a thread"));
    let (mut client, socket, peer) = connect();
    client.set_nodelay(true).expect("an open socket");
    client
        .set_read_timeout(Some(READ_TIMEOUT))
        .expect("a timeout");
    client
        .set_write_timeout(Some(READ_TIMEOUT))
        .expect("a timeout");

    let now = Instant::now();
    let attachment = attachment(3, Arc::new(socket), limits::DEFAULT_QUEUE);
    let connection = Connection {
        peer,
        registration: sessions.register(attachment, None).expect("there is room"),
        accepted_at: now,
        login_timeout: Duration::from_secs(limits::DEFAULT_LOGIN_TIMEOUT.into()),
        rate_limiter: RateLimiter::new(0, 1, now),
        may_linger: true,
        direct_writes: DirectWrites::new(choose(stream, 0).is_multiple_of(2)),
        refuser: refuser.clone(),
    };
    thread::scope(|scope| {
        scope.spawn(|| connection::serve(Box::new(connection)));
        // The kernel's buffers hold more than the fuzzer sends, so no write blocks for ever.
        for piece in cut(stream) {
            client.write_all(piece).expect("the server reads");
        }
        client.shutdown(Shutdown::Write).expect("an open socket");
        let mut received = Vec::new();
        client
            .read_to_end(&mut received)
            .expect("an end without a reset");
        received
    })
}

/// Splits the server's bytes into messages and telnet answers, which may be between messages.
fn split(mut bytes: &[u8]) -> (Vec<Received>, Vec<u8>) {
    let (mut messages, mut answers) = (Vec::new(), Vec::new());
    while !bytes.is_empty() {
        if let [255, 252, option, after @ ..] = bytes {
            answers.extend([255, 252, *option]);
            bytes = after;
            continue;
        }
        let mut next = || {
            let end = bytes.windows(2).position(|end| end == b"\r\n");
            let (line, after) = bytes.split_at(end.expect("a line that ends in CRLF"));
            bytes = &after[2..];
            assert!(line.len() <= 8_512, "{} bytes", line.len());
            letter::good(Some(line)).expect("a good line")
        };
        messages.push(parsed([next(), next(), next()]));
    }
    (messages, answers)
}

/// Parses a message with the client's parser, and returns it.
fn parsed([status, header, data]: [&str; 3]) -> Received {
    let lines = [status, header, data].map(|line| Line::Whole(line.as_bytes()));
    let message = ServerMessage::parse(lines).expect("a message of this protocol");
    assert_eq!(message.header, Token::from_hex(header));
    let (header, data) = (header.to_owned(), data.to_owned());
    match message.content {
        Content::Message(_) | Content::Presence(_) => Received::Delivery { header, data },
        Content::Recent(_) => {
            let mut words = data.splitn(3, ' ');
            let [kind, time, message] = [(); 3].map(|()| words.next().expect("three parts"));
            assert!(letter::is_time(time), "{data:?}");
            let data = format!("{kind} TIME {message}");
            Received::Recent { header, data }
        }
        Content::OtherIncoming => panic!("unexpected kind of message {data:?}"),
        Content::Notice(Notice::Missed(count)) => Received::Missed { header, count },
        Content::Notice(notice) => panic!("unexpected notice {notice}"),
        Content::Answer { status, text } => {
            assert_eq!(text.as_str(), data);
            let status = status.line();
            Received::Answer {
                status,
                header,
                data,
            }
        }
    }
}

/// Checks that the log has no control characters and no token, except a token that is also a
/// name.
fn check_log(model: &Model) {
    for line in log().lines() {
        assert!(!line.contains(letter::is_forbidden), "{line:?}");
        let line = without_escapes(line);
        for token in model.tokens() {
            let is_name = || model.names_taken().any(|name| name.contains(token));
            assert!(
                !line.contains(token) || is_name(),
                "a token is in the log: {line}"
            );
        }
    }
}

/// Removes `\x..` from a line, because its digits could look like the first ones of a token.
fn without_escapes(line: &str) -> String {
    let mut parts = line.split("\\x");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push('?');
        shown.push_str(part.get(2..).unwrap_or_default());
    }
    shown
}

/// Returns the log, at the level trace.
fn log() -> std::sync::MutexGuard<'static, String> {
    struct Lines(Mutex<String>);
    impl Log for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            use std::fmt::Write as _;
            let mut lines = self.0.lock().expect("no panic");
            let _ = writeln!(lines, "{}", record.args());
        }

        fn flush(&self) {}
    }
    static LINES: OnceLock<&'static Lines> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Box::leak(Box::new(Lines(Mutex::default())));
        log::set_logger(lines).expect("no other logger");
        log::set_max_level(LevelFilter::Trace);
        lines
    });
    lines.0.lock().expect("no panic")
}
