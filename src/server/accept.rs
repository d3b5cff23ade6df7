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
use super::log_throttle::Seldom;
use super::logging;
use super::options::Config;
use super::rate_limit::Rate;
use super::refusal::Farewell;
use super::shutdown::all_dropped;
use crate::limits;
use crate::outbox::Attachment;
use crate::outbox::direct_write::HandOff;
use crate::protocol::reply::Notice;
use crate::sessions::Sessions;
use crate::sessions::per_address::Origin;
use crate::threads::spawn;

/// What the accept threads share.
pub(super) struct Host {
    pub(super) sessions: Arc<Sessions>,
    pub(super) config: Config,
    pub(super) hand_off: Arc<HandOff>,
    /// `None` without a rate.
    pub(super) allowances: Option<Arc<Mutex<Allowances>>>,
    /// The connections that the log does not mention, because their address connects too
    /// often.
    pub(super) not_logged: Mutex<Seldom>,
    pub(super) farewell: Farewell,
    pub(super) leaving: Sender<Infallible>,
    /// Disconnected at the shutdown.
    pub(super) stopped: Receiver<Infallible>,
    /// The number of the last connection. No number is used twice.
    pub(super) last_number: AtomicU64,
}

/// The accept threads, one for each port.
pub(super) struct Accepting {
    threads: Vec<(JoinHandle<()>, Arc<TcpListener>)>,
}

impl Accepting {
    pub(super) fn start(
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
