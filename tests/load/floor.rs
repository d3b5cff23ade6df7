//! The floor of the shape: a server of CP with a thread for each client that only reads
//! and writes. The ratio to its figures is the distance of a real server to the limit.
//!
//! Each thread blocks in `read`. It handles all requests that one read has brought, with
//! one write for each recipient of their broadcasts. A client's end of input ends its
//! thread.
//!
//! It leaves out everything that makes a server safe to use:
//!
//! - Queues: a client that does not read blocks every thread that writes to it.
//! - Write locks: two threads that write to a full socket can mix their bytes. The closed
//!   loops of the load generator do not fill sockets, and the generator finds damage.
//! - Validation, limits, time-outs, sessions, tokens, logs and a graceful shutdown. Every
//!   request is taken for a correct one, and a failed write is ignored.
//!
//! It is no lower bound where messages of several senders wait for a recipient at once.
//! A server with queues sends these in one write, and the floor does not.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use memchr::memchr_iter;

/// The argument of the load generator that starts this server.
pub(crate) const FLOOR_SERVER: &str = "serve-floor";

/// Bytes of one read: all that a window of 32 broadcasts brings.
const BUFFER_SIZE: usize = 16 * 1024;

/// Enough for the calls below, and little for 8,000 threads.
const STACK_SIZE: usize = 128 * 1024;

type Clients = RwLock<HashMap<Vec<u8>, Arc<TcpStream>>>;

/// Serves on a free port, which the first line of `out` names. Returns only an error.
pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    writeln!(out, "listening on {}", listener.local_addr()?)?;
    out.flush()?;
    serve(&listener)
}

/// Starts a thread for each connection. Returns only an error.
pub(crate) fn serve(listener: &TcpListener) -> io::Result<()> {
    let clients = Arc::new(Clients::default());
    loop {
        let socket = Arc::new(listener.accept()?.0);
        socket.set_nodelay(true)?;
        let clients = Arc::clone(&clients);
        let builder = thread::Builder::new().stack_size(STACK_SIZE);
        builder.spawn(move || {
            let mut name = Vec::new();
            // A reset ends a client as an end of input does.
            let _ = read_requests(&socket, &clients, &mut name);
            let mut clients = clients.write().unwrap_or_else(PoisonError::into_inner);
            clients.remove(&name);
        })?;
    }
}

/// Reads and executes requests until the client sends `Quit` or its input ends.
fn read_requests(socket: &Arc<TcpStream>, clients: &Clients, name: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut filled = 0;
    let (mut responses, mut broadcasts) = (Vec::new(), Vec::new());
    loop {
        let count = (&**socket).read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut start = 0;
        // A request has three lines, and its last line says everything.
        let ends: Vec<usize> = memchr_iter(b'\n', &buffer[..filled]).collect();
        for lines in ends.chunks_exact(3) {
            let line = &buffer[lines[1] + 1..lines[2] - 1];
            let (verb, argument) = split_word(line);
            start = lines[2] + 1;
            let others = || clients.read().unwrap_or_else(PoisonError::into_inner);
            match verb {
                b"Set-name" => {
                    let mut clients = clients.write().unwrap_or_else(PoisonError::into_inner);
                    clients.insert(argument.to_vec(), Arc::clone(socket));
                    *name = argument.to_vec();
                    put(&mut responses, &[b"You are ", name]);
                }
                b"Broadcast-message" => {
                    put(
                        &mut broadcasts,
                        &[b"Incoming-message broadcast ", name, b" ", argument],
                    );
                    let count = (others().len() - 1).to_string();
                    put(&mut responses, &[b"Delivered to ", count.as_bytes()]);
                }
                b"Private-message" => {
                    let (to, text) = split_word(argument);
                    let mut delivery = Vec::new();
                    put(
                        &mut delivery,
                        &[b"Incoming-message private ", name, b" ", text],
                    );
                    if let Some(mut recipient) = others().get(to).map(|it| &**it) {
                        let _ = recipient.write_all(&delivery);
                    }
                    put(&mut responses, &[b"Delivered to ", to]);
                }
                b"Quit" => return Ok(()),
                _ => put(&mut responses, &[b"Pong"]),
            }
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if !broadcasts.is_empty() {
            let clients = clients.read().unwrap_or_else(PoisonError::into_inner);
            for (_, recipient) in clients.iter().filter(|(other, _)| *other != name) {
                let _ = (&**recipient).write_all(&broadcasts);
            }
        }
        (&**socket).write_all(&responses)?;
        broadcasts.clear();
        responses.clear();
    }
}

/// Appends a server message with this last line.
fn put(out: &mut Vec<u8>, line: &[&[u8]]) {
    out.extend_from_slice(b"200 OK\r\n\r\n");
    line.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}

/// Returns the first word and the rest behind its space.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&byte| byte == b' ') {
        Some(end) => (&line[..end], &line[end + 1..]),
        None => (line, &[]),
    }
}
