//! The login deadline (section 3).

use crate::support::{Client, DEADLINE, Server, is_spread_without, wait_for};
use std::thread;
use std::time::{Duration, Instant};

const UNAUTHORIZED: &str = "401 Unauthorized";

/// Expects the notice of the login deadline and the end.
#[track_caller]
fn expect_too_slow(client: &mut Client, seconds: u64) {
    let notice = format!("Too slow: set a name within {seconds} seconds");
    client.expect(UNAUTHORIZED, &notice);
    client.expect_end();
}

#[test]
fn silent_client_gets_notice_and_close_at_the_deadline() {
    let server = Server::start(&["--login-timeout", "1"]);
    let begun = Instant::now();
    let mut silent = server.connect();
    expect_too_slow(&mut silent, 1);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    drop(silent);
    server.expect_log_of("disconnected ", ": login timeout");
}

#[test]
fn single_bytes_do_not_extend_the_login_deadline() {
    let server = Server::start(&["--login-timeout", "2"]);
    let mut client = server.connect();
    let mut writer = client.stream().try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            // The write fails some time after the server has closed the connection.
            while std::io::Write::write_all(&mut writer, b"x").is_ok() {
                assert!(
                    begun.elapsed() < DEADLINE,
                    "the server never closes the connection"
                );
                thread::sleep(Duration::from_millis(50));
            }
        });
        client.expect(UNAUTHORIZED, "Too slow: set a name within 2 seconds");
        client.rest_or_reset();
    });
}

#[test]
fn refused_names_do_not_extend_the_login_deadline() {
    let server = Server::start(&["--login-timeout", "1"]);
    let _alice = server.log_in("alice");
    let mut client = server.connect();
    let last = loop {
        client.send("Set-name alice");
        let message = client.next();
        if message.data != "alice is taken" {
            break message;
        }
    };
    let expected = (UNAUTHORIZED, "Too slow: set a name within 1 seconds");
    assert_eq!((&*last.status, &*last.data), expected);
}

#[test]
fn rate_limit_does_not_extend_the_login_deadline() {
    let options = ["--rate", "1", "--burst", "1", "--login-timeout", "2"];
    let server = Server::start_with(&options, |_| {});
    let mut client = server.connect();
    // The rate allows these requests in a hundred seconds. One read can bring all of them.
    client.send_raw("\n\nPing\n".repeat(100));
    let rest = String::from_utf8(client.rest().expect("an end without a reset")).expect("UTF-8");
    let last = "401 Unauthorized\r\n\r\nToo slow: set a name within 2 seconds\r\n";
    assert!(rest.ends_with(last), "{rest}");
}

#[test]
fn login_in_time_removes_the_deadline() {
    let server = Server::start(&["--login-timeout", "2"]);
    let mut alice = server.log_in("alice");
    let token = alice.token.clone();
    let mut resumed = server.connect_as(&token);
    resumed.send_as(&token, "Set-name alice");
    resumed.expect_with(&token, "304 Not Modified", "You are already alice");
    resumed.token = token;
    // The notice of the takeover is best effort: the writer thread may still be writing.
    alice.rest_or_reset();
    let mut bob = server.log_in("bob");
    // This client connects last. When its deadline has passed, the others' has too.
    expect_too_slow(&mut server.connect(), 2);
    resumed.barrier();
    bob.barrier();
}

#[test]
fn connection_without_a_name_has_one_thread() {
    if is_spread_without("the threads are of one process") {
        return;
    }
    let server = Server::start(&[]);
    let mut first = server.connect();
    first.ask("Ping", "200 OK", "Pong");
    // All threads of the server have started by now.
    let before = server.proc_status("Threads");
    let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.ask("Ping", "200 OK", "Pong");
    }
    assert_eq!(server.proc_status("Threads"), before + 5);
    clients[0].ask(
        "Set-name a",
        "400 Bad Request",
        "A name is 2 to 63 of A-Z a-z 0-9 _ -",
    );
    assert_eq!(server.proc_status("Threads"), before + 5);
    let alice = server.log_in("alice");
    assert_eq!(server.proc_status("Threads"), before + 7);
    // After a refused name, the writer thread stays for the next attempt.
    clients[0].ask("Set-name alice", "403 Forbidden", "alice is taken");
    assert_eq!(server.proc_status("Threads"), before + 8);
    clients[0].ask("Set-name alice", "403 Forbidden", "alice is taken");
    assert_eq!(server.proc_status("Threads"), before + 8);
    drop((alice, clients));
    wait_for("the end of all threads", || {
        server.proc_status("Threads") == before
    });
}

#[test]
fn connection_without_a_name_must_read_its_responses() {
    let server = Server::start(&["--write-timeout", "1"]);
    let mut client = server.connect();
    let mut writer = client.stream().try_clone().expect("a second handle");
    let ping = format!("\n\nPing {}\n", "x".repeat(8_000));
    thread::scope(|scope| {
        // Writes until the server stops reading and closes the connection.
        scope.spawn(|| while std::io::Write::write_all(&mut writer, ping.as_bytes()).is_ok() {});
        server.expect_log_of("lost 127.0.0.1:", ": write timeout");
        client.rest_or_reset();
    });
}

#[test]
fn connection_without_a_name_ends_after_the_last_message() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("Quit", "200 OK", "Goodbye");
    let begun = Instant::now();
    client.expect_end();
    // The client does not close its side. The server waits for it at most a second.
    server.expect_log_of("disconnected ", ": last response 200 OK, Goodbye");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn login_timeout_notice_survives_unread_input() {
    let options = ["--rate", "1", "--burst", "1", "--login-timeout", "1"];
    let server = Server::start_with(&options, |_| {});
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        // The server reads a part of it, and no more while the rate limit delays the client.
        client.send_raw("\n\nPing\n".repeat(9_000));
    }
    for client in &mut clients {
        let last = std::iter::repeat_with(|| client.next().data).find(|data| data != "Pong");
        assert_eq!(
            last.expect("a last message"),
            "Too slow: set a name within 1 seconds"
        );
        client.expect_end_and_no_reset();
    }
}
