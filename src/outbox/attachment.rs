//! A connection's end of an outbox: what its reader uses, and how another takes its
//! place.
//!
//! Knows no names, and of its client only the socket, to cut it.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hand_off::Cork;
use super::primitives::{Mutex, Socket};
use super::{Account, Attached, Item, Outbox};
use crate::limits;
use crate::protocol::reply::{Notice, Reply};

/// A connection's end of the outbox that it is attached to: what its reader uses.
///
/// Nothing that it queues is written once another connection has taken its place.
pub struct Attachment {
    pub(super) connection: u64,
    pub(super) current: Mutex<Current>,
}

pub(super) struct Current {
    /// Changes once at most, when the connection goes over to a session's outbox.
    pub(super) outbox: Arc<Outbox>,
    /// The connection's socket, from the start of its writer on.
    pub(super) socket: Option<Arc<Socket>>,
}

impl Attachment {
    /// The end of the connection of this number, at an outbox of its own;
    /// [`writer::start`](super::writer::start) attaches it.
    pub fn new(connection: u64, outbox: Arc<Outbox>) -> Attachment {
        let current = Current {
            outbox,
            socket: None,
        };
        Attachment {
            connection,
            current: Mutex::new(current),
        }
    }

    /// The outbox that it is attached to, or was.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.current.lock().outbox)
    }

    /// Queues the answer to a request of this connection, behind everything that the
    /// request caused. Dropped if the outbox is closed.
    pub fn answer(&self, reply: &Reply, cork: &Cork) {
        self.queue_answer(reply.encode(), cork);
    }

    /// Queues the answer to a telnet command of this connection, which counts as any
    /// answer does.
    pub fn answer_telnet(&self, bytes: Vec<u8>, cork: &Cork) {
        self.queue_answer(bytes, cork);
    }

    fn queue_answer(&self, bytes: Vec<u8>, cork: &Cork) {
        let outbox = self.outbox();
        let mut account = outbox.account.lock();
        if account.is_open_for(self.connection) {
            account.answers += bytes.len();
            let connection = self.connection;
            let duty = outbox.enqueue(&mut account, Item::Answer { connection, bytes });
            drop(account);
            cork.take_up(duty, &outbox);
        }
    }

    /// Closes the outbox, with this as the last message if there is one.
    pub fn finish(&self, last: Option<&Reply>) {
        let last = last.map(Reply::encode);
        let outbox = self.outbox();
        let mut account = outbox.account.lock();
        if account.is_open_for(self.connection) {
            account.answers += last.as_ref().map_or(0, Vec::len);
            let answer = |bytes| Item::Answer {
                connection: self.connection,
                bytes,
            };
            outbox.finish_with(account, last.map(answer));
        }
    }

    /// The same with a notice, from whichever thread: it stands behind what is queued at
    /// the outbox that the connection is attached to, even if it is just going over. If
    /// another has taken its place there, that one is finished.
    pub fn finish_with_notice(&self, notice: Notice) {
        let current = self.current.lock();
        current.outbox.finish_with_notice(notice);
    }

    /// Waits until the outbox, which is finished, has been written to the end, or the
    /// connection is gone; false if neither has happened by the deadline.
    pub fn wait_until_written(&self, deadline: Instant) -> bool {
        self.outbox().wait_until_written(deadline)
    }

    /// Blocks the reader while too many answers to it are unwritten (section 7.6).
    /// False once nothing that it queues would be written: there is no use in
    /// reading on.
    pub fn wait_for_room(&self, cork: &Cork) -> bool {
        let outbox = self.outbox();
        let has_room = |account: &Account| account.answers < limits::UNWRITTEN_ANSWERS;
        let mut account = outbox.account.lock();
        if !has_room(&account) {
            drop(account);
            cork.flush();
            account = outbox.account.lock();
        }
        while account.is_open_for(self.connection) && !has_room(&account) {
            outbox.changed.wait(&mut account);
        }
        account.is_open_for(self.connection)
    }

    /// Blocks the reader for so long, or until there is no use in going on.
    pub fn pause(&self, time: Duration, cork: &Cork) {
        cork.flush();
        let deadline = Instant::now() + time;
        let outbox = self.outbox();
        let mut account = outbox.account.lock();
        while account.is_open_for(self.connection) {
            if outbox
                .changed
                .wait_until(&mut account, deadline)
                .timed_out()
            {
                break;
            }
        }
    }

    /// Whether anything that it queues would still be written.
    pub fn is_open(&self) -> bool {
        self.outbox().account.lock().is_open_for(self.connection)
    }

    /// Attaches the connection to a session's outbox, in the place of whichever is
    /// attached there. Its writer knows nothing of that until it is told to
    /// [go over](Attachment::go_over). An error means that it has no writer any more.
    pub fn take_place_at(&self, session: &Arc<Outbox>) -> Result<Option<Evicted>, NoWriter> {
        let current = self.current.lock();
        let attached = current.outbox.account.lock().attached.clone();
        let attached = attached.ok_or(NoWriter)?;
        Ok(session.attach(Attached {
            from: Some(Arc::clone(&current.outbox)),
            ..attached
        }))
    }

    /// Has the writer write this answer, as the last from the outbox that it drains,
    /// and then what stands in the session's, at which it has taken place. If it drains
    /// nothing any more, the session is let go of again.
    pub fn go_over(&self, session: &Arc<Outbox>, answer: &Reply, cork: &Cork) {
        self.answer(answer, cork);
        let mut current = self.current.lock();
        let own = Arc::clone(&current.outbox);
        let mut account = own.account.lock();
        if account.is_open_for(self.connection) {
            let _ = own.enqueue(&mut account, Item::GoOver(Arc::clone(session)));
            // Only the writer can go over.
            account.wake_writer();
            current.outbox = Arc::clone(session);
        } else {
            drop(account);
            session.detach(self.connection);
        }
    }

    /// Cuts the connection: its reader and its writer leave the socket if they are
    /// blocked there, and both come to their end.
    pub fn cut(&self) {
        let socket = self.current.lock().socket.clone();
        if let Some(socket) = socket {
            // Fails where the client was faster, and then there is nothing to cut.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Cuts the connection and lets go of the outbox, which stays as it is: what is
    /// queued waits for the next one, but the answers to this one.
    pub fn break_off(&self) {
        self.cut();
        self.outbox().detach(self.connection);
    }

    /// The writer has left.
    pub(super) fn writer_has_gone(&self) {
        self.current.lock().outbox.detach(self.connection);
    }
}

/// The connection has no writer any more, so it is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWriter;

/// A connection that was attached until another took its place.
pub struct Evicted {
    pub(super) attached: Attached,
    /// Its writer was at its socket, or about to be, for the rest of a message.
    pub(super) is_writing: bool,
}

impl Evicted {
    /// Sees that it closes. Its writer is told by our letting go of its `wake`, and
    /// says the last words itself. But if it is at its socket, with a batch from here or
    /// still with one from its own outbox, it may be blocked on a client that reads no
    /// more, half-way through a message, where no last word can stand: then the socket
    /// is shut down, although that may cost one that does read its notice. (This looks
    /// once. A connection still on its way here that blocks afterwards is ended by the
    /// write timeout.)
    pub fn evict(self) {
        let Attached {
            connection,
            socket,
            from,
            ..
        } = self.attached;
        let is_writing_on_its_way =
            || from.is_some_and(|own| own.account.lock().writing == Some(connection));
        if self.is_writing || is_writing_on_its_way() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
