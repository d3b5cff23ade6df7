//! Lost connections, lingering sessions, resuming and taking over (section 4).

use crate::support::{
    Client, Filled, Message, Server, is_spread_without, missed_by, number_of, wait_for,
};
use rustix::process::Signal;
use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TAKEN_OVER: &str = "This session was resumed from another connection";

/// Logs in a client and uses its token, so that its session lingers after a loss.
#[track_caller]
fn log_in_with_used_token(server: &Server, name: &str) -> Client {
    let mut client = server.log_in(name);
    client.use_token();
    client
}

/// Resets a client's connection and waits until its session lingers. Returns the token.
#[track_caller]
fn reset_and_wait(server: &Server, client: Client, name: &str) -> String {
    let token = client.token.clone();
    client.reset();
    server.expect_log_of(&format!("lost {name} ("), "session lingers");
    token
}

/// Sends the request that resumes a session, and makes its token the client's own.
fn send_resume(client: &mut Client, token: &str, name: &str) {
    client.token = token.to_owned();
    client.send_as(token, &format!("Set-name {name}"));
}

/// Connects and resumes a session under its present name.
#[track_caller]
fn resume(server: &Server, token: &str, name: &str) -> Client {
    let mut client = server.connect_as(token);
    send_resume(&mut client, token, name);
    client.expect("304 Not Modified", &format!("You are already {name}"));
    client
}

#[test]
fn lingering_session_keeps_name_and_messages() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let token = reset_and_wait(&server, log_in_with_used_token(&server, "alice"), "alice");
    server
        .connect()
        .ask("Set-name ALICE", "403 Forbidden", "ALICE is taken");
    bob.ask("List-names", "200 OK", "2 online: alice bob");
    for n in 0..100 {
        bob.ask(
            &format!("Private-message alice {n}"),
            "200 OK",
            "Delivered to alice",
        );
    }
    bob.ask("Broadcast-message all", "200 OK", "Delivered to 1");
    let mut alice = resume(&server, &token, "alice");
    for n in 0..100 {
        alice.expect_delivery("private", "bob", &n.to_string());
    }
    alice.expect_delivery("broadcast", "bob", "all");
    alice.barrier();
    alice.ask("Broadcast-message back", "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "alice", "back");
    server.expect_log("resumed session of alice");
}

#[test]
fn lost_session_ends_if_its_token_was_never_used() {
    let server = Server::start(&[]);
    let client = server.log_in("alice");
    let token = client.token.clone();
    client.reset();
    server.expect_log_of("lost alice (", "session ended");
    let mut next = server.connect();
    next.send_as(&token, "Set-name alice");
    next.expect_with("", "401 Unauthorized", "Unknown token");
    next.set_name("alice");
}

#[test]
fn token_use_by_another_connection_lets_session_linger() {
    let server = Server::start(&[]);
    let (alice, mut script) = (server.log_in("alice"), server.connect());
    // A request with a token uses it, even if the response is 400.
    script.send_as(&alice.token, "");
    script.expect_with(&alice.token, "400 Bad Request", "Empty request");
    // The server of alice has heard of it when it delivers this.
    let mut bob = server.log_in("bob");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    let token = reset_and_wait(&server, alice, "alice");
    resume(&server, &token, "alice");
}

#[test]
fn quit_close_and_http_end_a_session_with_used_token() {
    let server = Server::start(&[]);
    let mut quits = log_in_with_used_token(&server, "quits");
    quits.ask("Quit", "200 OK", "Goodbye");
    quits.expect_end();
    let mut closes = log_in_with_used_token(&server, "closes");
    closes.close_input();
    closes.expect_end();
    let mut http = log_in_with_used_token(&server, "http");
    http.send_raw("GET / HTTP/1.1\r\n");
    http.expect(
        "418 I'm a tea pocket",
        "This is a chat server, not a web server",
    );
    http.expect_end();
    for name in ["quits", "closes", "http"] {
        server.log_in(name);
    }
    assert!(!server.log().contains("lingers"));
}

