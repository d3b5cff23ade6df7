//! What stands in a session's queue, as far as it can be known, and whether what has
//! arrived agrees with it (sections 7.1 to 7.3).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::state::{Connection, Id};

/// What has been sent to a session since it was last settled, which is when it was known
/// to have been written all that there was.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    entries: Rc<BTreeMap<Id, Entry>>,
    /// How many bytes everyone has sent since, in the rounds before this one.
    bytes: usize,
    /// And how many messages whose sender was gone before the answer.
    unanswered: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    taken: Taken,
    /// It was sent in this round.
    is_new: bool,
    /// The kernel may have had it when a connection broke.
    may_be_lost: bool,
    /// Whether the count of a broadcast includes this one is [open](Uncounted).
    is_unheard: bool,
}

/// Whether the queue took a message, as its sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Taken {
    Yes,
    No,
    /// It was a broadcast.
    Unknown,
}

/// What is still open of the count with which a broadcast was answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Uncounted {
    /// So many of the count have not been heard of.
    pub(super) missing: usize,
    /// So many who may have it have not been heard.
    pub(super) unheard: usize,
}

/// What was read for a session, in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    Delivery(Id),
    Missed(u64),
}

/// What the kernel of a connection may have taken that was cut in a round, and nobody read.
#[derive(Clone, Copy)]
pub(super) enum Loss<'a> {
    /// None was cut.
    Nothing,
    Anything,
    /// It had been reset before these sent anything in the round. On one machine a reset
    /// has arrived when the call that sends it returns, and the kernel takes nothing more.
    AllBut(&'a BTreeSet<Connection>),
}

/// What else there is to know for the settling of a session.
pub(super) struct Settling<'a> {
    /// All that its connections read in this round, one after the other.
    pub(super) read: Vec<Read>,
    pub(super) loss: Loss<'a>,
    /// It has ended, so broadcasts of this round may have found it closed.
    pub(super) has_ended: bool,
    /// It has begun in this round, and which broadcasts were before is not known.
    pub(super) is_new: bool,
    /// What everyone has sent in this round.
    pub(super) sent: Sent,
    /// `--queue`.
    pub(super) bound: usize,
    /// The messages that may have been sent or not, because nobody read the answer.
    pub(super) unanswered: &'a BTreeSet<Id>,
}

/// What all clients together have sent.
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
            Loss::AllBut(late) => !entry.is_new || !late.contains(&id.0),
        }
    }
}

impl Queue {
    pub(super) fn add(&mut self, id: Id, taken: Taken, is_unheard: bool) {
        let entry = Entry {
            taken,
            is_unheard,
            is_new: true,
            may_be_lost: false,
        };
        Rc::make_mut(&mut self.entries).insert(id, entry);
    }

    /// The round is over, and the session not settled. What stands here may be lost if a
    /// connection of it was cut.
    pub(super) fn wait(&mut self, sent: Sent, loss: Loss<'_>) {
        self.bytes += sent.bytes;
        self.unanswered += sent.unanswered;
        for (id, entry) in Rc::make_mut(&mut self.entries) {
            entry.may_be_lost |= loss.concerns(*id, entry);
            entry.is_new = false;
        }
    }

    /// Compares what was sent to the session with what it read, and forgets both.
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
        let may_lack = |id: &Id, entry: &Entry| {
            entry.may_be_lost
                || loss.concerns(*id, entry)
                || (has_ended || is_new) && entry.is_new && entry.taken == Taken::Unknown
        };
        // Of each sender, the last message that came, and the misses told before it.
        let mut last: BTreeMap<Connection, (u32, u64)> = BTreeMap::new();
        let mut came = BTreeSet::new();
        let mut told = 0;
        // Those between two messages of one sender, of which a notice has to tell.
        let untold = |sender: Connection, after: Option<u32>, before: u32| {
            let from = after.map_or(0, |after| after + 1);
            let between = self.entries.range((sender, from)..(sender, before));
            between.filter(|(id, entry)| !may_lack(id, entry)).count() as u64
        };
        for &read in read {
            let id = match read {
                Read::Missed(count) => {
                    told += count;
                    continue;
                }
                Read::Delivery(id) => id,
            };
            match self.entries.get(&id) {
                Some(entry) if entry.taken == Taken::No => {
                    return Err(format!(
                        "{id:?} came, although its sender was told that it cannot"
                    ));
                }
                Some(_) => {}
                None if settling.unanswered.contains(&id) => {}
                None => return Err(format!("{id:?} came, which was not for it")),
            }
            let (sender, number) = id;
            let (before, told_before) = match last.insert(sender, (number, told)) {
                Some((before, told_before)) => (Some(before), told_before),
                None => (None, 0),
            };
            if before.is_some_and(|before| before >= number) {
                return Err(format!("{id:?} came behind {before:?}"));
            }
            let untold = untold(sender, before, number);
            if untold > told - told_before {
                return Err(format!(
                    "{untold} messages lack before {id:?}, {} told of",
                    told - told_before
                ));
            }
            came.insert(id);
        }
        let (mut lacking, mut lost) = (0, 0);
        for (id, entry) in &*self.entries {
            let has_come = came.contains(id);
            let may_lack = may_lack(id, entry);
            if !has_come {
                if entry.taken == Taken::Yes && !may_lack {
                    return Err(format!("{id:?} was delivered, and has not come"));
                }
                *(if may_lack { &mut lost } else { &mut lacking }) += 1;
                let (last, told_before) = last
                    .get(&id.0)
                    .map_or((None, 0), |&(n, told)| (Some(n), told));
                if last.is_none_or(|last| last < id.1) {
                    let untold = untold(id.0, last, u32::MAX);
                    if untold > told - told_before {
                        return Err(format!(
                            "{untold} messages lack from {id:?} on, {} told of",
                            told - told_before
                        ));
                    }
                }
            }
            if entry.is_unheard {
                hear(uncounted, *id, has_come, may_lack)?;
            }
        }
        let most = match is_new {
            true => u64::MAX,
            false => lacking + lost + self.unanswered + settling.sent.unanswered,
        };
        if !(lacking..=most).contains(&told) {
            return Err(format!(
                "told of {told} missed messages, which are {lacking} to {most}"
            ));
        }
        if told + lacking > 0 && self.bytes + settling.sent.bytes <= settling.bound {
            return Err(format!(
                "{lacking} messages lack, {told} told of, and there was room for all"
            ));
        }
        *self = Queue::default();
        Ok(())
    }
}

/// One of those who might have this broadcast has been heard.
fn hear(
    uncounted: &mut Rc<BTreeMap<Id, Uncounted>>,
    id: Id,
    has_come: bool,
    may_be_lost: bool,
) -> Result<(), String> {
    let Some(open) = Rc::make_mut(uncounted).get_mut(&id) else {
        return Ok(());
    };
    if has_come && open.missing == 0 {
        return Err(format!("{id:?} came to more than were counted"));
    }
    if has_come {
        open.missing -= 1;
    }
    // Whether one has it to whom it is lost is never heard.
    if has_come || !may_be_lost {
        open.unheard = open.unheard.saturating_sub(1);
    }
    if open.missing > open.unheard {
        return Err(format!("{id:?} came to fewer than were counted"));
    }
    Ok(())
}
