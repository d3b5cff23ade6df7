//! The exercise of chapter 7: a guest list that its watchers can trust.
//!
//! `YourList` below changes its names under a lock, and tells its watchers after it has released
//! the lock. Change it as follows:
//!
//! - All watchers are told the changes in the order in which they happen. `join` and `leave`
//!   return after the watchers have been told.
//! - A watcher is told each change that is not in the names that `watch` has returned, and no
//!   other change.
//! - No caller of `names` waits for a watcher. A watcher that is being told may call it, too.

use parking_lot::RwLock;
use std::collections::BTreeSet;

/// A change of the guest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined(String),
    Left(String),
}

/// A function that is called with each change. It may block, and it may call `names`.
pub(crate) type Watcher = Box<dyn Fn(&Change) + Send + Sync>;

/// The methods of a guest list.
pub(crate) trait GuestList: Default + Send + Sync + 'static {
    /// Adds a name. Returns false if the list has it.
    fn join(&self, name: &str) -> bool;

    /// Removes a name. Returns false if the list does not have it.
    fn leave(&self, name: &str) -> bool;

    /// Returns all names.
    fn names(&self) -> BTreeSet<String>;

    /// Adds a watcher. Returns the names with which it begins.
    fn watch(&self, watcher: Watcher) -> BTreeSet<String>;
}

/// Change this type and its methods.
#[derive(Default)]
pub(crate) struct YourList {
    names: RwLock<BTreeSet<String>>,
    watchers: RwLock<Vec<Watcher>>,
}

impl YourList {
    fn tell(&self, change: &Change) {
        for watcher in &*self.watchers.read() {
            watcher(change);
        }
    }
}

impl GuestList for YourList {
    fn join(&self, name: &str) -> bool {
        let is_new = self.names.write().insert(name.to_owned());
        if is_new {
            self.tell(&Change::Joined(name.to_owned()));
        }
        is_new
    }

    fn leave(&self, name: &str) -> bool {
        let was_there = self.names.write().remove(name);
        if was_there {
            self.tell(&Change::Left(name.to_owned()));
        }
        was_there
    }

    fn names(&self) -> BTreeSet<String> {
        self.names.read().clone()
    }

    fn watch(&self, watcher: Watcher) -> BTreeSet<String> {
        self.watchers.write().push(watcher);
        self.names()
    }
}

mod test {
    use super::{Change, GuestList, YourList};
    use crate::solutions::change_order::Solution;
    use crossbeam_channel::{Receiver, bounded};
    use parking_lot::Mutex;
    use std::collections::BTreeSet;
    use std::sync::{Arc, Weak};
    use std::thread;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[test]
    #[ignore = "the exercise of chapter 7"]
    fn exercise() {
        check::<YourList>();
    }

    #[test]
    fn solution() {
        check::<Solution>();
    }

    fn check<L: GuestList>() {
        watcher_is_told_each_change_after_its_names::<L>();
        names_does_not_wait_for_a_watcher::<L>();
        watcher_may_call_names::<L>();
        concurrent_changes_are_told_in_order::<L>();
    }

    /// A watcher that records what it is told.
    struct Log {
        /// The names with which it began.
        first: BTreeSet<String>,
        changes: Arc<Mutex<Vec<Change>>>,
    }

    impl Log {
        fn start(list: &impl GuestList) -> Log {
            let changes = Arc::<Mutex<Vec<Change>>>::default();
            let told = Arc::clone(&changes);
            let first = list.watch(Box::new(move |change| {
                // A scheduler interrupts a thread now and then. This watcher does it always.
                thread::yield_now();
                told.lock().push(change.clone());
            }));
            Log { first, changes }
        }

        /// Returns the names after all changes. Each change must fit the names before it.
        #[track_caller]
        fn last(&self) -> BTreeSet<String> {
            let mut names = self.first.clone();
            for (position, change) in self.changes.lock().iter().enumerate() {
                let fits = match change {
                    Change::Joined(name) => names.insert(name.clone()),
                    Change::Left(name) => names.remove(name),
                };
                assert!(fits, "change {position} is {change:?}");
            }
            names
        }
    }

    fn watcher_is_told_each_change_after_its_names<L: GuestList>() {
        let list = L::default();
        assert!(list.join("alice"));
        let log = Log::start(&list);
        assert_eq!(log.first, BTreeSet::from(["alice".to_owned()]));
        assert!(list.join("bob"));
        assert!(!list.join("alice"));
        assert!(list.leave("alice"));
        assert!(!list.leave("carol"));
        let told = [
            Change::Joined("bob".to_owned()),
            Change::Left("alice".to_owned()),
        ];
        assert_eq!(*log.changes.lock(), told);
        assert_eq!(log.last(), list.names());
    }

    fn names_does_not_wait_for_a_watcher<L: GuestList>() {
        let list = Arc::new(L::default());
        let (told, is_told) = bounded(1);
        let (release, released) = bounded::<()>(0);
        list.watch(Box::new(move |_| {
            told.send(()).expect("the test waits");
            // Ends when the test drops `release`.
            let _ = released.recv();
        }));
        let joining = Arc::clone(&list);
        let joined = in_thread(move || joining.join("alice"));
        is_told.recv_timeout(DEADLINE).expect("the watcher is told");
        let names = in_thread(move || list.names()).recv_timeout(DEADLINE);
        let names = names.expect("no caller of names waits for a watcher");
        assert_eq!(names.len(), 1);
        drop(release);
        assert_eq!(joined.recv_timeout(DEADLINE), Ok(true));
    }

    fn watcher_may_call_names<L: GuestList>() {
        let list = Arc::new(L::default());
        let (told, is_told) = bounded(1);
        let weak: Weak<L> = Arc::downgrade(&list);
        list.watch(Box::new(move |_| {
            let list = weak.upgrade().expect("the list is there");
            told.send(list.names()).expect("the test waits");
        }));
        let _joined = in_thread(move || list.join("alice"));
        let names = is_told.recv_timeout(DEADLINE);
        let names = names.expect("a watcher may call names");
        assert_eq!(names, BTreeSet::from(["alice".to_owned()]));
    }

    /// Runs this in a thread, which may block for ever.
    fn in_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
        let (sender, result) = bounded(1);
        thread::spawn(move || drop(sender.send(run())));
        result
    }

    fn concurrent_changes_are_told_in_order<L: GuestList>() {
        const CHANGES: usize = 1_000;
        let list = L::default();
        let logs = thread::scope(|scope| {
            for number in 0..4 {
                let list = &list;
                scope.spawn(move || {
                    for round in 0..CHANGES {
                        let name = ["red", "green", "blue"][(round + number) % 3];
                        // Fails if another thread has done the same.
                        match round % 2 {
                            0 => list.join(name),
                            _ => list.leave(name),
                        };
                    }
                });
            }
            // These begin to watch during the changes.
            (0..10).map(|_| Log::start(&list)).collect::<Vec<_>>()
        });
        for log in &logs {
            assert_eq!(log.last(), list.names());
        }
        // They have seen the same changes, some of them from a later one on.
        let first = logs[0].changes.lock();
        for log in &logs[1..] {
            assert!(first.ends_with(&log.changes.lock()));
        }
    }
}
