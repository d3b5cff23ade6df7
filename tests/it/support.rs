//! A server to talk to and clients that talk to it.
//!
//! Everything that waits has a deadline; a failure prints the client's dialogue
//! and the server's log. That something has happened, or not, is known by a `Ping`, first
//! on the sender, then on the receiver; what has no message to wait for is polled.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a loaded machine, short enough for a test run to end.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The real binary, on a free port of 127.0.0.1, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
}

/// The threads of a server without clients: main, logger, signals, refuser, accept, sweeper,
/// and with direct writes the broadcaster.
pub(crate) fn server_threads() -> u64 {
    match std::env::var_os("WRITER_THREADS_ONLY") {
        Some(_) => 6,
        None => 7,
    }
}

impl Server {
    /// With these options and no limit on the rate, which most tests would meet.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Server {
        Server::start_with(&[&["--rate", "0"], options].concat(), |_| {})
    }

    /// With these options and whatever else is to be set for the process.
    #[track_caller]
    pub(crate) fn start_with(options: &[&str], prepare: impl FnOnce(&mut Command)) -> Server {
        let command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
        Server::start_by(command, options, prepare)
    }

    /// By a command that becomes the server, when its options are added.
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
        // All tests hold for both forms of writing; `make test` runs them in both.
        let form = std::env::var_os("WRITER_THREADS_ONLY").map(|_| "--no-direct-writes");
        command
            .args(["-l", "127.0.0.1:0"])
            .args(form)
            .args(options)
            .env_remove("RUST_LOG")
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

    /// With a limit that prlimit(1) sets, which then becomes the program at this path.
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

    /// The next address after [`Server::address`] on which it says that it listens.
    #[track_caller]
    pub(crate) fn next_address(&mut self) -> SocketAddr {
        next_address(&mut self.stdout)
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("its log")).into_owned()
    }

    /// Waits for a line in the log that contains this.
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

    /// Expects that whoever connects to this address of the server is refused with this
    /// notice, and reads it although 64 KiB of its own are on their way. Waits until it has
    /// been seen off, because only a few are at a time.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, address: SocketAddr, notice: &str) {
        let before = self.descriptors();
        let mut client = Client::connect(address);
        // Sent before it can know.
        client.send_raw(format!("\n\nSet-name carol\n{}", "x".repeat(64 * 1024)));
        client.expect("403 Forbidden", notice);
        client.expect_end_and_no_reset();
        drop(client);
        wait_for("its farewell", || self.descriptors() <= before);
    }

    /// A client with a session.
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
        self::signal(self.child.id(), signal);
    }

    /// Stops it, until somebody has it go on.
    #[cfg(feature = "client")]
    #[track_caller]
    pub(crate) fn stop(&self) {
        stop(self.child.id());
    }

    /// How it ended, if it has.
    #[allow(dead_code, reason = "the soak asks")]
    pub(crate) fn has_exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its status")
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub(crate) fn expect_exit(&mut self) -> ExitStatus {
        status_of(&mut self.child)
    }

    /// What it printed on stdout after the first line, once it has ended.
    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        rest
    }

    /// A figure of /proc/PID/status: kB, or a count.
    #[track_caller]
    pub(crate) fn proc_status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("Linux");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next());
        value.expect("the figure").parse().expect("a number")
    }

    /// The processor's time that it has used, of all its threads.
    #[track_caller]
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        // The second field, in brackets, may contain anything; utime is the 14th, and
        // stime the next (proc_pid_stat(5)).
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        let ticks = |field: &str| field.parse::<u64>().expect("ticks");
        let ticks = ticks(fields[11]) + ticks(fields[12]);
        // USER_HZ is 100 wherever Linux runs.
        Duration::from_millis(ticks * 10)
    }

    /// How many lines of its log contain this.
    pub(crate) fn count_log(&self, part: &str) -> usize {
        self.count_log_of(part, "")
    }

    /// Waits for the log line about a client: an event with the name, and what follows the
    /// address.
    #[track_caller]
    pub(crate) fn expect_log_of(&self, event: &str, details: &str) {
        wait_for(&format!("{event:?}, {details:?} in the log"), || {
            self.count_log_of(event, details) > 0
        });
    }

    /// How many lines of its log contain these two, in this order.
    pub(crate) fn count_log_of(&self, event: &str, details: &str) -> usize {
        let log = self.log();
        let is_of = |line: &&str| {
            let after = line.split_once(event);
            after.is_some_and(|(_, after)| after.contains(details))
        };
        log.lines().filter(is_of).count()
    }

    /// What it holds now.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            threads: self.proc_status("Threads"),
            descriptors: self.descriptors(),
            memory: self.proc_status("VmRSS"),
        }
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("Linux")
            .count()
    }
}

