use crate::clean_close::CLOSE_TIMEOUT;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

/// Sends and closes with one deadline. Each call gets only the time that is left.
pub(crate) fn send_and_close(mut socket: TcpStream, message: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    socket.set_write_timeout(Some(CLOSE_TIMEOUT))?;
    socket.write_all(message)?;
    socket.shutdown(Shutdown::Write)?;
    let mut dropped = [0; 4096];
    loop {
        // std refuses a timeout of zero.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut dropped) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
}
