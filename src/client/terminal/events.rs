//! The reading side of a conversation: shows events, on the thread `receiver`.
//!
//! Does not know the line that the user types, or how a connection is maintained. It shares
//! with the typing side ([`super`]) the users that were seen, the ignored users, and the number
//! of answered messages.
//!
//! Invariant: *a user's own message is shown with a time only after the server has answered
//! it*.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use jiff::Zoned;
use parking_lot::{Condvar, Mutex};

use super::day::{self, LastDay};
use super::format::{self, Style};
use super::history::History;
use super::presence::PresencePrinter;
use super::printer::Printer;
use super::watching::Watching;
use crate::client::connection::{Event, ServerResponse, without_os_code};
use crate::client::reconnecting::{AutomaticRequests, ClientEvent, ClientState};
use crate::limits::{MAX_GREETED_NAMES, MAX_KNOWN_NAMES, SILENCE_NOTICE_TIMEOUT};
use crate::protocol::reply::{Notice, Response, Scope};
use crate::protocol::request::Command;
use crate::protocol::server_message::{Message, Recent, parse_name_list};
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::unreachable::MAY_HAVE_ARRIVED;
use crate::protocol::username::Username;

/// The reading side: prints each event.
pub struct EventPrinter {
    /// Where lines are printed.
    pub printer: Printer,
    /// The format of the lines.
    pub style: Style,
    /// Whether to ring the bell for private messages and for the user's own name.
    pub bell: bool,
    /// The state of the client, which has the user's own name.
    pub state: Arc<Mutex<ClientState>>,
    /// The users that send messages are recorded here.
    pub known_users: Arc<Mutex<KnownUsers>>,
    /// The users online. The typing side completes names with it.
    pub watching: Arc<Mutex<Watching>>,
    /// Where logins, logouts and renames are printed.
    pub presence_printer: PresencePrinter,
    /// The state that only the reading side uses.
    pub reading: Mutex<Reading>,
    /// The user's own messages are counted here when they are answered.
    pub answered_messages: Arc<AnsweredMessages>,
    /// Signals to the typing side that the prompt may change.
    pub name_answered_tx: Sender<()>,
}

/// The state that only the reading side uses. No thread prints while it holds the lock.
pub struct Reading {
    /// The broadcasts that were seen, and the history that is expected.
    pub history: History,
    /// The day of the last message.
    pub last_day: LastDay,
    /// Takes automatic requests for the present connection.
    pub automatic: Option<AutomaticRequests>,
}

impl EventPrinter {
    /// Prints an event.
    pub fn on_event(&self, event: ClientEvent) {
        match event {
            ClientEvent::Event(Event::Message(message)) => self.on_message(&message),
            ClientEvent::Event(Event::Presence(change)) => {
                if self.watching.lock().on_change(&change) {
                    self.presence_printer.print(&change);
                }
            }
            ClientEvent::Event(Event::Recent(recent)) => {
                self.reading.lock().history.on_recent(recent);
            }
            ClientEvent::Event(Event::Response(response)) => self.on_response(&response),
            ClientEvent::Event(Event::Notice(notice)) => {
                self.error(&notice);
                if let Notice::Missed(_) = notice {
                    let requests = self.watching.lock().on_missed();
                    self.request(requests);
                }
            }
            ClientEvent::Lost {
                problem,
                unconfirmed,
            } => {
                self.error(format!("Connection lost: {problem}"));
                for description in unconfirmed.iter().filter_map(describe_unsent) {
                    self.error(format!("Perhaps not sent{description}"));
                }
                let messages = unconfirmed.iter().filter(|it| it.as_message().is_some());
                self.answered_messages.add(messages.count());
            }
            ClientEvent::Unreachable(e) => {
                let reason = without_os_code(&e);
                self.error(format!("Reconnect failed: {reason}. Retrying, /quit quits"));
            }
            ClientEvent::ServerChanged(address) => self.info(format!("Connected to {address}")),
            ClientEvent::Reconnected { name, resumed } => {
                let how = match resumed {
                    true => ". Messages that arrived meanwhile follow",
                    false => " with a new session. Messages may be missing",
                };
                self.info(format!("Reconnected as {}{how}", self.style.name(&name)));
                self.signal_name_answered();
            }
            ClientEvent::Connected { is_new, requests } => self.on_connected(is_new, requests),
            ClientEvent::Refused { text, retries } => {
                let how = match retries {
                    true => "Retrying, /name NEW sets another name",
                    false => "/name NEW sets another name",
                };
                self.error(format!("{}. {how}", text.as_str()));
                self.signal_name_answered();
            }
            ClientEvent::SessionTaken => {
                self.error("/name NEW starts a new session here, /quit quits")
            }
            ClientEvent::NeedsAccessToken { advice } => {
                self.error(advice);
                self.printer.end_editor();
            }
            ClientEvent::Silent => {
                let seconds = SILENCE_NOTICE_TIMEOUT.as_secs();
                self.info(format!("No response from the server for {seconds} s"));
            }
        }
    }

