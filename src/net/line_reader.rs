//! Lines of at most [`MAX_LINE`] bytes, read from any source of bytes.
//!
//! Does not know what a line means.
//!
//! Invariants:
//!
//! - *The lines do not depend on how the network cuts the bytes.*
//! - *A client that never ends its line costs no memory.* A line over the limit is skipped
//!   without being kept.

use std::io::{self, Read};

use crate::limits::{FIRST_READ_BUFFER_SIZE, MAX_LINE, READ_BUFFER_SIZE};
use crate::protocol::framing::Line;

/// A reader that splits its source into lines, which end with CRLF, LF or CR NUL (section 1).
pub struct LineReader<R> {
    source: R,
    /// Doubles each time a read fills it, up to [`READ_BUFFER_SIZE`].
    buffer: Box<[u8]>,
    /// The part of `buffer` that has been read from the source and not yet moved into a line.
    unread: std::ops::Range<usize>,
    line: BoundedLine,
    /// The last byte was a CR. The next byte decides whether it began a line end.
    after_cr: bool,
}

/// The bytes of the line so far, or the fact that the line is too long.
#[derive(Default)]
struct BoundedLine {
    bytes: Vec<u8>,
    too_long: bool,
}

impl<R: Read> LineReader<R> {
    /// Makes a reader of `source`, which need not be buffered.
    pub fn new(source: R) -> LineReader<R> {
        LineReader {
            source,
            buffer: vec![0; FIRST_READ_BUFFER_SIZE].into(),
            unread: 0..0,
            line: BoundedLine::default(),
            after_cr: false,
        }
    }

    /// Returns the source.
    pub fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// Blocks until a line has ended, and returns it. `None` at the end of input, which drops an
    /// unfinished line.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.after_cr = false;
        loop {
            if self.unread.is_empty() {
                // The last read filled the buffer, so more bytes are probably waiting.
                if self.unread.end == self.buffer.len() && self.buffer.len() < READ_BUFFER_SIZE {
                    self.buffer = vec![0; 2 * self.buffer.len()].into();
                }
                let count = self.read_source()?;
                if count == 0 {
                    return Ok(None);
                }
                self.unread = 0..count;
            }
            if self.take_up_to_line_end() {
                return Ok(Some(self.line.get()));
            }
        }
    }

    /// Reads once from the source. Repeats a read that a signal interrupts.
    fn read_source(&mut self) -> io::Result<usize> {
        loop {
            match self.source.read(&mut self.buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Moves bytes from the buffer into the line. Returns true at the end of the line, and false
    /// at the end of the buffer.
    fn take_up_to_line_end(&mut self) -> bool {
        while !self.unread.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if matches!(self.buffer[self.unread.start], b'\n' | b'\0') {
                    self.unread.start += 1;
                    return true;
                }
                self.line.push(b"\r");
            }
            let unread = &self.buffer[self.unread.clone()];
            let end = line_end(unread);
            let taken = end.unwrap_or(unread.len());
            self.line.push(&unread[..taken]);
            self.unread.start += taken;
            if end.is_some() {
                let byte = self.buffer[self.unread.start];
                self.unread.start += 1;
                if byte == b'\n' {
                    return true;
                }
                self.after_cr = true;
            }
        }
        false
    }
}

/// Returns the position of the first LF or CR.
///
/// It looks at blocks of bytes without a branch for each, which the compiler turns into vector
/// instructions.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let has_end = |block: &[u8; 32]| block.iter().fold(false, |any, byte| any | is_end(byte));
    let blocks = bytes.as_chunks().0;
    let start = 32 * blocks.iter().take_while(|block| !has_end(block)).count();
    let end = bytes[start..].iter().position(is_end)?;
    Some(start + end)
}

impl BoundedLine {
    fn clear(&mut self) {
        self.bytes.clear();
        self.too_long = false;
    }

