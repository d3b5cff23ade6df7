//! A server process, clients that talk to it, and the helpers of all tests.
//!
//! Invariants:
//!
//! - Every wait has a deadline. A failure prints the client's dialogue and the server's log.
//! - A test learns with a `Ping` that the server has executed earlier requests: first on the
//!   sender, then on the recipient. It polls only where no message tells.
//! - In a spread run, a `Ping` is a barrier for its own node. A delivery of another node has been
//!   queued when its sender is answered. A change of presence may come later, see
//!   [`Server::connect_apart_from`].

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

mod client;
mod process;
#[cfg(feature = "redis")]
mod proxy;
#[cfg(feature = "redis")]
mod redis;
mod server;

#[cfg(feature = "redis")]
pub(crate) use self::proxy::{Mode, Proxy, Way};
#[cfg(feature = "redis")]
pub(crate) use self::redis::Redis;
#[allow(unused_imports, reason = "the benchmarks use it")]
pub(crate) use client::filling;
pub(crate) use client::{Client, Ended, Filled, Message, is_token, missed_by, number_of};
#[cfg(feature = "client")]
pub(crate) use process::stop;
pub(crate) use process::{ExecutableCopy, Program, output_of, signal, status_of};
#[allow(unused_imports, reason = "the soak names the type")]
pub(crate) use server::Usage;
pub(crate) use server::{Server, is_spread, is_spread_without, server_threads, servers};

/// The time limit of every wait. A loaded machine needs some seconds for a step.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until this holds. For events that no message announces.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} has not happened");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns whether a tool is installed, and reports the skipped test if not.
#[track_caller]
pub(crate) fn has_tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if !found {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Reports that a test is skipped. If `CI` is set, that is a failure.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// Whether either end of a connection to this port has unread input. Looks at all processes.
pub(crate) fn has_unread(port: u16) -> bool {
    let connections = fs::read_to_string("/proc/net/tcp").expect("Linux");
    connections.lines().skip(1).any(|line| {
        // sl local_address rem_address st tx_queue:rx_queue (proc_net_tcp.txt)
        let fields: Vec<&str> = line.split_whitespace().collect();
        let unread = fields[4].split(':').nth(1).expect("two queues");
        let (port, connected) = (format!(":{port:04X}"), fields[3] != "0A");
        let is_of_port = connected && fields[1..3].iter().any(|end| end.ends_with(&port));
        is_of_port && unread.bytes().any(|digit| digit != b'0')
    })
}
