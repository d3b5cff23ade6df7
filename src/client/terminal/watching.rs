//! Decides which requests presence needs, and which list of names is shown.
//!
//! Pure. Does not know how a request is sent, or how a line looks.
//!
//! A new session begins with a list of names. If few users are online, the client then watches
//! presence, and asks for the list again: only that list and the later changes together are the
//! whole picture. So the list that is shown is the last one, and a user that is in it is not
//! reported as joined.
//!
//! Invariant: *each session that shows a list shows one*, also at a server without presence.

use super::roster::Roster;
use crate::limits::MAX_WATCHED_USERS;
use crate::protocol::presence::Presence;
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::username::Username;

/// When a new session watches presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Not: the user has turned it off.
    Never,
    /// If at most [`MAX_WATCHED_USERS`] are online.
    WhenFew,
    /// In any case: the user has turned it on.
    Always,
}

/// The state of presence in one conversation.
#[derive(Debug)]
pub struct Watching {
    wish: Wish,
    has_begun: bool,
    step: Step,
    is_watching: bool,
    roster: Roster,
}

/// The next list of names that the client expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The list that decides whether to watch.
    First,
    /// The list after `Watch-presence`, which is shown.
    Second,
    /// Both have arrived. Further lists only replace the roster.
    Settled,
}

/// What to do with a list that the client has requested on its own.
#[derive(Debug, PartialEq, Eq)]
pub struct ListOutcome {
    /// Whether the list is shown. [`Watching::greeted`] has the names.
    pub is_shown: bool,
    /// The requests to send now.
    pub requests: Vec<Command>,
}

/// The request for the names of all users.
fn list_names() -> Command {
    Command::ListNames {
        prefix: Printable::default(),
    }
}

impl Watching {
    /// Begins without a session.
    pub fn new(wish: Wish) -> Watching {
        Watching {
            wish,
            has_begun: false,
            step: Step::Settled,
            is_watching: false,
            roster: Roster::default(),
        }
    }

