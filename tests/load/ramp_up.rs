//! How the clients of every case come: connecting, taking a name, going where broadcasts
//! are on_event.

use std::time::Instant;

use super::engine::{Engine, Failure, Load, Wire};
use super::message::name;
use super::metrics::Latencies;
use super::protocol::ServerEvent;

/// How many join an IRC channel at the same time. All who are there are told of each, and
/// ngIRCd closes a connection for which more than 32 KiB wait.
const JOINS_AT_ONCE: usize = 16;

/// Has this many clients log in and hear broadcasts.
pub(crate) fn ramp_up(engine: &mut Engine, clients: usize) -> Result<(), Failure> {
    log_in(engine, clients, engine.settings.logins_at_once)?;
    let mut entering = Entering::default();
    engine.run(&mut entering)?;
    engine.drain_until_quiet(&mut entering)
}

/// Has clients log in, so many at a time, until there are `clients`; gives the time that
/// each took.
pub(crate) fn log_in(
    engine: &mut Engine,
    clients: usize,
    at_once: usize,
) -> Result<Latencies, Failure> {
    let first = engine.wire.clients();
    let mut logins = Logins {
        clients,
        at_once,
        first,
        began: Vec::new(),
        done: 0,
        latencies: Latencies::new(),
    };
    engine.run(&mut logins)?;
    Ok(logins.latencies)
}

struct Logins {
    clients: usize,
    at_once: usize,
    /// The first client that logs in here.
    first: usize,
    /// When each began, from the first on.
    began: Vec<Instant>,
    done: usize,
    latencies: Latencies,
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
        format!("{waiting} clients wait for the answer to their login")
    }

    fn progress(&self) -> (u64, u64) {
        ((self.first + self.done) as u64, self.clients as u64)
    }
}

/// All enter the channel, if there is one.
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
        format!("{waiting} clients wait for being in the channel")
    }

    fn progress(&self) -> (u64, u64) {
        (self.done as u64, self.clients as u64)
    }
}

/// A server says what it must not say now.
pub(crate) fn unexpected(client: usize, event: &ServerEvent<'_>) -> Failure {
    Failure(match event {
        ServerEvent::Refusal(text) => {
            format!(
                "client {client} is told \"{}\"",
                text.trim_ascii().escape_ascii()
            )
        }
        ServerEvent::Message { sender, text } => format!(
            "client {client} gets a message that is not for it: \"{}\" from \"{}\"",
            text.escape_ascii(),
            sender.escape_ascii()
        ),
        other => format!("client {client} is told {other:?}, which it has not asked for"),
    })
}
