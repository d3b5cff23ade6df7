//! Faults while many clients send: nothing that was answered 200 is lost, doubled or out of order.
//!
//! Each talker sends numbered messages, to another talker and to all in turn, and waits for each
//! response.

use super::{AWAY, Chat, MAYBE, end_lease, refused_commands};
use crate::support::{Client, Redis, has_tool, missed_by, wait_for};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const TALKERS: usize = 6;

/// Messages that each talker gets confirmed before a fault, and after it.
const ENOUGH: usize = 40;

/// The result of a talker.
#[derive(Default)]
struct Record {
    /// The numbers of the confirmed private messages, each with the number of the recipient.
    private: Vec<(usize, usize)>,
    /// The numbers of the confirmed broadcasts, each with the count of its response.
    broadcasts: Vec<(usize, usize)>,
    /// The messages that it has received: scope, sender and number.
    received: Vec<(String, usize, usize)>,
    /// The names of the sessions that have left, if it watches.
    left: Vec<String>,
    /// The number of messages that it was told to have missed.
    missed: usize,
    has_lost_its_node: bool,
}

/// The talkers, as the thread of the test sees them.
#[derive(Default)]
struct Progress {
    confirmed: [AtomicUsize; TALKERS],
    is_over: AtomicBool,
}

impl Progress {
    /// Waits until each of these talkers has got more messages confirmed.
    #[track_caller]
    fn wait_for_more(&self, talkers: impl IntoIterator<Item = usize>) {
        for talker in talkers {
            let confirmed = &self.confirmed[talker];
            let enough = confirmed.load(Ordering::Relaxed) + ENOUGH;
            wait_for(&format!("progress of talker {talker}"), || {
                confirmed.load(Ordering::Relaxed) >= enough
            });
        }
    }
}

/// A client that sends numbered messages.
struct Talker<'a> {
    number: usize,
    client: Client,
    progress: &'a Progress,
    may_be_unknown: bool,
    record: Record,
}

impl Talker<'_> {
    /// Sends until the end of the test, or of its node.
    fn talk(mut self) -> (Client, Record) {
        for number in 0.. {
            if self.progress.is_over.load(Ordering::Relaxed) {
                break;
            }
            // A recipient at each node in turn.
            let to = (self.number + 1 + number % (TALKERS - 1)) % TALKERS;
            let request = match number % 2 {
                0 => format!("Private-message talker{to} {number}"),
                _ => format!("Broadcast-message {number}"),
            };
            let Some(response) = self.ask(&request) else {
                self.record.has_lost_its_node = true;
                break;
            };
            let confirmed = match response.strip_prefix("Delivered to ") {
                Some(name) if number % 2 == 0 => {
                    assert_eq!(name, format!("talker{to}"));
                    self.record.private.push((number, to));
                    true
                }
                Some(count) => {
                    let count = count.parse().expect("a count");
                    self.record.broadcasts.push((number, count));
                    true
                }
                None => {
                    self.check_refusal(&response, to);
                    false
                }
            };
            self.progress.confirmed[self.number].fetch_add(confirmed.into(), Ordering::Relaxed);
        }
        (self.client, self.record)
    }

    #[track_caller]
    fn check_refusal(&self, response: &str, to: usize) {
        let possible = [
            AWAY.to_owned(),
            MAYBE.to_owned(),
            format!("The server of talker{to} cannot be reached now"),
            format!("No answer from the server of talker{to}; the message may have arrived"),
        ];
        let unknown = format!("No one is named talker{to}");
        let is_possible =
            possible.contains(&response.to_owned()) || self.may_be_unknown && response == unknown;
        assert!(is_possible, "{response}");
    }

    /// Sends a request, and reads up to its response. `None` if the connection ends.
    fn ask(&mut self, request: &str) -> Option<String> {
        let sent = self.client.try_send_raw(format!("\r\n\r\n{request}\r\n"));
        sent.ok()?;
        loop {
            let message = self.client.next_or_ended().ok()?;
            if !self.record.take(&message.data) {
                return Some(message.data);
            }
        }
    }
}

