//! Acting for a session by its token (section 4).

use crate::support::Server;
use std::collections::HashSet;
use std::io::Write;
use std::thread;

#[test]
fn tokens_differ() {
    let server = Server::start(&[]);
    let clients: Vec<_> = (0..50)
        .map(|n| server.log_in(&format!("user{n}")))
        .collect();
    let tokens: HashSet<&str> = clients.iter().map(|client| &*client.token).collect();
    assert_eq!(tokens.len(), 50);
    // Both halves differ too. With a counter or a clock, a half would be the same.
    for half in [0..16, 16..32] {
        let halves: HashSet<&str> = tokens.iter().map(|token| &token[half.clone()]).collect();
        assert_eq!(halves.len(), 50);
    }
}

#[test]
fn own_token_acts_like_an_empty_header() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let token = alice.token.clone();
    alice.send_as(&token, "Set-name alice2");
    alice.expect("200 OK", "You are alice2");
    alice.send_as("", "Ping");
    alice.expect("200 OK", "Pong");
}

#[test]
fn token_acts_for_its_session_from_any_connection() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let (token, mut script) = (alice.token.clone(), server.connect());
    // The response arrives on the connection of the request. The delivery arrives on the
    // connection of the session.
    script.send_as(&token, "Private-message bob hi");
    script.expect_with(&token, "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "hi");
    script.send_as(&token, "Private-message alice note");
    script.expect_with(&token, "200 OK", "Delivered to alice");
    alice.expect_delivery("private", "alice", "note");
    script.send_as(&token, "Broadcast-message all");
    script.expect_with(&token, "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "alice", "all");
    script.send_as(&token, "List-names");
    script.expect_with(&token, "200 OK", "2 online: alice bob");
    // An empty header acts for no session, because this connection has none.
    script.ask("List-names", "401 Unauthorized", "Set a name first");
    // A connection with a session can act for another session too.
    bob.send_as(&token, "Broadcast-message through bob");
    bob.expect("200 OK", "Incoming-message broadcast alice through bob");
    bob.expect_with(&token, "200 OK", "Delivered to 1");
    bob.send_as(&token, "Nonsense");
    bob.expect_with(
        &token,
        "501 Not Implemented",
        "Nonsense is not a command; try Help",
    );
    bob.barrier();
    alice.barrier();
}

#[test]
fn unknown_token_gets_401_and_executes_nothing() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let upper = alice.token.to_uppercase();
    let zeros = "0".repeat(32);
    for header in [
        "x",
        " ",
        &zeros,
        &upper,
        &bob.token[1..],
        &format!("{} ", bob.token),
    ] {
        for body in ["Broadcast-message never", "Quit", "Set-name other"] {
            alice.send_as(header, body);
            alice.expect_with("", "401 Unauthorized", "Unknown token");
        }
    }
    alice.barrier();
    bob.barrier();
    alice.ask("List-names", "200 OK", "2 online: alice bob");
}

#[test]
fn token_ends_with_its_session() {
    let server = Server::start(&[]);
    let (mut alice, bob) = (server.log_in("alice"), server.log_in("bob"));
    let token = bob.token.clone();
    alice.send_as(&token, "Ping");
    alice.expect_with(&token, "200 OK", "Pong");
    let mut bob = bob;
    bob.ask("Quit", "200 OK", "Goodbye");
    bob.expect_end();
    alice.send_as(&token, "Ping");
    alice.expect_with("", "401 Unauthorized", "Unknown token");
}

#[test]
fn connection_with_a_session_cannot_resume_another() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let token = bob.token.clone();
    alice.send_as(&token, "Set-name bob");
    alice.expect("403 Forbidden", "This connection is alice");
    alice.send_as(&token, "Set-name x");
    alice.expect_with(
        &token,
        "400 Bad Request",
        "A name is 2 to 63 of A-Z a-z 0-9 _ -",
    );
    alice.barrier();
    bob.barrier();
}

#[test]
fn quit_with_another_token_ends_both_connections() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let token = bob.token.clone();
    alice.ask(
        "Private-message bob last words",
        "200 OK",
        "Delivered to bob",
    );
    alice.send_as(&token, "Quit");
    alice.expect_with(&token, "200 OK", "Goodbye");
    alice.expect_end();
    // The server writes the messages in bob's queue, and nothing after them.
    bob.expect_delivery("private", "alice", "last words");
    bob.expect_end();
    server.log_in("alice");
    server.log_in("bob");
}

#[test]
fn quit_with_another_token_flushes_the_ended_session() {
    let server = Server::start(&["--queue", "16384"]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let text = "x".repeat(2_000);
    let mut queued = 0;
    loop {
        alice.send(&format!("Private-message bob {queued} {text}"));
        if alice.next().status != "200 OK" {
            break;
        }
        queued += 1;
    }
    let token = bob.token.clone();
    alice.send_as(&token, "Quit");
    alice.expect_with(&token, "200 OK", "Goodbye");
    for n in 0..queued {
        bob.expect_delivery("private", "alice", &format!("{n} {text}"));
    }
    bob.expect("502 Bad Gateway", "Missed 1 messages: you read too slowly");
    bob.expect_end();
}

#[test]
fn quit_with_another_token_ends_a_nameless_connection_too() {
    let server = Server::start(&[]);
    let (mut bob, mut nameless) = (server.log_in("bob"), server.connect());
    let token = bob.token.clone();
    nameless.send_as(&token, "Quit");
    nameless.expect_with(&token, "200 OK", "Goodbye");
    nameless.expect_end();
    bob.expect_end();
}

#[test]
fn own_token_quits_like_an_empty_header() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let token = bob.token.clone();
    bob.send_as(&token, "Quit");
    bob.expect("200 OK", "Goodbye");
    bob.expect_end();
}

#[test]
fn session_ended_elsewhere_gets_only_200_responses() {
    let server = Server::start(&["--queue", "4194304"]);
    for _ in 0..50 {
        let (mut bob, mut nameless) = (server.log_in("bob"), server.connect());
        let token = bob.token.clone();
        let mut writer = bob.stream().try_clone().expect("a second handle");
        thread::scope(|scope| {
            scope.spawn(move || {
                // The write fails after the connection is closed.
                for _ in 0..200 {
                    if writer.write_all(&b"\n\nList-names\n".repeat(20)).is_err() {
                        break;
                    }
                }
            });
            scope.spawn(|| nameless.send_as(&token, "Quit"));
            for status in bob
                .rest_or_reset()
                .split("\r\n")
                .step_by(3)
                .filter(|line| !line.is_empty())
            {
                assert_eq!(status, "200 OK");
            }
        });
        nameless.expect_with(&token, "200 OK", "Goodbye");
        nameless.expect_end();
    }
}
