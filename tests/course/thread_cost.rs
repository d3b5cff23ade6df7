//! Chapter 4: the memory of a thread that waits, and the processor time to wake it.

use std::convert::Infallible;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chat::limits::STACK_SIZE;
use crossbeam_channel::{Receiver, RecvError, Sender, bounded, unbounded};

use crate::chat::{Chatter, OURS};
use crate::generator::process::{Process, own_cpu};
use crate::support::Server;
use crate::{median, process};

/// The number of threads whose memory is measured.
const THREADS: u64 = 1_000;

/// The number of clients that get each message.
const CLIENTS: usize = 100;

/// The time between two broadcasts. All threads sleep again by then.
const PAUSE: Duration = Duration::from_millis(5);

/// The number of broadcasts in a round.
const BROADCASTS: usize = 40;

/// The number of measurements. The result is their median.
const ROUNDS: usize = 7;

type Message = Arc<[u8]>;

pub(super) fn experiment() -> io::Result<()> {
    println!("memory of a waiting thread, in KiB, mean of {THREADS}:");
    println!("                               address     own    page   kernel");
    println!("                                 space  memory  tables   stacks");
    for name in ["default-threads", "small-threads", "threads-with-buffer"] {
        let status = process(name).stdout(Stdio::inherit()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("{name}: {status}")));
        }
    }
    measure_server()?;

    println!("processor time per delivery, a broadcast to {CLIENTS} clients, in µs:");
    println!("                              1 message   32 at once");
    let mut ways: [(&str, Deliver, [Vec<f64>; 2]); 3] = [
        (
            "writer threads, unbatched",
            by_threads_unbatched,
            Default::default(),
        ),
        (
            "writer threads, batched",
            by_threads_batched,
            Default::default(),
        ),
        ("the sender itself, batched", by_sender, Default::default()),
    ];
    for _ in 0..ROUNDS {
        for (_, deliver, [one, many]) in &mut ways {
            one.push(deliver(1)?);
            many.push(deliver(32)?);
        }
    }
    for (name, _, [one, many]) in ways {
        println!("  {name:27} {:>9.2} {:>12.2}", median(one), median(many));
    }
    compare_servers()
}

// ---- Memory ----

pub(super) fn default_threads() -> io::Result<()> {
    show_memory("with std's default stack", |waiting| {
        thread::spawn(move || wait(&waiting));
        Ok(())
    })
}

pub(super) fn small_threads() -> io::Result<()> {
    show_memory("with 256 KiB of stack", |waiting| {
        let builder = thread::Builder::new().stack_size(STACK_SIZE);
        builder.spawn(move || wait(&waiting)).map(drop)
    })
}

pub(super) fn threads_with_buffer() -> io::Result<()> {
    show_memory("and a 16 KiB buffer on it", |waiting| {
        let builder = thread::Builder::new().stack_size(STACK_SIZE);
        builder.spawn(move || wait_with_buffer(&waiting)).map(drop)
    })
}

/// Blocks until the other end is dropped.
fn wait(waiting: &Receiver<Infallible>) -> Result<Infallible, RecvError> {
    waiting.recv()
}

fn wait_with_buffer(waiting: &Receiver<Infallible>) -> Result<Infallible, RecvError> {
    let mut buffer = [0_u8; 16 * 1024];
    black_box(&mut buffer);
    waiting.recv()
}

/// Starts threads in this process, and prints the memory of each.
fn show_memory(
    name: &str,
    start: impl Fn(Receiver<Infallible>) -> io::Result<()>,
) -> io::Result<()> {
    let (_keeps_threads_alive, waiting) = bounded(0);
    let before = Memory::of("self")?;
    for _ in 0..THREADS {
        start(waiting.clone())?;
    }
    // Nothing reports when all threads wait, so this sleeps for long enough.
    thread::sleep(Duration::from_millis(500));
    Memory::of("self")?.print_each(name, &before, THREADS);
    Ok(())
}

fn measure_server() -> io::Result<()> {
    let server = Server::start(&[]);
    let pid = server.pid().to_string();
    // The first client allocates the memory that exists only once.
    let _first = Chatter::join(&server, OURS, "first")?;
    let before = Memory::of(&pid)?;
    let clients: io::Result<Vec<Chatter>> = (0..THREADS / 2)
        .map(|number| Chatter::join(&server, OURS, &format!("user{number}")))
        .collect();
    let clients = clients?;
    Memory::of(&pid)?.print_each("a client here: two threads", &before, clients.len() as u64);
    Ok(())
}

/// Four sizes in KiB. The last is for the whole machine, because Linux does not report the kernel
/// stacks of a process.
struct Memory([u64; 4]);

impl Memory {
    fn of(process: &str) -> io::Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let machine = fs::read_to_string("/proc/meminfo")?;
        Ok(Memory([
            value_of(&status, "VmSize:"),
            value_of(&status, "VmRSS:"),
            value_of(&status, "VmPTE:"),
            value_of(&machine, "KernelStack:"),
        ]))
    }

    /// Prints the growth since `before`, divided by `count`.
    fn print_each(&self, name: &str, before: &Memory, count: u64) {
        let each = |at: usize| self.0[at].saturating_sub(before.0[at]) as f64 / count as f64;
        println!(
            "  {name:<29} {:>6.0} {:>7.1} {:>7.1} {:>8.1}",
            each(0),
            each(1),
            each(2),
            each(3)
        );
    }
}

