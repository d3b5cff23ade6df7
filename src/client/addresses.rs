//! The addresses of the servers that are one chat, in the order in which the client tries them.
//!
//! Does not know a connection or a login. Invariant: *there is at least one address, and after a
//! login the first is that of the session*. So the client finds its session there again.

use std::io;

use super::address::Address;
use super::connection::without_os_code;

/// The addresses of the servers of one chat, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<Address>);

impl Addresses {
    /// Adds an address, which is tried after the others. Returns false if it is there already.
    pub fn add(&mut self, address: Address) -> bool {
        let is_new = !self.0.contains(&address);
        if is_new {
            self.0.push(address);
        }
        is_new
    }

    /// Returns the address that is tried first.
    pub fn first(&self) -> &Address {
        &self.0[0]
    }

    /// Returns whether there is more than one address.
    pub fn has_several(&self) -> bool {
        self.0.len() > 1
    }

    /// Moves an address to the front. The others keep their order.
    pub fn prefer(&mut self, address: &Address) {
        if let Some(position) = self.0.iter().position(|it| it == address) {
            self.0[..=position].rotate_right(1);
        }
    }

    /// Calls `attempt` with one address after the other, until a call succeeds.
    ///
    /// If all fail, the error has each address with its reason. The error of a single address
    /// is returned as it is.
    pub fn try_each<T>(&self, mut attempt: impl FnMut(&Address) -> io::Result<T>) -> io::Result<T> {
        let mut reasons = Vec::new();
        for address in &self.0 {
            match attempt(address) {
                Err(e) if self.has_several() => {
                    reasons.push(format!("{address}: {}", without_os_code(&e)));
                }
                outcome => return outcome,
            }
        }
        Err(io::Error::other(reasons.join(", ")))
    }

    /// Returns the text of an error that has ended the client at the start.
    pub fn describe_failure(&self, e: &io::Error) -> String {
        let reason = without_os_code(e);
        match self.has_several() {
            // The reason has the addresses.
            true => format!("cannot talk to any server: {reason}"),
            false => format!("cannot talk to {}: {reason}", self.first()),
        }
    }
}

impl From<Address> for Addresses {
    fn from(address: Address) -> Addresses {
        Addresses(vec![address])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(typed: &[&str]) -> Addresses {
        Addresses(typed.iter().map(|typed| address(typed)).collect())
    }

    fn address(typed: &str) -> Address {
        Address::parse(typed).unwrap()
    }

    #[test]
    fn addresses_are_tried_in_turn_until_one_succeeds() {
        let servers = addresses(&["a:1", "b:2", "c:3"]);
        let mut tried = Vec::new();
        let winner = servers.try_each(|address| {
            tried.push(address.to_string());
            match tried.len() {
                1 => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => Ok(address.clone()),
            }
        });
        assert_eq!(winner.unwrap(), address("b:2"));
        assert_eq!(tried, ["a:1", "b:2"]);
    }

    #[test]
    fn preferred_address_is_first_and_the_others_keep_their_order() {
        let mut servers = addresses(&["a:1", "b:2", "c:3"]);
        for (preferred, expected) in [
            ("c:3", ["c:3", "a:1", "b:2"]),
            ("c:3", ["c:3", "a:1", "b:2"]),
            ("a:1", ["a:1", "c:3", "b:2"]),
            ("d:4", ["a:1", "c:3", "b:2"]),
        ] {
            servers.prefer(&address(preferred));
            assert_eq!(servers, addresses(&expected), "after {preferred}");
        }
    }

    #[test]
    fn error_names_the_addresses_only_if_they_has_several() {
        // ECONNREFUSED.
        let failure = |servers: &Addresses| {
            let refused = |_: &Address| Err::<(), _>(io::Error::from_raw_os_error(111));
            servers.describe_failure(&servers.try_each(refused).unwrap_err())
        };
        assert_eq!(
            failure(&addresses(&["a:1"])),
            "cannot talk to a:1: Connection refused"
        );
        assert_eq!(
            failure(&addresses(&["a:1", "b:2"])),
            "cannot talk to any server: a:1: Connection refused, b:2: Connection refused"
        );
    }
}
