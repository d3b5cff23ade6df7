//! Chapter 12: several servers, and what a response promises.
//!
//! One server is not enough, or must not be the only one. So two servers share a chat, and pass
//! messages to each other through [Redis]. Each server is a *node*. Alice is a client of the first
//! node, and bob of the second. Alice sends a private message to bob, and her node sends her a
//! response. This chapter is about the moment at which her node may send `200 OK`.
//!
//! # The naive version
//!
//! There are two. The first uses a channel of Redis. Each node subscribes to its own channel.
//! Redis passes a message on to all subscribers at that moment, and returns their number. If
//! there is no subscriber, the response is 502.
//!
//! ```
//! fn publish(link: &mut Link, message: &str) -> io::Result<Response> {
//!     let subscribers = link.redis.ask(&["PUBLISH", BOBS_NODE, message])?;
//!     Ok(if subscribers == ["0"] {
//!         Response::BadGateway
//!     } else {
//!         Response::Ok
//!     })
//! }
//! ```
//!
//! The second uses a stream of Redis, which keeps messages until a node deletes them. So a node
//! that is slow, or connects again, finds all of them.
//!
//! ```
//! fn append(link: &mut Link, message: &str) -> io::Result<Response> {
//!     // Redis returns the position of the message in the stream, or an error.
//!     link.redis.ask(&["XADD", INBOX, "*", "message", message])?;
//!     Ok(Response::Ok)
//! }
//! ```
//!
//! The node of bob reads the messages, and puts each one into bob's queue ([chapter
//! 3](super::slow_reader)).
//!
//! # How it fails
//!
//! In `make experiment CHAPTER=confirmation`, fifty clients send messages to bob. In the middle,
//! his node gets a signal: `SIGKILL`, or `SIGSTOP`. A stopped node is like a machine that swaps,
//! or a virtual machine that its host has paused. The experiment can read bob's queue after the
//! kill. The second column counts the messages that were answered `200` and are not in the queue.
//! The last column counts those that were answered 502 and are in the queue.
//!
//! The experiment starts a Redis of its own, on a socket in a temporary folder. It needs
//! redis-server (on Debian: `apt-get install redis-server`), and is skipped without it. Other
//! programs were running on the machine at the same time.
//!
//! ```text
//! 1000 messages to bob. After 500 responses, his node is killed:
//!                      200  not queued     502  queued
//!   publish            514          50     486       0
//!   append            1000         499       0       0
//!   publish_and_wait   501           0     499       0
//! 1000 messages to bob. After 500 responses, his node stops, and is killed later:
//!                      200  not queued     502  queued
//!   publish           1000         502       0       0
//!   append            1000         513       0       0
//!   publish_and_wait   512           0     488       0
//! 1000 messages to bob. After 500 responses, his node stops, and continues later:
//!                      200  not queued     502  queued
//!   publish           1000           0       0       0
//!   append            1000           0       0       0
//!   publish_and_wait   512           0     488     488
//! The time until the response, without a fault:
//!   publish             14.6µs
//!   append              66.5µs
//!   publish_and_wait   166.7µs
//! ```
//!
//! *A subscriber is a connection.* `publish` counts the connections to which Redis has begun to
//! write. When the node is killed, messages are still in the memory of Redis and of the kernel.
//! Their senders have got `200`. Soon after that, Redis sees the end of the connection, and the
//! other senders get 502. So only 50 messages are lost here, as many as there are senders. In other
//! runs, these were up to 492.
//!
//! *A stopped node keeps its connection.* Redis counts it, and its buffer grows. All senders get
//! `200`. If the node is killed later, all these messages are lost. If it continues soon, it
//! reads all of them. But Redis limits that buffer, to 32 MB by default. Then it closes the
//! connection, and the messages are lost without any kill.
//!
//! *A stream keeps the messages, but not bob.* Redis has all messages that `append` lost. But
//! bob's session and his queue were in the memory of the node, and ended with it. No other node
//! reads this stream. If the node starts again, bob's session is not there. The stream also makes
//! the loss larger. With a channel, Redis notices that no node is there to read. A stream takes
//! messages for a dead node for as long as it has room.
//!
//! *Both have the same fault.* Redis reports that it has the message. Alice must know whether
//! bob's queue has it, and Redis cannot know that. So no setting of Redis helps, for example a
//! log on disk or a replica.
//!
//! # The fix
//!
//! *The node that queues the message confirms it, and only then is the response 200.* The node of
//! bob first queues the message. Then it sends a confirmation to the node of alice.
//!
//! ```
//! fn queue_and_confirm(redis: &mut Redis, message: &str) -> io::Result<bool> {
//!     let goes_on = queue(message)?;
//!     redis.ask(&["PUBLISH", ALICES_NODE, message])?;
//!     Ok(goes_on)
//! }
//! ```
//!
//! The thread that serves alice waits for the confirmation. Another thread of her node reads the
//! confirmations, and gives each one to the thread that waits for it.
//!
//! ```
//! fn publish_and_wait(link: &mut Link, message: &str) -> io::Result<Response> {
//!     let (confirm, confirmed) = bounded(1);
//!     // First, because the confirmation can arrive before Redis' reply.
//!     link.waiting.lock().insert(message.to_owned(), confirm);
//!     link.redis.ask(&["PUBLISH", BOBS_NODE, message])?;
//!     let is_confirmed = confirmed.recv_timeout(PATIENCE).is_ok();
//!     link.waiting.lock().remove(message);
//!     Ok(if is_confirmed {
//!         Response::Ok
//!     } else {
//!         Response::BadGateway
//!     })
//! }
//! ```
//!
//! In all three parts of the run, each message that was answered `200` is in the queue. All
//! others were answered 502.
//!
//! This is the *end-to-end argument* of a classic paper: Saltzer, Reed and Clark, "End-to-End
//! Arguments in System Design" (1984). Only the ends know whether the work is done. A check at
//! each step between them does not replace the check at the ends. It only makes failures rarer.
//! `publish_and_wait` uses the channel, which is less reliable than a stream. All the same, each
//! of its `200` responses is true.
//!
//! *The order is the guarantee.* A node that confirms when it has read the message, and queues it
//! after that, has the fault of Redis again. It can be killed in between, or the queue can be
//! full ([`SendError::Full`]).
//!
//! *502 means that the message may have arrived.* In the last part of the run, the node continues
//! after all senders have their responses. It queues the messages that were answered 502. The
//! response says so ([`Unreachable`]), because a sender that repeats its message may send it
//! twice. No further confirmation helps: the last one can always be lost. The first two
//! parts can have such messages too, because a node can be killed before it confirms.
//!
//! In this project, servers with the same `--redis` option are one chat. The cargo feature `redis`
//! adds that option, and the module `cluster`. The module confirms in this way, with some
//! additions:
//!
//! - A confirmation says what the node did: it has queued the message, the queue is full, or the
//!   session has ended. Only the first one leads to `200`.
//! - A broadcast goes to all nodes. Each confirms to how many sessions it has queued the
//!   broadcast. The response has the sum.
//! - The wait ends after 5 s. A node skips private messages that are older than 4 s. So none arrives
//!   long after its sender was told that it may not have arrived.
//! - If nothing has come from a node for 1 s, senders do not wait for it until it is heard again.
//! - The thread that reads from Redis never waits for a node or a client. Otherwise two nodes
//!   could wait for each other.
//! - Messages go through a stream for each node all the same. It keeps them in order, it is
//!   bounded, and a node that connects again loses none. That makes 502 rare. It does not decide
//!   between 200 and 502.
//!
//! `200` promises no more than with one server. The message is in bob's queue, and the queue ends
//! with his session. If his node is killed after the confirmation, the queue is lost. Redis could
//! keep the queue itself, until bob's client has acknowledged the messages ([chapter
//! 10](super::resuming)). Then the ends are the two clients. Such a chat must also decide how long
//! it keeps messages for a client that never returns.
//!
//! What it costs: bob's node, Redis and the thread that reads confirmations must wake up before
//! the response ([chapter 4](super::thread_cost)). So it takes 0.17 ms here, where `publish`
//! needs 0.015 ms. These times vary widely from run to run. Each message costs Redis two commands
//! instead of one. And if a node fails, the clients that write to it wait until the timeout.
//!
//! # Exercise
//!
//! `tests/exercises/confirmation.rs` has the wait for the confirmations of a broadcast. The
//! function there trusts that each entry of its inbox is a confirmation that it waits for. Make
//! it wait for several nodes with a single deadline. It leaves out a node that is silent for a
//! second, and counts only confirmed sessions. The test has a clock of its own, so it needs
//! neither Redis nor time.
//!
//! ```sh
//! make exercise CHAPTER=confirmation
//! ```
//!
//! [Redis]: https://redis.io/docs/latest/develop/pubsub/
//! [`SendError::Full`]: crate::outbox::SendError::Full
//! [`Unreachable`]: crate::protocol::unreachable::Unreachable
