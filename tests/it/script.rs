//! The client in pipes: sending scripts and listeners.

use crate::proxy::Network;
use crate::support::{
    self, Client, DEADLINE, Server, has_tool, has_unread, output_of, status_of, wait_for,
};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

/// A client process whose input and output are pipes.
pub(crate) struct Script {
    pub(crate) child: Child,
}

/// The result of a client process.
#[derive(Debug)]
pub(crate) struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Script {
    #[track_caller]
    pub(crate) fn start(address: SocketAddr, arguments: &[&str]) -> Script {
        Script::start_with(address, arguments, |_| {})
    }

    /// Starts a client. `prepare` can change its environment.
    #[track_caller]
    pub(crate) fn start_with(
        address: SocketAddr,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Script {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat-client"));
        command
            .args(arguments)
            .arg(address.to_string())
            .env("TZ", "UTC-2")
            .env("USER", "tester")
            .env_remove("CHAT_ACCESS_TOKEN")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let child = command.spawn().expect("the program starts");
        Script { child }
    }

    /// Starts a client with `--listen`. Returns it and its output.
    #[track_caller]
    fn listen(address: SocketAddr, name: &str, arguments: &[&str]) -> (Script, Lines) {
        let arguments = [&["-n", name, "--listen"], arguments].concat();
        let mut script = Script::start(address, &arguments);
        let stdout = BufReader::new(script.child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        (script, Lines(lines))
    }

    /// Runs a client with this input until it ends.
    #[track_caller]
    fn run(address: SocketAddr, arguments: &[&str], input: impl AsRef<[u8]>) -> Ended {
        let mut script = Script::start(address, arguments);
        let mut stdin = script.stdin();
        let input = input.as_ref().to_vec();
        let writer = thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let ended = script.ends();
        writer.join().expect("no panic");
        ended
    }

    #[track_caller]
    fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe")
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        support::signal(self.child.id(), signal);
    }

    /// Waits until the process ends. Its input may stay open.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Ended {
        let errors = self.child.stderr.take().map(text_of_pipe);
        let output = self.child.stdout.take().map(text_of_pipe);
        let status = status_of(&mut self.child);
        let text = |pipe: Option<JoinHandle<String>>| {
            pipe.map_or(String::new(), |pipe| pipe.join().expect("no panic"))
        };
        Ended {
            code: status.code(),
            stdout: text(output),
            stderr: text(errors),
        }
    }
}

/// Reads a pipe to its end, on another thread.
fn text_of_pipe(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

/// The output of a listener.
struct Lines(Receiver<String>);

impl Lines {
    /// Returns the time of the next line, and its other fields.
    #[track_caller]
    fn next(&self) -> (String, String) {
        let line = self.0.recv_timeout(DEADLINE).expect("a line");
        let (time, fields) = line.split_once('\t').expect("a time");
        (time.to_owned(), fields.to_owned())
    }

    #[track_caller]
    fn expect(&self, fields: &str) {
        assert_eq!(self.next().1, fields);
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, stderr: &str) {
        assert_eq!(
            (self.code, &*self.stdout, &*self.stderr),
            (Some(code), "", stderr)
        );
    }
}

/// The response that logs in a listener.
const LOGGED_IN: &str = "200 OK\r\n0123456789abcdef0123456789abcdef\r\nYou are logger\r\n";

/// Starts a server that sends these bytes to its first client, then half-closes.
fn server_that_sends(bytes: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut request = [0; 256];
        let _ = socket.read(&mut request);
        let _ = socket.write_all(bytes.as_bytes());
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    });
    address
}

#[test]
fn each_input_line_is_a_broadcast() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let input = "build 42 is green\n\n  \n/quit\r\nпривет 🙂\n no end";
    Script::run(server.address, &["-n", "bot"], input).expect(0, "");
    for line in ["build 42 is green", "/quit", "привет 🙂", " no end"] {
        alice.expect_delivery("broadcast", "bot", line);
    }
    Script::run(server.address, &[], "without a name\n").expect(0, "");
    alice.expect_delivery("broadcast", "tester", "without a name");
    alice.barrier();
    Script::run(server.address, &["-n", "bot"], "").expect(0, "");
    alice.barrier();
    alice.ask("List-names", "200 OK", "1 online: alice");
}

