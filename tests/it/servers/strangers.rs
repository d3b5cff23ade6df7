//! A program that is no node writes to the keys of the chat.

use super::{Chat, ask_until, key, quit};
use crate::support::{Client, missed_by};

/// Returns the inbox of the node that has the session of this name.
#[track_caller]
fn inbox_of(chat: &Chat, name: &str) -> String {
    let entry: String = chat.redis.ask(&["HGET", &key("names"), name]);
    key(&format!("inbox:{}", &entry[..16]))
}

/// Sends a command whose words may be any bytes.
#[track_caller]
fn write(chat: &Chat, words: &[&[u8]]) {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    let answer = command.query::<redis::Value>(&mut chat.redis.connect());
    assert!(answer.is_ok(), "{answer:?}");
}

/// Expects that the sessions of two nodes reach each other, and get nothing else.
#[track_caller]
fn check_two_nodes(chat: &Chat, alice: &mut Client, bob: &mut Client) {
    alice.ask("Private-message bob hi", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "hi");
    bob.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    alice.expect_delivery("broadcast", "bob", "hi");
    alice.ask("List-names", "200 OK", "2 online: alice bob");
    for node in [0, 1] {
        let mut client = chat.connect(node);
        client.ask("Set-name ALICE", "403 Forbidden", "ALICE is taken");
    }
    alice.barrier();
    bob.barrier();
}

/// Reads gaps until they are this many messages together.
#[track_caller]
fn expect_missed(client: &mut Client, count: usize) {
    let mut missed = 0;
    while missed < count {
        missed += missed_by(&client.next().data).expect("a gap");
    }
    assert_eq!(missed, count);
}

#[test]
fn counters_that_jump_are_told_as_missed_messages() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(1, "bob"));
    for _ in 0..2 {
        chat.redis.ask::<u32>(&["INCRBY", &key("n"), "5"]);
        chat.redis.ask::<u32>(&["INCRBY", &key("p"), "3"]);
        alice.expect("502 Bad Gateway", "Missed 5 messages: you read too slowly");
        expect_missed(&mut bob, 8);
    }
    check_two_nodes(&chat, &mut alice, &mut bob);
    let carol = chat.log_in(0, "carol");
    bob.expect_presence("joined carol");
    quit(carol);
    bob.expect_presence("left carol");
    alice.send("Recent-messages");
    let data = alice.next().data;
    assert!(data.ends_with(" bob hi"), "{data}");
    alice.expect("200 OK", "1 recent");
}

#[test]
fn entries_of_a_stranger_are_logged_and_skipped() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(1, "bob"));
    let (token, node) = (bob.token.clone(), "0123456789abcdef");
    let huge = "x".repeat(1_000_000);
    let private = |sender: &[u8], text: &[u8]| {
        let [from, to] = [node, &token].map(str::as_bytes);
        let fields: [&[u8]; 12] = [
            b"k", b"private", b"q", b"1", b"from", from, b"to", to, b"sender", sender, b"text",
            text,
        ];
        fields.map(<[u8]>::to_vec).to_vec()
    };
    let words = |words: &[&str]| -> Vec<Vec<u8>> {
        words.iter().map(|it| it.as_bytes().to_vec()).collect()
    };
    let broadcast = |text, at| {
        let head = [
            "k",
            "broadcast",
            "n",
            "9",
            "q",
            "1",
            "from",
            node,
            "token",
            &token,
        ];
        words(&[&head[..], &["sender", "bob", "text", text, "at", at]].concat())
    };
    let entries = [
        words(&["x", "y"]),
        words(&["k", "unknown"]),
        words(&["k", ""]),
        words(&["k", "private"]),
        words(&["k", "tick", "n", "many", "p", "-1"]),
        words(&["k", "hello", "fence", "x", "n", "1", "p", "1"]),
        words(&["k", "left", "p", "1", "names", "a\r\n200 OK\r\n"]),
        words(&[
            "k", "joined", "p", "9", "token", &token, "name", "a b", "node", node,
        ]),
        words(&[
            "k", "renamed", "p", "9", "token", &token, "old", "bob", "name", "", "node", node,
        ]),
        words(&[
            "k", "confirm", "q", "1", "from", node, "outcome", "x", "count", "1",
        ]),
        words(&[
            "k", "confirm", "q", "1", "from", node, "outcome", "queued", "count", "-1",
        ]),
        words(&["k", "end", "q", "1", "from", node, "token", "x"]),
        broadcast("two\r\nlines", "1"),
        broadcast("hi", "18446744073709551615"),
        private(b"alice", b""),
        private(b"alice", b"two\r\nlines"),
        private(b"alice", huge.as_bytes()),
        private(b"alice", b"\xff\xfe\0"),
        private(b"two words", b"hi"),
        private(b"a\r\n", b"hi"),
        private(huge.as_bytes(), b"hi"),
        private(b"\xff", b"hi"),
        vec![b"\xff\0".to_vec(), b"\xfe".to_vec()],
    ];
    for name in ["alice", "bob"] {
        let inbox = inbox_of(&chat, name);
        for entry in &entries {
            let mut all: Vec<&[u8]> = vec![b"XADD", inbox.as_bytes(), b"*"];
            all.extend(entry.iter().map(Vec::as_slice));
            write(&chat, &all);
        }
    }
    check_two_nodes(&chat, &mut alice, &mut bob);
    for node in &chat.nodes {
        // The throttle suppresses the others.
        assert_eq!(node.count_log("skipped an entry in Redis"), 1);
        assert_eq!(node.count_log("panic"), 0);
    }
}

