//! The experiments of the course (`src/course`). Each one runs the naive version of its
//! chapter, and this server beside it.
//!
//! `make experiments` runs all of them, `make experiment CHAPTER=lines` runs one. You read
//! their output. An experiment returns an error only if it cannot run.

/// Chapter 7: the order in which changes are announced.
mod change_order;
/// A client for the naive servers and for this one.
mod chat;
/// Chapter 8: the last message before a close.
mod clean_close;
/// Chapter 12: several servers, and what a response promises.
mod confirmation;
/// Chapter 11: the limits of a thread per client, and the alternatives.
mod event_loop;
/// Chapter 2: fan-out under a lock.
mod fan_out;
/// The load generator.
#[path = "../load/main.rs"]
#[allow(dead_code)]
mod generator;
/// Chapter 1: reading lines from a stream.
mod lines;
/// Chapter 6: a race for a name.
mod name_race;
/// Chapter 9: running out of descriptors, threads and memory maps.
mod resource_limits;
/// Chapter 10: resuming a session.
mod resuming;
/// Chapter 3: the slow reader.
mod slow_reader;
/// Chapter 5: stopping a blocked `accept`, `read` and `write`.
mod stopping;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports)]
mod support;
/// Chapter 4: the cost of a thread: memory, wake-ups, batching and direct writes.
mod thread_cost;

use std::env;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;

use support::Server;

/// An experiment, or a process that an experiment starts.
type Program = fn() -> io::Result<()>;

/// The chapters in order, each with its experiment.
const CHAPTERS: &[(&str, Program)] = &[
    ("lines", lines::experiment),
    ("fan_out", fan_out::experiment),
    ("slow_reader", slow_reader::experiment),
    ("thread_cost", thread_cost::experiment),
    ("stopping", stopping::experiment),
    ("name_race", name_race::experiment),
    ("change_order", change_order::experiment),
    ("clean_close", clean_close::experiment),
    ("resource_limits", resource_limits::experiment),
    ("resuming", resuming::experiment),
    ("event_loop", event_loop::experiment),
    ("confirmation", confirmation::experiment),
];

/// The processes that experiments start. A process of its own can be measured from outside, can
/// have its own limits, and can crash without the experiment.
const PROCESSES: &[(&str, Program)] = &[
    ("one-read", lines::one_read),
    ("std-lines", lines::std_lines),
    ("room", fan_out::room),
    ("unbounded-queue", slow_reader::unbounded_queue),
    ("waiting-queue", slow_reader::waiting_queue),
    ("dropping-queue", slow_reader::dropping_queue),
    ("default-threads", thread_cost::default_threads),
    ("small-threads", thread_cost::small_threads),
    ("threads-with-buffer", thread_cost::threads_with_buffer),
    ("flagged-server", stopping::flagged_server),
    ("naive-end", resource_limits::naive_end),
    ("naive-go-on", resource_limits::naive_go_on),
    ("naive-maps", resource_limits::naive_maps),
    ("event-loop", event_loop::event_loop),
    ("subscribing-node", confirmation::subscribing_node),
    ("reading-node", confirmation::reading_node),
    ("confirming-node", confirmation::confirming_node),
];

/// The option that turns this program into one of these processes.
const BE: &str = "--be";

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let result = match arguments.iter().position(|argument| argument == BE) {
        Some(at) => be(arguments.get(at + 1)),
        None => run_chapters(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("course: {e}");
            ExitCode::FAILURE
        }
    }
}

fn be(name: Option<&String>) -> io::Result<()> {
    let process = PROCESSES
        .iter()
        .find(|(known, _)| Some(*known) == name.map(String::as_str));
    let (_, process) = process.ok_or_else(|| io::Error::other(format!("{BE} {name:?}")))?;
    process()
}

/// Runs the experiments of these chapters, or all of them if the list is empty.
fn run_chapters(names: &[String]) -> io::Result<()> {
    for name in names {
        if !CHAPTERS.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = CHAPTERS.iter().map(|(known, _)| *known).collect();
            let problem = format!("{name}: expected a chapter: {}", known.join(", "));
            return Err(io::Error::other(problem));
        }
    }
    for (number, (name, experiment)) in (1..).zip(CHAPTERS) {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            println!("== {number} {name}");
            experiment()?;
            println!();
        }
    }
    Ok(())
}

/// Returns the command that runs one of [`PROCESSES`].
fn process(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this program has a path"));
    command.args([BE, name]);
    command
}

/// Starts one of the processes that run a [naive server](serve_naively).
fn naive_server(name: &str) -> Server {
    Server::start_by(process(name), &[], |_| {})
}

/// Runs a naive server on a free port, with a thread for each connection. It prints its address
/// as the real server does.
fn serve_naively(
    serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<()> {
    let serve = Arc::new(serve);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, serve) = (socket?, Arc::clone(&serve));
        thread::spawn(move || serve(socket));
    }
    Ok(())
}

/// Returns the median.
fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    values[values.len() / 2]
}
