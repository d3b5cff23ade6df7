//! The exercise of chapter 2: a room that a stuck member cannot block.
//!
//! `YourRoom` below is locked while it sends. So while one member is stuck, no other member can
//! join or leave. Change it as follows:
//!
//! - No caller of `join`, `leave` or `names` waits for a broadcast.
//! - A broadcast still removes the members that it cannot send to, and counts the others.
//! - It removes no other member. While it waits for a stuck member, another member may join
//!   under the same name. That member stays.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// A member of a room.
pub(crate) trait Member: Send + Sync {
    /// Sends the text. It may block.
    fn send(&self, text: &str) -> io::Result<()>;
}

/// The methods of a room.
pub(crate) trait Room: Default + Send + Sync + 'static {
    /// Gives the name to this member, in place of the member that had it.
    fn join(&self, name: &str, member: Arc<dyn Member>);

    /// Removes the member that has the name.
    fn leave(&self, name: &str);

    /// Returns the names of all members, in alphabetical order.
    fn names(&self) -> Vec<String>;

    /// Sends to all members, and removes those to which that fails. Returns the number of the
    /// others.
    fn broadcast(&self, text: &str) -> usize;
}

/// Change this type and its methods.
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
        broadcast_reaches_all_and_removes_failed_members::<R>();
        stuck_member_blocks_no_join_leave_or_list::<R>();
        broadcast_does_not_remove_new_owner_of_name::<R>();
    }

    fn broadcast_reaches_all_and_removes_failed_members<R: Room>() {
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

    fn stuck_member_blocks_no_join_leave_or_list<R: Room>() {
        let room = Arc::new(R::default());
        let (stuck, is_stuck, release) = stuck();
        room.join("alice", reader().0);
        room.join("stuck", stuck);
        let sent = in_background(&room, |room| room.broadcast("one"));
        is_stuck.recv_timeout(DEADLINE).expect("a send");
        let others = in_background(&room, |room| {
            room.leave("alice");
            room.join("dave", reader().0);
            room.names()
        });
        let names = others.recv_timeout(DEADLINE);
        assert_eq!(names.expect("no wait"), ["dave", "stuck"]);
        drop(release);
        sent.recv_timeout(DEADLINE).expect("the broadcast ends");
        assert_eq!(room.names(), ["dave"], "the send to `stuck` has failed");
    }

    fn broadcast_does_not_remove_new_owner_of_name<R: Room>() {
        let room = Arc::new(R::default());
        let (before, is_stuck, release) = stuck();
        room.join("bob", before);
        let sent = in_background(&room, |room| room.broadcast("one"));
        is_stuck.recv_timeout(DEADLINE).expect("a send");
        let after = reader();
        let (member, joining) = (after.0, Arc::clone(&room));
        let joined = in_background(&joining, move |room| room.join("bob", member));
        joined.recv_timeout(DEADLINE).expect("no wait");
        drop(release);
        assert_eq!(sent.recv_timeout(DEADLINE), Ok(0));
        assert_eq!(room.names(), ["bob"]);
        assert_eq!(room.broadcast("two"), 1);
        assert_eq!(after.1.try_recv().as_deref(), Ok("two"));
    }

    /// Runs `act` in a thread of its own. The channel gets the result.
    fn in_background<R: Room, T: Send + 'static>(
        room: &Arc<R>,
        act: impl FnOnce(&R) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (room, (done, result)) = (Arc::clone(room), bounded(1));
        thread::spawn(move || {
            let _ = done.send(act(&room));
        });
        result
    }

    struct Reader(Sender<String>);

    impl Member for Reader {
        fn send(&self, text: &str) -> io::Result<()> {
            self.0.send(text.to_owned()).map_err(io::Error::other)
        }
    }

    /// Returns a member, and a channel with the texts that it gets.
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
            // Blocks until the other end is dropped.
            let _ = self.released.recv();
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    /// Returns a member whose `send` reports that it is stuck, blocks, and fails on release. The
    /// channels report and release it.
    fn stuck() -> (Arc<Stuck>, Receiver<()>, Sender<()>) {
        let (is_stuck, stuck) = unbounded();
        let (release, released) = bounded(0);
        (Arc::new(Stuck { is_stuck, released }), stuck, release)
    }
}
