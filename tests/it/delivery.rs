//! Order, limits and gaps of deliveries (section 7).

use crate::support::{Client, Message, Server, is_spread_without, missed_by, number_of, wait_for};
use std::collections::HashMap;
use std::io::Write;
use std::thread;
use std::time::Duration;

/// Reads the deliveries of the client `flood` and the gap notices between them.
///
/// Returns the numbers of the deliveries and the sum of the missed messages.
#[track_caller]
fn read_flood(client: &mut Client, total: usize) -> (Vec<usize>, usize) {
    let (mut numbers, mut missed) = (Vec::new(), 0);
    while numbers.len() + missed < total {
        let Message {
            status,
            header,
            data,
        } = client.next();
        assert_eq!(header, client.token);
        match missed_by(&data) {
            Some(gap) => {
                assert_eq!(status, "502 Bad Gateway");
                missed += gap;
            }
            None => {
                assert!(
                    data.starts_with("Incoming-message private flood "),
                    "{data}"
                );
                assert_eq!(status, "200 OK");
                numbers.push(number_of(&data));
            }
        }
    }
    (numbers, missed)
}

#[test]
fn full_queue_is_reported_to_sender_and_recipient() {
    let server = Server::start(&["--queue", "16384"]);
    let mut slow = server.log_in("slow");
    let mut flood = server.log_in("flood");
    let mut other = server.log_in("other");
    let filling = "x".repeat(1_900);
    let (mut queued, mut refused) = (Vec::new(), 0);
    // The kernel's buffers fill first, then the queue. Then a hundred more are refused.
    for n in 0.. {
        flood.send(&format!("Private-message SLOW {n} {filling}"));
        let answer = flood.next();
        match &*answer.data {
            "Delivered to slow" => queued.push(n),
            "SLOW cannot take more messages now" => {
                assert_eq!(answer.status, "502 Bad Gateway");
                refused += 1;
            }
            data => panic!("{data}"),
        }
        if refused == 100 {
            break;
        }
        assert!(n < 100_000, "the queue has no limit");
    }
    // A broadcast does not count the full recipient, and reaches the other.
    flood.ask(
        &format!("Broadcast-message {filling}"),
        "200 OK",
        "Delivered to 1",
    );
    other.expect_delivery("broadcast", "flood", &filling);
    let (numbers, missed) = read_flood(&mut slow, queued.len() + refused + 1);
    assert_eq!(numbers, queued);
    assert_eq!(missed, refused + 1);
    // No gap is reported twice, and later messages arrive again.
    slow.barrier();
    flood.ask("Private-message slow again", "200 OK", "Delivered to slow");
    slow.expect_delivery("private", "flood", "again");
}

#[test]
fn missed_notice_arrives_at_the_gap() {
    let server = Server::start(&["--queue", "16384"]);
    let mut slow = server.log_in("slow");
    let mut flood = server.log_in("flood");
    let (long, mut n) = ("x".repeat(1_900), 0);
    loop {
        flood.send(&format!("Private-message slow {n} {long}"));
        n += 1;
        if flood.next().status != "200 OK" {
            break;
        }
    }
    // A short message still fits, and follows the gap.
    flood.ask(
        &format!("Private-message slow {n} short"),
        "200 OK",
        "Delivered to slow",
    );
    for expected in 0..n - 1 {
        slow.expect_delivery("private", "flood", &format!("{expected} {long}"));
    }
    slow.expect("502 Bad Gateway", "Missed 1 messages: you read too slowly");
    slow.expect_delivery("private", "flood", &format!("{n} short"));
    slow.barrier();
}

#[test]
fn stalled_reader_delays_no_other_client() {
    let server = Server::start(&["--queue", "16384"]);
    let _stalled: Vec<Client> = (0..10)
        .map(|n| server.log_in(&format!("stalled{n}")))
        .collect();
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let text = "x".repeat(2_000);
    let mut full = false;
    for n in 0..2_000 {
        alice.send(&format!("Broadcast-message {n} {text}"));
        bob.expect_delivery("broadcast", "alice", &format!("{n} {text}"));
        full |= alice.next().data == "Delivered to 1";
    }
    assert!(full, "the queues of the stalled clients were never full");
    // Stalled clients do not prevent logins and disconnects.
    server.log_in("carol").ask("Quit", "200 OK", "Goodbye");
}

