//! The hand-off: what a reader writes itself, and what it leaves to the writer.

use super::*;

#[test]
fn the_first_error_of_a_connection_is_the_one_that_its_writer_learns() {
    let session = session(ROOMY);
    let _attachment = attached(&session);
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    session.account.lock().failed = Some((1, reset));
    // Its client is gone, so that writing to it would fail otherwise.
    for _ in 0..3 {
        Cork::for_test(true).send(&session, &delivery("x")).unwrap();
        session.account.lock().duty_taken = false;
    }
    let failed = session.account.lock().failed.take();
    let (_, e) = failed.expect("it is left for the writer");
    assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(take(&session).len(), 3);
}

/// Connection 1 at an outbox, without a writer, so that it is seen what is left for one.
struct Unwritten {
    attachment: Attachment,
    /// Something is in it if the writer was woken.
    woken: Receiver<()>,
    client: TcpStream,
}

fn without_writer(outbox: &Arc<Outbox>, from: Option<Arc<Outbox>>) -> Unwritten {
    let (socket, client) = socket_pair();
    let attachment = Attachment::new(1, Arc::clone(outbox));
    let (wake, woken) = bounded(1);
    outbox.attach(Attached {
        connection: attachment.connection,
        socket,
        wake,
        from,
        is_torn: Arc::default(),
    });
    // As its writer does when it has looked and found nothing.
    woken.recv().unwrap();
    outbox.account.lock().duty_taken = false;
    Unwritten {
        attachment,
        woken,
        client,
    }
}

/// The data line of the next message.
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

#[track_caller]
fn nothing_has_arrived(client: &mut TcpStream) {
    client.set_nonblocking(true).unwrap();
    let read = client.read(&mut [0]);
    client.set_nonblocking(false).unwrap();
    let kind = read.map_err(|e| e.kind());
    assert_eq!(kind, Err(io::ErrorKind::WouldBlock));
}

