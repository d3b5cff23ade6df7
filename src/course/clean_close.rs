//! Chapter 8: the last message before a close.
//!
//! A client sends `Quit`. The server sends a last message, a goodbye or the reason of the
//! close, and closes the connection.
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
//! It seems that the kernel sends the written bytes, and then the end of the connection. TCP
//! seems to guarantee that.
//!
//! # How it fails
//!
//! In `make experiment CHAPTER=clean_close`, four kinds of clients disconnect, a hundred of
//! each. Three kinds send more text behind their `Quit`, as after a paste.
//!
//! ```text
//! the last message to 100 clients of each kind:
//!                                            naive         |     this server
//! the client sends Quit                 read  error   lost |   read  error   lost
//! and nothing else                       100      0      0 |    100      0      0
//! and 64 KB                                0    100      0 |    100      0      0
//! and 64 KB, and stops at an error         0      1     99 |    100      0      0
//! and 64 KB, and has 200 KB to read        0      0    100 |    100      0      0
//! ```
//!
//! *error* counts the clients that read the message, and then get an error instead of the end
//! of input. *lost* counts the clients that never read the message.
//!
//! *A close with unread input is a reset.* TCP guarantees that the bytes of one side are read
//! by the other side, or that the sender learns that they were not. If a socket is closed with
//! unread input, the kernel can no longer keep the first part. So it keeps the second, and
//! sends a reset instead of the end of input ([RFC 1122], 4.2.2.13). [RFC 2525], 2.17, calls it
//! a fault if it does not. The same happens if input arrives after the close. The client did
//! nothing wrong. It has only sent more than the server has read.
//!
//! *A reset destroys bytes that are on their way.* The kernel discards the server's send
//! buffer. The fourth kind of client had not read everything yet, and loses the last message
//! with all messages before it. Bytes in the client's kernel may be discarded too ([RFC 9293],
//! 3.10.7.4). Linux does not do that, as the second row shows. The client reads the message,
//! and then gets an error instead of the end of input.
//!
//! *After an error, many clients do not read on.* The third kind was still sending when its
//! write failed. The message is in its own kernel. But most programs return the error with `?`,
//! and report "connection reset by peer" instead of the message.
//!
//! This is worst if the message matters: a refusal, an error, a reason. Exactly these are sent
//! to clients that have just sent input, and the server is not going to read that input.
//!
//! # The fix
//!
//! Send the message and end *your own output*. Then read and drop input until the client has
//! closed its side, and close:
//!
//! - The [`writer`] thread writes all that is queued, and then calls `shutdown(Write)` (its
//!   `close`). The end of input follows the last message and cannot overtake it.
//! - Then the reader thread reads and drops input ([`drain_input`]). The client reads the
//!   message and the end of input, and closes its side. Now neither side has unread input.
//! - Both steps have a timeout. Otherwise a client could keep its two threads forever.
//!   [`CLOSE_TIMEOUT`] is one second. After that, the close is a reset after all. There is no
//!   limit in bytes: a client that sends megabytes must not lose its last message for that.
//!
//! Two cases are special. A refused connection has no threads, and must not get any. One
//! thread, the [`refuser`], keeps up to [`MAX_PENDING_REFUSALS`] of them open at a time. And at
//! a shutdown, all connections together have only [`SHUTDOWN_CLOSE_TIMEOUT`], because a server
//! that is told to stop should stop.
//!
//! What it costs: two threads without work, for at most a second. And the guarantee is not
//! complete. Over a slow network or on a busy machine, a client may need more than that second.
//! Then it may lose bytes that are on their way. SO_LINGER is often suggested for this problem,
//! but it solves another one. It lets `close` wait for the bytes that were sent, and the close
//! is still a reset.
//!
//! # Exercise
//!
//! `send_and_close` in `tests/exercises/clean_close.rs` is naive. Change it so that a client
//! can read the message. It must use one thread and a bounded time, even if the client reads
//! nothing, never closes, or keeps sending single bytes.
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
