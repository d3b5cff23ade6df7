//! The thread `broadcaster`: which lists it gets, and what becomes of them.

use super::*;
use crate::limits::{CROWD, MAX_BROADCASTER_LISTS, MIN_BROADCASTER_OUTBOXES};
use crate::outbox::broadcaster::{Broadcaster, List, drain_lists};

/// A thread `broadcaster` that a test stops at will: it has the lists, and drains none.
fn stopped_broadcaster() -> (Arc<HandOff>, Receiver<List>) {
    let (lists, given) = bounded(MAX_BROADCASTER_LISTS);
    (HandOff::with(true, Some(Broadcaster { lists })), given)
}

fn crowd(count: usize) -> Vec<Arc<Outbox>> {
    (0..count).map(|_| session(ROOMY)).collect()
}

/// Attaches a client to each outbox.
fn attach_all(crowd: &[Arc<Outbox>]) -> Vec<Unwritten> {
    let connections = crowd.iter().enumerate();
    connections
        .map(|(number, outbox)| attach_unwritten(number as u64, outbox))
        .collect()
}

fn broadcast(cork: &Cork, crowd: &[Arc<Outbox>], text: &str) {
    for outbox in crowd {
        cork.send(outbox, &delivery(text)).unwrap();
    }
}

#[test]
fn broadcaster_drains_the_outboxes_of_a_large_broadcast() {
    let hand_off = HandOff::start(true).unwrap();
    let cork = Cork::new(hand_off);
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let clients = attach_all(&crowd);
    broadcast(&cork, &crowd, "one");
    cork.flush();
    for mut it in clients {
        assert_eq!(next_data(&mut it.client), data("one"));
        assert!(it.woken.is_empty(), "the kernel accepts it");
    }
}

#[test]
fn reader_keeps_small_broadcasts_unless_others_broadcast() {
    let (hand_off, given) = stopped_broadcaster();
    let [alice, bob] = [(); 2].map(|()| Cork::new(Arc::clone(&hand_off)));
    let small = crowd(CROWD);
    let mut clients = attach_all(&small);
    broadcast(&alice, &small, "one");
    alice.flush();
    assert!(given.is_empty());
    for it in &mut clients {
        assert_eq!(next_data(&mut it.client), data("one"));
    }
    broadcast(&bob, &small, "two");
    bob.flush();
    assert_eq!(given.recv().unwrap().len(), CROWD);
}

#[test]
fn messages_that_follow_join_the_writes_of_a_waiting_list() {
    let (hand_off, given) = stopped_broadcaster();
    let [alice, bob] = [(); 2].map(|()| Cork::new(Arc::clone(&hand_off)));
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let _clients = attach_all(&crowd);
    for (cork, text) in [(&alice, "one"), (&bob, "two"), (&alice, "three")] {
        broadcast(cork, &crowd, text);
        cork.flush();
    }
    assert_eq!(given.len(), 1, "the duty is assigned already");
    for outbox in given.recv().unwrap() {
        assert_eq!(take(&outbox), ["one", "two", "three"].map(data));
    }
}

#[test]
fn half_full_queue_is_drained_although_its_list_waits() {
    let (hand_off, given) = stopped_broadcaster();
    let cork = Cork::new(hand_off);
    let crowd: Vec<_> = (0..MIN_BROADCASTER_OUTBOXES)
        .map(|_| session(8 * numbered(0).wire_len()))
        .collect();
    let mut clients = attach_all(&crowd);
    for number in 0..40 {
        for outbox in &crowd {
            assert_eq!(cork.send(outbox, &numbered(number)), Ok(()));
        }
        cork.flush();
    }
    for it in &mut clients {
        assert_eq!(next_data(&mut it.client), data(&numbered_text(0)));
    }
    // What is left on the lists is drained once, and the rest costs no write.
    let mut batch = Batch::default();
    given
        .try_iter()
        .flatten()
        .for_each(|outbox| outbox.drain(&mut batch));
    for outbox in &crowd {
        let state = outbox.state.lock();
        assert_eq!((state.deliveries, state.drain), (0, Drain::Idle));
    }
}

#[test]
fn reader_drains_its_list_if_too_many_lists_wait() {
    let (lists, given) = bounded(1);
    let hand_off = HandOff::with(true, Some(Broadcaster { lists }));
    let cork = Cork::new(hand_off);
    let (first, second) = (
        crowd(MIN_BROADCASTER_OUTBOXES),
        crowd(MIN_BROADCASTER_OUTBOXES),
    );
    let _unwritten = attach_all(&first);
    let clients = attach_all(&second);
    for crowd in [&first, &second] {
        broadcast(&cork, crowd, "one");
        cork.flush();
    }
    assert_eq!(given.len(), 1);
    for mut it in clients {
        assert_eq!(next_data(&mut it.client), data("one"));
    }
}

#[test]
fn reader_that_panics_assigns_nothing_to_the_broadcaster() {
    let (hand_off, given) = stopped_broadcaster();
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let clients = attach_all(&crowd);
    let panicked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let cork = Cork::new(hand_off);
            broadcast(&cork, &crowd, "one");
            panic!("as a defect would");
        });
        reader.join()
    });
    assert!(panicked.is_err());
    assert!(given.is_empty());
    for it in clients {
        assert_eq!(it.woken.try_recv(), Ok(()), "its writer has the duty");
    }
}

#[test]
fn panic_in_the_broadcaster_loses_one_client_only() {
    let (hand_off, given) = stopped_broadcaster();
    let cork = Cork::new(hand_off);
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let mut clients = attach_all(&crowd);
    broadcast(&cork, &crowd, "one");
    // A wrong count, which the check for overflow finds.
    crowd[1].state.lock().deliveries = 0;
    cork.flush();
    drop(cork);
    drain_lists(&given);
    for (number, it) in clients.iter_mut().enumerate() {
        let is_lost = it.attachment.loss().is_some();
        assert_eq!(is_lost, number == 1, "client {number}");
        assert_eq!(next_data(&mut it.client), data("one"));
    }
    let mut rest = Vec::new();
    clients[1].client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn broadcaster_ends_with_the_last_reader() {
    let (lists, given) = bounded(MAX_BROADCASTER_LISTS);
    let hand_off = HandOff::with(true, Some(Broadcaster { lists }));
    let readers = [(); 2].map(|()| Cork::new(Arc::clone(&hand_off)));
    drop(hand_off);
    thread::scope(|scope| {
        let broadcaster = scope.spawn(|| drain_lists(&given));
        let [first, second] = readers;
        drop(first);
        assert!(!broadcaster.is_finished());
        drop(second);
    });
}

#[test]
fn writer_threads_only_have_no_broadcaster() {
    assert!(HandOff::start(false).unwrap().broadcaster.is_none());
}