#[test]
fn message_option_sends_without_reading_the_input() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut script = Script::start(server.address, &["-n", "bot", "-m", "hi"]);
    let _open = script.stdin();
    script.ends().expect(0, "");
    alice.expect_delivery("broadcast", "bot", "hi");
    let arguments = ["-n", "bot", "-m", "for you", "--to", "ALICE"];
    Script::run(server.address, &arguments, "not this").expect(0, "");
    alice.expect_delivery("private", "bot", "for you");
    alice.barrier();
}

#[test]
fn to_option_sends_privately_and_reports_refusals() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut bob = server.log_in("bob");
    Script::run(
        server.address,
        &["-n", "bot", "--to", "alice"],
        "one\ntwo\n",
    )
    .expect(0, "");
    alice.expect_delivery("private", "bot", "one");
    alice.expect_delivery("private", "bot", "two");
    bob.barrier();
    Script::run(
        server.address,
        &["-n", "bot", "--to", "carol"],
        "one\ntwo\n",
    )
    .expect(
        3,
        "chat-client: not sent: \"one\": 404 Not Found, No one is named carol\n\
         chat-client: not sent: \"two\": 404 Not Found, No one is named carol\n",
    );
    Script::run(server.address, &["-n", "alice"], "one\n")
        .expect(3, "chat-client: alice is taken\n");
    let input = b"good\n\x1B[31mred\x1B[0m\n\xFF\nalso good\n";
    Script::run(server.address, &["-n", "bot"], input).expect(
        3,
        "chat-client: line 2 not sent: Forbidden character U+001B\n\
         chat-client: line 3 not sent: Not UTF-8\n",
    );
    for text in ["good", "also good"] {
        bob.expect_delivery("broadcast", "bot", text);
    }
}

#[test]
fn twenty_thousand_lines_arrive_in_order_and_long_one_split() {
    let server = Server::start(&["--queue", "16777216"]);
    let mut alice = server.log_in("alice");
    let mut input: String = (0..20_000)
        .map(|number| format!("{number} {number}\n"))
        .collect();
    input.push_str(&"word ".repeat(600));
    Script::run(server.address, &["-n", "bot"], input).expect(0, "");
    for number in 0..20_000 {
        alice.expect_delivery("broadcast", "bot", &format!("{number} {number}"));
    }
    for length in [2_044, 955] {
        assert_eq!(text_of(&mut alice).chars().count(), length);
    }
    alice.barrier();
}

fn text_of(client: &mut Client) -> String {
    let message = client.next();
    let text = message.data.strip_prefix("Incoming-message broadcast bot ");
    text.expect("a delivery").to_owned()
}

#[test]
fn listener_prints_each_message_and_ends_at_sigint() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut script = Script::start(server.address, &["-n", "logger", "--listen"]);
    let mut stdout = BufReader::new(script.child.stdout.take().expect("a pipe"));
    server.expect_log("logged in as logger");
    let mut next_line = || {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        line
    };
    alice.ask("Broadcast-message a\tb  c", "200 OK", "Delivered to 1");
    alice.ask(
        "Private-message logger привет",
        "200 OK",
        "Delivered to logger",
    );
    for expected in ["broadcast\talice\ta b  c\n", "private\talice\tпривет\n"] {
        // The client must flush each line. Otherwise this read would wait for ever.
        let line = next_line();
        let (time, rest) = line.split_once('\t').expect("four fields");
        assert_eq!(rest, expected);
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00+00:00", "{time}");
        assert!(time.ends_with("+02:00"), "{time}");
    }
    script.signal(Signal::INT);
    script.ends().expect(0, "");
    wait_for("the free name", || {
        alice.send("List-names");
        alice.next().data == "1 online: alice"
    });
}

