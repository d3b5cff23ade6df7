//! Who is here: the connections, the sessions and their names, behind the one
//! lock that the threads share.
//!
//! It hands each connection's outbox and socket on, and does not use them. It does not know
//! commands.
//!
//! # The lock rule
//!
//! While a thread holds the lock, it does no I/O, no logging, no second `read()` (a waiting
//! `write()` between the two would deadlock both), nothing that can block except the short
//! lock of an outbox, and nothing that can panic half-way through an update. So every method
//! takes the lock once, briefly, and returns copies: a snapshot of the outboxes that a
//! broadcast goes to, not a view of the map.
//!
//! Invariant, whenever the lock is free: *`names` and `members` refer to each other one to
//! one, and so do `members` and `outboxes`. `snapshot`, if there is one, has the same outboxes.
//! A member belongs to a connection or is in `lingering`. `origins` counts `connections` and
//! `lingering`.* A name is claimed, changed and released in one write section each, so it
//! belongs to one session at any instant. A connection ends or detaches a session only if the
//! session still belongs to it. It checks its number, which no other connection ever has.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::RwLock;

use crate::origin::{Origin, Origins};
use crate::outbox::hand_off::Cork;
use crate::outbox::writer::Writer;
use crate::outbox::{Attachment, Duty, Evicted, Outbox};
use crate::protocol::reply::{Notice, Reply, Response};
use crate::protocol::token::Token;
use crate::protocol::username::{NameKey, Username};

#[cfg(test)]
mod tests;

/// All connections and sessions of a server.
pub struct Sessions {
    state: RwLock<State>,
    /// The most clients: connections, and lingering sessions.
    capacity: usize,
    /// The most clients of one origin.
    per_origin: usize,
    /// Wakes the sweeper when a session begins to linger. One token is as good as many.
    lingers: (Sender<()>, Receiver<()>),
}

#[derive(Default)]
struct State {
    /// Set by the shutdown, under the same lock as everything else, so that no connection
    /// can enter and no session can begin or be resumed after it.
    closing: bool,
    /// All connections, with a session or without, by their numbers.
    connections: HashMap<u64, Arc<Attachment>>,
    members: HashMap<Token, Member>,
    /// In the order in which names are listed, each as its owner spells it.
    names: BTreeMap<NameKey, (Username, Token)>,
    /// The recipients of a broadcast, in the order in which their sessions were claimed. They
    /// and the kernel's sockets are in memory in about that order. That saves a twentieth of a
    /// broadcast to thousands (`make bench ARGS=fanout-4000-1-8`).
    outboxes: BTreeMap<u64, Arc<Outbox>>,
    /// The values of `outboxes`, for the next broadcast. Empty after a change.
    snapshot: OnceLock<Arc<[Arc<Outbox>]>>,
    /// The sessions without a connection. A session that was lost later has a greater key.
    lingering: BTreeMap<u64, Lingering>,
    origins: Origins,
}

/// A session that lingers.
struct Lingering {
    since: Instant,
    token: Token,
    /// The origin of its last connection.
    origin: Option<Origin>,
}

/// A session, with what only this module needs.
struct Member {
    session: Session,
    holder: Holder,
    /// Its key among the outboxes.
    claimed_by: u64,
    /// A client has sent its token, so the client knows the token.
    token_was_used: AtomicBool,
}

/// The owner of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The connection of this number.
    Connection(u64),
    /// None. It lingers, under this key.
    Lingering(u64),
}

/// A session at the moment of its lookup.
#[derive(Clone)]
pub struct Session {
    /// A secret: a client that sends it acts for the session.
    pub token: Token,
    /// Its name at that moment.
    pub name: Username,
    /// The queue of its deliveries. Any connection may be attached to it.
    pub outbox: Arc<Outbox>,
}

/// Why a session does not get a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Another session has the name.
    Taken,
    /// The session has ended.
    Gone,
    /// The server shuts down.
    Closing,
    /// The system has no thread left for the writer of the connection.
    NoThread,
}

impl Sessions {
    /// Room for `capacity` clients, and for `per_origin` of one origin (`None`: any number).
    pub fn new(capacity: usize, per_origin: Option<usize>) -> Arc<Sessions> {
        Arc::new(Sessions {
            state: RwLock::default(),
            capacity,
            per_origin: per_origin.unwrap_or(usize::MAX),
            lingers: bounded(1),
        })
    }

