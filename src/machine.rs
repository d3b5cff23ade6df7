//! What this machine can hold: the limits that the kernel puts on this process, and how
//! many clients they are enough for.

use std::fmt;

use crate::limits::{MAPS_PER_CLIENT, RESERVED_DESCRIPTORS, RESERVED_MAPS};

/// What the machine gives this process, as far as it says so.
///
/// The terms matter because running out of them differs: without a descriptor
/// `accept` fails, which can be waited out; but a Rust process that runs out of
/// memory maps in a *new thread* aborts, with every client in it
/// (<https://github.com/rust-lang/rust/issues/78497>). So the cap is computed
/// before the first client is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// RLIMIT_NOFILE (getrlimit(2)); `None` where there is no limit.
    pub descriptors: Option<u64>,
    /// vm.max_map_count (proc_sys_vm(5)); `None` where it cannot be read.
    pub max_maps: Option<u64>,
    /// The maps that this process has already.
    pub maps: u64,
}

impl Machine {
    /// Raises RLIMIT_NOFILE's soft limit to the hard one, which needs no
    /// privilege, and reads what there is.
    pub fn prepare() -> Machine {
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
        Machine {
            descriptors,
            max_maps: std::fs::read_to_string("/proc/sys/vm/max_map_count")
                .ok()
                .and_then(|number| number.trim().parse().ok()),
            maps: std::fs::read_to_string("/proc/self/maps")
                .map_or(0, |maps| maps.lines().count() as u64),
        }
    }

    /// How many clients this machine can hold, `wanted` at most.
    pub fn clients(&self, wanted: usize) -> usize {
        let by_descriptors = self
            .descriptors
            .map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED_DESCRIPTORS));
        let by_maps = self.max_maps.map_or(u64::MAX, |limit| {
            limit.saturating_sub(self.maps + RESERVED_MAPS) / MAPS_PER_CLIENT
        });
        let held = usize::try_from(by_descriptors.min(by_maps)).unwrap_or(usize::MAX);
        wanted.min(held)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_any =
            |limit: Option<u64>| limit.map_or("any number of".to_owned(), |n| n.to_string());
        let (descriptors, maps) = (or_any(self.descriptors), or_any(self.max_maps));
        write!(
            f,
            "{descriptors} descriptors, {maps} memory maps of which {} in use",
            self.maps
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_the_least_of_what_is_wanted_and_what_each_resource_allows() {
        let machine = Machine {
            descriptors: Some(1_024),
            max_maps: Some(65_530),
            maps: 60,
        };
        assert_eq!(machine.clients(500), 500);
        assert_eq!(machine.clients(5_000), 1_024 - 32);
        let roomy = Machine {
            descriptors: None,
            ..machine
        };
        assert_eq!(roomy.clients(100_000), (65_530 - 60 - 512) / 8);
        let unknown = Machine {
            descriptors: None,
            max_maps: None,
            maps: 0,
        };
        assert_eq!(unknown.clients(100_000), 100_000);
        let nothing = Machine {
            descriptors: Some(10),
            ..machine
        };
        assert_eq!(nothing.clients(1), 0);
    }
}
