//! The history of broadcasts: a check of the responses to `Recent-messages`.
//!
//! The search does not know the history, because the position of every broadcast in it would be
//! one more step. Instead, this module checks conditions that hold in each order of the requests.
//! They are necessary, and not sufficient: they do not find the one moment at which a request was
//! executed.
//!
//! The witness asks for the history after each round. So the order of the broadcasts is known, as
//! far as that response reaches. Then these conditions hold for each response of the round:
//!
//! - It has whole broadcasts with their texts and senders, none of them private, as many as
//!   requested at most, in at most 65,536 bytes. The driver checks that nothing is between them.
//! - It is a part of the known order, without gaps.
//! - No broadcast is in it that was sent later.
//! - Each broadcast that was answered before the request was sent is in it, or is older than its
//!   first message. It ends only where the number, `--history` or the 65,536 bytes end it.
//! - Each broadcast that is newer than its last message has arrived at the session that asked, if
//!   that session has missed nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::Body;
use super::state::{Connection, Id, Token};
use crate::support::Message;

/// The maximum bytes of the messages in a response.
const MAX_SIZE: usize = 65_536;

/// A broadcast that was sent.
pub(super) struct Broadcast {
    pub(super) round: u32,
    /// The session that sent it, from the response. `None` without a response.
    pub(super) sender: Option<Token>,
    /// Whether it was sent with a late move.
    pub(super) is_late: bool,
    /// The maximum bytes of it in a response.
    pub(super) max_size: usize,
}

/// A response to `Recent-messages`.
pub(super) struct Window {
    pub(super) connection: Connection,
    /// The session that asked.
    pub(super) token: Token,
    /// The requested number.
    pub(super) count: usize,
    /// The ids of the broadcasts, and the bytes of each on the wire.
    pub(super) messages: Vec<(Id, usize)>,
    /// The number of the last message that its connection had sent before.
    pub(super) sent_before: u32,
    /// Whether it was requested with a late move, or by the witness.
    pub(super) is_late: bool,
    pub(super) is_witness: bool,
}

/// The broadcasts of a run, as far as the clients know them.
pub(super) struct History {
    /// `--history`.
    limit: usize,
    /// All broadcasts that may have been executed.
    broadcasts: BTreeMap<Id, Broadcast>,
    /// The newest broadcasts in the order of the history. Older ones are not in it.
    order: Vec<Id>,
    /// The bytes on the wire of those that a response had.
    sizes: BTreeMap<Id, usize>,
    /// The times of those that a response had.
    times: BTreeMap<Id, String>,
}

/// A message in front of the response to `Recent-messages`.
pub(super) struct Recent<'a> {
    pub(super) time: &'a str,
    pub(super) sender: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Recent<'a> {
    pub(super) fn parse(message: &'a Message) -> Option<Recent<'a>> {
        let mut words = message.data.splitn(4, ' ');
        let mut next = || words.next();
        let (_, time, sender, text) = (next()?, next()?, next()?, next()?);
        let shape = "0000-00-00T00:00:00Z".chars();
        let fits = |(place, c): (char, char)| match place {
            '0' => c.is_ascii_digit(),
            mark => c == mark,
        };
        let is_time = time.len() == shape.clone().count() && shape.zip(time.chars()).all(fits);
        is_time.then_some(Recent { time, sender, text })
    }
}

/// Returns the bytes of a message on the wire.
pub(super) fn wire_len(message: &Message) -> usize {
    message.status.len() + message.header.len() + message.data.len() + 3 * "\r\n".len()
}

impl History {
    pub(super) fn new(limit: usize) -> History {
        History {
            limit,
            broadcasts: BTreeMap::new(),
            order: Vec::new(),
            sizes: BTreeMap::new(),
            times: BTreeMap::new(),
        }
    }

    /// Notes a broadcast of this round.
    pub(super) fn sent(&mut self, id: Id, broadcast: Broadcast) {
        self.broadcasts.insert(id, broadcast);
    }

    /// Checks that a broadcast has the same time in all responses.
    pub(super) fn check_time(&mut self, id: Id, time: &str) -> Result<(), String> {
        let known = self.times.entry(id).or_insert_with(|| time.to_owned());
        if known != time {
            return Err(format!("{id:?} was sent at {time} and at {known}"));
        }
        Ok(())
    }

    /// Checks all responses of a round. `has_arrived` says whether a broadcast has arrived at a
    /// session, if that is known.
    pub(super) fn check(
        &mut self,
        round: u32,
        windows: &[Window],
        has_arrived: impl Fn(&Token, Id) -> Option<bool>,
    ) -> Result<(), String> {
        for window in windows {
            self.sizes.extend(window.messages.iter().copied());
        }
        let by_witness = windows.iter().filter(|window| window.is_witness);
        for window in by_witness {
            self.extend_order(window)?;
        }
        for window in windows {
            let checked = self.check_window(round, window, &has_arrived);
            checked.map_err(|problem| {
                let ids: Vec<Id> = window.messages.iter().map(|it| it.0).collect();
                format!(
                    "connection {} asked for {} recent messages and got {ids:?}: {problem}; \
                     the order is {:?}",
                    window.connection, window.count, self.order
                )
            })?;
        }
        Ok(())
    }