    /// Admits a connection, or returns the notice with which it is refused.
    ///
    /// The connection may come to resume a lingering session. So no session is evicted to make
    /// room before the connection [claims](Admission::claim) a name.
    pub fn admit(
        self: &Arc<Self>,
        attachment: Attachment,
        origin: Option<Origin>,
    ) -> Result<Admission, Notice> {
        let attachment = Arc::new(attachment);
        let mut state = self.state.write();
        if state.closing {
            return Err(Notice::ShuttingDown);
        }
        if state.origins.connections(origin) >= self.per_origin {
            return Err(Notice::TooManyFromAddress);
        }
        if state.connections.len() >= self.capacity {
            return Err(Notice::ServerIsFull);
        }
        let connection = Arc::clone(&attachment);
        state.connections.insert(attachment.number, connection);
        state.origins.change(origin, |it| it.connections += 1);
        Ok(Admission {
            sessions: Arc::clone(self),
            origin,
            writer: Writer::new(attachment),
            session: None,
        })
    }

    /// The session of this token, if it lives.
    pub fn by_token(&self, token: Token) -> Option<Session> {
        Some(self.state.read().members.get(&token)?.session.clone())
    }

    /// The session of a token that a client has sent. Remembers that its client knows the
    /// token, so that it may linger.
    pub fn use_token(&self, token: Token) -> Option<Session> {
        let state = self.state.read();
        let member = state.members.get(&token)?;
        member.token_was_used.store(true, Ordering::Relaxed);
        Some(member.session.clone())
    }

    /// The session that has this name, whatever the case.
    pub fn by_name(&self, name: &Username) -> Option<Session> {
        let key = name.key();
        let state = self.state.read();
        let (_, token) = state.names.get(&key)?;
        Some(state.members.get(token)?.session.clone())
    }

    /// The outboxes of all sessions, in the order in which the sessions were claimed.
    ///
    /// A snapshot is shared by all broadcasts until a session begins or ends. So a broadcast
    /// holds the lock for the copy of one pointer, except the first one after a change.
    pub fn outboxes(&self) -> Arc<[Arc<Outbox>]> {
        let state = self.state.read();
        if let Some(snapshot) = state.snapshot.get() {
            return Arc::clone(snapshot);
        }
        let snapshot: Arc<[_]> = state.outboxes.values().map(Arc::clone).collect();
        // Fails if another broadcast has just set the same one.
        let _ = state.snapshot.set(Arc::clone(&snapshot));
        snapshot
    }

    /// The names that begin with `prefix`, in any case: the first of them in order, as many as
    /// fit into `room` bytes with a space before each, and how many there are in all. The
    /// others are only counted, without a look at them.
    pub fn names(&self, prefix: &str, room: usize) -> (Vec<Username>, usize) {
        let first = prefix.to_ascii_lowercase();
        // No name contains DEL, and every character of a name is less.
        let end = format!("{first}\u{7F}");
        let state = self.state.read();
        let range = (Bound::Included(&*first), Bound::Excluded(&*end));
        let mut matches = state.names.range::<str, _>(range);
        let (mut listed, mut size) = (Vec::new(), 0);
        for (_, (name, _)) in matches.by_ref() {
            size += " ".len() + name.as_str().len();
            if size > room {
                let count = listed.len() + 1 + matches.count();
                return (listed, count);
            }
            listed.push(name.clone());
        }
        let count = listed.len();
        (listed, count)
    }

    /// Gives the session of `token` this name, and releases its old one. False if it has the
    /// name already, spelled so.
    pub fn rename(&self, token: Token, name: &Username) -> Result<bool, NameError> {
        let mut state = self.state.write();
        let is_new = state.check_name(token, name)?;
        state.set_name(token, name);
        Ok(is_new)
    }

    /// Ends the session of `token`, which belongs to another connection or lingers, and closes
    /// its outbox. Both happen under one lock: between them, that connection could still get
    /// `Set a name first`. False if the session had ended before.
    pub fn end_and_finish(&self, token: Token) -> bool {
        self.state.write().end_and_finish(token).is_some()
    }

    /// Ends the sessions that have lingered for `time`. Returns them, and when the next one
    /// will have.
    pub fn end_lingered_out(
        &self,
        now: Instant,
        time: Duration,
    ) -> (Vec<Session>, Option<Instant>) {
        let mut state = self.state.write();
        let mut ended = Vec::new();
        while let Some((_, &Lingering { since, token, .. })) = state.lingering.first_key_value() {
            if now < since + time {
                return (ended, Some(since + time));
            }
            ended.extend(state.end_and_finish(token));
        }
        (ended, None)
    }

