//! Chapter 12: two servers (nodes) that share a chat through Redis, and three ways to send a
//! message from one to the other. The node of the recipient is killed, or stops for a while.
//!
//! The experiment is the node of alice. The node of bob is a process of its own. The queue of bob
//! is the standard output of that process: the experiment still reads it after a kill. So the
//! experiment knows which messages were queued.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use rustix::process::Signal;

use crate::support::{DEADLINE, Program, wait_for};
use crate::{median, process};

/// The number of messages to bob for each version and each fault.
const MESSAGES: usize = 1_000;

/// The number of threads that send them. Each waits for its response, as a client does.
const SENDERS: usize = 50;

/// The node of bob fails when this many messages are answered.
const BEFORE_FAULT: usize = MESSAGES / 2;

/// How long a sender waits for a confirmation.
const PATIENCE: Duration = Duration::from_millis(250);

/// The number of messages for which the response is timed.
const TIMED: usize = 2_000;

/// The channels of the two nodes.
const ALICES_NODE: &str = "alice's node";
const BOBS_NODE: &str = "bob's node";

/// The stream of bob's node.
const INBOX: &str = "inbox of bob's node";

/// What the node of bob prints when it can receive messages.
const READY: &str = "ready";

/// The message that ends the node of bob.
const END: &str = "end";

/// The environment variable with the path of Redis' socket.
const REDIS_SOCKET: &str = "REDIS_SOCKET";

/// A connection to Redis.
struct Redis(BufReader<UnixStream>);

impl Redis {
    fn connect(socket: &Path) -> io::Result<Redis> {
        UnixStream::connect(socket).map(|socket| Redis(BufReader::new(socket)))
    }

    /// Executes a command, and returns the reply.
    fn ask(&mut self, command: &[&str]) -> io::Result<Vec<String>> {
        let mut bytes = format!("*{}\r\n", command.len());
        for word in command {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_ref().write_all(bytes.as_bytes())?;
        self.next()
    }

    /// Returns the next reply, or the next message of a channel. A list within a list becomes
    /// a part of it.
    fn next(&mut self) -> io::Result<Vec<String>> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let length = || rest.parse::<usize>().map_err(io::Error::other);
        match kind {
            "+" | ":" => Ok(vec![rest.to_owned()]),
            // A string: its length, its bytes, and an end of line.
            "$" => {
                let mut bytes = vec![0; length()? + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                let text = String::from_utf8(bytes).map_err(io::Error::other)?;
                Ok(vec![text])
            }
            "*" => {
                let mut all = Vec::new();
                for _ in 0..length()? {
                    all.append(&mut self.next()?);
                }
                Ok(all)
            }
            _ => Err(io::Error::other(format!("Redis: {line}"))),
        }
    }

    /// Subscribes to a channel, and calls `handle` with each message until it returns false.
    fn subscribe(
        &mut self,
        channel: &str,
        mut handle: impl FnMut(&str) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.ask(&["SUBSCRIBE", channel])?;
        handle(READY)?;
        while handle(&self.next()?[2])? {}
        Ok(())
    }
}

/// The response to a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    /// 200: the message is delivered.
    Ok,
    /// 502: the message may not have arrived.
    BadGateway,
}

/// The senders that wait for a confirmation, each with its message.
type Waiting = Mutex<HashMap<String, Sender<()>>>;

/// What a thread of alice's node needs to send messages.
struct Link {
    redis: Redis,
    waiting: Arc<Waiting>,
}

/// Sends a message to bob's node, and returns the response for its sender.
type Transfer = fn(&mut Link, &str) -> io::Result<Response>;

fn publish(link: &mut Link, message: &str) -> io::Result<Response> {
    let subscribers = link.redis.ask(&["PUBLISH", BOBS_NODE, message])?;
    Ok(if subscribers == ["0"] {
        Response::BadGateway
    } else {
        Response::Ok
    })
}

fn append(link: &mut Link, message: &str) -> io::Result<Response> {
    // Redis returns the position of the message in the stream, or an error.
    link.redis.ask(&["XADD", INBOX, "*", "message", message])?;
    Ok(Response::Ok)
}

fn publish_and_wait(link: &mut Link, message: &str) -> io::Result<Response> {
    let (confirm, confirmed) = bounded(1);
    // First, because the confirmation can arrive before Redis' reply.
    link.waiting.lock().insert(message.to_owned(), confirm);
    link.redis.ask(&["PUBLISH", BOBS_NODE, message])?;
    let is_confirmed = confirmed.recv_timeout(PATIENCE).is_ok();
    link.waiting.lock().remove(message);
    Ok(if is_confirmed {
        Response::Ok
    } else {
        Response::BadGateway
    })
}

/// Puts a message into the queue of bob. Returns whether others follow.
fn queue(message: &str) -> io::Result<bool> {
    // In one write, so that a kill leaves no part of a message.
    io::stdout().write_all(format!("{message}\n").as_bytes())?;
    Ok(message != END)
}

