//! Detection of dead peers: the kernel reports a peer that vanished without closing.
//!
//! A peer sends nothing when its cable is pulled or its machine is off. The server and the
//! client both use this.
//!
//! Does not know threads, or what is sent on a connection.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

use crate::limits;

/// Makes a read of this socket fail when the peer is dead (tcp(7)).
///
/// On an idle connection, keepalive's probes get no answer. Otherwise, sent data stays without
/// an acknowledgement for `user_timeout`, which must be at least [`limits::USER_TIMEOUT`].
pub fn detect_dead_peers(socket: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, limits::KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, limits::KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, limits::MAX_KEEPALIVE_PROBES)?;
    #[cfg(target_os = "linux")]
    {
        let millis = user_timeout.as_millis().try_into().unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(socket, millis)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    Ok(())
}
