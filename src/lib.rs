//! A chat server and client for the protocol CP/0.0.0, with blocking I/O: two OS threads per
//! client, and no async runtime. It is written to be read.
//!
//! # Modules
//!
//! A folder imports only from the folders to the right of it, and from the files at the top:
//!
//! ```text
//!   bin/ ─► server/ ─► commands/ ─► sessions/ ─► outbox/ ─► protocol/ ─► limits.rs
//!     └───► client/ ─► net/ ─► protocol/ ─► limits.rs    (server/ imports net/, too)
//!   for several servers:    commands/ ─► cluster/ ─► sessions/
//! ```
//!
//! The modules in reading order, each before the modules that use it:
//!
//! | module | content |
//! |---|---|
//! | [`protocol`] | the protocol: its document and its types; pure, no I/O |
//! | [`limits`] | every limit, with its reason |
//! | [`net`] | line reader and keepalive, for both programs |
//! | [`outbox`] | a session's queue; the [writer thread](outbox::writer) that drains it, [direct writes](outbox::direct_write) by reader threads, and the thread [`broadcaster`](outbox::broadcaster) |
//! | [`sessions`] | the session map, behind the lock that all threads share; [presence](sessions::presence), [history](sessions::history) and [access tokens](sessions::access) |
//! | [`commands`] | the effect of each request |
//! | `cluster` | several servers that are one chat, on Redis; behind the cargo feature `redis` |
//! | [`server`] | threads and sockets: accept loop, [one connection](server::connection), shutdown, sweeper, signals, log, options |
//! | `client` | the client, with a map of its own; behind the cargo feature `client` |
//! | [`access_file`] | the file of access tokens, for both programs |
//! | [`log_throttle`] | the limit for log lines of repeated events |
//! | `cli`, `threads` | helpers of both programs for command lines and threads |
//! | [`course`] | twelve chapters, each from a problem to its solution in this code |
//! | [`guide`] | pages for users, operators and contributors |
//!
//! # Threads
//!
//! ```text
//!   main      binds, then waits for the shutdown and executes it
//!   signals   blocks on SIGINT, SIGTERM and SIGHUP
//!   accept    blocks in accept(2); one for each listening address
//!      │ spawns
//!      ▼
//!   reader-N  blocks in read(2); executes the requests of client N, queues responses and
//!      │      deliveries, and writes without blocking; owns the connection and its session
//!      │ spawns, before the first name
//!      ▼
//!   writer-N  blocks until it is woken, then in write(2), at most the write timeout; when it
//!             ends, waits at most 1 s until its reader thread reads no more
//!   broadcaster  blocks until a reader thread that has filled many outboxes gives it the
//!             list; then writes these queues without blocking on a client
//!   refuser   keeps refused connections open until the client closes them, at most 1 s
//!   logger    writes log lines to stderr; only this thread blocks on stderr
//!   sweeper   blocks until a session lingers, then until the first linger time expires
//! ```
//!
//! With `--redis` there are two more, `redis-out` and `redis-in`, which `cluster` describes.
//!
//! A loop ends because a channel or a socket ends. No loop polls a flag. Each thread has a name
//! and a stack size, and the code that spawns it says which thread waits for its end. If no
//! thread can be started for a client, the client is refused. A channel of
//! [`Infallible`](std::convert::Infallible) carries no items: it signals that its last sender
//! has been dropped.
//!
//! # The path of a broadcast
//!
//! ```text
//!   alice's socket ─► reader-1 ─── session-map lock, read() ───► copy of the list of outboxes
//!                        │
//!                        ├─ send ────► bob's outbox   ─┐  reader-1, before its next call that can
//!                        ├─ send ────► carol's outbox ─┼► block (if they are many: broadcaster),
//!                        └─ respond ─► alice's outbox ─┘  writes without blocking ─► the sockets
//!                                                          │ the kernel does not accept all
//!                                                          ▼
//!                                                         writer-N of that client ─► its socket
//! ```
//!
//! `broadcast_message` in [`commands`] calls
//! [`PendingWrites::send`](outbox::direct_write::PendingWrites::send) for each recipient. That
//! enqueues the message and never blocks. The reader thread drains the outboxes that it has
//! filled before its next call that can block ([`outbox::direct_write`]). If they are many, the
//! thread `broadcaster` drains them ([`outbox::broadcaster`]). A writer thread sends only the
//! bytes that the kernel does not accept at once ([`outbox::writer`]). With `--no-direct-writes`
//! only the writer threads write.
//!
//! # Lock order
//!
//! A thread may take the locks of a server in this order:
//!
//! 1. the presence lock, under which sessions begin, end and change names
//!    ([`sessions::presence`]);
//! 2. the session-map lock, which all threads share ([`sessions`]);
//! 3. the queue lock of one [`outbox`], which is held while an item enters or leaves its channel.
//!
//! While a thread holds one of them, it does no I/O and no logging. It waits for nothing except
//! the next lock of this list. Nothing can panic half-way through an update. No lock is held
//! during a write: the state of the outbox says which thread writes.
//!
//! A thread takes each of the other locks alone: those of the log throttles
//! ([`log_throttle`]), of the [allowances](server::allowance) of the addresses, of the
//! [history](sessions::history), of the [access tokens](sessions::access), and of the end of a
//! connection's output ([`outbox::Attachment`]). `cluster` has a list of its own locks.

#![forbid(unsafe_code)]
#![cfg_attr(
    model,
    allow(
        dead_code,
        reason = "the model checker needs the outbox, but not the modules that use it"
    )
)]

pub mod access_file;
mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(all(feature = "redis", not(model)))]
pub mod cluster;
#[cfg(not(model))]
pub mod commands;
// Not for doctests: the code of the course is tested in tests/course, with its surroundings.
#[cfg(all(doc, not(doctest)))]
pub mod course;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
pub mod limits;
pub mod log_throttle;
pub mod net;
pub mod outbox;
pub mod protocol;
#[cfg(not(model))]
pub mod server;
#[cfg(not(model))]
pub mod sessions;
mod threads;
