//! A chat over several nodes that reach their Redis.

use super::{Chat, ask_as, ask_until, end_lease, quit};
use crate::command_line::run;
use crate::support::{Client, Redis, Server, has_tool};
use rustix::process::Signal;
use std::process::Command;
use std::thread;

/// The data of a refused resumption.
const ELSEWHERE: &str = "This session is at another server";

#[test]
fn name_is_taken_at_all_nodes_in_any_case() {
    let Some(chat) = Chat::start(2) else { return };
    let alice = chat.log_in(0, "Alice");
    let mut bob = chat.log_in(1, "bob");
    bob.ask("Set-name aLICE", "403 Forbidden", "aLICE is taken");
    let mut nameless = chat.connect(1);
    nameless.ask("Set-name alice", "403 Forbidden", "alice is taken");
    nameless.ask("Ping", "200 OK", "Pong");
    quit(alice);
    nameless.set_name("alice");
    bob.ask("Set-name ALICE", "403 Forbidden", "ALICE is taken");
}

#[test]
fn name_goes_to_one_of_many_that_want_it() {
    let Some(chat) = Chat::start(3) else { return };
    for round in 0..10 {
        let name = format!("name{round}");
        let clients: Vec<Client> = (0..9).map(|n| chat.connect(n % 3)).collect();
        let outcomes: Vec<(Client, String)> = thread::scope(|scope| {
            let asking = clients.into_iter().map(|mut client| {
                let name = &name;
                scope.spawn(move || {
                    client.send(&format!("Set-name {name}"));
                    let data = client.next().data;
                    (client, data)
                })
            });
            let asking: Vec<_> = asking.collect();
            let outcomes = asking.into_iter().map(|it| it.join().expect("an answer"));
            outcomes.collect()
        });
        let won = outcomes
            .iter()
            .filter(|it| it.1 == format!("You are {name}"));
        assert_eq!(won.count(), 1);
        let lost = outcomes
            .iter()
            .filter(|it| it.1 == format!("{name} is taken"));
        assert_eq!(lost.count(), 8);
    }
}

#[test]
fn private_message_crosses_nodes() {
    let Some(chat) = Chat::start(3) else { return };
    let (mut alice, mut bob, mut carol) = (
        chat.log_in(0, "alice"),
        chat.log_in(1, "Bob"),
        chat.log_in(2, "carol"),
    );
    alice.ask(
        "Private-message bOB  two  spaces ",
        "200 OK",
        "Delivered to Bob",
    );
    bob.expect_delivery("private", "alice", " two  spaces ");
    bob.ask(
        "Private-message ALICE приве́т 🙂",
        "200 OK",
        "Delivered to alice",
    );
    alice.expect_delivery("private", "Bob", "приве́т 🙂");
    carol.ask(
        "Private-message DAVE hi",
        "404 Not Found",
        "No one is named DAVE",
    );
    for client in [&mut alice, &mut bob, &mut carol] {
        client.barrier();
    }
}

#[test]
fn messages_of_one_sender_keep_their_order_across_nodes() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    for n in 0..200 {
        alice.send(&format!("Private-message bob {n}"));
        alice.send(&format!("Broadcast-message {n}"));
    }
    for n in 0..200 {
        bob.expect_delivery("private", "alice", &n.to_string());
        bob.expect_delivery("broadcast", "alice", &n.to_string());
        alice.expect("200 OK", "Delivered to bob");
        alice.expect("200 OK", "Delivered to 1");
    }
}

