//! The thread `redis-out`: calls the scripts for everyone, keeps the lease, and joins again after
//! each break.
//!
//! It owns one connection. It takes orders from its channel, as many as there are, and sends them
//! as one pipeline. It blocks while it waits for an order, at most until the next renewal, and in
//! one pipeline, at most for [`REDIS_TIMEOUT`](limits::REDIS_TIMEOUT) without an answer. Then, or
//! after any error, the connection is broken: every call under way fails, and it connects again.
//! Between two tries it waits for the back-off, and answers the calls that arrive with a failure.
//! It ends when it has left, at the end of the shutdown.
//!
//! It alone knows which releases are owed and which names are to be claimed again.
//!
//! Does not know sockets, clients or entries.
//!
//! Invariant: *the release of each session that has ended is owed until Redis confirms it.*

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use log::{info, warn};
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::Node;
use super::link::{Answer, Link};
use super::scripts::{Call, Script};
use super::waiting::NodeId;
use crate::limits;
use crate::outbox::direct_write::{DirectWrites, PendingWrites};
use crate::protocol::reply::Notice;
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// What the thread is told.
pub(super) enum Order {
    /// Call a script. Without a sender, no thread waits for the answer.
    Call(Call, Option<Sender<Result<Answer, Failure>>>),
    /// This session has ended: release its name.
    Ended(Token),
    /// Drop the sender when the release of this session is confirmed, or cannot be now.
    AwaitRelease(Token, Sender<Infallible>),
    /// The inbox has been read up to the `hello` of this fence. Then there were these sessions.
    Hello {
        fence: u64,
        sessions: Vec<(Token, Username)>,
    },
    /// Leave the chat, and drop the sender.
    Leave(Sender<Infallible>),
}

/// Why a script has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not called, or has changed nothing.
    NotCalled,
    /// It was sent, and may have been carried out.
    Unconfirmed,
}

/// The data of the thread.
pub(super) struct Out {
    node: Arc<Node>,
    orders: Receiver<Order>,
    /// The sessions whose release is owed, each with the threads that wait for it.
    owed: HashMap<Token, Vec<Sender<Infallible>>>,
    /// The sessions whose name must be claimed again.
    reclaims: Vec<Reclaim>,
    /// Set at the end: dropped when the node has left.
    leaving: Option<Sender<Infallible>>,
    /// When the data in Redis began, as far as this node knows.
    epoch: Option<String>,
    /// The others were told that the sessions of this node have left, and have not yet been told
    /// of all that they have joined again.
    was_removed: bool,
    /// Dropped with the thread. It ends the thread `redis-in`.
    _running: Sender<Infallible>,
}

/// A session whose name is registered no more.
struct Reclaim {
    token: Token,
    /// The time from which on it is given up.
    until: Instant,
    /// The time of the next try.
    next: Instant,
}

/// A connection that has joined.
pub(super) struct Joined {
    link: Link,
    at: Instant,
    /// The sessions that the registry has for this node, until the inbox is read up to the `hello`.
    registered: HashMap<Token, String>,
    /// Those of them that this node has released before.
    stale: Vec<Token>,
    next_renewal: Instant,
    next_leave: Instant,
}

/// The asker that gets the answer of a call.
enum Asker {
    Client(Option<Sender<Result<Answer, Failure>>>),
    Release(Vec<Token>),
    StaleRelease,
    Renewal,
    Reclaim(Token),
    Leave,
}

/// The calls of one pipeline, each with its asker.
type Batch = Vec<(Call, Asker)>;

impl Out {
    pub(super) fn new(
        node: &Arc<Node>,
        orders: Receiver<Order>,
        running: Sender<Infallible>,
    ) -> Out {
        Out {
            node: Arc::clone(node),
            orders,
            owed: HashMap::new(),
            reclaims: Vec::new(),
            leaving: None,
            epoch: None,
            was_removed: false,
            _running: running,
        }
    }

    /// Runs the thread with a connection that has joined.
    pub(super) fn run(mut self, joined: Joined) {
        let (shortest, longest) = limits::REDIS_BACKOFF;
        let mut joined = Some(joined);
        let mut backoff = shortest;
        loop {
            let next = match joined.take() {
                Some(joined) => Ok(joined),
                None => self.join(),
            };
            match next {
                Ok(connection) => {
                    backoff = shortest;
                    let ended = self.serve(connection);
                    self.node.is_connected.store(false, Ordering::Relaxed);
                    match ended {
                        Ok(()) => return,
                        Err(e) => warn!("lost the connection to Redis: {e}"),
                    }
                }
                Err(e) => self.node.log_unreachable("joining", &e),
            }
            if !self.wait_disconnected(backoff) {
                return;
            }
            backoff = longest.min(backoff * 2);
        }
    }

