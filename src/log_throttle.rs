//! Throttle for log lines: at most one line a minute for each kind of event, with the number of
//! suppressed ones.
//!
//! Pure: the caller passes the time and writes the line. Does not know events.
//!
//! Invariant: each recorded event is logged, or counted in the next line that is logged.

use std::fmt;
use std::time::{Duration, Instant};

use crate::limits::LOG_THROTTLE_INTERVAL;

/// The throttle for one kind of event, which may happen thousands of times a second.
#[derive(Debug, Default)]
pub struct LogThrottle {
    last_logged: Option<Instant>,
    suppressed: u64,
}

/// The number of events since the last logged one. It is displayed as the end of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(u64);

impl LogThrottle {
    /// Counts an event at this time. Returns the number of suppressed events if it must be logged.
    pub fn record(&mut self, now: Instant) -> Option<Suppressed> {
        let since = |last_logged| now.duration_since(last_logged);
        if self.last_logged.map_or(Duration::MAX, since) < LOG_THROTTLE_INTERVAL {
            self.suppressed += 1;
            return None;
        }
        self.last_logged = Some(now);
        Some(Suppressed(std::mem::take(&mut self.suppressed)))
    }
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_event_is_logged_once_a_minute_with_a_count() {
        let (mut throttle, start) = (LogThrottle::default(), Instant::now());
        let mut at = |seconds| {
            let last_logged = throttle.record(start + Duration::from_secs(seconds));
            last_logged.map(|suppressed| suppressed.to_string())
        };
        assert_eq!(at(0), Some(String::new()));
        for second in 0..60 {
            assert_eq!(at(second), None);
        }
        let others = " (60 more since the last such line)";
        assert_eq!(at(60), Some(others.to_owned()));
        assert_eq!(at(119), None);
        let other = " (1 more since the last such line)";
        assert_eq!(at(1_000), Some(other.to_owned()));
        assert_eq!(at(1_060), Some(String::new()));
    }
}
