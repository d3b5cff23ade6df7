//! Chapter 3: three kinds of queue for a client that does not read, and this server's queue.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::chat::{Chatter, Dialect, NAIVE, OURS, is_timeout};
use crate::support::{Server, missed_by};
use crate::{naive_server, serve_naively};

/// With [`LENGTH`], 38 MiB. The kernels buffer four of them for a client that does not read.
const MESSAGES: usize = 20_000;
const LENGTH: usize = 2_000;

pub(super) fn unbounded_queue() -> io::Result<()> {
    serve_room(UNBOUNDED)
}

pub(super) fn waiting_queue() -> io::Result<()> {
    serve_room(WAITING)
}

pub(super) fn dropping_queue() -> io::Result<()> {
    serve_room(DROPPING)
}

type Message = Arc<str>;
type Queue = (Sender<Message>, Receiver<Message>);

/// How a queue is made, and how a message is sent to it.
#[derive(Clone, Copy)]
struct Kind {
    queue: fn() -> Queue,
    send: fn(&Sender<Message>, Message),
}

const UNBOUNDED: Kind = Kind {
    queue: unbounded,
    send: |queue, message| drop(queue.send(message)),
};
const WAITING: Kind = Kind {
    queue: || bounded(256),
    send: |queue, message| drop(queue.send(message)),
};
const DROPPING: Kind = Kind {
    queue: || bounded(256),
    send: |queue, message| drop(queue.try_send(message)),
};

type Members = Mutex<HashMap<String, Sender<Message>>>;

fn serve_room(kind: Kind) -> io::Result<()> {
    let members = Members::default();
    serve_naively(move |socket| serve(&members, kind, &socket))
}

fn serve(members: &Members, kind: Kind, socket: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?).lines();
    let Some(name) = lines.next().transpose()? else {
        return Ok(());
    };
    let (queue, messages) = (kind.queue)();
    let its_socket = socket.try_clone()?;
    thread::spawn(move || write(its_socket, messages));
    members.lock().unwrap().insert(name.clone(), queue.clone());
    let _ = queue.send(format!("You are {name}\n").into());
    for line in lines {
        broadcast(members, kind, &name, &line?);
        let _ = queue.send("sent\n".into());
    }
    members.lock().unwrap().remove(&name);
    Ok(())
}

fn broadcast(members: &Members, kind: Kind, sender: &str, text: &str) {
    let message: Message = format!("{sender}: {text}\n").into();
    let members = members.lock().unwrap().clone();
    for (name, queue) in members {
        if name != sender {
            (kind.send)(&queue, Arc::clone(&message));
        }
    }
}

fn write(mut socket: TcpStream, messages: Receiver<Message>) -> io::Result<()> {
    for message in messages {
        socket.write_all(message.as_bytes())?;
    }
    Ok(())
}

pub(super) fn experiment() -> io::Result<()> {
    println!(
        "alice sends {MESSAGES} messages of {LENGTH} bytes, bob reads, carol reads only at the end:"
    );
    println!("                   responses    messages       memory   messages");
    println!("                    to alice      to bob       growth   to carol");
    // The server must not close carol's connection meanwhile.
    let ours = Server::start(&["--write-timeout", "60"]);
    for (name, server, dialect) in [
        ("unbounded", naive_server("unbounded-queue"), NAIVE),
        ("bounded, waiting", naive_server("waiting-queue"), NAIVE),
        ("bounded, dropping", naive_server("dropping-queue"), NAIVE),
        ("this server", ours, OURS),
    ] {
        let seen = write_to_all(&server, dialect)?;
        println!(
            "{name:17} {:>10} {:>11} {:>8} KiB   {}",
            seen.responses, seen.to_bob, seen.memory, seen.to_carol
        );
    }
    println!("this server with --write-timeout 1, carol reads after the timeout:");
    println!("  {}", read_after_write_timeout()?);
    Ok(())
}

/// The result for one server.
struct Seen {
    /// The responses that alice got.
    responses: usize,
    /// The messages that bob got.
    to_bob: usize,
    /// By how much the server's memory has grown, in KiB.
    memory: u64,
    /// A summary of the messages that carol got.
    to_carol: String,
}

fn write_to_all(server: &Server, dialect: Dialect) -> io::Result<Seen> {
    let mut alice = Chatter::join(server, dialect, "alice")?;
    let mut bob = Chatter::join(server, dialect, "bob")?;
    let carol = Chatter::join(server, dialect, "carol")?;
    let (mut responses, mut to_bob) = (0, 0);
    let before = server.proc_status("VmRSS");
    let result = (0..MESSAGES).try_for_each(|_| {
        alice.say(&"x".repeat(LENGTH))?;
        responses += 1;
        bob.next()?;
        to_bob += 1;
        Ok(())
    });
    match result {
        Err(e) if !is_timeout(&e) => return Err(e),
        _ => {}
    }
    let memory = server.proc_status("VmRSS").saturating_sub(before);
    Ok(Seen {
        responses,
        to_bob,
        memory,
        to_carol: read_all(carol)?,
    })
}

/// Reads all that a client gets. Returns the number of messages, the notices of gaps, and all
/// other lines.
fn read_all(mut client: Chatter) -> io::Result<String> {
    let (mut messages, mut gaps, mut missed, mut others) = (0, 0, 0, String::new());
    let end = loop {
        match client.next() {
            Ok(line) if line.ends_with("xxx") => messages += 1,
            Ok(line) => match missed_by(&line) {
                Some(count) => (gaps, missed) = (gaps + 1, missed + count),
                None => others += &format!(", {line:?}"),
            },
            Err(e) if is_timeout(&e) => break "",
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break ", then the end of input",
            Err(e) => return Err(e),
        }
    };
    let notices = match missed {
        0 => String::new(),
        _ => format!(", and {gaps} notices: {missed} missed"),
    };
    Ok(format!("{messages}{notices}{others}{end}"))
}

/// Returns what a client reads if it starts only after the write timeout.
fn read_after_write_timeout() -> io::Result<String> {
    let server = Server::start(&["--write-timeout", "1"]);
    let mut alice = Chatter::join(&server, OURS, "alice")?;
    let carol = Chatter::join(&server, OURS, "carol")?;
    for _ in 0..MESSAGES {
        alice.say(&"x".repeat(LENGTH))?;
    }
    server.expect_log("write timeout");
    read_all(carol)
}
