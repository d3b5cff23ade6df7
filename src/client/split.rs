//! Splits a long text into messages.
//!
//! Pure. Does not know where the text comes from. Invariant: *only blanks are lost*: the
//! spaces at the cuts, and blank pieces.

use crate::limits::MAX_TEXT_CHARS;
use crate::protocol::text::{Printable, Text, Unprintable};

/// Splits a text into messages of at most [`MAX_TEXT_CHARS`] characters.
///
/// A cut is at the last space that makes the piece short enough. If there is none, the cut is
/// at the limit. Blank pieces are dropped, so a blank text gives no message.
pub fn split_text(text: &[u8]) -> Result<Vec<Text>, Unprintable> {
    let printable = Printable::new(text)?;
    let mut rest = printable.as_str();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let (piece, after) = cut(rest, MAX_TEXT_CHARS);
        texts.extend(Text::new(Printable::new(piece.as_bytes())?));
        rest = after;
    }
    Ok(texts)
}

/// Cuts off a piece of at most `most` characters. The space at the cut is in neither part.
fn cut(text: &str, most: usize) -> (&str, &str) {
    let Some((end, beyond)) = text.char_indices().nth(most) else {
        return (text, "");
    };
    if beyond == ' ' {
        return (&text[..end], &text[end + 1..]);
    }
    match text[..end].rfind(' ') {
        Some(space) if space > 0 => (&text[..space], &text[space + 1..]),
        _ => text.split_at(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_text_is_cut_at_a_space_if_possible() {
        let lengths = |line: &str| -> Vec<usize> {
            let texts = split_text(line.as_bytes()).unwrap();
            texts
                .iter()
                .map(|text| text.as_str().chars().count())
                .collect()
        };
        let word = "я".repeat(2_047);
        assert_eq!(lengths(&word), [2_047]);
        assert_eq!(lengths(&format!("{word}я")), [2_047, 1]);
        assert_eq!(lengths(&format!("{word} я")), [2_047, 1]);
        assert_eq!(lengths(&format!("a {word}")), [1, 2_047]);
        assert_eq!(lengths(&format!(" {word}")), [2_047, 1]);
        assert_eq!(lengths(&" ".repeat(5_000)), []);
        assert_eq!(cut("one two three", 8), ("one two", "three"));
        assert_eq!(cut("one two three", 7), ("one two", "three"));
        assert_eq!(cut("one two three", 6), ("one", "two three"));
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing_but_spaces(line in "[a-z 🙂]{0,9000}") {
            let pieces = split_text(line.as_bytes()).unwrap();
            let letters = |text: &str| text.replace(' ', "");
            let joined: String = pieces.iter().map(|text| letters(text.as_str())).collect();
            prop_assert_eq!(joined, letters(&line));
        }
    }
}
