//! What happens all the time and is worth telling now and then.
//!
//! Pure: it is told the time, and says whether to tell, and not where.

use std::fmt;
use std::time::{Duration, Instant};

use crate::limits::TELL_INTERVAL;

/// For what may happen thousands of times a second, and is worth a line now and then.
#[derive(Debug, Default)]
pub struct Seldom {
    told: Option<Instant>,
    untold: u64,
}

/// How many happened since the last that was told; shown as an addition to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold(u64);

impl Seldom {
    /// It has happened, now. Where it is time to tell of it, how many were not told.
    pub fn happens(&mut self, now: Instant) -> Option<Untold> {
        let since = |told| now.duration_since(told);
        if self.told.map_or(Duration::MAX, since) < TELL_INTERVAL {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(Untold(std::mem::take(&mut self.untold)))
    }
}

impl fmt::Display for Untold {
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
        let (mut seldom, start) = (Seldom::default(), Instant::now());
        let mut at = |seconds| {
            let told = seldom.happens(start + Duration::from_secs(seconds));
            told.map(|untold| untold.to_string())
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
