//! The server: binds, accepts, and ends in good order.
//!
//! Knows connections as something that is started and cut, and nothing of what is
//! said on them. Its invariant: accepting never ends but by a shutdown, and never
//! waits for a client.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{Level, info, log, warn};
use parking_lot::Mutex;

use crate::allowance::{Allowances, Loan};
use crate::connection::{self, Connection};
use crate::farewell::Farewell;
use crate::limits;
use crate::listeners::{self, ListenError};
use crate::logging;
use crate::machine::{Machine, NoRoom};
use crate::options::Config;
use crate::origin::Origin;
use crate::outbox::Attachment;
use crate::outbox::hand_off::HandOff;
use crate::protocol::reply::Notice;
use crate::rate::Rate;
use crate::seldom::Seldom;
use crate::sessions::Sessions;
use crate::sweeper;
use crate::threads::spawn;

/// A server that has its ports and does not accept yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    config: Config,
    machine: Machine,
    /// How many clients there may be: `max_clients`, or what the machine can hold.
    capacity: usize,
    stop: (Sender<()>, Receiver<()>),
}

/// Why there is no server.
#[derive(Debug)]
pub enum BindError {
    /// An address cannot be bound.
    Listen(ListenError),
    /// There is no room for a client.
    NoRoom(NoRoom),
}

/// Ends a running server, from any thread.
#[derive(Clone)]
pub struct ShutdownHandle {
    stop: Sender<()>,
}

impl Server {
    /// Binds the addresses of `config.listen`.
    pub fn bind(config: Config) -> Result<Server, BindError> {
        let machine = Machine::prepare();
        let listeners = listeners::bind_all(&config.listen).map_err(BindError::Listen)?;
        let capacity = machine
            .clients(config.max_clients, listeners.len())
            .map_err(BindError::NoRoom)?;
        Ok(Server {
            listeners,
            config,
            machine,
            capacity,
            stop: bounded(1),
        })
    }

    /// Where it listens, with the real port where port 0 was asked for.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// What ends it.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle {
            stop: self.stop.0.clone(),
        }
    }

    /// Serves until the shutdown, which it carries out: everyone is told, what is
    /// queued is written within the grace, and the clients' threads leave.
    ///
    /// An error means that it could not begin, for want of threads.
    pub fn run(self) -> io::Result<()> {
        let Server {
            listeners,
            config,
            machine,
            capacity,
            stop: (_keeps_it_connected, stop),
        } = self;
        let level = if capacity < config.max_clients {
            Level::Warn
        } else {
            Level::Debug
        };
        log!(
            level,
            "room for {capacity} clients: {} wanted, {machine}",
            config.max_clients
        );

        let grace = config.grace;
        let sessions = Sessions::new(capacity, config.max_per_address);
        // Nothing is ever sent on these two. Each ends what waits for it by being
        // dropped: `stopping` the pauses of the accept threads; and the last
        // clone of `leaving`, of which every reader has one, the shutdown.
        let (stopping, stopped) = bounded(0);
        let (leaving, left) = bounded(0);
        let host = Arc::new(Host {
            sessions: Arc::clone(&sessions),
            hand_off: HandOff::start(config.hand_off)?,
            allowances: Allowances::new(config.rate, config.burst)
                .map(|allowances| Arc::new(Mutex::new(allowances))),
            not_logged: Mutex::default(),
            config,
            farewell: Farewell::start()?,
            leaving,
            stopped: stopped.clone(),
            last_number: AtomicU64::new(0),
        });
        sweeper::start(&sessions, host.config.linger, &stopped)?;
        // Last, when nothing else can fail: whoever is accepted is served.
        let accepting = Accepting::start(listeners, &host, &stopped)?;
        // It has a `leaving`, for whose end the shutdown would wait in vain.
        drop(host);

        // Fails only without a sender, and one is kept above.
        let _ = stop.recv();
        info!("shutting down");
        drop(stopping);
        accepting.end();
        close(&sessions, grace, &left);
        info!("ended");
        Ok(())
    }
}

