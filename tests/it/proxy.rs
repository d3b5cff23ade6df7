//! A proxy between client and server that can reset its connections.

use crate::support::is_token;
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A proxy between client and server that can reset its connections.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

/// The state that all connections of a proxy share.
struct Shared {
    is_reset: AtomicBool,
    /// The last word of the server that has the form of a token.
    token: Mutex<String>,
}

impl Network {
    /// Starts a proxy to this server. It runs until the test program ends.
    pub(crate) fn to(server: SocketAddr) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            is_reset: AtomicBool::new(false),
            token: Mutex::default(),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = Arc::new(client.expect("a client"));
                let server = Arc::new(TcpStream::connect(server).expect("the server"));
                of_thread.is_reset.store(false, Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (Arc::clone(from), Arc::clone(to));
                    let shared = Arc::clone(&of_thread);
                    thread::spawn(move || shared.carry(&from, &to));
                }
            }
        });
        Network { address, shared }
    }

    /// Resets all connections, at both ends.
    pub(crate) fn reset(&self) {
        self.shared.is_reset.store(true, Ordering::SeqCst);
    }

    /// Returns the token that the server has sent.
    pub(crate) fn token(&self) -> String {
        self.shared.token.lock().expect("no panic").clone()
    }
}

impl Shared {
    /// Copies bytes in one direction until the sender ends or the proxy resets.
    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) {
        // A timeout, because the reset needs a close, and no thread may be blocked in a read
        // then.
        from.set_read_timeout(Some(Duration::from_millis(20)))
            .expect("an open socket");
        let mut buffer = [0; 4_096];
        while !self.is_reset.load(Ordering::SeqCst) {
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
