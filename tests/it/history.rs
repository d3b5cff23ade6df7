//! History (section 2): `Recent-messages`, and which broadcasts are kept.

use crate::support::{self, Client, Message, Server, is_spread_without};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a line of the history takes on the wire, without its sender and text: the three line
/// ends, status line, token, kind, time and the spaces.
const OVERHEAD: usize = "200 OK".len() + 32 + 6 + "Incoming-recent 2026-11-25T21:04:05Z ".len();

/// The texts and senders of an answer, and its last line.
#[track_caller]
fn ask_recent(client: &mut Client, request: &str) -> (Vec<String>, String) {
    client.send(request);
    let mut messages = Vec::new();
    loop {
        let Message {
            status,
            header,
            data,
        } = client.next();
        assert_eq!((&*status, &header), ("200 OK", &client.token), "{data}");
        let Some(rest) = data.strip_prefix("Incoming-recent ") else {
            return (messages, data);
        };
        let (time, message) = rest.split_once(' ').expect("a time");
        assert!(is_time(time), "{data}");
        messages.push(message.to_owned());
    }
}

/// Whether this is a time of UTC, to the second.
fn is_time(time: &str) -> bool {
    let shape = "2026-11-25T21:04:05Z";
    time.len() == shape.len()
        && time.bytes().zip(shape.bytes()).all(|(byte, wanted)| {
            byte.is_ascii_digit() == wanted.is_ascii_digit()
                && (byte.is_ascii_digit() || byte == wanted)
        })
}

#[test]
fn newest_broadcasts_are_returned_oldest_first() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut bob = server.log_in("bob");
    assert_eq!(
        ask_recent(&mut alice, "Recent-messages"),
        (vec![], "0 recent".into())
    );
    for text in ["one", "two  2", "три 🙂"] {
        bob.ask(
            &format!("Broadcast-message {text}"),
            "200 OK",
            "Delivered to 1",
        );
        alice.expect_delivery("broadcast", "bob", text);
    }
    bob.ask(
        "Private-message alice secret",
        "200 OK",
        "Delivered to alice",
    );
    alice.expect_delivery("private", "bob", "secret");
    bob.ask("Set-name robert", "200 OK", "You are robert");
    // The name at that time, also to the speaker, and after the session has ended.
    let all = ["bob one", "bob two  2", "bob три 🙂"].map(str::to_owned);
    for client in [&mut alice, &mut bob] {
        assert_eq!(
            ask_recent(client, "Recent-messages"),
            (all.to_vec(), "3 recent".into())
        );
        let newest = all[1..].to_vec();
        assert_eq!(
            ask_recent(client, "Recent-messages 2"),
            (newest, "2 recent".into())
        );
    }
    bob.ask("Quit", "200 OK", "Goodbye");
    let last = all[2..].to_vec();
    assert_eq!(
        ask_recent(&mut alice, "recent-messages 0001"),
        (last, "1 recent".into())
    );
}

#[test]
fn time_is_that_of_the_server_cut_to_the_second() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the present")
            .as_secs()
    };
    let before = now();
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 0");
    let after = now();
    alice.send("Recent-messages");
    let data = alice.next().data;
    let time = data.split(' ').nth(1).expect("a time");
    let date = std::process::Command::new("date")
        .args(["-u", "-d", time, "+%s"])
        .output();
    let seconds = String::from_utf8(date.expect("date").stdout).expect("digits");
    let seconds: u64 = seconds.trim().parse().expect("seconds");
    assert!((before..=after).contains(&seconds), "{data}");
    alice.expect("200 OK", "1 recent");
}

#[test]
fn default_is_twenty_and_the_server_keeps_two_hundred() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let texts: Vec<String> = (0..210).map(|n| format!("alice {n}")).collect();
    for n in 0..210 {
        alice.ask(
            &format!("Broadcast-message {n}"),
            "200 OK",
            "Delivered to 0",
        );
    }
    let newest = |count: usize| (texts[210 - count..].to_vec(), format!("{count} recent"));
    assert_eq!(ask_recent(&mut alice, "Recent-messages"), newest(20));
    assert_eq!(ask_recent(&mut alice, "Recent-messages 200"), newest(200));
    assert_eq!(ask_recent(&mut alice, "Recent-messages 1000"), newest(200));
}

