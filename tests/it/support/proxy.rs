//! A proxy between a server and its Redis, which can cut, delay, hold and swallow bytes.
//!
//! It forwards TCP to the unix socket of the Redis, with two threads for each connection. Does not
//! know the protocol of Redis. Invariant: bytes of one connection keep their order, and after
//! lost bytes nothing more of that direction is forwarded.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::redis::Redis;
use super::wait_for;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the server to its Redis.
    Requests,
    /// From the Redis to the server.
    Answers,
}

/// The treatment of the bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Forward after this time.
    Delay(Duration),
    /// Drop them, and close the connection at the server's end.
    Cut,
    /// Drop them, and all that follows on the connection.
    Swallow,
    /// Keep them until [`Proxy::deliver_held`]. Requests only.
    Hold,
}

/// A proxy. Dropping it closes all its connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    redis: PathBuf,
    state: Mutex<State>,
}

struct State {
    requests: Mode,
    answers: Mode,
    connections: Vec<Arc<Connection>>,
    is_over: bool,
}

/// A connection of the server, and the one to its Redis.
struct Connection {
    server: TcpStream,
    redis: UnixStream,
    bytes: Mutex<Bytes>,
}

/// Bytes that are not forwarded.
#[derive(Default)]
struct Bytes {
    /// Requests that wait for [`Proxy::deliver_held`].
    held: Vec<u8>,
    /// The answers since the server's end was closed.
    late_answers: Vec<u8>,
    is_cut: bool,
}

impl Proxy {
    #[track_caller]
    pub(crate) fn start(redis: &Redis) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            redis: redis.socket(),
            state: Mutex::new(State {
                requests: Mode::Pass,
                answers: Mode::Pass,
                connections: Vec::new(),
                is_over: false,
            }),
        });
        let its_shared = Arc::clone(&shared);
        thread::spawn(move || {
            for server in listener.incoming().map_while(Result::ok) {
                if its_shared.with(|state| state.is_over) {
                    return;
                }
                its_shared.forward(server);
            }
        });
        Proxy { address, shared }
    }

    /// Returns the URL for `--redis`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Changes the treatment of the bytes that arrive from now on.
    pub(crate) fn set(&self, way: Way, mode: Mode) {
        assert!(way == Way::Requests || mode != Mode::Hold);
        self.shared.with(|state| match way {
            Way::Requests => state.requests = mode,
            Way::Answers => state.answers = mode,
        });
    }

    /// Waits until requests are held.
    #[track_caller]
    pub(crate) fn wait_for_held(&self, part: &str) {
        wait_for("a held request", || {
            let connections = self.shared.with(|state| state.connections.clone());
            connections.iter().any(|it| {
                let bytes = it.bytes();
                let held = String::from_utf8_lossy(&bytes.held).into_owned();
                held.contains(part)
            })
        });
    }

    /// Closes all connections at the server's end. The Redis does not see that while requests are
    /// held.
    pub(crate) fn cut(&self) {
        let connections = self.shared.with(|state| state.connections.clone());
        connections.iter().for_each(|it| it.cut());
    }

    /// Delivers the held requests, waits until the Redis has answered, and returns the answers.
    #[track_caller]
    pub(crate) fn deliver_held(&self) -> String {
        let connections = self.shared.with(|state| state.connections.clone());
        let is_held = |it: &&Arc<Connection>| !it.bytes().held.is_empty();
        let mut answers = String::new();
        for connection in connections.iter().filter(is_held) {
            let held = std::mem::take(&mut connection.bytes().held);
            (&connection.redis).write_all(&held).expect("a connection");
            wait_for("a late answer", || {
                !connection.bytes().late_answers.is_empty()
            });
            answers += &String::from_utf8_lossy(&connection.bytes().late_answers);
        }
        answers
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.is_over = true;
            for connection in state.connections.drain(..) {
                let _ = connection.server.shutdown(Shutdown::Both);
                let _ = connection.redis.shutdown(Shutdown::Both);
            }
        });
        // It ends the wait for the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("no panic"))
    }

    /// Forwards a connection of the server. Closes it if there is no Redis.
    fn forward(self: &Arc<Shared>, server: TcpStream) {
        let Ok(redis) = UnixStream::connect(&self.redis) else {
            return;
        };
        let _ = server.set_nodelay(true);
        let connection = Arc::new(Connection {
            server,
            redis,
            bytes: Mutex::default(),
        });
        self.with(|state| state.connections.push(Arc::clone(&connection)));
        for way in [Way::Requests, Way::Answers] {
            let (shared, connection) = (Arc::clone(self), Arc::clone(&connection));
            thread::spawn(move || shared.pump(way, &connection));
        }
    }

    /// Forwards the bytes of one direction until the end.
    fn pump(&self, way: Way, connection: &Connection) {
        let (mut buffer, mut is_lossy) = ([0; 64 * 1024], false);
        while let Ok(count @ 1..) = match way {
            Way::Requests => (&connection.server).read(&mut buffer),
            Way::Answers => (&connection.redis).read(&mut buffer),
        } {
            let chunk = &buffer[..count];
            let mode = self.with(|state| match way {
                Way::Requests => state.requests,
                Way::Answers => state.answers,
            });
            match mode {
                _ if is_lossy => {}
                Mode::Swallow => is_lossy = true,
                Mode::Cut => connection.cut(),
                Mode::Hold => connection.bytes().held.extend(chunk),
                Mode::Delay(time) => {
                    thread::sleep(time);
                    connection.forward(way, chunk);
                }
                Mode::Pass => connection.forward(way, chunk),
            }
        }
        if connection.bytes().held.is_empty() {
            let _ = connection.server.shutdown(Shutdown::Both);
            let _ = connection.redis.shutdown(Shutdown::Both);
        }
    }
}

impl Connection {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Bytes> {
        self.bytes.lock().expect("no panic")
    }

    fn cut(&self) {
        self.bytes().is_cut = true;
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn forward(&self, way: Way, chunk: &[u8]) {
        let mut bytes = self.bytes();
        match way {
            // Behind held bytes, so that they keep their order.
            Way::Requests if !bytes.held.is_empty() => bytes.held.extend(chunk),
            Way::Answers if bytes.is_cut => bytes.late_answers.extend(chunk),
            // The other end may have closed.
            Way::Requests => drop((&self.redis).write_all(chunk)),
            Way::Answers => drop((&self.server).write_all(chunk)),
        }
    }
}
