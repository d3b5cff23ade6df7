//! Tests of the queue and its limits, without a writer thread.

use super::*;

#[test]
fn messages_of_one_thread_stay_in_order() {
    let outbox = session(ROOMY);
    let attachment = attached(&outbox);
    for text in ["one", "two", "three"] {
        assert_eq!(queue(&outbox, &delivery(text)), Ok(()));
    }
    attachment.respond(goodbye().encode(), &writers_only());
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
fn queue_limit_counts_only_bytes_of_deliveries() {
    let message = delivery("x");
    let outbox = session(2 * message.wire_len());
    let attachment = attached(&outbox);
    attachment.respond(goodbye().encode(), &writers_only());
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Err(SendError::Full));
    take(&outbox);
    assert_eq!(
        queue(&outbox, &message),
        Ok(()),
        "room again once it was written"
    );
}

#[test]
fn presence_fits_while_less_than_half_of_the_queue_is_in_use() {
    let (message, change) = (delivery("x"), presence("carol"));
    let outbox = session(4 * message.wire_len());
    let _attachment = attached(&outbox);
    let send_presence = || outbox.send_presence(&change).map(|_| ());
    assert_eq!(queue(&outbox, &message), Ok(()));
    // It fits although it does not stay below the half.
    assert_eq!(send_presence(), Ok(()));
    assert_eq!(send_presence(), Err(SendError::Full));
    assert_eq!(queue(&outbox, &message), Ok(()));
    let joined = "Incoming-presence joined carol".to_owned();
    let missed = "Missed 1 messages: you read too slowly".to_owned();
    assert_eq!(
        take(&outbox),
        [data("x"), joined.clone(), missed, data("x")]
    );
    assert_eq!(send_presence(), Ok(()));
    assert_eq!(take(&outbox), [joined]);
    // Exactly half of the queue is not less.
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(send_presence(), Err(SendError::Full));
}

#[test]
fn response_of_several_messages_is_one_piece() {
    let outbox = session(ROOMY);
    let attachment = attached(&outbox);
    let messages = || ["one", "two", "three"].map(|text| pong(text).encode());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..1_000 {
                queue(&outbox, &delivery("x")).unwrap();
            }
        });
        for _ in 0..100 {
            attachment.respond_with(messages(), &writers_only());
        }
    });
    let mut taken = Vec::new();
    loop {
        let batch = take(&outbox);
        if batch.is_empty() {
            break;
        }
        taken.extend(batch);
    }
    let starts = taken.iter().enumerate().filter(|(_, it)| *it == "Pong one");
    let starts: Vec<usize> = starts.map(|(start, _)| start).collect();
    assert_eq!(starts.len(), 100);
    for start in starts {
        assert_eq!(
            taken[start..start + 3],
            ["Pong one", "Pong two", "Pong three"]
        );
    }
}

#[test]
fn gap_notice_is_sent_at_the_gap_and_once() {
    let message = delivery("x");
    let outbox = session(message.wire_len());
    let attachment = attached(&outbox);
    assert_eq!(queue(&outbox, &message), Ok(()));
    for _ in 0..3 {
        assert_eq!(queue(&outbox, &message), Err(SendError::Full));
    }
    attachment.respond(goodbye().encode(), &writers_only());
    let missed = |count| format!("Missed {count} messages: you read too slowly");
    assert_eq!(take(&outbox), [data("x"), missed(3), "Goodbye".to_owned()]);
    assert_eq!(take(&outbox), [""; 0]);
}

#[test]
fn each_gap_notice_precedes_the_next_delivery_that_fits() {
    let (long, short) = (delivery(&"x".repeat(500)), delivery("x"));
    let outbox = session(long.wire_len() + 2 * short.wire_len());
    let _attachment = attached(&outbox);
    let missed = |count| format!("Missed {count} messages: you read too slowly");
    assert_eq!(queue(&outbox, &long), Ok(()));
    assert_eq!(queue(&outbox, &long), Err(SendError::Full));
    assert_eq!(queue(&outbox, &short), Ok(()));
    assert_eq!(queue(&outbox, &long), Err(SendError::Full));
    assert_eq!(queue(&outbox, &long), Err(SendError::Full));
    assert_eq!(queue(&outbox, &short), Ok(()));
    let taken = take(&outbox);
    assert_eq!(taken[1..], [missed(1), data("x"), missed(2), data("x")]);
}

#[test]
fn new_miss_after_a_gap_notice_opens_a_new_gap() {
    let message = delivery("x");
    let outbox = session(message.wire_len());
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Err(SendError::Full));
    let _attachment = attached(&outbox);
    // The notice is in a batch, and the delivery before it is not written yet.
    let mut batch = Batch::default();
    let write = begin(&outbox, &mut batch).expect("a batch");
    assert_eq!(queue(&outbox, &message), Err(SendError::Full));
    let length = write.batch.to_write().len();
    drop(write.end(length, None));
    assert_eq!(take(&outbox), ["Missed 1 messages: you read too slowly"]);
}

