//! Chapter 1: two naive servers and this one read lines. They get the same input: lines that
//! are cut, not UTF-8, from a telnet client, or without an end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use crate::support::{Server, has_unread, wait_for};
use crate::{naive_server, serve_naively};

/// How many bytes are sent without the end of a line.
const ENDLESS: usize = 64 * 1024 * 1024;

/// The bytes that telnet sends on Ctrl-C: interrupt process, do timing mark.
const CTRL_C: &[u8] = b"\xff\xf4\xff\xfd\x06";

/// The answer that telnet waits for: won't timing mark.
const WONT: &[u8] = b"\xff\xfc\x06";

pub(super) fn one_read() -> io::Result<()> {
    serve_naively(answer_each_read)
}

pub(super) fn std_lines() -> io::Result<()> {
    serve_naively(answer_each_line)
}

fn answer_each_read(mut socket: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = socket.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&buffer[..count]);
        writeln!(socket, "Pong {}", line.trim_end())?;
    }
}

fn answer_each_line(mut socket: TcpStream) -> io::Result<()> {
    let input = BufReader::new(socket.try_clone()?);
    for line in input.lines() {
        writeln!(socket, "Pong {}", line?)?;
    }
    Ok(())
}

pub(super) fn experiment() -> io::Result<()> {
    let servers = [
        ("one read", "", naive_server("one-read")),
        ("lines()", "", naive_server("std-lines")),
        // A request to this server has three lines. The third has the command.
        ("this server", "\n\nPing ", Server::start(&[])),
    ];
    // The next piece is sent when the server has read the one before. An @ is the place
    // where a request begins.
    let cases: [(&str, &[&[u8]]); 4] = [
        ("one line in two writes", &[b"@he", b"llo\n"]),
        ("three lines in one write", &[b"@one\n@two\n@three\n"]),
        (
            "a line that is not UTF-8, and another",
            &[b"@caf\xe9\n@still here\n"],
        ),
        ("Ctrl-C in telnet, and a line", &[CTRL_C, b"@still here\n"]),
    ];
    for (case, pieces) in cases {
        println!("{case}:");
        for (name, begin, server) in &servers {
            let pieces = pieces.iter().map(|piece| with_beginnings(begin, piece));
            let answers = answers(server, pieces)?;
            println!("  {name:12} {answers}");
        }
    }
    println!("{} MiB without the end of a line:", ENDLESS / 1024 / 1024);
    for (name, _, server) in &servers {
        let grown = memory_for_endless_line(server)?;
        println!("  {name:12} {grown} KiB more memory");
    }
    Ok(())
}

/// Returns the piece with the beginning of a request in the place of each @.
fn with_beginnings(begin: &str, piece: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = piece.split(|byte| *byte == b'@').collect();
    parts.join(begin.as_bytes())
}

/// Returns the server's responses to these pieces. The status `200 OK` and the empty header are
/// left out.
fn answers(server: &Server, pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<String> {
    let socket = TcpStream::connect(server.address)?;
    let reader = read_all(&socket)?;
    for piece in pieces {
        send(server, &socket, &piece)?;
    }
    // Fails if the server has closed the connection already.
    let _ = socket.shutdown(Shutdown::Write);
    let bytes = reader.join().expect("no panic");
    let (is_answered, bytes) = match bytes.strip_prefix(WONT) {
        Some(rest) => (true, rest),
        None => (false, &*bytes),
    };
    let text = String::from_utf8_lossy(bytes);
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && *line != "200 OK");
    let mut shown: Vec<&str> = lines.collect();
    if is_answered {
        shown.insert(0, "(won't)");
    }
    if shown.is_empty() {
        shown.push("(nothing)");
    }
    Ok(shown.join(", "))
}

/// Returns by how much a server's memory grows, in KiB, while it reads a line without an end.
fn memory_for_endless_line(server: &Server) -> io::Result<u64> {
    let before = server.proc_status("VmRSS");
    let socket = TcpStream::connect(server.address)?;
    let reader = read_all(&socket)?;
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..ENDLESS / piece.len() {
        send(server, &socket, &piece)?;
    }
    let after = server.proc_status("VmRSS");
    socket.shutdown(Shutdown::Write)?;
    reader.join().expect("no panic");
    Ok(after.saturating_sub(before))
}

/// Sends the bytes, and waits until the server has read them.
fn send(server: &Server, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes)?;
    wait_for("the server to read", || !has_unread(server.address.port()));
    Ok(())
}

/// Starts a thread that reads up to the end of input or a reset, and returns the bytes.
fn read_all(socket: &TcpStream) -> io::Result<JoinHandle<Vec<u8>>> {
    let mut socket = socket.try_clone()?;
    Ok(thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        bytes
    }))
}
