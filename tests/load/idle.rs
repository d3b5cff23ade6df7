//! The case `hold`: many clients log in, stay idle and disconnect.

use std::thread;
use std::time::{Duration, Instant};

use super::engine::{Engine, Failure, Load, Wire};
use super::metrics::{self, Meter, Metric, figure, known};
use super::process::Measured;
use super::protocol::ServerEvent;
use super::ramp_up::{log_in, unexpected};

/// The parameters of the case.
#[derive(Clone, Debug)]
pub(crate) struct IdleCase {
    /// At least [`FEWEST`].
    pub(crate) clients: usize,
    /// How long the clients stay.
    pub(crate) stay: Duration,
}

/// The minimum number of clients: a few early logins, a few in between, and a few late ones.
pub(crate) const FEWEST: usize = 10;

/// The number of logins in a sample. The early sample has the logins 40 to 120, so its mean is
/// around the 80th. The late sample has the last logins.
const SAMPLE: usize = 80;

/// How many clients of a sample log in at the same time. One would be the clearest, but
/// InspIRCd completes logins once a second.
const SAMPLED_AT_ONCE: usize = 16;

impl IdleCase {
    /// Runs the case.
    pub(crate) fn run(
        &self,
        engine: &mut Engine,
        process: Option<&Measured>,
    ) -> Result<Vec<Metric>, Failure> {
        let sample = SAMPLE.min(self.clients / 4);
        let empty = metrics::size(process)?;

        log_in(engine, sample / 2, engine.settings.logins_at_once)?;
        let early = Cost::measure(sample, engine, process)?;
        let before = engine.wire.clients();
        let meter = Meter::start(None, &engine.wire)?;
        log_in(
            engine,
            self.clients - sample,
            engine.settings.logins_at_once,
        )?;
        let crowd = meter.stop(&engine.wire)?;
        let logins = engine.wire.clients() - before;
        let late = Cost::measure(sample, engine, process)?;

        let full = metrics::size(process)?;
        let meter = Meter::start(process, &engine.wire)?;
        thread::sleep(self.stay);
        let idle = meter.stop(&engine.wire)?;
        let mut asking = Each::new(engine, Act::Ask);
        engine.run(&mut asking)?;
        engine.drain_until_quiet(&mut asking)?;

        let meter = Meter::start(None, &engine.wire)?;
        engine.run(&mut Each::new(engine, Act::Quit))?;
        let going = meter.stop(&engine.wire)?;

        let per_second = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
        let idle_cpu = idle
            .cpu
            .map(|cpu| 1e3 * cpu.as_secs_f64() / idle.time.as_secs_f64());
        let ratio = late.cpu.zip(early.cpu).map(|(late, early)| late / early);
        let mut figures = vec![
            known("clients", "", self.clients as f64),
            known("logins_per_s", "logins/s", per_second(logins, crowd.time)),
            figure("early_login_cpu_us", "early CPU µs", early.cpu),
            figure("late_login_cpu_us", "late CPU µs", late.cpu),
            figure("late_to_early_login_cpu", "late/early", ratio),
            known("early_login_us", "early µs", early.median),
            known("late_login_us", "late µs", late.median),
            figure("idle_cpu_ms_per_s", "idle ms/s", idle_cpu),
            known(
                "leaves_per_s",
                "leaves/s",
                per_second(self.clients, going.time),
            ),
        ];
        figures.extend(metrics::per_client(empty, full, self.clients));
        Ok(figures)
    }
}

/// The cost of a login.
struct Cost {
    /// The server's processor time, in microseconds.
    cpu: Option<f64>,
    /// The median time, in microseconds.
    median: f64,
}

impl Cost {
    /// Measures this many logins, including the server's work after the response.
    fn measure(
        sample: usize,
        engine: &mut Engine,
        process: Option<&Measured>,
    ) -> Result<Cost, Failure> {
        let mut nothing = Each::new(engine, Act::Nothing);
        engine.drain_until_quiet(&mut nothing)?;
        let meter = Meter::start(process, &engine.wire)?;
        let clients = engine.wire.clients() + sample;
        let latencies = log_in(
            engine,
            clients,
            SAMPLED_AT_ONCE.min(engine.settings.logins_at_once),
        )?;
        engine.drain_until_quiet(&mut nothing)?;
        let spent = meter.stop(&engine.wire)?;
        let cpu = spent.cpu.map(|cpu| 1e6 * cpu.as_secs_f64() / sample as f64);
        Ok(Cost {
            cpu,
            median: latencies.median(),
        })
    }
}

/// A load in which each client does one thing.
pub(crate) struct Each {
    what: Act,
    clients: usize,
    asked: usize,
    done: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Only reads.
    Nothing,
    /// Sends a ping, whose response shows that the server still has the client.
    Ask,
    /// Begins to watch presence (CP only).
    Watch,
    /// Quits, and waits until the server closes the connection.
    Quit,
}

impl Each {
    pub(crate) fn new(engine: &Engine, what: Act) -> Each {
        Each {
            what,
            clients: engine.wire.clients(),
            asked: 0,
            done: 0,
        }
    }
}

impl Load for Each {
    fn send_due(&mut self, _: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure> {
        while self.asked < self.clients {
            wire.say(self.asked, |protocol, out| match self.what {
                Act::Nothing => {}
                Act::Ask => protocol.ask(out),
                Act::Watch => protocol.watch(out),
                Act::Quit => protocol.quit(out),
            });
            self.asked += 1;
        }
        Ok(None)
    }

    fn on_event(
        &mut self,
        client: usize,
        event: &ServerEvent<'_>,
        _: Instant,
    ) -> Result<(), Failure> {
        match event {
            ServerEvent::Alive if matches!(self.what, Act::Ask | Act::Watch) => self.done += 1,
            ServerEvent::Aside => {}
            // The last line of an IRC server is an error.
            ServerEvent::Refusal(_) if self.what == Act::Quit => {}
            other => return Err(unexpected(client, other)),
        }
        Ok(())
    }

    fn closed(&mut self, client: usize) -> Result<(), Failure> {
        if self.what != Act::Quit {
            return Err(Failure(format!(
                "client {client}: the server closed the connection"
            )));
        }
        self.done += 1;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done == self.clients
    }

    fn missing(&self) -> String {
        let waiting = self.clients - self.done;
        match self.what {
            Act::Quit => format!("{waiting} clients have quit and are still connected"),
            _ => format!("{waiting} clients have no response"),
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.done as u64, self.clients as u64)
    }
}
