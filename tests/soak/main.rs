//! A soak, in two halves, each for as many minutes as the argument says: 300 clients that
//! chat, break and resume, flood, and babble, and when they are gone, whether the server
//! is as it was before they came; then [seed](model) after seed against the model, each
//! with a server of its own. `make soak MINUTES=10` runs both; it fails if anything is not
//! as it should be.
//!
//! What is compared with is what a shorter run of the same left behind, because the
//! allocator keeps memory that it has had, and gives it to the next.

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
const BREAKING: Range<u64> = 120..180;
const FLOODING: Range<u64> = 180..210;
const BABBLING: Range<u64> = 210..300;

/// How long the clients are there before what is left is taken for the beginning.
const WARM_UP: Duration = Duration::from_secs(20);

/// By how much the memory may differ from that, in kB: what the allocator happens to keep
/// of 300 threads that come and go. If each connection left 100 bytes behind, it would be
/// as much in two minutes.
const MEMORY_NOISE: u64 = 8 * 1024;

/// What the log says of clients, whatever they do.
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
        eprintln!("for how many minutes? make soak MINUTES=2");
        return ExitCode::from(2);
    };
    let time = Duration::from_secs_f64(60.0 * minutes);
    let mut server = Server::start_with(&["--linger", "2", "--login-timeout", "10"], |_| {});
    show("with nobody", quiet(&server));
    match soak(&server, time).and_then(|()| check_end(&mut server)) {
        Ok(()) => {
            compare_with_the_model(time);
            println!("all is as it should be");
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
            println!("NOT as it should be: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// One seed after the other, for so long. Panics if the server is not what its model is.
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
    let before = quiet(server);
    show("after the warm-up", before);
    run(server, time, &done)?;
    let after = quiet(server);
    show("at the end", after);
    println!(
        "the most memory there was: {} kB",
        server.proc_status("VmHWM")
    );
    println!("{done:?}");
    let same = (before.threads, before.descriptors) == (after.threads, after.descriptors);
    if !same || after.memory > before.memory + MEMORY_NOISE {
        return Err("something is left".to_owned());
    }
    Ok(())
}

/// The server is to end in good order, and to have logged nothing that surprises.
fn check_end(server: &mut Server) -> Result<(), String> {
    server.signal(Signal::TERM);
    let code = server.expect_exit().code();
    if code != Some(0) {
        return Err(format!("the server ended with {code:?}"));
    }
    let log = server.log();
    let (known, surprising): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| {
        // time, level, thread, and what it is
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

/// What has been done, to see that something was.
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

/// Has all clients do what they do for so long.
fn run(server: &Server, time: Duration, done: &Done) -> Result<(), String> {
    let end = Instant::now() + time;
    let failed = thread::scope(|scope| {
        let clients: Vec<_> = (CHATTING.start..BABBLING.end)
            .map(|number| {
                let life = match number {
                    _ if CHATTING.contains(&number) => chat,
                    _ if BREAKING.contains(&number) => break_and_resume,
                    _ if FLOODING.contains(&number) => flood,
                    _ => babble,
                };
                scope.spawn(move || life(server, number, end, done))
            })
            .collect();
        // All are joined here, or a panic of one would be ours.
        clients
            .into_iter()
            .map(|client| client.join())
            .filter(Result::is_err)
            .count()
    });
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} clients were not answered as they should")),
    }
}

/// What the server holds when everybody is gone, those who linger too.
fn quiet(server: &Server) -> Usage {
    let mut last = server.connect();
    wait_for("everybody to be gone", || {
        last.set_name("last");
        last.send("List-names");
        let alone = last.next().data == "1 online: last";
        last = server.connect();
        alone
    });
    drop(last);
    let mut usage = server.usage();
    wait_for("nobody's threads to be left", || {
        // As long as a connection may take to close, and a little more.
        thread::sleep(Duration::from_millis(1_200));
        let before = std::mem::replace(&mut usage, server.usage());
        (before.threads, before.descriptors) == (usage.threads, usage.descriptors)
    });
    usage
}

/// A person, who says something now and then to one or to all.
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
        // Who has not come yet, or has left, is not found.
        let answer = answer(&mut client, done);
        let status = &*answer.status;
        assert!(["200 OK", "404 Not Found"].contains(&status), "{answer:?}");
        count(&done.messages);
        pause(&mut random, 600);
    }
    client.send("Quit");
    assert_eq!(answer(&mut client, done).data, "Goodbye");
    client.expect_end();
}

/// Somebody with a bad network, who always comes back.
fn break_and_resume(server: &Server, number: u64, end: Instant, done: &Done) {
    let mut random = Random::new(number);
    let name = format!("break{number}");
    let mut client = server.log_in(&name);
    while Instant::now() < end {
        client.send_as(&client.token.clone(), "Ping");
        assert_eq!(answer(&mut client, done).data, "Pong");
        pause(&mut random, 400);
        let token = client.token.clone();
        let mut next = server.connect();
        match random.below(3) {
            0 => client.reset(),
            // A reset where something is unread, and else an end in good order.
            1 => drop(client),
            // Taken over, while it is there.
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

/// Takes the session up again; or another of the same name, if it has ended, because the
/// connection was closed in good order after all.
fn resume(client: &mut Client, token: &str, name: &str, done: &Done) {
    loop {
        client.send_as(token, &format!("Set-name {name}"));
        let answer = answer(client, done);
        if answer.status == "304 Not Modified" {
            client.token = answer.header;
            return count(&done.resumptions);
        }
        assert_eq!(answer.data, "Unknown token");
        client.send(&format!("Set-name {name}"));
        let answer = self::answer(client, done);
        if answer.status == "200 OK" {
            client.token = answer.header;
            return;
        }
        assert_eq!(answer.data, format!("{name} is taken"));
    }
}

/// A program that asks as fast as it can, and is slowed down.
fn flood(server: &Server, number: u64, end: Instant, done: &Done) {
    let mut client = server.log_in(&format!("flood{number}"));
    while Instant::now() < end {
        client.send_raw("\n\nPing\n".repeat(60));
        for _ in 0..60 {
            assert_eq!(answer(&mut client, done).data, "Pong");
        }
        count(&done.floods);
    }
    client.close_input();
    while client.next_or_end().is_some() {}
}

/// Bad clients, one after the other.
fn babble(server: &Server, number: u64, end: Instant, done: &Done) {
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

/// The next message that nobody else has sent.
fn answer(client: &mut Client, done: &Done) -> Message {
    loop {
        let message = client.next();
        let is_delivery = message.data.starts_with("Incoming-message ");
        if !is_delivery && !message.data.starts_with("Missed ") {
            return message;
        }
        count(&done.deliveries);
    }
}

/// A while, up to so many milliseconds: the time that a person takes, which nothing else
/// here would.
fn pause(random: &mut Random, millis: u64) {
    thread::sleep(Duration::from_millis(random.below(millis)));
}