#[test]
fn listener_prints_presence_only_if_asked() {
    let server = Server::start(&["-vv"]);
    let (_script, lines) = Script::listen(server.address, "logger", &["--presence"]);
    server.expect_log("Watch-presence on");
    let (_plain, plain) = Script::listen(server.address, "plain", &[]);
    lines.expect("joined\tplain");
    let mut alice = server.log_in("alice");
    alice.ask("Set-name Alicia", "200 OK", "You are Alicia");
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 2");
    let mut bob = server.log_in("bob");
    alice.ask("Quit", "200 OK", "Goodbye");
    for fields in [
        "joined\talice",
        "renamed\talice\tAlicia",
        "broadcast\tAlicia\thi",
        "joined\tbob",
    ] {
        lines.expect(fields);
    }
    let (time, fields) = lines.next();
    assert_eq!(fields, "left\tAlicia");
    assert!(time.ends_with("+02:00") && time.len() == 25, "{time}");
    bob.ask("Broadcast-message bye", "200 OK", "Delivered to 2");
    plain.expect("broadcast\tAlicia\thi");
    plain.expect("broadcast\tbob\tbye");
    // The log has every earlier line when it has this one.
    bob.ask("Ping flushed", "200 OK", "Pong flushed");
    server.expect_log("> Ping flushed");
    assert_eq!(server.count_log("> Watch-presence"), 1);
    assert_eq!(server.count_log("> Recent-messages"), 0);
}

#[test]
fn listener_prints_recent_messages_first_if_asked() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    for text in ["one", "two", "a\tb"] {
        alice.ask(
            &format!("Broadcast-message {text}"),
            "200 OK",
            "Delivered to 0",
        );
    }
    let (_script, lines) = Script::listen(server.address, "logger", &["--recent", "2"]);
    lines.expect("recent\talice\ttwo");
    lines.expect("recent\talice\ta b");
    let (_none, none) = Script::listen(server.address, "none", &["--recent", "0"]);
    server.expect_log("logged in as none");
    alice.ask("Broadcast-message four", "200 OK", "Delivered to 2");
    lines.expect("broadcast\talice\tfour");
    none.expect("broadcast\talice\tfour");
}

#[test]
fn time_of_a_recent_message_is_the_time_of_sending() {
    let recent = "200 OK\r\n0123456789abcdef0123456789abcdef\r\nIncoming-recent ";
    let server = server_that_sends(
        format!(
            "{LOGGED_IN}{recent}2026-11-25T21:04:05Z alice hi\r\n\
             {recent}2026-11-25T23:59:59Z alice  bye\r\n\
             200 OK\r\n\r\n2 recent\r\n"
        )
        .leak(),
    );
    let (script, lines) = Script::listen(server, "logger", &["--recent", "2"]);
    for (time, fields) in [
        ("2026-11-25T23:04:05+02:00", "recent\talice\thi"),
        ("2026-11-26T01:59:59+02:00", "recent\talice\t bye"),
    ] {
        assert_eq!(lines.next(), (time.to_owned(), fields.to_owned()));
    }
    let closed = "chat-client: the server closed the connection\n";
    script.ends().expect(1, closed);
}

#[test]
fn recent_message_that_was_delivered_is_left_out() {
    let header = "200 OK\r\n0123456789abcdef0123456789abcdef\r\n";
    let delivered = format!("{header}Incoming-message");
    let recent = format!("{header}Incoming-recent 2026-11-25T21:04");
    let server = server_that_sends(
        format!(
            "{LOGGED_IN}\
             {delivered} broadcast alice hi\r\n\
             {delivered} private bob psst\r\n\
             {recent}:01Z alice hi\r\n\
             {recent}:02Z bob hi\r\n\
             {recent}:03Z bob psst\r\n\
             {recent}:04Z alice hi\r\n\
             200 OK\r\n\r\n4 recent\r\n\
             {delivered} broadcast alice hi\r\n"
        )
        .leak(),
    );
    let (_script, lines) = Script::listen(server, "logger", &["--recent", "4"]);
    lines.expect("broadcast\talice\thi");
    lines.expect("private\tbob\tpsst");
    for (second, fields) in [
        ("01", "recent\talice\thi"),
        ("02", "recent\tbob\thi"),
        ("03", "recent\tbob\tpsst"),
    ] {
        let time = format!("2026-11-25T23:04:{second}+02:00");
        assert_eq!(lines.next(), (time, fields.to_owned()));
    }
    lines.expect("broadcast\talice\thi");
}

