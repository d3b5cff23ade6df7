//! The driver: executes a plan with real clients at a real server, and asks the model whether
//! the observations are possible.
//!
//! In a round, each move has its own thread, and all moves run at the same time. Late
//! moves run after the others. If sessions linger for a second only, the driver waits once before
//! a round until they have expired, because most runs take less time. After the moves it settles
//! the round:
//!
//! 1. For each connection that a client has closed or reset, it waits until the server has
//!    logged the end.
//! 2. If there are several servers, the witness broadcasts. All servers have executed the earlier
//!    changes when they confirm that.
//! 3. Each client that reads sends a `Ping`. All earlier deliveries precede the `Pong`.
//! 4. The witness requests the list of names and the history, and says once more whether it
//!    watches presence. That response comes behind every change in progress.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, SocketAddr};
use std::panic;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use super::deliveries::{Read, Sent};
use super::explain::{Asked, End, Life, Received, Seen, explain};
use super::history::{self, Broadcast, History, Recent, Window};
use super::plan::{
    Ask, Body, CLIENTS, Header, MAX_BAD_REQUESTS, Move, Plan, Round, Settings, Then,
};
use super::state::{Connection, Id, State, Token};
use crate::support::{Client, Ended, Message, Server, is_spread, missed_by, servers, wait_for};

/// The number of the witness, which sends requests only at the end of each round.
const WITNESS: usize = CLIENTS;

/// At least this many bytes fit into the kernel's buffers of a client that reads only at the
/// end of a round.
const ACCEPTED_UNREAD: usize = 64 * 1024;

/// The last lines of each dialogue that a failure prints.
const SHOWN: usize = 40;

/// The maximum bytes of a delivery without its text, or of a message of the history.
const AROUND_A_TEXT: usize = 8 + 34 + "Incoming-recent 2000-01-01T00:00:00Z  ".len() + 64 + 2;

/// The counts of a run, which show that it has tested something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answers: usize,
    pub(crate) deliveries: usize,
    pub(crate) presence: usize,
    pub(crate) missed: u64,
    pub(crate) recent: usize,
    pub(crate) resumptions: usize,
    pub(crate) breaks: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.answers += other.answers;
        self.deliveries += other.deliveries;
        self.presence += other.presence;
        self.missed += other.missed;
        self.recent += other.recent;
        self.resumptions += other.resumptions;
        self.breaks += other.breaks;
    }
}

/// Executes these rounds of a plan.
pub(super) fn run(plan: &Plan, rounds: &[usize]) -> Result<Tally, String> {
    let Settings {
        queue,
        linger,
        rate,
        burst,
        history,
        ..
    } = plan.settings;
    let [queue, linger, rate, burst, history] =
        [queue as u64, linger, rate, burst, history as u64].map(|it| it.to_string());
    let options = [
        "--queue",
        &queue,
        "--linger",
        &linger,
        "--rate",
        &rate,
        "--burst",
        &burst,
        "--history",
        &history,
    ];
    let server = Server::start_with(&options, |_| {});
    let mut driver = Driver::new(&server, &plan.settings);
    for &number in rounds {
        let played = driver.play(&plan.rounds[number]);
        played.map_err(|problem| format!("round {number}: {problem}"))?;
    }
    Ok(driver.tally)
}

struct Driver<'a> {
    server: &'a Server,
    settings: &'a Settings,
    begun: Instant,
    /// The number of the last connection.
    connections: u32,
    /// The connection of each client.
    links: [Option<Link>; CLIENTS + 1],
    /// The last token of each client.
    tokens: [Option<Token>; CLIENTS],
    states: Vec<State>,
    /// All sent messages: the scope and the text.
    sent: BTreeMap<Id, (&'static str, String)>,
    unanswered: BTreeSet<Id>,
    /// The messages that each session has received.
    received: BTreeSet<(Token, Id)>,
    /// The sender's name of each received message.
    senders: BTreeMap<Id, String>,
    known_tokens: BTreeSet<Token>,
    history: History,
    /// Whether it has waited for lingering sessions to expire.
    has_waited: bool,
    rounds: u32,
    tally: Tally,
}

