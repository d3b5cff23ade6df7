//! The conversation at a terminal: what is typed goes to the server, what happens is
//! shown.
//!
//! Knows no bytes: the [`Link`] keeps up the connection, the [`Editor`] the line. What
//! they are to do with each other is decided here.

use std::cell::RefCell;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

use super::connection::{Answer, Connection, Event, reason};
use super::display::{self, BEFORE_NAME, Style};
use super::editor::{self, Editor, Input, Looks};
use super::link::{Happening, Link, LogIn, Stage, Standing, log_in};
use super::screen::Screen;
use super::typed::{COMMANDS, To, Typed};
use crate::limits::{COMPLETION_TIME, KNOWN_NAMES, NAME_ANSWER_TIME};
use crate::protocol::from_server::{Message, names_listed};
use crate::protocol::reply::{Response, Scope};
use crate::protocol::request::Command;
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

/// The time of a message that waits for a connection.
const NOT_YET: &str = "--:--";

/// Holds a conversation until the user leaves: exit code 0 if everything was sent and
/// answered, 1 if not, or if there was no connection then. Fails if there is no server to
/// begin with.
pub fn converse(config: &Config) -> io::Result<ExitCode> {
    let mut editor = Editor::new()?;
    let Some((name, connection)) = first_log_in(config, &mut editor)? else {
        return Ok(ExitCode::FAILURE);
    };
    let screen = editor.screen().clone();
    let greeting = format!("You are {name}; /help lists the commands, /quit leaves");
    let style = config.style.of(columns());
    screen.say(&style.info(&display::time(), greeting));

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
        let name = talk.link.standing().name;
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
            Input::Garbled => screen.say(&talk.error("That was not UTF-8, and is lost")),
            Input::Interrupt { cleared: false } | Input::End => break,
        }
    }
    drop(editor);
    screen.plain();
    let talk = Rc::into_inner(talk).expect("the editor had the other");
    Ok(leave(talk, &screen))
}

/// Takes the name that was wished for, or asks for others until one is taken. `None` if
/// none is given.
fn first_log_in(
    config: &Config,
    editor: &mut Editor,
) -> io::Result<Option<(Username, Connection)>> {
    let mut wished = config.name.clone();
    loop {
        let problem = match Username::new(&wished) {
            Ok(name) => match log_in(&config.address, &name, None)? {
                LogIn::Done { connection, .. } => return Ok(Some((name, connection))),
                LogIn::Refused(text) => format!(
                    "{}. If that was you: after a break a name stays taken for a while",
                    text.as_str()
                ),
            },
            Err(bad) => {
                // There is no use in asking if there is no server.
                Connection::connect(&config.address)?;
                bad.to_string()
            }
        };
        editor.screen().say(&problem);
        match editor.ask("Your name (Ctrl-D leaves): ") {
            Some(answer) => wished = answer.trim().to_owned(),
            None => return Ok(None),
        }
    }
}

