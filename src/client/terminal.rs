//! The conversation at a terminal: what is typed goes to the server, what happens is
//! shown.
//!
//! Knows no bytes: the [`Link`] keeps up the connection, the [`Editor`] the line. What
//! they are to do with each other is decided here.

use std::cell::RefCell;
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;

use super::connection::{Answer, Connection, Event};
use super::display::{self, BEFORE_NAME, Style, reason};
use super::editor::{self, Editor, Input, Looks};
use super::link::{Happening, Link, LogIn, Stage, Standing, log_in};
use super::screen::Screen;
use super::typed::{COMMANDS, Typed};
use crate::limits::{COMPLETION_TIME, KNOWN_NAMES};
use crate::protocol::from_server::{Message, names_listed};
use crate::protocol::reply::Scope;
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::text::{Printable, Text};
use crate::protocol::username::Username;

/// How to hold a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// With which server: `HOST:PORT`.
    pub address: String,
    /// Under which name. It need not be one yet: then another is asked for.
    pub name: String,
    /// Whether to ring for private messages and for one's own name.
    pub bell: bool,
    /// Whether to use colours.
    pub style: Style,
}

/// How long the prompt waits for the answer to `/name`, which changes it.
const NAME_ANSWER_TIME: Duration = Duration::from_secs(1);

/// The time of a message that waits for a connection.
const NOT_YET: &str = "--:--";

/// Holds a conversation until one leaves: exit code 0 if all was sent, 1 if not. Fails
/// if there is no server to begin with.
pub fn converse(config: &Config) -> io::Result<ExitCode> {
    let Some((name, connection)) = first_log_in(config)? else {
        return Ok(ExitCode::FAILURE);
    };
    let mut editor = Editor::new()?;
    let screen = editor.screen().clone();
    let greeting = format!("You are {name}; /help lists the commands, /quit leaves");
    screen.say(&config.style.info(&display::time(), greeting));

    let standing = Standing::online(name);
    let people = Arc::new(Mutex::new(People::default()));
    let (answered, name_answered) = bounded(1);
    let show = Show {
        screen: screen.clone(),
        style: config.style,
        bell: config.bell,
        standing: Arc::clone(&standing),
        people: Arc::clone(&people),
        name_answered: answered,
    };
    let happens = move |happening| show.show(happening);
    let link = Link::start(connection, config.address.clone(), standing, happens)?;
    link.send(Command::ListNames {
        prefix: Printable::default(),
    });
    let talk = Rc::new(Talk {
        link,
        style: config.style,
        people,
        planned: RefCell::default(),
    });
    editor.set_chat(Rc::<Talk>::clone(&talk));

    let mut about_to_leave = false;
    loop {
        let Standing { name, .. } = talk.link.standing();
        let space = " ".repeat(BEFORE_NAME);
        let painted = format!("{space}{}> ", config.style.name(&name));
        match editor.next(&format!("{space}{name}> "), painted) {
            Input::Lines { text, shown } => {
                about_to_leave = false;
                let _ = name_answered.try_recv();
                match talk.carry_out(&text, shown, &screen) {
                    Next::Line => {}
                    Next::LineWithName => {
                        let _ = name_answered.recv_timeout(NAME_ANSWER_TIME);
                    }
                    Next::Leave => break,
                }
            }
            Input::Interrupt { cleared: true } => about_to_leave = false,
            Input::Interrupt { cleared: false } if !about_to_leave => {
                about_to_leave = true;
                screen.say(&talk.info("Ctrl-C once more leaves"));
            }
            Input::Interrupt { cleared: false } | Input::End => break,
        }
    }
    screen.plain();
    drop(editor);
    let talk = Rc::into_inner(talk).expect("the editor had the other");
    Ok(leave(talk, &screen))
}

/// Takes the name that was wished for, or asks for others until one is taken. `None` if
/// none is given.
fn first_log_in(config: &Config) -> io::Result<Option<(Username, Connection)>> {
    let mut wished = config.name.clone();
    loop {
        let problem = match Username::new(&wished) {
            Err(bad) => bad.to_string(),
            Ok(name) => match log_in(&config.address, &name, None)? {
                LogIn::Done { connection, .. } => return Ok(Some((name, connection))),
                LogIn::Refused(text) => text.as_str().to_owned(),
            },
        };
        let _ = writeln!(io::stdout(), "{problem}");
        match editor::ask("Your name: ")? {
            Some(answer) => wished = answer.trim().to_owned(),
            None => return Ok(None),
        }
    }
}

