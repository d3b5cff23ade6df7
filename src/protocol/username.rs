//! Names of users (section 2).
//!
//! Does not know which names are taken.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::{MAX_NAME, MIN_NAME};

/// A valid name in its owner's spelling: 2 to 63 characters out of `A–Z a–z 0–9 _ -`.
///
/// `==` compares the spelling. Two spellings are *the same name* if their
/// [`key`](Username::key)s are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(Arc<str>);

/// A name without its case: all spellings of a name have the same key.
///
/// The order of keys is the order of a list of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(Box<str>);

impl NameKey {
    /// Returns the name in lower case.
    #[cfg(feature = "redis")]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The order of keys is that of their characters, so a map can be searched by `str`.
impl Borrow<str> for NameKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The error for characters that are not a valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl Username {
    /// Checks the spelling of a name.
    pub fn new(spelling: &str) -> Result<Username, BadName> {
        let fits = (MIN_NAME..=MAX_NAME).contains(&spelling.len());
        if fits && spelling.chars().all(Username::may_contain) {
            Ok(Username(spelling.into()))
        } else {
            Err(BadName)
        }
    }

    /// Returns whether a name may contain this character.
    pub fn may_contain(c: char) -> bool {
        c.is_ascii_alphanumeric() || c == '_' || c == '-'
    }

    /// Returns the key of this name, which all of its spellings share.
    pub fn key(&self) -> NameKey {
        NameKey(self.0.to_ascii_lowercase().into())
    }

    /// Returns whether both are the same name, in any spelling.
    pub fn is_same_as(&self, other: &Username) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// Returns the spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name begins with `prefix`, in any case.
    pub fn starts_with(&self, prefix: &str) -> bool {
        let start = self.0.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_2_to_63_allowed_characters() {
        for good in ["ab", "A_-9", &"x".repeat(63), "--", "007"] {
            assert_eq!(Username::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a",
            &"x".repeat(64),
            "a b",
            "a.b",
            "боб",
            "a\t",
            " ab",
            "ab ",
        ] {
            assert_eq!(Username::new(bad), Err(BadName), "{bad:?}");
        }
    }

    #[test]
    fn name_keeps_its_case_but_compares_without_it() {
        let (bob, shouted) = (Username::new("bob").unwrap(), Username::new("BOB").unwrap());
        assert_ne!(bob, shouted);
        assert_eq!(bob.key(), shouted.key());
        assert!(bob.is_same_as(&shouted) && !bob.is_same_as(&Username::new("bobby").unwrap()));
        assert!(shouted.starts_with("bo") && shouted.starts_with("") && !bob.starts_with("bobb"));
        assert!(!bob.starts_with("б"));
    }
}
