//! A client for the naive servers of the experiments and for this server. A message is one line
//! for a naive server, and three lines for this one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Server;

/// How long a client waits for a response.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The format of a server's requests and messages.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    /// The text before the name in a login request.
    join: &'static str,
    /// The text before the message in a broadcast request.
    say: &'static str,
    /// The number of lines in a message from the server. The last one has the data.
    lines: usize,
}

/// The format of the naive servers. The first line is the name, all others are messages.
pub(crate) const NAIVE: Dialect = Dialect {
    join: "",
    say: "",
    lines: 1,
};

/// The format of this server.
pub(crate) const OURS: Dialect = Dialect {
    join: "\n\nSet-name ",
    say: "\n\nBroadcast-message ",
    lines: 3,
};

/// A client that has logged in.
pub(crate) struct Chatter {
    dialect: Dialect,
    socket: BufReader<TcpStream>,
}

impl Chatter {
    /// Connects, logs in, and waits for the response.
    pub(crate) fn join(server: &Server, dialect: Dialect, name: &str) -> io::Result<Chatter> {
        let socket = TcpStream::connect(server.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut chatter = Chatter {
            dialect,
            socket: BufReader::new(socket),
        };
        chatter.send(dialect.join, name)?;
        chatter.next()?;
        Ok(chatter)
    }

    /// Broadcasts a text, and returns the response. Without a response, the error is
    /// [a timeout](is_timeout).
    pub(crate) fn say(&mut self, text: &str) -> io::Result<String> {
        self.send(self.dialect.say, text)?;
        self.next()
    }

    /// Returns the data of the next message from the server.
    pub(crate) fn next(&mut self) -> io::Result<String> {
        let mut line = String::new();
        for _ in 0..self.dialect.lines {
            line.clear();
            if self.socket.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(line.trim_end().to_owned())
    }

    fn send(&self, begin: &str, text: &str) -> io::Result<()> {
        let line = format!("{begin}{text}\n");
        self.socket.get_ref().write_all(line.as_bytes())
    }
}

/// Returns whether a read has timed out. The kernel reports that as `EAGAIN`.
pub(crate) fn is_timeout(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}
