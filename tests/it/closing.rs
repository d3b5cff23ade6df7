//! The ends of connections (section 4): end of input, reset, refusal, the last message.

use crate::support::{Client, Server, is_spread_without, server_threads, wait_for};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::Signal;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn whole_requests_before_end_of_input_are_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw("\n\nSet-name bot\n\n\nBroadcast-message hi\n\n\nPing unfinished");
    client.close_input();
    client.token = client.next().header;
    client.expect("200 OK", "Delivered to 0");
    client.expect_end();
    server.log_in("bot");
}

#[test]
fn unfinished_request_is_dropped_at_end_of_input() {
    let server = Server::start(&[]);
    for begun in ["x", "\n", "\nx", "\n\n", "\n\nQuit"] {
        let mut client = server.connect();
        client.send_raw(format!("\n\nPing\n{begun}"));
        client.close_input();
        client.expect("200 OK", "Pong");
        client.expect_end();
    }
}

/// Sends 100 requests, then closes in this way, 20 times. A recipient must get all messages.
#[track_caller]
fn check_sent_requests_are_executed(close: fn(Client)) {
    let server = Server::start(&["--queue", "1048576"]);
    let mut bob = server.log_in("bob");
    for round in 0..20 {
        let mut sender = server.connect();
        let message = |n| format!("\n\nBroadcast-message {round} {n} {}\n", "x".repeat(100));
        let messages: String = (0..100).map(message).collect();
        sender.send_raw(format!("\n\nSet-name sender{round}\n{messages}"));
        close(sender);
        for n in 0..100 {
            let text = format!("{round} {n} {}", "x".repeat(100));
            bob.expect_delivery("broadcast", &format!("sender{round}"), &text);
        }
    }
}

#[test]
fn requests_sent_before_a_close_are_executed() {
    check_sent_requests_are_executed(drop);
}

#[test]
fn requests_received_before_a_reset_are_executed() {
    check_sent_requests_are_executed(Client::reset);
}

#[test]
fn requests_before_a_reset_are_executed_without_a_session() {
    let server = Server::start(&["--queue", "1048576"]);
    let (alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let request = |n| format!("\n{}\nPrivate-message bob {n}\n", alice.token);
    for _ in 0..20 {
        let mut sender = server.connect();
        sender.send_raw((0..100).map(request).collect::<String>());
        sender.reset();
        for n in 0..100 {
            bob.expect_delivery("private", "alice", &n.to_string());
        }
    }
}

#[test]
fn requests_of_a_reset_client_keep_to_the_rate() {
    let options = ["--rate", "20", "--burst", "5"];
    let server = Server::start_with(&options, |_| {});
    let mut bob = server.log_in("bob");
    let mut sender = server.connect();
    let message = |n| format!("\n\nBroadcast-message {n}\n");
    let messages: String = (0..24).map(message).collect();
    sender.send_raw(format!("\n\nSet-name sender\n{messages}"));
    let begun = Instant::now();
    sender.reset();
    for n in 0..24 {
        bob.expect_delivery("broadcast", "sender", &n.to_string());
    }
    // Of 25 requests, 5 pass at once.
    assert!(begun.elapsed() >= Duration::from_millis(900));
    // The name is free after the last request is executed.
    wait_for("the end of the session", || {
        bob.send("List-names sender");
        bob.next().data == "0 online"
    });
}

#[test]
fn shutdown_ends_the_execution_for_a_reset_client() {
    let options = ["--rate", "1", "--burst", "2", "--grace", "1"];
    let mut server = Server::start_with(&options, |_| {});
    let mut sender = server.connect();
    sender.send_raw(format!(
        "\n\nSet-name sender\n{}",
        "\n\nPing\n".repeat(1_000)
    ));
    sender.reset();
    server.expect_log("logged in as sender");
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.expect_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn thousands_of_requests_before_the_end_of_input_are_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw(
        (0..3_000)
            .map(|n| format!("\n\nPing {n}\n"))
            .collect::<String>(),
    );
    client.close_input();
    for n in 0..3_000 {
        client.expect("200 OK", &format!("Pong {n}"));
    }
    client.expect_end();
}

#[test]
fn reset_without_a_session_is_logged_as_lost() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.barrier();
    client.reset();
    server.expect_log_of(
        ": lost 127.0.0.1:",
        ": read failed: Connection reset by peer",
    );
}

#[test]
fn name_is_free_before_the_client_sees_the_close() {
    let server = Server::start(&[]);
    for _ in 0..100 {
        let mut client = server.log_in("alice");
        client.close_input();
        client.expect_end();
    }
}

