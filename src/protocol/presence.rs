//! Presence: users that join, leave or change their names, as watching sessions get it (section 3).
//!
//! Does not know which sessions watch, or in which order changes happen.

use std::fmt;

use super::username::Username;

/// The data of a presence delivery begins with this, and with status 200 that of no response.
pub const PRESENCE: &str = "Incoming-presence ";

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A new session took this name.
    Joined(Username),
    /// The session of this name ended.
    Left(Username),
    /// A session changed its name.
    Renamed {
        /// The name before, in its former spelling.
        old: Username,
        /// The name now.
        new: Username,
    },
}

impl Presence {
    /// Reads what follows `Incoming-presence `. `None` if it is not a change.
    pub fn parse(text: &str) -> Option<Presence> {
        let words: Vec<&str> = text.split(' ').collect();
        let name = |word| Username::new(word).ok();
        match words[..] {
            ["joined", it] => Some(Presence::Joined(name(it)?)),
            ["left", it] => Some(Presence::Left(name(it)?)),
            ["renamed", old, new] => Some(Presence::Renamed {
                old: name(old)?,
                new: name(new)?,
            }),
            _ => None,
        }
    }
}

/// The text behind `Incoming-presence `.
impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Presence::Joined(name) => write!(f, "joined {name}"),
            Presence::Left(name) => write!(f, "left {name}"),
            Presence::Renamed { old, new } => write!(f, "renamed {old} {new}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::literals::{self, name};
    use proptest::prelude::*;

    #[test]
    fn change_is_written_as_its_words() {
        let (old, new) = (name("alice"), name("Alice"));
        for (change, words) in [
            (Presence::Joined(name("joined")), "joined joined"),
            (Presence::Left(name("al")), "left al"),
            (Presence::Renamed { old, new }, "renamed alice Alice"),
        ] {
            assert_eq!(change.to_string(), words);
        }
    }

    #[test]
    fn other_texts_are_no_change() {
        for text in [
            "",
            "joined",
            "joined ",
            "joined a",
            "joined al ice",
            " joined al",
            "Joined al",
            "left al ",
            "renamed al",
            "renamed al al al",
            "moved al",
        ] {
            assert_eq!(Presence::parse(text), None, "{text:?}");
        }
    }

    pub(crate) fn changes() -> impl Strategy<Value = Presence> {
        let names = literals::names;
        prop_oneof![
            names().prop_map(Presence::Joined),
            names().prop_map(Presence::Left),
            (names(), names()).prop_map(|(old, new)| Presence::Renamed { old, new }),
        ]
    }

    proptest! {
        #[test]
        fn written_change_parses_to_the_same(change in changes()) {
            prop_assert_eq!(Presence::parse(&change.to_string()), Some(change));
        }

        #[test]
        fn parsed_change_is_written_as_it_was(
            text in prop_oneof![".*", "(joined|left|renamed)( [a-zA-Z0-9_-]{1,4}){0,3} ?"],
        ) {
            if let Some(change) = Presence::parse(&text) {
                prop_assert_eq!(change.to_string(), text);
            }
        }
    }
}
