//! The queue of a session in the model, and its comparison with the received messages
//! (sections 7.1 to 7.3).
//!
//! A broadcast's response has a count of recipients, but no names. So the model does not always
//! know which queues have accepted a broadcast. It keeps such questions open until it knows.
//!
//! A session is *settled* when a client has read its queue to a known end. Then the model
//! compares what was sent to it with what it received.
//!
//! Presence has one order for all watching sessions, so it is a list. If some of it is missing,
//! the same change may be in the list twice. Then the model tries all places in the list.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::state::{Connection, Id};
use crate::support::is_spread;

/// The messages that were sent to a session since it was last settled.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    entries: Rc<BTreeMap<Id, Entry>>,
    /// The changes of which the session was told.
    presence: Rc<Vec<Told>>,
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
    /// The [number](Told::number) of the change that gave its sender its name.
    named_by: u32,
}

/// A change of which a watching session was told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Told {
    /// The data of the delivery without its first word.
    change: Arc<str>,
    /// The number of the change in this round, from 1. It is 0 in later rounds.
    pub(super) number: u32,
    /// Of a session that has ended: its own connection, whose messages precede this.
    pub(super) last_of: Option<Connection>,
    /// Whether it may come after the round. The sweeper has made the change, so no response shows
    /// that all sessions were told.
    pub(super) may_come_later: bool,
    /// Whether it may have been in the kernel when a connection was lost.
    may_be_lost: bool,
}

impl Told {
    pub(super) fn new(change: &str) -> Told {
        Told {
            change: change.into(),
            number: 0,
            last_of: None,
            may_come_later: false,
            may_be_lost: false,
        }
    }
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
#[derive(Clone, Debug)]
pub(super) enum Read {
    Delivery(Id),
    /// The data without its first word.
    Presence(Arc<str>),
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
    pub(super) fn add(&mut self, id: Id, taken: Taken, is_open: bool, named_by: u32) {
        let entry = Entry {
            taken,
            is_open,
            is_new: true,
            may_be_lost: false,
            named_by,
        };
        Rc::make_mut(&mut self.entries).insert(id, entry);
    }

    pub(super) fn tell(&mut self, told: Told) {
        Rc::make_mut(&mut self.presence).push(told);
    }

    /// Shows the changes of which the session was told.
    pub(super) fn told(&self) -> Vec<&str> {
        self.presence.iter().map(|it| &*it.change).collect()
    }

    /// Whether a session that has missed nothing may have received exactly these changes, and
    /// will be told of more.
    pub(super) fn begins_with(&self, received: &[Arc<str>]) -> bool {
        let mut received = received.iter();
        // After a lost change, the place of the others is not known.
        self.presence.iter().any(|told| told.may_be_lost)
            || self.presence.iter().all(|told| match received.next() {
                Some(change) => *change == told.change,
                None => told.may_come_later,
            })
    }

