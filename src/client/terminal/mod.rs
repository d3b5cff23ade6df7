//! The conversation at a terminal: what is typed goes to the server, what happens is
//! shown ([`Show`]).
//!
//! Does not know bytes: the [`ReconnectingClient`] keeps up the connection, the [`Editor`] the line. What
//! they are to do with each other is decided here, on the thread `main`. It blocks in the
//! editor; for moments in waiting for an answer; and at the end until everything has been
//! answered, which Ctrl-C ends.
//!
//! | module | what it is |
//! |---|---|
//! | [`command`] | what a typed line means |
//! | [`format`](mod@format) | how what happens looks |
//! | [`wrap`] | where its rows end |
//! | [`printer`] | printing while a line is being typed |
//! | [`tty`] | the mode of the terminal, taken over and given back |
//! | [`keys`] | what the keyboard sends: keys, pastes and reports |
//! | [`editor`] | the line being typed |
//! | `layout` | how many rows it takes |
//! | [`first_name`] | the name to begin with |
//! | [`events`] | the reading side: what happens, as lines |
//!
//! Invariant: *a typed message is sent before it is shown as a message*, and to the users
//! that the typed line shows.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

use super::address::Address;
use super::exit;
use super::reconnecting::{ClientState, Connectivity, ReconnectingClient};
use crate::limits::{COMPLETION_TIMEOUT, ECHO_TIMEOUT, NAME_ANSWER_TIMEOUT};
use crate::protocol::request::Command;
use crate::protocol::server_message::parse_name_list;
use crate::protocol::text::{Printable, Text};
use crate::protocol::username::Username;
use command::{COMMANDS, Recipient, UserInput};
use editor::{Editor, Input, Prompt};
use events::{Echoes, KnownUsers, Show, describe_unsent};
use first_name::first_log_in;
use format::{BEFORE_NAME, Style};
use printer::Printer;

pub mod command;
pub mod editor;
pub mod events;
pub mod first_name;
pub mod format;
pub mod keys;
mod layout;
pub mod printer;
pub mod tty;
pub mod wrap;

/// How to hold a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// With which server.
    pub address: Address,
    /// Under which name. It need not be one yet: then another is asked for.
    pub name: String,
    /// Whether to ring for private messages and for one's own name.
    pub bell: bool,
    /// Whether to use colours.
    pub style: Style,
    /// Where typed lines are kept for the next run.
    pub history_file: Option<PathBuf>,
}

/// The time of a message that the server has not answered yet.
const NOT_YET: &str = "--:--";

/// Holds a conversation until the user leaves: [`DONE`](exit::DONE) if everything was sent
/// and answered, [`FAILED`](exit::FAILED) if not, or if there was no connection then. An
/// error if there is no server to begin with.
pub fn converse(config: &Config) -> io::Result<ExitCode> {
    let mut editor = Editor::new()?;
    if let Some(file) = &config.history_file
        && let Err(e) = editor.keep_history(file)
    {
        drop(editor);
        let problem = format!("cannot keep the typed lines in {}: {e}", file.display());
        return Ok(exit::fail(exit::BAD_USAGE, &problem));
    }
    let Some((name, connection)) = first_log_in(config, &mut editor)? else {
        return Ok(ExitCode::from(exit::FAILED));
    };
    let printer = editor.printer().clone();
    let style = Style {
        controls: !printer.is_dumb(),
        ..config.style
    };
    let greeting = format!("You are {name}; /help lists the commands, /quit leaves");
    let columns = Some(printer.columns());
    printer.print_now(&style.with_columns(columns).info(&format::time(), greeting));

    let standing = ClientState::online(name);
    let people = Arc::new(Mutex::new(KnownUsers::default()));
    let echoes = Arc::new(Echoes::default());
    let (answered, name_answered) = bounded(1);
    let show = Show {
        printer: printer.clone(),
        style,
        bell: config.bell,
        standing: Arc::clone(&standing),
        people: Arc::clone(&people),
        echoes: Arc::clone(&echoes),
        name_answered: answered,
    };
    let on_event = move |happening| show.show(happening);
    let link = ReconnectingClient::start(connection, config.address.clone(), standing, on_event)?;
    link.send(Command::ListNames {
        prefix: Printable::default(),
    });
    let talk = Rc::new(Conversation {
        link,
        printer,
        style,
        people,
        echoes,
        sent: Cell::new(0),
        name_answered,
    });
    editor.set_chat(Rc::<Conversation>::clone(&talk));
    talk.type_lines(&mut editor);
    drop(editor);
    talk.printer.direct();
    let talk = Rc::into_inner(talk).expect("the editor had the other");
    Ok(leave(talk))
}

