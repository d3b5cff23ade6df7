//! Tests of direct writes: what a reader thread writes itself, and what its writer thread writes.

use super::*;
use crossbeam_channel::TryRecvError;

#[track_caller]
fn nothing_has_arrived(client: &mut TcpStream) {
    client.set_nonblocking(true).unwrap();
    let read = client.read(&mut [0]);
    client.set_nonblocking(false).unwrap();
    let kind = read.map_err(|e| e.kind());
    assert_eq!(kind, Err(io::ErrorKind::WouldBlock));
}

#[test]
fn direct_write_leaves_unaccepted_bytes_to_the_writer() {
    let session = session(ROOMY);
    let Unwritten {
        attachment,
        woken,
        mut client,
    } = attach_unwritten(1, &session);
    let mut count = 0;
    while woken.is_empty() {
        PendingWrites::for_test(true)
            .send(&session, &numbered(count))
            .unwrap();
        count += 1;
        assert!(count < 100_000, "the kernel's buffers are finite");
    }
    let state = session.state.lock();
    assert_eq!(state.unwritten.len(), 1, "the message that did not fit");
    assert_eq!(state.deliveries, numbered(count - 1).wire_len());
    drop(state);
    let partial = attachment.partial.load(Ordering::Relaxed);
    // The client has all earlier messages, and the accepted part of the last one.
    let taken: usize = (0..count - 1).map(|n| numbered(n).wire_len()).sum();
    let mut read = vec![0; taken + partial];
    client.read_exact(&mut read).unwrap();
    assert!(read.ends_with(b"\r\n") || partial > 0);
}

#[test]
fn writer_completes_the_partial_write_of_a_reader() {
    let session = session(ROOMY);
    let (_, _writer, mut client) = connect(1, &session);
    let (pending, mut count) = (PendingWrites::for_test(true), 0);
    while session.state.lock().deliveries == 0 {
        pending.send(&session, &numbered(count)).unwrap();
        pending.flush();
        count += 1;
        assert!(count < 100_000, "the kernel's buffers are finite");
    }
    // This message is queued behind those that the writer thread has now.
    pending.send(&session, &numbered(count)).unwrap();
    pending.flush();
    session.finish();
    assert_eq!(numbers(&mut client), ((0..=count).collect(), false));
}

#[test]
fn reader_writes_last_message_and_writer_ends_connection() {
    let session = session(ROOMY);
    let Unwritten {
        attachment,
        woken,
        mut client,
    } = attach_unwritten(1, &session);
    let pending = PendingWrites::for_test(true);
    pending.send(&session, &delivery("x")).unwrap();
    attachment.finish(Some(goodbye().encode()));
    assert!(!woken.is_empty(), "only the writer can end");
    woken.recv().unwrap();
    pending.flush();
    assert_eq!(next_data(&mut client), data("x"));
    assert_eq!(next_data(&mut client), "Goodbye");
    nothing_has_arrived(&mut client);
    assert!(!woken.is_empty(), "and is woken for it again");
    assert_eq!(session.state.lock().phase, Phase::Done);
}

#[test]
fn reader_stops_after_max_direct_batches_for_one_client() {
    let session = session(ROOMY);
    let Unwritten { woken, client, .. } = attach_unwritten(1, &session);
    let pending = PendingWrites::for_test(true);
    let rounds = limits::MAX_DIRECT_BATCHES as usize;
    // Twice as much as a reader thread writes directly. The client reads all of it at once.
    let messages = 2 * rounds * limits::MAX_BATCH / numbered(0).wire_len();
    for number in 0..messages {
        pending.send(&session, &numbered(number)).unwrap();
    }
    assert!(woken.is_empty());
    let drained = thread::spawn(move || io::copy(&mut { client }, &mut io::sink()));
    pending.flush();
    assert!(!woken.is_empty(), "the rest is the writer's");
    let left = session.state.lock().deliveries / numbered(0).wire_len();
    assert!(left >= messages / 2, "{left} of {messages}");
    session.state.lock().attached.take();
    drop(drained);
}

#[test]
fn message_of_second_reader_joins_the_write_of_the_first() {
    let session = session(ROOMY);
    let Unwritten { mut client, .. } = attach_unwritten(1, &session);
    let (first, second) = (PendingWrites::for_test(true), PendingWrites::for_test(true));
    first.send(&session, &delivery("one")).unwrap();
    second.send(&session, &delivery("two")).unwrap();
    second.flush();
    nothing_has_arrived(&mut client);
    first.flush();
    assert_eq!(next_data(&mut client), data("one"));
    assert_eq!(next_data(&mut client), data("two"));
}

