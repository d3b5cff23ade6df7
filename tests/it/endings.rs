//! How connections and the server end (4, and the signals).

use crate::support::{Client, Server, server_threads, wait_for};
use chat::options::{self, Operation};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const SHUTDOWN: &str = "The server is shutting down";

#[test]
fn after_the_end_of_input_all_is_answered_and_the_rest_dropped() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw("\n\nSet-name bot\n\n\nBroadcast-message hi\n\n\nPing unfinished");
    client.close_input();
    client.token = client.next().header;
    client.expect("200 OK", "Delivered to 0");
    client.expect_end();
    server.named("bot");
}

#[test]
fn an_unfinished_request_is_dropped_wherever_it_ends() {
    let server = Server::start(&[]);
    for begun in ["x", "\n", "\nx", "\n\n", "\n\nQuit"] {
        let mut client = server.connect();
        client.send_raw(format!("\n\nPing\n{begun}"));
        client.close_input();
        client.expect("200 OK", "Pong");
        client.expect_end();
    }
}

/// Sends 100 requests and closes in this way, again and again. A receiver gets all messages.
#[track_caller]
fn check_sent_requests_are_executed(close: fn(Client)) {
    let server = Server::start(&["--queue", "1048576"]);
    let mut bob = server.named("bob");
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
fn requests_before_a_close_are_executed_without_a_session_too() {
    let server = Server::start(&["--queue", "1048576"]);
    let (alice, mut bob) = (server.named("alice"), server.named("bob"));
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
fn reset_client_keeps_to_the_rate() {
    let options = ["--rate", "20", "--burst", "5"];
    let server = Server::start_with(&options, |_| {});
    let mut bob = server.named("bob");
    let mut sender = server.connect();
    let message = |n| format!("\n\nBroadcast-message {n}\n");
    let messages: String = (0..24).map(message).collect();
    sender.send_raw(format!("\n\nSet-name sender\n{messages}"));
    let begun = Instant::now();
    sender.reset();
    for n in 0..24 {
        bob.expect_delivery("broadcast", "sender", &n.to_string());
    }
    // 25 requests, 5 of them at once.
    assert!(begun.elapsed() >= Duration::from_millis(900));
    // The name is free when all is executed.
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
fn a_break_without_a_session_is_told_as_one() {
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
fn the_name_is_free_before_the_close_can_be_seen() {
    let server = Server::start(&[]);
    for _ in 0..100 {
        let mut client = server.named("alice");
        client.close_input();
        client.expect_end();
    }
}

#[test]
fn a_last_line_is_read_although_more_was_on_its_way() {
    let server = Server::start(&[]);
    // That the server will not look at.
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
            client.expect("400 Bad Request", STRAY);
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
            // So that the server's kernel keeps much of what the client has not read.
            set_socket_recv_buffer_size(client.stream(), 8_192).expect("an open socket");
            let mut writer = client.stream().try_clone().expect("a second handle");
            let requests = requests.clone();
            let sender = thread::spawn(move || {
                writer.write_all(requests.as_bytes())?;
                writer.write_all(&vec![b'z'; megabytes << 20])
            });
            sender
                .join()
                .expect("no panic")
                .expect("the server reads it");
            let rest = String::from_utf8(client.rest().expect("no reset")).expect("UTF-8");
            assert_eq!(rest.matches("Pong y").count(), 14, "{megabytes} MB");
            assert!(rest.ends_with("\r\nGoodbye\r\n"), "{megabytes} MB");
        }
    }
}

#[test]
fn refusal_survives_megabytes_of_unread_input() {
    let server = Server::start(&["--max-clients", "1"]);
    let _alice = server.named("alice");
    let mut refused = server.connect();
    let junk = vec![b'z'; 6 << 20];
    refused
        .stream()
        .write_all(&junk)
        .expect("the server reads it");
    refused.expect("403 Forbidden", "The server is full");
    refused.expect_end_and_no_reset();
}

#[test]
fn a_slow_reader_gets_all_that_is_queued_although_more_was_on_its_way() {
    let server = Server::start(&["--queue", "16384"]);
    for unread in [60_000, 200_000] {
        for last in ["\n\nQuit\n".to_owned(), "x\n".repeat(20)] {
            let (mut slow, mut alice) = (server.named("slow"), server.named("alice"));
            let taken = alice.fill("slow").taken.len();
            let mut writer = slow.stream().try_clone().expect("a second handle");
            let sender = thread::spawn(move || {
                writer.write_all(last.as_bytes())?;
                writer.write_all(&vec![b'x'; unread])
            });
            // It begins to read when the server is long done with reading.
            server.connect().barrier();
            let mut rest = String::from_utf8(slow.rest().expect("no reset")).expect("UTF-8");
            sender.join().expect("no panic").expect("it is taken");
            assert_eq!(
                rest.matches("Incoming-message private alice").count(),
                taken
            );
            let lines: Vec<&str> = rest.trim_end().split("\r\n").collect();
            let last = lines.last().expect("a last line");
            assert!(["Goodbye", STRAY].contains(last), "{last}");
            rest.clear();
            alice.ask("Quit", "200 OK", "Goodbye");
            alice.expect_end();
        }
    }
}

const STRAY: &str = "A request is an empty line, a token line and a request line";

#[test]
fn who_keeps_its_side_open_after_the_last_line_is_closed_all_the_same() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("Quit", "200 OK", "Goodbye");
    client.expect_end();
    server.expect_log_of("disconnected ", ": answered 200 OK, Goodbye");
    wait_for("its thread to end", || {
        server.figure("Threads") == server_threads()
    });
}

#[test]
fn a_full_server_says_so_and_has_room_again_when_one_leaves() {
    let server = Server::start(&["--max-clients", "2"]);
    let (mut alice, bob) = (server.named("alice"), server.named("bob"));
    for _ in 0..50 {
        server.expect_refusal(server.address, "The server is full");
    }
    alice.barrier();
    drop(bob);
    wait_for("room", || {
        let mut third = server.connect();
        third.send("Ping");
        third.next().data == "Pong"
    });
}

#[test]
fn more_are_refused_at_once_than_are_seen_off() {
    let server = Server::start(&["--max-clients", "1"]);
    let mut alice = server.named("alice");
    let refused: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for mut client in refused {
        client.expect("403 Forbidden", "The server is full");
        client.expect_end();
    }
    alice.barrier();
    wait_for("their descriptors", || server.descriptors() <= 12);
}

#[test]
fn sigterm_and_sigint_tell_everyone_and_end_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&[]);
        let (mut alice, mut bob, mut nobody) =
            (server.named("alice"), server.named("bob"), server.connect());
        nobody.barrier();
        alice.ask("Private-message bob bye", "200 OK", "Delivered to bob");
        server.signal(signal);
        alice.expect("502 Bad Gateway", SHUTDOWN);
        alice.expect_end();
        bob.expect_delivery("private", "alice", "bye");
        bob.expect("502 Bad Gateway", SHUTDOWN);
        bob.expect_end();
        nobody.expect("502 Bad Gateway", SHUTDOWN);
        nobody.expect_end();
        assert_eq!(server.expect_exit().code(), Some(0));
        assert_eq!(server.rest_of_stdout(), "");
        assert!(
            server.log().trim_end().ends_with("ended"),
            "{}",
            server.log()
        );
    }
}

