//! The allowance of an address, which limits clients that connect again and again.

use crate::support::{Client, Server};
use std::time::{Duration, Instant};

/// Logs in, sends this many pings in the same write, and reads all responses.
fn log_in_and_ping(server: &Server, name: &str, pings: usize) -> Client {
    let mut client = server.connect();
    client.send_raw(format!(
        "\n\nSet-name {name}\n{}",
        "\n\nPing\n".repeat(pings)
    ));
    let message = client.next();
    assert_eq!(message.data, format!("You are {name}"));
    client.token = message.header;
    for _ in 0..pings {
        client.expect("200 OK", "Pong");
    }
    client
}

#[test]
fn reconnecting_client_is_held_to_ten_rates() {
    let server = Server::start_with(&["--rate", "100", "--burst", "50"], |_| {});
    let begun = Instant::now();
    let connections = 30;
    for n in 0..connections {
        let mut client = log_in_and_ping(&server, &format!("user{n}"), 48);
        client.ask("Quit", "200 OK", "Goodbye");
    }
    // The allowance is 512 requests, and then 1,000 a second. One request may be owed at the
    // end. So the elapsed time has a lower limit.
    let requests = connections * 50 - 512 - 1;
    let least = Duration::from_millis(requests);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

#[test]
fn class_that_logs_in_at_once_is_not_delayed() {
    let server = Server::start_with(&["-v"], |_| {});
    let students: Vec<Client> = (0..64)
        .map(|n| log_in_and_ping(&server, &format!("student{n}"), 7))
        .collect();
    assert_eq!(server.count_log("too fast"), 0, "{}", server.log());
    drop(students);
}

#[test]
fn rate_zero_turns_the_allowance_off() {
    let server = Server::start(&["-v"]);
    for n in 0..30 {
        log_in_and_ping(&server, &format!("user{n}"), 100);
    }
    assert_eq!(server.count_log("too fast"), 0, "{}", server.log());
}

/// Connects and closes 1,100 times.
fn reconnect(server: &Server) {
    for _ in 0..1_100 {
        let mut client = server.connect();
        client.close_input();
        client.expect_end();
    }
}

const NOT_LOGGED: &str = "connections not logged: 127.0.0.1 connects too often";

#[test]
fn reconnects_are_counted_in_the_log_and_not_listed() {
    let server = Server::start_with(&[], |_| {});
    let begun = Instant::now();
    reconnect(&server);
    server.expect_log(NOT_LOGGED);
    // Each begun second allows one more. Each connection has a line at its end too.
    let most = 1_000 + begun.elapsed().as_secs() as usize + 1;
    let (begins, ends) = (
        server.count_log("from 127.0.0.1:"),
        server.count_log("end of input"),
    );
    assert!(0 < begins && begins <= most, "{begins}");
    assert!(0 < ends && ends <= most, "{ends}");
    assert_eq!(server.count_log(NOT_LOGGED), 1);
}

#[test]
fn reconnects_are_listed_without_a_rate_or_with_verbose() {
    for options in [["--rate", "0"].as_slice(), &["-v"]] {
        let server = Server::start_with(options, |_| {});
        reconnect(&server);
        let mut last = server.connect();
        let address = last.stream().local_addr().expect("an address");
        last.barrier();
        server.expect_log(&format!("from {address}"));
    }
}
