//! Starts threads with a name and a stack size.
//!
//! The log and a debugger show the name. If the system has no thread left, the caller gets an
//! error. `std::thread::spawn` would panic.
//!
//! Does not know what a thread does, or which thread waits for its end.

use std::io;
use std::thread::{Builder, JoinHandle};

use crate::limits::STACK_SIZE;

/// Starts a thread of this name. The kernel shows 15 characters of it (prctl(2)).
pub(crate) fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new()
        .name(name.into())
        .stack_size(STACK_SIZE)
        .spawn(run)
}
