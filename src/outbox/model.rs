//! The outbox under the model checker, which tries thousands of thread orders.
//!
//! Two threads send, and writer threads write. The client gets a response of two messages
//! meanwhile. Another connection evicts the first, or attaches after the first was lost. In one
//! scenario the two threads tell a client of presence, for which its queue is too short.
//!
//! The tests check that no message is lost, that none arrives twice, and that none is torn. They
//! check that nothing is between the messages of a response, and that each change arrives or is
//! counted as missed. They also check that no item stays in the queue: then all threads would
//! wait, which shuttle reports as a deadlock.
//!
//! In the last scenario, the clients of two nodes of one chat wait for each other's node
//! (`crate::cluster`).

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::thread::{self, JoinHandle};

use super::direct_write::{DirectWrites, PendingWrites};
use super::primitives::{Condvar, Mutex, Receiver, Sender, Socket, bounded, unbounded};
use super::writer::Writer;
use super::{Attachment, MustDrain, Outbox, SendError};
use crate::protocol::literals;
use crate::protocol::presence::Presence;
use crate::protocol::reply::{Delivery, Notice, Reply, Response, Scope};
use crate::protocol::status::Status;
use crate::protocol::token::Token;

/// Number of thread orders for each of the two schedulers.
const ORDERS: usize = 10_000;

const SENDERS: usize = 2;
const MESSAGES: usize = 2;

/// A connection with its writer thread, and the socket that has its output.
struct Connection {
    attachment: Arc<Attachment>,
    socket: Arc<Socket>,
    writer: Writer,
}

type Changed = Arc<(Mutex<()>, Condvar)>;

fn changed() -> Changed {
    Arc::new((Mutex::new(()), Condvar::new()))
}

/// Attaches a new connection to the session's outbox, and evicts the one that was attached.
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

/// Starts threads that send and flush, as reader threads do.
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

/// Starts threads that tell the session of changes, as reader threads do.
fn tell(session: &Arc<Outbox>, direct_writes: &Arc<DirectWrites>) -> Vec<JoinHandle<()>> {
    let tell = |_| {
        let (session, direct_writes) = (Arc::clone(session), Arc::clone(direct_writes));
        thread::spawn(move || {
            let pending = PendingWrites::new(direct_writes);
            for _ in 0..MESSAGES {
                // If it does not fit, the outbox counts it.
                if let Ok(duty) = session.send_presence(&joined()) {
                    pending.note(duty, &session);
                }
                // More than half of the queue is never in use.
                assert!(session.state.lock().deliveries <= joined().wire_len());
                pending.flush();
            }
        })
    };
    (0..SENDERS).map(tell).collect()
}

fn joined() -> Delivery {
    Delivery::presence(&Presence::Joined(literals::name("bob")))
}

/// The two messages of a response.
const PARTS: [&str; 2] = ["Pong one", "Pong two"];

/// Enqueues a response of two messages, as the reader thread of this connection does.
fn respond(connection: &Connection, direct_writes: &Arc<DirectWrites>) {
    let part = |data: &str| {
        let text = literals::printable(data).after_first_word();
        let response = Response::Pong(text);
        let header = Some(Token::from_bits([1; 16]));
        Reply { header, response }.encode()
    };
    let pending = PendingWrites::new(Arc::clone(direct_writes));
    connection
        .attachment
        .respond_with(PARTS.map(part), &pending);
}

/// Returns how much of the response a client has received. Nothing may be within it.
fn received_parts(socket: &Socket) -> usize {
    let (data, _) = messages(&socket.taken());
    let Some(first) = data.iter().position(|data| data == PARTS[0]) else {
        assert!(!data.iter().any(|data| data == PARTS[1]), "{data:?}");
        return 0;
    };
    match data.get(first + 1).map(String::as_str) {
        Some(next) if next == PARTS[1] => 2,
        // An evicted client gets the notice in place of the rest.
        next => {
            let notice = Notice::ResumedElsewhere.to_string();
            assert!(next.is_none() || next == Some(&*notice), "{data:?}");
            1
        }
    }
}