    /// Connects and joins.
    pub(super) fn join(&mut self) -> RedisResult<Joined> {
        let node = &self.node;
        let mut link = Link::open(&node.settings, &node.id)?;
        let progress = node.progress.lock().clone();
        let answer = link.call(
            &Call::new(Script::Join)
                .number(limits::LEASE.as_millis())
                .arg(progress.last)
                .number(progress.counters.broadcasts)
                .number(progress.counters.presence),
        )?;
        if answer.number(0) == 0 {
            return Err((ErrorKind::UnexpectedReturnType, "join gave no fence").into());
        }
        link.fence = answer.number(0);
        let (is_known, is_behind) = (answer.number(1) == 1, answer.number(2) == 1);
        let epoch = answer.text(3).to_owned();
        let is_same = self
            .epoch
            .replace(epoch.clone())
            .is_none_or(|old| old == epoch);
        self.was_removed |= !is_known && !is_behind && is_same;
        // Those of an earlier connection. The `hello` of this one finds them anew.
        self.reclaims.clear();
        let (registered, _) = answer.rest(6).as_chunks();
        let registered = registered
            .iter()
            .filter_map(|[token, name]| Some((Token::from_hex(token)?, name.clone())));
        let now = Instant::now();
        node.peers.clear();
        let mut progress = node.progress.lock();
        progress.heartbeat_at = now;
        drop(progress);
        node.is_connected.store(true, Ordering::Relaxed);
        info!("joined the chat on Redis as node {}", node.id);
        Ok(Joined {
            link,
            at: now,
            registered: registered.collect(),
            stale: Vec::new(),
            next_renewal: now + limits::RENEWAL,
            next_leave: now,
        })
    }

    /// Carries out orders until the node has left. An error means that the connection is broken.
    fn serve(&mut self, mut joined: Joined) -> RedisResult<()> {
        loop {
            let mut batch = Batch::new();
            // Before the orders: what the entries up to this one have caused is among them.
            let is_leaving = self.leaving.is_some();
            let last = is_leaving.then(|| self.node.progress.lock().last.clone());
            // What is owed is called before the next order.
            if self.owed.is_empty() {
                let first = self.orders.recv_deadline(self.next_due(&joined));
                let more = first.into_iter().chain(self.orders.try_iter());
                let taken: Vec<Order> = more.take(limits::MAX_PIPELINE).collect();
                for order in taken {
                    self.take(order, &mut joined, &mut batch);
                }
            }
            let due = self.add_due(&mut joined, last, &mut batch);
            if !batch.is_empty() && self.call(&mut joined, batch)? {
                return Ok(());
            }
            due?;
        }
    }

    /// Takes one order. Its call goes into the batch.
    fn take(&mut self, order: Order, joined: &mut Joined, batch: &mut Batch) {
        match order {
            Order::Call(call, asker) => batch.push((call, Asker::Client(asker))),
            Order::Ended(token) => {
                self.owed.entry(token).or_default();
            }
            // Without an owed release the sender is dropped.
            Order::AwaitRelease(token, sender) => {
                if let Some(waiting) = self.owed.get_mut(&token) {
                    waiting.push(sender);
                }
            }
            Order::Hello { fence, sessions } if fence == joined.link.fence => {
                self.compare(joined, sessions);
            }
            // Of an earlier connection. The next one is on its way.
            Order::Hello { .. } => {}
            Order::Leave(done) => self.leaving = Some(done),
        }
    }

    /// Compares the registry with the sessions, both at the instant of the `hello`. What only the
    /// registry has is released. What only this node has, or under another name, is claimed again.
    ///
    /// A session that has ended is owed to the registry until its release is confirmed. If it is
    /// not owed, all nodes were told that it has left, and Redis has lost that.
    fn compare(&mut self, joined: &mut Joined, sessions: Vec<(Token, Username)>) {
        let here: HashMap<Token, Username> = sessions.into_iter().collect();
        let registered = std::mem::take(&mut joined.registered);
        let is_stale = |it: &&Token| !here.contains_key(it) && !self.owed.contains_key(it);
        joined.stale = registered.keys().filter(is_stale).copied().collect();
        let now = Instant::now();
        let is_missing = |(token, name): &(&Token, &Username)| {
            let registered = registered.get(token);
            registered.is_none_or(|registered| registered != name.as_str())
        };
        self.reclaims = here
            .iter()
            .filter(is_missing)
            .map(|(&token, _)| Reclaim {
                token,
                until: now + limits::RECLAIM_TIME,
                next: now,
            })
            .collect();
        match self.reclaims.len() {
            0 => self.was_removed = false,
            count => info!("claiming {count} names again"),
        }
    }

