//! Chapter 4: the cost of a thread: memory, wake-ups, batching and direct writes.
//!
//! This server starts two threads for each client: a reader and a writer. Threads are
//! expensive, but not where most programmers look.
//!
//! # The naive version
//!
//! A thread is started with the defaults of the standard library, and sleeps on its client's
//! queue:
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
//! A broadcast puts its messages into each queue:
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
//! memory of a waiting thread, in KiB, mean of 1000:
//!                                address     own    page   kernel
//!                                  space  memory  tables   stacks
//!   with std's default stack        3048    10.1     4.1     16.0
//!   with 256 KiB of stack           1256    10.1     0.6     16.0
//!   and a 16 KiB buffer on it       1256    26.0     0.6     16.1
//!   a client here: two threads      1593    24.8     1.1     32.0
//! ```
//!
//! *Memory is cheap, if you know which memory.* The 2 MiB of a default stack are address space.
//! The kernel provides memory only for the pages that the thread has touched. (One MiB of that
//! column belongs to the allocator. It reserves 64 MiB for each of its arenas, here up to 16.)
//! A waiting thread has touched 10 KiB, whatever the size of its stack. It also needs 16 KiB
//! for its stack in the kernel. A larger stack costs page tables, and counts for limits on
//! address space. Memory is used by the pages that the code *touches*. A buffer of 16 KiB on
//! the stack costs 16 KiB for each idle client. It costs them as long as the thread lives,
//! because a touched page of a stack is never released.
//!
//! ```text
//! processor time per delivery, a broadcast to 100 clients, in µs:
//!                               1 message   32 at once
//!   writer threads, unbatched       23.88         2.01
//!   writer threads, batched         24.01         0.80
//!   the sender itself, batched       6.56         0.21
//! ```
//!
//! *The wake-up is expensive.* The same bytes go into the same sockets, and cost more than
//! three times as much if a thread must be woken for them. The message goes into a queue.
//! futex(2) wakes the thread that sleeps there. The scheduler finds a processor for it. At the
//! end, it goes back to sleep. In a room of 100 clients this happens 99 times for each message.
//!
//! *A system call for each message is expensive too*, if there are many messages. In the right
//! column, 32 messages for each client arrive at once. The thread is woken once. Then batching
//! makes the difference.
//!
//! # The fix
//!
//! - *Small stacks, and nothing large on them.* [`STACK_SIZE`] is 256 KiB. Buffers are on the
//!   heap, start small, and are released when they are idle ([`FIRST_READ_BUFFER_SIZE`],
//!   [`MAX_IDLE_BATCH`]). One large buffer was hard to find: `std::io::copy` has 8 KiB on its
//!   stack, and was inlined into the frame of each reader thread. So [`drain_input`] uses a
//!   buffer on the heap. An idle client needs 25 KiB of the server's memory, and 32 KiB of the
//!   kernel's for its two stacks there.
//! - *Batching.* A [`writer`] takes all queued items, up to [`MAX_BATCH`] bytes, and makes one
//!   write of them. The busier it is, the larger its batches are. It never waits for more
//!   items.
//! - *Direct writes.* A reader thread that has filled another client's queue also writes it, as
//!   far as the socket accepts it without blocking. It wakes the writer thread only for the
//!   rest ([`direct_write`]). It does this only before its next read from its own client
//!   ([`PendingWrites`]), so direct writes are batched too. Of 100 clients, 99 need no wake-up.
//!   The last one is slow, and its writer thread can wait.
//!
//! ```text
//! this server, 100 clients, one message after the other, in µs per delivery:
//!   --no-direct-writes               9.52
//!   direct writes (default)          3.03
//! ```
//!
//! What it costs: two threads may now write to one socket, and must keep the order. That is the
//! most difficult part of this server, and a model checker tests it (`make model`). A reader
//! thread that writes for others has less time for its own client, so it stops after
//! [`MAX_DIRECT_BATCHES`]. If several clients broadcast at the same time, each message would
//! cost a write to each recipient. So their reader threads give the work to the [`broadcaster`]
//! thread, where all their messages share writes.
//!
//! # Exercise
//!
//! `drain` in `tests/exercises/thread_cost.rs` makes a write for each message. Change it so
//! that it makes as few writes as possible, each of at most 4 KiB, and delays no message. The
//! socket does not always accept all bytes of a write.
//!
//! ```sh
//! make exercise CHAPTER=thread_cost
//! ```
//!
//! [`STACK_SIZE`]: crate::limits::STACK_SIZE
//! [`MAX_BATCH`]: crate::limits::MAX_BATCH
//! [`FIRST_READ_BUFFER_SIZE`]: crate::limits::FIRST_READ_BUFFER_SIZE
//! [`MAX_IDLE_BATCH`]: crate::limits::MAX_IDLE_BATCH
//! [`MAX_DIRECT_BATCHES`]: crate::limits::MAX_DIRECT_BATCHES
//! [`drain_input`]: crate::server::connection::input::drain_input
//! [`writer`]: crate::outbox::writer
//! [`direct_write`]: crate::outbox::direct_write
//! [`PendingWrites`]: crate::outbox::direct_write::PendingWrites
//! [`broadcaster`]: crate::outbox::broadcaster
