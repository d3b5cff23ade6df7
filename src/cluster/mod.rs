//! Several servers that are one chat, on Redis. Each is a *node*.
//!
//! Without `--redis` there is no node, and without the cargo feature `redis` not even this
//! module. It is between the [commands](crate::commands), which call the few methods of
//! [`Node`], and the [session map](crate::sessions), which stays local and knows nothing of Redis.
//!
//! Does not know sockets of clients.
//!
//! Invariant: *Redis may lose anything at any moment, and no message that was answered 200 is
//! missing in a queue.*
//!
//! # The end-to-end rule
//!
//! A request is answered 200 when the node that holds the recipient has queued the message in the
//! recipient's outbox and has said so. Nothing is answered 200 because Redis has it. What was not
//! confirmed is answered 502.
//!
//! # Data in Redis
//!
//! The registry has all names and tokens, each with its node. Each node has an inbox, a stream, and
//! everything for that node comes through it, in one order: private messages, broadcasts,
//! presence, confirmations, and its own heartbeat. A broadcast or a change of presence is posted
//! to the inboxes of all nodes in one script, that of its own node included. So all nodes see all
//! of them in one order. The scripts (`lua/`) say the rest.
//!
//! # Threads
//!
//! ```text
//!   reader-N ── order ──► redis-out ── scripts ──► Redis ── XREAD ──► redis-in
//!      ▲                     ▲                                          │
//!      │                     └────────────── confirmations ─────────────┤
//!      └───────── answers, confirmations, changes that took effect ─────┘
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`settings`] | the URL of the Redis and the name of the chat |
//! | `scripts` | the Lua scripts, and a call of one |
//! | `link` | one connection that calls scripts |
//! | `out` | the thread `redis-out` |
//! | `entry` | the entries of an inbox |
//! | `inbox` | the thread `redis-in`, and why it never waits |
//! | `waiting` | the requests that wait for an entry |
//! | `turns` | one change of a session at a time |
//! | `peers` | which other nodes are suspected |
//! | `requests` | what the commands ask |
//!
//! # How far it goes
//!
//! On paper, from `make bench-servers`, and with half of the processor of Redis kept free:
//!
//! - One Redis carries 36,000 private messages a second between nodes, or 38,000 / N broadcasts to
//!   N nodes. The sessions are no limit: 64,000 take 40 MB.
//! - With 8,000 clients at a node, its thread `redis-in` is busy at 1,000 broadcasts a second,
//!   because it alone queues them. More nodes do not help, smaller ones do.
//! - A node with few processors runs out of them before that.
//! - What comes after is one Redis for each chat. A chat that one Redis cannot carry needs a design
//!   in which not every node sees every broadcast.
//!
//! The [guide](crate::guide::several_servers) has the measurements.
//!
//! # Locks
//!
//! A thread takes each lock of this module alone: those of `waiting`, `turns` and `peers`, and
//! that of the progress of the inbox.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use log::warn;
use parking_lot::Mutex;
use redis::RedisError;

use crate::limits;
use crate::log_throttle::LogThrottle;
use crate::outbox::direct_write::{DirectWrites, PendingWrites};
use crate::sessions::Sessions;
use crate::threads::spawn;
use entry::Counters;
use inbox::Inbox;
use out::{Joined, Order, Out};
use peers::Peers;
use settings::Settings;
use turns::Turns;
use waiting::{NodeId, Waiting};

mod entry;
mod inbox;
mod link;
mod out;
mod peers;
mod requests;
mod scripts;
pub mod settings;
mod turns;
mod waiting;

pub use requests::Refusal;

/// This server, as one node of the chat. All threads share it.
pub struct Node {
    id: NodeId,
    settings: Settings,
    sessions: Arc<Sessions>,
    /// The channel to `redis-out`. It is unbounded, so that no thread waits on it. Each client has
    /// one order in it at most, and each entry that is read causes one at most.
    orders: Sender<Order>,
    waiting: Waiting,
    turns: Turns,
    peers: Peers,
    progress: Mutex<Progress>,
    /// Whether `redis-out` has a connection. It orders nothing: an order that comes too late is
    /// answered all the same.
    is_connected: AtomicBool,
    unreachable: Mutex<LogThrottle>,
}

