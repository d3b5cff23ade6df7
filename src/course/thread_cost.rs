//! Chapter 4: a thread's price in memory and in a wake-up; batching and direct writes.
//!
//! A thread for each client, and another that writes: is that not expensive? It is, but not
//! where most people look.
//!
//! # The naive version
//!
//! A thread is started as the standard library starts it, and sleeps on its client's queue:
//!
//! ```
//! fn write_each(mut socket: &TcpStream, queue: &Receiver<Message>) -> io::Result<()> {
//!     for message in queue {
//!         socket.write_all(&message)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Whoever has something for all of them puts it into each queue:
//!
//! ```
//! for queue in &queues {
//!     for _ in 0..at_once {
//!         queue.send(Arc::clone(message)).map_err(io::Error::other)?;
//!     }
//! }
//! ```
//!
//! # How it fails
//!
//! `make experiment CHAPTER=thread_cost`
//!
//! ```text
//! what a thread takes while it waits, in KiB; 1000 of them:
//!                                address     own    page   kernel
//!                                  space  memory  tables   stacks
//!   as std starts it                3048    10.1     4.1     16.0
//!   with 256 KiB of stack           1256    10.1     0.6     16.0
//!   and a buffer on it              1256    26.0     0.6     16.1
//!   a client here, both threads     1593    24.8     1.1     32.0
//! ```
//!
//! *Memory is cheap, if one knows which.* Two MiB of stack are address space: a promise,
//! of which the kernel keeps those pages that have been touched. (A MiB of that column is
//! the allocator's, which reserves 64 MiB for each of up to 16 of its arenas here.) A
//! thread that waits has touched 10 KiB, whatever the size of its stack, and takes 16 KiB
//! of the kernel's own for its stack there. What the size costs is page tables, and limits on
//! address space. What costs memory is what the code *touches*: a buffer of 16 KiB on the
//! stack is 16 KiB for each idle client, and is kept for good, because nobody takes a
//! touched page from a stack again.
//!
//! ```text
//! processor time for a message to each of 100 clients, in µs a delivery:
//!                               1 message   32 at once
//!   a thread, a write for each      23.88         2.01
//!   a thread, one for all           24.01         0.80
//!   the sender, one for all          6.56         0.21
//! ```
//!
//! *What costs is the wake-up.* The same bytes go into the same sockets, and cost more
//! than three times as much if a thread has to be woken for them: the message goes into a
//! queue, futex(2) wakes who sleeps there, the scheduler finds it a processor, and it
//! comes back to sleep again. In a room of 100 that is done 99 times for one message.
//!
//! *And a system call for each message*, where there are many of them: the column on the
//! right has 32 messages for each client at once. The thread is woken once then, and what
//! it does with the rest makes the difference.
//!
//! # The fix
//!
//! - *Small stacks, and nothing big on them.* [`STACK_SIZE`] is 256 KiB. Buffers are in the
//!   heap, begin small and are given back when there is nothing to do
//!   ([`FIRST_READ_BUFFER`], [`MAX_IDLE_BATCH`]). One was hard to see: `std::io::copy` has 8 KiB
//!   on its stack, and was inlined into the frame of each reader thread. So [`drain_input`]
//!   has a buffer of its own, in the heap. An idle client is 25 KiB of the server's memory, and
//!   32 KiB of the kernel's for its two stacks there.
//! - *Batching*: a [`writer`] takes all there is, up to [`BATCH`], and makes one write of
//!   it. The busier it is, the more there is. It never waits for more to come.
//! - *Direct writes*: the thread that has something for a client whose socket takes it at
//!   once writes it itself, without blocking, and wakes the writer only for what is left
//!   ([`direct_write`]). It does so when it has read all that its own client has sent ([`PendingWrites`]),
//!   so that it batches too. Of a hundred clients ninety-nine need not be woken; the
//!   hundredth is slow, and has a thread that has the time.
//!
//! ```text
//! this server, 100 clients, one message after the other, in µs a delivery:
//!   --no-direct-writes                    9.52
//!   default                          3.03
//! ```
//!
//! What it costs: two threads may now write to one socket, and the order has to hold; it is
//! the most difficult part of this server, and the one that a model checker tries
//! (`make model`). A reader that writes for others has less time for its own client, so
//! it stops after [`MAX_DIRECT_BATCHES`]. And several senders at a time must not each write to
//! everybody for themselves: [`DirectWrites`] has them wait for one another, for a moment.
//!
//! # Exercise
//!
//! In `tests/exercises/thread_cost.rs` stands a `drain` that makes a write for each message.
//! Have it make as few as there can be, of 4 KiB at most, without letting anything wait;
//! and the socket does not always take all that it is given.
//!
//! ```sh
//! make exercise CHAPTER=thread_cost
//! ```
//!
//! [`STACK_SIZE`]: crate::limits::STACK_SIZE
//! [`BATCH`]: crate::limits::MAX_BATCH
//! [`FIRST_READ_BUFFER`]: crate::limits::FIRST_READ_BUFFER_SIZE
//! [`MAX_IDLE_BATCH`]: crate::limits::MAX_IDLE_BATCH
//! [`MAX_DIRECT_BATCHES`]: crate::limits::MAX_DIRECT_BATCHES
//! [`drain_input`]: crate::server::connection::input::drain_input
//! [`writer`]: crate::outbox::writer
//! [`direct_write`]: crate::outbox::direct_write
//! [`PendingWrites`]: crate::outbox::direct_write::PendingWrites
//! [`DirectWrites`]: crate::outbox::direct_write::DirectWrites
