//! The accept loops: they accept connections and start a reader thread for each.
//!
//! Each port has a thread, `accept`. It blocks in accept(2). If that fails, it blocks for the
//! back-off, until the next try or the shutdown. It ends at the shutdown, which wakes it by a
//! shutdown(2) of the listener.
//!
//! Does not know requests, or what a connection does.
//!
//! Invariant: an accept thread ends only at the shutdown, and never waits for a client.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use log::{info, warn};
use parking_lot::Mutex;

use super::allowance::{Allowances, Loan};
use super::connection::{self, Connection};
use super::logging;
use super::options::Config;
use super::rate_limit::RateLimiter;
use super::refusal::Refuser;
use super::shutdown::disconnected_within;
#[cfg(feature = "redis")]
use crate::cluster::Node;
use crate::limits;
use crate::log_throttle::LogThrottle;
use crate::outbox::Attachment;
use crate::outbox::direct_write::DirectWrites;
use crate::protocol::reply::Notice;
use crate::sessions::Sessions;
use crate::sessions::per_address::AddressKey;
use crate::threads::spawn;

/// What the accept threads share.
pub(super) struct AcceptContext {
    pub(super) sessions: Arc<Sessions>,
    pub(super) config: Config,
    pub(super) direct_writes: Arc<DirectWrites>,
    /// The allowances of all addresses. `None` if `--rate` is 0.
    pub(super) allowances: Option<Arc<Mutex<Allowances>>>,
    /// Counts the connections that are not in the log, because their address connects too often.
    pub(super) unlogged: Mutex<LogThrottle>,
    pub(super) refuser: Refuser,
    /// This server as a node, if it shares its chat with others.
    #[cfg(feature = "redis")]
    pub(super) node: Option<Arc<Node>>,
    /// Each reader thread has a clone. The shutdown waits until all are dropped.
    pub(super) readers_tx: Sender<Infallible>,
    /// Disconnected at the shutdown.
    pub(super) shutdown_rx: Receiver<Infallible>,
    /// The number of the last connection. No number is used again.
    pub(super) last_number: AtomicU64,
}

/// The accept threads, one for each port, with their listeners.
pub(super) struct AcceptThreads {
    threads: Vec<(JoinHandle<()>, Arc<TcpListener>)>,
}

impl AcceptThreads {
    /// Starts a thread for each listener. Fails if the system has no thread left.
    pub(super) fn start(
        listeners: Vec<TcpListener>,
        context: &Arc<AcceptContext>,
        shutdown_rx: &Receiver<Infallible>,
    ) -> io::Result<AcceptThreads> {
        let mut threads = Vec::new();
        for listener in listeners {
            let listener = Arc::new(listener);
            let (its_listener, context) = (Arc::clone(&listener), Arc::clone(context));
            let shutdown_rx = shutdown_rx.clone();
            let thread = spawn("accept", move || {
                accept_loop(&its_listener, &context, &shutdown_rx)
            })?;
            threads.push((thread, listener));
        }
        Ok(AcceptThreads { threads })
    }

    /// Wakes the threads and waits until they have ended. Then the ports are free.
    pub(super) fn end(self) {
        for (thread, listener) in self.threads {
            wake(&listener);
            // A panic in the thread has been logged, and must not stop the shutdown.
            let _ = thread.join();
        }
    }
}

/// Makes a blocked `accept` return.
///
/// A signal does not: std tries again after EINTR. On Linux, a shutdown(2) of the listener does.
/// POSIX does not guarantee that, so where it fails, a connection wakes the thread.
fn wake(listener: &TcpListener) {
    if rustix::net::shutdown(listener, rustix::net::Shutdown::Read).is_err()
        && let Ok(address) = listener.local_addr()
    {
        let _ = TcpStream::connect_timeout(&address, limits::CLOSE_TIMEOUT);
    }
}

/// Runs one accept thread.
fn accept_loop(
    listener: &TcpListener,
    context: &AcceptContext,
    shutdown_rx: &Receiver<Infallible>,
) {
    accept_until_stopped(
        || listener.accept(),
        |(socket, peer)| context.start_connection(Arc::new(socket), canonical(peer)),
        |time| disconnected_within(shutdown_rx, time),
    );
}

/// Runs the accept loop until shutdown. If `accept` fails, backs off and doubles the delay up to
/// [`ACCEPT_BACKOFF_MAX`](limits::ACCEPT_BACKOFF_MAX): an immediate retry finds no new descriptor
/// or memory.
fn accept_until_stopped<C>(
    mut accept: impl FnMut() -> io::Result<C>,
    mut start_connection: impl FnMut(C),
    mut stopped_within: impl FnMut(Duration) -> bool,
) {
    let mut backoff = limits::ACCEPT_BACKOFF;
    let mut failures = LogThrottle::default();
    loop {
        let accepted = accept();
        if stopped_within(Duration::ZERO) {
            return;
        }
        match accepted {
            Ok(connection) => {
                backoff = limits::ACCEPT_BACKOFF;
                start_connection(connection);
            }
            Err(e) => {
                if let Some(suppressed) = failures.record(Instant::now()) {
                    warn!("accept failed, retrying: {e}{suppressed}");
                }
                if stopped_within(backoff) {
                    return;
                }
                backoff = (backoff * 2).min(limits::ACCEPT_BACKOFF_MAX);
            }
        }
    }
}