#[test]
fn listener_uses_a_server_without_presence_and_history_silently() {
    let unknown =
        |word| format!("501 Not Implemented\r\n\r\n{word} is not a command; try Help\r\n");
    let answers = [unknown("Recent-messages"), unknown("Watch-presence")].concat();
    let delivery = "200 OK\r\n\r\nIncoming-message broadcast alice hi\r\n";
    let server = server_that_sends(format!("{LOGGED_IN}{answers}{delivery}").leak());
    let (script, lines) = Script::listen(server, "logger", &["--presence", "--recent", "3"]);
    lines.expect("broadcast\talice\thi");
    let closed = "chat-client: the server closed the connection\n";
    script.ends().expect(1, closed);
}

#[test]
fn listener_ends_with_the_server_or_its_pipe_reader() {
    if !has_tool("head") {
        return;
    }
    let mut server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let command = format!(
        "{{ {} -n logger --listen {}; echo \"code $?\" >&2; }} | head -n 1",
        env!("CARGO_BIN_EXE_chat-client"),
        server.address
    );
    let shell = Command::new("sh")
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut shell = shell.expect("a shell");
    server.expect_log("logged in as logger");
    // The first line ends head. The next write of the listener fails.
    let errors = shell.stderr.take().map(text_of_pipe).expect("a pipe");
    wait_for("the end of the listener", || {
        alice.send("Broadcast-message again");
        alice.next().data == "Delivered to 0"
    });
    assert!(output_of(shell).ends_with("\tbroadcast\talice\tagain\n"));
    assert_eq!(errors.join().expect("no panic"), "code 0\n");

    let script = Script::start(server.address, &["-n", "logger", "--listen"]);
    wait_for("the next listener", || {
        alice.send("List-names");
        alice.next().data == "2 online: alice logger"
    });
    server.signal(Signal::TERM);
    script.ends().expect(
        1,
        "chat-client: The server is shutting down\n\
         chat-client: the server closed the connection\n",
    );
    server.expect_exit();
}

#[test]
fn failed_or_lost_connection_exits_with_1() {
    // This port is in use, so no process can listen on it.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listening = listener.local_addr().expect("an address");
    let connected = TcpStream::connect(listening).expect("a listener");
    let unused = connected.local_addr().expect("an address");
    let refused = format!("chat-client: cannot talk to {unused}: Connection refused\n");
    Script::run(unused, &["-n", "bot"], "one\n").expect(1, &refused);
    Script::run(unused, &["-n", "bot", "--listen"], "").expect(1, &refused);

    let web = server_that_sends("HTTP/1.1 400 Bad Request\r\n\r\nwhat?\r\n\r\n");
    let problem = "the server does not speak CP/0.0.0";
    let problem = format!("chat-client: cannot talk to {web}: {problem}\n");
    Script::run(web, &["-n", "bot"], "one\n").expect(1, &problem);

    let full = server_that_sends("403 Forbidden\r\n\r\nThe server is full\r\n");
    let problem = format!("chat-client: cannot talk to {full}: The server is full\n");
    Script::run(full, &["-n", "bot"], "one\n").expect(1, &problem);

    let failing = server_that_sends("500 Internal Server Error\r\n\r\nThe server failed\r\n");
    let problem = format!("chat-client: cannot talk to {failing}: The server failed\n");
    Script::run(failing, &["-n", "bot"], "one\n").expect(1, &problem);

    let gone = server_that_sends("");
    let problem = "the server closed the connection without a response; check the address";
    let problem = format!("chat-client: cannot talk to {gone}: {problem}\n");
    Script::run(gone, &["-n", "bot"], "one\n").expect(1, &problem);

    // A server that closes the connection after two messages, while the input is still open.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        let mut received = Vec::new();
        let mut read_until = |end: &[u8]| {
            while !received.ends_with(end) {
                let mut buffer = [0; 256];
                let count = { &socket }.read(&mut buffer).expect("a client");
                received.extend_from_slice(&buffer[..count]);
            }
        };
        read_until(b"Set-name bot\r\n");
        let token = "0".repeat(32);
        write!(&socket, "200 OK\r\n{token}\r\nYou are bot\r\n").expect("a client");
        read_until(b"two\r\n");
    });
    let mut script = Script::start(gone, &["-n", "bot"]);
    let mut stdin = script.stdin();
    stdin.write_all(b"one\ntwo\n").expect("the program reads");
    script.ends().expect(
        1,
        "chat-client: the server closed the connection; messages with a response: 0, without a \
         response: 2; the rest was not sent\n",
    );
    drop(stdin);
    server.join().expect("no panic");
}

