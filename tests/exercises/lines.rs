//! The exercise of chapter 1: lines of bounded length, whatever their bytes.
//!
//! `next_line` below gives one line after the other, however long it is, and an error at the
//! first that is not UTF-8. Change it, so that
//!
//! - a line that is longer than [`KEPT`] bytes costs no more memory than that: its
//!   beginning is given, and the number of bytes that were left out;
//! - its beginning does not end in the middle of a character, so that it may be up to three
//!   bytes shorter;
//! - bytes that are not UTF-8 become U+FFFD, as [`String::from_utf8_lossy`] does it;
//! - the next line begins behind the end of this one, whatever was in it.
//!
//! A line ends with LF or CRLF, which does not belong to it. What has not ended at the end of
//! input is a line too.

use std::io::{self, BufRead};

/// The most bytes of a line that are kept, as they were sent.
pub(crate) const KEPT: usize = 1_000;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// How many bytes of it are not in the text.
    pub(crate) left_out: usize,
}

/// The next line; `None` at the end of input. This is what you change.
pub(crate) fn next_line(source: &mut dyn BufRead) -> io::Result<Option<Line>> {
    let mut text = String::new();
    if source.read_line(&mut text)? == 0 {
        return Ok(None);
    }
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(Some(Line { text, left_out: 0 }))
}

mod test {
    use super::{KEPT, Line};
    use crate::solutions;
    use std::fs;
    use std::io::{self, BufRead, BufReader, Read};

    #[test]
    #[ignore = "the exercise of chapter 1"]
    fn exercise() {
        check(super::next_line);
    }

    #[test]
    fn solution() {
        check(solutions::lines::next_line);
    }

    type NextLine = fn(&mut dyn BufRead) -> io::Result<Option<Line>>;

    fn check(next_line: NextLine) {
        lines_are_parted_however_they_are_cut(next_line);
        what_is_not_utf_8_is_replaced_and_costs_no_other_line(next_line);
        a_long_line_is_cut_between_two_characters(next_line);
        a_line_that_does_not_end_costs_no_memory(next_line);
    }

    fn lines_are_parted_however_they_are_cut(next_line: NextLine) {
        let expected = ["one", "", "two\rthree", "тр\u{438}"].map(|text| (text.to_owned(), 0));
        for capacity in 1..30 {
            let input = "one\r\n\ntwo\rthree\r\nтри".as_bytes();
            let mut source = BufReader::with_capacity(capacity, input);
            assert_eq!(
                all(next_line, &mut source),
                expected,
                "{capacity} at a time"
            );
        }
    }

    fn what_is_not_utf_8_is_replaced_and_costs_no_other_line(next_line: NextLine) {
        let lines = all(
            next_line,
            &mut &b"caf\xe9\n\xff\xf4\xff\xfd\x06\nnext\n"[..],
        );
        let expected = [
            ("caf\u{fffd}", 0),
            ("\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{6}", 0),
            ("next", 0),
        ];
        assert_eq!(
            lines,
            expected.map(|(text, left_out)| (text.to_owned(), left_out))
        );
    }

    fn a_long_line_is_cut_between_two_characters(next_line: NextLine) {
        for before in 0..5 {
            // A character of four bytes stands across the limit, or just before it, or behind.
            let begin = "x".repeat(KEPT - before);
            let line = format!("{begin}🙂🙂");
            let kept = if before == 4 {
                format!("{begin}🙂")
            } else {
                begin
            };
            let expected = [
                (kept.clone(), line.len() - kept.len()),
                ("next".to_owned(), 0),
            ];
            for end in ["\n", "\r\n"] {
                let input = format!("{line}{end}next{end}");
                assert_eq!(
                    all(next_line, &mut input.as_bytes()),
                    expected,
                    "{before} {end:?}"
                );
            }
        }
        // The end of a line is no part of it.
        let input = format!("{}\r\n", "x".repeat(KEPT));
        assert_eq!(
            all(next_line, &mut input.as_bytes()),
            [("x".repeat(KEPT), 0)]
        );
    }

    fn a_line_that_does_not_end_costs_no_memory(next_line: NextLine) {
        const LENGTH: u64 = 256 * 1024 * 1024;
        let before = memory();
        let mut source = BufReader::new(io::repeat(b'x').take(LENGTH));
        let line = next_line(&mut source)
            .expect("a line in spite of its bytes")
            .expect("a line");
        // The kernel sums it up roughly, so it may even seem less than before.
        let grown = memory().saturating_sub(before);
        assert_eq!(
            (line.text.len(), line.left_out),
            (KEPT, LENGTH as usize - KEPT)
        );
        // Other tests run at the same time, and none of them needs so much.
        assert!(
            grown < 64 * 1024,
            "{grown} KiB for a line of {LENGTH} bytes"
        );
    }

    fn all(next_line: NextLine, source: &mut dyn BufRead) -> Vec<(String, usize)> {
        let mut lines = Vec::new();
        while let Some(line) = next_line(source).expect("a line in spite of its bytes") {
            lines.push((line.text, line.left_out));
        }
        lines
    }

    /// The most memory that this process has had, in KiB.
    fn memory() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = peak.and_then(|value| value.split_whitespace().next());
        number.expect("a figure").parse().expect("a number")
    }
}
