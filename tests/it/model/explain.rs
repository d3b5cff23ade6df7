//! The search for an order of a round's requests that explains all received messages.
//!
//! In such an order, the model executes one step after the other. Every response equals the
//! received one, and every session has the deliveries that it must have.
//!
//! - Requests of one connection keep their order. Those of different connections may be in any
//!   order.
//! - A request has two steps, and steps of other connections may be between them: it looks up
//!   its session, then it executes. Section 7 guarantees no more.
//! - A broadcast reaches one session after the other. A session that ends meanwhile may be
//!   counted or not.
//! - A rename has two halves: the session has the new name, then it sends under it. The watching
//!   sessions are told in between. No other change happens between the halves, but requests
//!   without effect do.
//! - The witness asks last. Only a session that lingers may end after its requests.
//!
//! The search keeps all states that explain a round, because a later round may rule some out.
//!
//! Most requests change no state that other requests can see. If such a request can be executed
//! now, the order does not matter, so it is executed at once. The search tries only the orders
//! of requests that change names, sessions or watching. What a watching session received gives
//! the order of such changes, so the search leaves an order as soon as a session that has missed
//! nothing was told of something else.
//!
//! The search does not know the history of broadcasts. [`history`](super::history) checks it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::deliveries::{Loss, Read, Sent, Settling, Taken, Uncounted};
use super::plan::{Ask, Body, FoundBy, Header, Wrong};
use super::state::{Acting, Connection, Id, Reply, State, Token};
use crate::support::Message;

/// The observations of a round.
pub(super) struct Seen<'a> {
    pub(super) lives: Vec<Life>,
    /// The recipients of each message, and its sender's name.
    pub(super) received: BTreeMap<Id, Received>,
    /// The sessions whose queue was read to a known end.
    pub(super) settled: BTreeSet<Token>,
    /// The sessions with a cut connection, which may have lost messages.
    pub(super) torn: BTreeSet<Token>,
    /// The torn sessions whose connections were reset before the late moves. They lose no late
    /// message, because the kernel accepted nothing more.
    pub(super) reset: BTreeSet<Token>,
    /// The connections that sent their requests late.
    pub(super) late: BTreeSet<Connection>,
    /// The sessions that began in this round.
    pub(super) new: BTreeSet<Token>,
    /// The index of the witness, which asks after everything else.
    pub(super) witness: usize,
    /// The presence of the sessions that have missed nothing and had one connection.
    pub(super) presence: BTreeMap<Token, Vec<Arc<str>>>,
    pub(super) sent: Sent,
    /// The messages without a response, of all rounds.
    pub(super) unanswered: &'a BTreeSet<Id>,
    /// The end of the round, in milliseconds.
    pub(super) now: u64,
    /// `--queue`.
    pub(super) queue_limit: usize,
    /// `--linger`, in milliseconds.
    pub(super) linger: u64,
}

#[derive(Default)]
pub(super) struct Received {
    pub(super) sender: String,
    pub(super) by: BTreeSet<Token>,
}

/// The requests, messages and end of one connection in a round.
pub(super) struct Life {
    pub(super) connection: Connection,
    /// The node to which it is connected.
    pub(super) node: usize,
    pub(super) asked: Vec<Asked>,
    /// The request with the 20th response 400 in a row, which is the last.
    pub(super) last: Option<usize>,
    pub(super) end: End,
    /// The received messages, each with its header.
    pub(super) read: Vec<(Token, Read)>,
}

pub(super) struct Asked {
    pub(super) ask: Ask,
    /// The token in its header.
    pub(super) token: Option<Token>,
    /// The message that it sends, if any.
    pub(super) id: Option<Id>,
    pub(super) answer: Option<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It stays connected. The last response had this header.
    Open(Option<Token>),
    /// It stays connected, and was not read.
    NotRead,
    /// The server closed it.
    Gone,
    /// The client half-closed it, then the server closed it.
    HalfClosed,
    /// The client closed it at this time. With unread input, that is a reset.
    Closed(u64),
    /// The client reset it at this time.
    Reset(u64),
}

