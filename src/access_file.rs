//! A file of access tokens, which a server without open doors and its clients read.
//!
//! Does not know what a token opens, or what a program does when the file is bad.
//!
//! Invariant: no error contains a line of the file, because a line may be almost a token.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::protocol::redact::Redacted;
use crate::protocol::token::Token;

/// Why a file of access tokens cannot be used.
#[derive(Debug)]
pub struct AccessFileError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Unreadable(io::Error),
    /// The number of the first bad line, from 1.
    BadLine(usize),
}

/// Reads the tokens of this file, in its order. A file without tokens is good.
pub fn read(path: &Path) -> Result<Vec<Token>, AccessFileError> {
    let bytes = fs::read(path).map_err(Problem::Unreadable);
    let tokens = bytes.and_then(|bytes| parse(&bytes).map_err(Problem::BadLine));
    tokens.map_err(|problem| AccessFileError {
        path: path.to_owned(),
        problem,
    })
}

/// Returns the tokens, or the number of the first bad line.
///
/// A line is empty, a comment that begins with `#`, or a token. Spaces may follow the token,
/// and a comment behind at least one space. Lines end in LF or CRLF.
fn parse(bytes: &[u8]) -> Result<Vec<Token>, usize> {
    let mut tokens = Vec::new();
    for (line, number) in bytes.split_inclusive(|&byte| byte == b'\n').zip(1_usize..) {
        let line = line
            .strip_suffix(b"\n")
            .map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        if !line.is_empty() && !line.starts_with(b"#") {
            tokens.push(parse_token_line(line).ok_or(number)?);
        }
    }
    Ok(tokens)
}

fn parse_token_line(line: &[u8]) -> Option<Token> {
    let (digits, rest) = line.split_at_checked(Token::DIGITS)?;
    let comment = rest.trim_ascii_start();
    let spaces = &rest[..rest.len() - comment.len()];
    let is_good_rest = spaces.iter().all(|&byte| byte == b' ')
        && (comment.is_empty() || comment.starts_with(b"#") && !spaces.is_empty());
    Token::from_hex(str::from_utf8(digits).ok()?).filter(|_| is_good_rest)
}

impl fmt::Display for AccessFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By mistake, a user may give a token as the path.
        let path = Redacted(self.path.as_os_str().as_bytes());
        match &self.problem {
            Problem::Unreadable(e) => write!(f, "{path}: {e}"),
            Problem::BadLine(number) => {
                write!(
                    f,
                    "{path}: line {number}: expected a token of 32 hex digits (0-9 a-f)"
                )
            }
        }
    }
}

impl std::error::Error for AccessFileError {}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0123456789abcdef0123456789abcdef";
    const B: &str = "ffffffffffffffffffffffffffffffff";

    fn token(digits: &str) -> Token {
        Token::from_hex(digits).expect("a token")
    }

    #[test]
    fn tokens_are_read_in_order_among_comments() {
        let text = format!("# a class\n\n{A}\r\n{B} # bob\n\r\n{A}   \n{B}  #");
        let expected = [A, B, A, B].map(token);
        assert_eq!(parse(text.as_bytes()), Ok(expected.to_vec()));
        assert_eq!(parse(b""), Ok(vec![]));
        assert_eq!(parse(b"# \xFF is not UTF-8\n"), Ok(vec![]));
    }

    #[test]
    fn first_bad_line_is_named_by_its_number() {
        let upper = A.to_uppercase();
        for bad in [
            " ",
            "x",
            &A[1..],
            &format!("{A}0"),
            &format!(" {A}"),
            &format!("{A}# too near"),
            &format!("{A} bob"),
            &format!("{A}\t# a tab"),
            &format!("{A}\r\r"),
            &upper,
        ] {
            let text = format!("# good\n{A}\n{bad}\n{bad}\n");
            assert_eq!(parse(text.as_bytes()), Err(3), "{bad:?}");
        }
        // A CR is part of a line end only before an LF.
        assert_eq!(parse(format!("{A}\r").as_bytes()), Err(1));
    }

    #[test]
    fn error_names_the_file_and_shows_nothing_of_it() {
        let error = AccessFileError {
            path: "access".into(),
            problem: Problem::BadLine(7),
        };
        let text = "access: line 7: expected a token of 32 hex digits (0-9 a-f)";
        assert_eq!(error.to_string(), text);
        let error = read(Path::new("/nowhere/access")).unwrap_err().to_string();
        assert_eq!(
            error,
            "/nowhere/access: No such file or directory (os error 2)"
        );
    }
}