/// The client's end of a connection.
struct Link {
    number: u32,
    address: SocketAddr,
    /// `None` after the client has closed it.
    client: Option<Client>,
    /// The end of the dialogue, after the client has closed it.
    dialogue: String,
    /// The token of its session, as the client knows it.
    token: Option<Token>,
    is_read: bool,
    /// Whether it was not read before this round.
    was_not_read: bool,
    /// The messages of this round.
    inbox: Vec<Message>,
    ended: Option<Ended>,
    messages: u32,
}

/// The prepared move of one client.
struct Act<'a> {
    link: Link,
    client: usize,
    asked: Vec<Asked>,
    bytes: Vec<u8>,
    what: &'a Move,
}

/// A connection after its move.
struct Played {
    link: Link,
    client: usize,
    asked: Vec<Asked>,
    end: End,
    is_late: bool,
}

impl Link {
    /// Connects to the server of this client, which is always the same.
    fn new(server: &Server, client: usize, number: u32) -> Link {
        let client = server.connect_to(client);
        Link {
            number,
            address: client.stream().local_addr().expect("an open socket"),
            client: Some(client),
            dialogue: String::new(),
            token: None,
            is_read: true,
            was_not_read: false,
            inbox: Vec::new(),
            ended: None,
            messages: 0,
        }
    }

    /// Sends bytes. An error is ignored, because the next read reports the end.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(client) = &mut self.client {
            let _ = client.try_send_raw(bytes);
        }
    }

    fn half_close(&self) {
        if let Some(client) = &self.client {
            let _ = client.stream().shutdown(Shutdown::Write);
        }
    }

    /// Takes the client out, so that the caller can close it.
    fn take_client(&mut self) -> Option<Client> {
        self.dialogue = self.end_of_dialogue();
        self.client.take()
    }

    fn end_of_dialogue(&self) -> String {
        match &self.client {
            Some(client) => client.end_of_dialogue(SHOWN),
            None => self.dialogue.clone(),
        }
    }

    /// Reads until this many responses have arrived, or the connection has ended.
    fn read_answers(&mut self, count: usize) {
        self.read_until(|inbox| inbox.iter().filter(|it| is_answer(it)).count() >= count);
    }

    fn read_until(&mut self, is_enough: impl Fn(&[Message]) -> bool) {
        while let (None, Some(client)) = (self.ended, &mut self.client) {
            if is_enough(&self.inbox) {
                return;
            }
            match client.next_or_ended() {
                Ok(message) => self.inbox.push(message),
                Err(ended) => self.ended = Some(ended),
            }
        }
    }

    /// Reads up to the first message that matches, and takes it out.
    fn read_up_to(&mut self, is_it: impl Fn(&Message) -> bool) -> Option<Message> {
        self.read_until(|inbox| inbox.last().is_some_and(&is_it));
        let is_there = self.inbox.last().is_some_and(is_it);
        is_there.then(|| self.inbox.pop()).flatten()
    }
}

/// Returns the number of the server to which a client connects.
fn node_of(client: usize) -> usize {
    client % servers()
}

fn witness_of(played: &mut [Played]) -> &mut Played {
    let witness = played.iter_mut().find(|it| it.client == WITNESS);
    witness.expect("the witness")
}

/// Whether a message is a delivery of this kind, or a message in front of a response.
fn is_incoming(message: &Message, kind: &str) -> bool {
    message.status == "200 OK" && message.data.strip_prefix(kind).is_some()
}

const MESSAGE: &str = "Incoming-message ";
const PRESENCE: &str = "Incoming-presence ";
const RECENT: &str = "Incoming-recent ";

fn missed(message: &Message) -> Option<usize> {
    let is_notice = message.status == "502 Bad Gateway" && message.data.starts_with("Missed ");
    is_notice.then(|| missed_by(&message.data)).flatten()
}

fn is_takeover_notice(message: &Message) -> bool {
    message.data == "This session was resumed from another connection"
}

fn is_answer(message: &Message) -> bool {
    !is_incoming(message, "Incoming-") && missed(message).is_none() && !is_takeover_notice(message)
}

fn token_of(header: &str) -> Option<Token> {
    (!header.is_empty()).then(|| header.into())
}

