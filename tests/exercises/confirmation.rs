//! The exercise of chapter 12: a broadcast that several nodes confirm.
//!
//! A broadcast was posted to several nodes, which include the node of the sender. Each node
//! confirms to how many sessions it has queued the broadcast. `wait_for_confirmations` below
//! adds up as many confirmations as there are nodes. That works if nothing else arrives. Change it
//! as follows:
//!
//! - The wait as a whole ends `PATIENCE` after its start, or earlier.
//! - Only a confirmation of this broadcast by one of its nodes is counted, and once for each
//!   node. The inbox also has heartbeats, confirmations of earlier broadcasts, and confirmations
//!   that arrive twice.
//! - The wait leaves a node out if nothing has come from that node for `SILENCE`. Any entry from
//!   the node ends the silence, and the wait itself starts one. The sender's own node is never
//!   left out.
//! - The wait ends when each node has confirmed or is left out. If a node that was left out
//!   confirms before that, its confirmation is counted.
//! - The result is `Delivered`, with the confirmed sessions, if the sender's own node has
//!   confirmed. Otherwise it is `MayHaveArrived`.

use std::time::Duration;

/// How long a sender waits for a response.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A node from which nothing comes for this time may have failed. A healthy node sends a
/// heartbeat more often.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// The number of a node.
pub(crate) type Node = u32;

/// An entry of the inbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) from: Node,
    pub(crate) content: Content,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    Heartbeat,
    /// The node has queued this broadcast for this number of sessions.
    Confirmation {
        broadcast: u64,
        sessions: usize,
    },
}

/// The entries that arrive, with the clock. The test advances the clock, so it needs no time.
pub(crate) trait Inbox {
    /// Returns the current time.
    fn now(&self) -> Duration;

    /// Blocks until the next entry arrives, and returns it. Returns None at the deadline.
    fn recv_deadline(&mut self, deadline: Duration) -> Option<Entry>;
}

/// A broadcast that was just posted.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast {
    /// The number that its confirmations carry.
    pub(crate) number: u64,
    /// The nodes that it was posted to.
    pub(crate) nodes: Vec<Node>,
    /// The node of the sender, which is one of them.
    pub(crate) own: Node,
}

/// What the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BroadcastOutcome {
    /// 200: the broadcast is in the queues of this number of sessions.
    Delivered(usize),
    /// 502: the broadcast may have arrived.
    MayHaveArrived,
}

/// Change this function.
pub(crate) fn wait_for_confirmations(
    inbox: &mut dyn Inbox,
    broadcast: &Broadcast,
) -> BroadcastOutcome {
    let mut delivered = 0;
    for _ in &broadcast.nodes {
        let deadline = inbox.now() + PATIENCE;
        match inbox.recv_deadline(deadline).map(|entry| entry.content) {
            Some(Content::Confirmation { sessions, .. }) => delivered += sessions,
            Some(Content::Heartbeat) => {}
            None => return BroadcastOutcome::MayHaveArrived,
        }
    }
    BroadcastOutcome::Delivered(delivered)
}

mod test {
    use super::{Broadcast, BroadcastOutcome, Content, Entry, Inbox, Node, PATIENCE, SILENCE};
    use crate::solutions;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use std::collections::VecDeque;
    use std::time::Duration;

    type Wait = fn(&mut dyn Inbox, &Broadcast) -> BroadcastOutcome;

    #[test]
    #[ignore = "the exercise of chapter 12"]
    fn exercise() {
        check(super::wait_for_confirmations);
    }

    #[test]
    fn solution() {
        check(solutions::confirmation::wait_for_confirmations);
    }

    fn check(wait: Wait) {
        wait_ends_at_last_confirmation(wait);
        other_entries_are_not_counted(wait);
        silent_node_is_left_out_after_a_second(wait);
        node_that_is_heard_is_waited_for_until_deadline(wait);
        own_node_is_never_left_out(wait);
        late_confirmation_counts_while_others_are_missing(wait);
        any_order_of_entries_follows_the_rules(wait);
    }

    /// The broadcast of all tests, its sender's node, and the others that it was posted to.
    const NUMBER: u64 = 8;
    const OWN: Node = 1;
    const OTHERS: [Node; 2] = [2, 3];
    /// A node that started after the broadcast was posted.
    const NEW: Node = 4;

    /// How often a function may receive nothing at a deadline.
    const MAX_WAITS: usize = 1_000;