fn leave(talk: Talk, screen: &Screen) -> ExitCode {
    let Talk { link, style, .. } = talk;
    let left = link.leave(|| {
        let waiting = "Waiting until the server has taken everything; Ctrl-C leaves at once";
        screen.print(style.info(&display::time(), waiting));
    });
    for text in left.unsent.iter().filter_map(text_of) {
        let text = text.as_str();
        screen.print(style.error(&display::time(), format!("Not sent: {text}")));
    }
    screen.flush();
    match left.answered && left.unsent.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Whom one may write to, as far as it is known without asking. Its lock is held for a
/// moment, by the two threads that type and that read.
#[derive(Debug, Default)]
struct People {
    /// Who wrote privately last.
    last_private: Option<Username>,
    /// Who was seen.
    seen: Vec<Username>,
}

impl People {
    fn see(&mut self, name: &Username) {
        if !self.seen.iter().any(|seen| seen.key() == name.key()) {
            self.seen.truncate(KNOWN_NAMES - 1);
            self.seen.insert(0, name.clone());
        }
    }
}

/// The typing side.
struct Talk {
    link: Link,
    style: Style,
    people: Arc<Mutex<People>>,
    /// What the line is going to do that has just been accepted. It has been shown, so
    /// it is not thought over again: a private message may have come since.
    planned: RefCell<Option<Vec<Step>>>,
}

/// Something to be done for a typed line.
enum Step {
    Say {
        to: Option<Username>,
        texts: Vec<Text>,
    },
    Names(Printable),
    Name(Username),
    Help,
    Leave,
    Fail(String),
}

/// What comes after a line.
enum Next {
    Line,
    /// The next line, with a prompt that waits for the name.
    LineWithName,
    Leave,
}

impl editor::Chat for Talk {
    /// Asked of the server, or remembered.
    fn online(&self, prefix: &str) -> Vec<Username> {
        let remembered = || {
            let people = self.people.lock();
            let mut names = people.seen.clone();
            names.retain(|name| name.starts_with(prefix));
            names
        };
        if self.link.standing().stage != Stage::Online {
            return remembered();
        }
        let Ok(printable) = Printable::new(prefix.as_bytes()) else {
            return Vec::new();
        };
        let answer = self.link.ask(Command::ListNames { prefix: printable });
        match answer.recv_timeout(COMPLETION_TIME) {
            Ok(answer) => names_listed(&answer.text),
            Err(_) => remembered(),
        }
    }

    /// Decides what the line is going to do. A message looks as one from now on, anything
    /// else as it was typed.
    fn accepted(&self, line: &str) -> Option<Looks> {
        let steps = self.steps(line);
        let looks = self.looks(line, &steps);
        self.planned.replace(Some(steps));
        looks
    }
}

impl Talk {
    fn steps(&self, lines: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        for line in lines.lines() {
            steps.push(match Typed::parse(line) {
                Ok(Typed::Nothing) => continue,
                Ok(Typed::Broadcast(texts)) => Step::Say { to: None, texts },
                Ok(Typed::Private { to, texts }) => {
                    match to.or_else(|| self.people.lock().last_private.clone()) {
                        Some(to) => Step::Say {
                            to: Some(to),
                            texts,
                        },
                        None => Step::Fail("Nobody has written to you privately yet".to_owned()),
                    }
                }
                Ok(Typed::Names { prefix }) => Step::Names(prefix),
                Ok(Typed::Name(name)) => Step::Name(name),
                Ok(Typed::Help) => Step::Help,
                Ok(Typed::Quit) => Step::Leave,
                Err(mistake) => Step::Fail(mistake.to_string()),
            });
        }
        steps
    }

    /// The line as a message, if it is one, and if it takes as many rows of the terminal
    /// then as it does now: the editor does not know that its characters change.
    fn looks(&self, line: &str, steps: &[Step]) -> Option<Looks> {
        let [Step::Say { to, texts }] = steps else {
            return None;
        };
        let text = match &texts[..] {
            // What was typed before it is not a part of it.
            [text] => text.as_str(),
            _ if to.is_none() && !line.starts_with('/') => line,
            _ => return None,
        };
        let Standing { name, .. } = self.link.standing();
        let typed_before = BEFORE_NAME + name.as_str().len() + "> ".len() + line.len() - text.len();
        let plain = Style { colours: false };
        let before = plain.before_own(NOT_YET, &name, to.as_ref()).len();
        if before != typed_before {
            let columns = tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col.into());
            // No character takes more than two columns.
            let most = before.max(typed_before) + 2 * text.chars().count();
            if most >= columns {
                return None;
            }
        }
        Some((self.before_own(to.as_ref()), text.to_owned()))
    }

    fn before_own(&self, to: Option<&Username>) -> String {
        let Standing { name, stage } = self.link.standing();
        let time = match stage {
            Stage::Online => display::time(),
            Stage::Offline | Stage::Nameless => NOT_YET.to_owned(),
        };
        self.style.before_own(&time, &name, to)
    }

    /// Does what the lines say. What is to be seen of it is printed at once, unless it
    /// has been shown already.
    fn carry_out(&self, lines: &str, shown: bool, screen: &Screen) -> Next {
        let steps = self.planned.take().unwrap_or_else(|| self.steps(lines));
        let mut next = Next::Line;
        for step in steps {
            match step {
                Step::Say { to, texts } => {
                    for text in texts {
                        if !shown {
                            let before = self.before_own(to.as_ref());
                            screen.say(&format!("{before}{}", text.as_str()));
                        }
                        self.link.send(match to.clone() {
                            Some(to) => Command::PrivateMessage { to, text },
                            None => Command::BroadcastMessage(text),
                        });
                    }
                }
                Step::Names(prefix) if self.link.standing().stage == Stage::Online => {
                    self.link.send(Command::ListNames { prefix });
                }
                Step::Names(_) => screen.say(&self.error("There is no connection now")),
                Step::Name(name) => {
                    self.link.set_name(name);
                    next = Next::LineWithName;
                }
                Step::Help => screen.say(&help()),
                Step::Leave => return Next::Leave,
                Step::Fail(problem) => screen.say(&self.error(&problem)),
            }
        }
        next
    }

    fn info(&self, text: &str) -> String {
        self.style.info(&display::time(), text)
    }

    fn error(&self, text: &str) -> String {
        self.style.error(&display::time(), text)
    }
}

