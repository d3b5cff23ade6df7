//! Chapter 8: running out of descriptors, threads and maps.
//!
//! Each client takes a descriptor and a thread or two. There are many of these, and not
//! any number. What happens to those who are there when the next one comes?
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
//! The second does not let an error end it:
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
//! The third knows that there may be no thread either, and refuses in good order:
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
//! `make experiment CHAPTER=resource_limits` starts each as a process of its own, with a limit on
//! what it may have: `prlimit --nofile=24` (56 for this server, which keeps 32 of them for what
//! is no client's), `prlimit --nproc=24`, and for the maps what the machine allows anyway.
//!
//! ```text
//! 60 clients, and descriptors for a few of them:
//!                    served   told  waiting  lost
//!   accept_or_end         0      0        0    60
//!     exit status: 1: course: Too many open files (os error 24)
//!   accept_or_go_on      19      0       41     0
//!     uses the processor for 0.99 s in 1s
//!   this server          24     36        0     0
//!     uses the processor for 0.00 s in 1s
//! 60 clients, and threads for a few of them:
//!                    served   told  waiting  lost
//!   accept_or_go_on       0      0        0    60
//!     exit status: 101: failed to spawn thread: Os { code: 11, kind: WouldBlock, message: "Resource temporarily unavailable" }
//!   this server           9     51        0     0
//!     uses the processor for 0.00 s in 1s
//! as many clients as there are memory maps for:
//!   a_thread_for_each_client  16384 clients, 0 refused
//!     signal: 6 (SIGABRT): failed to set up alternative stack guard page: Cannot allocate memory (os error 12)
//!   this server               room for 8119 clients: 100000 wanted, 20000 descriptors, 65530 memory maps of which 33 in use, 2 processors
//! ```
//!
//! *An error of `accept` is not the server's end.* It concerns one connection, or a moment:
//! accept(2) has a list of those after which one tries again. With `?` the first client for
//! whom there was no descriptor has ended the server for all ([miniircd 61], [hyper 1358]).
//!
//! *Nor is it a reason to try again at once.* What was lacking is not there again for being
//! asked for. Linux takes the descriptor before it waits for a client, so that nobody even
//! has to be waiting for the loop to spin: 0.99 s of a processor in a second. And those
//! who do wait are not told anything.
//!
//! *`thread::spawn` panics.* [Its documentation](std::thread::spawn) says so: if there is no
//! thread to be had, it panics, in the thread that accepts. The error is `EAGAIN`, which Rust
//! shows as `WouldBlock`.
//!
//! *And [`Builder::spawn`], which does not, is not enough.* A thread of std takes four memory
//! maps: its stack, a stack for signals, and a guard page for each. The first two are taken
//! before it begins, and their failure is an error. The others are taken *in the new
//! thread*, where there is nobody to return an error to: it panics, cannot even do that, and
//! the process is aborted ([rust 78497]). Some runs refuse hundreds before that, politely, and
//! are dead all the same, with 16,000 who were there.
//!
//! # The fix
//!
//! *Know the end, and stay away from it.* At the start, [`SystemLimits::raise_and_read`] raises the limit
//! of descriptors as far as it may and reads the others, and [`SystemLimits::max_clients`] lowers
//! `--max-clients` to what they hold: a descriptor and eight maps for each client, and some
//! kept for what is no client's, for the arenas of the allocator above all, of which there are
//! eight for each processor. The log tells the terms. A new client is then refused
//! with a line that it can read, by [`Sessions::register`] and [`Refuser`].
//!
//! *What can still be lacking is an ordinary refusal.* Threads have too many limits to
//! compute (`ulimit -u`, `pid_max`, a container's), so that one is found out: `welcome`
//! in [`server`] treats a reader that cannot be had as "The server is full", and
//! [`serve`] does so with the writer.
//!
//! *And if `accept` fails all the same*, `accept_until_stopped` there waits, from
//! [`ACCEPT_BACKOFF`] on and twice as long each time, up to [`ACCEPT_BACKOFF_MAX`]; a shutdown
//! interrupts that. The tests in `tests/it/machine.rs` run the server under each of these
//! limits, fill it, and look at its processor time while it is full.
//!
//! What it costs: 8,119 clients here, where there are descriptors and memory for more. And
//! there is one limit that it cannot keep: where the allocator gets nothing, a Rust program
//! aborts. A limit on address space (`ulimit -v`) is therefore none for this server; one on a
//! service's memory is (README, "Limits").
//!
//! # Exercise
//!
//! The `accept_all` in `tests/exercises/resource_limits.rs` waits when there is no descriptor, and
//! whoever comes waits with it, without a word. Have it tell them that it is full. A process
//! that cannot open anything can still do that, if it has thought of it in time.
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