#[test]
fn full_queue_is_reported_to_a_sender_at_another_node() {
    if !has_tool("redis-server") {
        return;
    }
    let redis = Redis::start(&[]);
    let nodes = [(); 2].map(|()| Chat::start_node(&redis, &["--queue", "16384"]));
    let (mut slow, mut flood) = (nodes[0].log_in("slow"), nodes[1].log_in("flood"));
    let filled = flood.fill_queue("slow");
    assert!(filled.refused > 0);
    let text = "x".repeat(1_900);
    flood.ask(
        &format!("Broadcast-message {text}"),
        "200 OK",
        "Delivered to 0",
    );
    slow.send("Ping");
    let (mut numbers, mut missed) = (Vec::new(), 0);
    loop {
        let data = slow.next().data;
        match crate::support::missed_by(&data) {
            Some(count) => missed += count,
            None if data == "Pong" => break,
            None => numbers.push(crate::support::number_of(&data)),
        }
    }
    assert_eq!((numbers, missed), (filled.queued, filled.refused + 1));
}

#[test]
fn broadcast_counts_the_sessions_of_all_nodes() {
    let Some(chat) = Chat::start(3) else { return };
    let mut alice = chat.log_in(0, "alice");
    alice.ask("Broadcast-message anyone?", "200 OK", "Delivered to 0");
    let mut others = [
        chat.log_in(0, "bob"),
        chat.log_in(1, "carol"),
        chat.log_in(2, "dora"),
    ];
    let mut nameless = chat.connect(1);
    alice.ask("Broadcast-message all", "200 OK", "Delivered to 3");
    for other in &mut others {
        other.expect_delivery("broadcast", "alice", "all");
        other.barrier();
    }
    alice.barrier();
    nameless.barrier();
}

#[test]
fn all_sessions_see_broadcasts_in_one_order() {
    let Some(chat) = Chat::start(3) else { return };
    const EACH: usize = 50;
    let mut listeners = [0, 1, 2].map(|n| chat.log_in(n, &format!("listener{n}")));
    let talkers: Vec<Client> = (0..6)
        .map(|n| chat.log_in(n % 3, &format!("talker{n}")))
        .collect();
    // A session that has ended would not be counted, so all go on until the end.
    let _talkers: Vec<Client> = thread::scope(|scope| {
        let talk = |mut talker: Client| {
            talker.ignore_deliveries = true;
            for n in 0..EACH {
                let request = format!("Broadcast-message {n}");
                talker.ask(&request, "200 OK", "Delivered to 8");
            }
            talker
        };
        let talking = talkers.into_iter().map(|it| scope.spawn(move || talk(it)));
        let talking: Vec<_> = talking.collect();
        let talkers = talking
            .into_iter()
            .map(|it| it.join().expect("its answers"));
        talkers.collect()
    });
    let orders = listeners.each_mut().map(|listener| {
        let all = (0..6 * EACH).map(|_| listener.next().data);
        all.collect::<Vec<String>>()
    });
    assert_eq!(orders[0], orders[1]);
    assert_eq!(orders[0], orders[2]);
}

#[test]
fn names_of_all_nodes_are_listed() {
    let Some(chat) = Chat::start(3) else { return };
    let mut alice = chat.log_in(0, "alice");
    let _others = [
        chat.log_in(1, "Bo"),
        chat.log_in(2, "bob"),
        chat.log_in(0, "BOBBY"),
        chat.log_in(1, "Zoe"),
    ];
    alice.ask("List-names", "200 OK", "5 online: alice Bo bob BOBBY Zoe");
    alice.ask("List-names bO", "200 OK", "3 online: Bo bob BOBBY");
    alice.ask("List-names x", "200 OK", "0 online");
}

#[test]
fn presence_is_told_at_all_nodes() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut here, mut there) = (chat.watcher(0, "here"), chat.watcher(1, "there"));
    here.expect_presence("joined there");
    let mut bob = chat.log_in(0, "bob");
    bob.ask("Set-name Robert", "200 OK", "You are Robert");
    bob.ask("Broadcast-message hi", "200 OK", "Delivered to 2");
    quit(bob);
    // A lost session has left, too.
    chat.log_in(1, "carol").reset();
    for watcher in [&mut here, &mut there] {
        watcher.expect_presence("joined bob");
        watcher.expect_presence("renamed bob Robert");
        watcher.expect_delivery("broadcast", "Robert", "hi");
        watcher.expect_presence("left Robert");
        watcher.expect_presence("joined carol");
        watcher.expect_presence("left carol");
    }
    here.ask("Broadcast-message last", "200 OK", "Delivered to 1");
    there.expect_delivery("broadcast", "here", "last");
    here.barrier();
    there.barrier();
}