impl<'a> Driver<'a> {
    fn new(server: &'a Server, settings: &'a Settings) -> Driver<'a> {
        let mut witness = Link::new(server, WITNESS, 0);
        let client = witness.client.as_mut().expect("a client");
        client.set_name("witness");
        let token: Token = client.token.as_str().into();
        witness.token = Some(Arc::clone(&token));
        let mut state = State::default();
        let connection = (witness.number, node_of(WITNESS));
        let (_, has_changed) = state.set_name(connection, None, "witness", &token);
        debug_assert!(has_changed);
        if settings.witness_watches {
            client.ask("Watch-presence on", "200 OK", "Watching presence");
            let acting = state.acting(&token).expect("a session");
            state.watch(&acting, true);
        }
        let mut links: [Option<Link>; CLIENTS + 1] = Default::default();
        links[WITNESS] = Some(witness);
        Driver {
            server,
            settings,
            begun: Instant::now(),
            connections: 0,
            links,
            tokens: Default::default(),
            states: vec![state],
            sent: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            received: BTreeSet::new(),
            senders: BTreeMap::new(),
            known_tokens: BTreeSet::from([token]),
            history: History::new(settings.history),
            has_waited: false,
            rounds: 0,
            tally: Tally::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).expect("milliseconds")
    }

    fn play(&mut self, round: &Round) -> Result<(), String> {
        self.rounds += 1;
        self.wait_for_expiry();
        let acts = round.iter().filter_map(|it| self.prepare(it)).collect();
        let mut played = self.make_moves(acts);
        for (client, link) in self.links.iter_mut().enumerate() {
            played.extend(link.take().map(|link| Played {
                link,
                client,
                asked: Vec::new(),
                end: End::NotRead,
                is_late: false,
            }));
        }
        self.settle(&mut played);
        self.judge(&mut played).map_err(|problem| {
            let dialogues = played.iter().map(|Played { link, client, .. }| {
                let (number, dialogue) = (link.number, link.end_of_dialogue());
                format!("--- client {client}, connection {number}\n{dialogue}\n")
            });
            format!("{problem}\n{}---", dialogues.collect::<String>())
        })?;
        for Played {
            mut link,
            client,
            end,
            ..
        } in played
        {
            if matches!(end, End::Open(_) | End::NotRead) {
                link.inbox.clear();
                link.was_not_read = !link.is_read;
                self.links[client] = Some(link);
            }
        }
        Ok(())
    }

    /// Prepares the bytes of a move and its connection.
    fn prepare<'m>(&mut self, what: &'m Move) -> Option<Act<'m>> {
        let client = what.client;
        if what.then == Then::StopReading {
            if let Some(link) = &mut self.links[client] {
                link.is_read = false;
            }
            return None;
        }
        let (mut link, arrival) = match self.links[client].take() {
            Some(link) => (link, &[][..]),
            None => {
                self.connections += 1;
                let link = Link::new(self.server, client, self.connections);
                (link, &*what.arrival)
            }
        };
        link.is_read = true;
        let (mut asked, mut bytes) = (Vec::new(), Vec::new());
        for ask in arrival.iter().chain(&what.asks) {
            let token = match ask.header {
                Header::TokenOf(client) => self.tokens[client].clone(),
                _ => None,
            };
            let id = self.message(&mut link, ask);
            let text = id.map(|id| &*self.sent[&id].1);
            bytes.extend(encode(ask, token.as_deref(), text));
            asked.push(Asked {
                ask: ask.clone(),
                token,
                id,
                answer: None,
            });
        }
        Some(Act {
            link,
            client,
            asked,
            bytes,
            what,
        })
    }

    /// Makes the message of a request. Its text begins with its id.
    fn message(&mut self, link: &mut Link, ask: &Ask) -> Option<Id> {
        let (scope, size) = match ask.body {
            Body::Private { size, .. } => ("private", size),
            Body::Broadcast { size } => ("broadcast", size),
            _ => return None,
        };
        link.messages += 1;
        let id = (link.number, link.messages);
        let text = format!("{}.{} {}", id.0, id.1, "🙂".repeat(size / 4));
        self.sent.insert(id, (scope, text));
        Some(id)
    }

    /// Waits until the sessions that linger in all possible states have expired. A longer linger
    /// time would take too long.
    fn wait_for_expiry(&mut self) {
        let lingers = |token: &Token| {
            let mut states = self.states.iter();
            states.all(|it| {
                it.sessions
                    .get(token)
                    .is_some_and(|it| it.lingers.is_some())
            })
        };
        let sessions = self.states.first().map(|state| &state.sessions);
        let lingering = sessions.into_iter().flatten().filter(|it| lingers(it.0));
        let names: Vec<&str> = lingering.map(|(_, session)| &*session.name).collect();
        if self.settings.linger != 1 || self.has_waited || names.is_empty() {
            return;
        }
        for name in names {
            self.server
                .expect_log_of("expired lingering session of ", name);
        }
        self.has_waited = true;
    }

    /// Makes all moves at the same time, then the late ones.
    fn make_moves(&self, acts: Vec<Act<'_>>) -> Vec<Played> {
        let (late, early) = acts.into_iter().partition(|act: &Act<'_>| act.what.is_late);
        let mut played = self.make_at_once(early);
        played.extend(self.make_at_once(late));
        played
    }

    fn make_at_once(&self, acts: Vec<Act<'_>>) -> Vec<Played> {
        let all_are_ready = Barrier::new(acts.len());
        let begun = self.begun;
        thread::scope(|scope| {
            let threads: Vec<_> = acts
                .into_iter()
                .map(|act| {
                    let all_are_ready = &all_are_ready;
                    scope.spawn(move || {
                        all_are_ready.wait();
                        act.make(begun)
                    })
                })
                .collect();
            let played = threads.into_iter().map(thread::ScopedJoinHandle::join);
            played
                .map(|played| played.unwrap_or_else(|problem| panic::resume_unwind(problem)))
                .collect()
        })
    }

    /// Waits until all requests are executed, and reads the messages.
    fn settle(&mut self, played: &mut [Played]) {
        for it in played.iter() {
            if matches!(it.end, End::Closed(_) | End::Reset(_)) {
                wait_for("a connection's end in the log", || {
                    self.has_ended(it.link.address)
                });
            }
        }
        if is_spread() {
            self.settle_servers(played);
        }
        let goes_on = |it: &&mut Played| it.end == End::NotRead && it.link.is_read;
        let settled = format!("Pong settled {}", self.rounds);
        let end = |answer: Option<&Message>| match answer {
            Some(answer) => End::Open(token_of(&answer.header)),
            None => End::Gone,
        };
        for it in played.iter_mut().filter(goes_on) {
            if it.client != WITNESS {
                it.link
                    .send(format!("\n\nPing settled {}\n", self.rounds).as_bytes());
            }
        }
        for it in played.iter_mut().filter(goes_on) {
            if it.client != WITNESS {
                let answer = it.link.read_up_to(|message| message.data == settled);
                it.end = end(answer.as_ref());
            }
        }
        let witness = witness_of(played);
        let is_on = self.settings.witness_watches;
        for body in [
            Body::ListNames { prefix: "" },
            Body::RecentMessages { count: Some(1_000) },
            Body::WatchPresence { is_on },
        ] {
            let ask = Ask {
                header: Header::Empty,
                body,
                bare: false,
            };
            witness.link.send(&encode(&ask, None, None));
            witness.asked.push(Asked {
                ask,
                token: None,
                id: None,
                answer: None,
            });
        }
        witness.link.read_answers(witness.asked.len());
        witness.end = end(witness.link.inbox.last().filter(|it| is_answer(it)));
    }

    /// Lets the witness broadcast, and waits for the response.
    fn settle_servers(&mut self, played: &mut [Played]) {
        let witness = witness_of(played);
        let ask = Ask {
            header: Header::Empty,
            body: Body::Broadcast { size: 0 },
            bare: false,
        };
        let id = self.message(&mut witness.link, &ask);
        let text = id.map(|id| &*self.sent[&id].1);
        witness.link.send(&encode(&ask, None, text));
        witness.asked.push(Asked {
            ask,
            token: None,
            id,
            answer: None,
        });
        witness.link.read_answers(1);
    }

    /// Whether the server has logged the end of the connection from this address.
    fn has_ended(&self, address: SocketAddr) -> bool {
        let address = address.to_string();
        let ends = [": disconnected ", ": lost "];
        ends.iter()
            .any(|end| self.server.count_log_of(end, &address) > 0)
    }

    /// Checks each connection by itself, then asks the model about all of them.
    fn judge(&mut self, played: &mut [Played]) -> Result<(), String> {
        let late = played
            .iter()
            .filter(|it| it.is_late)
            .map(|it| it.link.number);
        let mut round = Observed {
            late: late.collect(),
            ..Observed::default()
        };
        let mut lives = Vec::new();
        for (i, it) in played.iter_mut().enumerate() {
            lives.push(self.check_messages(i, it, &mut round).map_err(|problem| {
                format!(
                    "client {}, connection {}: {problem}",
                    it.client, it.link.number
                )
            })?);
        }
        let settled = lives.iter().filter_map(|life| match &life.end {
            End::Open(header) => header.clone(),
            _ => None,
        });
        let settled: BTreeSet<Token> = settled.collect();
        // The sessions that each connection has or may have taken over.
        let sessions = played
            .iter()
            .zip(&lives)
            .map(|(Played { link, .. }, life)| {
                let asked = life.asked.iter();
                let asked = asked.filter(|it| matches!(it.ask.body, Body::SetName(_)));
                let wanted = asked.filter_map(|it| it.token.clone());
                wanted
                    .chain(link.token.clone())
                    .collect::<BTreeSet<Token>>()
            });
        let sessions: Vec<_> = sessions.collect();
        let (mut torn, mut late_or_closed) = (BTreeSet::new(), BTreeSet::new());
        for (i, (Played { link, .. }, life)) in played.iter().zip(&lives).enumerate() {
            let is_shared = |other: (usize, &BTreeSet<Token>)| {
                other.0 != i && !other.1.is_disjoint(&sessions[i])
            };
            let is_cut = match life.end {
                End::Open(_) => false,
                // Another connection may have taken it over.
                End::NotRead => sessions.iter().enumerate().any(is_shared),
                End::Gone | End::HalfClosed => {
                    link.was_not_read || round.sent.bytes > ACCEPTED_UNREAD
                }
                End::Closed(_) | End::Reset(_) => true,
            };
            if is_cut {
                let is_reset = matches!(life.end, End::Reset(_));
                if !is_reset || round.late.contains(&link.number) {
                    late_or_closed.extend(sessions[i].iter().cloned());
                }
                torn.extend(sessions[i].iter().cloned());
            }
        }
        for (i, token) in &round.after_off {
            let mut others = sessions.iter().zip(&lives).enumerate();
            // Another connection may have switched it on again.
            let may_be_on = others.any(|(other, (sessions, life))| {
                let mut asked = life.asked.iter();
                other != *i && sessions.contains(token)
                    || asked.any(|it| other != *i && it.token.as_ref() == Some(token))
            });
            if !may_be_on {
                return Err(format!(
                    "client {}, connection {}: presence follows \"Not watching presence\"",
                    played[*i].client, lives[*i].connection
                ));
            }
        }
        self.check_history(&round, &lives, &settled, &torn)?;
        let mut presence = BTreeMap::new();
        for token in settled.difference(&torn) {
            let read_by = |life: &&Life| life.read.iter().any(|(header, _)| header == token);
            let mut lives = lives.iter().filter(read_by);
            let life = lives.next();
            let read = life.map_or(&[][..], |life| &life.read);
            let changes = read.iter().filter_map(|(header, read)| match read {
                Read::Presence(change) if header == token => Some(Arc::clone(change)),
                _ => None,
            });
            let has_missed = read.iter().any(|(_, read)| matches!(read, Read::Missed(_)));
            let may_end_early =
                is_spread() && life.is_none_or(|it| !matches!(it.end, End::Open(_) | End::NotRead));
            if lives.next().is_none() && !has_missed && !may_end_early {
                presence.insert(Arc::clone(token), changes.collect());
            }
        }
        let witness = played.iter().position(|it| it.client == WITNESS);
        let seen = Seen {
            lives,
            received: round.received,
            settled,
            reset: torn.difference(&late_or_closed).cloned().collect(),
            torn,
            late: round.late,
            new: round.new,
            witness: witness.expect("the witness"),
            presence,
            sent: round.sent,
            unanswered: &self.unanswered,
            now: self.now(),
            queue_limit: self.settings.queue,
            linger: self.settings.linger * 1_000,
        };
        self.states = explain(&seen, &self.states)?;
        Ok(())
    }

    /// Checks the messages of one connection in the round.
    fn check_messages(
        &mut self,
        index: usize,
        played: &mut Played,
        round: &mut Observed,
    ) -> Result<Life, String> {
        let Played {
            link,
            client,
            asked,
            end,
            is_late,
        } = played;
        // The messages in front of the response to `Recent-messages`.
        let mut recent: Vec<Message> = Vec::new();
        let mut off_at = None;
        let (mut answered, mut bad_requests, mut last, mut has_last_message) = (0, 0, None, false);
        // The number of responses up to the one that gave it its session. 0 if it had one before.
        let mut named = link.token.is_some().then_some(0);
        let mut read = Vec::new();
        for message in link.inbox.drain(..) {
            if has_last_message {
                return Err(format!("{message:?} follows the last message"));
            }
            let own = || {
                link.token
                    .clone()
                    .ok_or_else(|| format!("{message:?} without a session"))
            };
            if is_incoming(&message, RECENT) {
                recent.push(message);
                continue;
            }
            if is_takeover_notice(&message) {
                // The rest of the response is dropped with the connection.
                recent.clear();
            }
            if !recent.is_empty() && !message.data.ends_with(" recent") {
                return Err(format!("{message:?} is within the response {recent:?}"));
            }
            if is_incoming(&message, PRESENCE) {
                let own = own()?;
                self.tally.presence += 1;
                if let Some(off_at) = off_at {
                    let is_on =
                        |it: &Asked| matches!(it.ask.body, Body::WatchPresence { is_on: true });
                    let executed = asked.len().min(answered + 1);
                    if !asked[off_at..executed].iter().any(is_on) {
                        round.after_off.push((index, own));
                    }
                }
                let change = message.data[PRESENCE.len()..].into();
                read.push((message.header.as_str().into(), Read::Presence(change)));
            } else if is_incoming(&message, MESSAGE) {
                let id = self.delivered(&message, &own()?)?;
                let asked_before = asked[..answered].iter().position(|it| it.id == Some(id));
                if asked_before.is_some_and(|asked| named.is_some_and(|named| named <= asked)) {
                    return Err(format!("{id:?} arrived after its response"));
                }
                let received = round.received.entry(id).or_default();
                received.sender.clone_from(&self.senders[&id]);
                received.by.insert(message.header.as_str().into());
                read.push((message.header.as_str().into(), Read::Delivery(id)));
            } else if let Some(count) = missed(&message) {
                self.tally.missed += count as u64;
                own()?;
                read.push((message.header.as_str().into(), Read::Missed(count as u64)));
            } else if is_takeover_notice(&message) {
                has_last_message = true;
                if token_of(&message.header) != Some(own()?) {
                    return Err(format!("{message:?} has the token of another session"));
                }
            } else {
                let next = asked[answered.min(asked.len())..]
                    .iter()
                    .find_map(|it| it.id);
                let Some(asked) = asked.get_mut(answered) else {
                    return Err(format!("{message:?} has no request"));
                };
                if let Some(count) = history::requested(asked.ask.body)
                    && message.status == "200 OK"
                {
                    let messages = self.check_recent(&recent, &message, round)?;
                    round.windows.push(Window {
                        connection: link.number,
                        token: message.header.as_str().into(),
                        count,
                        messages,
                        sent_before: next.map_or(link.messages, |id| id.1 - 1),
                        is_late: *is_late || *client == WITNESS,
                        is_witness: *client == WITNESS,
                    });
                    recent.clear();
                } else if !recent.is_empty() {
                    return Err(format!("{message:?} follows {recent:?}"));
                }
                let is_off = message.data == "Not watching presence";
                if is_off && link.token.as_deref() == Some(&message.header) {
                    off_at = Some(answered + 1);
                }
                bad_requests = if message.status.starts_with("400") {
                    bad_requests + 1
                } else {
                    0
                };
                if bad_requests == MAX_BAD_REQUESTS {
                    last = Some(answered);
                }
                has_last_message = last.is_some()
                    || message.data == "Goodbye"
                    || message.status.starts_with("418");
                if let (Body::SetName(_), true) =
                    (asked.ask.body, message.data.starts_with("You are "))
                {
                    self.named(link.token.as_ref(), &message, asked, round)?;
                    let token = token_of(&message.header);
                    self.tokens[*client].clone_from(&token);
                    link.token = token;
                    named.get_or_insert(answered + 1);
                }
                asked.answer = Some(message);
                answered += 1;
                self.tally.answers += 1;
            }
        }
        if link.ended == Some(Ended::InAMessage) && !matches!(end, End::Gone) {
            return Err("the connection ended within a message".to_owned());
        }
        self.tally.breaks += usize::from(matches!(end, End::Closed(_) | End::Reset(_)));
        for it in &*asked {
            let Some(id) = it.id else { continue };
            round.sent.bytes += self.sent[&id].1.len() + AROUND_A_TEXT;
            if it.answer.is_none() {
                round.sent.unanswered += 1;
                self.unanswered.insert(id);
            }
            if self.sent[&id].0 == "broadcast" {
                let answer = it.answer.as_ref();
                let delivered = answer.filter(|it| it.data.starts_with("Delivered to "));
                let sender = delivered.map(|it| it.header.as_str().into());
                if answer.is_none() || sender.is_some() {
                    let broadcast = Broadcast {
                        round: self.rounds,
                        sender,
                        is_late: *is_late || *client == WITNESS,
                        max_size: self.sent[&id].1.len() + AROUND_A_TEXT,
                    };
                    self.history.sent(id, broadcast);
                }
            }
        }
        Ok(Life {
            connection: link.number,
            node: node_of(*client),
            asked: std::mem::take(asked),
            last,
            end: end.clone(),
            read,
        })
    }

    /// Returns the id of a delivery. Fails if it was not sent, or was delivered before.
    fn delivered(&mut self, message: &Message, own: &Token) -> Result<Id, String> {
        let words: Vec<&str> = message.data.splitn(4, ' ').collect();
        let [_, scope, sender, text] = words[..] else {
            return wrong("malformed delivery", message);
        };
        let id = self.sent(message, scope, sender, text)?;
        if !self.received.insert((Arc::clone(own), id)) {
            return wrong("delivered twice", message);
        }
        self.tally.deliveries += 1;
        Ok(id)
    }

    /// Returns the id of a received text. Fails if it was not sent so.
    fn sent(
        &mut self,
        message: &Message,
        scope: &str,
        sender: &str,
        text: &str,
    ) -> Result<Id, String> {
        let id = text.split(' ').next().and_then(|id| {
            let (connection, number) = id.split_once('.')?;
            Some((connection.parse().ok()?, number.parse().ok()?))
        });
        let sent = |id: &Id| {
            self.sent
                .get(id)
                .is_some_and(|it| (it.0, &*it.1) == (scope, text))
        };
        let Some(id) = id.filter(sent) else {
            return wrong("no client has sent this", message);
        };
        if self.senders.entry(id).or_insert_with(|| sender.to_owned()) != sender {
            return wrong("other recipients have another sender", message);
        }
        Ok(id)
    }

    /// Checks each message in front of the response to `Recent-messages`. Returns their ids and
    /// the bytes of each.
    fn check_recent(
        &mut self,
        recent: &[Message],
        answer: &Message,
        round: &mut Observed,
    ) -> Result<Vec<(Id, usize)>, String> {
        if answer.data != format!("{} recent", recent.len()) {
            return Err(format!("{answer:?} follows {} messages", recent.len()));
        }
        let mut messages = Vec::new();
        for message in recent {
            let Some(Recent { time, sender, text }) = Recent::parse(message) else {
                return wrong("malformed message", message);
            };
            if message.header != answer.header {
                return wrong("the response has another header", message);
            }
            let id = self.sent(message, "broadcast", sender, text)?;
            self.history.check_time(id, time)?;
            // It was executed, although it may not have arrived anywhere.
            let received = round.received.entry(id).or_default();
            received.sender.clone_from(&self.senders[&id]);
            messages.push((id, history::wire_len(message)));
        }
        self.tally.recent += messages.len();
        Ok(messages)
    }

    fn check_history(
        &mut self,
        round: &Observed,
        lives: &[Life],
        settled: &BTreeSet<Token>,
        torn: &BTreeSet<Token>,
    ) -> Result<(), String> {
        let has_missed = |token: &Token| {
            let mut read = lives.iter().flat_map(|life| &life.read);
            read.any(|(header, read)| header == token && matches!(read, Read::Missed(_)))
        };
        let has_arrived = |token: &Token, id: Id| {
            let is_known = settled.contains(token) && !torn.contains(token) && !has_missed(token);
            let received = round.received.get(&id);
            is_known.then(|| received.is_some_and(|it| it.by.contains(token)))
        };
        self.history.check(self.rounds, &round.windows, has_arrived)
    }

    /// Checks the token of a response to `Set-name`: a new one, or the one in its header.
    fn named(
        &mut self,
        own: Option<&Token>,
        answer: &Message,
        asked: &Asked,
        round: &mut Observed,
    ) -> Result<(), String> {
        let Some(token) = token_of(&answer.header) else {
            return Err(format!("{answer:?} has no token"));
        };
        if own.is_some() {
            return Ok(());
        }
        if asked.token.is_some() {
            self.tally.resumptions += 1;
            return Ok(());
        }
        let is_a_token = token.len() == 32
            && token
                .bytes()
                .all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if !is_a_token || !self.known_tokens.insert(Arc::clone(&token)) {
            return Err(format!("{answer:?} has a used token or a malformed one"));
        }
        round.new.insert(token);
        Ok(())
    }
}

