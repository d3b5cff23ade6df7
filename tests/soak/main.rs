//! A soak test in two parts. Each part runs for as many minutes as the argument says.
//!
//! 1. 300 clients chat, lose connections and resume, flood, or are faulty. Then the server must
//!    have no more threads, descriptors and memory than before.
//! 2. The server is compared with its [model], for one seed after the other. Each seed has its
//!    own server.
//!
//! `make soak MINUTES=10` runs both parts, and fails if one fails.
//!
//! The first part compares with the end of a shorter run of the same load, because the allocator
//! keeps freed memory for later use.

#[path = "../it/fault_client.rs"]
mod fault_client;
#[path = "../it/model/mod.rs"]
mod model;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fault_client::{Fault, Random};
use rustix::process::Signal;
use support::{Client, Message, Server, Usage, wait_for};

const CHATTING: Range<u64> = 0..120;
const RESUMING: Range<u64> = 120..180;
const FLOODING: Range<u64> = 180..210;
const FAULTY: Range<u64> = 210..300;

/// The duration of the shorter run, whose end is the baseline.
const WARM_UP: Duration = Duration::from_secs(20);

/// How much the memory may grow, in kB. The allocator keeps some memory of 300 ended threads.
/// With 100 lost bytes per connection, the growth would be as large after two minutes.
const MEMORY_NOISE: u64 = 8 * 1024;

/// The expected beginnings of log lines.
const EXPECTED: [&str; 11] = [
    "connected from ",
    "connections not logged: ",
    "logged in as ",
    "renamed ",
    "resumed session of ",
    "disconnected ",
    "lost ",
    "expired lingering session of ",
    "ended session of ",
    "received SIGTERM",
    "shutting down",
];

