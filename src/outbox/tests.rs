//! The outbox on its own: what a writer would take out, and real sockets where a
//! writer is the matter.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::thread;

use crossbeam_channel::bounded;

use super::batch::Batch;
use super::hand_off::Cork;
use super::writer::{self, Writer};
use super::*;
use crate::protocol::reply::{Response, Scope};
use crate::protocol::text::{Printable, Text};
use crate::protocol::username::Username;

const ROOMY: usize = 1 << 20;

fn delivery(text: &str) -> Delivery {
    let text = Text::new(Printable::new(text.as_bytes()).unwrap()).unwrap();
    Delivery::new(Scope::Private, &Username::new("bob").unwrap(), &text)
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
    let (mut batch, mut half) = (Batch::default(), outbox.half.lock());
    pull(&mut batch, &mut half, outbox, 1);
    let text = String::from_utf8(batch.to_write().to_vec()).unwrap();
    batch.take(text.len(), &mut half, &mut outbox.account.lock());
    outbox.changed.notify_all();
    text.lines().skip(2).step_by(3).map(str::to_owned).collect()
}

/// Of a reader that leaves the writing to the writer.
fn plain() -> Cork {
    Cork::new(false)
}

/// As a reader queues it that leaves the writing to the writer.
fn queue(outbox: &Arc<Outbox>, delivery: &Delivery) -> Result<(), NotQueued> {
    plain().send(outbox, delivery)
}

fn pull(batch: &mut Batch, half: &mut Half, outbox: &Outbox, connection: u64) {
    batch.pull(half, outbox, &mut outbox.account.lock(), connection);
    batch.encode(outbox.token.get().copied());
}

/// What becomes of a batch of which the kernel of connection 1 took so many bytes before
/// the connection broke.
fn lose(outbox: &Outbox, batch: &mut Batch, taken: usize, half: &mut Half) {
    let mut account = outbox.account.lock();
    batch.take(taken, half, &mut account);
    half.give_up(1, &mut account);
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

#[test]
fn what_one_thread_sends_stays_in_order() {
    let outbox = Arc::new(Outbox::new(ROOMY));
    let attachment = attached(&outbox);
    for text in ["one", "two", "three"] {
        assert_eq!(queue(&outbox, &delivery(text)), Ok(()));
    }
    attachment.answer(&goodbye(), &plain());
    assert_eq!(
        take(&outbox),
        [
            data("one"),
            data("two"),
            data("three"),
            "Goodbye".to_owned()
        ]
    );
}

#[test]
fn the_bound_is_one_of_bytes_and_only_deliveries_count() {
    let message = delivery("x");
    let outbox = session(2 * message.wire_len());
    attached(&outbox).answer(&goodbye(), &plain());
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Err(NotQueued::Full));
    take(&outbox);
    assert_eq!(
        queue(&outbox, &message),
        Ok(()),
        "room again once it was written"
    );
}

#[test]
fn a_gap_is_told_where_it_is_and_once() {
    let message = delivery("x");
    let outbox = session(message.wire_len());
    let attachment = attached(&outbox);
    assert_eq!(queue(&outbox, &message), Ok(()));
    for _ in 0..3 {
        assert_eq!(queue(&outbox, &message), Err(NotQueued::Full));
    }
    attachment.answer(&goodbye(), &plain());
    let missed = |count| format!("Missed {count} messages: you read too slowly");
    assert_eq!(take(&outbox), [data("x"), missed(3), "Goodbye".to_owned()]);
    assert_eq!(take(&outbox), [""; 0]);
}

#[test]
fn each_gap_is_told_before_the_next_delivery_that_fits() {
    let (long, short) = (delivery(&"x".repeat(500)), delivery("x"));
    let outbox = session(long.wire_len() + 2 * short.wire_len());
    let missed = |count| format!("Missed {count} messages: you read too slowly");
    assert_eq!(queue(&outbox, &long), Ok(()));
    assert_eq!(queue(&outbox, &long), Err(NotQueued::Full));
    assert_eq!(queue(&outbox, &short), Ok(()));
    assert_eq!(queue(&outbox, &long), Err(NotQueued::Full));
    assert_eq!(queue(&outbox, &long), Err(NotQueued::Full));
    assert_eq!(queue(&outbox, &short), Ok(()));
    let taken = take(&outbox);
    assert_eq!(taken[1..], [missed(1), data("x"), missed(2), data("x")]);
}

