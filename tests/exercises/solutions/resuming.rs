use crate::resuming::Outbox;
use std::collections::VecDeque;

/// A queue that keeps each message until it is acknowledged.
#[derive(Default)]
pub(crate) struct Mailbox {
    messages: VecDeque<String>,
    /// The number of the last acknowledged message, which is not kept.
    acknowledged: u64,
    /// How many of the kept messages were written to this connection.
    written: usize,
    /// The number of the last message that was written to any connection.
    last_written: u64,
}

impl Outbox for Mailbox {
    fn send(&mut self, text: &str) {
        self.messages.push_back(text.to_owned());
    }

    fn next(&mut self) -> Option<(u64, String)> {
        let text = self.messages.get(self.written)?;
        self.written += 1;
        let number = self.acknowledged + self.written as u64;
        self.last_written = self.last_written.max(number);
        Some((number, text.clone()))
    }

    fn acknowledge(&mut self, number: u64) {
        let number = number.min(self.last_written);
        // At most the number of kept messages, so it fits into a usize.
        let count = number.saturating_sub(self.acknowledged) as usize;
        self.messages.drain(..count);
        self.acknowledged += count as u64;
        self.written = self.written.saturating_sub(count);
    }

    fn resume(&mut self, seen: u64) {
        self.acknowledge(seen);
        self.written = 0;
    }

    fn kept(&self) -> usize {
        self.messages.len()
    }
}
