//! The server: threads and sockets.
//!
//! Starts connections and shuts them down. Only [`connection`] knows requests.
//!
//! | module | what it has |
//! |---|---|
//! | `accept` | the accept loops, which start a reader thread for each connection |
//! | [`connection`] | the life of one client, in its reader thread |
//! | `shutdown` | the graceful shutdown of all connections |
//! | [`refusal`] | connections that are refused so that the client can read why |
//! | [`sweeper`] | the end of lingering sessions |
//! | [`signals`] | SIGINT, SIGTERM and SIGHUP |
//! | [`logging`] | the log |
//! | [`rate_limit`], [`allowance`] | the limit for requests of a connection, and of an address |
//! | [`capacity`] | how many clients the system has room for |
//! | [`listeners`] | the listening sockets |
//! | [`options`] | the command line |
//!
//! Invariant: the server ends only by a shutdown, and no accept thread waits for a client.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, info, log};
use parking_lot::Mutex;

use crate::access_file::AccessFileError;
#[cfg(feature = "redis")]
use crate::cluster::{JoinError, JoinedNode, Node};
use crate::outbox::direct_write::DirectWrites;
use crate::sessions::Sessions;
use accept::{AcceptContext, AcceptThreads};
use access::AccessFile;
use allowance::Allowances;
use capacity::{NoRoom, SystemLimits};
use listeners::ListenError;
use options::Config;
use refusal::Refuser;

mod accept;
pub mod access;
pub mod allowance;
pub mod capacity;
pub mod connection;
pub mod listeners;
pub mod logging;
pub mod options;
pub mod rate_limit;
pub mod refusal;
mod shutdown;
pub mod signals;
pub mod sweeper;

pub use shutdown::ShutdownHandle;

/// A server that has bound its ports and does not accept yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    sessions: Arc<Sessions>,
    access_file: Option<Arc<AccessFile>>,
    /// This server as a node, if it shares its chat with others. Its threads start in `run`.
    #[cfg(feature = "redis")]
    node: Option<JoinedNode>,
    config: Config,
    system: SystemLimits,
    /// The most clients: `config.max_clients`, or fewer if the system has less room.
    capacity: usize,
    /// Requests the shutdown. The sender here keeps the channel connected.
    shutdown_request: (Sender<()>, Receiver<()>),
}

/// Why a server cannot be made.
#[derive(Debug)]
pub enum BindError {
    /// An address cannot be bound.
    Listen(ListenError),
    /// The system has no room for a client.
    NoRoom(NoRoom),
    /// The file of access tokens cannot be used.
    Access(AccessFileError),
    /// The chat of several servers cannot be joined.
    #[cfg(feature = "redis")]
    Join(JoinError),
}

impl Server {
    /// Binds the addresses of `config.listen`, and loads the file of access tokens.
    pub fn bind(config: Config) -> Result<Server, BindError> {
        let system = SystemLimits::raise_and_read();
        let listeners = listeners::bind_all(&config.listen).map_err(BindError::Listen)?;
        let capacity = system
            .max_clients(config.max_clients, listeners.len())
            .map_err(BindError::NoRoom)?;
        let sessions = Sessions::new(capacity, config.max_per_address, config.history);
        let load = |path| AccessFile::load(path, Arc::clone(&sessions)).map(Arc::new);
        let access_file = config.access_file.clone().map(load).transpose();
        let access_file = access_file.map_err(BindError::Access)?;
        // Last: if anything fails after it, the names of this node stay until its lease is over.
        #[cfg(feature = "redis")]
        let node = {
            let join = |settings| Node::join(settings, &sessions);
            let joined = config.cluster.clone().map(join).transpose();
            joined.map_err(BindError::Join)?
        };
        Ok(Server {
            listeners,
            access_file,
            #[cfg(feature = "redis")]
            node,
            sessions,
            config,
            system,
            capacity,
            shutdown_request: bounded(1),
        })
    }

    /// Returns the addresses of its listeners. Port 0 has become the port
    /// that the kernel chose.
    pub fn local_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(TcpListener::local_addr).collect()
    }

    /// Returns a handle that shuts this server down.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle {
            request: self.shutdown_request.0.clone(),
        }
    }

    /// Returns the file of access tokens, if there is one, so that it can be loaded again.
    pub fn access_file(&self) -> Option<Arc<AccessFile>> {
        self.access_file.clone()
    }

    /// Serves until the shutdown, and carries it out. Every client gets a notice, queued
    /// messages are written within the grace period, and the clients' threads end.
    ///
    /// Fails if the system has no thread left for the start.
    pub fn run(self) -> io::Result<()> {
        let Server {
            listeners,
            sessions,
            config,
            system,
            capacity,
            access_file: _,
            #[cfg(feature = "redis")]
            node,
            shutdown_request: (_sender, shutdown_request),
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
        // Nothing is ever sent on these two channels. The drop of `shutdown_tx` ends the waits of
        // accept threads, reader threads and sweeper. Each reader thread has a clone of
        // `readers_tx`. When the last one is dropped, the shutdown knows that all have ended.
        let (shutdown_tx, shutdown_rx) = bounded(0);
        let (readers_tx, readers_rx) = bounded(0);
        let direct_writes = DirectWrites::start(config.direct_writes)?;
        #[cfg(feature = "redis")]
        let node = node.map(|node| node.start(&direct_writes)).transpose()?;
        let context = Arc::new(AcceptContext {
            sessions: Arc::clone(&sessions),
            direct_writes,
            #[cfg(feature = "redis")]
            node: node.clone(),
            allowances: Allowances::new(config.rate, config.burst)
                .map(|allowances| Arc::new(Mutex::new(allowances))),
            unlogged: Mutex::default(),
            config,
            refuser: Refuser::start()?,
            readers_tx,
            shutdown_rx: shutdown_rx.clone(),
            last_number: AtomicU64::new(0),
        });
        sweeper::start(&sessions, context.config.linger, &shutdown_rx)?;
        // Start accepting last. Nothing can fail after this line, so every accepted client is
        // served.
        let accept_threads = AcceptThreads::start(listeners, &context, &shutdown_rx)?;
        // `context` holds a `readers_tx`. Without this drop, the shutdown would run into its
        // timeouts.
        drop(context);

        // Fails only without a sender, and `_sender` is one.
        let _ = shutdown_request.recv();
        info!("shutting down");
        drop(shutdown_tx);
        accept_threads.end();
        let connections = sessions.close();
        #[cfg(feature = "redis")]
        if let Some(node) = &node {
            node.release_all();
        }
        shutdown::shut_down_clients(&connections, grace, &readers_rx);
        #[cfg(feature = "redis")]
        if let Some(node) = node {
            node.leave();
        }
        info!("shutdown complete");
        Ok(())
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Listen(error) => error.fmt(f),
            BindError::NoRoom(limit) => limit.fmt(f),
            BindError::Access(error) => error.fmt(f),
            #[cfg(feature = "redis")]
            BindError::Join(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}