    /// Returns the requests with which a new session begins.
    ///
    /// The first session shows a list in any case.
    pub fn begin_session(&mut self) -> Vec<Command> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        self.roster = Roster::default();
        self.is_watching = false;
        self.step = Step::Settled;
        match is_first || self.wish != Wish::Never {
            true => self.begin_lists(),
            false => Vec::new(),
        }
    }

    /// Returns the requests that a resumed session needs, because the responses are lost.
    pub fn resume_session(&mut self) -> Vec<Command> {
        match self.step {
            Step::First | Step::Second => self.begin_lists(),
            Step::Settled if self.roster.expects_list() => vec![list_names()],
            Step::Settled => Vec::new(),
        }
    }

    fn begin_lists(&mut self) -> Vec<Command> {
        self.step = Step::First;
        self.roster.expect_list();
        vec![list_names()]
    }

    /// Handles a list that the client has requested on its own.
    pub fn on_list(&mut self, names: &[Username], count: usize, me: &Username) -> ListOutcome {
        let step = std::mem::replace(&mut self.step, Step::Settled);
        let watches = match self.wish {
            Wish::Never => false,
            Wish::WhenFew => count <= MAX_WATCHED_USERS,
            Wish::Always => true,
        };
        if step == Step::First && watches {
            self.step = Step::Second;
            return ListOutcome {
                is_shown: false,
                requests: vec![Command::WatchPresence { is_on: true }, list_names()],
            };
        }
        let is_stale = self.roster.on_list(names, count, me);
        ListOutcome {
            is_shown: step != Step::Settled,
            requests: match is_stale && self.is_watching {
                true => self.ask_list(),
                false => Vec::new(),
            },
        }
    }

    /// Handles an error in place of such a list.
    pub fn on_list_failed(&mut self) {
        self.step = Step::Settled;
        self.roster.on_list_failed();
    }

    /// Handles the response to `Watch-presence`. Returns the requests to send now.
    ///
    /// An error means that the session does not watch, so there is nothing to do.
    pub fn on_watch(&mut self, is_on: bool, status: Status, is_automatic: bool) -> Vec<Command> {
        if !status.is_success() {
            return Vec::new();
        }
        let was_watching = std::mem::replace(&mut self.is_watching, is_on);
        if is_automatic {
            return Vec::new();
        }
        self.wish = if is_on { Wish::Always } else { Wish::Never };
        match was_watching {
            true => Vec::new(),
            false => self.on_missed(),
        }
    }

    /// Handles a gap, in which changes may be missing. Returns the requests to send now.
    pub fn on_missed(&mut self) -> Vec<Command> {
        match self.roster.on_missed() && self.is_watching {
            true => self.ask_list(),
            false => Vec::new(),
        }
    }

    /// Handles a change. Returns whether to show it: no list that was shown has it already, and
    /// none will.
    pub fn on_change(&mut self, change: &Presence) -> bool {
        self.roster.on_change(change) && self.step == Step::Settled
    }

    /// Returns the names of a list that is shown now, with the changes since its request, and
    /// the number of all users.
    pub fn greeted(
        &self,
        listed: Vec<Username>,
        count: usize,
        me: &Username,
    ) -> (Vec<Username>, usize) {
        match self.roster.names("", me) {
            Some(names) => {
                let count = names.len();
                (names, count)
            }
            None => (listed, count),
        }
    }

    /// Returns the users whose name begins with this prefix, if the client knows all of them.
    pub fn names(&self, prefix: &str, me: &Username) -> Option<Vec<Username>> {
        self.roster.names(prefix, me).filter(|_| self.is_watching)
    }

    fn ask_list(&mut self) -> Vec<Command> {
        self.roster.expect_list();
        vec![list_names()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;

    const WATCH: Command = Command::WatchPresence { is_on: true };

    fn joined(it: &str) -> Presence {
        Presence::Joined(name(it))
    }

    /// Passes a list of `count` users, of which these names fitted into it.
    fn list(watching: &mut Watching, names: &str, count: usize) -> ListOutcome {
        let names: Vec<Username> = names.split(' ').map(name).collect();
        watching.on_list(&names, count, &name("alice"))
    }

    fn completes(watching: &Watching) -> Option<Vec<String>> {
        let names = watching.names("", &name("alice"))?;
        Some(names.iter().map(Username::to_string).collect())
    }

    /// Returns the state after the lists of the first session.
    fn settled(wish: Wish) -> Watching {
        let mut watching = Watching::new(wish);
        assert_eq!(watching.begin_session(), [list_names()]);
        let first = list(&mut watching, "alice bob", 2);
        if wish != Wish::Never {
            assert_eq!(first.requests, [WATCH, list_names()]);
            assert!(!first.is_shown);
            assert_eq!(watching.on_watch(true, Status::Ok, true), []);
            let second = list(&mut watching, "alice bob", 2);
            assert!(second.is_shown && second.requests.is_empty());
        }
        watching
    }

    #[test]
    fn client_watches_and_shows_the_second_list() {
        let mut watching = Watching::new(Wish::WhenFew);
        watching.begin_session();
        list(&mut watching, "alice bob", 2);
        assert_eq!(watching.on_watch(true, Status::Ok, true), []);
        // These two are part of the picture that is shown next, so they have no line.
        assert!(!watching.on_change(&joined("carol")));
        assert!(!watching.on_change(&Presence::Left(name("bob"))));
        assert!(list(&mut watching, "alice bob", 2).is_shown);
        let (names, count) = watching.greeted(vec![], 2, &name("alice"));
        assert_eq!((names, count), (vec![name("alice"), name("carol")], 2));
        assert!(!watching.on_change(&joined("carol")) && watching.on_change(&joined("dave")));
        assert_eq!(completes(&watching).unwrap(), ["alice", "carol", "dave"]);
    }

    #[test]
    fn client_watches_alone_only_up_to_500_users() {
        for (wish, count, watches) in [
            (Wish::WhenFew, 500, true),
            (Wish::WhenFew, 501, false),
            (Wish::Always, 501, true),
            (Wish::Never, 1, false),
        ] {
            let mut watching = Watching::new(wish);
            assert_eq!(watching.begin_session(), [list_names()]);
            let outcome = list(&mut watching, "alice", count);
            assert_eq!(outcome.is_shown, !watches, "{wish:?} {count}");
            assert_eq!(!outcome.requests.is_empty(), watches, "{wish:?} {count}");
        }
    }

    #[test]
    fn server_without_presence_still_gets_its_list_shown() {
        let mut watching = Watching::new(Wish::WhenFew);
        watching.begin_session();
        list(&mut watching, "alice bob", 2);
        assert_eq!(watching.on_watch(true, Status::NotImplemented, true), []);
        let second = list(&mut watching, "alice bob", 2);
        assert!(second.is_shown && second.requests.is_empty());
        // The list gets old, so TAB must ask.
        assert_eq!(completes(&watching), None);
        assert_eq!(watching.on_missed(), []);
    }

    #[test]
    fn new_session_watches_again_and_resumed_session_goes_on() {
        let mut watching = settled(Wish::WhenFew);
        assert_eq!(watching.resume_session(), []);
        assert_eq!(completes(&watching).unwrap(), ["alice", "bob"]);
        assert_eq!(watching.begin_session(), [list_names()]);
        assert_eq!(completes(&watching), None);
        assert_eq!(
            list(&mut watching, "alice", 1).requests,
            [WATCH, list_names()]
        );
        // The connection is lost before the responses, and the session is resumed.
        assert_eq!(watching.resume_session(), [list_names()]);
        assert_eq!(
            list(&mut watching, "alice", 1).requests,
            [WATCH, list_names()]
        );
        assert_eq!(watching.on_watch(true, Status::NotModified, true), []);
        assert!(list(&mut watching, "alice", 1).is_shown);
        assert_eq!(completes(&watching).unwrap(), ["alice"]);
        // A lost list of a settled session is requested again.
        assert_eq!(watching.on_missed(), [list_names()]);
        assert_eq!(watching.resume_session(), [list_names()]);
    }

    #[test]
    fn presence_can_be_turned_on_and_off() {
        let mut watching = settled(Wish::Never);
        assert_eq!(completes(&watching), None);
        assert_eq!(watching.on_watch(true, Status::Ok, false), [list_names()]);
        assert!(watching.on_change(&joined("carol")));
        let silent = list(&mut watching, "alice bob", 2);
        assert!(!silent.is_shown && silent.requests.is_empty());
        assert_eq!(completes(&watching).unwrap(), ["alice", "bob", "carol"]);
        assert_eq!(watching.on_watch(true, Status::NotModified, false), []);
        // The user has turned it on, so the number of users does not matter any more.
        watching.begin_session();
        assert!(!list(&mut watching, "alice", 900).requests.is_empty());
        watching.on_watch(true, Status::Ok, true);
        list(&mut watching, "alice bob", 2);
        assert_eq!(watching.on_watch(false, Status::Ok, false), []);
        assert_eq!(completes(&watching), None);
        assert_eq!(watching.begin_session(), []);
        // A server without presence does not change the wish.
        let mut watching = settled(Wish::Never);
        assert_eq!(watching.on_watch(true, Status::NotImplemented, false), []);
        assert_eq!(watching.begin_session(), []);
    }

    #[test]
    fn miss_makes_the_client_ask_for_the_list() {
        let mut watching = settled(Wish::WhenFew);
        assert_eq!(watching.on_missed(), [list_names()]);
        assert_eq!(completes(&watching), None);
        assert_eq!(watching.on_missed(), []);
        let stale = list(&mut watching, "alice carol", 2);
        assert_eq!(
            (stale.is_shown, stale.requests),
            (false, vec![list_names()])
        );
        let last = list(&mut watching, "alice dave", 2);
        assert_eq!((last.is_shown, last.requests), (false, vec![]));
        assert_eq!(completes(&watching).unwrap(), ["alice", "dave"]);
        // Without presence, a gap has only messages.
        assert_eq!(settled(Wish::Never).on_missed(), []);
    }

    #[test]
    fn failed_list_ends_the_beginning() {
        let mut watching = Watching::new(Wish::WhenFew);
        watching.begin_session();
        watching.on_list_failed();
        assert_eq!(watching.resume_session(), []);
        assert!(watching.on_change(&joined("carol")));
        assert_eq!(completes(&watching), None);
    }
}
