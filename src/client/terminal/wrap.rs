//! Rows of a text: where a line ends that is longer than the terminal is wide.
//!
//! Pure. Does not know what the text says, or its sender.
//!
//! Invariant: *only a row that this module begins starts at the left edge with a blank in
//! it.* So no text can imitate the beginning of another message. Three rules keep it:
//!
//! 1. Every row after the first is indented.
//! 2. A row is never wider than the terminal, reckoned with [`cells`]: the most columns
//!    that any terminal uses for a character. Around characters beyond ASCII the terminal's
//!    own wrapping is switched off as well ([`AUTOWRAP_OFF`]), so that a terminal with yet
//!    other widths cuts the row and does not go on at the left edge.
//! 3. A word that is longer than a row stays whole if it is ASCII, so that a terminal can
//!    open and copy an address. The terminal wraps it. Its tail has no blank in it, and the
//!    next word begins a row of its own.
//!
//! Terminals that wrap old rows again after a change of their width do so without asking.

use unicode_width::UnicodeWidthChar;

/// DECAWM reset: what does not fit a row stays in its last column.
pub const AUTOWRAP_OFF: &str = "\x1B[?7l";

/// DECAWM set, as a shell expects it.
pub const AUTOWRAP_ON: &str = "\x1B[?7h";

/// The shape of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Columns of the terminal.
    pub columns: usize,
    /// Blanks before each row after the first.
    pub indent: usize,
    /// Whether the terminal knows control sequences.
    pub controls: bool,
}

/// Returns the most columns that a terminal uses for this character.
///
/// Terminals disagree about characters that are newer than their tables, that are shown
/// only in combination, or that have a picture as well as a letter form.
pub fn cells(c: char) -> usize {
    match c {
        ' '..='~' => 1,
        // Letters of Europe and the Near East, with their marks.
        '\u{A0}'..='\u{10FF}' => c.width().unwrap_or(0).max(1),
        // Box drawing and blocks.
        '\u{2500}'..='\u{259F}' | '\u{1200}'..='\u{22FF}' => c.width().unwrap_or(0).max(1),
        _ => 2,
    }
}

/// Returns the columns that a text takes at most, without its colours.
pub fn cells_of(text: &str) -> usize {
    pieces(text).map(|piece| piece.cells).sum()
}

/// Returns the text in rows, of which the first begins after `before` columns. A row ends
/// between two words, if it can.
pub fn in_rows(text: &str, before: usize, rows: Rows) -> String {
    let mut out = Wrapping {
        rows,
        done: String::new(),
        column: before,
    };
    let mut rest = text;
    while !rest.is_empty() {
        let blanks = rest.find(|c| c != ' ' && c != '\t').unwrap_or(rest.len());
        let (gap, after) = rest.split_at(blanks);
        let end = after.find([' ', '\t']).unwrap_or(after.len());
        let (word, after) = after.split_at(end);
        out.add(gap, word);
        rest = after;
    }
    match rows.controls && !text.is_ascii() {
        true => format!("{AUTOWRAP_OFF}{}{AUTOWRAP_ON}", out.done),
        false => out.done,
    }
}

struct Wrapping {
    rows: Rows,
    done: String,
    column: usize,
}

impl Wrapping {
    fn add(&mut self, gap: &str, word: &str) {
        // A TAB goes on to the next multiple of eight.
        let after_gap = gap.chars().fold(self.column, |column, c| match c {
            '\t' => (column / 8 + 1) * 8,
            _ => column + 1,
        });
        let width = cells_of(word);
        let columns = self.rows.columns;
        if after_gap + width <= columns {
            self.done.push_str(gap);
            self.done.push_str(word);
            self.column = after_gap + width;
            return;
        }
        if self.rows.indent + width <= columns {
            self.begin_row();
            self.done.push_str(word);
            self.column += width;
            return;
        }
        if after_gap < columns {
            self.done.push_str(gap);
            self.column = after_gap;
        } else {
            self.begin_row();
        }
        let is_ascii = pieces(word).all(|piece| piece.text.is_ascii());
        if is_ascii {
            self.done.push_str(word);
            // What follows begins a row.
            self.column = columns;
            return;
        }
        for piece in pieces(word) {
            if self.column + piece.cells > columns {
                self.begin_row();
            }
            self.done.push_str(piece.text);
            self.column += piece.cells;
        }
    }

