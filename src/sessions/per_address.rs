//! The clients of each address, counted for `--max-per-address`.
//!
//! Pure: callers pass the addresses. Does not know the limit, or when a client is refused.
//!
//! Invariant: *an address without clients takes no memory.*

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The part of a peer address that counts as one address.
///
/// An IPv4 address is one host, or one household behind it. With IPv6, a household has a
/// network with a prefix of 64 bits. A host can use as many addresses of it as it likes, so
/// the network counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// Returns the key of a peer's address. `None` for a loopback address, which has no limit.
    ///
    /// The own machine is trusted, and a proxy or `ssh -L` makes all clients connect from it.
    pub fn of(address: IpAddr) -> Option<AddressKey> {
        // A listener for IPv6 shows IPv4 clients as ::ffff:a.b.c.d.
        match address.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Some(AddressKey(Ipv6Addr::from_bits(network).into()))
            }
            address => Some(AddressKey(address)),
        }
    }
}

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// The clients of each address. Clients without a key are not counted.
#[derive(Debug, Default)]
pub struct AddressCounts(HashMap<AddressKey, Clients>);

/// The clients of one address.
#[derive(Debug, Default)]
pub struct Clients {
    /// The number of connections.
    pub connections: usize,
    /// The keys of the lingering sessions. A session whose connection was lost later has a
    /// greater key.
    pub lingering: BTreeSet<u64>,
}

impl AddressCounts {
    /// Returns the number of connections from this address.
    pub fn connections(&self, address: Option<AddressKey>) -> usize {
        self.clients(address).map_or(0, |it| it.connections)
    }

    /// Returns the number of clients from this address: connections and lingering sessions.
    pub fn count(&self, address: Option<AddressKey>) -> usize {
        let count = |it: &Clients| it.connections + it.lingering.len();
        self.clients(address).map_or(0, count)
    }

    /// Returns the key of the session from this address that has lingered longest.
    pub fn longest_lingering(&self, address: Option<AddressKey>) -> Option<u64> {
        self.clients(address)?.lingering.first().copied()
    }

    fn clients(&self, address: Option<AddressKey>) -> Option<&Clients> {
        self.0.get(&address?)
    }

    /// Changes the counts of an address. Removes an address without clients.
    pub fn change(&mut self, address: Option<AddressKey>, change: impl FnOnce(&mut Clients)) {
        let Some(address) = address else { return };
        let clients = self.0.entry(address).or_default();
        change(clients);
        if clients.connections == 0 && clients.lingering.is_empty() {
            self.0.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> Option<AddressKey> {
        AddressKey::of(address.parse().unwrap())
    }

    #[test]
    fn loopback_addresses_have_no_key() {
        for address in [
            "127.0.0.1",
            "127.255.0.3",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:127.9.9.9",
        ] {
            assert_eq!(key(address), None, "{address}");
        }
    }

    #[test]
    fn ipv4_address_and_its_mapped_form_have_one_key() {
        assert_ne!(key("192.0.2.1"), None);
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_ne!(key("::ffff:192.0.2.1"), key("::ffff:192.0.2.2"));
        assert_eq!(key("192.0.2.1").unwrap().to_string(), "192.0.2.1");
    }

    #[test]
    fn ipv6_addresses_of_one_64_bit_network_have_one_key() {
        let here = key("2001:db8:1:2:3:4:5:6");
        assert_eq!(here, key("2001:db8:1:2::1"));
        assert_eq!(here, key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(here, key("2001:db8:1:3::1"));
        assert_ne!(here, key("2001:db9:1:2::1"));
        assert_eq!(here.unwrap().to_string(), "2001:db8:1:2::/64");
        // Not the loopback address, although its network has the same bits as that of ::1.
        assert_ne!(key("::2"), None);
    }

    #[test]
    fn clients_are_counted_per_address_until_the_last_ends() {
        let mut addresses = AddressCounts::default();
        let (one, two) = (key("192.0.2.1"), key("192.0.2.2"));
        addresses.change(one, |it| it.connections += 1);
        addresses.change(one, |it| it.connections += 1);
        addresses.change(two, |it| it.connections += 1);
        addresses.change(one, |it| it.connections -= 1);
        addresses.change(one, |it| it.lingering.extend([7, 8]));
        assert_eq!((addresses.connections(one), addresses.count(one)), (1, 3));
        assert_eq!((addresses.connections(two), addresses.count(two)), (1, 1));
        assert_eq!(addresses.longest_lingering(one), Some(7));
        assert_eq!(addresses.longest_lingering(two), None);
        addresses.change(one, |it| it.lingering.retain(|key| *key != 7));
        assert_eq!(addresses.longest_lingering(one), Some(8));
        addresses.change(one, |it| it.lingering.clear());
        addresses.change(one, |it| it.connections -= 1);
        addresses.change(two, |it| it.connections -= 1);
        addresses.change(None, |it| it.connections += 1);
        assert!(addresses.0.is_empty(), "{addresses:?}");
        assert_eq!(addresses.count(None), 0);
    }
}
