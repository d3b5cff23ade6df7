//! Chapter 8: a server that is out of descriptors, of threads, of memory maps. Each is a
//! process of its own, with a limit that is set for it.

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

/// How many connect, of whom only some find room.
const CLIENTS: usize = 60;

/// What a naive server may have open.
const DESCRIPTORS: u64 = 24;

/// Threads that a server may have.
const THREADS: usize = 24;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// For how long the processor's time of a full server is taken.
const WATCHED: Duration = Duration::from_secs(1);

/// How many threads are tried, of which only some can be had.
const ATTEMPTS: usize = 100_000;

/// The stack, the stack for signals, and a guard page for each.
const MAPS_PER_THREAD: u64 = 4;

/// Left to whoever else begins some on this machine.
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

    println!("{CLIENTS} clients, and descriptors for a few of them:");
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

    println!("{CLIENTS} clients, and threads for a few of them:");
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

    println!("as many clients as there are memory maps for:");
    println!("  a_thread_for_each_client  {}", fill_maps()?);
    let server = Server::start(&["--max-clients", "100000"]);
    server.expect_log("room for ");
    let log = server.log();
    let room = log.lines().find_map(|line| line.split_once("room for "));
    let (_, room) = room.expect("just seen");
    println!("  this server               room for {room}");
    Ok(())
}

const HEAD: &str = "                 served   told  waiting  lost";

/// A server whose user may have [`THREADS`] more threads than there are now. The limit is
/// on all threads of a user, and root has none; so for root it is a user that nobody is.
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

/// A panic is to say why, and no more.
fn without_backtrace(command: &mut Command) {
    command.env_remove("RUST_BACKTRACE");
}

/// How many threads the user has who runs this.
fn own_threads() -> usize {
    let user = geteuid().as_raw().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let statuses = processes.filter_map(|it| fs::read_to_string(it.path().join("status")).ok());
    let figure = |status: &str, name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next().map(str::to_owned)
    };
    let of_user = statuses.filter(|status| figure(status, "Uid:").as_ref() == Some(&user));
    let threads = of_user.filter_map(|status| figure(&status, "Threads:")?.parse::<usize>().ok());
    threads.sum()
}

/// What becomes of all who connect to a server that has no room for them, and of itself.
fn outcome(mut server: Server) -> io::Result<String> {
    let (mut served, mut told, mut waiting, mut lost) = (Vec::new(), 0, Vec::new(), 0);
    for _ in 0..CLIENTS {
        // Refused if the server is no more.
        match TcpStream::connect(server.address) {
            Ok(socket) => waiting.push(socket),
            Err(_) => lost += 1,
        }
    }
    let mut patience = PATIENCE;
    for socket in std::mem::take(&mut waiting) {
        match answer(&socket, patience) {
            Ok(answer) if answer.starts_with("403 ") => told += 1,
            Ok(_) => served.push(socket),
            // They are accepted in order: behind the first that is not, none is.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                patience = Duration::from_millis(1);
                waiting.push(socket);
            }
            Err(_) => lost += 1,
        }
    }
    let ended = if lost > 0 { exit_of(&mut server) } else { None };
    let before = served.len();
    served.retain(|socket| ended.is_none() && answer(socket, PATIENCE).is_ok());
    lost += before - served.len();
    let (served, waiting) = (served.len(), waiting.len());
    let then = match ended {
        Some(status) => format!("{status}: {}", last_words(&server.log())),
        None => {
            let before = server.cpu_time();
            thread::sleep(WATCHED);
            let used = (server.cpu_time() - before).as_secs_f32();
            format!("uses the processor for {used:.2} s in {WATCHED:?}")
        }
    };
    Ok(format!(
        "{served:6} {told:6} {waiting:8} {lost:5}\n    {then}"
    ))
}

/// How a server has ended, if it does.
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

/// Asks for an answer, and gives its first line.
fn answer(mut socket: &TcpStream, patience: Duration) -> io::Result<String> {
    socket.set_read_timeout(Some(patience))?;
    // Fails where the server has said all that it has to say.
    let _ = socket.write_all(b"\r\n\r\nPing\r\n");
    let mut line = String::new();
    match BufReader::new(socket).read_line(&mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

/// What becomes of a process that begins threads until it is out of maps.
fn fill_maps() -> io::Result<String> {
    if let Some(obstacle) = obstacle_to_filling_maps()? {
        return Ok(format!("left out: {obstacle}"));
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
        last_words(&log)
    ))
}

/// Why there would be no thread left before there is no map left.
fn obstacle_to_filling_maps() -> io::Result<Option<String>> {
    let number = |path: &str| -> io::Result<u64> {
        let text = fs::read_to_string(path)?;
        // In loadavg it is the number behind the slash.
        let last = text.split_whitespace().find_map(|it| it.split_once('/'));
        let number = last.map_or(text.trim(), |(_, all)| all);
        number.parse().map_err(io::Error::other)
    };
    let needed = number("/proc/sys/vm/max_map_count")? / MAPS_PER_THREAD;
    let there_are = number("/proc/loadavg")?;
    for name in ["pid_max", "threads-max"] {
        let limit = number(&format!("/proc/sys/kernel/{name}"))?;
        if limit < there_are + needed + SPARE_THREADS {
            let problem = format!("it takes {needed} threads, and {name} is {limit}");
            return Ok(Some(problem));
        }
    }
    Ok(None)
}

/// What a process said of its end, without where in the code that was.
fn last_words(log: &str) -> &str {
    let aside = ["note: ", "fatal runtime error: "];
    let says = |line: &&str| !aside.iter().any(|begin| line.starts_with(begin));
    log.lines().rfind(says).unwrap_or("")
}
