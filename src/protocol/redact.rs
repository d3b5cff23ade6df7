//! Redaction of the lines that the log shows: escaped, and without tokens.
//!
//! Pure. Does not know which lines are logged, or where.
//!
//! Invariant: no output contains more than a few digits of a token, and none of [`Redacted`] a
//! control character.

use std::fmt::{self, Write as _};

use super::text::is_forbidden;
use super::token::Token;

/// A line of a message as the log may show it.
///
/// Its `Display` escapes forbidden characters, backslashes and bytes that are not UTF-8. It
/// writes `[token]` for every run of at least 16 hex digits, in any line and in any case. Half a
/// token is hidden too, because a response may cut a token that a user has typed.
pub struct Redacted<'a>(pub &'a [u8]);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_without_tokens(chunk.valid(), f, |c, f| {
                if is_forbidden(c) || c == '\\' {
                    write!(f, "{}", c.escape_default())
                } else {
                    f.write_char(c)
                }
            })?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A text of this program, such as a whole log line. It may contain a token as a name.
///
/// Its `Display` writes `[token]` for every run of at least 32 hex digits, in any case, and
/// leaves everything else as it is.
pub struct WithoutTokens<'a>(pub &'a str);

impl fmt::Display for WithoutTokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_without_tokens(self.0, f, |c, f| f.write_char(c))
    }
}

/// Writes the text without tokens. `write_other` writes each character that is no hex digit.
fn write_without_tokens(
    text: &str,
    f: &mut fmt::Formatter<'_>,
    write_other: impl Fn(char, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    let is_digit = |c: char| c.is_ascii_hexdigit();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        if digits >= Token::DIGITS / 2 {
            f.write_str("[token]")?;
        } else {
            f.write_str(&rest[..digits])?;
        }
        rest = &rest[digits..];
        let others = rest.find(is_digit).unwrap_or(rest.len());
        for c in rest[..others].chars() {
            write_other(c, f)?;
        }
        rest = &rest[others..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_text_is_readable() {
        let shown = |bytes: &[u8]| Redacted(bytes).to_string();
        assert_eq!(
            shown("приве́т 🙂 \"it's\"\t".as_bytes()),
            "приве́т 🙂 \"it's\"\t"
        );
        assert_eq!(
            shown(b"a\x1b[2J\x07\rb\xFF\xC3\\"),
            r"a\u{1b}[2J\u{7}\rb\xff\xc3\\"
        );
        assert_eq!(
            shown("\u{202E}\u{2028}\u{85}".as_bytes()),
            r"\u{202e}\u{2028}\u{85}"
        );
    }

    #[test]
    fn tokens_are_redacted_at_every_position() {
        let token = "5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4";
        for (line, shown) in [
            (token.to_owned(), "[token]"),
            (format!("Ping {token}!"), "Ping [token]!"),
            (format!("{token}{token}"), "[token]"),
            (token.to_uppercase(), "[token]"),
            (token[1..].to_owned(), "[token]"),
            (token[16..].to_owned(), "[token]"),
            (token[17..].to_owned(), &token[17..]),
        ] {
            assert_eq!(Redacted(line.as_bytes()).to_string(), shown);
            assert_eq!(WithoutTokens(&line).to_string(), shown);
        }
    }

    #[test]
    fn only_tokens_of_a_log_line_are_replaced() {
        let line = r"> a\u{1b}\\ \x07, \u{7}; 5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4 (é)";
        let shown = r"> a\u{1b}\\ \x07, \u{7}; [token] (é)";
        assert_eq!(WithoutTokens(line).to_string(), shown);
    }
}
