//! Chapter 5: blocked threads, and the calls that make them return.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use rustix::net::Shutdown::Both;
use rustix::process::Signal;
use signal_hook::consts::SIGTERM;

use crate::chat::{Chatter, OURS};
use crate::generator::process::own_cpu;
use crate::naive_server;
use crate::support::{Server, wait_for};

/// How long the experiment waits for an event that may not happen.
const PATIENCE: Duration = Duration::from_secs(1);

/// The number of clients at a shutdown, and of idle threads whose processor time is measured.
const CLIENTS: usize = 100;

/// The interval at which a thread with a timeout checks its flag.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn flagged_server() -> io::Result<()> {
    serve_until_signal(&TcpListener::bind("127.0.0.1:0")?)
}

fn serve_until_signal(listener: &TcpListener) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    println!("listening on {}", listener.local_addr()?);
    while !stop.load(Ordering::Relaxed) {
        let (socket, _) = listener.accept()?;
        thread::spawn(move || echo(&socket));
    }
    Ok(())
}

fn echo(socket: &TcpStream) -> io::Result<u64> {
    io::copy(&mut &*socket, &mut &*socket)
}

fn read_until(stop: &AtomicBool, mut socket: &TcpStream) -> io::Result<usize> {
    socket.set_read_timeout(Some(POLL_INTERVAL))?;
    while !stop.load(Ordering::Relaxed) {
        match socket.read(&mut [0; 512]) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
    Ok(0)
}

pub(super) fn experiment() -> io::Result<()> {
    println!("SIGTERM:");
    stop_flagged_server()?;
    stop_this_server(false)?;
    stop_this_server(true)?;

    for (call, block) in [
        ("accept", block_in_accept as fn() -> _),
        ("read", block_in_read),
        ("write", block_in_write),
    ] {
        println!("a thread is blocked in {call}. Then");
        for (name, way) in [
            ("a flag is set", Way::Flag),
            ("a clone of the socket is dropped", Way::Drop),
            ("shutdown(2)", Way::Shutdown),
        ] {
            println!("  {name:32}  {}", try_to_wake(block()?, way));
        }
    }

    println!("processor time in a second, {CLIENTS} threads with nothing to read:");
    println!("  {:37} {:>7.1?}", "blocked", idle_cpu(false)?);
    let polling = format!("with a timeout of {POLL_INTERVAL:?}, for a flag");
    println!("  {polling:37} {:>7.1?}", idle_cpu(true)?);
    Ok(())
}

// ---- A whole server ----

fn stop_flagged_server() -> io::Result<()> {
    let mut server = naive_server("flagged-server");
    let process = format!("/proc/{}", server.pid());
    // Otherwise the server could still check the flag before it blocks.
    wait_for("the server to accept", || sleeps(Path::new(&process)));
    server.signal(Signal::TERM);
    thread::sleep(PATIENCE);
    let state = match server.has_exited() {
        None => "still running",
        Some(_) => "has ended",
    };
    println!("  a server that checks a flag: {state} after {PATIENCE:?}");
    let begin = Instant::now();
    drop(TcpStream::connect(server.address)?);
    let status = server.expect_exit();
    println!(
        "    ends {:.1?} after a client has connected, {status}",
        begin.elapsed()
    );
    Ok(())
}

fn stop_this_server(with_stuck_client: bool) -> io::Result<()> {
    let mut server = Server::start(&["--grace", "1"]);
    let join = |number| Chatter::join(&server, OURS, &format!("user{number}"));
    let clients: io::Result<Vec<Chatter>> = (0..CLIENTS).map(join).collect();
    let clients = clients?;
    let stuck = with_stuck_client.then(|| {
        let carol = server.log_in("carol");
        server.log_in("alice").fill_queue("carol");
        carol
    });
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let mut notified = 0;
    for mut client in clients {
        if client.next()? == "The server is shutting down" {
            notified += 1;
        }
    }
    let status = server.expect_exit();
    let others = match stuck {
        Some(_) => ", and a stuck one",
        None => "",
    };
    println!("  this server, {CLIENTS} clients that read{others}: {notified} get the notice");
    println!(
        "    ends {:.1?} after the signal, {status}",
        begin.elapsed()
    );
    Ok(())
}

// ---- A single call ----

/// A way to wake a blocked thread.
#[derive(Clone, Copy)]
enum Way {
    Flag,
    Drop,
    Shutdown,
}

/// A thread that is blocked in a call.
struct Blocked {
    /// A clone of the socket that it uses.
    clone: OwnedFd,
    /// A flag that the thread would check after the call has returned.
    stop: Arc<AtomicBool>,
    /// Gets the result of the call.
    returned: Receiver<io::Result<usize>>,
    /// The other end of the connection, which stays open and idle.
    _client: Option<TcpStream>,
}

fn block_in_accept() -> io::Result<Blocked> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let clone = listener.try_clone()?.into();
    block(clone, None, move || listener.accept().map(|_| 1))
}

