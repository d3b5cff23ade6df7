//! The exercise of chapter 11: several event loops, one room.
//!
//! `start` below runs several event loops, so that several processors have work. Each loop has a
//! thread of its own and a part of the clients. A client's line reaches only the clients of the
//! same loop. Change it as follows:
//!
//! - Each line reaches every other client, on any loop, complete and once.
//! - The lines of one sender arrive in the order in which it sent them.
//! - An idle loop still waits in `poll`, without a timeout.
//!
//! The loops share only their inboxes. Keep it so.

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The first line that a client gets. From then on, it gets the lines of all other clients.
pub(crate) const WELCOME: &[u8] = b"welcome\n";

/// The token of an inbox's events. The tokens of clients start at 1.
pub(crate) const INBOX: Token = Token(0);

/// A client of a loop.
pub(crate) struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
    unwritten: Vec<u8>,
}

impl Client {
    /// Registers the socket for events of this loop.
    pub(crate) fn new(mut socket: TcpStream, poll: &Poll, token: Token) -> io::Result<Client> {
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, token, both)?;
        Ok(Client {
            socket,
            unread: Vec::new(),
            unwritten: WELCOME.to_vec(),
        })
    }

    /// Reads all input that has arrived. Returns the complete lines, with their line ends, and
    /// whether more may follow.
    pub(crate) fn read(&mut self) -> (Vec<u8>, bool) {
        let mut buffer = [0; 16 * 1024];
        let is_open = loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(e) => break e.kind() == ErrorKind::WouldBlock,
            }
        };
        let last_end = self.unread.iter().rposition(|byte| *byte == b'\n');
        let rest = self.unread.split_off(last_end.map_or(0, |at| at + 1));
        (mem::replace(&mut self.unread, rest), is_open)
    }

    /// Queues lines for the client.
    pub(crate) fn queue(&mut self, lines: &[u8]) {
        self.unwritten.extend_from_slice(lines);
    }

    /// Writes the queued bytes that the kernel accepts. An event follows when it accepts more.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.socket.write(&self.unwritten) {
                Ok(count) => drop(self.unwritten.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Serves all clients that connect. The loops get them in turn. Change this function and all code
/// below, up to the test.
pub(crate) fn start(listener: TcpListener, loops: usize) -> io::Result<()> {
    let mut inboxes = Vec::new();
    for _ in 0..loops {
        let (sender, inbox) = channel();
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), INBOX)?;
        inboxes.push((sender, waker));
        let mut its = Loop {
            poll,
            inbox,
            clients: HashMap::new(),
            last: 0,
        };
        thread::spawn(move || its.run());
    }
    thread::spawn(move || accept(&listener, &inboxes));
    Ok(())
}

fn accept(listener: &TcpListener, inboxes: &[(Sender<TcpStream>, Waker)]) -> io::Result<()> {
    for (sender, waker) in inboxes.iter().cycle() {
        let (socket, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        let _ = sender.send(TcpStream::from_std(socket));
        waker.wake()?;
    }
    Ok(())
}

/// A part of the clients, in one thread.
struct Loop {
    poll: Poll,
    inbox: Receiver<TcpStream>,
    clients: HashMap<Token, Client>,
    /// The number of the last client.
    last: usize,
}

impl Loop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    INBOX => self.empty_inbox()?,
                    client => self.read_from(client),
                }
            }
            self.clients.retain(|_, client| client.write().is_ok());
        }
    }

    fn empty_inbox(&mut self) -> io::Result<()> {
        for socket in self.inbox.try_iter() {
            self.last += 1;
            let token = Token(self.last);
            self.clients
                .insert(token, Client::new(socket, &self.poll, token)?);
        }
        Ok(())
    }

    fn read_from(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let (lines, is_open) = client.read();
        if !is_open {
            self.clients.remove(&token);
        }
        for (other, client) in &mut self.clients {
            if *other != token {
                client.queue(&lines);
            }
        }
    }
}

mod test {
    use super::WELCOME;
    use crate::solutions;
    use std::io::{self, BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    #[test]
    #[ignore = "the exercise of chapter 11"]
    fn exercise() {
        check(super::start);
    }

    #[test]
    fn solution() {
        check(solutions::event_loop::start);
    }

    type Start = fn(TcpListener, usize) -> io::Result<()>;

    const LOOPS: usize = 3;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn check(start: Start) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("bound");
        start(listener, LOOPS).expect("loops");
        line_reaches_all_other_clients(server);
        concurrent_lines_arrive_whole_once_and_in_order(server);
        last_line_before_a_disconnect_arrives(server);
    }

    /// A client that has read the first line.
    struct Client(BufReader<TcpStream>);

    impl Client {
        fn connect(server: SocketAddr) -> Client {
            let socket = TcpStream::connect(server).expect("a listener");
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            let mut client = Client(BufReader::new(socket));
            assert_eq!(client.next_line().as_bytes(), WELCOME);
            client
        }

        fn send(&self, text: &str) {
            let mut socket = self.0.get_ref();
            socket.write_all(text.as_bytes()).expect("an open socket");
        }

        fn next_line(&mut self) -> String {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(1..) => line,
                Ok(0) => panic!("the connection was closed"),
                Err(e) => panic!("no line within {DEADLINE:?}: {e}"),
            }
        }
    }

    fn line_reaches_all_other_clients(server: SocketAddr) {
        // One client for each loop, and one more, so that two share a loop.
        let mut clients: Vec<Client> = (0..=LOOPS).map(|_| Client::connect(server)).collect();
        for sender in 0..clients.len() {
            clients[sender].send("hel");
            clients[sender].send("lo\nhow are you?\n");
            for (number, client) in clients.iter_mut().enumerate() {
                if number != sender {
                    assert_eq!(client.next_line(), "hello\n");
                    assert_eq!(client.next_line(), "how are you?\n");
                }
            }
        }
    }

    fn concurrent_lines_arrive_whole_once_and_in_order(server: SocketAddr) {
        const CLIENTS: usize = 9;
        const LINES: usize = 300;
        let clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(server)).collect();
        thread::scope(|scope| {
            for (own, mut client) in clients.into_iter().enumerate() {
                let sending = client.0.get_ref().try_clone().expect("a second handle");
                scope.spawn(move || {
                    for number in 0..LINES {
                        let line = format!("{own} {number}\n");
                        (&sending)
                            .write_all(line.as_bytes())
                            .expect("an open socket");
                    }
                });
                scope.spawn(move || {
                    let mut next = [0; CLIENTS];
                    for _ in 0..LINES * (CLIENTS - 1) {
                        let line = client.next_line();
                        let pair = line.trim_end().split_once(' ');
                        let (sender, number) = pair.unwrap_or_else(|| panic!("{line:?}"));
                        let sender: usize = sender.parse().expect("a sender");
                        assert_ne!(sender, own, "the client got its own line");
                        assert_eq!(number.parse(), Ok(next[sender]), "from {sender} to {own}");
                        next[sender] += 1;
                    }
                });
            }
        });
    }

    fn last_line_before_a_disconnect_arrives(server: SocketAddr) {
        for _ in 0..20 {
            let (left, mut right) = (Client::connect(server), Client::connect(server));
            left.send("bye\n");
            drop(left);
            assert_eq!(right.next_line(), "bye\n");
        }
    }
}
