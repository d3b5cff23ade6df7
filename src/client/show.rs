//! The reading side of a conversation: what happens is shown, on whichever thread it
//! happens.
//!
//! Knows neither what is being typed nor how a connection is kept up. What it shares with
//! the typing side ([`super::terminal`]) is who was seen, and that a name has been
//! answered.

use std::fmt::Display;
use std::sync::Arc;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::connection::{Answer, Event, reason};
use super::display::{self, Style};
use super::link::{Happening, Standing};
use super::screen::Screen;
use crate::limits::KNOWN_NAMES;
use crate::protocol::from_server::{Message, names_listed};
use crate::protocol::reply::{Response, Scope};
use crate::protocol::request::Command;
use crate::protocol::text::Printable;
use crate::protocol::username::Username;

/// Shows what happens.
#[derive(Clone)]
pub struct Show {
    /// Where.
    pub screen: Screen,
    /// How.
    pub style: Style,
    /// Whether to ring for private messages and for one's own name.
    pub bell: bool,
    /// The own name is in there.
    pub standing: Arc<Mutex<Standing>>,
    /// Whoever writes is noted down here.
    pub people: Arc<Mutex<People>>,
    /// Tells the typing side that the prompt may change.
    pub name_answered: Sender<()>,
}

impl Show {
    /// Shows one thing.
    pub fn show(&self, happening: Happening) {
        match happening {
            Happening::Event(Event::Message(message)) => self.message(&message),
            Happening::Event(Event::Answer(answer)) => self.answer(&answer),
            Happening::Event(Event::Notice(notice)) => self.error(notice),
            Happening::Lost {
                problem,
                unconfirmed,
            } => {
                self.error(format!("The connection ended: {problem}"));
                for what in unconfirmed.iter().filter_map(described) {
                    self.error(format!("Perhaps not sent{what}"));
                }
            }
            Happening::Unreachable(e) => {
                let reason = reason(&e);
                self.error(format!(
                    "No connection yet ({reason}); trying on, /quit leaves"
                ));
            }
            Happening::Back { name, resumed } => {
                let how = match resumed {
                    true => "what was sent to you meanwhile follows",
                    false => "with a new session: what was said meanwhile is missing",
                };
                self.info(format!("Back as {}, {how}", self.style.name(&name)));
                self.name_has_been_answered();
            }
            Happening::Refused(text) => {
                self.error(format!("{}; /name NEW takes another name", text.as_str()));
                self.name_has_been_answered();
            }
            Happening::Taken => self.error("/name NEW begins another session here, /quit leaves"),
            Happening::SentLate(request) => {
                if let Some((to, text)) = request.as_message() {
                    let name = self.standing.lock().name.clone();
                    let line = self.style().own(&display::time(), &name, to, text.as_str());
                    self.screen.print(line);
                }
            }
        }
    }

    fn message(&self, message: &Message) {
        let private = message.scope == Scope::Private;
        {
            let mut people = self.people.lock();
            people.see(&message.sender);
            if private {
                people.last_private = Some(message.sender.clone());
            }
        }
        let mut line = self.style().message(&display::time(), message);
        let rings = private || display::mentions(message.text.as_str(), &self.standing.lock().name);
        if self.bell && rings {
            line.push('\x07');
        }
        self.screen.print(line);
    }

    fn answer(&self, answer: &Answer) {
        let text = answer.text.as_str();
        let good = answer.status.is_success();
        match &answer.request {
            Some(Command::BroadcastMessage(_)) if good => {
                if text == Response::DeliveredTo(0).to_string() {
                    self.info("Nobody has got that: nobody else is here, or none can take it");
                }
            }
            Some(Command::PrivateMessage { .. }) if good => {}
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
            request => match request.as_ref().and_then(described) {
                Some(what) => self.error(format!("{text}; not sent{what}")),
                None => self.error(text),
            },
        }
    }

    /// The answer to `/names`, with the names in their colours.
    fn names(&self, prefix: &Printable, answer: &Printable) {
        let names = names_listed(answer);
        let mut people = self.people.lock();
        names.iter().for_each(|name| people.see(name));
        drop(people);
        let (count, _) = answer.split_word();
        let count = count.as_str();
        let others = count
            .parse()
            .map_or(0, |count: usize| count - names.len().min(count));
        let painted: Vec<String> = names.iter().map(|name| self.style.name(name)).collect();
        let painted = painted.join(" ");
        let who = match prefix.as_str() {
            "" => format!("{count} online"),
            prefix => format!("{count} online whose name begins with {prefix}"),
        };
        self.info(match (names.is_empty(), others) {
            (true, _) => who,
            (false, 0) => format!("{who}: {painted}"),
            (false, others) => format!("{who}: {painted} and {others} more"),
        });
    }

    fn name_has_been_answered(&self) {
        // One place: more than that it has been answered need not be known.
        let _ = self.name_answered.try_send(());
    }

    fn info(&self, text: impl Display) {
        self.screen.print(self.style().info(&display::time(), text));
    }

    fn error(&self, text: impl Display) {
        self.screen
            .print(self.style().error(&display::time(), text));
    }

    /// The style for the terminal as wide as it is now.
    fn style(&self) -> Style {
        self.style.with_columns(self.screen.columns())
    }
}

/// Whom one may write to, as far as it is known without asking. Its lock is held for a
/// moment, by the two threads that type and that read.
#[derive(Debug, Default)]
pub struct People {
    /// Who wrote privately last.
    pub last_private: Option<Username>,
    /// Who was seen.
    pub seen: Vec<Username>,
}

impl People {
    fn see(&mut self, name: &Username) {
        if !self.seen.iter().any(|seen| seen.is_same_as(name)) {
            self.seen.truncate(KNOWN_NAMES - 1);
            self.seen.insert(0, name.clone());
        }
    }
}

/// A request that may not have been carried out, as an addition to the words for that;
/// `None` if nobody minds.
pub fn described(request: &Command) -> Option<String> {
    match request {
        Command::BroadcastMessage(text) => Some(format!(": {}", text.as_str())),
        Command::PrivateMessage { to, text } => Some(format!(" to {to}: {}", text.as_str())),
        Command::SetName(name) => Some(format!(": /name {name}")),
        Command::ListNames { .. } | Command::Ping(_) | Command::Help | Command::Quit => None,
    }
}