fn leave(talk: Conversation) -> ExitCode {
    let style = talk.style();
    let Conversation { link, printer, .. } = talk;
    let left = link.leave(|| {
        let waiting = "Waiting until the server has taken everything; Ctrl-C leaves at once";
        printer.print_now(&style.info(&format::time(), waiting));
    });
    for what in left.unsent.iter().filter_map(describe_unsent) {
        printer.print_now(&style.error(&format::time(), format!("Not sent{what}")));
    }
    ExitCode::from(match left.answered && left.unsent.is_empty() {
        true => exit::DONE,
        false => exit::FAILED,
    })
}

/// The typing side.
struct Conversation {
    link: ReconnectingClient,
    printer: Printer,
    style: Style,
    people: Arc<Mutex<KnownUsers>>,
    echoes: Arc<Echoes>,
    /// How many messages have been given to the link.
    sent: Cell<usize>,
    name_answered: Receiver<()>,
}

/// What comes after a line.
enum Next {
    /// The next line, which begins with this.
    Line(String),
    Leave,
}

impl editor::EditorCallbacks for Conversation {
    /// Asked of the server, or remembered.
    fn online(&self, prefix: &str) -> Vec<Username> {
        let remembered = || {
            let people = self.people.lock();
            let mut names = people.seen.clone();
            names.retain(|name| name.starts_with(prefix));
            names
        };
        if self.link.standing().stage != Connectivity::Online {
            return remembered();
        }
        let Ok(printable) = Printable::new(prefix.as_bytes()) else {
            return Vec::new();
        };
        let answer = self.link.ask(Command::ListNames { prefix: printable });
        match answer.recv_timeout(COMPLETION_TIMEOUT) {
            Ok(answer) => parse_name_list(&answer.text),
            Err(_) => remembered(),
        }
    }

    fn last_private(&self) -> Option<Username> {
        self.people.lock().last_private.clone()
    }
}

impl Conversation {
    /// Does what is typed, until the user leaves.
    fn type_lines(&self, editor: &mut Editor) {
        let (mut about_to_leave, mut begun) = (false, String::new());
        loop {
            let name = self.link.standing().name;
            let space = " ".repeat(BEFORE_NAME);
            let prompt = Prompt {
                plain: format!("{space}{name}> "),
                painted: format!("{space}{}> ", self.style.name(&name)),
            };
            let input = editor.next(&prompt, std::mem::take(&mut begun));
            let leaving = std::mem::take(&mut about_to_leave);
            let next = match input {
                Input::Line(line) => {
                    if let Err(e) = editor.remember(&line) {
                        self.say_error(&format!("cannot keep the typed lines: {e}"));
                    }
                    self.carry_out(&line, editor)
                }
                Input::Block(block) => self.carry_out_block(&block, editor),
                Input::Interrupt { cleared: true } => continue,
                Input::Interrupt { cleared: false } if !leaving => {
                    about_to_leave = true;
                    self.say_info("Ctrl-C once more leaves");
                    continue;
                }
                Input::NotUtf8 => {
                    self.say_error("That was not UTF-8, and is lost");
                    continue;
                }
                Input::Interrupt { cleared: false } | Input::End => Next::Leave,
            };
            match next {
                Next::Line(line) => begun = line,
                Next::Leave => return,
            }
        }
    }

