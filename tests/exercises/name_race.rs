//! The exercise of chapter 6: names that are claimed and changed, each in one step.
//!
//! `Names` below records the client of each name. It looks a name up first, and inserts it
//! later. It changes a name by releasing it and claiming another. Change it so that this is true
//! at any instant:
//!
//! - A name belongs to at most one client, whatever the case of its (ASCII) letters. It is
//!   listed as its owner spells it.
//! - A client has at most one name. If it has one, it cannot claim another.
//! - A client that changes its name is listed under the old or the new name, never under both
//!   or none. If the new name belongs to another client, it keeps the old one. A change of the
//!   case alone is a change too.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::thread;

/// A client's number.
pub(crate) type Client = u32;

/// The methods of `Names`.
pub(crate) trait Registry: Default + Sync {
    /// Gives a client its first name. Returns false if it has one, or the name belongs to another
    /// client.
    fn claim(&self, client: Client, name: &str) -> bool;

    /// Changes the name of a client. Returns false if it has none, or the new name belongs to
    /// another client.
    fn rename(&self, client: Client, name: &str) -> bool;

    /// Releases the name of a client, if it has one.
    fn leave(&self, client: Client);

    /// Returns all clients with their names, in no particular order.
    fn all(&self) -> Vec<(Client, String)>;
}

/// A lock that yields to other threads whenever it is released. A scheduler does that now and
/// then. This lock does it always.
#[derive(Default)]
pub(crate) struct Lock<T>(RwLock<T>);

impl<T> Lock<T> {
    /// Runs `read` while no thread changes the value.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let result = read(&self.0.read());
        thread::yield_now();
        result
    }

    /// Runs `change` while no other thread reads or changes the value.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.0.write());
        thread::yield_now();
        result
    }
}

/// The client of each name. Change this type and its methods.
#[derive(Default)]
pub(crate) struct Names {
    owners: Lock<HashMap<String, Client>>,
}

impl Registry for Names {
    fn claim(&self, client: Client, name: &str) -> bool {
        if self.owners.read(|owners| owners.contains_key(name)) {
            return false;
        }
        self.owners
            .write(|owners| owners.insert(name.to_owned(), client));
        true
    }

    fn rename(&self, client: Client, name: &str) -> bool {
        self.leave(client);
        self.claim(client, name)
    }

    fn leave(&self, client: Client) {
        self.owners
            .write(|owners| owners.retain(|_, owner| *owner != client));
    }

    fn all(&self) -> Vec<(Client, String)> {
        let pair = |(name, owner): (&String, &Client)| (*owner, name.clone());
        self.owners.read(|owners| owners.iter().map(pair).collect())
    }
}

mod test {
    use super::{Client, Names, Registry};
    use crate::solutions;
    use std::collections::BTreeSet;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    #[ignore = "the exercise of chapter 6"]
    fn exercise() {
        check::<Names>();
    }

    #[test]
    fn solution() {
        check::<solutions::name_race::Names>();
    }

    fn check<R: Registry>() {
        concurrent_claims_give_the_name_to_one_client::<R>();
        client_has_one_name_and_name_has_one_client::<R>();
        rename_is_never_seen_half_done::<R>();
        concurrent_renames_give_the_name_to_one_client::<R>();
    }

    /// Runs `act` in several threads at the same time, and counts how often it succeeds.
    fn race(threads: Client, act: impl Fn(Client) -> bool + Sync) -> usize {
        let (barrier, act) = (&Barrier::new(threads as usize), &act);
        thread::scope(|scope| {
            let start = |client| {
                scope.spawn(move || {
                    barrier.wait();
                    act(client)
                })
            };
            let started: Vec<_> = (0..threads).map(start).collect();
            let ended = started.into_iter().map(|thread| thread.join());
            ended
                .filter(|done| *done.as_ref().expect("no panic"))
                .count()
        })
    }

    fn concurrent_claims_give_the_name_to_one_client<R: Registry>() {
        for _ in 0..100 {
            let names = R::default();
            let successes = race(4, |client| names.claim(client, "alice"));
            assert_eq!(successes, 1, "clients that got the name");
            assert_eq!(names.all().len(), 1);
        }
    }

    fn concurrent_renames_give_the_name_to_one_client<R: Registry>() {
        for _ in 0..100 {
            let names = R::default();
            for client in 0..4 {
                assert!(names.claim(client, &format!("user{client}")));
            }
            let successes = race(4, |client| names.rename(client, "alice"));
            assert_eq!(successes, 1, "clients that got the new name");
            assert_eq!(names.all().len(), 4, "{:?}", names.all());
        }
    }

    fn client_has_one_name_and_name_has_one_client<R: Registry>() {
        let names = R::default();
        assert!(
            !names.rename(1, "alice"),
            "a client without a name cannot change it"
        );
        assert!(names.claim(1, "Alice"));
        assert!(!names.claim(2, "aLICE"), "it is the same name");
        assert!(!names.claim(1, "carol"), "the client has a name already");
        assert!(names.claim(2, "bob"));
        assert!(
            !names.rename(2, "ALICE"),
            "the name belongs to another client"
        );
        assert_eq!(sorted(&names), [(1, "Alice".into()), (2, "bob".into())]);
        assert!(names.rename(2, "Bob"), "the name is the client's own");
        assert!(names.rename(1, "carol"));
        assert!(names.claim(3, "alice"), "the name was released");
        names.leave(1);
        names.leave(1);
        assert_eq!(sorted(&names), [(2, "Bob".into()), (3, "alice".into())]);
        assert!(names.claim(1, "carol"), "the name was released");
    }

    fn sorted(names: &impl Registry) -> Vec<(Client, String)> {
        let mut all = names.all();
        all.sort();
        all
    }

    fn rename_is_never_seen_half_done<R: Registry>() {
        const CHANGES: usize = 1_000;
        let (names, done) = (R::default(), AtomicBool::new(false));
        for client in [1, 2] {
            assert!(names.claim(client, &format!("user{client}")));
        }
        thread::scope(|scope| {
            let change = |client| {
                let names = &names;
                scope.spawn(move || {
                    for number in 0..CHANGES {
                        // Fails if the other client has the name.
                        names.rename(client, ["red", "green", "blue"][number % 3]);
                    }
                })
            };
            let changing = [1, 2].map(change);
            let looking = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let all = names.all();
                    let clients: Vec<Client> = all.iter().map(|(client, _)| *client).collect();
                    let distinct = BTreeSet::from_iter(&clients).len();
                    assert!(
                        clients.len() == 2 && distinct == 2,
                        "at some instant {all:?}"
                    );
                }
            });
            for thread in changing {
                thread.join().expect("no panic");
            }
            done.store(true, Ordering::Relaxed);
            looking
                .join()
                .expect("each client under one name at any instant");
        });
    }
}
