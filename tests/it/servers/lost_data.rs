//! A Redis that forgets: it goes back in time, loses its scripts, or is full.

use super::{AWAY, Chat, MAYBE, ask_until, end_lease, quit, refused_commands};
use crate::support::{Client, wait_for};
use rustix::process::Signal;

/// Expects this list of names at both nodes.
#[track_caller]
fn expect_names(clients: [&mut Client; 2], names: &str) {
    for client in clients {
        ask_until(client, "List-names", names);
    }
}

/// Expects these broadcasts in the history.
#[track_caller]
fn expect_recent(client: &mut Client, texts: &[&str]) {
    client.send("Recent-messages");
    for text in texts {
        let data = client.next().data;
        assert!(data.ends_with(&format!(" {text}")), "{data}, not {text}");
    }
    client.expect("200 OK", &format!("{} recent", texts.len()));
}

#[test]
fn names_are_right_when_redis_goes_back_in_time() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut here, mut there) = (chat.log_in(0, "here"), chat.log_in(1, "there"));
    let (mut renamed, mut respelled) = (chat.log_in(0, "before"), chat.log_in(1, "spelled"));
    let (ended, moved) = (chat.log_in(1, "ended"), chat.log_in(0, "moved"));
    let (mut one, mut two) = (chat.log_in(0, "one"), chat.log_in(1, "two"));
    here.ask("Broadcast-message early", "200 OK", "Delivered to 7");
    there.expect_delivery("broadcast", "here", "early");
    let mut watcher = chat.watcher(1, "watcher");
    chat.redis.save();
    renamed.expect_delivery("broadcast", "here", "early");
    renamed.ask("Set-name after", "200 OK", "You are after");
    respelled.ignore_deliveries = true;
    respelled.ask("Set-name SPELLED", "200 OK", "You are SPELLED");
    drop(ended);
    ask_until(&mut chat.connect(0), "Set-name ended", "You are ended");
    drop(moved);
    let mut moved = chat.connect(1);
    ask_until(&mut moved, "Set-name moved", "You are moved");
    // Two sessions of different nodes exchange their names.
    for client in [&mut one, &mut two] {
        client.ignore_deliveries = true;
    }
    one.ask("Set-name three", "200 OK", "You are three");
    two.ask("Set-name one", "200 OK", "You are one");
    one.ask("Set-name two", "200 OK", "You are two");
    let _newcomer = chat.log_in(0, "newcomer");
    here.ask("Broadcast-message late", "200 OK", "Delivered to 8");
    there.expect_delivery("broadcast", "here", "late");
    while watcher.next().data != "Incoming-message broadcast here late" {}

    chat.redis.kill();
    chat.redis.start_again();
    let names = "9 online: after here moved newcomer one SPELLED there two watcher";
    expect_names([&mut here, &mut there], names);
    for (taken, free) in [("after", "before"), ("two", "ended"), ("spelled", "three")] {
        let mut client = chat.connect(1);
        let request = format!("Set-name {taken}");
        client.ask(&request, "403 Forbidden", &format!("{taken} is taken"));
        client.set_name(free);
        quit(client);
        for change in ["joined", "left"] {
            // Nothing else was told since the last broadcast.
            watcher.expect_presence(&format!("{change} {free}"));
        }
    }
    for (client, name) in [(&mut one, "two"), (&mut two, "one")] {
        client.ignore_deliveries = false;
        here.ask(
            &format!("Private-message {name} hi"),
            "200 OK",
            &format!("Delivered to {name}"),
        );
        while client.next().data != "Incoming-message private here hi" {}
    }
    here.ask("Broadcast-message again", "200 OK", "Delivered to 8");
    there.expect_delivery("broadcast", "here", "again");
    for client in [&mut here, &mut there] {
        expect_recent(client, &["early", "late", "again"]);
        client.barrier();
    }
}

#[test]
fn node_that_has_left_is_removed_when_old_data_are_back() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut alice, bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    chat.redis.save();
    drop(bob);
    chat.nodes[1].signal(Signal::TERM);
    chat.nodes[1].expect_exit();
    chat.redis.kill();
    chat.redis.start_again();
    ask_until(&mut alice, "List-names", "2 online: alice bob");
    // The node that is not there confirms nothing.
    alice.ask("Broadcast-message hi", "200 OK", "Delivered to 0");
    end_lease(&chat.redis, "bob");
    ask_until(&mut alice, "List-names", "1 online: alice");
    let _bob = chat.log_in(0, "bob");
}

