//! Chapter 8: a last message and the close behind it, for four kinds of clients.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crossbeam_channel::{Receiver, unbounded};

use crate::support::{Server, filling};

/// The number of clients of each kind.
const CLIENTS: usize = 100;

const QUIT: &str = "\r\n\r\nQuit\r\n";

/// The number of lines behind a `Quit`, as after a paste of some pages.
const PASTED: usize = 1_000;

const LINE: &[u8] = b"a line of some text that a user has pasted from the clipboard.\r\n";

/// The number of messages of 2 KB that a slow client has not read yet.
const WAITING: usize = 100;

fn say_goodbye(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(b"200 OK\r\n\r\nGoodbye\r\n")
    // Here the socket is dropped, which closes it.
}

/// A kind of client.
struct Kind {
    name: &'static str,
    /// The number of messages that it has not read yet.
    waiting: usize,
    /// The number of lines that it sends behind its `Quit`.
    pasted: usize,
    /// Whether it reads on after a write has failed.
    reads_after_error: bool,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "and nothing else",
        waiting: 0,
        pasted: 0,
        reads_after_error: true,
    },
    Kind {
        name: "and 64 KB",
        waiting: 0,
        pasted: PASTED,
        reads_after_error: true,
    },
    Kind {
        name: "and 64 KB, and stops at an error",
        waiting: 0,
        pasted: PASTED,
        reads_after_error: false,
    },
    Kind {
        name: "and 64 KB, and has 200 KB to read",
        waiting: WAITING,
        pasted: PASTED,
        reads_after_error: true,
    },
];

/// The number of clients for each result.
#[derive(Default)]
struct Seen {
    /// The client read the message and the end of input.
    end: usize,
    /// The client read the message, and got an error before it or behind it.
    error: usize,
    /// The client did not read the message.
    lost: usize,
}

pub(super) fn experiment() -> io::Result<()> {
    println!("the last message to {CLIENTS} clients of each kind:");
    println!("{:35} {:^20} | {:^20}", "", "naive", "this server");
    let head = "read  error   lost";
    println!("{:35} {head:>20} | {head:>20}", "the client sends Quit");
    for kind in &KINDS {
        let naive = shown(&with_naive_server(kind)?);
        let real = shown(&with_real_server(kind)?);
        println!("{:35} {naive} | {real}", kind.name);
    }
    Ok(())
}

fn shown(seen: &Seen) -> String {
    let Seen { end, error, lost } = seen;
    format!("{end:6} {error:6} {lost:6}")
}

impl Kind {
    /// Disconnects. Returns whether the last message arrived, and whether there was no error.
    fn quit(&self, mut socket: &TcpStream, closed: Option<&Receiver<()>>) -> (bool, bool) {
        let mut sent = socket.write_all(QUIT.as_bytes());
        for _ in 0..self.pasted {
            // Each line is one write, as from a terminal.
            sent = sent.and_then(|()| socket.write_all(LINE));
        }
        if sent.is_err() && !self.reads_after_error {
            return (false, false);
        }
        // The naive server does not wait for the client, so the client reads after the close.
        closed.map(Receiver::recv);
        let mut bytes = Vec::new();
        let ended = socket.read_to_end(&mut bytes).is_ok();
        (bytes.ends_with(b"\r\nGoodbye\r\n"), sent.is_ok() && ended)
    }
}

impl Seen {
    fn count(&mut self, (has_message, has_ended): (bool, bool)) {
        *match (has_message, has_ended) {
            (true, true) => &mut self.end,
            (true, false) => &mut self.error,
            (false, _) => &mut self.lost,
        } += 1;
    }
}

fn with_real_server(kind: &Kind) -> io::Result<Seen> {
    let server = Server::start(&[]);
    let mut sender = server.log_in("sender");
    let mut seen = Seen::default();
    for number in 0..CLIENTS {
        let name = format!("user{number}");
        let client = server.log_in(&name);
        for waiting in 0..kind.waiting {
            let message = format!("Private-message {name} {}", filling(waiting));
            sender.ask(&message, "200 OK", &format!("Delivered to {name}"));
        }
        seen.count(kind.quit(client.stream(), None));
    }
    Ok(seen)
}

/// Does the same with a naive server. It reads up to the `Quit`, and then calls [`say_goodbye`].
fn with_naive_server(kind: &Kind) -> io::Result<Seen> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let waiting = kind.waiting;
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
        seen.count(kind.quit(&socket, Some(&closed)));
    }
    Ok(seen)
}
