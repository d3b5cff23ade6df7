//! The exercise of chapter 1: read lines of any length and any bytes in bounded memory.
//!
//! `next_line` below returns whole lines of any length. It returns an error at the first line
//! that is not UTF-8. Change it as follows:
//!
//! - A line that is longer than [`MAX_KEPT`] bytes needs no more memory than that. The function
//!   returns its beginning, and the number of bytes that it left out.
//! - The beginning does not end in the middle of a character. So it may be up to three bytes
//!   shorter.
//! - Bytes that are not UTF-8 become U+FFFD, as in [`String::from_utf8_lossy`].
//! - The next line begins behind the end of this one, whatever bytes were in it.
//!
//! A line ends with LF or CRLF, which is not part of the line. Bytes without a line end at the
//! end of input are a line too.

use std::io::{self, BufRead};

/// How many bytes of a line are kept at most, before the replacement of invalid bytes.
pub(crate) const MAX_KEPT: usize = 1_000;

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The number of bytes that are not in the text.
    pub(crate) left_out: usize,
}

/// Returns the next line, or `None` at the end of input. Change this function.
pub(crate) fn next_line(source: &mut dyn BufRead) -> io::Result<Option<Line>> {
    let mut text = String::new();
    if source.read_line(&mut text)? == 0 {
        return Ok(None);
    }
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok(Some(Line { text, left_out: 0 }))
}

mod test {
    use super::{Line, MAX_KEPT};
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
        lines_are_whole_wherever_reads_are_cut(next_line);
        invalid_utf8_is_replaced_and_affects_no_other_line(next_line);
        long_line_is_cut_between_two_characters(next_line);
        endless_line_needs_no_memory(next_line);
    }

    fn lines_are_whole_wherever_reads_are_cut(next_line: NextLine) {
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

    fn invalid_utf8_is_replaced_and_affects_no_other_line(next_line: NextLine) {
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

    fn long_line_is_cut_between_two_characters(next_line: NextLine) {
        for before in 0..5 {
            // A character of four bytes is across the limit, just before it, or just behind it.
            let begin = "x".repeat(MAX_KEPT - before);
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
        // The line end does not count for the limit.
        let input = format!("{}\r\n", "x".repeat(MAX_KEPT));
        assert_eq!(
            all(next_line, &mut input.as_bytes()),
            [("x".repeat(MAX_KEPT), 0)]
        );
    }

    fn endless_line_needs_no_memory(next_line: NextLine) {
        const LENGTH: u64 = 256 * 1024 * 1024;
        let before = peak_memory();
        let mut source = BufReader::new(io::repeat(b'x').take(LENGTH));
        let line = next_line(&mut source)
            .expect("a line, whatever its bytes")
            .expect("a line");
        // The kernel's figure is approximate, and may even be less than before.
        let grown = peak_memory().saturating_sub(before);
        assert_eq!(
            (line.text.len(), line.left_out),
            (MAX_KEPT, LENGTH as usize - MAX_KEPT)
        );
        // Other tests run at the same time, but none of them needs this much memory.
        assert!(
            grown < 64 * 1024,
            "{grown} KiB for a line of {LENGTH} bytes"
        );
    }

    fn all(next_line: NextLine, source: &mut dyn BufRead) -> Vec<(String, usize)> {
        let mut lines = Vec::new();
        while let Some(line) = next_line(source).expect("a line, whatever its bytes") {
            lines.push((line.text, line.left_out));
        }
        lines
    }

    /// Returns the peak memory of this process, in KiB.
    fn peak_memory() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = peak.and_then(|value| value.split_whitespace().next());
        number.expect("a value").parse().expect("a number")
    }
}
