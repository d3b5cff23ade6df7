//! A connection to a server: requests out, events in, both with blocking calls.
//!
//! This module has the receiving half. The sending half is in [`requests`](super::requests).
//!
//! Does not know a terminal. No module of the client but these two knows the bytes of the
//! protocol. Invariant: *a response belongs to the first pending request*, because the server
//! answers requests in the order in which they were written.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::requests::{PendingRequest, Requests, Shared};
use super::watch::SilenceWatch;
use crate::limits::{LOG_IN_TIMEOUT, SILENCE_CHECK_INTERVAL, USER_TIMEOUT};
use crate::net::keepalive;
use crate::net::line_reader::LineReader;
use crate::protocol::framing::Line;
use crate::protocol::presence::Presence;
use crate::protocol::reply::Notice;
use crate::protocol::request::Command;
use crate::protocol::server_message::{Content, MalformedMessage, Message, Recent, ServerMessage};
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::token::Token;

/// A connection to a server, also for programs other than this client.
///
/// Requests are pipelined. [`request`](Connection::request) sends a request and does not wait
/// for the response. [`next_event`](Connection::next_event) blocks until a response, a message
/// or a notice arrives.
///
/// One thread can send while another receives, with [`requests`](Connection::requests). A
/// program that sends many requests needs two threads: a server stops reading from a client
/// that does not read its responses.
///
/// After the server has given the session a token, every request carries it. So the session
/// can outlive a lost connection, see [`resume`](Connection::resume).
///
/// ```
/// use chat::client::{Connection, Event};
/// use chat::protocol::request::Command;
/// use chat::protocol::text::{Printable, Text};
/// use chat::protocol::username::Username;
/// # use chat::server::{Server, options};
/// # let Ok(options::Operation::Run { config, .. }) = options::parse(["-l", "127.0.0.1:0"], None)
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
///         Event::Response(response) => response.text.as_str().to_owned(),
///         Event::Message(message) => format!("{}: {}", message.sender, message.text.as_str()),
///         Event::Notice(notice) => notice.to_string(),
///         // Only after `Watch-presence` and `Recent-messages`.
///         Event::Presence(_) | Event::Recent(_) => continue,
///     });
/// }
/// assert_eq!(seen, ["You are alice", "Delivered to 0", "Goodbye"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Connection {
    lines: LineReader<SocketReader>,
    requests: Requests,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The response to a request of this client.
    Response(ServerResponse),
    /// A message from another user.
    Message(Message),
    /// A presence delivery: a user joined, left or changed its name.
    Presence(Presence),
    /// A kept broadcast, which precedes the response to `Recent-messages`.
    Recent(Recent),
    /// A notice, which the server sends unasked.
    Notice(Notice),
}

/// The response to a request, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerResponse {
    /// The request. `None` if no request was pending: a newer server may send notices that
    /// this client does not know.
    pub request: Option<Command>,
    /// The status code.
    pub status: Status,
    /// The text for users.
    pub text: Printable,
    /// True if a [`ReconnectingClient`](super::reconnecting::ReconnectingClient) has sent the
    /// request without its user.
    pub is_automatic: bool,
}

impl ServerResponse {
    /// Returns the number of names that a response to `List-names` reports.
    pub fn name_count(&self) -> usize {
        self.text.split_word().0.as_str().parse().unwrap_or(0)
    }
}

impl Connection {
    /// Connects to the first of the addresses that accepts, within [`LOG_IN_TIMEOUT`].
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<Connection> {
        Connection::connect_until(address, Instant::now() + LOG_IN_TIMEOUT)
    }