#[test]
fn every_message_of_many_threads_is_queued_or_counted() {
    let message = delivery("x");
    let outbox = session(100 * message.wire_len());
    let _attachment = attached(&outbox);
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
fn gap_notice_precedes_the_last_message() {
    let message = delivery("x");
    let outbox = session(message.wire_len());
    let attachment = attached(&outbox);
    assert_eq!(queue(&outbox, &message), Ok(()));
    assert_eq!(queue(&outbox, &message), Err(SendError::Full));
    attachment.finish(Some(goodbye().encode()));
    assert!(!attachment.is_served() && !attachment.wait_for_room(&writers_only()));
    assert_eq!(queue(&outbox, &message), Err(SendError::Closed));
    attachment.respond(goodbye().encode(), &writers_only());
    attachment.shut_down();
    let missed = "Missed 1 messages: you read too slowly".to_owned();
    assert_eq!(take(&outbox), [data("x"), missed, "Goodbye".to_owned()]);
}

#[test]
fn reader_waits_while_too_many_responses_are_unwritten() {
    let outbox = session(ROOMY);
    let attachment = attached(&outbox);
    attachment.respond(vec![0; 65_535 - 64], &writers_only());
    assert!(
        attachment.wait_for_room(&writers_only()),
        "one byte is left of 64 KiB"
    );
    attachment.respond(Vec::new(), &writers_only());
    let (asked, went_on) = bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| asked.send(attachment.wait_for_room(&writers_only())));
        let early = went_on.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(crossbeam_channel::RecvTimeoutError::Timeout));
        while take(&outbox) != [""; 0] {}
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(true));

        attachment.respond(vec![0; 65_536], &writers_only());
        scope.spawn(|| asked.send(attachment.wait_for_room(&writers_only())));
        outbox.finish();
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(false));
    });
}

#[test]
fn short_responses_count_their_memory() {
    let outbox = session(ROOMY);
    let attachment = attached(&outbox);
    // Each takes three bytes and an overhead of 64.
    for _ in 0..65_536 / 67 {
        assert!(attachment.wait_for_room(&writers_only()));
        attachment.respond(vec![255, 252, 1], &writers_only());
    }
    attachment.respond(vec![255, 252, 1], &writers_only());
    let (asked, went_on) = bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| asked.send(attachment.wait_for_room(&writers_only())));
        let early = went_on.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(crossbeam_channel::RecvTimeoutError::Timeout));
        let mut batch = Batch::default();
        let write = begin(&outbox, &mut batch).expect("a batch");
        assert_eq!(write.batch.to_write().len(), 3 * (65_536 / 67 + 1));
        let length = write.batch.to_write().len();
        drop(write.end(length, None));
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(true));
    });
    assert_eq!(outbox.state.lock().responses, 0);
}

#[test]
fn responses_to_earlier_connections_share_the_limit() {
    let session = session(ROOMY);
    let first = attached(&session);
    first.respond(vec![0; 65_536], &writers_only());
    let second = attach_unwritten(2, &session).attachment;
    // There is no room for responses to the second connection until those to the first are dropped.
    let (asked, went_on) = bounded(1);
    thread::scope(|scope| {
        scope.spawn(|| asked.send(second.wait_for_room(&writers_only())));
        let early = went_on.recv_timeout(Duration::from_millis(50));
        assert_eq!(early, Err(crossbeam_channel::RecvTimeoutError::Timeout));
        assert_eq!(take(&session), [""; 0]);
        assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(true));
    });
}

#[test]
fn only_unaccepted_deliveries_are_sent_again() {
    let length = delivery("one").wire_len();
    let answer = goodbye().encode().len();
    for (accepted, comes_again) in [
        (2 * length + answer, vec![]),
        (2 * length + answer - 1, vec![data("two")]),
        (length + answer, vec![data("two")]),
        (length, vec![data("two")]),
        (length - 1, vec![data("one"), data("two")]),
        (0, vec![data("one"), data("two")]),
    ] {
        let session = session(ROOMY);
        let first = attached(&session);
        queue(&session, &delivery("one")).unwrap();
        first.respond(goodbye().encode(), &writers_only());
        queue(&session, &delivery("two")).unwrap();
        lose(&session, accepted);
        let _second = attach_unwritten(2, &session);
        assert_eq!(take(&session), comes_again, "{accepted} bytes");
        let state = session.state.lock();
        assert_eq!((state.deliveries, state.responses), (0, 0));
    }
}

#[test]
fn unsent_gap_notice_reaches_the_next_connection() {
    let message = delivery("x");
    let session = session(message.wire_len());
    let _first = attached(&session);
    queue(&session, &message).unwrap();
    assert_eq!(queue(&session, &message), Err(SendError::Full));
    lose(&session, message.wire_len() + 5);
    let _second = attach_unwritten(2, &session);
    assert_eq!(take(&session), ["Missed 1 messages: you read too slowly"]);
}

#[test]
fn second_thread_leaves_the_write_to_the_first() {
    let session = session(ROOMY);
    let _attachment = attached(&session);
    queue(&session, &delivery("one")).unwrap();
    let mut batch = Batch::default();
    let write = begin(&session, &mut batch).expect("a batch");
    queue(&session, &delivery("two")).unwrap();
    assert!(begin(&session, &mut Batch::default()).is_none());
    let length = write.batch.to_write().len();
    drop(write.end(length, None));
    assert_eq!(take(&session), [data("two")]);
}
