//! What the fuzz targets try, each a function of the bytes that the fuzzer thinks of, and
//! what has to hold for whatever it thinks of. `make fuzz` runs them.
//!
//! | target | what is tried | what has to hold |
//! |---|---|---|
//! | [`line`](mod@line) | the line reader behind the telnet filter | the lines are those of a plain reference that has the whole input before it, however it is cut |
//! | [`request`] | the parsing of a request | it is read as the [`letter`] has it, and what a client would send for it is read as the same |
//! | [`reply`] | the parsing of what a server sends | what is taken for a message is one, can be shown, and is the same when it is sent again; and every answer that the input's words fit into is read as that answer |
//! | [`connection`] | the server, for one client's whole stream | the answers are those of the [`letter`], to the byte and one for each request, and nothing else comes |
//!
//! No target panics either, on whichever thread.
//!
//! The [`letter`] is what the protocol says, written down once more as plainly as it can
//! be: it knows the whole input, does not care what that costs, and uses nothing of the
//! server's. The [`examples`] are what the fuzzer begins with, and as the tests of this
//! package they are tried without it.

#![forbid(unsafe_code)]

pub mod connection;
pub mod examples;
pub mod letter;
pub mod line;
pub mod model;
pub mod reply;
pub mod request;

use std::hash::{DefaultHasher, Hash, Hasher};

/// Cuts bytes into pieces as a network might, of which there are not many. Where, follows
/// from the bytes, so that an input is all there is to know of a run.
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

/// Any number, but always the same for the same. (Of a hash over all bytes most of the time
/// would be spent here.)
fn choose(bytes: &[u8], nth: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    (bytes.len(), bytes.first(), bytes.last(), nth).hash(&mut hasher);
    usize::try_from(hasher.finish() >> 1).unwrap_or(0)
}

/// The three lines of a message that the input is, with LF between them: whatever stands
/// behind the second LF is the third.
fn three_lines(input: &[u8]) -> [&[u8]; 3] {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    [(); 3].map(|()| lines.next().unwrap_or_default())
}
