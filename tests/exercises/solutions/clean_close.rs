use crate::clean_close::TIME;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

/// One deadline for all of it, and each call no more than what is left.
pub(crate) fn say_and_close(mut socket: TcpStream, line: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + TIME;
    socket.set_write_timeout(Some(TIME))?;
    socket.write_all(line)?;
    socket.shutdown(Shutdown::Write)?;
    let mut dropped = [0; 4096];
    loop {
        // A timeout of zero is an error to std.
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