#[test]
fn inbox_has_room_after_old_entries_are_back() {
    let Some(mut chat) = Chat::start(2) else {
        return;
    };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.log_in(1, "bob"));
    // Entries that are saved before the node reads them.
    chat.nodes[1].stop();
    for n in 0..10 {
        alice.send(&format!("Broadcast-message {n}"));
        assert_eq!(alice.next().data, "Delivered to 0");
    }
    chat.redis.save();
    chat.nodes[1].signal(Signal::CONT);
    for n in 0..10 {
        bob.expect_delivery("broadcast", "alice", &n.to_string());
    }
    // It deletes them before it reads this.
    ask_until(&mut alice, "Private-message bob more", "Delivered to bob");
    bob.expect_delivery("private", "alice", "more");
    chat.redis.kill();
    chat.redis.start_again();
    ask_until(&mut alice, "Private-message bob hi", "Delivered to bob");
    while bob.next().data != "Incoming-message private alice hi" {}
    let node: String = chat.redis.ask(&["HGET", &super::key("names"), "bob"]);
    let inbox = super::key(&format!("inbox:{}", &node[..16]));
    wait_for("an empty inbox", || {
        chat.redis.ask::<u32>(&["XLEN", &inbox]) <= 1
    });
    bob.ignore_deliveries = true;
    bob.barrier();
}

#[test]
fn chat_goes_on_when_redis_forgets_its_scripts() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(1, "bob"));
    for round in 0..10 {
        chat.redis.ask::<()>(&["SCRIPT", "FLUSH"]);
        alice.send(&format!("Private-message bob {round}"));
        let message = alice.next();
        let possible = [
            "Delivered to bob",
            AWAY,
            MAYBE,
            "No answer from the server of bob; the message may have arrived",
        ];
        assert!(possible.contains(&&*message.data), "{message:?}");
        ask_until(&mut alice, "Private-message bob end", "Delivered to bob");
        let mut seen = 0;
        loop {
            match bob.next().data {
                data if data.ends_with(" alice end") => break,
                data => assert_eq!(data, format!("Incoming-message private alice {round}")),
            }
            seen += 1;
        }
        assert!(seen <= 1 && (seen == 1 || message.status != "200 OK"));
        // Its repetitions.
        bob.ignore_deliveries = true;
        bob.barrier();
        bob.ignore_deliveries = false;
    }
    chat.connect(1)
        .ask("Set-name alice", "403 Forbidden", "alice is taken");
    alice.ask("List-names", "200 OK", "2 online: alice bob");
}

#[test]
fn chat_goes_on_while_redis_is_full_and_afterwards() {
    let Some(chat) = Chat::start(2) else { return };
    let (mut alice, mut bob) = (chat.log_in(0, "alice"), chat.watcher(1, "bob"));
    let mut carol = chat.log_in(0, "carol");
    bob.expect_presence("joined carol");
    chat.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    for request in ["Private-message bob hi", "Broadcast-message hi"] {
        alice.ask(request, "502 Bad Gateway", AWAY);
    }
    let mut nameless = chat.connect(0);
    nameless.send("Set-name newcomer");
    nameless.expect_with("", "502 Bad Gateway", AWAY);
    // The heartbeats fail, too.
    let before = refused_commands(&chat.redis);
    wait_for("two renewals of each node", || {
        refused_commands(&chat.redis) >= before + 4
    });
    // What needs no memory works.
    carol.ask("Quit", "200 OK", "Goodbye");
    carol.expect_end();
    bob.expect_presence("left carol");
    alice.send("Private-message alice hi");
    alice.expect_delivery("private", "alice", "hi");
    alice.expect("200 OK", "Delivered to alice");
    alice.ask("List-names", "200 OK", "2 online: alice bob");
    chat.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    alice.ask("Private-message bob end", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "end");
    nameless.set_name("carol");
    bob.expect_presence("joined carol");
    alice.ask("List-names", "200 OK", "3 online: alice bob carol");
}