    /// Entries that arrive at set times.
    struct Script {
        now: Duration,
        entries: VecDeque<(Duration, Entry)>,
        waits: usize,
    }

    impl Inbox for Script {
        fn now(&self) -> Duration {
            self.now
        }

        fn recv_deadline(&mut self, deadline: Duration) -> Option<Entry> {
            let next = self.entries.front().map(|(time, _)| *time);
            if let Some(time) = next
                && time <= deadline
            {
                self.now = self.now.max(time);
                return self.entries.pop_front().map(|(_, entry)| entry);
            }
            self.now = self.now.max(deadline);
            self.waits += 1;
            assert!(self.waits < MAX_WAITS, "waits again and again for nothing");
            None
        }
    }

    /// Runs a wait that starts at this time, with entries that arrive at these times after it.
    /// Returns the outcome, and the time that the wait has taken.
    fn run(
        wait: Wait,
        start: Duration,
        entries: &[(Duration, Entry)],
    ) -> (BroadcastOutcome, Duration) {
        let entries = entries.iter().map(|(time, entry)| (start + *time, *entry));
        let mut inbox = Script {
            now: start,
            entries: entries.collect(),
            waits: 0,
        };
        let broadcast = Broadcast {
            number: NUMBER,
            nodes: [&[OWN][..], &OTHERS].concat(),
            own: OWN,
        };
        let outcome = wait(&mut inbox, &broadcast);
        (outcome, inbox.now - start)
    }

    /// Checks the outcome and the time in milliseconds of a wait.
    #[track_caller]
    fn expect(
        wait: Wait,
        entries: &[(u64, Node, Content)],
        outcome: BroadcastOutcome,
        milliseconds: u64,
    ) {
        let time = Duration::from_millis;
        let entries: Vec<_> = entries
            .iter()
            .map(|(at, from, content)| {
                let (from, content) = (*from, *content);
                (time(*at), Entry { from, content })
            })
            .collect();
        let result = run(wait, Duration::from_secs(60), &entries);
        assert_eq!(result, (outcome, time(milliseconds)));
    }

    const HEARTBEAT: Content = Content::Heartbeat;

    fn confirmed(sessions: usize) -> Content {
        Content::Confirmation {
            broadcast: NUMBER,
            sessions,
        }
    }

    fn wait_ends_at_last_confirmation(wait: Wait) {
        let entries = [
            (10, 2, confirmed(20)),
            (20, 1, confirmed(1)),
            (20, 1, HEARTBEAT),
            (30, 3, confirmed(300)),
            (40, 2, HEARTBEAT),
        ];
        expect(wait, &entries, BroadcastOutcome::Delivered(321), 30);
        let none = [
            (10, 1, confirmed(0)),
            (10, 2, confirmed(0)),
            (10, 3, confirmed(0)),
        ];
        expect(wait, &none, BroadcastOutcome::Delivered(0), 10);
    }

    fn other_entries_are_not_counted(wait: Wait) {
        let earlier = Content::Confirmation {
            broadcast: NUMBER - 1,
            sessions: 5_000,
        };
        let entries = [
            (10, 1, confirmed(1)),
            (10, 1, confirmed(1)),
            (20, 2, earlier),
            (30, NEW, confirmed(4_000)),
            (40, 2, confirmed(20)),
            (50, 3, confirmed(300)),
        ];
        expect(wait, &entries, BroadcastOutcome::Delivered(321), 50);
    }

    fn silent_node_is_left_out_after_a_second(wait: Wait) {
        let entries = [(10, 1, confirmed(1)), (20, 2, confirmed(20))];
        expect(wait, &entries, BroadcastOutcome::Delivered(21), 1_000);
        let entries = [
            (10, 1, confirmed(1)),
            (400, 2, HEARTBEAT),
            (600, 3, HEARTBEAT),
        ];
        expect(wait, &entries, BroadcastOutcome::Delivered(1), 1_600);
    }

    fn node_that_is_heard_is_waited_for_until_deadline(wait: Wait) {
        let mut entries = vec![(10, 1, confirmed(1)), (20, 2, confirmed(20))];
        entries.extend((1..20).map(|number| (number * 500, 3, HEARTBEAT)));
        expect(wait, &entries, BroadcastOutcome::Delivered(21), 5_000);
    }