    /// Requests the history and the names online. The history comes first, so that the list of
    /// names separates it from the messages that arrive.
    fn on_connected(&self, is_new: bool, automatic: AutomaticRequests) {
        let mut reading = self.reading.lock();
        let mut watching = self.watching.lock();
        let (recent, names) = match is_new {
            true => (reading.history.begin_session(), watching.begin_session()),
            false => (reading.history.resume_session(), watching.resume_session()),
        };
        reading.automatic = Some(automatic);
        drop((reading, watching));
        self.request(recent.into_iter().chain(names));
    }

    /// Sends requests that the user has not typed.
    fn request(&self, requests: impl IntoIterator<Item = Command>) {
        if let Some(automatic) = &self.reading.lock().automatic {
            requests.into_iter().for_each(|it| automatic.send(it));
        }
    }

    /// Prints a message from another user, unless that user is ignored.
    fn on_message(&self, message: &Message) {
        let is_private = message.scope == Scope::Private;
        if !is_private {
            let mut reading = self.reading.lock();
            reading
                .history
                .on_broadcast(&message.sender, message.text.as_str());
        }
        {
            let mut known_users = self.known_users.lock();
            if known_users.is_ignored(&message.sender) {
                return;
            }
            known_users.add(&message.sender);
            if is_private {
                known_users.last_private_sender = Some(message.sender.clone());
            }
        }
        self.mark_day();
        let me = self.me();
        let mut line = self.style().message(&day::now(), message, &me);
        let rings = is_private || format::mentions(message.text.as_str(), &me);
        if self.bell && rings {
            line.push('\x07');
        }
        self.printer.print(line);
    }

    /// Prints a response.
    fn on_response(&self, response: &ServerResponse) {
        let text = response.text.as_str();
        let is_success = response.status.is_success();
        match &response.request {
            Some(request) if request.as_message().is_some() => {
                self.on_own_message(request, text, is_success);
                self.answered_messages.add(1);
            }
            Some(Command::ListNames { .. }) if response.is_automatic => {
                self.on_automatic_names(response);
            }
            Some(Command::ListNames { prefix }) if is_success => {
                let names = parse_name_list(&response.text);
                self.print_names(prefix, &names, response.name_count(), usize::MAX);
            }
            Some(Command::RecentMessages { .. }) => self.on_history(response),
            Some(Command::WatchPresence { is_on }) => self.on_watch(*is_on, response),
            Some(Command::SetName(_)) => {
                if is_success {
                    self.info(text);
                } else {
                    self.error(text);
                }
                self.signal_name_answered();
            }
            _ if is_success => self.info(text),
            request => match request.as_ref().and_then(describe_unsent) {
                Some(description) => self.error(unsent(text, &description)),
                None => self.error(text),
            },
        }
    }

