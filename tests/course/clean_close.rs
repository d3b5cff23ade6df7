//! Chapter 7: a last line and the close behind it, for four kinds of clients.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crossbeam_channel::{Receiver, unbounded};

use crate::support::{Server, filling};

/// How many clients there are of each kind.
const CLIENTS: usize = 100;

const QUIT: &str = "\r\n\r\nQuit\r\n";

/// How many lines come behind a `Quit`: somebody has pasted some pages.
const PASTED: usize = 1_000;

const LINE: &[u8] = b"what somebody has had in the clipboard, for whatever reason...\r\n";

/// How many messages of 2 KB wait for a client that is behind with its reading.
const WAITING: usize = 100;

fn say_goodbye(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(b"200 OK\r\n\r\nGoodbye\r\n")
    // Here the socket is dropped, which closes it.
}

/// A kind of client.
struct Manner {
    name: &'static str,
    /// Messages that it has not read yet.
    waiting: usize,
    /// Lines that it sends behind its `Quit`.
    pasted: usize,
    /// It reads what it is told even if it cannot send any more.
    reads_after_error: bool,
}

const MANNERS: [Manner; 4] = [
    Manner {
        name: "sends nothing behind it",
        waiting: 0,
        pasted: 0,
        reads_after_error: true,
    },
    Manner {
        name: "sends 64 KB behind it",
        waiting: 0,
        pasted: PASTED,
        reads_after_error: true,
    },
    Manner {
        name: "sends it, until there is an error",
        waiting: 0,
        pasted: PASTED,
        reads_after_error: false,
    },
    Manner {
        name: "sends it, and has 200 KB to read",
        waiting: WAITING,
        pasted: PASTED,
        reads_after_error: true,
    },
];

/// What became of the last line of so many clients.
#[derive(Default)]
struct Seen {
    /// It was read, and the end behind it.
    end: usize,
    /// It was read, and there was an error before it or behind it.
    error: usize,
    /// It was not read.
    lost: usize,
}

pub(super) fn experiment() -> io::Result<()> {
    println!("{CLIENTS} clients of each kind; of their last lines were");
    println!("{:35} {:^20} | {:^20}", "", "naive", "this server");
    let head = "read  error   lost";
    println!("{:35} {head:>20} | {head:>20}", "who sends Quit, and");
    for manner in &MANNERS {
        let naive = shown(&with_naive_server(manner)?);
        let real = shown(&with_real_server(manner)?);
        println!("{:35} {naive} | {real}", manner.name);
    }
    Ok(())
}

fn shown(seen: &Seen) -> String {
    let Seen { end, error, lost } = seen;
    format!("{end:6} {error:6} {lost:6}")
}

impl Manner {
    /// Leaves, and says whether the last line came, and whether there was no error.
    fn leave(&self, mut socket: &TcpStream, closed: Option<&Receiver<()>>) -> (bool, bool) {
        let mut sent = socket.write_all(QUIT.as_bytes());
        for _ in 0..self.pasted {
            // A line for itself, as they come from a terminal.
            sent = sent.and_then(|()| socket.write_all(LINE));
        }
        if sent.is_err() && !self.reads_after_error {
            return (false, false);
        }
        // What it has not read by now, the naive server does not wait for.
        closed.map(Receiver::recv);
        let mut bytes = Vec::new();
        let ended = socket.read_to_end(&mut bytes).is_ok();
        (bytes.ends_with(b"\r\nGoodbye\r\n"), sent.is_ok() && ended)
    }
}

impl Seen {
    fn count(&mut self, (line, ended): (bool, bool)) {
        *match (line, ended) {
            (true, true) => &mut self.end,
            (true, false) => &mut self.error,
            (false, _) => &mut self.lost,
        } += 1;
    }
}

fn with_real_server(manner: &Manner) -> io::Result<Seen> {
    let server = Server::start(&[]);
    let mut sender = server.log_in("sender");
    let mut seen = Seen::default();
    for number in 0..CLIENTS {
        let name = format!("user{number}");
        let client = server.log_in(&name);
        for waiting in 0..manner.waiting {
            let message = format!("Private-message {name} {}", filling(waiting));
            sender.ask(&message, "200 OK", &format!("Delivered to {name}"));
        }
        seen.count(manner.leave(client.stream(), None));
    }
    Ok(seen)
}

/// The same with a server that reads up to the `Quit`, and says goodbye naively.
fn with_naive_server(manner: &Manner) -> io::Result<Seen> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let waiting = manner.waiting;
    let (closing, closed) = unbounded();
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let message = format!("200 OK\r\n\r\n{}\r\n", filling(0));
            let messages = message.repeat(waiting);
            let mut request = [0; QUIT.len()];
            let _ = socket
                .write_all(messages.as_bytes())
                .and_then(|()| socket.read_exact(&mut request))
                .and_then(|()| say_goodbye(socket));
            let _ = closing.send(());
        }
    });
    let mut seen = Seen::default();
    for _ in 0..CLIENTS {
        let socket = TcpStream::connect(address)?;
        seen.count(manner.leave(&socket, Some(&closed)));
    }
    Ok(seen)
}
