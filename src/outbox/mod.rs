//! A session's outbox: the queue of everything that is to be written to a client.
//! It is drained by the [`writer`] thread, or, as long as the client's kernel takes all
//! at once, by whoever has filled it ([`hand_off`]).
//!
//! An outbox belongs to a session, or to a connection that has none yet. A
//! connection is only *attached* to it, one at a time, and another may take its
//! place: then what was queued and not written goes there. Those who send know the
//! outbox and never the connection; and nothing here knows names, commands or
//! other clients.
//!
//! # The contract of `send`
//!
//! Everything the server promises about delivery rests on what
//! [`Outbox::send`] promises:
//!
//! 1. It never blocks: not on the network, not on the client, and on no lock
//!    under which anybody does either.
//! 2. It keeps the order of one caller's sends.
//! 3. Any thread may call it.
//! 4. It either queues the delivery and says so, or says why not; if the queue is
//!    full, the miss is counted.
//! 5. The count reaches the client as a notice, which stands where the gap is: behind
//!    what was queued before, and before the next delivery that fitted.
//!
//! In return, a thread that is told that it has the [`Duty`] drains the outbox soon, or
//! has it drained, before it does anything that can block: a [`Cork`](hand_off::Cork)
//! remembers that.
//!
//! # How
//!
//! ```text
//!   any thread ── send ───┐  one mutex, the account, held until the item is in:
//!   the reader ── answer ─┼─► bytes queued, bytes of answers, misses, who is attached
//!   shutdown ──── finish ─┘        │
//!                                  ▼
//!                    the client's crossbeam channel ──► who has the duty ──► socket
//!                                          (takes all there is, one write)
//! ```
//!
//! Three invariants:
//!
//! - *Whatever enters the channel enters it under the account's lock, and after the
//!   item that ends it, nothing does.* So the order of the channel is the order of
//!   the accounts, the notice of a gap stands exactly where the gap is, and nothing
//!   can follow a last word.
//! - *If the channel is not empty, then somebody has the duty to drain it, or nobody is
//!   attached.* The duty is the thread's whose item finds that nobody has it. It drains
//!   until it has seen, under the account's lock, that there is nothing more; or it
//!   passes the duty on to the attached writer, by waking it.
//! - *Items leave the channel only under the outlet's lock, and only for the connection
//!   that is attached.* What its kernel did not take goes back into the outlet, in order;
//!   for the next connection without the answers, which die with the one that asked.
//!
//! A model checker tries them in many orders of what two senders, a writer and a
//! connection that takes another's place may do (`make model`); and `make model-faults`
//! that it would find it if they did not hold.
//!
//! The account's lock may be taken while the outlet's is held, and never the other way
//! round. A writer holds the outlet while it blocks on its client's socket, so nobody
//! else may wait for it but the writer of the connection that comes next, for whom
//! that socket has been shut down; the others only try.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use self::primitives::{Condvar, Mutex, MutexGuard, Receiver, Sender, Socket, unbounded};
use crate::protocol::reply::{Delivery, Notice};
use crate::protocol::token::Token;

mod attachment;
mod batch;
pub mod hand_off;
#[cfg(not(model))]
mod primitives;
#[cfg(model)]
#[path = "model/primitives.rs"]
mod primitives;
pub mod writer;

pub use attachment::{Attachment, Evicted, NoWriter};

#[cfg(all(test, model))]
mod model;
#[cfg(all(test, not(model)))]
mod tests;

/// The queue of everything that is to be written to one client.
pub struct Outbox {
    /// The client's channel. Unbounded, because the bound is one of bytes and
    /// kept by the account; a bounded one would besides allocate all of its
    /// slots at once, idle or not.
    queue: Sender<Item>,
    /// Its other end, which whoever has the duty drains. It stays here, with the session,
    /// so that the writer of the next connection can go on.
    items: Receiver<Item>,
    account: Mutex<Account>,
    /// Told when an answer was written, when the outbox was closed or another
    /// connection attached, and when everything was written. Only the client's own
    /// reader waits for the first three, only the shutdown for the last.
    changed: Condvar,
    /// The right to write, and what was taken out and not written.
    outlet: Mutex<Outlet>,
    /// The header of whatever is sent to the session. Set once, when there is a
    /// session, and before anyone else can find it.
    token: OnceLock<Token>,
    /// The most bytes of deliveries, from the queueing until the kernel took
    /// them.
    bound: usize,
}

