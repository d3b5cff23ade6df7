//! The access token of the client: where it comes from, and the advice if it does not help.
//!
//! Does not know how the token is sent. Invariant: *no text of this module contains a token*.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::access_file;
use crate::protocol::redact::Redacted;
use crate::protocol::reply::Response;
use crate::protocol::token::Token;

/// The environment variable that can contain an access token.
pub const VARIABLE: &str = "CHAT_ACCESS_TOKEN";

/// The value of the environment variable `CHAT_ACCESS_TOKEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessVariable {
    /// The variable is not set, or it is empty.
    Unset,
    /// The token.
    Token(Token),
    /// The value is not a token.
    Malformed,
}

impl AccessVariable {
    /// Parses the value.
    pub fn parse(value: Option<OsString>) -> AccessVariable {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return AccessVariable::Unset;
        };
        let token = value.to_str().and_then(Token::from_hex);
        token.map_or(AccessVariable::Malformed, AccessVariable::Token)
    }
}

/// The place from which the client gets its access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSource {
    /// The client has no access token.
    Nowhere,
    /// The first token in this file.
    File(PathBuf),
    /// The token of the environment variable.
    Variable(Token),
}

/// The access token of the client, if it has one.
#[derive(Clone, Debug)]
pub struct Access {
    token: Option<Token>,
    source: AccessSource,
}

impl AccessSource {
    /// Reads the token. Fails with a text of one line.
    ///
    /// A file without a token is an error here. The user has named the file to use its token,
    /// and the server would only answer that it needs one.
    pub fn load(self) -> Result<Access, String> {
        let token = match &self {
            AccessSource::Nowhere => None,
            AccessSource::Variable(token) => Some(*token),
            AccessSource::File(path) => {
                let tokens = access_file::read(path).map_err(|e| e.to_string())?;
                let first = tokens.first().ok_or_else(|| {
                    let path = Redacted(path.as_os_str().as_bytes());
                    format!("{path}: expected at least one access token")
                })?;
                Some(*first)
            }
        };
        let source = self;
        Ok(Access { token, source })
    }
}

impl Access {
    /// Returns the access of a client without a token.
    pub fn none() -> Access {
        Access {
            token: None,
            source: AccessSource::Nowhere,
        }
    }

    /// Returns the token, for the first `Set-name` of a connection.
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// Returns the text for the user if the server needs an access token that it knows.
    pub fn advice(&self) -> String {
        let needed = Response::NeedsAccessToken;
        match &self.source {
            AccessSource::Nowhere => {
                format!("{needed}: use --access-file FILE, or set {VARIABLE}")
            }
            AccessSource::Variable(_) => {
                format!("{needed}, and does not know the one in {VARIABLE}")
            }
            AccessSource::File(path) => {
                let path = Redacted(path.as_os_str().as_bytes());
                format!("{needed}, and does not know the first one in {path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_a_whole_token_is_a_value_of_the_variable() {
        let parse = |value: &str| AccessVariable::parse(Some(value.into()));
        let token = Token::from_hex(DIGITS).unwrap();
        assert_eq!(parse(DIGITS), AccessVariable::Token(token));
        assert_eq!(parse(""), AccessVariable::Unset);
        assert_eq!(AccessVariable::parse(None), AccessVariable::Unset);
        let upper = DIGITS.to_uppercase();
        for bad in [
            " ",
            &DIGITS[1..],
            &format!("{DIGITS}\n"),
            &format!("{DIGITS} # a comment"),
            &upper,
        ] {
            assert_eq!(parse(bad), AccessVariable::Malformed, "{bad:?}");
        }
        let not_utf8 = OsString::from_vec(vec![0xFF; Token::DIGITS]);
        assert_eq!(
            AccessVariable::parse(Some(not_utf8)),
            AccessVariable::Malformed
        );
    }

    #[test]
    fn advice_names_the_source_and_shows_no_token() {
        let advice = |source| {
            let access = Access {
                token: Token::from_hex(DIGITS),
                source,
            };
            access.advice()
        };
        let token = Token::from_hex(DIGITS).unwrap();
        for (source, expected) in [
            (
                AccessSource::Nowhere,
                "This server needs an access token: \
                 use --access-file FILE, or set CHAT_ACCESS_TOKEN",
            ),
            (
                AccessSource::Variable(token),
                "This server needs an access token, \
                 and does not know the one in CHAT_ACCESS_TOKEN",
            ),
            (
                AccessSource::File("tokens".into()),
                "This server needs an access token, and does not know the first one in tokens",
            ),
            (
                AccessSource::File(DIGITS.into()),
                "This server needs an access token, and does not know the first one in [token]",
            ),
        ] {
            assert_eq!(advice(source), expected);
        }
    }
}
