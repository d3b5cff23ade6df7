//! Chapter 9: servers that run out of descriptors, threads or memory maps. Each is a process of
//! its own, with its own limit.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use chat::limits::RESERVED_DESCRIPTORS;
use rustix::process::geteuid;

use crate::support::{ExecutableCopy, Server};
use crate::{BE, process};

/// The number of clients that connect. Only some of them find room.
const CLIENTS: usize = 60;

/// The number of descriptors that a naive server may have open.
const DESCRIPTORS: u64 = 24;

/// The number of threads that a server may have.
const THREADS: usize = 24;

/// How long a client waits for a response.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the processor time of a full server is measured.
const MEASURED: Duration = Duration::from_secs(1);

/// The number of threads that a process tries to start. Only some of them start.
const ATTEMPTS: usize = 100_000;

/// A thread has a stack, a stack for signal handlers, and a guard page for each.
const MAPS_PER_THREAD: u64 = 4;

/// The number of threads that other processes may start meanwhile.
const SPARE_THREADS: u64 = 4_000;

fn accept_or_end(listener: &TcpListener) -> io::Result<()> {
    for socket in listener.incoming() {
        let socket = socket?;
        thread::spawn(move || echo(&socket));
    }
    Ok(())
}

fn accept_or_go_on(listener: &TcpListener) -> io::Result<()> {
    loop {
        let Ok((socket, _)) = listener.accept() else {
            continue;
        };
        thread::spawn(move || echo(&socket));
    }
}

fn a_thread_for_each_client(attempts: usize) {
    for _ in 0..attempts {
        match thread::Builder::new().spawn(thread::park) {
            Ok(_) => println!("served"),
            Err(e) => println!("refused: {e}"),
        }
    }
}

fn echo(mut socket: &TcpStream) -> io::Result<()> {
    for line in BufReader::new(socket).lines() {
        socket.write_all(format!("{}\r\n", line?).as_bytes())?;
    }
    Ok(())
}

pub(super) fn naive_end() -> io::Result<()> {
    accept_or_end(&listen()?)
}

pub(super) fn naive_go_on() -> io::Result<()> {
    accept_or_go_on(&listen()?)
}

pub(super) fn naive_maps() -> io::Result<()> {
    a_thread_for_each_client(ATTEMPTS);
    Ok(())
}

fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

pub(super) fn experiment() -> io::Result<()> {
    let ours = env::current_exe()?;
    let ours = ours.to_str().ok_or(ErrorKind::InvalidFilename)?;
    let real = env!("CARGO_BIN_EXE_chat-server");

    println!("{CLIENTS} clients, few descriptors:");
    let limit = format!("--nofile={DESCRIPTORS}");
    println!("  {HEAD}");
    for (name, process) in [
        ("accept_or_end", "naive-end"),
        ("accept_or_go_on", "naive-go-on"),
    ] {
        let server = Server::start_limited(&limit, ours, &[BE, process], without_backtrace);
        println!("  {name:16} {}", outcome(server)?);
    }
    let limit = format!("--nofile={}", DESCRIPTORS + RESERVED_DESCRIPTORS);
    let server = Server::start_limited(&limit, real, &[], |_| {});
    println!("  {:16} {}", "this server", outcome(server)?);

    println!("{CLIENTS} clients, few threads:");
    println!("  {HEAD}");
    for (name, program, options) in [
        ("accept_or_go_on", ours, &[BE, "naive-go-on"][..]),
        ("this server", real, &[]),
    ] {
        println!(
            "  {name:16} {}",
            outcome(with_few_threads(program, options))?
        );
    }

    println!("clients until the memory maps are used up:");
    println!("  a_thread_for_each_client  {}", fill_maps()?);
    let server = Server::start(&["--max-clients", "100000"]);
    server.expect_log("room for ");
    let log = server.log();
    let room = log.lines().find_map(|line| line.split_once("room for "));
    let (_, room) = room.expect("the line that was just expected");
    println!("  this server               room for {room}");
    Ok(())
}

const HEAD: &str = "                 served  refused  waiting  lost";

/// Starts a server whose user may have [`THREADS`] more threads than it has now. The limit is for
/// all threads of a user, and root has no limit. So root runs the server as an unused user.
fn with_few_threads(program: &str, options: &[&str]) -> Server {
    if !geteuid().is_root() {
        let limit = format!("--nproc={}", own_threads() + THREADS);
        return Server::start_limited(&limit, program, options, without_backtrace);
    }
    let program = ExecutableCopy::copy(program);
    let user = 60_000 + std::process::id() % 5_000;
    let limit = format!("--nproc={THREADS}");
    Server::start_limited(&limit, program.path(), options, |command| {
        without_backtrace(command.uid(user).gid(user));
    })
}