    /// Connects like [`connect`](Connection::connect), until a deadline. Each address gets an
    /// equal share of the time that is left.
    pub(super) fn connect_until(
        address: impl ToSocketAddrs,
        deadline: Instant,
    ) -> io::Result<Connection> {
        let mut problem = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let addresses: Vec<_> = address.to_socket_addrs()?.collect();
        for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let rest = deadline.saturating_duration_since(Instant::now());
            let share = rest / u32::try_from(left).unwrap_or(u32::MAX);
            // `connect_timeout` refuses a timeout of zero.
            match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
                Ok(socket) => return Connection::new(socket),
                Err(e) => problem = e,
            }
        }
        Err(problem)
    }

    fn new(socket: TcpStream) -> io::Result<Connection> {
        // Otherwise a request waits until the server acknowledges the one before it.
        socket.set_nodelay(true)?;
        keepalive::detect_dead_peers(&socket, USER_TIMEOUT)?;
        let shared = Arc::new(Shared::new(socket));
        Ok(Connection {
            lines: LineReader::new(SocketReader {
                shared: Arc::clone(&shared),
                deadline: None,
                watch: None,
            }),
            requests: Requests(shared),
        })
    }

    /// Sends a request. Blocks while the server does not read.
    pub fn request(&self, request: &Command) -> io::Result<()> {
        self.requests.request(request)
    }

    /// Returns the sending half, for another thread.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Makes all later requests act for the session of this token. A `Set-name`, sent first,
    /// attaches that session to this connection (section 4).
    ///
    /// An access token goes into the header of the first `Set-name` in the same way. The
    /// response replaces it by the token of the new session.
    pub fn resume(&self, token: Token) {
        self.requests.0.pending.lock().token = Some(token);
    }

    /// Makes the next request act for the connection's own session, whatever the token was.
    pub fn forget_token(&self) {
        self.requests.0.pending.lock().token = None;
    }

    /// Returns the token of the session, if it has one yet.
    pub fn token(&self) -> Option<Token> {
        self.requests.0.pending.lock().token
    }

    /// Sets a deadline for [`next_event`](Connection::next_event). `None`, the initial value,
    /// means no deadline.
    ///
    /// After the deadline `next_event` fails, at most a second late, also if bytes still
    /// arrive. The connection cannot be used after that failure.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        self.lines.source_mut().deadline = deadline;
        self.set_read_timeout()
    }

    /// Starts to send a `Ping` to a server that is silent.
    ///
    /// If the server stays silent after that, the connection counts as lost and
    /// [`next_event`](Connection::next_event) fails. `on_silence` is called once when a
    /// response is late.
    pub fn detect_silence(&mut self, on_silence: impl FnMut() + Send + 'static) -> io::Result<()> {
        let watch = SilenceWatch::new(Instant::now(), Box::new(on_silence));
        self.lines.source_mut().watch = Some(watch);
        self.set_read_timeout()
    }

    fn set_read_timeout(&mut self) -> io::Result<()> {
        let reader = self.lines.source_mut();
        let wakes = reader.deadline.is_some() || reader.watch.is_some();
        let interval = wakes.then_some(SILENCE_CHECK_INTERVAL);
        reader.shared.socket.set_read_timeout(interval)
    }

    #[cfg(test)]
    pub(super) fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.requests.0.socket.read_timeout()
    }

    /// Blocks until the next event, or returns `None` at the end of input.
    ///
    /// Fails if the connection is lost, or with [`InvalidData`](io::ErrorKind::InvalidData) if
    /// the server sends something else than a message of this protocol.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        while let Some(message) = self.next_message()? {
            let event = match message.content {
                Content::Message(message) => Event::Message(message),
                Content::Presence(change) => Event::Presence(change),
                Content::Recent(recent) => Event::Recent(recent),
                // A later version of the protocol may have more kinds.
                Content::OtherIncoming => continue,
                Content::Notice(notice) => Event::Notice(notice),
                Content::Answer { status, text } => {
                    let mut pending = self.requests.0.pending.lock();
                    let (request, response_tx, is_automatic) = match pending.queue.pop_front() {
                        Some(PendingRequest {
                            request,
                            response_tx,
                            is_automatic,
                            ..
                        }) => (Some(request), response_tx, is_automatic),
                        None => (None, None, false),
                    };
                    if status.is_success() && matches!(request, Some(Command::SetName(_))) {
                        pending.token = message.header;
                    }
                    drop(pending);
                    let response = ServerResponse {
                        request,
                        status,
                        text,
                        is_automatic,
                    };
                    match response_tx {
                        None => Event::Response(response),
                        Some(response_tx) => {
                            // The channel has room for the one response. So this fails only
                            // if the receiver was dropped, and then no thread waits.
                            let _ = response_tx.try_send(response);
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
                // An incomplete message at the end of input is dropped.
                None => return Ok(None),
            }
        }
        let [status, header, data] = &lines;
        ServerMessage::parse([status, header, data].map(|line| Line::Whole(line)))
            .map(Some)
            .map_err(invalid)
    }
}

fn invalid(malformed: MalformedMessage) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}

/// The text that reports the end of input.
pub const CLOSED: &str = "the server closed the connection";

/// Returns the text of an error without its OS error number, which few users understand.
pub fn without_os_code(e: &io::Error) -> String {
    let reason = e.to_string();
    match reason.split_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => reason,
    }
}

/// The bytes from the server, with a deadline and a watch for silence.
struct SocketReader {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
    watch: Option<SilenceWatch>,
}

impl Read for SocketReader {
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
                        let first_sent = self.shared.first_pending_since();
                        match watch.is_ping_due(now, first_sent) {
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
                    watch.on_input(now);
                    return result;
                }
                _ => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, printable};
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    fn ping(text: &str) -> Command {
        Command::Ping(Some(printable(text)))
    }

    /// Returns a connection and the server's socket.
    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::connect(listener.local_addr().unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        connection.set_deadline(Some(deadline)).unwrap();
        (connection, listener.accept().unwrap().0)
    }

    /// Answers each `Ping` until the end of input.
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
            let Some(Event::Response(response)) = connection.next_event().unwrap() else {
                panic!("no response")
            };
            let Some(Command::Ping(Some(text))) = response.request else {
                panic!("no response to a ping")
            };
            assert_eq!(response.text.as_str(), format!("Pong {}", text.as_str()));
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
        let response_rx = connection.requests().ask(&ping("one")).unwrap();
        connection.request(&ping("two")).unwrap();
        let Some(Event::Response(event)) = connection.next_event().unwrap() else {
            panic!("no response")
        };
        assert_eq!(event.text.as_str(), "Pong two");
        assert_eq!(response_rx.try_recv().unwrap().text.as_str(), "Pong one");
        let never = connection.requests().ask(&ping("three")).unwrap();
        drop(connection.requests().close());
        assert!(never.recv().is_err());
        server.join().unwrap();
    }

    #[test]
    fn failed_write_stops_sending_and_close_returns_unanswered() {
        let (connection, _socket) = pair();
        connection.request(&ping("one")).unwrap();
        // Makes the next write fail.
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
        let Some(Event::Response(response)) = connection.next_event().unwrap() else {
            panic!("no response")
        };
        assert_eq!(response.request, Some(ping("two")));
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