    /// Does what the line says.
    fn carry_out(&self, line: &str, editor: &mut Editor) -> Next {
        match UserInput::parse(line) {
            Ok(UserInput::Nothing) => {
                editor.erase_line();
            }
            Ok(UserInput::Say { to, texts, before }) => match to {
                Recipient::All => self.say_all(None, texts, editor),
                Recipient::One(name) => self.say_all(Some(&name), texts, editor),
                Recipient::LastPrivate => return self.address(&line[before..], editor),
            },
            Ok(UserInput::Names { prefix }) if self.is_online() => {
                self.link.send(Command::ListNames { prefix });
            }
            Ok(UserInput::Names { .. }) => self.say_error("There is no connection now"),
            Ok(UserInput::Name(name)) => self.rename(name),
            Ok(UserInput::Ignore(name)) => self.ignore(name),
            Ok(UserInput::Unignore(name)) => self.unignore(&name),
            Ok(UserInput::Help) => self.printer.print_now(&help()),
            Ok(UserInput::Quit) => return Next::Leave,
            Err(mistake) => self.say_error(&mistake.to_string()),
        }
        Next::Line(String::new())
    }

    /// A `/reply` that was pasted or typed ahead: its addressee is shown before it is sent.
    fn address(&self, text: &str, editor: &mut Editor) -> Next {
        let Some(name) = editor::EditorCallbacks::last_private(self) else {
            self.say_error("No one has written to you privately yet");
            return Next::Line(String::new());
        };
        if self.printer.is_dumb() {
            self.say_error(&format!("Not sent: write /msg {name} TEXT"));
            return Next::Line(String::new());
        }
        editor.erase_line();
        self.say_info(&format!("Enter sends this to {name}"));
        Next::Line(format!("/msg {name} {text}"))
    }

    /// Sends a block of lines, if the user wants that.
    fn carry_out_block(&self, block: &str, editor: &mut Editor) -> Next {
        let (to, texts) = match UserInput::parse(block) {
            Ok(UserInput::Say { to, texts, .. }) => match to {
                Recipient::All => (None, texts),
                Recipient::One(name) => (Some(name), texts),
                // Its addressee would not be seen.
                Recipient::LastPrivate => {
                    self.say_error("Not sent: a block needs /msg NAME before it");
                    return Next::Line(String::new());
                }
            },
            Ok(UserInput::Nothing) => return Next::Line(String::new()),
            Ok(_) => {
                self.say_error("Not sent: that command takes no block");
                return Next::Line(String::new());
            }
            Err(mistake) => {
                self.say_error(&mistake.to_string());
                return Next::Line(String::new());
            }
        };
        let count = texts.len();
        let whom = to
            .as_ref()
            .map_or("everyone".to_owned(), Username::to_string);
        self.say_info(&format!("A block of {count} messages to {whom} is ready"));
        let question = "      Enter sends it, Ctrl-C drops it> ".to_owned();
        let prompt = Prompt {
            plain: question.clone(),
            painted: question,
        };
        loop {
            match editor.next(&prompt, String::new()) {
                Input::Line(answer) if answer.trim().is_empty() => {
                    self.say_all(to.as_ref(), texts, editor);
                    return Next::Line(String::new());
                }
                Input::Line(_) | Input::Block(_) | Input::NotUtf8 => {
                    editor.erase_line();
                }
                Input::Interrupt { .. } => {
                    editor.erase_line();
                    self.say_info(&format!("Not sent: the block of {count} messages"));
                    return Next::Line(String::new());
                }
                Input::End => return Next::Leave,
            }
        }
    }

    /// Sends these texts, one after the other. Each is shown when it has been answered, or
    /// after a moment without an answer.
    fn say_all(&self, to: Option<&Username>, texts: Vec<Text>, editor: &mut Editor) {
        let count = texts.len();
        if count > 1 {
            // Before the user can see that the block is on its way.
            if let Some(tty) = editor.tty() {
                tty.begin_interruptible();
            }
            editor.erase_line();
            self.printer.direct();
        }
        for (number, text) in texts.into_iter().enumerate() {
            if count > 1 && is_interrupted(editor) {
                let rest = count - number;
                self.say_error(&format!("Not sent: the last {rest} of {count} messages"));
                break;
            }
            let waits = self.is_online();
            let shown = text.clone();
            self.link.send(Command::message(to.cloned(), text));
            self.sent.set(self.sent.get() + 1);
            let answered = waits && self.is_answered(count > 1, editor);
            if count == 1 {
                editor.erase_line();
            }
            if !answered {
                let name = self.link.standing().name;
                let line = (self.style()).own(NOT_YET, &name, to, shown.as_str());
                // Before the answer, if that has come after all.
                self.printer.write(&(line + "\n"));
            }
        }
    }

