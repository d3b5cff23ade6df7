//! Presence (section 4): `Watch-presence`, and what watchers are told, in which order.

use crate::support::{Client, Server, filling, is_spread_without, missed_by};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

const ON: &str = "Watching presence";
const OFF: &str = "Not watching presence";

/// A client that watches presence.
#[track_caller]
fn watcher(server: &Server, name: &str) -> Client {
    let mut client = server.log_in(name);
    client.ask("Watch-presence on", "200 OK", ON);
    client
}

/// Waits until the node of a session has told its watchers of all changes that were answered
/// before.
///
/// A request from another node arrives there behind these changes. This one changes nothing.
#[track_caller]
fn settle(server: &Server, token: &str, is_watching: bool) {
    let (request, data) = match is_watching {
        true => ("Watch-presence on", ON),
        false => ("Watch-presence off", OFF),
    };
    let mut other = server.connect_apart_from(token);
    other.send_as(token, request);
    other.expect_with(token, "304 Not Modified", data);
}

/// Quits, and waits until the server has ended the session.
#[track_caller]
fn quit(mut client: Client) {
    client.ask("Quit", "200 OK", "Goodbye");
    client.expect_end();
}

#[test]
fn watching_is_switched_on_and_off_and_is_idempotent() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("Watch-presence on", "401 Unauthorized", "Set a name first");
    client.set_name("alice");
    client.ask("Watch-presence off", "304 Not Modified", OFF);
    client.ask("Watch-presence on", "200 OK", ON);
    client.ask("watch-presence ON", "304 Not Modified", ON);
    client.ask("Watch-presence oFF", "200 OK", OFF);
    client.ask("Watch-presence off", "304 Not Modified", OFF);
    let usage = "Usage: Watch-presence on|off";
    for bad in ["", " ", " maybe", " on ", "  on", " on off", " on|off"] {
        let request = format!("Watch-presence{bad}");
        client.ask(&request, "400 Bad Request", usage);
    }
}

#[test]
fn watcher_sees_joins_leaves_and_renames_of_others_only() {
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let mut bob = server.log_in("bob");
    alice.expect_presence("joined bob");
    bob.ask("Set-name Bob", "200 OK", "You are Bob");
    alice.expect_presence("renamed bob Bob");
    bob.ask("Set-name Bob", "304 Not Modified", "You are already Bob");
    bob.ask("Set-name robert", "200 OK", "You are robert");
    alice.expect_presence("renamed Bob robert");
    bob.ask("Set-name alice", "403 Forbidden", "alice is taken");
    bob.ask("Quit", "200 OK", "Goodbye");
    alice.expect_presence("left robert");
    alice.ask("Set-name ally", "200 OK", "You are ally");
    settle(&server, &alice.token, true);
    alice.barrier();
}

#[test]
fn client_that_does_not_watch_receives_no_presence() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut bob = watcher(&server, "bob");
    bob.ask("Watch-presence off", "200 OK", OFF);
    quit(server.log_in("carol"));
    for client in [&mut alice, &mut bob] {
        settle(&server, &client.token, false);
        client.barrier();
    }
}

#[test]
fn left_is_told_however_a_session_ends() {
    let server = Server::start(&["--linger", "1"]);
    let mut alice = watcher(&server, "alice");
    // The end of input.
    drop(server.log_in("bob"));
    alice.expect_presence("joined bob");
    alice.expect_presence("left bob");
    // A reset, without a session that may linger.
    server.log_in("carol").reset();
    alice.expect_presence("joined carol");
    alice.expect_presence("left carol");
    // `Quit` from another connection.
    let mut dora = server.log_in("dora");
    alice.expect_presence("joined dora");
    let mut other = server.connect();
    let token = dora.token.clone();
    other.send_as(&token, "Quit");
    other.expect_with(&token, "200 OK", "Goodbye");
    alice.expect_presence("left dora");
    dora.expect_end();
    // Twenty bad requests.
    let mut eve = server.log_in("eve");
    eve.send_raw("x\n".repeat(20));
    alice.expect_presence("joined eve");
    alice.expect_presence("left eve");
    // A session that lingers has not left, until it expires.
    let mut fred = server.log_in("fred");
    fred.use_token();
    fred.reset();
    alice.expect_presence("joined fred");
    server.expect_log_of("lost fred", "session lingers");
    alice.barrier();
    alice.expect_presence("left fred");
    alice.barrier();
}

