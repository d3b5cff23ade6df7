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
use parking_lot::{Condvar, Mutex};

use super::format::{self, Style};
use super::printer::Printer;
use crate::client::connection::{Event, ServerResponse, without_os_code};
use crate::client::reconnecting::{ClientEvent, ClientState};
use crate::limits::{MAX_GREETED_NAMES, MAX_KNOWN_NAMES, SILENCE_NOTICE_TIMEOUT};
use crate::protocol::reply::{Response, Scope};
use crate::protocol::request::Command;
use crate::protocol::server_message::{Message, parse_name_list};
use crate::protocol::text::Printable;
use crate::protocol::username::Username;

/// The reading side: prints each event.
#[derive(Clone)]
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
    /// The user's own messages are counted here when they are answered.
    pub answered_messages: Arc<AnsweredMessages>,
    /// Signals to the typing side that the prompt may change.
    pub name_answered_tx: Sender<()>,
}

impl EventPrinter {
    /// Prints an event.
    pub fn on_event(&self, event: ClientEvent) {
        match event {
            ClientEvent::Event(Event::Message(message)) => self.on_message(&message),
            ClientEvent::Event(Event::Presence(_) | Event::Recent(_)) => {}
            ClientEvent::Event(Event::Response(response)) => self.on_response(&response),
            ClientEvent::Event(Event::Notice(notice)) => self.error(notice),
            ClientEvent::Lost {
                problem,
                unconfirmed,
            } => {
                self.error(format!("The connection ended: {problem}"));
                for description in unconfirmed.iter().filter_map(describe_unsent) {
                    self.error(format!("Perhaps not sent{description}"));
                }
                let messages = unconfirmed.iter().filter(|it| it.as_message().is_some());
                self.answered_messages.add(messages.count());
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
                self.signal_name_answered();
            }
            ClientEvent::Refused { text, retries } => {
                let how = match retries {
                    true => "trying again now and then, /name NEW takes another name",
                    false => "/name NEW takes another name",
                };
                self.error(format!("{}; {how}", text.as_str()));
                self.signal_name_answered();
            }
            ClientEvent::ResumedElsewhere => {
                self.error("/name NEW begins another session here, /quit leaves")
            }
            ClientEvent::NeedsAccessToken { advice } => {
                self.error(advice);
                self.printer.end_editor();
            }
            ClientEvent::Silent => {
                let seconds = SILENCE_NOTICE_TIMEOUT.as_secs();
                self.info(format!("no answer from the server for {seconds} s"));
            }
        }
    }

    /// Prints a message from another user, unless that user is ignored.
    fn on_message(&self, message: &Message) {
        let is_private = message.scope == Scope::Private;
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
        let me = self.state.lock().name.clone();
        let mut line = self.style().message(&format::time(), message, &me);
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
            Some(Command::ListNames { prefix }) if is_success => self.on_names(prefix, response),
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
                Some(description) => self.error(format!("{text}; not sent{description}")),
                None => self.error(text),
            },
        }
    }

    /// Prints the user's own message, which the server has answered.
    fn on_own_message(&self, request: &Command, answer: &str, is_success: bool) {
        let description = describe_unsent(request).unwrap_or_default();
        if !is_success {
            self.error(format!("{answer}; not sent{description}"));
            return;
        }
        if let Some((to, text)) = request.as_message() {
            let name = self.state.lock().name.clone();
            let line = (self.style()).own_message(&format::time(), &name, to, text.as_str());
            self.printer.print(line);
        }
        if answer == Response::DeliveredTo(0).to_string() {
            self.info(format!("Delivered to no other user{description}"));
        }
    }

    /// Prints the response to `/names`, with the names in their colours.
    ///
    /// The first list, which the client itself requests after the login, is short.
    fn on_names(&self, prefix: &Printable, response: &ServerResponse) {
        let names = parse_name_list(&response.text);
        let is_greeting = {
            let mut known_users = self.known_users.lock();
            names.iter().for_each(|name| known_users.add(name));
            !std::mem::replace(&mut known_users.is_greeted, true)
        };
        let count = response.name_count();
        let most = if is_greeting {
            MAX_GREETED_NAMES
        } else {
            usize::MAX
        };
        let painted: Vec<String> = names.iter().map(|name| self.style.name(name)).collect();
        let shown = &painted[..painted.len().min(most)];
        let others = count - shown.len().min(count);
        let heading = match prefix.as_str() {
            "" => format!("{count} online"),
            prefix => format!("{count} online whose name begins with {prefix}"),
        };
        let list = shown.join(", ");
        self.info(match (shown.is_empty(), others) {
            (true, _) => heading,
            (false, 0) => format!("{heading}: {list}"),
            (false, others) if is_greeting => {
                format!("{heading}: {list} and {others} more; /names lists them")
            }
            (false, others) => format!("{heading}: {list} and {others} more"),
        });
    }

    fn signal_name_answered(&self) {
        // Fails if an earlier signal is still in the channel, which is enough.
        let _ = self.name_answered_tx.try_send(());
    }

    fn info(&self, text: impl Display) {
        self.printer.print(self.style().info(&format::time(), text));
    }

    fn error(&self, text: impl Display) {
        self.printer
            .print(self.style().error(&format::time(), text));
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
    /// Whether the first list of names was printed.
    is_greeted: bool,
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
        Command::ListNames { .. }
        | Command::WatchPresence { .. }
        | Command::RecentMessages { .. }
        | Command::Ping(_)
        | Command::Help
        | Command::Quit => None,
    }
}