    /// Ends a round in which the session is not settled. If a connection of it was cut, its
    /// messages may be lost.
    pub(super) fn wait(&mut self, sent: Sent, loss: Loss<'_>) {
        self.bytes += sent.bytes;
        self.unanswered += sent.unanswered;
        for (id, entry) in Rc::make_mut(&mut self.entries) {
            entry.may_be_lost |= loss.concerns(*id, entry);
            entry.is_new = false;
            entry.named_by = 0;
        }
        for told in Rc::make_mut(&mut self.presence) {
            told.may_be_lost |= !matches!(loss, Loss::Nothing);
            told.may_come_later = false;
            told.number = 0;
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
        for read in read {
            let id = match read {
                Read::Missed(count) => {
                    reported += count;
                    continue;
                }
                Read::Presence(_) => continue,
                Read::Delivery(id) => *id,
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
        let presence = self.settle_presence(settling)?;
        missing_total += presence.missing;
        lost += presence.unclear;
        let most = match is_new {
            true => u64::MAX,
            false => missing_total + lost + self.unanswered + settling.sent.unanswered,
        };
        if !(missing_total..=most).contains(&reported) {
            return Err(format!(
                "{reported} missed messages are reported, expected {missing_total} to {most}"
            ));
        }
        let bytes = self.bytes + settling.sent.bytes + self.presence.len() * MAX_PRESENCE;
        let fits = match self.presence.is_empty() {
            true => bytes <= settling.queue_limit,
            // Presence is queued only while less than half of the queue is in use.
            false => 2 * bytes < settling.queue_limit,
        };
        if reported + missing_total > 0 && fits {
            return Err(format!(
                "{missing_total} messages are missing, {reported} reported, but all fit into the queue"
            ));
        }
        *self = Queue {
            presence: Rc::new(presence.later),
            ..Queue::default()
        };
        Ok(())
    }

    /// Compares the changes of which the session was told with those that it received.
    fn settle_presence(&self, settling: &Settling<'_>) -> Result<Settled, String> {
        let may_be_lost = |told: &Told| told.may_be_lost || !matches!(settling.loss, Loss::Nothing);
        let unclear = |told: &[Told]| told.iter().filter(|told| may_be_lost(told)).count() as u64;
        // The possible numbers of changes up to the last received one, each with the smallest
        // number of those that notices must report.
        let mut places = BTreeMap::from([(0, 0_u64)]);
        let (mut reported, mut has_missed, mut received) = (0, false, 0);
        for read in &settling.read {
            match read {
                Read::Delivery(_) => {}
                Read::Missed(count) => {
                    reported += count;
                    has_missed = true;
                }
                Read::Presence(change) => {
                    let mut next = BTreeMap::new();
                    for (&place, &missing) in &places {
                        let mut more = 0;
                        for (at, told) in self.presence.iter().enumerate().skip(place) {
                            if told.change == *change {
                                let least = next.entry(at + 1).or_insert(u64::MAX);
                                *least = (missing + more).min(*least);
                            }
                            more += u64::from(!may_be_lost(told));
                            if more > reported {
                                break;
                            }
                        }
                    }
                    places = next;
                    (reported, received) = (0, received + 1);
                }
            }
        }
        // What comes later is at the end of the list. A session ends at its node first. So it is
        // not told of a change at another node that its node has not read yet.
        let may_come = |told: &&Told| match settling.has_ended {
            true => is_spread(),
            false => told.may_come_later,
        };
        let later = self.presence.iter().rev().take_while(may_come).count();
        let rest = places.into_iter().filter_map(|(place, missing)| {
            let later = later.min(self.presence.len() - place);
            let end = self.presence.len() - later;
            let skipped = &self.presence[place..end];
            let more = skipped.len() as u64 - unclear(skipped);
            (more <= reported).then_some((missing + more, end))
        });
        let Some((missing, end)) = rest.min() else {
            return Err(format!(
                "it was told of {:?}, and received {:?}",
                self.told(),
                settling.read
            ));
        };
        let later: Vec<Told> = self.presence[end..].to_vec();
        let lost = (self.presence.len() - received) as u64 - missing;
        let is_clear = !has_missed && lost == later.len() as u64;
        if is_clear {
            self.check_presence_order(settling)?;
        }
        let later = later.into_iter().map(|told| Told {
            number: 0,
            may_come_later: false,
            may_be_lost: !is_clear,
            ..told
        });
        Ok(Settled {
            missing,
            unclear: lost,
            later: later.collect(),
        })
    }

    /// Checks the order of presence and messages. Each received change is the next of the list.
    fn check_presence_order(&self, settling: &Settling<'_>) -> Result<(), String> {
        let mut told = self.presence.iter();
        let (mut numbers, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for read in &settling.read {
            match read {
                Read::Missed(_) => {}
                Read::Presence(_) => {
                    let Some(Told {
                        number, last_of, ..
                    }) = told.next()
                    else {
                        continue;
                    };
                    numbers.insert(*number);
                    ended.extend(*last_of);
                }
                Read::Delivery(id) => {
                    if ended.contains(&id.0) {
                        return Err(format!("{id:?} arrived after its session had left"));
                    }
                    let named_by = self.entries.get(id).map_or(0, |entry| entry.named_by);
                    let mut later = told.clone().filter(|told| told.number == named_by);
                    if named_by > 0
                        && !numbers.contains(&named_by)
                        && let Some(Told { change, .. }) = later.next()
                    {
                        return Err(format!("{id:?} arrived before {change:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The result of a comparison of presence.
struct Settled {
    /// The number of changes that are missing, and that notices must report.
    missing: u64,
    /// The number of other changes that are missing.
    unclear: u64,
    /// The changes that may come in the next round.
    later: Vec<Told>,
}

/// The maximum bytes of a presence delivery.
const MAX_PRESENCE: usize = 8 + 34 + "Incoming-presence renamed  ".len() + 2 * 63 + 2;

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
