//! Printable text (section 1), and the text of a message (section 2).
//!
//! Does not know which line or argument a text is.
//!
//! Invariant: *no [`Printable`] contains a forbidden character, and no [`Text`] is blank or too
//! long.*

use crate::limits::MAX_TEXT_CHARS;

/// UTF-8 without the forbidden characters, which would control a terminal that shows it.
///
/// Every line of a request must be printable, and so every part of one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printable(String);

/// The reason why a line is not [`Printable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprintable {
    /// Its bytes are not UTF-8.
    NotUtf8,
    /// It contains forbidden characters. This is the first.
    Forbidden(char),
}

/// The text of a message: 1 to 2,047 characters, not all blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Printable);

/// The reason why a [`Printable`] is not a [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadText {
    /// It is empty, or all of its characters are blank.
    Blank,
    /// It has more than 2,047 characters.
    TooLong,
}

impl Printable {
    /// Checks the bytes of a line.
    pub fn new(line: &[u8]) -> Result<Printable, Unprintable> {
        // Most lines are ASCII. A check of all bytes without a branch is much faster than a
        // check of each character.
        let is_plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        let all_plain = line.iter().fold(true, |all, byte| all & is_plain(byte));
        let line = str::from_utf8(line).map_err(|_| Unprintable::NotUtf8)?;
        let forbidden = match all_plain {
            true => None,
            false => line.chars().find(|&c| is_forbidden(c)),
        };
        match forbidden {
            Some(c) => Err(Unprintable::Forbidden(c)),
            None => Ok(Printable(line.into())),
        }
    }

    /// Makes any line printable: U+FFFD replaces each forbidden character and invalid byte
    /// sequence. For lines that must be shown whatever they contain.
    pub fn lossy(line: &[u8]) -> Printable {
        let shown = |c| match is_forbidden(c) {
            true => char::REPLACEMENT_CHARACTER,
            false => c,
        };
        Printable(String::from_utf8_lossy(line).chars().map(shown).collect())
    }

    /// Splits at the first space. The rest is kept as it is. `None` if there is no space.
    pub fn split_word(&self) -> (Printable, Option<Printable>) {
        match self.0.split_once(' ') {
            Some((word, rest)) => (Printable(word.into()), Some(Printable(rest.into()))),
            None => (self.clone(), None),
        }
    }

    /// Returns the first word: all before the first space, or all if there is no space.
    pub fn first_word(&self) -> &str {
        &self.0[..self.first_space().unwrap_or(self.0.len())]
    }

    /// Returns the rest after the first space, in the same buffer. `None` if there is no space.
    pub fn after_first_word(mut self) -> Option<Printable> {
        let space = self.first_space()?;
        self.0.drain(..=space);
        Some(self)
    }

    /// Finds the first space. Words are short, so a plain loop is faster than `str::find`.
    fn first_space(&self) -> Option<usize> {
        self.0.bytes().position(|byte| byte == b' ')
    }

    /// Returns the first `count` characters, or all if there are fewer.
    pub fn first_chars(&self, count: usize) -> Printable {
        Printable(self.0.chars().take(count).collect())
    }

    /// Returns the characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text {
    /// Checks the length, then whether the text is blank.
    pub fn new(text: Printable) -> Result<Text, BadText> {
        if text.as_str().chars().count() > MAX_TEXT_CHARS {
            Err(BadText::TooLong)
        } else if is_blank(text.as_str()) {
            Err(BadText::Blank)
        } else {
            Ok(Text(text))
        }
    }

    /// Returns the characters.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Returns whether section 1 forbids this character.
///
/// Forbidden are the control characters except TAB, the line and paragraph separators, and the
/// directional controls, which can make a text look like another text.
pub(crate) fn is_forbidden(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => true,
        _ => c.is_control(),
    }
}

/// Returns whether a text shows nothing (section 2): it is empty, or all of its characters
/// are white space or invisible.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || is_invisible(c))
}