fn leave(talk: Talk, screen: &Screen) -> ExitCode {
    let Talk { link, style, .. } = talk;
    let left = link.leave(|| {
        let waiting = "Waiting until the server has taken everything; Ctrl-C leaves at once";
        screen.say(&style.info(&display::time(), waiting));
    });
    screen.flush();
    for what in left.unsent.iter().filter_map(described) {
        screen.say(&style.error(&display::time(), format!("Not sent{what}")));
    }
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
        if !self.seen.iter().any(|seen| seen.is_same_as(name)) {
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
    /// What is going to be done for the line that has just been accepted. It has been
    /// shown so, and is not thought over again: a private message may have come since.
    planned: RefCell<Option<Plan>>,
}

/// What is going to be done for a line.
enum Plan {
    Nothing,
    Say {
        to: Option<Username>,
        texts: Vec<Text>,
        /// Where the text begins in what was typed.
        before: usize,
        /// There is no connection now.
        late: bool,
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

    /// Decides what is going to be done. A message looks as one from now on, anything
    /// else as it was typed.
    fn accepted(&self, line: &str) -> Option<Looks> {
        let plan = self.plan(line);
        let looks = self.looks(line, &plan);
        self.planned.replace(Some(plan));
        looks
    }
}

impl Talk {
    fn plan(&self, typed: &str) -> Plan {
        match Typed::parse(typed) {
            Ok(Typed::Nothing) => Plan::Nothing,
            Ok(Typed::Say { to, texts, before }) => {
                let to = match to {
                    To::All => None,
                    To::One(name) => Some(name),
                    To::LastPrivate => match self.people.lock().last_private.clone() {
                        Some(name) => Some(name),
                        None => {
                            return Plan::Fail(
                                "Nobody has written to you privately yet".to_owned(),
                            );
                        }
                    },
                };
                Plan::Say {
                    to,
                    texts,
                    before,
                    late: self.link.standing().stage != Stage::Online,
                }
            }
            Ok(Typed::Names { prefix }) => Plan::Names(prefix),
            Ok(Typed::Name(name)) => Plan::Name(name),
            Ok(Typed::Help) => Plan::Help,
            Ok(Typed::Quit) => Plan::Leave,
            Err(mistake) => Plan::Fail(mistake.to_string()),
        }
    }

    /// What was typed as a message, if it is one, and if it takes as many rows of the
    /// terminal then as it does now: the editor does not know that its characters change.
    fn looks(&self, typed: &str, plan: &Plan) -> Option<Looks> {
        let Plan::Say {
            to, before, late, ..
        } = plan
        else {
            return None;
        };
        let text = &typed[*before..];
        let name = self.link.standing().name;
        let plain = Style {
            colours: false,
            columns: None,
        };
        let width = plain.before_own(NOT_YET, &name, to.as_ref()).len();
        let typed_width = BEFORE_NAME + name.as_str().len() + "> ".len() + before;
        if width != typed_width {
            let columns = columns().unwrap_or(0);
            let most = width.max(typed_width) + text.width();
            // It has to be one row before and after. What is wider than its characters
            // are, a TAB or a line end, cannot be told.
            if text.contains(['\t', '\n']) || most >= columns {
                return None;
            }
        }
        Some((self.before_own(to.as_ref(), *late), text.to_owned()))
    }

    fn before_own(&self, to: Option<&Username>, late: bool) -> String {
        let name = self.link.standing().name;
        self.style.before_own(&time_of_own(late), &name, to)
    }

    /// Does what the line says. What is to be seen of it is printed at once, unless it has
    /// been shown already.
    fn carry_out(&self, typed: &str, shown: bool, screen: &Screen) -> Next {
        let plan = self.planned.take().unwrap_or_else(|| self.plan(typed));
        match plan {
            Plan::Nothing => {}
            Plan::Say {
                to, texts, late, ..
            } => {
                for text in texts {
                    if !shown {
                        let name = self.link.standing().name;
                        let (time, to) = (time_of_own(late), to.as_ref());
                        let style = self.style.of(columns());
                        screen.say(&style.own(&time, &name, to, text.as_str()));
                    }
                    self.say(to.clone(), text, late);
                }
            }
            Plan::Names(prefix) if self.link.standing().stage == Stage::Online => {
                self.link.send(Command::ListNames { prefix });
            }
            Plan::Names(_) => screen.say(&self.error("There is no connection now")),
            Plan::Name(name) => {
                if self.link.set_name(name.clone()) != Stage::Offline {
                    return Next::LineWithName;
                }
                let name = self.style.name(&name);
                screen.say(&self.info(&format!("You will be {name} when you are back")));
            }
            Plan::Help => screen.say(&help()),
            Plan::Leave => return Next::Leave,
            Plan::Fail(problem) => screen.say(&self.error(&problem)),
        }
        Next::Line
    }

    fn say(&self, to: Option<Username>, text: Text, late: bool) {
        let request = Command::message(to, text);
        match late {
            true => self.link.send_late(request),
            false => self.link.send(request),
        }
    }

    fn info(&self, text: &str) -> String {
        self.style.of(columns()).info(&display::time(), text)
    }

    fn error(&self, text: &str) -> String {
        self.style.of(columns()).error(&display::time(), text)
    }
}

/// The time that an own message is shown with when it is typed.
fn time_of_own(late: bool) -> String {
    match late {
        true => NOT_YET.to_owned(),
        false => display::time(),
    }
}

/// The columns of the terminal now.
fn columns() -> Option<usize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
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

/// A request that may not have been carried out, as an addition to the words for that;
/// `None` if nobody minds.
fn described(request: &Command) -> Option<String> {
    match request {
        Command::BroadcastMessage(text) => Some(format!(": {}", text.as_str())),
        Command::PrivateMessage { to, text } => Some(format!(" to {to}: {}", text.as_str())),
        Command::SetName(name) => Some(format!(": /name {name}")),
        Command::ListNames { .. } | Command::Ping(_) | Command::Help | Command::Quit => None,
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
                    let style = self.style.of(columns());
                    let line = style.own(&display::time(), &name, to, text.as_str());
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
        let style = self.style.of(columns());
        let mut line = style.message(&display::time(), message);
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

    fn info(&self, text: impl std::fmt::Display) {
        let style = self.style.of(columns());
        self.screen.print(style.info(&display::time(), text));
    }

    fn error(&self, text: impl std::fmt::Display) {
        let style = self.style.of(columns());
        self.screen.print(style.error(&display::time(), text));
    }
}
