//! The messages of before: which of them the client requests, and which it shows.
//!
//! Pure. Does not know how a request is sent, or how a line looks.
//!
//! Invariant: *the history shown after a login repeats no message that has arrived as a delivery
//! before it*. After a lost connection it also repeats none up to the newest message that was
//! known then.

use std::collections::VecDeque;

use crate::limits::{MAX_RECENT, MAX_REMEMBERED_MESSAGES};
use crate::protocol::request::Command;
use crate::protocol::server_message::Recent;
use crate::protocol::username::Username;

/// A broadcast without its time. A delivery has no time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    sender: Username,
    text: Box<str>,
}

/// The broadcasts that the client knows, and the history that it expects.
#[derive(Debug)]
pub struct History {
    /// The number of messages to show after login. Zero shows none.
    greeting: usize,
    /// The newest broadcasts that the client knows, at most [`MAX_REMEMBERED_MESSAGES`].
    known: VecDeque<Said>,
    /// The broadcasts since the session began. `None` if no history is expected on its account.
    early: Option<Vec<Said>>,
    /// The messages of a response that has not arrived completely.
    received: Vec<Recent>,
}

impl History {
    /// Begins without a session.
    pub fn new(greeting: usize) -> History {
        History {
            greeting,
            known: VecDeque::new(),
            early: None,
            received: Vec::new(),
        }
    }

    /// Returns the request with which a new session begins, if it shows history.
    pub fn begin_session(&mut self) -> Option<Command> {
        self.received.clear();
        self.settle_early();
        if self.greeting == 0 {
            return None;
        }
        self.early = Some(Vec::new());
        Some(self.request())
    }

    /// Returns the request that a resumed session needs, because the response is lost.
    pub fn resume_session(&mut self) -> Option<Command> {
        self.received.clear();
        self.early.is_some().then(|| self.request())
    }

    /// Asks for everything if there is a known message to find.
    fn request(&self) -> Command {
        let count = match self.known.is_empty() {
            true => self.greeting,
            false => MAX_RECENT,
        };
        Command::RecentMessages { count }
    }

    /// Notes a broadcast: a delivery, or a message of the user that the server has answered.
    pub fn on_broadcast(&mut self, sender: &Username, text: &str) {
        let said = Said {
            sender: sender.clone(),
            text: text.into(),
        };
        match &mut self.early {
            Some(early) => early.push(said),
            None => self.remember([said]),
        }
    }

    /// Takes a message of the response that follows.
    pub fn on_recent(&mut self, recent: Recent) {
        self.received.push(recent);
    }

    /// Returns the messages of the response to a request of the user.
    pub fn take_all(&mut self) -> Vec<Recent> {
        std::mem::take(&mut self.received)
    }

    /// Returns the messages to show of the response to the request of the session's beginning.
    ///
    /// An error has no messages.
    pub fn take_new(&mut self) -> Vec<Recent> {
        let received = self.take_all();
        let newest_known = self.find_newest_known(&received);
        let begin = match newest_known {
            Some(at) => at + 1,
            None => received.len().saturating_sub(self.greeting),
        };
        let shown = without(
            &received[begin..],
            self.early.as_deref().unwrap_or_default(),
        );
        let new = received[newest_known.map_or(0, |at| at + 1)..].iter();
        let new: Vec<Said> = new.map(Said::of).collect();
        let later = without_said(self.early.take().unwrap_or_default(), &new);
        self.remember(new.into_iter().chain(later));
        shown
    }

    /// Returns the index of the newest known message.
    ///
    /// If its text was said several times, it is the one that most of the known messages before
    /// it precede. In doubt it is the oldest one, because a message shown twice is better than
    /// a message not shown.
    fn find_newest_known(&self, received: &[Recent]) -> Option<usize> {
        let is_same = |recent: &Recent, said: &Said| Said::of(recent) == *said;
        let common = |end: usize| {
            let known = self.known.iter().rev();
            let pairs = received[..=end].iter().rev().zip(known);
            pairs
                .take_while(|(recent, said)| is_same(recent, said))
                .count()
        };
        let candidates = (0..received.len()).rev().filter(|at| common(*at) > 0);
        // The last of several maxima: the oldest message.
        candidates.max_by_key(|at| common(*at))
    }

    /// Counts the early broadcasts as known, because no history comes on their account.
    fn settle_early(&mut self) {
        let early = self.early.take().unwrap_or_default();
        self.remember(early);
    }

    fn remember(&mut self, said: impl IntoIterator<Item = Said>) {
        self.known.extend(said);
        let surplus = self.known.len().saturating_sub(MAX_REMEMBERED_MESSAGES);
        self.known.drain(..surplus);
    }
}

impl Said {
    fn of(recent: &Recent) -> Said {
        Said {
            sender: recent.sender.clone(),
            text: recent.text.as_str().into(),
        }
    }
}

/// Returns the messages without the early broadcasts, one for one.
///
/// The newest of equal messages is left out, because the early broadcasts are the newest ones.
fn without(messages: &[Recent], early: &[Said]) -> Vec<Recent> {
    let mut early = early.to_vec();
    let mut kept: Vec<Recent> = Vec::new();
    for recent in messages.iter().rev() {
        match early.iter().position(|said| *said == Said::of(recent)) {
            Some(at) => {
                early.swap_remove(at);
            }
            None => kept.push(recent.clone()),
        }
    }
    kept.reverse();
    kept
}

