//! A chat server for the protocol CP/0.0.0: synchronous, with a thread for each
//! connection, and meant to be read; and a client for it.
//!
//! # Where to begin
//!
//! A folder imports only from the folders to the right of it, and from the files at the top:
//!
//! ```text
//!   bin/ ─► server/ ─► commands.rs ─► sessions/ ─► outbox/ ─► protocol/ ─► limits.rs
//!     └───► client/ ─► net/ ─► protocol/
//! ```
//!
//! The modules in the order in which they explain one another:
//!
//! | module | what it is |
//! |---|---|
//! | [`protocol`] | the protocol: its document and its types; pure, no I/O |
//! | [`limits`] | every limit, with its reason |
//! | [`net`] | lines from a stream, keepalive: for both programs |
//! | [`outbox`] | a session's queue; the [writer thread](outbox::writer) that drains it, [direct writes](outbox::direct_write) by the thread that fills it, and the [`broadcaster`](outbox::broadcaster) thread |
//! | [`sessions`] | the session map, behind the one lock that all threads share |
//! | [`commands`] | what a request does |
//! | [`server`] | threads and sockets: accept loop, [one connection](server::connection), shutdown, sweeper, signals, log, options |
//! | `client` | the client, with a map of its own; behind the cargo feature `client` |
//! | `cli`, `threads` | what both programs need for their command lines and threads |
//!
//! The [`course`] goes another way through the same code: from what fails to what stands here.
//!
//! # The threads
//!
//! ```text
//!   main      binds, then waits for the shutdown and carries it out
//!   signals   blocks on SIGINT, SIGTERM and SIGHUP
//!   accept    blocks in accept(2), one for each port
//!      │ spawns
//!      ▼
//!   reader-N  blocks in read(2): reads a request, carries it out, answers, and writes
//!      │      what its client and the others take at once; owns the connection and its
//!      │      session
//!      │ spawns
//!      ▼
//!   writer-N  started before the first name; blocks on its wake, then in write(2); at the
//!             end for a second at most, until its reader thread reads no more
//!   broadcaster  blocks until a reader thread that has filled many outboxes gives it
//!             their list; drains them, without blocking on a client
//!   refuser   keeps refused connections open until the client closes them, at most 1 s
//!   logger    writes what is logged to stderr, and alone waits for it
//!   sweeper   blocks until a session lingers, and then until the first lingers out
//! ```
//!
//! A loop ends because a channel or a socket ends, never because a flag is
//! polled. Each thread has a name and a stack size, and the place that spawns it says who
//! waits for its end. A client for whom no thread can be started is refused like any
//! other. A channel of [`Infallible`](std::convert::Infallible) carries nothing: what it
//! tells is that the last of its senders is dropped.
//!
//! # A message's way
//!
//! ```text
//!   alice's socket ─► reader-1 ──── sessions, read() ────► who is to have it
//!                        │               (copied out, the lock is free again)
//!                        ├─ send ─► bob's outbox ──► writer-2 ─► bob's socket
//!                        ├─ send ─► carol's outbox ► writer-3 ─► carol's socket
//!                        └─ answer ► alice's outbox ► writer-1 ─► alice's socket
//! ```
//!
//! That is the plain form (`--no-direct-writes`). Otherwise reader-1 itself writes to each
//! socket what it takes without blocking, when it has nothing more to read, and wakes a
//! writer only for the rest ([`outbox::direct_write`]).
//! If it has filled many outboxes, the thread `broadcaster` does that for it
//! ([`outbox::broadcaster`]).
//!
//! # The lock rule
//!
//! Locks, in the order in which a thread may take them:
//!
//! 1. the session-map lock, which all threads share ([`sessions`]);
//! 2. the queue lock of one [`outbox`], which is held while an item enters or leaves its channel.
//!
//! While a thread holds one of them, it does no I/O and no logging. It waits for nothing except
//! the next lock of this list. Nothing can panic half-way through an update. No lock is held
//! during a write: the state of the outbox says which thread writes. The throttles of the log
//! have locks too ([`server::log_throttle`]), and so have the [allowances](server::allowance) of the
//! addresses. A thread takes each of these alone.

#![forbid(unsafe_code)]
#![cfg_attr(
    model,
    allow(dead_code, reason = "the model needs the outbox, and not its users")
)]

mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(not(model))]
pub mod commands;
// Its code is tested in tests/course, where there is what surrounds it.
#[cfg(all(doc, not(doctest)))]
pub mod course;
pub mod limits;
pub mod net;
pub mod outbox;
pub mod protocol;
#[cfg(not(model))]
pub mod server;
#[cfg(not(model))]
pub mod sessions;
mod threads;
