//! What one stalled reader among a hundred costs the others: the time from sending a
//! broadcast to its arrival at each of the other 99, with the hundredth reading and with
//! it stalled, side by side. A benchmark to look at, not a test: on a busy machine the two
//! differ by what else is going on, which is why the rounds alternate.
//!
//! `make bench-stall` runs it, in less than a minute.

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{Client, Server};

/// Those whose times are taken.
const READERS: usize = 99;

/// As many with a stalled reader as without.
const ROUNDS: usize = 40;

const BROADCASTS: usize = 150;

/// Between two broadcasts: long enough for all to have one before the next comes, so that
/// nobody's time is another message's.
const PAUSE: Duration = Duration::from_millis(5);

/// The text that ends it.
const END: &str = "end";

fn main() {
    // Stalled is what the hundredth is to be, and not broken.
    let server = Server::start(&["--write-timeout", "3600"]);
    let begin = Instant::now();
    let readers: Vec<JoinHandle<Times>> = (0..READERS)
        .map(|number| {
            let reader = server.log_in(&format!("reader{number}"));
            thread::spawn(move || take_times(reader, begin))
        })
        .collect();
    let (mut sender, mut slow) = (server.log_in("sender"), server.log_in("slow"));
    eprintln!("{ROUNDS} rounds of {BROADCASTS} broadcasts to {READERS} readers and one more");
    // The first is not counted: everything is done for the first time in it.
    for round in 0..=ROUNDS {
        if round % 2 == 0 {
            thread::scope(|scope| {
                scope.spawn(|| read_on(&mut slow));
                send_round(&mut sender, round, begin);
            });
        } else {
            sender.fill_queue("slow");
            send_round(&mut sender, round, begin);
            read_all(&mut slow);
        }
    }
    sender.send(&format!("Broadcast-message {END}"));

    let mut times = Times::default();
    for reader in readers {
        let its = reader.join().expect("no panic");
        times.all_read.extend(its.all_read);
        times.one_stalled.extend(its.one_stalled);
    }
    print(times);
}

/// How long deliveries took, in nanoseconds.
#[derive(Default)]
struct Times {
    all_read: Vec<u64>,
    one_stalled: Vec<u64>,
}

/// Sends the broadcasts of a round, each with the number of the round and the time.
fn send_round(sender: &mut Client, round: usize, begin: Instant) {
    for _ in 0..BROADCASTS {
        thread::sleep(PAUSE);
        let sent = begin.elapsed().as_nanos();
        sender.send(&format!("Broadcast-message {round} {sent}"));
        let answer = sender.next().data;
        // Who is stalled misses most of them, and may have room for a few.
        assert!(answer.starts_with("Delivered to "), "{answer}");
    }
}

/// Reads a round's broadcasts.
fn read_on(client: &mut Client) {
    for _ in 0..BROADCASTS {
        client.next();
    }
}

/// Reads whatever has been queued.
fn read_all(client: &mut Client) {
    client.send("Ping that was all");
    while client.next().data != "Pong that was all" {}
}

/// The life of a reader.
fn take_times(mut reader: Client, begin: Instant) -> Times {
    let mut times = Times::default();
    loop {
        let data = reader.next().data;
        let now = begin.elapsed().as_nanos() as u64;
        let text = data.strip_prefix("Incoming-message broadcast sender ");
        let text = text.expect("a broadcast");
        if text == END {
            return times;
        }
        let (round, sent) = text.split_once(' ').expect("two numbers");
        let took = now - sent.parse::<u64>().expect("a time");
        match round.parse::<usize>().expect("a round") {
            0 => {}
            round if round % 2 == 0 => times.all_read.push(took),
            _ => times.one_stalled.push(took),
        }
    }
}

fn print(mut times: Times) {
    times.all_read.sort_unstable();
    times.one_stalled.sort_unstable();
    let Times {
        all_read,
        one_stalled,
    } = &times;
    println!("from sending to arrival, in microseconds");
    println!("{:>12} {:>12} {:>12}", "", "all read", "one stalled");
    for (name, share) in [
        ("least", 0.0),
        ("half", 0.5),
        ("90 %", 0.9),
        ("99 %", 0.99),
        ("99.9 %", 0.999),
        ("most", 1.0),
    ] {
        let at = |times: &[u64]| {
            let index = (times.len() - 1) as f64 * share;
            times[index as usize] as f64 / 1_000.0
        };
        println!(
            "{name:>12} {:>12.1} {:>12.1}",
            at(all_read),
            at(one_stalled)
        );
    }
    println!(
        "{:>12} {:>12} {:>12}",
        "of",
        all_read.len(),
        one_stalled.len()
    );
}
