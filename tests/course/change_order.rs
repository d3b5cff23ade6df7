//! Chapter 7: two naive ways to announce that users join, leave or change their names, and this server. The first
//! announces in another order than the changes. The second makes readers of the names wait.

use std::collections::BTreeSet;
use std::hint;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chat::outbox::Attachment;
use chat::outbox::direct_write::{DirectWrites, PendingWrites};
use chat::protocol::presence::{PRESENCE, Presence};
use chat::protocol::token::Token;
use chat::protocol::username::Username;
use chat::sessions::Sessions;
use crossbeam_channel::{Sender, never, unbounded};
use parking_lot::RwLock;

use crate::median;
use crate::support::{Client, Server};

/// How often a name passes from one client to another.
const PASSES: usize = 2_000;

/// The number of requests that the next owner of the name sends at once.
const BURST: usize = 50;

/// The names of two clients while they are not kim.
const OWN_NAMES: [&str; 2] = ["ann", "bob"];

/// The clients that watch.
const WATCHERS: usize = 10;

/// The number of watchers for which a read is timed.
const TIMED_WATCHERS: usize = 2_000;

const ROUNDS: usize = 101;

/// How often a thread spins between two reads.
const READ_PAUSE: usize = 100;

#[derive(Default)]
struct Room {
    names: RwLock<BTreeSet<String>>,
    /// The queues of the clients that watch. A writer thread empties each.
    watchers: RwLock<Vec<Sender<String>>>,
}

/// Makes a change and announces it. Returns false if the new name is taken.
type Make = fn(&Room, &Presence) -> bool;

fn change_then_announce(room: &Room, change: &Presence) -> bool {
    let is_made = apply(&mut room.names.write(), change);
    if is_made {
        room.announce(change);
    }
    is_made
}

fn announce_under_the_lock(room: &Room, change: &Presence) -> bool {
    let mut names = room.names.write();
    let is_made = apply(&mut names, change);
    if is_made {
        room.announce(change);
    }
    is_made
}

impl Room {
    fn announce(&self, change: &Presence) {
        for watcher in &*self.watchers.read() {
            let _ = watcher.send(format!("Incoming-presence {change}"));
        }
    }
}

/// Makes a change. Returns false if it does not fit these names.
fn apply(names: &mut BTreeSet<String>, change: &Presence) -> bool {
    match change {
        Presence::Joined(name) => names.insert(name.to_string()),
        Presence::Left(name) => names.remove(name.as_str()),
        Presence::Renamed { old, new } => {
            names.insert(new.to_string()) && names.remove(old.as_str())
        }
    }
}

pub(super) fn experiment() -> io::Result<()> {
    for (what, pass) in [
        ("kim disconnects, and connects again", reconnect as Pass),
        ("two clients take turns as kim", take_turns),
    ] {
        println!("{what}, {PASSES} times, before {WATCHERS} watchers.");
        println!("  {:24} told in the wrong order  told differently", "");
        let server = Server::start(&[]);
        for (name, address) in [
            ("change_then_announce", start_naive(change_then_announce)?),
            (
                "announce_under_the_lock",
                start_naive(announce_under_the_lock)?,
            ),
            ("this server", server.address),
        ] {
            let told = count_passes(address, pass);
            println!("  {name:24} {:23} {:17}", told.wrongly, told.differently);
            if let Some(example) = told.example {
                println!("{example}");
            }
        }
    }
    println!("A client changes its name, and {TIMED_WATCHERS} watchers are told:");
    println!("  {:24} slowest lookup  whole change", "");
    for (name, (change, read)) in [
        ("change_then_announce", time_naive(change_then_announce)),
        (
            "announce_under_the_lock",
            time_naive(announce_under_the_lock),
        ),
        ("this server", time_sessions()),
    ] {
        println!("  {name:24} {read:>14.1?}{change:>14.1?}");
    }
    Ok(())
}

/// Passes the name kim from the first client to the second, which becomes the first. Returns
/// after the server has made both changes.
type Pass = fn(SocketAddr, &mut [Client; 2], usize);

/// The first client disconnects. Meanwhile a new one claims the name.
fn reconnect(server: SocketAddr, clients: &mut [Client; 2], _: usize) {
    clients[1] = Client::connect(server);
    let [kim, next] = clients;
    claim_during(next, || kim.close_input());
    kim.rest().expect("an orderly end");
    clients.swap(0, 1);
}

