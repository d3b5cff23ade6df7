//! The thread `redis-in`: reads the inbox of this node, and carries out what is in it.
//!
//! It owns one connection, and blocks only in its read, at most for
//! [`INBOX_BLOCK`](limits::INBOX_BLOCK). The crate cannot interrupt that, so the thread sees its
//! end between two reads: when `redis-out` has ended, its channel is disconnected. After an error
//! it connects again, with the same back-off.
//!
//! It queues deliveries into the outboxes of this server, and drains them without blocking before
//! the next read, as a reader thread does. It confirms after it has queued, and before it drains.
//!
//! # Why it never waits
//!
//! While it carries out an entry, it calls four kinds of things: [`PendingWrites::send`], which
//! never blocks; methods of the session map, which take its locks briefly; the send to the
//! channel of `redis-out`, which is unbounded; and the table of the requests that wait, whose
//! channels have room for each answer. It waits for no other node, no client and no thread. The
//! waiting is done by the reader thread that asked, and no thread waits for a reader thread. So no
//! cycle of waits can arise, whatever the nodes ask each other. `make model` tries that with the
//! code of the outbox, for two nodes whose clients read nothing.
//!
//! Does not know scripts.
//!
//! Invariant: *each entry is carried out once, in the order of the stream.* After a broken
//! connection, the thread goes on behind the last one.

use std::convert::Infallible;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use log::{error, info, warn};
use redis::{Connection, RedisResult, Value};

use super::entry::{Asked, Change, Counters, Entry, Fields, Spoken, parse_history};
use super::out::Order;
use super::scripts::{Call, Script};
use super::waiting::{Confirmation, NodeId, Outcome, Waiter};
use super::{Node, link};
use crate::limits;
use crate::log_throttle::LogThrottle;
use crate::outbox::SendError;
use crate::outbox::direct_write::PendingWrites;
use crate::protocol::presence::Presence;
use crate::protocol::reply::{Delivery, Scope};
use crate::protocol::token::Token;
use crate::sessions::NameError;

/// The data of the thread.
pub(super) struct Inbox {
    node: Arc<Node>,
    pending: PendingWrites,
    /// Disconnected when `redis-out` has ended.
    running: Receiver<Infallible>,
    /// Entries were carried out that are not yet deleted.
    owes_deletion: bool,
    /// The number of the last broadcast in the history.
    in_history: u64,
    /// The first `hello` has been read. Before it there are no counters to compare.
    has_begun: bool,
    not_understood: LogThrottle,
}

/// The entries of one read, each with its ID.
type Read = Vec<(String, Fields)>;

/// The answer of XREAD: the streams, each with its key. Nothing after a timeout.
type Streams = Option<Vec<(Value, Read)>>;

impl Inbox {
    pub(super) fn new(
        node: &Arc<Node>,
        pending: PendingWrites,
        running: Receiver<Infallible>,
    ) -> Inbox {
        Inbox {
            node: Arc::clone(node),
            pending,
            running,
            owes_deletion: false,
            in_history: 0,
            has_begun: false,
            not_understood: LogThrottle::default(),
        }
    }

    /// Runs the thread.
    pub(super) fn run(mut self) {
        let (shortest, longest) = limits::REDIS_BACKOFF;
        let mut backoff = shortest;
        loop {
            let connected = link::connect(&self.node.settings, limits::INBOX_TIMEOUT);
            let ended = connected.and_then(|mut connection| {
                backoff = shortest;
                self.read_until_end(&mut connection)
            });
            let Err(e) = ended else {
                return;
            };
            self.node.log_unreachable("reading the inbox", &e);
            if self.running.recv_timeout(backoff) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            backoff = longest.min(backoff * 2);
        }
    }

    /// Reads until the node has left. An error means that the connection is broken.
    fn read_until_end(&mut self, connection: &mut Connection) -> RedisResult<()> {
        while self.running.try_recv() != Err(TryRecvError::Disconnected) {
            let (entries, now) = self.read(connection)?;
            let carried_out: RedisResult<()> = entries.into_iter().try_for_each(|(id, fields)| {
                self.carry_out(connection, &id, &fields, now)?;
                self.node.progress.lock().last = id;
                self.owes_deletion = true;
                Ok(())
            });
            self.drain();
            carried_out?;
        }
        Ok(())
    }

