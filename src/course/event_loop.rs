//! Chapter 10: where the shape ends, and what one would do then.
//!
//! A thread for each client, or two, can be read from top to bottom, and blocks wherever it
//! has to wait. For how many clients, and for which, is that good enough?
//!
//! # The naive version
//!
//! For once it is a naive version of the other shape, the one that everybody names: a single
//! thread, a system call that tells which sockets have something (epoll(7), by way of the
//! package [mio]), and no locks.
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
//!                     client => self.read_and_carry_out(client),
//!                 }
//!             }
//!             // Only now: what several have said since is one write for each who hears it.
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
//!                 // When there is room again, that is an event.
//!                 Err(e) if e.kind() == ErrorKind::WouldBlock => break,
//!                 Err(e) => return Err(e),
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! The rest of it stands in `tests/course/event_loop.rs`: 150 lines, which speak as much of the
//! protocol as a load needs.
//!
//! # How it fails
//!
//! `make experiment CHAPTER=event_loop` puts the same load on three servers, with the load
//! generator that `make bench` has: on this one, without direct writes and with them
//! ([chapter 4](super::thread_cost)), and on the loop.
//!
//! ```text
//! processor time of the server for a delivery, in µs; 16 messages are in flight
//!                         plain form  this server  event loop
//!   1 of 10 sends               1.66         0.61        0.66
//!   1 of 100 sends              1.07         0.42        0.53
//!   1 of 1000 sends             2.02         0.72        0.73
//!   4 of 100 send               1.46         0.53        0.70
//!   16 of 100 send              1.34         0.66        0.78
//!   50 pairs to and fro        28.10        18.63       12.84
//! what each of 1000 clients adds to the server
//!   memory, KiB                 24.9         25.0         0.6
//!   threads                      2.0          2.0         0.0
//! ```
//!
//! This time it is two expectations that fail, and then something of either shape.
//!
//! *It is not the number of clients.* One speaks to 10, to 100, to 1,000: a delivery costs the
//! two threads of each client no more than the one of all. Most of it is the write, and that
//! is the same. (Up to 4,000, and beside two servers that people use: README, "Measured".)
//!
//! *Nor is it the number of those who speak.* The loop is made for that: it reads all sixteen,
//! and then writes once to each. Sixteen readers that wake up with one message each would
//! make sixteen writes to each; the first version of direct writes did just that, and lost this row to both of
//! the others. Now a reader that is about to write to a crowd, and knows that others speak,
//! lets them go first ([`DirectWrites`]), and what they add goes into the same writes.
//!
//! *It is the private message*, in the sixth row: it has one recipient and wakes one reader.
//! There is nothing to collect, and to wake a thread is a part of the price that a loop with
//! a hundred sockets does not pay: it comes back from one wait with several of them.
//!
//! *And it is who is there and says nothing.* 25 KiB and two threads, where the loop has less
//! than one; to which come 32 KiB of the kernel's, for two stacks. The threads end before the
//! memory does: here with some 8,100 clients, when the maps are used up ([chapter
//! 8](super::resource_limits)).
//!
//! *The loop fails where there is something to wait for.* It has one processor, however many
//! there are. A write to the log while the terminal is stopped, a file, the name of an
//! address: whatever blocks, blocks everyone. Its `unwritten` has no bound ([chapter
//! 3](super::slow_reader)), one error of `accept` ends it, it closes without a last line. None of
//! the nine chapters before has become superfluous; in each, what was a place in the code
//! where a thread waits is now a state in a struct and an event that goes on from it.
//!
//! # The fix
//!
//! In the order of what it takes:
//!
//! - *Nothing*, up to some thousand clients. That is what this server is for, and [`SystemLimits`]
//!   says where the end is before it comes.
//! - *A loop in a thread*, for more clients than threads can be had. What is pure moves over as
//!   it is: [`protocol`], [`line`](mod@crate::net::line_reader), [`telnet`] and [`rate`] do no I/O, and
//!   that is why. The session map stays, and so do the contract of [`Outbox::send`] and the
//!   bound; the writer becomes "write what the kernel takes, and go on when it takes more",
//!   which [`direct_write`] does already.
//! - *A loop for each processor*, each with a part of the clients. What they have to tell each
//!   other goes through a queue, and a wake-up for each *loop* instead of each client. nginx
//!   and memcached have a loop for each processor; to make them one room is the exercise.
//! - *io_uring*, where system calls are what costs, as they are in a fan-out: hundreds of writes
//!   are submitted in one call, and the kernel tells when they are done. The buffers then
//!   belong to the kernel meanwhile, which is a hard thing to say in Rust, and here it has not
//!   been tried.
//! - *Several machines*, when one is not enough or may not fail: parts of the users or rooms
//!   on each, and a broker between them. From then on "who is here" is a question without an
//!   exact answer.
//!
//! What it costs is told with each. The first is the one that can be read in an afternoon.
//!
//! # Exercise
//!
//! In `tests/exercises/event_loop.rs` stand several loops in as many threads, and a client is heard
//! by those of its own loop only. Make them one room again, without a lock and without a
//! timeout.
//!
//! ```sh
//! make exercise CHAPTER=event_loop
//! ```
//!
//! [mio]: https://docs.rs/mio
//! [`SystemLimits`]: crate::server::capacity::SystemLimits
//! [`protocol`]: crate::protocol
//! [`telnet`]: crate::protocol::telnet
//! [`rate`]: crate::server::rate_limit
//! [`Outbox::send`]: crate::outbox::Outbox::send
//! [`direct_write`]: crate::outbox::direct_write
//! [`DirectWrites`]: crate::outbox::direct_write::DirectWrites
