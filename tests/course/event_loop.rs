//! Chapter 11: a naive event loop beside two threads for each client. Measures the cost of a
//! delivery and of a client, for several numbers of clients and senders.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::str;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::generator;
use crate::process;
use crate::support::Server;

/// The number of measurements of each case.
const ROUNDS: usize = 3;

/// The cases, each with the arguments for the load generator.
const CASES: [(&str, &str); 6] = [
    (
        "1 of 10 sends",
        "--clients 10 --senders 1 --in-flight 16 --messages 10000 fanout",
    ),
    (
        "1 of 100 sends",
        "--clients 100 --senders 1 --in-flight 16 --messages 2000 fanout",
    ),
    (
        "1 of 1000 sends",
        "--clients 1000 --senders 1 --in-flight 16 --messages 200 fanout",
    ),
    (
        "4 of 100 send",
        "--clients 100 --senders 4 --in-flight 16 --messages 1000 fanout",
    ),
    (
        "16 of 100 send",
        "--clients 100 --senders 16 --in-flight 16 --messages 1000 fanout",
    ),
    ("50 pairs, ping-pong", "--pairs 50 --messages 5000 ping"),
];

/// The index of the case with the most clients, which gives the memory per client.
const LARGEST_CASE: usize = 2;

const LISTENER: Token = Token(usize::MAX);

/// A server with all clients in one thread.
struct EventLoop {
    poll: Poll,
    listener: TcpListener,
    clients: HashMap<Token, Client>,
    names: HashMap<String, Token>,
    last: usize,
}

struct Client {
    socket: TcpStream,
    name: String,
    unread: Vec<u8>,
    unwritten: Vec<u8>,
}

impl EventLoop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    client => self.read_and_execute(client),
                }
            }
            // Write last, so that the messages of several senders share a write.
            self.clients.retain(|_, client| client.write().is_ok());
        }
    }
}

impl Client {
    fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.socket.write(&self.unwritten) {
                Ok(count) => drop(self.unwritten.drain(..count)),
                // An event follows when the kernel accepts more.
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl EventLoop {
    fn bind() -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = TcpListener::bind(address)?;
        println!("listening on {}", listener.local_addr()?);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(EventLoop {
            poll,
            listener,
            clients: HashMap::new(),
            names: HashMap::new(),
            last: 0,
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            };
            socket.set_nodelay(true)?;
            self.last += 1;
            let token = Token(self.last);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, token, both)?;
            let client = Client {
                socket,
                name: String::new(),
                unread: Vec::new(),
                unwritten: Vec::new(),
            };
            self.clients.insert(token, client);
        }
    }

    fn read_and_execute(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let is_open = client.read();
        let mut unread = std::mem::take(&mut client.unread);
        let mut done = 0;
        while let Some(length) = length_of_three_lines(&unread[done..]) {
            let request = &unread[done..done + length];
            let body = request.split(|byte| *byte == b'\n').nth(2);
            let body = body.and_then(|body| str::from_utf8(body).ok());
            self.execute(token, body.unwrap_or("").trim_end());
            done += length;
        }
        unread.drain(..done);
        if let Some(client) = self.clients.get_mut(&token) {
            client.unread = unread;
        }
        if !is_open && let Some(client) = self.clients.remove(&token) {
            self.names.remove(&client.name);
        }
    }

