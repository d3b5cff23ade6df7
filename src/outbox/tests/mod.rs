//! Tests of the outbox alone. Most take batches out as a writer thread does. Tests of the writer
//! thread use real sockets.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, never};

use super::batch::{Batch, Write};
use super::direct_write::{DirectWrites, PendingWrites};
use super::writer::Writer;
use super::*;
use crate::limits;
use crate::protocol::literals;
use crate::protocol::presence::Presence;
use crate::protocol::reply::{Reply, Response, Scope};

mod broadcaster;
mod connections;
mod direct_write;
mod queue;

const ROOMY: usize = 1 << 20;

fn delivery(text: &str) -> Delivery {
    Delivery::new(
        Scope::Private,
        &literals::name("bob"),
        &literals::text(text),
    )
}

/// Makes a presence delivery: a user of this name has joined.
fn presence(name: &str) -> Delivery {
    Delivery::presence(&Presence::Joined(literals::name(name)))
}

fn goodbye() -> Reply {
    Reply {
        header: None,
        response: Response::Goodbye,
    }
}

/// Takes one batch out as if the kernel accepted all of it. Returns its data lines.
fn take(outbox: &Outbox) -> Vec<String> {
    let mut batch = Batch::default();
    let Some(write) = begin(outbox, &mut batch) else {
        return Vec::new();
    };
    let text = String::from_utf8(write.batch.to_write().to_vec()).unwrap();
    drop(write.end(text.len(), None));
    text.lines().skip(2).step_by(3).map(str::to_owned).collect()
}

/// Takes a batch out, as a draining thread does.
fn begin<'a, 'b>(outbox: &'a Outbox, batch: &'b mut Batch) -> Option<Write<'a, 'b>> {
    let write = outbox.begin_write(&mut outbox.state.lock(), batch, false)?;
    write.batch.encode(outbox);
    Some(write)
}

impl PendingWrites {
    /// Makes the pending writes of a single reader thread.
    pub(crate) fn for_test(direct_writes: bool) -> PendingWrites {
        PendingWrites::new(DirectWrites::new(direct_writes))
    }
}

/// Makes the pending writes of a reader thread that only wakes writer threads.
fn writers_only() -> PendingWrites {
    PendingWrites::for_test(false)
}

/// Enqueues a delivery and only wakes the writer thread.
fn queue(outbox: &Arc<Outbox>, delivery: &Delivery) -> Result<(), SendError> {
    writers_only().send(outbox, delivery)
}

impl Outbox {
    /// Runs `run` while this thread holds the queue lock.
    pub(crate) fn while_locked(&self, run: impl FnOnce()) {
        let _state = self.state.lock();
        run();
    }

    /// Fills half of the queue, so that the thread that sends the next delivery drains it at
    /// once. A response that was not counted makes that drain panic, by an overflow.
    pub(crate) fn make_defective_when_half_full(&self) {
        let mut state = self.state.lock();
        // The drain of the first response may not have ended.
        while state.drain != Drain::Idle {
            drop(state);
            thread::yield_now();
            state = self.state.lock();
        }
        state.deliveries = self.limit / 2 - 1;
        let connection = state.last_attached;
        let bytes = goodbye().encode();
        let _ = self.enqueue(&mut state, Item::Response { connection, bytes });
    }

    /// Begins a write, calls `run`, and lets the write fail.
    pub(crate) fn fail_write(&self, loss: Loss, run: impl FnOnce()) {
        let mut batch = Batch::default();
        let write = begin(self, &mut batch).expect("a batch");
        run();
        drop(write.end(0, Some(loss)));
    }
}

/// Writes the first `accepted` bytes of a batch, and then loses the connection.
fn lose(outbox: &Outbox, accepted: usize) {
    let mut batch = Batch::default();
    let write = begin(outbox, &mut batch).expect("a batch");
    let reset = io::ErrorKind::ConnectionReset.into();
    drop(write.end(accepted, Some(Loss::WriteFailed(reset))));
}

fn socket_pair() -> (Arc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    (Arc::new(listener.accept().unwrap().0), client)
}

/// Makes the outbox of a session.
fn session(limit: usize) -> Arc<Outbox> {
    Outbox::new(Token::from_bits([1; 16]), limit)
}

