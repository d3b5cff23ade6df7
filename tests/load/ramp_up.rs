//! The login of all clients: connect, set a name, and join the channel on IRC.

use std::time::Instant;

use super::engine::{Engine, Failure, Load, Wire};
use super::message::name;
use super::metrics::Latencies;
use super::protocol::ServerEvent;

/// How many clients join an IRC channel at the same time. The server announces each join to all
/// members, and ngIRCd closes a connection with more than 32 KiB of pending bytes.
const JOINS_AT_ONCE: usize = 16;

/// Logs in this many clients that then receive broadcasts.
pub(crate) fn ramp_up(engine: &mut Engine, clients: usize) -> Result<(), Failure> {
    log_in(engine, clients, engine.settings.logins_at_once)?;
    let mut entering = Entering::default();
    engine.run(&mut entering)?;
    engine.drain_until_quiet(&mut entering)
}

/// Logs in clients until there are `clients`, at most `at_once` at the same time.
///
/// Returns the time of each login.
pub(crate) fn log_in(
    engine: &mut Engine,
    clients: usize,
    at_once: usize,
) -> Result<Latencies, Failure> {
    let mut logins = Logins::new(engine, clients, at_once);
    engine.run(&mut logins)?;
    Ok(logins.latencies)
}

/// A load in which clients log in.
pub(crate) struct Logins {
    clients: usize,
    at_once: usize,
    /// The first client that logs in here.
    first: usize,
    /// The begin of each login, from `first` on.
    began: Vec<Instant>,
    done: usize,
    pub(crate) latencies: Latencies,
}

impl Logins {
    /// Makes the logins of clients until there are `clients`.
    pub(crate) fn new(engine: &Engine, clients: usize, at_once: usize) -> Logins {
        Logins {
            clients,
            at_once,
            first: engine.wire.clients(),
            began: Vec::new(),
            done: 0,
            latencies: Latencies::new(),
        }
    }
}

impl Load for Logins {
    fn send_due(&mut self, _: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure> {
        while wire.clients() < self.clients && self.began.len() - self.done < self.at_once {
            self.began.push(Instant::now());
            let client = wire.connect()?;
            wire.say(client, |protocol, out| protocol.log_in(&name(client), out));
        }
        Ok(None)
    }

    fn on_event(
        &mut self,
        client: usize,
        event: &ServerEvent<'_>,
        now: Instant,
    ) -> Result<(), Failure> {
        match event {
            ServerEvent::LoggedIn => {
                let began = self.began[client - self.first];
                self.latencies.record(now.saturating_duration_since(began));
                self.done += 1;
                Ok(())
            }
            ServerEvent::Aside => Ok(()),
            other => Err(unexpected(client, other)),
        }
    }

    fn is_done(&self) -> bool {
        self.first + self.done == self.clients
    }

    fn missing(&self) -> String {
        let waiting = self.began.len() - self.done;
        format!("{waiting} clients have no response to their login")
    }

    fn progress(&self) -> (u64, u64) {
        ((self.first + self.done) as u64, self.clients as u64)
    }
}

/// A load in which all clients join the channel, if there is one.
#[derive(Default)]
struct Entering {
    clients: usize,
    asked: usize,
    done: usize,
}

impl Load for Entering {
    fn send_due(&mut self, _: Instant, wire: &mut Wire) -> Result<Option<Instant>, Failure> {
        self.clients = wire.clients();
        while self.asked < self.clients && self.asked - self.done < JOINS_AT_ONCE {
            if !wire.say(self.asked, |protocol, out| protocol.enter(out)) {
                self.done += 1;
            }
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
            ServerEvent::Entered => self.done += 1,
            ServerEvent::Aside => {}
            other => return Err(unexpected(client, other)),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done == self.clients
    }

    fn missing(&self) -> String {
        let waiting = self.asked - self.done;
        format!("{waiting} clients have not joined the channel")
    }

    fn progress(&self) -> (u64, u64) {
        (self.done as u64, self.clients as u64)
    }
}

/// Makes the failure for an unexpected event.
pub(crate) fn unexpected(client: usize, event: &ServerEvent<'_>) -> Failure {
    Failure(match event {
        ServerEvent::Refusal(text) => {
            format!(
                "client {client} got \"{}\"",
                text.trim_ascii().escape_ascii()
            )
        }
        ServerEvent::Message { sender, text } => format!(
            "client {client} gets a message that is not for it: \"{}\" from \"{}\"",
            text.escape_ascii(),
            sender.escape_ascii()
        ),
        other => format!("client {client} got {other:?} without a request"),
    })
}