/// Expects these broadcasts in the history.
#[track_caller]
fn expect_recent(client: &mut Client, messages: &[&str]) {
    client.send("Recent-messages");
    for message in messages {
        let data = client.next().data;
        assert!(data.starts_with("Incoming-recent "), "{data}");
        assert!(data.ends_with(&format!("Z {message}")), "{data}");
    }
    client.expect("200 OK", &format!("{} recent", messages.len()));
}

#[test]
fn history_is_the_same_at_all_nodes_and_survives_them() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    alice.ask("Broadcast-message one", "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "alice", "one");
    alice.ask("Private-message bob secret", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "secret");
    bob.ask("Broadcast-message two", "200 OK", "Delivered to 1");
    alice.expect_delivery("broadcast", "bob", "two");
    for client in [&mut alice, &mut bob] {
        expect_recent(client, &["alice one", "bob two"]);
    }
    quit(alice);
    chat.nodes[0].signal(Signal::TERM);
    assert_eq!(chat.nodes[0].expect_exit().code(), Some(0));
    chat.add_node();
    let mut carol = chat.log_in(2, "carol");
    bob.ask("Broadcast-message three", "200 OK", "Delivered to 1");
    carol.expect_delivery("broadcast", "bob", "three");
    expect_recent(&mut carol, &["alice one", "bob two", "bob three"]);
}

#[test]
fn token_acts_at_another_node_in_its_session_name() {
    let Some(chat) = Chat::start(3) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    let token = alice.token.clone();
    for node in [1, 2] {
        let mut script = chat.connect(node);
        for (request, data) in [
            ("Private-message bob hi", "Delivered to bob"),
            ("Private-message alice note", "Delivered to alice"),
            ("Broadcast-message all", "Delivered to 1"),
            ("List-names", "2 online: alice bob"),
            ("Ping here", "Pong here"),
        ] {
            ask_as(&mut script, &token, request, "200 OK", data);
        }
        bob.expect_delivery("private", "alice", "hi");
        bob.expect_delivery("broadcast", "alice", "all");
        alice.expect_delivery("private", "alice", "note");
        script.send_as(&token, "Help");
        let message = script.next();
        assert_eq!((&*message.status, &*message.header), ("200 OK", &*token));
        assert!(message.data.starts_with("Commands: Set-name NAME, "));
        script.send_as(&token, "Recent-messages 1");
        let message = script.next();
        assert!(message.data.ends_with(" alice all"), "{message:?}");
        assert_eq!(message.header, token);
        script.expect_with(&token, "200 OK", "1 recent");
        let unknown = "Nonsense is not a command; try Help";
        let status = "501 Not Implemented";
        ask_as(&mut script, &token, "Nonsense", status, unknown);
        ask_as(&mut script, &token, "", "400 Bad Request", "Empty request");
        // An empty header acts for no session.
        script.ask("List-names", "401 Unauthorized", "Set a name first");
    }
    alice.barrier();
    bob.barrier();
}

#[test]
fn unknown_token_gets_401_at_every_node() {
    let Some(chat) = Chat::start(2) else { return };
    let alice = chat.log_in(0, "alice");
    let token = alice.token.clone();
    let mut bob = chat.log_in(1, "bob");
    for header in ["x", &"0".repeat(32), &token.to_uppercase()] {
        for body in ["Broadcast-message never", "Quit", "Set-name other", "Ping"] {
            bob.send_as(header, body);
            bob.expect_with("", "401 Unauthorized", "Unknown token");
        }
    }
    // The token of a session that has ended.
    quit(alice);
    for body in ["Ping", "Quit", "Set-name alice", "Watch-presence on"] {
        bob.send_as(&token, body);
        bob.expect_with("", "401 Unauthorized", "Unknown token");
    }
}

