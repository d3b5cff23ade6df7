//! The exercise of chapter 6: names that are claimed and changed, each in one step.
//!
//! `Names` below says who has which name. It looks first and acts later, and changes a name
//! by giving it up and claiming another. Change it, so that at any instant
//!
//! - a name belongs to one client at most, whatever the case of its letters (ASCII), and is
//!   shown as its owner spells it;
//! - a client has one name at most: who has one cannot claim another;
//! - a client that changes its name is there under the old or under the new one, and never
//!   under none or both. Where the new one is another's, it keeps the old one. To change
//!   nothing but the case is a change.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::thread;

/// A client's number.
pub(crate) type Client = u32;

/// What is wanted.
pub(crate) trait Registry: Default + Sync {
    /// Gives a client its first name. False if it may not have that.
    fn claim(&self, client: Client, name: &str) -> bool;

    /// Gives a client that has a name another. False if it has none, or may not have that.
    fn rename(&self, client: Client, name: &str) -> bool;

    /// Frees the name of a client, if it has one.
    fn leave(&self, client: Client);

    /// Who is here, in no order.
    fn everyone(&self) -> Vec<(Client, String)>;
}

/// A lock that gives others a turn whenever it is let go. What a scheduler does to you now
/// and then, it does always.
#[derive(Default)]
pub(crate) struct Lock<T>(RwLock<T>);

impl<T> Lock<T> {
    /// Looks, while nobody changes anything.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let result = look(&self.0.read());
        thread::yield_now();
        result
    }

    /// Looks and changes, while nobody else does either.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.0.write());
        thread::yield_now();
        result
    }
}

/// Who has which name. This is what you change.
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

    fn everyone(&self) -> Vec<(Client, String)> {
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
        of_many_who_claim_a_name_at_once_one_gets_it::<R>();
        a_client_has_one_name_and_a_name_has_one_client::<R>();
        nobody_sees_a_name_change_half_done::<R>();
        of_many_who_change_to_a_name_at_once_one_gets_it::<R>();
    }

    /// Has so many do the same at the same moment, and counts those who succeed.
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

    fn of_many_who_claim_a_name_at_once_one_gets_it<R: Registry>() {
        for _ in 0..100 {
            let names = R::default();
            let got_it = race(4, |client| names.claim(client, "alice"));
            assert_eq!(got_it, 1, "so many were told that they are alice");
            assert_eq!(names.everyone().len(), 1);
        }
    }

    fn of_many_who_change_to_a_name_at_once_one_gets_it<R: Registry>() {
        for _ in 0..100 {
            let names = R::default();
            for client in 0..4 {
                assert!(names.claim(client, &format!("user{client}")));
            }
            let got_it = race(4, |client| names.rename(client, "alice"));
            assert_eq!(got_it, 1, "so many were told that they are alice now");
            assert_eq!(names.everyone().len(), 4, "{:?}", names.everyone());
        }
    }

    fn a_client_has_one_name_and_a_name_has_one_client<R: Registry>() {
        let names = R::default();
        assert!(
            !names.rename(1, "alice"),
            "who has no name has none to change"
        );
        assert!(names.claim(1, "Alice"));
        assert!(!names.claim(2, "aLICE"), "it is the same name");
        assert!(!names.claim(1, "carol"), "it has a name already");
        assert!(names.claim(2, "bob"));
        assert!(!names.rename(2, "ALICE"), "it is another's");
        assert_eq!(sorted(&names), [(1, "Alice".into()), (2, "bob".into())]);
        assert!(names.rename(2, "Bob"), "nobody else has it");
        assert!(names.rename(1, "carol"));
        assert!(names.claim(3, "alice"), "it was given up");
        names.leave(1);
        names.leave(1);
        assert_eq!(sorted(&names), [(2, "Bob".into()), (3, "alice".into())]);
        assert!(names.claim(1, "carol"), "it was given up");
    }

    fn sorted(names: &impl Registry) -> Vec<(Client, String)> {
        let mut all = names.everyone();
        all.sort();
        all
    }

    fn nobody_sees_a_name_change_half_done<R: Registry>() {
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
                        // Now and then the other has it.
                        names.rename(client, ["red", "green", "blue"][number % 3]);
                    }
                })
            };
            let changing = [1, 2].map(change);
            let looking = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let all = names.everyone();
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
