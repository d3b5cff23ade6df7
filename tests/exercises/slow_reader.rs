//! The exercise of chapter 3: a queue that drops the oldest.
//!
//! `YourQueue` below holds at most sixteen messages of any length, and drops the newest. Change
//! it as follows:
//!
//! - The messages in the queue together are never longer than the limit, in bytes.
//! - If a message does not fit, the queue drops the oldest messages, one by one, until it does.
//! - A message that is longer than the limit is dropped itself. No other message is dropped for
//!   it.
//! - `pop` reports each gap at its position, with the number of messages that are missing there.
//!   Two gaps with no message between them are one gap.

use std::collections::VecDeque;

/// An item that `pop` returns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message(String),
    /// A gap: this many messages were dropped here.
    Missed(u64),
}

/// The methods of a queue.
pub(crate) trait Queue {
    /// Makes an empty queue with this limit in bytes.
    fn new(limit: usize) -> Self;

    /// Appends a message.
    fn push(&mut self, message: String);

    /// Removes and returns the first item.
    fn pop(&mut self) -> Option<Item>;
}

/// Change this type and its methods.
pub(crate) struct YourQueue {
    messages: VecDeque<String>,
}

impl Queue for YourQueue {
    fn new(_limit: usize) -> YourQueue {
        YourQueue {
            messages: VecDeque::new(),
        }
    }

    fn push(&mut self, message: String) {
        if self.messages.len() < 16 {
            self.messages.push_back(message);
        }
    }

    fn pop(&mut self) -> Option<Item> {
        self.messages.pop_front().map(Item::Message)
    }
}

mod test {
    use super::{Item, Queue, YourQueue};
    use crate::solutions::slow_reader::Solution;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    const LIMIT: usize = 100;

    #[test]
    #[ignore = "the exercise of chapter 3"]
    fn exercise() {
        check::<YourQueue>();
    }

    #[test]
    fn solution() {
        check::<Solution>();
    }

    fn check<Q: Queue>() {
        oldest_messages_are_dropped_and_reported::<Q>();
        message_above_the_limit_displaces_no_other::<Q>();
        any_order_of_steps_follows_the_rules::<Q>();
    }

    fn oldest_messages_are_dropped_and_reported<Q: Queue>() {
        let mut queue = Q::new(LIMIT);
        for number in 0..12 {
            queue.push(message(number, 10));
        }
        assert_eq!(queue.pop(), Some(Item::Missed(2)));
        for number in 2..12 {
            assert_eq!(queue.pop(), Some(Item::Message(message(number, 10))));
        }
        assert_eq!(queue.pop(), None);
    }

    fn message_above_the_limit_displaces_no_other<Q: Queue>() {
        let mut queue = Q::new(LIMIT);
        for (number, length) in [(0, 50), (1, LIMIT + 1), (2, 50)] {
            queue.push(message(number, length));
        }
        assert_eq!(queue.pop(), Some(Item::Message(message(0, 50))));
        assert_eq!(queue.pop(), Some(Item::Missed(1)));
        assert_eq!(queue.pop(), Some(Item::Message(message(2, 50))));
        assert_eq!(queue.pop(), None);
    }

    /// A push of a message of this length, or a pop.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(usize),
        Pop,
    }

    fn any_order_of_steps_follows_the_rules<Q: Queue>() {
        let step = prop_oneof![
            3 => (10..LIMIT / 2).prop_map(Step::Push),
            1 => (10..LIMIT + 10).prop_map(Step::Push),
            2 => Just(Step::Pop),
        ];
        let steps = prop::collection::vec(step, 0..60);
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&steps, |steps| {
            let (mut queue, mut model) = (Q::new(LIMIT), Model::default());
            // Then one more pop for each step, to empty the queue.
            let last = steps.iter().map(|_| Step::Pop);
            for step in steps.iter().copied().chain(last) {
                match step {
                    Step::Push(length) => queue.push(model.push(length)),
                    Step::Pop => prop_assert_eq!(queue.pop(), model.pop()),
                }
            }
            Ok(())
        });
        if let Err(e) = result {
            panic!("{e}");
        }
    }

    /// The rules in another form. The messages are numbered, and the model knows which are queued.
    #[derive(Default)]
    struct Model {
        /// The number and length of each queued message.
        queued: Vec<(usize, usize)>,
        pushed: usize,
        /// The number of the first message that no pop has returned or reported as missed.
        next: usize,
    }

    impl Model {
        fn push(&mut self, length: usize) -> String {
            let number = self.pushed;
            self.pushed += 1;
            if length <= LIMIT {
                self.queued.push((number, length));
            }
            while self.queued.iter().map(|(_, length)| length).sum::<usize>() > LIMIT {
                self.queued.remove(0);
            }
            message(number, length)
        }

        fn pop(&mut self) -> Option<Item> {
            let first = self.queued.first().copied();
            let known_until = first.map_or(self.pushed, |(number, _)| number);
            if self.next < known_until {
                let missed = known_until - self.next;
                self.next = known_until;
                return Some(Item::Missed(missed as u64));
            }
            let (number, length) = first?;
            self.queued.remove(0);
            self.next = number + 1;
            Some(Item::Message(message(number, length)))
        }
    }

    /// Returns the message with this number and this length in bytes.
    fn message(number: usize, length: usize) -> String {
        format!("{number:x<length$}")
    }
}