/// How far the inbox has been read.
#[derive(Clone)]
struct Progress {
    /// The ID of the last entry.
    last: String,
    counters: Counters,
    /// The time of the last read.
    read_at: Instant,
    /// The time of the last heartbeat, or of the last `join`.
    heartbeat_at: Instant,
}

/// A node that has joined, and whose threads have not started yet.
pub struct JoinedNode {
    node: Arc<Node>,
    out: Out,
    joined: Joined,
    running: Receiver<Infallible>,
}

/// Why a node cannot join.
#[derive(Debug)]
pub struct JoinError(RedisError);

impl Node {
    /// Connects to Redis, and joins the chat. From then on, the session map tells Redis of the
    /// end of each session.
    pub fn join(settings: Settings, sessions: &Arc<Sessions>) -> Result<JoinedNode, JoinError> {
        let (orders, given) = unbounded();
        let (running_tx, running) = bounded(0);
        let now = Instant::now();
        let ended = orders.clone();
        let node = Arc::new(Node {
            id: NodeId::random(),
            settings,
            sessions: Arc::clone(sessions),
            orders,
            waiting: Waiting::default(),
            turns: Turns::default(),
            peers: Peers::default(),
            progress: Mutex::new(Progress {
                last: "0-0".to_owned(),
                counters: Counters::default(),
                read_at: now,
                heartbeat_at: now,
            }),
            is_connected: AtomicBool::new(false),
            unreachable: Mutex::default(),
        });
        let mut out = Out::new(&node, given, running_tx);
        let joined = out.join().map_err(JoinError)?;
        // Fails only after the node has left.
        sessions.on_end(Box::new(move |token| {
            let _ = ended.send(Order::Ended(token));
        }));
        Ok(JoinedNode {
            node,
            out,
            joined,
            running,
        })
    }

    /// Frees the names of all sessions at the other nodes, if Redis can be reached, before the
    /// clients hear of the shutdown. The session map must be closed, so that none is added and
    /// [no request is executed](crate::commands::shared::execute).
    pub fn release_all(&self) {
        let sessions = self.sessions.all();
        for (token, _) in &sessions {
            self.order(Order::Ended(*token));
        }
        // `redis-out` takes the orders in their order.
        if let Some((last, _)) = sessions.last() {
            self.wait_for_release(*last);
        }
    }

    /// Leaves the chat when the inbox is read, and waits for that. All sessions must have ended.
    pub fn leave(&self) {
        let (sender, left) = bounded::<Infallible>(0);
        self.order(Order::Leave(sender));
        let has_left = left.recv_timeout(limits::ASK_TIMEOUT);
        if has_left != Err(RecvTimeoutError::Disconnected) {
            warn!("leaving the chat took too long: its names are free when its lease is over");
        }
    }

    /// Returns whether Redis can be reached, as far as this node knows.
    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Gives `redis-out` an order.
    fn order(&self, order: Order) {
        // Fails only after the node has left.
        let _ = self.orders.send(order);
    }

    /// Returns the name of a key of the chat.
    fn key(&self, key: &str) -> String {
        self.settings.prefix() + key
    }

    /// Returns the name of its inbox.
    fn inbox(&self) -> String {
        self.key("inbox:") + self.id.as_str()
    }

    /// Logs that something failed in Redis, at most once a minute.
    fn log_unreachable(&self, what: &str, error: &RedisError) {
        let suppressed = self.unreachable.lock().record(Instant::now());
        if let Some(suppressed) = suppressed {
            warn!("Redis cannot be reached, {what} failed: {error}{suppressed}");
        }
    }
}

impl JoinedNode {
    /// Starts the threads `redis-out` and `redis-in`. No thread waits for their end: the first ends
    /// when the node has left, and the second with it. Fails if the system has no thread left.
    pub fn start(self, direct_writes: &Arc<DirectWrites>) -> io::Result<Arc<Node>> {
        let JoinedNode {
            node,
            out,
            joined,
            running,
        } = self;
        let (its_node, direct_writes) = (Arc::clone(&node), Arc::clone(direct_writes));
        spawn("redis-out", move || out.run(joined))?;
        spawn("redis-in", move || {
            let pending = PendingWrites::new(direct_writes);
            Inbox::new(&its_node, pending, running).run();
        })?;
        Ok(node)
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use Redis: {}", self.0)
    }
}

impl std::error::Error for JoinError {}