    /// Deletes the entries that were carried out, and waits for the next ones. Returns them with
    /// the time of Redis.
    fn read(&mut self, connection: &mut Connection) -> RedisResult<(Read, Duration)> {
        let inbox = self.node.inbox();
        let last = self.node.progress.lock().last.clone();
        let mut pipeline = redis::pipe();
        if self.owes_deletion {
            // It drops blocks of a hundred entries. XDEL would look for each entry, which costs
            // Redis 40 times as much. The last entry stays until the next time.
            let deletion = pipeline.cmd("XTRIM").arg(&inbox).arg("MINID");
            deletion.arg("=").arg(&last);
        }
        pipeline
            .cmd("XREAD")
            .arg("COUNT")
            .arg(limits::INBOX_CHUNK)
            .arg("BLOCK")
            .arg(limits::INBOX_BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&inbox)
            .arg(last)
            .cmd("TIME");
        let answers = link::query_all(connection, &pipeline)?;
        let answers = answers.into_iter().collect::<RedisResult<Vec<Value>>>()?;
        let mut newest_first = answers.into_iter().rev();
        let time = newest_first.next().unwrap_or(Value::Nil);
        let (seconds, micros): (u64, u32) = redis::from_redis_value(time)?;
        let streams = newest_first.next().unwrap_or(Value::Nil);
        let streams: Streams = redis::from_redis_value(streams)?;
        self.owes_deletion = false;
        self.node.progress.lock().read_at = Instant::now();
        let entries = streams.into_iter().flatten().flat_map(|(_, read)| read);
        let now = Duration::from_secs(seconds) + Duration::from_micros(micros.into());
        Ok((entries.collect(), now))
    }

    /// Carries out one entry. A panic is a defect: it is logged, and costs this entry.
    fn carry_out(
        &mut self,
        connection: &mut Connection,
        id: &str,
        fields: &Fields,
        now: Duration,
    ) -> RedisResult<()> {
        let Some(entry) = Entry::parse(fields) else {
            if let Some(suppressed) = self.not_understood.record(Instant::now()) {
                warn!("skipped an entry in Redis that is not understood: {id}{suppressed}");
            }
            return Ok(());
        };
        if let Some(node) = entry.from() {
            self.node.peers.heard(node);
        }
        // The messages that did not reach this inbox are in the history, if it is kept.
        if let Entry::Hello { counters, .. } | Entry::Tick(counters) = &entry
            && counters.broadcasts > self.in_history
        {
            // What the entries before have queued does not wait for Redis.
            self.drain();
            match self.load_history(connection) {
                // Else a stranger's key would stop the inbox.
                Err(e) if e.code().is_some() => {
                    self.node.log_unreachable("reading the history", &e);
                }
                loaded => loaded?,
            }
            // The history may be ahead of the inbox.
            self.in_history = self.in_history.max(counters.broadcasts);
        }
        let age = now.saturating_sub(time_of(id));
        let result = panic::catch_unwind(AssertUnwindSafe(|| self.apply(entry, age)));
        if result.is_err() {
            error!("panic while carrying out an entry of the inbox: {id}");
        }
        Ok(())
    }

    /// Writes to the clients whose outboxes were filled, without blocking.
    fn drain(&self) {
        let drained = panic::catch_unwind(AssertUnwindSafe(|| self.pending.flush()));
        if drained.is_err() {
            error!("panic while writing to a client");
        }
    }

