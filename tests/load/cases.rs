//! The cases of the load generator, and the standard cases.

use std::time::Duration;

use super::engine::{Engine, Failure};
use super::fanout::{Fanout, Pace};
use super::idle::{FEWEST, IdleCase};
use super::login::LoginCase;
use super::metrics::Metric;
use super::ping::Ping;
use super::process::Measured;

/// The default number of clients of `fanout` and `hold`.
pub(crate) const CLIENTS: usize = 100;

/// The default number of messages of `fanout` and `ping`.
pub(crate) const MESSAGES: u64 = 1_000;

/// The default size of a text, in bytes.
pub(crate) const TEXT: usize = 100;

/// How long the clients of `hold` stay by default.
pub(crate) const STAY: Duration = Duration::from_secs(3);

/// A case: one kind of load with its parameters.
#[derive(Clone, Debug)]
pub(crate) enum Case {
    Fanout(Fanout),
    Ping(Ping),
    IdleCase(IdleCase),
    Login(LoginCase),
}

impl Case {
    /// Returns its kind. All cases of a kind have the same metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Case::Fanout(_) => "fanout",
            Case::Ping(_) => "ping",
            Case::IdleCase(_) => "hold",
            Case::Login(_) => "login",
        }
    }

    /// Returns its name, with all parameters except the number and the size of messages.
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
            Case::Login(LoginCase { clients, watchers }) => format!("{kind}-{clients}-{watchers}"),
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
            Case::Ping(_) | Case::IdleCase(_) | Case::Login(_) => None,
        }
    }

    /// Returns the number of its connections.
    pub(crate) fn clients(&self) -> usize {
        match self {
            Case::Fanout(fanout) => fanout.clients,
            Case::Ping(ping) => 2 * ping.pairs,
            Case::IdleCase(hold) => hold.clients,
            Case::Login(login) => login.watchers + login.clients,
        }
    }

    /// Returns the case with a fraction of the messages, for a trial run. Its metrics mean
    /// little.
    pub(crate) fn quick(mut self) -> Case {
        const FRACTION: u64 = 20;
        match &mut self {
            Case::Fanout(fanout) => fanout.broadcasts = fanout.broadcasts.div_ceil(FRACTION),
            Case::Ping(ping) => ping.messages = ping.messages.div_ceil(FRACTION),
            Case::IdleCase(hold) => hold.stay = hold.stay.min(Duration::from_secs(1)),
            Case::Login(login) => login.clients = login.clients.div_ceil(FRACTION as usize),
        }
        self
    }

    /// Runs the case.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Measured>,
    ) -> Result<Vec<Metric>, Failure> {
        match self {
            Case::Fanout(fanout) => fanout.run(engine, process),
            Case::Ping(ping) => ping.run(engine, process),
            Case::IdleCase(hold) => hold.run(engine, process),
            Case::Login(login) => login.run(engine, process),
        }
    }

    /// Returns the problem with its parameters, if there is one.
    pub(crate) fn validate(&self) -> Option<String> {
        match self {
            Case::Fanout(fanout) => match fanout.pace {
                _ if fanout.clients < 2 => {
                    Some("--clients: expected at least 2 for a fanout".to_owned())
                }
                _ if !(1..=fanout.clients).contains(&fanout.senders) => {
                    Some("--senders: expected at least 1, and at most --clients".to_owned())
                }
                Pace::InFlight(window) if window < fanout.senders => {
                    Some("--in-flight: expected at least --senders".to_owned())
                }
                Pace::Deliveries(0) => Some("--in-flight: expected at least 1".to_owned()),
                Pace::PerSecond(rate) if rate.is_nan() || rate <= 0.0 => {
                    Some("--rate: expected a number above 0".to_owned())
                }
                _ => None,
            },
            Case::Ping(ping) => {
                (ping.pairs == 0).then(|| "--pairs: expected at least 1".to_owned())
            }
            Case::Login(login) => (login.clients == 0)
                .then(|| "--clients: expected at least 1 for a login".to_owned()),
            Case::IdleCase(hold) => (hold.clients < FEWEST)
                .then(|| format!("--clients: expected at least {FEWEST} for a hold")),
        }
    }
}

/// Returns the standard cases, which compare servers.
///
/// Each kind has cases with different costs for a server, and one fanout has several numbers
/// of clients. Each case runs for some seconds, because shorter runs are noise. Fanouts of both
/// closed loops are included, because each of them favours another server.
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
