//! Whether there is an order in which the server can have done what was asked of it in a
//! round, one thing after the other, so that every answer is the one that was read, and
//! every session has what it has to have.
//!
//! Requests of one connection keep their order; those of different connections may come in
//! any. A request does two things, between which others may come: it looks up whom it acts
//! for, and then it acts. (Section 7 promises no more. A broadcast besides reaches one
//! session after the other; who ends meanwhile may be counted or not.) All states that
//! explain what was read are kept, because a later round may tell them apart.
//!
//! Most of what is asked changes nothing that others can see but by its messages. If such
//! a thing fits now, it may as well be done now; so only the order of what changes names
//! and sessions is searched.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::deliveries::{Loss, Read, Sent, Settling, Taken, Uncounted};
use super::plan::{Ask, Body, FoundBy, Header, Wrong};
use super::state::{Acting, Connection, Id, Reply, State, Token};
use crate::support::Message;

/// What was seen in a round.
pub(super) struct Seen<'a> {
    pub(super) lives: Vec<Life>,
    /// Who received a message, and by whose name.
    pub(super) received: BTreeMap<Id, Received>,
    /// The sessions that are known to have been written all that there was.
    pub(super) settled: BTreeSet<Token>,
    /// Those of which a connection was cut, so that something may be lost.
    pub(super) torn: BTreeSet<Token>,
    /// Of these, those that lose nothing that was sent late, when the connection had
    /// been reset and the kernel took nothing more.
    pub(super) reset: BTreeSet<Token>,
    /// The connections that sent when those who were not late had done what they did.
    pub(super) late: BTreeSet<Connection>,
    /// The sessions that began in this round.
    pub(super) new: BTreeSet<Token>,
    /// What the witness was told of who is here, behind everything else.
    pub(super) listed: String,
    pub(super) sent: Sent,
    /// In all rounds, the messages whose sender was gone before the answer.
    pub(super) unanswered: &'a BTreeSet<Id>,
    /// When the round was over, in milliseconds.
    pub(super) now: u64,
    /// `--queue`.
    pub(super) bound: usize,
    /// `--linger`, in milliseconds.
    pub(super) linger: u64,
}

#[derive(Default)]
pub(super) struct Received {
    pub(super) sender: String,
    pub(super) by: BTreeSet<Token>,
}

/// What one connection did and read.
pub(super) struct Life {
    pub(super) connection: Connection,
    pub(super) asked: Vec<Asked>,
    /// The last answer, after the 20th 400 in a row.
    pub(super) last: Option<usize>,
    pub(super) end: End,
    /// Each with its header.
    pub(super) read: Vec<(Token, Read)>,
}

pub(super) struct Asked {
    pub(super) ask: Ask,
    /// The token that its header stands for.
    pub(super) token: Option<Token>,
    /// The message that it sends.
    pub(super) id: Option<Id>,
    pub(super) answer: Option<Message>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It goes on; the last answer had this header.
    Open(Option<Token>),
    /// It goes on, and nothing of it was read.
    NotRead,
    /// The server closed it.
    Gone,
    /// It said that it sends no more, and the server closed it.
    HalfClosed,
    /// It was closed, which may have been a reset, at this time.
    Closed(u64),
    Reset(u64),
}

/// How far the server may have come.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    state: State,
    places: Vec<Place>,
}

#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Place {
    next: usize,
    /// For whom the next request acts, once that is looked up.
    acting: Option<Option<Acting>>,
    /// Nothing more is carried out, and why.
    done: Option<Done>,
    is_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Done {
    LastAnswer,
    /// The server was at its end with it before it came to the rest.
    CutShort,
}

/// So many places in the search are looked at; most rounds take a few dozen.
const PLACES: usize = 300_000;

/// It does not fit now, for this reason.
type NotNow = String;