#[test]
fn keys_of_a_wrong_type_cost_502_until_they_are_gone() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "alice", "hi");
    for name in ["names", "tokens", "sorted", "history"] {
        let saved = key("saved");
        chat.redis.ask::<()>(&["RENAME", &key(name), &saved]);
        chat.redis.ask::<()>(&["SET", &key(name), "x"]);
        let (body, header) = match name {
            "names" => ("Private-message bob never", alice.token.clone()),
            "tokens" => ("Ping", "0".repeat(32)),
            "sorted" => ("List-names", String::new()),
            _ => ("Broadcast-message hi", String::new()),
        };
        alice.send_as(&header, body);
        let message = alice.next();
        if name != "history" {
            assert_eq!(message.status, "502 Bad Gateway", "{name}");
            let mut nameless = chat.connect(1);
            nameless.send("Set-name carol");
            assert_eq!(nameless.next().status, "502 Bad Gateway", "{name}");
        }
        chat.redis.ask::<()>(&["RENAME", &saved, &key(name)]);
    }
    // The broadcast has arrived before the error.
    bob.expect_delivery("broadcast", "alice", "hi");
    check_two_nodes(&chat, &mut alice, &mut bob);
}

#[test]
fn node_starts_and_reads_on_with_garbage_in_the_history() {
    let Some(mut chat) = Chat::start(1) else {
        return;
    };
    let mut alice = chat.log_in(0, "alice");
    alice.ask("Broadcast-message early", "200 OK", "Delivered to 0");
    let history = key("history");
    for fields in [
        ["n", "7", "x", "y"],
        ["n", "8", "text", "two\r\nlines"],
        ["\0", "", "k", "k"],
    ] {
        let words = ["XADD", &history, "*"].map(str::as_bytes);
        write(&chat, &[&words[..], &fields.map(str::as_bytes)].concat());
    }
    chat.add_node();
    let mut bob = chat.log_in(1, "bob");
    bob.send("Recent-messages");
    let data = bob.next().data;
    assert!(data.ends_with(" alice early"), "{data}");
    bob.expect("200 OK", "1 recent");
    // A key of a wrong type is skipped.
    chat.redis.ask::<()>(&["DEL", &history]);
    chat.redis.ask::<()>(&["SET", &history, "x"]);
    chat.redis.ask::<u32>(&["INCRBY", &key("n"), "2"]);
    for client in [&mut alice, &mut bob] {
        expect_missed(client, 2);
    }
    chat.add_node();
    let carol = chat.log_in(2, "carol");
    quit(carol);
    chat.redis.ask::<()>(&["DEL", &history]);
    check_two_nodes(&chat, &mut alice, &mut bob);
}

#[test]
fn garbage_in_the_registry_disturbs_no_node() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    let [names, sorted, nodes, owned] =
        ["names", "sorted", "nodes", "owned:x"].map(|it| key(it).into_bytes());
    write(&chat, &[b"HSET", &names, b"carol", b"garbage"]);
    write(&chat, &[b"HSET", &names, b"dora", b"\xfe\xfe"]);
    write(&chat, &[b"SADD", &owned, b"\xff"]);
    for garbage in [&b"garbage"[..], b"\xff \xff", b"bob two words"] {
        write(&chat, &[b"ZADD", &sorted, b"0", garbage]);
    }
    for garbage in [&b"no node"[..], b"\xff\xfe"] {
        write(&chat, &[b"ZADD", &nodes, b"9999999999999", garbage]);
    }
    // Neither garbage is a session.
    for name in ["carol", "dora"] {
        let mut client = chat.log_in(0, name);
        client.ask("Private-message bob hi", "200 OK", "Delivered to bob");
        bob.expect_delivery("private", name, "hi");
        quit(client);
    }
    bob.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    alice.expect_delivery("broadcast", "bob", "hi");
    // A renewal passes.
    chat.redis.ask::<u32>(&["INCRBY", &key("n"), "1"]);
    for client in [&mut alice, &mut bob] {
        expect_missed(client, 1);
        client.send("List-names");
        let message = client.next();
        assert_eq!(message.status, "200 OK");
        assert!(message.data.contains(" alice bob"), "{message:?}");
    }
    for node in &chat.nodes {
        assert_eq!(node.count_log("lost the connection"), 0);
    }
    ask_until(&mut alice, "Private-message bob hi", "Delivered to bob");
}
