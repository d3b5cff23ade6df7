//! Chapter 2: fan-out under a lock.
//!
//! What one client says goes to all others. Who they are stands in a map, and a map that
//! threads share has a lock.
//!
//! # The naive version
//!
//! ```
//! type Members = Mutex<HashMap<String, TcpStream>>;
//! ```
//!
//! ```
//! fn broadcast(members: &Members, sender: &str, text: &str) -> io::Result<()> {
//!     let message = format!("{sender}: {text}\n");
//!     for (name, mut socket) in &*members.lock().unwrap() {
//!         if name != sender {
//!             socket.write_all(message.as_bytes())?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Who joins is inserted and who leaves is removed, under the same lock. No two threads write
//! into each other's lines.
//!
//! # How it fails
//!
//! A write blocks when the client does not read: its receive buffer fills up, then the
//! send buffer here, and then `write_all` waits, for as long as the client likes. It is
//! enough that somebody suspends a laptop or presses Ctrl-S. Here carol does:
//!
//! `make experiment CHAPTER=fan_out`
//!
//! ```text
//! alice writes 10000 messages, bob reads, carol does not; then dave comes:
//!   under the lock  alice is answered 2064 times
//!                   dave has waited 2s in vain
//!   this server     alice is answered 10000 times
//!                   dave joins within 342.9µs
//! bob's connection breaks, and then alice writes:
//!   under the lock  she is answered nothing for 2s
//!   this server     she is answered "Delivered to 2"
//! 400 clients with room for what they are sent; for one broadcast the lock is held
//!    377.8µs to write to each of them
//!      2.1µs to copy their Arcs
//! ```
//!
//! *It works 2,064 times.* So much, some 4 MB, did the two kernels take for a client that
//! reads nothing; it is why no test in a small room finds this. Then everything stops: alice,
//! in the write; bob, who gets nothing more; and dave, who wants nothing of carol, because
//! to come in is to take the lock. Nobody can leave either, so the server cannot even throw
//! carol out: the thread that would do it waits for the lock that carol holds.
//!
//! *Who fails is the sender.* That is the `?`. Bob's socket returns an error to the thread
//! that writes to it, which is alice's: her loop ends, nobody reads what she says any more,
//! and her connection is not even closed, because there is a clone of it in the map. Those who
//! come after bob in the map have not got the message either.
//!
//! *It is slow where nobody is stuck.* A system call for each of 400 clients takes nearly 400
//! microseconds, in which nobody can come or go, and no two can speak at once.
//!
//! # The fix
//!
//! *Copy under the lock, and send without it.* [`Sessions::outboxes`] takes the lock, clones
//! an `Arc` for each recipient, and releases it; the broadcast in [`commands`] then goes
//! through the copies. In between somebody may leave: then a message goes into the queue of
//! a client that is gone, which does no harm, because the `Arc` keeps the queue alive.
//! The rule stands at the head of [`sessions`], where it is needed, and says what may be
//! done while the lock is held by saying what may not: no I/O, no logging, nothing that can
//! block, no second `read()`, and nothing that can panic half-way through an update.
//!
//! Even without the lock, alice's thread would still wait for carol, and have bob's errors.
//! So what is sent goes into a queue, which does neither block nor break ([`Outbox::send`]);
//! what happens to a client that does not empty it is the [next chapter](super::slow_reader).
//! `Delivered to 2` counts the queues, bob's among them: that he is gone is for his own
//! threads to find out.
//!
//! What it costs: an atomic increment and decrement for each recipient, and a vector. The
//! copy is shared, so only the first broadcast after a login or a logout pays that. And
//! one has to think about what may have changed since the copy was made. A list that was
//! copied is a list of who *was* here.
//!
//! # Exercise
//!
//! In `tests/exercises/fan_out.rs` stands a room that sends under its lock, and throws out
//! to whom it cannot send. Let nobody wait for a member that is stuck, who only wants to come
//! in, leave, or see who is here. The test has thought of what may have changed since the
//! copy was made.
//!
//! ```sh
//! make exercise CHAPTER=fan_out
//! ```
//!
//! [`Sessions::outboxes`]: crate::sessions::Sessions::outboxes
//! [`commands`]: crate::commands
//! [`sessions`]: crate::sessions
//! [`Outbox::send`]: crate::outbox::Outbox::send
