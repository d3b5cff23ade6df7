//! Finding out that the other side of a connection is gone without a word: its cable
//! pulled, its machine off. The server and the client both ask the kernel for it.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

use crate::limits;

/// Makes a read fail when the peer is gone: in silence because keepalive's probes go
/// unacknowledged, and otherwise because what was sent has for `user_timeout`, which is no
/// less than [`limits::USER_TIMEOUT`] (tcp(7)).
pub fn detect_dead_peers(socket: &TcpStream, user_timeout: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, limits::KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, limits::KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, limits::KEEPALIVE_PROBES)?;
    #[cfg(target_os = "linux")]
    {
        let millis = user_timeout.as_millis().try_into().unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(socket, millis)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    Ok(())
}
