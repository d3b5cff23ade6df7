//! The allowance of each address: how many requests its new connections may send at once, all
//! together, and how many of these connections are logged.
//!
//! Without it, a client that reconnects again and again would have a full burst each time, and so
//! no rate limit. An allowance outlives the connections of its address.
//!
//! Pure: the caller passes the time. Does not know connections or the log. With a [`Loan`], a
//! connection uses the allowance of its address. A thread that takes its lock holds no other.
//!
//! Invariant: the table never has more than [`MAX_ADDRESSES`] entries. An address without
//! an entry has its full allowance, unless the table is full: then it has none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::{
    ALLOWANCE_RATES, LOGGED_CONNECTION_INTERVAL, MAX_ADDRESSES, MAX_LOGGED_CONNECTIONS,
    MIN_ALLOWANCE,
};
use crate::sessions::per_address::AddressKey;

/// The allowances of all addresses. An [`AddressKey`] of `None` is this machine.
#[derive(Debug)]
pub struct Allowances {
    requests: Terms,
    addresses: HashMap<Option<AddressKey>, Allowance>,
}

/// How one connection takes requests out of the allowance of its address.
#[derive(Clone, Debug)]
pub struct Loan {
    allowances: Arc<Mutex<Allowances>>,
    address: Option<AddressKey>,
}

#[derive(Debug)]
struct Allowance {
    requests: Bucket,
    logged: Bucket,
}

/// How much a bucket holds, and how fast it refills.
#[derive(Clone, Copy, Debug)]
struct Terms {
    size: u32,
    /// The time in which one unit refills.
    interval: Duration,
}

/// A number that refills with time, kept as the instant at which it is full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

/// The terms for the connections of an address that are logged.
const LOGGED: Terms = Terms {
    size: MAX_LOGGED_CONNECTIONS,
    interval: LOGGED_CONNECTION_INTERVAL,
};

impl Allowances {
    /// Makes the allowances for connections of this rate and burst. Returns `None` if the rate is
    /// 0, which means no limit.
    pub fn new(per_second: u32, burst: u32) -> Option<Allowances> {
        let interval = Duration::from_secs(1).checked_div(per_second)?;
        let requests = Terms {
            // The first connection of an address has its whole burst, however large that is.
            size: MIN_ALLOWANCE.max(burst),
            interval: interval / ALLOWANCE_RATES,
        };
        Some(Allowances {
            requests,
            addresses: HashMap::new(),
        })
    }

    /// Takes a request out of the allowance of an address. Returns whether there was one.
    ///
    /// Otherwise the address owes one request. That request waits for the rate of its connection,
    /// and counts for the address too. So a client that reconnects has ten times its rate in all,
    /// and not eleven times.
    pub fn take_request(&mut self, address: Option<AddressKey>, now: Instant) -> bool {
        let terms = self.requests;
        let Some(allowance) = self.of(address, now) else {
            return false;
        };
        let was_there = allowance.requests.take(terms, now);
        if !was_there {
            allowance.requests.owe_one(terms, now);
        }
        was_there
    }

    /// Takes a log entry for a new connection out of the allowance of an address. Returns whether
    /// there was one. Otherwise the connection is not logged.
    pub fn take_log_entry(&mut self, address: Option<AddressKey>, now: Instant) -> bool {
        self.of(address, now)
            .is_some_and(|allowance| allowance.logged.take(LOGGED, now))
    }

    /// Returns the allowance of an address, or `None` if there is no room for another entry.
    fn of(&mut self, address: Option<AddressKey>, now: Instant) -> Option<&mut Allowance> {
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address) {
            // A full allowance is the same as no entry.
            self.addresses
                .retain(|_, it| it.requests.full_at > now || it.logged.full_at > now);
            if self.addresses.len() >= MAX_ADDRESSES {
                return None;
            }
        }
        let full = Bucket { full_at: now };
        let allowance = || Allowance {
            requests: full,
            logged: full,
        };
        Some(self.addresses.entry(address).or_insert_with(allowance))
    }
}

impl Bucket {
    /// Takes one unit out. Returns whether there was one.
    fn take(&mut self, terms: Terms, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + terms.interval;
        let was_there = full_at <= now + terms.interval * terms.size;
        if was_there {
            self.full_at = full_at;
        }
        was_there
    }

