//! The newest broadcasts, for clients that come later.
//!
//! Does not know names, sessions or recipients.
//!
//! Invariant: *the kept messages are the newest ones, at most as many as `--history` allows,
//! and one response can return all of them.*

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::limits::MAX_RECENT_SIZE;
use crate::protocol::reply::{Delivery, Recent};

/// The newest broadcasts of a server.
///
/// A thread takes its lock alone, for a few instructions or for one copy of the list.
pub struct History {
    /// The maximum number of messages.
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    messages: VecDeque<Recent>,
    /// Bytes of the messages on the wire.
    size: usize,
}

impl History {
    /// Makes an empty history of at most `limit` messages. Zero keeps none.
    pub fn new(limit: usize) -> History {
        History {
            limit,
            kept: Mutex::default(),
        }
    }

    /// Returns the maximum number of messages.
    #[cfg(feature = "redis")]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Keeps a broadcast that was sent at this time. Drops the oldest ones that no response
    /// could return any more.
    pub fn add(&self, message: &Delivery, time: SystemTime) {
        if self.limit == 0 {
            return;
        }
        let recent = Recent {
            time,
            message: message.clone(),
        };
        let mut kept = self.kept.lock();
        kept.size += recent.wire_len();
        kept.messages.push_back(recent);
        while kept.messages.len() > self.limit || kept.size > MAX_RECENT_SIZE {
            let Some(oldest) = kept.messages.pop_front() else {
                return;
            };
            kept.size -= oldest.wire_len();
        }
    }

    /// Returns the newest messages, at most `count`, the oldest of them first.
    pub fn newest(&self, count: usize) -> Vec<Recent> {
        let kept = self.kept.lock();
        let others = kept.messages.len().saturating_sub(count);
        kept.messages.range(others..).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, text};
    use crate::protocol::reply::Scope;

    fn broadcast(its_text: &str) -> Delivery {
        Delivery::new(Scope::Broadcast, &name("bob"), &text(its_text))
    }

    fn texts(history: &History, count: usize) -> Vec<String> {
        let newest = history.newest(count);
        let data = newest.iter().map(|recent| {
            let bytes = recent.encode(None);
            let text = String::from_utf8(bytes).unwrap();
            text.trim_end().rsplit(' ').next().unwrap().to_owned()
        });
        data.collect()
    }

    #[test]
    fn newest_messages_are_kept_up_to_the_limit() {
        let history = History::new(3);
        for number in 0..5 {
            history.add(&broadcast(&number.to_string()), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(texts(&history, 10), ["2", "3", "4"]);
        assert_eq!(texts(&history, 2), ["3", "4"]);
        assert!(texts(&history, 0).is_empty());
    }

    #[test]
    fn history_of_zero_keeps_nothing() {
        let history = History::new(0);
        history.add(&broadcast("one"), SystemTime::UNIX_EPOCH);
        assert!(texts(&history, 10).is_empty());
    }

    #[test]
    fn kept_messages_fit_into_one_response() {
        let history = History::new(1_000);
        for number in 0..100 {
            let long = format!("{number}-{}", "x".repeat(2_000));
            history.add(&broadcast(&long), SystemTime::UNIX_EPOCH);
            let kept = history.kept.lock();
            let size: usize = kept
                .messages
                .iter()
                .map(|it| it.encode(None).len() + 32)
                .sum();
            assert_eq!(kept.size, size);
            assert!(size <= MAX_RECENT_SIZE);
        }
        assert_eq!(
            history.newest(1_000).len(),
            MAX_RECENT_SIZE / broadcast_size()
        );
    }

    fn broadcast_size() -> usize {
        let time = SystemTime::UNIX_EPOCH;
        let message = broadcast(&format!("99-{}", "x".repeat(2_000)));
        Recent { time, message }.wire_len()
    }
}
