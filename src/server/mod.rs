//! The server: binds, accepts, and ends in good order.
//!
//! Knows connections as something that is started and cut, and nothing of what is
//! said on them. Its invariant: accept_threads never ends but by a shutdown, and never
//! waits for a client.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, info, log};
use parking_lot::Mutex;

use crate::outbox::direct_write::DirectWrites;
use crate::sessions::Sessions;
use accept::{AcceptContext, AcceptThreads};
use allowance::Allowances;
use capacity::{NoRoom, SystemLimits};
use listeners::ListenError;
use options::Config;
use refusal::Refuser;

mod accept;
pub mod allowance;
pub mod capacity;
pub mod connection;
pub mod listeners;
pub mod log_throttle;
pub mod logging;
pub mod options;
pub mod rate_limit;
pub mod refusal;
mod shutdown;
pub mod signals;
pub mod sweeper;

pub use shutdown::ShutdownHandle;

/// A server that has its ports and does not accept yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    config: Config,
    system: SystemLimits,
    /// How many clients there may be: `max_clients`, or what the system can hold.
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

impl Server {
    /// Binds the addresses of `config.listen`.
    pub fn bind(config: Config) -> Result<Server, BindError> {
        let system = SystemLimits::raise_and_read();
        let listeners = listeners::bind_all(&config.listen).map_err(BindError::Listen)?;
        let capacity = system
            .max_clients(config.max_clients, listeners.len())
            .map_err(BindError::NoRoom)?;
        Ok(Server {
            listeners,
            config,
            system,
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
            system,
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
            "room for {capacity} clients: {} wanted, {system}",
            config.max_clients
        );

        let grace = config.grace;
        let sessions = Sessions::new(capacity, config.max_per_address);
        // Nothing is ever sent on these two. Each ends what waits for it by being
        // dropped: `shutdown_tx` the pauses of the accept threads; and the last
        // clone of `readers_tx`, of which every reader has one, the shutdown.
        let (shutdown_tx, shutdown_rx) = bounded(0);
        let (readers_tx, readers_rx) = bounded(0);
        let context = Arc::new(AcceptContext {
            sessions: Arc::clone(&sessions),
            direct_writes: DirectWrites::start(config.direct_writes)?,
            allowances: Allowances::new(config.rate, config.burst)
                .map(|allowances| Arc::new(Mutex::new(allowances))),
            not_logged: Mutex::default(),
            config,
            refuser: Refuser::start()?,
            readers_tx,
            shutdown_rx: shutdown_rx.clone(),
            last_number: AtomicU64::new(0),
        });
        sweeper::start(&sessions, context.config.linger, &shutdown_rx)?;
        // Last, when nothing else can fail: whoever is accepted is served.
        let accept_threads = AcceptThreads::start(listeners, &context, &shutdown_rx)?;
        // It has a `readers_tx`, for whose end the shutdown would wait in vain.
        drop(context);

        // Fails only without a sender, and one is kept above.
        let _ = stop.recv();
        info!("shutting down");
        drop(shutdown_tx);
        accept_threads.end();
        shutdown::shut_down_clients(&sessions, grace, &readers_rx);
        info!("ended");
        Ok(())
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
