//! What happens all the time and is worth telling now and then.
//!
//! Pure: it is told the time, and says whether to tell, and not where.

use std::fmt;
use std::time::{Duration, Instant};

use crate::limits::LOG_THROTTLE_INTERVAL;

/// For what may happen thousands of times a second, and is worth a line now and then.
#[derive(Debug, Default)]
pub struct LogThrottle {
    last_logged: Option<Instant>,
    suppressed: u64,
}

/// How many happened since the last that was told; shown as an addition to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(u64);

impl LogThrottle {
    /// It has happened, now. Where it is time to tell of it, how many were not told.
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
    fn what_happens_often_is_told_once_a_minute_with_the_count_of_the_others() {
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