/// Returns a number that no other connection of this process has.
pub(crate) fn next_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Attachment {
    /// Makes the connection of this number, without threads, and its client.
    pub(crate) fn for_test(number: u64) -> (Attachment, TcpStream) {
        let (socket, client) = socket_pair();
        let timeout = Duration::from_secs(20);
        socket.set_write_timeout(Some(timeout)).unwrap();
        (
            Attachment::new(number, socket, ROOMY, timeout, never()),
            client,
        )
    }
}

/// A connection that is attached without a writer thread. So a test sees the work for one.
struct Unwritten {
    attachment: Arc<Attachment>,
    /// Has a signal if the writer thread was woken.
    woken: Receiver<()>,
    client: TcpStream,
}

fn attach_unwritten(number: u64, outbox: &Arc<Outbox>) -> Unwritten {
    let (attachment, client) = Attachment::for_test(number);
    let attachment = Arc::new(attachment);
    let (wake, woken) = bounded(1);
    attachment.set_outbox(outbox);
    outbox.attach(Attached {
        connection: Arc::clone(&attachment),
        wake,
        first: None,
    });
    // A thread that finds the queue empty does the same.
    if outbox.items.is_empty() {
        outbox.state.lock().drain = Drain::Idle;
    }
    Unwritten {
        attachment,
        woken,
        client,
    }
}

/// Attaches connection 1, without a writer thread.
fn attached(outbox: &Arc<Outbox>) -> Arc<Attachment> {
    attach_unwritten(1, outbox).attachment
}

/// Attaches a new connection with a writer thread. Its client has read the first response.
fn connect(number: u64, outbox: &Arc<Outbox>) -> (Arc<Attachment>, Writer, TcpStream) {
    let (attachment, client) = Attachment::for_test(number);
    connect_with(attachment, client, outbox)
}

fn connect_with(
    attachment: Attachment,
    mut client: TcpStream,
    outbox: &Arc<Outbox>,
) -> (Arc<Attachment>, Writer, TcpStream) {
    let attachment = Arc::new(attachment);
    let mut writer = Writer::new(Arc::clone(&attachment));
    writer.start().unwrap();
    if let Some(evicted) = writer.attach(outbox, &pong("attached")) {
        evicted.evict();
    }
    writers_only().note(MustDrain::Soon, outbox);
    assert_eq!(next_data(&mut client), "Pong attached");
    (attachment, writer, client)
}

fn pong(text: &str) -> Reply {
    Reply {
        header: None,
        response: Response::Pong(Some(literals::printable(text))),
    }
}

/// Reads the next message, and returns its data line.
#[track_caller]
fn next_data(client: &mut TcpStream) -> String {
    let mut message = String::new();
    while message.matches("\r\n").count() < 3 {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the rest of a message");
        message.push(char::from(byte[0]));
    }
    let data = message.lines().nth(2).expect("three lines");
    data.to_owned()
}

fn data(text: &str) -> String {
    format!("Incoming-message private bob {text}")
}

/// Sends until the kernel accepts no more and the queue is full. Returns the number of messages,
/// which are numbered from 0.
fn fill_queue(outbox: &Arc<Outbox>) -> usize {
    let (mut count, mut full_since) = (0, Instant::now());
    while full_since.elapsed() < Duration::from_millis(100) {
        if queue(outbox, &numbered(count)) == Ok(()) {
            count += 1;
            full_since = Instant::now();
        }
    }
    count
}

fn numbered(number: usize) -> Delivery {
    delivery(&numbered_text(number))
}

fn numbered_text(number: usize) -> String {
    format!("{number:09}{}", "x".repeat(1_991))
}

/// Reads to the end of input. Returns the numbers of the whole messages, and whether a part of one
/// follows. Ignores notices of gaps.
fn numbers(client: &mut TcpStream) -> (Vec<usize>, bool) {
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    let mut lines = received.split_inclusive("\r\n");
    let (mut numbers, prefix) = (Vec::new(), data(""));
    loop {
        let message = [(); 3].map(|()| lines.next().unwrap_or(""));
        if !message[2].ends_with("\r\n") {
            return (numbers, !message[0].is_empty());
        }
        match message[2].strip_prefix(&prefix) {
            Some(text) => numbers.push(text[..9].parse().unwrap()),
            None => assert!(message[2].starts_with("Missed "), "{}", message[2]),
        }
    }
}
