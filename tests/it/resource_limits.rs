//! The limits of the system: descriptors, threads, memory maps.

use crate::support::{Client, ExecutableCopy, Server, has_tool, server_threads, skip, wait_for};
use rustix::process::{Resource, Rlimit, Signal, geteuid, getrlimit, prlimit};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

const FULL: &str = "The server is full";

/// Starts a server under a limit of prlimit(1).
#[track_caller]
fn limited(limit: &str, program: &str, prepare: impl FnOnce(&mut Command)) -> Server {
    Server::start_limited(limit, program, &["--rate", "0"], prepare)
}

/// Logs in clients until the server is full, and returns them.
#[track_caller]
fn fill(server: &Server) -> Vec<Client> {
    let mut clients = Vec::new();
    loop {
        let mut client = server.connect();
        client.send(&format!("Set-name user{}", clients.len()));
        let answer = client.next();
        if answer.status == "403 Forbidden" {
            assert_eq!(answer.data, FULL);
            return clients;
        }
        client.token = answer.header;
        clients.push(client);
    }
}

/// Checks a full server.
///
/// New clients get the refusal. Connected clients are served. The idle server uses no CPU time.
/// The log has one line about refusals. After a client disconnects, another can log in.
#[track_caller]
fn check_full(server: &Server, mut clients: Vec<Client>) {
    for _ in 0..50 {
        server.expect_refusal(server.address, FULL);
    }
    check_idle(server);
    let (first, others) = clients.split_first_mut().expect("a client");
    let delivered = format!("Delivered to {}", others.len());
    first.ask("Broadcast-message still here", "200 OK", &delivered);
    for client in others {
        client.expect_delivery("broadcast", "user0", "still here");
    }
    assert_eq!(server.count_log("refused"), 1, "{}", server.log());
    assert_eq!(server.count_log("accept failed"), 0, "{}", server.log());
    for round in 0..5 {
        drop(clients.pop());
        wait_for("room for a client", || {
            let mut client = server.connect();
            client.send(&format!("Set-name late{round}"));
            let answer = client.next();
            if answer.status == "200 OK" {
                client.token = answer.header;
                client.barrier();
                clients.push(client);
                return true;
            }
            false
        });
    }
}

/// Checks that the idle server uses almost no CPU time in a second.
///
/// The clock has ticks of ten milliseconds. A busy loop would use the whole second.
#[track_caller]
fn check_idle(server: &Server) {
    let before = server.cpu_time();
    thread::sleep(Duration::from_secs(1));
    let used = server.cpu_time() - before;
    assert!(used <= Duration::from_millis(50), "{used:?}");
}

#[test]
fn descriptor_limit_reduces_clients_and_refuses_others() {
    if !has_tool("prlimit") {
        return;
    }
    let server = limited("--nofile=48", env!("CARGO_BIN_EXE_chat-server"), |_| {});
    server.expect_log("room for 16 clients: 1000 wanted, 48 descriptors, ");
    let clients = fill(&server);
    assert_eq!(clients.len(), 48 - 32);
    check_full(&server, clients);
}

#[test]
fn thread_limit_reduces_clients_and_refuses_others() {
    if !has_tool("prlimit") {
        return;
    }
    if !geteuid().is_root() {
        return skip("only root can start a server whose user has no other threads");
    }
    let program = ExecutableCopy::copy(env!("CARGO_BIN_EXE_chat-server"));
    let server = with_few_threads(&program, server_threads() + 14, 0);
    let clients = fill(&server);
    assert_eq!(clients.len(), 7);
    check_full(&server, clients);
}

/// Starts a server under a limit of threads.
///
/// The kernel counts all threads of a user. So the server gets a user without other threads.
#[track_caller]
fn with_few_threads(program: &ExecutableCopy, limit: u64, number: u32) -> Server {
    let user = 50_000 + (std::process::id() * 2 + number) % 10_000;
    limited(&format!("--nproc={limit}"), program.path(), |command| {
        command.uid(user).gid(user);
    })
}

