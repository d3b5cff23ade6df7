use crate::slow_reader::{Item, Queue};
use std::collections::VecDeque;

/// A queue of messages and gaps. Two gaps are never adjacent.
pub(crate) struct Solution {
    items: VecDeque<Item>,
    /// The bytes of all messages in the queue.
    bytes: usize,
    limit: usize,
}

impl Queue for Solution {
    fn new(limit: usize) -> Solution {
        Solution {
            items: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    fn push(&mut self, message: String) {
        if message.len() > self.limit {
            match self.items.back_mut() {
                Some(Item::Missed(count)) => *count += 1,
                _ => self.items.push_back(Item::Missed(1)),
            }
            return;
        }
        self.drop_oldest(self.limit - message.len());
        self.bytes += message.len();
        self.items.push_back(Item::Message(message));
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Item::Message(message) = &item {
            self.bytes -= message.len();
        }
        Some(item)
    }
}

impl Solution {
    /// Drops the oldest messages until at most `max` bytes remain. All that is dropped becomes one
    /// gap, together with a gap that follows.
    fn drop_oldest(&mut self, max: usize) {
        let mut missed = 0;
        while self.bytes > max || missed > 0 && self.items.front().is_some_and(is_gap) {
            match self.pop() {
                Some(Item::Message(_)) => missed += 1,
                Some(Item::Missed(count)) => missed += count,
                None => break,
            }
        }
        if missed > 0 {
            self.items.push_front(Item::Missed(missed));
        }
    }
}

fn is_gap(item: &Item) -> bool {
    matches!(item, Item::Missed(_))
}
