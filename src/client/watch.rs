//! A server that is silent: when the user is told, when it is asked, when it is given up.
//!
//! Pure: the caller passes the time. Does not know a socket. Invariant: a connection is given
//! up only after a `Ping` that had its time, however long the process itself was stopped.

use std::io;
use std::time::Instant;

use crate::limits::{PING_INTERVAL, PING_TIMEOUT, SILENCE_NOTICE_TIMEOUT};

/// How long a server has sent nothing.
pub(super) struct Watch {
    last: Instant,
    pinged: Option<Instant>,
    told: bool,
    on_silence: Box<dyn FnMut() + Send>,
}

impl Watch {
    /// Nothing is due yet. `on_silence` is called once when an answer is late.
    pub(super) fn new(now: Instant, on_silence: Box<dyn FnMut() + Send>) -> Watch {
        Watch {
            last: now,
            pinged: None,
            told: false,
            on_silence,
        }
    }

    /// The server has sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last = now;
        self.pinged = None;
        self.told = false;
    }

    /// Whether a `Ping` is to be sent now; an error if the connection counts as lost. `due`
    /// is when the first request without an answer was sent.
    pub(super) fn is_ping_due(&mut self, now: Instant, due: Option<Instant>) -> io::Result<bool> {
        let waiting_since = due.map(|due| due.max(self.last));
        let is_late = waiting_since.is_some_and(|since| now - since >= SILENCE_NOTICE_TIMEOUT);
        if is_late && !std::mem::replace(&mut self.told, true) {
            (self.on_silence)();
        }
        match self.pinged {
            Some(pinged) if now - pinged >= PING_TIMEOUT => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer for {} s", (now - self.last).as_secs()),
            )),
            None if now - self.last >= PING_INTERVAL => {
                self.pinged = Some(now);
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
        let (start, told) = (Instant::now(), Arc::new(Mutex::new(0)));
        let count = Arc::clone(&told);
        let mut watch = Watch::new(start, Box::new(move || *count.lock() += 1));
        let at = |seconds| start + Duration::from_secs(seconds);
        let due = Some(at(5));
        assert!(!watch.is_ping_due(at(14), due).unwrap() && *told.lock() == 0);
        for seconds in 15..30 {
            assert!(!watch.is_ping_due(at(seconds), due).unwrap());
            assert_eq!(*told.lock(), 1);
        }
        assert!(watch.is_ping_due(at(30), due).unwrap());
        assert!(!watch.is_ping_due(at(59), due).unwrap());
        let lost = watch.is_ping_due(at(60), due).unwrap_err();
        assert_eq!(lost.to_string(), "no answer for 60 s");
        // A process that was stopped for long has asked nothing yet.
        let mut watch = Watch::new(start, Box::new(|| {}));
        assert!(watch.is_ping_due(at(1_000), None).unwrap());
        watch.heard(at(1_001));
        assert!(!watch.is_ping_due(at(1_030), None).unwrap());
        assert!(watch.is_ping_due(at(1_031), None).unwrap());
    }
}
