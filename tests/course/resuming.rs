//! Chapter 9: a client that stops reading, is sent more than its kernel takes, and comes back
//! on another connection; and four naive ways to go on there.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use chat::limits::SEND_BUFFER_SIZE;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::support::{Server, filling, number_of, wait_for};

/// How often each way is gone.
const ROUNDS: usize = 10;

/// How many messages of 2 KB are sent each time, of which the kernel takes some 90.
const MESSAGES: usize = 400;

/// So many unread bytes, and the writer is in the middle of it.
const BEGUN: usize = 32_000;

/// What was sent last.
const END: &str = "end";

/// What a client is to be told, and the writer of its connection waits for.
struct Mailbox {
    messages: Sender<Vec<u8>>,
    queue: Receiver<Vec<u8>>,
    /// What the writer of a connection that broke has left for the next.
    left: Mutex<Vec<u8>>,
}

/// A writer: it ends when its connection breaks.
type Writer = fn(&Mailbox, &TcpStream) -> io::Result<()>;

fn forget_the_rest(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
    loop {
        socket.write_all(&mailbox.batch())?;
    }
}

fn begin_the_batch_again(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
    loop {
        let batch = mailbox.batch();
        if let Err(e) = socket.write_all(&batch) {
            *mailbox.left.lock() = batch;
            return Err(e);
        }
    }
}

fn go_on_where_it_broke(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
    loop {
        let mut batch = mailbox.batch();
        while !batch.is_empty() {
            match socket.write(&batch) {
                Ok(count) => drop(batch.drain(..count)),
                Err(e) => {
                    *mailbox.left.lock() = batch;
                    return Err(e);
                }
            }
        }
    }
}

impl Mailbox {
    fn new() -> Arc<Mailbox> {
        let (messages, queue) = unbounded();
        let left = Mutex::default();
        Arc::new(Mailbox {
            messages,
            queue,
            left,
        })
    }

    /// What there is to write; waits until there is something.
    fn batch(&self) -> Vec<u8> {
        let mut batch = mem::take(&mut *self.left.lock());
        if batch.is_empty() {
            batch = self.queue.recv().expect("it holds a sender itself");
        }
        batch.extend(self.queue.try_iter().flatten());
        batch
    }

    fn send(&self, text: &str) {
        let message = format!("200 OK\r\n\r\nIncoming-message private bob {text}\r\n");
        let _ = self.messages.send(message.into_bytes());
    }
}

pub(super) fn experiment() -> io::Result<()> {
    println!("{ROUNDS} times a client stops reading, and comes back on another connection;");
    println!("of {MESSAGES} messages to it each time, so many were");
    println!("  {:22}   read   lost  twice   torn", "");
    for (name, writer, keeps_mailbox) in [
        ("a new mailbox", forget_the_rest as Writer, false),
        ("forget_the_rest", forget_the_rest, true),
        ("begin_the_batch_again", begin_the_batch_again, true),
        ("go_on_where_it_broke", go_on_where_it_broke, true),
    ] {
        print(name, || naively(writer, keeps_mailbox))?;
    }
    print("this server", with_this_server)
}

fn print(name: &str, mut reconnect: impl FnMut() -> io::Result<[Vec<u8>; 2]>) -> io::Result<()> {
    let (mut read, mut twice, mut torn) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let [before, after] = reconnect()?;
        let (before, _) = messages(&before);
        let (after, strays) = messages(&after);
        let numbers: Vec<usize> = before.into_iter().chain(after).collect();
        let distinct = BTreeSet::from_iter(&numbers).len();
        read += distinct;
        twice += numbers.len() - distinct;
        torn += usize::from(strays > 0);
    }
    let lost = ROUNDS * MESSAGES - read;
    println!("  {name:22} {read:6} {lost:6} {twice:6} {torn:6}");
    Ok(())
}

/// The numbers of the messages in what was read from a connection, and how many lines are
/// no part of one. A message that has not ended is the last, and no part of anything.
fn messages(bytes: &[u8]) -> (Vec<usize>, usize) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text
        .split_inclusive("\r\n")
        .filter_map(|line| line.strip_suffix("\r\n"));
    let (mut numbers, mut strays) = (Vec::new(), 0);
    while let Some(status) = lines.next() {
        if !["200 OK", "304 Not Modified"].contains(&status) {
            strays += 1;
        } else if let Some(data) = lines.nth(1)
            && data.starts_with("Incoming-message ")
            && !data.ends_with(END)
        {
            numbers.push(number_of(data));
        }
    }
    (numbers, strays)
}

/// What a client reads from its first connection, and from the one on which it comes back.
fn naively(writer: Writer, keeps_mailbox: bool) -> io::Result<[Vec<u8>; 2]> {
    let mut mailbox = Mailbox::new();
    let (server, client) = connection()?;
    let first = start(writer, &mailbox, &server);
    let (some, others) = (0..MESSAGES / 2, MESSAGES / 2..MESSAGES);
    some.for_each(|number| mailbox.send(&filling(number)));
    wait_for("something to be written", || {
        matches!(client.peek(&mut [0; BEGUN]), Ok(BEGUN))
    });
    others.for_each(|number| mailbox.send(&filling(number)));
    // It is back before it has read any of that, so the old connection is cut.
    let (next_server, next_client) = connection()?;
    server.shutdown(Shutdown::Both)?;
    let _ = first.join().expect("no panic");
    if !keeps_mailbox {
        mailbox = Mailbox::new();
    }
    start(writer, &mailbox, &next_server);
    mailbox.send(END);
    Ok([read_all(&client)?, read_up_to_end(&next_client)?])
}

/// The same with the real server.
fn with_this_server() -> io::Result<[Vec<u8>; 2]> {
    let server = Server::start(&["--queue", "4194304"]);
    let (mut bob, mut client) = (server.log_in("bob"), server.log_in("alice"));
    client.use_token();
    let mut send = |text: &str| {
        let request = format!("Private-message alice {text}");
        bob.ask(&request, "200 OK", "Delivered to alice");
    };
    (0..MESSAGES).for_each(|number| send(&filling(number)));
    let mut next = server.connect();
    next.send_as(&client.token, "Set-name alice");
    // Before that is done, what is read from the old connection makes room there for more.
    server.expect_log("resumed session of alice");
    send(END);
    Ok([read_all(client.stream())?, read_up_to_end(next.stream())?])
}

/// Both ends of a connection, the server's first, with the send buffer that the real server
/// has.
fn connection() -> io::Result<(Arc<TcpStream>, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    set_socket_send_buffer_size(&server, SEND_BUFFER_SIZE)?;
    Ok((Arc::new(server), client))
}

fn start(
    writer: Writer,
    mailbox: &Arc<Mailbox>,
    socket: &Arc<TcpStream>,
) -> JoinHandle<io::Result<()>> {
    let (mailbox, socket) = (Arc::clone(mailbox), Arc::clone(socket));
    thread::spawn(move || writer(&mailbox, &socket))
}

/// All that a connection that was closed still holds.
fn read_all(mut socket: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All up to the message that is the last.
fn read_up_to_end(mut socket: &TcpStream) -> io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    while !bytes.ends_with(format!(" {END}\r\n").as_bytes()) {
        match socket.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(bytes)
}
