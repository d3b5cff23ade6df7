//! The messages of CP and of IRC that a load needs, behind one enum.
//!
//! Pure: bytes in, values out. Does not know sockets or cases. It parses messages in place and
//! allocates nothing, because it runs for each delivery, and the generator must cost little
//! beside the server.

use memchr::memchr;

/// The protocol of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// CP/0.0.0: each client with a name gets every broadcast, and each request has a response.
    Cp,
    /// IRC: a broadcast is a message to a channel that all clients have joined. Only failures
    /// have a response.
    Irc,
    /// IRC with the capability `echo-message`: the server also sends each message back to its
    /// sender. That is the same work as the responses of CP.
    IrcEcho,
}

/// A message of a server, as far as a load needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent<'a> {
    /// A message of a client.
    Message { sender: &'a [u8], text: &'a [u8] },
    /// A message was delivered to this name or to this many clients (CP only).
    Sent { to: &'a [u8] },
    /// The client has its name.
    LoggedIn,
    /// A client has logged in, as a watching client is told (CP only).
    Presence,
    /// The client is in the channel (IRC only).
    Entered,
    /// The response to [`Protocol::ask`] or [`Protocol::watch`].
    Alive,
    /// A ping of the server. Without a response, it closes the connection (IRC only).
    Question(&'a [u8]),
    /// A message that a load ignores.
    Aside,
    /// A message that must not arrive under a load: a refusal, a gap or a last message.
    Refusal(&'a [u8]),
}

/// The IRC channel of all clients.
const CHANNEL: &str = "#load";

impl Protocol {
    /// Returns the first message in these bytes and its length, or `None` if it is incomplete.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<(ServerEvent<'_>, usize)> {
        match self {
            Protocol::Cp => read_cp(bytes),
            Protocol::Irc | Protocol::IrcEcho => read_irc(bytes),
        }
    }

    /// Whether each sent message has a response.
    pub(crate) fn answers(self) -> bool {
        self != Protocol::Irc
    }

    /// Writes a login with this name.
    pub(crate) fn log_in(self, name: &str, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nSet-name ", name, "\r\n"]),
            Protocol::Irc => put(out, &["NICK ", name, "\r\nUSER ", name, " 0 * :load\r\n"]),
            Protocol::IrcEcho => {
                put(out, &["CAP REQ :echo-message\r\n"]);
                Protocol::Irc.log_in(name, out);
                put(out, &["CAP END\r\n"]);
            }
        }
    }

    /// Writes the request that joins the channel, on IRC. Returns whether it has written one.
    ///
    /// The response is [`ServerEvent::Entered`].
    pub(crate) fn enter(self, out: &mut Vec<u8>) -> bool {
        match self {
            Protocol::Cp => false,
            Protocol::Irc | Protocol::IrcEcho => {
                put(out, &["JOIN ", CHANNEL, "\r\n"]);
                true
            }
        }
    }

    /// Begins a broadcast. The text and [`Protocol::end`] must follow.
    pub(crate) fn begin_broadcast(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nBroadcast-message "]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["PRIVMSG ", CHANNEL, " :"]),
        }
    }

    /// Begins a private message. The text and [`Protocol::end`] must follow.
    pub(crate) fn begin_private(self, name: &str, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nPrivate-message ", name, " "]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["PRIVMSG ", name, " :"]),
        }
    }

    /// Ends a message.
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        put(out, &["\r\n"]);
    }

    /// Writes a ping.
    pub(crate) fn ask(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nPing\r\n"]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["PING load\r\n"]),
        }
    }

    /// Writes the request to watch presence (CP only).
    pub(crate) fn watch(self, out: &mut Vec<u8>) {
        put(out, &["\r\n\r\nWatch-presence on\r\n"]);
    }

    /// Writes the response to a ping of the server.
    pub(crate) fn answer(self, question: &[u8], out: &mut Vec<u8>) {
        put(out, &["PONG "]);
        out.extend_from_slice(question);
        self.end(out);
    }

    /// Writes a quit. The server then closes the connection.
    pub(crate) fn quit(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nQuit\r\n"]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["QUIT\r\n"]),
        }
    }
}

/// Reads three lines: status, header, data.
fn read_cp(bytes: &[u8]) -> Option<(ServerEvent<'_>, usize)> {
    let (status, rest) = split_line(bytes)?;
    let (_, rest) = split_line(rest)?;
    let (data, rest) = split_line(rest)?;
    let length = bytes.len() - rest.len();
    if status != b"200 OK" {
        return Some((ServerEvent::Refusal(&bytes[..length]), length));
    }
    let event = if let Some(message) = data.strip_prefix(b"Incoming-message ") {
        let (_scope, message) = split_word(message);
        let (sender, text) = split_word(message);
        ServerEvent::Message { sender, text }
    } else if let Some(to) = data.strip_prefix(b"Delivered to ") {
        ServerEvent::Sent { to }
    } else if data.starts_with(b"You are ") {
        ServerEvent::LoggedIn
    } else if data.starts_with(b"Incoming-presence joined ") {
        ServerEvent::Presence
    } else if data == b"Pong" || data == b"Watching presence" {
        ServerEvent::Alive
    } else {
        ServerEvent::Aside
    };
    Some((event, length))
}

/// Reads one line: `[:source] command parameters`.
fn read_irc(bytes: &[u8]) -> Option<(ServerEvent<'_>, usize)> {
    let (line, rest) = split_line(bytes)?;
    let length = bytes.len() - rest.len();
    let (source, line_without) = match line.strip_prefix(b":") {
        Some(line) => split_word(line),
        None => (&line[..0], line),
    };
    let (command, parameters) = split_word(line_without);
    let event = match command {
        b"PRIVMSG" => {
            let sender = match memchr(b'!', source) {
                Some(end) => &source[..end],
                None => source,
            };
            let (_target, text) = split_word(parameters);
            let text = text.strip_prefix(b":").unwrap_or(text);
            ServerEvent::Message { sender, text }
        }
        b"PING" => ServerEvent::Question(parameters),
        b"PONG" => ServerEvent::Alive,
        b"ERROR" => ServerEvent::Refusal(line),
        // A refused capability: `CAP name NAK :echo-message`. Without it the load would wait
        // for echoes that never come.
        b"CAP" if split_word(split_word(parameters).1).0 == b"NAK" => ServerEvent::Refusal(line),
        // The end of the message of the day, or its absence: the last line of a login.
        b"376" | b"422" => ServerEvent::LoggedIn,
        // The end of the channel's names: the last line of a join.
        b"366" => ServerEvent::Entered,
        // The numbers of errors.
        [b'4' | b'5', _, _] => ServerEvent::Refusal(line),
        _ => ServerEvent::Aside,
    };
    Some((event, length))
}

/// Splits off the first line, without its end.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

/// Splits off the first word and the space after it.
fn split_word(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', bytes) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}