fn main() -> ExitCode {
    let minutes = std::env::args()
        .nth(1)
        .and_then(|text| text.parse::<f64>().ok());
    let Some(minutes) = minutes else {
        eprintln!("usage: make soak MINUTES=2");
        return ExitCode::from(2);
    };
    let time = Duration::from_secs_f64(60.0 * minutes);
    // A stalled client leaves 500 requests behind. They are executed at the rate, so its session
    // ends within ten seconds, before the deadline of each wait.
    let options = ["--linger", "2", "--login-timeout", "10", "--rate", "50"];
    let mut server = Server::start_with(&options, |_| {});
    show("without clients", usage_without_clients(&server));
    match soak(&server, time).and_then(|()| check_shutdown(&mut server)) {
        Ok(()) => {
            compare_with_the_model(time);
            println!("passed");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            let log = server.log();
            for line in log.lines().skip(log.lines().count().saturating_sub(20)) {
                println!("{line}");
            }
            if let Some(status) = server.has_exited() {
                println!("the server has ended: {status}");
            }
            println!("FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Compares the server with the model, for one seed after the other. Panics if they differ.
fn compare_with_the_model(time: Duration) {
    let (begun, first) = (Instant::now(), model::fresh_seed());
    let mut all = model::Tally::default();
    let mut count = 0;
    while begun.elapsed() < time {
        all += model::run(first + count);
        count += 1;
    }
    println!("the model agrees in {count} seeds from {first} on: {all:?}");
}

fn soak(server: &Server, time: Duration) -> Result<(), String> {
    let done = Done::default();
    run(server, WARM_UP, &done)?;
    let before = usage_without_clients(server);
    show("after the warm-up", before);
    run(server, time, &done)?;
    let after = usage_without_clients(server);
    show("at the end", after);
    println!("maximum memory: {} kB", server.proc_status("VmHWM"));
    println!("{done:?}");
    let same = (before.threads, before.descriptors) == (after.threads, after.descriptors);
    if !same || after.memory > before.memory + MEMORY_NOISE {
        return Err("the server has not released all resources".to_owned());
    }
    Ok(())
}

/// Shuts the server down and checks its exit code and its log.
fn check_shutdown(server: &mut Server) -> Result<(), String> {
    server.signal(Signal::TERM);
    let code = server.expect_exit().code();
    if code != Some(0) {
        return Err(format!("the server ended with {code:?}"));
    }
    let log = server.log();
    let (known, surprising): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| {
        // A line has time, level and thread before the text.
        let text = line.split_once(": ").map_or(*line, |(_, text)| text);
        line.contains(" INFO ") && EXPECTED.iter().any(|known| text.starts_with(known))
            || line.ends_with(" main: shutdown complete")
    });
    println!("{} lines in the log", known.len());
    match surprising.first() {
        None => Ok(()),
        Some(line) => Err(format!(
            "{} lines like this in the log: {line}",
            surprising.len()
        )),
    }
}

fn show(when: &str, usage: Usage) {
    let Usage {
        threads,
        descriptors,
        memory,
    } = usage;
    println!("{when}: {threads} threads, {descriptors} descriptors, {memory} kB");
}

/// The counts of a run, which show that it has tested something.
#[derive(Debug, Default)]
struct Done {
    messages: AtomicU64,
    deliveries: AtomicU64,
    resumptions: AtomicU64,
    floods: AtomicU64,
    faults: AtomicU64,
}

fn count(what: &AtomicU64) {
    what.fetch_add(1, Ordering::Relaxed);
}

/// Runs all clients for this time.
fn run(server: &Server, time: Duration, done: &Done) -> Result<(), String> {
    let end = Instant::now() + time;
    let failed = thread::scope(|scope| {
        let clients: Vec<_> = (CHATTING.start..FAULTY.end)
            .map(|number| {
                let life = match number {
                    _ if CHATTING.contains(&number) => chat,
                    _ if RESUMING.contains(&number) => lose_and_resume,
                    _ if FLOODING.contains(&number) => flood,
                    _ => run_faulty_clients,
                };
                scope.spawn(move || life(server, number, end, done))
            })
            .collect();
        // An explicit join, because the scope would pass on the panic of a thread.
        clients
            .into_iter()
            .map(|client| client.join())
            .filter(Result::is_err)
            .count()
    });
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} clients got a wrong response")),
    }
}

/// Waits until no client and no lingering session is left. Returns the use of resources.
fn usage_without_clients(server: &Server) -> Usage {
    let mut last = server.connect();
    wait_for("the end of all sessions", || {
        last.set_name("last");
        last.send("List-names");
        let alone = last.next().data == "1 online: last";
        last = server.connect();
        alone
    });
    drop(last);
    let mut usage = server.usage();
    wait_for("a steady count of threads", || {
        // A connection takes at most a second to close.
        thread::sleep(Duration::from_millis(1_200));
        let before = std::mem::replace(&mut usage, server.usage());
        (before.threads, before.descriptors) == (usage.threads, usage.descriptors)
    });
    usage
}

/// Runs a user that sends private messages and broadcasts now and then.
fn chat(server: &Server, number: u64, end: Instant, done: &Done) {
    let mut random = Random::new(number);
    let mut client = server.log_in(&format!("chat{number}"));
    while Instant::now() < end {
        let text = "x".repeat(1 + random.below(200) as usize);
        if random.below(10) == 0 {
            client.send(&format!("Broadcast-message {text}"));
        } else {
            let other = random.below(CHATTING.end);
            client.send(&format!("Private-message chat{other} {text}"));
        }
        // The recipient may not have logged in yet, or may have disconnected.
        let response = response(&mut client, done);
        let status = &*response.status;
        assert!(
            ["200 OK", "404 Not Found"].contains(&status),
            "{response:?}"
        );
        count(&done.messages);
        pause(&mut random, 600);
    }
    client.send("Quit");
    assert_eq!(response(&mut client, done).data, "Goodbye");
    client.expect_end();
}

/// Runs a user with a bad network that always resumes its session.
fn lose_and_resume(server: &Server, number: u64, end: Instant, done: &Done) {
    let mut random = Random::new(number);
    let name = format!("break{number}");
    let mut client = server.log_in(&name);
    while Instant::now() < end {
        client.send_as(&client.token.clone(), "Ping");
        assert_eq!(response(&mut client, done).data, "Pong");
        pause(&mut random, 400);
        let token = client.token.clone();
        let mut next = server.connect();
        match random.below(3) {
            0 => client.reset(),
            // With unread input, a drop sends a reset. Otherwise it ends the session.
            1 => drop(client),
            // Take over the session while the old connection is open.
            _ => {
                resume(&mut next, &token, &name, done);
                client = next;
                continue;
            }
        }
        resume(&mut next, &token, &name, done);
        client = next;
    }
}

/// Resumes the session, or begins a new one with the same name if the session has ended.
fn resume(client: &mut Client, token: &str, name: &str, done: &Done) {
    loop {
        client.send_as(token, &format!("Set-name {name}"));
        let response = response(client, done);
        if response.status == "304 Not Modified" {
            client.token = response.header;
            return count(&done.resumptions);
        }
        assert_eq!(response.data, "Unknown token");
        client.send(&format!("Set-name {name}"));
        let response = self::response(client, done);
        if response.status == "200 OK" {
            client.token = response.header;
            return;
        }
        assert_eq!(response.data, format!("{name} is taken"));
    }
}

/// Runs a program that sends requests as fast as it can, and is rate limited.
fn flood(server: &Server, number: u64, end: Instant, done: &Done) {
    let mut client = server.log_in(&format!("flood{number}"));
    while Instant::now() < end {
        client.send_raw("\n\nPing\n".repeat(60));
        for _ in 0..60 {
            assert_eq!(response(&mut client, done).data, "Pong");
        }
        count(&done.floods);
    }
    client.close_input();
    while client.next_or_end().is_some() {}
}

/// Runs faulty clients, one after the other.
fn run_faulty_clients(server: &Server, number: u64, end: Instant, done: &Done) {
    let mut random = Random::new(number);
    for round in 0.. {
        if Instant::now() >= end {
            return;
        }
        let fault = Fault::nth(random.next());
        fault.run(server.address, &format!("bad{number}-{round}"));
        count(&done.faults);
        pause(&mut random, 400);
    }
}

/// Returns the next response. Skips deliveries and notices of missed messages.
fn response(client: &mut Client, done: &Done) -> Message {
    loop {
        let message = client.next();
        let is_delivery = message.data.starts_with("Incoming-message ");
        if !is_delivery && !message.data.starts_with("Missed ") {
            return message;
        }
        count(&done.deliveries);
    }
}

/// Sleeps at most this many milliseconds, as a user would.
fn pause(random: &mut Random, millis: u64) {
    thread::sleep(Duration::from_millis(random.below(millis)));
}
