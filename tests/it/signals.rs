//! Signals that end the server, and SIGHUP, which may be ignored.

use crate::support::Server;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const SHUTTING_DOWN: &str = "The server is shutting down";

#[test]
fn sighup_shuts_down_gracefully() {
    let mut server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    server.signal(Signal::HUP);
    alice.expect("502 Bad Gateway", SHUTTING_DOWN);
    // A terminal that closes sends SIGHUP twice: the shell does, and then the kernel. The
    // open connection keeps the server from ending before the second one.
    server.signal(Signal::HUP);
    alice.expect_end();
    drop(alice);
    assert_eq!(server.expect_exit().code(), Some(0), "{}", server.log());
    assert!(
        server.log().trim_end().ends_with("shutdown complete"),
        "{}",
        server.log()
    );
    assert_eq!(server.count_log("SIGHUP"), 1, "{}", server.log());
}

#[test]
fn sigterm_after_sighup_ends_the_process_at_once() {
    let mut server = Server::start(&["--grace", "3600"]);
    let mut alice = server.log_in("alice");
    // Its unread messages keep the shutdown waiting for the whole grace period.
    let _stalled = server.log_in("stalled");
    alice.fill_queue("stalled");
    server.signal(Signal::HUP);
    alice.expect("502 Bad Gateway", SHUTTING_DOWN);
    server.signal(Signal::HUP);
    server.signal(Signal::TERM);
    assert_eq!(server.expect_exit().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn ignored_sighup_stays_ignored() {
    // nohup(1) ignores SIGHUP in the same way.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_chat-server"));
    let mut server = Server::start_by(command, &["--rate", "0"], |_| {});
    let mut alice = server.log_in("alice");
    server.signal(Signal::HUP);
    alice.barrier();
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", SHUTTING_DOWN);
    assert_eq!(server.expect_exit().code(), Some(0));
    assert_eq!(server.count_log("SIGHUP"), 0, "{}", server.log());
}
