//! A Redis or a node that is stopped for a while, and goes on.

use super::{AWAY, Chat, ask_until, key};
use crate::support::{Client, missed_by, wait_for};
use rustix::process::Signal;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a lease.
const LONG: Duration = Duration::from_secs(16);

const SHORT: Duration = Duration::from_secs(3);

/// Time in which a node that joins again could be removed by mistake: 6 s and a renewal.
const WATCH_TIME: Duration = Duration::from_secs(10);

/// Expects for a while that these are all names.
#[track_caller]
fn expect_names_to_stay(client: &mut Client, names: &str) {
    let begun = Instant::now();
    wait_for("the end of the time", || {
        client.ask("List-names", "200 OK", names);
        thread::sleep(Duration::from_millis(50));
        begun.elapsed() >= WATCH_TIME
    });
}

/// Stops Redis for this time, and expects that all sessions keep their names.
#[track_caller]
fn check_stopped_redis(time: Duration) {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut carol) = (chat.log_in(0, "alice"), chat.log_in(1, "carol"));
    let mut watchers = [chat.watcher(0, "bob"), chat.watcher(1, "dora")];
    watchers[0].expect_presence("joined dora");
    chat.redis.stop();
    thread::sleep(time);
    chat.redis.resume();
    ask_until(&mut alice, "Private-message carol hi", "Delivered to carol");
    ask_until(&mut carol, "Private-message alice hi", "Delivered to alice");
    while alice.next().data != "Incoming-message private carol hi" {}
    alice.ignore_deliveries = true;
    expect_names_to_stay(&mut alice, "4 online: alice bob carol dora");
    for watcher in &mut watchers {
        watcher.barrier();
    }
}

#[test]
fn sessions_keep_their_names_while_redis_is_stopped() {
    thread::scope(|scope| {
        for time in [SHORT, LONG] {
            scope.spawn(move || check_stopped_redis(time));
        }
    });
}

#[test]
fn many_requests_to_a_stopped_redis_wait_for_seconds_only() {
    let Some(chat) = Chat::start(2) else { return };
    let mut clients: Vec<Client> = (0..40)
        .map(|n| chat.log_in(0, &format!("client{n}")))
        .collect();
    let mut far = chat.log_in(1, "far");
    chat.redis.stop();
    for client in &mut clients {
        client.send("Private-message far hi");
    }
    let begun = Instant::now();
    for client in &mut clients {
        assert_eq!(client.next().status, "502 Bad Gateway");
    }
    // The node knows that Redis is away, whatever the number of answers that it expected.
    ask_until(&mut clients[0], "List-names", AWAY);
    assert!(begun.elapsed() < Duration::from_secs(10));
    chat.redis.resume();
    ask_until(
        &mut clients[0],
        "Private-message far end",
        "Delivered to far",
    );
    while far.next().data != "Incoming-message private client0 end" {}
}

#[test]
fn node_stopped_for_seconds_keeps_its_sessions() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.watcher(0, "alice"), chat.log_in(1, "bob"));
    alice.expect_presence("joined bob");
    chat.nodes[1].stop();
    thread::sleep(SHORT);
    chat.nodes[1].signal(Signal::CONT);
    ask_until(&mut bob, "List-names", "2 online: alice bob");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    alice.expect_delivery("private", "bob", "hi");
    alice.ask("Private-message bob hi", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "hi");
    alice.barrier();
}

#[test]
fn node_stopped_beyond_its_lease_claims_its_names_again() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.watcher(0, "alice"), chat.log_in(1, "bob"));
    alice.expect_presence("joined bob");
    let mut carol = chat.watcher(1, "carol");
    alice.expect_presence("joined carol");
    chat.nodes[1].stop();
    let mut left = [alice.next().data, alice.next().data];
    left.sort_unstable();
    assert_eq!(left[0], "Incoming-presence left bob");
    assert_eq!(left[1], "Incoming-presence left carol");
    let mut thief = chat.log_in(0, "bob");
    alice.expect_presence("joined bob");
    alice.ask("Broadcast-message lost", "200 OK", "Delivered to 1");
    thief.expect_delivery("broadcast", "alice", "lost");
    chat.nodes[1].signal(Signal::CONT);
    alice.expect_presence("joined carol");
    // Both miss the broadcast, and carol all presence.
    let missed = missed_by(&bob.next().data);
    assert_eq!(missed, Some(1));
    let notice = "bob was taken while the servers could not reach each other";
    bob.expect("403 Forbidden", notice);
    bob.expect_end();
    let mut missed = 0;
    while missed < 4 {
        // The end of two sessions, the new bob, and the broadcast.
        missed += missed_by(&carol.next().data).expect("a gap");
    }
    assert_eq!(missed, 4);
    alice.ask("Private-message carol hi", "200 OK", "Delivered to carol");
    // The session that the node claims again is not told of itself.
    carol.expect_delivery("private", "alice", "hi");
    carol.ask("List-names", "200 OK", "3 online: alice bob carol");
    alice.ask("Private-message bob hi", "200 OK", "Delivered to bob");
    thief.expect_delivery("private", "alice", "hi");
    for client in [&mut alice, &mut carol, &mut thief] {
        client.barrier();
    }
}

#[test]
fn full_inbox_of_a_stopped_node_is_reported_on_both_sides() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut here) = (chat.log_in(0, "alice"), chat.log_in(0, "here"));
    let mut bob = chat.log_in(1, "bob");
    chat.nodes[1].stop();
    let entry: String = chat.redis.ask(&["HGET", &key("names"), "bob"]);
    let inbox = key(&format!("inbox:{}", &entry[..16]));
    let fill = "while redis.call('XLEN', KEYS[1]) < 10000 do redis.call('XADD', KEYS[1], '*', 'k', 'x') end";
    chat.redis.ask::<()>(&["EVAL", fill, "1", &inbox]);
    alice.ask(
        "Private-message bob hi",
        "502 Bad Gateway",
        "The server of bob cannot be reached now",
    );
    let begun = Instant::now();
    for n in 0..3 {
        alice.ask(
            &format!("Broadcast-message {n}"),
            "200 OK",
            "Delivered to 1",
        );
        here.expect_delivery("broadcast", "alice", &n.to_string());
    }
    // It waits for no node whose inbox is full.
    assert!(begun.elapsed() < Duration::from_secs(1));
    chat.nodes[1].signal(Signal::CONT);
    bob.expect("502 Bad Gateway", "Missed 3 messages: you read too slowly");
    alice.ask("Private-message bob end", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "end");
    alice.ask("Broadcast-message end", "200 OK", "Delivered to 2");
    bob.expect_delivery("broadcast", "alice", "end");
    bob.barrier();
    assert_eq!(chat.nodes[1].count_log("is not understood"), 1);
}