impl Record {
    /// Takes a delivery. Returns false if it is a response.
    #[track_caller]
    fn take(&mut self, data: &str) -> bool {
        if let Some(count) = missed_by(data) {
            self.missed += count;
            return true;
        }
        let words: Vec<&str> = data.split(' ').collect();
        match words[..] {
            ["Incoming-message", scope, sender, number] => {
                let sender = sender.strip_prefix("talker").expect("a talker");
                let [sender, number] = [sender, number].map(|it| it.parse().expect("a number"));
                self.received.push((scope.to_owned(), sender, number));
            }
            ["Incoming-presence", "left", name] => self.left.push(name.to_owned()),
            ["Incoming-presence", "joined", _] => {}
            _ => return false,
        }
        true
    }

    /// Returns the numbers that it has received from a sender.
    fn received_from(&self, sender: usize) -> impl Iterator<Item = usize> {
        let from = self.received.iter().filter(move |it| it.1 == sender);
        from.map(|(_, _, number)| *number)
    }
}

/// Lets two talkers at each of three nodes talk, causes the fault, and checks what all of them
/// have received. The fault returns the talkers that go on.
#[track_caller]
fn check_load(
    chat: &mut Chat,
    may_be_unknown: bool,
    fault: impl FnOnce(&mut Chat, &Progress),
) -> Vec<(Client, Record)> {
    let progress = Progress::default();
    let clients: Vec<Client> = (0..TALKERS)
        .map(|n| chat.log_in(n % 3, &format!("talker{n}")))
        .collect();
    let mut results: Vec<(Client, Record)> = thread::scope(|scope| {
        let talkers = clients.into_iter().enumerate().map(|(number, mut client)| {
            if number == 0 {
                client.ask("Watch-presence on", "200 OK", "Watching presence");
            }
            let talker = Talker {
                number,
                client,
                progress: &progress,
                may_be_unknown,
                record: Record::default(),
            };
            scope.spawn(|| talker.talk())
        });
        let talkers: Vec<_> = talkers.collect();
        // After a failure here, the talkers must end all the same.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            progress.wait_for_more(0..TALKERS);
            fault(chat, &progress);
        }));
        progress.is_over.store(true, Ordering::Relaxed);
        let results = talkers.into_iter().map(|it| it.join());
        let results: Vec<_> = results.collect();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        let results = results.into_iter();
        results.map(|it| it.expect("no panic")).collect()
    });
    for (client, record) in &mut results {
        if !record.has_lost_its_node {
            client.send("Ping end");
            while record.take(&client.next().data) {}
        }
    }
    let records: Vec<&Record> = results.iter().map(|(_, record)| record).collect();
    check_senders(&records);
    check_order(&records);
    results
}

/// Expects what each sender was told: each confirmed message has arrived, once and in order.
#[track_caller]
fn check_senders(records: &[&Record]) {
    let lost = records.iter().filter(|it| it.has_lost_its_node).count();
    for (sender, record) in records.iter().enumerate() {
        let arrived: Vec<BTreeSet<usize>> = records
            .iter()
            .map(|recipient| {
                let numbers: Vec<usize> = recipient.received_from(sender).collect();
                assert!(numbers.is_sorted_by(|a, b| a < b), "{sender}: {numbers:?}");
                numbers.into_iter().collect()
            })
            .collect();
        for (number, to) in &record.private {
            let is_there = records[*to].has_lost_its_node || arrived[*to].contains(number);
            assert!(is_there, "private {number} of {sender} to {to}");
        }
        for (number, count) in &record.broadcasts {
            let there = arrived.iter().filter(|it| it.contains(number)).count();
            let possible = ..=there + lost;
            assert!(
                possible.contains(count),
                "broadcast {number} of {sender}: {count}, but {there}"
            );
        }
    }
}

/// Expects that all have received the broadcasts in the same order.
#[track_caller]
fn check_order(records: &[&Record]) {
    let orders: Vec<Vec<(usize, usize)>> = records
        .iter()
        .map(|record| {
            let broadcasts = record.received.iter().filter(|it| it.0 == "broadcast");
            broadcasts.map(|it| (it.1, it.2)).collect()
        })
        .collect();
    for one in &orders {
        let places: BTreeMap<_, usize> = one.iter().enumerate().map(|(n, it)| (*it, n)).collect();
        for other in &orders {
            let common = other.iter().filter_map(|it| places.get(it));
            assert!(common.is_sorted(), "{one:?}\n{other:?}");
        }
    }
}

