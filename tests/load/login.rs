//! The case `login`: many clients log in while others watch presence (CP only).

use std::time::Instant;

use super::engine::{Engine, Failure, Load, Wire};
use super::idle::{Act, Each};
use super::metrics::{Meter, Metric, figure, known};
use super::process::Measured;
use super::protocol::ServerEvent;
use super::ramp_up::{Logins, log_in};

/// The parameters of the case.
#[derive(Clone, Debug)]
pub(crate) struct LoginCase {
    /// The number of clients that log in during the measurement.
    pub(crate) clients: usize,
    /// The number of clients that watch them.
    pub(crate) watchers: usize,
}

impl LoginCase {
    /// Runs the case.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Measured>,
    ) -> Result<Vec<Metric>, Failure> {
        log_in(engine, self.watchers, engine.settings.logins_at_once)?;
        engine.run(&mut Each::new(engine, Act::Watch))?;

        let all = self.watchers + self.clients;
        let mut storm = Storm {
            logins: Logins::new(engine, all, engine.settings.logins_at_once),
            told: 0,
            expected: (self.watchers * self.clients) as u64,
        };
        let meter = Meter::start(process, &engine.wire)?;
        engine.run(&mut storm)?;
        let spent = meter.stop(&engine.wire)?;

        let seconds = spent.time.as_secs_f64();
        let cpu = spent.cpu.map(|cpu| 1e6 * cpu.as_secs_f64());
        Ok([
            known("watchers", "", self.watchers as f64),
            known("logins_per_s", "logins/s", self.clients as f64 / seconds),
            known("told_per_s", "told/s", storm.told as f64 / seconds),
            figure(
                "cpu_per_login_us",
                "CPU µs/login",
                cpu.map(|cpu| cpu / self.clients as f64),
            ),
        ]
        .into_iter()
        .chain(storm.logins.latencies.figures())
        .chain(spent.counters_per(self.clients as f64))
        .collect())
    }
}

/// A load in which clients log in, and all watchers are told of each.
struct Storm {
    logins: Logins,
    told: u64,
    expected: u64,
}

impl Load for Storm {
    fn send_due(&mut self, now: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure> {
        self.logins.send_due(now, wire)
    }

    fn on_event(
        &mut self,
        client: usize,
        event: &ServerEvent<'_>,
        now: Instant,
    ) -> Result<(), Failure> {
        if let ServerEvent::Presence = event {
            self.told += 1;
            return Ok(());
        }
        self.logins.on_event(client, event, now)
    }

    fn is_done(&self) -> bool {
        self.logins.is_done() && self.told == self.expected
    }

    fn missing(&self) -> String {
        let missing = self.expected - self.told;
        format!("{}; {missing} presence deliveries", self.logins.missing())
    }

    fn progress(&self) -> (u64, u64) {
        self.logins.progress()
    }
}