#[test]
fn a_gap_that_was_told_is_over() {
    let message = delivery("x");
    let outbox = session(message.wire_len());
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Err(NotQueued::Full));
    // The notice is on its way, the delivery before it not yet written.
    let (mut batch, mut half) = (Batch::default(), Half::default());
    pull(&mut batch, &mut half, &outbox, 1);
    assert_eq!(queue(&outbox, &message), Err(NotQueued::Full));
    let length = batch.to_write().len();
    batch.take(length, &mut half, &mut outbox.account.lock());
    assert_eq!(take(&outbox), ["Missed 1 messages: you read too slowly"]);
}

#[test]
fn of_what_many_threads_send_each_is_queued_or_counted() {
    let message = delivery("x");
    let outbox = session(100 * message.wire_len());
    let (mut queued, mut told, mut received) = (0, 0, 0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..5_000)
                        .filter(|_| queue(&outbox, &message).is_ok())
                        .count()
                })
            })
            .collect();
        let mut count = |data: Vec<String>| {
            for data in data {
                match data.strip_prefix("Missed ") {
                    Some(gap) => {
                        told += gap.split(' ').next().unwrap().parse::<usize>().unwrap();
                    }
                    None => received += 1,
                }
            }
        };
        while !threads.iter().all(|thread| thread.is_finished()) {
            count(take(&outbox));
        }
        queued += threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<usize>();
        count(take(&outbox));
    });
    assert_eq!((queued, queued + told), (received, 4 * 5_000));
}

#[test]
fn the_last_word_is_the_last_and_gaps_are_told_before_it() {
    let message = delivery("x");
    let outbox = session(message.wire_len());
    let attachment = attached(&outbox);
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Err(NotQueued::Full));
    attachment.finish(Some(&goodbye()));
    assert!(!attachment.is_open() && !attachment.wait_for_room(&plain()));
    assert_eq!(queue(&outbox, &message), Err(NotQueued::Closed));
    attachment.answer(&goodbye(), &plain());
    outbox.finish_with_notice(Notice::ShuttingDown);
    let missed = "Missed 1 messages: you read too slowly".to_owned();
    assert_eq!(take(&outbox), [data("x"), missed, "Goodbye".to_owned()]);
}

#[test]
fn a_finished_outbox_is_written_then_the_client_sees_the_end() {
    let outbox = Arc::new(Outbox::new(ROOMY));
    let token = Token::from_bits([0xAB; 16]);
    outbox.belong_to(token);
    // Queued before there is a connection, as what comes while there is none.
    queue(&outbox, &delivery("early")).unwrap();
    let (_, writer, mut client) = connect(1, &outbox);
    queue(&outbox, &delivery("late")).unwrap();
    outbox.finish_with_notice(Notice::ShuttingDown);
    assert!(outbox.wait_until_written(Instant::now() + Duration::from_secs(10)));
    assert_eq!(writer.end().unwrap(), writer::Ending::Written);
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    let header = "ab".repeat(16);
    let lines: Vec<&str> = received.split("\r\n").collect();
    assert_eq!(lines[..3], ["200 OK", &header, &data("early")]);
    assert_eq!(lines[3..6], ["200 OK", &header, &data("late")]);
    assert_eq!(
        lines[6..],
        [
            "502 Bad Gateway",
            &header,
            "The server is shutting down",
            ""
        ]
    );
}