    /// Appends bytes. If that makes the line too long, none of its bytes are kept.
    fn push(&mut self, bytes: &[u8]) {
        if self.too_long || self.bytes.len() + bytes.len() > MAX_LINE {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn get(&self) -> Line<'_> {
        if self.too_long {
            Line::TooLong
        } else {
            Line::Whole(&self.bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A source that returns one piece a read, as a network may.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            while self.0.first().is_some_and(Vec::is_empty) {
                self.0.remove(0);
            }
            match self.0.first_mut() {
                Some(piece) => {
                    let count = piece.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&piece[..count]);
                    piece.drain(..count);
                    Ok(count)
                }
                None => Ok(0),
            }
        }
    }

    /// Reads all lines. A line that is too long is `None`.
    fn lines(pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Option<Vec<u8>>> {
        let mut reader = LineReader::new(Pieces(pieces.into_iter().collect()));
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(match line {
                Line::Whole(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        }
        lines
    }

    fn whole(lines: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        lines.iter().map(|line| Some(line.to_vec())).collect()
    }

    #[test]
    fn crlf_lf_and_cr_nul_end_a_line_at_every_cut() {
        let bytes = b"one\r\ntwo\nthree\r\0\n\r\n\r\0four\r\r\nfi\rve\r\n\0six\nseven";
        let expected: [&[u8]; 9] = [
            b"one", b"two", b"three", b"", b"", b"", b"four\r", b"fi\rve", b"\0six",
        ];
        for cut in 0..bytes.len() {
            let pieces = [bytes[..cut].to_vec(), bytes[cut..].to_vec()];
            assert_eq!(lines(pieces), whole(&expected), "cut at {cut}");
        }
        assert_eq!(lines(bytes.chunks(1).map(<[u8]>::to_vec)), whole(&expected));
    }

    #[test]
    fn line_is_too_long_from_one_byte_over_the_limit() {
        for end in ["\r\n", "\n", "\r\0"] {
            let full = vec![b'x'; MAX_LINE];
            let bytes = [&full, end.as_bytes(), &full, b"x", end.as_bytes(), b"y\n"].concat();
            let expected = [Some(full), None, Some(b"y".to_vec())];
            assert_eq!(lines([bytes.clone()]), expected, "{end:?}");
            assert_eq!(
                lines(bytes.chunks(7).map(<[u8]>::to_vec)),
                expected,
                "{end:?}"
            );
        }
    }

    #[test]
    fn unterminated_line_is_dropped_at_end_of_input() {
        assert_eq!(lines([b"one\ntwo".to_vec()]), whole(&[b"one"]));
        assert_eq!(lines([b"one\r".to_vec()]), []);
        assert_eq!(lines([vec![b'x'; MAX_LINE + 1]]), []);
    }

    #[test]
    fn lone_cr_counts_as_a_byte_of_its_line() {
        let bytes = [&vec![b'x'; MAX_LINE], "\r\r\n".as_bytes()].concat();
        assert_eq!(lines([bytes]), [None]);
    }

    #[test]
    fn unterminated_long_line_is_not_stored() {
        let mut reader = LineReader::new(io::repeat(b'x').take(50_000_000));
        assert_eq!(reader.next_line().unwrap(), None);
        assert_eq!(reader.line.bytes.capacity(), 0);
    }

    #[test]
    fn read_buffer_grows_only_for_busy_clients() {
        let mut quiet = LineReader::new(&b"Ping\n"[..]);
        quiet.next_line().unwrap();
        assert_eq!(quiet.buffer.len(), FIRST_READ_BUFFER_SIZE);
        let text = "Ping\n".repeat(10_000);
        let mut busy = LineReader::new(text.as_bytes());
        let mut count = 0;
        while busy.next_line().unwrap().is_some() {
            count += 1;
        }
        assert_eq!((count, busy.buffer.len()), (10_000, READ_BUFFER_SIZE));
    }

    #[test]
    fn interrupted_read_is_repeated_and_errors_are_returned() {
        struct Once(Option<io::ErrorKind>);
        impl Read for Once {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                match self.0.take() {
                    Some(kind) => Err(kind.into()),
                    None => {
                        buffer[0] = b'\n';
                        Ok(1)
                    }
                }
            }
        }
        let next = |kind| {
            LineReader::new(Once(Some(kind)))
                .next_line()
                .map(|line| line.is_some())
        };
        assert!(next(io::ErrorKind::Interrupted).unwrap());
        assert_eq!(
            next(io::ErrorKind::ConnectionReset).unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_lines(
            bytes in prop::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), any::<u8>()],
                0..200,
            ),
            cuts in prop::collection::vec(0..200_usize, 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec());
            prop_assert_eq!(lines(pieces), lines([bytes.clone()]));
        }
    }
}
