//! A chat server for the protocol CP/0.0.0: synchronous, with a thread for each
//! connection, and meant to be read; and a client for it.
//!
//! # Where to begin
//!
//! The modules in the order in which they explain one another. [`protocol`],
//! [`telnet`], [`rate`], [`seldom`], [`origin`] and [`allowance`] are pure: values in, values
//! out, no I/O.
//!
//! | module | what it is |
//! |---|---|
//! | [`protocol`] | the protocol: its document, its types, what is read and what is said |
//! | [`limits`] | every bound, with its reason |
//! | [`line`](mod@line) | one line of bounded length from anything that can be read |
//! | [`telnet`] | the filter that takes telnet's negotiation out of a client's bytes |
//! | [`rate`] | how fast a client may ask |
//! | [`outbox`] | a session's queue; the [writer thread](outbox::writer) that drains it, and the [hand-off](outbox::hand_off) that does without where it can, with the thread [`broadcaster`](outbox::broadcaster) for many at once |
//! | [`origin`] | what counts as one address, and how many clients each has |
//! | [`allowance`] | what the new connections of an address may ask at once, all together |
//! | [`sessions`] | who is here, behind the one lock |
//! | [`commands`] | what a request does |
//! | [`connection`] | the life of one client, from the accept to the close |
//! | [`sweeper`] | ends the sessions that have lingered out |
//! | [`keepalive`] | finding out that the other side is gone without a word |
//! | [`farewell`] | refusing a connection so that the client can read why |
//! | [`listeners`] | binding the listening sockets, and their options |
//! | [`server`] | accepting, shutting down |
//! | [`machine`] | how many clients this machine can hold |
//! | [`seldom`] | telling now and then of what happens all the time |
//! | [`options`], [`logging`], [`signals`], `threads` | what a program needs besides |
//! | `client` | the client, with a map of its own; behind the cargo feature `client` |
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
//!   farewell  sees refused connections off
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
//! That is the plain form (`--no-hand-off`). Otherwise reader-1 itself writes to each
//! socket what it takes without blocking, when it has nothing more to read, and wakes a
//! writer only for the rest ([`outbox::hand_off`]).
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
//! have locks too ([`farewell`], [`server`]), and so have the [allowances](allowance) of the
//! addresses. A thread takes each of these alone.

#![forbid(unsafe_code)]
#![cfg_attr(
    model,
    allow(dead_code, reason = "the model needs the outbox, and not its users")
)]

pub mod allowance;
#[cfg(feature = "client")]
pub mod client;
#[cfg(not(model))]
pub mod commands;
#[cfg(not(model))]
pub mod connection;
// Its code is tested in tests/course, where there is what surrounds it.
#[cfg(all(doc, not(doctest)))]
pub mod course;
#[cfg(not(model))]
pub mod farewell;
pub mod keepalive;
pub mod limits;
pub mod line;
pub mod listeners;
pub mod logging;
pub mod machine;
pub mod options;
pub mod origin;
pub mod outbox;
pub mod protocol;
pub mod rate;
pub mod seldom;
#[cfg(not(model))]
pub mod server;
#[cfg(not(model))]
pub mod sessions;
#[cfg(not(model))]
pub mod signals;
#[cfg(not(model))]
pub mod sweeper;
pub mod telnet;
mod threads;