#[test]
fn evicted_session_leaves_before_the_new_one_joins() {
    if is_spread_without("--max-clients is of one server") {
        return;
    }
    let server = Server::start(&["--max-clients", "3"]);
    let mut alice = watcher(&server, "alice");
    let mut bob = server.log_in("bob");
    bob.use_token();
    bob.reset();
    server.expect_log_of("lost bob", "session lingers");
    let mut carol = server.connect();
    let mut dora = server.connect();
    // The kernel accepts a connection before the server counts it.
    dora.barrier();
    carol.set_name("carol");
    alice.expect_presence("joined bob");
    alice.expect_presence("left bob");
    alice.expect_presence("joined carol");
    dora.set_name("dora");
    alice.expect_presence("joined dora");
    alice.barrier();
}

#[test]
fn resuming_is_not_joining_and_keeps_watching() {
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let mut bob = watcher(&server, "bob");
    alice.expect_presence("joined bob");
    let token = bob.token.clone();
    bob.use_token();
    bob.reset();
    server.expect_log_of("lost bob", "session lingers");
    let carol = server.log_in("carol");
    alice.expect_presence("joined carol");
    let mut again = server.connect_as(&token);
    again.token.clone_from(&token);
    again.send_as(&token, "Set-name bobby");
    again.expect("200 OK", "You are bobby");
    alice.expect_presence("renamed bob bobby");
    // What happened meanwhile was kept, and the own new name is not told.
    again.expect_presence("joined carol");
    drop(carol);
    again.expect_presence("left carol");
    alice.expect_presence("left carol");
    again.ask("Watch-presence on", "304 Not Modified", ON);
    alice.barrier();
    again.barrier();
}

#[test]
fn watching_belongs_to_the_session_that_the_header_names() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut other = server.connect();
    let token = alice.token.clone();
    other.send_as(&token, "Watch-presence on");
    other.expect_with(&token, "200 OK", ON);
    let bob = server.log_in("bob");
    alice.expect_presence("joined bob");
    other.send_as(&token, "Watch-presence off");
    other.expect_with(&token, "200 OK", OFF);
    drop(bob);
    alice.barrier();
    other.barrier();
}

#[test]
fn change_precedes_the_answer_and_what_the_session_sends() {
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    for round in 0..50 {
        let mut bob = server.connect();
        // All at once, so that nothing but the server puts them in order.
        bob.send_raw(format!(
            "\n\nSet-name bob\n\n\nBroadcast-message one {round}\n\n\nSet-name carl\n\n\n\
             Private-message alice two {round}\n\n\nQuit\n"
        ));
        alice.expect_presence("joined bob");
        alice.expect_delivery("broadcast", "bob", &format!("one {round}"));
        alice.expect_presence("renamed bob carl");
        alice.expect_delivery("private", "carl", &format!("two {round}"));
        alice.expect_presence("left carl");
        bob.rest().expect("an orderly end");
    }
    alice.barrier();
}

#[test]
fn change_is_queued_before_the_request_is_answered() {
    if is_spread_without("`Ping` is a barrier for its own node") {
        return;
    }
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    for _ in 0..50 {
        let mut bob = server.log_in("bob");
        alice.send("Ping");
        alice.expect_presence("joined bob");
        alice.expect("200 OK", "Pong");
        bob.ask("Set-name carl", "200 OK", "You are carl");
        alice.send("Ping");
        alice.expect_presence("renamed bob carl");
        alice.expect("200 OK", "Pong");
        bob.ask("Quit", "200 OK", "Goodbye");
        alice.send("Ping");
        alice.expect_presence("left carl");
        alice.expect("200 OK", "Pong");
    }
}

#[test]
fn concurrent_changes_reach_all_watchers_in_one_order() {
    let server = Server::start(&[]);
    let mut watchers = [0, 1, 2, 3].map(|n| watcher(&server, &format!("watcher{n}")));
    for (i, it) in watchers.iter_mut().enumerate() {
        for later in i + 1..4 {
            it.expect_presence(&format!("joined watcher{later}"));
        }
    }
    let server = &server;
    thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                for round in 0..25 {
                    let mut client = server.log_in(&format!("user{n}"));
                    client.ask(
                        &format!("Set-name other{n}-{round}"),
                        "200 OK",
                        &format!("You are other{n}-{round}"),
                    );
                    quit(client);
                }
            });
        }
    });
    let all = 8 * 25 * 3;
    let mut seen = watchers.each_mut().map(|it| {
        let mut changes: Vec<String> = Vec::new();
        for _ in 0..all {
            changes.push(it.next().data);
        }
        it.barrier();
        changes
    });
    let first = seen[0].clone();
    for other in &mut seen {
        assert_eq!(*other, first);
    }
    // It is an order in which they can have happened.
    let mut online = Online::default();
    for change in first {
        let after = online.clone().after(&change);
        let words: Vec<&str> = change.split(' ').collect();
        let count = match words[1] {
            "joined" => online.0.len() + 1,
            "left" => online.0.len() - 1,
            _ => online.0.len(),
        };
        assert!(after.0.len() == count && after != online, "{change}");
        online = after;
    }
    assert_eq!(online, Online::default());
}