/// What a server holds.
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

/// A program where every user can execute it.
pub(crate) struct ExecutableCopy(PathBuf);

impl ExecutableCopy {
    #[track_caller]
    pub(crate) fn copy(program: &str) -> ExecutableCopy {
        let name = Path::new(program).file_name().expect("a file");
        // Tests of one process run at the same time.
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", name.to_string_lossy(), std::process::id());
        let path = std::env::temp_dir().join(name);
        // By another process: what this one has open for writing, a server that another
        // test starts at this moment has too, and what is so open cannot be executed.
        let copied = Command::new("install")
            .args(["-m", "755", program])
            .arg(&path)
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy");
        ExecutableCopy(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for ExecutableCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) status: String,
    pub(crate) header: String,
    pub(crate) data: String,
}

/// Where a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    BetweenMessages,
    InAMessage,
}

/// A client that speaks the protocol by hand, and writes down what was said.
pub(crate) struct Client {
    socket: BufReader<TcpStream>,
    /// The token that it was given.
    pub(crate) token: String,
    /// It reads over what others send.
    pub(crate) ignore_deliveries: bool,
    dialogue: String,
    pings: u32,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("the server accepts");
        socket.set_nodelay(true).expect("an open socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        socket.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Client {
            socket: BufReader::new(socket),
            token: String::new(),
            ignore_deliveries: false,
            dialogue: String::new(),
            pings: 0,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(e) = self.try_send_raw(bytes) {
            self.fail(&format!("cannot send: {e}"));
        }
    }

