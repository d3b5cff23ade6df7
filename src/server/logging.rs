//! The log on stderr, written by a thread of its own.
//!
//! Each line names the thread that logged it. `reader-7` and `writer-7` are the two threads of
//! connection 7.
//!
//! The thread `logger` alone writes to stderr. It blocks on its channel and in write(2), and ends
//! with the process. Stderr may be a terminal that was stopped with Ctrl-S, or a pipe that no
//! process reads. So all other threads put their lines into the channel, which never blocks. A
//! line that does not fit is counted, and the count is in the log at the gap.
//!
//! Does not know clients. A caller that logs bytes of a client escapes them
//! ([`Redacted`](crate::protocol::redact::Redacted)), because a log is read in terminals. This
//! module hides tokens in every line, because a token is a secret. A user may have chosen one as
//! a name.
//!
//! Invariants: logging never blocks the thread that logs, and no line contains a token.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use env_logger::{Env, Target};
use log::{Level, error};

use crate::limits::{LOG_FLUSH_TIMEOUT, MAX_LOG_LINES};
use crate::protocol::redact::WithoutTokens;
use crate::threads::spawn;

thread_local! {
    /// Whether this thread is silenced.
    static IS_SILENCED: Cell<bool> = const { Cell::new(false) };
}

/// Silences the calling thread at the level of info, until it ends. Its warnings and errors
/// are still logged, and with `-v` all that it logs.
///
/// The thread of a connection is silenced if its address connects too often to log each
/// connection.
pub fn silence_this_thread() {
    IS_SILENCED.set(true);
}

/// Starts logging for the whole process.
///
/// `verbosity` is the number of `-v` options. With 0, the log has the events of connections and
/// sessions. With 1, it also has the status of each response and the pauses of the rate limit.
/// With 2, it also has each line on the wire. `RUST_LOG`, if set, overrides it.
///
/// Fails if the system has no thread left. The thread lives as long as the process. Only the drop
/// of the returned guard waits for it.
pub fn init(verbosity: usize) -> io::Result<LogGuard> {
    let filter = match verbosity {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let (queue, entries) = bounded(MAX_LOG_LINES);
    spawn("logger", move || write_entries(&entries, io::stderr()))?;
    let lines = LogWriter {
        queue: queue.clone(),
        missing: 0,
    };
    env_logger::Builder::from_env(Env::default().default_filter_or(filter))
        .format(|line, record| {
            let is_silenceable = record.level() == Level::Info && log::max_level() < Level::Debug;
            if is_silenceable && IS_SILENCED.get() {
                return Ok(());
            }
            let time = line.timestamp_seconds();
            let thread = thread::current();
            let name = thread.name().unwrap_or("?");
            writeln!(
                line,
                "{time} {:<5} {name}: {}",
                record.level(),
                WithoutTokens(&record.args().to_string())
            )
        })
        // env_logger calls `write` once for each line, under a lock of its own.
        .target(Target::Pipe(Box::new(lines)))
        .init();
    panic::set_hook(Box::new(log_panic));
    Ok(LogGuard { queue })
}

/// A guard that flushes the log. It must be dropped at the end of the process.
///
/// The drop blocks until all logged lines are written, at most for [`LOG_FLUSH_TIMEOUT`].
/// Without that limit, a stopped terminal would keep the process alive.
pub struct LogGuard {
    queue: Sender<Entry>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + LOG_FLUSH_TIMEOUT;
        let (flush, flushed) = bounded(0);
        if self
            .queue
            .send_deadline(Entry::Flush(flush), deadline)
            .is_ok()
        {
            // Nothing is ever sent, so this returns at the disconnection or at the deadline.
            let _ = flushed.recv_deadline(deadline);
        }
    }
}

/// An entry in the channel of the thread `logger`.
enum Entry {
    Line {
        /// The number of lines before this one that did not fit.
        missing: u64,
        bytes: Vec<u8>,
    },
    /// Dropped when all entries before it are written.
    Flush(Sender<Infallible>),
}

/// The sending end of the channel. It never blocks.
struct LogWriter {
    queue: Sender<Entry>,
    /// The number of lines that did not fit since the last one that did.
    missing: u64,
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let entry = Entry::Line {
            missing: self.missing,
            bytes: line.to_vec(),
        };
        match self.queue.try_send(entry) {
            Ok(()) => self.missing = 0,
            Err(_) => self.missing += 1,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the thread `logger`. Ignores a failed write: there is no other place for the log.
fn write_entries(entries: &Receiver<Entry>, mut stderr: impl Write) {
    for entry in entries {
        match entry {
            Entry::Line { missing, bytes } => {
                if missing > 0 {
                    let _ = writeln!(stderr, "({missing} lines are missing here)");
                }
                let _ = stderr.write_all(&bytes);
            }
            Entry::Flush(flush) => drop(flush),
        }
    }
}

/// Logs where a thread panicked. It shows the message only if it is a literal of the source: a
/// formatted message may quote a client, and its token.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info
        .payload()
        .downcast_ref::<&'static str>()
        .unwrap_or(&"(not shown)");
    match info.location() {
        Some(location) => error!("panicked at {location}: {message}"),
        None => error!("panicked: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_log_lines_are_counted_at_the_gap() {
        let (queue, entries) = bounded(2);
        let mut lines = LogWriter { queue, missing: 0 };
        let mut log = |texts: &[&str]| {
            for text in texts {
                lines.write_all(text.as_bytes()).unwrap();
            }
        };
        let written = |count: usize| {
            let (queue, some) = bounded(count);
            for entry in entries.try_iter() {
                queue.send(entry).unwrap();
            }
            drop(queue);
            let mut stderr = Vec::new();
            write_entries(&some, &mut stderr);
            String::from_utf8(stderr).unwrap()
        };
        log(&["one\n", "two\n", "three\n", "four\n", "five\n"]);
        assert_eq!(written(2), "one\ntwo\n");
        log(&["six\n", "seven\n", "eight\n"]);
        assert_eq!(written(2), "(3 lines are missing here)\nsix\nseven\n");
        log(&["nine\n"]);
        assert_eq!(written(2), "(1 lines are missing here)\nnine\n");
        log(&["ten\n"]);
        assert_eq!(written(2), "ten\n");
    }

    #[test]
    fn failing_stderr_does_not_end_the_logger() {
        struct Closed(u32);
        impl Write for &mut Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (queue, entries) = bounded(2);
        let mut lines = LogWriter { queue, missing: 0 };
        lines.write_all(b"one\n").unwrap();
        lines.write_all(b"two\n").unwrap();
        drop(lines);
        let mut stderr = Closed(0);
        write_entries(&entries, &mut stderr);
        assert_eq!(stderr.0, 2, "both lines were tried");
    }

    #[test]
    fn panic_log_has_location_but_no_client_text() {
        // In a process of its own, because a process can start logging only once.
        const CHILD: &str = "CHAT_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let _logging = init(0).unwrap();
            let panicking = || thread::Builder::new().name("reader-7".to_owned());
            let _ = panicking().spawn(|| panic!("a defect")).unwrap().join();
            let secret = String::from("from a client");
            let _ = panicking()
                .spawn(move || panic!("{secret}"))
                .unwrap()
                .join();
            return;
        }
        let this = "panic_log_has_location_but_no_client_text";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([this, "--nocapture"])
            .env(CHILD, "1")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        let place = "ERROR reader-7: panicked at src/server/logging.rs:";
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(place)).collect();
        assert_eq!(lines.len(), 2, "{log}");
        assert!(
            lines[0].ends_with(": a defect") && lines[1].ends_with(": (not shown)"),
            "{log}"
        );
    }
}
