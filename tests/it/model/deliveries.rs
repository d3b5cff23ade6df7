//! The queue of a session in the model, and its comparison with the received messages
//! (sections 7.1 to 7.3).
//!
//! A broadcast's response has a count of recipients, but no names. So the model does not always
//! know which queues have accepted a broadcast. It keeps such questions open until it knows.
//!
//! A session is *settled* when a client has read its queue to a known end. Then the model
//! compares what was sent to it with what it received.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::state::{Connection, Id};

/// The messages that were sent to a session since it was last settled.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    entries: Rc<BTreeMap<Id, Entry>>,
    /// The bytes that all clients have sent since then, in the rounds before this one.
    bytes: usize,
    /// The number of those messages without a response, in the rounds before this one.
    unanswered: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    taken: Taken,
    /// Whether it was sent in this round.
    is_new: bool,
    /// Whether it may have been in the kernel when a connection was lost.
    may_be_lost: bool,
    /// Whether it is [open](Uncounted) if the broadcast's count includes this recipient.
    is_open: bool,
}

/// Whether the queue accepted a message, according to the response to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Taken {
    Yes,
    No,
    /// The response to a broadcast does not tell.
    Unknown,
}

/// The open part of the count in a response to a broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Uncounted {
    /// How many counted recipients are not known yet.
    pub(super) missing: usize,
    /// How many possible recipients have not been settled.
    pub(super) unsettled: usize,
}

/// A message that was received for a session.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Delivery(Id),
    Missed(u64),
}

/// The messages that a cut connection of this round may have lost in the kernel.
#[derive(Clone, Copy)]
pub(super) enum Loss<'a> {
    /// No connection was cut.
    Nothing,
    Anything,
    /// All messages except those of these connections, which began to send after the reset. On
    /// one machine, a reset has arrived when its call returns. Then the kernel accepts nothing
    /// more.
    AllExcept(&'a BTreeSet<Connection>),
}

/// The other facts that settling a session needs.
pub(super) struct Settling<'a> {
    /// The messages that its connections received in this round, one connection after the other.
    pub(super) read: Vec<Read>,
    pub(super) loss: Loss<'a>,
    /// Whether it has ended, so that broadcasts of this round may have found it closed.
    pub(super) has_ended: bool,
    /// Whether it has begun in this round. The model does not know which broadcasts preceded it.
    pub(super) is_new: bool,
    /// What all clients have sent in this round.
    pub(super) sent: Sent,
    /// `--queue`.
    pub(super) queue_limit: usize,
    /// The messages of all rounds without a response. The server may have executed them.
    pub(super) unanswered: &'a BTreeSet<Id>,
}

/// The sum of what all clients have sent.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) bytes: usize,
    pub(super) unanswered: u64,
}

impl Loss<'_> {
    fn concerns(self, id: Id, entry: &Entry) -> bool {
        match self {
            Loss::Nothing => false,
            Loss::Anything => true,
            Loss::AllExcept(late) => !entry.is_new || !late.contains(&id.0),
        }
    }
}

impl Queue {
    pub(super) fn add(&mut self, id: Id, taken: Taken, is_open: bool) {
        let entry = Entry {
            taken,
            is_open,
            is_new: true,
            may_be_lost: false,
        };
        Rc::make_mut(&mut self.entries).insert(id, entry);
    }

    /// Ends a round in which the session is not settled. If a connection of it was cut, its
    /// messages may be lost.
    pub(super) fn wait(&mut self, sent: Sent, loss: Loss<'_>) {
        self.bytes += sent.bytes;
        self.unanswered += sent.unanswered;
        for (id, entry) in Rc::make_mut(&mut self.entries) {
            entry.may_be_lost |= loss.concerns(*id, entry);
            entry.is_new = false;
        }
    }

