//! The exercise of chapter 3: a queue that drops the oldest.
//!
//! `YourQueue` below holds sixteen messages, however long they are, and what comes then is
//! gone. Change it, so that
//!
//! - the messages in it are never longer together than the bound, in bytes;
//! - for one that does not fit, the oldest are dropped, one after the other, until it does;
//! - one that is longer than the whole bound is dropped itself, and no other for it;
//! - who takes out learns of each gap in its place, how many messages are missing there; two
//!   gaps with nothing between them are one.

use std::collections::VecDeque;

/// What is taken out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Message(String),
    /// So many messages were dropped here.
    Missed(u64),
}

/// What a queue does.
pub(crate) trait Queue {
    /// An empty one, with room for so many bytes.
    fn new(bound: usize) -> Self;

    /// Puts a message in, at the end.
    fn push(&mut self, message: String);

    /// Takes the first thing out that there is.
    fn pop(&mut self) -> Option<Item>;
}

/// This is what you change.
pub(crate) struct YourQueue {
    messages: VecDeque<String>,
}

impl Queue for YourQueue {
    fn new(_bound: usize) -> YourQueue {
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

    const BOUND: usize = 100;

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
        the_oldest_are_dropped_and_told_of::<Q>();
        what_is_longer_than_the_bound_costs_no_other_its_place::<Q>();
        any_order_gives_what_the_rules_say::<Q>();
    }

    fn the_oldest_are_dropped_and_told_of<Q: Queue>() {
        let mut queue = Q::new(BOUND);
        for number in 0..12 {
            queue.push(message(number, 10));
        }
        assert_eq!(queue.pop(), Some(Item::Missed(2)));
        for number in 2..12 {
            assert_eq!(queue.pop(), Some(Item::Message(message(number, 10))));
        }
        assert_eq!(queue.pop(), None);
    }

    fn what_is_longer_than_the_bound_costs_no_other_its_place<Q: Queue>() {
        let mut queue = Q::new(BOUND);
        for (number, length) in [(0, 50), (1, BOUND + 1), (2, 50)] {
            queue.push(message(number, length));
        }
        assert_eq!(queue.pop(), Some(Item::Message(message(0, 50))));
        assert_eq!(queue.pop(), Some(Item::Missed(1)));
        assert_eq!(queue.pop(), Some(Item::Message(message(2, 50))));
        assert_eq!(queue.pop(), None);
    }

    /// Pushes a message of this length, or pops.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(usize),
        Pop,
    }

    fn any_order_gives_what_the_rules_say<Q: Queue>() {
        let step = prop_oneof![
            3 => (10..BOUND / 2).prop_map(Step::Push),
            1 => (10..BOUND + 10).prop_map(Step::Push),
            2 => Just(Step::Pop),
        ];
        let steps = prop::collection::vec(step, 0..60);
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&steps, |steps| {
            let (mut queue, mut model) = (Q::new(BOUND), Model::default());
            // And at the end all that there is.
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

    /// The rules, said in another way: which of the messages, that are numbered, are there.
    #[derive(Default)]
    struct Model {
        /// Number and length.
        there: Vec<(usize, usize)>,
        pushed: usize,
        /// The number of the first of which nothing is known outside.
        next: usize,
    }

    impl Model {
        fn push(&mut self, length: usize) -> String {
            let number = self.pushed;
            self.pushed += 1;
            if length <= BOUND {
                self.there.push((number, length));
            }
            while self.there.iter().map(|(_, length)| length).sum::<usize>() > BOUND {
                self.there.remove(0);
            }
            message(number, length)
        }

        fn pop(&mut self) -> Option<Item> {
            let first = self.there.first().copied();
            let known_until = first.map_or(self.pushed, |(number, _)| number);
            if self.next < known_until {
                let missed = known_until - self.next;
                self.next = known_until;
                return Some(Item::Missed(missed as u64));
            }
            let (number, length) = first?;
            self.there.remove(0);
            self.next = number + 1;
            Some(Item::Message(message(number, length)))
        }
    }

    /// The message of this number, so many bytes long.
    fn message(number: usize, length: usize) -> String {
        format!("{number:x<length$}")
    }
}