#[test]
fn last_message_survives_unread_input() {
    let server = Server::start(&[]);
    // The server does not parse this input.
    let unread = "x".repeat(64 * 1024);
    for _ in 0..50 {
        let mut client = server.connect();
        client.send_raw(format!("GET / HTTP/1.1\r\n{unread}"));
        client.expect(
            "418 I'm a tea pocket",
            "This is a chat server, not a web server",
        );
        client.expect_end_and_no_reset();
        let mut client = server.connect();
        client.send_raw(format!("\n\nQuit\n{unread}"));
        client.expect("200 OK", "Goodbye");
        client.expect_end_and_no_reset();
        let mut client = server.connect();
        client.send_raw(format!("{}{unread}", "x\n".repeat(20)));
        for _ in 0..20 {
            client.expect("400 Bad Request", BAD_STATUS_LINE);
        }
        client.expect_end_and_no_reset();
    }
}

#[test]
fn last_messages_survive_megabytes_of_unread_input() {
    let server = Server::start(&[]);
    let ping = format!("\n\nPing {}\n", "y".repeat(8_000));
    let named = format!("\n\nSet-name talker\n{}\n\nQuit\n", ping.repeat(14));
    let nameless = format!("{}\n\nQuit\n", ping.repeat(14));
    for requests in [named, nameless] {
        for megabytes in [0, 3, 6] {
            let mut client = server.connect();
            // A small receive buffer leaves most unread bytes in the server's kernel.
            set_socket_recv_buffer_size(client.stream(), 8_192).expect("an open socket");
            let mut writer = client.stream().try_clone().expect("a second handle");
            let requests = requests.clone();
            let sender = thread::spawn(move || {
                writer.write_all(requests.as_bytes())?;
                writer.write_all(&vec![b'z'; megabytes << 20])
            });
            sender.join().expect("no panic").expect("the server reads");
            let rest = String::from_utf8(client.rest().expect("no reset")).expect("UTF-8");
            assert_eq!(rest.matches("Pong y").count(), 14, "{megabytes} MB");
            assert!(rest.ends_with("\r\nGoodbye\r\n"), "{megabytes} MB");
        }
    }
}

#[test]
fn refusal_survives_megabytes_of_unread_input() {
    if is_spread_without("--max-clients is of one server") {
        return;
    }
    let server = Server::start(&["--max-clients", "1"]);
    let _alice = server.log_in("alice");
    let mut refused = server.connect();
    let junk = vec![b'z'; 6 << 20];
    refused.stream().write_all(&junk).expect("the server reads");
    refused.expect("403 Forbidden", "The server is full");
    refused.expect_end_and_no_reset();
}

#[test]
fn slow_reader_gets_its_queue_despite_unread_input() {
    let server = Server::start(&["--queue", "16384"]);
    for unread in [60_000, 200_000] {
        for last in ["\n\nQuit\n".to_owned(), "x\n".repeat(20)] {
            let (mut slow, mut alice) = (server.log_in("slow"), server.log_in("alice"));
            let queued = alice.fill_queue("slow").queued.len();
            let mut writer = slow.stream().try_clone().expect("a second handle");
            let sender = thread::spawn(move || {
                writer.write_all(last.as_bytes())?;
                writer.write_all(&vec![b'x'; unread])
            });
            // The client begins to read after the server has stopped reading.
            server.connect().barrier();
            let mut rest = String::from_utf8(slow.rest().expect("no reset")).expect("UTF-8");
            sender.join().expect("no panic").expect("the server reads");
            assert_eq!(
                rest.matches("Incoming-message private alice").count(),
                queued
            );
            let lines: Vec<&str> = rest.trim_end().split("\r\n").collect();
            let last = lines.last().expect("a last line");
            assert!(["Goodbye", BAD_STATUS_LINE].contains(last), "{last}");
            rest.clear();
            alice.ask("Quit", "200 OK", "Goodbye");
            alice.expect_end();
        }
    }
}

const BAD_STATUS_LINE: &str = "A request is an empty line, a token line and a request line";

#[test]
fn server_closes_although_client_keeps_its_side_open() {
    if is_spread_without("the threads are of one process") {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("Quit", "200 OK", "Goodbye");
    client.expect_end();
    server.expect_log_of("disconnected ", ": last response 200 OK, Goodbye");
    wait_for("the end of its thread", || {
        server.proc_status("Threads") == server_threads()
    });
}

#[test]
fn full_server_refuses_until_a_client_disconnects() {
    if is_spread_without("--max-clients is of one server") {
        return;
    }
    let server = Server::start(&["--max-clients", "2"]);
    let (mut alice, bob) = (server.log_in("alice"), server.log_in("bob"));
    for _ in 0..50 {
        server.expect_refusal(server.address, "The server is full");
    }
    alice.barrier();
    drop(bob);
    wait_for("room for a client", || {
        let mut third = server.connect();
        third.send("Ping");
        third.next().data == "Pong"
    });
}

#[test]
fn refusals_over_the_pending_limit_still_get_the_notice() {
    if is_spread_without("--max-clients is of one server") {
        return;
    }
    let server = Server::start(&["--max-clients", "1"]);
    let mut alice = server.log_in("alice");
    let refused: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for mut client in refused {
        client.expect("403 Forbidden", "The server is full");
        client.expect_end();
    }
    alice.barrier();
    wait_for("closed descriptors", || server.descriptors() <= 12);
}
