//! What the generator says to a server, and what a server says to it: the few words of
//! CP and of IRC that a load needs, behind one enum.
//!
//! Pure: bytes in, values out. It knows no socket and no case. What it reads is parsed
//! in place and nothing is allocated, because this runs for each delivery, and the
//! generator is to cost little beside the server that it measures.

use memchr::memchr;

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// CP/0.0.0: everyone with a name hears every broadcast, each request is answered.
    Cp,
    /// IRC: a broadcast is a message to a channel that everyone has joined, and only what
    /// fails is answered.
    Irc,
    /// IRC with the capability `echo-message`: the server sends each message back to its
    /// sender, too. That is the same work as the responses of CP.
    IrcEcho,
}

/// One message of a server, as far as a load cares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerEvent<'a> {
    /// Somebody's message.
    Message { sender: &'a [u8], text: &'a [u8] },
    /// A message has been sent on, to this name or to this many (CP only).
    Sent { to: &'a [u8] },
    /// The name is ours.
    LoggedIn,
    /// We are in the channel (IRC only).
    Entered,
    /// The answer to [`Protocol::ask`].
    Alive,
    /// The server wants this back, or it closes the connection (IRC only).
    Question(&'a [u8]),
    /// Anything that a load need not know.
    Aside,
    /// Anything that must not happen under a load: a refusal, a gap, a farewell.
    Refusal(&'a [u8]),
}

/// Where everyone is, on IRC.
const CHANNEL: &str = "#load";

impl Protocol {
    /// The first message in these bytes and its length, or `None` if it is not whole yet.
    pub(crate) fn read(self, bytes: &[u8]) -> Option<(ServerEvent<'_>, usize)> {
        match self {
            Protocol::Cp => read_cp(bytes),
            Protocol::Irc | Protocol::IrcEcho => read_irc(bytes),
        }
    }

    /// Whether each message that is sent is answered.
    pub(crate) fn answers(self) -> bool {
        self != Protocol::Irc
    }

    /// Takes a name.
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

    /// Goes where broadcasts are on_event, if that is anywhere but here: then it says so,
    /// and [`ServerEvent::Entered`] is the answer.
    pub(crate) fn enter(self, out: &mut Vec<u8>) -> bool {
        match self {
            Protocol::Cp => false,
            Protocol::Irc | Protocol::IrcEcho => {
                put(out, &["JOIN ", CHANNEL, "\r\n"]);
                true
            }
        }
    }

    /// Begins a message to everyone, of which the text and [`Protocol::end`] are to follow.
    pub(crate) fn begin_broadcast(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nBroadcast-message "]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["PRIVMSG ", CHANNEL, " :"]),
        }
    }

    /// Begins a message to one, of which the text and [`Protocol::end`] are to follow.
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

    /// Asks for a sign of life.
    pub(crate) fn ask(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nPing\r\n"]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["PING load\r\n"]),
        }
    }

    /// Gives the server's question back.
    pub(crate) fn answer(self, question: &[u8], out: &mut Vec<u8>) {
        put(out, &["PONG "]);
        out.extend_from_slice(question);
        self.end(out);
    }

    /// Leaves; the server then closes.
    pub(crate) fn quit(self, out: &mut Vec<u8>) {
        match self {
            Protocol::Cp => put(out, &["\r\n\r\nQuit\r\n"]),
            Protocol::Irc | Protocol::IrcEcho => put(out, &["QUIT\r\n"]),
        }
    }
}

/// Three lines: status, header, data.
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
    } else if data == b"Pong" {
        ServerEvent::Alive
    } else {
        ServerEvent::Aside
    };
    Some((event, length))
}

/// One line: `[:source] command parameters`.
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
        // The end of the message of the day, or that there is none: the login's last line.
        b"376" | b"422" => ServerEvent::LoggedIn,
        // The end of the channel's names: the joining's last line.
        b"366" => ServerEvent::Entered,
        // The numbers of errors.
        [b'4' | b'5', _, _] => ServerEvent::Refusal(line),
        _ => ServerEvent::Aside,
    };
    Some((event, length))
}

/// A line without its end, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[end + 1..]))
}

/// A word, and what follows the space behind it.
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
