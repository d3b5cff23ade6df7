//! The conversation at a terminal: what is typed goes to the server, what happens is
//! shown ([`Show`]).
//!
//! Knows no bytes: the [`Link`] keeps up the connection, the [`Editor`] the line. What
//! they are to do with each other is decided here.

use std::cell::RefCell;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use unicode_width::UnicodeWidthStr;

use super::connection::Connection;
use super::display::{self, BEFORE_NAME, Style};
use super::editor::{self, Editor, Input, Looks};
use super::exit;
use super::link::{Link, Stage, Standing};
use super::log_in::{LogIn, log_in};
use super::screen::Screen;
use super::show::{People, Show, described};
use super::typed::{COMMANDS, To, Typed};
use crate::limits::{COMPLETION_TIME, NAME_ANSWER_TIME};
use crate::protocol::from_server::names_listed;
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

/// Holds a conversation until the user leaves: [`DONE`](exit::DONE) if everything was sent
/// and answered, [`FAILED`](exit::FAILED) if not, or if there was no connection then. An
/// error if there is no server to begin with.
pub fn converse(config: &Config) -> io::Result<ExitCode> {
    let mut editor = Editor::new()?;
    let Some((name, connection)) = first_log_in(config, &mut editor)? else {
        return Ok(ExitCode::from(exit::FAILED));
    };
    let screen = editor.screen().clone();
    let greeting = format!("You are {name}; /help lists the commands, /quit leaves");
    let style = config.style.with_columns(screen.columns());
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
        screen,
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
                match talk.carry_out(&text, shown) {
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
                talk.say_info("Ctrl-C once more leaves");
            }
            Input::Garbled => talk.say_error("That was not UTF-8, and is lost"),
            Input::Interrupt { cleared: false } | Input::End => break,
        }
    }
    drop(editor);
    talk.screen.plain();
    let talk = Rc::into_inner(talk).expect("the editor had the other");
    Ok(leave(talk))
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

fn leave(talk: Talk) -> ExitCode {
    let style = talk.style();
    let Talk { link, screen, .. } = talk;
    let left = link.leave(|| {
        let waiting = "Waiting until the server has taken everything; Ctrl-C leaves at once";
        screen.say(&style.info(&display::time(), waiting));
    });
    screen.flush();
    for what in left.unsent.iter().filter_map(described) {
        screen.say(&style.error(&display::time(), format!("Not sent{what}")));
    }
    ExitCode::from(match left.answered && left.unsent.is_empty() {
        true => exit::DONE,
        false => exit::FAILED,
    })
}

/// The typing side.
struct Talk {
    link: Link,
    screen: Screen,
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
        let width = Style::PLAIN.before_own(NOT_YET, &name, to.as_ref()).len();
        let typed_width = BEFORE_NAME + name.as_str().len() + "> ".len() + before;
        if width != typed_width {
            let columns = self.screen.columns().unwrap_or(0);
            let most = width.max(typed_width) + text.width();
            // It has to be one row before and after. What is wider than its characters
            // are, a TAB or a line end, cannot be told.
            if text.contains(['\t', '\n']) || most >= columns {
                return None;
            }
        }
        Some(Looks {
            prompt: self.before_own(to.as_ref(), *late),
            text: text.to_owned(),
        })
    }

    fn before_own(&self, to: Option<&Username>, late: bool) -> String {
        let name = self.link.standing().name;
        self.style.before_own(&time_of_own(late), &name, to)
    }

    /// Does what the line says. What is to be seen of it is printed at once, unless it has
    /// been shown already.
    fn carry_out(&self, typed: &str, shown: bool) -> Next {
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
                        let line = self.style().own(&time, &name, to, text.as_str());
                        self.screen.say(&line);
                    }
                    self.send(to.clone(), text, late);
                }
            }
            Plan::Names(prefix) if self.link.standing().stage == Stage::Online => {
                self.link.send(Command::ListNames { prefix });
            }
            Plan::Names(_) => self.say_error("There is no connection now"),
            Plan::Name(name) => {
                if self.link.set_name(name.clone()) != Stage::Offline {
                    return Next::LineWithName;
                }
                let name = self.style.name(&name);
                self.say_info(&format!("You will be {name} when you are back"));
            }
            Plan::Help => self.screen.say(&help()),
            Plan::Leave => return Next::Leave,
            Plan::Fail(problem) => self.say_error(&problem),
        }
        Next::Line
    }

    fn send(&self, to: Option<Username>, text: Text, late: bool) {
        let request = Command::message(to, text);
        match late {
            true => self.link.send_late(request),
            false => self.link.send(request),
        }
    }

    fn say_info(&self, text: &str) {
        self.screen.say(&self.style().info(&display::time(), text));
    }

    fn say_error(&self, text: &str) {
        self.screen.say(&self.style().error(&display::time(), text));
    }

    /// The style for the terminal as wide as it is now.
    fn style(&self) -> Style {
        self.style.with_columns(self.screen.columns())
    }
}

/// The time that an own message is shown with when it is typed.
fn time_of_own(late: bool) -> String {
    match late {
        true => NOT_YET.to_owned(),
        false => display::time(),
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
