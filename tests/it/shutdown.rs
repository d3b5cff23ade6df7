//! Shutdown: signals, the notice to each client, the grace period.

use crate::support::{Client, Server, is_spread_without, wait_for};
use chat::server::options::{self, Operation};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::process::ExitStatusExt;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const SHUTDOWN: &str = "The server is shutting down";

#[test]
fn sigterm_and_sigint_notify_all_clients_and_exit_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&[]);
        let (mut alice, mut bob, mut nameless) = (
            server.log_in("alice"),
            server.log_in("bob"),
            server.connect(),
        );
        nameless.barrier();
        alice.ask("Private-message bob bye", "200 OK", "Delivered to bob");
        server.signal(signal);
        alice.expect("502 Bad Gateway", SHUTDOWN);
        alice.expect_end();
        bob.expect_delivery("private", "alice", "bye");
        bob.expect("502 Bad Gateway", SHUTDOWN);
        bob.expect_end();
        nameless.expect("502 Bad Gateway", SHUTDOWN);
        nameless.expect_end();
        assert_eq!(server.expect_exit().code(), Some(0));
        assert_eq!(server.rest_of_stdout(), "");
        assert!(
            server.log().trim_end().ends_with("shutdown complete"),
            "{}",
            server.log()
        );
    }
}

#[test]
fn open_client_does_not_delay_shutdown() {
    // The fastest of five runs, because a busy machine may be slow. Outside a shutdown, a
    // client has a second to close its side.
    let shutdown = || {
        let mut server = Server::start(&[]);
        let clients = ["alice", "bob"].map(|name| server.log_in(name));
        let begun = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.expect_exit().code(), Some(0));
        drop(clients);
        begun.elapsed()
    };
    let fastest = (0..5).map(|_| shutdown()).min().expect("a run");
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[test]
fn queued_messages_are_written_within_the_grace_period() {
    let mut server = Server::start(&["--grace", "60", "--queue", "4194304"]);
    let (mut alice, mut slow) = (server.log_in("alice"), server.log_in("slow"));
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

/// Logs in a client and fills its queue and the kernel's buffers.
fn stalled(server: &Server, alice: &mut Client) -> Client {
    let stalled = server.log_in("stalled");
    alice.fill_queue("stalled");
    stalled
}

#[test]
fn requests_during_shutdown_get_no_4xx_response() {
    for _ in 0..5 {
        let mut server = Server::start(&["--queue", "4194304"]);
        let mut clients: Vec<Client> = (0..7).map(|n| server.log_in(&format!("user{n}"))).collect();
        let begun = Barrier::new(clients.len() + 1);
        thread::scope(|scope| {
            for client in &mut clients {
                let mut writer = client.stream().try_clone().expect("a second handle");
                scope.spawn(move || {
                    // The write fails after the connection is closed.
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
                    // A write to a closed connection may wait for the next probe of its window.
                    let _ = client.stream().shutdown(Shutdown::Both);
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
fn stalled_client_delays_shutdown_by_the_grace_period() {
    let mut server = Server::start(&["--grace", "1"]);
    let mut alice = server.log_in("alice");
    let _stalled = stalled(&server, &mut alice);
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    assert_eq!(server.expect_exit().code(), Some(0));
    assert!(
        server
            .log()
            .contains("grace period expired: 1 clients have unsent messages"),
        "{}",
        server.log()
    );
}

#[test]
fn shutdown_waits_for_a_slow_client_without_a_name() {
    let mut server = Server::start(&["--grace", "20"]);
    let mut client = server.connect();
    // The responses do not fit into the kernels' buffers. The requests do.
    client.send_raw("\n\nHelp\n".repeat(3_000));
    let mut unread = 0;
    wait_for("the blocked server", || {
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
fn second_signal_ends_the_server_at_once() {
    if is_spread_without("only the node of the stalled client waits") {
        return;
    }
    let mut server = Server::start(&["--grace", "3600"]);
    let mut alice = server.log_in("alice");
    let _stalled = stalled(&server, &mut alice);
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    server.signal(Signal::INT);
    assert_eq!(server.expect_exit().signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn port_is_free_during_the_grace_period() {
    if is_spread_without("only the node of the stalled client waits") {
        return;
    }
    let server = Server::start(&["--grace", "3600"]);
    let mut alice = server.log_in("alice");
    let _stalled = stalled(&server, &mut alice);
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTDOWN);
    let refused = std::net::TcpStream::connect(server.address).expect_err("a refused connection");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn rate_limited_client_gets_the_shutdown_notice_at_once() {
    let mut server = Server::start_with(&["--rate", "1", "--burst", "1"], |_| {});
    let mut client = server.connect();
    client.send_raw("\n\nPing\n".repeat(100));
    client.expect("200 OK", "Pong");
    server.signal(Signal::TERM);
    let rest = String::from_utf8(client.rest().expect("an end without a reset")).expect("UTF-8");
    assert!(
        rest.ends_with(&format!("502 Bad Gateway\r\n\r\n{SHUTDOWN}\r\n")),
        "{rest}"
    );
    assert_eq!(server.expect_exit().code(), Some(0));
}

#[test]
fn library_server_runs_and_ends_without_signals() {
    let arguments = ["-l", "127.0.0.1:0", "-l", "127.0.0.1:0"];
    let Ok(Operation::Run { config, .. }) = options::parse(arguments, None) else {
        panic!("expected options to run")
    };
    let server = chat::server::Server::bind(config).expect("two free ports");
    let addresses = server.local_addrs().expect("two addresses");
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
    assert_eq!(
        two.stream().read(&mut [0]).expect("an end without a reset"),
        0
    );
    running.join().expect("no panic").expect("no error");
}