    /// Prints the user's own message, which the server has answered.
    fn on_own_message(&self, request: &Command, answer: &str, is_success: bool) {
        if !is_success {
            let description = describe_unsent(request).unwrap_or_default();
            self.error(unsent(answer, &description));
            return;
        }
        if let Some((to, text)) = request.as_message() {
            let name = self.me();
            if to.is_none() {
                let mut reading = self.reading.lock();
                reading.history.on_broadcast(&name, text.as_str());
            }
            self.mark_day();
            let line = (self.style()).own_message(&day::now(), &name, to, text.as_str());
            self.printer.print(line);
        }
        if answer == Response::DeliveredTo(0).to_string() {
            self.info("Not delivered: no other user is online, or every queue is full");
        }
    }

    /// Handles a list of names that the client has requested on its own.
    ///
    /// The list at the beginning of a session is shown, and is short.
    fn on_automatic_names(&self, response: &ServerResponse) {
        if !response.status.is_success() {
            self.watching.lock().on_list_failed();
            self.error(response.text.as_str());
            return;
        }
        let (names, count) = (parse_name_list(&response.text), response.name_count());
        let me = self.me();
        let mut watching = self.watching.lock();
        let outcome = watching.on_list(&names, count, &me);
        let (names, count) = watching.greeted(names, count, &me);
        drop(watching);
        self.request(outcome.requests);
        if outcome.is_shown {
            self.print_names(&Printable::default(), &names, count, MAX_GREETED_NAMES);
        }
    }

    /// Prints names in their colours, at most `most`.
    fn print_names(&self, prefix: &Printable, names: &[Username], count: usize, most: usize) {
        {
            let mut known_users = self.known_users.lock();
            names.iter().for_each(|name| known_users.add(name));
        }
        let painted: Vec<String> = names.iter().map(|name| self.style.name(name)).collect();
        let shown = &painted[..painted.len().min(most)];
        let others = count - shown.len().min(count);
        let heading = match prefix.as_str() {
            "" => format!("{count} online"),
            prefix => format!("{count} online with prefix {prefix}"),
        };
        let list = shown.join(", ");
        self.info(match (shown.is_empty(), others) {
            (true, _) => heading,
            (false, 0) => format!("{heading}: {list}"),
            (false, others) if shown.len() == most => {
                format!("{heading}: {list} and {others} more. /names lists them")
            }
            (false, others) => format!("{heading}: {list} and {others} more"),
        });
    }

    /// Prints the messages of a response to `Recent-messages`.
    ///
    /// If the server does not know the command, the error is shown only for a typed command.
    fn on_history(&self, response: &ServerResponse) {
        let messages = {
            let history = &mut self.reading.lock().history;
            match response.is_automatic {
                true => history.take_new(),
                false => history.take_all(),
            }
        };
        if !response.is_automatic && !response.status.is_success() {
            self.error(match response.status {
                Status::NotImplemented => "The server does not support /recent",
                _ => response.text.as_str(),
            });
            return;
        }
        let messages: Vec<&Recent> = {
            let known_users = self.known_users.lock();
            let is_shown = |it: &&Recent| !known_users.is_ignored(&it.sender);
            messages.iter().filter(is_shown).collect()
        };
        let heading = match messages.len() {
            0 if response.is_automatic => return,
            0 => "no messages yet".to_owned(),
            1 => "the last message:".to_owned(),
            count => format!("the last {count} messages:"),
        };
        let style = self.style();
        self.printer.print(style.faint_info(&day::now(), heading));
        let now = Zoned::now();
        for Recent { time, sender, text } in messages {
            let line = style.past_message(&day::past(*time, &now), sender, text.as_str());
            self.printer.print(line);
        }
    }

    /// Handles the response to `Watch-presence`. Shows it only for a typed command.
    fn on_watch(&self, is_on: bool, response: &ServerResponse) {
        let (status, is_automatic) = (response.status, response.is_automatic);
        let requests = self.watching.lock().on_watch(is_on, status, is_automatic);
        self.request(requests);
        match status {
            _ if is_automatic => {}
            status if status.is_success() => self.info(response.text.as_str()),
            Status::NotImplemented => self.error("The server does not support /presence"),
            _ => self.error(response.text.as_str()),
        }
    }

