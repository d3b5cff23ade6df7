//! The accept loops: they accept connections and start a reader thread for each.

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
use super::log_throttle::LogThrottle;
use super::logging;
use super::options::Config;
use super::rate_limit::RateLimiter;
use super::refusal::Refuser;
use super::shutdown::disconnected_within;
use crate::limits;
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
    /// `None` without a rate.
    pub(super) allowances: Option<Arc<Mutex<Allowances>>>,
    /// The connections that the log does not mention, because their address connects too
    /// often.
    pub(super) not_logged: Mutex<LogThrottle>,
    pub(super) refuser: Refuser,
    pub(super) readers_tx: Sender<Infallible>,
    /// Disconnected at the shutdown.
    pub(super) shutdown_rx: Receiver<Infallible>,
    /// The number of the last connection. No number is used twice.
    pub(super) last_number: AtomicU64,
}

/// The accept threads, one for each port.
pub(super) struct AcceptThreads {
    threads: Vec<(JoinHandle<()>, Arc<TcpListener>)>,
}

impl AcceptThreads {
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
                accept(&its_listener, &context, &shutdown_rx)
            })?;
            threads.push((thread, listener));
        }
        Ok(AcceptThreads { threads })
    }

    /// Wakes the threads and waits for them; then the ports are free.
    pub(super) fn end(self) {
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
        let _ = TcpStream::connect_timeout(&address, limits::CLOSE_TIMEOUT);
    }
}

/// The life of an accept thread.
fn accept(listener: &TcpListener, context: &AcceptContext, shutdown_rx: &Receiver<Infallible>) {
    accept_until_stopped(
        || listener.accept(),
        |(socket, peer)| context.start_connection(Arc::new(socket), canonical(peer)),
        |time| disconnected_within(shutdown_rx, time),
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
    let mut pause = limits::ACCEPT_BACKOFF;
    let mut failures = LogThrottle::default();
    loop {
        let accepted = accept();
        if stopped_within(Duration::ZERO) {
            return;
        }
        match accepted {
            Ok(connection) => {
                pause = limits::ACCEPT_BACKOFF;
                welcome(connection);
            }
            Err(e) => {
                if let Some(suppressed) = failures.record(Instant::now()) {
                    warn!("cannot accept, and tries again now and then: {e}{suppressed}");
                }
                if stopped_within(pause) {
                    return;
                }
                pause = (pause * 2).min(limits::ACCEPT_BACKOFF_MAX);
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

impl AcceptContext {
    /// Starts the thread of a connection, or refuses it.
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
            Err(notice) => return self.refuser.refuse(socket, peer, notice, notice),
        };
        let now = Instant::now();
        let mut rate_limiter = RateLimiter::new(self.config.rate, self.config.burst, now);
        let mut is_logged = true;
        if let Some(allowances) = &self.allowances {
            rate_limiter = rate_limiter.with_loan(Loan::new(Arc::clone(allowances), address));
            is_logged = allowances.lock().is_logged(address, now);
        }
        if !is_logged {
            self.count_in_the_log(peer, now);
        }
        let connection = Box::new(Connection {
            peer,
            accepted_at: now,
            login_timeout: self.config.login_timeout,
            rate_limiter,
            may_linger: !self.config.linger.is_zero(),
            direct_writes: Arc::clone(&self.direct_writes),
            refuser: self.refuser.clone(),
            registration,
        });
        // Not joined: the shutdown waits for the end of its `readers_tx`.
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
            let why = format_args!("no thread for it: {e}");
            self.refuser.refuse(socket, peer, Notice::ServerIsFull, why);
        }
    }

    /// Counts a connection that the log does not mention, and logs the count now and then.
    fn count_in_the_log(&self, peer: SocketAddr, now: Instant) {
        let mut not_logged = self.not_logged.lock();
        let suppressed = not_logged.record(now);
        drop(not_logged);
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
            "it pauses on"
        );
    }

    #[test]
    fn nobody_is_welcomed_once_it_is_stopped() {
        let welcome = |()| panic!("it is stopped");
        accept_until_stopped(|| Ok(()), welcome, |_| true);
    }
}
