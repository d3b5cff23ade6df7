//! Session tokens (section 1).
//!
//! Does not know sessions, or where random bits come from.
//!
//! Invariant: *formatting a [`Token`] shows none of its digits.*

use std::fmt;

use crate::limits::TOKEN_DIGITS;

/// The 128 random bits that identify a session.
///
/// A token is a secret: a client that sends it acts for the session. So it has no `Display`,
/// and its `Debug` shows no digits. Only [`hex`](Token::hex) returns them, for a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token([u8; 16]);

impl Token {
    /// The number of hex digits of a token in a message.
    pub const DIGITS: usize = TOKEN_DIGITS;

    /// Makes a token of these bits, which must be random.
    pub fn from_bits(bits: [u8; 16]) -> Token {
        Token(bits)
    }

    /// Parses 32 lower-case hex digits. Returns `None` for any other text.
    pub fn from_hex(digits: &str) -> Option<Token> {
        let lower_case_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != Token::DIGITS || !digits.bytes().all(lower_case_hex) {
            return None;
        }
        u128::from_str_radix(digits, 16)
            .ok()
            .map(|bits| Token(bits.to_be_bytes()))
    }

    /// Returns the 32 hex digits.
    pub fn hex(&self) -> [u8; Token::DIGITS] {
        let mut digits = [0; Token::DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 0xF)];
        }
        digits
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn token_hex_parses_to_the_same_token(bits: [u8; 16]) {
            let token = Token::from_bits(bits);
            let digits = token.hex();
            prop_assert_eq!(Token::from_hex(str::from_utf8(&digits).unwrap()), Some(token));
        }
    }

    #[test]
    fn only_32_lowercase_hex_digits_are_a_token() {
        let good = "5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4";
        assert!(Token::from_hex(good).is_some());
        let upper = good.to_uppercase();
        let signed = format!("+{}", &good[1..]);
        for bad in ["", "x", &good[1..], &upper, &signed, &format!("{good} ")] {
            assert_eq!(Token::from_hex(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        assert_eq!(format!("{:?}", Token::from_bits([7; 16])), "Token(..)");
    }
}
