//! The outbox under the model checker: two who send, writers, a connection that takes
//! another's place or comes after it broke, in thousands of orders of what they do.
//!
//! Nothing is lost, nothing comes twice, nothing stands in the middle of a message, and
//! nothing is left lying: if it were, everyone would wait, which shuttle calls a deadlock.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread::{self, JoinHandle};

use super::direct_write::{DirectWrites, PendingWrites};
use super::primitives::{Condvar, Mutex, Socket, bounded};
use super::writer::Writer;
use super::{Attachment, MustDrain, Outbox, SendError};
use crate::protocol::literals;
use crate::protocol::reply::{Delivery, Reply, Response, Scope};
use crate::protocol::token::Token;

/// Orders to try for each of the two ways of choosing them.
const ORDERS: usize = 10_000;

const SENDERS: usize = 2;
const MESSAGES: usize = 2;

/// A connection with its writer thread, and what its client has got.
struct Connection {
    attachment: Arc<Attachment>,
    socket: Arc<Socket>,
    writer: Writer,
}

type Changed = Arc<(Mutex<()>, Condvar)>;

fn changed() -> Changed {
    Arc::new((Mutex::new(()), Condvar::new()))
}

/// A connection that attaches to the session's outbox, and evicts the one that was attached.
fn connect(
    number: u64,
    outbox: &Arc<Outbox>,
    changed: &Changed,
    direct_writes: &Arc<DirectWrites>,
) -> Connection {
    let socket = Arc::new(Socket::new(Arc::clone(changed)));
    let its_socket = Arc::clone(&socket);
    let (hour, shutdown) = (Duration::from_secs(3_600), bounded(0).1);
    let attachment = Attachment::new(number, its_socket, 1 << 20, hour, shutdown);
    let attachment = Arc::new(attachment);
    let mut writer = Writer::new(Arc::clone(&attachment));
    writer.start().unwrap();
    let pending = PendingWrites::new(Arc::clone(direct_writes));
    if let Some(evicted) = writer.attach(outbox, &resumed()) {
        evicted.evict();
    }
    pending.note(MustDrain::Soon, outbox);
    Connection {
        attachment,
        socket,
        writer,
    }
}

fn session() -> Arc<Outbox> {
    Outbox::new(Token::from_bits([1; 16]), 1 << 20)
}

/// As readers do it: something is queued, and seen to.
fn send_to(session: &Arc<Outbox>, direct_writes: &Arc<DirectWrites>) -> Vec<JoinHandle<()>> {
    let send = |sender: usize| {
        let (session, direct_writes) = (Arc::clone(session), Arc::clone(direct_writes));
        thread::spawn(move || {
            let pending = PendingWrites::new(direct_writes);
            let name = literals::name(&format!("sender{sender}"));
            for number in 0..MESSAGES {
                let text = literals::text(&number.to_string());
                let delivery = Delivery::new(Scope::Private, &name, &text);
                if pending.send(&session, &delivery) == Err(SendError::Closed) {
                    return;
                }
                pending.flush();
            }
        })
    };
    (0..SENDERS).map(send).collect()
}

/// The data lines of the whole messages in these bytes, and whether part of one follows.
fn messages(bytes: &[u8]) -> (Vec<String>, bool) {
    let text = str::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.split_inclusive("\r\n").collect();
    let whole = lines.iter().filter(|line| line.ends_with("\r\n")).count() / 3 * 3;
    for message in lines[..whole].chunks(3) {
        assert!(
            message[0].starts_with(|c: char| c.is_ascii_digit()),
            "{text:?}"
        );
        assert!(message[1].len() == 2 || message[1].len() == 34, "{text:?}");
    }
    let data = lines[..whole].iter().skip(2).step_by(3);
    let data = data.map(|line| line.trim_end().to_owned()).collect();
    (data, whole < lines.len())
}

/// All that these clients have got of what was sent, in order.
fn deliveries(sockets: &[&Socket]) -> Vec<String> {
    let all = sockets
        .iter()
        .flat_map(|socket| messages(&socket.taken()).0);
    let delivery = |data: String| {
        data.strip_prefix("Incoming-message private ")
            .map(str::to_owned)
    };
    all.filter_map(delivery).collect()
}

/// Waits until everything has arrived, and checks that it has once and in order.
fn wait_for_all(sockets: &[&Socket], changed: &Changed) {
    let mut looking = changed.0.lock();
    while deliveries(sockets).len() < SENDERS * MESSAGES {
        changed.1.wait(&mut looking);
    }
    drop(looking);
    let arrived = deliveries(sockets);
    for sender in 0..SENDERS {
        let from = format!("sender{sender} ");
        let numbers: Vec<&str> = arrived
            .iter()
            .filter_map(|it| it.strip_prefix(&from))
            .collect();
        assert_eq!(numbers, ["0", "1"], "{arrived:?}");
    }
}

