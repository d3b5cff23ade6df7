//! The case `fanout`: many hear what a few say.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::engine::{Engine, Failure, Load, Wire};
use super::message::{Ledger, Texts};
use super::metrics::{self, Latencies, Meter, Metric};
use super::process::Process;
use super::protocol::ServerEvent;
use super::ramp_up::{ramp_up, unexpected};

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Fanout {
    /// Everyone, the senders among them; each broadcast is for all but its sender.
    pub(crate) clients: usize,
    pub(crate) senders: usize,
    /// How many broadcasts are counted; some go before them that are not.
    pub(crate) broadcasts: u64,
    pub(crate) pace: Pace,
    /// Bytes of a text.
    pub(crate) text: usize,
}

/// When the next broadcast goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As soon as fewer than this many are in flight, dealt out to the senders: a closed
    /// loop. A broadcast is in flight until the last recipient has it.
    InFlight(usize),
    /// From the next sender in turn, while fewer deliveries are in flight than this many
    /// broadcasts have: a closed loop that does not wait for the last recipient. It keeps
    /// the server busy while a slow recipient is behind, and so shows the queueing that
    /// [`Pace::InFlight`] hides.
    Deliveries(usize),
    /// This many a second by the clock, whether the server keeps up or not: an open loop.
    /// Latencies count from when a broadcast was to go out, so that a server that stalls
    /// does not hide what it delays.
    PerSecond(f64),
}

/// One in this many broadcasts goes before the counted ones, to warm up.
const WARM_UP: u64 = 20;

impl Fanout {
    /// Runs the case.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Process>,
    ) -> Result<Vec<Metric>, Failure> {
        let empty = metrics::size(process)?;
        ramp_up(engine, self.clients)?;
        let full = metrics::size(process)?;
        let mut broadcasting = Broadcasting::new(self, engine.wire.protocol().answers());

        let max_duration = engine.settings.max_duration;
        broadcasting.begin(
            self.broadcasts.div_ceil(WARM_UP),
            max_duration.map(|it| it / WARM_UP as u32),
        );
        engine.run(&mut broadcasting)?;
        engine.drain_until_quiet(&mut broadcasting)?;

        let meter = Meter::start(process, &engine.wire)?;
        broadcasting.begin(self.broadcasts, max_duration);
        engine.run(&mut broadcasting)?;
        let spent = meter.stop(&engine.wire)?;
        engine.drain_until_quiet(&mut broadcasting)?;

        let deliveries = broadcasting.count * (self.clients as u64 - 1);
        let mut figures = metrics::traffic(deliveries, &broadcasting.latencies, &spent);
        figures.extend(metrics::per_client(empty, full, self.clients));
        Ok(figures)
    }
}

struct Broadcasting {
    clients: usize,
    pace: Pace,
    texts: Texts,
    ledger: Ledger,
    senders: Vec<Sender>,
    /// What the answer to a broadcast names: the number of its recipients.
    recipients: Vec<u8>,
    is_answered: bool,
    latencies: Latencies,
    /// Of this run: when it began, and how many broadcasts it has, has sent, has seen
    /// arrive everywhere.
    began: Instant,
    count: u64,
    sent: u64,
    arrived: u64,
    /// The deliveries of this run that have arrived.
    delivered: u64,
    /// The time after which this run sends no further broadcast.
    deadline: Option<Instant>,
}

/// One of the senders, who are the first of the clients.
struct Sender {
    /// How many it may have in flight.
    window: usize,
    /// The number of its next broadcast.
    next: u32,
    /// Its broadcasts that have not arrived everywhere, the earliest first.
    in_flight: VecDeque<InFlight>,
    /// How many answers it still waits for.
    unanswered: u64,
}

struct InFlight {
    since: Instant,
    /// How many recipients do not have it.
    waiting: usize,
}

impl Broadcasting {
    fn new(case: &Fanout, is_answered: bool) -> Broadcasting {
        let windows = (0..case.senders).map(|sender| match case.pace {
            Pace::InFlight(all) => all / case.senders + usize::from(sender < all % case.senders),
            Pace::Deliveries(_) | Pace::PerSecond(_) => usize::MAX,
        });
        let senders = windows.map(|window| Sender {
            window,
            next: 0,
            in_flight: VecDeque::new(),
            unanswered: 0,
        });
        Broadcasting {
            clients: case.clients,
            pace: case.pace,
            texts: Texts::new(case.text),
            ledger: Ledger::new(case.clients, case.senders),
            senders: senders.collect(),
            recipients: (case.clients - 1).to_string().into_bytes(),
            is_answered,
            latencies: Latencies::new(),
            began: Instant::now(),
            count: 0,
            sent: 0,
            arrived: 0,
            delivered: 0,
            deadline: None,
        }
    }

