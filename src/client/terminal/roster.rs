//! The users online, from the server's lists and the changes that it reports.
//!
//! Pure. Does not know requests, or which changes are shown. The user's own name is not part of
//! it, because the server reports nothing about the user's own session.
//!
//! Invariant: *if the roster is accurate, it has every change that the server has reported since
//! the list*. A change that was reported before the list may be missing from the list, so it is
//! applied again after it.

use std::collections::BTreeMap;

use crate::protocol::presence::Presence;
use crate::protocol::username::{NameKey, Username};

/// The other users online.
#[derive(Debug, Default)]
pub struct Roster {
    others: BTreeMap<NameKey, Username>,
    /// Whether no change is missing since the last list.
    is_accurate: bool,
    /// Whether the last list had all names.
    is_complete: bool,
    /// The changes since a list was requested, while that list has not arrived.
    changes: Option<Vec<Presence>>,
    /// A change was missed after the list was requested, so another list is needed.
    must_ask_again: bool,
}

impl Roster {
    /// Notes that a list is requested now.
    pub fn expect_list(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// Returns whether a list is on its way.
    pub fn expects_list(&self) -> bool {
        self.changes.is_some()
    }

    /// Notes that changes are missing. Returns whether the caller must request a list now.
    pub fn on_missed(&mut self) -> bool {
        self.is_accurate = false;
        self.must_ask_again = self.expects_list();
        !self.must_ask_again
    }

    /// Replaces the roster by a list of `count` users, of which these names fitted into it.
    ///
    /// Returns whether the caller must request another list, because changes are missing.
    pub fn on_list(&mut self, names: &[Username], count: usize, me: &Username) -> bool {
        self.is_complete = names.len() == count;
        self.is_accurate = !self.must_ask_again;
        let others = names.iter().filter(|name| !name.is_same_as(me));
        self.others = others.map(|name| (name.key(), name.clone())).collect();
        for change in self.changes.take().unwrap_or_default() {
            self.apply(&change);
        }
        std::mem::take(&mut self.must_ask_again)
    }

    /// Notes that the requested list does not arrive.
    pub fn on_list_failed(&mut self) {
        self.changes = None;
        self.must_ask_again = false;
    }

    /// Applies a change. Returns whether it is news: false if the list had it already.
    pub fn on_change(&mut self, change: &Presence) -> bool {
        let has = |name: &Username| self.others.get(&name.key()) == Some(name);
        let knows_all = self.is_accurate && self.is_complete;
        let is_known = match change {
            Presence::Joined(name) => self.is_accurate && has(name),
            Presence::Left(name) => knows_all && !self.others.contains_key(&name.key()),
            Presence::Renamed { old, new } => {
                self.is_accurate
                    && has(new)
                    && (old.is_same_as(new) || !self.others.contains_key(&old.key()))
            }
        };
        self.apply(change);
        if let Some(changes) = &mut self.changes {
            changes.push(change.clone());
        }
        !is_known
    }

    fn apply(&mut self, change: &Presence) {
        let (gone, new) = match change {
            Presence::Joined(name) => (None, Some(name)),
            Presence::Left(name) => (Some(name), None),
            Presence::Renamed { old, new } => (Some(old), Some(new)),
        };
        if let Some(name) = gone {
            self.others.remove(&name.key());
        }
        if let Some(name) = new {
            self.others.insert(name.key(), name.clone());
        }
    }

    /// Returns all users whose name begins with this prefix, in the order of a list. Returns
    /// `None` if the roster does not have all of them.
    pub fn names(&self, prefix: &str, me: &Username) -> Option<Vec<Username>> {
        if !(self.is_accurate && self.is_complete) {
            return None;
        }
        let mut all = self.others.clone();
        all.insert(me.key(), me.clone());
        let names = all.into_values();
        Some(names.filter(|name| name.starts_with(prefix)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;

    fn joined(it: &str) -> Presence {
        Presence::Joined(name(it))
    }

    fn left(it: &str) -> Presence {
        Presence::Left(name(it))
    }

    fn renamed(old: &str, new: &str) -> Presence {
        Presence::Renamed {
            old: name(old),
            new: name(new),
        }
    }

    /// Returns the names of the roster of alice, or `None` if some may be missing.
    fn shown(roster: &Roster) -> Option<String> {
        let names = roster.names("", &name("alice"))?;
        let names: Vec<String> = names.iter().map(Username::to_string).collect();
        Some(names.join(" "))
    }

    fn list(roster: &mut Roster, names: &str) -> bool {
        let names: Vec<Username> = names.split(' ').map(name).collect();
        roster.on_list(&names, names.len(), &name("alice"))
    }

    #[test]
    fn roster_follows_list_and_changes() {
        let mut roster = Roster::default();
        assert_eq!(shown(&roster), None);
        roster.expect_list();
        assert!(!list(&mut roster, "alice Bob carol"));
        assert_eq!(shown(&roster).unwrap(), "alice Bob carol");
        for change in [
            joined("dave"),
            left("carol"),
            renamed("dave", "aaron"),
            renamed("Bob", "bob"),
        ] {
            assert!(roster.on_change(&change), "{change:?}");
        }
        assert_eq!(shown(&roster).unwrap(), "aaron alice bob");
        let names = roster.names("A", &name("alice")).unwrap();
        assert_eq!(names, [name("aaron"), name("alice")]);
    }

    #[test]
    fn own_name_is_the_present_one() {
        let mut roster = Roster::default();
        list(&mut roster, "alice bob");
        let names = roster.names("", &name("zoe")).unwrap();
        assert_eq!(names, [name("bob"), name("zoe")]);
        // Another user takes the former name.
        assert!(roster.on_change(&joined("alice")));
        let names = roster.names("", &name("zoe")).unwrap();
        assert_eq!(names, [name("alice"), name("bob"), name("zoe")]);
    }

    #[test]
    fn changes_before_the_list_arrives_are_applied_again() {
        let mut roster = Roster::default();
        roster.expect_list();
        for change in [joined("carol"), renamed("bob", "bert"), left("dave")] {
            roster.on_change(&change);
        }
        // The list is older than all three.
        list(&mut roster, "alice bob dave");
        assert_eq!(shown(&roster).unwrap(), "alice bert carol");
        // They are not applied again to the next list.
        roster.expect_list();
        list(&mut roster, "alice bob");
        assert_eq!(shown(&roster).unwrap(), "alice bob");
    }

    #[test]
    fn change_that_the_list_has_is_no_news() {
        let mut roster = Roster::default();
        list(&mut roster, "alice bert carol");
        for change in [joined("carol"), left("dave"), renamed("bob", "bert")] {
            assert!(!roster.on_change(&change), "{change:?}");
        }
        for change in [left("carol"), joined("carol"), renamed("bert", "Bert")] {
            assert!(roster.on_change(&change), "{change:?}");
        }
        assert!(!roster.on_change(&renamed("BERT", "Bert")));
    }

    #[test]
    fn every_change_is_news_without_an_accurate_list() {
        let mut roster = Roster::default();
        assert!(roster.on_change(&left("carol")));
        list(&mut roster, "alice carol");
        assert!(roster.on_missed());
        assert!(roster.on_change(&joined("carol")) && roster.on_change(&left("dave")));
        // After an incomplete list, an unknown name may have been online.
        roster.on_list(&[name("carol")], 900, &name("alice"));
        assert!(roster.on_change(&left("dave")) && !roster.on_change(&joined("carol")));
        assert_eq!(shown(&roster), None);
    }

    #[test]
    fn miss_asks_for_one_list_at_a_time() {
        let mut roster = Roster::default();
        roster.expect_list();
        list(&mut roster, "alice bob");
        assert!(roster.on_missed());
        assert_eq!(shown(&roster), None);
        roster.expect_list();
        // The list may be older than this miss.
        assert!(!roster.on_missed() && !roster.on_missed());
        assert!(list(&mut roster, "alice carol"));
        assert_eq!(shown(&roster), None);
        roster.expect_list();
        assert!(!list(&mut roster, "alice carol"));
        assert_eq!(shown(&roster).unwrap(), "alice carol");
    }
}