/// Waits until the first response has arrived, although the session is not finished.
fn wait_for_response(socket: &Socket, changed: &Changed) {
    let mut looking = changed.0.lock();
    while messages(&socket.taken()).0.is_empty() {
        changed.1.wait(&mut looking);
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn nothing_is_owed(outbox: &Outbox) {
    let state = outbox.state.lock();
    assert_eq!((state.deliveries, state.responses), (0, 0));
}

/// The first response of each connection.
fn resumed() -> Reply {
    let name = literals::name("alice");
    Reply {
        header: Some(Token::from_bits([1; 16])),
        response: Response::YouAreAlready(name),
    }
}

#[track_caller]
fn response_is_first(socket: &Socket) {
    let (data, _) = messages(&socket.taken());
    assert_eq!(data[0], "You are already alice", "{data:?}");
}

/// Everything reaches a client that stays.
fn two_send(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut connection = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    wait_for_all(&[&connection.socket], &changed);
    join(senders);
    session.finish();
    connection.writer.end();
    response_is_first(&connection.socket);
    nothing_is_owed(&session);
}

/// Another connection takes the place of one at which messages arrive.
fn two_send_while_one_takes_over(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut first = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    let mut second = connect(2, &session, &changed, direct_writes);
    wait_for_all(&[&first.socket, &second.socket], &changed);
    wait_for_response(&second.socket, &changed);
    join(senders);
    session.finish();
    first.writer.end();
    second.writer.end();
    nothing_is_owed(&session);
    response_is_first(&second.socket);
    assert!(!messages(&second.socket.taken()).1, "it is torn");
    let (data, is_torn) = messages(&first.socket.taken());
    let last_word = "This session was resumed from another connection";
    // A client is told, unless its socket was shut down in mid-message or accepted no notice.
    match data.iter().position(|data| data == last_word) {
        Some(at) => assert!(at + 1 == data.len() && !is_torn, "{data:?}"),
        None => assert!(first.socket.is_shut_down_or_full(), "{data:?}"),
    }
}

/// Another connection takes over from one whose client accepts no byte more, and then the new
/// client accepts none either. The old writer thread ends all the same.
fn one_takes_over_and_both_stall(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut first = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    first.socket.stall();
    let mut second = connect(2, &session, &changed, direct_writes);
    second.socket.stall();
    first.writer.end();
    join(senders);
    second.attachment.abort();
    second.writer.end();
}

/// The server shuts down while messages arrive. Nothing is written behind the last message.
fn two_send_while_it_is_shut_down(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let Connection {
        attachment,
        socket,
        mut writer,
    } = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    attachment.shut_down();
    assert!(attachment.wait_until_written(Instant::now()));
    join(senders);
    writer.end();
    let (data, is_torn) = messages(&socket.taken());
    let last = data.last().map(String::as_str);
    assert_eq!(
        (last, is_torn),
        (Some("The server is shutting down"), false)
    );
}

/// The connection breaks while the server shuts down. The shutdown does not wait for it.
fn one_breaks_while_it_is_shut_down(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut connection = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    let socket = Arc::clone(&connection.socket);
    let network = thread::spawn(move || drop(socket.shutdown(Shutdown::Both)));
    connection.attachment.shut_down();
    assert!(connection.attachment.wait_until_written(Instant::now()));
    join(senders);
    network.join().unwrap();
    connection.writer.end();
}

/// A connection breaks under what arrives, and another comes later.
fn two_send_while_it_breaks(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut first = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    // The network's part, and then the reader's.
    let _ = first.socket.shutdown(Shutdown::Both);
    first.attachment.abort();
    first.writer.end();
    let mut second = connect(2, &session, &changed, direct_writes);
    wait_for_all(&[&first.socket, &second.socket], &changed);
    wait_for_response(&second.socket, &changed);
    join(senders);
    session.finish();
    second.writer.end();
    response_is_first(&second.socket);
    nothing_is_owed(&session);
}

/// Which threads write without blocking.
#[derive(Clone, Copy)]
enum Form {
    WriterThreadsOnly,
    ReaderThreads,
    Broadcaster,
}

impl Form {
    fn start(self) -> Arc<DirectWrites> {
        match self {
            Form::WriterThreadsOnly => DirectWrites::new(false),
            Form::ReaderThreads => DirectWrites::new(true),
            Form::Broadcaster => DirectWrites::start(true).unwrap(),
        }
    }
}

/// In many orders, chosen by chance, and by chance with a few turns at critical points.
fn check(scenario: fn(&Arc<DirectWrites>)) {
    for form in [
        Form::WriterThreadsOnly,
        Form::ReaderThreads,
        Form::Broadcaster,
    ] {
        shuttle::check_random(move || scenario(&form.start()), ORDERS);
        shuttle::check_pct(move || scenario(&form.start()), ORDERS, 3);
    }
}

#[test]
fn what_is_sent_arrives() {
    check(two_send);
}

#[test]
fn what_is_sent_arrives_while_another_connection_takes_over() {
    check(two_send_while_one_takes_over);
}

#[test]
fn evicted_writer_ends_although_both_clients_stall() {
    check(one_takes_over_and_both_stall);
}

#[test]
fn shutdown_notice_is_the_last_message() {
    check(two_send_while_it_is_shut_down);
}

#[test]
fn shutdown_does_not_wait_for_a_lost_connection() {
    check(one_breaks_while_it_is_shut_down);
}

#[test]
fn what_is_sent_arrives_although_the_connection_breaks() {
    check(two_send_while_it_breaks);
}