#[test]
fn twenty_bad_requests_end_a_session_with_used_token() {
    let server = Server::start(&[]);
    let mut client = log_in_with_used_token(&server, "alice");
    client.send_raw("x\n".repeat(20));
    for _ in 0..20 {
        assert_eq!(client.next().status, "400 Bad Request");
    }
    client.expect_end();
    server.log_in("alice");
}

#[test]
fn token_acts_for_a_lingering_session() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let token = reset_and_wait(&server, log_in_with_used_token(&server, "alice"), "alice");
    let mut script = server.connect();
    script.send_as(&token, "Private-message bob hi");
    script.expect_with(&token, "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "hi");
    script.send_as(&token, "Private-message alice note");
    script.expect_with(&token, "200 OK", "Delivered to alice");
    resume(&server, &token, "alice").expect_delivery("private", "alice", "note");
}

#[test]
fn evicted_client_does_not_delay_shutdown() {
    let shutdown = || {
        let mut server = Server::start(&[]);
        let mut old = server.log_in("alice");
        let _new = resume(&server, &old.token, "alice");
        // The client keeps its side open.
        while old.next_or_end().is_some() {}
        let begun = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.expect_exit().code(), Some(0));
        begun.elapsed()
    };
    // The fastest of five runs, because a busy machine may be slow.
    let fastest = (0..5).map(|_| shutdown()).min().expect("a run");
    assert!(fastest < Duration::from_millis(900), "{fastest:?}");
}

#[test]
fn session_can_be_resumed_on_a_full_server() {
    if is_spread_without("--max-clients is of one server") {
        return;
    }
    let server = Server::start(&["--max-clients", "2"]);
    let (mut bob, alice) = (
        server.log_in("bob"),
        log_in_with_used_token(&server, "alice"),
    );
    let token = reset_and_wait(&server, alice, "alice");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    resume(&server, &token, "alice").expect_delivery("private", "bob", "hi");
}

#[test]
fn client_that_closes_during_deliveries_is_not_lost() {
    let server = Server::start(&["--queue", "4194304"]);
    let mut bob = server.log_in("bob");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                bob.send("Broadcast-message hi");
                bob.next();
            }
        });
        for n in 0..100 {
            let name = format!("user{n}");
            let mut client = log_in_amid_deliveries(&server, &name);
            // The client has read everything, so its close sends no reset. The server's next
            // write is answered with a reset.
            client.read_available();
            drop(client);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let count = |what| server.log().matches(what).count();
    wait_for("the end of all connections", || {
        count("disconnected user") + count("lost user") == 100
    });
    // A client with unread input at its close is reset by its own kernel.
    let lost = count("lost user");
    assert!(lost < 50, "{lost} of 100");
}

/// Does the same as [`log_in_with_used_token`], but skips deliveries before the response.
#[track_caller]
fn log_in_amid_deliveries(server: &Server, name: &str) -> Client {
    let mut client = server.log_in(name);
    let token = client.token.clone();
    client.send_as(&token, "Ping used");
    while client.next().data != "Pong used" {}
    client
}

#[test]
fn session_lingers_for_the_linger_time() {
    let server = Server::start(&["--linger", "1"]);
    let lingered = |name: &str| {
        let token = reset_and_wait(&server, log_in_with_used_token(&server, name), name);
        let since = Instant::now();
        let mut next = server.connect();
        wait_for("the free name", || {
            next.send(&format!("Set-name {name}"));
            let message = next.next();
            next.token = message.header;
            message.status == "200 OK"
        });
        let lingered = since.elapsed();
        next.send_as(&token, "Ping");
        next.expect_with("", "401 Unauthorized", "Unknown token");
        server.expect_log(&format!("expired lingering session of {name}"));
        lingered
    };
    // The server has seen the loss a little earlier than the test. A busy machine may be late,
    // but not every time.
    let times = ["alice", "bob", "carol"].map(lingered);
    assert!(
        times.iter().all(|time| *time > Duration::from_millis(900)),
        "{times:?}"
    );
    assert!(
        times.iter().any(|time| *time < Duration::from_secs(2)),
        "{times:?}"
    );
}

