//! Writers at real sockets: what is written, how it ends, and who takes whose place.

use super::*;

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
        response: Response::Pong(Some(literals::printable(text))),
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
        response: Response::Pong(Some(literals::printable(&number.to_string()))),
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