    /// Compares the sent messages with the received ones, then empties the queue.
    pub(super) fn settle(
        &mut self,
        settling: &Settling<'_>,
        uncounted: &mut Rc<BTreeMap<Id, Uncounted>>,
    ) -> Result<(), String> {
        let Settling {
            loss,
            has_ended,
            is_new,
            ref read,
            ..
        } = *settling;
        let may_be_missing = |id: &Id, entry: &Entry| {
            entry.may_be_lost
                || loss.concerns(*id, entry)
                || (has_ended || is_new) && entry.is_new && entry.taken == Taken::Unknown
        };
        // For each sender: its last received message, and the missed messages reported before it.
        let mut last: BTreeMap<Connection, (u32, u64)> = BTreeMap::new();
        let mut arrived = BTreeSet::new();
        let mut reported = 0;
        // Counts the messages between two of one sender that a notice must report.
        let missing_between = |sender: Connection, after: Option<u32>, before: u32| {
            let from = after.map_or(0, |after| after + 1);
            let between = self.entries.range((sender, from)..(sender, before));
            between
                .filter(|(id, entry)| !may_be_missing(id, entry))
                .count() as u64
        };
        for &read in read {
            let id = match read {
                Read::Missed(count) => {
                    reported += count;
                    continue;
                }
                Read::Delivery(id) => id,
            };
            match self.entries.get(&id) {
                Some(entry) if entry.taken == Taken::No => {
                    return Err(format!(
                        "{id:?} arrived, although its sender got the response that it was refused"
                    ));
                }
                Some(_) => {}
                None if settling.unanswered.contains(&id) => {}
                None => return Err(format!("{id:?} arrived, which was not sent to it")),
            }
            let (sender, number) = id;
            let (before, reported_before) = match last.insert(sender, (number, reported)) {
                Some((before, reported_before)) => (Some(before), reported_before),
                None => (None, 0),
            };
            if before.is_some_and(|before| before >= number) {
                return Err(format!("{id:?} arrived after {before:?}"));
            }
            let missing = missing_between(sender, before, number);
            if missing > reported - reported_before {
                return Err(format!(
                    "{missing} messages are missing before {id:?}, {} reported",
                    reported - reported_before
                ));
            }
            arrived.insert(id);
        }
        let (mut missing_total, mut lost) = (0, 0);
        for (id, entry) in &*self.entries {
            let has_arrived = arrived.contains(id);
            let may_be_missing = may_be_missing(id, entry);
            if !has_arrived {
                if entry.taken == Taken::Yes && !may_be_missing {
                    return Err(format!("{id:?} was delivered, but has not arrived"));
                }
                *(if may_be_missing {
                    &mut lost
                } else {
                    &mut missing_total
                }) += 1;
                let (last, reported_before) = last
                    .get(&id.0)
                    .map_or((None, 0), |&(n, reported)| (Some(n), reported));
                if last.is_none_or(|last| last < id.1) {
                    let missing = missing_between(id.0, last, u32::MAX);
                    if missing > reported - reported_before {
                        return Err(format!(
                            "{missing} messages are missing from {id:?} on, {} reported",
                            reported - reported_before
                        ));
                    }
                }
            }
            if entry.is_open {
                note_recipient(uncounted, *id, has_arrived, may_be_missing)?;
            }
        }
        let most = match is_new {
            true => u64::MAX,
            false => missing_total + lost + self.unanswered + settling.sent.unanswered,
        };
        if !(missing_total..=most).contains(&reported) {
            return Err(format!(
                "{reported} missed messages are reported, expected {missing_total} to {most}"
            ));
        }
        if reported + missing_total > 0 && self.bytes + settling.sent.bytes <= settling.queue_limit
        {
            return Err(format!(
                "{missing_total} messages are missing, {reported} reported, but all fit into the queue"
            ));
        }
        *self = Queue::default();
        Ok(())
    }
}

/// Notes that a possible recipient of a broadcast is settled.
fn note_recipient(
    uncounted: &mut Rc<BTreeMap<Id, Uncounted>>,
    id: Id,
    has_arrived: bool,
    may_be_lost: bool,
) -> Result<(), String> {
    let Some(open) = Rc::make_mut(uncounted).get_mut(&id) else {
        return Ok(());
    };
    if has_arrived && open.missing == 0 {
        return Err(format!(
            "{id:?} arrived at more recipients than were counted"
        ));
    }
    if has_arrived {
        open.missing -= 1;
    }
    // A recipient that may have lost it stays open, because the model cannot know.
    if has_arrived || !may_be_lost {
        open.unsettled = open.unsettled.saturating_sub(1);
    }
    if open.missing > open.unsettled {
        return Err(format!(
            "{id:?} arrived at fewer recipients than were counted"
        ));
    }
    Ok(())
}
