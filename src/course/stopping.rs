//! Chapter 5: stopping a blocked `accept`, `read` and `write`.
//!
//! A thread that blocks costs nothing and can do nothing, not even end. A server has one
//! in `accept` and one in `read` or `write` for each client. How does it shut down?
//!
//! # The naive version
//!
//! A signal sets a flag, and the loop looks at it:
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
//! When that does not help, a timeout makes the thread look now and then:
//!
//! ```
//! fn read_until(stop: &AtomicBool, mut socket: &TcpStream) -> io::Result<usize> {
//!     socket.set_read_timeout(Some(LOOK))?;
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
//!   a server that looks at a flag is still there after 1s
//!     and ends 5.2ms after somebody has connected, exit status: 0
//!   this server, with 100 clients who all read, tells 100 of them
//!     and ends 20.4ms after the signal, exit status: 0
//!   this server, with 100 clients and one who is stuck, tells 100 of them
//!     and ends 1.2s after the signal, exit status: 0
//! a thread is blocked in accept, and then
//!   a flag is set                     still blocked after 1s
//!   a clone of the socket is dropped  still blocked after 1s
//!   shutdown(2)                       Invalid argument (os error 22), after 44µs
//! a thread is blocked in read, and then
//!   a flag is set                     still blocked after 1s
//!   a clone of the socket is dropped  still blocked after 1s
//!   shutdown(2)                       Ok(0) after 42µs
//! a thread is blocked in write, and then
//!   a flag is set                     still blocked after 1s
//!   a clone of the socket is dropped  still blocked after 1s
//!   shutdown(2)                       Broken pipe (os error 32), after 39µs
//! processor time in a second, of 100 threads that have nothing to read:
//!   blocked                                50.3µs
//!   with a timeout of 100ms, for a flag   5.4ms
//! ```
//!
//! *Nobody looks at the flag.* The thread is in the kernel until somebody connects. The
//! signal itself does not change that: `accept` would return with `EINTR`, but handlers are
//! installed so that system calls are begun anew (`SA_RESTART` in [signal(7)]), and where
//! one is not, the standard library tries again.
//!
//! *To drop a socket is not to close it.* The descriptor is closed when the last `Arc` or
//! clone of it is gone, and the blocked thread has one. In a language that lets one close
//! it under the other's feet it does not help either: on Linux the call goes on with the
//! socket that it has begun with, and meanwhile the number of the descriptor may be given
//! to another client ([close(2)], "Multithreaded processes and close()").
//!
//! *A timeout does work*, and has two prices. The end takes as long as the timeout; and
//! threads that had nothing to do now do that ten times a second. 5 ms for a hundred of them
//! does not sound like much. With 8,000 clients it is nearly half a processor, to wait.
//!
//! # The fix
//!
//! *shutdown(2) ends the connection, and not the descriptor*, for everybody who uses it and
//! at once: a blocked `read` returns 0, as at an end of input, and a blocked `write` an
//! error. `TcpStream` has it ([`TcpStream::shutdown`]). On a listener Linux has it too, and
//! `accept` returns `EINVAL`; std has no method for that, rustix does. POSIX does not
//! promise it, so `wake` in [`server`] connects to itself where it fails.
//!
//! The rest is order. A loop here ends because a channel or a socket ends, never because a
//! flag is polled ([the map](crate) says for each thread what it blocks on):
//!
//! 1. The thread [`signals`] blocks on the signals, and tells the main thread through a
//!    channel ([`ShutdownHandle::shutdown`]).
//! 2. [`Server::run`] first ends the accept threads, and waits for them: now nobody can come
//!    any more who would be forgotten.
//! 3. It closes [the session map](crate::sessions::Sessions::close), which gives back who is
//!    there, and puts the last line into each queue. The writers write what there is to write,
//!    within the grace, which the one who is stuck has used up in the transcript.
//! 4. Who is still there is cut ([`Attachment::shutdown_socket`]), by `shutdown(2)`: the reader returns
//!    from `read`, the writer from `write`, each leaves as it always does.
//! 5. That all are gone is known by a channel of [`Infallible`], of which each reader holds a
//!    sender. Nothing is ever sent; its end is the message.
//!
//! What it costs: whoever may have to stop a thread needs an `Arc` of its socket. And each
//! place where something can block needs somebody who knows how to end that: a pause is
//! a channel with a timeout and not a `sleep`, or the shutdown would wait for it.
//!
//! One gap is the kernel's. Where a listener goes in the very moment in which a connection
//! comes about, Linux may forget its end of it and tell nobody. The client learns of that when
//! it sends something; the test of this chapter's exercise has met it.
//!
//! # Exercise
//!
//! In `tests/exercises/stopping.rs` stands a service that runs a handler for each connection,
//! in a thread of its own, and whose `stop` waits for ever. Have it come back soon, and
//! leave nobody behind: not one who says nothing, not one who does not read, and not one
//! who connects at that very moment.
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
