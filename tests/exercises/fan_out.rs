//! The exercise of chapter 2: a room that nobody can stop.
//!
//! `YourRoom` below is locked while it sends, so one member that is stuck keeps everybody
//! out, and in. Change it, so that
//!
//! - nobody who joins, leaves, or asks who is here waits for a broadcast;
//! - a broadcast still throws out to whom it cannot send, and counts the others;
//! - and throws out nobody else: who has taken a name over while the broadcast was
//!   waiting for the one who had it before is another member.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Somebody to whom something can be sent.
pub(crate) trait Member: Send + Sync {
    /// May take its time.
    fn send(&self, text: &str) -> io::Result<()>;
}

/// What a room does.
pub(crate) trait Room: Default + Send + Sync + 'static {
    /// From now on this member has the name, in the place of whoever had it.
    fn join(&self, name: &str, member: Arc<dyn Member>);

    /// Nobody has the name any more.
    fn leave(&self, name: &str);

    /// Who is here, in the order of the alphabet.
    fn names(&self) -> Vec<String>;

    /// Sends to all who are here, throws out to whom that fails, and gives the number of
    /// the others.
    fn broadcast(&self, text: &str) -> usize;
}

/// This is what you change.
#[derive(Default)]
pub(crate) struct YourRoom {
    members: Mutex<BTreeMap<String, Arc<dyn Member>>>,
}

impl Room for YourRoom {
    fn join(&self, name: &str, member: Arc<dyn Member>) {
        self.members.lock().unwrap().insert(name.to_owned(), member);
    }

    fn leave(&self, name: &str) {
        self.members.lock().unwrap().remove(name);
    }

    fn names(&self) -> Vec<String> {
        self.members.lock().unwrap().keys().cloned().collect()
    }

    fn broadcast(&self, text: &str) -> usize {
        let mut members = self.members.lock().unwrap();
        members.retain(|_, member| member.send(text).is_ok());
        members.len()
    }
}

mod test {
    use super::{Member, Room, YourRoom};
    use crate::solutions::fan_out::Solution;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
    use std::io;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[test]
    #[ignore = "the exercise of chapter 2"]
    fn exercise() {
        check::<YourRoom>();
    }

    #[test]
    fn solution() {
        check::<Solution>();
    }

    fn check<R: Room>() {
        a_broadcast_goes_to_all_and_throws_out_who_fails::<R>();
        who_is_stuck_keeps_nobody_out_or_in::<R>();
        who_has_taken_a_name_over_is_not_thrown_out_for_the_one_before::<R>();
    }

    fn a_broadcast_goes_to_all_and_throws_out_who_fails<R: Room>() {
        let room = R::default();
        let (alice, bob) = (reader(), reader());
        room.join("alice", alice.0);
        room.join("bob", bob.0);
        room.join("gone", Arc::new(Gone));
        assert_eq!(room.broadcast("one"), 2);
        assert_eq!(room.names(), ["alice", "bob"]);
        room.leave("bob");
        assert_eq!(room.broadcast("two"), 1);
        drop(room);
        assert_eq!(alice.1.iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(bob.1.iter().collect::<Vec<_>>(), ["one"]);
    }

    fn who_is_stuck_keeps_nobody_out_or_in<R: Room>() {
        let room = Arc::new(R::default());
        let (stuck, is_stuck, release) = stuck();
        room.join("alice", reader().0);
        room.join("stuck", stuck);
        let sent = in_background(&room, |room| room.broadcast("one"));
        is_stuck.recv_timeout(DEADLINE).expect("it is sent to");
        let others = in_background(&room, |room| {
            room.leave("alice");
            room.join("dave", reader().0);
            room.names()
        });
        let names = others.recv_timeout(DEADLINE);
        assert_eq!(names.expect("nobody waits"), ["dave", "stuck"]);
        drop(release);
        sent.recv_timeout(DEADLINE).expect("the broadcast ends");
        assert_eq!(room.names(), ["dave"], "stuck has failed in the end");
    }

    fn who_has_taken_a_name_over_is_not_thrown_out_for_the_one_before<R: Room>() {
        let room = Arc::new(R::default());
        let (before, is_stuck, release) = stuck();
        room.join("bob", before);
        let sent = in_background(&room, |room| room.broadcast("one"));
        is_stuck.recv_timeout(DEADLINE).expect("it is sent to");
        let after = reader();
        let (member, joining) = (after.0, Arc::clone(&room));
        let joined = in_background(&joining, move |room| room.join("bob", member));
        joined.recv_timeout(DEADLINE).expect("nobody waits");
        drop(release);
        assert_eq!(sent.recv_timeout(DEADLINE), Ok(0));
        assert_eq!(room.names(), ["bob"]);
        assert_eq!(room.broadcast("two"), 1);
        assert_eq!(after.1.try_recv().as_deref(), Ok("two"));
    }

    /// Does something with a room in a thread of its own, which gives what came of it.
    fn in_background<R: Room, T: Send + 'static>(
        room: &Arc<R>,
        what: impl FnOnce(&R) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (room, (done, result)) = (Arc::clone(room), bounded(1));
        thread::spawn(move || {
            let _ = done.send(what(&room));
        });
        result
    }

    struct Reader(Sender<String>);

    impl Member for Reader {
        fn send(&self, text: &str) -> io::Result<()> {
            self.0.send(text.to_owned()).map_err(io::Error::other)
        }
    }

    /// A member, and what it is sent.
    fn reader() -> (Arc<Reader>, Receiver<String>) {
        let (sender, receiver) = unbounded();
        (Arc::new(Reader(sender)), receiver)
    }

    struct Gone;

    impl Member for Gone {
        fn send(&self, _: &str) -> io::Result<()> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    struct Stuck {
        is_stuck: Sender<()>,
        released: Receiver<()>,
    }

    impl Member for Stuck {
        fn send(&self, _: &str) -> io::Result<()> {
            let _ = self.is_stuck.send(());
            // Until the other end is dropped.
            let _ = self.released.recv();
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    /// A member that is stuck when something is sent to it, which is told, and fails when
    /// it is released.
    fn stuck() -> (Arc<Stuck>, Receiver<()>, Sender<()>) {
        let (is_stuck, stuck) = unbounded();
        let (release, released) = bounded(0);
        (Arc::new(Stuck { is_stuck, released }), stuck, release)
    }
}
