//! The wire side of the client: requests out, events in, both blocking.
//!
//! Knows no terminal, and nobody beyond it knows bytes. The invariant: the requests
//! that wait for an answer stand in the order in which they were written, so that the
//! next answer belongs to the first of them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::keepalive;
use crate::limits::{CONNECT_TIME, USER_TIMEOUT};
use crate::line::{Line, LineReader};
use crate::protocol::from_server::{Content, FromServer, Message, NotAMessage};
use crate::protocol::reply::Notice;
use crate::protocol::request::{Command, Request};
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::token::Token;

/// A connection to a server, for programs that want to talk to one.
///
/// Requests are pipelined: [`request`](Connection::request) sends and does not wait,
/// [`next_event`](Connection::next_event) waits for what comes, be it an answer or
/// somebody's message. The two may go on in two threads, by way of
/// [`requests`](Connection::requests), and should where many requests are sent: a
/// server reads no more from a client that does not read its answers.
///
/// Once the session has a token, it goes along with every request, so that the session
/// outlives a connection that breaks; see [`resume`](Connection::resume).
///
/// ```
/// use chat::client::{Connection, Event};
/// use chat::protocol::request::Command;
/// use chat::protocol::text::{Printable, Text};
/// use chat::protocol::username::Username;
/// # use chat::{options, server::Server};
/// # let Ok(options::Operation::Run { config, .. }) = options::parse(["-l", "127.0.0.1:0"])
/// #     else { panic!() };
/// # let server = Server::bind(config)?;
/// # let address = server.local_addrs()?[0];
/// # std::thread::spawn(|| server.run());
///
/// let mut connection = Connection::connect(address)?;
/// connection.request(&Command::SetName(Username::new("alice")?))?;
/// let text = Text::new(Printable::new("Tea at four? 🫖".as_bytes())?)?;
/// connection.request(&Command::BroadcastMessage(text))?;
/// connection.request(&Command::Quit)?;
///
/// let mut seen = Vec::new();
/// while let Some(event) = connection.next_event()? {
///     seen.push(match event {
///         Event::Answer(answer) => answer.text.as_str().to_owned(),
///         Event::Message(message) => format!("{}: {}", message.sender, message.text.as_str()),
///         Event::Notice(notice) => notice.to_string(),
///     });
/// }
/// assert_eq!(seen, ["You are alice", "Delivered to 0", "Goodbye"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Connection {
    lines: LineReader<Input>,
    requests: Requests,
}

/// The sending half of a [`Connection`], for any number of threads.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Shared>);

/// What comes from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a request of ours.
    Answer(Answer),
    /// Somebody's message.
    Message(Message),
    /// The server speaks unasked.
    Notice(Notice),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked; `None` if nothing was, which a server does that knows notices
    /// that this client does not.
    pub request: Option<Command>,
    /// How it went.
    pub status: Status,
    /// The same in words.
    pub text: Printable,
}

#[derive(Debug)]
struct Shared {
    socket: TcpStream,
    /// Held while a request is noted down and written, which may block for as long as
    /// the server does not read. Nobody takes it who has to read the answers.
    sending: Mutex<()>,
    asked: Mutex<Asked>,
}

/// What has been asked so far. Its lock is held for a moment only.
#[derive(Debug, Default)]
struct Asked {
    token: Option<Token>,
    unanswered: VecDeque<Unanswered>,
    /// No more can be asked.
    closed: bool,
}

/// A request that has been sent and not answered.
#[derive(Debug)]
pub struct Unanswered {
    /// What was asked.
    pub request: Command,
    /// Who waits for the answer, if it is not to be an event; who learns that there will
    /// be none when this is dropped.
    waiting: Option<Sender<Answer>>,
}