/// The observations of a round, of all connections.
#[derive(Default)]
struct Observed {
    received: BTreeMap<Id, Received>,
    sent: Sent,
    /// The sessions that began in the round.
    new: BTreeSet<Token>,
    /// The connections with a late move.
    late: BTreeSet<Connection>,
    /// The responses to `Recent-messages`.
    windows: Vec<Window>,
    /// Presence that followed the response `Not watching presence`: the index of the connection,
    /// and its session.
    after_off: Vec<(usize, Token)>,
}

fn wrong<T>(why: &str, message: &Message) -> Result<T, String> {
    let shown: String = format!("{message:?}").chars().take(200).collect();
    Err(format!("{why}: {shown}"))
}

impl Act<'_> {
    /// Sends the requests, and reads and ends as the move says.
    fn make(self, begun: Instant) -> Played {
        let Act {
            mut link,
            client,
            asked,
            bytes,
            what,
        } = self;
        let (first, rest) = bytes.split_at(what.first.min(bytes.len()));
        for part in [first, rest].into_iter().filter(|part| !part.is_empty()) {
            link.send(part);
        }
        match what.then {
            Then::StopReading => {}
            Then::Stay => link.read_answers(asked.len()),
            Then::HalfClose => {
                link.send(b"\n\nPing unfini");
                link.half_close();
                link.read_until(|_| false);
            }
            Then::Close(count) | Then::Reset(count) => link.read_answers(count.min(asked.len())),
        }
        let now = u64::try_from(begun.elapsed().as_millis()).expect("milliseconds");
        let end = match what.then {
            Then::HalfClose => End::HalfClosed,
            _ if link.ended.is_some() => End::Gone,
            Then::Stay | Then::StopReading => End::NotRead,
            Then::Close(_) => {
                drop(link.take_client());
                End::Closed(now)
            }
            Then::Reset(_) => {
                link.send(b"\n\nPing unfini");
                if let Some(client) = link.take_client() {
                    client.reset();
                }
                End::Reset(now)
            }
        };
        Played {
            link,
            client,
            asked,
            end,
            is_late: what.is_late,
        }
    }
}

