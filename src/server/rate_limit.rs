//! The rate limit of one connection: pure arithmetic on instants that the caller passes.
//!
//! Does not know requests. The allowance of an address ([`crate::server::allowance`]) lends a new
//! connection the burst that it has not earned yet. So a client does not get a new burst with each
//! new connection.
//!
//! Invariant: a connection is never slower than its own rate.

use std::time::{Duration, Instant};

use crate::server::allowance::Loan;

/// The rate limit of one connection: a burst at once, then a number of requests a second. It
/// refuses nothing. The requests of a faster client wait.
///
/// This is the generic cell rate algorithm (ITU-T I.371). It does not count the rest of the
/// burst. It keeps one instant: the time at which a client that never exceeds the rate may send
/// its next request.
#[derive(Debug)]
pub struct RateLimiter {
    /// The time that a request costs. Zero if there is no limit.
    interval: Duration,
    /// How far a client may be ahead of the strict rate.
    ahead: Duration,
    /// The instant for all requests. It limits how many may come at once.
    next: Instant,
    /// The instant for the requests that the address has not lent. With a loan it begins a burst
    /// later, because a new connection has earned nothing.
    next_earned: Instant,
    loan: Option<Loan>,
}

impl RateLimiter {
    /// Makes a limit of `per_second` requests a second, after a burst of `burst`. 0 is no limit.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> RateLimiter {
        let interval = match per_second {
            0 => Duration::ZERO,
            _ => Duration::from_secs(1) / per_second,
        };
        RateLimiter {
            interval,
            ahead: interval * burst.saturating_sub(1),
            next: now,
            next_earned: now,
            loan: None,
        }
    }

    /// Returns the same limit, but the address lends its first burst, as far as the allowance goes.
    pub fn with_loan(self, loan: Loan) -> RateLimiter {
        RateLimiter {
            next_earned: self.next + self.ahead + self.interval,
            loan: Some(loan),
            ..self
        }
    }

    /// Counts a request that comes now. Returns how long it must wait.
    pub fn delay(&mut self, now: Instant) -> Duration {
        let (all, earned) = (self.next.max(now), self.next_earned.max(now));
        let wait = |due: Instant| due.duration_since(now).saturating_sub(self.ahead);
        let (least, own) = (wait(all), wait(earned));
        self.next = all + self.interval;
        if own > least
            && self
                .loan
                .as_ref()
                .is_some_and(|loan| loan.take_request(now))
        {
            return least;
        }
        self.next_earned = earned + self.interval;
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::allowance::Allowances;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use std::sync::Arc;

    #[test]
    fn burst_passes_and_the_rest_waits_for_the_rate() {
        let mut now = Instant::now();
        let mut rate = RateLimiter::new(10, 50, now);
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
    fn silence_restores_the_burst_and_no_more() {
        let start = Instant::now();
        let mut rate = RateLimiter::new(10, 5, start);
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
    fn rate_zero_never_delays() {
        let now = Instant::now();
        let mut rate = RateLimiter::new(0, 1, now);
        assert!((0..10_000).all(|_| rate.delay(now) == Duration::ZERO));
    }

    /// Returns a function that connects from one address, with a rate of 10 and a burst of 50.
    fn connections() -> impl Fn(Instant) -> RateLimiter {
        let allowances = Arc::new(Mutex::new(Allowances::new(10, 50).unwrap()));
        move |now| RateLimiter::new(10, 50, now).with_loan(Loan::new(Arc::clone(&allowances), None))
    }

    #[test]
    fn lent_burst_passes_like_an_earned_one() {
        let start = Instant::now();
        let mut rate = connections()(start);
        for _ in 0..50 {
            assert_eq!(rate.delay(start), Duration::ZERO);
        }
        assert_eq!(rate.delay(start), Duration::from_millis(100));
    }

    #[test]
    fn burst_is_not_doubled_by_a_loan_and_silence() {
        for silence in [0, 2_500, 5_000, 100_000] {
            let start = Instant::now();
            let mut rate = connections()(start);
            let later = start + Duration::from_millis(silence);
            for _ in 0..50 {
                assert_eq!(rate.delay(later), Duration::ZERO);
            }
            assert_eq!(rate.delay(later), Duration::from_millis(100), "{silence}");
        }
    }

    #[test]
    fn class_of_64_logs_in_without_waiting() {
        let start = Instant::now();
        let connect = connections();
        for _ in 0..64 {
            let mut rate = connect(start);
            assert!((0..8).all(|_| rate.delay(start) == Duration::ZERO));
        }
        let mut late = connect(start);
        assert_eq!(late.delay(start), Duration::from_millis(100));
    }

    #[test]
    fn reconnecting_client_gets_ten_rates_after_the_allowance() {
        let start = Instant::now();
        let (connect, mut now) = (connections(), start);
        let mut requests = 0;
        while now < start + Duration::from_secs(60) {
            let mut rate = connect(now);
            for _ in 0..50 {
                now += rate.delay(now);
                requests += 1;
            }
        }
        let most = 512 + 60 * 100 + 100;
        assert!((most - 1_000..=most).contains(&requests), "{requests}");
    }

    #[test]
    fn empty_allowance_does_not_slow_earned_requests() {
        let start = Instant::now();
        let connect = connections();
        let mut old = connect(start);
        // 100 seconds later it has earned its burst. Others use the allowance up.
        let now = start + Duration::from_secs(100);
        for _ in 0..20 {
            let mut other = connect(now);
            for _ in 0..50 {
                other.delay(now);
            }
        }
        assert!((0..50).all(|_| old.delay(now) == Duration::ZERO));
        let mut late = now;
        for mut rate in [old, connect(now)] {
            for _ in 0..100 {
                let wait = rate.delay(late);
                assert!(wait <= Duration::from_millis(100));
                late += wait;
            }
        }
    }

    proptest! {
        #[test]
        fn loan_never_delays_a_request_beyond_its_own_rate(
            pauses in prop::collection::vec(0..300_u64, 1..100),
        ) {
            let connect = connections();
            let mut now = Instant::now();
            let mut others = connect(now);
            let mut rate = connect(now);
            let mut unlent = RateLimiter::new(10, 50, now);
            unlent.next_earned += Duration::from_secs(5);
            for pause in pauses {
                now += Duration::from_millis(pause);
                for _ in 0..20 {
                    others.delay(now);
                }
                let (wait, own) = (rate.delay(now), unlent.delay(now));
                prop_assert!(wait <= own, "{:?} {:?}", wait, own);
            }
        }
    }
}
