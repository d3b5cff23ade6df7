//! The client at a terminal while the server is frozen, stopped or restarted.

use crate::proxy::Network;
use crate::pty::{Terminal, has_terminal_tools, restart, server_and_alice};
use crate::support::{Server, has_unread, wait_for};
use rustix::process::Signal;

#[test]
fn message_without_response_does_not_look_sent() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    server.stop();
    alice.types("frozen\r");
    alice.shows("--:-- alice: frozen", "alice> ");
    assert!(!alice.rows().contains(&"hh:mm alice: frozen".to_owned()));
    alice.shows("hh:mm * No response from the server for 10 s", "alice> ");
    server.signal(Signal::CONT);
    bob.expect_delivery("broadcast", "alice", "frozen");
    alice.shows("hh:mm alice: frozen", "alice> ");
    let rows = alice.rows();
    let of = |row: &str| rows.iter().filter(|shown| *shown == row).count();
    assert_eq!(
        of("hh:mm * No response from the server for 10 s"),
        1,
        "{rows:#?}"
    );
    assert_eq!(of("--:-- alice: frozen"), 1, "{rows:#?}");
}

#[test]
fn refused_message_is_never_shown_as_sent() {
    let Some((_server, mut alice)) = server_and_alice() else {
        return;
    };
    alice.types("/msg carol psst\r");
    alice.shows(
        "hh:mm ! No one is named carol. Not sent to carol: psst",
        "alice> ",
    );
    let rows = alice.rows();
    assert!(
        !rows.iter().any(|row| row.contains("alice (to carol)")),
        "{rows:#?}"
    );
}

#[test]
fn session_after_a_new_login_survives_another_reset() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let address = server.address;
    let network = Network::to(address);
    let mut alice = Terminal::alice(network.address);
    drop(server);
    alice.shows_losses(1);
    let server = restart(address);
    let new = "hh:mm * Reconnected as alice with a new session. Messages may be missing";
    alice.shows(new, "alice> ");
    let mut bob = server.log_in("bob");
    bob.ask(
        "Private-message alice seen?",
        "200 OK",
        "Delivered to alice",
    );
    alice.shows("hh:mm bob (to you): seen?", "alice> ");
    network.reset();
    server.expect_log("session lingers");
    bob.ask("Private-message alice kept", "200 OK", "Delivered to alice");
    alice.shows("hh:mm bob (to you): kept", "alice> ");
    let rows = alice.rows().join("\n");
    let resumed = "hh:mm * Reconnected as alice. Messages that arrived meanwhile follow";
    assert!(rows.contains(resumed), "{rows}");
}

#[test]
fn taken_name_is_requested_again_after_an_outage() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let address = server.address;
    drop(server);
    alice.shows_losses(1);
    // Another client takes the name first.
    let server = restart(address);
    let mut thief = server.log_in("Alice");
    alice.shows(
        "hh:mm ! alice is taken. Retrying, /name NEW sets another name",
        "alice> ",
    );
    thief.ask("Quit", "200 OK", "Goodbye");
    let back = "hh:mm * Reconnected as alice with a new session. Messages may be missing";
    alice.shows(back, "alice> ");
    let rows = alice.rows();
    let reports = rows.iter().filter(|row| row.contains("is taken")).count();
    assert_eq!(reports, 1, "{rows:#?}");
}

#[test]
fn message_of_an_outage_waits_until_others_reconnect() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let address = server.address;
    drop(server);
    alice.shows_losses(1);
    alice.types("meanwhile\r");
    alice.shows("--:-- alice: meanwhile", "alice> ");
    let server = restart(address);
    let back = "hh:mm * Reconnected as alice with a new session. Messages may be missing";
    alice.shows(back, "alice> ");
    let mut bob = server.log_in("bob");
    bob.expect_delivery("broadcast", "alice", "meanwhile");
    alice.shows("hh:mm alice: meanwhile", "alice> ");
    // Without other users, the message is sent in the end, and the client reports it.
    bob.ask("Quit", "200 OK", "Goodbye");
    drop(server);
    alice.shows_losses(2);
    alice.types("alone\r");
    alice.shows("--:-- alice: alone", "alice> ");
    let _server = restart(address);
    alice.shows(
        "hh:mm * Not delivered: no other user is online, or every queue is full",
        "alice> ",
    );
}

#[test]
fn new_client_can_wait_for_its_lingering_name() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&["--linger", "3"]);
    let mut lost = server.log_in("alice");
    lost.use_token();
    lost.reset();
    server.expect_log("session lingers");
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("", "Your name (Enter waits for alice, Ctrl-D quits): ");
    alice.types("\r");
    alice.shows("Waiting for alice. Ctrl-C stops waiting", "");
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    // Ctrl-C ends the wait, but not the client.
    let mut other = Terminal::start(server.address, "-n alice", |_| {});
    other.shows("", "Your name (Enter waits for alice, Ctrl-D quits): ");
    other.types("\r");
    other.shows("Waiting for alice. Ctrl-C stops waiting", "");
    other.types("\x03");
    other.shows("", "Your name (Enter waits for alice, Ctrl-D quits): ");
    other.types("bob\r");
    other.shows("hh:mm * 2 online: alice, bob", "bob> ");
}

#[test]
fn block_to_a_frozen_server_can_be_stopped() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    server.stop();
    alice.types("\x1B[200~one\ntwo\nthree\x1B[201~\r");
    wait_for("the first message", || has_unread(server.address.port()));
    alice.types("\x03");
    alice.shows("hh:mm ! Not sent: the last 2 of 3 messages", "alice> ");
    server.signal(Signal::CONT);
    bob.expect_delivery("broadcast", "alice", "one");
    alice.shows("hh:mm alice: one", "alice> ");
    bob.barrier();
}