/// Returns the early broadcasts that are not among these messages, one for one.
fn without_said(early: Vec<Said>, messages: &[Said]) -> Vec<Said> {
    let mut messages = messages.to_vec();
    let is_later = |said: &Said| match messages.iter().position(|it| it == said) {
        Some(at) => {
            messages.swap_remove(at);
            false
        }
        None => true,
    };
    let mut later = early;
    later.retain(is_later);
    later
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, printable};
    use jiff::Timestamp;

    fn recent(text: &str) -> Recent {
        Recent {
            time: Timestamp::UNIX_EPOCH,
            sender: name("bob"),
            text: printable(text),
        }
    }

    /// A delivery from bob for each word.
    fn hear(history: &mut History, texts: &str) {
        for text in texts.split(' ') {
            history.on_broadcast(&name("bob"), text);
        }
    }

    /// Passes a response with these words. Returns what is shown.
    fn respond(history: &mut History, texts: &str) -> String {
        for text in texts.split_whitespace() {
            history.on_recent(recent(text));
        }
        joined(&history.take_new())
    }

    fn joined(messages: &[Recent]) -> String {
        let texts: Vec<&str> = messages.iter().map(|it| it.text.as_str()).collect();
        texts.join(" ")
    }

    fn recent_messages(count: usize) -> Option<Command> {
        Some(Command::RecentMessages { count })
    }

    /// A history after a login that knows these messages, and then lost its connection.
    fn lost(known: &str) -> History {
        let mut history = History::new(3);
        assert_eq!(history.begin_session(), recent_messages(3));
        assert_eq!(respond(&mut history, ""), "");
        hear(&mut history, known);
        assert_eq!(history.begin_session(), recent_messages(MAX_RECENT));
        history
    }

    #[test]
    fn login_shows_the_requested_number() {
        let mut history = History::new(3);
        assert_eq!(history.begin_session(), recent_messages(3));
        assert_eq!(respond(&mut history, "a b c"), "a b c");
        let mut none = History::new(0);
        assert_eq!(none.begin_session(), None);
        assert_eq!(none.resume_session(), None);
        hear(&mut none, "a");
        assert_eq!(none.begin_session(), None);
    }

    #[test]
    fn delivery_before_the_history_is_left_out_one_for_one() {
        let mut history = History::new(10);
        history.begin_session();
        hear(&mut history, "x x y");
        // The first `x` is older. `y` has come after the response was made.
        assert_eq!(respond(&mut history, "x a x b x"), "x a b");
        // Another sender of the same text is another message.
        let mut history = History::new(10);
        history.begin_session();
        history.on_broadcast(&name("carol"), "a");
        history.on_broadcast(&name("Bob"), "a");
        assert_eq!(respond(&mut history, "a"), "a");
    }

    #[test]
    fn new_session_shows_messages_after_the_newest_known() {
        assert_eq!(respond(&mut lost("a b"), "a b c d e f"), "c d e f");
        assert_eq!(respond(&mut lost("a b"), "a b"), "");
        // The newest known is not among them: the last three.
        assert_eq!(respond(&mut lost("a b"), "c d e f"), "d e f");
        assert_eq!(respond(&mut lost("a b"), "a c d e f"), "d e f");
        assert_eq!(respond(&mut lost("a b"), ""), "");
    }

    #[test]
    fn repeated_text_is_found_by_the_messages_before_it() {
        assert_eq!(respond(&mut lost("a ok"), "a ok b ok"), "b ok");
        assert_eq!(respond(&mut lost("a ok b ok"), "a ok b ok c"), "c");
        // In doubt, nothing is hidden.
        assert_eq!(respond(&mut lost("ok"), "ok b ok"), "b ok");
    }

    #[test]
    fn history_itself_is_known_afterwards() {
        let mut history = History::new(3);
        history.begin_session();
        hear(&mut history, "c");
        respond(&mut history, "a b c");
        history.begin_session();
        assert_eq!(respond(&mut history, "a b c d"), "d");
        // A delivery that was queued before the response, and is not in it, is the newest.
        history.begin_session();
        hear(&mut history, "f");
        assert_eq!(respond(&mut history, "c d e"), "e");
        history.begin_session();
        assert_eq!(respond(&mut history, "c d e f g"), "g");
    }

    #[test]
    fn deliveries_of_a_session_whose_history_was_lost_are_known() {
        let mut history = lost("a");
        hear(&mut history, "c");
        history.on_recent(recent("a"));
        assert_eq!(history.begin_session(), recent_messages(MAX_RECENT));
        assert_eq!(respond(&mut history, "a b c d"), "d");
    }

    #[test]
    fn resumed_session_asks_again_for_a_lost_response() {
        let mut history = History::new(3);
        history.begin_session();
        history.on_recent(recent("a"));
        assert_eq!(history.resume_session(), recent_messages(3));
        hear(&mut history, "b");
        assert_eq!(respond(&mut history, "a b"), "a");
        assert_eq!(history.resume_session(), None);
    }

    #[test]
    fn request_of_the_user_leaves_nothing_out() {
        let mut history = History::new(3);
        history.begin_session();
        respond(&mut history, "");
        hear(&mut history, "a b");
        history.on_recent(recent("a"));
        history.on_recent(recent("b"));
        assert_eq!(joined(&history.take_all()), "a b");
        assert_eq!(joined(&history.take_all()), "");
    }
}
