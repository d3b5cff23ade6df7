//! Chapter 11: the limits of a thread per client, and the alternatives.
//!
//! With one or two threads for each client, you can read the code from top to bottom, and it
//! blocks wherever it has to wait. This chapter shows for how many clients that is good enough,
//! and for which clients.
//!
//! # The naive version
//!
//! This time, the naive version is the usual alternative. It has a single thread, a system call
//! that returns the ready sockets (epoll(7), through the package [mio]), and no locks.
//!
//! ```
//! impl EventLoop {
//!     fn run(&mut self) -> io::Result<()> {
//!         let mut events = Events::with_capacity(1024);
//!         loop {
//!             self.poll.poll(&mut events, None)?;
//!             for event in &events {
//!                 match event.token() {
//!                     LISTENER => self.accept()?,
//!                     client => self.read_and_execute(client),
//!                 }
//!             }
//!             // Write last, so that the messages of several senders share a write.
//!             self.clients.retain(|_, client| client.write().is_ok());
//!         }
//!     }
//! }
//!
//! impl Client {
//!     fn write(&mut self) -> io::Result<()> {
//!         while !self.unwritten.is_empty() {
//!             match self.socket.write(&self.unwritten) {
//!                 Ok(count) => drop(self.unwritten.drain(..count)),
//!                 // An event follows when the kernel accepts more.
//!                 Err(e) if e.kind() == ErrorKind::WouldBlock => break,
//!                 Err(e) => return Err(e),
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! The rest is in `tests/course/event_loop.rs`. Its 150 lines implement the part of the
//! protocol that a load test needs.
//!
//! # How it fails
//!
//! `make experiment CHAPTER=event_loop` puts the same load on three servers, with the load
//! generator of `make bench`. The servers are this one with writer threads only, this one with
//! direct writes ([chapter 4](super::thread_cost)), and the event loop.
//!
//! ```text
//! processor time of the server per delivery, in µs, with 16 messages in flight
//!                         writers only  this server  event loop
//!   1 of 10 sends                 1.66         0.61        0.66
//!   1 of 100 sends                1.07         0.42        0.53
//!   1 of 1000 sends               2.02         0.72        0.73
//!   4 of 100 send                 1.46         0.53        0.70
//!   16 of 100 send                1.34         0.66        0.78
//!   50 pairs, ping-pong          28.10        18.63       12.84
//! per client, with 1000 clients
//!   memory, KiB                   24.9         25.0         0.6
//!   threads                        2.0          2.0         0.0
//! ```
//!
//! This time two expectations fail. After that come the limits of each design.
//!
//! *The number of clients does not matter.* One client sends to 10, to 100 or to 1,000. With
//! two threads for each client and direct writes, a delivery costs no more than with the loop.
//! Most of the cost is the write, and both designs need it. (The README has measurements up to
//! 4,000 clients, beside two servers that are in wide use.)
//!
//! *The number of senders does not matter either.* The loop seems ideal for that: it reads from
//! all sixteen, and then writes once to each client. Sixteen reader threads that wake up with
//! one message each would make sixteen writes to each client. The first version of direct
//! writes did that, and was slower in this row than both others. Now a reader thread that has
//! filled the outboxes of a crowd gives them to the [`broadcaster`] thread if others broadcast
//! too. Their messages then share writes.
//!
//! *Private messages matter*, in the sixth row. A private message has one recipient and wakes
//! one reader thread. There are no other messages to batch it with. The wake-up of a thread is
//! a cost that a loop with a hundred sockets does not have, because each wait returns several
//! ready sockets.
//!
//! *Idle clients matter.* Each one needs 25 KiB and two threads, where the loop needs less than
//! 1 KiB. Another 32 KiB are in the kernel, for two stacks. The threads run out before the
//! memory does. Here that is at some 8,100 clients, when the memory maps are used up ([chapter
//! 9](super::resource_limits)).
//!
//! *The loop fails if there is something to wait for.* It uses one processor, however many
//! there are. A write to the log while the terminal is stopped, a file, a lookup of a host
//! name: each call that blocks, blocks all clients. The loop has other faults. Its `unwritten`
//! has no limit ([chapter 3](super::slow_reader)), one error of `accept` ends it, and it closes
//! without a last message. A loop needs the other chapters too. In each of them, a place
//! where a thread waits becomes a state in a struct and an event.
//!
//! # The fix
//!
//! The alternatives, in the order of their effort:
//!
//! - *Nothing*, up to some thousand clients. This server is made for that. [`SystemLimits`]
//!   reports the limit before it is reached.
//! - *A loop in one thread*, for more clients than the system has threads. All pure code moves
//!   over unchanged: [`protocol`], [`line_reader`](mod@crate::net::line_reader), [`telnet`] and
//!   [`rate_limit`] do no I/O, for this reason. The session map stays. So do the contract of
//!   [`Outbox::send`] and the limit. The writer thread becomes "write what the kernel accepts,
//!   and go on when it accepts more". [`direct_write`] already does that.
//! - *A loop for each processor*, each with a part of the clients. A message to the clients of
//!   another loop goes through a queue, with one wake-up for each *loop*, not for each client.
//!   nginx and memcached have such loops. The exercise makes one room of several loops.
//! - *io_uring*, if system calls are the main cost, as in a fan-out. Hundreds of writes are
//!   submitted in one call, and the kernel reports when they are done. Until then the buffers
//!   belong to the kernel, which is hard to express in Rust. This project has not tried it.
//! - *Several machines*, if one is not enough or must not fail. Each has a part of the users or
//!   rooms, and a broker connects them. From then on, a response depends on machines that may not
//!   answer ([chapter 12](super::confirmation)).
//!
//! Each item names its cost. The first is the only one that you can read in an afternoon.
//!
//! # Exercise
//!
//! `tests/exercises/event_loop.rs` has several loops in as many threads. A client's line
//! reaches only the clients of its own loop. Make them one room again, without a lock and
//! without a timeout.
//!
//! ```sh
//! make exercise CHAPTER=event_loop
//! ```
//!
//! [mio]: https://docs.rs/mio
//! [`SystemLimits`]: crate::server::capacity::SystemLimits
//! [`protocol`]: crate::protocol
//! [`telnet`]: crate::protocol::telnet
//! [`rate_limit`]: crate::server::rate_limit
//! [`Outbox::send`]: crate::outbox::Outbox::send
//! [`direct_write`]: crate::outbox::direct_write
//! [`broadcaster`]: crate::outbox::broadcaster