#[test]
fn quit_at_another_node_ends_the_session() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(1, "bob"));
    bob.ask(
        "Private-message alice last words",
        "200 OK",
        "Delivered to alice",
    );
    let mut script = chat.connect(1);
    let token = alice.token.clone();
    ask_as(&mut script, &token, "Quit", "200 OK", "Goodbye");
    script.expect_end();
    alice.expect_delivery("private", "bob", "last words");
    alice.expect_end();
    bob.expect_presence("left alice");
    let _alice = chat.log_in(1, "alice");
    bob.expect_presence("joined alice");
}

#[test]
fn watching_is_switched_at_another_node() {
    let Some(chat) = Chat::start(2) else { return };
    let mut alice = chat.log_in(0, "alice");
    let token = alice.token.clone();
    let mut script = chat.connect(1);
    let (on, off) = ("Watching presence", "Not watching presence");
    ask_as(&mut script, &token, "Watch-presence on", "200 OK", on);
    ask_as(
        &mut script,
        &token,
        "Watch-presence on",
        "304 Not Modified",
        on,
    );
    let bob = chat.log_in(1, "bob");
    alice.expect_presence("joined bob");
    ask_as(&mut script, &token, "Watch-presence off", "200 OK", off);
    ask_as(
        &mut script,
        &token,
        "Watch-presence off",
        "304 Not Modified",
        off,
    );
    quit(bob);
    // It reaches the node behind the end of bob.
    ask_as(
        &mut script,
        &token,
        "Watch-presence off",
        "304 Not Modified",
        off,
    );
    alice.barrier();
    script.barrier();
}

#[test]
fn session_is_resumed_only_at_its_node() {
    let Some(chat) = Chat::start(2) else { return };
    let mut alice = chat.log_in(0, "alice");
    alice.use_token();
    let token = alice.token.clone();
    let mut other = chat.connect(1);
    for name in ["alice", "carol"] {
        other.send_as(&token, &format!("Set-name {name}"));
        other.expect_with(&token, "403 Forbidden", ELSEWHERE);
    }
    // The session is unchanged, and that connection can still begin one.
    alice.barrier();
    other.set_name("other");
    alice.reset();
    chat.nodes[0].expect_log_of("lost alice (", "session lingers");
    let mut nameless = chat.connect(1);
    nameless.send_as(&token, "Set-name alice");
    nameless.expect_with(&token, "403 Forbidden", ELSEWHERE);
    other.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    let mut again = chat.connect(0);
    again.token.clone_from(&token);
    again.send_as(&token, "Set-name alice");
    again.expect("304 Not Modified", "You are already alice");
    again.expect_delivery("private", "other", "hi");
    again.barrier();
}

#[test]
fn connection_with_a_session_keeps_it_at_every_node() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    bob.send_as(&alice.token, "Set-name alice");
    bob.expect("403 Forbidden", "This connection is bob");
    bob.barrier();
    alice.barrier();
}

