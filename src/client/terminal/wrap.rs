//! Splits a text into rows that fit the terminal.
//!
//! Pure. Does not know the meaning of the text, or its sender.
//!
//! Invariant: *the only row whose text starts at the left edge and contains a blank is the
//! first*. So no text can imitate the start of another message. Three rules keep it:
//!
//! 1. Every row after the first is indented.
//! 2. A row is never wider than the terminal. [`max_cells`] counts the most columns that any
//!    terminal uses for a character. Around text that is not ASCII, the terminal's own
//!    wrapping is also off ([`AUTOWRAP_OFF`]). So a terminal with other widths cuts the row,
//!    and does not continue at the left edge.
//! 3. An ASCII word that is longer than a row stays whole, so that a terminal can open and copy
//!    a web address. The terminal wraps it. Its tail has no blank, and the next word begins a
//!    new row.
//!
//! Limitation: some terminals wrap old rows again after a change of their width.

use unicode_width::UnicodeWidthChar;

/// DECAWM reset: characters that do not fit stay in the last column of the row.
pub const AUTOWRAP_OFF: &str = "\x1B[?7l";

/// DECAWM set, which shells expect.
pub const AUTOWRAP_ON: &str = "\x1B[?7h";

/// The shape of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    /// The columns of the terminal.
    pub columns: usize,
    /// The number of spaces before each row after the first.
    pub indent: usize,
    /// Whether the terminal knows control sequences.
    pub controls: bool,
}

/// Returns the most columns that any terminal uses for this character.
///
/// Terminals disagree about characters that are newer than their tables, that combine with
/// others, or that exist both as a letter and as a picture.
pub fn max_cells(c: char) -> usize {
    match c {
        ' '..='~' => 1,
        // Letters of Europe and the Near East, with their marks.
        '\u{A0}'..='\u{10FF}' => c.width().unwrap_or(0).max(1),
        // Box drawing and blocks.
        '\u{2500}'..='\u{259F}' | '\u{1200}'..='\u{22FF}' => c.width().unwrap_or(0).max(1),
        _ => 2,
    }
}

/// Returns the most columns that any terminal uses for a text, without its colours.
pub fn cells_of(text: &str) -> usize {
    pieces(text).map(|piece| piece.cells).sum()
}

/// Splits a text into rows, between two words where possible.
///
/// The first row follows a prefix of `prefix_columns` columns.
pub fn wrap_text(text: &str, prefix_columns: usize, rows: RowShape) -> String {
    let mut out = Wrapping {
        rows,
        done: String::new(),
        column: prefix_columns,
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

/// The rows so far.
struct Wrapping {
    rows: RowShape,
    done: String,
    column: usize,
}

impl Wrapping {
    /// Adds a word and the blanks before it.
    fn add(&mut self, gap: &str, word: &str) {
        // A TAB moves to the next multiple of eight columns.
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
            // The next word begins a row.
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

/// A character, or a control sequence for a colour, which takes no column.
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
            c => (c.len_utf8(), max_cells(c)),
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

    const ROWS: RowShape = RowShape {
        columns: 30,
        indent: 6,
        controls: false,
    };

    #[test]
    fn rows_end_between_words() {
        let text = "one two three four five six seven";
        let expected = "one two three\n      four five six seven";
        assert_eq!(wrap_text(text, 13, ROWS), expected);
        let long = "слово ".repeat(50);
        for row in wrap_text(&long, 13, ROWS).lines().skip(1) {
            assert!(row.starts_with("      слово") && cells_of(row) <= 30);
        }
    }

    #[test]
    fn address_longer_than_a_row_stays_whole() {
        let address = format!("https://example.org/{}", "part/".repeat(20));
        let text = format!("see {address} 23:37 carol: hi");
        let rows = wrap_text(&text, 13, ROWS);
        assert_eq!(rows, format!("see {address}\n      23:37 carol: hi"));
        let short = "y".repeat(20);
        assert_eq!(wrap_text(&short, 13, ROWS), format!("\n      {short}"));
    }

    #[test]
    fn non_ascii_word_is_cut_at_the_edge() {
        for text in ["字".repeat(40), "🙂".repeat(40), "\u{3164}".repeat(40)] {
            let rows = wrap_text(&text, 13, ROWS);
            for (number, row) in rows.lines().enumerate() {
                let prefix_columns = if number == 0 { 13 } else { 0 };
                assert!(prefix_columns + cells_of(row) <= 30, "{row:?}");
            }
            assert_eq!(rows.replace(['\n', ' '], ""), text);
        }
    }

    #[test]
    fn colours_take_no_column() {
        let text = "\x1B[1mone\x1B[0m \x1B[1mtwo\x1B[0m";
        let rows = RowShape {
            columns: 20,
            ..ROWS
        };
        assert_eq!(wrap_text(text, 13, rows), text);
    }

    #[test]
    fn autowrap_is_off_only_around_uncertain_widths() {
        let rows = RowShape {
            controls: true,
            ..ROWS
        };
        assert_eq!(wrap_text("hello", 13, rows), "hello");
        let guarded = format!("{AUTOWRAP_OFF}привет{AUTOWRAP_ON}");
        assert_eq!(wrap_text("привет", 13, rows), guarded);
    }

    proptest! {
        #[test]
        fn later_rows_are_indented_and_fit_the_columns(text in "[a-я 🙂\u{3164}\u{AD}\t]{0,300}", columns in 14_usize..80) {
            let rows = wrap_text(&text, 13.min(columns), RowShape { columns, ..ROWS });
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
