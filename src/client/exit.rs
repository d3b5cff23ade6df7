//! How the client ends: an exit code, and a line on stderr if something went wrong.

use std::io::{self, Write};
use std::process::ExitCode;

/// Everything was sent and answered, or the user stopped listening.
pub const DONE: u8 = 0;

/// There was no connection, or it broke, or not everything was sent.
pub const FAILED: u8 = 1;

/// The command line or the input cannot be used.
pub const BAD_USAGE: u8 = 2;

/// The server refused something.
pub const REFUSED: u8 = 3;

/// The problem on stderr, and the code.
pub fn fail(code: u8, problem: &str) -> ExitCode {
    report(problem);
    ExitCode::from(code)
}

/// A line on stderr; not by eprintln, which panics where nobody reads any more.
pub fn report(problem: &str) {
    let _ = writeln!(io::stderr(), "chat-client: {problem}");
}
