//! Nodes that do not reach their Redis or each other for a while.

use super::{AWAY, Chat, MAYBE, ask_until};
use crate::support::{Client, wait_for};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Waits until a node knows that Redis is away.
#[track_caller]
fn expect_away(client: &mut Client) {
    ask_until(client, "List-names", AWAY);
}

/// Expects the requests that need no other node to succeed, and all others to be refused.
///
/// `bob` is at the node of `alice`.
#[track_caller]
fn check_one_node(chat: &Chat, alice: &mut Client, bob: &mut Client) {
    alice.ask("Private-message bob near", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "near");
    alice.barrier();
    for request in [
        "List-names",
        "Broadcast-message hi",
        "Private-message carol hi",
        "Set-name other",
    ] {
        alice.ask(request, "502 Bad Gateway", AWAY);
    }
    let mut nameless = chat.connect(0);
    nameless.send("Set-name newcomer");
    nameless.expect_with("", "502 Bad Gateway", AWAY);
    // The token may be of another node.
    nameless.send_as(&"0".repeat(32), "Ping");
    nameless.expect_with("", "502 Bad Gateway", AWAY);
    nameless.ask("Quit", "200 OK", "Goodbye");
    nameless.expect_end();
}

/// Expects that the sessions of two nodes reach each other, and that names are unique.
#[track_caller]
fn check_two_nodes(chat: &Chat, alice: &mut Client, carol: &mut Client) {
    ask_until(alice, "Private-message carol far", "Delivered to carol");
    // A message whose sender was told that it may have arrived can arrive.
    while !carol
        .next()
        .data
        .ends_with("Incoming-message private alice far")
    {}
    for (node, name) in [(0, "carol"), (1, "alice")] {
        let taken = format!("{name} is taken");
        ask_until(&mut chat.connect(node), &format!("Set-name {name}"), &taken);
    }
    ask_until(alice, "List-names", "3 online: alice bob carol");
    ask_until(carol, "List-names", "3 online: alice bob carol");
}

#[test]
fn chat_goes_on_when_redis_is_back_without_data() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(0, "bob"));
    let mut carol = chat.log_in(1, "carol");
    chat.redis.kill();
    expect_away(&mut alice);
    expect_away(&mut carol);
    check_one_node(&chat, &mut alice, &mut bob);
    chat.redis.start_again();
    check_two_nodes(&chat, &mut alice, &mut carol);
    bob.barrier();
}

#[test]
fn chat_goes_on_when_redis_is_back_with_its_data() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(0, "bob"));
    let mut carol = chat.log_in(1, "carol");
    bob.expect_presence("joined carol");
    chat.redis.save();
    chat.redis.kill();
    expect_away(&mut alice);
    expect_away(&mut carol);
    check_one_node(&chat, &mut alice, &mut bob);
    chat.redis.start_again();
    check_two_nodes(&chat, &mut alice, &mut carol);
    // No session has left, so none is told to join.
    bob.barrier();
}

#[test]
fn session_that_ends_while_redis_is_away_frees_its_name() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let mut alice = chat.log_in(0, "alice");
    let (mut bob, mut carol) = (chat.watcher(1, "bob"), chat.log_in(0, "carol"));
    bob.expect_presence("joined carol");
    chat.redis.save();
    chat.redis.kill();
    expect_away(&mut alice);
    // The close does not wait for Redis.
    carol.ask("Quit", "200 OK", "Goodbye");
    carol.expect_end();
    chat.redis.start_again();
    ask_until(&mut chat.connect(1), "Set-name carol", "You are carol");
    bob.expect_presence("left carol");
    bob.expect_presence("joined carol");
}

#[test]
fn stopped_redis_delays_a_request_for_seconds_only() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(0, "bob"));
    let mut carol = chat.log_in(1, "carol");
    chat.redis.stop();
    let begun = Instant::now();
    alice.send("Private-message carol maybe");
    // Meanwhile the other clients of its node chat.
    bob.send("Private-message bob near");
    bob.expect_delivery("private", "bob", "near");
    bob.expect("200 OK", "Delivered to bob");
    let message = alice.next();
    assert_eq!(message.status, "502 Bad Gateway");
    let expected = [
        MAYBE,
        "No answer from the server of carol; the message may have arrived",
    ];
    assert!(expected.contains(&&*message.data), "{message:?}");
    assert!(begun.elapsed() < Duration::from_secs(8));
    expect_away(&mut alice);
    chat.redis.resume();
    check_two_nodes(&chat, &mut alice, &mut carol);
}

#[test]
fn names_of_a_killed_node_are_free_within_20_seconds() {
    let Some(mut chat) = Chat::start(3) else {
        return;
    };
    let (mut alice, bob) = (chat.watcher(0, "alice"), chat.log_in(1, "bob"));
    alice.expect_presence("joined bob");
    let mut carol = chat.log_in(2, "carol");
    alice.expect_presence("joined carol");
    chat.nodes[1].signal(Signal::KILL);
    chat.nodes[1].expect_exit();
    let begun = Instant::now();
    drop(bob);
    alice.ask("Set-name bob", "403 Forbidden", "bob is taken");
    // Nothing is answered 200 in the name of the killed node.
    carol.send("Private-message bob hi");
    assert_eq!(carol.next().status, "502 Bad Gateway");
    carol.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    alice.expect_delivery("private", "carol", "hi");
    let mut client = chat.connect(2);
    wait_for("the free name", || {
        client.send("Set-name bob");
        client.next().data == "You are bob"
    });
    assert!(begun.elapsed() < Duration::from_secs(20));
    alice.expect_presence("left bob");
    alice.expect_presence("joined bob");
    carol.ask("Broadcast-message all", "200 OK", "Delivered to 2");
}

#[test]
fn broadcast_is_answered_although_a_node_is_stopped() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(0, "bob"));
    let mut carol = chat.log_in(1, "carol");
    alice.ask("Broadcast-message one", "200 OK", "Delivered to 2");
    chat.nodes[1].stop();
    let begun = Instant::now();
    alice.ask("Broadcast-message two", "200 OK", "Delivered to 1");
    assert!(begun.elapsed() < Duration::from_secs(4));
    // The node is suspected now, so it is left out at once.
    alice.ask("Broadcast-message three", "200 OK", "Delivered to 1");
    alice.ask(
        "Private-message carol hi",
        "502 Bad Gateway",
        "The server of carol cannot be reached now",
    );
    chat.nodes[1].signal(Signal::CONT);
    ask_until(
        &mut alice,
        "Private-message carol again",
        "Delivered to carol",
    );
    ask_until(&mut alice, "Broadcast-message last", "Delivered to 2");
    for text in ["one", "two", "three"] {
        bob.expect_delivery("broadcast", "alice", text);
    }
    while !carol.next().data.ends_with(" broadcast alice last") {}
}
