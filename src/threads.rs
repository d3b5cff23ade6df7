//! Starting threads. Each has a name, which the log and a debugger show, and a stack of
//! the usual size; and that one cannot be had is an error, where `std::thread::spawn`
//! would panic.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::limits::STACK_SIZE;

/// Starts a thread of this name (15 characters of it are what the kernel shows, see
/// prctl(2)).
pub(crate) fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new()
        .name(name.into())
        .stack_size(STACK_SIZE)
        .spawn(run)
}