impl ShutdownHandle {
    /// Begins the shutdown, and does not wait for it.
    pub fn shutdown(&self) {
        // Fails if it has been asked for before, or has ended.
        let _ = self.stop.try_send(());
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Listen(error) => error.fmt(f),
            BindError::NoRoom(limit) => limit.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}

/// What the accept threads share.
struct Host {
    sessions: Arc<Sessions>,
    config: Config,
    hand_off: Arc<HandOff>,
    /// `None` without a rate.
    allowances: Option<Arc<Mutex<Allowances>>>,
    /// The connections that the log does not mention, because their address connects too
    /// often.
    not_logged: Mutex<Seldom>,
    farewell: Farewell,
    leaving: Sender<Infallible>,
    /// Disconnected at the shutdown.
    stopped: Receiver<Infallible>,
    /// The number of the last connection. No number is used twice.
    last_number: AtomicU64,
}

/// The accept threads, one for each port.
struct Accepting {
    threads: Vec<(JoinHandle<()>, Arc<TcpListener>)>,
}

impl Accepting {
    fn start(
        listeners: Vec<TcpListener>,
        host: &Arc<Host>,
        stopped: &Receiver<Infallible>,
    ) -> io::Result<Accepting> {
        let mut threads = Vec::new();
        for listener in listeners {
            let listener = Arc::new(listener);
            let (its_listener, host) = (Arc::clone(&listener), Arc::clone(host));
            let stopped = stopped.clone();
            let thread = spawn("accept", move || accept(&its_listener, &host, &stopped))?;
            threads.push((thread, listener));
        }
        Ok(Accepting { threads })
    }

