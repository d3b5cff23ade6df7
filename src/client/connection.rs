//! The wire side of the client: requests out, events in, both blocking.
//!
//! Does not know a terminal. No other module of the client knows bytes. Invariant: the
//! requests that wait for an answer are in the order in which they were written, so the
//! next answer belongs to the first of them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, connect_unspec, send};

use super::watch::Watch;
use crate::limits::{LOG_IN_TIMEOUT, SILENCE_CHECK_INTERVAL, USER_TIMEOUT};
use crate::net::keepalive;
use crate::net::line_reader::LineReader;
use crate::protocol::framing::Line;
use crate::protocol::reply::Notice;
use crate::protocol::request::{Command, Request};
use crate::protocol::server_message::{Content, MalformedMessage, Message, ServerMessage};
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
/// # use chat::server::{Server, options};
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
    asked: Mutex<PendingRequests>,
}

/// What has been asked so far. Its lock is held for a moment only.
#[derive(Debug, Default)]
struct PendingRequests {
    token: Option<Token>,
    unanswered: VecDeque<PendingRequest>,
    /// No more can be asked.
    closed: bool,
}

/// A request that has been sent and not answered.
#[derive(Debug)]
pub struct PendingRequest {
    /// What was asked.
    pub request: Command,
    /// When it was sent.
    sent: Instant,
    /// Who waits for the answer, if it is not to be an event; who learns that there will
    /// be none when this is dropped.
    waiting: Option<Sender<Answer>>,
}

impl Connection {
    /// Connects to the first of the addresses that accepts, within ten seconds.
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Connection> {
        Connection::connect_until(address, Instant::now() + LOG_IN_TIMEOUT)
    }

    /// The same, until this moment. Each address has its share of the time.
    pub(super) fn connect_until(
        address: impl ToSocketAddrs,
        deadline: Instant,
    ) -> io::Result<Connection> {
        let mut problem = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let addresses: Vec<_> = address.to_socket_addrs()?.collect();
        for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let rest = deadline.saturating_duration_since(Instant::now());
            let share = rest / u32::try_from(left).unwrap_or(u32::MAX);
            // No time at all is an error of the caller.
            match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
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
            lines: LineReader::new(Input {
                shared: Arc::clone(&shared),
                deadline: None,
                watch: None,
            }),
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

    /// Sets the moment from which on [`next_event`](Connection::next_event) fails, a second
    /// later at most, whatever comes until then. Afterwards the connection is of no more
    /// use. `None`, the initial value, is never.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.lines.source_mut().deadline = deadline;
        self.set_read_timeout()
    }

    /// From now on asks a silent server for a sign of life, and counts the connection as
    /// lost if none comes: [`next_event`](Connection::next_event) fails then. `on_silence`
    /// is called once when an answer is late.
    pub fn watch(&mut self, on_silence: impl FnMut() + Send + 'static) -> io::Result<()> {
        self.lines.source_mut().watch = Some(Watch::new(Instant::now(), Box::new(on_silence)));
        self.set_read_timeout()
    }