/// The names that a watcher knows to be online, except its own.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Online(BTreeSet<String>);

impl Online {
    /// Reads an answer to `List-names`.
    fn from_list(data: &str) -> Online {
        let (_, names) = data.split_once(" online: ").expect("a list");
        let names = names.split(' ').filter(|&name| name != "alice");
        Online(names.map(str::to_owned).collect())
    }

    fn after(mut self, change: &str) -> Online {
        let words: Vec<&str> = change.split(' ').collect();
        match words[1..] {
            ["joined", name] => drop(self.0.insert(name.to_owned())),
            ["left", name] => drop(self.0.remove(name)),
            ["renamed", old, new] => {
                self.0.remove(old);
                self.0.insert(new.to_owned());
            }
            _ => panic!("{change}"),
        }
        self
    }
}

/// Reads changes up to the answer that `is_answer` knows.
#[track_caller]
fn changes_up_to(client: &mut Client, is_answer: impl Fn(&str) -> bool) -> (Vec<String>, String) {
    let mut changes = Vec::new();
    loop {
        let data = client.next().data;
        if is_answer(&data) {
            return (changes, data);
        }
        changes.push(data);
    }
}

#[test]
fn list_shows_what_a_watcher_was_told() {
    if is_spread_without("the list may be ahead of a node by more than a change") {
        return;
    }
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let address = server.address;
    let changing = thread::spawn(move || {
        for round in 0..100 {
            let mut client = Client::connect(address);
            client.set_name(&format!("a{round}"));
            let new = format!("b{round}");
            client.ask(
                &format!("Set-name {new}"),
                "200 OK",
                &format!("You are {new}"),
            );
            client.ask("Quit", "200 OK", "Goodbye");
        }
    });
    let mut told = Online::default();
    while !changing.is_finished() {
        alice.send("List-names");
        let (before, list) = changes_up_to(&mut alice, |data| data.contains(" online: "));
        alice.send("Ping");
        let (mut later, _) = changes_up_to(&mut alice, |data| data == "Pong");
        let list = Online::from_list(&list);
        let mut moments = vec![told.clone()];
        for change in &before {
            moments.push(moments[moments.len() - 1].clone().after(change));
        }
        // It is from a moment between the request and the response, or one change ahead: the
        // map changes first, and the next change waits until this one is told.
        if !moments.contains(&list) {
            if later.is_empty() {
                later.push(alice.next().data);
            }
            let next = moments[moments.len() - 1].clone().after(&later[0]);
            assert_eq!(list, next, "after {moments:?}");
        }
        for change in before.iter().chain(&later) {
            told = told.after(change);
        }
    }
    changing.join().expect("the changes");
    alice.send("Ping");
    let (last, _) = changes_up_to(&mut alice, |data| data == "Pong");
    let told = last.iter().fold(told, |told, change| told.after(change));
    assert_eq!(told, Online::default());
}

#[test]
fn presence_leaves_half_of_the_queue_to_messages() {
    if is_spread_without("`Ping` is a barrier for its own node") {
        return;
    }
    let server = Server::start(&["--queue", "65536"]);
    let mut alice = watcher(&server, "alice");
    let mut bob = server.log_in("bob");
    alice.expect_presence("joined bob");
    // The kernel's buffers are full, and more than half of the queue.
    bob.fill_queue("alice");
    let mut carol = server.log_in("carol");
    carol.ask("Quit", "200 OK", "Goodbye");
    let mut missed = 0;
    alice.send("Ping");
    loop {
        let message = alice.next();
        match &*message.data {
            "Pong" => break,
            data if data.starts_with("Incoming-message private bob ") => {}
            data => {
                let count = data
                    .strip_prefix("Missed ")
                    .and_then(|it| it.split(' ').next());
                assert_eq!(message.status, "502 Bad Gateway", "{data}");
                missed += count.expect("a gap").parse::<u64>().expect("a number");
            }
        }
    }
    assert!(missed >= 2, "the join and the leave of carol are missed");
    alice.barrier();
    drop(server.log_in("dora"));
    alice.expect_presence("joined dora");
    alice.expect_presence("left dora");
}