impl Connection {
    /// Connects to the first of the addresses that accepts, for each of which it waits
    /// ten seconds.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Connection> {
        let mut problem = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIME) {
                Ok(socket) => return Connection::new(socket),
                Err(e) => problem = e,
            }
        }
        Err(problem)
    }

    fn new(socket: TcpStream) -> io::Result<Connection> {
        // A request wants to leave at once, not to wait for the acknowledgement of the
        // last one.
        socket.set_nodelay(true)?;
        keepalive::detect_dead_peers(&socket, USER_TIMEOUT)?;
        let shared = Arc::new(Shared {
            socket,
            sending: Mutex::default(),
            asked: Mutex::default(),
        });
        Ok(Connection {
            lines: LineReader::new(Input(Arc::clone(&shared))),
            requests: Requests(shared),
        })
    }

    /// Sends a request. Blocks for as long as the server takes no more.
    pub fn request(&self, request: &Command) -> io::Result<()> {
        self.requests.request(request)
    }

    /// The sending half, for another thread.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// From now on the requests act for the session of this token. A `Set-name`, sent
    /// first of all, attaches that session to this connection (section 4).
    pub fn resume(&self, token: Token) {
        self.requests.0.asked.lock().token = Some(token);
    }

    /// Whatever the token was, the next request acts for the connection's own session.
    pub fn forget_token(&self) {
        self.requests.0.asked.lock().token = None;
    }

    /// The token of the session, once it has one.
    pub fn token(&self) -> Option<Token> {
        self.requests.0.asked.lock().token
    }

    /// How long [`next_event`](Connection::next_event) waits before it fails, after which
    /// the connection is of no more use; `None`, which it begins with, for as long as it
    /// takes.
    pub fn wait_at_most(&self, time: Option<Duration>) -> io::Result<()> {
        self.requests.0.socket.set_read_timeout(time)
    }

    #[cfg(test)]
    pub(super) fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.requests.0.socket.read_timeout()
    }

    /// Waits for what comes next. `None` at an orderly end; an error when the
    /// connection broke, or when what came is no message of this protocol
    /// ([`InvalidData`](io::ErrorKind::InvalidData)).
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        while let Some(message) = self.next_message()? {
            let event = match message.content {
                Content::Message(message) => Event::Message(message),
                Content::Notice(notice) => Event::Notice(notice),
                Content::Answer { status, text } => {
                    let mut asked = self.requests.0.asked.lock();
                    let unanswered = asked.unanswered.pop_front();
                    let (request, waiting) = match unanswered {
                        Some(Unanswered { request, waiting }) => (Some(request), waiting),
                        None => (None, None),
                    };
                    if status.is_success() && matches!(request, Some(Command::SetName(_))) {
                        asked.token = message.header;
                    }
                    drop(asked);
                    let answer = Answer {
                        request,
                        status,
                        text,
                    };
                    match waiting {
                        None => Event::Answer(answer),
                        // One place for one answer; who does not wait any more is not
                        // interested.
                        Some(waiting) => {
                            let _ = waiting.try_send(answer);
                            continue;
                        }
                    }
                }
            };
            return Ok(Some(event));
        }
        Ok(None)
    }

    fn next_message(&mut self) -> io::Result<Option<FromServer>> {
        let mut lines = [const { Vec::new() }; 3];
        for kept in &mut lines {
            match self.lines.next_line()? {
                Some(Line::Whole(line)) => kept.extend_from_slice(line),
                Some(Line::TooLong) => return Err(invalid(NotAMessage)),
                // A message that has begun and not ended by then is dropped.
                None => return Ok(None),
            }
        }
        let [status, header, data] = &lines;
        FromServer::parse([status, header, data].map(|line| Line::Whole(line)))
            .map(Some)
            .map_err(invalid)
    }
}

fn invalid(not_a_message: NotAMessage) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, not_a_message)
}

impl Requests {
    /// As [`Connection::request`]: its answer will be an event.
    ///
    /// Fails with [`NotConnected`](io::ErrorKind::NotConnected) if the connection had
    /// been closed before; after any other failure the request may have arrived.
    pub fn request(&self, request: &Command) -> io::Result<()> {
        self.send(request, None)
    }

    /// Sends a request whose answer goes to the receiver instead of being an event.
    /// Somebody has to read events for it to come; if the connection ends before, the
    /// receiver is disconnected.
    pub fn ask(&self, request: &Command) -> io::Result<Receiver<Answer>> {
        let (waiting, answer) = bounded(1);
        self.send(request, Some(waiting)).map(|()| answer)
    }

    /// Sends a request, to whomever the answer goes.
    pub(super) fn send(
        &self,
        request: &Command,
        waiting: Option<Sender<Answer>>,
    ) -> io::Result<()> {
        let _sending = self.0.sending.lock();
        let mut asked = self.0.asked.lock();
        if asked.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let bytes = Request::encode(asked.token, request);
        asked.unanswered.push_back(Unanswered {
            request: request.clone(),
            waiting,
        });
        drop(asked);
        let written = (&self.0.socket).write_all(&bytes);
        if written.is_err() {
            // What comes after it would certainly not arrive.
            self.0.asked.lock().closed = true;
        }
        written
    }

    /// Closes the connection, in the midst of whatever is under way, and gives the
    /// requests that have been sent and not answered, of which nobody knows what has
    /// become.
    pub fn close(&self) -> VecDeque<Unanswered> {
        let unanswered = {
            let mut asked = self.0.asked.lock();
            asked.closed = true;
            std::mem::take(&mut asked.unanswered)
        };
        let _ = self.0.socket.shutdown(Shutdown::Both);
        unanswered
    }
}