    /// Prints the date if the day has changed since the last message.
    fn mark_day(&self) {
        let day = self.reading.lock().last_day.on_message(Zoned::now().date());
        if let Some(day) = day {
            self.info(day);
        }
    }

    /// Returns the user's own name.
    fn me(&self) -> Username {
        self.state.lock().name.clone()
    }

    fn signal_name_answered(&self) {
        // Fails if an earlier signal is still in the channel, which is enough.
        let _ = self.name_answered_tx.try_send(());
    }

    fn info(&self, text: impl Display) {
        self.printer.print(self.style().info(&day::now(), text));
    }

    fn error(&self, text: impl Display) {
        self.printer.print(self.style().error(&day::now(), text));
    }

    /// Returns the style for the present width of the terminal.
    fn style(&self) -> Style {
        self.style.with_columns(Some(self.printer.columns()))
    }
}

/// The other users, as far as the client knows them without asking the server.
///
/// The typing side and the reading side share it. No thread blocks while it holds the lock.
#[derive(Debug, Default)]
pub struct KnownUsers {
    /// The last user that sent a private message.
    pub last_private_sender: Option<Username>,
    /// The users that were seen, at most [`MAX_KNOWN_NAMES`].
    pub seen: Vec<Username>,
    /// The users whose messages are not shown.
    pub ignored: Vec<Username>,
}

impl KnownUsers {
    fn add(&mut self, name: &Username) {
        if !self.seen.iter().any(|seen| seen.is_same_as(name)) {
            self.seen.truncate(MAX_KNOWN_NAMES - 1);
            self.seen.insert(0, name.clone());
        }
    }

    /// Returns whether the messages of this user are hidden.
    pub fn is_ignored(&self, name: &Username) -> bool {
        self.ignored.iter().any(|ignored| ignored.is_same_as(name))
    }
}

/// The number of the user's own messages that need no further wait.
///
/// The server has answered them, or the connection was lost after they were sent.
#[derive(Debug, Default)]
pub struct AnsweredMessages {
    answered: Mutex<usize>,
    changed: Condvar,
}

impl AnsweredMessages {
    fn add(&self, count: usize) {
        *self.answered.lock() += count;
        self.changed.notify_all();
    }

    /// Blocks until this many messages are answered and shown. Returns false at the deadline.
    pub fn wait_until(&self, sent: usize, deadline: Instant) -> bool {
        let mut answered = self.answered.lock();
        while *answered < sent {
            if self.changed.wait_until(&mut answered, deadline).timed_out() {
                return *answered >= sent;
            }
        }
        true
    }
}

/// Describes a request that was perhaps not executed, as the end of an error line.
///
/// Returns `None` for requests whose loss does not matter to the user.
pub fn describe_unsent(request: &Command) -> Option<String> {
    match request {
        Command::BroadcastMessage(text) => Some(format!(": {}", text.as_str())),
        Command::PrivateMessage { to, text } => Some(format!(" to {to}: {}", text.as_str())),
        Command::SetName(name) => Some(format!(": /name {name}")),
        Command::WatchPresence { is_on: true } => Some(": /presence on".to_owned()),
        Command::WatchPresence { is_on: false } => Some(": /presence off".to_owned()),
        Command::ListNames { .. }
        | Command::RecentMessages { .. }
        | Command::Ping(_)
        | Command::Help
        | Command::Quit => None,
    }
}