/// Bob's node for `publish`.
pub(super) fn subscribing_node() -> io::Result<()> {
    connect()?.subscribe(BOBS_NODE, queue)
}

/// Bob's node for `append`.
pub(super) fn reading_node() -> io::Result<()> {
    let mut redis = connect()?;
    queue(READY)?;
    let mut last = "0".to_owned();
    loop {
        let entries = redis.ask(&["XREAD", "BLOCK", "0", "STREAMS", INBOX, &last])?;
        // The name of the stream, and then for each entry its position, "message" and the text.
        for entry in entries[1..].chunks(3) {
            if !queue(&entry[2])? {
                return Ok(());
            }
            last.clone_from(&entry[0]);
        }
    }
}

/// Bob's node for `publish_and_wait`.
pub(super) fn confirming_node() -> io::Result<()> {
    let mut redis = connect()?;
    connect()?.subscribe(BOBS_NODE, |message| queue_and_confirm(&mut redis, message))
}

fn queue_and_confirm(redis: &mut Redis, message: &str) -> io::Result<bool> {
    let goes_on = queue(message)?;
    redis.ask(&["PUBLISH", ALICES_NODE, message])?;
    Ok(goes_on)
}

fn connect() -> io::Result<Redis> {
    let socket = env::var_os(REDIS_SOCKET).ok_or(ErrorKind::NotFound)?;
    Redis::connect(Path::new(&socket))
}

/// The thread of alice's node that reads the confirmations. It ends with Redis.
fn read_confirmations(socket: &Path, waiting: &Waiting) -> io::Result<()> {
    Redis::connect(socket)?.subscribe(ALICES_NODE, |message| {
        if let Some(confirm) = waiting.lock().get(message) {
            // Has room, unless a message is confirmed twice.
            let _ = confirm.try_send(());
        }
        Ok(true)
    })
}

/// A way to send messages, with the process that is bob's node.
#[derive(Clone, Copy)]
struct Version {
    name: &'static str,
    send: Transfer,
    bobs_node: &'static str,
}

const VERSIONS: [Version; 3] = [
    Version {
        name: "publish",
        send: publish,
        bobs_node: "subscribing-node",
    },
    Version {
        name: "append",
        send: append,
        bobs_node: "reading-node",
    },
    Version {
        name: "publish_and_wait",
        send: publish_and_wait,
        bobs_node: "confirming-node",
    },
];

/// What happens to bob's node.
#[derive(Clone, Copy)]
enum Fault {
    Kill,
    StopThenKill,
    StopThenContinue,
}

impl Fault {
    /// The signal after [`BEFORE_FAULT`] responses.
    fn first(self) -> Signal {
        match self {
            Fault::Kill => Signal::KILL,
            Fault::StopThenKill | Fault::StopThenContinue => Signal::STOP,
        }
    }

    /// The signal after the last response.
    fn second(self) -> Option<Signal> {
        match self {
            Fault::Kill => None,
            Fault::StopThenKill => Some(Signal::KILL),
            Fault::StopThenContinue => Some(Signal::CONT),
        }
    }
}

pub(super) fn experiment() -> io::Result<()> {
    let Some(server) = RedisServer::start()? else {
        println!("skipped: needs redis-server, on Debian: apt-get install redis-server");
        return Ok(());
    };
    let chat = Chat::start(server)?;
    for (what, fault) in [
        ("is killed", Fault::Kill),
        ("stops, and is killed later", Fault::StopThenKill),
        ("stops, and continues later", Fault::StopThenContinue),
    ] {
        println!("{MESSAGES} messages to bob. After {BEFORE_FAULT} responses, his node {what}:");
        println!("  {:18} 200  not queued     502  queued", "");
        for version in VERSIONS {
            let [ok, lost, failed, queued] = chat.count(version, fault)?;
            println!(
                "  {:16} {ok:5} {lost:11} {failed:7} {queued:7}",
                version.name
            );
        }
    }
    println!("The time until the response, without a fault:");
    for version in VERSIONS {
        let time = chat.time(version)?;
        println!("  {:16} {time:>9.1?}", version.name);
    }
    Ok(())
}

/// Redis and alice's node.
struct Chat {
    server: RedisServer,
    waiting: Arc<Waiting>,
}

impl Chat {
    fn start(server: RedisServer) -> io::Result<Chat> {
        let waiting = Arc::<Waiting>::default();
        let (socket, reader) = (server.socket(), Arc::clone(&waiting));
        thread::spawn(move || read_confirmations(&socket, &reader));
        let mut redis = Redis::connect(&server.socket())?;
        wait_for("the subscription", || {
            let reply = redis.ask(&["PUBLISH", ALICES_NODE, "nothing"]);
            reply.expect("a reply") == ["1"]
        });
        Ok(Chat { server, waiting })
    }

    fn link(&self) -> io::Result<Link> {
        Ok(Link {
            redis: Redis::connect(&self.server.socket())?,
            waiting: Arc::clone(&self.waiting),
        })
    }