    /// Receives a token when a session begins to linger.
    pub fn lingers(&self) -> &Receiver<()> {
        &self.lingers.1
    }

    /// Admits no connection any more, and lets no session begin or be resumed. Returns all
    /// connections, for a last message. Their sessions end with them.
    pub fn close(&self) -> Vec<Arc<Attachment>> {
        let mut state = self.state.write();
        state.closing = true;
        state.connections.values().map(Arc::clone).collect()
    }

    /// The session to evict so that there is room: if a limit is exceeded, the one that has
    /// lingered longest of all that count for the limit.
    fn to_give_way(&self, state: &State, origin: Option<Origin>) -> Option<Token> {
        let longest = if state.origins.count(origin) > self.per_origin {
            state.origins.longest_lingering(origin)
        } else if state.connections.len() + state.lingering.len() > self.capacity {
            state.lingering.keys().next().copied()
        } else {
            None
        };
        Some(state.lingering.get(&longest?)?.token)
    }
}

impl State {
    /// Whether this name would be new to this session, or why it cannot have it.
    fn check_name(&self, token: Token, name: &Username) -> Result<bool, NameError> {
        let member = self.members.get(&token).ok_or(NameError::Gone)?;
        match self.names.get(&name.key()) {
            Some((_, owner)) if *owner != token => Err(NameError::Taken),
            _ => Ok(member.session.name != *name),
        }
    }

    fn set_name(&mut self, token: Token, name: &Username) {
        if let Some(Member { session, .. }) = self.members.get_mut(&token) {
            self.names.remove(&session.name.key());
            self.names.insert(name.key(), (name.clone(), token));
            session.name = name.clone();
        }
    }

    /// Ends a session: its name is free at once. Its outbox stays open, for a last message.
    fn end(&mut self, token: Token) -> Option<Session> {
        let Member {
            session,
            holder,
            claimed_by,
            ..
        } = self.members.remove(&token)?;
        self.names.remove(&session.name.key());
        self.outboxes.remove(&claimed_by);
        self.snapshot = OnceLock::new();
        self.linger_no_more(holder);
        Some(session)
    }

    fn end_and_finish(&mut self, token: Token) -> Option<Session> {
        self.end(token).inspect(|session| session.outbox.finish())
    }

    /// Gives a session to a connection.
    fn hand_over(&mut self, token: Token, connection: u64) {
        if let Some(member) = self.members.get_mut(&token) {
            let before = std::mem::replace(&mut member.holder, Holder::Connection(connection));
            self.linger_no_more(before);
        }
    }

    fn linger_no_more(&mut self, holder: Holder) {
        if let Holder::Lingering(key) = holder
            && let Some(Lingering { origin, .. }) = self.lingering.remove(&key)
        {
            self.origins.change(origin, |it| {
                it.lingering.remove(&key);
            });
        }
    }

    fn remove_connection(&mut self, connection: u64, origin: Option<Origin>) {
        if self.connections.remove(&connection).is_some() {
            self.origins.change(origin, |it| {
                it.connections = it.connections.saturating_sub(1)
            });
        }
    }

    fn is_held_by(&self, token: Token, connection: u64) -> bool {
        let member = self.members.get(&token);
        member.is_some_and(|member| member.holder == Holder::Connection(connection))
    }
}

/// The registration of a connection, and its session once it has one.
///
/// Dropping it ends the session and frees the slot, also after a panic. So no dead client
/// keeps a name.
pub struct Admission {
    sessions: Arc<Sessions>,
    origin: Option<Origin>,
    /// The thread is started before the connection's first name is claimed, outside all locks.
    /// If a name is refused, the thread stays for the next try. The reader thread ends it.
    pub writer: Writer,
    session: Option<Token>,
}

impl Admission {
    /// All sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The connection.
    pub fn attachment(&self) -> &Arc<Attachment> {
        &self.writer.attachment
    }

    /// The token of the connection's session. The session may have ended since, or belong to
    /// another connection.
    pub fn token(&self) -> Option<Token> {
        self.session
    }

