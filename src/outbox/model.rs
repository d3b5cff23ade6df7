//! The outbox under the model checker: two who send, writers, a connection that takes
//! another's place or comes after it broke, in thousands of orders of what they do.
//!
//! Nothing is lost, nothing comes twice, nothing stands in the middle of a message, and
//! nothing is left lying: if it were, everyone would wait, which shuttle calls a deadlock.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread::{self, JoinHandle};

use super::hand_off::{Cork, HandOff};
use super::primitives::{Condvar, Mutex, Socket, bounded};
use super::writer::WriterThread;
use super::{Attachment, NotQueued, Outbox};
use crate::protocol::literals;
use crate::protocol::reply::{Delivery, Notice, Reply, Response, Scope};
use crate::protocol::token::Token;

/// Orders to try for each of the two ways of choosing them.
const ORDERS: usize = 10_000;

const SENDERS: usize = 2;
const MESSAGES: usize = 2;

/// A connection with its writer, and what its client has got.
struct Connection {
    attachment: Arc<Attachment>,
    socket: Arc<Socket>,
    writer: JoinHandle<()>,
}

type Changed = Arc<(Mutex<()>, Condvar)>;

fn changed() -> Changed {
    Arc::new((Mutex::new(()), Condvar::new()))
}

fn connect(number: u64, outbox: &Arc<Outbox>, changed: &Changed) -> Connection {
    let socket = Arc::new(Socket::new(Arc::clone(changed)));
    let attachment = Arc::new(Attachment::new(number, Arc::clone(outbox)));
    let writer = WriterThread::attach(&attachment, Arc::clone(&socket), Duration::from_secs(3_600));
    let leaving = Arc::clone(&attachment);
    let writer = thread::spawn(move || {
        let (writing, _) = bounded(0);
        let (_, reader_gone) = bounded(0);
        let _ = writer.run(&leaving, writing, &reader_gone);
    });
    Connection {
        attachment,
        socket,
        writer,
    }
}

fn session() -> Arc<Outbox> {
    let session = Arc::new(Outbox::new(1 << 20));
    session.belong_to(Token::from_bits([1; 16]));
    session
}

/// As readers do it: something is queued, and seen to.
fn send_to(session: &Arc<Outbox>, hand_off: bool) -> Vec<JoinHandle<()>> {
    let send = |sender: usize| {
        let session = Arc::clone(session);
        thread::spawn(move || {
            let cork = Cork::new(HandOff::new(hand_off));
            let name = literals::name(&format!("sender{sender}"));
            for number in 0..MESSAGES {
                let text = literals::text(&number.to_string());
                let delivery = Delivery::new(Scope::Private, &name, &text);
                if cork.send(&session, &delivery) == Err(NotQueued::Closed) {
                    return;
                }
                cork.flush();
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

fn join(threads: Vec<JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

fn nothing_is_owed(outbox: &Outbox) {
    let account = outbox.account.lock();
    assert_eq!((account.deliveries, account.answers), (0, 0));
}

fn resumed() -> Reply {
    let name = literals::name("alice");
    Reply {
        header: Some(Token::from_bits([1; 16])),
        response: Response::YouAreAlready(name),
    }
}

/// Everything reaches a client that stays.
fn two_send(hand_off: bool) {
    let (session, changed) = (session(), changed());
    let connection = connect(1, &session, &changed);
    let senders = send_to(&session, hand_off);
    wait_for_all(&[&connection.socket], &changed);
    join(senders);
    session.finish();
    connection.writer.join().unwrap();
    nothing_is_owed(&session);
}

/// Another connection takes the place of one at which messages arrive.
fn two_send_while_one_takes_over(hand_off: bool) {
    let (session, changed) = (session(), changed());
    let first = connect(1, &session, &changed);
    let senders = send_to(&session, hand_off);
    let own = Arc::new(Outbox::new(1 << 20));
    let second = connect(2, &own, &changed);
    {
        let cork = Cork::new(HandOff::new(hand_off));
        let evicted = second.attachment.take_place_at(&session).unwrap();
        evicted.expect("the first").evict();
        second.attachment.go_over(&session, &resumed(), &cork);
    }
    wait_for_all(&[&first.socket, &second.socket], &changed);
    join(senders);
    session.finish();
    first.writer.join().unwrap();
    second.writer.join().unwrap();
    nothing_is_owed(&session);
    let (data, is_torn) = messages(&second.socket.taken());
    assert!(
        data[0].starts_with("You are already ") && !is_torn,
        "{data:?}"
    );
    let (data, is_torn) = messages(&first.socket.taken());
    let last_word = "This session was resumed from another connection";
    let told = data.iter().position(|data| data == last_word);
    assert!(
        told.is_none_or(|at| at + 1 == data.len() && !is_torn),
        "{data:?}"
    );
}

/// The server shuts down while a connection goes over. Whichever outbox it is attached to
/// is finished then: nobody waits for ever, and nothing is written behind the last word.
fn it_is_finished_while_it_goes_over(hand_off: bool) {
    let (session, changed) = (session(), changed());
    let own = Arc::new(Outbox::new(1 << 20));
    let Connection {
        attachment,
        socket,
        writer,
    } = connect(1, &own, &changed);
    let senders = send_to(&session, hand_off);
    let finishing = Arc::clone(&attachment);
    let shutdown = thread::spawn(move || finishing.finish_with_notice(Notice::ShuttingDown));
    // Otherwise its writer has come to the end already.
    if attachment.take_place_at(&session).is_ok() {
        let cork = Cork::new(HandOff::new(hand_off));
        attachment.go_over(&session, &resumed(), &cork);
    }
    join(senders);
    shutdown.join().unwrap();
    writer.join().unwrap();
    let (data, is_torn) = messages(&socket.taken());
    let last = data.last().map(String::as_str);
    assert_eq!(
        (last, is_torn),
        (Some("The server is shutting down"), false)
    );
}

/// A connection breaks under what arrives, and another comes later.
fn two_send_while_it_breaks(hand_off: bool) {
    let (session, changed) = (session(), changed());
    let first = connect(1, &session, &changed);
    let senders = send_to(&session, hand_off);
    // The network's part, and then the reader's.
    let _ = first.socket.shutdown(Shutdown::Both);
    first.attachment.break_off();
    first.writer.join().unwrap();
    let own = Arc::new(Outbox::new(1 << 20));
    let second = connect(2, &own, &changed);
    {
        let cork = Cork::new(HandOff::new(hand_off));
        assert!(second.attachment.take_place_at(&session).unwrap().is_none());
        second.attachment.go_over(&session, &resumed(), &cork);
    }
    wait_for_all(&[&first.socket, &second.socket], &changed);
    join(senders);
    session.finish();
    second.writer.join().unwrap();
    nothing_is_owed(&session);
}

/// In many orders, chosen by chance, and by chance with a few turns at critical points.
fn check(scenario: fn(bool)) {
    for hand_off in [true, false] {
        shuttle::check_random(move || scenario(hand_off), ORDERS);
        shuttle::check_pct(move || scenario(hand_off), ORDERS, 3);
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
fn a_connection_that_goes_over_is_finished_wherever_it_is() {
    check(it_is_finished_while_it_goes_over);
}

#[test]
fn what_is_sent_arrives_although_the_connection_breaks() {
    check(two_send_while_it_breaks);
}
