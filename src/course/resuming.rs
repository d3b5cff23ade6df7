//! Chapter 9: resuming.
//!
//! A connection breaks and its client comes back on another one: the laptop has changed from
//! cable to Wi-Fi. What was sent to it meanwhile, and just before, should be there.
//!
//! # The naive version
//!
//! The first has none of this: a client is its connection, and ends with it. The others keep
//! a queue, which the writer of the next connection goes on to empty. They differ in what they
//! do with what the last one was writing:
//!
//! ```
//! fn forget_the_rest(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
//!     loop {
//!         socket.write_all(&mailbox.batch())?;
//!     }
//! }
//! ```
//!
//! ```
//! fn begin_the_batch_again(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
//!     loop {
//!         let batch = mailbox.batch();
//!         if let Err(e) = socket.write_all(&batch) {
//!             *mailbox.left.lock() = batch;
//!             return Err(e);
//!         }
//!     }
//! }
//! ```
//!
//! ```
//! fn go_on_where_it_broke(mailbox: &Mailbox, mut socket: &TcpStream) -> io::Result<()> {
//!     loop {
//!         let mut batch = mailbox.batch();
//!         while !batch.is_empty() {
//!             match socket.write(&batch) {
//!                 Ok(count) => drop(batch.drain(..count)),
//!                 Err(e) => {
//!                     *mailbox.left.lock() = batch;
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
//! `make experiment CHAPTER=resuming` has a client stop reading, sends it more than its kernel
//! takes, and has it come back. It then reads both connections to their ends, so that it is
//! known to the message what became of each.
//!
//! ```text
//! 10 times a client stops reading, and comes back on another connection;
//! of 400 messages to it each time, so many were
//!                            read   lost  twice   torn
//!   a new mailbox             949   3051      0      0
//!   forget_the_rest          2949   1051      0      0
//!   begin_the_batch_again    4000      0    859      0
//!   go_on_where_it_broke     3990     10      0     10
//!   this server              4000      0      0      0
//! ```
//!
//! *What a writer has in its hands is in no queue.* `write_all` has failed, and the batch is
//! dropped with the stack frame: a fourth of all messages here, for each of which the sender
//! was told that it is delivered.
//!
//! *`write_all` does not say how far it came.* Who puts the whole batch back sends a second
//! time what the kernel had taken: some 90 messages at each return.
//!
//! *Bytes are not messages* (see [chapter 1](super::lines)). The third counts them, loses
//! none, sends none twice, and is wrong all the same: the first half of a message is the last
//! that the old connection has carried, and the other half the first that the new one
//! does. Neither can be read, and where lines are counted in threes, nor can anything behind
//! it.
//!
//! # The fix
//!
//! *The session is not the connection.* An [`Outbox`] belongs to a session, and a connection is
//! only attached to it ([`Attachment`]); when it breaks, the session lingers with its name
//! and its queue until somebody comes with its token, or nobody has for a minute
//! ([`resume`], [`break_session`], [`sweeper`]).
//!
//! *The queue holds messages, and a message leaves it when the kernel has taken all of it.*
//! A writer thread does not own what it writes. The [`outbox`](crate::outbox) keeps the items
//! that were taken out of the channel and not written. `write_batch` in `attachment.rs` therefore
//! does not use `write_all`: it counts the accepted bytes. `settle` in `batch.rs` removes the
//! items that the kernel accepted completely, and puts the others back, in order.
//!
//! *The offset belongs to the connection, the message to the session.* Each connection has its
//! own offset of a partial write. The next connection begins with none, so the message comes
//! again whole. The items have types, because not all of them may move. Deliveries and notices
//! of a gap do. Responses die with the connection that asked.
//!
//! *No thread waits for the old connection.* It may be blocked in a write until its timeout,
//! while the new one is ready. To attach is one step under a lock ([`attach`]). Then the new
//! connection's reader thread evicts the old one ([`evict`]): it shuts the socket down if a
//! message was begun there, and otherwise sends a last notice.
//!
//! What it costs: two connections, a writer each, senders who write too (direct writes), and a
//! break at any byte are more orders than one can think through. So a model checker tries
//! them (`make model`), and `tests/it/resuming.rs` does from outside.
//!
//! And it does not do everything. What a kernel has taken and its client never read is gone
//! with them, and the server cannot know: an acknowledgement of TCP's says that the other
//! machine has it, not that somebody has read it. For that the client has to
//! acknowledge what it has, as XMPP lets it ([XEP-0198]).
//!
//! # Exercise
//!
//! Do that. In `tests/exercises/resuming.rs` each message has a number, and the client says now
//! and then up to which it has them all. The `Mailbox` there forgets a message when it has
//! been written. Have it lose nothing, send nothing twice to who has it, and keep no more
//! than it must.
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
