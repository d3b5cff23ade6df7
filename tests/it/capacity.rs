//! The number of clients that the limits of the system allow.

use crate::support::{Server, has_tool, wait_for};
use std::process::Command;

/// Returns the arguments of prlimit(1) for a server with this many descriptors and listeners.
fn arguments(descriptors: u32, listeners: usize) -> Vec<String> {
    let limit = format!("--nofile={descriptors}");
    let mut arguments = vec![limit, env!("CARGO_BIN_EXE_chat-server").to_owned()];
    for _ in 0..listeners {
        arguments.extend(["-l", "127.0.0.1:0"].map(str::to_owned));
    }
    arguments
}

#[test]
fn limit_without_room_for_a_client_fails_with_one_line() {
    if !has_tool("prlimit") {
        return;
    }
    for (descriptors, listeners, least) in [(30, 1, 33), (32, 1, 33), (40, 5, 41)] {
        let output = Command::new("prlimit")
            .args(arguments(descriptors, listeners))
            .output()
            .expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            format!(
                "chat-server: {descriptors} descriptors: expected at least {least}; \
                 raise the limit, as in: ulimit -n 1024\n"
            )
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn start_with_too_few_descriptors_fails_with_one_line() {
    if !has_tool("prlimit") {
        return;
    }
    for descriptors in 3..30 {
        let output = Command::new("prlimit")
            .args(arguments(descriptors, 20))
            .output()
            .expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{descriptors}: {stderr}");
        // With fewer than about 8 descriptors, the loader cannot open a library. It exits with
        // 127.
        if output.status.code() != Some(127) {
            assert_eq!(output.status.code(), Some(1), "{descriptors}: {stderr}");
            assert!(
                stderr.starts_with("chat-server: "),
                "{descriptors}: {stderr}"
            );
        }
    }
}

#[test]
fn many_listeners_leave_descriptors_for_all_clients() {
    if !has_tool("prlimit") {
        return;
    }
    let (descriptors, listeners) = (128, 30);
    let options: Vec<String> = arguments(descriptors, listeners - 1).split_off(2);
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--rate", "0"]);
    let program = env!("CARGO_BIN_EXE_chat-server");
    let limit = format!("--nofile={descriptors}");
    let mut server = Server::start_limited(&limit, program, &options, |_| {});
    let room = 128 - 32 - 2 * 29;
    server.expect_log(&format!("room for {room} clients: "));
    let others: Vec<_> = (1..listeners).map(|_| server.next_address()).collect();
    let mut clients: Vec<_> = (0..room)
        .map(|n| server.log_in(&format!("user{n}")))
        .collect();
    // Each listener still has a descriptor for a refusal when all clients are connected.
    let mut refused: Vec<_> = others
        .into_iter()
        .map(crate::support::Client::connect)
        .collect();
    for client in &mut refused {
        client.expect("403 Forbidden", "The server is full");
    }
    assert_eq!(server.count_log("accept failed"), 0, "{}", server.log());
    drop(refused);
    clients.pop();
    wait_for("room for a client", || {
        let mut client = server.connect();
        client.send("Ping");
        client.next().data == "Pong"
    });
}