/// Returns the address in the form for the log. A listener on `[::]` gives the IPv4 address
/// 192.0.2.1 as `::ffff:192.0.2.1`.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => SocketAddr::new(address.into(), peer.port()),
        // The whole address, because it may have a scope.
        IpAddr::V6(_) => peer,
    }
}

impl AcceptContext {
    /// Starts the reader thread of a connection, or refuses the connection.
    fn start_connection(&self, socket: Arc<TcpStream>, peer: SocketAddr) {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let attachment = Attachment::new(
            number,
            Arc::clone(&socket),
            self.config.queue,
            self.config.write_timeout,
            self.shutdown_rx.clone(),
        );
        let address = AddressKey::of(peer.ip());
        let registration = match self.sessions.register(attachment, address) {
            Ok(registration) => registration,
            Err(notice) => return self.refuser.refuse(socket, peer, &notice, &notice),
        };
        let now = Instant::now();
        let mut rate_limiter = RateLimiter::new(self.config.rate, self.config.burst, now);
        let mut is_logged = true;
        if let Some(allowances) = &self.allowances {
            rate_limiter = rate_limiter.with_loan(Loan::new(Arc::clone(allowances), address));
            is_logged = allowances.lock().take_log_entry(address, now);
        }
        if !is_logged {
            self.count_unlogged(peer, now);
        }
        let connection = Box::new(Connection {
            peer,
            accepted_at: now,
            login_timeout: self.config.login_timeout,
            rate_limiter,
            may_linger: !self.config.linger.is_zero(),
            direct_writes: Arc::clone(&self.direct_writes),
            refuser: self.refuser.clone(),
            #[cfg(feature = "redis")]
            node: self.node.clone(),
            registration,
        });
        // The thread is not joined. The shutdown waits until its `readers_tx` is dropped.
        let readers_tx = self.readers_tx.clone();
        let name = format!("reader-{number}");
        let reader = spawn(name, move || {
            if !is_logged {
                logging::silence_this_thread();
            }
            connection::serve(connection);
            drop(readers_tx);
        });
        if let Err(e) = reader {
            let why = format_args!("starting its reader thread failed: {e}");
            self.refuser
                .refuse(socket, peer, &Notice::ServerIsFull, why);
        }
    }

    /// Counts a connection that is not in the log. Logs the count once a minute.
    fn count_unlogged(&self, peer: SocketAddr, now: Instant) {
        let suppressed = self.unlogged.lock().record(now);
        if let Some(suppressed) = suppressed {
            info!(
                "connections not logged: {} connects too often{suppressed}",
                peer.ip()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::thread;

    /// Fails as accept(2) does without a free descriptor (EMFILE).
    fn out_of_descriptors<C>() -> io::Result<C> {
        Err(rustix::io::Errno::MFILE.into())
    }

    #[test]
    fn accept_backoff_doubles_up_to_one_second() {
        let (mut accepted, mut started, mut pauses) = (0, Vec::new(), Vec::new());
        accept_until_stopped(
            || {
                accepted += 1;
                match accepted {
                    3 | 14 => Ok(accepted),
                    _ => out_of_descriptors(),
                }
            },
            |connection| started.push(connection),
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
        assert_eq!(started, [3, 14]);
    }

    #[test]
    fn shutdown_interrupts_the_accept_backoff() {
        let (shutdown_tx, shutdown_rx) = bounded(0);
        let (pausing, paused) = bounded(1);
        let (ending, ended) = bounded::<Infallible>(0);
        thread::spawn(move || {
            accept_until_stopped(
                out_of_descriptors,
                |()| {},
                |time| {
                    if time.is_zero() {
                        return disconnected_within(&shutdown_rx, time);
                    }
                    pausing.send(()).unwrap();
                    disconnected_within(&shutdown_rx, Duration::from_secs(3_600))
                },
            );
            drop(ending);
        });
        paused.recv().unwrap();
        drop(shutdown_tx);
        assert!(
            disconnected_within(&ended, Duration::from_secs(10)),
            "the pause goes on"
        );
    }

    #[test]
    fn no_connection_starts_after_shutdown() {
        let start = |()| panic!("the loop is stopped");
        accept_until_stopped(|| Ok(()), start, |_| true);
    }
}
