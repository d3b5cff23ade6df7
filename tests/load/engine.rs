//! The epoll loop: many connections, one thread, and a [`Load`] that says what to send and
//! hears what comes.
//!
//! It knows no case and measures nothing. It is built to be cheap, because it shares the
//! processors with the server that it loads: one large buffer to read into, messages
//! parsed in place, one write for all that a client has to send at a moment.

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

/// What one read takes: some thousand deliveries, so that who is behind catches up fast.
const BUFFER: usize = 256 * 1024;

/// How many connections are read before something is sent again. More would be cheaper,
/// but what is to be sent would wait for it, and its latency is counted.
const BATCH: usize = 256;

/// How often the loop looks up while nothing comes: to see that nothing comes, and to move
/// the progress line.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The token of the timer; clients count from 0.
const TIMER: Token = Token(usize::MAX);

/// What is done with the connections. It hears, and notes what is to be done; it acts
/// after each batch of what was on_event.
pub(crate) trait Load {
    /// Sends what is to be sent by now; the time that it gives is when to be asked again
    /// even if nothing is on_event.
    fn send_due(&mut self, now: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure>;

    /// A client has been told something.
    fn on_event(
        &mut self,
        client: usize,
        event: &ServerEvent<'_>,
        now: Instant,
    ) -> Result<(), Failure>;

    /// The server has closed a client's connection.
    fn closed(&mut self, client: usize) -> Result<(), Failure> {
        Err(Failure(format!(
            "client {client}: the server closed the connection"
        )))
    }

    /// Whether all that is to come has come.
    fn is_done(&self) -> bool;

    /// What has not come.
    fn missing(&self) -> String;

    /// How much is done, of how much.
    fn progress(&self) -> (u64, u64);
}

/// Why a run is worth nothing.
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

/// How a server is treated, whatever the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadSettings {
    /// A run fails when nothing has come for so long.
    pub(crate) patience: Duration,
    /// How many log in at the same time.
    pub(crate) logins_at_once: usize,
    /// A `fanout` or a `ping` sends no further message after this time.
    pub(crate) max_duration: Option<Duration>,
}

/// The loop.
pub(crate) struct Engine {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    timer: Timer,
    progress: Progress,
    /// How the server is treated.
    pub(crate) settings: LoadSettings,
    /// The connections.
    pub(crate) wire: Wire,
}

impl Engine {
    /// No connections yet to the server at this address.
    pub(crate) fn new(
        address: SocketAddr,
        protocol: Protocol,
        settings: LoadSettings,
        progress: Progress,
    ) -> Result<Engine, Failure> {
        let poll = Poll::new()?;
        let timer = Timer::new(&poll)?;
        let wire = Wire {
            registry: poll.registry().try_clone()?,
            address,
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
            } else if last.elapsed() > self.settings.patience {
                let time = self.settings.patience.as_secs_f32();
                return Err(Failure(format!(
                    "nothing has come for {time} s: {}",
                    load.missing()
                )));
            }
            self.progress.show(load.progress());
        }
    }

    /// Goes on hearing for a load that is done, until nothing has come for a moment. What
    /// comes is too much, or belongs to what went before.
    pub(crate) fn drain_until_quiet(&mut self, load: &mut impl Load) -> Result<(), Failure> {
        while self.turn(load)? {
            self.wire.send_all()?;
        }
        Ok(())
    }

    /// Waits for something to come, at most for a [`POLL_INTERVAL`], and has it on_event. Whether
    /// anything has come.
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

/// The connections, and what is to be sent on them.
pub(crate) struct Wire {
    registry: mio::Registry,
    address: SocketAddr,
    protocol: Protocol,
    connections: Vec<Connection>,
    /// Those that have something to send that the socket has not refused yet.
    unsent: Vec<usize>,
    messages: u64,
}

impl Wire {
    /// What is spoken.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How many messages of the server have come, of whatever kind.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// How many connections there have been; the next client has this number.
    pub(crate) fn clients(&self) -> usize {
        self.connections.len()
    }

    /// Connects one more client. What it sends waits until it is connected.
    pub(crate) fn connect(&mut self) -> Result<usize, Failure> {
        let client = self.connections.len();
        let mut socket = TcpStream::connect(self.address)?;
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

    /// Has a client say something, written by `say` in the protocol that is spoken. It is
    /// sent together with all else that is event before the next batch is on_event.
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

    /// Closes our end too, for which the server waits.
    fn close(&mut self, client: usize) -> Result<(), Failure> {
        let socket = &mut self.connections[client].socket;
        self.registry.deregister(socket)?;
        // Fails where the server was faster.
        let _ = socket.shutdown(Shutdown::Both);
        Ok(())
    }

    fn send_all(&mut self) -> Result<(), Failure> {
        for client in self.unsent.drain(..) {
            self.connections[client].send()?;
        }
        Ok(())
    }

    /// Reads all that a socket has, and has it on_event.
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
            // A short read has emptied the socket, which saves asking it once more; but an
            // end that came with the last bytes is not told of again.
            if count < room && !event.is_read_closed() {
                return Ok(());
            }
        }
    }
}

struct Connection {
    socket: TcpStream,
    /// The beginning of a message whose end has not come.
    begun: Vec<u8>,
    unsent: Vec<u8>,
}

impl Connection {
    /// Writes what there is. What the socket does not take waits until it is writable.
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

/// Ends a wait to the microsecond, where epoll's own timeout counts milliseconds: a load
/// of a given rate would come in bursts.
struct Timer(OwnedFd);

impl Timer {
    fn new(poll: &Poll) -> io::Result<Timer> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Timer(timer))
    }

    /// Nobody reads the timer: setting it anew makes the next expiry an event again.
    fn set(&self, time: Instant) -> io::Result<()> {
        // A time of zero would stop it.
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