    fn begin_row(&mut self) {
        self.done.push('\n');
        self.done.push_str(&" ".repeat(self.rows.indent));
        self.column = self.rows.indent;
    }
}

/// A character, or a control sequence for its colour, which takes no column.
struct Piece<'a> {
    text: &'a str,
    cells: usize,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let c = rest.chars().next()?;
        let (end, cells) = match c {
            '\x1B' => (rest.find('m').map_or(rest.len(), |end| end + 1), 0),
            c => (c.len_utf8(), cells(c)),
        };
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece { text, cells })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROWS: Rows = Rows {
        columns: 30,
        indent: 6,
        controls: false,
    };

    #[test]
    fn rows_end_between_words() {
        let text = "one two three four five six seven";
        let expected = "one two three\n      four five six seven";
        assert_eq!(in_rows(text, 13, ROWS), expected);
        let long = "слово ".repeat(50);
        for row in in_rows(&long, 13, ROWS).lines().skip(1) {
            assert!(row.starts_with("      слово") && cells_of(row) <= 30);
        }
    }

    #[test]
    fn address_longer_than_a_row_stays_whole() {
        let address = format!("https://example.org/{}", "part/".repeat(20));
        let text = format!("see {address} 23:37 carol: hi");
        let rows = in_rows(&text, 13, ROWS);
        assert_eq!(rows, format!("see {address}\n      23:37 carol: hi"));
        let short = "y".repeat(20);
        assert_eq!(in_rows(&short, 13, ROWS), format!("\n      {short}"));
    }

    #[test]
    fn non_ascii_word_is_cut_at_the_edge() {
        for text in ["字".repeat(40), "🙂".repeat(40), "\u{3164}".repeat(40)] {
            let rows = in_rows(&text, 13, ROWS);
            for (number, row) in rows.lines().enumerate() {
                let before = if number == 0 { 13 } else { 0 };
                assert!(before + cells_of(row) <= 30, "{row:?}");
            }
            assert_eq!(rows.replace(['\n', ' '], ""), text);
        }
    }

    #[test]
    fn colours_take_no_column() {
        let text = "\x1B[1mone\x1B[0m \x1B[1mtwo\x1B[0m";
        let rows = Rows {
            columns: 20,
            ..ROWS
        };
        assert_eq!(in_rows(text, 13, rows), text);
    }

    #[test]
    fn autowrap_is_off_only_around_uncertain_widths() {
        let rows = Rows {
            controls: true,
            ..ROWS
        };
        assert_eq!(in_rows("hello", 13, rows), "hello");
        let guarded = format!("{AUTOWRAP_OFF}привет{AUTOWRAP_ON}");
        assert_eq!(in_rows("привет", 13, rows), guarded);
    }

    proptest! {
        #[test]
        fn later_rows_are_indented_and_fit_the_columns(text in "[a-я 🙂\u{3164}\u{AD}\t]{0,300}", columns in 14_usize..80) {
            let rows = in_rows(&text, 13.min(columns), Rows { columns, ..ROWS });
            for row in rows.lines().skip(1) {
                prop_assert!(row.starts_with("      "));
                let is_one_ascii_word = row.trim().is_ascii() && !row.trim().contains([' ', '\t']);
                prop_assert!(row.contains('\t') || cells_of(row) <= columns || is_one_ascii_word);
            }
            let letters = |text: &str| text.replace([' ', '\t', '\n'], "");
            prop_assert_eq!(letters(&rows), letters(&text));
        }
    }
}