#[test]
fn server_stops_reading_when_responses_are_unread() {
    if is_spread_without("the memory is of one process") {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    let before = server.proc_status("VmHWM");
    client
        .stream()
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let text = "x".repeat(8_000);
    let request = format!("\n\nPing {text}\n");
    let (mut sent, mut rest) = (0, request.as_bytes());
    // The kernel's buffers of both directions hold some MiB at most.
    while sent < 10_000 {
        match client.stream().write(rest) {
            Ok(count) if count < rest.len() => rest = &rest[count..],
            Ok(_) => (sent, rest) = (sent + 1, request.as_bytes()),
            Err(_) => break,
        }
    }
    assert!(
        sent < 10_000,
        "the server reads on although its responses are unread"
    );
    let grown = server.proc_status("VmHWM").saturating_sub(before);
    assert!(grown < 4_096, "the process grew by {grown} kB");
    // Other clients are served. Once the client reads, every request is answered.
    server.connect().barrier();
    for _ in 0..sent {
        client.expect("200 OK", &format!("Pong {text}"));
    }
    client.send_raw(rest);
    client.expect("200 OK", &format!("Pong {text}"));
    client.barrier();
}

#[test]
fn unread_responses_to_one_read_stay_limited() {
    if is_spread_without("the memory is of one process") {
        return;
    }
    let server = Server::start(&[]);
    let _others: Vec<Client> = (0..140)
        .map(|n| server.log_in(&format!("{n:063}")))
        .collect();
    let client = server.log_in("alice");
    let before = server.proc_status("VmHWM");
    client
        .stream()
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    // Write until the server stops reading. Each of its reads has hundreds of requests, whose
    // responses need 2 MiB and more.
    while client
        .stream()
        .write(&b"\n\nList-names\n".repeat(100))
        .is_ok()
    {}
    let grown = server.proc_status("VmHWM") - before;
    assert!(grown < 1_024, "the process grew by {grown} kB");
    server.connect().barrier();
}

#[test]
fn response_follows_every_delivery_of_its_request() {
    let server = Server::start(&["--queue", "4194304"]);
    let mut alice = server.log_in("alice");
    let all: String = (0..1_000)
        .map(|n| format!("\n\nPrivate-message alice {n}\n"))
        .collect();
    let mut writer = alice.stream().try_clone().expect("a second handle");
    let sender = thread::spawn(move || writer.write_all(all.as_bytes()));
    for n in 0..1_000 {
        alice.expect_delivery("private", "alice", &n.to_string());
        alice.expect("200 OK", "Delivered to alice");
    }
    sender.join().expect("no panic").expect("the server reads");
}

#[test]
fn private_and_broadcast_of_one_sender_keep_their_order() {
    let server = Server::start(&["--queue", "4194304"]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    for n in 0..500 {
        alice.send(&format!("Private-message bob {n}"));
        alice.send(&format!("Broadcast-message {n}"));
    }
    for n in 0..500 {
        bob.expect_delivery("private", "alice", &n.to_string());
        bob.expect_delivery("broadcast", "alice", &n.to_string());
    }
}

#[test]
fn response_to_first_name_precedes_all_deliveries() {
    let server = Server::start(&["--queue", "4194304"]);
    let mut talker = server.log_in("talker");
    let mut writer = talker.stream().try_clone().expect("a second handle");
    thread::scope(|scope| {
        // The talker floods a name that logs in and disconnects.
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        scope.spawn(move || {
            while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
                writer
                    .write_all(&b"\n\nPrivate-message newcomer hi\n".repeat(50))
                    .expect("the server reads");
            }
            writer.write_all(b"\n\nQuit\n").expect("the server reads");
        });
        scope.spawn(move || while talker.next().data != "Goodbye" {});
        for _ in 0..200 {
            // `log_in` checks that the response arrives first.
            let mut newcomer = server.log_in("newcomer");
            newcomer.send("Quit");
            loop {
                let message = newcomer.next();
                assert_eq!(message.header, newcomer.token);
                if message.data == "Goodbye" {
                    break;
                }
                assert_eq!(message.data, "Incoming-message private talker hi");
            }
            newcomer.expect_end();
        }
        drop(stop);
    });
}

#[test]
fn two_hundred_clients_get_all_messages_once_in_order() {
    const CLIENTS: usize = 200;
    const BROADCASTS: usize = 20;
    let server = Server::start(&["--queue", "4194304"]);
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|n| server.log_in(&format!("user{n}")))
        .collect();
    thread::scope(|scope| {
        for (own, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                let all: String = (0..BROADCASTS)
                    .map(|n| format!("\n\nBroadcast-message {n}\n"))
                    .collect();
                client.send_raw(all);
                let mut next_of = HashMap::new();
                let mut answers = 0;
                for _ in 0..BROADCASTS * CLIENTS {
                    let message = client.next();
                    assert_eq!(
                        (&*message.status, &*message.header),
                        ("200 OK", &*client.token)
                    );
                    let mut words = message.data.split(' ');
                    if message.data == format!("Delivered to {}", CLIENTS - 1) {
                        answers += 1;
                    } else {
                        assert_eq!(words.next(), Some("Incoming-message"), "{message:?}");
                        assert_eq!(words.next(), Some("broadcast"));
                        let sender = words.next().expect("a sender").to_owned();
                        let next = next_of.entry(sender).or_insert(0);
                        assert_eq!(words.next(), Some(&*next.to_string()), "{message:?}");
                        *next += 1;
                    }
                }
                assert_eq!(answers, BROADCASTS);
                assert_eq!(next_of.len(), CLIENTS - 1);
                assert!(!next_of.contains_key(&format!("user{own}")));
                assert!(next_of.values().all(|&count| count == BROADCASTS));
                client.barrier();
            });
        }
    });
}

#[test]
fn disconnect_releases_threads_and_descriptors() {
    if is_spread_without("the threads are of one process") {
        return;
    }
    let server = Server::start(&[]);
    server.connect().barrier();
    wait_for("the end of the first client's threads", || {
        server.log().contains("disconnected")
    });
    let baseline = || (server.proc_status("Threads"), server.descriptors());
    wait_for("the baseline", || baseline().1 <= 10);
    let before = baseline();
    for _ in 0..3 {
        let clients: Vec<Client> = (0..50)
            .map(|n| server.log_in(&format!("user{n}")))
            .collect();
        for (n, mut client) in clients.into_iter().enumerate() {
            match n % 3 {
                0 => client.close_input(),
                1 => client.send("Quit"),
                _ => client.reset(),
            }
        }
        wait_for("the baseline", || baseline() == before);
    }
}
