//! The outbox on its own: what a writer would take out, and real sockets where a
//! writer is the matter.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use super::batch::Batch;
use super::hand_off::{Cork, HandOff};
use super::writer::{self, Writer};
use super::*;
use crate::limits;
use crate::protocol::literals;
use crate::protocol::reply::{Reply, Response, Scope};

mod connections;
mod hand_off;
mod queue;

const ROOMY: usize = 1 << 20;

fn delivery(text: &str) -> Delivery {
    Delivery::new(
        Scope::Private,
        &literals::name("bob"),
        &literals::text(text),
    )
}

fn goodbye() -> Reply {
    Reply {
        header: None,
        response: Response::Goodbye,
    }
}

/// The data lines of what is queued, which is taken out as the writer of connection
/// 1 would.
fn take(outbox: &Outbox) -> Vec<String> {
    let (mut batch, mut outlet) = (Batch::default(), outbox.outlet.lock());
    pull(&mut batch, &mut outlet, outbox, 1);
    let text = String::from_utf8(batch.to_write().to_vec()).unwrap();
    batch.settle(text.len(), &mut outlet, &mut outbox.account.lock());
    outbox.changed.notify_all();
    text.lines().skip(2).step_by(3).map(str::to_owned).collect()
}

impl Cork {
    /// Of a reader that has no company.
    pub(crate) fn for_test(hand_off: bool) -> Cork {
        Cork::new(HandOff::new(hand_off))
    }
}

/// Of a reader that leaves the writing to the writer.
fn plain() -> Cork {
    Cork::for_test(false)
}

/// As a reader queues it that leaves the writing to the writer.
fn queue(outbox: &Arc<Outbox>, delivery: &Delivery) -> Result<(), NotQueued> {
    plain().send(outbox, delivery)
}

fn pull(batch: &mut Batch, outlet: &mut Outlet, outbox: &Outbox, connection: u64) {
    batch.pull(outlet, outbox, &mut outbox.account.lock(), connection);
    batch.encode(outbox.token.get().copied());
}

/// What becomes of a batch of which the kernel of connection 1 took so many bytes before
/// the connection broke.
fn lose(outbox: &Outbox, batch: &mut Batch, taken: usize, outlet: &mut Outlet) {
    let mut account = outbox.account.lock();
    batch.settle(taken, outlet, &mut account);
    outlet.give_up(1, &mut account);
}

fn socket_pair() -> (Arc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    (Arc::new(listener.accept().unwrap().0), client)
}

/// The outbox of a session.
fn session(bound: usize) -> Arc<Outbox> {
    let outbox = Arc::new(Outbox::new(bound));
    outbox.belong_to(Token::from_bits([1; 16]));
    outbox
}

/// Connection 1, attached without a writer.
fn attached(outbox: &Arc<Outbox>) -> Attachment {
    let attachment = Attachment::new(1, Arc::clone(outbox));
    attachment.attach_for_test();
    attachment
}

impl Attachment {
    /// Attaches it without a writer, for whoever tests what needs none.
    pub(crate) fn attach_for_test(&self) {
        let (socket, wake) = (socket_pair().0, bounded(1).0);
        let connection = self.connection;
        let from = None;
        self.outbox().attach(Attached {
            connection,
            socket,
            wake,
            from,
            is_torn: Arc::default(),
        });
    }
}

/// A connection with its writer, and the other end of it.
fn connect(number: u64, outbox: &Arc<Outbox>) -> (Arc<Attachment>, Writer, TcpStream) {
    let (socket, client) = socket_pair();
    let attachment = Arc::new(Attachment::new(number, Arc::clone(outbox)));
    let writer = writer::start(&attachment, socket, Duration::from_secs(20)).unwrap();
    (attachment, writer, client)
}

fn data(text: &str) -> String {
    format!("Incoming-message private bob {text}")
}

/// Sends until the kernel takes no more and the queue has filled up behind it, and
/// gives the number of messages, which are numbered from 0.
fn fill(outbox: &Arc<Outbox>) -> usize {
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

/// The numbers of the messages that came whole, leaving out notices of gaps, and
/// whether there was a rest.
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
