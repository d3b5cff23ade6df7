//! Where a typed line is on the screen: how many rows it takes.
//!
//! Pure. Does not know what the line says. Invariant: a number of rows is given only if every
//! terminal agrees about it.

use super::wrap::cells_of;

/// A line on the screen, with the cursor at the left edge below it.
pub(super) struct Shown {
    /// The columns of the prompt.
    pub(super) prompt: usize,
    /// The line itself.
    pub(super) text: String,
    /// The columns of the terminal, when it was painted.
    pub(super) columns: usize,
}

impl Shown {
    /// How many rows it takes; `None` if that is not certain.
    pub(super) fn rows(&self, columns: usize) -> Option<usize> {
        let is_certain = |c: char| match c {
            ' '..='~' => true,
            // Letters that have no other form and no marks of their own.
            'À'..='ʯ' | 'Α'..='ϡ' | 'Ѐ'..='ҁ' => true,
            // Their width is two in every terminal.
            'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿌' | '가'..='힣' => true,
            _ => false,
        };
        let mut lines = self.text.split('\n');
        let fits =
            self.prompt + cells_of(&self.text) < columns && !self.text.contains(['\n', '\t']);
        if fits {
            return Some(1);
        }
        if !self.text.chars().all(|c| c == '\n' || is_certain(c)) {
            return None;
        }
        let first = rows_of(lines.next().unwrap_or(""), self.prompt, columns);
        Some(first + lines.map(|line| rows_of(line, 0, columns)).sum::<usize>())
    }
}

impl Shown {
    /// How many rows a terminal makes of it that wraps it again: a full row is one.
    pub(super) fn least_rows(&self, columns: usize) -> usize {
        let mut before = self.prompt;
        let lines = self.text.split('\n').map(|line| {
            let cells = std::mem::take(&mut before) + cells_of(line);
            cells.div_ceil(columns).max(1)
        });
        lines.sum()
    }
}

/// The rows of a line of certain widths, as rustyline and a terminal reckon them: a full
/// row has the cursor on the next one.
fn rows_of(line: &str, before: usize, columns: usize) -> usize {
    let (mut rows, mut column) = (1 + before / columns, before % columns);
    for c in line.chars() {
        let width = cells_of(c.encode_utf8(&mut [0; 4]));
        if column + width > columns {
            (rows, column) = (rows + 1, 0);
        }
        column += width;
    }
    rows + usize::from(column == columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(prompt: usize, text: &str, columns: usize) -> Shown {
        let text = text.to_owned();
        Shown {
            prompt,
            text,
            columns,
        }
    }

    #[test]
    fn row_count_is_known_only_if_widths_are() {
        let rows = |prompt, text: &str| shown(prompt, text, 20).rows(20);
        assert_eq!(rows(10, "hello"), Some(1));
        assert_eq!(rows(10, &"x".repeat(10)), Some(2));
        assert_eq!(shown(10, &"x".repeat(10), 20).least_rows(20), 1);
        assert_eq!(rows(10, &"x".repeat(11)), Some(2));
        assert_eq!(rows(10, &"字".repeat(5)), Some(2));
        assert_eq!(rows(10, "a\nbc\n"), Some(3));
        // One row however wide they are, or unknown.
        assert_eq!(rows(10, "👩‍🚀"), Some(1));
        assert_eq!(rows(10, "👩‍🚀👩‍🚀"), None);
        assert_eq!(rows(10, "a\tb"), None);
    }
}
