//! Real netcat, telnet and curl as clients.

use crate::support::{DEADLINE, Program, Server, has_tool, has_unread, output_of, wait_for};
use rustix::process::Signal;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A program that talks to the server, used as at a terminal.
struct Tool {
    program: Program,
    /// The output after the last expected text.
    seen: Vec<u8>,
}

impl Tool {
    #[track_caller]
    fn start(command: &mut Command) -> Tool {
        Tool {
            program: Program::start(command.stderr(Stdio::null())),
            seen: Vec::new(),
        }
    }

    #[track_caller]
    fn nc(server: &Server) -> Tool {
        let port = server.address.port().to_string();
        Tool::start(Command::new("nc").args(["127.0.0.1", &port]))
    }

    /// Starts telnet in a pseudo-terminal of script(1), so that Ctrl-C works.
    #[track_caller]
    fn telnet(server: &Server) -> Tool {
        let telnet = format!("telnet 127.0.0.1 {}", server.address.port());
        Tool::start(Command::new("script").args(["-q", "-f", "-c", &telnet, "/dev/null"]))
    }

    #[track_caller]
    fn types(&mut self, keys: &str) {
        self.program.types(keys.as_bytes());
    }

    /// Waits for this text after the last expected one. Returns the output before it.
    #[track_caller]
    fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut parts = self.seen.windows(text.len());
            let begin = parts.position(|part| part == text.as_bytes());
            if let Some(begin) = begin {
                let rest = self.seen.split_off(begin + text.len());
                let before = std::mem::replace(&mut self.seen, rest);
                return String::from_utf8_lossy(&before[..begin]).into_owned();
            }
            match self.program.next_output(deadline) {
                Ok(more) => self.seen.extend(more),
                Err(e) => {
                    let seen = String::from_utf8_lossy(&self.seen);
                    panic!("{e}; expected {text:?} in {seen:?}")
                }
            }
        }
    }
}

#[test]
fn two_netcats_and_a_telnet_hold_a_conversation() {
    if !["nc", "telnet", "script"].into_iter().all(has_tool) {
        return;
    }
    let server = Server::start(&[]);
    let (mut alice, mut bob, mut carol) =
        (Tool::nc(&server), Tool::nc(&server), Tool::telnet(&server));
    carol.shows("Escape character is '^]'.");
    alice.types("\n\nSet-name alice\n");
    alice.shows("You are alice\r\n");
    bob.types("\n\nSet-name боб\n");
    bob.shows("A name is 2 to 63 of A-Z a-z 0-9 _ -");
    bob.types("\n\nSet-name bob\n");
    bob.shows("You are bob\r\n");
    carol.types("\n\nSet-name carol\n");
    carol.shows("You are carol");

    alice.types("\n\nBroadcast-message приве́т всем 🙂\n");
    alice.shows("Delivered to 2\r\n");
    bob.shows("Incoming-message broadcast alice приве́т всем 🙂\r\n");
    carol.shows("Incoming-message broadcast alice приве́т всем 🙂");
    carol.types("\n\nPrivate-message bob только тебе\n");
    carol.shows("Delivered to bob");
    bob.shows("Incoming-message private carol только тебе\r\n");

    // The conversation goes on after Ctrl-C in telnet.
    carol.types("\x03");
    server.expect_log("logged in as carol");
    carol.types("\n\nBroadcast-message still here\n");
    carol.shows("Delivered to 2");
    alice.shows("Incoming-message broadcast carol still here\r\n");
    bob.types("\n\nPrivate-message carol I see you\n");
    carol.shows("Incoming-message private bob I see you");
    carol.types("\n\nQuit\n");
    carol.shows("Goodbye");
    carol.shows("Connection closed by foreign host.");
}

#[test]
fn telnet_synch_removes_nothing_from_a_request() {
    if !["telnet", "script"].into_iter().all(has_tool) {
        return;
    }
    let server = Server::start(&[]);
    let mut carol = Tool::telnet(&server);
    carol.shows("Escape character is '^]'.");
    carol.types("\n\nSet-name carol\n");
    carol.shows("You are carol");
    for n in 0..3 {
        carol.types("\n\n\x1D");
        carol.shows("telnet> ");
        carol.types("send synch\n");
        carol.types(&format!("Ping hello {n}\n"));
        assert!(!carol.shows(&format!("Pong hello {n}")).contains("400 Bad"));
    }
}

#[test]
fn killed_netcat_session_resumes_in_another_netcat() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut dora = Tool::nc(&server);
    dora.types("\n\nSet-name dora\n");
    dora.shows("200 OK\r\n");
    let token = dora
        .shows("You are dora\r\n")
        .lines()
        .next()
        .expect("a token")
        .to_owned();
    dora.types(&format!("\n{token}\nPing\n"));
    dora.shows("Pong\r\n");

    dora.program.signal(Signal::STOP);
    alice.ask(
        "Private-message dora are you there?",
        "200 OK",
        "Delivered to dora",
    );
    wait_for("unread bytes at the client", || {
        has_unread(server.address.port())
    });
    dora.program.signal(Signal::KILL);
    server.expect_log_of("lost dora (", "session lingers");
    alice.ask(
        "Private-message dora and now?",
        "200 OK",
        "Delivered to dora",
    );

    let mut dora = Tool::nc(&server);
    dora.types(&format!("\n{token}\nSet-name dora\n"));
    dora.shows("304 Not Modified\r\n");
    dora.shows("Incoming-message private alice and now?\r\n");
}

#[test]
fn netcat_prints_both_responses_of_a_script() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start(&[]);
    let command = format!(
        r"printf '\n\nSet-name bot\n\n\nBroadcast-message hi\n' | nc -N 127.0.0.1 {}",
        server.address.port()
    );
    let shell = Command::new("sh")
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .spawn();
    let output = output_of(shell.expect("a shell"));
    let lines: Vec<&str> = output.split("\r\n").collect();
    let token = lines[1];
    assert_eq!(
        lines,
        [
            "200 OK",
            token,
            "You are bot",
            "200 OK",
            token,
            "Delivered to 0",
            ""
        ]
    );
}

#[test]
fn curl_shows_the_418() {
    if !has_tool("curl") {
        return;
    }
    let server = Server::start(&[]);
    let url = format!("http://{}/", server.address);
    let curl = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--http0.9",
            "--noproxy",
            "*",
            &url,
        ])
        .stdout(Stdio::piped())
        .spawn();
    let output = output_of(curl.expect("the program starts"));
    assert_eq!(
        output,
        "418 I'm a tea pocket\r\n\r\nThis is a chat server, not a web server\r\n"
    );
}