    /// Waits for the answer to the last message: a moment, or in a block until Ctrl-C or the
    /// loss of the connection ends that.
    fn is_answered(&self, in_block: bool, editor: &Editor) -> bool {
        loop {
            let deadline = Instant::now() + ECHO_TIMEOUT;
            if self.echoes.wait_until(self.sent.get(), deadline) {
                return true;
            }
            if !in_block || !self.is_online() || is_interrupted(editor) {
                return false;
            }
        }
    }

    fn rename(&self, name: Username) {
        let _ = self.name_answered.try_recv();
        if self.link.set_name(name.clone()) == Connectivity::Offline {
            let name = self.style.name(&name);
            self.say_info(&format!("You will be {name} when you are back"));
            return;
        }
        // The next prompt has the new name.
        let _ = self.name_answered.recv_timeout(NAME_ANSWER_TIMEOUT);
    }

    fn ignore(&self, name: Option<Username>) {
        let text = {
            let mut people = self.people.lock();
            match name {
                Some(name) if people.is_ignored(&name) => format!("{name} is ignored already"),
                Some(name) => {
                    people.last_private.take_if(|last| last.is_same_as(&name));
                    people.ignored.push(name.clone());
                    format!("What {name} sends is hidden; /unignore {name} shows it again")
                }
                None if people.ignored.is_empty() => "You ignore no one".to_owned(),
                None => {
                    let names: Vec<String> =
                        people.ignored.iter().map(Username::to_string).collect();
                    format!("You ignore {}", names.join(", "))
                }
            }
        };
        self.say_info(&text);
    }

    fn unignore(&self, name: &Username) {
        let was_ignored = {
            let mut people = self.people.lock();
            let before = people.ignored.len();
            people.ignored.retain(|ignored| !ignored.is_same_as(name));
            people.ignored.len() < before
        };
        match was_ignored {
            true => self.say_info(&format!("What {name} sends is shown")),
            false => self.say_error(&format!("You do not ignore {name}")),
        }
    }

    fn is_online(&self) -> bool {
        self.link.standing().stage == Connectivity::Online
    }

    fn say_info(&self, text: &str) {
        self.printer
            .print_now(&self.style().info(&format::time(), text));
    }

    fn say_error(&self, text: &str) {
        self.printer
            .print_now(&self.style().error(&format::time(), text));
    }

    /// The style for the terminal as wide as it is now.
    fn style(&self) -> Style {
        self.style.with_columns(Some(self.printer.columns()))
    }
}

/// Whether Ctrl-C was pressed while the client works through a block.
fn is_interrupted(editor: &Editor) -> bool {
    editor.tty().is_some_and(|tty| tty.is_interrupted())
}

/// What `/help` shows.
fn help() -> String {
    let mut rows = vec![("TEXT".to_owned(), "goes to everyone who is here")];
    rows.extend(
        COMMANDS
            .iter()
            .map(|command| (command.usage(), command.does)),
    );
    rows.push((
        "//TEXT".to_owned(),
        "goes to everyone, with one slash before it",
    ));
    rows.push((
        "TAB".to_owned(),
        "completes commands, and names of who is here",
    ));
    rows.push((
        "Ctrl-R".to_owned(),
        "finds a typed line that contains this one",
    ));
    rows.push((
        "Ctrl-C".to_owned(),
        "clears the line; twice on an empty one, it leaves",
    ));
    rows.push(("Ctrl-D".to_owned(), "leaves"));
    let aliases = COMMANDS.iter().flat_map(|command| {
        let same = |alias: &&'static str| ((*alias).to_owned(), command.word);
        command.aliases.iter().map(same)
    });
    let rows = rows
        .iter()
        .map(|(what, does)| format!("  {what:<16} {does}"));
    let aliases = aliases.map(|(alias, word)| format!("  {alias:<16} is {word}"));
    let rows: Vec<String> = rows.chain(aliases).collect();
    rows.join("\n")
}