    /// The same for a connection that the server may have closed.
    pub(crate) fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let bytes = bytes.as_ref();
        let shown = bytes[..bytes.len().min(200)].escape_ascii();
        // Those of a soak go on for long.
        if self.dialogue.len() > 1024 * 1024 {
            "(the beginning is left out)\n".clone_into(&mut self.dialogue);
        }
        let _ = writeln!(self.dialogue, "> {shown}");
        self.stream().write_all(bytes)
    }

    /// Sends a request for the connection's own session.
    #[track_caller]
    pub(crate) fn send(&mut self, body: &str) {
        self.send_raw(format!("\r\n\r\n{body}\r\n"));
    }

    /// Sends a request for the session of a token.
    #[track_caller]
    pub(crate) fn send_as(&mut self, token: &str, body: &str) {
        self.send_raw(format!("\r\n{token}\r\n{body}\r\n"));
    }

    /// Has its token stand in a header, so that its session may linger.
    #[track_caller]
    pub(crate) fn use_token(&mut self) {
        let token = self.token.clone();
        self.send_as(&token, "Ping");
        self.expect("200 OK", "Pong");
    }

    /// Takes a name, and remembers the token.
    #[track_caller]
    pub(crate) fn set_name(&mut self, name: &str) {
        self.send(&format!("Set-name {name}"));
        let message = self.next();
        if message.status != "200 OK" || message.data != format!("You are {name}") {
            self.fail(&format!("wanted the name {name}, got {message:?}"));
        }
        if !is_token(&message.header) {
            self.fail("that is not a token");
        }
        self.token = message.header;
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Message {
        loop {
            let [status, header, data] = [(); 3].map(|()| self.next_line());
            if self.ignore_deliveries && data.starts_with("Incoming-message ") {
                continue;
            }
            return Message {
                status,
                header,
                data,
            };
        }
    }

    #[track_caller]
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = Vec::new();
        let result = self.socket.read_until(b'\n', &mut line);
        let _ = writeln!(
            self.dialogue,
            "< {}",
            String::from_utf8_lossy(&line).trim_end()
        );
        match (result, line.strip_suffix(b"\r\n")) {
            (Ok(_), Some(line)) => match String::from_utf8(line.to_vec()) {
                Ok(line) => line,
                Err(_) => self.fail("the server sent what is not UTF-8"),
            },
            (Ok(0), None) => self.fail("the server closed the connection"),
            (Ok(_), None) => self.fail("that line does not end in CRLF"),
            (Err(e), _) => self.fail(&format!("cannot read: {e}")),
        }
    }

    /// Expects a message with the client's own token, if it has one.
    #[track_caller]
    pub(crate) fn expect(&mut self, status: &str, data: &str) {
        let token = self.token.clone();
        self.expect_with(&token, status, data);
    }

    /// Expects a message with this header.
    #[track_caller]
    pub(crate) fn expect_with(&mut self, header: &str, status: &str, data: &str) {
        let message = self.next();
        if (&*message.status, &*message.header, &*message.data) != (status, header, data) {
            self.fail(&format!("expected {status:?}, {header:?}, {data:?}"));
        }
    }

    /// Expects a message that someone sent.
    #[track_caller]
    pub(crate) fn expect_delivery(&mut self, scope: &str, sender: &str, text: &str) {
        self.expect(
            "200 OK",
            &format!("Incoming-message {scope} {sender} {text}"),
        );
    }

    /// Asks and expects the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, body: &str, status: &str, data: &str) {
        self.send(body);
        self.expect(status, data);
    }

    /// Everything that was asked before has been done, and nothing has come that
    /// was not expected.
    #[track_caller]
    pub(crate) fn barrier(&mut self) {
        self.pings += 1;
        let text = format!("barrier {}", self.pings);
        self.ask(&format!("Ping {text}"), "200 OK", &format!("Pong {text}"));
    }

    /// Sends numbered messages to someone who does not read, until the kernel takes no
    /// more and the queue has filled up behind it. The kernel may take some more later,
    /// when it probes the window, but not another MiB.
    #[track_caller]
    pub(crate) fn fill_queue(&mut self, name: &str) -> Filled {
        let (mut taken, mut refused) = (Vec::new(), 0);
        let mut full_since = Instant::now();
        for number in 0.. {
            self.send(&format!("Private-message {name} {}", filling(number)));
            match &*self.next().data {
                data if data == format!("Delivered to {name}") => {
                    taken.push(number);
                    full_since = Instant::now();
                }
                data if data == format!("{name} cannot take more messages now") => refused += 1,
                data => self.fail(data),
            }
            if full_since.elapsed() > Duration::from_millis(100) {
                break;
            }
        }
        Filled { taken, refused }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close_input(&self) {
        self.stream()
            .shutdown(Shutdown::Write)
            .expect("an open socket");
    }

    /// Expects an orderly end, with nothing before it.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        match self.rest() {
            Ok(rest) if rest.is_empty() || self.ignore_deliveries && are_deliveries(&rest) => {}
            Ok(rest) => self.fail(&format!("expected the end, got {}", rest.escape_ascii())),
            Err(e) => self.fail(&format!("expected the end, got {e}")),
        }
    }

    /// Expects the end, and no reset behind it: the server has read what was still on
    /// its way. On a worse network than this one a reset can overtake the last line, and
    /// nothing repeats what was lost then.
    #[track_caller]
    pub(crate) fn expect_end_and_no_reset(&mut self) {
        self.expect_end();
        if self.stream().peer_addr().is_err() {
            self.fail("the server has reset the connection");
        }
    }

    /// All that still comes before the end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// The next message, or `None` at an orderly end.
    #[track_caller]
    pub(crate) fn next_or_end(&mut self) -> Option<Message> {
        match self.socket.fill_buf() {
            Ok([]) => None,
            Ok(_) => Some(self.next()),
            Err(e) => self.fail(&format!("cannot read: {e}")),
        }
    }

    /// The next message, or how the connection ends, be it by a reset.
    #[track_caller]
    pub(crate) fn next_or_how_it_ends(&mut self) -> Result<Message, Ended> {
        let mut lines = Vec::new();
        while lines.len() < 3 {
            let mut line = Vec::new();
            match self.socket.read_until(b'\n', &mut line) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.fail("waited in vain for a message or the end");
                }
                Ok(_) | Err(_) => {}
            }
            let shown = String::from_utf8_lossy(&line);
            let _ = writeln!(self.dialogue, "< {}", shown.trim_end());
            match line.strip_suffix(b"\r\n").map(str::from_utf8) {
                Some(Ok(line)) => lines.push(line.to_owned()),
                Some(Err(_)) => self.fail("the server sent what is not UTF-8"),
                None if line.is_empty() && lines.is_empty() => return Err(Ended::BetweenMessages),
                None => return Err(Ended::InAMessage),
            }
        }
        let [status, header, data] = lines.try_into().expect("three");
        Ok(Message {
            status,
            header,
            data,
        })
    }

    /// The last that was said, up to so many lines.
    pub(crate) fn end_of_dialogue(&self, lines: usize) -> String {
        let all: Vec<&str> = self.dialogue.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Breaks the connection: the peer is sent a reset, as when the machine is gone
    /// and another answers for it.
    pub(crate) fn reset(self) {
        set_socket_linger(self.stream(), Some(Duration::ZERO)).expect("an open socket");
    }

    /// Waits until there is something to read, and leaves it there.
    #[track_caller]
    pub(crate) fn wait_for_something(&self) {
        match self.stream().peek(&mut [0]) {
            Ok(1..) => {}
            Ok(0) => self.fail("the server closed the connection"),
            Err(e) => self.fail(&format!("cannot read: {e}")),
        }
    }

    /// Reads this many bytes, each by itself.
    #[track_caller]
    pub(crate) fn read_bytes_one_by_one(&mut self, count: usize) {
        for _ in 0..count {
            if let Err(e) = self.stream().read_exact(&mut [0]) {
                self.fail(&format!("cannot read: {e}"));
            }
        }
    }

    /// Reads and drops what has come by now.
    pub(crate) fn read_what_there_is(&mut self) {
        self.stream().set_nonblocking(true).expect("an open socket");
        let _ = self.socket.read_to_end(&mut Vec::new());
    }

    /// All that still comes before the end, be it a reset, which is what a client
    /// gets that does not stop sending.
    pub(crate) fn rest_or_reset(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    #[track_caller]
    fn fail(&self, problem: &str) -> ! {
        panic!("{problem}\n--- the dialogue\n{}---", self.dialogue);
    }
}

/// Whether all of these messages are what others have sent.
fn are_deliveries(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut data = text.split_terminator("\r\n").skip(2).step_by(3);
    data.all(|data| data.starts_with("Incoming-message "))
}

/// What came of filling somebody's queue.
pub(crate) struct Filled {
    /// The numbers of the messages that were taken.
    pub(crate) taken: Vec<usize>,
    pub(crate) refused: usize,
}

/// A long text that begins with a number.
pub(crate) fn filling(number: usize) -> String {
    format!("{number} {}", "x".repeat(1_900))
}

/// The number that a delivery begins with.
#[track_caller]
pub(crate) fn number_of(delivery: &str) -> usize {
    let text = delivery.splitn(4, ' ').nth(3).expect("a delivery");
    text.split(' ')
        .next()
        .expect("a word")
        .parse()
        .expect("a number")
}

/// How many messages a notice of a gap counts; `None` if it is anything else.
#[track_caller]
pub(crate) fn missed_by(data: &str) -> Option<usize> {
    let count = data.strip_prefix("Missed ")?;
    let count = count
        .strip_suffix(" messages: you read too slowly")
        .expect(data);
    Some(count.parse().expect("a count"))
}

/// Whether this could be a token.
pub(crate) fn is_token(text: &str) -> bool {
    text.len() == 32 && text.chars().all(|c| "0123456789abcdef".contains(c))
}

/// The next address on which a server says that it listens.
#[track_caller]
fn next_address(stdout: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    line.strip_prefix("listening on ")
        .and_then(|rest| rest.trim_end().parse().ok())
        .unwrap_or_else(|| panic!("it says {line:?}, and not where it listens"))
}

/// Waits until something holds that has no message to wait for.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a tool that a test needs is there.
#[track_caller]
pub(crate) fn has_tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if !found {
        is_skipped(&format!("{name} is not installed"));
    }
    found
}

