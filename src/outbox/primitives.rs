//! The primitives of the outbox: locks, channels, threads, and a client's socket.
//!
//! Under the model checker, others with the same names replace them (`model/primitives.rs`).
//!
//! Does not know what is queued or written.

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

/// Writes without blocking. Returns how many bytes the kernel accepted.
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