/// What an orderly end is told as.
pub const CLOSED: &str = "the server closed the connection";

/// What an error is about, without its number, which says nothing to most people.
pub fn reason(e: &io::Error) -> String {
    let reason = e.to_string();
    match reason.split_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => reason,
    }
}

/// The server's bytes.
struct Input(Arc<Shared>);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0.socket).read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, printable};
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::thread;

    fn ping(text: &str) -> Command {
        Command::Ping(Some(printable(text)))
    }

    /// A connection, and the server's end of it.
    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection::connect(listener.local_addr().unwrap()).unwrap();
        connection
            .wait_at_most(Some(Duration::from_secs(10)))
            .unwrap();
        (connection, listener.accept().unwrap().0)
    }

    /// Answers each `Ping`, until there are no more.
    fn answer_pings(socket: &TcpStream) {
        let mut lines = io::BufReader::new(socket).lines().map(Result::unwrap);
        while let (Some(_), Some(_), Some(body)) = (lines.next(), lines.next(), lines.next()) {
            let text = body.strip_prefix("Ping ").unwrap();
            let answer = format!("200 OK\r\n\r\nPong {text}\r\n");
            { socket }.write_all(answer.as_bytes()).unwrap();
        }
    }

    #[test]
    fn each_answer_belongs_to_its_request_however_many_threads_ask() {
        let (mut connection, socket) = pair();
        let server = thread::spawn(move || answer_pings(&socket));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let requests = connection.requests();
                thread::spawn(move || {
                    for number in 0..500 {
                        requests
                            .request(&ping(&format!("{thread} {number}")))
                            .unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..4 * 500 {
            let Some(Event::Answer(answer)) = connection.next_event().unwrap() else {
                panic!("an answer")
            };
            let Some(Command::Ping(Some(text))) = answer.request else {
                panic!("to a ping")
            };
            assert_eq!(answer.text.as_str(), format!("Pong {}", text.as_str()));
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(connection.requests().close().is_empty());
        server.join().unwrap();
    }

    #[test]
    fn who_asks_gets_the_answer_and_nobody_else_does() {
        let (mut connection, socket) = pair();
        let server = thread::spawn(move || answer_pings(&socket));
        let answer = connection.requests().ask(&ping("one")).unwrap();
        connection.request(&ping("two")).unwrap();
        let Some(Event::Answer(event)) = connection.next_event().unwrap() else {
            panic!("an answer")
        };
        assert_eq!(event.text.as_str(), "Pong two");
        assert_eq!(answer.try_recv().unwrap().text.as_str(), "Pong one");
        let never = connection.requests().ask(&ping("three")).unwrap();
        drop(connection.requests().close());
        assert!(never.recv().is_err());
        server.join().unwrap();
    }

    #[test]
    fn what_was_sent_and_not_answered_is_known_and_nothing_can_follow_it() {
        let (connection, _socket) = pair();
        connection.request(&ping("one")).unwrap();
        // From now on writing fails, whatever of it has arrived.
        connection
            .requests
            .0
            .socket
            .shutdown(Shutdown::Write)
            .unwrap();
        let broken = connection.request(&ping("two")).unwrap_err();
        assert_ne!(broken.kind(), io::ErrorKind::NotConnected);
        for _ in 0..2 {
            let closed = connection.request(&ping("three")).unwrap_err();
            assert_eq!(closed.kind(), io::ErrorKind::NotConnected);
        }
        let unanswered: Vec<_> = connection.requests().close().into_iter().collect();
        let requests: Vec<_> = unanswered.iter().map(|it| it.request.clone()).collect();
        assert_eq!(requests, [ping("one"), ping("two")]);
    }

    #[test]
    fn a_line_over_the_limit_is_no_message_of_a_server() {
        let (mut connection, mut socket) = pair();
        let line = "x".repeat(crate::limits::LINE + 1);
        write!(socket, "200 OK\r\n\r\n{line}\r\n").unwrap();
        let problem = connection.next_event().unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_token_is_that_of_the_last_name_that_was_given() {
        let (mut connection, mut socket) = pair();
        let [first, second] = [1, 2].map(|bits| Token::from_bits([bits; 16]));
        for (status, given, expected) in [
            (Status::Ok, first, first),
            (Status::Forbidden, second, first),
            (Status::NotModified, second, second),
        ] {
            connection
                .request(&Command::SetName(name("alice")))
                .unwrap();
            let header = String::from_utf8(given.hex().to_vec()).unwrap();
            write!(socket, "{status}\r\n{header}\r\nwhatever\r\n").unwrap();
            connection.next_event().unwrap();
            assert!(connection.token() == Some(expected), "after {status}");
        }
    }
}
