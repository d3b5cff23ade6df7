//! Chapter 7: the last line before a close.
//!
//! A client says that it leaves. The server says goodbye, or why it closes, and closes.
//!
//! # The naive version
//!
//! ```
//! fn say_goodbye(mut socket: TcpStream) -> io::Result<()> {
//!     socket.write_all(b"200 OK\r\n\r\nGoodbye\r\n")
//!     // Here the socket is dropped, which closes it.
//! }
//! ```
//!
//! What has been written is on its way, the kernel sees to it, and behind it goes the end of
//! the connection. Is that not what TCP promises?
//!
//! # How it fails
//!
//! `make experiment CHAPTER=clean_close` has a hundred clients leave, in four manners. What
//! they send behind their `Quit` is a page that somebody has pasted.
//!
//! ```text
//! 100 clients of each kind; of their last lines were
//!                                            naive         |     this server
//! who sends Quit, and                   read  error   lost |   read  error   lost
//! sends nothing behind it                100      0      0 |    100      0      0
//! sends 64 KB behind it                    0    100      0 |    100      0      0
//! sends it, until there is an error        0      1     99 |    100      0      0
//! sends it, and has 200 KB to read         0      0    100 |    100      0      0
//! ```
//!
//! *error* are those who read the line, and then an error in the place of the end; *lost*
//! those who never read it.
//!
//! *A close with something unread is a reset.* TCP promises that what one side sends is
//! read by the other, or that it learns that it was not. Who closes a socket with input
//! still in it cannot keep the first, so the kernel keeps the second: it sends not an end
//! but a reset ([RFC 1122], 4.2.2.13; [RFC 2525], 2.17, counts it as a fault if one does not). The
//! same happens when something arrives after the close. Nobody did anything wrong: the
//! client has sent more than the server cared to read.
//!
//! *A reset destroys what is on its way.* What stands in the server's send buffer is thrown
//! away: the fourth kind of client was behind with its reading, and has lost the last line
//! with all that was before it. What has reached the client's kernel may be thrown away too
//! ([RFC 9293], 3.10.7.4). Linux does not do that, as the second row shows: the line is
//! read, and then there is an error in the place of an end.
//!
//! *And who gets an error does not read on.* The third kind was still sending when its write
//! failed. The line lies in its own kernel; but most programs pass the error on with `?`, and
//! report "connection reset by peer" instead of what they were told.
//!
//! It is worst where the line matters: a refusal, an error, a reason. These are said to
//! clients that have just sent something, and nobody is going to read that.
//!
//! # The fix
//!
//! Say it, close *the own side*, read and drop what still comes, and close when the client
//! has closed its side, too:
//!
//! - The [`writer`] thread writes all that is queued, and calls `shutdown(Write)` (`close`): the
//!   end of input is behind the last line and overtakes nothing.
//! - Then the reader thread reads and drops ([`drain_input`]). The client reads the line, reads
//!   the end, and closes. Now there is nothing unread on either side.
//! - Both are bounded in time, or a client could keep its two threads for as long as it likes:
//!   [`CLOSE_TIMEOUT`] is a second. Beyond that it is a reset after all. They are not bounded in
//!   bytes: a client that sends megabytes must not lose its last line for that.
//!
//! Two cases have a form of their own. Who is refused has no threads yet, and is not to get
//! any: [`refuser`] sees [`MAX_PENDING_REFUSALS`] of them off at a time, with one thread. And at a
//! shutdown all connections together have [`SHUTDOWN_CLOSE_TIMEOUT`], because a server
//! that one has told to stop should.
//!
//! What it costs: a second at most of two threads that have nothing to do, and a
//! promise that is not one to the last: a client that takes longer than the second to read
//! what is on its way, over a network or on a machine that is too busy, may lose it. SO_LINGER,
//! which is often named in this place, is about something else: it has `close` wait for
//! what was sent, and it is a reset all the same.
//!
//! # Exercise
//!
//! In `tests/exercises/clean_close.rs` stands the naive `say_and_close`. Have it say the line
//! so that it is read, in one thread, and in a bounded time: whether the client reads nothing,
//! never closes, or sends a byte now and then for ever.
//!
//! ```sh
//! make exercise CHAPTER=clean_close
//! ```
//!
//! [RFC 1122]: https://www.rfc-editor.org/rfc/rfc1122#page-87
//! [RFC 2525]: https://www.rfc-editor.org/rfc/rfc2525#section-2.17
//! [RFC 9293]: https://www.rfc-editor.org/rfc/rfc9293#section-3.10.7.4
//! [`writer`]: crate::outbox::writer
//! [`drain_input`]: crate::server::connection::input::drain_input
//! [`refuser`]: crate::server::refusal
//! [`CLOSE_TIMEOUT`]: crate::limits::CLOSE_TIMEOUT
//! [`SHUTDOWN_CLOSE_TIMEOUT`]: crate::limits::SHUTDOWN_CLOSE_TIMEOUT
//! [`MAX_PENDING_REFUSALS`]: crate::limits::MAX_PENDING_REFUSALS