#[test]
fn a_client_that_reads_nothing_blocks_neither_senders_nor_its_cutting() {
    let outbox = Arc::new(Outbox::new(ROOMY));
    let (attachment, writer, _client) = connect(1, &outbox);
    fill(&outbox);
    outbox.finish();
    assert!(!outbox.wait_until_written(Instant::now()));
    attachment.cut();
    assert!(writer.end().is_err(), "cut in the middle of a write");
    assert!(
        outbox.wait_until_written(Instant::now()),
        "nobody waits for it any more"
    );
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
    delivery(&format!("{number:09}{}", "x".repeat(1_991)))
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

#[test]
fn deliveries_count_until_the_kernel_has_taken_them() {
    let outbox = session(ROOMY);
    let (attachment, writer, mut client) = connect(1, &outbox);
    let queued = fill(&outbox) * numbered(0).wire_len();
    attachment.cut();
    assert!(writer.end().is_err());
    let mut taken = Vec::new();
    client.read_to_end(&mut taken).unwrap();
    let unwritten = queued - taken.len();
    assert!(unwritten <= ROOMY, "{unwritten} bytes");
    // A batch counts until all of it is taken.
    let least = ROOMY - limits::BATCH - numbered(0).wire_len();
    assert!(unwritten > least, "{unwritten} bytes");
}

#[test]
fn what_was_not_written_goes_to_the_next_connection_whole_and_in_order() {
    let outbox = session(ROOMY);
    let (attachment, writer, mut client) = connect(1, &outbox);
    let count = fill(&outbox);
    attachment.break_off();
    assert!(writer.end().is_err());
    let (mut received, in_part) = numbers(&mut client);
    assert!(in_part, "broken in the middle of a message");

    let (_, writer, mut client) = connect(2, &outbox);
    outbox.finish();
    let second = thread::spawn(move || numbers(&mut client));
    assert_eq!(writer.end().unwrap(), writer::Ending::Written);
    let (second, in_part) = second.join().unwrap();
    assert!(!in_part);
    received.extend(second);
    assert_eq!(received, (0..count).collect::<Vec<_>>());
}

#[test]
fn a_connection_that_takes_over_gets_its_answers_then_what_is_queued() {
    let session = session(ROOMY);
    let first = attached(&session);
    first.answer(&goodbye(), &plain());
    queue(&session, &delivery("one")).unwrap();
    let (second, writer, client) = connect(2, &Arc::new(Outbox::new(ROOMY)));
    let pong = |text: &str| Reply {
        header: None,
        response: Response::Pong(Some(Printable::new(text.as_bytes()).unwrap())),
    };
    second.answer(&pong("before"), &plain());
    second
        .take_place_at(&session)
        .unwrap()
        .expect("the first")
        .evict();
    assert!(!first.is_open());
    first.answer(&goodbye(), &plain());
    queue(&session, &delivery("two")).unwrap();
    second.go_over(&session, &pong("resumed"), &plain());
    second.answer(&pong("after"), &plain());
    second.finish(None);
    drop(first);
    assert_eq!(writer.end().unwrap(), writer::Ending::Written);
    let mut received = String::new();
    (&client).read_to_string(&mut received).unwrap();
    let lines: Vec<&str> = received.lines().skip(2).step_by(3).collect();
    assert_eq!(
        lines,
        [
            "Pong before",
            "Pong resumed",
            &data("one"),
            &data("two"),
            "Pong after"
        ]
    );
}

#[test]
fn a_connection_whose_place_is_taken_is_told_if_it_reads_and_closed_if_not() {
    let session = Arc::new(Outbox::new(ROOMY));
    session.belong_to(Token::from_bits([0xAB; 16]));
    let (_, idle_writer, mut idle) = connect(1, &session);
    let (second, stalled_writer, _stalled) = connect(2, &Arc::new(Outbox::new(ROOMY)));
    second
        .take_place_at(&session)
        .unwrap()
        .expect("the first")
        .evict();
    second.go_over(&session, &goodbye(), &plain());
    assert_eq!(idle_writer.end().unwrap(), writer::Ending::Detached);
    let mut told = String::new();
    idle.read_to_string(&mut told).unwrap();
    let header = "ab".repeat(16);
    let notice = "This session was resumed from another connection";
    assert_eq!(told, format!("403 Forbidden\r\n{header}\r\n{notice}\r\n"));

    fill(&session);
    let (third, third_writer, _client) = connect(3, &Arc::new(Outbox::new(ROOMY)));
    third
        .take_place_at(&session)
        .unwrap()
        .expect("the second")
        .evict();
    let error = stalled_writer.end().expect_err("in the middle of a write");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    third.go_over(&session, &goodbye(), &plain());
    assert!(third.is_open() && !second.is_open());
    third.break_off();
    drop(third_writer);
}

#[test]
fn who_takes_over_and_breaks_leaves_the_session_to_the_next() {
    let session = session(ROOMY);
    let (second, writer, client) = connect(2, &Arc::new(Outbox::new(ROOMY)));
    // Its writer has gone before it hears of the session.
    drop(client);
    second.break_off();
    let _ = writer.end();
    assert!(second.take_place_at(&session).is_err());
    let (third, writer, _client) = connect(3, &Arc::new(Outbox::new(ROOMY)));
    assert!(
        third.take_place_at(&session).unwrap().is_none(),
        "nobody was attached"
    );
    third.cut();
    third.break_off();
    let _ = writer.end();
    // It hears of it too late: the session is let go of again.
    third.go_over(&session, &goodbye(), &plain());
    assert!(!third.is_open());
    queue(&session, &delivery("kept")).unwrap();
    let (_, writer, mut client) = connect(4, &session);
    session.finish();
    writer.end().unwrap();
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    assert!(
        received.ends_with(&format!("{}\r\n", data("kept"))),
        "{received}"
    );
}

#[test]
fn a_client_that_takes_too_long_for_a_batch_breaks_its_connection() {
    let outbox = session(ROOMY);
    let (socket, mut client) = socket_pair();
    let attachment = Arc::new(Attachment::new(1, Arc::clone(&outbox)));
    let writer = writer::start(&attachment, socket, Duration::from_millis(300)).unwrap();
    fill(&outbox);
    // A trickle does not prolong it.
    let (reading, stopped) = bounded::<()>(0);
    let reader = thread::spawn(move || {
        let trickle = Duration::from_millis(10);
        while stopped.recv_timeout(trickle) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            let _ = client.read(&mut [0; 1_024]);
        }
    });
    let error = writer.end().expect_err("too slow");
    assert_eq!(error.to_string(), "it reads too slowly");
    assert!(!attachment.is_open());
    drop(reading);
    reader.join().unwrap();
}

