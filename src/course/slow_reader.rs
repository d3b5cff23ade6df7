//! Chapter 3: the slow reader.
//!
//! Each client has a queue now, and a thread that writes what is in it, so that nobody waits
//! for a client's socket but that thread. What if the client does not read?
//!
//! # The naive version
//!
//! The channel is there in two kinds, and the bounded one can be used in two ways:
//!
//! ```
//! const UNBOUNDED: Kind = Kind {
//!     queue: unbounded,
//!     send: |queue, message| drop(queue.send(message)),
//! };
//! const WAITING: Kind = Kind {
//!     queue: || bounded(256),
//!     send: |queue, message| drop(queue.send(message)),
//! };
//! const DROPPING: Kind = Kind {
//!     queue: || bounded(256),
//!     send: |queue, message| drop(queue.try_send(message)),
//! };
//! ```
//!
//! The rest is the same for all three (a `Message` is an `Arc<str>`):
//!
//! ```
//! fn broadcast(members: &Members, kind: Kind, sender: &str, text: &str) {
//!     let message: Message = format!("{sender}: {text}\n").into();
//!     let members = members.lock().unwrap().clone();
//!     for (name, queue) in members {
//!         if name != sender {
//!             (kind.send)(&queue, Arc::clone(&message));
//!         }
//!     }
//! }
//! ```
//!
//! # How it fails
//!
//! `make experiment CHAPTER=slow_reader`
//!
//! ```text
//! alice writes 20000 messages of 2000 bytes, bob reads, carol does not:
//!                     alice is     and bob   the memory   carol, who reads
//!                     answered         has     grows by   in the end, gets
//! unbounded              20000       20000    36368 KiB   20000
//! bounded, waiting        2224        2224      524 KiB   2225
//! bounded, dropping      20000       20000      528 KiB   2224
//! this server            20000       20000      352 KiB   241, and 2 times "Missed ...", of 19759
//! and with --write-timeout 1, when carol has read nothing for a second:
//!   142, and the end
//! ```
//!
//! *Unbounded* looks best. It loses nothing, and all of it is in your memory: 36 MiB for one
//! client in a few seconds. Whoever connects a hundred times and reads nothing can end the
//! server. ([Tokio's chat example] does it so, to stay short.)
//!
//! *Bounded and waiting* gives alice the pace of the slowest reader, which is zero. After
//! 2,224 messages she is not answered any more, and so it goes with whoever speaks next: the
//! room stands still, only without a lock this time. (A time limit makes it a stutter:
//! [ssh-chat] waits up to five seconds for each message to somebody who is stuck.)
//!
//! *Bounded and dropping* keeps everybody going, and lies. Carol has 2,224 messages of
//! 20,000 and cannot know it. And 256 of what? Here of 2 KB; a bound in messages is a
//! bound in memory only if all messages are small.
//!
//! And some 2,000 of carol's messages were in no queue any more, in each of the three: the
//! two kernels had them, 4 MB. That is memory too, which no bound of the program sees.
//!
//! # The fix
//!
//! The server has to choose who pays, and it is who reads too slowly.
//!
//! - *The bound is one of bytes* ([`Outbox::send`], with [`DEFAULT_QUEUE`]). The channel
//!   itself is unbounded; an account beside it says how much stands in it, from the queueing
//!   until the kernel has taken it. (A bounded channel would besides have all of its slots
//!   from the beginning, for each idle client.)
//! - *What does not fit is counted*, and the count is told where the gap is: behind
//!   what was queued before, and before the next that fitted. Carol was told of two gaps, and
//!   241 + 19,759 is 20,000. She can tell what she has not seen, and ask.
//! - *Who sends is told, too.* A private message that does not fit is answered `502`
//!   ([`SendError::Full`]).
//! - *The kernel keeps little*: `SO_SNDBUF` is [`SEND_BUFFER_SIZE`]. That is why carol has 241
//!   messages here and not 2,000.
//! - *It does not go on for ever.* When a batch has not been taken for the write timeout,
//!   the connection is broken ([`writer`]). The limit is for the whole batch: `SO_SNDTIMEO`
//!   alone is one for each `send`, which a client that takes a byte now and then meets for
//!   ever. The last line of the transcript shows the end. Whether the notice that belongs to
//!   it, `You read too slowly`, still finds room before one who does not read is luck; in
//!   this run it did not.
//!
//! What it costs: a lock for each message to each recipient, held while the item goes in;
//! and what is delivered is no longer a matter of yes or no. The protocol has to say what
//! a gap looks like ([section 7](crate::protocol)), and each client has to understand it.
//!
//! # Exercise
//!
//! What does not fit is dropped here, and it is the newest. Where the newest is what counts,
//! prices for instance, one drops the oldest. In `tests/exercises/slow_reader.rs` stands
//! a queue of at most sixteen messages that does neither well. Make it one of bytes, that
//! drops the oldest, no more of them than it has to, and tells of each gap in its place.
//!
//! ```sh
//! make exercise CHAPTER=slow_reader
//! ```
//!
//! [Tokio's chat example]: https://github.com/tokio-rs/tokio/blob/master/examples/chat.rs
//! [ssh-chat]: https://github.com/shazow/ssh-chat/blob/master/chat/message/user.go
//! [`Outbox::send`]: crate::outbox::Outbox::send
//! [`SendError::Full`]: crate::outbox::SendError::Full
//! [`DEFAULT_QUEUE`]: crate::limits::DEFAULT_QUEUE
//! [`SEND_BUFFER_SIZE`]: crate::limits::SEND_BUFFER_SIZE
//! [`writer`]: crate::outbox::writer