/// Says that a test is skipped. Where `CI` is set, it must not be.
#[track_caller]
pub(crate) fn is_skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Whether either end of a connection to this port, of whichever process, has something
/// that was not read.
pub(crate) fn has_unread(port: u16) -> bool {
    let connections = fs::read_to_string("/proc/net/tcp").expect("Linux");
    connections.lines().skip(1).any(|line| {
        // sl local_address rem_address st tx_queue:rx_queue (proc_net_tcp.txt)
        let fields: Vec<&str> = line.split_whitespace().collect();
        let unread = fields[4].split(':').nth(1).expect("two queues");
        let (port, connected) = (format!(":{port:04X}"), fields[3] != "0A");
        let is_of_port = connected && fields[1..3].iter().any(|end| end.ends_with(&port));
        is_of_port && unread.bytes().any(|digit| digit != b'0')
    })
}

#[track_caller]
fn pid_of(process: u32) -> Pid {
    let process = process.try_into().expect("a process id");
    Pid::from_raw(process).expect("a process id")
}

/// Sends a process a signal.
#[track_caller]
pub(crate) fn signal(process: u32, signal: Signal) {
    kill_process(pid_of(process), signal).expect("it is there");
}

/// Stops a process, and waits until all its threads stand still.
#[cfg(feature = "client")]
#[track_caller]
pub(crate) fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    wait_for("it to stand still", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("Linux");
        tasks.filter_map(Result::ok).all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).expect("Linux");
            let (_, state) = stat.rsplit_once(") ").expect("a state");
            state.starts_with('T')
        })
    });
}