/// What `/help` shows.
fn help() -> String {
    let mut rows = vec![("TEXT".to_owned(), "goes to everyone who is here")];
    rows.extend(COMMANDS.iter().map(|row| (row.usage(), row.does)));
    rows.push((
        "//TEXT".to_owned(),
        "goes to everyone, with one slash before it",
    ));
    rows.push((
        "TAB".to_owned(),
        "completes commands, and names of who is here",
    ));
    rows.push((
        "Ctrl-C".to_owned(),
        "clears the line; twice on an empty one, it leaves",
    ));
    rows.push(("Ctrl-D".to_owned(), "leaves"));
    let rows: Vec<String> = rows
        .iter()
        .map(|(what, does)| format!("  {what:<16} {does}"))
        .collect();
    rows.join("\n")
}

/// The text of a request that is a message.
fn text_of(request: &Command) -> Option<&Text> {
    match request {
        Command::PrivateMessage { text, .. } | Command::BroadcastMessage(text) => Some(text),
        _ => None,
    }
}

/// The reading side: shows what happens, on whichever thread it happens.
#[derive(Clone)]
struct Show {
    screen: Screen,
    style: Style,
    bell: bool,
    standing: Arc<Mutex<Standing>>,
    people: Arc<Mutex<People>>,
    /// Tells the typing side that the prompt may change.
    name_answered: Sender<()>,
}

impl Show {
    fn show(&self, happening: Happening) {
        match happening {
            Happening::Event(Event::Message(message)) => self.message(&message),
            Happening::Event(Event::Answer(answer)) => self.answer(&answer),
            Happening::Event(Event::Notice(notice)) => self.error(notice),
            Happening::Lost {
                problem,
                unconfirmed,
            } => {
                self.error(format!("The connection ended: {problem}"));
                for text in unconfirmed.iter().filter_map(text_of) {
                    self.error(format!("Perhaps not sent: {}", text.as_str()));
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
                let to = match &request {
                    Command::PrivateMessage { to, .. } => Some(to),
                    _ => None,
                };
                if let Some(text) = text_of(&request) {
                    let me = self.standing.lock().name.clone();
                    let before = self.style.before_own(&display::time(), &me, to);
                    self.screen.print(format!("{before}{}", text.as_str()));
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
        let mut line = self.style.message(&display::time(), message);
        let rings = private || display::mentions(message.text.as_str(), &self.standing.lock().name);
        if self.bell && rings {
            line.push('\x07');
        }
        self.screen.print(line);
    }

    fn answer(&self, answer: &Answer) {
        let text = answer.text.as_str();
        let good = matches!(answer.status, Status::Ok | Status::NotModified);
        match &answer.request {
            Some(Command::BroadcastMessage(_)) if good => {
                if text == "Delivered to 0" {
                    self.info("Nobody else is here");
                }
            }
            Some(Command::PrivateMessage { .. }) if good => {}
            Some(Command::ListNames { .. }) if good => self.names(&answer.text),
            Some(Command::SetName(_)) => {
                if good {
                    self.info(text);
                } else {
                    self.error(text);
                }
                self.name_has_been_answered();
            }
            _ if good => self.info(text),
            request => match request.as_ref().and_then(text_of) {
                Some(message) => self.error(format!("{text}; not sent: {}", message.as_str())),
                None => self.error(text),
            },
        }
    }

    /// The answer to `/names`, with the names in their colours.
    fn names(&self, answer: &Printable) {
        let names = names_listed(answer);
        let mut people = self.people.lock();
        names.iter().for_each(|name| people.see(name));
        drop(people);
        let (count, _) = answer
            .as_str()
            .split_once(':')
            .unwrap_or((answer.as_str(), ""));
        let painted: Vec<String> = names.iter().map(|name| self.style.name(name)).collect();
        self.info(match names.is_empty() {
            true => count.to_owned(),
            false => format!("{count}: {}", painted.join(" ")),
        });
    }

    fn name_has_been_answered(&self) {
        // One place: more than that it has been answered need not be known.
        let _ = self.name_answered.try_send(());
    }

    fn info(&self, text: impl std::fmt::Display) {
        self.screen.print(self.style.info(&display::time(), text));
    }

    fn error(&self, text: impl std::fmt::Display) {
        self.screen.print(self.style.error(&display::time(), text));
    }
}
