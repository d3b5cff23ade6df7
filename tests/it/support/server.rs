//! A server process, its log and its use of resources.
//!
//! If `SERVERS` is set, as in `make test-servers`, each server of a test is several nodes of one
//! chat, and its clients connect to the nodes in turn. Does not know the protocol.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::client::{self, Client};
use super::process::{self, pid_of, status_of};
#[cfg(feature = "redis")]
use super::redis::Redis;
use super::wait_for;

/// The real binary on a free port of 127.0.0.1. Dropping it kills the process.
///
/// In a spread run it is the first node, and has the others.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
    /// The other nodes of its chat.
    others: Vec<Server>,
    /// The number of addresses that clients have taken.
    turns: AtomicUsize,
    /// The Redis of a spread run. It ends after the nodes.
    #[cfg(feature = "redis")]
    _redis: Option<Redis>,
}

/// Returns the number of nodes that each server of a test has.
pub(crate) fn servers() -> usize {
    match std::env::var("SERVERS") {
        Ok(count) if cfg!(feature = "redis") => count.parse().expect("SERVERS: expected a number"),
        Ok(_) => panic!("SERVERS: expected --features redis"),
        Err(_) => 1,
    }
}

/// Whether the servers of the tests are several nodes of one chat.
pub(crate) fn is_spread() -> bool {
    servers() > 1
}

/// Returns whether the run is spread over several nodes, and reports the test that cannot hold
/// there.
pub(crate) fn is_spread_without(test: &str) -> bool {
    if is_spread() {
        eprintln!("not run over several servers: {test}");
    }
    is_spread()
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

    /// Starts a server with these options. `prepare` can change its environment and its streams,
    /// in a spread run those of the first node.
    #[track_caller]
    pub(crate) fn start_with(options: &[&str], prepare: impl FnOnce(&mut Command)) -> Server {
        #[cfg(feature = "redis")]
        if is_spread() {
            let redis = Redis::start(&[]);
            let mut first = Server::start_node(&redis, options, prepare);
            let others = (1..servers()).map(|_| Server::start_node(&redis, options, |_| {}));
            first.others = others.collect();
            first._redis = Some(redis);
            return first;
        }
        assert_eq!(servers(), 1, "a server without a Redis");
        let command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
        Server::start_by(command, options, prepare)
    }

    /// Starts one node of a chat.
    #[cfg(feature = "redis")]
    #[track_caller]
    pub(crate) fn start_node(
        redis: &Redis,
        options: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        Server::start_node_at(&redis.url(), options, prepare)
    }

    /// Starts one node of a chat, whose Redis has this URL.
    #[cfg(feature = "redis")]
    #[track_caller]
    pub(crate) fn start_node_at(
        url: &str,
        options: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Server {
        let command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
        let options = [&["--redis", url], options].concat();
        Server::start_by(command, &options, prepare)
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
            others: Vec::new(),
            turns: AtomicUsize::new(0),
            #[cfg(feature = "redis")]
            _redis: None,
        }
    }

    /// Returns this node and the others.
    fn nodes(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(self).chain(&self.others)
    }

    /// Returns the address of the node with this number. The first node follows the last one.
    fn address_of(&self, number: usize) -> SocketAddr {
        let number = number % (1 + self.others.len());
        self.nodes().nth(number).expect("a node").address
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

    /// Returns the log so far, of one node after the other.
    pub(crate) fn log(&self) -> String {
        let logs = self
            .nodes()
            .map(|it| fs::read(&it.log).expect("the log"))
            .collect::<Vec<_>>();
        String::from_utf8_lossy(&logs.concat()).into_owned()
    }

    /// Waits for a log line that contains this.
    #[track_caller]
    pub(crate) fn expect_log(&self, part: &str) {
        wait_for(&format!("{part:?} in the log"), || {
            self.log().lines().any(|line| line.contains(part))
        });
    }

    /// Returns the address of the node whose turn it is.
    pub(crate) fn next_turn(&self) -> SocketAddr {
        self.address_of(self.turns.fetch_add(1, Ordering::Relaxed))
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.next_turn())
    }

    /// Connects to the node with this number, from 0.
    #[track_caller]
    pub(crate) fn connect_to(&self, node: usize) -> Client {
        Client::connect(self.address_of(node))
    }

    /// Connects to the node of the session with this token. No other node can resume it.
    #[track_caller]
    pub(crate) fn connect_as(&self, token: &str) -> Client {
        Client::connect(self.home_of(token))
    }

    /// Connects to a node that does not have the session with this token, if there is one.
    #[track_caller]
    pub(crate) fn connect_apart_from(&self, token: &str) -> Client {
        let home = self.home_of(token);
        let other = self.nodes().find(|it| it.address != home);
        Client::connect(other.unwrap_or(self).address)
    }

    #[track_caller]
    fn home_of(&self, token: &str) -> SocketAddr {
        match self.others[..] {
            [] => self.address,
            _ => client::home_of(token).expect("a token that a client has got"),
        }
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

    /// Sends a signal to all nodes.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        self.nodes()
            .for_each(|it| process::signal(it.child.id(), signal));
    }

    /// Stops all nodes until they get SIGCONT.
    #[cfg(any(feature = "client", feature = "redis"))]
    #[track_caller]
    pub(crate) fn stop(&self) {
        self.nodes().for_each(|it| process::stop(it.child.id()));
    }

    /// Returns the exit status, if the process has ended.
    #[allow(dead_code, reason = "the soak calls it")]
    pub(crate) fn has_exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a status")
    }

    /// Waits until all nodes end by themselves, with the same status.
    #[track_caller]
    pub(crate) fn expect_exit(&mut self) -> ExitStatus {
        let status = status_of(&mut self.child);
        for other in &mut self.others {
            assert_eq!(other.expect_exit(), status, "of another node");
        }
        status
    }

    /// Returns what the ended nodes have printed after the addresses.
    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        let others = self.others.iter_mut().map(Server::rest_of_stdout);
        rest + &others.collect::<String>()
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
            let log = fs::read_to_string(&self.log);
            eprintln!("--- the server's log\n{}---", log.unwrap_or_default());
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