fn block_in_read() -> io::Result<Blocked> {
    let (mut socket, client) = connection()?;
    let clone = socket.try_clone()?.into();
    block(clone, Some(client), move || socket.read(&mut [0; 512]))
}

fn block_in_write() -> io::Result<Blocked> {
    let (mut socket, client) = connection()?;
    let clone = socket.try_clone()?.into();
    block(clone, Some(client), move || {
        loop {
            // Blocks when the kernel accepts no more bytes.
            socket.write_all(&[0; 64 * 1024])?;
        }
    })
}

fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener.accept()?.0, client))
}

/// Starts a thread that makes this call, and waits until it sleeps in the call.
fn block(
    clone: OwnedFd,
    client: Option<TcpStream>,
    call: impl FnOnce() -> io::Result<usize> + Send + 'static,
) -> io::Result<Blocked> {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let name = format!("blocked-{}", STARTED.fetch_add(1, Ordering::Relaxed));
    let (returning, returned) = bounded(1);
    thread::Builder::new().name(name.clone()).spawn(move || {
        let _ = returning.send(call());
    })?;
    wait_for("the thread to sleep", || {
        let threads = fs::read_dir("/proc/self/task").expect("Linux");
        threads.filter_map(Result::ok).any(|thread| {
            let its_name = fs::read_to_string(thread.path().join("comm"));
            its_name.is_ok_and(|its| its.trim_end() == name) && sleeps(&thread.path())
        })
    });
    Ok(Blocked {
        clone,
        stop: Arc::default(),
        returned,
        _client: client,
    })
}

/// Returns whether the thread of this `/proc` folder sleeps. The folder of a process is
/// that of its main thread.
fn sleeps(folder: &Path) -> bool {
    // The format is `number (name) state …` (proc_pid_stat(5)). The thread may have ended by now.
    let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next();
    state.is_some_and(|state| state.starts_with('S'))
}

/// Tries to wake the thread, and describes the result.
fn try_to_wake(blocked: Blocked, way: Way) -> String {
    let Blocked {
        clone,
        stop,
        returned,
        _client,
    } = blocked;
    let begin = Instant::now();
    match way {
        Way::Flag => stop.store(true, Ordering::Relaxed),
        Way::Drop => drop(clone),
        Way::Shutdown => rustix::net::shutdown(&clone, Both).expect("an open socket"),
    }
    match returned.recv_timeout(PATIENCE) {
        Ok(Ok(count)) => format!("Ok({count}) after {:.0?}", begin.elapsed()),
        Ok(Err(e)) => format!("{e}, after {:.0?}", begin.elapsed()),
        Err(_) => format!("still blocked after {PATIENCE:?}"),
    }
}

// ---- The cost of polling ----

/// Returns the processor time that threads use in a second while they wait for silent clients.
/// With `poll` they check a flag at an interval.
fn idle_cpu(poll: bool) -> io::Result<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut threads, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let (mut socket, client) = connection()?;
        let stop = Arc::clone(&stop);
        threads.push(thread::spawn(move || match poll {
            true => read_until(&stop, &socket),
            false => socket.read(&mut [0; 512]),
        }));
        clients.push(client);
    }
    let before = own_cpu()?;
    thread::sleep(Duration::from_secs(1));
    let used = own_cpu()? - before;
    stop.store(true, Ordering::Relaxed);
    drop(clients);
    for thread in threads {
        thread.join().expect("no panic")?;
    }
    Ok(used)
}