/// What is known about the queue without looking into it.
struct Account {
    /// Bytes of deliveries that the kernel has not taken. Each is taken off when it has
    /// taken all of it, those of one write together.
    deliveries: usize,
    /// Bytes of answers that stand here and the kernel has not taken, those to an earlier
    /// connection too, until the next drain drops them.
    answers: usize,
    /// The gaps in the queue, in order: how many deliveries did not fit there. Each has
    /// an item in the channel, where the gap is.
    gaps: VecDeque<u64>,
    /// Nothing has been queued behind the last gap, so what does not fit now belongs
    /// to it.
    in_gap: bool,
    state: State,
    attached: Option<Attached>,
    /// Somebody has the duty to drain the queue: a thread that has put something in and has
    /// still to drain it, the writer that has been woken, or whoever drains it now.
    duty_taken: bool,
    /// The connection whose writer is at its socket with a batch from here, or is about
    /// to be, because the kernel has taken a message in part.
    writing: Option<u64>,
    /// The error of a write to this connection by another than its writer. The kernel
    /// tells it once, so it is kept here for the writer.
    failed: Option<(u64, io::Error)>,
}

/// What stands between the channel and the socket. Who holds its lock may take items out,
/// and write.
#[derive(Default)]
struct Outlet {
    /// What was taken out of the channel and not written, before all that is in it.
    items: VecDeque<Item>,
    /// Of the first of these, so many bytes have been taken by the kernel of this
    /// connection.
    begun: Option<(u64, usize)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The ending item is in the channel, and no other follows it.
    Closing,
    /// The writer has come to the end, or will never.
    Done,
}

/// The connection that is attached to an outbox.
#[derive(Clone)]
struct Attached {
    connection: u64,
    socket: Arc<Socket>,
    /// Wakes its writer; with one waking in it there is no need for another. When the
    /// last clone is dropped, the writer knows that it is attached no more.
    wake: Sender<()>,
    /// The outbox of its own from which it is still on its way to this one.
    from: Option<Arc<Outbox>>,
    /// Set where another takes its place while its kernel may have a message in part: then
    /// its writer has no last words. Set under the account's lock, and read once the writer
    /// has seen under it that it is attached no more, so it needs no ordering of its own.
    is_torn: Arc<AtomicBool>,
}

/// What stands in the queue. It is typed because the kinds fare differently.
enum Item {
    /// A response, or the answer to a telnet command: bytes, since it is for the
    /// connection that asked, and for no other.
    Answer {
        connection: u64,
        bytes: Vec<u8>,
    },
    Delivery(Delivery),
    Notice(Notice),
    /// The first of the account's gaps; it becomes a notice when it is taken out, and
    /// its count is known.
    Gap,
    /// The connection goes over to this outbox, at which it has taken its place; in the
    /// meantime another may have taken it.
    GoOver(Arc<Outbox>),
    /// Nothing follows.
    End,
}

/// Whose it is now to see that an outbox is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "who has the duty has to see to it"]
pub enum Duty {
    /// The caller's, soon.
    Yours,
    /// The caller's, at once: the queue has become half full. If somebody else has it too,
    /// there is no telling when that thread goes on.
    YoursNow,
    /// Somebody else's, who will look once more, or nobody's, since nobody is attached.
    NotYours,
}

/// Why a delivery was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// There is no room now; the client will be told of the gap.
    Full,
    /// The outbox is closed, the session ends.
    Closed,
}

impl Outbox {
    /// An open outbox that holds at most `bound` bytes of deliveries.
    pub fn new(bound: usize) -> Outbox {
        let (queue, items) = unbounded();
        Outbox {
            queue,
            items,
            account: Mutex::new(Account {
                deliveries: 0,
                answers: 0,
                gaps: VecDeque::new(),
                in_gap: false,
                state: State::Open,
                attached: None,
                duty_taken: false,
                writing: None,
                failed: None,
            }),
            changed: Condvar::new(),
            outlet: Mutex::default(),
            token: OnceLock::new(),
            bound,
        }
    }

    /// Makes this the outbox of the session of `token`, for good.
    pub fn belong_to(&self, token: Token) {
        let earlier = self.token.set(token);
        debug_assert!(
            earlier.is_ok(),
            "an outbox belongs to one session in its life"
        );
    }

    /// Queues a delivery; the module's documentation has the contract.
    pub fn send(&self, delivery: &Delivery) -> Result<Duty, NotQueued> {
        let length = delivery.wire_len();
        let mut account = self.account.lock();
        if account.state != State::Open {
            return Err(NotQueued::Closed);
        }
        if account.deliveries + length > self.bound {
            self.miss(&mut account);
            return Err(NotQueued::Full);
        }
        account.in_gap = false;
        let was_half_full = account.deliveries > self.bound / 2;
        account.deliveries += length;
        let duty = self.enqueue(&mut account, Item::Delivery(delivery.clone()));
        let is_half_full = account.deliveries > self.bound / 2;
        let is_pressing = is_half_full && !was_half_full && account.attached.is_some();
        Ok(if is_pressing { Duty::YoursNow } else { duty })
    }

