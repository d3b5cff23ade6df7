//! Tests of writer threads with real sockets: writes, closing, and evictions.

use super::*;
use crossbeam_channel::RecvTimeoutError;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn finished_outbox_is_written_before_end_of_input() {
    let outbox = Outbox::new(Token::from_bits([0xAB; 16]), ROOMY);
    // Queued while no connection is attached.
    queue(&outbox, &delivery("early")).unwrap();
    let (attachment, mut writer, mut client) = connect(1, &outbox);
    queue(&outbox, &delivery("late")).unwrap();
    attachment.shut_down();
    assert!(attachment.wait_until_written(Instant::now() + Duration::from_secs(10)));
    writer.end();
    assert!(attachment.loss().is_none());
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
fn stalled_client_blocks_neither_senders_nor_socket_shutdown() {
    let outbox = session(ROOMY);
    let (attachment, mut writer, _client) = connect(1, &outbox);
    fill_queue(&outbox);
    outbox.finish();
    assert!(!attachment.wait_until_written(Instant::now()));
    attachment.shutdown_socket();
    writer.end();
    assert!(attachment.loss().is_some(), "shut down during a write");
    assert!(
        attachment.wait_until_written(Instant::now()),
        "the shutdown does not wait for it any more"
    );
}

#[test]
fn deliveries_count_until_the_kernel_accepts_them() {
    let outbox = session(ROOMY);
    let (attachment, mut writer, mut client) = connect(1, &outbox);
    let queued = fill_queue(&outbox) * numbered(0).wire_len();
    attachment.shutdown_socket();
    writer.end();
    let mut taken = Vec::new();
    client.read_to_end(&mut taken).unwrap();
    let unwritten = queued - taken.len();
    assert!(unwritten <= ROOMY, "{unwritten} bytes");
    // A batch counts until the kernel has accepted all of it.
    let least = ROOMY - limits::MAX_BATCH - numbered(0).wire_len();
    assert!(unwritten > least, "{unwritten} bytes");
}

#[test]
fn unwritten_messages_reach_next_connection_whole_in_order() {
    let outbox = session(ROOMY);
    let (attachment, mut writer, mut client) = connect(1, &outbox);
    let count = fill_queue(&outbox);
    attachment.abort();
    writer.end();
    let (mut received, in_part) = numbers(&mut client);
    assert!(in_part, "broken in the middle of a message");

    let (_, mut writer, mut client) = connect(2, &outbox);
    outbox.finish();
    let second = thread::spawn(move || numbers(&mut client));
    writer.end();
    let (second, in_part) = second.join().unwrap();
    assert!(!in_part);
    received.extend(second);
    assert_eq!(received, (0..count).collect::<Vec<_>>());
}

#[test]
fn resuming_connection_gets_its_response_then_the_queue() {
    let session = session(ROOMY);
    let first = attached(&session);
    first.respond(goodbye().encode(), &writers_only());
    queue(&session, &delivery("one")).unwrap();
    // `connect` reads the response.
    let (second, mut writer, mut client) = connect(2, &session);
    assert!(matches!(first.loss(), Some(Loss::ResumedElsewhere)));
    assert!(!first.is_served());
    first.respond(goodbye().encode(), &writers_only());
    queue(&session, &delivery("two")).unwrap();
    second.respond(pong("after").encode(), &writers_only());
    second.finish(None);
    writer.end();
    assert_eq!(next_data(&mut client), data("one"));
    assert_eq!(next_data(&mut client), data("two"));
    assert_eq!(next_data(&mut client), "Pong after");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn evicted_idle_client_gets_a_notice() {
    let session = Outbox::new(Token::from_bits([0xAB; 16]), ROOMY);
    let (_, mut first_writer, mut first) = connect(1, &session);
    let (_second, _writer, _client) = connect(2, &session);
    first_writer.end();
    let mut told = String::new();
    first.read_to_string(&mut told).unwrap();
    let header = "ab".repeat(16);
    let notice = "This session was resumed from another connection";
    assert_eq!(told, format!("403 Forbidden\r\n{header}\r\n{notice}\r\n"));
}

#[test]
fn evicted_client_is_shut_down_after_a_partial_write() {
    let session = session(ROOMY);
    let (first, mut first_writer, mut client) = connect(1, &session);
    let count = fill_queue(&session);
    let (second, _writer, mut second_client) = connect(2, &session);
    first_writer.end();
    assert!(second.is_served() && !first.is_served());
    let (mut received, is_torn) = numbers(&mut client);
    assert!(is_torn);
    second.finish(None);
    received.extend(numbers(&mut second_client).0);
    assert_eq!(received, (0..count).collect::<Vec<_>>());
}

#[test]
fn evicted_connection_does_not_wait_for_the_new_client() {
    let session = session(ROOMY);
    let (_, mut first_writer, _first) = connect(1, &session);
    let (stalled, _client) = Attachment::for_test(2);
    let stalled = Arc::new(stalled);
    let mut writer = Writer::new(Arc::clone(&stalled));
    writer.start().unwrap();
    let evicted = writer.attach(&session, &pong("attached"));
    // The new writer thread blocks before the old one learns that it is evicted.
    fill_queue(&session);
    evicted.expect("the first").evict();
    let (ending, ended) = bounded::<()>(0);
    let end = thread::spawn(move || {
        first_writer.end();
        drop(ending);
    });
    // The new client has 20 seconds.
    let waited = ended.recv_timeout(Duration::from_secs(10));
    assert_eq!(waited, Err(RecvTimeoutError::Disconnected));
    end.join().unwrap();
    stalled.shutdown_socket();
}

#[test]
fn batch_over_the_write_timeout_loses_the_connection() {
    let outbox = session(ROOMY);
    let (socket, client) = socket_pair();
    let timeout = Duration::from_millis(300);
    socket.set_write_timeout(Some(timeout)).unwrap();
    let attachment = Attachment::new(1, socket, ROOMY, timeout, never());
    let (attachment, mut writer, mut client) = connect_with(attachment, client, &outbox);
    fill_queue(&outbox);
    // Reads of a few bytes do not extend the timeout.
    let (reading, stopped) = bounded::<()>(0);
    let reader = thread::spawn(move || {
        let trickle = Duration::from_millis(10);
        while stopped.recv_timeout(trickle) == Err(RecvTimeoutError::Timeout) {
            let _ = client.read(&mut [0; 1_024]);
        }
    });
    writer.end();
    assert!(matches!(attachment.loss(), Some(Loss::TooSlow)));
    assert!(!attachment.is_served());
    drop(reading);
    reader.join().unwrap();
}

#[test]
fn pause_ends_when_outbox_closes_or_connection_detaches() {
    let session = session(ROOMY);
    let first = attached(&session);
    first.pause(Duration::from_millis(1), &writers_only());
    thread::scope(|scope| {
        scope.spawn(|| first.pause(Duration::from_secs(3_600), &writers_only()));
        let second = attached(&session);
        scope.spawn(move || second.pause(Duration::from_secs(3_600), &writers_only()));
        session.finish();
    });
}

#[test]
fn pause_without_a_session_ends_with_the_shutdown() {
    let (shutdown, is_shut_down) = bounded(0);
    let (socket, timeout) = (socket_pair().0, Duration::from_secs(20));
    let attachment = Attachment::new(1, socket, ROOMY, timeout, is_shut_down);
    attachment.pause(Duration::from_millis(1), &writers_only());
    assert!(attachment.is_served());
    thread::scope(|scope| {
        scope.spawn(|| attachment.pause(Duration::from_secs(3_600), &writers_only()));
        drop(shutdown);
    });
    assert!(!attachment.is_served());
}

#[test]
fn panicking_reader_leaves_no_writer() {
    let (_, writer, mut client) = connect(1, &session(ROOMY));
    let panicked = thread::spawn(move || {
        let _writer = writer;
        panic!("as a defect would");
    })
    .join();
    assert!(panicked.is_err());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn writer_without_a_session_ends_and_keeps_socket_open() {
    let (attachment, mut client) = Attachment::for_test(1);
    let attachment = Arc::new(attachment);
    let mut writer = Writer::new(Arc::clone(&attachment));
    writer.start().unwrap();
    writer.end();
    attachment.respond(goodbye().encode(), &writers_only());
    attachment.finish(Some(pong("last").encode()));
    let data = [(); 2].map(|()| next_data(&mut client));
    assert_eq!(data, ["Goodbye", "Pong last"]);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn evicted_writer_takes_no_items_of_the_new_connection() {
    let session = session(ROOMY);
    let (_, mut first_writer, mut first) = connect(1, &session);
    // Keep the first writer thread busy while the second connection attaches and responds.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (session, done) = (&session, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let _ = queue(session, &delivery("x"));
            }
        });
        scope.spawn(move || first.read_to_end(&mut Vec::new()));
        let (second, mut second_writer, mut client) = connect(2, session);
        for number in 1..100 {
            second.respond(pong(&number.to_string()).encode(), &writers_only());
        }
        done.store(true, Ordering::Relaxed);
        second.finish(None);
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        let answers: Vec<&str> = received
            .lines()
            .filter(|line| line.starts_with("Pong"))
            .collect();
        assert_eq!(
            answers,
            (1..100).map(|n| format!("Pong {n}")).collect::<Vec<_>>()
        );
        second_writer.end();
    });
    first_writer.end();
}