#[test]
fn unflushed_deliveries_of_one_reader_are_limited() {
    let session = session(usize::MAX);
    let Unwritten { mut client, .. } = attach_unwritten(1, &session);
    let pending = PendingWrites::for_test(true);
    for _ in 1..limits::MAX_UNFLUSHED_DELIVERIES {
        pending.send(&session, &delivery("x")).unwrap();
    }
    nothing_has_arrived(&mut client);
    pending.send(&session, &delivery("x")).unwrap();
    assert_eq!(next_data(&mut client), data("x"));
}

#[test]
fn others_broadcast_since_reports_only_other_readers() {
    let direct_writes = DirectWrites::new(true);
    let alice = PendingWrites::new(Arc::clone(&direct_writes));
    assert!(!alice.others_broadcast_since());
    assert!(!alice.others_broadcast_since());
    let bob = PendingWrites::new(direct_writes);
    assert!(bob.others_broadcast_since());
    assert!(!bob.others_broadcast_since());
    assert!(alice.others_broadcast_since());
    assert!(!alice.others_broadcast_since());
}

#[test]
fn broadcast_counts_although_another_reader_has_the_duty() {
    let direct_writes = DirectWrites::new(true);
    let alice = PendingWrites::new(Arc::clone(&direct_writes));
    let bob = PendingWrites::new(direct_writes);
    let crowd: Vec<_> = (0..limits::MIN_BROADCAST_DELIVERIES)
        .map(|_| session(ROOMY))
        .collect();
    let mut clients: Vec<_> = crowd.iter().map(|it| attach_unwritten(1, it)).collect();
    for pending in [&alice, &bob] {
        for outbox in &crowd {
            pending.send(outbox, &delivery("x")).unwrap();
        }
    }
    bob.flush();
    clients
        .iter_mut()
        .for_each(|it| nothing_has_arrived(&mut it.client));
    assert!(alice.others_broadcast_since());
}

#[test]
fn queue_of_one_sender_is_drained_before_it_is_full() {
    let message = numbered(0).wire_len();
    let session = session(8 * message);
    let Unwritten {
        woken, mut client, ..
    } = attach_unwritten(1, &session);
    let pending = PendingWrites::for_test(true);
    for number in 0..20 {
        assert_eq!(pending.send(&session, &numbered(number)), Ok(()));
    }
    assert_eq!(next_data(&mut client), data(&numbered_text(0)));
    // Another reader thread has the duty too, but does not run.
    let idle = PendingWrites::for_test(true);
    pending.flush();
    idle.send(&session, &numbered(20)).unwrap();
    for number in 21..40 {
        assert_eq!(pending.send(&session, &numbered(number)), Ok(()));
    }
    // A reader thread that only wakes writer threads has woken this one by then.
    let writers_only = writers_only();
    assert!(woken.is_empty());
    for number in 40..45 {
        writers_only.send(&session, &numbered(number)).unwrap();
    }
    assert!(!woken.is_empty());
}

/// Sends to outboxes whose drains panic, and lets the reader thread unwind.
fn panic_in_drains(defective: &[&Arc<Outbox>], other: &Arc<Outbox>) {
    let panicked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let pending = PendingWrites::for_test(true);
            for outbox in defective {
                pending.send(outbox, &delivery("one")).unwrap();
                // This wrong count makes the drain panic, by an overflow.
                outbox.state.lock().deliveries = 0;
            }
            pending.send(other, &delivery("two")).unwrap();
            pending.flush();
        });
        reader.join()
    });
    assert!(panicked.is_err());
}

#[test]
fn panic_in_a_drain_loses_one_client_and_delays_no_other() {
    let (first, second) = (session(ROOMY), session(ROOMY));
    let mut defective = attach_unwritten(1, &first);
    let other = attach_unwritten(2, &second);
    panic_in_drains(&[&first], &second);
    let woken = defective.woken.try_recv();
    assert_eq!(woken, Err(TryRecvError::Disconnected), "its writer ends");
    assert!(defective.attachment.loss().is_some());
    let mut received = String::new();
    defective.client.read_to_string(&mut received).unwrap();
    assert_eq!(other.woken.try_recv(), Ok(()), "its writer has the duty");
    assert_eq!(take(&second), [data("two")]);
}

#[test]
fn second_panic_while_unwinding_does_not_abort() {
    let (first, second, third) = (session(ROOMY), session(ROOMY), session(ROOMY));
    let _defective = [attach_unwritten(1, &first), attach_unwritten(2, &second)];
    let other = attach_unwritten(3, &third);
    panic_in_drains(&[&first, &second], &third);
    assert_eq!(other.woken.try_recv(), Ok(()), "its writer has the duty");
}
