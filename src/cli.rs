//! Command-line helpers of both programs: the error for bad usage, and addresses.
//!
//! Does not know the options of either program.

use std::fmt;

use getopts::Fail;

/// The error for a bad command line, as one line of text.
#[derive(Debug, PartialEq, Eq)]
pub struct BadUsage(pub(crate) String);

impl From<Fail> for BadUsage {
    fn from(fail: Fail) -> BadUsage {
        BadUsage(fail.to_string())
    }
}

impl fmt::Display for BadUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUsage {}

/// Returns whether this is `HOST:PORT`. The host is not looked up here.
pub(crate) fn is_address(address: &str) -> bool {
    split_address(address).is_some()
}

/// Splits `HOST:PORT`, and removes the brackets of an IPv6 host.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = in_brackets.unwrap_or(host);
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_splits_into_host_without_brackets_and_port() {
        for (address, host) in [
            ("127.0.0.1:7", "127.0.0.1"),
            ("localhost:7", "localhost"),
            ("[::1]:7", "::1"),
            ("[fe80::1%eth0]:7", "fe80::1%eth0"),
        ] {
            assert_eq!(split_address(address), Some((host, 7)));
        }
        for bad in ["", "7", ":7", "[]:7", "x:", "x:65536", "x:-1", "x"] {
            assert_eq!(split_address(bad), None, "{bad:?}");
        }
    }
}
