//! The reading side of a conversation: what happens is shown, on the thread on which it
//! happens.
//!
//! Does not know what is being typed or how a connection is kept up. It shares with the
//! typing side ([`super`]) the users that were seen, the ignored ones, and which
//! messages have been answered.
//!
//! Invariant: *an own message is shown with a time only when the server has answered it*.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::format::{self, Style};
use super::printer::Printer;
use crate::client::connection::{Answer, Event, without_os_code};
use crate::client::reconnecting::{ClientEvent, ClientState, count_listed};
use crate::limits::{MAX_GREETED_NAMES, MAX_KNOWN_NAMES, SILENCE_NOTICE_TIMEOUT};
use crate::protocol::reply::{Response, Scope};
use crate::protocol::request::Command;
use crate::protocol::server_message::{Message, parse_name_list};
use crate::protocol::text::Printable;
use crate::protocol::username::Username;

/// Shows what happens.
#[derive(Clone)]
pub struct Show {
    /// Where.
    pub printer: Printer,
    /// How.
    pub style: Style,
    /// Whether to ring for private messages and for one's own name.
    pub bell: bool,
    /// The own name is in there.
    pub standing: Arc<Mutex<ClientState>>,
    /// The users that write are noted down here.
    pub people: Arc<Mutex<KnownUsers>>,
    /// Own messages that have been answered are counted here.
    pub echoes: Arc<Echoes>,
    /// Tells the typing side that the prompt may change.
    pub name_answered: Sender<()>,
}

impl Show {
    /// Shows one thing.
    pub fn show(&self, happening: ClientEvent) {
        match happening {
            ClientEvent::Event(Event::Message(message)) => self.message(&message),
            ClientEvent::Event(Event::Answer(answer)) => self.answer(&answer),
            ClientEvent::Event(Event::Notice(notice)) => self.error(notice),
            ClientEvent::Lost {
                problem,
                unconfirmed,
            } => {
                self.error(format!("The connection ended: {problem}"));
                for what in unconfirmed.iter().filter_map(describe_unsent) {
                    self.error(format!("Perhaps not sent{what}"));
                }
                let messages = unconfirmed.iter().filter(|it| it.as_message().is_some());
                self.echoes.add(messages.count());
            }
            ClientEvent::Unreachable(e) => {
                let reason = without_os_code(&e);
                self.error(format!(
                    "No connection yet ({reason}); trying on, /quit leaves"
                ));
            }
            ClientEvent::Reconnected { name, resumed } => {
                let how = match resumed {
                    true => "what was sent to you meanwhile follows",
                    false => "with a new session: what was said meanwhile is missing",
                };
                self.info(format!("Back as {}, {how}", self.style.name(&name)));
                self.name_has_been_answered();
            }
            ClientEvent::Refused { text, retries } => {
                let how = match retries {
                    true => "trying again now and then, /name NEW takes another name",
                    false => "/name NEW takes another name",
                };
                self.error(format!("{}; {how}", text.as_str()));
                self.name_has_been_answered();
            }
            ClientEvent::ResumedElsewhere => {
                self.error("/name NEW begins another session here, /quit leaves")
            }
            ClientEvent::Silent => {
                let seconds = SILENCE_NOTICE_TIMEOUT.as_secs();
                self.info(format!("no answer from the server for {seconds} s"));
            }
        }
    }

    fn message(&self, message: &Message) {
        let private = message.scope == Scope::Private;
        {
            let mut people = self.people.lock();
            if people.is_ignored(&message.sender) {
                return;
            }
            people.see(&message.sender);
            if private {
                people.last_private = Some(message.sender.clone());
            }
        }
        let me = self.standing.lock().name.clone();
        let mut line = self.style().message(&format::time(), message, &me);
        let rings = private || format::mentions(message.text.as_str(), &me);
        if self.bell && rings {
            line.push('\x07');
        }
        self.printer.print(line);
    }

    fn answer(&self, answer: &Answer) {
        let text = answer.text.as_str();
        let good = answer.status.is_success();
        match &answer.request {
            Some(request) if request.as_message().is_some() => {
                self.own(request, text, good);
                self.echoes.add(1);
            }
            Some(Command::ListNames { prefix }) if good => self.names(prefix, &answer.text),
            Some(Command::SetName(_)) => {
                if good {
                    self.info(text);
                } else {
                    self.error(text);
                }
                self.name_has_been_answered();
            }
            _ if good => self.info(text),
            request => match request.as_ref().and_then(describe_unsent) {
                Some(what) => self.error(format!("{text}; not sent{what}")),
                None => self.error(text),
            },
        }
    }