#[test]
fn queue_that_is_half_full_takes_a_message_and_no_presence() {
    let server = Server::start(&["--queue", "1048576", "--linger", "60"]);
    let mut alice = watcher(&server, "alice");
    let token = alice.token.clone();
    alice.use_token();
    let mut bob = server.log_in("bob");
    alice.expect_presence("joined bob");
    alice.reset();
    server.expect_log_of("lost alice", "session lingers");
    // Without a connection the queue alone takes them: each is 8,270 bytes on the wire.
    let text = "x".repeat(2_000);
    let size = ("200 OK\r\n".len() + 34 + "Incoming-message private bob \r\n".len() + 2_000) as u64;
    let half = 1_048_576_u64 / 2;
    for _ in 0..half.div_ceil(size) - 1 {
        bob.ask(
            &format!("Private-message alice {text}"),
            "200 OK",
            "Delivered to alice",
        );
    }
    let carol = server.log_in("carol");
    bob.ask(
        &format!("Private-message alice {text}"),
        "200 OK",
        "Delivered to alice",
    );
    quit(carol);
    bob.ask("Private-message alice last", "200 OK", "Delivered to alice");
    let mut again = server.connect_as(&token);
    again.token.clone_from(&token);
    again.send_as(&token, "Set-name alice");
    again.expect("304 Not Modified", "You are already alice");
    let mut others = Vec::new();
    loop {
        let message = again.next();
        match message.data.strip_prefix("Incoming-message private bob ") {
            Some("last") => break,
            Some(_) => {}
            None => others.push(message.data),
        }
    }
    let gap = "Missed 1 messages: you read too slowly";
    assert_eq!(others, ["Incoming-presence joined carol", gap]);
}

#[test]
fn gap_of_presence_is_told_without_a_further_delivery() {
    let server = Server::start(&["--queue", "16384"]);
    let mut alice = watcher(&server, "alice");
    let mut bob = server.log_in("bob");
    alice.expect_presence("joined bob");
    alice.use_token();
    let token = alice.token.clone();
    alice.reset();
    server.expect_log_of("lost alice", "session lingers");
    for number in 0..8 {
        let text = &filling(number)[..1_100];
        bob.ask(
            &format!("Private-message alice {text}"),
            "200 OK",
            "Delivered to alice",
        );
    }
    quit(bob);
    settle(&server, &token, true);
    let mut again = server.connect_as(&token);
    again.token.clone_from(&token);
    again.send_as(&token, "Set-name alice");
    again.expect("304 Not Modified", "You are already alice");
    for _ in 0..8 {
        again.next();
    }
    again.expect("502 Bad Gateway", "Missed 1 messages: you read too slowly");
    again.barrier();
}

#[test]
fn shutdown_delivers_no_presence() {
    if is_spread_without("the nodes end one after the other") {
        return;
    }
    let mut server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let others: Vec<_> = (0..20)
        .map(|n| server.log_in(&format!("user{n}")))
        .collect();
    for n in 0..20 {
        alice.expect_presence(&format!("joined user{n}"));
    }
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", "The server is shutting down");
    alice.expect_end();
    drop(others);
    drop(alice);
    assert!(server.expect_exit().success());
}

/// Lets a watcher named alice linger, and returns its token.
#[track_caller]
fn lose_alice(server: &Server, mut alice: Client) -> String {
    let token = alice.token.clone();
    alice.use_token();
    alice.reset();
    server.expect_log_of("lost alice", "session lingers");
    token
}

/// Resumes the session of alice.
#[track_caller]
fn resume_alice(server: &Server, token: &str) -> Client {
    let mut again = server.connect_as(token);
    token.clone_into(&mut again.token);
    again.send_as(token, "Set-name alice");
    again.expect("304 Not Modified", "You are already alice");
    again
}

