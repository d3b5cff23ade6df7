use crate::fan_out::{Member, Room};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A room. A broadcast knows the members to remove by their `Arc`, not by their name.
#[derive(Default)]
pub(crate) struct Solution {
    members: Mutex<BTreeMap<String, Arc<dyn Member>>>,
}

impl Room for Solution {
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
        // A statement of its own releases the lock at its end.
        let members = self.members.lock().unwrap().clone();
        let (mut sent, mut failed) = (0, Vec::new());
        for (name, member) in members {
            match member.send(text) {
                Ok(()) => sent += 1,
                Err(_) => failed.push((name, member)),
            }
        }
        let mut members = self.members.lock().unwrap();
        for (name, member) in failed {
            if members
                .get(&name)
                .is_some_and(|now| Arc::ptr_eq(now, &member))
            {
                members.remove(&name);
            }
        }
        sent
    }
}
