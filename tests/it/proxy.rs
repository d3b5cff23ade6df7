//! A network that can break.

use crate::support::is_token;
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What stands between the client and the server, and can break.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    lines: Arc<Lines>,
}

/// The connections of a network.
struct Lines {
    broken: AtomicBool,
    /// The last that the server said that looks like a token.
    token: Mutex<String>,
}

impl Network {
    /// To this server, until the test ends.
    pub(crate) fn to(server: SocketAddr) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let lines = Arc::new(Lines {
            broken: AtomicBool::new(false),
            token: Mutex::default(),
        });
        let shared = Arc::clone(&lines);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = Arc::new(client.expect("a client"));
                let server = Arc::new(TcpStream::connect(server).expect("the server"));
                shared.broken.store(false, Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (Arc::clone(from), Arc::clone(to));
                    let lines = Arc::clone(&shared);
                    thread::spawn(move || lines.carry(&from, &to));
                }
            }
        });
        Network { address, lines }
    }

    /// Breaks all connections: both sides are sent a reset.
    pub(crate) fn reset(&self) {
        self.lines.broken.store(true, Ordering::SeqCst);
    }

    /// The token that the server gave.
    pub(crate) fn token(&self) -> String {
        self.lines.token.lock().expect("no panic").clone()
    }
}

impl Lines {
    /// Carries bytes until one side ends, or all is broken.
    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) {
        // What resets a connection is that it is closed, for which nobody may be
        // blocked in it.
        from.set_read_timeout(Some(Duration::from_millis(20)))
            .expect("an open socket");
        let mut buffer = [0; 4_096];
        while !self.broken.load(Ordering::SeqCst) {
            match from.read(&mut buffer) {
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => {
                    let text = String::from_utf8_lossy(&buffer[..count]);
                    for word in text.split_ascii_whitespace().filter(|word| is_token(word)) {
                        word.clone_into(&mut self.token.lock().expect("no panic"));
                    }
                    if to.write_all(&buffer[..count]).is_err() {
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        for socket in [from, to] {
            let _ = set_socket_linger(socket, Some(Duration::ZERO));
        }
    }
}
