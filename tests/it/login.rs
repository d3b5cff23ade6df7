//! The time there is for a first name (3).

use crate::support::{Client, DEADLINE, Server};
use std::thread;
use std::time::{Duration, Instant};

const UNAUTHORIZED: &str = "401 Unauthorized";

/// Expects the last word for a client that was told to be quick, and the end.
#[track_caller]
fn expect_too_slow(client: &mut Client, seconds: u64) {
    let notice = format!("Too slow: set a name within {seconds} seconds");
    client.expect(UNAUTHORIZED, &notice);
    client.expect_end();
}

#[test]
fn who_says_nothing_is_told_and_closed_at_the_deadline() {
    let server = Server::start(&["--login-timeout", "1"]);
    let begun = Instant::now();
    let mut silent = server.connect();
    expect_too_slow(&mut silent, 1);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    drop(silent);
    server.expect_log("left: too slow to set a name");
}

#[test]
fn a_byte_now_and_then_does_not_prolong_it() {
    let server = Server::start(&["--login-timeout", "2"]);
    let mut client = server.connect();
    let mut writer = client.stream().try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            // Ends with an error some time after the connection is closed.
            while std::io::Write::write_all(&mut writer, b"x").is_ok() {
                assert!(begun.elapsed() < DEADLINE, "it is never closed");
                thread::sleep(Duration::from_millis(50));
            }
        });
        client.expect(UNAUTHORIZED, "Too slow: set a name within 2 seconds");
        client.rest_or_reset();
    });
}

#[test]
fn no_other_answer_prolongs_it() {
    let server = Server::start(&["--login-timeout", "1"]);
    let _alice = server.named("alice");
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
fn who_waits_for_the_rate_is_not_spared() {
    let options = ["--rate", "1", "--burst", "1", "--login-timeout", "2"];
    let server = Server::start_with(&options, |_| {});
    let mut client = server.connect();
    // A hundred seconds' worth, in one read.
    client.send_raw("\n\nPing\n".repeat(100));
    let rest = String::from_utf8(client.rest().expect("an orderly end")).expect("UTF-8");
    let last = "401 Unauthorized\r\n\r\nToo slow: set a name within 2 seconds\r\n";
    assert!(rest.ends_with(last), "{rest}");
}

#[test]
fn who_has_a_name_in_time_has_all_the_time_there_is() {
    let server = Server::start(&["--login-timeout", "2"]);
    let mut alice = server.named("alice");
    let token = alice.token.clone();
    let mut resumed = server.connect();
    resumed.send_as(&token, "Set-name alice");
    resumed.expect_with(&token, "304 Not Modified", "You are already alice");
    resumed.token = token;
    // Its notice is best effort: the answer to the name may still be in its writer's hands.
    alice.rest_or_reset();
    let mut bob = server.named("bob");
    // It came after the others, so their time is up with its own.
    expect_too_slow(&mut server.connect(), 2);
    resumed.barrier();
    bob.barrier();
}

#[test]
fn a_slow_one_reads_why_although_more_was_on_its_way() {
    let options = ["--rate", "1", "--burst", "1", "--login-timeout", "1"];
    let server = Server::start_with(&options, |_| {});
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        // Of which it reads some at once, and no more while the client waits for the rate.
        client.send_raw("\n\nPing\n".repeat(9_000));
    }
    for client in &mut clients {
        let last = std::iter::repeat_with(|| client.next().data).find(|data| data != "Pong");
        assert_eq!(
            last.expect("a last line"),
            "Too slow: set a name within 1 seconds"
        );
        client.expect_end_and_no_reset();
    }
}