/// Returns the line for a request with this description that was answered with an error.
fn unsent(answer: &str, description: &str) -> String {
    match answer.ends_with(MAY_HAVE_ARRIVED) {
        true => format!("{answer}. Perhaps not sent{description}"),
        false => format!("{answer}. Not sent{description}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::terminal::watching::Wish;
    use crate::protocol::literals::{name, printable, text};
    use crate::protocol::presence::Presence;
    use crate::protocol::unreachable::Unreachable;
    use crossbeam_channel::bounded;
    use jiff::Timestamp;
    use jiff::civil::date;

    /// An editor that paints nothing, so lines wait in the printer.
    struct NoEditor;

    impl rustyline::ExternalPrinter for NoEditor {
        fn print(&mut self, _: String) -> rustyline::Result<()> {
            Ok(())
        }
    }

    /// Returns the event printer of alice. This is the day of her last message.
    fn event_printer(last_day: LastDay) -> EventPrinter {
        let printer = Printer::start(Some(NoEditor)).unwrap();
        printer.hold();
        EventPrinter {
            presence_printer: PresencePrinter::start(printer.clone(), Style::PLAIN).unwrap(),
            printer,
            style: Style::PLAIN,
            bell: false,
            state: ClientState::online(name("alice")),
            known_users: Arc::default(),
            watching: Arc::new(Mutex::new(Watching::new(Wish::Never))),
            reading: Mutex::new(Reading {
                history: History::new(10),
                last_day,
                automatic: None,
            }),
            answered_messages: Arc::default(),
            name_answered_tx: bounded(1).0,
        }
    }

    /// Reports an event. Returns its lines without their times.
    fn lines(printer: &EventPrinter, event: Event) -> Vec<String> {
        printer.on_event(ClientEvent::Event(event));
        let printed = printer.printer.take_queued();
        let lines = printed.lines();
        lines
            .map(|line| line["14:02 ".len()..].to_owned())
            .collect()
    }

    fn delivery(sender: &str) -> Event {
        Event::Message(Message {
            scope: Scope::Broadcast,
            sender: name(sender),
            text: printable("hi"),
        })
    }

    fn response(request: Command, answer: &str, is_automatic: bool) -> Event {
        Event::Response(ServerResponse {
            request: Some(request),
            status: Status::Ok,
            text: printable(answer),
            is_automatic,
        })
    }

    #[test]
    fn first_message_of_a_day_follows_its_date() {
        let old = || LastDay::new(date(2001, 2, 3));
        let today = Zoned::now().strftime("* %A, %-d %B %Y").to_string();
        let printer = event_printer(old());
        // Only a message marks the day.
        let joined = Event::Presence(Presence::Joined(name("bob")));
        assert_eq!(lines(&printer, joined), ["* bob joined"]);
        assert_eq!(lines(&printer, delivery("bob")), [&*today, "bob: hi"]);
        assert_eq!(lines(&printer, delivery("bob")), ["bob: hi"]);
        let printer = event_printer(old());
        let own = response(
            Command::BroadcastMessage(text("me")),
            "Delivered to 1",
            false,
        );
        assert_eq!(lines(&printer, own), [&*today, "alice: me"]);
    }

    #[test]
    fn ignored_user_is_hidden_in_the_history() {
        let printer = event_printer(LastDay::new(Zoned::now().date()));
        printer.known_users.lock().ignored.push(name("Bob"));
        for sender in ["bob", "carol", "bob"] {
            let recent = Recent {
                time: Timestamp::now(),
                sender: name(sender),
                text: printable("hi"),
            };
            assert!(lines(&printer, Event::Recent(recent)).is_empty());
        }
        let end = response(Command::RecentMessages { count: 10 }, "3 recent", true);
        let expected = ["* the last message:", "carol: hi"];
        assert_eq!(lines(&printer, end), expected);
    }

    #[test]
    fn message_that_may_have_arrived_is_perhaps_not_sent() {
        let request = Command::PrivateMessage {
            to: name("bob"),
            text: text("psst"),
        };
        let description = describe_unsent(&request).unwrap();
        let line = |why: Unreachable| unsent(&why.to_string(), &description);
        assert_eq!(
            line(Unreachable::ServerOf(name("bob"))),
            "The server of bob cannot be reached now. Not sent to bob: psst"
        );
        for (why, shown) in [
            (
                Unreachable::OthersUnconfirmed,
                "The other servers cannot be reached now",
            ),
            (
                Unreachable::ServerOfUnconfirmed(name("bob")),
                "No answer from the server of bob",
            ),
        ] {
            let rest = "; the message may have arrived. Perhaps not sent to bob: psst";
            assert_eq!(line(why), format!("{shown}{rest}"));
        }
    }
}
