//! The log: its lines, its redaction, and a stderr that blocks or fails.

use crate::support::{Client, Server, wait_for};
use parking_lot::Mutex;
use rustix::process::Signal;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::thread;

#[test]
fn connects_logins_renames_and_disconnects_are_logged() {
    let server = Server::start(&[]);
    let mut alice = server.connect();
    let port = alice.stream().local_addr().expect("an address").port();
    alice.set_name("alice");
    alice.ask("Set-name Alice2", "200 OK", "You are Alice2");
    alice.ask("Quit", "200 OK", "Goodbye");
    alice.expect_end();
    drop(alice);
    let mut curl = server.connect();
    curl.send_raw("GET / HTTP/1.1\r\n");
    curl.expect(
        "418 I'm a tea pocket",
        "This is a chat server, not a web server",
    );
    drop(curl);
    server.connect().close_input();
    for line in [
        &format!("INFO  reader-1: connected from 127.0.0.1:{port}"),
        "INFO  reader-1: logged in as alice",
        "INFO  reader-1: renamed alice to Alice2",
        &format!(
            "INFO  reader-1: disconnected Alice2 (127.0.0.1:{port}): last response 200 OK, Goodbye"
        ),
    ] {
        server.expect_log(line);
    }
    server.expect_log_of(
        "INFO  reader-2: disconnected 127.0.0.1:",
        ": last response 418 I'm a tea pocket, This is a chat server",
    );
    server.expect_log_of("INFO  reader-3: disconnected 127.0.0.1:", ": end of input");
    assert!(!server.log().contains("TRACE") && !server.log().contains("DEBUG"));
}

#[test]
fn session_ended_elsewhere_is_logged_with_its_name() {
    let server = Server::start(&[]);
    let (mut alice, mut script) = (server.log_in("alice"), server.connect());
    alice.ask("Set-name Alice2", "200 OK", "You are Alice2");
    script.send_as(&alice.token, "Quit");
    script.expect_with(&alice.token, "200 OK", "Goodbye");
    alice.expect_end();
    drop((alice, script));
    server.expect_log("INFO  reader-2: ended session of Alice2");
    server.expect_log_of(
        "INFO  reader-1: disconnected Alice2 (127.0.0.1:",
        "): session ended from another connection",
    );
    server.expect_log_of(
        "INFO  reader-2: disconnected 127.0.0.1:",
        ": last response 200 OK, Goodbye",
    );
}

#[test]
fn trace_log_is_escaped_and_has_no_tokens() {
    let server = Server::start(&["-vv"]);
    let mut alice = server.log_in("alice");
    let token = alice.token.clone();
    alice.send_as(&token, &format!("Ping {token} приве́т"));
    alice.expect("200 OK", &format!("Pong {token} приве́т"));
    // The token is also redacted in the wrong line.
    alice.send_raw(format!("{token}\r\n"));
    alice.expect(
        "400 Bad Request",
        "A request is an empty line, a token line and a request line",
    );
    alice.ask(
        &token,
        "501 Not Implemented",
        &format!("{token} is not a command; try Help"),
    );
    alice.ask(
        "Ping \u{1B}]0;gotcha\u{7}",
        "400 Bad Request",
        "Forbidden character U+001B",
    );
    alice.send_raw(b"\n\nPing \xC3\n");
    alice.expect("400 Bad Request", "Not UTF-8");
    for line in [
        "TRACE reader-1: > Set-name alice",
        "<1 You are alice",
        "<1 [token]",
        "TRACE reader-1: > Ping [token] приве́т",
        "<1 [token] is not a command; try Help",
        r"TRACE reader-1: > Ping \u{1b}]0;gotcha\u{7}",
        r"TRACE reader-1: > Ping \xc3",
        "DEBUG reader-1: responded 501 Not Implemented",
    ] {
        server.expect_log(line);
    }
    let log = server.log();
    assert!(!log.contains(&token), "a token in the log");
    assert!(
        !log.contains(['\u{1B}', '\u{7}']),
        "a control character in the log"
    );
}

#[test]
fn rust_log_overrides_the_options() {
    let server = Server::start_with(&["-vv"], |command| {
        command.env("RUST_LOG", "chat=error");
    });
    server.log_in("alice").barrier();
    assert_eq!(server.log(), "");
}

#[test]
fn only_addresses_go_to_stdout() {
    let mut server = Server::start(&["-vv"]);
    server.log_in("alice").barrier();
    server.signal(Signal::TERM);
    server.expect_exit();
    assert_eq!(server.rest_of_stdout(), "");
}

/// Starts a server that logs each request line into a pipe. Returns the reading end too.
fn logging_into_a_pipe() -> (Server, PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let server = Server::start_with(&["--rate", "0"], |command| {
        command
            .env("RUST_LOG", "chat::server::connection=trace")
            .stderr(writer);
    });
    (server, reader)
}

/// Requests that fill the pipe (64 KiB) and a part of the log queue (1,024 lines). Each
/// request makes four log lines, one of them long.
const SOME: usize = 150;
/// Requests that fill the pipe and the whole log queue.
const MANY: usize = 2_000;

#[track_caller]
fn ask(client: &mut Client, requests: usize) {
    let long = "x".repeat(500);
    for _ in 0..requests {
        client.ask(&format!("Ping {long}"), "200 OK", &format!("Pong {long}"));
    }
}

#[test]
fn unread_stderr_blocks_neither_clients_nor_shutdown() {
    for requests in [SOME, MANY] {
        let (mut server, _stopped) = logging_into_a_pipe();
        ask(&mut server.connect(), requests);
        server.log_in("alice").barrier();
        server.signal(Signal::TERM);
        assert_eq!(server.expect_exit().code(), Some(0));
    }
}

#[test]
fn log_lines_that_stderr_did_not_accept_are_counted() {
    let (mut server, stopped) = logging_into_a_pipe();
    let mut client = server.connect();
    ask(&mut client, MANY);
    client.close_input();
    client.expect_end();
    let log = Mutex::new(Vec::new());
    let mut clients = 1;
    thread::scope(|scope| {
        scope.spawn(|| {
            for line in BufReader::new(stopped).lines() {
                log.lock().push(line.expect("UTF-8"));
            }
        });
        // The count precedes the next line that fits into the queue.
        wait_for("the count", || {
            let mut client = server.connect();
            clients += 1;
            client.close_input();
            // Otherwise the shutdown may begin before this client is accepted.
            client.expect_end();
            log.lock().iter().any(|line| missing(line) > 0)
        });
        server.signal(Signal::TERM);
        server.expect_exit();
    });
    let log = log.into_inner();
    let (gaps, lines): (Vec<&String>, Vec<&String>) =
        log.iter().partition(|line| missing(line) > 0);
    let missing: usize = gaps.into_iter().map(|line| missing(line)).sum();
    // Each request makes four lines. Each client makes two more: connected, disconnected.
    assert_eq!(lines.len() + missing, 4 * MANY + 2 * clients);
    assert!(missing > 1_000, "{missing}");
}

/// Returns the number of missing lines that this log line reports.
fn missing(line: &str) -> usize {
    let count = line
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(" lines are missing here)"));
    count.map_or(0, |count| count.parse().expect("a count"))
}

#[test]
fn closed_stderr_does_not_end_the_server() {
    let (mut server, closed) = logging_into_a_pipe();
    drop(closed);
    let mut client = server.connect();
    ask(&mut client, MANY);
    client.set_name("alice");
    server.signal(Signal::TERM);
    client.expect("502 Bad Gateway", "The server is shutting down");
    assert_eq!(server.expect_exit().code(), Some(0));
}