#[test]
fn reset_connection_is_not_served_after_a_resumption() {
    let session = session(ROOMY);
    let first = attached(&session);
    queue(&session, &delivery("one")).unwrap();
    lose(&session, 0);
    assert!(
        first.is_served(),
        "what the kernel has received is executed"
    );
    let second = attach_unwritten(2, &session).attachment;
    assert!(!first.is_served());
    lose(&session, 0);
    assert!(second.is_served() && !first.is_served());
}

#[test]
fn panicking_write_loses_no_item_and_no_duty() {
    let session = session(ROOMY);
    let first = attached(&session);
    queue(&session, &delivery("one")).unwrap();
    first.respond(goodbye().encode(), &writers_only());
    let mut batch = Batch::default();
    let write = begin(&session, &mut batch).expect("a batch");
    let second = attach_unwritten(2, &session);
    queue(&session, &delivery("two")).unwrap();
    // A panic drops the write in the same way.
    drop(write);
    assert_eq!(second.woken.try_recv(), Ok(()), "its writer has the duty");
    assert_eq!(take(&session), [data("one"), data("two")]);
    let state = session.state.lock();
    assert_eq!((state.deliveries, state.responses), (0, 0));
}

#[test]
fn write_timeout_counts_for_a_whole_response_without_a_session() {
    let (mut attachment, client) = Attachment::for_test(1);
    attachment.write_timeout = Duration::from_secs(1);
    let socket = Arc::clone(&attachment.socket);
    socket
        .set_write_timeout(Some(attachment.write_timeout))
        .unwrap();
    set_socket_send_buffer_size(&socket, 64 * 1024).unwrap();
    set_socket_recv_buffer_size(&client, 64 * 1024).unwrap();
    // The client reads each message in time, and the response in many times the timeout.
    let reader = thread::spawn(move || {
        let mut client = client;
        while matches!(client.read(&mut [0; 16_384]), Ok(1..)) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let message = vec![b'x'; 1_024];
    let began = Instant::now();
    attachment.respond_with(vec![message; 6_000], &writers_only());
    assert!(began.elapsed() < Duration::from_secs(3));
    assert!(matches!(attachment.loss(), Some(Loss::TooSlow)));
    reader.join().unwrap();
}
