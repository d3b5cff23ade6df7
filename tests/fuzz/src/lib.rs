//! The fuzz targets: functions of the fuzzer's bytes that panic if an invariant does not hold.
//!
//! `make fuzz` runs them.
//!
//! | target | tested code | invariant |
//! |---|---|---|
//! | [`line`](mod@line) | the line reader behind the telnet filter | the lines are those of a simple reference that has the whole input, at every cut |
//! | [`request`] | the parser of requests | its result is that of the [`letter`], and encodes and parses to the same request |
//! | [`reply`] | the client's parser of messages | each accepted message is printable, and encodes and parses to the same message; each response with the words of the input parses to that response |
//! | [`connection`] | the server, for one client's whole stream | the responses are those of the [`letter`], to the byte and one for each request, and nothing else arrives |
//!
//! No thread panics in any target.
//!
//! The [`letter`] is a reference implementation of the protocol, as simple as possible. It has
//! the whole input, does not save costs, and uses no code of the server. The [`examples`] are
//! the initial inputs of the fuzzer. The tests of this package run them without the fuzzer.

#![forbid(unsafe_code)]

pub mod connection;
pub mod examples;
pub mod letter;
pub mod line;
pub mod model;
pub mod reply;
pub mod request;

use std::hash::{DefaultHasher, Hash, Hasher};

/// Cuts bytes into at most 41 pieces, as a network might.
///
/// The cuts depend only on the bytes, so that an input determines its run.
fn cut(bytes: &[u8]) -> Vec<&[u8]> {
    let longest = [2, 30, 700, 5_000][choose(bytes, 0) % 4];
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() && pieces.len() < 40 {
        let length = 1 + choose(bytes, 1 + pieces.len()) % longest;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Returns a number that depends only on the arguments. It does not hash all bytes, because that
/// would take most of the time of a run.
fn choose(bytes: &[u8], nth: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (bytes.len(), bytes.first(), bytes.last(), nth).hash(&mut hasher);
    usize::try_from(hasher.finish() >> 1).unwrap_or(0)
}

/// Splits an input at its first two LFs into three lines. The third line may have more LFs.
fn three_lines(input: &[u8]) -> [&[u8]; 3] {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    [(); 3].map(|()| lines.next().unwrap_or_default())
}