#[test]
fn history_option_sets_how_many_are_kept() {
    for (kept, count) in [("0", 0), ("1", 1), ("3", 3), ("1000", 5)] {
        let server = Server::start(&["--history", kept]);
        let mut alice = server.log_in("alice");
        for n in 0..5 {
            alice.ask(
                &format!("Broadcast-message {n}"),
                "200 OK",
                "Delivered to 0",
            );
        }
        let expected = (5 - count..5).map(|n| format!("alice {n}")).collect();
        let answer = format!("{count} recent");
        assert_eq!(
            ask_recent(&mut alice, "Recent-messages"),
            (expected, answer),
            "{kept}"
        );
    }
}

#[test]
fn bad_count_is_answered_with_the_usage() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("Recent-messages", "401 Unauthorized", "Set a name first");
    client.set_name("alice");
    let usage = "Usage: Recent-messages [N]";
    for bad in [
        "0",
        "00",
        "1001",
        "-1",
        "+1",
        "x",
        "1 ",
        " 1",
        "1 2",
        "٣",
        "99999999999999999999",
    ] {
        let request = format!("Recent-messages {bad}");
        client.ask(&request, "400 Bad Request", usage);
    }
    for good in ["", " ", " 1", " 1000", " 000000000000000000000000000001000"] {
        let request = format!("Recent-messages{good}");
        client.ask(&request, "200 OK", "0 recent");
    }
}

#[test]
fn response_returns_at_most_65536_bytes_of_messages() {
    let server = Server::start(&["--history", "1000"]);
    let mut alice = server.log_in("alice");
    // Each takes 1,024 bytes on the wire, so 64 of them fit exactly.
    let text = |n: usize| format!("{n:0width$}", width = 1_024 - OVERHEAD - "alice ".len());
    for n in 0..100 {
        alice.ask(
            &format!("Broadcast-message {}", text(n)),
            "200 OK",
            "Delivered to 0",
        );
    }
    let expected: Vec<String> = (36..100).map(|n| format!("alice {}", text(n))).collect();
    let (messages, last) = ask_recent(&mut alice, "Recent-messages 1000");
    assert_eq!((messages.len(), &*last), (64, "64 recent"));
    assert_eq!(messages, expected);
    // One byte more, and the oldest does not fit.
    alice.ask(
        &format!("Broadcast-message {}x", text(100)),
        "200 OK",
        "Delivered to 0",
    );
    let (messages, last) = ask_recent(&mut alice, "Recent-messages 1000");
    assert_eq!((messages.len(), &*last), (63, "63 recent"));
    assert_eq!(messages[0], format!("alice {}", text(38)));
}

#[test]
fn messages_go_to_the_connection_that_asked() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 0");
    let mut other = server.connect();
    other.token.clone_from(&alice.token);
    let token = alice.token.clone();
    other.send_as(&token, "Recent-messages");
    let data = other.next().data;
    assert!(
        data.starts_with("Incoming-recent ") && data.ends_with(" alice hi"),
        "{data}"
    );
    other.expect("200 OK", "1 recent");
    alice.barrier();
}

#[test]
fn nothing_stands_between_the_messages_and_their_response() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    for n in 0..100 {
        alice.ask(
            &format!("Broadcast-message {n}"),
            "200 OK",
            "Delivered to 0",
        );
    }
    let address = server.address;
    let talking = thread::spawn(move || {
        let mut bob = Client::connect(address);
        bob.set_name("bob");
        for n in 0..2_000 {
            bob.ask(
                &format!("Private-message alice {n}"),
                "200 OK",
                "Delivered to alice",
            );
        }
    });
    let mut answers = 0;
    while !talking.is_finished() || answers == 0 {
        alice.send("Recent-messages 100");
        let mut in_answer = false;
        loop {
            let data = alice.next().data;
            if data == "100 recent" {
                assert!(in_answer);
                break;
            }
            let is_recent = data.starts_with("Incoming-recent ");
            assert!(is_recent || !in_answer, "{data} interrupts the response");
            in_answer |= is_recent;
        }
        answers += 1;
    }
    talking.join().expect("all were delivered");
}