#[test]
fn presence_fits_only_while_less_than_half_is_in_use() {
    let half = 8_192;
    let overhead = "200 OK\r\n".len() + 34 + "Incoming-message private bob \r\n".len();
    for (in_use, is_queued) in [(half - 1, true), (half, false)] {
        let server = Server::start(&["--queue", "16384"]);
        let mut alice = watcher(&server, "alice");
        let mut bob = server.log_in("bob");
        alice.expect_presence("joined bob");
        let token = lose_alice(&server, alice);
        for size in [2_048, 2_048, 2_048, in_use - 3 * 2_048] {
            let text = "x".repeat(size - overhead);
            let request = format!("Private-message alice {text}");
            bob.ask(&request, "200 OK", "Delivered to alice");
        }
        quit(server.log_in("carol"));
        settle(&server, &token, true);
        let mut again = resume_alice(&server, &token);
        for _ in 0..4 {
            again.next();
        }
        // Only the use before it counts: the first change may pass the half itself.
        let missed = if is_queued {
            again.expect_presence("joined carol");
            "Missed 1 messages: you read too slowly"
        } else {
            "Missed 2 messages: you read too slowly"
        };
        again.expect("502 Bad Gateway", missed);
        again.barrier();
    }
}

#[test]
fn each_change_is_delivered_or_counted_as_missed() {
    let server = Server::start(&["--queue", "16384"]);
    let token = lose_alice(&server, watcher(&server, "alice"));
    for n in 0..100 {
        let mut bob = server.log_in(&format!("bob{n}"));
        bob.ask("Quit", "200 OK", "Goodbye");
    }
    let mut again = resume_alice(&server, &token);
    let (mut told, mut missed) = (0, 0);
    while told + missed < 200 {
        match missed_by(&again.next().data) {
            Some(count) => missed += count,
            None => told += 1,
        }
    }
    assert!(told > 0 && missed > 0, "{told} told, {missed} missed");
    again.barrier();
}

#[test]
fn rename_by_resuming_is_told_before_its_response() {
    if is_spread_without("`Ping` is a barrier for its own node") {
        return;
    }
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let mut bob = server.log_in("bob");
    alice.expect_presence("joined bob");
    let token = bob.token.clone();
    for (old, new) in [("bob", "Bob"), ("Bob", "carl"), ("carl", "bob")].repeat(20) {
        let mut again = server.connect();
        again.token.clone_from(&token);
        let request = format!("Set-name {new}");
        again.send_as(&token, &request);
        again.expect("200 OK", &format!("You are {new}"));
        alice.send("Ping");
        alice.expect_presence(&format!("renamed {old} {new}"));
        alice.expect("200 OK", "Pong");
        bob = again;
    }
    bob.barrier();
}

#[test]
fn new_name_is_told_before_a_delivery_under_it() {
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let bob = server.log_in("bob0");
    alice.expect_presence("joined bob0");
    let token = bob.token.clone();
    let address = bob.stream().peer_addr().expect("an open socket");
    let renaming = thread::spawn(move || {
        // Each resumes the session of the one before it, under a new name.
        let mut last = bob;
        for n in 1..200 {
            let mut next = Client::connect(address);
            next.token.clone_from(&last.token);
            let token = last.token.clone();
            next.send_as(&token, &format!("Set-name bob{}", 2 * n - 1));
            next.expect("200 OK", &format!("You are bob{}", 2 * n - 1));
            let request = format!("Set-name bob{}", 2 * n);
            next.ask(&request, "200 OK", &format!("You are bob{}", 2 * n));
            last = next;
        }
        last
    });
    // Sends for the session meanwhile, from another connection.
    let mut script = server.connect();
    script.token.clone_from(&token);
    let number = |name: &str| name["bob".len()..].parse::<u32>().expect("a number");
    let mut told = 0;
    while !renaming.is_finished() {
        script.send_as(&token, "Private-message alice hi");
        script.expect("200 OK", "Delivered to alice");
        loop {
            let data = alice.next().data;
            let words: Vec<&str> = data.split(' ').collect();
            match words[..] {
                ["Incoming-presence", "renamed", _, new] => told = number(new),
                ["Incoming-message", "private", sender, "hi"] => {
                    assert!(number(sender) <= told, "{sender} after bob{told}");
                    break;
                }
                _ => panic!("{data}"),
            }
        }
    }
    renaming.join().expect("all renames");
}

#[test]
fn no_change_follows_not_watching_presence() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let address = server.next_turn();
    let changing = thread::spawn(move || {
        for _ in 0..300 {
            let mut client = Client::connect(address);
            client.set_name("bob");
            client.ask("Quit", "200 OK", "Goodbye");
            client.expect_end();
        }
    });
    while !changing.is_finished() {
        // No change precedes the response either.
        alice.ask("Watch-presence on", "200 OK", ON);
        alice.send("Watch-presence off");
        changes_up_to(&mut alice, |data| data == OFF);
        alice.barrier();
    }
    changing.join().expect("the changes");
}