/// A node of the search: a state, and the progress of each connection.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    state: State,
    progress: Vec<Progress>,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Progress {
    next: usize,
    /// The session of the next request, after its lookup.
    acting: Option<Option<Acting>>,
    /// Whether the next request is a rename whose first half is executed.
    is_half_done: bool,
    /// Why no further request is executed.
    done: Option<Done>,
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Done {
    LastAnswer,
    /// The connection ended before the rest was executed.
    CutShort,
}

/// The maximum number of nodes. Most rounds take a few dozen.
const MAX_NODES: usize = 300_000;

/// The reason why a step is not possible now.
type NotNow = String;

/// Returns the possible states after a round, from those before it.
///
/// If there is none, returns the problems of the order that got farthest.
pub(super) fn explain(seen: &Seen<'_>, before: &[State]) -> Result<Vec<State>, String> {
    let progress = vec![Progress::default(); seen.lives.len()];
    let mut nodes: Vec<Node> = before
        .iter()
        .map(|state| Node {
            state: state.clone(),
            progress: progress.clone(),
        })
        .collect();
    let (mut visited, mut after) = (HashSet::new(), HashSet::new());
    let mut farthest = (0, Vec::new());
    while let Some(mut node) = nodes.pop() {
        seen.execute_steps_without_effect(&mut node);
        if !visited.insert(node.clone()) {
            continue;
        }
        if visited.len() > MAX_NODES {
            return Err("too many orders to try; the server may be right".to_owned());
        }
        let steps: usize = node
            .progress
            .iter()
            .map(|it| it.next + usize::from(it.is_over))
            .sum();
        let problems = if node.progress.iter().all(|it| it.is_over) {
            match seen.conclude(node.state.clone()) {
                Ok(state) => {
                    after.insert(state);
                    Vec::new()
                }
                Err(problem) => vec![problem],
            }
        } else {
            Vec::new()
        };
        let (next, not_now) = seen.go_on(&node);
        nodes.extend(next);
        let problems = [problems, not_now].concat();
        if steps >= farthest.0 && !problems.is_empty() {
            farthest = (steps, problems);
        }
    }
    if after.is_empty() {
        return Err(farthest.1.join("\n"));
    }
    Ok(after.into_iter().collect())
}

impl Seen<'_> {
    fn execute_steps_without_effect(&self, node: &mut Node) {
        loop {
            let steps = (0..self.lives.len()).filter(|&i| {
                let mut has_moved = false;
                while !node.progress[i].is_over && self.step(node, i, false).is_ok() {
                    has_moved = true;
                }
                has_moved
            });
            if steps.count() == 0 {
                return;
            }
        }
    }

    /// Returns the possible next nodes, and why the other steps are not possible.
    fn go_on(&self, node: &Node) -> (Vec<Node>, Vec<NotNow>) {
        let (mut next, mut not_now) = (Vec::new(), Vec::new());
        for (i, (progress, life)) in node.progress.iter().zip(&self.lives).enumerate() {
            if progress.is_over {
                continue;
            }
            let mut changed = node.clone();
            if self.is_unanswered(node, i) {
                match self.execute_unanswered(&mut changed, i) {
                    Ok(()) => next.push(changed),
                    Err(why) => not_now.push(why),
                }
                changed = node.clone();
                match self.cut_short(&mut changed, i, Done::CutShort) {
                    Ok(()) => next.push(changed),
                    Err(why) => not_now.push(why),
                }
                continue;
            }
            match self.step(&mut changed, i, true) {
                Ok(()) => next.push(changed),
                Err(why) => not_now.push(format!("connection {}: {why}", life.connection)),
            }
            // With unread input the close was a reset, else an end. So try both.
            let may_end = self.is_at_its_end(node, i) && node.state.renaming.is_none();
            if matches!(life.end, End::Closed(_)) && may_end {
                let mut ended = node.clone();
                ended.state.end_connection(life.connection);
                ended.progress[i].is_over = true;
                next.push(ended);
            }
        }
        for (token, session) in &node.state.sessions {
            let has_expired = session.lingers.is_some_and(|until| until <= self.now);
            if has_expired && node.state.renaming.is_none() {
                let mut ended = node.clone();
                ended.state.expire(token);
                next.push(ended);
            }
        }
        next.retain(|node| match self.unexpected_presence(&node.state) {
            None => true,
            Some(problem) => {
                not_now.push(problem);
                false
            }
        });
        (next, not_now)
    }

    /// Finds a session that was told of something else than it received.
    fn unexpected_presence(&self, state: &State) -> Option<String> {
        self.presence.iter().find_map(|(token, received)| {
            let session = state.sessions.get(token);
            let session = session.or_else(|| state.ended.get(token))?;
            let is_wrong = !session.queue.begins_with(received);
            is_wrong.then(|| {
                let told = session.queue.told();
                format!("{token} was told of {told:?}, and received {received:?}")
            })
        })
    }

    fn is_at_its_end(&self, node: &Node, i: usize) -> bool {
        let progress = &node.progress[i];
        progress.done.is_some() || progress.next == self.lives[i].asked.len()
    }

    fn is_unanswered(&self, node: &Node, i: usize) -> bool {
        !self.is_at_its_end(node, i) && self.lives[i].asked[node.progress[i].next].answer.is_none()
    }

    /// Executes the next step of a connection, if it agrees with the observations.
    ///
    /// If `may_change` is false, executes only a step that would be the same at any later time.
    fn step(&self, node: &mut Node, i: usize, may_change: bool) -> Result<(), NotNow> {
        let life = &self.lives[i];
        if self.is_at_its_end(node, i) {
            return self.end(node, i, may_change);
        }
        let progress = &node.progress[i];
        let asked = &life.asked[progress.next];
        let others = || node.progress.iter().enumerate().filter(|(it, _)| *it != i);
        if i == self.witness && !others().all(|(_, progress)| progress.is_over) {
            return Err("not yet".to_owned());
        }
        let Some(answer) = &asked.answer else {
            if would_change_nothing(&node.state, asked) {
                return self.mark_executed(node, i);
            }
            return Err("it has no response".to_owned());
        };
        let Some(acting) = progress.acting.clone() else {
            return self.look_up(node, i, asked, answer);
        };
        let mut state = None;
        let reply = match &asked.ask.body {
            Body::SetName(name) if progress.is_half_done => {
                if !may_change {
                    return Err("not yet".to_owned());
                }
                let mut changed = node.state.clone();
                changed.renaming = None;
                state = Some(changed);
                let header = acting.as_ref().map(|it| &it.token);
                Reply::new("200 OK", header, format!("You are {name}"))
            }
            Body::SetName(name) => {
                let own = node.state.own.get(&life.connection);
                let is_refused = own.is_some() && own != acting.as_ref().map(|it| &it.token);
                if node.state.renaming.is_some() && !is_refused {
                    return Err("another change comes first".to_owned());
                }
                let mut changed = node.state.clone();
                let fresh = answer.header.as_str().into();
                let (reply, has_changed) =
                    changed.set_name((life.connection, life.node), acting.as_ref(), name, &fresh);
                if has_changed && !may_change {
                    return Err("not yet".to_owned());
                }
                if changed.renaming.is_some() && has_changed {
                    self.compare(node, i, &reply, answer)?;
                    node.progress[i].is_half_done = true;
                    node.state = changed;
                    return Ok(());
                }
                state = Some(changed);
                reply
            }
            Body::Quit => {
                let header = acting.as_ref().map(|it| &it.token);
                let another = header.filter(|&it| node.state.own.get(&life.connection) != Some(it));
                if let Some(another) = another {
                    if !may_change {
                        return Err("not yet".to_owned());
                    }
                    if node.state.renaming.is_some() {
                        return Err("another change comes first".to_owned());
                    }
                    let mut changed = node.state.clone();
                    changed.end(another);
                    state = Some(changed);
                }
                Reply::new("200 OK", header, "Goodbye")
            }
            Body::Ping => Reply::new("200 OK", acting.as_ref().map(|it| &it.token), "Pong"),
            Body::BadStatusLine(wrong) => Reply::new(
                wrong.status,
                node.state.own.get(&life.connection),
                wrong.data,
            ),
            Body::Wrong(wrong) => answer_to_wrong(wrong, acting.as_ref()),
            Body::Private { .. }
            | Body::Broadcast { .. }
            | Body::ListNames { .. }
            | Body::WatchPresence { .. }
            | Body::RecentMessages { .. } => {
                let Some(acting) = &acting else {
                    return self.finish(node, i, &Reply::set_a_name_first(), answer);
                };
                match asked.ask.body {
                    Body::Private { to, .. } => {
                        return self.private(node, i, acting, to, may_change);
                    }
                    Body::Broadcast { .. } => return self.broadcast(node, i, acting),
                    Body::ListNames { prefix } => {
                        Reply::new("200 OK", Some(&acting.token), node.state.list_names(prefix))
                    }
                    Body::WatchPresence { is_on } => {
                        if node.state.renaming.is_some() {
                            return Err("another change comes first".to_owned());
                        }
                        if !may_change && self.order_of_watching_matters(node, i) {
                            return Err("not yet".to_owned());
                        }
                        let mut changed = node.state.clone();
                        let reply = changed.watch(acting, is_on);
                        state = Some(changed);
                        reply
                    }
                    // The driver has checked the number.
                    Body::RecentMessages { .. } => {
                        Reply::new("200 OK", Some(&acting.token), &*answer.data)
                    }
                    _ => unreachable!(),
                }
            }
        };
        self.finish(node, i, &reply, answer)?;
        if let Some(state) = state {
            node.state = state;
        }
        Ok(())
    }

    /// Looks up the session of the next request, if that agrees with the observations.
    fn look_up(
        &self,
        node: &mut Node,
        i: usize,
        asked: &Asked,
        answer: &Message,
    ) -> Result<(), NotNow> {
        let own = node.state.own.get(&self.lives[i].connection);
        let acting = match (asked.ask.header, &asked.token) {
            _ if matches!(asked.ask.body, Body::BadStatusLine(_)) => None,
            (Header::Unknown | Header::NotAToken, _) => {
                return self.finish(node, i, &Reply::unknown_token(), answer);
            }
            (Header::TokenOf(_), Some(token)) => match node.state.acting(token) {
                Some(acting) => Some(acting),
                None => return self.finish(node, i, &Reply::unknown_token(), answer),
            },
            (Header::TokenOf(_), None) | (Header::Empty, _) => {
                own.and_then(|own| node.state.acting(own))
            }
        };
        if let Some(Acting { token, name, .. }) = &acting {
            let refused = answer.data == "Unknown token" || answer.header.is_empty();
            if refused {
                return Err(format!(
                    "{:?} by {name} is answered {answer:?}",
                    asked.ask.body
                ));
            }
            let received = asked.id.and_then(|id| self.received.get(&id));
            if let Some(received) = received.filter(|it| *it.sender != **name) {
                return Err(format!(
                    "{:?} is from {}, expected {name}",
                    asked.id, received.sender
                ));
            }
            if asked.token.is_some()
                && let Some(session) = node.state.sessions.get_mut(token)
            {
                session.token_was_used = true;
            }
        }
        node.progress[i].acting = Some(acting);
        Ok(())
    }

    /// Executes the request, if its response is this one.
    fn finish(
        &self,
        node: &mut Node,
        i: usize,
        reply: &Reply,
        answer: &Message,
    ) -> Result<(), NotNow> {
        self.compare(node, i, reply, answer)?;
        self.mark_executed(node, i)
    }

    fn compare(
        &self,
        node: &Node,
        i: usize,
        reply: &Reply,
        answer: &Message,
    ) -> Result<(), NotNow> {
        let Reply {
            status,
            header,
            data,
        } = reply;
        let header = header.as_deref().unwrap_or_default();
        let asked = &self.lives[i].asked[node.progress[i].next].ask;
        if (*status, header, data) != (&*answer.status, &*answer.header, &answer.data) {
            return Err(format!(
                "{asked:?} is answered {answer:?}, not {status}, {header:?}, {data}"
            ));
        }
        Ok(())
    }

    fn mark_executed(&self, node: &mut Node, i: usize) -> Result<(), NotNow> {
        let life = &self.lives[i];
        let progress = &mut node.progress[i];
        progress.acting = None;
        progress.is_half_done = false;
        let is_last = match life.asked[progress.next].ask.body {
            Body::Quit => life.asked[progress.next]
                .answer
                .as_ref()
                .is_none_or(|it| it.data == "Goodbye"),
            Body::BadStatusLine(wrong) => wrong.status.starts_with("418"),
            _ => false,
        };
        progress.next += 1;
        if is_last || life.last == Some(progress.next - 1) {
            return self.cut_short(node, i, Done::LastAnswer);
        }
        Ok(())
    }

    /// Marks the other requests of a connection as not executed.
    fn cut_short(&self, node: &mut Node, i: usize, why: Done) -> Result<(), NotNow> {
        if node.progress[i].is_half_done {
            return Err("its rename is half done".to_owned());
        }
        let rest = &self.lives[i].asked[node.progress[i].next..];
        let mut received = rest.iter().filter_map(|asked| asked.id);
        if let Some(id) = received.find(|id| self.received.contains_key(id)) {
            return Err(format!("{id:?} was executed"));
        }
        if let Some(asked) = rest.iter().find(|asked| asked.answer.is_some()) {
            return Err(format!(
                "{:?} has a response after the last message",
                asked.ask.body
            ));
        }
        node.progress[i].done = Some(why);
        Ok(())
    }

    fn private(
        &self,
        node: &mut Node,
        i: usize,
        acting: &Acting,
        to: &str,
        may_change: bool,
    ) -> Result<(), NotNow> {
        let asked = &self.lives[i].asked[node.progress[i].next];
        let (Some(id), Some(answer)) = (asked.id, &asked.answer) else {
            return Err("it has no response".to_owned());
        };
        let received = self.received.get(&id).map(|it| &it.by);
        let Some((token, recipient)) = node.state.by_name(to) else {
            let reply = Reply::new(
                "404 Not Found",
                Some(&acting.token),
                format!("No one is named {to}"),
            );
            return match received {
                Some(by) => Err(format!("{id:?} without a recipient arrived at {by:?}")),
                None => self.finish(node, i, &reply, answer),
            };
        };
        let token = Arc::clone(token);
        let is_refused = answer.status.starts_with("502");
        let arrived_right = match received {
            None => is_refused || !self.is_fully_known(&token),
            Some(by) => !is_refused && by.iter().eq([&token]),
        };
        if !arrived_right {
            return Err(format!(
                "{id:?} to {to}, which is {token}, arrived at {received:?}"
            ));
        }
        // A later step may still change the recipient.
        if received.is_none() && !may_change && self.others_can_change(node, i) {
            return Err("not yet".to_owned());
        }
        let (reply, taken) = if is_refused {
            let data = format!("{to} cannot take more messages now");
            (
                Reply::new("502 Bad Gateway", Some(&acting.token), data),
                Taken::No,
            )
        } else {
            let data = format!("Delivered to {}", recipient.name);
            (Reply::new("200 OK", Some(&acting.token), data), Taken::Yes)
        };
        self.finish(node, i, &reply, answer)?;
        if let Some(session) = node.state.sessions.get_mut(&token) {
            session.queue.add(id, taken, false, acting.named_by);
        }
        Ok(())
    }

    fn broadcast(&self, node: &mut Node, i: usize, acting: &Acting) -> Result<(), NotNow> {
        let asked = &self.lives[i].asked[node.progress[i].next];
        let (Some(id), Some(answer)) = (asked.id, &asked.answer) else {
            return Err("it has no response".to_owned());
        };
        let none = BTreeSet::new();
        let by = self.received.get(&id).map_or(&none, |it| &it.by);
        let recipients: Vec<Token> = node
            .state
            .sessions
            .keys()
            .filter(|&it| *it != acting.token)
            .cloned()
            .collect();
        if let Some(stranger) = by.iter().find(|by| !recipients.contains(by)) {
            return Err(format!(
                "{id:?} arrived at {stranger}, which is offline or its sender"
            ));
        }
        let is_unknown = |token: &Token| !by.contains(token) && !self.is_fully_known(token);
        let misses = |token: &Token| {
            !by.contains(token) && self.is_fully_known(token) && !self.missed_some(token)
        };
        if let Some(missing) = recipients.iter().find(|it| misses(it)) {
            return Err(format!("{id:?} has not arrived at {missing}"));
        }
        let unsettled = recipients.iter().filter(|it| is_unknown(it)).count();
        let counts = by.len()..=by.len() + unsettled;
        let counted = answer
            .data
            .strip_prefix("Delivered to ")
            .and_then(|it| it.parse().ok());
        let Some(count) = counted.filter(|count| counts.contains(count)) else {
            return Err(format!(
                "{id:?} arrived at {counts:?}, but the response is {answer:?}"
            ));
        };
        let reply = Reply::new(
            "200 OK",
            Some(&acting.token),
            format!("Delivered to {count}"),
        );
        self.finish(node, i, &reply, answer)?;
        for token in &recipients {
            if let Some(session) = node.state.sessions.get_mut(token) {
                let is_open = is_unknown(token);
                session
                    .queue
                    .add(id, Taken::Unknown, is_open, acting.named_by);
            }
        }
        if unsettled > 0 {
            let missing = count - by.len();
            let unsettled = unsettled + self.possible_recipients(&node.state, by);
            Rc::make_mut(&mut node.state.uncounted).insert(id, Uncounted { missing, unsettled });
        }
        Ok(())
    }

    /// Counts the sessions that have ended or have not begun, and that would be recipients of a
    /// broadcast with these known recipients at another moment of the round.
    fn possible_recipients(&self, state: &State, by: &BTreeSet<Token>) -> usize {
        let begins_later =
            |it: &&Token| !state.sessions.contains_key(*it) && !state.ended.contains_key(*it);
        let later = self.new.iter().filter(begins_later);
        let others = state.ended.keys().chain(later);
        let unknown = others.filter(|it| !by.contains(*it) && !self.is_fully_known(it));
        let claims_unanswered = |life: &&Life| {
            let mut asked = life.asked.iter();
            asked.any(|it| matches!(it.ask.body, Body::SetName(_)) && it.answer.is_none())
        };
        unknown.count() + self.lives.iter().filter(claims_unanswered).count()
    }

    /// Whether the model knows all messages that this session received in this round.
    fn is_fully_known(&self, token: &Token) -> bool {
        self.settled.contains(token) && !self.torn.contains(token)
    }

    fn loss(&self, token: &Token) -> Loss<'_> {
        if !self.torn.contains(token) {
            Loss::Nothing
        } else if self.reset.contains(token) {
            Loss::AllExcept(&self.late)
        } else {
            Loss::Anything
        }
    }

    fn missed_some(&self, token: &Token) -> bool {
        let mut read = self.lives.iter().flat_map(|life| &life.read);
        read.any(|(header, read)| header == token && matches!(read, Read::Missed(_)))
    }

    fn others_can_change(&self, node: &Node, i: usize) -> bool {
        let lives = self.lives.iter().zip(&node.progress).enumerate();
        let mut others = lives.filter(|(other, (_, progress))| *other != i && !progress.is_over);
        let expires = |until: u64| until <= self.now;
        let mut sessions = node.state.sessions.values();
        sessions.any(|session| session.lingers.is_some_and(expires))
            || others.any(|(_, (life, progress))| {
                let asks = &life.asked[progress.next..];
                !matches!(life.end, End::Open(_) | End::NotRead)
                    || asks.iter().any(|it| {
                        matches!(
                            it.ask.body,
                            Body::SetName(_) | Body::Quit | Body::BadStatusLine(_)
                        )
                    })
            })
    }

    /// Whether a later step of another connection may be a change or may switch watching.
    fn order_of_watching_matters(&self, node: &Node, i: usize) -> bool {
        let mut lives = self.lives.iter().zip(&node.progress).enumerate();
        self.others_can_change(node, i)
            || lives.any(|(other, (life, progress))| {
                let rest = &life.asked[progress.next..];
                let is_switch = |it: &Asked| matches!(it.ask.body, Body::WatchPresence { .. });
                other != i && other != self.witness && rest.iter().any(is_switch)
            })
    }

    /// Executes a request without a response. Its message may have arrived or not.
    fn execute_unanswered(&self, node: &mut Node, i: usize) -> Result<(), NotNow> {
        let life = &self.lives[i];
        let asked = &life.asked[node.progress[i].next];
        if node.progress[i].is_half_done {
            node.state.renaming = None;
            return self.mark_executed(node, i);
        }
        if node.state.renaming.is_some() {
            return Err("another change comes first".to_owned());
        }
        let own = node.state.own.get(&life.connection).cloned();
        let acting = match (asked.ask.header, &asked.token) {
            // A bad status line has no header.
            _ if matches!(asked.ask.body, Body::BadStatusLine(_)) => None,
            (Header::TokenOf(_), Some(token)) => {
                let acting = node.state.acting(token);
                if let Some(session) = node.state.sessions.get_mut(token) {
                    session.token_was_used = true;
                }
                acting
            }
            (Header::Unknown | Header::NotAToken, _) => None,
            _ => own.as_ref().and_then(|own| node.state.acting(own)),
        };
        let is_known = acting.is_some()
            || asked.token.is_none()
                && !matches!(asked.ask.header, Header::Unknown | Header::NotAToken);
        match &asked.ask.body {
            Body::SetName(name) if is_known => {
                let fresh = format!("the token of connection {}", life.connection).into();
                node.state
                    .set_name((life.connection, life.node), acting.as_ref(), name, &fresh);
                if node.state.renaming.is_some() {
                    node.progress[i].is_half_done = true;
                    return Ok(());
                }
            }
            Body::WatchPresence { is_on } => {
                if let Some(acting) = acting {
                    node.state.watch(&acting, *is_on);
                }
            }
            Body::Quit if is_known => {
                if let Some(acting) = acting.filter(|acting| own.as_ref() != Some(&acting.token)) {
                    node.state.end(&acting.token);
                }
            }
            // The request is refused, so the connection goes on.
            Body::Quit => {
                node.progress[i].next += 1;
                return Ok(());
            }
            _ => {}
        }
        self.mark_executed(node, i)
    }

    /// Ends the connection, or leaves it open for the next round.
    fn end(&self, node: &mut Node, i: usize, may_change: bool) -> Result<(), NotNow> {
        let Life {
            connection,
            ref end,
            ref asked,
            ..
        } = self.lives[i];
        let progress = &node.progress[i];
        let holds = node.state.has_session(connection);
        let cut_short = progress.done == Some(Done::CutShort) && progress.next < asked.len();
        let is_last = progress.done == Some(Done::LastAnswer);
        match end {
            End::Open(_) | End::NotRead if is_last => {
                return Err("it is open after its last message".to_owned());
            }
            End::Gone | End::HalfClosed if holds && cut_short => {
                return Err("it was closed before all responses".to_owned());
            }
            End::Open(_) | End::NotRead => {}
            End::Gone if !is_last => {}
            _ if holds && node.state.renaming.is_some() => {
                return Err("another change comes first".to_owned());
            }
            _ if holds && !may_change => return Err("not yet".to_owned()),
            _ if is_last => node.state.end_connection(connection),
            End::Gone | End::HalfClosed => node.state.end_connection(connection),
            End::Closed(at) | End::Reset(at) => {
                let lingers = (self.linger > 0).then_some(at + self.linger);
                node.state.lose_connection(connection, lingers);
            }
        }
        node.progress[i].is_over = true;
        Ok(())
    }

    /// Compares the state after all steps with the observations.
    fn conclude(&self, mut state: State) -> Result<State, String> {
        for life in &self.lives {
            let own = state.own.get(&life.connection);
            let holds = state.has_session(life.connection);
            match &life.end {
                End::Open(header) if header.as_ref() != own.filter(|_| holds) => {
                    return Err(format!(
                        "connection {} has {header:?}, not {own:?}",
                        life.connection
                    ));
                }
                End::Open(_) if own.is_some() && !holds => {
                    return Err(format!(
                        "connection {} is open without its session",
                        life.connection
                    ));
                }
                End::Gone if holds => {
                    return Err(format!(
                        "connection {} is closed, but still has its session",
                        life.connection
                    ));
                }
                End::Gone if own.is_none() && life.last.is_none() && !had_a_last_message(life) => {
                    return Err(format!(
                        "connection {} was closed without a reason",
                        life.connection
                    ));
                }
                _ => {}
            }
            if let Some((header, read)) = life.read.iter().find(|(header, _)| Some(header) != own) {
                return Err(format!(
                    "connection {} of {own:?} was sent {read:?} of {header}",
                    life.connection
                ));
            }
        }
        let ended = std::mem::take(&mut state.ended);
        for (token, mut session) in ended {
            // A client that has not read to the end may have missed messages.
            if session
                .holder()
                .is_some_and(|holder| self.has_read_to_the_end(holder))
            {
                let settling = self.settling(&token, &session.holders, true);
                let settled = session.queue.settle(&settling, &mut state.uncounted);
                settled.map_err(|e| format!("{} ({token}): {e}", session.name))?;
            }
        }
        for (token, session) in &mut state.sessions {
            if self.settled.contains(token) {
                let settling = self.settling(token, &session.holders, false);
                let settled = session.queue.settle(&settling, &mut state.uncounted);
                settled.map_err(|e| format!("{} ({token}): {e}", session.name))?;
            } else {
                session.queue.wait(self.sent, self.loss(token));
            }
        }
        state.end_round();
        let State { sessions, own, .. } = &mut state;
        own.retain(|connection, _| {
            let life = self
                .lives
                .iter()
                .find(|life| life.connection == *connection);
            life.is_some_and(|life| matches!(life.end, End::Open(_) | End::NotRead))
        });
        debug_assert!(
            sessions
                .values()
                .filter_map(|it| it.holder())
                .all(|it| own.contains_key(&it))
        );
        Ok(state)
    }

    fn has_read_to_the_end(&self, connection: Connection) -> bool {
        let life = self.lives.iter().find(|life| life.connection == connection);
        life.is_some_and(|life| matches!(life.end, End::Gone | End::HalfClosed))
    }

    fn settling(&self, token: &Token, holders: &[Connection], has_ended: bool) -> Settling<'_> {
        let lives = holders
            .iter()
            .filter_map(|holder| self.lives.iter().find(|life| life.connection == *holder));
        let read = lives
            .flat_map(|life| &life.read)
            .filter(|(header, _)| header == token);
        Settling {
            read: read.map(|(_, read)| read.clone()).collect(),
            loss: self.loss(token),
            has_ended,
            is_new: self.new.contains(token),
            sent: self.sent,
            queue_limit: self.queue_limit,
            unanswered: self.unanswered,
        }
    }
}

fn answer_to_wrong(wrong: &Wrong, acting: Option<&Acting>) -> Reply {
    if wrong.found == FoundBy::Arguments && acting.is_none() {
        return Reply::set_a_name_first();
    }
    Reply::new(wrong.status, acting.map(|it| &it.token), wrong.data)
}

/// Whether the state is the same with and without this request.
fn would_change_nothing(state: &State, asked: &Asked) -> bool {
    let names = asked
        .token
        .as_ref()
        .and_then(|token| state.sessions.get(token));
    let marks = names.is_some_and(|session| !session.token_was_used);
    !marks
        && !matches!(
            asked.ask.body,
            Body::SetName(_) | Body::Quit | Body::WatchPresence { .. } | Body::BadStatusLine(_)
        )
}

fn had_a_last_message(life: &Life) -> bool {
    life.asked.iter().any(|asked| {
        let data = asked.answer.as_ref().map(|it| &*it.data);
        data == Some("Goodbye") || data.is_some_and(|data| data.ends_with("not a web server"))
    })
}