/// Starts a script named bot with open input. Its first line has reached alice.
#[track_caller]
fn bot_after_one_line(server: &Server, alice: &mut Client) -> (Script, ChildStdin) {
    let mut script = Script::start(server.address, &["-n", "bot"]);
    let mut stdin = script.stdin();
    stdin.write_all(b"one\n").expect("the program reads");
    alice.expect_delivery("broadcast", "bot", "one");
    (script, stdin)
}

#[test]
fn sending_script_ignores_deliveries() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let (script, mut stdin) = bot_after_one_line(&server, &mut alice);
    alice.ask("Broadcast-message hi, bot", "200 OK", "Delivered to 1");
    stdin.write_all(b"two\n").expect("the program reads");
    drop(stdin);
    script.ends().expect(0, "");
    alice.expect_delivery("broadcast", "bot", "two");
}

#[test]
fn reset_exits_with_1() {
    let server = Server::start(&[]);
    let network = Network::to(server.address);
    let mut alice = server.log_in("alice");
    let mut script = Script::start(network.address, &["-n", "bot"]);
    let mut stdin = script.stdin();
    stdin.write_all(b"one\n").expect("the program reads");
    alice.expect_delivery("broadcast", "bot", "one");
    network.reset();
    let ended = script.ends();
    let problem = "chat-client: Connection reset by peer; messages with a response: ";
    assert!(ended.stderr.starts_with(problem), "{ended:?}");
    assert_eq!(ended.code, Some(1));

    let mut script = Script::start(network.address, &["-n", "logger", "--listen"]);
    server.expect_log("logged in as logger");
    alice.ask("Private-message logger hi", "200 OK", "Delivered to logger");
    let stdout = script.child.stdout.as_mut().expect("a pipe");
    stdout.read_exact(&mut [0]).expect("a message");
    network.reset();
    let ended = script.ends();
    assert_eq!(ended.stderr, "chat-client: Connection reset by peer\n");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn second_sigint_ends_a_listener_with_unread_output() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut script = Script::start(server.address, &["-n", "logger", "--listen"]);
    server.expect_log("logged in as logger");
    let line = "x".repeat(1_950);
    for _ in 0..100 {
        alice.ask(
            &format!("Broadcast-message {line}"),
            "200 OK",
            "Delivered to 1",
        );
    }
    // A pipe holds 64 KiB.
    wait_for("the full pipe", || {
        let stdout = script.child.stdout.as_ref().expect("a pipe");
        let unread = rustix::io::ioctl_fionread(stdout).expect("a pipe");
        unread > 60_000 && has_unread(server.address.port())
    });
    script.signal(Signal::INT);
    // The connection is closed, and the client is still blocked in its write.
    server.expect_log(" logger (127.0.0.1:");
    script.signal(Signal::INT);
    let signal = status_of(&mut script.child).signal();
    assert_eq!(signal, Some(Signal::INT.as_raw()));
}

#[test]
fn killed_script_leaves_its_name_free() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let (script, _stdin) = bot_after_one_line(&server, &mut alice);
    // With unread input, the end of the process is a reset.
    support::stop(script.child.id());
    alice.ask("Private-message bot unread", "200 OK", "Delivered to bot");
    wait_for("unread bytes at the script", || {
        has_unread(server.address.port())
    });
    script.signal(Signal::KILL);
    script.ends();
    server.expect_log_of("lost bot (", "session ended");
}

