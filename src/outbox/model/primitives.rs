//! The primitives of the outbox under the model checker: the usual names, made with shuttle.
//!
//! At every lock, wait and channel, another thread may run. A socket accepts a random part of
//! each write.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::Shutdown;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync as checked;
pub(super) use shuttle::thread::{JoinHandle, yield_now};

#[derive(Default)]
pub(super) struct Mutex<T>(checked::Mutex<T>);

pub(super) struct MutexGuard<'a, T>(Option<checked::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Mutex<T> {
        Mutex(checked::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap()))
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

pub(super) struct Condvar(checked::Condvar);

/// The result of a wait. It never times out, because time does not pass in the model.
pub(super) struct NotTimedOut;

impl Condvar {
    pub(super) fn new() -> Condvar {
        Condvar(checked::Condvar::new())
    }

    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }

    pub(super) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let inner = guard.0.take().unwrap();
        guard.0 = Some(self.0.wait(inner).unwrap());
    }

    pub(super) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> NotTimedOut {
        self.wait(guard);
        NotTimedOut
    }
}

impl NotTimedOut {
    pub(super) fn timed_out(&self) -> bool {
        false
    }
}

struct Channel<T> {
    state: Mutex<ChannelState<T>>,
    changed: Condvar,
}

struct ChannelState<T> {
    items: VecDeque<T>,
    bound: usize,
    senders: usize,
}

pub(super) struct Sender<T>(Arc<Channel<T>>);

pub struct Receiver<T>(Arc<Channel<T>>);

pub(super) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

pub(super) fn bounded<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        state: Mutex::new(ChannelState {
            items: VecDeque::new(),
            bound,
            senders: 1,
        }),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Sender<T> {
    pub(super) fn send(&self, item: T) -> Result<(), TrySendError<T>> {
        self.try_send(item)
    }

    pub(super) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state.lock();
        if state.items.len() == state.bound {
            return Err(TrySendError(item));
        }
        state.items.push_back(item);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver(Arc::clone(&self.0))
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.state.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

/// The error of a full channel, with the item.
pub(super) struct TrySendError<T>(T);

impl<T> TrySendError<T> {
    pub(super) fn into_inner(self) -> T {
        self.0
    }
}

/// The error of an empty channel, or of a disconnected one.
#[derive(Debug)]
pub(super) struct Nothing;

/// The same as crossbeam's, but time does not pass in the model.
#[derive(Debug, PartialEq)]
pub(super) enum RecvTimeoutError {
    #[allow(dead_code, reason = "its callers compare with it")]
    Timeout,
    Disconnected,
}

impl<T> Receiver<T> {
    pub(super) fn try_recv(&self) -> Result<T, Nothing> {
        self.0.state.lock().items.pop_front().ok_or(Nothing)
    }

    pub(super) fn recv(&self) -> Result<T, Nothing> {
        let mut state = self.0.state.lock();
        while state.items.is_empty() && state.senders > 0 {
            self.0.changed.wait(&mut state);
        }
        state.items.pop_front().ok_or(Nothing)
    }

    pub(super) fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        self.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.state.lock().items.is_empty()
    }
}

/// Catches no panic: under the model checker each panic is a fault.
pub(super) fn catch_unwind<T>(run: impl FnOnce() -> T) -> Result<T, Infallible> {
    Ok(run())
}

/// Starts a thread, without a name.
pub(super) fn spawn<T: Send + 'static>(
    _: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Ok(shuttle::thread::spawn(run))
}

/// A client's socket, with the bytes that its kernel has accepted.
pub struct Socket {
    state: Mutex<SocketState>,
    /// Notified when the socket is shut down, for a write that is blocked.
    unblocked: Condvar,
    changed: Arc<(Mutex<()>, Condvar)>,
}

struct SocketState {
    taken: Vec<u8>,
    is_open: bool,
    /// The server has sent the end of input.
    has_ended: bool,
    is_stalled: bool,
    /// The kernel has not accepted all of the last write.
    is_full: bool,
}

impl Socket {
    /// Makes an open socket. `changed` is notified whenever it accepts bytes.
    pub(super) fn new(changed: Arc<(Mutex<()>, Condvar)>) -> Socket {
        let state = SocketState {
            taken: Vec::new(),
            is_open: true,
            has_ended: false,
            is_stalled: false,
            is_full: false,
        };
        Socket {
            state: Mutex::new(state),
            unblocked: Condvar::new(),
            changed,
        }
    }

    /// Stalls the client: it reads nothing more, and its kernel accepts nothing more.
    pub(super) fn stall(&self) {
        self.state.lock().is_stalled = true;
    }

    /// Returns whether a notice could not be written: the socket is shut down, or its kernel has
    /// not accepted all of the last write.
    pub(super) fn is_shut_down_or_full(&self) -> bool {
        let state = self.state.lock();
        !state.is_open || state.is_full
    }

    pub(super) fn taken(&self) -> Vec<u8> {
        self.state.lock().taken.clone()
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match how {
            Shutdown::Both => self.state.lock().is_open = false,
            Shutdown::Write => self.state.lock().has_ended = true,
            Shutdown::Read => {}
        }
        self.unblocked.notify_all();
        Ok(())
    }

    /// Accepts a random number of bytes, at least `least`. Blocks while the client is stalled,
    /// unless `least` is 0.
    fn take(&self, bytes: &[u8], least: usize) -> io::Result<usize> {
        let mut state = self.state.lock();
        while state.is_open && state.is_stalled && least > 0 {
            self.unblocked.wait(&mut state);
        }
        if !state.is_open || state.has_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.is_stalled {
            return Ok(0);
        }
        // Half of the writes are complete. The others end at a random byte.
        let accepts_all = thread_rng().gen_range(0..2) == 0;
        let least = if accepts_all { bytes.len() } else { least };
        let count = thread_rng().gen_range(least..=bytes.len());
        state.taken.extend_from_slice(&bytes[..count]);
        state.is_full = count < bytes.len();
        drop(state);
        // Notify under its lock. Otherwise a thread that has just looked would miss it.
        let _looking = self.changed.0.lock();
        self.changed.1.notify_all();
        Ok(count)
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes, 1.min(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn send_now(socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    socket.take(bytes, 0)
}
