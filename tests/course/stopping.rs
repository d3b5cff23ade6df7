//! Chapter 5: threads that are blocked, and what makes them return.

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

/// How long something is waited for that does not happen.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is there when the server is to end; and how many threads wait, where that is timed.
const CLIENTS: usize = 100;

/// How often a thread looks at a flag that has a timeout to do so.
const LOOK: Duration = Duration::from_millis(100);

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
    socket.set_read_timeout(Some(LOOK))?;
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
        println!("a thread is blocked in {call}, and then");
        for (name, way) in [
            ("a flag is set", Way::Flag),
            ("a clone of the socket is dropped", Way::Drop),
            ("shutdown(2)", Way::Shutdown),
        ] {
            println!("  {name:32}  {}", try_to_wake(block()?, way));
        }
    }

    println!("processor time in a second, of {CLIENTS} threads that have nothing to read:");
    println!(
        "  blocked                               {:>7.1?}",
        idle_cpu(false)?
    );
    println!(
        "  with a timeout of {LOOK:?}, for a flag {:>7.1?}",
        idle_cpu(true)?
    );
    Ok(())
}

// ---- A whole server ----

fn stop_flagged_server() -> io::Result<()> {
    let mut server = naive_server("flagged-server");
    let process = format!("/proc/{}", server.pid());
    // Or it would look at the flag once more before it does.
    wait_for("the server to accept", || sleeps(Path::new(&process)));
    server.signal(Signal::TERM);
    thread::sleep(PATIENCE);
    let state = match server.has_exited() {
        None => "is still there",
        Some(_) => "has ended",
    };
    println!("  a server that looks at a flag {state} after {PATIENCE:?}");
    let begin = Instant::now();
    drop(TcpStream::connect(server.address)?);
    let status = server.expect_exit();
    println!(
        "    and ends {:.1?} after somebody has connected, {status}",
        begin.elapsed()
    );
    Ok(())
}

fn stop_this_server(one_is_stuck: bool) -> io::Result<()> {
    let mut server = Server::start(&["--grace", "1"]);
    let join = |number| Chatter::join(&server, OURS, &format!("user{number}"));
    let clients: io::Result<Vec<Chatter>> = (0..CLIENTS).map(join).collect();
    let clients = clients?;
    let stuck = one_is_stuck.then(|| {
        let carol = server.log_in("carol");
        server.log_in("alice").fill_queue("carol");
        carol
    });
    let begin = Instant::now();
    server.signal(Signal::TERM);
    let mut told = 0;
    for mut client in clients {
        if client.next()? == "The server is shutting down" {
            told += 1;
        }
    }
    let status = server.expect_exit();
    let who = match stuck {
        Some(_) => "and one who is stuck",
        None => "who all read",
    };
    println!("  this server, with {CLIENTS} clients {who}, tells {told} of them");
    println!(
        "    and ends {:.1?} after the signal, {status}",
        begin.elapsed()
    );
    Ok(())
}

// ---- A single call ----

/// What is done to wake a thread.
#[derive(Clone, Copy)]
enum Way {
    Flag,
    Drop,
    Shutdown,
}

/// A thread that is blocked in a call.
struct Blocked {
    /// Of the socket that it uses.
    clone: OwnedFd,
    /// At which it would look when it had returned.
    stop: Arc<AtomicBool>,
    /// What it has returned.
    returned: Receiver<io::Result<usize>>,
    /// The other end of the connection, where nothing happens.
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
            // Until the kernel takes no more.
            socket.write_all(&[0; 64 * 1024])?;
        }
    })
}

fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener.accept()?.0, client))
}

/// Has a thread make this call, and waits until it sleeps in it.
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

/// Whether the thread of this folder of `/proc` sleeps; that of a process is its main thread.
fn sleeps(folder: &Path) -> bool {
    // number (name) state ... (proc_pid_stat(5)); it may have ended by now.
    let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next();
    state.is_some_and(|state| state.starts_with('S'))
}

/// What comes of it.
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

// ---- The price of looking ----

/// The processor time, for a second, of threads that wait for clients who say nothing, and
/// look at a flag now and then or do not.
fn idle_cpu(look: bool) -> io::Result<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut threads, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..CLIENTS {
        let (mut socket, client) = connection()?;
        let stop = Arc::clone(&stop);
        threads.push(thread::spawn(move || match look {
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
