//! A client that speaks the protocol line by line and records the dialogue.
//!
//! Does not know the server's process. Invariant: a failed expectation prints the dialogue.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::{DEADLINE, is_spread};

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) status: String,
    pub(crate) header: String,
    pub(crate) data: String,
}

/// The position at which a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    BetweenMessages,
    InAMessage,
}

/// A client that speaks the protocol line by line and records the dialogue.
pub(crate) struct Client {
    socket: BufReader<TcpStream>,
    /// The token of its session. Empty before the first name.
    pub(crate) token: String,
    /// Whether [`Client::next`] skips deliveries.
    pub(crate) ignore_deliveries: bool,
    dialogue: String,
    pings: u32,
}

/// The node of each session of a spread run, by its token.
static HOMES: Mutex<BTreeMap<String, SocketAddr>> = Mutex::new(BTreeMap::new());

/// Returns the address of the node that gave this token to a client.
pub(super) fn home_of(token: &str) -> Option<SocketAddr> {
    HOMES.lock().expect("no panic").get(token).copied()
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("the server accepts");
        socket.set_nodelay(true).expect("an open socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Client {
            socket: BufReader::new(socket),
            token: String::new(),
            ignore_deliveries: false,
            dialogue: String::new(),
            pings: 0,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(e) = self.try_send_raw(bytes) {
            self.fail(&format!("cannot send: {e}"));
        }
    }

    /// Sends bytes on a connection that the server may have closed.
    pub(crate) fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        let shown = bytes[..bytes.len().min(200)].escape_ascii();
        // A client of the soak runs for minutes.
        if self.dialogue.len() > 1024 * 1024 {
            "(the beginning is left out)\n".clone_into(&mut self.dialogue);
        }
        let _ = writeln!(self.dialogue, "> {shown}");
        self.stream().write_all(bytes)
    }

    /// Sends a request for the connection's own session.
    #[track_caller]
    pub(crate) fn send(&mut self, body: &str) {
        self.send_raw(format!("\r\n\r\n{body}\r\n"));
    }

    /// Sends a request for the session of a token.
    #[track_caller]
    pub(crate) fn send_as(&mut self, token: &str, body: &str) {
        self.send_raw(format!("\r\n{token}\r\n{body}\r\n"));
    }

    /// Sends a request with its token, so that the session may linger.
    #[track_caller]
    pub(crate) fn use_token(&mut self) {
        let token = self.token.clone();
        self.send_as(&token, "Ping");
        self.expect("200 OK", "Pong");
    }

    /// Sets its first name and stores the token.
    #[track_caller]
    pub(crate) fn set_name(&mut self, name: &str) {
        self.send(&format!("Set-name {name}"));
        let message = self.next();
        if message.status != "200 OK" || message.data != format!("You are {name}") {
            self.fail(&format!("expected the name {name}, got {message:?}"));
        }
        if !is_token(&message.header) {
            self.fail("the header is not a token");
        }
        self.token = message.header;
        if is_spread()
            && let Ok(node) = self.stream().peer_addr()
        {
            let mut homes = HOMES.lock().expect("no panic");
            homes.insert(self.token.clone(), node);
        }
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Message {
        loop {
            let [status, header, data] = [(); 3].map(|()| self.next_line());
            if self.ignore_deliveries && data.starts_with("Incoming-message ") {
                continue;
            }
            return Message {
                status,
                header,
                data,
            };
        }
    }

    #[track_caller]
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = Vec::new();
        let result = self.socket.read_until(b'\n', &mut line);
        let _ = writeln!(
            self.dialogue,
            "< {}",
            String::from_utf8_lossy(&line).trim_end()
        );
        match (result, line.strip_suffix(b"\r\n")) {
            (Ok(_), Some(line)) => match String::from_utf8(line.to_vec()) {
                Ok(line) => line,
                Err(_) => self.fail("the server sent invalid UTF-8"),
            },
            (Ok(0), None) => self.fail("the server closed the connection"),
            (Ok(_), None) => self.fail("the line does not end in CRLF"),
            (Err(e), _) => self.fail(&format!("cannot read: {e}")),
        }
    }

    /// Expects a message with the client's own token, if it has one.
    #[track_caller]
    pub(crate) fn expect(&mut self, status: &str, data: &str) {
        let token = self.token.clone();
        self.expect_with(&token, status, data);
    }

    /// Expects a message with this header.
    #[track_caller]
    pub(crate) fn expect_with(&mut self, header: &str, status: &str, data: &str) {
        let message = self.next();
        if (&*message.status, &*message.header, &*message.data) != (status, header, data) {
            self.fail(&format!("expected {status:?}, {header:?}, {data:?}"));
        }
    }

    /// Expects a delivery.
    #[track_caller]
    pub(crate) fn expect_delivery(&mut self, scope: &str, sender: &str, text: &str) {
        self.expect(
            "200 OK",
            &format!("Incoming-message {scope} {sender} {text}"),
        );
    }

    /// Expects a delivery of presence.
    #[track_caller]
    pub(crate) fn expect_presence(&mut self, change: &str) {
        self.expect("200 OK", &format!("Incoming-presence {change}"));
    }

    /// Sends a request and expects its response.
    #[track_caller]
    pub(crate) fn ask(&mut self, body: &str, status: &str, data: &str) {
        self.send(body);
        self.expect(status, data);
    }

    /// Waits until the server has executed all earlier requests of this client.
    ///
    /// Fails if a message arrives that the test has not read.
    #[track_caller]
    pub(crate) fn barrier(&mut self) {
        self.pings += 1;
        let text = format!("barrier {}", self.pings);
        self.ask(&format!("Ping {text}"), "200 OK", &format!("Pong {text}"));
    }

    /// Sends numbered messages to a client that does not read, until its queue is full.
    ///
    /// The queue fills after the kernel's buffers. Later the kernel may accept a little more,
    /// when it probes the window, but not another MiB.
    #[track_caller]
    pub(crate) fn fill_queue(&mut self, name: &str) -> Filled {
        let (mut queued, mut refused) = (Vec::new(), 0);
        let mut full_since = Instant::now();
        for number in 0.. {
            self.send(&format!("Private-message {name} {}", filling(number)));
            match &*self.next().data {
                data if data == format!("Delivered to {name}") => {
                    queued.push(number);
                    full_since = Instant::now();
                }
                data if data == format!("{name} cannot take more messages now") => refused += 1,
                data => self.fail(data),
            }
            if full_since.elapsed() > Duration::from_millis(100) {
                break;
            }
        }
        Filled { queued, refused }
    }

    /// Half-closes the connection: the server sees the end of input.
    pub(crate) fn close_input(&self) {
        self.stream()
            .shutdown(Shutdown::Write)
            .expect("an open socket");
    }

    /// Expects the end of the connection without a reset and without another message.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        match self.rest() {
            Ok(rest) if rest.is_empty() || self.ignore_deliveries && are_deliveries(&rest) => {}
            Ok(rest) => self.fail(&format!("expected the end, got {}", rest.escape_ascii())),
            Err(e) => self.fail(&format!("expected the end, got {e}")),
        }
    }

    /// Expects the end of the connection, and that no reset follows it.
    ///
    /// Without a reset, the server has read all input of the client. On another network, a
    /// reset can overtake the last message, which is then lost.
    #[track_caller]
    pub(crate) fn expect_end_and_no_reset(&mut self) {
        self.expect_end();
        if self.stream().peer_addr().is_err() {
            self.fail("the server has reset the connection");
        }
    }

    /// Reads all that arrives before the end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Returns the next message, or `None` at the end without a reset.
    #[track_caller]
    pub(crate) fn next_or_end(&mut self) -> Option<Message> {
        match self.socket.fill_buf() {
            Ok([]) => None,
            Ok(_) => Some(self.next()),
            Err(e) => self.fail(&format!("cannot read: {e}")),
        }
    }

    /// Returns the next message, or the position of the end or of a reset.
    #[track_caller]
    pub(crate) fn next_or_ended(&mut self) -> Result<Message, Ended> {
        let mut lines = Vec::new();
        while lines.len() < 3 {
            let mut line = Vec::new();
            match self.socket.read_until(b'\n', &mut line) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.fail("neither a message nor the end has arrived");
                }
                Ok(_) | Err(_) => {}
            }
            let shown = String::from_utf8_lossy(&line);
            let _ = writeln!(self.dialogue, "< {}", shown.trim_end());
            match line.strip_suffix(b"\r\n").map(str::from_utf8) {
                Some(Ok(line)) => lines.push(line.to_owned()),
                Some(Err(_)) => self.fail("the server sent invalid UTF-8"),
                None if line.is_empty() && lines.is_empty() => return Err(Ended::BetweenMessages),
                None => return Err(Ended::InAMessage),
            }
        }
        let [status, header, data] = lines.try_into().expect("three");
        Ok(Message {
            status,
            header,
            data,
        })
    }

    /// Returns the last lines of the dialogue.
    pub(crate) fn end_of_dialogue(&self, lines: usize) -> String {
        let all: Vec<&str> = self.dialogue.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Closes the connection with a reset.
    pub(crate) fn reset(self) {
        set_socket_linger(self.stream(), Some(Duration::ZERO)).expect("an open socket");
    }

    /// Waits until input has arrived, and leaves it unread.
    #[track_caller]
    pub(crate) fn wait_for_input(&self) {
        match self.stream().peek(&mut [0]) {
            Ok(1..) => {}
            Ok(0) => self.fail("the server closed the connection"),
            Err(e) => self.fail(&format!("cannot read: {e}")),
        }
    }

    /// Reads this many bytes with one call each.
    #[track_caller]
    pub(crate) fn read_bytes_one_by_one(&mut self, count: usize) {
        for _ in 0..count {
            if let Err(e) = self.stream().read_exact(&mut [0]) {
                self.fail(&format!("cannot read: {e}"));
            }
        }
    }

    /// Reads all input that has arrived, and drops it.
    pub(crate) fn read_available(&mut self) {
        self.stream().set_nonblocking(true).expect("an open socket");
        let _ = self.socket.read_to_end(&mut Vec::new());
    }

    /// Reads all that arrives before the end or a reset. A client that does not stop sending
    /// may get a reset.
    pub(crate) fn rest_or_reset(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    #[track_caller]
    fn fail(&self, problem: &str) -> ! {
        panic!("{problem}\n--- the dialogue\n{}---", self.dialogue);
    }
}

/// Whether all of these messages are deliveries.
fn are_deliveries(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut data = text.split_terminator("\r\n").skip(2).step_by(3);
    data.all(|data| data.starts_with("Incoming-message "))
}

/// The result of [`Client::fill_queue`].
pub(crate) struct Filled {
    /// The numbers of the messages that the server accepted.
    pub(crate) queued: Vec<usize>,
    pub(crate) refused: usize,
}

/// Returns a long text that begins with a number.
pub(crate) fn filling(number: usize) -> String {
    format!("{number} {}", "x".repeat(1_900))
}

/// Returns the number at the beginning of a delivered text.
#[track_caller]
pub(crate) fn number_of(delivery: &str) -> usize {
    let text = delivery.splitn(4, ' ').nth(3).expect("a delivery");
    text.split(' ')
        .next()
        .expect("a word")
        .parse()
        .expect("a number")
}

/// Returns the count of a notice of missed messages, and `None` for other data.
#[track_caller]
pub(crate) fn missed_by(data: &str) -> Option<usize> {
    let count = data.strip_prefix("Missed ")?;
    let count = count
        .strip_suffix(" messages: you read too slowly")
        .expect(data);
    Some(count.parse().expect("a count"))
}

/// Whether this has the form of a token.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == 32 && text.chars().all(|c| "0123456789abcdef".contains(c))
}