    fn own_node_is_never_left_out(wait: Wait) {
        let others = [(10, 2, confirmed(20)), (20, 3, confirmed(300))];
        expect(wait, &others, BroadcastOutcome::MayHaveArrived, 5_000);
        let late = [&others[..], &[(4_900, 1, confirmed(1))]].concat();
        expect(wait, &late, BroadcastOutcome::Delivered(321), 4_900);
        let too_late = [&others[..], &[(5_100, 1, confirmed(1))]].concat();
        expect(wait, &too_late, BroadcastOutcome::MayHaveArrived, 5_000);
    }

    fn late_confirmation_counts_while_others_are_missing(wait: Wait) {
        let entries = [
            (10, 2, confirmed(20)),
            (1_500, 3, confirmed(300)),
            (2_500, 1, confirmed(1)),
        ];
        expect(wait, &entries, BroadcastOutcome::Delivered(321), 2_500);
        let entries = [
            (10, 2, confirmed(20)),
            // From here, the wait does not leave this node out for a second.
            (1_900, 3, HEARTBEAT),
            (2_500, 1, confirmed(1)),
            (2_800, 3, confirmed(300)),
        ];
        expect(wait, &entries, BroadcastOutcome::Delivered(321), 2_800);
    }

    fn any_order_of_entries_follows_the_rules(wait: Wait) {
        let content = prop_oneof![
            4 => Just(HEARTBEAT),
            1 => (NUMBER - 1..=NUMBER, 0..100_usize).prop_map(|(broadcast, sessions)| {
                Content::Confirmation { broadcast, sessions }
            }),
        ];
        // The pause before each entry is in steps of 50 ms.
        let entries = prop::collection::vec((0..20_u64, OWN..=NEW, content), 0..40);
        let config = Config {
            failure_persistence: None,
            cases: 1_000,
            ..Config::default()
        };
        let result = TestRunner::new(config).run(&entries, |entries| {
            let mut time = Duration::ZERO;
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(pause, from, content)| {
                    // The microsecond keeps an entry from arriving just at the end of a wait.
                    time += Duration::from_millis(50 * pause) + Duration::from_micros(1);
                    (time, Entry { from, content })
                })
                .collect();
            prop_assert_eq!(run(wait, Duration::ZERO, &entries), expected(&entries));
            Ok(())
        });
        if let Err(e) = result {
            panic!("{e}");
        }
    }

    /// The rules in another form: each time at which the wait could end is tried.
    fn expected(entries: &[(Duration, Entry)]) -> (BroadcastOutcome, Duration) {
        let nodes = [OWN, OTHERS[0], OTHERS[1]];
        // When each node confirms, and for how many sessions.
        let confirmations = nodes.map(|node| {
            entries
                .iter()
                .find_map(|(time, entry)| match entry.content {
                    Content::Confirmation {
                        broadcast: NUMBER,
                        sessions,
                    } if entry.from == node => Some((*time, sessions)),
                    _ => None,
                })
        });
        let has_confirmed = |index: usize, end: Duration| {
            let confirmation: Option<(Duration, usize)> = confirmations[index];
            confirmation.is_some_and(|(time, _)| time <= end)
        };
        let is_silent = |node: Node, end: Duration| {
            let mut before = entries.iter().take_while(|(time, _)| *time <= end);
            let silence_ends = |time: Duration| time + SILENCE > end;
            !silence_ends(Duration::ZERO)
                && !before.any(|(time, entry)| entry.from == node && silence_ends(*time))
        };
        let may_end = |end: &Duration| {
            let mut indices = 0..nodes.len();
            *end == PATIENCE
                || indices.all(|index| {
                    let node = nodes[index];
                    has_confirmed(index, *end) || node != OWN && is_silent(node, *end)
                })
        };
        let times = entries.iter().map(|(time, _)| *time);
        let ends = times.clone().chain(times.map(|time| time + SILENCE));
        let ends = ends.chain([SILENCE, PATIENCE]).filter(may_end);
        let end = ends.min().expect("the deadline is one of them");
        if !has_confirmed(0, end) {
            return (BroadcastOutcome::MayHaveArrived, end);
        }
        let confirmed = confirmations.iter().flatten();
        let counted = confirmed.filter(|(time, _)| *time <= end);
        let delivered = counted.map(|(_, sessions)| sessions).sum();
        (BroadcastOutcome::Delivered(delivered), end)
    }
}
