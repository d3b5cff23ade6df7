use crate::change_order::{Change, GuestList, Watcher};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeSet;

/// A guest list with two locks. The lock of the watchers is taken first, for the whole of a
/// change. The lock of the names is free while the watchers are told.
#[derive(Default)]
pub(crate) struct Solution {
    watchers: Mutex<Vec<Watcher>>,
    names: RwLock<BTreeSet<String>>,
}

impl Solution {
    /// Makes a change that returns whether it had an effect. If so, tells the watchers.
    fn change(&self, make: impl FnOnce(&mut BTreeSet<String>) -> bool, change: Change) -> bool {
        let watchers = self.watchers.lock();
        // A statement of its own releases the lock of the names at its end.
        let is_made = make(&mut self.names.write());
        if is_made {
            watchers.iter().for_each(|watcher| watcher(&change));
        }
        is_made
    }
}

impl GuestList for Solution {
    fn join(&self, name: &str) -> bool {
        let change = Change::Joined(name.to_owned());
        self.change(|names| names.insert(name.to_owned()), change)
    }

    fn leave(&self, name: &str) -> bool {
        let change = Change::Left(name.to_owned());
        self.change(|names| names.remove(name), change)
    }

    fn names(&self) -> BTreeSet<String> {
        self.names.read().clone()
    }

    fn watch(&self, watcher: Watcher) -> BTreeSet<String> {
        let mut watchers = self.watchers.lock();
        watchers.push(watcher);
        // No change can come between, because it needs the lock of the watchers.
        self.names()
    }
}
