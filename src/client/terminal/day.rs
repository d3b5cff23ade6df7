//! Times of day, and the line that marks a change of the day.
//!
//! Pure, except for [`now`]. Does not know messages. Invariant: *a time without a date belongs
//! to the last day that was marked, or to the day on which the client started*.

use jiff::civil::Date;
use jiff::{Timestamp, Zoned};

/// Returns the time of day for the start of a line.
pub fn now() -> String {
    time_of(&Zoned::now())
}

fn time_of(time: &Zoned) -> String {
    time.strftime("%H:%M").to_string()
}

/// Returns when something was sent: the time of day, after the date if it is not this day.
pub fn past(sent: Timestamp, now: &Zoned) -> String {
    let sent = sent.to_zoned(now.time_zone().clone());
    match sent.date() == now.date() {
        true => time_of(&sent),
        false => format!("{} {}", sent.date(), time_of(&sent)),
    }
}

/// The day of the last line that shows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastDay(Date);

impl LastDay {
    /// Begins on this day.
    pub fn new(day: Date) -> LastDay {
        LastDay(day)
    }

    /// Notes a message of this day. Returns the text of the line before it, if the day has
    /// changed.
    pub fn on_message(&mut self, day: Date) -> Option<String> {
        let is_new = std::mem::replace(&mut self.0, day) != day;
        is_new.then(|| day.strftime("%A, %-d %B %Y").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn new_day_is_marked_once() {
        let mut last = LastDay::new(date(2026, 11, 25));
        assert_eq!(last.on_message(date(2026, 11, 25)), None);
        let next = date(2026, 11, 26);
        let line = last.on_message(next);
        assert_eq!(line.as_deref(), Some("Thursday, 26 November 2026"));
        assert_eq!(last.on_message(next), None);
        let line = last.on_message(date(2027, 1, 2));
        assert_eq!(line.as_deref(), Some("Saturday, 2 January 2027"));
    }

    #[test]
    fn past_time_has_a_date_on_another_day() {
        let now: Zoned = "2026-11-26T00:30+01:00[+01:00]".parse().unwrap();
        let at = |sent: &str| past(sent.parse().unwrap(), &now);
        assert_eq!(at("2026-11-25T23:04:05Z"), "00:04");
        assert_eq!(at("2026-11-25T22:59:59Z"), "2026-11-25 23:59");
    }
}
