//! The target `line`: the line reader behind the telnet filter, as in a connection.

use std::io::{self, Read};

use chat::net::line_reader::LineReader;
use chat::protocol::framing::Line;
use chat::protocol::telnet::TelnetFilter;

use crate::{cut, letter};

/// Reads a stream in one piece, byte by byte, and in some pieces. Compares the lines and the
/// telnet answers with those of the reference.
pub fn check(stream: &[u8]) {
    let (text, answers) = letter::telnet(stream);
    let expected = (letter::lines(&text), answers);
    assert_eq!(read(&[stream]), expected, "in one piece");
    assert_eq!(
        read(&stream.chunks(1).collect::<Vec<_>>()),
        expected,
        "byte by byte"
    );
    let pieces = cut(stream);
    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    assert_eq!(read(&pieces), expected, "in pieces of {lengths:?} bytes");
}

fn read(pieces: &[&[u8]]) -> (Vec<Option<Vec<u8>>>, Vec<u8>) {
    let mut reader = LineReader::new(Source {
        pieces,
        piece: &[],
        telnet: TelnetFilter::default(),
        answers: Vec::new(),
    });
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().expect("a source that never fails") {
        lines.push(match line {
            Line::Whole(line) => Some(line.to_vec()),
            Line::TooLong => None,
        });
    }
    (lines, std::mem::take(&mut reader.source_mut().answers))
}

/// A source that returns one piece per read, up to the size of the buffer, without telnet
/// sequences.
struct Source<'a> {
    pieces: &'a [&'a [u8]],
    /// The rest of the last piece, which did not fit into the buffer.
    piece: &'a [u8],
    telnet: TelnetFilter,
    answers: Vec<u8>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.piece.is_empty() {
                let Some((piece, after)) = self.pieces.split_first() else {
                    return Ok(0);
                };
                (self.piece, self.pieces) = (piece, after);
            }
            let count = self.piece.len().min(buffer.len());
            let (taken, left) = self.piece.split_at(count);
            buffer[..count].copy_from_slice(taken);
            self.piece = left;
            // A piece of telnet sequences only is not the end of input.
            match self.telnet.filter(&mut buffer[..count], &mut self.answers) {
                0 => {}
                kept => return Ok(kept),
            }
        }
    }
}
