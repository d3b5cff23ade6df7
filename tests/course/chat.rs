//! A client of a chat server: of the naive ones of the experiments, where whatever is said
//! is one line, and of this one, where it is three.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::Server;

/// How long a client waits for an answer before it is said to get none.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How a server wants to be talked to.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    /// What stands before a name that one takes.
    join: &'static str,
    /// What stands before a message to all others.
    say: &'static str,
    /// Whatever it says has so many lines, of which the last says it.
    lines: usize,
}

/// The first line is the name, every other one a message.
pub(crate) const NAIVE: Dialect = Dialect {
    join: "",
    say: "",
    lines: 1,
};

/// The protocol of this server.
pub(crate) const OURS: Dialect = Dialect {
    join: "\n\nSet-name ",
    say: "\n\nBroadcast-message ",
    lines: 3,
};

/// Somebody in a chat.
pub(crate) struct Chatter {
    dialect: Dialect,
    socket: BufReader<TcpStream>,
}

impl Chatter {
    /// Connects, and has been told that the name is taken.
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

    /// Says something to all others, and gives the answer. The error is
    /// [a timeout](is_timeout) if there is none.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<String> {
        self.send(self.dialect.say, text)?;
        self.next()
    }

    /// What the server says next.
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

/// Whether there was no answer in time, which is how the kernel says it.
pub(crate) fn is_timeout(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::WouldBlock
}