#[test]
fn no_broadcast_is_missing_between_history_and_deliveries() {
    let server = Server::start(&["--history", "1000"]);
    let address = server.address;
    let talking = thread::spawn(move || {
        let mut bob = Client::connect(address);
        bob.set_name("bob");
        for n in 0..3_000 {
            bob.send(&format!("Broadcast-message {n}"));
            bob.next();
        }
    });
    for round in 0.. {
        let mut alice = server.log_in(&format!("alice{round}"));
        alice.send("Recent-messages 50");
        let (mut numbers, mut delivered) = (Vec::new(), Vec::new());
        loop {
            let data = alice.next().data;
            if data.ends_with(" recent") {
                break;
            }
            match data.strip_prefix("Incoming-recent ") {
                Some(rest) => numbers.push(number_of(&rest["2026-11-25T21:04:05Z ".len()..])),
                None => delivered.push(number_of(&data["Incoming-message broadcast ".len()..])),
            }
        }
        // What comes next, if anything does.
        alice.send("Ping");
        let next = alice.next().data;
        if next != "Pong" {
            delivered.push(number_of(&next["Incoming-message broadcast ".len()..]));
        }
        numbers.extend(delivered);
        numbers.sort_unstable();
        numbers.dedup();
        let has_no_hole = numbers.windows(2).all(|two| two[1] == two[0] + 1);
        assert!(has_no_hole, "{numbers:?}");
        if talking.is_finished() {
            break;
        }
    }
    talking.join().expect("all were sent");
}

/// The number in `bob 17`.
#[track_caller]
fn number_of(message: &str) -> u64 {
    let number = message.strip_prefix("bob ").expect(message);
    number.parse().expect("a number")
}

#[test]
fn history_counts_as_responses_of_a_client_that_does_not_read() {
    if is_spread_without("the memory is of one process") {
        return;
    }
    let server = Server::start(&["--history", "1000"]);
    let mut alice = server.log_in("alice");
    for _ in 0..40 {
        let text = "x".repeat(2_000);
        alice.ask(
            &format!("Broadcast-message {text}"),
            "200 OK",
            "Delivered to 0",
        );
    }
    let mut greedy = server.log_in("greedy");
    let before = server.proc_status("VmRSS");
    greedy.send_raw("\n\nRecent-messages 1000\n".repeat(1_000));
    alice.barrier();
    // Some 60 MB were asked for.
    let grown = server.proc_status("VmRSS").saturating_sub(before);
    assert!(grown < 2_000, "{grown} kB");
    for _ in 0..1_000 {
        let (messages, last) = ask_next(&mut greedy);
        assert_eq!(last, format!("{messages} recent"));
    }
    greedy.barrier();
}

/// Reads one answer, and counts its messages.
#[track_caller]
fn ask_next(client: &mut Client) -> (usize, String) {
    let mut count = 0;
    loop {
        let data = client.next().data;
        if !data.starts_with("Incoming-recent ") {
            return (count, data);
        }
        count += 1;
    }
}

#[test]
fn unread_messages_are_dropped_with_the_connection() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 0");
    let mut greedy = server.log_in("greedy");
    greedy.use_token();
    let filled = alice.fill_queue("greedy");
    greedy.send_raw("\n\nRecent-messages\n\n\nPrivate-message alice asked\n");
    alice.expect_delivery("private", "greedy", "asked");
    let mut again = server.connect_as(&greedy.token);
    again.token.clone_from(&greedy.token);
    again.send_as(&greedy.token, "Set-name greedy");
    again.expect("304 Not Modified", "You are already greedy");
    again.send("Ping");
    let mut last = 0;
    loop {
        let data = again.next().data;
        match &*data {
            "Pong" => break,
            _ if data.starts_with("Incoming-message private alice ") => {
                last = support::number_of(&data)
            }
            _ => assert!(data.starts_with("Missed "), "{data}"),
        }
    }
    assert_eq!(Some(&last), filled.queued.last());
}