#[test]
fn set_name_without_a_thread_is_refused_and_changes_nothing() {
    if !has_tool("prlimit") {
        return;
    }
    if !geteuid().is_root() {
        return skip("only root can start a server whose user has no other threads");
    }
    let program = ExecutableCopy::copy(env!("CARGO_BIN_EXE_chat-server"));
    // Seven clients have two threads each. One thread is left, for a reader.
    let server = with_few_threads(&program, server_threads() + 15, 1);
    let mut clients: Vec<Client> = (0..7).map(|n| server.log_in(&format!("user{n}"))).collect();
    let mut late = server.connect();
    for _ in 0..3 {
        late.ask("Set-name late", "403 Forbidden", FULL);
    }
    late.ask("List-names", "401 Unauthorized", "Set a name first");
    late.ask("Ping", "200 OK", "Pong");
    server.expect_log("starting its writer thread failed");
    assert_eq!(server.count_log("refused"), 1, "{}", server.log());
    // A client can still act for another session, but cannot resume it.
    let token = clients[0].token.clone();
    late.send_as(&token, "Broadcast-message from elsewhere");
    late.expect_with(&token, "200 OK", "Delivered to 6");
    late.send_as(&token, "Set-name user0");
    late.expect_with(&token, "403 Forbidden", FULL);
    drop(clients.pop());
    wait_for("a free thread", || {
        late.send("Set-name late");
        let answer = late.next();
        late.token = answer.header;
        answer.status == "200 OK"
    });
    late.ask("List-names l", "200 OK", "1 online: late");
}

#[test]
fn memory_map_limit_reduces_the_logged_room() {
    let server = Server::start(&["--max-clients", "1000000"]);
    server.expect_log("room for ");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("room for "));
    let line = line.expect("a line");
    assert!(line.contains(" WARN "), "{line}");
    let [room, wanted, descriptors, maps, in_use, cpus] = numbers_of(line)[..] else {
        panic!("{line}")
    };
    let max_map_count = fs::read_to_string("/proc/sys/vm/max_map_count").expect("Linux");
    assert_eq!(max_map_count.trim().parse(), Ok(maps));
    assert_eq!(wanted, 1_000_000);
    let room_by_maps = (maps - in_use - 512 - 16 * cpus) / 8;
    assert_eq!(room, (descriptors - 32).min(room_by_maps));
    assert!((20..1_000).contains(&in_use), "{line}");
}

/// Returns the numbers of a log line, without its time and thread.
fn numbers_of(line: &str) -> Vec<u64> {
    let text = line.split("room for ").nth(1).expect("the room");
    let words = text.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Limits the descriptors of a running server. It keeps the open ones.
fn limit_descriptors(server: &Server, limit: Rlimit) {
    prlimit(Some(server.pid()), Resource::Nofile, limit).expect("a running process");
}

#[test]
fn failing_accept_backs_off_and_recovers() {
    let mut server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let ours = getrlimit(Resource::Nofile);
    let no_more = Rlimit {
        current: Some(0),
        ..ours
    };
    limit_descriptors(&server, no_more);
    // The kernel completes these connections, and the server cannot accept them.
    let mut waiting: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut waiting {
        client.send("Ping");
    }
    server.expect_log("accept failed, retrying: Too many open files");
    check_idle(&server);
    alice.ask("Private-message bob hi", "200 OK", "Delivered to bob");
    bob.expect_delivery("private", "alice", "hi");
    assert_eq!(server.count_log("accept failed"), 1, "{}", server.log());

    limit_descriptors(&server, ours);
    for client in &mut waiting {
        client.expect("200 OK", "Pong");
    }
    // The shutdown waits neither for the back-off nor for a descriptor.
    limit_descriptors(&server, no_more);
    server.signal(Signal::TERM);
    drop((alice, bob, waiting));
    assert_eq!(server.expect_exit().code(), Some(0));
}
