//! The clock of a silent server: when to tell the user, send a `Ping`, and give up.
//!
//! Pure: the caller passes the time. Does not know a socket. Invariant: *a connection is given
//! up only [`PING_TIMEOUT`] after a `Ping`*. That holds also if the client's process was stopped
//! for a long time.

use std::io;
use std::time::Instant;

use crate::limits::{PING_INTERVAL, PING_TIMEOUT, SILENCE_NOTICE_TIMEOUT};

/// The time since the server has sent something.
pub(super) struct SilenceWatch {
    last_input: Instant,
    ping_sent: Option<Instant>,
    is_reported: bool,
    on_silence: Box<dyn FnMut() + Send>,
}

impl SilenceWatch {
    /// Starts to watch. `on_silence` is called once for each silence in which a response is
    /// late.
    pub(super) fn new(now: Instant, on_silence: Box<dyn FnMut() + Send>) -> SilenceWatch {
        SilenceWatch {
            last_input: now,
            ping_sent: None,
            is_reported: false,
            on_silence,
        }
    }

    /// Records that the server has sent something.
    pub(super) fn on_input(&mut self, now: Instant) {
        self.last_input = now;
        self.ping_sent = None;
        self.is_reported = false;
    }

    /// Returns whether the caller must send a `Ping` now.
    ///
    /// Fails if the connection counts as lost. `first_sent` is when the first pending request
    /// was sent.
    pub(super) fn is_ping_due(
        &mut self,
        now: Instant,
        first_sent: Option<Instant>,
    ) -> io::Result<bool> {
        let waiting_since = first_sent.map(|sent| sent.max(self.last_input));
        let is_late = waiting_since.is_some_and(|since| now - since >= SILENCE_NOTICE_TIMEOUT);
        if is_late && !std::mem::replace(&mut self.is_reported, true) {
            (self.on_silence)();
        }
        match self.ping_sent {
            Some(sent) if now - sent >= PING_TIMEOUT => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no response for {} s", (now - self.last_input).as_secs()),
            )),
            None if now - self.last_input >= PING_INTERVAL => {
                self.ping_sent = Some(now);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn silent_server_is_reported_then_pinged_then_lost() {
        let (start, reports) = (Instant::now(), Arc::new(Mutex::new(0)));
        let count = Arc::clone(&reports);
        let mut watch = SilenceWatch::new(start, Box::new(move || *count.lock() += 1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let first_sent = Some(at(5));
        assert!(!watch.is_ping_due(at(14), first_sent).unwrap() && *reports.lock() == 0);
        for seconds in 15..30 {
            assert!(!watch.is_ping_due(at(seconds), first_sent).unwrap());
            assert_eq!(*reports.lock(), 1);
        }
        assert!(watch.is_ping_due(at(30), first_sent).unwrap());
        assert!(!watch.is_ping_due(at(59), first_sent).unwrap());
        let lost = watch.is_ping_due(at(60), first_sent).unwrap_err();
        assert_eq!(lost.to_string(), "no response for 60 s");
        // A process that was stopped for a long time has sent no `Ping` yet.
        let mut watch = SilenceWatch::new(start, Box::new(|| {}));
        assert!(watch.is_ping_due(at(1_000), None).unwrap());
        watch.on_input(at(1_001));
        assert!(!watch.is_ping_due(at(1_030), None).unwrap());
        assert!(watch.is_ping_due(at(1_031), None).unwrap());
    }
}
