//! Names (section 2).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits::{MAX_NAME, MIN_NAME};

/// A valid name: 2 to 63 characters out of `A–Z a–z 0–9 _ -`, as its owner
/// spells it.
///
/// Equality is that of the spelling. Whether two names are *the same name* is a
/// question to their [`key`](Username::key)s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(Arc<str>);

/// What two names have in common that differ only in ASCII case; the order of
/// keys is the order in which names are listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(Box<str>);

/// A key is ordered as its characters are.
impl Borrow<str> for NameKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The characters do not make a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl Username {
    /// The name that is spelled so.
    pub fn new(spelling: &str) -> Result<Username, BadName> {
        let fits = (MIN_NAME..=MAX_NAME).contains(&spelling.len());
        if fits && spelling.chars().all(Username::may_contain) {
            Ok(Username(spelling.into()))
        } else {
            Err(BadName)
        }
    }

    /// Whether this character may stand in a name.
    pub fn may_contain(c: char) -> bool {
        c.is_ascii_alphanumeric() || c == '_' || c == '-'
    }

    /// What this name has in common with its other spellings.
    pub fn key(&self) -> NameKey {
        NameKey(self.0.to_ascii_lowercase().into())
    }

    /// Whether this is another spelling of the same name, or the same.
    pub fn is_same_as(&self, other: &Username) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// The spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name begins with `prefix`, whatever the case.
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
    fn a_name_is_2_to_63_of_its_alphabet() {
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
    fn case_is_the_owners_and_does_not_tell_names_apart() {
        let (bob, shouted) = (Username::new("bob").unwrap(), Username::new("BOB").unwrap());
        assert_ne!(bob, shouted);
        assert_eq!(bob.key(), shouted.key());
        assert!(bob.is_same_as(&shouted) && !bob.is_same_as(&Username::new("bobby").unwrap()));
        assert!(shouted.starts_with("bo") && shouted.starts_with("") && !bob.starts_with("bobb"));
        assert!(!bob.starts_with("б"));
    }
}