    /// Closes the outbox: what is queued is still written, then the connection
    /// ends. The first to finish an outbox has the last word, later calls do
    /// nothing.
    pub fn finish(&self) {
        self.finish_with(self.account.lock(), None);
    }

    /// Closes it with this as the last message.
    fn finish_with_notice(&self, notice: Notice) {
        self.finish_with(self.account.lock(), Some(Item::Notice(notice)));
    }

    fn finish_with(&self, mut account: AccountGuard<'_>, last: Option<Item>) {
        if account.state != State::Open {
            return;
        }
        for item in last.into_iter().chain([Item::End]) {
            let _ = self.enqueue(&mut account, item);
        }
        // Only the writer can end.
        account.wake_writer();
        account.state = match account.attached {
            Some(_) => State::Closing,
            None => State::Done,
        };
        self.changed.notify_all();
    }

    /// Counts a delivery that does not fit.
    fn miss(&self, account: &mut Account) {
        match account.gaps.back_mut() {
            Some(missed) if account.in_gap => *missed += 1,
            _ => {
                account.gaps.push_back(1);
                account.in_gap = true;
                if self.enqueue(account, Item::Gap) == Duty::Yours {
                    account.wake_writer();
                }
            }
        }
    }

    /// Puts an item into the channel. The account's lock is held.
    fn enqueue(&self, account: &mut Account, item: Item) -> Duty {
        // Fails only without a receiver, and the outbox holds one itself.
        let _ = self.queue.send(item);
        if account.duty_taken || account.attached.is_none() {
            return Duty::NotYours;
        }
        account.duty_taken = true;
        Duty::Yours
    }

    /// Waits until a finished outbox has been written to the end, or its connection
    /// is gone; false if neither has happened by the deadline.
    fn wait_until_written(&self, deadline: Instant) -> bool {
        let mut account = self.account.lock();
        while account.state == State::Closing {
            if self.changed.wait_until(&mut account, deadline).timed_out() {
                break;
            }
        }
        account.state == State::Done
    }

    /// Attaches a connection in the place of whichever was attached, if any, which
    /// is given back, to be [evicted](Evicted::evict).
    fn attach(&self, attached: Attached) -> Option<Evicted> {
        let mut account = self.account.lock();
        let writing = account.writing;
        let before = account.attached.replace(attached);
        // What has been queued in the meantime is to be looked at.
        account.wake_writer();
        self.changed.notify_all();
        before.map(|attached| {
            let is_writing = writing == Some(attached.connection);
            attached.is_torn.store(is_writing, Ordering::Relaxed);
            Evicted {
                attached,
                is_writing,
            }
        })
    }

    /// The writer of this connection has come here from the connection's own outbox.
    fn arrive(&self, connection: u64) {
        let mut account = self.account.lock();
        if let Some(attached) = account
            .attached
            .as_mut()
            .filter(|it| it.connection == connection)
        {
            attached.from = None;
        }
    }

    /// Lets go of this connection, if it is the attached one. Its writer leaves.
    fn detach(&self, connection: u64) {
        if self.account.lock().let_go(connection) {
            self.changed.notify_all();
        }
    }
}

type AccountGuard<'a> = MutexGuard<'a, Account>;

impl Account {
    /// Closes the first gap, of which the client is to be told now.
    fn tell_of_gap(&mut self) -> Notice {
        let missed = self.gaps.pop_front().unwrap_or(0);
        self.in_gap &= !self.gaps.is_empty();
        Notice::Missed(missed)
    }

    /// Passes the duty to drain on to the writer of the attached connection, if there is
    /// one. If there is none, whoever attaches has it.
    fn wake_writer(&mut self) {
        if let Some(attached) = &self.attached {
            self.duty_taken = true;
            // Fails if it has been woken before and has not looked yet.
            let _ = attached.wake.try_send(());
        }
    }

    /// Lets go of this connection. False if it is not the attached one.
    fn let_go(&mut self, connection: u64) -> bool {
        let is_attached = self.is_attached(connection);
        if is_attached {
            self.attached = None;
            if self.state == State::Closing {
                self.state = State::Done;
            }
        }
        is_attached
    }

    fn is_attached(&self, connection: u64) -> bool {
        self.attached
            .as_ref()
            .is_some_and(|attached| attached.connection == connection)
    }

    /// Whether anything that this connection queues would still be written.
    fn is_open_for(&self, connection: u64) -> bool {
        self.state == State::Open && self.is_attached(connection)
    }
}
