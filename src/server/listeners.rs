//! Binds the listening sockets, and sets the options that accepted sockets inherit.
//!
//! Does not know connections. std cannot set an option before bind(2), so rustix makes the
//! sockets.
//!
//! Invariant: each address of each `--listen` value is served by a listener, or does not
//! exist on this machine while another address of the same value does.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::cli::split_address;
use crate::limits;

/// Why a `--listen` value has no listener.
#[derive(Debug)]
pub struct ListenError {
    /// The value.
    value: String,
    /// The address at which it failed. `None` if the value has no address.
    address: Option<SocketAddr>,
    error: io::Error,
}

/// Binds all addresses of all values, each of them `HOST:PORT`.
///
/// An address that a listener on all addresses serves gets no listener of its own. An
/// address that this machine does not have is skipped if the value has another.
pub fn bind_all(values: &[String]) -> Result<Vec<TcpListener>, ListenError> {
    let mut resolved = Vec::new();
    for value in values {
        let addresses = resolve(value).map_err(|error| ListenError {
            value: value.clone(),
            address: None,
            error,
        })?;
        resolved.push((value, addresses));
    }
    let all: Vec<SocketAddr> = resolved.iter().flat_map(|(_, it)| it).copied().collect();
    let mut listeners = Vec::new();
    let mut bound = Vec::new();
    for (value, mut addresses) in resolved {
        addresses.retain(|address| !is_covered(*address, &all, &bound));
        bound.extend(&addresses);
        listeners.extend(
            bind_available(&addresses, |address| bind(address, &all)).map_err(
                |(address, error)| ListenError {
                    value: value.clone(),
                    address: Some(address),
                    error,
                },
            )?,
        );
    }
    Ok(listeners)
}

/// Returns the addresses of `HOST:PORT`, each once: at least one, or an error.
fn resolve(value: &str) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = split_address(value).ok_or(io::ErrorKind::InvalidInput)?;
    let mut addresses = Vec::new();
    // The resolver knows the scope in fe80::1%eth0, and std's parser does not.
    for address in (host, port).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(addresses)
}

