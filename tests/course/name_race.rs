//! Chapter 6: two naive ways to claim a name, and this server. The first checks and inserts in
//! two steps. In the second, a client can be found before it has its response.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use parking_lot::RwLock;

use crate::support::{Client, Server};

/// How often two clients claim a name at the same time.
const RACES: usize = 2_000;

/// The number of clients that log in during broadcasts.
const LOGINS: usize = 2_000;

/// The number of clients that broadcast.
const SENDERS: usize = 2;

/// The number of broadcasts that a sender sends at once.
const BURST: usize = 50;

type Names = RwLock<HashMap<String, Arc<TcpStream>>>;

/// Gives a client its name. Returns false if another client has it.
type Claim = fn(&Names, &str, &Arc<TcpStream>) -> io::Result<bool>;

fn answer_then_insert(names: &Names, name: &str, client: &Arc<TcpStream>) -> io::Result<bool> {
    if names.read().contains_key(name) {
        return Ok(false);
    }
    write!(&**client, "200 OK\r\n\r\nYou are {name}\r\n")?;
    names.write().insert(name.to_owned(), Arc::clone(client));
    Ok(true)
}

fn insert_then_answer(names: &Names, name: &str, client: &Arc<TcpStream>) -> io::Result<bool> {
    let mut locked = names.write();
    if locked.contains_key(name) {
        return Ok(false);
    }
    locked.insert(name.to_owned(), Arc::clone(client));
    drop(locked);
    write!(&**client, "200 OK\r\n\r\nYou are {name}\r\n")?;
    Ok(true)
}

pub(super) fn experiment() -> io::Result<()> {
    let server = Server::start(&[]);
    let servers = [
        ("answer_then_insert", start_naive(answer_then_insert)?),
        ("insert_then_answer", start_naive(insert_then_answer)?),
        ("this server", server.address),
    ];
    println!("two clients claim the same name at the same time, {RACES} times. Both get it:");
    for (name, address) in servers {
        println!("  {name:20} {:5}", count_double_claims(address));
    }
    println!("{LOGINS} clients log in during broadcasts. Their first message is not the response:");
    for (name, address) in servers {
        println!("  {name:20} {:5}", count_disturbed_logins(address));
    }
    Ok(())
}

/// Returns how often two clients both get the name that both claim.
fn count_double_claims(server: SocketAddr) -> usize {
    let barrier = Barrier::new(2);
    let claim = |name: &str| {
        let mut client = Client::connect(server);
        barrier.wait();
        client.send(&format!("Set-name {name}"));
        let is_granted = client.next().status == "200 OK";
        // Otherwise one client could get the name because the other has disconnected.
        barrier.wait();
        is_granted
    };
    let both = |name: String| {
        thread::scope(|scope| {
            let other = scope.spawn(|| claim(&name));
            let own = claim(&name);
            own && other.join().expect("no panic")
        })
    };
    (0..RACES)
        .filter(|race| both(format!("race{race}")))
        .count()
}

/// Returns how many clients read a broadcast before the response to their login, or mixed with
/// it.
fn count_disturbed_logins(server: SocketAddr) -> usize {
    let done = AtomicBool::new(false);
    let broadcast = |sender: usize| {
        let mut sender = log_in(server, &format!("sender{sender}"));
        sender.ignore_deliveries = true;
        while !done.load(Ordering::Relaxed) {
            sender.send_raw("\r\n\r\nBroadcast-message hello\r\n".repeat(BURST));
            (0..BURST).for_each(|_| drop(sender.next()));
        }
    };
    let is_disturbed = |number: &usize| {
        let mut client = Client::connect(server);
        client.send(&format!("Set-name user{number}"));
        let first = client.next().data;
        client.close_input();
        let _ = client.rest();
        first != format!("You are user{number}")
    };
    thread::scope(|scope| {
        let broadcast = &broadcast;
        for sender in 0..SENDERS {
            scope.spawn(move || broadcast(sender));
        }
        let disturbed = (0..LOGINS).filter(is_disturbed).count();
        done.store(true, Ordering::Relaxed);
        disturbed
    })
}

fn log_in(server: SocketAddr, name: &str) -> Client {
    let mut client = Client::connect(server);
    client.send(&format!("Set-name {name}"));
    client.next();
    client
}

/// Starts a naive server. It reads lines, and writes to the sockets of all clients.
fn start_naive(claim: Claim) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let names = Arc::new(Names::default());
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let names = Arc::clone(&names);
            thread::spawn(move || serve(&names, claim, &Arc::new(client)));
        }
    });
    Ok(address)
}

fn serve(names: &Names, claim: Claim, client: &Arc<TcpStream>) -> io::Result<()> {
    let mut own = None;
    for line in BufReader::new(&**client).lines() {
        let line = line?;
        if let Some(name) = line.strip_prefix("Set-name ") {
            if claim(names, name, client)? {
                own = Some(name.to_owned());
            } else {
                write!(&**client, "403 Forbidden\r\n\r\n{name} is taken\r\n")?;
            }
        } else if let Some(text) = line.strip_prefix("Broadcast-message ") {
            let clients: Vec<_> = names.read().values().cloned().collect();
            for other in clients.iter().filter(|other| !Arc::ptr_eq(other, client)) {
                let _ = write!(&**other, "200 OK\r\n\r\nIncoming-message {text}\r\n");
            }
            write!(&**client, "200 OK\r\n\r\nDelivered\r\n")?;
        }
    }
    if let Some(own) = own {
        names.write().remove(&own);
    }
    Ok(())
}