    /// Returns when the next call is due that is not ordered.
    fn next_due(&self, joined: &Joined) -> Instant {
        let next = match self.leaving {
            Some(_) => joined.next_leave,
            None => joined.next_renewal,
        };
        let reclaims = self.reclaims.iter().map(|reclaim| reclaim.next);
        reclaims.chain([next]).min().unwrap_or(next)
    }

    /// Adds the calls that are due. The releases come first: when an answer behind them arrives,
    /// the names are free. `last` is how far the inbox was read before the orders were taken, if
    /// the node is leaving.
    fn add_due(
        &mut self,
        joined: &mut Joined,
        last: Option<String>,
        batch: &mut Batch,
    ) -> RedisResult<()> {
        let now = Instant::now();
        if !self.owed.is_empty() {
            let tokens: Vec<Token> = self.owed.keys().copied().collect();
            let call = Call::new(Script::Release).arg("ended");
            let call = call.args(tokens.iter().map(|token| token.hex()));
            batch.insert(0, (call, Asker::Release(tokens)));
        }
        if !joined.stale.is_empty() {
            let call = Call::new(Script::Release).arg("stale");
            let call = call.args(joined.stale.drain(..).map(|token| token.hex()));
            batch.insert(0, (call, Asker::StaleRelease));
        }
        let mode = if self.was_removed { "told" } else { "again" };
        let mut room = limits::MAX_PIPELINE;
        self.reclaims.retain_mut(|reclaim| {
            if reclaim.next > now || room == 0 {
                return true;
            }
            // It has ended since.
            let Some(session) = self.node.sessions.by_token(reclaim.token) else {
                return false;
            };
            reclaim.next = now + limits::RECLAIM_INTERVAL;
            room -= 1;
            let call = Call::new(Script::Claim)
                .arg(reclaim.token.hex())
                .arg(session.name.key().as_str())
                .arg(session.name.as_str())
                .arg(mode)
                .arg("");
            batch.push((call, Asker::Reclaim(reclaim.token)));
            true
        });
        if self.leaving.is_none() && joined.next_renewal <= now {
            joined.next_renewal = now + limits::RENEWAL;
            if self.may_renew(now)? {
                let removes_others = now - joined.at >= limits::REMOVAL_AFTER;
                let call = Call::new(Script::Renew)
                    .number(limits::LEASE.as_millis())
                    .number(if removes_others {
                        limits::SWEEP_CHUNK
                    } else {
                        0
                    });
                batch.push((call, Asker::Renewal));
            }
        }
        let has_nothing_left = self.owed.is_empty() && self.orders.is_empty();
        if let Some(last) = last
            && has_nothing_left
            && joined.next_leave <= now
        {
            joined.next_leave = now + limits::LEAVE_INTERVAL;
            batch.push((Call::new(Script::Leave).arg(last), Asker::Leave));
        }
        Ok(())
    }

    /// Returns whether the inbox is read, so that the node may keep its names. An error means that
    /// the heartbeats do not arrive although it is read.
    fn may_renew(&self, now: Instant) -> RedisResult<bool> {
        let progress = self.node.progress.lock();
        let since = |at: Instant| now.saturating_duration_since(at);
        if since(progress.heartbeat_at) < limits::HEARTBEAT_TIMEOUT {
            Ok(true)
        } else if since(progress.read_at) < limits::INBOX_TIMEOUT {
            Err((ErrorKind::Client, "the heartbeats do not arrive").into())
        } else {
            Ok(false)
        }
    }

