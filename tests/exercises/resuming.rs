//! The exercise of chapter 10: delivery with acknowledgements.
//!
//! If a connection is lost, bytes that the kernel had accepted may never be read. Only the client
//! knows which. So every message has a number. From time to time the client sends a number up to
//! which it has all messages. `Mailbox` below forgets a message when it has been written. Change
//! it as follows:
//!
//! - A message is kept until it is acknowledged, and no longer.
//! - A connection starts behind the last message that its client has seen. It goes on in order
//!   from there, whatever was written to an earlier connection.
//! - An acknowledgement that arrives late changes nothing. One for messages that were not written
//!   yet counts only up to the last written message.

use std::collections::VecDeque;

/// The methods of a session's queue.
pub(crate) trait Outbox: Default {
    /// Enqueues a message. The first has the number 1, the next 2, and so on.
    fn send(&mut self, text: &str);

    /// Returns the next message to write to the connection, with its number. It then counts as
    /// written.
    fn next(&mut self) -> Option<(u64, String)>;

    /// Handles an acknowledgement: the client has all messages up to this one.
    fn acknowledge(&mut self, number: u64);

    /// Starts another connection. Its client has seen all messages up to this one.
    fn resume(&mut self, seen: u64);

    /// Returns the number of kept messages.
    fn kept(&self) -> usize;
}

/// A session's queue. Change this type and its methods.
#[derive(Default)]
pub(crate) struct Mailbox {
    messages: VecDeque<String>,
    written: u64,
}

impl Outbox for Mailbox {
    fn send(&mut self, text: &str) {
        self.messages.push_back(text.to_owned());
    }

    fn next(&mut self) -> Option<(u64, String)> {
        let text = self.messages.pop_front()?;
        self.written += 1;
        Some((self.written, text))
    }

    fn acknowledge(&mut self, _number: u64) {}

    fn resume(&mut self, _seen: u64) {}

    fn kept(&self) -> usize {
        self.messages.len()
    }
}

mod test {
    use super::{Mailbox, Outbox};
    use crate::solutions;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use std::collections::VecDeque;

    #[test]
    #[ignore = "the exercise of chapter 10"]
    fn exercise() {
        check::<Mailbox>();
    }

    #[test]
    fn solution() {
        check::<solutions::resuming::Mailbox>();
    }

    fn check<O: Outbox>() {
        unread_messages_are_sent_again::<O>();
        acknowledged_messages_are_not_kept::<O>();
        late_or_false_acknowledgement_does_no_harm::<O>();
        all_messages_are_read_once_in_order_after_any_loss::<O>();
    }

    fn send_three<O: Outbox>() -> O {
        let mut outbox = O::default();
        for text in ["one", "two", "three"] {
            outbox.send(text);
        }
        outbox
    }

    fn rest(outbox: &mut impl Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.next())
            .map(|(number, _)| number)
            .collect()
    }

    fn unread_messages_are_sent_again<O: Outbox>() {
        let mut outbox = send_three::<O>();
        assert_eq!(outbox.next(), Some((1, "one".to_owned())));
        assert_eq!(outbox.next(), Some((2, "two".to_owned())));
        outbox.resume(1);
        assert_eq!(
            outbox.next(),
            Some((2, "two".to_owned())),
            "a message that was written and not seen"
        );
        outbox.resume(1);
        assert_eq!(rest(&mut outbox), [2, 3]);
        assert_eq!(rest(&mut outbox), [0; 0]);
        outbox.resume(3);
        outbox.send("four");
        assert_eq!(outbox.next(), Some((4, "four".to_owned())));
    }

    fn acknowledged_messages_are_not_kept<O: Outbox>() {
        let mut outbox = send_three::<O>();
        assert_eq!(outbox.kept(), 3);
        rest(&mut outbox);
        assert_eq!(outbox.kept(), 3, "they may have to be written again");
        outbox.acknowledge(2);
        assert_eq!(outbox.kept(), 1);
        outbox.resume(3);
        assert_eq!(outbox.kept(), 0, "resuming acknowledges too");
    }

    fn late_or_false_acknowledgement_does_no_harm<O: Outbox>() {
        let mut outbox = send_three::<O>();
        outbox.next();
        outbox.next();
        outbox.acknowledge(2);
        outbox.acknowledge(1);
        assert_eq!(outbox.kept(), 1);
        outbox.acknowledge(u64::MAX);
        assert_eq!(outbox.kept(), 1, "three was never written");
        outbox.resume(0);
        assert_eq!(rest(&mut outbox), [3], "acknowledged messages are not kept");
        outbox.resume(u64::MAX);
        outbox.send("four");
        assert_eq!(rest(&mut outbox), [4]);
    }

    /// One step of a random test.
    #[derive(Clone, Debug)]
    enum Step {
        Send,
        /// At most this many messages are written.
        Write(usize),
        /// The client reads at most this many of the messages that were written.
        Read(usize),
        Acknowledge,
        /// The connection is lost with its unread messages, and the client resumes.
        Break,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Send),
            2 => (0..5_usize).prop_map(Step::Write),
            2 => (0..5_usize).prop_map(Step::Read),
            1 => Just(Step::Acknowledge),
            1 => Just(Step::Break),
        ];
        prop::collection::vec(step, 0..200)
    }

    fn all_messages_are_read_once_in_order_after_any_loss<O: Outbox>() {
        let config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        let run = TestRunner::new(config).run(&steps(), |steps| {
            let mut outbox = O::default();
            let (mut sent, mut acknowledged) = (0, 0);
            let mut wire: VecDeque<(u64, String)> = VecDeque::new();
            let mut seen: Vec<(u64, String)> = Vec::new();
            let end = [Step::Break, Step::Write(usize::MAX), Step::Read(usize::MAX)];
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Send => {
                        sent += 1;
                        outbox.send(&format!("text {sent}"));
                    }
                    Step::Write(count) => {
                        wire.extend(std::iter::from_fn(|| outbox.next()).take(count));
                    }
                    Step::Read(count) => seen.extend(wire.drain(..count.min(wire.len()))),
                    Step::Acknowledge => {
                        acknowledged = seen.len();
                        outbox.acknowledge(acknowledged as u64);
                    }
                    Step::Break => {
                        wire.clear();
                        acknowledged = seen.len();
                        outbox.resume(acknowledged as u64);
                    }
                }
                prop_assert_eq!(outbox.kept(), sent - acknowledged);
            }
            let all = (1..=sent as u64).map(|number| (number, format!("text {number}")));
            prop_assert_eq!(seen, all.collect::<Vec<_>>());
            Ok(())
        });
        run.unwrap_or_else(|e| panic!("{e}"));
    }
}
