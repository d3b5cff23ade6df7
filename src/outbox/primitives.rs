//! What the outbox is made of: locks, channels, and a client's socket. Under the model
//! checker it is made of others with the same names (`model/primitives.rs`).

use std::io;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

pub(super) use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded,
};
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(super) use std::net::TcpStream as Socket;
pub(super) use std::panic::catch_unwind;
pub(super) use std::thread::{JoinHandle, yield_now};

pub(super) use crate::threads::spawn;

/// Writes without blocking, and says how many bytes the kernel took.
pub(crate) fn send_now(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(count) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(e) => Err(e.into()),
    }
}