/// Sets that a panic prints its reason without a backtrace.
fn without_backtrace(command: &mut Command) {
    command.env_remove("RUST_BACKTRACE");
}

/// Returns the number of threads of the current user.
fn own_threads() -> usize {
    let user = geteuid().as_raw().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses = processes.filter_map(|it| fs::read_to_string(it.path().join("status")).ok());
    let value_of = |status: &str, name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next().map(str::to_owned)
    };
    let of_user = statuses.filter(|status| value_of(status, "Uid:").as_ref() == Some(&user));
    let threads = of_user.filter_map(|status| value_of(&status, "Threads:")?.parse::<usize>().ok());
    threads.sum()
}

/// Connects more clients than a server has room for. Describes the results for the clients and
/// the server.
fn outcome(mut server: Server) -> io::Result<String> {
    let (mut served, mut refused, mut waiting, mut lost) = (Vec::new(), 0, Vec::new(), 0);
    for _ in 0..CLIENTS {
        // Fails if the server has ended.
        match TcpStream::connect(server.address) {
            Ok(socket) => waiting.push(socket),
            Err(_) => lost += 1,
        }
    }
    let mut timeout = PATIENCE;
    for socket in std::mem::take(&mut waiting) {
        match ping(&socket, timeout) {
            Ok(status) if status.starts_with("403 ") => refused += 1,
            Ok(_) => served.push(socket),
            // Clients are accepted in order. So behind the first that waits, all wait.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                timeout = Duration::from_millis(1);
                waiting.push(socket);
            }
            Err(_) => lost += 1,
        }
    }
    let ended = if lost > 0 { exit_of(&mut server) } else { None };
    let before = served.len();
    served.retain(|socket| ended.is_none() && ping(socket, PATIENCE).is_ok());
    lost += before - served.len();
    let (served, waiting) = (served.len(), waiting.len());
    let then = match ended {
        Some(status) => format!("{status}: {}", end_reason(&server.log())),
        None => {
            let before = server.cpu_time();
            thread::sleep(MEASURED);
            let used = (server.cpu_time() - before).as_secs_f32();
            format!("uses {used:.2} s of processor time in {MEASURED:?}")
        }
    };
    Ok(format!(
        "{served:6} {refused:8} {waiting:8} {lost:5}\n    {then}"
    ))
}

/// Returns the exit status of a server, if it ends soon.
fn exit_of(server: &mut Server) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let exit = server.has_exited();
        if exit.is_some() || Instant::now() > deadline {
            return exit;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a `Ping`, and returns the first line of the response.
fn ping(mut socket: &TcpStream, timeout: Duration) -> io::Result<String> {
    socket.set_read_timeout(Some(timeout))?;
    // Fails if the server has refused the client and closed the connection.
    let _ = socket.write_all(b"\r\n\r\nPing\r\n");
    let mut line = String::new();
    match BufReader::new(socket).read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

/// Starts a process that starts threads until it has no memory maps left. Describes its end.
fn fill_maps() -> io::Result<String> {
    if let Some(obstacle) = obstacle_to_filling_maps()? {
        return Ok(format!("skipped: {obstacle}"));
    }
    let child = process("naive-maps")
        .env_remove("RUST_BACKTRACE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.wait_with_output()?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let served = lines.lines().filter(|line| *line == "served").count();
    let refused = lines.lines().count() - served;
    let log = String::from_utf8_lossy(&output.stderr);
    Ok(format!(
        "{served} clients, {refused} refused\n    {}: {}",
        output.status,
        end_reason(&log)
    ))
}

/// Returns a reason why the process would run out of threads before it runs out of memory maps.
fn obstacle_to_filling_maps() -> io::Result<Option<String>> {
    let number = |path: &str| -> io::Result<u64> {
        let text = fs::read_to_string(path)?;
        // In loadavg, the number of threads is behind the slash.
        let last = text.split_whitespace().find_map(|it| it.split_once('/'));
        let number = last.map_or(text.trim(), |(_, all)| all);
        number.parse().map_err(io::Error::other)
    };
    let needed = number("/proc/sys/vm/max_map_count")? / MAPS_PER_THREAD;
    let running = number("/proc/loadavg")?;
    for name in ["pid_max", "threads-max"] {
        let limit = number(&format!("/proc/sys/kernel/{name}"))?;
        if limit < running + needed + SPARE_THREADS {
            let problem = format!("needs {needed} threads, and {name} is {limit}");
            return Ok(Some(problem));
        }
    }
    Ok(None)
}

/// Returns the reason that a process has logged last, without the place in the code.
fn end_reason(log: &str) -> &str {
    let aside = ["note: ", "fatal runtime error: "];
    let is_reason = |line: &&str| !aside.iter().any(|begin| line.starts_with(begin));
    log.lines().rfind(is_reason).unwrap_or("")
}