fn value_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.expect("Linux").parse().expect("a number")
}

// ---- Time ----

/// Returns the processor time of a delivery, in µs, if this many messages are sent at once.
type Deliver = fn(usize) -> io::Result<f64>;

/// The main function of a writer thread. It returns when its queue has no sender any more.
type Writer = fn(&TcpStream, &Receiver<Message>) -> io::Result<()>;

fn write_each(mut socket: &TcpStream, queue: &Receiver<Message>) -> io::Result<()> {
    for message in queue {
        socket.write_all(&message)?;
    }
    Ok(())
}

fn write_batches(mut socket: &TcpStream, queue: &Receiver<Message>) -> io::Result<()> {
    let mut batch = Vec::new();
    while let Ok(first) = queue.recv() {
        batch.extend_from_slice(&first);
        for next in queue.try_iter() {
            batch.extend_from_slice(&next);
        }
        socket.write_all(&batch)?;
        batch.clear();
    }
    Ok(())
}

fn by_threads_unbatched(at_once: usize) -> io::Result<f64> {
    by_threads(write_each, at_once)
}

fn by_threads_batched(at_once: usize) -> io::Result<f64> {
    by_threads(write_batches, at_once)
}

fn by_threads(write: Writer, at_once: usize) -> io::Result<f64> {
    let mut queues: Vec<Sender<Message>> = Vec::new();
    let mut clients = Vec::new();
    for (socket, client) in connections()? {
        let (queue, messages) = unbounded();
        thread::spawn(move || write(&socket, &messages));
        queues.push(queue);
        clients.push(client);
    }
    time(at_once, |message| {
        for queue in &queues {
            for _ in 0..at_once {
                queue.send(Arc::clone(message)).map_err(io::Error::other)?;
            }
        }
        Ok(())
    })
}

fn by_sender(at_once: usize) -> io::Result<f64> {
    let connections = connections()?;
    time(at_once, |message| {
        for (socket, _) in &connections {
            let batch = message.repeat(at_once);
            (&mut &*socket).write_all(&batch)?;
        }
        Ok(())
    })
}

/// Connects the clients, and returns both ends of each. No client reads: all messages fit into
/// the kernel's buffers.
fn connections() -> io::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let connect = |_| {
        let client = TcpStream::connect(address)?;
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        Ok((socket, client))
    };
    (0..CLIENTS).map(connect).collect()
}

fn time(at_once: usize, send: impl Fn(&Message) -> io::Result<()>) -> io::Result<f64> {
    let message: Message = [b'x'; 100].into();
    thread::sleep(PAUSE);
    let before = own_cpu()?;
    for _ in 0..BROADCASTS {
        send(&message)?;
        thread::sleep(PAUSE);
    }
    let used = own_cpu()? - before;
    Ok(per_delivery(used, BROADCASTS * at_once * CLIENTS))
}

fn per_delivery(used: Duration, deliveries: usize) -> f64 {
    used.as_secs_f64() * 1e6 / deliveries as f64
}

/// Measures this server with direct writes and without, in turns.
fn compare_servers() -> io::Result<()> {
    println!("this server, {CLIENTS} clients, one message after the other, in µs per delivery:");
    let mut rooms = [
        (
            "--no-direct-writes",
            Room::open(&["--no-direct-writes"])?,
            Vec::new(),
        ),
        ("direct writes (default)", Room::open(&[])?, Vec::new()),
    ];
    for _ in 0..ROUNDS {
        for (_, room, times) in &mut rooms {
            times.push(room.broadcast()?);
        }
    }
    for (name, _, times) in rooms {
        println!("  {name:27} {:>9.2}", median(times));
    }
    Ok(())
}

struct Room {
    server: Server,
    sender: Chatter,
    readers: Vec<Chatter>,
}

impl Room {
    fn open(options: &[&str]) -> io::Result<Room> {
        let server = Server::start(options);
        let sender = Chatter::join(&server, OURS, "sender")?;
        let readers =
            (0..CLIENTS).map(|number| Chatter::join(&server, OURS, &format!("user{number}")));
        let readers: io::Result<Vec<Chatter>> = readers.collect();
        let readers = readers?;
        Ok(Room {
            server,
            sender,
            readers,
        })
    }

    /// Returns the server's processor time for a delivery, in µs.
    fn broadcast(&mut self) -> io::Result<f64> {
        let process = Process::of(self.server.pid().as_raw_pid() as u32)?;
        let before = process.cpu()?;
        for _ in 0..BROADCASTS {
            self.sender.say("hello, everyone")?;
        }
        for reader in &mut self.readers {
            for _ in 0..BROADCASTS {
                reader.next()?;
            }
        }
        Ok(per_delivery(process.cpu()? - before, BROADCASTS * CLIENTS))
    }
}