    /// This many broadcasts from now on, or fewer if they take longer than `max_duration`.
    fn begin(&mut self, count: u64, max_duration: Option<Duration>) {
        self.latencies.clear();
        self.began = Instant::now();
        self.deadline = max_duration.map(|it| self.began + it);
        (self.count, self.sent, self.arrived, self.delivered) = (count, 0, 0, 0);
    }

    /// Returns the deliveries of this run that have been sent and have not arrived.
    fn deliveries_in_flight(&self) -> u64 {
        self.sent * (self.clients as u64 - 1) - self.delivered
    }

    fn send(&mut self, sender: usize, since: Instant, wire: &mut Wire) {
        let Sender {
            next,
            in_flight,
            unanswered,
            ..
        } = &mut self.senders[sender];
        wire.say(sender, |protocol, out| {
            protocol.begin_broadcast(out);
            self.texts.write(sender, *next, out);
            protocol.end(out);
        });
        *next += 1;
        *unanswered += u64::from(self.is_answered);
        in_flight.push_back(InFlight {
            since,
            waiting: self.clients - 1,
        });
        self.sent += 1;
    }

    fn arrive(
        &mut self,
        recipient: usize,
        sender: &[u8],
        text: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        let read = self.texts.read(sender, text);
        let known = read.filter(|&(sender, _)| sender < self.senders.len() && sender != recipient);
        let Some((sender, number)) = known else {
            return Err(unexpected(
                recipient,
                &ServerEvent::Message { sender, text },
            ));
        };
        self.ledger
            .enter(recipient, sender, number)
            .map_err(|disorder| {
                Failure(format!(
                    "client {recipient} gets client {sender}'s {disorder}"
                ))
            })?;
        let Sender {
            next, in_flight, ..
        } = &mut self.senders[sender];
        // What is in flight are the last numbers before the next one.
        let place = (in_flight.len() + number as usize).checked_sub(*next as usize);
        let Some(message) = place.and_then(|place| in_flight.get_mut(place)) else {
            return Err(Failure(format!(
                "client {recipient} gets client {sender}'s message {number} before it was sent"
            )));
        };
        message.waiting -= 1;
        self.delivered += 1;
        self.latencies
            .record(now.saturating_duration_since(message.since));
        // Each recipient has them in order, so they arrive everywhere in order.
        if message.waiting == 0 {
            in_flight.pop_front();
            self.arrived += 1;
        }
        Ok(())
    }
}

impl Load for Broadcasting {
    fn send_due(&mut self, now: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure> {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            // At least one, because the figures are divided by it.
            self.count = self.sent.max(1);
        }
        if let Pace::Deliveries(window) = self.pace {
            let full = window as u64 * (self.clients as u64 - 1);
            while self.sent < self.count && self.deliveries_in_flight() < full {
                let sender = self.sent as usize % self.senders.len();
                self.send(sender, now, wire);
            }
            return Ok(None);
        }
        if let Pace::PerSecond(rate) = self.pace {
            while self.sent < self.count {
                let due = self.began + Duration::from_secs_f64(self.sent as f64 / rate);
                if due > now {
                    return Ok(Some(due));
                }
                let sender = self.sent as usize % self.senders.len();
                self.send(sender, due, wire);
            }
            return Ok(None);
        }
        for sender in 0..self.senders.len() {
            while self.sent < self.count
                && self.senders[sender].in_flight.len() < self.senders[sender].window
            {
                self.send(sender, now, wire);
            }
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
            ServerEvent::Sent { to } if to == self.recipients => {
                let sender = self.senders.get_mut(client);
                match sender.map(|sender| &mut sender.unanswered) {
                    Some(unanswered) if *unanswered > 0 => *unanswered -= 1,
                    _ => return Err(unexpected(client, event)),
                }
                Ok(())
            }
            ServerEvent::Sent { to } => Err(Failure(format!(
                "client {client}: a broadcast was queued for {} and not for {}",
                to.escape_ascii(),
                self.recipients.escape_ascii()
            ))),
            ServerEvent::Aside => Ok(()),
            _ => Err(unexpected(client, event)),
        }
    }

    fn is_done(&self) -> bool {
        self.arrived == self.count && self.senders.iter().all(|sender| sender.unanswered == 0)
    }

    fn missing(&self) -> String {
        let mut missing = 0;
        let mut first = None;
        for (sender, Sender { next, .. }) in self.senders.iter().enumerate() {
            for recipient in (0..self.clients).filter(|&recipient| recipient != sender) {
                let due = self.ledger.due(recipient, sender);
                if due < *next {
                    missing += u64::from(*next - due);
                    first.get_or_insert((recipient, sender, due));
                }
            }
        }
        match first {
            Some((recipient, sender, due)) => format!(
                "{missing} deliveries are missing, the first of them client {sender}'s message \
                 {due} at client {recipient}"
            ),
            None => "answers to broadcasts are missing".to_owned(),
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.arrived, self.count)
    }
}