#[test]
fn lingering_sessions_expire_one_after_the_other() {
    let server = Server::start(&["--linger", "1"]);
    for name in ["one", "two", "three"] {
        reset_and_wait(&server, log_in_with_used_token(&server, name), name);
    }
    for name in ["one", "two", "three"] {
        server.expect_log(&format!("expired lingering session of {name}"));
    }
    server
        .log_in("x1")
        .ask("List-names", "200 OK", "1 online: x1");
}

#[test]
fn linger_zero_ends_lost_sessions_at_once() {
    let server = Server::start(&["--linger", "0"]);
    log_in_with_used_token(&server, "alice").reset();
    server.expect_log_of("lost alice (", "session ended");
    server.log_in("alice");
}

#[test]
fn resuming_with_another_name_renames_or_changes_nothing() {
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let token = reset_and_wait(&server, log_in_with_used_token(&server, "alice"), "alice");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    let mut client = server.connect_as(&token);
    client.send_as(&token, "Set-name BOB");
    client.expect_with(&token, "403 Forbidden", "BOB is taken");
    // The connection has no session yet, and the lingering session is unchanged.
    client.ask("List-names", "401 Unauthorized", "Set a name first");
    bob.ask("List-names", "200 OK", "2 online: alice bob");
    send_resume(&mut client, &token, "Alice2");
    client.expect("200 OK", "You are Alice2");
    client.expect_delivery("private", "bob", "hi");
    bob.ask("List-names", "200 OK", "2 online: Alice2 bob");
    server.log_in("alice");
}

#[test]
fn renamed_session_resumes_under_its_new_name() {
    let server = Server::start(&[]);
    let token = reset_and_wait(&server, log_in_with_used_token(&server, "alice"), "alice");
    let mut script = server.connect();
    let mut alice = resume(&server, &token, "alice");
    alice.ask("Set-name carol", "200 OK", "You are carol");
    script.send_as(&token, "List-names");
    script.expect_with(&token, "200 OK", "1 online: carol");
    let token = reset_and_wait(&server, alice, "carol");
    resume(&server, &token, "carol").barrier();
    server.log_in("alice");
}

/// Expects the end of a connection whose session was taken over. Returns whether it got the
/// notice, which is best effort: it is left out while the writer thread is writing.
#[track_caller]
fn expect_taken_over(old: &mut Client) -> bool {
    let has_notice = match old.next_or_end() {
        Some(message) => {
            assert_eq!(
                (&*message.status, &*message.data),
                ("403 Forbidden", TAKEN_OVER)
            );
            assert_eq!(message.header, old.token);
            true
        }
        None => false,
    };
    old.expect_end();
    has_notice
}