/// The first client changes its name. Meanwhile the second one changes its own.
fn take_turns(_: SocketAddr, clients: &mut [Client; 2], round: usize) {
    let [kim, next] = clients;
    let name = OWN_NAMES[round % 2];
    claim_during(next, || kim.send(&format!("Set-name {name}")));
    assert_eq!(kim.next().data, format!("You are {name}"));
    clients.swap(0, 1);
}

/// Releases the name kim while this client claims it again and again.
fn claim_during(client: &mut Client, release: impl FnOnce()) {
    let requests = "\r\n\r\nSet-name kim\r\n".repeat(BURST);
    client.send_raw(&requests);
    release();
    loop {
        let granted = (0..BURST).filter(|_| client.next().data == "You are kim");
        if granted.count() > 0 {
            return;
        }
        client.send_raw(&requests);
    }
}

/// How often watchers have been told of a pass in an order that did not happen.
#[derive(Default)]
struct Told {
    /// At least one watcher was told first that the name is taken, and then that it is free.
    wrongly: usize,
    /// Not all watchers were told the same order.
    differently: usize,
    /// The first case of `wrongly`.
    example: Option<String>,
}

/// Passes the name again and again, and reads what the watchers are told.
fn count_passes(server: SocketAddr, pass: Pass) -> Told {
    let mut clients = [log_in(server, "kim"), Client::connect(server)];
    let mut watchers = Vec::new();
    for number in 0..WATCHERS {
        watchers.push(log_in(server, &format!("watcher{number}")));
    }
    for watcher in &mut watchers {
        watcher.send("Watch-presence on");
        assert_eq!(watcher.next().data, "Watching presence");
    }
    let mut told = Told::default();
    for round in 0..PASSES {
        pass(server, &mut clients, round);
        let mut wrong = 0;
        for watcher in &mut watchers {
            let changes = [(); 2].map(|()| {
                let data = watcher.next().data;
                let change = data.strip_prefix(PRESENCE);
                change.expect("a change").to_owned()
            });
            if takes_the_name(&changes[0]) {
                wrong += 1;
                told.example
                    .get_or_insert_with(|| describe(watcher, &changes));
            }
        }
        told.wrongly += usize::from(wrong > 0);
        told.differently += usize::from(wrong > 0 && wrong < WATCHERS);
    }
    told
}

/// Returns whether a client has the name kim after this change.
fn takes_the_name(change: &str) -> bool {
    change == "joined kim" || change.starts_with("renamed ") && change.ends_with(" kim")
}

fn describe(watcher: &mut Client, [first, second]: &[String; 2]) -> String {
    watcher.send("List-names");
    let list = watcher.next().data;
    let has = if list.split(' ').any(|name| name == "kim") {
        "has"
    } else {
        "lacks"
    };
    format!("    for example {first}, then {second}, and List-names {has} kim")
}

fn log_in(server: SocketAddr, name: &str) -> Client {
    let mut client = Client::connect(server);
    client.send(&format!("Set-name {name}"));
    assert_eq!(client.next().data, format!("You are {name}"));
    client
}

/// Starts a naive server. Each client has a queue and a writer thread.
fn start_naive(make: Make) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let room = Arc::new(Room::default());
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let room = Arc::clone(&room);
            thread::spawn(move || serve(&room, make, &socket));
        }
    });
    Ok(address)
}

fn serve(room: &Room, make: Make, socket: &TcpStream) -> io::Result<()> {
    let (queue, messages) = unbounded::<String>();
    let mut writer = socket.try_clone()?;
    thread::spawn(move || {
        messages.iter().try_for_each(|data| {
            let message = format!("200 OK\r\n\r\n{data}\r\n");
            writer.write_all(message.as_bytes())
        })
    });
    let mut own: Option<Username> = None;
    for line in BufReader::new(socket).lines() {
        let line = line?;
        let response = if let Some(name) = line.strip_prefix("Set-name ") {
            let new = Username::new(name).map_err(|_| io::ErrorKind::InvalidData)?;
            let change = match own.clone() {
                None => Presence::Joined(new.clone()),
                Some(old) => Presence::Renamed {
                    old,
                    new: new.clone(),
                },
            };
            if make(room, &change) {
                own = Some(new);
                format!("You are {name}")
            } else {
                format!("{name} is taken")
            }
        } else if line == "Watch-presence on" {
            room.watchers.write().push(queue.clone());
            "Watching presence".to_owned()
        } else if line == "List-names" {
            let names: Vec<String> = room.names.read().iter().cloned().collect();
            format!("{} online: {}", names.len(), names.join(" "))
        } else {
            // The first two lines of a request.
            continue;
        };
        let _ = queue.send(response);
    }
    if let Some(own) = own {
        make(room, &Presence::Left(own));
    }
    Ok(())
}

