//! The case `fanout`: a few senders broadcast to many clients.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::engine::{Engine, Failure, Load, Wire};
use super::message::{Ledger, Texts};
use super::metrics::{self, Latencies, Meter, Metric};
use super::process::Measured;
use super::protocol::ServerEvent;
use super::ramp_up::{ramp_up, unexpected};

/// The parameters of the case.
#[derive(Clone, Debug)]
pub(crate) struct Fanout {
    /// All clients, senders included. Each broadcast is for all except its sender.
    pub(crate) clients: usize,
    pub(crate) senders: usize,
    /// The number of measured broadcasts. The warm-up precedes them.
    pub(crate) broadcasts: u64,
    pub(crate) pace: Pace,
    /// The size of a text, in bytes.
    pub(crate) text: usize,
}

/// The rule for when the next broadcast is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When fewer than this many broadcasts are in flight: a closed loop. The window is divided
    /// among the senders. A broadcast is in flight until its last recipient has it.
    InFlight(usize),
    /// While fewer deliveries are in flight than this many broadcasts have: a closed loop that
    /// does not wait for the last recipient. The senders take turns. It keeps the server busy
    /// while a slow recipient has a backlog, and so shows the queueing that [`Pace::InFlight`]
    /// hides.
    Deliveries(usize),
    /// This many per second, even if the server is slower: an open loop. Latencies count from
    /// the time at which a broadcast was due. So a server that stalls does not hide the delay.
    PerSecond(f64),
}

/// The warm-up has one broadcast for this many measured ones.
const WARM_UP: u64 = 20;

impl Fanout {
    /// Runs the case.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Measured>,
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
    /// The number of recipients, as the response to a broadcast has it.
    recipients: Vec<u8>,
    is_answered: bool,
    latencies: Latencies,
    /// The begin of this run. Then its numbers of broadcasts: planned, sent, and arrived at all
    /// recipients.
    began: Instant,
    count: u64,
    sent: u64,
    arrived: u64,
    /// The number of arrived deliveries of this run.
    delivered: u64,
    /// The time after which this run sends no further broadcast.
    deadline: Option<Instant>,
}

/// A sender. The first clients are the senders.
struct Sender {
    /// The maximum number of its broadcasts in flight.
    window: usize,
    /// The number of its next broadcast.
    next: u32,
    /// Its broadcasts in flight, the earliest first.
    in_flight: VecDeque<InFlight>,
    /// The number of its missing responses.
    unanswered: u64,
}

struct InFlight {
    since: Instant,
    /// The number of recipients that do not have it yet.
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

    /// Begins a run of this many broadcasts, or of fewer if they take longer than
    /// `max_duration`.
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
        // The broadcasts in flight have the last numbers before `next`.
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
        // Each recipient gets them in order. So the first one in flight is complete first.
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
            // At least one, because metrics are divided by the count.
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
