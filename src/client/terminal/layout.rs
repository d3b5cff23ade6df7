//! Computes how many rows of the screen a typed line takes.
//!
//! Pure. Does not know the meaning of the line. Invariant: *`ShownLine::rows` returns a number
//! only if every terminal agrees about it*.

use super::wrap::cells_of;

/// A line on the screen, with the cursor at the left edge below it.
pub(super) struct ShownLine {
    /// The columns of the prompt.
    pub(super) prompt_columns: usize,
    /// The line itself.
    pub(super) text: String,
    /// The columns of the terminal when the line was painted.
    pub(super) columns: usize,
}

impl ShownLine {
    /// Returns how many rows the line takes, or `None` if that is not certain.
    pub(super) fn rows(&self, columns: usize) -> Option<usize> {
        let is_certain = |c: char| match c {
            ' '..='~' => true,
            // Letters without another form and without separate marks.
            'À'..='ʯ' | 'Α'..='ϡ' | 'Ѐ'..='ҁ' => true,
            // Every terminal uses two columns for these.
            'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿌' | '가'..='힣' => true,
            _ => false,
        };
        let mut lines = self.text.split('\n');
        let fits = self.prompt_columns + cells_of(&self.text) < columns
            && !self.text.contains(['\n', '\t']);
        if fits {
            return Some(1);
        }
        if !self.text.chars().all(|c| c == '\n' || is_certain(c)) {
            return None;
        }
        let first = rows_of(lines.next().unwrap_or(""), self.prompt_columns, columns);
        Some(first + lines.map(|line| rows_of(line, 0, columns)).sum::<usize>())
    }

    /// Returns how many rows a terminal makes of the line if it wraps it again. A full row
    /// counts as one.
    pub(super) fn min_rows(&self, columns: usize) -> usize {
        let mut prefix_columns = self.prompt_columns;
        let lines = self.text.split('\n').map(|line| {
            let cells = std::mem::take(&mut prefix_columns) + cells_of(line);
            cells.div_ceil(columns).max(1)
        });
        lines.sum()
    }
}

/// Returns the rows of a line of certain widths, as rustyline and terminals count them.
///
/// After a full row, the cursor is in the next one.
fn rows_of(line: &str, prefix_columns: usize, columns: usize) -> usize {
    let (mut rows, mut column) = (1 + prefix_columns / columns, prefix_columns % columns);
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

    fn shown(prompt_columns: usize, text: &str, columns: usize) -> ShownLine {
        let text = text.to_owned();
        ShownLine {
            prompt_columns,
            text,
            columns,
        }
    }

    #[test]
    fn row_count_is_known_only_if_widths_are() {
        let rows = |prompt, text: &str| shown(prompt, text, 20).rows(20);
        assert_eq!(rows(10, "hello"), Some(1));
        assert_eq!(rows(10, &"x".repeat(10)), Some(2));
        assert_eq!(shown(10, &"x".repeat(10), 20).min_rows(20), 1);
        assert_eq!(rows(10, &"x".repeat(11)), Some(2));
        assert_eq!(rows(10, &"字".repeat(5)), Some(2));
        assert_eq!(rows(10, "a\nbc\n"), Some(3));
        // Characters of uncertain width: one row if the widest form fits, else unknown.
        assert_eq!(rows(10, "👩‍🚀"), Some(1));
        assert_eq!(rows(10, "👩‍🚀👩‍🚀"), None);
        assert_eq!(rows(10, "a\tb"), None);
    }
}