/// Waits for a child to end by itself.
#[track_caller]
pub(crate) fn status_of(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_for("its exit", || {
        status = child.try_wait().expect("its status");
        status.is_some()
    });
    status.expect("just seen")
}

/// Waits for a child to end, and gives what it printed.
#[track_caller]
pub(crate) fn output_of(mut child: Child) -> String {
    let output = chunks_of(child.stdout.take().expect("a pipe"));
    let (deadline, mut printed) = (Instant::now() + DEADLINE, Vec::new());
    let end = loop {
        match next_chunk(&output, deadline) {
            Ok(chunk) => printed.extend(chunk),
            Err(end) => break end,
        }
    };
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if end == RecvTimeoutError::Timeout {
        let _ = child.kill();
        panic!("it does not end; it printed {printed:?}");
    }
    status_of(&mut child);
    printed
}

/// Reads a pipe to its end on another thread, so that waiting for it can have a deadline.
fn chunks_of(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, chunks) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let _ = sender.send(buffer[..count].to_vec());
        }
    });
    chunks
}

fn next_chunk(chunks: &Receiver<Vec<u8>>, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
    chunks.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

/// A program that is typed into and looked at, as a person does it, until it is dropped.
pub(crate) struct Program {
    child: Child,
    output: Receiver<Vec<u8>>,
}

impl Program {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = chunks_of(child.stdout.take().expect("a pipe"));
        Program { child, output }
    }

    #[track_caller]
    pub(crate) fn types(&mut self, keys: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin
            .write_all(keys)
            .and_then(|()| stdin.flush())
            .expect("it reads");
    }

    /// What it shows next; an error at its end, or when the time is over.
    pub(crate) fn next_output(&self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        next_chunk(&self.output, deadline)
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        self::signal(self.child.id(), signal);
    }

    /// Types nothing more, and waits for it to end.
    #[cfg(feature = "client")]
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.child.stdin = None;
        status_of(&mut self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