/// The states after the round, from those before it; or what does not fit, of the order
/// that came farthest.
pub(super) fn explain(seen: &Seen<'_>, before: &[State]) -> Result<Vec<State>, String> {
    let places = vec![Place::default(); seen.lives.len()];
    let mut nodes: Vec<Node> = before
        .iter()
        .map(|state| Node {
            state: state.clone(),
            places: places.clone(),
        })
        .collect();
    let (mut visited, mut after) = (HashSet::new(), HashSet::new());
    let mut farthest = (0, Vec::new());
    while let Some(mut node) = nodes.pop() {
        seen.do_what_changes_nothing(&mut node);
        if !visited.insert(node.clone()) {
            continue;
        }
        if visited.len() > PLACES {
            return Err("too many orders to try, which is not the server's fault".to_owned());
        }
        let progress: usize = node
            .places
            .iter()
            .map(|it| it.next + usize::from(it.is_over))
            .sum();
        let problems = if node.places.iter().all(|it| it.is_over) {
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
        if progress >= farthest.0 && !problems.is_empty() {
            farthest = (progress, problems);
        }
    }
    if after.is_empty() {
        return Err(farthest.1.join("\n"));
    }
    Ok(after.into_iter().collect())
}

impl Seen<'_> {
    fn do_what_changes_nothing(&self, node: &mut Node) {
        loop {
            let steps = (0..self.lives.len()).filter(|&i| {
                let mut has_moved = false;
                while !node.places[i].is_over && self.step(node, i, false).is_ok() {
                    has_moved = true;
                }
                has_moved
            });
            if steps.count() == 0 {
                return;
            }
        }
    }

    /// All that may come next, and why the rest may not.
    fn go_on(&self, node: &Node) -> (Vec<Node>, Vec<NotNow>) {
        let (mut next, mut not_now) = (Vec::new(), Vec::new());
        for (i, (place, life)) in node.places.iter().zip(&self.lives).enumerate() {
            if place.is_over {
                continue;
            }
            let mut changed = node.clone();
            if self.is_unanswered(node, i) {
                match self.carry_out_unanswered(&mut changed, i) {
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
            // Whether this is a break depends on what was unread.
            if let (End::Closed(_), true) = (&life.end, self.is_at_its_end(node, i)) {
                let mut ended = node.clone();
                ended.state.end_connection(life.connection);
                ended.places[i].is_over = true;
                next.push(ended);
            }
        }
        for (token, session) in &node.state.sessions {
            if session.lingers.is_some_and(|until| until <= self.now) {
                let mut ended = node.clone();
                ended.state.end(token);
                next.push(ended);
            }
        }
        (next, not_now)
    }

    fn is_at_its_end(&self, node: &Node, i: usize) -> bool {
        let place = &node.places[i];
        place.done.is_some() || place.next == self.lives[i].asked.len()
    }

    fn is_unanswered(&self, node: &Node, i: usize) -> bool {
        !self.is_at_its_end(node, i) && self.lives[i].asked[node.places[i].next].answer.is_none()
    }

    /// The next thing that a connection does, if it fits: where it may not change
    /// anything, only what is the same at any later time.
    fn step(&self, node: &mut Node, i: usize, may_change: bool) -> Result<(), NotNow> {
        let life = &self.lives[i];
        if self.is_at_its_end(node, i) {
            return self.end(node, i, may_change);
        }
        let place = &node.places[i];
        let asked = &life.asked[place.next];
        let Some(answer) = &asked.answer else {
            if would_change_nothing(&node.state, asked) {
                return self.carried_out(node, i);
            }
            return Err("it was not answered".to_owned());
        };
        let Some(acting) = place.acting.clone() else {
            return self.look_up(node, i, asked, answer);
        };
        let mut state = None;
        let reply = match &asked.ask.body {
            Body::SetName(name) => {
                let mut changed = node.state.clone();
                let fresh = answer.header.as_str().into();
                let (reply, has_changed) =
                    changed.set_name(life.connection, acting.as_ref(), name, &fresh);
                if has_changed && !may_change {
                    return Err("not yet".to_owned());
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
                    let mut changed = node.state.clone();
                    changed.end(another);
                    state = Some(changed);
                }
                Reply::new("200 OK", header, "Goodbye")
            }
            Body::Ping => Reply::new("200 OK", acting.as_ref().map(|it| &it.token), "Pong"),
            Body::Stray(wrong) => Reply::new(
                wrong.status,
                node.state.own.get(&life.connection),
                wrong.data,
            ),
            Body::Wrong(wrong) => answer_to_wrong(wrong, acting.as_ref()),
            Body::Private { .. } | Body::Broadcast { .. } | Body::ListNames { .. } => {
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

    /// Whom the next request acts for, if that fits what was answered and received.
    fn look_up(
        &self,
        node: &mut Node,
        i: usize,
        asked: &Asked,
        answer: &Message,
    ) -> Result<(), NotNow> {
        let own = node.state.own.get(&self.lives[i].connection);
        let acting = match (asked.ask.header, &asked.token) {
            _ if matches!(asked.ask.body, Body::Stray(_)) => None,
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
        if let Some(Acting { token, name }) = &acting {
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
                    "{:?} is from {}, who is {name}",
                    asked.id, received.sender
                ));
            }
            if asked.token.is_some()
                && let Some(session) = node.state.sessions.get_mut(token)
            {
                session.token_was_used = true;
            }
        }
        node.places[i].acting = Some(acting);
        Ok(())
    }

    /// The request is carried out, if it is answered so.
    fn finish(
        &self,
        node: &mut Node,
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
        let asked = &self.lives[i].asked[node.places[i].next].ask;
        if (*status, header, data) != (&*answer.status, &*answer.header, &answer.data) {
            return Err(format!(
                "{asked:?} is answered {answer:?}, not {status}, {header:?}, {data}"
            ));
        }
        self.carried_out(node, i)
    }

    fn carried_out(&self, node: &mut Node, i: usize) -> Result<(), NotNow> {
        let life = &self.lives[i];
        let place = &mut node.places[i];
        place.acting = None;
        let is_last = match life.asked[place.next].ask.body {
            Body::Quit => life.asked[place.next]
                .answer
                .as_ref()
                .is_none_or(|it| it.data == "Goodbye"),
            Body::Stray(wrong) => wrong.status.starts_with("418"),
            _ => false,
        };
        place.next += 1;
        if is_last || life.last == Some(place.next - 1) {
            return self.cut_short(node, i, Done::LastAnswer);
        }
        Ok(())
    }

    /// The rest of what it asked is not carried out.
    fn cut_short(&self, node: &mut Node, i: usize, why: Done) -> Result<(), NotNow> {
        let rest = &self.lives[i].asked[node.places[i].next..];
        let mut received = rest.iter().filter_map(|asked| asked.id);
        if let Some(id) = received.find(|id| self.received.contains_key(id)) {
            return Err(format!("{id:?} was carried out"));
        }
        if let Some(asked) = rest.iter().find(|asked| asked.answer.is_some()) {
            return Err(format!(
                "{:?} was answered behind a last word",
                asked.ask.body
            ));
        }
        node.places[i].done = Some(why);
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
        let asked = &self.lives[i].asked[node.places[i].next];
        let (Some(id), Some(answer)) = (asked.id, &asked.answer) else {
            return Err("it was not answered".to_owned());
        };
        let received = self.received.get(&id).map(|it| &it.by);
        let Some((token, recipient)) = node.state.by_name(to) else {
            let reply = Reply::new(
                "404 Not Found",
                Some(&acting.token),
                format!("No one is named {to}"),
            );
            return match received {
                Some(by) => Err(format!("{id:?} to nobody came to {by:?}")),
                None => self.finish(node, i, &reply, answer),
            };
        };
        let token = Arc::clone(token);
        let is_refused = answer.status.starts_with("502");
        let came_right = match received {
            None => is_refused || !self.is_heard(&token),
            Some(by) => !is_refused && by.iter().eq([&token]),
        };
        if !came_right {
            return Err(format!(
                "{id:?} to {to}, who is {token}, came to {received:?}"
            ));
        }
        // Else who it was for can be told later alone.
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
            session.queue.add(id, taken, false);
        }
        Ok(())
    }

    fn broadcast(&self, node: &mut Node, i: usize, acting: &Acting) -> Result<(), NotNow> {
        let asked = &self.lives[i].asked[node.places[i].next];
        let (Some(id), Some(answer)) = (asked.id, &asked.answer) else {
            return Err("it was not answered".to_owned());
        };
        let nobody = BTreeSet::new();
        let by = self.received.get(&id).map_or(&nobody, |it| &it.by);
        let recipients: Vec<Token> = node
            .state
            .sessions
            .keys()
            .filter(|&it| *it != acting.token)
            .cloned()
            .collect();
        if let Some(stranger) = by.iter().find(|by| !recipients.contains(by)) {
            return Err(format!(
                "{id:?} came to {stranger}, who is not here, or sent it"
            ));
        }
        let deaf = |token: &Token| !by.contains(token) && !self.is_heard(token);
        let lacks =
            |token: &Token| !by.contains(token) && self.is_heard(token) && !self.missed_some(token);
        if let Some(lacking) = recipients.iter().find(|it| lacks(it)) {
            return Err(format!("{id:?} has not come to {lacking}"));
        }
        let unheard = recipients.iter().filter(|it| deaf(it)).count();
        let counts = by.len()..=by.len() + unheard;
        let counted = answer
            .data
            .strip_prefix("Delivered to ")
            .and_then(|it| it.parse().ok());
        let Some(count) = counted.filter(|count| counts.contains(count)) else {
            return Err(format!(
                "{id:?} came to {counts:?}, and is answered {answer:?}"
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
                session.queue.add(id, Taken::Unknown, deaf(token));
            }
        }
        if unheard > 0 {
            let missing = count - by.len();
            Rc::make_mut(&mut node.state.uncounted).insert(id, Uncounted { missing, unheard });
        }
        Ok(())
    }

    /// Whether all that this session was sent in this round is known to have come, or not.
    fn is_heard(&self, token: &Token) -> bool {
        self.settled.contains(token) && !self.torn.contains(token)
    }

    fn loss(&self, token: &Token) -> Loss<'_> {
        if !self.torn.contains(token) {
            Loss::Nothing
        } else if self.reset.contains(token) {
            Loss::AllBut(&self.late)
        } else {
            Loss::Anything
        }
    }

    fn missed_some(&self, token: &Token) -> bool {
        let mut read = self.lives.iter().flat_map(|life| &life.read);
        read.any(|(header, read)| header == token && matches!(read, Read::Missed(_)))
    }

    fn others_can_change(&self, node: &Node, i: usize) -> bool {
        let lives = self.lives.iter().zip(&node.places).enumerate();
        let mut others = lives.filter(|(other, (_, place))| *other != i && !place.is_over);
        let expires = |until: u64| until <= self.now;
        let mut sessions = node.state.sessions.values();
        sessions.any(|session| session.lingers.is_some_and(expires))
            || others.any(|(_, (life, place))| {
                let asks = &life.asked[place.next..];
                !matches!(life.end, End::Open(_) | End::NotRead)
                    || asks.iter().any(|it| {
                        matches!(it.ask.body, Body::SetName(_) | Body::Quit | Body::Stray(_))
                    })
            })
    }

    /// Nobody knows what the answer was; what was sent may have come or not.
    fn carry_out_unanswered(&self, node: &mut Node, i: usize) -> Result<(), NotNow> {
        let life = &self.lives[i];
        let asked = &life.asked[node.places[i].next];
        let own = node.state.own.get(&life.connection).cloned();
        let acting = match (asked.ask.header, &asked.token) {
            // One line that is not a request, so it has no header.
            _ if matches!(asked.ask.body, Body::Stray(_)) => None,
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
                    .set_name(life.connection, acting.as_ref(), name, &fresh);
            }
            Body::Quit if is_known => {
                if let Some(acting) = acting.filter(|acting| own.as_ref() != Some(&acting.token)) {
                    node.state.end(&acting.token);
                }
            }
            // Refused, so it is not the last.
            Body::Quit => {
                node.places[i].next += 1;
                return Ok(());
            }
            _ => {}
        }
        self.carried_out(node, i)
    }

    /// The connection ends, or goes on into the next round.
    fn end(&self, node: &mut Node, i: usize, may_change: bool) -> Result<(), NotNow> {
        let Life {
            connection,
            ref end,
            ref asked,
            ..
        } = self.lives[i];
        let place = &node.places[i];
        let holds = node.state.holds(connection);
        let cut_short = place.done == Some(Done::CutShort) && place.next < asked.len();
        let is_last = place.done == Some(Done::LastAnswer);
        match end {
            End::Open(_) | End::NotRead if is_last => {
                return Err("it goes on behind a last word".to_owned());
            }
            End::Gone | End::HalfClosed if holds && cut_short => {
                return Err("it was closed before all was answered".to_owned());
            }
            End::Open(_) | End::NotRead => {}
            End::Gone if !is_last => {}
            _ if holds && !may_change => return Err("not yet".to_owned()),
            _ if is_last => node.state.end_connection(connection),
            End::Gone | End::HalfClosed => node.state.end_connection(connection),
            End::Closed(at) | End::Reset(at) => {
                let lingers = (self.linger > 0).then_some(at + self.linger);
                node.state.break_connection(connection, lingers);
            }
        }
        node.places[i].is_over = true;
        Ok(())
    }

    /// Everything is done: is what was read what had to be?
    fn conclude(&self, mut state: State) -> Result<State, String> {
        for life in &self.lives {
            let own = state.own.get(&life.connection);
            let holds = state.holds(life.connection);
            match &life.end {
                End::Open(header) if header.as_ref() != own.filter(|_| holds) => {
                    return Err(format!(
                        "connection {} has {header:?}, not {own:?}",
                        life.connection
                    ));
                }
                End::Open(_) if own.is_some() && !holds => {
                    return Err(format!(
                        "connection {} has lost its session, and goes on",
                        life.connection
                    ));
                }
                End::Gone if holds => {
                    return Err(format!(
                        "connection {} is closed, and has its session",
                        life.connection
                    ));
                }
                End::Gone if own.is_none() && life.last.is_none() && !had_a_last_word(life) => {
                    return Err(format!(
                        "connection {} was closed for no reason",
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
        if state.list_names("") != self.listed {
            return Err(format!(
                "{} are here, not {}",
                self.listed,
                state.list_names("")
            ));
        }
        let ended = std::mem::take(&mut state.ended);
        for (token, mut session) in ended {
            // One that did not read to the end knows nothing.
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
            session.holders = session.holder().into_iter().collect();
        }
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
            read: read.map(|(_, read)| *read).collect(),
            loss: self.loss(token),
            has_ended,
            is_new: self.new.contains(token),
            sent: self.sent,
            bound: self.bound,
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

/// Whether it is all the same if this was carried out or not.
fn would_change_nothing(state: &State, asked: &Asked) -> bool {
    let names = asked
        .token
        .as_ref()
        .and_then(|token| state.sessions.get(token));
    let marks = names.is_some_and(|session| !session.token_was_used);
    !marks
        && !matches!(
            asked.ask.body,
            Body::SetName(_) | Body::Quit | Body::Stray(_)
        )
}

fn had_a_last_word(life: &Life) -> bool {
    life.asked.iter().any(|asked| {
        let data = asked.answer.as_ref().map(|it| &*it.data);
        data == Some("Goodbye") || data.is_some_and(|data| data.ends_with("not a web server"))
    })
}
