//! Chapter 6: a name race.
//!
//! A name belongs to one client at a time. Everyone who comes wants one, some want the same,
//! and each is served by a thread of its own.
//!
//! # The naive version
//!
//! There are two. The first looks whether the name is free, tells the client that it has it,
//! and enters it. It has a reason for that order: once a client stands in the map, anybody
//! may write to it, and what it reads first ought to be its name.
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
//! The second looks and enters in one section, and answers when it has let go of the lock,
//! because nobody writes to a socket under a lock ([chapter 2](super::fan_out)).
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
//! two clients want the same name at the same moment, 2000 times: both got it
//!   answer_then_insert     464
//!   insert_then_answer       0
//!   this server              0
//! 2000 clients log in while others send to all: their first message is disturbed
//!   answer_then_insert       0
//!   insert_then_answer      28
//!   this server              0
//! ```
//!
//! *Between the look and the act the world goes on.* Both threads look, both see that the
//! name is free, both act. Each section is right by itself: the lock guards the map, and not
//! the decision. Nothing here sleeps to make that happen: a write to a socket takes its time, and
//! that was enough for 62 to 811 pairs in a dozen runs. The one who is entered last is found
//! under the name. The other has been told that it is alice, hears nothing ever, and takes
//! the name out of the map when it leaves. An IRC server did that ([mammon 63]), and another
//! did not free a name when its owner had changed it ([ergo 1252]).
//!
//! *Who is in the map can be found.* In the second version a sender finds the new client
//! before it has been told who it is. It happens to some in a hundred, and only while somebody
//! is talking, so no test that has one client at a time has ever seen it. That what it reads
//! first is not even one of the two messages, but both, one within the other, comes of
//! `write!`: on a socket it is a system call for each piece of the format string.
//!
//! So the answer can stand neither before the insertion nor behind it, nor, as it is written
//! to a socket, under the lock.
//!
//! # The fix
//!
//! [`claim`] looks, decides, *queues the response* and inserts in one write section. To queue is
//! not to write. [`attach`] makes the response the first message of the session's outbox. That
//! never blocks, so it is allowed where a write is not. Another thread finds the session only
//! later, and what it queues follows. The order of the map has become the order of the queue.
//! The response is written when the lock is free.
//!
//! [`rename`] gives the old name up and takes the new one in one section too, so nobody sees
//! a client under both or none. And a client that leaves late does not take anything with it
//! that is another's by then: a connection gives up a session only if it is still its
//! own, by its number, which is never given again ([`end_session`]).
//!
//! Two tests hold this to it: `of_many_who_race_for_a_name_one_gets_it` beside the session
//! map, and `the_answer_to_the_first_name_stands_before_the_first_delivery` from outside.
//!
//! What it costs: the session map has to know that there are outboxes, and a second lock is
//! taken under the first. In which order locks are taken is a rule that everybody has to keep
//! from then on ([the lock rule](crate#the-lock-rule)).
//!
//! # Exercise
//!
//! In `tests/exercises/name_race.rs` stand names that are looked up and then claimed, and
//! are changed by giving one up and claiming another. Make each of these one step, for names
//! that are the same in whatever case. The lock there gives others a turn whenever it is let
//! go: what a scheduler does to you now and then, it does always.
//!
//! ```sh
//! make exercise CHAPTER=name_race
//! ```
//!
//! [mammon 63]: https://github.com/mammon-ircd/mammon/issues/63
//! [ergo 1252]: https://github.com/ergochat/ergo/issues/1252
//! [`claim`]: crate::sessions::Registration::claim
//! [`end_session`]: crate::sessions::Registration::end_session
//! [`rename`]: crate::sessions::Sessions::rename
//! [`attach`]: crate::outbox::writer::Writer::attach
