//! The epoll loop: many connections in one thread, driven by a [`Load`].
//!
//! Does not know cases or metrics. It is built to be cheap, because it shares the processors
//! with the server: one large read buffer, messages parsed in place, and one write for all
//! pending bytes of a client.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::progress::Progress;
use super::protocol::{Protocol, ServerEvent};

/// Bytes of one read: some thousand deliveries, so that a client with a backlog catches up fast.
const BUFFER: usize = 256 * 1024;

/// The maximum number of connections that are read before the next send. More would be
/// cheaper, but would delay the pending messages, whose latency is counted.
const BATCH: usize = 256;

/// The longest wait of the loop, which then checks the idle timeout and moves the progress
/// line.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The token of the timer. The tokens of clients count from 0.
const TIMER: Token = Token(usize::MAX);

/// The part of a case that uses the connections.
///
/// In [`Load::on_event`] it notes what to send. After each batch of events, the engine calls
/// [`Load::send_due`].
pub(crate) trait Load {
    /// Sends all messages that are due. Returns the time of the next call if no event arrives
    /// before.
    fn send_due(&mut self, now: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure>;

    /// Handles an event of a client.
    fn on_event(
        &mut self,
        client: usize,
        event: &ServerEvent<'_>,
        now: Instant,
    ) -> Result<(), Failure>;

    /// Handles the end of a client's connection.
    fn closed(&mut self, client: usize) -> Result<(), Failure> {
        Err(Failure(format!(
            "client {client}: the server closed the connection"
        )))
    }

    /// Whether all expected events have arrived.
    fn is_done(&self) -> bool;

    /// Describes the missing events.
    fn missing(&self) -> String;

    /// Returns how much is done, and the total.
    fn progress(&self) -> (u64, u64);
}

/// The reason why a run has failed.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure(error.to_string())
    }
}

/// The settings that all cases share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSettings {
    /// A run fails if no event arrives for this time.
    pub(crate) idle_timeout: Duration,
    /// How many clients log in at the same time.
    pub(crate) logins_at_once: usize,
    /// A `fanout` or a `ping` sends no further message after this time.
    pub(crate) max_duration: Option<Duration>,
}

/// The epoll loop.
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    timer: Timer,
    progress: Progress,
    /// The settings that all cases share.
    pub(crate) settings: LoadSettings,
    /// The connections.
    pub(crate) wire: Wire,
}

impl Engine {
    /// Makes an engine without connections, for the servers at these addresses.
    pub(crate) fn new(
        spread: Spread,
        protocol: Protocol,
        settings: LoadSettings,
        progress: Progress,
    ) -> Result<Engine, Failure> {
        let poll = Poll::new()?;
        let timer = Timer::new(&poll)?;
        let wire = Wire {
            registry: poll.registry().try_clone()?,
            spread,
            protocol,
            connections: Vec::new(),
            unsent: Vec::new(),
            messages: 0,
        };
        Ok(Engine {
            poll,
            events: Events::with_capacity(BATCH),
            buffer: vec![0; BUFFER],
            timer,
            progress,
            settings,
            wire,
        })
    }

    /// Runs a load until it is done.
    pub(crate) fn run(&mut self, load: &mut impl Load) -> Result<(), Failure> {
        let mut last = Instant::now();
        loop {
            let next = load.send_due(Instant::now(), &mut self.wire)?;
            self.wire.send_all()?;
            if load.is_done() {
                return Ok(());
            }
            if let Some(next) = next {
                self.timer.set(next)?;
            }
            if self.turn(load)? {
                last = Instant::now();
            } else if last.elapsed() > self.settings.idle_timeout {
                let time = self.settings.idle_timeout.as_secs_f32();
                return Err(Failure(format!(
                    "nothing has come for {time} s: {}",
                    load.missing()
                )));
            }
            self.progress.show(load.progress());
        }
    }

    /// Handles events of a finished load until none arrives for [`POLL_INTERVAL`]. A late
    /// event belongs to the run or is one too many.
    pub(crate) fn drain_until_quiet(&mut self, load: &mut impl Load) -> Result<(), Failure> {
        while self.turn(load)? {
            self.wire.send_all()?;
        }
        Ok(())
    }

    /// Waits for events, at most for [`POLL_INTERVAL`], and handles them. Returns whether any has
    /// arrived.
    fn turn(&mut self, load: &mut impl Load) -> Result<bool, Failure> {
        match self.poll.poll(&mut self.events, Some(POLL_INTERVAL)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(true),
            result => result?,
        }
        for event in &self.events {
            if event.token() == TIMER {
                continue;
            }
            if event.is_readable() || event.is_error() {
                self.wire.read(event, &mut self.buffer, load)?;
            }
            if event.is_writable() {
                self.wire.connections[event.token().0].send()?;
            }
        }
        Ok(!self.events.is_empty())
    }
}