#[test]
fn who_fills_an_outbox_writes_what_the_kernel_takes_and_leaves_the_rest_to_the_writer() {
    let session = session(ROOMY);
    let Unwritten {
        woken, mut client, ..
    } = without_writer(&session, None);
    let mut count = 0;
    while woken.is_empty() {
        Cork::for_test(true)
            .send(&session, &numbered(count))
            .unwrap();
        count += 1;
        assert!(count < 100_000, "the kernel has an end");
    }
    let (items_left, begun) = {
        let outlet = session.outlet.lock();
        (outlet.items.len(), outlet.begun)
    };
    assert_eq!(items_left, 1, "the message that did not fit is left");
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

#[test]
fn a_message_that_was_begun_by_a_reader_is_ended_by_the_writer() {
    let session = session(ROOMY);
    let (_, _writer, mut client) = connect(1, &session);
    let (cork, mut count) = (Cork::for_test(true), 0);
    while session.account.lock().deliveries == 0 {
        cork.send(&session, &numbered(count)).unwrap();
        cork.flush();
        count += 1;
        assert!(count < 100_000, "the kernel has an end");
    }
    // Behind what the writer has now.
    cork.send(&session, &numbered(count)).unwrap();
    cork.flush();
    session.finish();
    assert_eq!(numbers(&mut client), ((0..=count).collect(), false));
}

#[test]
fn a_reader_writes_up_to_the_end_and_leaves_the_end_to_the_writer() {
    let session = session(ROOMY);
    let Unwritten {
        attachment,
        woken,
        mut client,
    } = without_writer(&session, None);
    let cork = Cork::for_test(true);
    cork.send(&session, &delivery("x")).unwrap();
    attachment.finish(Some(&goodbye()));
    assert!(!woken.is_empty(), "only the writer can end");
    woken.recv().unwrap();
    cork.flush();
    assert_eq!(next_data(&mut client), data("x"));
    assert_eq!(next_data(&mut client), "Goodbye");
    nothing_has_arrived(&mut client);
    assert!(!woken.is_empty(), "and is told of it again");
    assert!(matches!(
        session.outlet.lock().items.front(),
        Some(Item::End)
    ));
}

#[test]
fn nothing_is_written_to_a_connection_that_is_still_on_its_way() {
    let session = session(ROOMY);
    let own = Arc::new(Outbox::new(ROOMY));
    let Unwritten { mut client, .. } = without_writer(&session, Some(own));
    let cork = Cork::for_test(true);
    cork.send(&session, &delivery("early")).unwrap();
    cork.flush();
    nothing_has_arrived(&mut client);
    session.arrive(1);
    assert!(
        session.account.lock().duty_taken,
        "the writer looks, which arrives"
    );
    assert_eq!(take(&session), [data("early")]);
}

#[test]
fn a_reader_is_not_captured_writing_for_one_client() {
    let session = session(ROOMY);
    let Unwritten { woken, client, .. } = without_writer(&session, None);
    let cork = Cork::for_test(true);
    let rounds = limits::HAND_OFF_ROUNDS as usize;
    // A batch each, and as much again, of which the kernel takes what it gets.
    let messages = 2 * rounds * limits::BATCH / numbered(0).wire_len();
    for number in 0..messages {
        cork.send(&session, &numbered(number)).unwrap();
    }
    assert!(woken.is_empty());
    let drained = thread::spawn(move || io::copy(&mut { client }, &mut io::sink()));
    cork.flush();
    assert!(!woken.is_empty(), "the rest is the writer's");
    let left = session.account.lock().deliveries / numbered(0).wire_len();
    assert!(left >= messages / 2, "{left} of {messages}");
    session.account.lock().attached.take();
    drop(drained);
}

#[test]
fn what_another_reader_adds_goes_out_with_the_first_ones() {
    let session = session(ROOMY);
    let Unwritten { mut client, .. } = without_writer(&session, None);
    let (first, second) = (Cork::for_test(true), Cork::for_test(true));
    first.send(&session, &delivery("one")).unwrap();
    second.send(&session, &delivery("two")).unwrap();
    second.flush();
    nothing_has_arrived(&mut client);
    first.flush();
    assert_eq!(next_data(&mut client), data("one"));
    assert_eq!(next_data(&mut client), data("two"));
}

#[test]
fn what_one_reader_queues_does_not_wait_for_more_than_so_much() {
    let session = session(usize::MAX);
    let Unwritten { mut client, .. } = without_writer(&session, None);
    let cork = Cork::for_test(true);
    for _ in 1..limits::CORKED {
        cork.send(&session, &delivery("x")).unwrap();
    }
    nothing_has_arrived(&mut client);
    cork.send(&session, &delivery("x")).unwrap();
    assert_eq!(next_data(&mut client), data("x"));
}

#[test]
fn a_reader_has_company_if_another_has_spoken_since_it_last_did() {
    let hand_off = HandOff::new(true);
    let alice = Cork::new(Arc::clone(&hand_off));
    assert!(!alice.speaks_in_company());
    assert!(!alice.speaks_in_company());
    let bob = Cork::new(hand_off);
    assert!(bob.speaks_in_company());
    assert!(!bob.speaks_in_company());
    assert!(alice.speaks_in_company());
    assert!(!alice.speaks_in_company());
}

#[test]
fn who_speaks_to_a_crowd_is_counted_although_another_writes_for_it() {
    let hand_off = HandOff::new(true);
    let alice = Cork::new(Arc::clone(&hand_off));
    let bob = Cork::new(hand_off);
    let crowd: Vec<_> = (0..limits::CROWD).map(|_| session(ROOMY)).collect();
    let mut clients: Vec<_> = crowd.iter().map(|it| without_writer(it, None)).collect();
    for cork in [&alice, &bob] {
        for outbox in &crowd {
            cork.send(outbox, &delivery("x")).unwrap();
        }
    }
    bob.flush();
    clients
        .iter_mut()
        .for_each(|it| nothing_has_arrived(&mut it.client));
    assert!(alice.speaks_in_company());
}

#[test]
fn a_queue_that_one_reader_fills_is_written_before_it_is_full() {
    let message = numbered(0).wire_len();
    let session = session(8 * message);
    let Unwritten {
        woken, mut client, ..
    } = without_writer(&session, None);
    let cork = Cork::for_test(true);
    for number in 0..20 {
        assert_eq!(cork.send(&session, &numbered(number)), Ok(()));
    }
    assert_eq!(next_data(&mut client), data(&numbered_text(0)));
    // Another who has the duty as well, and does not come to it.
    let idle = Cork::for_test(true);
    cork.flush();
    idle.send(&session, &numbered(20)).unwrap();
    for number in 21..40 {
        assert_eq!(cork.send(&session, &numbered(number)), Ok(()));
    }
    // And where the reader only wakes the writer, it is woken by then.
    let plain = plain();
    assert!(woken.is_empty());
    for number in 40..45 {
        plain.send(&session, &numbered(number)).unwrap();
    }
    assert!(!woken.is_empty());
}

#[test]
fn a_panic_while_writing_to_a_client_cuts_it_off_and_holds_nobody_else_up() {
    let (first, second) = (session(ROOMY), session(ROOMY));
    let mut defective = without_writer(&first, None);
    let mut other = without_writer(&second, None);
    let panicked = thread::spawn(move || {
        let cork = Cork::for_test(true);
        cork.send(&first, &delivery("one")).unwrap();
        cork.send(&second, &delivery("two")).unwrap();
        // An account that is wrong, which the check for overflow finds out.
        first.account.lock().deliveries = 0;
        cork.flush();
    });
    assert!(panicked.join().is_err());
    assert!(
        !defective.woken.is_empty(),
        "its writer is to see to the end"
    );
    let mut received = String::new();
    defective.client.read_to_string(&mut received).unwrap();
    assert_eq!(next_data(&mut other.client), data("two"));
}