#[test]
fn who_keeps_its_side_open_does_not_keep_the_server() {
    // The best of a few, because a busy machine may be slow, but never faster
    // than the second that a client has at other times.
    let shutdown = || {
        let mut server = Server::start(&[]);
        let clients = ["alice", "bob"].map(|name| server.named(name));
        let begun = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.expect_exit().code(), Some(0));
        drop(clients);
        begun.elapsed()
    };
    let fastest = (0..5).map(|_| shutdown()).min().expect("some");
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn what_is_queued_is_written_within_the_grace() {
    let mut server = Server::start(&["--grace", "60", "--queue", "4194304"]);
    let (mut alice, mut slow) = (server.named("alice"), server.named("slow"));
    let text = "x".repeat(2_000);
    for n in 0..1_000 {
        alice.ask(
            &format!("Private-message slow {n} {text}"),
            "200 OK",
            "Delivered to slow",
        );
    }
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    for n in 0..1_000 {
        slow.expect_delivery("private", "alice", &format!("{n} {text}"));
    }
    slow.expect("502 Bad Gateway", SHUTDOWN);
    slow.expect_end();
    assert_eq!(server.expect_exit().code(), Some(0));
}

/// A client for which more is queued than the kernel takes.
fn stalled(server: &Server, alice: &mut Client) -> Client {
    let stalled = server.named("stalled");
    alice.fill("stalled");
    stalled
}