    /// Takes one unit out in advance, unless the bucket already owes one.
    fn owe_one(&mut self, terms: Terms, now: Instant) {
        let full_at = self.full_at.max(now) + terms.interval;
        self.full_at = full_at.min(now + terms.interval * (terms.size + 1));
    }
}

impl Loan {
    /// Makes the loan of a connection from this address.
    pub fn new(allowances: Arc<Mutex<Allowances>>, address: Option<AddressKey>) -> Loan {
        Loan {
            allowances,
            address,
        }
    }

    /// Takes a request out of the allowance ([`Allowances::take_request`]).
    pub fn take_request(&self, now: Instant) -> bool {
        self.allowances.lock().take_request(self.address, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(number: u32) -> Option<AddressKey> {
        let address = AddressKey::of(std::net::Ipv4Addr::from_bits(0x0A00_0000 + number).into());
        assert_ne!(address, None);
        address
    }

    #[test]
    fn allowance_covers_64_logins_and_refills_at_ten_rates() {
        let mut allowances = Allowances::new(10, 50).unwrap();
        let now = Instant::now();
        let mut take = |count, now| {
            (0..count)
                .filter(|_| allowances.take_request(None, now))
                .count()
        };
        assert_eq!(take(600, now), 64 * 8);
        // One request is owed, however many were asked for.
        assert_eq!(take(600, now + Duration::from_secs(1)), 10 * 10 - 1);
        assert_eq!(take(600, now + Duration::from_secs(100)), 64 * 8);
    }

    #[test]
    fn larger_burst_makes_a_larger_allowance() {
        let mut allowances = Allowances::new(1, 5_000).unwrap();
        let now = Instant::now();
        assert!((0..5_000).all(|_| allowances.take_request(None, now)));
        assert!(!allowances.take_request(None, now));
    }

    #[test]
    fn each_address_has_its_own_allowance() {
        let mut allowances = Allowances::new(10, 50).unwrap();
        let now = Instant::now();
        while allowances.take_request(address(1), now) {}
        assert!(allowances.take_request(address(2), now));
        assert!(allowances.take_request(None, now));
        assert!(!allowances.take_request(address(1), now));
    }

    #[test]
    fn rate_zero_has_no_allowances() {
        assert!(Allowances::new(0, 50).is_none());
    }

    #[test]
    fn first_connections_of_an_address_are_logged_then_one_a_second() {
        let mut allowances = Allowances::new(10, 50).unwrap();
        let now = Instant::now();
        let mut logged = |now| {
            (0..5_000)
                .filter(|_| allowances.take_log_entry(None, now))
                .count()
        };
        assert_eq!(logged(now), 1_000);
        assert_eq!(logged(now + Duration::from_millis(999)), 0);
        assert_eq!(logged(now + Duration::from_secs(10)), 10);
    }

    #[test]
    fn allowance_table_is_limited_and_drops_refilled_entries() {
        let mut allowances = Allowances::new(10, 50).unwrap();
        let now = Instant::now();
        let most = u32::try_from(MAX_ADDRESSES).unwrap();
        for number in 0..most {
            assert!(allowances.take_request(address(number), now));
        }
        assert!(!allowances.take_request(address(most), now));
        assert!(!allowances.take_log_entry(address(most), now));
        assert!(
            allowances.take_request(address(0), now),
            "address 0 has an entry"
        );
        // One request refills in 10 ms, and address 0 has used two.
        let later = now + Duration::from_millis(10);
        assert!(allowances.take_request(address(most), later));
        assert_eq!(allowances.addresses.len(), 2);
    }

    proptest! {
        #[test]
        fn loans_never_exceed_allowance_and_refill(
            rate in 1..1_000_u32,
            burst in 1..1_000_u32,
            steps in prop::collection::vec((0..200_u64, 1..300_usize), 1..50),
        ) {
            let mut allowances = Allowances::new(rate, burst).unwrap();
            let begin = Instant::now();
            let (mut now, mut lent) = (begin, 0);
            for (millis, requests) in steps {
                now += Duration::from_millis(millis);
                let taken = (0..requests).filter(|_| allowances.take_request(None, now));
                lent += taken.count();
                let refilled = (now - begin).as_secs_f64() * f64::from(rate) * 10.0;
                let most = f64::from(burst.max(512)) + refilled * 1.000_1 + 1.0;
                prop_assert!(lent as f64 <= most, "{lent} of {most}");
            }
        }
    }
}