/// Expects that no session has been disconnected or has left, and that none was told of a gap,
/// unless Redis has lost data.
#[track_caller]
fn expect_all_stayed(chat: &Chat, results: &mut [(Client, Record)], has_lost_data: bool) {
    for (client, record) in results {
        assert!(has_lost_data || record.missed == 0, "{}", record.missed);
        assert!(!record.has_lost_its_node);
        assert_eq!(record.left, [""; 0]);
        client.ask(
            "List-names",
            "200 OK",
            "6 online: talker0 talker1 talker2 talker3 talker4 talker5",
        );
    }
    let mut client = chat.connect(0);
    client.ask("Set-name talker5", "403 Forbidden", "talker5 is taken");
}

#[test]
fn killed_node_costs_its_own_sessions_only_under_load() {
    let Some(mut chat) = Chat::start(3) else {
        return;
    };
    let mut results = check_load(&mut chat, false, |chat, progress| {
        chat.nodes[1].signal(Signal::KILL);
        chat.nodes[1].expect_exit();
        progress.wait_for_more([0, 2, 3, 5]);
    });
    for (number, (_, record)) in results.iter().enumerate() {
        assert_eq!(record.has_lost_its_node, number % 3 == 1, "{number}");
        assert_eq!(record.missed, 0, "{number}");
    }
    end_lease(&chat.redis, "talker1");
    let (watcher, record) = &mut results[0];
    while record.left.len() < 2 {
        let data = watcher.next().data;
        assert!(record.take(&data), "{data}");
    }
    record.left.sort_unstable();
    assert_eq!(record.left, ["talker1", "talker4"]);
    let names = "4 online: talker0 talker2 talker3 talker5";
    watcher.ask("List-names", "200 OK", names);
    watcher.barrier();
    let _again = chat.log_in(2, "talker4");
}

#[test]
fn killed_redis_loses_nothing_confirmed_under_load() {
    if !has_tool("redis-server") {
        return;
    }
    let append = ["--appendonly", "yes", "--appendfsync", "always"];
    for (options, is_saved) in [(&[][..], false), (&[], true), (&append, false)] {
        let mut chat = Chat::start_on(Redis::start(options), 3);
        let has_data = is_saved || !options.is_empty();
        let mut results = check_load(&mut chat, !has_data, |chat, progress| {
            if is_saved {
                chat.redis.save();
                progress.wait_for_more(0..TALKERS);
            }
            chat.redis.kill();
            chat.redis.start_again();
            progress.wait_for_more(0..TALKERS);
        });
        expect_all_stayed(&chat, &mut results, options.is_empty());
    }
}

#[test]
fn forgotten_scripts_lose_nothing_confirmed_under_load() {
    let Some(mut chat) = Chat::start(3) else {
        return;
    };
    let mut results = check_load(&mut chat, false, |chat, progress| {
        for _ in 0..3 {
            chat.redis.ask::<()>(&["SCRIPT", "FLUSH"]);
            progress.wait_for_more(0..TALKERS);
        }
    });
    expect_all_stayed(&chat, &mut results, false);
}

#[test]
fn full_redis_loses_nothing_confirmed_under_load() {
    let Some(mut chat) = Chat::start(3) else {
        return;
    };
    let mut results = check_load(&mut chat, false, |chat, progress| {
        chat.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
        wait_for("requests that Redis refuses", || {
            refused_commands(&chat.redis) > 100
        });
        chat.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
        progress.wait_for_more(0..TALKERS);
    });
    expect_all_stayed(&chat, &mut results, false);
}

#[test]
fn stopped_redis_loses_nothing_confirmed_under_load() {
    let Some(mut chat) = Chat::start(3) else {
        return;
    };
    let mut results = check_load(&mut chat, false, |chat, progress| {
        chat.redis.stop();
        for node in &chat.nodes {
            node.expect_log("lost the connection to Redis");
        }
        chat.redis.resume();
        progress.wait_for_more(0..TALKERS);
    });
    expect_all_stayed(&chat, &mut results, false);
}