    /// Executes a request. It implements the part of the protocol that a load test needs.
    fn execute(&mut self, token: Token, request: &str) {
        let name = self.clients[&token].name.clone();
        let (command, rest) = request.split_once(' ').unwrap_or((request, ""));
        let response = match command {
            "Set-name" => {
                self.names.insert(rest.to_owned(), token);
                let client = self.clients.get_mut(&token);
                client.expect("the sender").name = rest.to_owned();
                format!("You are {rest}")
            }
            "Broadcast-message" => {
                let data = format!("Incoming-message broadcast {name} {rest}");
                for (other, client) in &mut self.clients {
                    if *other != token {
                        client.queue(*other, &data);
                    }
                }
                format!("Delivered to {}", self.clients.len() - 1)
            }
            "Private-message" => {
                let (to, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let data = format!("Incoming-message private {name} {text}");
                let other = self.names.get(to).copied();
                let client = other.and_then(|other| self.clients.get_mut(&other));
                if let Some((other, client)) = other.zip(client) {
                    client.queue(other, &data);
                }
                format!("Delivered to {to}")
            }
            "Quit" => "Goodbye".to_owned(),
            _ => "Pong".to_owned(),
        };
        let client = self.clients.get_mut(&token).expect("the sender");
        client.queue(token, &response);
        if command == "Quit" {
            let _ = client.write();
            let _ = client.socket.shutdown(Shutdown::Write);
        }
    }
}

impl Client {
    /// Reads all input that has arrived. Returns false at the end of input.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn queue(&mut self, token: Token, data: &str) {
        // A write to a Vec cannot fail.
        let _ = write!(self.unwritten, "200 OK\r\n{:032x}\r\n{data}\r\n", token.0);
    }
}

/// Returns the length of the first three lines, if there are three.
fn length_of_three_lines(bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(2)
}

pub(super) fn event_loop() -> io::Result<()> {
    EventLoop::bind()?.run()
}

/// The measurement of a case on one server.
#[derive(Clone, Copy)]
struct Metrics {
    cpu: f64,
    memory: f64,
    threads: f64,
}

pub(super) fn experiment() -> io::Result<()> {
    println!("processor time of the server per delivery, in µs, with 16 messages in flight");
    println!("  {:21} writers only  this server  event loop", "");
    let mut per_client = [[0.0; 3]; 2];
    for (number, (name, arguments)) in CASES.into_iter().enumerate() {
        let mut runs = [const { Vec::new() }; 3];
        // In turns, because the load of the machine changes.
        for _ in 0..ROUNDS {
            runs[0].push(measure(&format!("{arguments} -- --no-direct-writes"))?);
            runs[1].push(measure(arguments)?);
            runs[2].push(measure_event_loop(arguments)?);
        }
        let median = |metric: fn(&Metrics) -> f64| runs.each_ref().map(|runs| median(runs, metric));
        let [writers, ours, other] = median(|it| it.cpu);
        println!("  {name:21} {writers:12.2}  {ours:11.2}  {other:10.2}");
        if number == LARGEST_CASE {
            per_client = [median(|it| it.memory), median(|it| it.threads)];
        }
    }
    println!("per client, with 1000 clients");
    for (name, [writers, ours, other]) in ["memory, KiB", "threads"].into_iter().zip(per_client) {
        println!("  {name:21} {writers:12.1}  {ours:11.1}  {other:10.1}");
    }
    Ok(())
}

fn median(runs: &[Metrics], metric: impl Fn(&Metrics) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(metric).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure_event_loop(arguments: &str) -> io::Result<Metrics> {
    let server = Server::start_by(process("event-loop"), &[], |_| {});
    let (address, pid) = (server.address, server.pid().as_raw_nonzero());
    measure(&format!("--address {address} --pid {pid} {arguments}"))
}

/// Runs the load generator with these arguments.
fn measure(arguments: &str) -> io::Result<Metrics> {
    let name = format!("event-loop-{}.json", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let json = format!("--json={}", path.display());
    let arguments = arguments.split(' ').map(str::to_owned);
    let arguments: Vec<String> = [json].into_iter().chain(arguments).collect();
    generator::run(&arguments, &mut io::sink()).map_err(|e| io::Error::other(e.to_string()))?;
    let report = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    let metric = |name: &str| {
        let (_, rest) = report.split_once(&format!("\"{name}\":"))?;
        rest.split([',', '}']).next()?.parse().ok()
    };
    let metric = |name| metric(name).ok_or_else(|| io::Error::other(format!("no {name}")));
    Ok(Metrics {
        cpu: metric("cpu_per_delivery_us")?,
        memory: metric("rss_per_client_kib")?,
        threads: metric("threads_per_client")?,
    })
}
