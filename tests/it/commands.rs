//! The seven commands and each status code (sections 2 and 5).

use crate::support::Server;

#[test]
fn set_name_creates_a_session_and_renames_it() {
    let server = Server::start(&[]);
    let mut client = server.log_in("bob");
    client.ask("Set-name bob", "304 Not Modified", "You are already bob");
    client.ask("Set-name Bob", "200 OK", "You are Bob");
    server
        .connect()
        .ask("Set-name bob", "403 Forbidden", "bob is taken");
    client.send("Private-message bOB hi");
    client.expect_delivery("private", "Bob", "hi");
    client.expect("200 OK", "Delivered to Bob");
    client.ask("Set-name carol", "200 OK", "You are carol");
    // The old name is free in any case of letters, and the new name is taken.
    server.log_in("BOB");
    server
        .connect()
        .ask("Set-name CAROL", "403 Forbidden", "CAROL is taken");
}

#[test]
fn taken_name_is_refused_in_any_case_and_echoed() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("Alice");
    let mut bob = server.log_in("bob");
    bob.ask("Set-name aLICE", "403 Forbidden", "aLICE is taken");
    let mut nameless = server.connect();
    nameless.ask("Set-name alice", "403 Forbidden", "alice is taken");
    nameless.ask("Ping", "200 OK", "Pong");
    alice.ask("Set-name BOB", "403 Forbidden", "BOB is taken");
}

#[test]
fn private_message_reaches_only_its_recipient() {
    let server = Server::start(&[]);
    let (mut alice, mut bob, mut carol) = (
        server.log_in("alice"),
        server.log_in("Bob"),
        server.log_in("carol"),
    );
    alice.ask(
        "Private-message bOB  two  spaces ",
        "200 OK",
        "Delivered to Bob",
    );
    bob.expect_delivery("private", "alice", " two  spaces ");
    carol.barrier();
    alice.ask(
        "Private-message dave hi",
        "404 Not Found",
        "No one is named dave",
    );
    alice.ask(
        "Private-message DAVE hi",
        "404 Not Found",
        "No one is named DAVE",
    );
}

#[test]
fn private_message_to_self_precedes_its_response() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    alice.send("Private-message ALICE note");
    alice.expect_delivery("private", "alice", "note");
    alice.expect("200 OK", "Delivered to alice");
}

#[test]
fn broadcast_reaches_every_session_except_the_sender() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    alice.ask("Broadcast-message anyone?", "200 OK", "Delivered to 0");
    let (mut bob, mut carol) = (server.log_in("bob"), server.log_in("carol"));
    let mut nameless = server.connect();
    alice.ask(
        "broadcast-MESSAGE приве́т 🙂\tall",
        "200 OK",
        "Delivered to 2",
    );
    bob.expect_delivery("broadcast", "alice", "приве́т 🙂\tall");
    carol.expect_delivery("broadcast", "alice", "приве́т 🙂\tall");
    alice.barrier();
    nameless.barrier();
}

#[test]
fn message_shows_the_name_at_the_time_of_sending() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    alice.ask("Broadcast-message one", "200 OK", "Delivered to 1");
    alice.ask("Set-name Alice2", "200 OK", "You are Alice2");
    alice.ask("Broadcast-message two", "200 OK", "Delivered to 1");
    bob.expect_delivery("broadcast", "alice", "one");
    bob.expect_delivery("broadcast", "Alice2", "two");
}

#[test]
fn list_names_lists_online_names_by_prefix() {
    let server = Server::start(&[]);
    let mut client = server.log_in("bob");
    client.ask("List-names", "200 OK", "1 online: bob");
    let _others = ["Bo", "alice", "BOBBY", "a-1", "Zoe"].map(|name| server.log_in(name));
    client.ask(
        "List-names",
        "200 OK",
        "6 online: a-1 alice Bo bob BOBBY Zoe",
    );
    client.ask("List-names bO", "200 OK", "3 online: Bo bob BOBBY");
    client.ask("List-names bobby", "200 OK", "1 online: BOBBY");
    client.ask("List-names x", "200 OK", "0 online");
    client.ask("List-names b b", "200 OK", "0 online");
    client.ask(
        "List-names ",
        "200 OK",
        "6 online: a-1 alice Bo bob BOBBY Zoe",
    );
}

#[test]
fn names_beyond_the_line_limit_are_counted() {
    let server = Server::start(&[]);
    let name = |n: usize| format!("{n:063}");
    let _others: Vec<_> = (0..140).map(|n| server.log_in(&name(n))).collect();
    let mut client = server.log_in("zz");
    client.send("List-names");
    let data = client.next().data;
    assert!(
        data.len() <= 8_512 && data.len() > 8_512 - 64,
        "{} bytes",
        data.len()
    );
    let listed = (0..132).map(name).collect::<Vec<_>>().join(" ");
    assert_eq!(data, format!("141 online: {listed} and 9 more"));
}

#[test]
fn ping_returns_its_text() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask("Ping", "200 OK", "Pong");
    client.ask("pInG  two  spaces ", "200 OK", "Pong  two  spaces ");
    client.ask("Ping ", "200 OK", "Pong ");
    let long = "x".repeat(3_000);
    client.ask(&format!("Ping {long}"), "200 OK", &format!("Pong {long}"));
}

#[test]
fn help_lists_all_commands_with_their_arguments_in_one_line() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.ask(
        "Help",
        "200 OK",
        "Commands: Set-name NAME, Private-message NAME TEXT, Broadcast-message TEXT, \
         List-names [PREFIX], Watch-presence on|off, Recent-messages [N], Ping [TEXT], Help, Quit",
    );
}

#[test]
fn quit_gets_goodbye_and_nothing_follows() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    alice.send_raw("\n\nQuit\n\n\nPing\n\n\nBroadcast-message never\n");
    alice.expect("200 OK", "Goodbye");
    alice.expect_end();
    bob.barrier();
    // The name is free before the client sees the end.
    server.log_in("alice");
    let mut nameless = server.connect();
    nameless.ask("Quit", "200 OK", "Goodbye");
    nameless.expect_end();
}

#[test]
fn commands_without_a_session_get_set_a_name_first() {
    let server = Server::start(&[]);
    let mut nameless = server.connect();
    for body in [
        "Broadcast-message hi",
        "Private-message alice hi",
        "List-names",
    ] {
        nameless.ask(body, "401 Unauthorized", "Set a name first");
    }
    nameless.ask("Help me", "400 Bad Request", "Usage: Help");
    nameless.ask("Ping", "200 OK", "Pong");
}

#[test]
fn unknown_command_is_echoed_up_to_32_characters() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let answer = "501 Not Implemented";
    client.ask("Hello there", answer, "Hello is not a command; try Help");
    client.ask(
        "Set-name\talice",
        answer,
        "Set-name\talice is not a command; try Help",
    );
    let word = "Я".repeat(33);
    let shown = "Я".repeat(32);
    client.ask(
        &word,
        answer,
        &format!("{shown} is not a command; try Help"),
    );
}
