//! A benchmark of the delay that one stalled client causes to 99 others.
//!
//! It measures the time from sending a broadcast to its arrival at each of the 99 clients. In
//! half of the rounds, the hundredth client reads. In the other half, it is stalled. The rounds
//! alternate, because on a busy machine the load changes. It is not a test.
//!
//! `make bench-stall` runs it, in less than a minute.

#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::{Client, Server};

/// The number of clients whose times are measured.
const READERS: usize = 99;

/// The number of measured rounds. Half of them have a stalled client.
const ROUNDS: usize = 40;

const BROADCASTS: usize = 150;

/// The pause between two broadcasts. It is long enough for all clients to get one before the
/// next, so that the times do not overlap.
const PAUSE: Duration = Duration::from_millis(5);

/// The text that ends the benchmark.
const END: &str = "end";

fn main() {
    // A long write timeout, because the stalled client must stay connected.
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
    // The first round is a warm-up and is not counted.
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
        let reader_times = reader.join().expect("no panic");
        times.all_read.extend(reader_times.all_read);
        times.one_stalled.extend(reader_times.one_stalled);
    }
    print(times);
}

/// The times of deliveries, in nanoseconds.
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
        // The stalled client misses most of them, but its queue may have room for a few.
        assert!(answer.starts_with("Delivered to "), "{answer}");
    }
}

/// Reads a round's broadcasts.
fn read_on(client: &mut Client) {
    for _ in 0..BROADCASTS {
        client.next();
    }
}

/// Reads all queued messages.
fn read_all(client: &mut Client) {
    client.send("Ping that was all");
    while client.next().data != "Pong that was all" {}
}

/// Reads broadcasts and measures their times, until the last one.
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
