//! The case `ping`: pairs of clients send a private message back and forth.

use std::time::{Duration, Instant};

use super::engine::{Engine, Failure, Load, Wire};
use super::message::{Ledger, Texts, name};
use super::metrics::{self, Latencies, Meter, Metric};
use super::process::Measured;
use super::protocol::{Protocol, ServerEvent};
use super::ramp_up::{log_in, unexpected};

/// The parameters of the case.
#[derive(Clone, Debug)]
pub(crate) struct Ping {
    pub(crate) pairs: usize,
    /// The number of measured messages of all pairs, in both directions. The warm-up precedes
    /// them.
    pub(crate) messages: u64,
    /// The size of a text, in bytes.
    pub(crate) text: usize,
}

/// The warm-up has one message for this many measured ones.
const WARM_UP: u64 = 20;

impl Ping {
    /// Runs the case. Its latencies are of round trips.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Measured>,
    ) -> Result<Vec<Metric>, Failure> {
        let clients = 2 * self.pairs;
        let empty = metrics::size(process)?;
        log_in(engine, clients, engine.settings.logins_at_once)?;
        let max_duration = engine.settings.max_duration;
        let mut bouncing = Bouncing::new(self, engine.wire.protocol());
        engine.drain_until_quiet(&mut bouncing)?;
        let full = metrics::size(process)?;

        bouncing.begin(
            self.messages.div_ceil(WARM_UP),
            max_duration.map(|it| it / WARM_UP as u32),
        );
        engine.run(&mut bouncing)?;
        engine.drain_until_quiet(&mut bouncing)?;

        let meter = Meter::start(process, &engine.wire)?;
        bouncing.begin(self.messages, max_duration);
        engine.run(&mut bouncing)?;
        let spent = meter.stop(&engine.wire)?;
        engine.drain_until_quiet(&mut bouncing)?;

        let mut figures = metrics::traffic(bouncing.count, &bouncing.latencies, &spent);
        figures.extend(metrics::per_client(empty, full, clients));
        Ok(figures)
    }
}

struct Bouncing {
    texts: Texts,
    /// The messages of the other player. Each recipient has one sender.
    ledger: Ledger,
    /// The echoes of each player's own messages, if the server sends them.
    echoes: Ledger,
    players: Vec<Player>,
    is_answered: bool,
    is_echoed: bool,
    round_trips: Vec<Instant>,
    latencies: Latencies,
    /// The players that send next.
    turns: Vec<usize>,
    /// The numbers of messages of this run: planned, sent, arrived and answered.
    count: u64,
    sent: u64,
    arrived: u64,
    answered: u64,
    /// The time after which this run sends no further message.
    deadline: Option<Instant>,
}

struct Player {
    name: String,
    /// The number of its next message.
    next: u32,
}

/// Returns the other player of the pair.
fn other(player: usize) -> usize {
    player ^ 1
}

/// Whether a player sends the first message of its pair.
fn begins(player: usize) -> bool {
    player.is_multiple_of(2)
}

impl Bouncing {
    fn new(case: &Ping, protocol: Protocol) -> Bouncing {
        let players = (0..2 * case.pairs).map(|client| Player {
            name: name(client),
            next: 0,
        });
        Bouncing {
            texts: Texts::new(case.text),
            ledger: Ledger::new(2 * case.pairs, 1),
            echoes: Ledger::new(2 * case.pairs, 1),
            players: players.collect(),
            is_answered: protocol.answers(),
            is_echoed: protocol == Protocol::IrcEcho,
            round_trips: vec![Instant::now(); case.pairs],
            latencies: Latencies::new(),
            turns: Vec::new(),
            count: 0,
            sent: 0,
            arrived: 0,
            answered: 0,
            deadline: None,
        }
    }

    /// Begins a run of this many messages of all pairs, or of fewer if they take longer than
    /// `max_duration`.
    fn begin(&mut self, count: u64, max_duration: Option<Duration>) {
        self.latencies.clear();
        self.deadline = max_duration.map(|it| Instant::now() + it);
        self.turns.clear();
        self.turns
            .extend((0..self.players.len()).filter(|&player| begins(player)));
        (self.count, self.sent, self.arrived, self.answered) = (count, 0, 0, 0);
    }

    fn send(&mut self, player: usize, now: Instant, wire: &mut Wire) {
        if begins(player) {
            self.round_trips[player / 2] = now;
        }
        let number = self.players[player].next;
        wire.say(player, |protocol, out| {
            protocol.begin_private(&self.players[other(player)].name, out);
            self.texts.write(player, number, out);
            protocol.end(out);
        });
        self.players[player].next += 1;
        self.sent += 1;
    }

    fn arrive(
        &mut self,
        player: usize,
        sender: &[u8],
        text: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        let number = match self.texts.read(sender, text) {
            Some((sender, number)) if sender == other(player) => number,
            Some((sender, number)) if self.is_echoed && sender == player => {
                return self.enter_echo(player, number);
            }
            _ => return Err(unexpected(player, &ServerEvent::Message { sender, text })),
        };
        self.ledger.enter(player, 0, number).map_err(|disorder| {
            let sender = other(player);
            Failure(format!("client {player} gets client {sender}'s {disorder}"))
        })?;
        self.arrived += 1;
        if begins(player) {
            let began = self.round_trips[player / 2];
            self.latencies.record(now.saturating_duration_since(began));
        }
        self.turns.push(player);
        Ok(())
    }

    /// Enters the echo of a player's own message, which is IRC's response to it.
    fn enter_echo(&mut self, player: usize, number: u32) -> Result<(), Failure> {
        if number >= self.players[player].next {
            return Err(Failure(format!(
                "client {player} gets the echo of message {number} before it was sent"
            )));
        }
        self.echoes.enter(player, 0, number).map_err(|disorder| {
            Failure(format!("client {player} gets the echo of its {disorder}"))
        })?;
        self.answered += 1;
        Ok(())
    }
}

impl Load for Bouncing {
    fn send_due(&mut self, now: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            // At least one, because metrics are divided by the count.
            self.count = self.sent.max(1);
        }
        while self.sent < self.count
            && let Some(player) = self.turns.pop()
        {
            self.send(player, now, wire);
        }
        Ok(None)
    }

    fn on_event(
        &mut self,
        client: usize,
        event: &ServerEvent<'_>,
        now: Instant,
    ) -> Result<(), Failure> {
        match *event {
            ServerEvent::Message { sender, text } => self.arrive(client, sender, text, now),
            ServerEvent::Sent { to }
                if self.answered < self.sent
                    && to == self.players[other(client)].name.as_bytes() =>
            {
                self.answered += 1;
                Ok(())
            }
            ServerEvent::Aside => Ok(()),
            _ => Err(unexpected(client, event)),
        }
    }

    fn is_done(&self) -> bool {
        self.arrived == self.count && (self.answered == self.count || !self.is_answered)
    }

    fn missing(&self) -> String {
        let mut missing = (0..self.players.len()).filter_map(|player| {
            let (due, next) = (self.ledger.due(player, 0), self.players[other(player)].next);
            (due < next).then_some((player, due))
        });
        match missing.next() {
            Some((player, due)) => format!(
                "{} messages are missing, the first of them client {}'s message {due} at client \
                 {player}",
                1 + missing.count(),
                other(player)
            ),
            None => "answers to messages are missing".to_owned(),
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.arrived, self.count)
    }
}