    /// Wakes the threads and waits for them; then the ports are free.
    fn end(self) {
        for (thread, listener) in self.threads {
            wake(&listener);
            // A panic in it has been logged, and is no reason not to end.
            let _ = thread.join();
        }
    }
}

/// Makes `accept` return. Signals do not (std goes on after EINTR); shutdown(2) on
/// the listener does on Linux, and elsewhere a connection.
fn wake(listener: &TcpListener) {
    if rustix::net::shutdown(listener, rustix::net::Shutdown::Read).is_err()
        && let Ok(address) = listener.local_addr()
    {
        let _ = TcpStream::connect_timeout(&address, limits::CLOSING_TIME);
    }
}

/// The life of an accept thread.
fn accept(listener: &TcpListener, host: &Host, stopped: &Receiver<Infallible>) {
    accept_until_stopped(
        || listener.accept(),
        |(socket, peer)| host.welcome(Arc::new(socket), canonical(peer)),
        |time| all_dropped(stopped, time),
    );
}

/// Accepts and welcomes until it is stopped, and pauses for longer and longer while
/// accepting fails: what is lacking then, a descriptor or memory, is not there again for
/// being asked for at once.
fn accept_until_stopped<C>(
    mut accept: impl FnMut() -> io::Result<C>,
    mut welcome: impl FnMut(C),
    mut stopped_within: impl FnMut(Duration) -> bool,
) {
    let mut pause = limits::ACCEPT_PAUSE;
    let mut failures = Seldom::default();
    loop {
        let accepted = accept();
        if stopped_within(Duration::ZERO) {
            return;
        }
        match accepted {
            Ok(connection) => {
                pause = limits::ACCEPT_PAUSE;
                welcome(connection);
            }
            Err(e) => {
                if let Some(untold) = failures.happens(Instant::now()) {
                    warn!("cannot accept, and tries again now and then: {e}{untold}");
                }
                if stopped_within(pause) {
                    return;
                }
                pause = (pause * 2).min(limits::ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// Returns the address as the log shows it. A listener on `[::]` gives the IPv4 address
/// 192.0.2.1 as `::ffff:192.0.2.1`.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::new(address.into(), peer.port()),
        // Kept whole, because it may have a scope.
        IpAddr::V6(_) => peer,
    }
}

/// Whether every sender of this channel is dropped within so long.
fn all_dropped(channel: &Receiver<Infallible>, time: Duration) -> bool {
    channel.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
}

impl Host {
    /// Starts the thread of a connection, or refuses it.
    fn welcome(&self, socket: Arc<TcpStream>, peer: SocketAddr) {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let attachment = Attachment::new(
            number,
            Arc::clone(&socket),
            self.config.queue,
            self.config.write_timeout,
            self.stopped.clone(),
        );
        let address = Origin::of(peer.ip());
        let admission = match self.sessions.admit(attachment, address) {
            Ok(admission) => admission,
            Err(notice) => return self.farewell.refuse(socket, peer, notice, notice),
        };
        let now = Instant::now();
        let mut rate = Rate::new(self.config.rate, self.config.burst, now);
        let mut is_logged = true;
        if let Some(allowances) = &self.allowances {
            rate = rate.with_loan(Loan::new(Arc::clone(allowances), address));
            is_logged = allowances.lock().is_logged(address, now);
        }
        if !is_logged {
            self.count_in_the_log(peer, now);
        }
        let connection = Box::new(Connection {
            socket: Arc::clone(&socket),
            peer,
            since: now,
            login_timeout: self.config.login_timeout,
            rate,
            write_timeout: self.config.write_timeout,
            may_linger: !self.config.linger.is_zero(),
            hand_off: Arc::clone(&self.hand_off),
            farewell: self.farewell.clone(),
            admission,
        });
        // Not joined: the shutdown waits for the end of its `leaving`.
        let leaving = self.leaving.clone();
        let name = format!("reader-{number}");
        let reader = spawn(name, move || {
            if !is_logged {
                logging::silence_this_thread();
            }
            connection::serve(connection);
            drop(leaving);
        });
        if let Err(e) = reader {
            let why = format_args!("no thread for it: {e}");
            self.farewell
                .refuse(socket, peer, Notice::ServerIsFull, why);
        }
    }

    /// Counts a connection that the log does not mention, and logs the count now and then.
    fn count_in_the_log(&self, peer: SocketAddr, now: Instant) {
        let mut not_logged = self.not_logged.lock();
        let untold = not_logged.happens(now);
        drop(not_logged);
        if let Some(untold) = untold {
            info!(
                "connections not logged: {} connects too often{untold}",
                peer.ip()
            );
        }
    }
}

/// Tells everyone, lets the writers write, and sees the threads off.
fn close(sessions: &Sessions, grace: Duration, left: &Receiver<Infallible>) {
    let connections = sessions.close();
    for connection in &connections {
        connection.shut_down();
    }
    let deadline = Instant::now() + grace;
    let is_written = |connection: &&Arc<Attachment>| connection.wait_until_written(deadline);
    let written = connections.iter().filter(is_written).count();
    if written < connections.len() {
        warn!(
            "{} clients did not take what was queued for them",
            connections.len() - written
        );
    }
    // Everyone has the last line before them; those who close their side now,
    // leave by the normal path.
    if !all_dropped(left, limits::SHUTDOWN_CLOSING_TIME) {
        for connection in &connections {
            connection.cut();
        }
        if !all_dropped(left, limits::LEAVE_TIME) {
            warn!("some threads did not leave");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Out of descriptors (EMFILE).
    fn out_of_descriptors<C>() -> io::Result<C> {
        Err(rustix::io::Errno::MFILE.into())
    }

    #[test]
    fn accepting_pauses_twice_as_long_after_each_failure_up_to_a_second() {
        let (mut accepted, mut welcomed, mut pauses) = (0, Vec::new(), Vec::new());
        accept_until_stopped(
            || {
                accepted += 1;
                match accepted {
                    3 | 14 => Ok(accepted),
                    _ => out_of_descriptors(),
                }
            },
            |connection| welcomed.push(connection),
            |pause| {
                if !pause.is_zero() {
                    pauses.push(pause.as_millis());
                }
                pauses.len() == 14
            },
        );
        let failures = [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000];
        let expected = [&[10, 20], &failures[..], &[10, 20]].concat();
        assert_eq!(pauses, expected);
        assert_eq!(welcomed, [3, 14]);
    }

    #[test]
    fn the_shutdown_interrupts_a_pause() {
        let (stopping, stopped) = bounded(0);
        let (pausing, paused) = bounded(1);
        let (ending, ended) = bounded::<Infallible>(0);
        thread::spawn(move || {
            accept_until_stopped(
                out_of_descriptors,
                |()| {},
                |time| {
                    if time.is_zero() {
                        return all_dropped(&stopped, time);
                    }
                    pausing.send(()).unwrap();
                    all_dropped(&stopped, Duration::from_secs(3_600))
                },
            );
            drop(ending);
        });
        paused.recv().unwrap();
        drop(stopping);
        assert!(all_dropped(&ended, Duration::from_secs(10)), "it pauses on");
    }

    #[test]
    fn nobody_is_welcomed_once_it_is_stopped() {
        let welcome = |()| panic!("it is stopped");
        accept_until_stopped(|| Ok(()), welcome, |_| true);
    }
}
