//! The exit codes of the client, and its error line on stderr.
//!
//! Does not know why the client ends.

use std::io::{self, Write};
use std::process::ExitCode;

/// Every request was sent and answered, or the user stopped `--listen`.
pub const DONE: u8 = 0;

/// There was no connection, it was lost, or a request was not sent.
pub const FAILED: u8 = 1;

/// The command line, the access token or the input is unusable.
pub const BAD_USAGE: u8 = 2;

/// The server refused the login or a request, or a line of the input was not sent.
pub const REFUSED: u8 = 3;

/// Reports the problem on stderr and returns the exit code.
pub fn fail(code: u8, problem: &str) -> ExitCode {
    report(problem);
    ExitCode::from(code)
}

/// Writes a line to stderr.
pub fn report(problem: &str) {
    // `eprintln!` panics if stderr is closed.
    let _ = writeln!(io::stderr(), "chat-client: {problem}");
}
