use crate::slow_reader::{Item, Queue};
use std::collections::VecDeque;

/// No two gaps stand beside each other in it.
pub(crate) struct Solution {
    items: VecDeque<Item>,
    /// Of all messages in it.
    bytes: usize,
    bound: usize,
}

impl Queue for Solution {
    fn new(bound: usize) -> Solution {
        Solution {
            items: VecDeque::new(),
            bytes: 0,
            bound,
        }
    }

    fn push(&mut self, message: String) {
        if message.len() > self.bound {
            match self.items.back_mut() {
                Some(Item::Missed(count)) => *count += 1,
                _ => self.items.push_back(Item::Missed(1)),
            }
            return;
        }
        self.drop_oldest(self.bound - message.len());
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
    /// Until so many bytes remain at most. What stood there is one gap then, with the one
    /// that comes next, if one does.
    fn drop_oldest(&mut self, most: usize) {
        let mut missed = 0;
        while self.bytes > most || missed > 0 && self.items.front().is_some_and(is_gap) {
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