    /// Makes the connection's session, with this name and token, unless another session has
    /// the name. The response is the first message of the session's outbox.
    ///
    /// If room is needed, the sessions that have lingered longest end, and are returned. The
    /// connection must have no session yet, and the token must be fresh.
    pub fn claim(
        &mut self,
        name: &Username,
        token: Token,
        cork: &Cork,
    ) -> Result<Vec<Session>, NameError> {
        debug_assert!(self.session.is_none());
        self.writer.start().map_err(|_| NameError::NoThread)?;
        let Attachment {
            number, queue_size, ..
        } = *self.writer.attachment;
        let outbox = Outbox::new(token, queue_size);
        let session = Session {
            token,
            name: name.clone(),
            outbox: Arc::clone(&outbox),
        };
        let (response, key) = (Response::YouAre(name.clone()), name.key());
        let mut state = self.sessions.state.write();
        if state.closing {
            return Err(NameError::Closing);
        }
        if state.names.contains_key(&key) {
            return Err(NameError::Taken);
        }
        let mut ended = Vec::new();
        while let Some(longest) = self.sessions.to_give_way(&state, self.origin) {
            ended.extend(state.end_and_finish(longest));
        }
        let _ = attach(&mut self.writer, &outbox, response);
        state.names.insert(key, (name.clone(), token));
        state.outboxes.insert(number, Arc::clone(&outbox));
        state.snapshot = OnceLock::new();
        let member = Member {
            session,
            holder: Holder::Connection(number),
            claimed_by: number,
            token_was_used: false.into(),
        };
        state.members.insert(token, member);
        drop(state);
        self.session = Some(token);
        cork.take_up(Duty::Yours, &outbox);
        Ok(ended)
    }

    /// Resumes the session of `token` under this name. An error changes nothing. Otherwise the
    /// connection that had the session is detached, and returned: the caller must evict it. The
    /// response precedes all deliveries that are queued.
    ///
    /// The connection must have no session yet.
    pub fn resume(
        &mut self,
        token: Token,
        name: &Username,
        cork: &Cork,
    ) -> Result<Option<Evicted>, NameError> {
        debug_assert!(self.session.is_none());
        self.writer.start().map_err(|_| NameError::NoThread)?;
        let mut state = self.sessions.state.write();
        if state.closing {
            return Err(NameError::Closing);
        }
        let renamed = state.check_name(token, name)?;
        state.set_name(token, name);
        state.hand_over(token, self.writer.attachment.number);
        let member = state.members.get(&token).ok_or(NameError::Gone)?;
        let outbox = Arc::clone(&member.session.outbox);
        let response = match renamed {
            true => Response::YouAre(name.clone()),
            false => Response::YouAreAlready(name.clone()),
        };
        let evicted = attach(&mut self.writer, &outbox, response);
        drop(state);
        self.session = Some(token);
        cork.take_up(Duty::Yours, &outbox);
        Ok(evicted)
    }

    /// Ends the connection's session, if it still belongs to it. The connection stays.
    pub fn end_session(&mut self) -> Option<Session> {
        let token = self.session.take()?;
        let mut state = self.sessions.state.write();
        if state.is_held_by(token, self.writer.attachment.number) {
            state.end(token)
        } else {
            None
        }
    }

    /// Releases the session of a lost connection, if it still belongs to it. Returns whether it
    /// lingers: that is allowed, and its client knows the token. Otherwise it ends.
    pub fn break_session(&mut self, may_linger: bool) -> Option<(Session, bool)> {
        let number = self.writer.attachment.number;
        let token = self.session.take()?;
        let mut state = self.sessions.state.write();
        if !state.is_held_by(token, number) {
            return None;
        }
        let last = state.lingering.last_key_value();
        let key = last.map_or(0, |(last, _)| last + 1);
        let member = state.members.get_mut(&token)?;
        if !may_linger || !member.token_was_used.load(Ordering::Relaxed) {
            return Some((state.end_and_finish(token)?, false));
        }
        member.holder = Holder::Lingering(key);
        let session = member.session.clone();
        let lingering = Lingering {
            since: Instant::now(),
            token,
            origin: self.origin,
        };
        state.lingering.insert(key, lingering);
        state.origins.change(self.origin, |it| {
            it.lingering.insert(key);
        });
        // Otherwise the connection and its session would count as two clients.
        state.remove_connection(number, self.origin);
        drop(state);
        // Fails if the sweeper has been woken before and has not looked yet.
        let _ = self.sessions.lingers.0.try_send(());
        Some((session, true))
    }
}

/// Attaches the connection of this writer to an outbox, with this first response.
fn attach(writer: &mut Writer, outbox: &Arc<Outbox>, response: Response) -> Option<Evicted> {
    let header = Some(outbox.token());
    writer.attach(outbox, &Reply { header, response })
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.end_session();
        let mut state = self.sessions.state.write();
        state.remove_connection(self.writer.attachment.number, self.origin);
    }
}
