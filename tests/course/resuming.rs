//! Chapter 10: four naive ways to resume a session, and this server. A client stops reading, gets
//! more messages than its kernel accepts, and reconnects.

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

/// The number of reconnects for each version.
const ROUNDS: usize = 10;

/// The number of messages of 2 KB in a round. The kernels accept some 90 of them.
const MESSAGES: usize = 400;

/// When the client has this many unread bytes, the writer is in the middle of a batch.
const PARTIAL: usize = 32_000;

/// The text of the last message.
const END: &str = "end";

/// The queue of one client, which outlives its connections.
struct Mailbox {
    messages: Sender<Vec<u8>>,
    queue: Receiver<Vec<u8>>,
    /// The bytes that the writer of a lost connection leaves for the next connection.
    unwritten: Mutex<Vec<u8>>,
}

/// The main function of a writer thread. It returns when its connection is lost.
type Writer = fn(&Mailbox, &TcpStream) -> io::Result<()>;

fn drop_the_batch(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
    loop {
        socket.write_all(&mailbox.batch())?;
    }
}

fn repeat_the_batch(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
    loop {
        let batch = mailbox.batch();
        if let Err(e) = socket.write_all(&batch) {
            *mailbox.unwritten.lock() = batch;
            return Err(e);
        }
    }
}

fn continue_the_batch(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
    loop {
        let mut batch = mailbox.batch();
        while !batch.is_empty() {
            match socket.write(&batch) {
                Ok(count) => drop(batch.drain(..count)),
                Err(e) => {
                    *mailbox.unwritten.lock() = batch;
                    return Err(e);
                }
            }
        }
    }
}

impl Mailbox {
    fn new() -> Arc<Mailbox> {
        let (messages, queue) = unbounded();
        let unwritten = Mutex::default();
        Arc::new(Mailbox {
            messages,
            queue,
            unwritten,
        })
    }

    /// Returns all bytes to write. Blocks until there are some.
    fn batch(&self) -> Vec<u8> {
        let mut batch = mem::take(&mut *self.unwritten.lock());
        if batch.is_empty() {
            batch = self.queue.recv().expect("the mailbox holds a sender");
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
    println!(
        "{ROUNDS} times, a client stops reading and reconnects. Of {MESSAGES} messages each time:"
    );
    println!("  {:22}   read   lost  twice   torn", "");
    for (name, writer, keeps_mailbox) in [
        ("a new mailbox", drop_the_batch as Writer, false),
        ("drop_the_batch", drop_the_batch, true),
        ("repeat_the_batch", repeat_the_batch, true),
        ("continue_the_batch", continue_the_batch, true),
    ] {
        print(name, || with_naive_writer(writer, keeps_mailbox))?;
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

/// Returns the numbers of the messages in these bytes of a connection, and the number of lines
/// that belong to no message. An incomplete message at the end counts as neither.
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

/// Returns what a client reads from its first connection, and from the second one.
fn with_naive_writer(writer: Writer, keeps_mailbox: bool) -> io::Result<[Vec<u8>; 2]> {
    let mut mailbox = Mailbox::new();
    let (server, client) = connection()?;
    let first = start(writer, &mailbox, &server);
    let (some, others) = (0..MESSAGES / 2, MESSAGES / 2..MESSAGES);
    some.for_each(|number| mailbox.send(&filling(number)));
    wait_for("something to be written", || {
        matches!(client.peek(&mut [0; PARTIAL]), Ok(PARTIAL))
    });
    others.for_each(|number| mailbox.send(&filling(number)));
    // The client reconnects before it has read anything. So the server shuts the old socket
    // down.
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

/// Does the same with the real server.
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
    // Wait for this first: reading from the old connection makes room for more messages there.
    server.expect_log("resumed session of alice");
    send(END);
    Ok([read_all(client.stream())?, read_up_to_end(next.stream())?])
}

/// Returns both ends of a connection, the server's first. Its send buffer has the size that the
/// real server sets.
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

/// Reads all that a closed connection still holds.
fn read_all(mut socket: &TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads up to the end of the last message.
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
