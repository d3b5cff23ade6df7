//! How fast a client may ask: pure arithmetic on instants that it is given.

use std::time::{Duration, Instant};

/// Lets a burst through at once, and from then on so many requests a second.
/// Nothing is refused: who is faster waits.
///
/// This is the generic cell rate algorithm (ITU-T I.371): instead of counting
/// what is left of the burst it keeps one instant, at which a client that keeps
/// strictly to the rate would be allowed its next request.
#[derive(Debug)]
pub struct Rate {
    /// The time a request costs; zero where there is no limit.
    interval: Duration,
    /// How far a client may run ahead of the strict rate.
    ahead: Duration,
    next: Instant,
}

impl Rate {
    /// `per_second` requests a second, 0 for any number, after a burst of `burst`.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Rate {
        let interval = match per_second {
            0 => Duration::ZERO,
            _ => Duration::from_secs(1) / per_second,
        };
        Rate {
            interval,
            ahead: interval * burst.saturating_sub(1),
            next: now,
        }
    }

    /// Counts a request that comes now, and says how long it is to wait.
    pub fn delay(&mut self, now: Instant) -> Duration {
        let due = self.next.max(now);
        self.next = due + self.interval;
        due.duration_since(now).saturating_sub(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_comes_at_the_rate() {
        let mut now = Instant::now();
        let mut rate = Rate::new(10, 50, now);
        for _ in 0..50 {
            assert_eq!(rate.delay(now), Duration::ZERO);
        }
        for _ in 0..100 {
            let wait = rate.delay(now);
            assert_eq!(wait, Duration::from_millis(100));
            now += wait;
        }
    }

    #[test]
    fn silence_earns_the_burst_back_and_no_more() {
        let start = Instant::now();
        let mut rate = Rate::new(10, 5, start);
        for _ in 0..5 {
            rate.delay(start);
        }
        let later = start + Duration::from_millis(200);
        assert_eq!(rate.delay(later), Duration::ZERO);
        assert_eq!(rate.delay(later), Duration::ZERO);
        assert_eq!(rate.delay(later), Duration::from_millis(100));
        let much_later = start + Duration::from_secs(1_000);
        for _ in 0..5 {
            assert_eq!(rate.delay(much_later), Duration::ZERO);
        }
        assert_eq!(rate.delay(much_later), Duration::from_millis(100));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let now = Instant::now();
        let mut rate = Rate::new(0, 1, now);
        assert!((0..10_000).all(|_| rate.delay(now) == Duration::ZERO));
    }
}
