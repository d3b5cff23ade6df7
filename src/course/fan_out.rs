//! Chapter 2: fan-out under a lock.
//!
//! A broadcast of one client goes to all others. The server keeps the clients in a map, and
//! threads that share a map need a lock.
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
//! A client that joins is inserted under the same lock, and a client that leaves is removed
//! under it. So two messages are never written into each other.
//!
//! # How it fails
//!
//! A write blocks if the client does not read. First its receive buffer fills up, then the
//! server's send buffer. Then `write_all` waits for as long as the client likes. It is enough
//! that a user suspends a laptop or presses Ctrl-S. In this experiment, carol does not read:
//!
//! `make experiment CHAPTER=fan_out`
//!
//! ```text
//! alice sends 10000 messages, bob reads, carol does not. Then dave connects:
//!   under the lock  alice gets 2035 responses
//!                   dave gets no response within 2s
//!   this server     alice gets 10000 responses
//!                   dave joins after 248.0µs
//! bob's connection breaks. Then alice sends a message:
//!   under the lock  alice gets no response within 2s
//!   this server     alice gets "Delivered to 2"
//! 400 clients with room in their receive buffers. One broadcast holds the lock
//!    158.4µs to write to each of them
//!     37.0ns to copy the shared list of outboxes
//! ```
//!
//! *It works 2,035 times.* The two kernels accept that much, some 4 MB, for a client that reads
//! nothing. So a test in a small room does not find this fault. Then everything stops. Alice is
//! blocked in the write. Bob gets no more messages. Dave wants nothing from carol, but he needs
//! the lock to join. Leaving needs the lock too. So the server cannot even remove carol: the
//! thread that would do it waits.
//!
//! *The error hits the sender.* The cause is the `?`. Bob's socket returns an error to the
//! thread that writes to it, which is alice's. Her loop ends, and her requests are not read any
//! more. Her connection is not even closed, because the map holds a clone of the socket. The
//! clients behind bob in the map do not get the message.
//!
//! *It is slow even if no client is stuck.* One system call for each of 400 clients takes
//! nearly 160 microseconds. In that time no client can join, leave or send.
//!
//! # The fix
//!
//! *Copy under the lock, and send without it.* [`Sessions::outboxes`] takes the lock, copies a
//! pointer to the list of all outboxes, and releases the lock. The list holds an `Arc` for each
//! outbox. After a login or a logout, the next broadcast makes it anew. The broadcast in
//! [`commands`] then goes through the list. Meanwhile a session may end. Then a message goes
//! into the queue of a client that has left. That does no harm, because the `Arc` keeps the
//! queue alive. The module [`sessions`] states the rule. While a thread holds the lock, it does
//! no I/O and no logging. It takes no second `read()`, and it blocks on nothing except the
//! short lock of an outbox. It does nothing that can panic half-way through an update.
//!
//! Even without the lock, alice's thread would still wait for carol, and would get bob's
//! errors. So a message goes into a queue, which neither blocks nor returns a socket's error
//! ([`Outbox::send`]). The [next chapter](super::slow_reader) shows what happens if a client
//! does not empty its queue. `Delivered to 2` counts the queues, and bob's is one of them.
//! Bob's own threads find out that his connection is broken. (If they are faster than alice,
//! she gets `Delivered to 1`.)
//!
//! What it costs: the first broadcast after a login or a logout increments and decrements a
//! counter for each recipient, and allocates a list. And you must think about changes since the
//! list was made: it names the clients that *were* online.
//!
//! # Exercise
//!
//! The room in `tests/exercises/fan_out.rs` sends under its lock, and removes the members that
//! it cannot send to. Change it so that a stuck member blocks no caller that joins, leaves or
//! lists the names. The test also checks changes that happen after the copy was made.
//!
//! ```sh
//! make exercise CHAPTER=fan_out
//! ```
//!
//! [`Sessions::outboxes`]: crate::sessions::Sessions::outboxes
//! [`commands`]: crate::commands
//! [`sessions`]: crate::sessions
//! [`Outbox::send`]: crate::outbox::Outbox::send