/// Encodes a request, or a bad status line.
fn encode(ask: &Ask, token: Option<&str>, text: Option<&str>) -> Vec<u8> {
    let end = if ask.bare { "\n" } else { "\r\n" };
    let header = match ask.header {
        Header::Empty => "",
        Header::TokenOf(_) => token.unwrap_or_default(),
        Header::Unknown => "00000000000000000000000000000000",
        Header::NotAToken => "token",
    };
    let text = text.unwrap_or_default();
    let body = match ask.body {
        Body::SetName(name) => format!("Set-name {name}").into_bytes(),
        Body::Private { to, .. } => format!("Private-message {to} {text}").into_bytes(),
        Body::Broadcast { .. } => format!("Broadcast-message {text}").into_bytes(),
        Body::ListNames { prefix: "" } => b"List-names".to_vec(),
        Body::ListNames { prefix } => format!("List-names {prefix}").into_bytes(),
        Body::WatchPresence { is_on: true } => b"Watch-presence on".to_vec(),
        Body::WatchPresence { is_on: false } => b"Watch-presence off".to_vec(),
        Body::RecentMessages { count: None } => b"Recent-messages".to_vec(),
        Body::RecentMessages { count: Some(count) } => {
            format!("Recent-messages {count}").into_bytes()
        }
        Body::Ping => b"Ping".to_vec(),
        Body::Quit => b"Quit".to_vec(),
        Body::Wrong(wrong) | Body::BadStatusLine(wrong) => {
            let mut bytes = wrong.bytes.to_vec();
            bytes.resize(bytes.len() + wrong.more, b'x');
            bytes
        }
    };
    let before = match ask.body {
        Body::BadStatusLine(_) => String::new(),
        _ => format!("{end}{header}{end}"),
    };
    [before.as_bytes(), &body, end.as_bytes()].concat()
}
