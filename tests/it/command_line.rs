//! The command line: options, errors, stdout and stderr.

use crate::support::{Client, Server, signal, status_of};
use rustix::process::Signal;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// Runs the server until it ends by itself. Returns exit code, stdout and stderr.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_chat-server"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn bad_option_prints_one_line_and_exits_with_2() {
    for arguments in [
        &["--queue", "1"][..],
        &["--nope"],
        &["1313"],
        &["-l", "nowhere"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("chat-server: "), "{stderr}");
        assert!(stderr.contains("chat-server --help"), "{stderr}");
    }
}

#[cfg(not(feature = "redis"))]
#[test]
fn redis_option_without_its_feature_is_one_line() {
    let (code, stdout, stderr) = run(&["--redis", "redis://127.0.0.1/"]);
    assert_eq!((code, &*stdout), (Some(2), ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("feature"), "{stderr}");
}

#[test]
fn port_in_use_prints_one_line_and_exits_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, stdout, stderr) = run(&["-l", &address]);
    assert_eq!((code, &*stdout), (Some(1), ""));
    let expected = format!(
        "chat-server: cannot listen on {address}: the port is in use; \
         choose another, as in: -l 127.0.0.1:1314 \
         (with make: make run ARGS='-l 127.0.0.1:1314'; any free port: -l 127.0.0.1:0)\n"
    );
    assert_eq!(stderr, expected);
}

#[test]
fn foreign_address_prints_one_line_and_exits_with_1() {
    // The address is reserved for documentation (RFC 5737), so no machine has it.
    let (code, stdout, stderr) = run(&["-l", "192.0.2.1:1313"]);
    assert_eq!((code, &*stdout, stderr.lines().count()), (Some(1), "", 1));
    assert!(
        stderr.starts_with("chat-server: cannot listen on 192.0.2.1:1313: "),
        "{stderr}"
    );
}

#[test]
fn help_and_version_go_to_stdout() {
    let (code, help, stderr) = run(&["-h"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(help.contains("Usage: chat-server [OPTION ...]") && help.contains("--max-clients N"));
    assert!(
        help.lines().all(|line| line.len() <= 80),
        "a line is longer than 80 characters:\n{help}"
    );
    let version = format!("chat-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), (Some(0), version, String::new()));
}

#[test]
fn server_listens_on_every_address_and_prints_it() {
    let mut server = Server::start(&["-l", "127.0.0.1:0", "-l", "localhost:0"]);
    let mut clients = vec![server.log_in("user0")];
    for n in 1..3 {
        let mut client = Client::connect(server.next_address());
        client.set_name(&format!("user{n}"));
        clients.push(client);
    }
    clients[2].ask("Broadcast-message hi", "200 OK", "Delivered to 2");
    clients[0].expect_delivery("broadcast", "user2", "hi");
    clients[1].expect_delivery("broadcast", "user2", "hi");
}

#[test]
fn closed_stdout_does_not_fail_the_server() {
    let closed = || {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
    let output = command
        .arg("--help")
        .stdout(closed())
        .output()
        .expect("the program starts");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));

    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
    command
        .args(["-v", "-l", "127.0.0.1:0"])
        .stdout(closed())
        .stderr(Stdio::piped());
    let mut server = command.spawn().expect("the program starts");
    let mut log = BufReader::new(server.stderr.take().expect("a pipe"));
    let mut line = String::new();
    log.read_line(&mut line).expect("a log line");
    assert!(line.contains("room for"), "{line}");
    signal(server.id(), Signal::TERM);
    assert_eq!(status_of(&mut server).code(), Some(0));
}

#[test]
fn largest_option_values_work() {
    let most = "2147453";
    let options = [
        "-v",
        "--write-timeout",
        most,
        "--login-timeout",
        most,
        "--linger",
        most,
        "--grace",
        most,
        "--rate",
        "1000000",
        "--burst",
        "1000000",
        "--queue",
        "1073741824",
        "--max-clients",
        "2000000",
        "--max-per-address",
        "2000000",
    ];
    let mut server = Server::start_with(&options, |_| {});
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    alice.use_token();
    let token = alice.token.clone();
    alice.reset();
    server.expect_log("lingers");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    let mut alice = server.connect();
    alice.send_as(&token, "Set-name alice");
    alice.expect_with(&token, "304 Not Modified", "You are already alice");
    alice.expect_with(&token, "200 OK", "Incoming-message private bob hi");
    // The kernel has accepted all timeouts too.
    assert_eq!(
        server.count_log("setting socket options failed"),
        0,
        "{}",
        server.log()
    );
    server.signal(Signal::TERM);
    drop((alice, bob));
    assert_eq!(server.expect_exit().code(), Some(0));
}

#[test]
fn help_says_where_addresses_and_logs_go() {
    let (_, help, _) = run(&["--help"]);
    assert!(
        help.contains("'listening on ADDR:PORT' go to stdout"),
        "{help}"
    );
    assert!(help.contains("Logs go to stderr."), "{help}");
}