    /// Adds what the witness got, which ends with the newest broadcast.
    fn extend_order(&mut self, window: &Window) -> Result<(), String> {
        let ids = window.messages.iter().map(|it| it.0);
        let known = match window.messages.first() {
            Some((first, _)) => self.order.iter().position(|it| it == first),
            None if self.order.is_empty() => return Ok(()),
            None => return Err("the history is empty again".to_owned()),
        };
        match known {
            Some(at) => {
                let before = &self.order[at..];
                if !ids.clone().zip(before).all(|(new, old)| new == *old)
                    || window.messages.len() < before.len()
                {
                    let ids: Vec<Id> = ids.collect();
                    return Err(format!("the history was {before:?}, and now is {ids:?}"));
                }
                self.order.truncate(at);
                self.order.extend(ids);
            }
            // All that was known is older.
            None => {
                let ids: Vec<Id> = ids.collect();
                if let Some(id) = ids.iter().find(|it| self.order.contains(it)) {
                    return Err(format!("{id:?} is newer than before in {ids:?}"));
                }
                self.order = ids;
            }
        }
        Ok(())
    }

    fn check_window(
        &self,
        round: u32,
        window: &Window,
        has_arrived: &impl Fn(&Token, Id) -> Option<bool>,
    ) -> Result<(), String> {
        let ids: Vec<Id> = window.messages.iter().map(|it| it.0).collect();
        let size: usize = window.messages.iter().map(|it| it.1).sum();
        if ids.len() > window.count.min(self.limit) || size > MAX_SIZE {
            return Err(format!(
                "{} messages of {size} bytes are too many",
                ids.len()
            ));
        }
        self.check_order_of_senders(&ids)?;
        for id in &ids {
            let broadcast = &self.broadcasts[id];
            let is_own = id.0 == window.connection;
            let is_later = broadcast.is_late && broadcast.round == round && !window.is_late;
            if is_own && id.1 > window.sent_before || is_later {
                return Err(format!("{id:?} was sent later"));
            }
        }
        // The place behind its last message in the known order.
        let end = match ids.last() {
            Some(last) => self.order.iter().position(|it| it == last),
            None => None,
        };
        let end = end.map_or(0, |last| last + 1);
        let start = end.saturating_sub(ids.len());
        let (known, newer) = (&self.order[start..end], &self.order[end..]);
        let behind_unknown = &ids[ids.len() - known.len()..];
        let unknown = &ids[..ids.len() - known.len()];
        if behind_unknown != known || unknown.iter().any(|id| self.order.contains(id)) {
            return Err("it is not a part of the order".to_owned());
        }
        let must_be_in = |id: &Id, broadcast: &Broadcast| {
            broadcast.sender.is_some()
                && (broadcast.round < round
                    || id.0 == window.connection && id.1 <= window.sent_before
                    || window.is_late && !broadcast.is_late
                    || window.is_witness)
        };
        let musts = self.broadcasts.iter().filter(|(id, it)| must_be_in(id, it));
        let missing: Vec<Id> = musts
            .map(|(id, _)| *id)
            .filter(|id| !ids.contains(id))
            .collect();
        if let Some(id) = missing.iter().find(|id| newer.contains(id)) {
            return Err(format!("{id:?} was answered before, and is not in it"));
        }
        if let Some(first) = ids.first() {
            let is_newer = |id: &&Id| self.broadcasts[id].round > self.broadcasts[first].round;
            if let Some(id) = missing.iter().find(is_newer) {
                return Err(format!("{id:?} is newer than its first message"));
            }
        }
        if ids.len() < window.count.min(self.limit) && !missing.is_empty() {
            let before = start.checked_sub(1).map(|at| self.order[at]);
            let before = before.filter(|_| unknown.is_empty());
            let all = self.broadcasts.values();
            let next = match before.and_then(|id| self.sizes.get(&id)) {
                Some(size) => *size,
                None => all.map(|it| it.max_size).max().unwrap_or(0),
            };
            if size + next <= MAX_SIZE {
                return Err(format!(
                    "{missing:?} were answered before, and there is room for one more"
                ));
            }
        }
        let lost = newer.iter().find(|id| {
            let broadcast = &self.broadcasts[id];
            let is_others = broadcast
                .sender
                .as_ref()
                .is_some_and(|it| *it != window.token);
            let arrived = has_arrived(&window.token, **id);
            broadcast.round == round && is_others && arrived == Some(false)
        });
        match lost {
            Some(id) => Err(format!("{id:?} is newer, and has not arrived")),
            None => Ok(()),
        }
    }

    /// Checks that the rounds and the broadcasts of each connection are in order.
    fn check_order_of_senders(&self, ids: &[Id]) -> Result<(), String> {
        let (mut last, mut round) = (BTreeMap::new(), 0);
        for id in ids {
            let Some(broadcast) = self.broadcasts.get(id) else {
                return Err(format!("{id:?} was not executed"));
            };
            if last.insert(id.0, id.1).is_some_and(|last| last >= id.1) || broadcast.round < round {
                return Err(format!("{id:?} is not in order"));
            }
            round = broadcast.round;
        }
        let unique: BTreeSet<&Id> = ids.iter().collect();
        debug_assert_eq!(unique.len(), ids.len());
        Ok(())
    }
}

/// Returns the requested number, if the request is `Recent-messages`.
pub(super) fn requested(body: Body) -> Option<usize> {
    match body {
        Body::RecentMessages { count } => Some(count.unwrap_or(20)),
        _ => None,
    }
}