    /// Calls a batch, and gives each asker its answer. Returns whether the node has left.
    fn call(&mut self, joined: &mut Joined, batch: Batch) -> RedisResult<bool> {
        let (calls, askers): (Vec<Call>, Vec<Asker>) = batch.into_iter().unzip();
        let results = match joined.link.call_all(calls.iter()) {
            Ok(results) => results,
            Err(e) => {
                for asker in askers {
                    if let Asker::Client(Some(asker)) = asker {
                        let _ = asker.send(Err(Failure::Unconfirmed));
                    }
                }
                return Err(e);
            }
        };
        let (mut broken, mut has_left) = (None, false);
        for (asker, result) in askers.into_iter().zip(results) {
            let result = match result {
                Ok(answer) if answer.outcome() == "lost" => {
                    broken.get_or_insert_with(fenced_off);
                    Err(Failure::NotCalled)
                }
                Ok(answer) => Ok(answer),
                Err(e) => {
                    let failure = failure_of(&e);
                    let is_known = e.kind() != ErrorKind::Server(ServerErrorKind::NoScript);
                    match asker {
                        Asker::Client(_) if is_known => {
                            self.node.log_unreachable("a script", &e);
                        }
                        // Redis is full. Releases work, and make room.
                        Asker::Renewal if e.code() == Some("OOM") => {
                            self.node.log_unreachable("a renewal", &e);
                            self.node.progress.lock().heartbeat_at = Instant::now();
                        }
                        _ => {
                            broken.get_or_insert(e);
                        }
                    }
                    Err(failure)
                }
            };
            match (asker, result) {
                // The asker may have left.
                (Asker::Client(asker), result) => {
                    let _ = asker.map(|asker| asker.send(result));
                }
                // Dropping the senders tells the waiting threads.
                (Asker::Release(tokens), Ok(_)) => self.owed.retain(|it, _| !tokens.contains(it)),
                (Asker::Renewal, Ok(answer)) => self.on_renewed(joined, &answer),
                (Asker::Reclaim(token), Ok(answer)) => {
                    self.on_reclaimed(token, &answer);
                    // All others know of all sessions again.
                    self.was_removed &= !self.reclaims.is_empty();
                }
                (Asker::Leave, Ok(answer)) => has_left |= answer.outcome() == "done",
                // The next connection finds them again.
                (Asker::StaleRelease, Ok(_)) | (_, Err(_)) => {}
            }
        }
        match broken {
            Some(e) => Err(e),
            None => Ok(has_left),
        }
    }

    fn on_renewed(&self, joined: &mut Joined, answer: &Answer) {
        if answer.number(1) == 1 {
            // There is more to sweep.
            joined.next_renewal = Instant::now();
        }
        let (pairs, _) = answer.rest(2).as_chunks();
        let leases = pairs.iter().filter_map(|[node, left]| {
            // Negative if it is over.
            let left = left.parse::<i64>().ok()?.max(0);
            Some((
                NodeId::parse(node)?,
                Duration::from_millis(left.unsigned_abs()),
            ))
        });
        let leases: Vec<_> = leases.collect();
        self.node.peers.note_leases(&leases, Instant::now());
    }

    /// Ends the session if its name has been taken for too long.
    fn on_reclaimed(&mut self, token: Token, answer: &Answer) {
        let Some(index) = self.reclaims.iter().position(|it| it.token == token) else {
            return;
        };
        let is_over = self.reclaims[index].until <= Instant::now();
        if matches!(answer.outcome(), "taken" | "elsewhere") && !is_over {
            return;
        }
        self.reclaims.remove(index);
        if matches!(answer.outcome(), "done" | "mine") {
            return;
        }
        let Some(session) = self.node.sessions.by_token(token) else {
            return;
        };
        // The writer thread writes: a write here would delay all calls.
        let pending = PendingWrites::new(DirectWrites::new(false));
        let notice = Notice::TakenMeanwhile(session.name.clone());
        self.node.sessions.end_with_notice(token, notice, &pending);
        info!(
            "ended session of {}: its name was taken meanwhile",
            session.name
        );
    }

    /// Waits without a connection, and answers what arrives. False if the node has left.
    fn wait_disconnected(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        // A thread that waits for a release does not wait for Redis to come back.
        self.owed.values_mut().for_each(Vec::clear);
        loop {
            if self.leaving.take().is_some() {
                warn!("leaving without Redis: the names are free when the lease is over");
                return false;
            }
            let Ok(order) = self.orders.recv_deadline(deadline) else {
                return true;
            };
            match order {
                Order::Call(_, Some(asker)) => {
                    let _ = asker.send(Err(Failure::NotCalled));
                }
                Order::Ended(token) => {
                    self.owed.entry(token).or_default();
                }
                Order::Leave(done) => self.leaving = Some(done),
                // The sender is dropped, and the next connection has a `hello` of its own.
                Order::Call(_, None) | Order::AwaitRelease(..) | Order::Hello { .. } => {}
            }
        }
    }
}

/// Returns what the error of a script means for its asker.
fn failure_of(error: &RedisError) -> Failure {
    // These are refused before anything has changed.
    match error.code() {
        Some("OOM" | "NOSCRIPT" | "READONLY" | "LOADING" | "MISCONF" | "NOPERM") => {
            Failure::NotCalled
        }
        _ => Failure::Unconfirmed,
    }
}

/// The error after a call with an old fence.
fn fenced_off() -> RedisError {
    (
        ErrorKind::Client,
        "this node was removed, or has a newer connection",
    )
        .into()
}
