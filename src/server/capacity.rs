//! The kernel's limits for this process, and the number of clients that they allow.
//!
//! Does not know clients or listeners, only their numbers.
//!
//! Invariant: the reported number is at least one client, or there is an error.

use std::fmt;
use std::fs;
use std::thread;

use crate::limits::{
    DESCRIPTORS_PER_LISTENER, MAPS_PER_CLIENT, MAPS_PER_CPU, MAPS_PER_LISTENER,
    RESERVED_DESCRIPTORS, RESERVED_MAPS,
};

/// The kernel's limits for this process, as far as they can be read.
///
/// Without a free descriptor, `accept` fails, and the server can wait. Without a free memory map,
/// a Rust process aborts in a *new thread*, and all clients are lost
/// (<https://github.com/rust-lang/rust/issues/78497>). So the server computes the most clients
/// before it accepts the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemLimits {
    /// RLIMIT_NOFILE (getrlimit(2)). `None` if there is no limit.
    pub descriptors: Option<u64>,
    /// vm.max_map_count (proc_sys_vm(5)). `None` if it cannot be read.
    pub max_maps: Option<u64>,
    /// The memory maps that this process already has.
    pub maps: u64,
    /// The processors that are online.
    pub cpus: u64,
}

/// A limit that leaves no room for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// RLIMIT_NOFILE, and the least value with room for one client.
    Descriptors(u64, u64),
    /// vm.max_map_count, and the least value with room for one client.
    Maps(u64, u64),
}

impl SystemLimits {
    /// Raises the soft limit RLIMIT_NOFILE to the hard limit, which needs no privilege, and reads
    /// all limits.
    pub fn raise_and_read() -> SystemLimits {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let descriptors = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        // The number of the allocator's arenas depends on the processors that are online.
        // `available_parallelism` may be less, because it depends on the affinity and the quota of
        // this process too.
        let cpus = fs::read_to_string("/sys/devices/system/cpu/online")
            .ok()
            .and_then(|list| count_cpus(&list))
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, |n| n.get() as u64));
        SystemLimits {
            descriptors,
            max_maps: fs::read_to_string("/proc/sys/vm/max_map_count")
                .ok()
                .and_then(|number| number.trim().parse().ok()),
            maps: fs::read_to_string("/proc/self/maps")
                .map_or(0, |maps| maps.lines().count() as u64),
            cpus,
        }
    }

    /// Returns the number of clients for which there is room beside this number of listeners: at
    /// least one, at most `wanted`.
    pub fn max_clients(&self, wanted: usize, listeners: usize) -> Result<usize, NoRoom> {
        let further = (listeners as u64).saturating_sub(1);
        let descriptors = RESERVED_DESCRIPTORS + further * DESCRIPTORS_PER_LISTENER;
        let maps =
            self.maps + RESERVED_MAPS + further * MAPS_PER_LISTENER + self.cpus * MAPS_PER_CPU;
        let mut room = u64::MAX;
        if let Some(limit) = self.descriptors {
            if limit <= descriptors {
                return Err(NoRoom::Descriptors(limit, descriptors + 1));
            }
            room = room.min(limit - descriptors);
        }
        if let Some(limit) = self.max_maps {
            if limit < maps + MAPS_PER_CLIENT {
                return Err(NoRoom::Maps(limit, maps + MAPS_PER_CLIENT));
            }
            room = room.min((limit - maps) / MAPS_PER_CLIENT);
        }
        Ok(usize::try_from(room).map_or(wanted, |room| wanted.min(room)))
    }
}

/// Counts the processors in the kernel's form of a list, such as `0-3,8` (cpuset(7)).
fn count_cpus(list: &str) -> Option<u64> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim()
        .split(',')
        .try_fold(0_u64, |sum, range| sum.checked_add(count(range)?))
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRoom::Descriptors(limit, least) => write!(
                f,
                "{limit} descriptors: expected at least {least}; \
                 raise the limit, as in: ulimit -n 1024"
            ),
            NoRoom::Maps(limit, least) => write!(
                f,
                "{limit} memory maps: expected at least {least}; \
                 raise the limit, as in: sysctl -w vm.max_map_count=65530"
            ),
        }
    }
}

impl fmt::Display for SystemLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unlimited =
            |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |n| n.to_string());
        let (descriptors, maps) = (or_unlimited(self.descriptors), or_unlimited(self.max_maps));
        write!(
            f,
            "{descriptors} descriptors, {maps} memory maps of which {} in use, {} processors",
            self.maps, self.cpus
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: SystemLimits = SystemLimits {
        descriptors: Some(1_024),
        max_maps: Some(65_530),
        maps: 60,
        cpus: 2,
    };

    #[test]
    fn max_clients_is_the_smallest_of_all_limits() {
        assert_eq!(MACHINE.max_clients(500, 1), Ok(500));
        assert_eq!(MACHINE.max_clients(5_000, 1), Ok(1_024 - 32));
        let roomy = SystemLimits {
            descriptors: None,
            ..MACHINE
        };
        let maps = 65_530 - 60 - 512 - 2 * 16;
        assert_eq!(roomy.max_clients(100_000, 1), Ok(maps / 8));
        let unknown = SystemLimits {
            max_maps: None,
            ..roomy
        };
        assert_eq!(unknown.max_clients(100_000, 1), Ok(100_000));
    }

    #[test]
    fn listeners_and_processors_reduce_max_clients() {
        assert_eq!(MACHINE.max_clients(5_000, 101), Ok(1_024 - 32 - 200));
        let big = SystemLimits {
            descriptors: None,
            cpus: 128,
            ..MACHINE
        };
        let maps = 65_530 - 60 - 512 - 2_048;
        assert_eq!(big.max_clients(100_000, 1), Ok(maps / 8));
        assert_eq!(big.max_clients(100_000, 11), Ok((maps - 40) / 8));
    }

    #[test]
    fn no_room_error_names_limit_and_minimum() {
        let descriptors = |limit| SystemLimits {
            descriptors: Some(limit),
            ..MACHINE
        };
        assert_eq!(descriptors(33).max_clients(9, 1), Ok(1));
        assert_eq!(
            descriptors(32).max_clients(9, 1),
            Err(NoRoom::Descriptors(32, 33))
        );
        assert_eq!(
            descriptors(0).max_clients(9, 3),
            Err(NoRoom::Descriptors(0, 37))
        );
        let maps = |limit| SystemLimits {
            max_maps: Some(limit),
            ..MACHINE
        };
        assert_eq!(maps(60 + 512 + 32 + 8).max_clients(9, 1), Ok(1));
        let least = 60 + 512 + 32 + 8;
        assert_eq!(
            maps(least - 1).max_clients(9, 1),
            Err(NoRoom::Maps(least - 1, least))
        );
    }

    #[test]
    fn processor_ranges_are_counted() {
        for (list, count) in [
            ("0\n", Some(1)),
            ("0-1\n", Some(2)),
            ("0-63", Some(64)),
            ("0,2-3,8-15\n", Some(11)),
            ("", None),
            ("3-1", None),
            ("all", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(count_cpus(list), count, "{list:?}");
        }
    }
}
