//! One change of a session at a time.
//!
//! A rename waits for Redis, so it takes effect long after it was checked. Meanwhile another
//! connection of this node may resume the session, or rename it too. With one server each is one
//! step under a lock. Here a reader thread takes its turn first.
//!
//! Does not know what is changed.
//!
//! Invariant: *at most one reader thread has the turn of a session.*

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use crate::protocol::token::Token;

/// The turns that are taken. A thread takes the lock for one step.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<Token, Receiver<Infallible>>>);

/// The right to rename or to resume a session. Dropping it passes it on.
pub struct Turn<'a> {
    turns: &'a Turns,
    pub(super) token: Token,
    /// The end of the waiting, for the turn and for what it is used for.
    pub(super) deadline: Instant,
    /// Nothing is sent. The waiting threads see that it is dropped.
    _over: Sender<Infallible>,
}

impl Turns {
    /// Waits for the turn of a session. `None` after the deadline.
    pub(super) fn take(&self, token: Token, deadline: Instant) -> Option<Turn<'_>> {
        loop {
            let (over, is_over) = bounded(0);
            let before = match self.0.lock().entry(token) {
                Entry::Vacant(place) => {
                    place.insert(is_over);
                    return Some(Turn {
                        turns: self,
                        token,
                        deadline,
                        _over: over,
                    });
                }
                Entry::Occupied(before) => before.get().clone(),
            };
            if before.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
                return None;
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.0.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn turn_of_a_session_is_one_thread_at_a_time() {
        let (turns, is_taken, start) = (Turns::default(), AtomicBool::new(false), Barrier::new(4));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..100 {
                        let _turn = turns.take(Token::from_bits([1; 16]), soon()).unwrap();
                        assert!(!is_taken.swap(true, Ordering::Relaxed));
                        thread::yield_now();
                        is_taken.store(false, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(turns.0.lock().is_empty());
    }

    #[test]
    fn turn_is_waited_for_until_the_deadline() {
        let turns = Turns::default();
        let (one, other) = (Token::from_bits([1; 16]), Token::from_bits([2; 16]));
        let _turn = turns.take(one, soon()).unwrap();
        assert!(turns.take(one, Instant::now()).is_none());
        assert!(turns.take(other, Instant::now()).is_some());
    }
}
