//! Logging to stderr, and what it takes to show a client's bytes there.
//!
//! Each line names its thread, which is the connection's: `reader-7` and
//! `writer-7` are the two threads of connection 7. Two rules hold for whatever
//! comes from a client: it is escaped ([`Wire`]), because a log is read in
//! terminals too; and tokens never reach a log.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::thread;

use env_logger::Env;
use log::error;

use crate::protocol::text::is_forbidden;
use crate::protocol::token::Token;

/// Starts logging, for the whole process. `verbosity` counts how often `-v` was
/// given: who came and left, then the status of each answer and who is slowed down,
/// then each line on the wire.
/// The environment's `RUST_LOG` rules where it is set.
pub fn init(verbosity: usize) {
    let filter = match verbosity {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    env_logger::Builder::from_env(Env::default().default_filter_or(filter))
        .format(|line, record| {
            let time = line.timestamp_seconds();
            let thread = thread::current();
            let name = thread.name().unwrap_or("?");
            writeln!(
                line,
                "{time} {:<5} {name}: {}",
                record.level(),
                record.args()
            )
        })
        .init();
    panic::set_hook(Box::new(log_panic));
}

/// Logs where a thread panicked. The message is shown only if it is one of ours:
/// what std puts together may quote a client, tokens included.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info
        .payload()
        .downcast_ref::<&'static str>()
        .unwrap_or(&"(not shown)");
    match info.location() {
        Some(place) => error!("panicked at {place}: {message}"),
        None => error!("panicked: {message}"),
    }
}

/// A line of the wire as a log may show it: what is not printable is escaped, and
/// `[token]` stands for whatever looks like a token, in whichever line it came.
pub struct Wire<'a>(pub &'a [u8]);

impl fmt::Display for Wire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_without_tokens(chunk.valid(), f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn write_without_tokens(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_digit = |c: char| c.is_ascii_hexdigit();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c| !is_digit(c)).unwrap_or(rest.len());
        if digits >= Token::DIGITS {
            f.write_str("[token]")?;
        } else {
            f.write_str(&rest[..digits])?;
        }
        rest = &rest[digits..];
        let others = rest.find(is_digit).unwrap_or(rest.len());
        for c in rest[..others].chars() {
            if is_forbidden(c) || c == '\\' {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        rest = &rest[others..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_the_rest_is_readable() {
        let shown = |bytes: &[u8]| Wire(bytes).to_string();
        assert_eq!(
            shown("приве́т 🙂 \"it's\"\t".as_bytes()),
            "приве́т 🙂 \"it's\"\t"
        );
        assert_eq!(
            shown(b"a\x1b[2J\x07\rb\xFF\xC3\\"),
            r"a\u{1b}[2J\u{7}\rb\xff\xc3\\"
        );
        assert_eq!(
            shown("\u{202E}\u{2028}\u{85}".as_bytes()),
            r"\u{202e}\u{2028}\u{85}"
        );
    }

    #[test]
    fn tokens_are_cut_out_wherever_they_stand() {
        let token = "5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4";
        for (line, shown) in [
            (token.to_owned(), "[token]"),
            (format!("Ping {token}!"), "Ping [token]!"),
            (format!("{token}{token}"), "[token]"),
            (token.to_uppercase(), "[token]"),
            (token[1..].to_owned(), &token[1..]),
        ] {
            assert_eq!(Wire(line.as_bytes()).to_string(), shown);
        }
    }

    #[test]
    fn a_panic_is_logged_with_its_place_and_quotes_nobody() {
        // In a process of its own, since logging is started once in each.
        const CHILD: &str = "CHAT_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            init(0);
            let panicking = || thread::Builder::new().name("reader-7".to_owned());
            let _ = panicking().spawn(|| panic!("a defect")).unwrap().join();
            let secret = String::from("from a client");
            let _ = panicking()
                .spawn(move || panic!("{secret}"))
                .unwrap()
                .join();
            return;
        }
        let this = "a_panic_is_logged_with_its_place_and_quotes_nobody";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([this, "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let place = "ERROR reader-7: panicked at src/logging.rs:";
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(place)).collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(
            lines[0].ends_with(": a defect") && lines[1].ends_with(": (not shown)"),
            "{log}"
        );
    }
}
