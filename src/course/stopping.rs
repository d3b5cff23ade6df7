//! Chapter 5: stopping a blocked `accept`, `read` and `write`.
//!
//! A blocked thread costs nothing, and it can do nothing. It cannot even end itself. A server
//! has one thread in `accept`, and for each client one in `read` or `write`. This chapter is
//! about the shutdown of such a server.
//!
//! # The naive version
//!
//! A signal sets a flag, and the loop checks it:
//!
//! ```
//! fn serve_until_signal(listener: &TcpListener) -> io::Result<()> {
//!     let stop = Arc::new(AtomicBool::new(false));
//!     signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
//!     println!("listening on {}", listener.local_addr()?);
//!     while !stop.load(Ordering::Relaxed) {
//!         let (socket, _) = listener.accept()?;
//!         thread::spawn(move || echo(&socket));
//!     }
//!     Ok(())
//! }
//! ```
//!
//! That does not help, so a timeout makes the thread check the flag again and again:
//!
//! ```
//! fn read_until(stop: &AtomicBool, mut socket: &TcpStream) -> io::Result<usize> {
//!     socket.set_read_timeout(Some(POLL_INTERVAL))?;
//!     while !stop.load(Ordering::Relaxed) {
//!         match socket.read(&mut [0; 512]) {
//!             Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
//!             result => return result,
//!         }
//!     }
//!     Ok(0)
//! }
//! ```
//!
//! # How it fails
//!
//! `make experiment CHAPTER=stopping`
//!
//! ```text
//! SIGTERM:
//!   a server that checks a flag: still running after 1s
//!     ends 5.2ms after a client has connected, exit status: 0
//!   this server, 100 clients that read: 100 get the notice
//!     ends 20.4ms after the signal, exit status: 0
//!   this server, 100 clients that read, and a stuck one: 100 get the notice
//!     ends 1.2s after the signal, exit status: 0
//! a thread is blocked in accept. Then
//!   a flag is set                     still blocked after 1s
//!   a clone of the socket is dropped  still blocked after 1s
//!   shutdown(2)                       Invalid argument (os error 22), after 44µs
//! a thread is blocked in read. Then
//!   a flag is set                     still blocked after 1s
//!   a clone of the socket is dropped  still blocked after 1s
//!   shutdown(2)                       Ok(0) after 42µs
//! a thread is blocked in write. Then
//!   a flag is set                     still blocked after 1s
//!   a clone of the socket is dropped  still blocked after 1s
//!   shutdown(2)                       Broken pipe (os error 32), after 39µs
//! processor time in a second, 100 threads with nothing to read:
//!   blocked                                50.3µs
//!   with a timeout of 100ms, for a flag     5.4ms
//! ```
//!
//! *The flag is not checked.* The thread is in the kernel until a client connects. The signal
//! itself does not change that. `accept` could return with `EINTR`, but signal handlers are
//! installed so that system calls restart (`SA_RESTART` in [signal(7)]). If one is not, the
//! standard library tries again.
//!
//! *Dropping a socket does not close it.* The descriptor is closed when the last `Arc` or clone
//! is dropped, and the blocked thread has one. Some languages let you close a descriptor that
//! another thread uses. That does not help either. On Linux the call continues on the old
//! socket. Meanwhile another client may get the number of the descriptor ([close(2)],
//! "Multithreaded processes and close()").
//!
//! *A timeout works*, at two costs. The shutdown takes as long as the timeout. And idle threads
//! now wake up ten times a second. 5 ms for 100 threads does not sound like much. With 8,000
//! clients it is nearly half a processor, spent on waiting.
//!
//! # The fix
//!
//! *shutdown(2) ends the connection, not the descriptor.* It acts at once, on all threads that
//! use the socket. A blocked `read` returns 0, as at the end of input. A blocked `write`
//! returns an error. `TcpStream` has this call ([`TcpStream::shutdown`]). On Linux it works on
//! a listener too, and `accept` returns `EINVAL`. std has no method for that, but rustix has.
//! POSIX does not require it. So `wake` in `accept.rs` of [`server`] connects to the listener
//! if the call fails.
//!
//! The rest is the right order. A loop ends because a channel or a socket ends, never because a
//! flag is polled ([the overview](crate) lists where each thread blocks):
//!
//! 1. The [`signals`] thread blocks on the signals, and notifies the main thread through a
//!    channel ([`ShutdownHandle::shutdown`]).
//! 2. [`Server::run`] first ends the accept threads and waits for them. After that no new
//!    client can connect, so the next steps miss none.
//! 3. It closes [the session map](crate::sessions::Sessions::close), which returns all
//!    connections, and puts the last message into each queue. The writer threads write what is
//!    queued, within the grace period. In the transcript the stuck client uses all of it.
//! 4. It shuts down the sockets of the remaining clients ([`Attachment::shutdown_socket`]) with
//!    `shutdown(2)`. The reader thread returns from `read`, the writer thread from `write`, and
//!    both end as they always do.
//! 5. Each reader thread holds a sender of a channel of [`Infallible`]. No message is ever sent
//!    on it. When the channel is disconnected, all reader threads have ended.
//!
//! What it costs: code that may have to stop a thread needs an `Arc` of the thread's socket.
//! And for each blocking call there must be another thread that can end it. A pause, for
//! example, is a receive with a timeout and not a `sleep`, or the shutdown would wait for it.
//!
//! One gap is in the kernel. If a listener is closed at the moment when a connection is
//! established, Linux may drop its end of the connection without notice. The client learns that
//! when it sends something. The test of this chapter's exercise must allow for it.
//!
//! # Exercise
//!
//! The service in `tests/exercises/stopping.rs` runs a handler for each connection, in a thread
//! of its own. Its `stop` waits forever. Change it so that `stop` returns soon and leaves no
//! connection open: not of a silent client, not of a client that does not read, and not of a
//! client that connects at that moment.
//!
//! ```sh
//! make exercise CHAPTER=stopping
//! ```
//!
//! [signal(7)]: https://man7.org/linux/man-pages/man7/signal.7.html
//! [close(2)]: https://man7.org/linux/man-pages/man2/close.2.html
//! [`TcpStream::shutdown`]: std::net::TcpStream::shutdown
//! [`Infallible`]: std::convert::Infallible
//! [`server`]: crate::server
//! [`signals`]: crate::server::signals
//! [`ShutdownHandle::shutdown`]: crate::server::ShutdownHandle::shutdown
//! [`Server::run`]: crate::server::Server::run
//! [`Attachment::shutdown_socket`]: crate::outbox::Attachment::shutdown_socket