#[test]
fn a_reader_waits_while_too_many_answers_are_unwritten_and_no_longer() {
    let outbox = Arc::new(Outbox::new(ROOMY));
    let attachment = attached(&outbox);
    attachment.answer_telnet(vec![0; 65_535], &plain());
    assert!(
        attachment.wait_for_room(&plain()),
        "one byte is left of 64 KiB"
    );
    attachment.answer_telnet(vec![0], &plain());
    let (asked, went_on) = bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| asked.send(attachment.wait_for_room(&plain())));
        let early = went_on.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(crossbeam_channel::RecvTimeoutError::Timeout));
        while take(&outbox) != [""; 0] {}
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(true));

        attachment.answer_telnet(vec![0; 65_536], &plain());
        scope.spawn(|| asked.send(attachment.wait_for_room(&plain())));
        outbox.finish();
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(false));
    });
}

#[test]
fn a_pause_ends_with_the_outbox_or_with_the_place_at_it() {
    let session = Arc::new(Outbox::new(ROOMY));
    let first = attached(&session);
    first.pause(Duration::from_millis(1), &plain());
    let (second, _writer, _client) = connect(2, &Arc::new(Outbox::new(ROOMY)));
    thread::scope(|scope| {
        scope.spawn(|| first.pause(Duration::from_secs(3_600), &plain()));
        assert!(second.take_place_at(&session).is_ok());
    });
    thread::scope(|scope| {
        scope.spawn(|| second.pause(Duration::from_secs(3_600), &plain()));
        second.finish(None);
    });
}

