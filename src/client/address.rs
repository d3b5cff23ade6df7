//! Parses the address of a server as a user types it.
//!
//! Pure, except for the look-up of a host name. Does not know a connection. Invariant: *a text
//! that can be read as two different addresses is refused*.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::vec;

use crate::limits::{DEFAULT_HOST, DEFAULT_PORT};

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A host name or an IP address. An IPv6 address may end with a zone, as in `fe80::1%eth0`.
    host: String,
    port: u16,
}

impl Address {
    /// Returns the default address: a server on this machine.
    pub fn local() -> Address {
        Address::new(DEFAULT_HOST, DEFAULT_PORT)
    }

    fn new(host: &str, port: u16) -> Address {
        Address {
            host: host.to_owned(),
            port,
        }
    }

    /// Parses `HOST:PORT`. The host or the port may be missing.
    ///
    /// An IPv6 address needs brackets, unless it is unambiguous without them. Returns `None` if
    /// the text is not an address.
    pub fn parse(typed: &str) -> Option<Address> {
        if let Ok(port @ 1..) = typed.strip_prefix(':').unwrap_or(typed).parse() {
            return Some(Address::new(DEFAULT_HOST, port));
        }
        if let Some(rest) = typed.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            return (is_ipv6(host)).then_some(Address::new(host, self::port(port)?));
        }
        if typed.matches(':').count() > 1 {
            let begins_address = typed
                .rsplit_once(':')
                .is_some_and(|(rest, _)| is_ipv6(rest));
            let is_certain = is_ipv6(typed) && !begins_address;
            return is_certain.then(|| Address::new(typed, DEFAULT_PORT));
        }
        let (host, port) = typed.split_at(typed.find(':').unwrap_or(typed.len()));
        let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = host.chars().all(is_host) && host.contains(|c: char| !c.is_ascii_digit());
        is_name.then_some(Address::new(host, self::port(port)?))
    }
}

/// Parses the port after a host: `:PORT`, or an empty text for the default port.
fn port(text: &str) -> Option<u16> {
    match text.strip_prefix(':') {
        None => text.is_empty().then_some(DEFAULT_PORT),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
    }
}

/// Returns whether this is an IPv6 address, with or without a zone.
fn is_ipv6(text: &str) -> bool {
    let (number, zone) = text.split_once('%').unwrap_or((text, "0"));
    number.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && !zone.contains('%')
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::new(&address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl ToSocketAddrs for Address {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<vec::IntoIter<SocketAddr>> {
        (&*self.host, self.port).to_socket_addrs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unambiguous_address_is_parsed() {
        for (typed, expected) in [
            ("::1", "[::1]:1313"),
            ("[::1]", "[::1]:1313"),
            ("[::1]:7", "[::1]:7"),
            ("[fe80::1%eth0]:1314", "[fe80::1%eth0]:1314"),
            ("fe80::1%eth0", "[fe80::1%eth0]:1313"),
            ("2001:db8:0:0:0:0:0:1", "[2001:db8:0:0:0:0:0:1]:1313"),
            (":1314", "127.0.0.1:1314"),
            ("1314", "127.0.0.1:1314"),
            ("localhost", "localhost:1313"),
            ("192.0.2.7", "192.0.2.7:1313"),
            ("chat.example:7000", "chat.example:7000"),
        ] {
            let address = Address::parse(typed).map(|address| address.to_string());
            assert_eq!(address.as_deref(), Some(expected), "{typed:?}");
        }
    }

    #[test]
    fn ambiguous_or_broken_address_is_refused() {
        for typed in [
            "",
            ":",
            "0",
            "65536",
            ":99999",
            "::1:1314",
            "2001:db8::1:2",
            "a:b",
            "a:",
            "a:0",
            "a:1:2",
            "[::1",
            "[::1]7",
            "[]:7",
            "[a]:7",
            "a b",
            "1.2:x",
            "http://a",
            "[::1%]:7",
        ] {
            assert_eq!(Address::parse(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn numeric_zone_is_resolved() {
        let address = Address::parse("[fe80::1%1]:7").unwrap();
        let resolved = address.to_socket_addrs().unwrap().next();
        assert_eq!(resolved.unwrap().to_string(), "[fe80::1%1]:7");
    }
}
