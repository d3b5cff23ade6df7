//! A case, whichever it is, and the standard ones.

use std::time::Duration;

use super::engine::{Engine, Failure};
use super::fanout::{Fanout, Pace};
use super::idle::{FEWEST, IdleCase};
use super::metrics::Metric;
use super::ping::Ping;
use super::process::Process;

/// How many clients a `fanout` or a `hold` has, where nothing else is event.
pub(crate) const CLIENTS: usize = 100;

/// How many messages a `fanout` or a `ping` sends in all, where nothing else is event.
pub(crate) const MESSAGES: u64 = 1_000;

/// Bytes of a text, where nothing else is event.
pub(crate) const TEXT: usize = 100;

/// How long the clients of a `hold` stay, where nothing else is event.
pub(crate) const STAY: Duration = Duration::from_secs(3);

/// One load.
#[derive(Clone, Debug)]
pub(crate) enum Case {
    Fanout(Fanout),
    Ping(Ping),
    IdleCase(IdleCase),
}

impl Case {
    /// Of which kind it is; those of a kind have the same figures.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Case::Fanout(_) => "fanout",
            Case::Ping(_) => "ping",
            Case::IdleCase(_) => "hold",
        }
    }

    /// Its name, which says all but how many messages there are and how long they are.
    pub(crate) fn name(&self) -> String {
        let kind = self.kind();
        match self {
            Case::Fanout(Fanout {
                clients,
                senders,
                pace,
                ..
            }) => match pace {
                Pace::InFlight(window) => format!("{kind}-{clients}-{senders}-{window}"),
                Pace::Deliveries(window) => {
                    format!("{kind}-{clients}-{senders}-{window}-deliveries")
                }
                Pace::PerSecond(rate) => format!("{kind}-{clients}-{senders}-at-{rate}"),
            },
            Case::Ping(ping) => format!("{kind}-{}", ping.pairs),
            Case::IdleCase(hold) => format!("{kind}-{}", hold.clients),
        }
    }

    /// Returns how a `fanout` decides that the next broadcast goes out.
    pub(crate) fn pacing(&self) -> Option<&'static str> {
        match self {
            Case::Fanout(fanout) => Some(match fanout.pace {
                Pace::InFlight(_) => "broadcasts",
                Pace::Deliveries(_) => "deliveries",
                Pace::PerSecond(_) => "rate",
            }),
            Case::Ping(_) | Case::IdleCase(_) => None,
        }
    }

    /// How many connections it has.
    pub(crate) fn clients(&self) -> usize {
        match self {
            Case::Fanout(fanout) => fanout.clients,
            Case::Ping(ping) => 2 * ping.pairs,
            Case::IdleCase(hold) => hold.clients,
        }
    }

    /// The same with a fraction of the messages, to see that it works: the figures of so
    /// few mean little.
    pub(crate) fn quick(mut self) -> Case {
        const FRACTION: u64 = 20;
        match &mut self {
            Case::Fanout(fanout) => fanout.broadcasts = fanout.broadcasts.div_ceil(FRACTION),
            Case::Ping(ping) => ping.messages = ping.messages.div_ceil(FRACTION),
            Case::IdleCase(hold) => hold.stay = hold.stay.min(Duration::from_secs(1)),
        }
        self
    }

    /// Runs it.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Process>,
    ) -> Result<Vec<Metric>, Failure> {
        match self {
            Case::Fanout(fanout) => fanout.run(engine, process),
            Case::Ping(ping) => ping.run(engine, process),
            Case::IdleCase(hold) => hold.run(engine, process),
        }
    }

    /// What makes it impossible, if anything does.
    pub(crate) fn validate(&self) -> Option<String> {
        match self {
            Case::Fanout(fanout) => match fanout.pace {
                _ if fanout.clients < 2 => Some("a fanout needs two clients".to_owned()),
                _ if !(1..=fanout.clients).contains(&fanout.senders) => {
                    Some("the senders are some of the clients".to_owned())
                }
                Pace::InFlight(window) if window < fanout.senders => {
                    Some("each sender needs one message in flight".to_owned())
                }
                Pace::Deliveries(0) => Some("a fanout needs one broadcast in flight".to_owned()),
                Pace::PerSecond(rate) if rate.is_nan() || rate <= 0.0 => {
                    Some("a rate is above 0".to_owned())
                }
                _ => None,
            },
            Case::Ping(ping) => (ping.pairs == 0).then(|| "a ping needs a pair".to_owned()),
            Case::IdleCase(hold) => {
                (hold.clients < FEWEST).then(|| format!("a hold needs {FEWEST} clients"))
            }
        }
    }
}

/// The cases that are compared: of each kind the ones that differ in what they cost a
/// server, and one fanout over the number of clients. Each has so many messages that it
/// takes some seconds, because less is noise. Fanouts of both closed loops are here, because
/// each of them favours another server.
pub(crate) fn standard() -> Vec<Case> {
    let paced = |clients, senders, pace, broadcasts| {
        Case::Fanout(Fanout {
            clients,
            senders,
            broadcasts,
            pace,
            text: TEXT,
        })
    };
    let fanout = |clients, senders, window, broadcasts| {
        paced(clients, senders, Pace::InFlight(window), broadcasts)
    };
    let by_deliveries = |clients, senders, window, broadcasts| {
        paced(clients, senders, Pace::Deliveries(window), broadcasts)
    };
    let ping = |pairs, messages| {
        Case::Ping(Ping {
            pairs,
            messages,
            text: TEXT,
        })
    };
    vec![
        fanout(100, 1, 1, 8_000),
        fanout(100, 1, 32, 60_000),
        fanout(100, 4, 4, 8_000),
        fanout(10, 1, 8, 100_000),
        fanout(100, 1, 8, 20_000),
        fanout(300, 1, 8, 6_000),
        fanout(1_000, 1, 8, 2_000),
        fanout(2_000, 1, 8, 600),
        fanout(4_000, 1, 8, 300),
        by_deliveries(100, 1, 1, 8_000),
        by_deliveries(100, 1, 32, 60_000),
        by_deliveries(100, 4, 4, 8_000),
        by_deliveries(10, 1, 8, 100_000),
        by_deliveries(100, 1, 8, 20_000),
        by_deliveries(1_000, 1, 8, 2_000),
        by_deliveries(4_000, 1, 8, 300),
        ping(1, 40_000),
        ping(50, 200_000),
        Case::IdleCase(IdleCase {
            clients: 8_000,
            stay: STAY,
        }),
    ]
}
