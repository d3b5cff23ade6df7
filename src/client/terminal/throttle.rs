//! Limits the lines about presence: five changes in a second have a line each, the others share
//! one.
//!
//! Pure: the caller passes the time. Does not know how a line is printed.
//!
//! Invariant: *each change is in exactly one line*, if the caller asks at the end of each second.

use std::time::Instant;

use crate::limits::{MAX_PRESENCE_LINES, PRESENCE_INTERVAL};
use crate::protocol::presence::Presence;

/// The changes of the present second.
#[derive(Debug, Default)]
pub struct PresenceThrottle {
    /// When the second ends. `None` before the first change.
    ends: Option<Instant>,
    /// The changes of this second that have a line of their own.
    shown: usize,
    /// The other changes of this second.
    held: Counts,
}

/// The number of changes of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    joined: usize,
    left: usize,
    renamed: usize,
}

impl PresenceThrottle {
    /// Takes a change. Returns the lines to print now, and when to call
    /// [`on_time`](PresenceThrottle::on_time) if that is new.
    pub fn on_change(&mut self, change: &Presence, now: Instant) -> (Vec<String>, Option<Instant>) {
        let mut lines = Vec::from_iter(self.on_time(now));
        let ends = *self.ends.get_or_insert_with(|| {
            self.shown = 0;
            now + PRESENCE_INTERVAL
        });
        if self.shown < MAX_PRESENCE_LINES {
            self.shown += 1;
            lines.push(describe(change));
            return (lines, None);
        }
        let is_first = self.held == Counts::default();
        self.held.add(change);
        (lines, is_first.then_some(ends))
    }

    /// Returns the line of the held changes, if their second is over.
    pub fn on_time(&mut self, now: Instant) -> Option<String> {
        self.ends.take_if(|ends| *ends <= now)?;
        std::mem::take(&mut self.held).describe()
    }
}

impl Counts {
    fn add(&mut self, change: &Presence) {
        *match change {
            Presence::Joined(_) => &mut self.joined,
            Presence::Left(_) => &mut self.left,
            Presence::Renamed { .. } => &mut self.renamed,
        } += 1;
    }

    /// Returns the text, or `None` if there is no change.
    fn describe(self) -> Option<String> {
        let mut parts = Vec::new();
        for (count, what) in [
            (self.joined, "joined"),
            (self.left, "left"),
            (self.renamed, "changed name"),
        ] {
            let more = if parts.is_empty() { "more " } else { "" };
            if count > 0 {
                parts.push(format!("{count} {more}{what}"));
            }
        }
        Some(parts.join(", ")).filter(|text| !text.is_empty())
    }
}

/// Returns the text of a change.
fn describe(change: &Presence) -> String {
    match change {
        Presence::Joined(name) => format!("{name} joined"),
        Presence::Left(name) => format!("{name} left"),
        Presence::Renamed { old, new } => format!("{old} is now {new}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;
    use std::time::Duration;

    fn joined() -> Presence {
        Presence::Joined(name("carol"))
    }

    fn left() -> Presence {
        Presence::Left(name("carol"))
    }

    fn renamed() -> Presence {
        Presence::Renamed {
            old: name("carol"),
            new: name("caroline"),
        }
    }

    /// A throttle, and the start of its time.
    fn fresh() -> (PresenceThrottle, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let at = move |milliseconds| start + Duration::from_millis(milliseconds);
        (PresenceThrottle::default(), at)
    }

    #[test]
    fn change_has_a_line() {
        let (mut throttle, at) = fresh();
        for (change, line) in [
            (joined(), "carol joined"),
            (left(), "carol left"),
            (renamed(), "carol is now caroline"),
        ] {
            let (lines, wakes) = throttle.on_change(&change, at(0));
            assert_eq!((lines, wakes), (vec![line.to_owned()], None));
        }
    }

    #[test]
    fn sixth_change_of_a_second_waits_for_its_end() {
        let (mut throttle, at) = fresh();
        for milliseconds in [0, 100, 200, 300, 999] {
            let (lines, wakes) = throttle.on_change(&joined(), at(milliseconds));
            assert_eq!((lines.len(), wakes), (1, None));
        }
        // Only the first that waits says when to wake.
        for (change, wakes) in [(left(), Some(at(1_000))), (left(), None), (joined(), None)] {
            assert_eq!(throttle.on_change(&change, at(999)), (vec![], wakes));
        }
        assert_eq!(throttle.on_time(at(999)), None);
        let rest = throttle.on_time(at(1_000));
        assert_eq!(rest.as_deref(), Some("1 more joined, 2 left"));
        assert_eq!(throttle.on_time(at(1_000)), None);
    }

    #[test]
    fn second_begins_with_the_first_change_after_the_last_one() {
        let (mut throttle, at) = fresh();
        for milliseconds in [0, 0, 0, 0, 0, 1_700, 1_700, 1_700, 1_700, 2_600] {
            let (lines, _) = throttle.on_change(&joined(), at(milliseconds));
            assert_eq!(lines, ["carol joined"], "{milliseconds}");
        }
        // The sixth within a second after 1,700.
        let (lines, wakes) = throttle.on_change(&joined(), at(2_699));
        assert_eq!((lines, wakes), (vec![], Some(at(2_700))));
        // Nothing has asked at its end, so the next change does.
        let (lines, wakes) = throttle.on_change(&left(), at(2_700));
        assert_eq!(lines, ["1 more joined", "carol left"]);
        assert_eq!(wakes, None);
    }

    #[test]
    fn more_follows_the_first_number_of_any_kind() {
        let text = |joined, left, renamed| {
            let counts = Counts {
                joined,
                left,
                renamed,
            };
            counts.describe().unwrap_or_default()
        };
        assert_eq!(text(12, 3, 2), "12 more joined, 3 left, 2 changed name");
        assert_eq!(text(0, 3, 2), "3 more left, 2 changed name");
        assert_eq!(text(0, 0, 2), "2 more changed name");
        assert_eq!(text(1, 0, 1), "1 more joined, 1 changed name");
        assert_eq!(text(0, 0, 0), "");
    }
}