#[test]
fn full_disk_is_an_error_for_the_listener() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let listener = Command::new(env!("CARGO_BIN_EXE_chat-client"))
        .args(["-n", "logger", "--listen", &server.address.to_string()])
        .stdout(full.expect("Linux"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    server.expect_log("logged in as logger");
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    let script = Script { child: listener };
    script
        .ends()
        .expect(1, "chat-client: cannot write: No space left on device\n");
}

#[test]
fn bad_usage_exits_with_2() {
    let unused = "127.0.0.1:9".parse().expect("an address");
    for (arguments, problem) in [
        (vec!["--nope"], "Unrecognized option: 'nope'"),
        (vec!["--presence"], "--presence: expected --listen"),
        (
            vec!["--recent", "5"],
            "--recent: expected --listen, or a conversation at a terminal",
        ),
        (
            vec!["--listen", "--recent", "x"],
            "--recent \"x\": expected a number, at least 0 and at most 1000",
        ),
        (
            vec!["-n", "x"],
            "--name \"x\": expected 2 to 63 characters of A-Z a-z 0-9 _ -",
        ),
        (
            vec!["--listen", "-m", "hi"],
            "--listen: expected neither --to nor -m, because it sends nothing",
        ),
        (
            vec!["-m", " "],
            "--message \" \": expected a text that is not blank",
        ),
    ] {
        let problem = format!("chat-client: {problem} (chat-client --help lists the options)\n");
        Script::run(unused, &arguments, "").expect(2, &problem);
    }
    let directory = std::fs::File::open("/").expect("a directory");
    let server = Server::start(&[]);
    let output = Command::new(env!("CARGO_BIN_EXE_chat-client"))
        .args(["-n", "bot", &server.address.to_string()])
        .stdin(directory)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    let problem = "chat-client: cannot read the input: Is a directory\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), problem);
}

#[test]
fn help_lists_every_exit_code() {
    let help = Command::new(env!("CARGO_BIN_EXE_chat-client"))
        .arg("--help")
        .output();
    let help = help.expect("the program starts");
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    for code in ["    0  ", "    1  ", "    2  ", "    3  "] {
        assert!(help.contains(code), "{code:?} in {help}");
    }
    assert!(help.lines().all(|line| line.len() <= 80), "{help}");
}

#[test]
fn idle_listener_ends_with_the_reader_of_its_output() {
    let server = Server::start(&[]);
    let listen = format!(
        "{} -n once --listen {} | head -1",
        crate::pty::client(),
        server.address
    );
    let shell = Command::new("sh")
        .args(["-c", &listen])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    wait_for("its login", || server.log().contains("once"));
    let mut bob = server.log_in("bob");
    bob.ask(
        "Broadcast-message the one message",
        "200 OK",
        "Delivered to 1",
    );
    // The listener ends without another message.
    let printed = output_of(shell);
    assert!(printed.ends_with("\tbob\tthe one message\n"), "{printed:?}");
    server.log_in("once");
}

#[test]
fn message_without_recipients_is_reported_on_stderr() {
    let server = Server::start(&[]);
    for arguments in [&["-n", "bot", "-m", "hi"][..], &["-n", "bot"]] {
        let ended = Script::run(server.address, arguments, "hi\n");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(
            ended.stderr,
            "chat-client: delivered to no other user: \"hi\"\n"
        );
    }
    let mut bob = server.log_in("bob");
    let ended = Script::run(server.address, &["-n", "bot"], "hi\n");
    assert_eq!(ended.stderr, "");
    bob.expect_delivery("broadcast", "bot", "hi");
}

#[test]
fn byte_order_mark_is_removed_from_the_first_line() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let ended = Script::run(server.address, &["-n", "bot"], "\u{FEFF}one\n\u{FEFF}two\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    bob.expect_delivery("broadcast", "bot", "one");
    bob.expect_delivery("broadcast", "bot", "\u{FEFF}two");
}

#[test]
fn client_connects_with_a_port_alone() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    for typed in [
        format!(":{}", server.address.port()),
        server.address.port().to_string(),
    ] {
        let ended = Command::new(crate::pty::client())
            .args(["-n", "bot", "-m", "hi", &typed])
            .status();
        assert!(ended.expect("the program starts").success());
        bob.expect_delivery("broadcast", "bot", "hi");
    }
}