/// Times a rename of the naive room, and the reads of its names meanwhile.
///
/// No writer thread waits for the queues. To wake it would take longer than to fill its queue.
fn time_naive(make: Make) -> (Duration, Duration) {
    let room = Room::default();
    let (queues, _messages): (Vec<_>, Vec<_>) = (0..TIMED_WATCHERS).map(|_| unbounded()).unzip();
    *room.watchers.write() = queues;
    assert!(make(&room, &Presence::Joined(red_or_green(0))));
    let times = (0..ROUNDS).map(|round| {
        let (old, new) = (red_or_green(round), red_or_green(round + 1));
        let change = Presence::Renamed { old, new };
        time_reads(
            || assert!(!room.names.read().contains("alice")),
            || assert!(make(&room, &change)),
        )
    });
    medians(times.collect())
}

/// Times a rename of this server, and the reads of the session map meanwhile.
fn time_sessions() -> (Duration, Duration) {
    let sessions = Sessions::new(TIMED_WATCHERS + 1, None, 0);
    // Never flushed before the end, so nothing is written.
    let pending = PendingWrites::new(DirectWrites::new(true));
    // All connections share one socket, because only the map matters here.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let socket = Arc::new(TcpStream::connect(address).expect("a connection"));
    let log_in = |number: usize, name: &Username| {
        let (id, socket) = (number as u64, Arc::clone(&socket));
        let attachment = Attachment::new(id, socket, usize::MAX, Duration::ZERO, never());
        let registration = sessions.register(attachment, None);
        let mut registration = registration.expect("there is room");
        let token = Token::from_bits((number as u128).to_be_bytes());
        let claimed = registration.claim(name, token, &pending);
        claimed.expect("it is free");
        let session = sessions.by_token(token).expect("it lives");
        (registration, session)
    };
    let watching: Vec<_> = (0..TIMED_WATCHERS)
        .map(|number| {
            let name = Username::new(&format!("user{number}")).expect("a name");
            let (registration, session) = log_in(number, &name);
            sessions.watch(&session, true);
            registration
        })
        .collect();
    let (changing, _) = log_in(TIMED_WATCHERS, &red_or_green(0));
    let alice = Username::new("alice").expect("a name");
    let times = (0..ROUNDS).map(|round| {
        let new = red_or_green(round + 1);
        time_reads(
            || drop(sessions.by_name(&alice)),
            || {
                let renamed = changing.rename(&new, &pending);
                assert_eq!(renamed, Ok(true));
            },
        )
    });
    let times = medians(times.collect());
    // Otherwise each of the sessions that end below would be announced to the others.
    sessions.close();
    drop(watching);
    times
}

fn red_or_green(round: usize) -> Username {
    Username::new(["red", "green"][round % 2]).expect("a name")
}

/// Makes a change while another thread reads again and again. Returns the time of the change,
/// and of the slowest read that began meanwhile, unless the scheduler let none begin.
fn time_reads(read: impl Fn() + Sync, change: impl FnOnce()) -> (Duration, Option<Duration>) {
    let [has_read, changes, done] = [(); 3].map(|()| AtomicBool::new(false));
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut slowest = None;
            while !done.load(Ordering::Relaxed) {
                let is_during_change = changes.load(Ordering::Relaxed);
                let begin = Instant::now();
                read();
                if is_during_change {
                    slowest = slowest.max(Some(begin.elapsed()));
                }
                has_read.store(true, Ordering::Relaxed);
                // Otherwise it would hold the lock nearly all the time.
                (0..READ_PAUSE).for_each(|_| hint::spin_loop());
            }
            slowest
        });
        // The other thread must be running: to wake it takes as long as the change.
        while !has_read.load(Ordering::Relaxed) {
            hint::spin_loop();
        }
        let begin = Instant::now();
        changes.store(true, Ordering::Relaxed);
        change();
        let time = begin.elapsed();
        done.store(true, Ordering::Relaxed);
        (time, reading.join().expect("no panic"))
    })
}

/// The median of the changes, and of the reads.
fn medians(times: Vec<(Duration, Option<Duration>)>) -> (Duration, Duration) {
    let (changes, reads): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    (
        median(changes),
        median(reads.into_iter().flatten().collect()),
    )
}