/// Returns whether a character shows nothing although Unicode does not count it as white space
/// (section 2): zero-width characters, the soft hyphen, the empty Braille pattern, and fillers.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{200B}'..='\u{200F}'
            | '\u{2060}'..='\u{2064}'
            | '\u{FEFF}'
            | '\u{AD}'
            | '\u{34F}'
            | '\u{180E}'
            | '\u{2800}'
            | '\u{115F}'
            | '\u{1160}'
            | '\u{3164}'
            | '\u{FFA0}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The list of section 1, in the protocol's own order.
    fn forbidden_by_the_letter(c: char) -> bool {
        let code = u32::from(c);
        (code <= 0x1F && code != 0x09)
            || code == 0x7F
            || (0x80..=0x9F).contains(&code)
            || code == 0x2028
            || code == 0x2029
            || (0x202A..=0x202E).contains(&code)
            || (0x2066..=0x2069).contains(&code)
    }

    #[test]
    fn exactly_the_listed_characters_are_forbidden() {
        for c in '\0'..=char::MAX {
            let line = format!("a{c}b");
            let expected = forbidden_by_the_letter(c).then_some(Unprintable::Forbidden(c));
            assert_eq!(
                Printable::new(line.as_bytes()).err(),
                expected,
                "U+{:04X}",
                u32::from(c)
            );
        }
    }

    #[test]
    fn first_forbidden_character_is_reported() {
        let line = "ok\u{85}\u{7}".as_bytes();
        assert_eq!(Printable::new(line), Err(Unprintable::Forbidden('\u{85}')));
        assert_eq!(Printable::new(b"\xC3"), Err(Unprintable::NotUtf8));
        assert_eq!(Printable::new(b"\x07\xFF"), Err(Unprintable::NotUtf8));
    }

    #[test]
    fn lossy_replaces_only_unprintable_characters() {
        let lossy = Printable::lossy("a\u{1B}[2J\t\u{202E}я".as_bytes());
        assert_eq!(lossy.as_str(), "a\u{FFFD}[2J\t\u{FFFD}я");
        assert_eq!(Printable::lossy(b"\xC3(").as_str(), "\u{FFFD}(");
    }

    #[test]
    fn text_has_1_to_2047_characters_and_is_not_blank() {
        let text = |text: &str| Text::new(Printable::new(text.as_bytes()).unwrap());
        for good in ["x", " x ", &"я".repeat(2_047), &"🙂".repeat(2_047)] {
            assert_eq!(text(good).unwrap().as_str(), good);
        }
        for blank in ["", " ", "\t \u{A0}\u{3000}"] {
            assert_eq!(text(blank), Err(BadText::Blank), "{blank:?}");
        }
        let joined = "👩\u{200D}👩";
        assert_eq!(text(joined).unwrap().as_str(), joined);
        assert_eq!(text(&"я".repeat(2_048)), Err(BadText::TooLong));
        assert_eq!(text(&" ".repeat(2_048)), Err(BadText::TooLong));
    }

    /// The list of section 2, in the protocol's own order.
    fn invisible_by_the_letter(c: char) -> bool {
        let code = u32::from(c);
        (0x200B..=0x200F).contains(&code)
            || (0x2060..=0x2064).contains(&code)
            || [0xFEFF, 0xAD, 0x34F, 0x180E, 0x2800].contains(&code)
            || [0x115F, 0x1160, 0x3164, 0xFFA0].contains(&code)
    }

    #[test]
    fn text_of_invisible_characters_is_blank() {
        let text = |text: &str| Text::new(Printable::new(text.as_bytes()).unwrap());
        for c in ('\0'..=char::MAX).filter(|&c| !is_forbidden(c)) {
            let is_blank = c.is_whitespace() || invisible_by_the_letter(c);
            let expected = is_blank.then_some(BadText::Blank);
            let line = format!(" {c}\u{FEFF}{c}");
            assert_eq!(text(&line).err(), expected, "U+{:04X}", u32::from(c));
        }
    }

    proptest! {
        #[test]
        fn lossy_result_is_always_printable(line: Vec<u8>) {
            let lossy = Printable::lossy(&line);
            prop_assert_eq!(Printable::new(lossy.as_str().as_bytes()), Ok(lossy.clone()));
            if let Ok(line) = Printable::new(&line) {
                prop_assert_eq!(line, lossy);
            }
        }

        #[test]
        fn split_word_keeps_every_character(line: Vec<u8>) {
            if let Ok(line) = Printable::new(&line) {
                let (word, rest) = line.split_word();
                prop_assert!(!word.as_str().contains(' '));
                let after = |rest: &Printable| format!(" {}", rest.as_str());
                let joined = rest.as_ref().map_or(String::new(), after);
                prop_assert_eq!(format!("{}{joined}", word.as_str()), line.as_str());
                prop_assert_eq!(line.first_word(), word.as_str());
                prop_assert_eq!(line.after_first_word(), rest);
            }
        }
    }
}