#[test]
fn lingering_session_is_switched_from_another_connection() {
    let server = Server::start(&[]);
    let token = lose_alice(&server, server.log_in("alice"));
    let mut other = server.connect();
    other.token.clone_from(&token);
    other.send_as(&token, "Watch-presence on");
    other.expect("200 OK", ON);
    let mut bob = server.log_in("bob");
    other.send_as(&token, "Watch-presence off");
    other.expect("200 OK", OFF);
    bob.ask("Quit", "200 OK", "Goodbye");
    let mut again = resume_alice(&server, &token);
    again.expect_presence("joined bob");
    again.ask("Watch-presence off", "304 Not Modified", OFF);
    again.barrier();
}

#[test]
fn request_for_another_session_does_not_switch_the_own() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    let mut bob = watcher(&server, "bob");
    let token = alice.token.clone();
    bob.send_as(&token, "Watch-presence off");
    bob.expect_with(&token, "304 Not Modified", OFF);
    bob.send_as(&token, "Watch-presence on");
    bob.expect_with(&token, "200 OK", ON);
    bob.ask("Watch-presence off", "200 OK", OFF);
    drop(server.log_in("carol"));
    alice.expect_presence("joined carol");
    alice.expect_presence("left carol");
    alice.barrier();
    bob.barrier();
}

#[test]
fn left_is_told_after_a_write_timeout_and_other_ends() {
    let server = Server::start(&["--write-timeout", "1"]);
    let mut alice = watcher(&server, "alice");
    // An HTTP request.
    let mut bob = server.log_in("bob");
    bob.send_raw("GET / HTTP/1.1\r\n");
    alice.expect_presence("joined bob");
    alice.expect_presence("left bob");
    // A `Quit` for a session that lingers.
    let mut carol = server.log_in("carol");
    alice.expect_presence("joined carol");
    let token = carol.token.clone();
    carol.use_token();
    carol.reset();
    server.expect_log_of("lost carol", "session lingers");
    let mut other = server.connect();
    other.send_as(&token, "Quit");
    other.expect_with(&token, "200 OK", "Goodbye");
    alice.expect_presence("left carol");
    // A half-close behind requests.
    let mut dora = server.connect();
    dora.send_raw("\n\nSet-name dora\n\n\nBroadcast-message bye\n");
    dora.close_input();
    alice.expect_presence("joined dora");
    alice.expect_delivery("broadcast", "dora", "bye");
    alice.expect_presence("left dora");
    // A client that does not read.
    let eve = server.log_in("eve");
    alice.expect_presence("joined eve");
    let mut fred = server.log_in("fred");
    alice.expect_presence("joined fred");
    // More than her queue and the buffers of the kernel take. She may end before the last one.
    for number in 0..1_000 {
        fred.send(&format!("Private-message eve {}", filling(number)));
        fred.next();
    }
    alice.expect_presence("left eve");
    alice.barrier();
    drop(eve);
}

#[test]
fn watchers_do_not_wait_for_the_close_of_the_client() {
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let begun = Instant::now();
    for _ in 0..5 {
        let mut bob = server.log_in("bob");
        bob.ask("Quit", "200 OK", "Goodbye");
        alice.expect_presence("joined bob");
        // The server waits up to a second for this client to close its side.
        alice.expect_presence("left bob");
        drop(bob);
    }
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn former_owner_of_a_name_is_told_before_the_next_one() {
    let server = Server::start(&[]);
    let mut alice = watcher(&server, "alice");
    let changing: Vec<_> = (0..4)
        .map(|n| {
            let address = server.next_turn();
            thread::spawn(move || {
                let mut client = Client::connect(address);
                client.set_name(&format!("user{n}"));
                for _ in 0..200 {
                    for name in ["shared", &format!("user{n}")] {
                        // It may be taken.
                        client.send(&format!("Set-name {name}"));
                        client.next();
                    }
                }
                client.ask("Quit", "200 OK", "Goodbye");
            })
        })
        .collect();
    let mut online = Online::default();
    let mut left = 0;
    while left < 4 {
        let change = alice.next().data;
        let words: Vec<&str> = change.split(' ').collect();
        let count = match words[1] {
            "joined" => online.0.len() + 1,
            "left" => online.0.len() - 1,
            _ => online.0.len(),
        };
        left += usize::from(words[1] == "left");
        online = online.after(&change);
        assert_eq!(online.0.len(), count, "{change}");
    }
    for thread in changing {
        thread.join().expect("its changes");
    }
    alice.barrier();
}