    /// A message of one's own, which the server has answered.
    fn own(&self, request: &Command, answer: &str, good: bool) {
        let what = describe_unsent(request).unwrap_or_default();
        if !good {
            self.error(format!("{answer}; not sent{what}"));
            return;
        }
        if let Some((to, text)) = request.as_message() {
            let name = self.standing.lock().name.clone();
            let line = (self.style()).own(&format::time(), &name, to, text.as_str());
            self.printer.print(line);
        }
        if answer == Response::DeliveredTo(0).to_string() {
            self.info(format!("Delivered to no other user{what}"));
        }
    }

    /// The answer to `/names`, with the names in their colours. The first one is that of
    /// the client itself, and short.
    fn names(&self, prefix: &Printable, answer: &Printable) {
        let names = parse_name_list(answer);
        let is_greeting = {
            let mut people = self.people.lock();
            names.iter().for_each(|name| people.see(name));
            !std::mem::replace(&mut people.is_greeted, true)
        };
        let count = count_listed(answer);
        let most = if is_greeting {
            MAX_GREETED_NAMES
        } else {
            usize::MAX
        };
        let painted: Vec<String> = names.iter().map(|name| self.style.name(name)).collect();
        let shown = &painted[..painted.len().min(most)];
        let others = count - shown.len().min(count);
        let who = match prefix.as_str() {
            "" => format!("{count} online"),
            prefix => format!("{count} online whose name begins with {prefix}"),
        };
        let list = shown.join(", ");
        self.info(match (shown.is_empty(), others) {
            (true, _) => who,
            (false, 0) => format!("{who}: {list}"),
            (false, others) if is_greeting => {
                format!("{who}: {list} and {others} more; /names lists them")
            }
            (false, others) => format!("{who}: {list} and {others} more"),
        });
    }

    fn name_has_been_answered(&self) {
        // One place: more than that it has been answered need not be known.
        let _ = self.name_answered.try_send(());
    }

    fn info(&self, text: impl Display) {
        self.printer.print(self.style().info(&format::time(), text));
    }

    fn error(&self, text: impl Display) {
        self.printer
            .print(self.style().error(&format::time(), text));
    }

    /// The style for the terminal as wide as it is now.
    fn style(&self) -> Style {
        self.style.with_columns(Some(self.printer.columns()))
    }
}

/// The other users, as far as they are known without asking. Its lock is held for a
/// moment, by the two threads that type and that read.
#[derive(Debug, Default)]
pub struct KnownUsers {
    /// The user that wrote privately last.
    pub last_private: Option<Username>,
    /// The users that were seen.
    pub seen: Vec<Username>,
    /// The users whose messages are not shown.
    pub ignored: Vec<Username>,
    /// The names have been listed once.
    is_greeted: bool,
}

impl KnownUsers {
    fn see(&mut self, name: &Username) {
        if !self.seen.iter().any(|seen| seen.is_same_as(name)) {
            self.seen.truncate(MAX_KNOWN_NAMES - 1);
            self.seen.insert(0, name.clone());
        }
    }

    /// Whether what this user sends is not shown.
    pub fn is_ignored(&self, name: &Username) -> bool {
        self.ignored.iter().any(|ignored| ignored.is_same_as(name))
    }
}

/// How many own messages have been answered, or were sent on a connection that was lost.
#[derive(Debug, Default)]
pub struct Echoes {
    answered: Mutex<usize>,
    changed: Condvar,
}

impl Echoes {
    fn add(&self, count: usize) {
        *self.answered.lock() += count;
        self.changed.notify_all();
    }

    /// Waits until this many have been answered and shown. False if that takes too long.
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

/// A request that may not have been carried out, as an addition to the words for that;
/// `None` if that does not matter.
pub fn describe_unsent(request: &Command) -> Option<String> {
    match request {
        Command::BroadcastMessage(text) => Some(format!(": {}", text.as_str())),
        Command::PrivateMessage { to, text } => Some(format!(" to {to}: {}", text.as_str())),
        Command::SetName(name) => Some(format!(": /name {name}")),
        Command::ListNames { .. } | Command::Ping(_) | Command::Help | Command::Quit => None,
    }
}