/// Returns whether an address needs no listener: a listener on all addresses serves it, or
/// it is bound already. With port 0 each listener gets a port of its own.
fn is_covered(address: SocketAddr, all: &[SocketAddr], bound: &[SocketAddr]) -> bool {
    let has = |ip: IpAddr| all.contains(&SocketAddr::new(ip, address.port()));
    if address.port() == 0 || address.ip().is_unspecified() {
        return address.port() != 0 && bound.contains(&address);
    }
    let has_wildcard = match address.ip().to_canonical() {
        // [::] alone serves IPv4 too.
        IpAddr::V4(_) => has(Ipv4Addr::UNSPECIFIED.into()) || has(Ipv6Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => has(Ipv6Addr::UNSPECIFIED.into()),
    };
    has_wildcard || bound.contains(&address)
}

/// Binds the addresses of one value. Skips those that this machine does not have, if it has
/// another one. Otherwise the error is that of the first one that failed.
fn bind_available<L>(
    addresses: &[SocketAddr],
    mut bind: impl FnMut(SocketAddr) -> io::Result<L>,
) -> Result<Vec<L>, (SocketAddr, io::Error)> {
    let (mut listeners, mut missing) = (Vec::new(), None);
    for &address in addresses {
        match bind(address) {
            Ok(listener) => listeners.push(listener),
            Err(e) if is_missing(&e) => missing = missing.or(Some((address, e))),
            Err(e) => return Err((address, e)),
        }
    }
    match missing {
        Some(problem) if listeners.is_empty() => Err(problem),
        _ => Ok(listeners),
    }
}

/// Returns whether this machine has no such address, or no such kind of address.
fn is_missing(error: &io::Error) -> bool {
    [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Binds one address. `all` are the addresses that the server must serve.
fn bind(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    // Without CLOEXEC, a program that this one starts would keep the port.
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of an earlier server may still be in TIME_WAIT on this port.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // This listener serves IPv4 too, unless another one is for all of IPv4. Then the second
        // bind(2) of the two would find the port in use.
        let ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        let is_alone = address.port() == 0 || !all.contains(&ipv4);
        sockopt::set_ipv6_v6only(&socket, !is_alone)?;
    }
    set_inherited_options(&socket)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, limits::LISTEN_BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Sets the options that the kernel copies to each accepted socket.
fn set_inherited_options(socket: impl std::os::fd::AsFd) -> io::Result<()> {
    // Set before listen(2): the window scale is agreed on with the first packets (tcp(7)).
    sockopt::set_socket_recv_buffer_size(&socket, limits::RECEIVE_BUFFER_SIZE)?;
    // Telnet's Synch sends a byte as urgent data. Without this option the kernel takes that
    // byte out of the stream, and the filter for telnet misses the end of its command.
    sockopt::set_socket_oobinline(&socket, true)?;
    Ok(())
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenError {
            value,
            address,
            error,
        } = self;
        let address = address.map(|address| address.to_string());
        let place = match address {
            Some(address) if address != *value => format!("{address} ({value})"),
            _ => value.clone(),
        };
        match error.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {place}: the port is in use; \
                 choose another, as in: -l 127.0.0.1:1314 \
                 (with make: make run ARGS='-l 127.0.0.1:1314'; any free port: -l 127.0.0.1:0)"
            ),
            _ => write!(f, "cannot listen on {place}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn fail<L>(errno: Errno) -> io::Result<L> {
        Err(errno.into())
    }

    /// Binds addresses, some of which fail. Returns the bound ones.
    fn bound(outcomes: &[(&str, Option<Errno>)]) -> Result<Vec<String>, String> {
        let addresses: Vec<SocketAddr> = outcomes.iter().map(|(text, _)| address(text)).collect();
        let bind = |wanted: SocketAddr| {
            let mut outcomes = outcomes.iter();
            let (text, errno) = outcomes.find(|(text, _)| address(text) == wanted).unwrap();
            errno.map_or(Ok((*text).to_owned()), fail)
        };
        bind_available(&addresses, bind).map_err(|(address, _)| address.to_string())
    }

    #[test]
    fn every_address_of_a_name_is_bound() {
        let both = [("[::1]:7", None), ("127.0.0.1:7", None)];
        assert_eq!(
            bound(&both),
            Ok(vec!["[::1]:7".into(), "127.0.0.1:7".into()])
        );
    }

    #[test]
    fn missing_address_is_skipped_if_another_works() {
        for errno in [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT] {
            let missing = ("[::1]:7", Some(errno));
            let works = ("127.0.0.1:7", None);
            assert_eq!(bound(&[missing, works]), Ok(vec!["127.0.0.1:7".into()]));
            assert_eq!(bound(&[works, missing]), Ok(vec!["127.0.0.1:7".into()]));
            let other = ("127.0.0.2:7", Some(Errno::ADDRNOTAVAIL));
            assert_eq!(bound(&[missing, other]), Err("[::1]:7".into()));
        }
    }

    #[test]
    fn taken_address_fails_although_another_works() {
        let taken = ("127.0.0.1:7", Some(Errno::ADDRINUSE));
        for all in [[("[::1]:7", None), taken], [taken, ("[::1]:7", None)]] {
            assert_eq!(bound(&all), Err("127.0.0.1:7".into()));
        }
    }

    #[test]
    fn address_is_covered_by_a_wildcard_of_its_port() {
        let is_covered = |text: &str, all: &[&str]| {
            let all: Vec<SocketAddr> = all.iter().map(|text| address(text)).collect();
            super::is_covered(address(text), &all, &[])
        };
        for (covered, wildcard) in [
            ("127.0.0.1:7", "0.0.0.0:7"),
            ("127.0.0.1:7", "[::]:7"),
            ("[::1]:7", "[::]:7"),
            ("[::ffff:10.0.0.1]:7", "0.0.0.0:7"),
        ] {
            assert!(
                is_covered(covered, &[covered, wildcard]),
                "{covered} {wildcard}"
            );
        }
        for (other, wildcard) in [
            ("127.0.0.1:7", "0.0.0.0:8"),
            ("[::1]:7", "0.0.0.0:7"),
            ("0.0.0.0:7", "[::]:7"),
            ("[::]:7", "0.0.0.0:7"),
            ("127.0.0.1:0", "0.0.0.0:0"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert!(!is_covered(other, &[other, wildcard]), "{other} {wildcard}");
        }
    }

    #[test]
    fn repeated_address_is_bound_once() {
        let bound = [
            address("127.0.0.1:7"),
            address("0.0.0.0:7"),
            address("127.0.0.1:0"),
        ];
        assert!(super::is_covered(bound[0], &bound[..1], &bound));
        assert!(super::is_covered(bound[1], &bound[1..2], &bound));
        assert!(!super::is_covered(bound[2], &bound, &bound));
        let values = ["127.0.0.1:0", "127.0.0.1:0"].map(str::to_owned);
        assert_eq!(bind_all(&values).unwrap().len(), 2);
    }

    #[test]
    fn scope_and_brackets_are_resolved() {
        assert_eq!(resolve("[::1]:7").unwrap(), [address("[::1]:7")]);
        assert_eq!(resolve("127.0.0.1:7").unwrap(), [address("127.0.0.1:7")]);
        let [SocketAddr::V6(scoped)] = resolve("[fe80::1%lo]:7").unwrap()[..] else {
            panic!("one address")
        };
        assert_ne!(scoped.scope_id(), 0);
        assert_eq!(scoped.port(), 7);
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = &bind_all(&["127.0.0.1:0".to_owned()]).unwrap()[0];
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        // The kernel reserves as much again for its own structures (socket(7)).
        let size = sockopt::socket_recv_buffer_size(&accepted).unwrap();
        assert_eq!(size, 2 * limits::RECEIVE_BUFFER_SIZE);
        assert!(sockopt::socket_oobinline(&accepted).unwrap());
        let flags = rustix::io::fcntl_getfd(listener).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}