    /// Carries out an entry that has this age.
    fn apply(&mut self, entry: Entry, age: Duration) {
        let is_stale = age > limits::ENTRY_TIMEOUT;
        match entry {
            Entry::Hello { fence, counters } => self.hello(fence, counters),
            Entry::Tick(counters) => {
                self.count_missed(counters);
                self.node.progress.lock().heartbeat_at = Instant::now();
            }
            Entry::Presence { number, change } => {
                let presence = number.saturating_sub(change.count());
                self.count_missed(Counters {
                    broadcasts: 0,
                    presence,
                });
                self.change(change);
                self.see(|seen| seen.presence = seen.presence.max(number));
            }
            Entry::Broadcast {
                number,
                asked,
                sender_token,
                message,
                time,
            } => {
                let broadcasts = number.saturating_sub(1);
                self.count_missed(Counters {
                    broadcasts,
                    presence: 0,
                });
                let delivery = Delivery::new(Scope::Broadcast, &message.sender, &message.text);
                if number > self.in_history {
                    self.in_history = number;
                    self.node.sessions.history.add(&delivery, time);
                }
                self.broadcast(&asked, sender_token, &delivery);
                self.see(|seen| seen.broadcasts = seen.broadcasts.max(number));
            }
            // The asker has been told that it may not have arrived.
            Entry::Private { .. } | Entry::End { .. } | Entry::Watch { .. } if is_stale => {}
            Entry::Private { asked, to, message } => self.private(&asked, to, &message),
            Entry::End { asked, token } => {
                let has_ended = self
                    .node
                    .sessions
                    .end_and_close_outbox(token, &self.pending);
                let outcome = if has_ended {
                    Outcome::Done
                } else {
                    Outcome::Gone
                };
                self.confirm(&asked, outcome, 0);
            }
            Entry::Watch {
                asked,
                token,
                is_on,
            } => {
                let outcome = match self.node.sessions.use_token(token) {
                    Some(session) if self.node.sessions.watch(&session, is_on) => Outcome::Done,
                    Some(_) => Outcome::Same,
                    None => Outcome::Gone,
                };
                self.confirm(&asked, outcome, 0);
            }
            Entry::Used { token } => {
                self.node.sessions.use_token(token);
            }
            Entry::Confirm {
                request,
                confirmation,
            } => self.node.waiting.confirm(request, confirmation),
        }
    }

    /// The first entry after a `join`: what follows it was posted to this connection.
    fn hello(&mut self, fence: u64, counters: Counters) {
        if self.has_begun {
            self.count_missed(counters);
        } else {
            self.has_begun = true;
            self.see(|seen| *seen = counters);
        }
        let sessions = self.node.sessions.all();
        self.node.order(Order::Hello { fence, sessions });
    }

    /// Tells the sessions what did not reach this inbox, up to these counters.
    fn count_missed(&self, counters: Counters) {
        let seen = self.node.progress.lock().counters;
        let broadcasts = counters.broadcasts.saturating_sub(seen.broadcasts);
        let presence = counters.presence.saturating_sub(seen.presence);
        if broadcasts > 0 {
            self.node.sessions.missed_messages(broadcasts);
            self.see(|seen| seen.broadcasts = counters.broadcasts);
        }
        if presence > 0 {
            self.node.sessions.missed_presence(presence);
            self.see(|seen| seen.presence = counters.presence);
        }
        if broadcasts + presence > 0 {
            info!("missed {broadcasts} broadcasts and {presence} changes of presence");
        }
    }

    /// Notes how far the counters have been seen.
    fn see(&self, update: impl FnOnce(&mut Counters)) {
        update(&mut self.node.progress.lock().counters);
    }