#[test]
fn at_shutdown_nobody_is_answered_as_if_it_had_no_session() {
    for _ in 0..5 {
        let mut server = Server::start(&["--queue", "4194304"]);
        let mut clients: Vec<Client> = (0..7).map(|n| server.named(&format!("user{n}"))).collect();
        let begun = Barrier::new(clients.len() + 1);
        thread::scope(|scope| {
            for client in &mut clients {
                let mut writer = client.stream().try_clone().expect("a second handle");
                scope.spawn(move || {
                    // Ends with an error once the connection is closed.
                    while writer.write_all(&b"\n\nList-names\n".repeat(20)).is_ok() {}
                });
                let begun = &begun;
                scope.spawn(move || {
                    client.expect(
                        "200 OK",
                        "7 online: user0 user1 user2 user3 user4 user5 user6",
                    );
                    begun.wait();
                    let answers = client.rest_or_reset();
                    let statuses = answers.split("\r\n").step_by(3);
                    let bad: Vec<&str> = statuses.filter(|line| line.starts_with('4')).collect();
                    assert!(bad.is_empty(), "{bad:?}");
                });
            }
            begun.wait();
            server.signal(Signal::TERM);
        });
        assert_eq!(server.expect_exit().code(), Some(0));
    }
}

#[test]
fn who_takes_nothing_keeps_the_server_for_the_grace_and_no_longer() {
    let mut server = Server::start(&["--grace", "1"]);
    let mut alice = server.named("alice");
    let _stalled = stalled(&server, &mut alice);
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    assert_eq!(server.expect_exit().code(), Some(0));
    assert!(
        server.log().contains("1 clients did not take"),
        "{}",
        server.log()
    );
}

#[test]
fn shutdown_waits_for_a_slow_client_without_a_name() {
    let mut server = Server::start(&["--grace", "20"]);
    let mut client = server.connect();
    // More responses than the kernels hold, and few enough requests that they are all received.
    client.send_raw("\n\nHelp\n".repeat(3_000));
    let mut unread = 0;
    wait_for("the server to be blocked", || {
        let before = unread;
        unread = rustix::io::ioctl_fionread(client.stream()).expect("an open socket");
        unread > 32 * 1024 && unread == before
    });
    server.signal(Signal::TERM);
    server.expect_log("shutting down");
    let rest = String::from_utf8(client.rest().expect("no reset")).expect("UTF-8");
    assert!(rest.ends_with(&format!("502 Bad Gateway\r\n\r\n{SHUTDOWN}\r\n")));
    assert_eq!(server.expect_exit().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--grace", "3600"]);
    let mut alice = server.named("alice");
    let _stalled = stalled(&server, &mut alice);
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    server.signal(Signal::INT);
    assert_eq!(server.expect_exit().signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn the_port_is_free_while_the_last_words_are_said() {
    let server = Server::start(&["--grace", "3600"]);
    let mut alice = server.named("alice");
    let _stalled = stalled(&server, &mut alice);
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    let refused = std::net::TcpStream::connect(server.address).expect_err("nobody accepts");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn who_waits_for_the_rate_hears_of_the_shutdown_at_once() {
    let mut server = Server::start_with(&["--rate", "1", "--burst", "1"], |_| {});
    let mut client = server.connect();
    client.send_raw("\n\nPing\n".repeat(100));
    client.expect("200 OK", "Pong");
    server.signal(Signal::TERM);
    let rest = String::from_utf8(client.rest().expect("an orderly end")).expect("UTF-8");
    assert!(
        rest.ends_with(&format!("502 Bad Gateway\r\n\r\n{SHUTDOWN}\r\n")),
        "{rest}"
    );
    assert_eq!(server.expect_exit().code(), Some(0));
}

#[test]
fn the_library_serves_and_ends_without_signals() {
    let arguments = ["-l", "127.0.0.1:0", "-l", "127.0.0.1:0"];
    let Ok(Operation::Run { config, .. }) = options::parse(arguments) else {
        panic!("it runs")
    };
    let server = chat::server::Server::bind(config).expect("two free ports");
    let addresses = server.local_addrs().expect("they are bound");
    let handle = server.shutdown_handle();
    let running = thread::spawn(move || server.run());
    let [mut one, mut two] = [addresses[0], addresses[1]].map(Client::connect);
    one.set_name("alice");
    two.set_name("bob");
    one.ask("Private-message bob hi", "200 OK", "Delivered to bob");
    two.expect_delivery("private", "alice", "hi");
    handle.shutdown();
    handle.shutdown();
    two.expect("502 Bad Gateway", SHUTDOWN);
    assert_eq!(two.stream().read(&mut [0]).expect("an orderly end"), 0);
    running.join().expect("no panic").expect("it served");
}
