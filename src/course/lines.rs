//! Chapter 1: reading lines from a stream.
//!
//! A client sends a line and waits for the response. Reading a line looks like the simplest
//! part of a server.
//!
//! # The naive version
//!
//! There are two. The first assumes that one `read` returns the bytes of one `write`:
//!
//! ```
//! fn answer_each_read(mut socket: TcpStream) -> io::Result<()> {
//!     let mut buffer = [0; 4096];
//!     loop {
//!         let count = socket.read(&mut buffer)?;
//!         if count == 0 {
//!             return Ok(());
//!         }
//!         let line = String::from_utf8_lossy(&buffer[..count]);
//!         writeln!(socket, "Pong {}", line.trim_end())?;
//!     }
//! }
//! ```
//!
//! The second leaves the lines to the standard library:
//!
//! ```
//! fn answer_each_line(mut socket: TcpStream) -> io::Result<()> {
//!     let input = BufReader::new(socket.try_clone()?);
//!     for line in input.lines() {
//!         writeln!(socket, "Pong {}", line?)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # How it fails
//!
//! `make experiment CHAPTER=lines` sends the same bytes to both, and to this server:
//!
//! ```text
//! one line in two writes:
//!   one read     Pong he, Pong llo
//!   lines()      Pong hello
//!   this server  Pong hello
//! three lines in one write:
//!   one read     Pong one, two, three
//!   lines()      Pong one, Pong two, Pong three
//!   this server  Pong one, Pong two, Pong three
//! a line that is not UTF-8, and another:
//!   one read     Pong caf�, still here
//!   lines()      (nothing)
//!   this server  400 Bad Request, Not UTF-8, Pong still here
//! Ctrl-C in telnet, and a line:
//!   one read     Pong ����, Pong still here
//!   lines()      (nothing)
//!   this server  (won't), Pong still here
//! 64 MiB without the end of a line:
//!   one read     0 KiB more memory
//!   lines()      65608 KiB more memory
//!   this server  20 KiB more memory
//! ```
//!
//! *TCP carries bytes, not messages.* One `write` may arrive in several reads, and several
//! writes in one read. That depends on the network and on the load of the machines. On your own
//! machine it happens rarely, so the first version seems to work.
//!
//! *`lines()` promises too much.* Its items are `String`s, so the first byte that is not UTF-8
//! is an error. The `?` returns it, and the server closes the connection without a message. All
//! input behind that byte is lost. Its items are also whole lines, however long they are. So a
//! client that never ends its line can use up the server's memory: in the run above, one MiB
//! for each MiB that it sends. ([`BufRead::read_line`] documents this, and recommends
//! [`Read::take`].)
//!
//! *A terminal sends bytes that its user did not type.* On Ctrl-C, the program `telnet` sends
//! the five bytes `FF F4 FF FD 06`: interrupt, and "do timing mark". Until the server answers
//! the timing mark ([RFC 860]), it shows no output, and the user believes that the server is
//! dead. The same bytes ended a small IRC server, with all of its clients ([miniircd 32]).
//!
//! # The fix
//!
//! [`LineReader`] keeps its state between two calls, so it does not matter where the network
//! cuts the bytes. A property test in the same file, `cuts_do_not_change_the_lines`, cuts arbitrary
//! bytes at arbitrary places. A line is a sequence of bytes. [`request`] checks later whether
//! it is text. There the response can be `400`, and the client can go on.
//!
//! The limit is in `BoundedLine::push`, in the same file. It drops the bytes of a line that
//! becomes longer than [`MAX_LINE`]. The reader then skips the rest of the line, and reports
//! [`Line::TooLong`] at its end. The skipping is as important as the limit. A reader that stops
//! at the limit takes the rest of the line for the next one.
//!
//! A filter with six states, [`TelnetFilter`], removes the telnet bytes before that. It is used
//! in a `Read` around a `Read` (`Input` in [`connection`]). It does not need to know the text,
//! because the byte `FF` does not occur in UTF-8. It answers each "do" with "won't".
//!
//! What it costs: a file of its own, where `lines()` is one call, and a buffer for each client.
//! The buffer starts at [`FIRST_READ_BUFFER_SIZE`], and grows if the client sends much at once.
//!
//! # Exercise
//!
//! This server refuses a line that is too long. Another server may prefer to keep its
//! beginning. `next_line` in `tests/exercises/lines.rs` reads whole lines of any length, and
//! fails at the first byte that is not UTF-8. Change it so that it keeps the first 1,000 bytes
//! of a line, and reports how many bytes it left out. It must also replace bytes that are not
//! UTF-8, and never cut a character in half.
//!
//! ```sh
//! make exercise CHAPTER=lines
//! ```
//!
//! [`BufRead::read_line`]: std::io::BufRead::read_line
//! [`Read::take`]: std::io::Read::take
//! [RFC 860]: https://www.rfc-editor.org/rfc/rfc860
//! [miniircd 32]: https://github.com/jrosdahl/miniircd/issues/32
//! [`LineReader`]: crate::net::line_reader::LineReader
//! [`Line::TooLong`]: crate::protocol::framing::Line::TooLong
//! [`MAX_LINE`]: crate::limits::MAX_LINE
//! [`FIRST_READ_BUFFER_SIZE`]: crate::limits::FIRST_READ_BUFFER_SIZE
//! [`request`]: mod@crate::protocol::request
//! [`TelnetFilter`]: crate::protocol::telnet::TelnetFilter
//! [`connection`]: crate::server::connection
