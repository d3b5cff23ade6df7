//! Chapter 10: resuming a session.
//!
//! A connection is lost, and its client reconnects: for example, a laptop has changed from
//! cable to Wi-Fi. The client should get the messages that were sent meanwhile, and those just
//! before.
//!
//! # The naive version
//!
//! In the first version, a client is its connection and ends with it. The other versions keep a
//! queue. When a client reconnects, the writer thread of its new connection goes on with that
//! queue. These versions differ in what they do with the batch that the last writer thread was
//! writing:
//!
//! ```
//! fn drop_the_batch(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
//!     loop {
//!         socket.write_all(&mailbox.batch())?;
//!     }
//! }
//! ```
//!
//! ```
//! fn repeat_the_batch(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
//!     loop {
//!         let batch = mailbox.batch();
//!         if let Err(e) = socket.write_all(&batch) {
//!             *mailbox.unwritten.lock() = batch;
//!             return Err(e);
//!         }
//!     }
//! }
//! ```
//!
//! ```
//! fn continue_the_batch(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
//!     loop {
//!         let mut batch = mailbox.batch();
//!         while !batch.is_empty() {
//!             match socket.write(&batch) {
//!                 Ok(count) => drop(batch.drain(..count)),
//!                 Err(e) => {
//!                     *mailbox.unwritten.lock() = batch;
//!                     return Err(e);
//!                 }
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! # How it fails
//!
//! In `make experiment CHAPTER=resuming`, a client stops reading, gets more messages than its
//! kernel accepts, and reconnects. It then reads both connections to the end. So the experiment
//! knows the result for every message.
//!
//! ```text
//! 10 times, a client stops reading and reconnects. Of 400 messages each time:
//!                            read   lost  twice   torn
//!   a new mailbox             949   3051      0      0
//!   drop_the_batch           2949   1051      0      0
//!   repeat_the_batch         4000      0    859      0
//!   continue_the_batch       3990     10      0     10
//!   this server              4000      0      0      0
//! ```
//!
//! *A batch that is being written is not in the queue.* `write_all` fails, and the batch is
//! dropped with the stack frame. Here it has a quarter of all messages. For each of them, the
//! sender got the response that it is delivered.
//!
//! *`write_all` does not report how much it has written.* If the whole batch goes back to the
//! queue, the bytes that the kernel had accepted are sent twice: some 90 messages each time.
//!
//! *Bytes are not messages* (see [chapter 1](super::lines)). The third version counts bytes. It
//! sends no byte twice and loses none, and is wrong all the same. The old connection ends with
//! the first half of a message, and the new one begins with the other half. The client can
//! parse neither. If it reads messages as groups of three lines, it cannot parse the messages
//! behind them either.
//!
//! # The fix
//!
//! *The session is not the connection.* An [`Outbox`] belongs to a session. A connection is
//! only attached to it ([`Attachment`]). When the connection is lost, the session lingers with
//! its name and its queue. A client can resume it with its token. Otherwise it ends after a
//! minute ([`resume`], [`break_session`], [`sweeper`]).
//!
//! *The queue holds messages. A message leaves it when the kernel has accepted all of it.* A
//! writer thread does not own the messages that it writes. The [`outbox`](crate::outbox) keeps
//! the items that were taken out of the channel and not written. So `write_batch` in
//! `attachment.rs` does not use `write_all`. It counts the accepted bytes. `commit_written` in
//! `batch.rs` removes the items that the kernel accepted completely, and puts the others back,
//! in order.
//!
//! *The offset belongs to the connection, the message to the session.* Each connection has its
//! own offset of a partial write. The next connection starts without one, so it sends the whole
//! message again. The items have types, because not all of them may move to another connection.
//! Deliveries and notices of gaps do. Responses are dropped with the connection that sent the
//! requests.
//!
//! *No thread waits for the old connection.* It may be blocked in a write until its timeout,
//! while the new one is ready. Attaching is one step under a lock ([`attach`]). Then the reader
//! thread of the new connection evicts the old one ([`evict`]). It sends a last notice there.
//! If a message was partly written, or the old writer thread may be blocked in a write, it
//! shuts the socket down instead.
//!
//! What it costs: there are two connections with a writer thread each, other threads that write
//! too (direct writes), and a loss after any byte. That gives more orders of events than a
//! person can think through. So a model checker tests them (`make model`), and
//! `tests/it/resuming.rs` tests them from outside.
//!
//! And some losses remain. Bytes that a kernel has accepted and its client has never read are
//! lost with the client, and the server cannot know that. An acknowledgement of TCP says that
//! the other machine has the bytes, not that a program has read them. For that, the client must
//! acknowledge the messages that it has, as in XMPP ([XEP-0198]).
//!
//! # Exercise
//!
//! Implement these acknowledgements. In `tests/exercises/resuming.rs` each message has a
//! number. From time to time the client sends a number up to which it has all messages. The
//! `Mailbox` there forgets a message when it has been written. Change it so that it loses no
//! message, sends no message again that the client has, and keeps no message longer than
//! necessary.
//!
//! ```sh
//! make exercise CHAPTER=resuming
//! ```
//!
//! [XEP-0198]: https://xmpp.org/extensions/xep-0198.html
//! [`Outbox`]: crate::outbox::Outbox
//! [`Attachment`]: crate::outbox::Attachment
//! [`attach`]: crate::outbox::writer::Writer::attach
//! [`evict`]: crate::outbox::Evicted::evict
//! [`resume`]: crate::sessions::Registration::resume
//! [`break_session`]: crate::sessions::Registration::break_session
//! [`sweeper`]: crate::server::sweeper