/// The servers, and the server of each client.
pub(crate) struct Spread {
    /// The addresses, in turn for the clients.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The number of consecutive clients at one server.
    pub(crate) together: usize,
}

impl Spread {
    fn address(&self, client: usize) -> SocketAddr {
        self.addresses[client / self.together % self.addresses.len()]
    }
}

impl From<SocketAddr> for Spread {
    fn from(address: SocketAddr) -> Spread {
        Spread {
            addresses: vec![address],
            together: 1,
        }
    }
}

/// The connections and their pending bytes.
pub(crate) struct Wire {
    registry: mio::Registry,
    spread: Spread,
    protocol: Protocol,
    connections: Vec<Connection>,
    /// The clients with pending bytes that the next send writes.
    unsent: Vec<usize>,
    messages: u64,
}

impl Wire {
    /// Returns the protocol.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the number of all received messages.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns the number of connections so far, which is the number of the next client.
    pub(crate) fn clients(&self) -> usize {
        self.connections.len()
    }

    /// Connects one more client. Its bytes wait until it is connected.
    pub(crate) fn connect(&mut self) -> Result<usize, Failure> {
        let client = self.connections.len();
        let mut socket = TcpStream::connect(self.spread.address(client))?;
        socket.set_nodelay(true)?;
        self.registry.register(
            &mut socket,
            Token(client),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.connections.push(Connection {
            socket,
            begun: Vec::new(),
            unsent: Vec::new(),
        });
        Ok(client)
    }

    /// Adds a message of a client to its pending bytes. All pending bytes are sent before the
    /// next batch of events.
    pub(crate) fn say<T>(
        &mut self,
        client: usize,
        say: impl FnOnce(Protocol, &mut Vec<u8>) -> T,
    ) -> T {
        let unsent = &mut self.connections[client].unsent;
        if unsent.is_empty() {
            self.unsent.push(client);
        }
        say(self.protocol, unsent)
    }

    /// Closes the client's end too, because the server waits for it.
    fn close(&mut self, client: usize) -> Result<(), Failure> {
        let socket = &mut self.connections[client].socket;
        self.registry.deregister(socket)?;
        // Fails if the server has reset the connection.
        let _ = socket.shutdown(Shutdown::Both);
        Ok(())
    }

    fn send_all(&mut self) -> Result<(), Failure> {
        for client in self.unsent.drain(..) {
            self.connections[client].send()?;
        }
        Ok(())
    }

    /// Reads all bytes of a socket and handles the events.
    fn read(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        load: &mut impl Load,
    ) -> Result<(), Failure> {
        let client = event.token().0;
        loop {
            let connection = &mut self.connections[client];
            let begun = connection.begun.len();
            buffer[..begun].copy_from_slice(&connection.begun);
            let free = &mut buffer[begun..];
            let room = free.len();
            if room == 0 {
                return Err(Failure(format!(
                    "client {client}: a message without an end"
                )));
            }
            let count = match connection.socket.read(free) {
                Ok(0) => {
                    load.closed(client)?;
                    return self.close(client);
                }
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure(format!("client {client}: {e}"))),
            };
            let now = Instant::now();
            let mut bytes = &buffer[..begun + count];
            while let Some((event, length)) = self.protocol.read(bytes) {
                self.messages += 1;
                if let ServerEvent::Question(question) = event {
                    self.say(client, |protocol, out| protocol.answer(question, out));
                } else {
                    load.on_event(client, &event, now)?;
                }
                bytes = &bytes[length..];
            }
            let begun = &mut self.connections[client].begun;
            begun.clear();
            begun.extend_from_slice(bytes);
            // A short read has emptied the socket, so a second read is not needed. But epoll
            // does not report again an end of input that arrived with the last bytes.
            if count < room && !event.is_read_closed() {
                return Ok(());
            }
        }
    }
}

struct Connection {
    socket: TcpStream,
    /// The beginning of a message whose end has not arrived.
    begun: Vec<u8>,
    unsent: Vec<u8>,
}

impl Connection {
    /// Writes the pending bytes. The rest waits until the socket is writable.
    fn send(&mut self) -> Result<(), Failure> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Failure(format!("cannot send: {e}"))),
            }
        }
        Ok(())
    }
}

/// A timer with microseconds. The timeout of epoll has milliseconds, so a load with a given
/// rate would be sent in bursts.
struct Timer(OwnedFd);

impl Timer {
    fn new(poll: &Poll) -> io::Result<Timer> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Timer(timer))
    }

    /// Sets the timer. It is never read, because a new time makes its next expiry an event
    /// again.
    fn set(&self, time: Instant) -> io::Result<()> {
        // A time of zero would stop the timer.
        let wait = time
            .saturating_duration_since(Instant::now())
            .max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(wait).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}
