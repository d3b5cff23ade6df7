//! Chapter 3: the slow reader.
//!
//! Now each client has a queue, and a writer thread that writes its queue to its socket. Only
//! that thread waits for the socket. This chapter is about a client that does not read.
//!
//! # The naive version
//!
//! There are two kinds of channel, and you can use the bounded one in two ways:
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
//! alice sends 20000 messages of 2000 bytes, bob reads, carol reads only at the end:
//!                    responses    messages       memory   messages
//!                     to alice      to bob       growth   to carol
//! unbounded              20000       20000    36368 KiB   20000
//! bounded, waiting        2224        2224      524 KiB   2225
//! bounded, dropping      20000       20000      528 KiB   2224
//! this server            20000       20000      352 KiB   241, and 2 notices: 19759 missed
//! this server with --write-timeout 1, carol reads after the timeout:
//!   142, then the end of input
//! ```
//!
//! *Unbounded* looks best. It loses nothing, but it keeps all messages in your memory: 36 MiB
//! for one client in a few seconds. A program that connects a hundred times and reads nothing
//! can end the server. ([Tokio's chat example] does this, to stay short.)
//!
//! *Bounded, waiting* slows alice down to the speed of the slowest reader, which is zero. After
//! 2,224 messages she gets no more responses. The next client that sends is blocked in the same
//! way. The room is blocked again, this time without a lock. (A timeout makes the room slow
//! instead. [ssh-chat] waits up to five seconds for each message to a stuck user.)
//!
//! *Bounded, dropping* blocks no client, but the recipient cannot know that messages are
//! missing. Carol gets 2,224 messages of 20,000. The limit is also a count: 256 messages of 2
//! KB in this run. A count limits the memory only if all messages are small.
//!
//! In each of the three, some 2,000 of carol's messages had already left the queue. The two
//! kernels held them: 4 MB. That is memory too, and no limit of the program counts it.
//!
//! # The fix
//!
//! If a client reads too slowly, a client must wait or miss messages. The server chooses the
//! slow reader.
//!
//! - *The limit is in bytes* ([`Outbox::send`], with [`DEFAULT_QUEUE`]). The channel itself is
//!   unbounded. A counter beside it holds the bytes of each delivery, from the enqueue until
//!   the kernel has accepted all of it. (A bounded channel would also allocate all of its slots
//!   at once, for each idle client.)
//! - *A delivery that does not fit is counted.* The client gets the count at the position of
//!   the gap: behind all earlier deliveries, and before the next delivery that fits. Carol got
//!   two notices of gaps, and 241 + 19,759 is 20,000. Her client knows where messages are
//!   missing, and she can ask for them.
//! - *The sender gets a report too.* The response to a private message that does not fit is
//!   `502` ([`SendError::Full`]).
//! - *The kernel buffers little*: `SO_SNDBUF` is [`SEND_BUFFER_SIZE`]. So carol gets 241
//!   messages here, and not 2,000.
//! - *The connection has a timeout.* If the kernel has not accepted a whole batch at the write
//!   timeout, the server closes the connection ([`writer`]). The limit is for the whole batch.
//!   `SO_SNDTIMEO` alone limits each `send`, and a client that takes one byte now and then
//!   never reaches that limit. The last line of the transcript shows this end. The notice `You
//!   read too slowly` is sent only if the kernel has room for it, and in this run it had none.
//!
//! What it costs: a lock for each message to each recipient, held while the item enters the
//! queue. And a delivery can now fail in part. The protocol must define what a gap looks like
//! ([section 7](crate::protocol)), and each client must understand it.
//!
//! # Exercise
//!
//! This server drops the newest message. For some data, for example prices, the newest is the
//! one that counts, and a queue should drop the oldest. The queue in
//! `tests/exercises/slow_reader.rs` holds at most sixteen messages, and drops the newest.
//! Change it so that its limit is in bytes, and so that it drops the oldest messages, as few as
//! possible. It must report each gap at its position.
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