#[test]
fn a_reader_that_panics_leaves_no_writer() {
    let (_, writer, mut client) = connect(1, &Arc::new(Outbox::new(ROOMY)));
    let panicked = thread::spawn(move || {
        let _writer = writer;
        panic!("as a defect would");
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn nothing_is_taken_out_for_a_connection_whose_place_is_taken() {
    let session = session(ROOMY);
    let (_, first_writer, mut first) = connect(1, &session);
    let (second, second_writer, mut client) = connect(2, &Arc::new(Outbox::new(ROOMY)));
    let pong = |number: usize| Reply {
        header: None,
        response: Response::Pong(Some(Printable::new(number.to_string().as_bytes()).unwrap())),
    };
    // The first writer is kept busy while its place is taken and used.
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let (session, done) = (&session, &done);
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = queue(session, &delivery("x"));
            }
        });
        scope.spawn(move || first.read_to_end(&mut Vec::new()));
        second
            .take_place_at(session)
            .unwrap()
            .expect("the first")
            .evict();
        second.go_over(session, &pong(0), &plain());
        for number in 1..100 {
            second.answer(&pong(number), &plain());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        second.finish(None);
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        let answers: Vec<&str> = received
            .lines()
            .filter(|line| line.starts_with("Pong"))
            .collect();
        assert_eq!(
            answers,
            (0..100).map(|n| format!("Pong {n}")).collect::<Vec<_>>()
        );
    });
    let _ = first_writer.end();
    assert_eq!(second_writer.end().unwrap(), writer::Ending::Written);
}

#[test]
fn the_answers_to_earlier_connections_are_bounded_together() {
    let session = session(ROOMY);
    let first = attached(&session);
    first.answer_telnet(vec![0; 65_536], &plain());
    let second = Attachment::new(2, Arc::clone(&session));
    second.attach_for_test();
    // Not before they are thrown away is there room for its own.
    let (asked, went_on) = bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| asked.send(second.wait_for_room(&plain())));
        let early = went_on.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(crossbeam_channel::RecvTimeoutError::Timeout));
        let (mut batch, mut half) = (Batch::default(), session.half.lock());
        pull(&mut batch, &mut half, &session, 2);
        assert!(batch.to_write().is_empty());
        batch.take(0, &mut half, &mut session.account.lock());
        session.changed.notify_all();
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(true));
    });
}