/// Returns the data lines of the whole messages in these bytes, and whether a part of one follows.
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

/// Returns the deliveries that these clients have received, in order.
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

/// Blocks until all messages have arrived, and checks that each has arrived once and in order.
fn wait_for_all(sockets: &[&Socket], changed: &Changed) {
    let mut guard = changed.0.lock();
    while deliveries(sockets).len() < SENDERS * MESSAGES {
        changed.1.wait(&mut guard);
    }
    drop(guard);
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

/// Blocks until the first response has arrived, although the session is not finished.
fn wait_for_response(socket: &Socket, changed: &Changed) {
    let mut guard = changed.0.lock();
    while messages(&socket.taken()).0.is_empty() {
        changed.1.wait(&mut guard);
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn assert_all_written(outbox: &Outbox) {
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
fn assert_response_is_first(socket: &Socket) {
    let (data, _) = messages(&socket.taken());
    assert_eq!(data[0], "You are already alice", "{data:?}");
}

/// All messages reach a client that stays connected.
fn two_send(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut connection = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    respond(&connection, direct_writes);
    wait_for_all(&[&connection.socket], &changed);
    join(senders);
    session.finish();
    connection.writer.end();
    assert_response_is_first(&connection.socket);
    assert_eq!(received_parts(&connection.socket), PARTS.len());
    assert_all_written(&session);
}

/// Each change arrives, or is counted in a notice that waits for no further delivery.
fn two_tell(direct_writes: &Arc<DirectWrites>) {
    let changed = changed();
    let session = Outbox::new(Token::from_bits([1; 16]), 2 * joined().wire_len());
    let mut connection = connect(1, &session, &changed, direct_writes);
    let tellers = tell(&session, direct_writes);
    let told = || {
        let (data, _) = messages(&connection.socket.taken());
        let count = |data: &String| match Notice::parse(Status::BadGateway, data) {
            Some(Notice::Missed(count)) => usize::try_from(count).unwrap(),
            _ => usize::from(data.starts_with("Incoming-presence ")),
        };
        data.iter().map(count).sum::<usize>()
    };
    let mut guard = changed.0.lock();
    while told() < SENDERS * MESSAGES {
        changed.1.wait(&mut guard);
    }
    drop(guard);
    join(tellers);
    assert_eq!(told(), SENDERS * MESSAGES);
    session.finish();
    connection.writer.end();
    assert_all_written(&session);
}

/// Another connection resumes the session while messages arrive.
fn two_send_during_takeover(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut first = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    respond(&first, direct_writes);
    let mut second = connect(2, &session, &changed, direct_writes);
    wait_for_all(&[&first.socket, &second.socket], &changed);
    wait_for_response(&second.socket, &changed);
    join(senders);
    session.finish();
    first.writer.end();
    second.writer.end();
    assert_all_written(&session);
    assert_response_is_first(&second.socket);
    assert!(!messages(&second.socket.taken()).1, "it is torn");
    received_parts(&first.socket);
    assert_eq!(received_parts(&second.socket), 0);
    let (data, is_torn) = messages(&first.socket.taken());
    let notice = "This session was resumed from another connection";
    // The evicted client gets the notice, unless its socket was shut down after a partial write
    // or did not accept the notice.
    match data.iter().position(|data| data == notice) {
        Some(at) => assert!(at + 1 == data.len() && !is_torn, "{data:?}"),
        None => assert!(first.socket.is_shut_down_or_full(), "{data:?}"),
    }
}

/// Another connection resumes the session of a stalled client, and then the new client stalls
/// too. The old writer thread still ends.
fn takeover_with_stalled_clients(direct_writes: &Arc<DirectWrites>) {
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
fn two_send_during_shutdown(direct_writes: &Arc<DirectWrites>) {
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

/// The connection is lost while the server shuts down. The shutdown does not wait for it.
fn loss_during_shutdown(direct_writes: &Arc<DirectWrites>) {
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

/// A connection is lost while messages arrive, and another resumes the session later.
fn two_send_during_loss(direct_writes: &Arc<DirectWrites>) {
    let (session, changed) = (session(), changed());
    let mut first = connect(1, &session, &changed, direct_writes);
    let senders = send_to(&session, direct_writes);
    // The network resets the connection. Then the reader thread notices.
    let _ = first.socket.shutdown(Shutdown::Both);
    first.attachment.abort();
    first.writer.end();
    let mut second = connect(2, &session, &changed, direct_writes);
    wait_for_all(&[&first.socket, &second.socket], &changed);
    wait_for_response(&second.socket, &changed);
    join(senders);
    session.finish();
    second.writer.end();
    assert_response_is_first(&second.socket);
    assert_all_written(&session);
}

/// An entry in the inbox of a node.
enum Entry {
    /// A message to its client. The sender's thread waits for the confirmation.
    Private(Sender<()>),
    /// A confirmation, which the node passes on to the thread that waits.
    Confirm(Sender<()>),
    /// The node has left.
    End,
}

/// Starts a thread that does what `redis-in` does: it reads an inbox, queues what is for its
/// client, confirms before it drains, and drains before it reads on.
fn read_inbox(
    inbox: Receiver<Entry>,
    other: Sender<Entry>,
    session: &Arc<Outbox>,
    direct_writes: &Arc<DirectWrites>,
) -> JoinHandle<()> {
    let pending = PendingWrites::new(Arc::clone(direct_writes));
    let session = Arc::clone(session);
    thread::spawn(move || {
        let text = Delivery::new(
            Scope::Private,
            &literals::name("bob"),
            &literals::text("hello"),
        );
        while let Ok(entry) = inbox.recv() {
            match entry {
                Entry::Private(asker) => {
                    assert_eq!(pending.send(&session, &text), Ok(()));
                    let _ = other.send(Entry::Confirm(asker));
                }
                Entry::Confirm(asker) => {
                    let _ = asker.send(());
                }
                Entry::End => return,
            }
            pending.flush();
        }
    })
}

/// Clients of two nodes send to each other, and none of them reads. Every sender gets its
/// confirmation: the thread that reads an inbox waits for no client and for no other node.
fn nodes_ask_each_other(direct_writes: &Arc<DirectWrites>) {
    let changed = changed();
    let sessions = [session(), session()];
    let mut clients = [0, 1].map(|node| {
        let client = connect(node as u64, &sessions[node], &changed, direct_writes);
        client.socket.stall();
        client
    });
    let (one, inbox_of_one) = unbounded();
    let (two, inbox_of_two) = unbounded();
    let askers = [&one, &two].map(|to: &Sender<Entry>| {
        let to = to.clone();
        thread::spawn(move || {
            for _ in 0..MESSAGES {
                let (asker, confirmed) = bounded(1);
                let _ = to.send(Entry::Private(asker));
                assert!(confirmed.recv().is_ok());
            }
        })
    });
    let readers = vec![
        read_inbox(inbox_of_one, two.clone(), &sessions[0], direct_writes),
        read_inbox(inbox_of_two, one.clone(), &sessions[1], direct_writes),
    ];
    join(askers.into());
    for inbox in [&one, &two] {
        let _ = inbox.send(Entry::End);
    }
    join(readers);
    for client in &mut clients {
        client.attachment.abort();
        client.writer.end();
    }
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

/// Checks a scenario in many thread orders: random ones, and ones with few preemptions.
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
fn sent_messages_arrive() {
    check(two_send);
}

#[test]
fn presence_arrives_or_is_counted_as_missed() {
    check(two_tell);
}

#[test]
fn sent_messages_arrive_during_a_takeover() {
    check(two_send_during_takeover);
}

#[test]
fn evicted_writer_ends_although_both_clients_stall() {
    check(takeover_with_stalled_clients);
}

#[test]
fn shutdown_notice_is_the_last_message() {
    check(two_send_during_shutdown);
}

#[test]
fn shutdown_does_not_wait_for_a_lost_connection() {
    check(loss_during_shutdown);
}

#[test]
fn sent_messages_arrive_although_the_connection_is_lost() {
    check(two_send_during_loss);
}

#[test]
fn nodes_confirm_although_no_client_reads() {
    check(nodes_ask_each_other);
}
