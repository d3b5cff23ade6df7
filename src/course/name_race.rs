//! Chapter 6: a race for a name.
//!
//! A name belongs to one client at a time. Every client wants a name, some want the same one,
//! and each client is served by a thread of its own.
//!
//! # The naive version
//!
//! There are two. The first checks that the name is free, sends the response, and then inserts
//! the name. There is a reason for that order. Once a client is in the map, other threads may
//! write to it, and the response should be the first message that it reads.
//!
//! ```
//! fn answer_then_insert(names: &Names, name: &str, client: &Arc<TcpStream>) -> io::Result<bool> {
//!     if names.read().contains_key(name) {
//!         return Ok(false);
//!     }
//!     write!(&**client, "200 OK\r\n\r\nYou are {name}\r\n")?;
//!     names.write().insert(name.to_owned(), Arc::clone(client));
//!     Ok(true)
//! }
//! ```
//!
//! The second checks and inserts in one write section. It sends the response after it has
//! released the lock, because a thread must not write to a socket under a lock ([chapter
//! 2](super::fan_out)).
//!
//! ```
//! fn insert_then_answer(names: &Names, name: &str, client: &Arc<TcpStream>) -> io::Result<bool> {
//!     let mut locked = names.write();
//!     if locked.contains_key(name) {
//!         return Ok(false);
//!     }
//!     locked.insert(name.to_owned(), Arc::clone(client));
//!     drop(locked);
//!     write!(&**client, "200 OK\r\n\r\nYou are {name}\r\n")?;
//!     Ok(true)
//! }
//! ```
//!
//! # How it fails
//!
//! `make experiment CHAPTER=name_race`
//!
//! ```text
//! two clients claim the same name at the same time, 2000 times. Both get it:
//!   answer_then_insert     464
//!   insert_then_answer       0
//!   this server              0
//! 2000 clients log in during broadcasts. Their first message is not the response:
//!   answer_then_insert       0
//!   insert_then_answer      28
//!   this server              0
//! ```
//!
//! *Other threads run between the check and the insert.* Both threads check, both find the name
//! free, and both go on. Each section alone is correct. The lock guards the map, but not the
//! decision. No sleep is needed for that: a write to a socket takes long enough. In a dozen
//! runs, 62 to 811 pairs of clients both got the name. The map then has the client that was
//! inserted last. The other client believes that it is alice, and gets no messages. When it
//! leaves, it removes the name from the map. An IRC server had this fault ([mammon 63]).
//! Another one did not free a name when its owner had changed it ([ergo 1252]).
//!
//! *A client in the map can be found.* In the second version, a sender finds the new client
//! before the client has its response. This happens to about one client in a hundred, and only
//! while other clients send. So a test with one client at a time never finds it. The first
//! message is then not even one of the two messages, but both, mixed with each other. The
//! reason is `write!`: on a socket it makes a system call for each piece of the format string.
//!
//! So the response can be sent neither before the insert nor after it. Nor can it be sent under
//! the lock, because a write to a socket may block.
//!
//! # The fix
//!
//! [`claim`] checks, decides, *queues the response* and inserts, all in one write section.
//! Queuing is not writing. [`attach`] makes the response the first message of the session's
//! outbox. That never blocks, so it is allowed under the lock. Other threads find the session
//! only later, and what they queue comes after the response. So the order in the map becomes
//! the order in the queue. The response is written after the lock has been released.
//!
//! [`rename`] releases the old name and takes the new one, also in one section. So no thread
//! sees the client under both names or under none. A connection that ends late cannot release a
//! name that belongs to another client by then. It ends a session only if the session still
//! belongs to this connection. It checks its number, which no other connection ever has
//! ([`end_session`]).
//!
//! Two tests check this: `concurrent_claims_give_name_to_one_session` beside the session map, and
//! `response_to_first_name_precedes_all_deliveries` from outside.
//!
//! What it costs: the session map must know that there are outboxes, and a second lock is taken
//! under the first. All code must then keep the same lock order ([the lock
//! order](crate#lock-order)).
//!
//! # Exercise
//!
//! `Names` in `tests/exercises/name_race.rs` first looks a name up, and then claims it. It
//! changes a name by releasing one and claiming another. Make each of these a single step.
//! Names that differ only in case count as the same name. The lock there yields to other
//! threads whenever it is released. So it always does what a scheduler does now and then.
//!
//! ```sh
//! make exercise CHAPTER=name_race
//! ```
//!
//! [mammon 63]: https://github.com/mammon-ircd/mammon/issues/63
//! [ergo 1252]: https://github.com/ergochat/ergo/issues/1252
//! [`claim`]: crate::sessions::Registration::claim
//! [`end_session`]: crate::sessions::Registration::end_session
//! [`rename`]: crate::sessions::Registration::rename
//! [`attach`]: crate::outbox::writer::Writer::attach