    fn set_read_timeout(&mut self) -> io::Result<()> {
        let input = self.lines.source_mut();
        let wakes = input.deadline.is_some() || input.watch.is_some();
        let interval = wakes.then_some(SILENCE_CHECK_INTERVAL);
        input.shared.socket.set_read_timeout(interval)
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
                        Some(PendingRequest {
                            request, waiting, ..
                        }) => (Some(request), waiting),
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

    fn next_message(&mut self) -> io::Result<Option<ServerMessage>> {
        let mut lines = [const { Vec::new() }; 3];
        for kept in &mut lines {
            match self.lines.next_line()? {
                Some(Line::Whole(line)) => kept.extend_from_slice(line),
                Some(Line::TooLong) => return Err(invalid(MalformedMessage)),
                // A message that has begun and not ended by then is dropped.
                None => return Ok(None),
            }
        }
        let [status, header, data] = &lines;
        ServerMessage::parse([status, header, data].map(|line| Line::Whole(line)))
            .map(Some)
            .map_err(invalid)
    }
}

fn invalid(not_a_message: MalformedMessage) -> io::Error {
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
        asked.unanswered.push_back(PendingRequest {
            request: request.clone(),
            sent: Instant::now(),
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
    pub fn close(&self) -> VecDeque<PendingRequest> {
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
pub fn without_os_code(e: &io::Error) -> String {
    let reason = e.to_string();
    match reason.split_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => reason,
    }
}

/// The server's bytes.
struct Input {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
    watch: Option<Watch>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let result = (&self.shared.socket).read(buffer);
            let now = Instant::now();
            match (&result, &mut self.watch) {
                (Err(e), watch) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Some(watch) = watch {
                        let due = self
                            .shared
                            .asked
                            .lock()
                            .unanswered
                            .front()
                            .map(|it| it.sent);
                        match watch.is_ping_due(now, due) {
                            Ok(true) => self.shared.ping(),
                            Ok(false) => {}
                            Err(e) => {
                                self.shared.reset();
                                return Err(e);
                            }
                        }
                    }
                }
                (Ok(_), Some(watch)) => {
                    watch.heard(now);
                    return result;
                }
                _ => return result,
            }
        }
    }
}

impl Shared {
    /// Breaks the connection. A server that was frozen would take an orderly end for the
    /// user's leaving, and end the session that is to be resumed.
    fn reset(&self) {
        if connect_unspec(&self.socket).is_err() {
            // Another thread is blocked in writing, so an orderly end cannot arrive before
            // the reset at the close.
            let _ = set_socket_linger(&self.socket, Some(Duration::ZERO));
        }
    }

    /// Sends a `Ping` whose answer is dropped. Never blocks: a request that is being written
    /// or does not fit asks for an answer as well.
    fn ping(&self) {
        let Some(_sending) = self.sending.try_lock() else {
            return;
        };
        let mut asked = self.asked.lock();
        let bytes = Request::encode(asked.token, &Command::Ping(None));
        match send(
            &self.socket,
            &bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Ok(count) if count == bytes.len() => asked.unanswered.push_back(PendingRequest {
                request: Command::Ping(None),
                sent: Instant::now(),
                waiting: Some(bounded(1).0),
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            // What comes after a part of a request would not be understood.
            Ok(_) | Err(_) => asked.closed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, printable};
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    fn ping(text: &str) -> Command {
        Command::Ping(Some(printable(text)))
    }

    /// A connection, and the server's end of it.
    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::connect(listener.local_addr().unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        connection.set_deadline(Some(deadline)).unwrap();
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
    fn responses_match_requests_of_concurrent_threads() {
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
    fn ask_returns_the_response_only_to_its_caller() {
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
    fn failed_write_stops_sending_and_close_returns_unanswered() {
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
    fn deadline_expires_while_server_sends_single_bytes() {
        let (mut connection, mut socket) = pair();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(300);
        connection.set_deadline(Some(deadline)).unwrap();
        thread::spawn(move || {
            while socket.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let problem = connection.next_event().unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < 5 * SILENCE_CHECK_INTERVAL);
    }

    #[test]
    fn reset_aborts_connection_without_end_of_input() {
        let (connection, mut socket) = pair();
        connection.requests.0.reset();
        drop(connection.requests().close());
        drop(connection);
        let end = socket.read(&mut [0; 8]).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn response_to_watch_ping_is_not_an_event() {
        let (mut connection, socket) = pair();
        let server = thread::spawn(move || {
            let mut lines = BufReader::new(&socket).lines().map_while(Result::ok);
            assert_eq!(lines.nth(2).as_deref(), Some("Ping"));
            let both = b"200 OK\r\n\r\nPong\r\n200 OK\r\n\r\nPong two\r\n";
            (&socket).write_all(both).unwrap();
        });
        connection.requests.0.ping();
        connection.request(&ping("two")).unwrap();
        let Some(Event::Answer(answer)) = connection.next_event().unwrap() else {
            panic!("an answer")
        };
        assert_eq!(answer.request, Some(ping("two")));
        server.join().unwrap();
    }

    #[test]
    fn server_line_over_the_limit_is_invalid_data() {
        let (mut connection, mut socket) = pair();
        let line = "x".repeat(crate::limits::MAX_LINE + 1);
        write!(socket, "200 OK\r\n\r\n{line}\r\n").unwrap();
        let problem = connection.next_event().unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn token_changes_only_with_an_accepted_name() {
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