#[test]
fn who_is_taken_over_from_before_it_has_gone_over_is_closed_too() {
    let session = session(ROOMY);
    let own = Arc::new(Outbox::new(ROOMY));
    own.belong_to(Token::from_bits([2; 16]));
    let (stalled, writer, _client) = connect(1, &own);
    fill(&own);
    assert!(stalled.take_place_at(&session).unwrap().is_none());
    stalled.go_over(&session, &goodbye(), &plain());
    let (second, _writer, _client) = connect(2, &Arc::new(Outbox::new(ROOMY)));
    second
        .take_place_at(&session)
        .unwrap()
        .expect("the stalled one")
        .evict();
    let error = writer.end().expect_err("in the middle of a write");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn what_a_kernel_did_not_take_comes_again_and_what_it_took_does_not() {
    let session = session(ROOMY);
    let attachment = attached(&session);
    let (mut batch, mut half) = (Batch::default(), Half::default());
    queue(&session, &delivery("one")).unwrap();
    attachment.answer(&goodbye(), &plain());
    queue(&session, &delivery("two")).unwrap();
    let length = delivery("one").wire_len();
    let answer = goodbye().encode().len();
    for (taken, comes_again) in [
        (2 * length + answer, vec![]),
        (2 * length + answer - 1, vec![data("two")]),
        (length + answer, vec![data("two")]),
        (length, vec![data("two")]),
        (length - 1, vec![data("one"), data("two")]),
        (0, vec![data("one"), data("two")]),
    ] {
        pull(&mut batch, &mut half, &session, 1);
        lose(&session, &mut batch, taken, &mut half);
        *session.half.lock() = std::mem::take(&mut half);
        assert_eq!(take(&session), comes_again, "{taken} bytes");
        let account = session.account.lock();
        assert_eq!((account.deliveries, account.answers), (0, 0));
        drop(account);
        queue(&session, &delivery("one")).unwrap();
        attachment.answer(&goodbye(), &plain());
        queue(&session, &delivery("two")).unwrap();
    }
}

#[test]
fn a_gap_that_was_not_told_is_told_to_the_next_connection() {
    let message = delivery("x");
    let session = session(message.wire_len());
    let _first = attached(&session);
    queue(&session, &message).unwrap();
    assert_eq!(queue(&session, &message), Err(NotQueued::Full));
    let (mut batch, mut half) = (Batch::default(), Half::default());
    pull(&mut batch, &mut half, &session, 1);
    lose(&session, &mut batch, message.wire_len() + 5, &mut half);
    *session.half.lock() = half;
    assert_eq!(take(&session), ["Missed 1 messages: you read too slowly"]);
}

#[test]
fn a_connection_that_is_finished_goes_over_to_nothing() {
    let session = session(ROOMY);
    let own = Arc::new(Outbox::new(ROOMY));
    let (late, writer, mut client) = connect(1, &own);
    assert!(late.take_place_at(&session).unwrap().is_none());
    own.finish_with_notice(Notice::ShuttingDown);
    late.go_over(&session, &goodbye(), &plain());
    assert!(!late.is_open());
    // Whoever waits for its last words still waits for those of its own outbox.
    assert!(Arc::ptr_eq(&late.outbox(), &own));
    assert!(own.wait_until_written(Instant::now() + Duration::from_secs(10)));
    assert_eq!(writer.end().unwrap(), writer::Ending::Written);
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    assert_eq!(
        received,
        "502 Bad Gateway\r\n\r\nThe server is shutting down\r\n"
    );
}

#[test]
fn the_first_error_of_a_connection_is_the_one_that_its_writer_learns() {
    let session = session(ROOMY);
    let _attachment = attached(&session);
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    session.account.lock().failed = Some((1, reset));
    // Its client is gone, so that writing to it would fail otherwise.
    for _ in 0..3 {
        Cork::new(true).send(&session, &delivery("x")).unwrap();
        session.account.lock().attended = false;
    }
    let failed = session.account.lock().failed.take();
    let (_, e) = failed.expect("it is left for the writer");
    assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(take(&session).len(), 3);
}

#[test]
fn who_fills_an_outbox_writes_what_the_kernel_takes_and_leaves_the_rest_to_the_writer() {
    let session = session(ROOMY);
    let (socket, mut client) = socket_pair();
    let attachment = Attachment::new(1, Arc::clone(&session));
    // Without a writer, so that it is seen what is left for it.
    let (wake, woken) = bounded(1);
    session.attach(Attached {
        connection: attachment.connection,
        socket: Arc::clone(&socket),
        wake,
        from: None,
        is_torn: Arc::default(),
    });
    woken.recv().unwrap();
    assert_eq!(take(&session), [""; 0]);
    session.account.lock().attended = false;
    let mut count = 0;
    while woken.is_empty() {
        Cork::new(true).send(&session, &numbered(count)).unwrap();
        count += 1;
        assert!(count < 100_000, "the kernel has an end");
    }
    let (half_items, begun) = {
        let half = session.half.lock();
        (half.items.len(), half.begun)
    };
    assert_eq!(half_items, 1, "the message that did not fit is left");
    let account = session.account.lock();
    assert_eq!(account.writing, begun.map(|(connection, _)| connection));
    assert_eq!(account.deliveries, numbered(count - 1).wire_len());
    drop(account);
    // The client has the others whole, and of that one what was taken.
    let taken: usize = (0..count - 1).map(|n| numbered(n).wire_len()).sum();
    let mut read = vec![0; taken + begun.map_or(0, |(_, bytes)| bytes)];
    client.read_exact(&mut read).unwrap();
    assert!(read.ends_with(b"\r\n") || begun.is_some());
}
