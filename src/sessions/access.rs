//! The access tokens of a server that is not open to everyone.
//!
//! Does not know files, names or sessions.
//!
//! Invariant: *a token opens the server from the moment at which [`replace`](AccessTokens::replace)
//! has put it in until a later call leaves it out.*

use std::collections::HashSet;

use parking_lot::RwLock;

use crate::protocol::token::Token;

/// The access tokens that hold now. A new one needs none: the server is open to everyone.
///
/// A thread takes its lock alone.
#[derive(Default)]
pub struct AccessTokens {
    /// `None` if the server is open. The set hashes with random keys of its own (SipHash), and
    /// compares a token only with one that has the same hash. So the time of a lookup tells
    /// nothing about how much of a guess was right. A comparison in constant time with each
    /// token would tell nothing either, but would take longer for each token of the file.
    tokens: RwLock<Option<HashSet<Token>>>,
}

impl AccessTokens {
    /// Replaces all tokens, and returns how many there are now.
    pub fn replace(&self, tokens: Vec<Token>) -> usize {
        let tokens: HashSet<Token> = tokens.into_iter().collect();
        let count = tokens.len();
        let before = self.tokens.write().replace(tokens);
        // Not under the lock: it may be long.
        drop(before);
        count
    }

    /// Returns whether a new session needs one.
    pub fn are_needed(&self) -> bool {
        self.tokens.read().is_some()
    }

    /// Returns whether this is one of them.
    pub fn contain(&self, token: Token) -> bool {
        let tokens = self.tokens.read();
        tokens
            .as_ref()
            .is_some_and(|tokens| tokens.contains(&token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_tokens_hold_and_the_others_do_not() {
        let [one, two, three] = [1, 2, 3].map(|bits| Token::from_bits([bits; 16]));
        let access = AccessTokens::default();
        assert!(!access.are_needed() && !access.contain(one));
        assert_eq!(access.replace(vec![one, two, one]), 2);
        assert!(access.are_needed() && access.contain(one) && !access.contain(three));
        assert_eq!(access.replace(vec![three]), 1);
        assert!(!access.contain(one) && access.contain(three));
        assert_eq!(access.replace(vec![]), 0);
        assert!(access.are_needed() && !access.contain(three));
    }
}