#[test]
fn takeover_notifies_and_closes_the_old_connection() {
    let server = Server::start(&[]);
    let (mut old, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let mut new = resume(&server, &old.token, "alice");
    let mut has_notice = expect_taken_over(&mut old);
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    new.expect_delivery("private", "bob", "hi");
    drop(old);
    server.expect_log_of(
        "disconnected alice (",
        ": session resumed from another connection",
    );
    // The end of the old connection has not ended the session.
    new.barrier();
    bob.ask("List-names", "200 OK", "2 online: alice bob");
    for _ in 0..20 {
        let newer = resume(&server, &new.token, "alice");
        has_notice |= expect_taken_over(&mut new);
        new = newer;
        new.barrier();
    }
    assert!(has_notice, "none of 21 connections got the notice");
    new.ask("Quit", "200 OK", "Goodbye");
    new.expect_end();
    bob.ask("List-names", "200 OK", "1 online: bob");
}

#[test]
fn requests_before_and_after_a_resumption_are_answered_in_order() {
    let server = Server::start(&[]);
    let (old, mut bob) = (
        log_in_with_used_token(&server, "alice"),
        server.log_in("bob"),
    );
    let token = reset_and_wait(&server, old, "alice");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    let mut new = server.connect_as(&token);
    new.send_raw(format!(
        "\n\nPing 1\n\n{token}\nSet-name alice\n\n\nPing 2\n\n{token}\nPing 3\n"
    ));
    new.expect("200 OK", "Pong 1");
    new.token = token;
    new.expect("304 Not Modified", "You are already alice");
    new.expect_delivery("private", "bob", "hi");
    new.expect("200 OK", "Pong 2");
    new.expect("200 OK", "Pong 3");
}

/// Reads deliveries up to the response to a ping. Returns the numbers of their texts and the
/// sum of the missed messages.
fn numbers(client: &mut Client) -> (Vec<usize>, usize) {
    let (mut numbers, mut missed) = (Vec::new(), 0);
    client.send("Ping end");
    loop {
        let Message { data, .. } = client.next();
        if data == "Pong end" {
            return (numbers, missed);
        }
        match missed_by(&data) {
            Some(gap) => missed += gap,
            None => numbers.push(number_of(&data)),
        }
    }
}

#[test]
fn takeover_of_a_blocked_connection_loses_nothing_unwritten() {
    let server = Server::start(&["--queue", "1048576"]);
    let (mut old, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let Filled { queued, refused } = bob.fill_queue("alice");
    // The takeover is immediate, although the old connection is blocked.
    let mut new = resume(&server, &old.token, "alice");
    let (second, missed) = numbers(&mut new);
    // The old client can still read the bytes that the kernel had accepted: whole messages,
    // and perhaps a part of the next one, which is sent again to the new client.
    let first = old.rest_or_reset();
    check_parts(&first, &second, missed, &queued, refused);
}

/// Checks that two connections of one session together have received the queued messages,
/// once and in order, and the number of the refused ones.
#[track_caller]
fn check_parts(first: &str, second: &[usize], missed: usize, queued: &[usize], refused: usize) {
    let (mut all, mut told) = (Vec::new(), missed);
    let lines: Vec<&str> = first.split_inclusive("\r\n").collect();
    let (messages, _) = lines.as_chunks::<3>();
    for [_, _, data] in messages {
        // The last message may be a part.
        let Some(data) = data.strip_suffix("\r\n") else {
            continue;
        };
        match missed_by(data) {
            Some(gap) => told += gap,
            None if data == "You read too slowly" => {}
            None => all.push(number_of(data)),
        }
    }
    all.extend(second);
    assert_eq!((&all[..], told), (queued, refused));
}

#[test]
fn unwritten_responses_are_dropped_at_takeover() {
    let server = Server::start(&["--queue", "1048576"]);
    let (mut old, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let Filled { queued, .. } = bob.fill_queue("alice");
    // The responses are queued behind the unread deliveries.
    for n in 0..20 {
        old.send(&format!("Ping never {n}"));
    }
    // The server has executed all of them when bob gets this message.
    old.send("Private-message bob done");
    bob.expect_delivery("private", "alice", "done");
    let mut new = resume(&server, &old.token, "alice");
    // `numbers` fails on a response to another ping.
    let (numbers, _) = numbers(&mut new);
    assert_eq!(numbers.last(), queued.last());
}

#[test]
fn takeover_of_a_rate_limited_connection_is_immediate() {
    let server = Server::start_with(&["--rate", "1", "--burst", "2"], |_| {});
    let mut old = server.log_in("alice");
    // The rate allows these requests in a minute.
    old.send_raw("\n\nPing\n".repeat(60));
    old.expect("200 OK", "Pong");
    let begun = Instant::now();
    let _new = resume(&server, &old.token, "alice");
    old.rest_or_reset();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn reset_in_a_backlog_loses_only_bytes_in_kernel_buffers() {
    const MESSAGES: usize = 1_500;
    let server = Server::start(&["--queue", "4194304"]);
    let (mut alice, mut bob) = (
        log_in_with_used_token(&server, "alice"),
        server.log_in("bob"),
    );
    let filling = "x".repeat(1_000);
    for n in 0..MESSAGES {
        bob.ask(
            &format!("Private-message alice {n} {filling}"),
            "200 OK",
            "Delivered to alice",
        );
    }
    let mut first = Vec::new();
    for _ in 0..100 {
        first.push(number_of(&alice.next().data));
    }
    let token = reset_and_wait(&server, alice, "alice");
    let mut alice = resume(&server, &token, "alice");
    let (second, missed) = numbers(&mut alice);
    assert_eq!(missed, 0);
    assert_eq!(first, (0..100).collect::<Vec<_>>());
    let begin = second[0];
    assert_eq!(second, (begin..MESSAGES).collect::<Vec<_>>());
    // The lost messages were in the send buffer and the receive buffer, of some hundred KiB
    // each.
    assert!((100..1_000).contains(&begin), "{begin}");
}

#[test]
fn missed_messages_are_reported_on_resuming() {
    let server = Server::start(&["--queue", "16384"]);
    let (alice, mut bob) = (
        log_in_with_used_token(&server, "alice"),
        server.log_in("bob"),
    );
    let token = reset_and_wait(&server, alice, "alice");
    let Filled { queued, refused } = bob.fill_queue("alice");
    let broadcast = format!("Broadcast-message {}", "x".repeat(1_900));
    bob.ask(&broadcast, "200 OK", "Delivered to 0");
    let mut alice = resume(&server, &token, "alice");
    assert_eq!(numbers(&mut alice), (queued, refused + 1));
}

#[test]
fn quit_with_token_ends_a_lingering_session() {
    let server = Server::start(&[]);
    let token = reset_and_wait(&server, log_in_with_used_token(&server, "alice"), "alice");
    let mut script = server.connect();
    script.send_as(&token, "Quit");
    script.expect_with(&token, "200 OK", "Goodbye");
    script.expect_end();
    server.log_in("alice");
}

#[test]
fn longest_lingering_session_is_evicted_on_a_full_server() {
    if is_spread_without("--max-clients is of one server") {
        return;
    }
    let server = Server::start(&["--max-clients", "3"]);
    let [one, two, three] =
        ["one", "two", "three"].map(|name| log_in_with_used_token(&server, name));
    let one = reset_and_wait(&server, one, "one");
    let two = reset_and_wait(&server, two, "two");
    // The server needs room for one more client, so it evicts the first session.
    let mut newcomer = server.log_in("newcomer");
    newcomer.ask("List-names", "200 OK", "3 online: newcomer three two");
    server.expect_log("evicted lingering session of one to make room");
    newcomer.send_as(&one, "Ping");
    newcomer.expect_with("", "401 Unauthorized", "Unknown token");
    // Another client evicts the second session. Then no lingering session is left.
    let _another = server.log_in("another");
    newcomer.send_as(&two, "Ping");
    newcomer.expect_with("", "401 Unauthorized", "Unknown token");
    let mut refused = server.connect();
    refused.expect("403 Forbidden", "The server is full");
    refused.expect_end();
    drop(three);
}

#[test]
fn resumption_ends_the_execution_for_a_reset_client() {
    let options = ["--rate", "2", "--burst", "3"];
    let server = Server::start_with(&options, |_| {});
    let (alice, mut bob) = (
        log_in_with_used_token(&server, "alice"),
        server.log_in("bob"),
    );
    let token = alice.token.clone();
    let mut sender = alice;
    let message = |n| format!("\n\nBroadcast-message {n}\n");
    sender.send_raw((0..1_000).map(message).collect::<String>());
    sender.reset();
    bob.expect_delivery("broadcast", "alice", "0");
    let mut alice = server.connect_as(&token);
    send_resume(&mut alice, &token, "alice");
    alice.expect_with(&token, "304 Not Modified", "You are already alice");
    alice.token = token;
    // The old connection waits for the rate limit, and then executes nothing more.
    server.expect_log(" alice (127.0.0.1:");
    alice.ask("Broadcast-message new", "200 OK", "Delivered to 1");
    while bob.next().data != "Incoming-message broadcast alice new" {}
    alice.barrier();
    bob.ask("Ping", "200 OK", "Pong");
}

#[test]
fn stalled_client_is_lost_at_write_timeout_and_can_resume() {
    let server = Server::start(&["--queue", "1048576", "--write-timeout", "1"]);
    let (mut alice, mut bob) = (
        log_in_with_used_token(&server, "alice"),
        server.log_in("bob"),
    );
    let Filled { queued, refused } = bob.fill_queue("alice");
    server.expect_log_of("lost alice (", "session lingers: write timeout");
    let mut new = resume(&server, &alice.token, "alice");
    let (second, missed) = numbers(&mut new);
    check_parts(&alice.rest_or_reset(), &second, missed, &queued, refused);
}

#[test]
fn trickling_reader_is_lost_at_the_write_timeout() {
    let server = Server::start(&["--queue", "4194304", "--write-timeout", "1"]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let filling = "x".repeat(1_900);
    let message = |n| format!("\n\nPrivate-message alice {n} {filling}\n");
    bob.send_raw((0..1_000).map(message).collect::<String>());
    // The client reads a message every 20 ms. So the kernel always accepts a part of a batch,
    // until the write timeout ends the connection.
    let mut received = 0;
    while server.count_log_of("lost alice (", "session ended: write timeout") == 0 {
        alice.expect_delivery("private", "bob", &format!("{received} {filling}"));
        received += 1;
        thread::sleep(Duration::from_millis(20));
    }
    // The notice is best effort, but it is never within a message.
    let rest = alice.rest_or_reset();
    for message in rest.split_inclusive("\r\n").collect::<Vec<_>>().chunks(3) {
        let said = message.join("");
        let is_whole = message.len() == 3 && said.ends_with("\r\n");
        let expected =
            said.contains("Incoming-message private bob") || said.contains("You read too slowly");
        assert!(expected || !is_whole, "{said:?}");
    }
}

#[test]
fn concurrent_resumes_leave_one_owner_and_lose_nothing() {
    const RACERS: usize = 16;
    let server = Server::start(&["--queue", "4194304"]);
    for round in 0..20 {
        let (alice, mut bob) = (
            log_in_with_used_token(&server, "alice"),
            server.log_in("bob"),
        );
        let token = alice.token.clone();
        let begun = Barrier::new(RACERS + 1);
        let mut results: Vec<(Client, Vec<usize>, bool)> = thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut racer = server.connect_as(&token);
                        begun.wait();
                        send_resume(&mut racer, &token, "alice");
                        // A racer that is evicted during the write of its response is closed
                        // without it.
                        let (numbers, is_last) = match racer.next_or_end() {
                            Some(message) => {
                                assert_eq!(message.data, "You are already alice");
                                race(&mut racer)
                            }
                            None => (Vec::new(), false),
                        };
                        (racer, numbers, is_last)
                    })
                })
                .collect();
            begun.wait();
            for n in 0..50 {
                bob.ask(
                    &format!("Private-message alice {n}"),
                    "200 OK",
                    "Delivered to alice",
                );
            }
            // After all racers have resumed the session, the last racer keeps it.
            wait_for("all resumptions", || {
                server.log().matches("resumed session of alice").count() == RACERS * (round + 1)
            });
            bob.ask("Private-message alice 50", "200 OK", "Delivered to alice");
            racers
                .into_iter()
                .map(|racer| racer.join().expect("no panic"))
                .collect()
        });
        assert_eq!(results.iter().filter(|(.., is_last)| *is_last).count(), 1);
        // No connection was lost, so all bytes in the kernels' buffers have been read.
        let mut all: Vec<usize> = results
            .iter()
            .flat_map(|(_, numbers, _)| numbers)
            .copied()
            .collect();
        let mut old = alice;
        all.extend(race(&mut old).0);
        all.sort_unstable();
        assert_eq!(all, (0..=50).collect::<Vec<_>>());
        let winner = results
            .iter_mut()
            .find(|(.., is_last)| *is_last)
            .expect("an owner");
        winner.0.ask("Quit", "200 OK", "Goodbye");
        winner.0.expect_end();
        bob.ask("Quit", "200 OK", "Goodbye");
        bob.expect_end();
    }
}