#[test]
fn session_lingers_after_its_token_was_used_elsewhere() {
    let Some(chat) = Chat::start(2) else { return };
    let (alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    let token = alice.token.clone();
    ask_as(&mut bob, &token, "Ping", "200 OK", "Pong");
    // It reaches the node of alice behind the use of her token.
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    alice.reset();
    chat.nodes[0].expect_log_of("lost alice (", "session lingers");
    bob.ask("Private-message alice note", "200 OK", "Delivered to alice");
    bob.ask("Set-name alice", "403 Forbidden", "alice is taken");
}

#[test]
fn rename_holds_at_all_nodes() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    alice.ask("Set-name ALICE", "200 OK", "You are ALICE");
    alice.ask(
        "Set-name ALICE",
        "304 Not Modified",
        "You are already ALICE",
    );
    bob.ask("List-names", "200 OK", "2 online: ALICE bob");
    alice.ask("Set-name carol", "200 OK", "You are carol");
    bob.ask(
        "Private-message alice hi",
        "404 Not Found",
        "No one is named alice",
    );
    bob.ask("Private-message carol hi", "200 OK", "Delivered to carol");
    alice.expect_delivery("private", "bob", "hi");
    alice.ask("Broadcast-message hello", "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "carol", "hello");
    // The old name is free, and the token is the same.
    bob.ask("Set-name Alice", "200 OK", "You are Alice");
    let token = alice.token.clone();
    ask_as(&mut bob, &token, "Ping", "200 OK", "Pong");
}

#[test]
fn name_is_free_at_every_node_before_the_close_is_seen() {
    let Some(chat) = Chat::start(3) else { return };
    for round in 0..60 {
        let mut client = chat.log_in(round % 3, "alice");
        match round % 2 {
            0 => client.close_input(),
            _ => client.ask("Quit", "200 OK", "Goodbye"),
        }
        client.expect_end();
    }
}

#[test]
fn shutdown_of_a_node_ends_its_sessions_only() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(1, "bob"));
    bob.ask("Private-message alice bye", "200 OK", "Delivered to alice");
    chat.nodes[0].signal(Signal::TERM);
    alice.expect_delivery("private", "bob", "bye");
    alice.expect("502 Bad Gateway", "The server is shutting down");
    // The name is free before its client hears of the shutdown.
    let mut again = chat.log_in(1, "alice");
    alice.expect_end();
    bob.expect_presence("left alice");
    bob.expect_presence("joined alice");
    assert_eq!(chat.nodes[0].expect_exit().code(), Some(0));
    bob.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    again.expect_delivery("broadcast", "bob", "hi");
    bob.ask("List-names", "200 OK", "2 online: alice bob");
    let token = alice.token.clone();
    bob.send_as(&token, "Ping");
    bob.expect_with("", "401 Unauthorized", "Unknown token");
    // Redis knows nothing of the node.
    let nodes: Vec<String> = chat.redis.ask(&["ZRANGE", "chat:{main}:nodes", "0", "-1"]);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn node_that_starts_later_joins_the_chat() {
    let Some(mut chat) = Chat::start(1) else {
        return;
    };
    let mut alice = chat.watcher(0, "alice");
    alice.ask("Broadcast-message early", "200 OK", "Delivered to 0");
    chat.add_node();
    let mut bob = chat.log_in(1, "bob");
    alice.expect_presence("joined bob");
    bob.ask("Set-name alice", "403 Forbidden", "alice is taken");
    bob.ask("List-names", "200 OK", "2 online: alice bob");
    bob.ask("Private-message alice hi", "200 OK", "Delivered to alice");
    alice.expect_delivery("private", "bob", "hi");
    expect_recent(&mut bob, &["alice early"]);
}

#[test]
fn chats_with_different_names_are_apart() {
    if !has_tool("redis-server") {
        return;
    }
    let redis = Redis::start(&[]);
    let nodes = ["class-1_A", "main", &"z".repeat(32)];
    let nodes = nodes.map(|name| Chat::start_node(&redis, &["--chat", name]));
    let mut clients = nodes.each_ref().map(|node| node.log_in("alice"));
    for client in &mut clients {
        client.ask("List-names", "200 OK", "1 online: alice");
        client.ask("Broadcast-message hi", "200 OK", "Delivered to 0");
    }
    // `main` is the default.
    let other = Chat::start_node(&redis, &[]);
    other
        .connect()
        .ask("Set-name alice", "403 Forbidden", "alice is taken");
}

#[test]
fn redis_is_named_by_the_environment_too() {
    let Some(chat) = Chat::start(1) else { return };
    let _alice = chat.log_in(0, "alice");
    let url = chat.redis.url();
    let by_environment = Server::start_by(
        Command::new(env!("CARGO_BIN_EXE_chat-server")),
        &[],
        |command| {
            command.env("CHAT_REDIS", url);
        },
    );
    by_environment
        .connect()
        .ask("Set-name alice", "403 Forbidden", "alice is taken");
}

