//! Chapter 9: running out of descriptors, threads and memory maps.
//!
//! Each client needs a descriptor, and one or two threads. The system has many of them, but not
//! an unlimited number. This chapter is about the connected clients when the next one comes and
//! a resource is used up.
//!
//! # The naive version
//!
//! There are three. Every tutorial has the first:
//!
//! ```
//! fn accept_or_end(listener: &TcpListener) -> io::Result<()> {
//!     for socket in listener.incoming() {
//!         let socket = socket?;
//!         thread::spawn(move || echo(&socket));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The second does not end after an error:
//!
//! ```
//! fn accept_or_go_on(listener: &TcpListener) -> io::Result<()> {
//!     loop {
//!         let Ok((socket, _)) = listener.accept() else {
//!             continue;
//!         };
//!         thread::spawn(move || echo(&socket));
//!     }
//! }
//! ```
//!
//! The third expects that there may be no thread, and refuses the client:
//!
//! ```
//! fn a_thread_for_each_client(attempts: usize) {
//!     for _ in 0..attempts {
//!         match thread::Builder::new().spawn(thread::park) {
//!             Ok(_) => println!("served"),
//!             Err(e) => println!("refused: {e}"),
//!         }
//!     }
//! }
//! ```
//!
//! # How it fails
//!
//! `make experiment CHAPTER=resource_limits` starts each version as a process of its own, with
//! a limit. For descriptors it is `prlimit --nofile=24` (56 for this server, which reserves
//! 32), and for threads `prlimit --nproc=24`. For memory maps it is the limit of the machine.
//!
//! ```text
//! 60 clients, few descriptors:
//!                    served  refused  waiting  lost
//!   accept_or_end         0        0        0    60
//!     exit status: 1: course: Too many open files (os error 24)
//!   accept_or_go_on      19        0       41     0
//!     uses 0.99 s of processor time in 1s
//!   this server          24       36        0     0
//!     uses 0.00 s of processor time in 1s
//! 60 clients, few threads:
//!                    served  refused  waiting  lost
//!   accept_or_go_on       0        0        0    60
//!     exit status: 101: failed to spawn thread: Os { code: 11, kind: WouldBlock, message: "Resource temporarily unavailable" }
//!   this server           9       51        0     0
//!     uses 0.00 s of processor time in 1s
//! clients until the memory maps are used up:
//!   a_thread_for_each_client  16384 clients, 0 refused
//!     signal: 6 (SIGABRT): failed to set up alternative stack guard page: Cannot allocate memory (os error 12)
//!   this server               room for 8119 clients: 100000 wanted, 20000 descriptors, 65530 memory maps of which 33 in use, 2 processors
//! ```
//!
//! *An error of `accept` must not end the server.* It concerns one connection, or one moment.
//! accept(2) lists the errors after which a program should try again. With `?`, the first
//! client without a descriptor ends the server for all clients ([miniircd 61], [hyper 1358]).
//!
//! *An immediate retry does not help.* It finds no new descriptor. Linux allocates the
//! descriptor before it waits for a client. So the loop spins even if no client is waiting, and
//! uses 0.99 s of processor time in a second. And the waiting clients get no message.
//!
//! *`thread::spawn` panics.* [Its documentation](std::thread::spawn) says so: if the system
//! cannot start a thread, it panics in the calling thread. Here that is the thread that
//! accepts. The error is `EAGAIN`, which Rust shows as `WouldBlock`.
//!
//! *[`Builder::spawn`] does not panic, but that is not enough.* A std thread needs four memory
//! maps: its stack, a stack for signal handlers, and a guard page for each. The first two are
//! mapped before the thread starts, and a failure there is an error. The other two are mapped
//! *in the new thread*. There is no caller that could get the error. The thread panics, the
//! panic fails too, and the process aborts ([rust 78497]). In some runs the program first
//! refuses hundreds of clients properly. It then aborts all the same, with 16,000 clients.
//!
//! # The fix
//!
//! *Know the limit, and stay below it.* At the start, [`SystemLimits::raise_and_read`] raises
//! the limit of descriptors as far as allowed, and reads the other limits.
//! [`SystemLimits::max_clients`] then lowers `--max-clients` to the number that fits. It counts
//! one descriptor and eight memory maps for each client. It also reserves some that belong to
//! no client. Most of these are for the arenas of the allocator, which has eight for each
//! processor. The log shows all these numbers. If there is no room for a new client,
//! [`Sessions::register`] and [`Refuser`] refuse it with a message that it can read.
//!
//! *Any other shortage is an ordinary refusal.* Threads have too many limits to compute
//! (`ulimit -u`, `pid_max`, the limit of a container). So the server finds out when it starts
//! one. If there is no reader thread, `start_connection` in `accept.rs` of [`server`] refuses
//! the client with "The server is full". If there is no writer thread, [`serve`] does the same.
//!
//! *If `accept` fails all the same*, `accept_until_stopped` in the same file backs off. The
//! delay starts at [`ACCEPT_BACKOFF`] and doubles up to [`ACCEPT_BACKOFF_MAX`]. A shutdown
//! interrupts it. The tests in `tests/it/resource_limits.rs` run the server under each of these
//! limits, fill it, and check its processor time while it is full.
//!
//! What it costs: room for only 8,119 clients here, although there are descriptors and memory
//! for more. And one limit cannot be handled. If an allocation fails, a Rust program aborts. So
//! this server does not support a limit on address space (`ulimit -v`). A memory limit of its
//! service works (see the README).
//!
//! # Exercise
//!
//! If there is no descriptor, `accept_all` in `tests/exercises/resource_limits.rs` waits, and
//! new clients wait with it, without a message. Change it so that they get the message that the
//! server is full. A process that cannot open anything can still do that, if it prepares for it
//! in time.
//!
//! ```sh
//! make exercise CHAPTER=resource_limits
//! ```
//!
//! [miniircd 61]: https://github.com/jrosdahl/miniircd/issues/61
//! [hyper 1358]: https://github.com/hyperium/hyper/issues/1358
//! [rust 78497]: https://github.com/rust-lang/rust/issues/78497
//! [`Builder::spawn`]: std::thread::Builder::spawn
//! [`SystemLimits::raise_and_read`]: crate::server::capacity::SystemLimits::raise_and_read
//! [`SystemLimits::max_clients`]: crate::server::capacity::SystemLimits::max_clients
//! [`Sessions::register`]: crate::sessions::Sessions::register
//! [`Refuser`]: crate::server::refusal::Refuser
//! [`server`]: crate::server
//! [`serve`]: crate::server::connection::serve
//! [`ACCEPT_BACKOFF`]: crate::limits::ACCEPT_BACKOFF
//! [`ACCEPT_BACKOFF_MAX`]: crate::limits::ACCEPT_BACKOFF_MAX