    /// Carries out a change of presence: in the session map if a client of this node has asked,
    /// and for the watchers in any case.
    fn change(&self, change: Change) {
        let (sessions, pending) = (&self.node.sessions, &self.pending);
        match change {
            Change::Joined {
                token,
                name,
                node,
                request,
            } => {
                let waiter = self.take_waiter(&node, request);
                if let Some(Waiter::Claim(claim, answer)) = waiter {
                    let claimed = sessions.begin(claim, pending);
                    let has_begun = claimed.is_ok();
                    // The asker waits for it, even if it has just given up.
                    let _ = answer.send(claimed);
                    if has_begun {
                        return;
                    }
                }
                if node == self.node.id && sessions.by_token(token).is_none() {
                    // Its asker has given it up.
                    self.node.order(Order::Ended(token));
                }
                sessions.announce(Some(token), &Presence::Joined(name), pending);
            }
            Change::Renamed {
                token,
                old,
                name,
                node,
                request,
            } => {
                let waiter = self.take_waiter(&node, request);
                let is_own = node == self.node.id;
                let renamed = is_own.then(|| sessions.rename(token, &name, pending));
                if !matches!(renamed, Some(Ok(true))) {
                    let change = Presence::Renamed { old, new: name };
                    sessions.announce(Some(token), &change, pending);
                }
                if let Some(Waiter::Rename(answer)) = waiter {
                    let _ = answer.send(match renamed {
                        // It ends just after the rename, of which all watchers are told.
                        Some(Err(NameError::Gone)) | None => Ok(()),
                        Some(result) => result.map(drop),
                    });
                }
            }
            Change::Left(names) => {
                for name in names {
                    sessions.announce(None, &Presence::Left(name), pending);
                }
            }
        }
    }

    /// Takes the request that waits for an entry of this node.
    fn take_waiter(&self, node: &NodeId, request: Option<u64>) -> Option<Waiter> {
        let is_own = *node == self.node.id;
        is_own.then(|| self.node.waiting.take(request?)).flatten()
    }

    /// Queues a broadcast for all sessions of this node except the sender's, and confirms their
    /// number. Skips one of this node whose asker has given it up.
    fn broadcast(&self, asked: &Asked, sender_token: Token, delivery: &Delivery) {
        if asked.node == self.node.id && !self.node.waiting.begin(asked.request) {
            return;
        }
        let outboxes = self.node.sessions.outboxes();
        let others = outboxes.iter().filter(|it| it.token() != sender_token);
        let queued = others.filter(|it| self.pending.send(it, delivery).is_ok());
        self.confirm(asked, Outcome::Queued, queued.count());
    }

    /// Queues a private message, and confirms it.
    fn private(&self, asked: &Asked, to: Token, message: &Spoken) {
        let delivery = Delivery::new(Scope::Private, &message.sender, &message.text);
        let recipient = self.node.sessions.by_token(to);
        let sent = recipient.map(|it| self.pending.send(&it.outbox, &delivery));
        let outcome = match sent {
            Some(Ok(())) => Outcome::Queued,
            Some(Err(SendError::Full)) => Outcome::Full,
            Some(Err(SendError::Closed)) | None => Outcome::Gone,
        };
        self.confirm(asked, outcome, 0);
    }

    /// Tells the node that asked. This thread does not wait for that.
    fn confirm(&self, asked: &Asked, outcome: Outcome, count: usize) {
        if asked.node == self.node.id {
            let confirmation = Confirmation {
                node: self.node.id.clone(),
                outcome,
                count,
            };
            return self.node.waiting.confirm(asked.request, confirmation);
        }
        let call = Call::new(Script::Confirm)
            .arg(&asked.node)
            .number(asked.request)
            .arg(outcome.word())
            .number(count);
        self.node.order(Order::Call(call, None));
    }

    /// Reads the broadcasts that this node has not seen into its history.
    fn load_history(&mut self, connection: &mut Connection) -> RedisResult<()> {
        let kept = self.node.sessions.history.limit();
        if kept == 0 {
            return Ok(());
        }
        let newest: Read = redis::cmd("XREVRANGE")
            .arg(self.node.key("history"))
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(kept)
            .query(connection)?;
        let messages = newest.iter().rev();
        for (number, time, message) in messages.filter_map(|(_, it)| parse_history(it)) {
            if number > self.in_history {
                self.in_history = number;
                let delivery = Delivery::new(Scope::Broadcast, &message.sender, &message.text);
                self.node.sessions.history.add(&delivery, time);
            }
        }
        Ok(())
    }
}

/// Returns the time in the ID of an entry, since 1970.
fn time_of(id: &str) -> Duration {
    let millis = id.split('-').next().and_then(|millis| millis.parse().ok());
    Duration::from_millis(millis.unwrap_or(0))
}