#[test]
fn rights_in_the_guide_are_enough_and_not_too_many() {
    if !has_tool("redis-server") {
        return;
    }
    let redis = Redis::start(&[]);
    let guide = include_str!("../../../src/guide/several_servers.md");
    let rule = guide.lines().find(|line| line.starts_with("ACL SETUSER "));
    let rule: Vec<&str> = rule.expect("a rule").split(' ').collect();
    redis.ask::<()>(&rule);
    let url = format!("{}?user=chat&pass=PASSWORD", redis.url());
    let start = || Server::start_node_at(&url, &["--rate", "0"], |_| {});
    let (one, mut two) = (start(), start());
    let (mut alice, bob) = (one.log_in("alice"), two.log_in("bob"));
    alice.ask("Watch-presence on", "200 OK", "Watching presence");
    alice.ask("Private-message bob hi", "200 OK", "Delivered to bob");
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    alice.set_name("Alice");
    alice.ask("List-names", "200 OK", "2 online: Alice bob");
    ask_as(
        &mut alice,
        &bob.token,
        "Watch-presence on",
        "200 OK",
        "Watching presence",
    );
    // The other node removes a killed one.
    two.signal(Signal::KILL);
    two.expect_exit();
    end_lease(&redis, "bob");
    alice.expect_presence("left bob");
    quit(alice);
    let mut stranger = redis::Client::open(url)
        .and_then(|it| it.get_connection())
        .expect("a connection");
    for command in ["FLUSHALL", "KEYS"] {
        let refused = redis::cmd(command).arg("*").query::<()>(&mut stranger);
        let code = refused.as_ref().err().and_then(redis::RedisError::code);
        assert_eq!(code, Some("NOPERM"), "{command}");
    }
    let other = redis::cmd("GET").arg("other").query::<()>(&mut stranger);
    assert_eq!(
        other.as_ref().err().and_then(redis::RedisError::code),
        Some("NOPERM")
    );
}

#[test]
fn unreachable_redis_is_one_line_and_exit_code_1() {
    for url in [
        "unix:///nowhere/socket",
        // No program listens on the port of tcpmux (RFC 1078).
        "redis://127.0.0.1:1/",
    ] {
        let (code, stdout, stderr) = run(&["-l", "127.0.0.1:0", "--redis", url]);
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("chat-server: "), "{stderr}");
    }
}

#[test]
fn bad_url_or_chat_name_is_one_line_and_exit_code_2() {
    let long = "x".repeat(33);
    let url = "unix:///nowhere/socket";
    for arguments in [
        ["--redis", "nonsense", "--chat", "main"],
        ["--redis", "http://127.0.0.1/", "--chat", "main"],
        ["--redis", url, "--chat", ""],
        ["--redis", url, "--chat", "a b"],
        ["--redis", url, "--chat", "a}b"],
        ["--redis", url, "--chat", "приве́т"],
        ["--redis", url, "--chat", &long],
    ] {
        let (code, stdout, stderr) = run(&arguments);
        assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?} {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("chat-server: "), "{stderr}");
    }
}

#[test]
fn password_of_redis_reaches_no_log() {
    let url = "redis://:secret-word@127.0.0.1:1/";
    let (_, stdout, stderr) = run(&["-l", "127.0.0.1:0", "-vv", "--redis", url]);
    assert!(!(stdout + &stderr).contains("secret-word"));
}

#[test]
fn session_ends_at_its_node_while_others_watch() {
    let Some(chat) = Chat::start(2) else { return };
    let mut alice = chat.watcher(0, "alice");
    for round in 0..20 {
        let mut bob = chat.log_in(1, "bob");
        alice.expect_presence("joined bob");
        bob.ask(
            &format!("Private-message alice {round}"),
            "200 OK",
            "Delivered to alice",
        );
        quit(bob);
        alice.expect_delivery("private", "bob", &round.to_string());
        alice.expect_presence("left bob");
    }
    ask_until(&mut alice, "List-names", "1 online: alice");
}
