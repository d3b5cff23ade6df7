//! Chapter 2: a room that writes to its members under its lock.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chat::outbox::Attachment;
use chat::outbox::direct_write::{DirectWrites, PendingWrites};
use chat::protocol::token::Token;
use chat::protocol::username::Username;
use chat::sessions::Sessions;

use crossbeam_channel::never;

use crate::chat::{Chatter, NAIVE, OURS, PATIENCE, is_timeout};
use crate::support::Server;
use crate::{median, naive_server, serve_naively};

/// More than the kernels buffer for a client that does not read.
const MESSAGES: usize = 10_000;

/// The number of clients for which the lock is timed. The kernel accepts each write to them.
const CLIENTS: u128 = 400;

const ROUNDS: usize = 101;

pub(super) fn room() -> io::Result<()> {
    let members = Members::default();
    serve_naively(move |socket| serve(&members, &socket))
}

type Members = Mutex<HashMap<String, TcpStream>>;

fn serve(members: &Members, mut socket: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    let Some(name) = lines.next().transpose()? else {
        return Ok(());
    };
    let members_socket = socket.try_clone()?;
    members.lock().unwrap().insert(name.clone(), members_socket);
    writeln!(socket, "You are {name}")?;
    for line in lines {
        broadcast(members, &name, &line?)?;
        writeln!(socket, "sent")?;
    }
    members.lock().unwrap().remove(&name);
    Ok(())
}

fn broadcast(members: &Members, sender: &str, text: &str) -> io::Result<()> {
    let message = format!("{sender}: {text}\n");
    for (name, mut socket) in &*members.lock().unwrap() {
        if name != sender {
            socket.write_all(message.as_bytes())?;
        }
    }
    Ok(())
}

pub(super) fn experiment() -> io::Result<()> {
    println!("alice sends {MESSAGES} messages, bob reads, carol does not. Then dave connects:");
    let ours = Server::start(&[]);
    for (name, server, dialect) in [
        ("under the lock", naive_server("room"), NAIVE),
        ("this server", ours, OURS),
    ] {
        let mut alice = Chatter::join(&server, dialect, "alice")?;
        let mut bob = Chatter::join(&server, dialect, "bob")?;
        let _carol = Chatter::join(&server, dialect, "carol")?;
        // It ends when the server closes the connection.
        thread::spawn(move || while bob.next().is_ok() {});
        let answered = write_to_all(&mut alice)?;
        println!("  {name:15} alice gets {answered} responses");
        let begin = Instant::now();
        let joined = match Chatter::join(&server, dialect, "dave") {
            Ok(_) => format!("joins after {:.1?}", begin.elapsed()),
            Err(e) if is_timeout(&e) => format!("gets no response within {PATIENCE:?}"),
            Err(e) => return Err(e),
        };
        println!("  {:15} dave {joined}", "");
    }
    println!("bob's connection breaks. Then alice sends a message:");
    for (name, server, dialect) in [
        ("under the lock", naive_server("room"), NAIVE),
        ("this server", Server::start(&[]), OURS),
    ] {
        let mut alice = Chatter::join(&server, dialect, "alice")?;
        let bob = Chatter::join(&server, dialect, "bob")?;
        let _carol = Chatter::join(&server, dialect, "carol")?;
        alice.say("hello")?;
        // A close with unread input resets the connection.
        drop(bob);
        let answer = match alice.say("where is bob?") {
            Ok(answer) => format!("{answer:?}"),
            Err(e) if is_timeout(&e) => format!("no response within {PATIENCE:?}"),
            Err(e) => return Err(e),
        };
        println!("  {name:15} alice gets {answer}");
    }
    println!("{CLIENTS} clients with room in their receive buffers. One broadcast holds the lock");
    println!("  {:>8.1?} to write to each of them", locked_by_naive()?);
    println!(
        "  {:>8.1?} to copy the shared list of outboxes",
        locked_by_sessions()
    );
    Ok(())
}

/// Returns how many responses alice gets.
fn write_to_all(alice: &mut Chatter) -> io::Result<usize> {
    let text = "x".repeat(1_900);
    for number in 0..MESSAGES {
        match alice.say(&text) {
            Ok(_) => {}
            Err(e) if is_timeout(&e) => return Ok(number),
            Err(e) => return Err(e),
        }
    }
    Ok(MESSAGES)
}

/// Returns how long the naive broadcast holds the lock if no client blocks it.
fn locked_by_naive() -> io::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (members, mut clients) = (Members::default(), Vec::new());
    for number in 0..CLIENTS {
        clients.push(TcpStream::connect(listener.local_addr()?)?);
        let (socket, _) = listener.accept()?;
        members
            .lock()
            .unwrap()
            .insert(format!("user{number}"), socket);
    }
    // No client reads, but all messages together fit into the kernel's buffers.
    let text = "x".repeat(100);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        broadcast(&members, "user0", &text)?;
        times.push(begin.elapsed());
    }
    Ok(median(times))
}

/// Returns how long [`Sessions::outboxes`] holds the lock, after the first call.
fn locked_by_sessions() -> Duration {
    let sessions = Sessions::new(CLIENTS as usize, None, 0);
    let pending = PendingWrites::new(DirectWrites::new(true));
    let mut registrations = Vec::new();
    // All connections share one socket, because only the map matters here.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let socket = Arc::new(TcpStream::connect(address).expect("a connection"));
    for number in 0..CLIENTS {
        let (id, socket) = (number as u64, Arc::clone(&socket));
        let attachment = Attachment::new(id, socket, usize::MAX, Duration::ZERO, never());
        let mut registration = sessions.register(attachment, None).expect("there is room");
        let name = Username::new(&format!("user{number}")).expect("a name");
        let token = Token::from_bits(number.to_be_bytes());
        registration
            .claim(&name, token, &pending)
            .expect("it is free");
        registrations.push(registration);
    }
    let times = (0..ROUNDS).map(|_| {
        let begin = Instant::now();
        let others = sessions.outboxes();
        let time = begin.elapsed();
        drop(others);
        time
    });
    median(times.collect())
}
