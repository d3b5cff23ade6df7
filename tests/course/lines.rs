//! Chapter 1: three servers that read lines, and what they make of what a network and its
//! users may send.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use crate::support::{Server, has_unread, wait_for};
use crate::{naive_server, serve_naively};

/// What is sent without the end of a line.
const ENDLESS: usize = 64 * 1024 * 1024;

/// What telnet sends for Ctrl-C: interrupt process, do timing mark.
const CTRL_C: &[u8] = b"\xff\xf4\xff\xfd\x06";

/// And the answer that it waits for: won't timing mark.
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
        // Where a request is three lines, of which the third is ours.
        ("this server", "\n\nPing ", Server::start(&[])),
    ];
    // Each in pieces, of which one has been read before the next is sent. Where a @ stands,
    // a request begins.
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
            let pieces = pieces.iter().map(|piece| begun_with(begin, piece));
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

/// A piece with what a request begins with in the place of each @.
fn begun_with(begin: &str, piece: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = piece.split(|byte| *byte == b'@').collect();
    parts.join(begin.as_bytes())
}

/// What a server answers to these pieces, without the two lines that stand before each
/// answer of the real one.
fn answers(server: &Server, pieces: impl Iterator<Item = Vec<u8>>) -> io::Result<String> {
    let socket = TcpStream::connect(server.address)?;
    let reader = read_all(&socket)?;
    for piece in pieces {
        send(server, &socket, &piece)?;
    }
    // Fails where the server was faster.
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

/// By how much a server's memory has grown, in KiB, when it has read a line that has not
/// ended yet.
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

/// Sends, and waits until it has been read.
fn send(server: &Server, mut socket: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes)?;
    wait_for("the server to read", || !has_unread(server.address.port()));
    Ok(())
}

/// Reads all that comes, up to the end or a reset.
fn read_all(socket: &TcpStream) -> io::Result<JoinHandle<Vec<u8>>> {
    let mut socket = socket.try_clone()?;
    Ok(thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        bytes
    }))
}
