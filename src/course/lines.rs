//! Chapter 1: reading lines from a stream.
//!
//! A client sends a line and waits for the answer. What could be simpler to read than a
//! line?
//!
//! # The naive version
//!
//! There are two. The first takes what one `read` gives for what one `write` sent:
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
//! The second knows better, and leaves it to the standard library:
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
//! `make experiment CHAPTER=lines` sends the same to both, and to this server:
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
//! *TCP carries bytes, not messages.* One `write` may arrive in many reads, and many
//! writes in one. On your own machine it does neither for a long time, which is why the
//! first version seems to work: the network decides, and how busy the machines are.
//!
//! *`lines()` is two promises too many.* It promises `String`s, so the first byte that is
//! not UTF-8 is an error, `?` passes it on, and whoever sent it is gone without a word, with
//! all that came behind it. And it promises the whole line, however long that is. A client
//! that never ends its line needs no skill to take all the memory there is: above it has
//! a MiB of the server's for each MiB that it sends. ([`BufRead::read_line`] says so in
//! its documentation, and recommends [`Read::take`].)
//!
//! *A terminal sends what was not typed.* On Ctrl-C the program `telnet` sends the five
//! bytes `FF F4 FF FD 06`: interrupt, and "do timing mark". It then shows nothing of what
//! the server sends until that is answered ([RFC 860]), so who pressed Ctrl-C goes deaf. The
//! same bytes ended a small IRC server for everybody ([miniircd 32]).
//!
//! # The fix
//!
//! [`LineReader`] keeps what it has read between two calls, so that the cuts of the network
//! change nothing; that is a property test beside it, `cuts_change_nothing`, which cuts any
//! bytes anywhere. Its lines are bytes: whether they are text is asked later, by [`request`],
//! where the answer can be `400` and the conversation goes on.
//!
//! The bound is in `BoundedLine::push` there: what makes a line longer than [`MAX_LINE`] is
//! skipped *and not kept*, and the line is reported as [`Line::TooLong`] when it ends. To
//! skip it is as important as to bound it: a reader that stops at the limit and goes on
//! from there takes the middle of a message for the beginning of the next.
//!
//! Telnet's bytes are taken out before, by a filter of six states ([`TelnetFilter`]) that
//! stands in the way as a `Read` around a `Read` (`Input` in [`connection`]). It can do
//! so without knowing anything of text, because the byte `FF` does not occur in UTF-8. What
//! it answers is "won't".
//!
//! What it costs: a file of its own where `lines()` is one word, and a buffer for each client,
//! which begins at [`FIRST_READ_BUFFER`] and grows for who has much to say.
//!
//! # Exercise
//!
//! This server refuses a line that is too long. Others would rather have its beginning. In
//! `tests/exercises/lines.rs` stands a `next_line` that reads whole lines, of any length,
//! and gives up at the first byte that is not UTF-8. Make it keep the first 1,000 bytes of
//! a line, say how many it has left out, replace what is not UTF-8, and never cut a character
//! in half.
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
//! [`FIRST_READ_BUFFER`]: crate::limits::FIRST_READ_BUFFER_SIZE
//! [`request`]: mod@crate::protocol::request
//! [`TelnetFilter`]: crate::protocol::telnet::TelnetFilter
//! [`connection`]: crate::server::connection
