//! Tests of the thread `broadcaster`: which lists it gets, and how it drains them.

use super::*;
use crate::limits::{MAX_BROADCASTER_LISTS, MIN_BROADCAST_DELIVERIES, MIN_BROADCASTER_OUTBOXES};
use crate::outbox::broadcaster::{Broadcaster, List, drain_lists};

/// Makes a thread `broadcaster` that does not run: the test has its lists.
fn stopped_broadcaster() -> (Arc<DirectWrites>, Receiver<List>) {
    let (lists, given) = bounded(MAX_BROADCASTER_LISTS);
    (DirectWrites::with(true, Some(Broadcaster { lists })), given)
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

fn broadcast(pending: &PendingWrites, crowd: &[Arc<Outbox>], text: &str) {
    for outbox in crowd {
        pending.send(outbox, &delivery(text)).unwrap();
    }
}

#[test]
fn broadcaster_drains_the_outboxes_of_a_large_broadcast() {
    let direct_writes = DirectWrites::start(true).unwrap();
    let pending = PendingWrites::new(direct_writes);
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let clients = attach_all(&crowd);
    broadcast(&pending, &crowd, "one");
    pending.flush();
    for mut it in clients {
        assert_eq!(next_data(&mut it.client), data("one"));
        assert!(it.woken.is_empty(), "the kernel accepts it");
    }
}

#[test]
fn reader_keeps_small_broadcasts_unless_others_broadcast() {
    let (direct_writes, given) = stopped_broadcaster();
    let [alice, bob] = [(); 2].map(|()| PendingWrites::new(Arc::clone(&direct_writes)));
    let small = crowd(MIN_BROADCAST_DELIVERIES);
    let mut clients = attach_all(&small);
    broadcast(&alice, &small, "one");
    alice.flush();
    assert!(given.is_empty());
    for it in &mut clients {
        assert_eq!(next_data(&mut it.client), data("one"));
    }
    broadcast(&bob, &small, "two");
    bob.flush();
    assert_eq!(given.recv().unwrap().len(), MIN_BROADCAST_DELIVERIES);
}

#[test]
fn later_messages_join_the_writes_of_a_waiting_list() {
    let (direct_writes, given) = stopped_broadcaster();
    let [alice, bob] = [(); 2].map(|()| PendingWrites::new(Arc::clone(&direct_writes)));
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let _clients = attach_all(&crowd);
    for (pending, text) in [(&alice, "one"), (&bob, "two"), (&alice, "three")] {
        broadcast(pending, &crowd, text);
        pending.flush();
    }
    assert_eq!(given.len(), 1, "the duty is assigned already");
    for outbox in given.recv().unwrap() {
        assert_eq!(take(&outbox), ["one", "two", "three"].map(data));
    }
}

#[test]
fn half_full_queue_is_drained_although_its_list_waits() {
    let (direct_writes, given) = stopped_broadcaster();
    let pending = PendingWrites::new(direct_writes);
    let crowd: Vec<_> = (0..MIN_BROADCASTER_OUTBOXES)
        .map(|_| session(8 * numbered(0).wire_len()))
        .collect();
    let mut clients = attach_all(&crowd);
    for number in 0..40 {
        for outbox in &crowd {
            assert_eq!(pending.send(outbox, &numbered(number)), Ok(()));
        }
        pending.flush();
    }
    for it in &mut clients {
        assert_eq!(next_data(&mut it.client), data(&numbered_text(0)));
    }
    // An outbox on two lists is drained once. The second drain costs no write.
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
    let direct_writes = DirectWrites::with(true, Some(Broadcaster { lists }));
    let pending = PendingWrites::new(direct_writes);
    let (first, second) = (
        crowd(MIN_BROADCASTER_OUTBOXES),
        crowd(MIN_BROADCASTER_OUTBOXES),
    );
    let _unwritten = attach_all(&first);
    let clients = attach_all(&second);
    for crowd in [&first, &second] {
        broadcast(&pending, crowd, "one");
        pending.flush();
    }
    assert_eq!(given.len(), 1);
    for mut it in clients {
        assert_eq!(next_data(&mut it.client), data("one"));
    }
}

#[test]
fn panicking_reader_assigns_nothing_to_the_broadcaster() {
    let (direct_writes, given) = stopped_broadcaster();
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let clients = attach_all(&crowd);
    let panicked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let pending = PendingWrites::new(direct_writes);
            broadcast(&pending, &crowd, "one");
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
    let (direct_writes, given) = stopped_broadcaster();
    let pending = PendingWrites::new(direct_writes);
    let crowd = crowd(MIN_BROADCASTER_OUTBOXES);
    let mut clients = attach_all(&crowd);
    broadcast(&pending, &crowd, "one");
    // This wrong count makes the drain panic, by an overflow.
    crowd[1].state.lock().deliveries = 0;
    pending.flush();
    drop(pending);
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
    let direct_writes = DirectWrites::with(true, Some(Broadcaster { lists }));
    let readers = [(); 2].map(|()| PendingWrites::new(Arc::clone(&direct_writes)));
    drop(direct_writes);
    thread::scope(|scope| {
        let broadcaster = scope.spawn(|| drain_lists(&given));
        let [first, second] = readers;
        drop(first);
        assert!(!broadcaster.is_finished());
        drop(second);
    });
}

#[test]
fn writer_threads_only_starts_no_broadcaster() {
    assert!(DirectWrites::start(false).unwrap().broadcaster.is_none());
}