/// Reads deliveries, which must be in order, until a takeover or the last delivery.
///
/// Returns their numbers, and whether the last delivery has arrived.
fn race(racer: &mut Client) -> (Vec<usize>, bool) {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&50) {
        match racer.next_or_end() {
            Some(message) if message.data == TAKEN_OVER => {
                racer.expect_end();
                return (numbers, false);
            }
            Some(message) => {
                numbers.push(number_of(&message.data));
                assert!(numbers.is_sorted(), "{numbers:?}");
            }
            None => return (numbers, false),
        }
    }
    (numbers, true)
}

#[test]
fn resets_under_load_lose_only_bytes_in_kernel_buffers() {
    let server = Server::start(&["--queue", "67108864"]);
    let alice = log_in_with_used_token(&server, "alice");
    let baseline = (server.proc_status("Threads"), server.descriptors());
    let token = alice.token.clone();
    let stop = AtomicBool::new(false);
    let mut next_of: HashMap<String, usize> = HashMap::new();
    let mut alice = thread::scope(|scope| {
        let mut alice = alice;
        for name in ["bob", "carol"] {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut sender = server.log_in(name);
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    sender.ask(
                        &format!("Private-message alice {n}"),
                        "200 OK",
                        "Delivered to alice",
                    );
                    n += 1;
                }
                sender.ask("Private-message alice last", "200 OK", "Delivered to alice");
                sender.ask(&format!("Ping {n}"), "200 OK", &format!("Pong {n}"));
            });
        }
        for round in 0..=200 {
            let is_last = round == 200;
            stop.store(is_last, Ordering::Relaxed);
            let (mut first_of, mut lasts) = (HashMap::new(), 0);
            let mut count = 0;
            while if is_last { lasts < 2 } else { count < 20 } {
                let message = alice.next();
                assert_eq!((&*message.status, &*message.header), ("200 OK", &*token));
                let mut words = message.data.split(' ').skip(2);
                let sender = words.next().expect("a sender").to_owned();
                match words.next().expect("a text") {
                    "last" => lasts += 1,
                    text => {
                        let number: usize = text.parse().expect("a number");
                        let next = next_of.entry(sender.clone()).or_insert(0);
                        // A gap is only allowed at the reset.
                        if first_of.insert(sender, ()).is_none() {
                            assert!(number >= *next, "message {number} arrived twice");
                        } else {
                            assert_eq!(number, *next);
                        }
                        *next = number + 1;
                    }
                }
                count += 1;
            }
            if !is_last {
                // In half of the rounds, resume before the server has seen the reset.
                alice.reset();
                if round % 2 == 0 {
                    wait_for("the loss", || {
                        server.count_log_of("lost alice (", "session lingers") > round / 2
                    });
                }
                alice = resume(&server, &token, "alice");
            }
        }
        alice
    });
    alice.barrier();
    for name in ["bob", "carol"] {
        server.expect_log_of(&format!("disconnected {name} ("), "end of input");
    }
    wait_for("the baseline", || {
        (server.proc_status("Threads"), server.descriptors()) <= baseline
    });
    alice.ask("List-names", "200 OK", "1 online: alice");
}
