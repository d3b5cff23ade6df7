//! The requests of this node that wait for an entry in its inbox.
//!
//! The reader thread of a client inserts its request before it sends anything, and waits on a
//! channel of its own. The thread `redis-in` finds the request by its number and sends what it
//! has read.
//!
//! Does not know scripts or sockets. A thread takes the lock of the table alone, for one step.
//!
//! Invariant: *a request is carried out, or given up by its asker, but never both.* The thread that
//! takes it out of the table, or marks it, decides.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;

use crate::sessions::{Claim, NameError, Session};

/// A node: 16 random hex digits, drawn at each start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(Arc<str>);

impl NodeId {
    /// Draws a new one.
    ///
    /// Panics if the operating system has no random bytes, as a claim does.
    pub(super) fn random() -> NodeId {
        let bits = getrandom::u64().expect("the operating system gives random bytes");
        NodeId(format!("{bits:016x}").into())
    }

    /// Parses 16 lower-case hex digits.
    pub(super) fn parse(text: &str) -> Option<NodeId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 16 && text.bytes().all(is_digit)).then(|| NodeId(text.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<[u8]> for NodeId {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// For the log: the first 8 digits. The log would hide 16 digits, as it hides tokens.
impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..8])
    }
}

/// What a node says that has read an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The message is in the queue of the recipient, or of the counted ones.
    Queued,
    /// The queue of the recipient is full.
    Full,
    /// The session has ended.
    Gone,
    /// The session does what was asked.
    Done,
    /// The session did that before.
    Same,
}

impl Outcome {
    const ALL: [Outcome; 5] = [
        Outcome::Queued,
        Outcome::Full,
        Outcome::Gone,
        Outcome::Done,
        Outcome::Same,
    ];

    /// Returns its word in an entry.
    pub(super) fn word(self) -> &'static str {
        match self {
            Outcome::Queued => "queued",
            Outcome::Full => "full",
            Outcome::Gone => "gone",
            Outcome::Done => "done",
            Outcome::Same => "same",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Outcome> {
        Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.word() == word)
    }
}

/// The confirmation of one node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    pub(super) node: NodeId,
    pub(super) outcome: Outcome,
    /// The sessions that a broadcast was queued for.
    pub(super) count: usize,
}

/// The result of a claim: the session, and those that were evicted to make room.
pub(super) type Claimed = Result<Vec<Session>, NameError>;

/// A request that waits.
pub(super) enum Waiter {
    Claim(Claim, Sender<Claimed>),
    Rename(Sender<Result<(), NameError>>),
    Confirmations {
        answers: Sender<Confirmation>,
        /// This node has begun to carry it out.
        has_begun: bool,
    },
}

/// The table of the requests that wait.
#[derive(Default)]
pub(super) struct Waiting {
    last_number: AtomicU64,
    waiters: Mutex<HashMap<u64, Waiter>>,
}

/// The place of one request in the table. Dropping it gives the request up.
pub(super) struct Ticket<'a> {
    waiting: &'a Waiting,
    pub(super) number: u64,
}

impl Waiting {
    /// Inserts a claim.
    pub(super) fn claim(&self, claim: Claim) -> (Ticket<'_>, Receiver<Claimed>) {
        let (answer, result) = bounded(1);
        (self.insert(Waiter::Claim(claim, answer)), result)
    }

    /// Inserts a rename.
    pub(super) fn rename(&self) -> (Ticket<'_>, Receiver<Result<(), NameError>>) {
        let (answer, result) = bounded(1);
        (self.insert(Waiter::Rename(answer)), result)
    }

    /// Inserts a request that nodes confirm. Each node confirms once, so the channel is bounded
    /// by their number.
    pub(super) fn confirmations(&self) -> (Ticket<'_>, Receiver<Confirmation>) {
        let (answers, confirmations) = unbounded();
        let waiter = Waiter::Confirmations {
            answers,
            has_begun: false,
        };
        (self.insert(waiter), confirmations)
    }

    fn insert(&self, waiter: Waiter) -> Ticket<'_> {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        self.waiters.lock().insert(number, waiter);
        Ticket {
            waiting: self,
            number,
        }
    }

    /// Takes a claim or a rename out of the table, to carry it out.
    pub(super) fn take(&self, number: u64) -> Option<Waiter> {
        self.waiters.lock().remove(&number)
    }

    /// Notes that this node carries out its own broadcast. False if the asker has given it up.
    pub(super) fn begin(&self, number: u64) -> bool {
        match self.waiters.lock().get_mut(&number) {
            Some(Waiter::Confirmations { has_begun, .. }) => {
                *has_begun = true;
                true
            }
            _ => false,
        }
    }

    /// Passes a confirmation to the asker, if it still waits.
    pub(super) fn confirm(&self, number: u64, confirmation: Confirmation) {
        if let Some(Waiter::Confirmations { answers, .. }) = self.waiters.lock().get(&number) {
            // Fails if the asker has just left.
            let _ = answers.send(confirmation);
        }
    }
}

impl Ticket<'_> {
    /// Gives the request up. False if this node carries it out, or has begun to: then the result
    /// comes at once.
    pub(super) fn give_up(&self) -> bool {
        let mut waiters = self.waiting.waiters.lock();
        match waiters.get(&self.number) {
            None
            | Some(Waiter::Confirmations {
                has_begun: true, ..
            }) => false,
            Some(_) => waiters.remove(&self.number).is_some(),
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.waiting.waiters.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmation(count: usize) -> Confirmation {
        Confirmation {
            node: NodeId::random(),
            outcome: Outcome::Queued,
            count,
        }
    }

    #[test]
    fn confirmations_reach_their_asker_until_it_leaves() {
        let waiting = Waiting::default();
        let (ticket, answers) = waiting.confirmations();
        let (other, _others_answers) = waiting.confirmations();
        assert_ne!(ticket.number, other.number);
        waiting.confirm(ticket.number, confirmation(3));
        assert_eq!(answers.try_recv().map(|it| it.count), Ok(3));
        let number = ticket.number;
        drop(ticket);
        waiting.confirm(number, confirmation(4));
        assert!(answers.try_recv().is_err());
    }

    #[test]
    fn request_is_begun_or_given_up_but_not_both() {
        let waiting = Waiting::default();
        let (ticket, _answers) = waiting.confirmations();
        assert!(waiting.begin(ticket.number));
        assert!(!ticket.give_up());
        let (ticket, _answers) = waiting.confirmations();
        assert!(ticket.give_up());
        assert!(!waiting.begin(ticket.number));
        let (ticket, _result) = waiting.rename();
        assert!(waiting.take(ticket.number).is_some());
        assert!(!ticket.give_up());
        let (ticket, _result) = waiting.rename();
        assert!(ticket.give_up());
        assert!(waiting.take(ticket.number).is_none());
    }

    #[test]
    fn node_is_16_lowercase_hex_digits() {
        let node = NodeId::random();
        assert_eq!(NodeId::parse(node.as_str()), Some(node));
        for bad in [
            "",
            "0123456789abcde",
            "0123456789ABCDEF",
            "0123456789abcdefg",
        ] {
            assert_eq!(NodeId::parse(bad), None, "{bad}");
        }
    }
}