    /// Starts bob's node with an empty inbox.
    fn start_bobs_node(&self, version: Version) -> io::Result<BobsNode> {
        self.link()?.redis.ask(&["DEL", INBOX])?;
        let mut command = process(version.bobs_node);
        command.env(REDIS_SOCKET, self.server.socket());
        let program = Mutex::new(Program::start(&mut command));
        let node = BobsNode { program };
        node.expect_ready();
        Ok(node)
    }

    /// Returns how many messages were answered 200, how many of these were not queued, how many
    /// were answered 502, and how many of these were queued.
    fn count(&self, version: Version, fault: Fault) -> io::Result<[usize; 4]> {
        let node = self.start_bobs_node(version)?;
        let [next, answered] = [(); 2].map(|()| AtomicUsize::new(0));
        let send_some = |mut link: Link| -> io::Result<Vec<(String, Response)>> {
            let mut responses = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MESSAGES {
                    return Ok(responses);
                }
                let message = format!("message {number}");
                let response = (version.send)(&mut link, &message)?;
                responses.push((message, response));
                if answered.fetch_add(1, Ordering::Relaxed) + 1 == BEFORE_FAULT {
                    node.program.lock().signal(fault.first());
                }
            }
        };
        let links = (0..SENDERS).map(|_| self.link());
        let links = links.collect::<io::Result<Vec<Link>>>()?;
        let responses = thread::scope(|scope| {
            let start = |link| scope.spawn(|| send_some(link));
            let senders: Vec<_> = links.into_iter().map(start).collect();
            let responses = senders
                .into_iter()
                .map(|sender| sender.join().expect("no panic"));
            responses.collect::<io::Result<Vec<_>>>()
        })?;
        if let Some(signal) = fault.second() {
            node.program.lock().signal(signal);
        }
        (version.send)(&mut self.link()?, END)?;
        let queued = node.rest();
        let (ok, failed): (Vec<_>, Vec<_>) = responses
            .into_iter()
            .flatten()
            .partition(|(_, response)| *response == Response::Ok);
        let queued_of = |some: &[(String, Response)]| {
            let queued = some.iter().filter(|(message, _)| queued.contains(message));
            queued.count()
        };
        Ok([
            ok.len(),
            ok.len() - queued_of(&ok),
            failed.len(),
            queued_of(&failed),
        ])
    }

    /// Returns the median time until the response to a message.
    fn time(&self, version: Version) -> io::Result<Duration> {
        let node = self.start_bobs_node(version)?;
        let mut link = self.link()?;
        let mut times = Vec::new();
        for number in 0..TIMED {
            let (message, begin) = (format!("message {number}"), Instant::now());
            let response = (version.send)(&mut link, &message)?;
            if response == Response::Ok {
                times.push(begin.elapsed());
            }
        }
        (version.send)(&mut link, END)?;
        node.rest();
        Ok(median(times))
    }
}

/// The process of bob's node. Dropping it kills the process.
struct BobsNode {
    /// Behind a lock, because one of the senders sends it a signal.
    program: Mutex<Program>,
}

impl BobsNode {
    fn expect_ready(&self) {
        let deadline = Instant::now() + DEADLINE;
        let (program, mut printed) = (self.program.lock(), Vec::new());
        while printed != format!("{READY}\n").as_bytes() {
            let chunk = program.next_output(deadline);
            printed.extend(chunk.expect("bob's node starts"));
        }
    }

    /// Waits until the process ends, and returns the messages that it has queued.
    fn rest(self) -> HashSet<String> {
        let deadline = Instant::now() + DEADLINE;
        let (program, mut printed) = (self.program.lock(), Vec::new());
        loop {
            match program.next_output(deadline) {
                Ok(chunk) => printed.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("bob's node does not end"),
            }
        }
        let printed = String::from_utf8_lossy(&printed);
        printed.lines().map(str::to_owned).collect()
    }
}

/// A real Redis on a socket in a temporary folder. Dropping it kills the process and removes the
/// folder.
struct RedisServer {
    folder: PathBuf,
    _program: Program,
}

impl RedisServer {
    /// Starts the server. Returns None if it is not installed.
    fn start() -> io::Result<Option<RedisServer>> {
        let version = Command::new("redis-server").arg("--version").output();
        if version.is_err() {
            return Ok(None);
        }
        let folder = env::temp_dir().join(format!("chat-course-{}", std::process::id()));
        // Only for this user. Fails if the folder exists.
        DirBuilder::new().mode(0o700).create(&folder)?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket", "socket"])
            .current_dir(&folder);
        let server = RedisServer {
            folder,
            _program: Program::start(&mut command),
        };
        wait_for("the start of redis-server", || {
            let redis = Redis::connect(&server.socket());
            redis.is_ok_and(|mut redis| redis.ask(&["PING"]).is_ok())
        });
        Ok(Some(server))
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
