//! A server process, its log and its use of resources.
//!
//! Does not know the protocol.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::client::Client;
use super::process::{self, pid_of, status_of};
use super::wait_for;

/// The real binary on a free port of 127.0.0.1. Dropping it kills the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// Returns the number of threads of a server without clients.
///
/// They are main, logger, signals, refuser, accept and sweeper, and with direct writes the
/// broadcaster.
pub(crate) fn server_threads() -> u64 {
    match std::env::var_os("WRITER_THREADS_ONLY") {
        Some(_) => 6,
        None => 7,
    }
}

impl Server {
    /// Starts a server with these options and without a rate limit, which would delay most tests.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Server {
        Server::start_with(&[&["--rate", "0"], options].concat(), |_| {})
    }

    /// Starts a server with these options. `prepare` can change its environment and its streams.
    #[track_caller]
    pub(crate) fn start_with(options: &[&str], prepare: impl FnOnce(&mut Command)) -> Server {
        let command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
        Server::start_by(command, options, prepare)
    }

    /// Starts a server by a command that becomes the server. The options are appended to it.
    #[track_caller]
    pub(crate) fn start_by(
        mut command: Command,
        options: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("server-{}-{number}.log", std::process::id()));
        // `make test` runs the tests twice: with direct writes, and with writer threads only.
        let form = std::env::var_os("WRITER_THREADS_ONLY").map(|_| "--no-direct-writes");
        command
            .args(["-l", "127.0.0.1:0"])
            .args(form)
            .args(options)
            .env_remove("RUST_LOG")
            .env_remove("CHAT_REDIS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("a file for the log"));
        prepare(&mut command);
        let mut child = command.spawn().expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Server {
            address: next_address(&mut stdout),
            child,
            stdout,
            log,
        }
    }

    /// Starts the program at this path under a limit that prlimit(1) sets.
    #[track_caller]
    pub(crate) fn start_limited(
        limit: &str,
        program: &str,
        options: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        let mut command = Command::new("prlimit");
        command.args([limit, program]);
        Server::start_by(command, options, prepare)
    }

    /// Reads the next printed address after [`Server::address`].
    #[track_caller]
    pub(crate) fn next_address(&mut self) -> SocketAddr {
        next_address(&mut self.stdout)
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log")).into_owned()
    }

    /// Waits for a log line that contains this.
    #[track_caller]
    pub(crate) fn expect_log(&self, part: &str) {
        wait_for(&format!("{part:?} in the log"), || {
            self.log().lines().any(|line| line.contains(part))
        });
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Connects to this address and expects to be refused with this notice.
    ///
    /// The client sends 64 KiB first, and must read the notice all the same. Waits until the
    /// server has closed the connection, because the number of pending refusals is limited.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, address: SocketAddr, notice: &str) {
        let before = self.descriptors();
        let mut client = Client::connect(address);
        // The client sends before it can know that it is refused.
        client.send_raw(format!("\n\nSet-name carol\n{}", "x".repeat(64 * 1024)));
        client.expect("403 Forbidden", notice);
        client.expect_end_and_no_reset();
        drop(client);
        wait_for("the end of the refusal", || self.descriptors() <= before);
    }

    /// Connects a client and sets its name.
    #[track_caller]
    pub(crate) fn log_in(&self, name: &str) -> Client {
        let mut client = self.connect();
        client.set_name(name);
        client
    }

    #[track_caller]
    pub(crate) fn pid(&self) -> Pid {
        pid_of(self.child.id())
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        process::signal(self.child.id(), signal);
    }

    /// Stops the process until it gets SIGCONT.
    #[cfg(feature = "client")]
    #[track_caller]
    pub(crate) fn stop(&self) {
        process::stop(self.child.id());
    }

    /// Returns the exit status, if the process has ended.
    #[allow(dead_code, reason = "the soak calls it")]
    pub(crate) fn has_exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a status")
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub(crate) fn expect_exit(&mut self) -> ExitStatus {
        status_of(&mut self.child)
    }

    /// Returns what the ended process has printed after the addresses.
    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        rest
    }

    /// Reads a value of /proc/PID/status: kB, or a count.
    #[track_caller]
    pub(crate) fn proc_status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.expect("the value").parse().expect("a number")
    }

    /// Returns the CPU time of all its threads.
    #[track_caller]
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        // The second field is in brackets and may contain anything. utime is field 14, and
        // stime is field 15 (proc_pid_stat(5)).
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        let ticks = |field: &str| field.parse::<u64>().expect("ticks");
        let ticks = ticks(fields[11]) + ticks(fields[12]);
        // USER_HZ is 100 on every architecture of Linux.
        Duration::from_millis(ticks * 10)
    }

    /// Counts the log lines that contain this.
    pub(crate) fn count_log(&self, part: &str) -> usize {
        self.count_log_of(part, "")
    }

    /// Waits for a log line about a client: an event with the name, then details after the
    /// address.
    #[track_caller]
    pub(crate) fn expect_log_of(&self, event: &str, details: &str) {
        wait_for(&format!("{event:?}, {details:?} in the log"), || {
            self.count_log_of(event, details) > 0
        });
    }

    /// Counts the log lines that contain these two texts, in this order.
    pub(crate) fn count_log_of(&self, event: &str, details: &str) -> usize {
        let log = self.log();
        let is_of = |line: &&str| {
            let after = line.split_once(event);
            after.is_some_and(|(_, after)| after.contains(details))
        };
        log.lines().filter(is_of).count()
    }

    /// Returns its current use of resources.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            threads: self.proc_status("Threads"),
            descriptors: self.descriptors(),
            memory: self.proc_status("VmRSS"),
        }
    }

    /// Counts its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("Linux")
            .count()
    }
}

/// The resources that a server uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) threads: u64,
    pub(crate) descriptors: usize,
    /// In kB.
    pub(crate) memory: u64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server's log\n{}---", self.log());
        }
        let _ = fs::remove_file(&self.log);
    }
}

/// Reads the next address that a server prints.
#[track_caller]
fn next_address(stdout: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    line.strip_prefix("listening on ")
        .and_then(|rest| rest.trim_end().parse().ok())
        .unwrap_or_else(|| panic!("expected an address, got {line:?}"))
}