#[test]
fn header_is_the_token_of_the_acting_session() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut bob = server.log_in("bob");
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "alice", "hi");
    bob.send_as(&alice.token, "Recent-messages");
    let Message { header, data, .. } = bob.next();
    assert!(data.ends_with(" alice hi"), "{data}");
    assert_eq!(header, alice.token);
    bob.expect_with(&alice.token, "200 OK", "1 recent");
    bob.send_as(&alice.token, "Recent-messages 0");
    let usage = "Usage: Recent-messages [N]";
    bob.expect_with(&alice.token, "400 Bad Request", usage);
    alice.barrier();
    bob.barrier();
}

#[test]
fn text_is_kept_as_it_was_typed() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let long = "🙂".repeat(2_047);
    let texts = ["  two before", "two behind  ", "\ta tab", "200 OK", &long];
    for text in texts {
        let request = format!("Broadcast-message {text}");
        alice.ask(&request, "200 OK", "Delivered to 0");
    }
    // Refused ones are not kept.
    let usage = "Usage: Broadcast-message TEXT";
    alice.ask("Broadcast-message  ", "400 Bad Request", usage);
    let expected: Vec<String> = texts.iter().map(|text| format!("alice {text}")).collect();
    assert_eq!(
        ask_recent(&mut alice, "Recent-messages"),
        (expected, "5 recent".into())
    );
}

#[test]
fn answered_broadcast_is_in_the_next_response() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    for n in 0..100 {
        let request = format!("Broadcast-message {n}");
        bob.ask(&request, "200 OK", "Delivered to 1");
        alice.expect_delivery("broadcast", "bob", &n.to_string());
        let newest = (vec![format!("bob {n}")], "1 recent".into());
        assert_eq!(ask_recent(&mut alice, "Recent-messages 1"), newest);
    }
}

#[test]
fn no_broadcast_is_missing_for_a_client_that_asks_at_once() {
    let server = Server::start(&["--history", "1000"]);
    // A broadcast to many takes time, in which a client logs in and asks.
    let listeners: Vec<Client> = (0..300)
        .map(|n| server.log_in(&format!("listener{n}")))
        .collect();
    let (address, is_done) = (server.address, Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&is_done);
    let talking = thread::spawn(move || {
        let mut bob = Client::connect(address);
        bob.set_name("bob");
        for n in 0.. {
            bob.send(&format!("Broadcast-message {n}"));
            bob.next();
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    });
    for round in 0..200 {
        let mut alice = server.connect();
        alice.send_raw(format!(
            "\n\nSet-name alice{round}\n\n\nRecent-messages 50\n"
        ));
        let mut numbers = Vec::new();
        let (mut is_answered, mut is_delivered) = (false, false);
        // Up to a delivery behind the response.
        while !is_answered || !is_delivered {
            let data = alice.next().data;
            if let Some(rest) = data.strip_prefix("Incoming-recent ") {
                numbers.push(number_of(&rest["2026-11-25T21:04:05Z ".len()..]));
            } else if let Some(message) = data.strip_prefix("Incoming-message broadcast ") {
                numbers.push(number_of(message));
                is_delivered = is_answered;
            }
            is_answered |= data.ends_with(" recent");
        }
        numbers.sort_unstable();
        numbers.dedup();
        let has_no_hole = numbers.windows(2).all(|two| two[1] == two[0] + 1);
        assert!(has_no_hole, "{numbers:?}");
    }
    is_done.store(true, Ordering::Relaxed);
    talking.join().expect("all were sent");
    drop(listeners);
}
