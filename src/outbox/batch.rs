//! What goes into one write: items taken out of an outbox, and their bytes.
//!
//! Does no I/O. Whoever has one holds the outlet's lock from the taking out until what was
//! not written is back.

use std::collections::VecDeque;
use std::sync::Arc;

use log::{Level, log_enabled, trace};

use super::{Account, Item, Outbox, Outlet};
use crate::limits;
use crate::logging::Wire;
use crate::protocol::reply::Notice;
use crate::protocol::token::Token;

/// A batch. Empty but in the course of a write; it is kept for its buffers.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// So many of them have been written before.
    begun: usize,
    /// What the bytes are, each with the number of its bytes.
    items: VecDeque<(Item, usize)>,
    connection: u64,
}

/// An item behind which nothing is to be written from this outbox.
pub(super) enum Last {
    GoOver(Arc<Outbox>),
    End,
}

impl Batch {
    /// Takes out what there is, as far as it goes into one write, for the connection
    /// that is attached: the account is locked since that was looked at, so that nothing
    /// meant for another can have been queued.
    pub(super) fn pull(
        &mut self,
        outlet: &mut Outlet,
        outbox: &Outbox,
        account: &mut Account,
        connection: u64,
    ) {
        self.connection = connection;
        self.begun = match outlet.begun.take() {
            Some((begun_for, bytes)) if begun_for == connection => bytes,
            _ => 0,
        };
        let mut size = 0;
        while size + limits::MESSAGE <= limits::BATCH {
            let next = outlet.items.pop_front();
            let Some(item) = next.or_else(|| outbox.items.try_recv().ok()) else {
                break;
            };
            let item = match item {
                Item::Gap => Item::Notice(account.tell_of_gap()),
                // It died with the connection that asked.
                Item::Answer {
                    connection: asked,
                    bytes,
                } if asked != connection => {
                    account.answers -= bytes.len();
                    continue;
                }
                item => item,
            };
            size += match &item {
                Item::Answer { bytes, .. } => bytes.len(),
                Item::Delivery(delivery) => delivery.wire_len(),
                Item::Notice(_) | Item::Gap => limits::NOTICE,
                Item::GoOver(_) | Item::End => 0,
            };
            let is_last = item.is_last();
            self.items.push_back((item, 0));
            if is_last {
                break;
            }
        }
    }

    /// Puts an item that only the writer can see to back where it came from. Says
    /// whether there was one.
    pub(super) fn leave_last(&mut self, outlet: &mut Outlet) -> bool {
        if !self.items.back().is_some_and(|(item, _)| item.is_last()) {
            return false;
        }
        let last = self.items.pop_back().map(|(item, _)| item);
        outlet.items.extend(last);
        true
    }

    /// Nothing was taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Writes the items out as bytes.
    pub(super) fn encode(&mut self, token: Option<Token>) {
        for (item, length) in &mut self.items {
            let start = self.bytes.len();
            match item {
                Item::Answer { bytes, .. } => self.bytes.extend_from_slice(bytes),
                Item::Delivery(delivery) => delivery.encode(token, &mut self.bytes),
                Item::Notice(notice) => notice.encode(token, &mut self.bytes),
                Item::Gap | Item::GoOver(_) | Item::End => {}
            }
            *length = self.bytes.len() - start;
        }
    }

    /// Logs those of the lines that the kernel has taken with these first `count` bytes.
    pub(super) fn trace(&self, count: usize) {
        if !log_enabled!(Level::Trace) {
            return;
        }
        let mut end = 0;
        let lines = self.bytes.split_inclusive(|&byte| byte == b'\n');
        for line in lines {
            end += line.len();
            if (self.begun + 1..=self.begun + count).contains(&end) {
                let line = Wire(line.strip_suffix(b"\r\n").unwrap_or(line));
                trace!("<{} {line}", self.connection);
            }
        }
    }

    /// The bytes, without those that have been written before.
    pub(super) fn to_write(&self) -> &[u8] {
        &self.bytes[self.begun..]
    }

    /// The bytes from behind the first `count` to the end of the message that they are
    /// in; none if one begins there.
    pub(super) fn rest_of_message(&self, count: usize) -> &[u8] {
        let count = self.begun + count;
        let mut end = 0;
        for (_, length) in &self.items {
            if end >= count {
                break;
            }
            end += length;
        }
        &self.bytes[count..end.max(count)]
    }

    /// Empties the batch after a write of which the kernel took the first `count` bytes:
    /// what it took whole comes off the account, the rest goes back to the outlet. Gives the
    /// item that ended the batch, if the kernel took all before it.
    pub(super) fn settle(
        &mut self,
        count: usize,
        outlet: &mut Outlet,
        account: &mut Account,
    ) -> Option<Last> {
        let mut count = self.begun + count;
        let mut last = None;
        while let Some((item, length)) = self.items.pop_front() {
            if length > count {
                self.items.push_front((item, length));
                break;
            }
            count -= length;
            match item {
                Item::Answer { .. } => account.answers -= length,
                Item::Delivery(_) => account.deliveries -= length,
                Item::Notice(_) | Item::Gap => {}
                Item::GoOver(session) => last = Some(Last::GoOver(session)),
                Item::End => last = Some(Last::End),
            }
        }
        if !self.items.is_empty() {
            outlet.begun = (count > 0).then_some((self.connection, count));
        }
        for (item, _) in self.items.drain(..).rev() {
            outlet.items.push_front(item);
        }
        if outlet.items.is_empty() {
            outlet.items.shrink_to(limits::IDLE_ITEMS);
        }
        self.begun = 0;
        self.bytes.clear();
        self.bytes.shrink_to(limits::IDLE_BATCH);
        self.items.shrink_to(limits::IDLE_ITEMS);
        last
    }
}

impl Outlet {
    /// Nothing more will be written to this connection: what is not for the next one is
    /// dropped, and what was written in part will come again whole.
    pub(super) fn give_up(&mut self, connection: u64, account: &mut Account) {
        self.begun = None;
        self.items.retain(|item| match item {
            Item::Delivery(_) | Item::Notice(Notice::Missed(_)) => true,
            Item::Answer {
                connection: asked,
                bytes,
            } if *asked == connection => {
                account.answers -= bytes.len();
                false
            }
            Item::Answer { .. } => true,
            // They concern this connection alone.
            Item::Notice(_) | Item::Gap | Item::GoOver(_) | Item::End => false,
        });
    }
}

impl Item {
    /// Only the writer can see to it, and nothing is to be written behind it.
    fn is_last(&self) -> bool {
        matches!(self, Item::GoOver(_) | Item::End)
    }
}
