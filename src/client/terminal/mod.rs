//! The conversation at a terminal: sends what the user types, and shows events.
//!
//! Does not know bytes: the [`ReconnectingClient`] maintains the connection, and the [`Editor`]
//! the line. This module connects the two, on the thread `main`. The thread blocks in the first
//! login, in the editor, and for at most a second in waiting for a response. In two cases it
//! waits for a response until Ctrl-C: while it sends a block of messages, and after the user
//! quits.
//!
//! | module | what it is |
//! |---|---|
//! | [`command`] | parses what the user types |
//! | [`format`](mod@format) | formats events as lines |
//! | [`wrap`] | splits a line into rows |
//! | [`printer`] | prints lines while the user types |
//! | [`tty`] | the mode of the terminal: sets and restores it |
//! | [`keys`] | filters the input: keys, pastes and reports |
//! | [`editor`] | the line that the user types |
//! | `layout` | how many rows that line takes |
//! | [`first_name`] | the name to begin with |
//! | [`events`] | the reading side: shows events |
//! | [`history`] | which messages of before are shown |
//! | [`watching`], [`roster`] | which requests presence needs, and the users online |
//! | [`presence`], [`throttle`] | prints logins, logouts and renames, with a limit for lines |
//! | [`day`] | times of day, and changes of the day |
//!
//! Invariant: *a typed message is sent before it is shown as a message*, and only to the
//! recipient that the typed line shows.

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use jiff::Zoned;
use parking_lot::Mutex;

use super::access::AccessSource;
use super::addresses::Addresses;
use super::exit;
use super::login::Target;
use super::reconnecting::{ClientState, Connectivity, ReconnectingClient};
use crate::limits::{COMPLETION_TIMEOUT, ECHO_TIMEOUT, NAME_ANSWER_TIMEOUT};
use crate::protocol::request::Command;
use crate::protocol::server_message::parse_name_list;
use crate::protocol::text::{Printable, Text};
use crate::protocol::username::Username;
use command::{COMMANDS, Recipient, UserInput};
use day::LastDay;
use editor::{EditOutcome, Editor, Prompt};
use events::{AnsweredMessages, EventPrinter, KnownUsers, Reading, describe_unsent};
use first_name::{FirstLogin, first_log_in};
use format::{Style, TIME_WIDTH};
use history::History;
use presence::PresencePrinter;
use printer::Printer;
use watching::{Watching, Wish};

pub mod command;
pub mod day;
pub mod editor;
pub mod events;
pub mod first_name;
pub mod format;
pub mod history;
pub mod keys;
mod layout;
pub mod presence;
pub mod printer;
pub mod roster;
pub mod throttle;
pub mod tty;
pub mod watching;
pub mod wrap;

/// The options of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The servers, of which the first that can be reached is used.
    pub addresses: Addresses,
    /// Where the access token comes from.
    pub access: AccessSource,
    /// The requested name. If it is not a valid name, the client asks for another.
    pub name: String,
    /// Whether to ring the bell for private messages and for the user's own name.
    pub bell: bool,
    /// Whether to use colours.
    pub style: Style,
    /// The file that keeps typed lines for the next run.
    pub history_file: Option<PathBuf>,
    /// Whether to show users that log in or out.
    pub watches_presence: bool,
    /// The number of earlier messages to show after login. 0 shows none.
    pub recent: usize,
}

/// The time that is shown for a message without a response.
const UNANSWERED_TIME: &str = "--:--";

/// Holds a conversation until the user quits.
///
/// Returns [`DONE`](exit::DONE) if everything was sent and answered. Returns
/// [`FAILED`](exit::FAILED) if not, or if there was no connection at the end. Returns
/// [`REFUSED`](exit::REFUSED) if the server needs an access token that it knows. Fails if the
/// first connection fails.
pub fn converse(config: &Config) -> io::Result<ExitCode> {
    let access = match config.access.clone().load() {
        Ok(access) => access,
        Err(problem) => return Ok(exit::fail(exit::BAD_USAGE, &problem)),
    };
    let addresses = config.addresses.clone();
    let mut target = Target { addresses, access };
    let mut editor = Editor::new()?;
    if let Some(file) = &config.history_file
        && let Err(e) = editor.keep_history(file)
    {
        drop(editor);
        let problem = format!("cannot keep the typed lines in {}: {e}", file.display());
        return Ok(exit::fail(exit::BAD_USAGE, &problem));
    }
    let (name, connection) = match first_log_in(config, &mut target, &mut editor)? {
        FirstLogin::Done { name, connection } => (name, connection),
        FirstLogin::NoName => return Ok(ExitCode::from(exit::FAILED)),
        FirstLogin::NeedsAccessToken => {
            drop(editor);
            return Ok(exit::fail(exit::REFUSED, &target.access.advice()));
        }
    };
    let printer = editor.printer().clone();
    let style = Style {
        controls: !printer.is_dumb(),
        ..config.style
    };
    let greeting = format!("You are {name}. /help lists the commands, /quit quits");
    let style_now = style.with_columns(Some(printer.columns()));
    if target.addresses.has_several() {
        let connected = format!("Connected to {}", target.addresses.first());
        printer.print_now(&style_now.info(&day::now(), connected));
    }
    printer.print_now(&style_now.info(&day::now(), greeting));

    let state = ClientState::online(name);
    let known_users = Arc::new(Mutex::new(KnownUsers::default()));
    let answered_messages = Arc::new(AnsweredMessages::default());
    let (name_answered_tx, name_answered_rx) = bounded(1);
    let wish = match config.watches_presence {
        true => Wish::WhenFew,
        false => Wish::Never,
    };
    let watching = Arc::new(Mutex::new(Watching::new(wish)));
    let event_printer = EventPrinter {
        printer: printer.clone(),
        style,
        bell: config.bell,
        state: Arc::clone(&state),
        known_users: Arc::clone(&known_users),
        watching: Arc::clone(&watching),
        presence_printer: PresencePrinter::start(printer.clone(), style)?,
        reading: Mutex::new(Reading {
            history: History::new(config.recent),
            last_day: LastDay::new(Zoned::now().date()),
            automatic: None,
        }),
        answered_messages: Arc::clone(&answered_messages),
        name_answered_tx,
    };
    let on_event = move |event| event_printer.on_event(event);
    let client = ReconnectingClient::start(connection, target, state, on_event)?;
    let conversation = Rc::new(Conversation {
        client,
        printer,
        style,
        known_users,
        watching,
        answered_messages,
        sent: Cell::new(0),
        name_answered_rx,
    });
    editor.set_callbacks(Rc::<Conversation>::clone(&conversation));
    conversation.input_loop(&mut editor);
    drop(editor);
    conversation.printer.close_editor();
    let conversation = Rc::into_inner(conversation).expect("the editor is dropped");
    Ok(quit(conversation))
}

/// Quits, and shows the messages that were not sent.
fn quit(conversation: Conversation) -> ExitCode {
    let style = conversation.style();
    let Conversation {
        client, printer, ..
    } = conversation;
    let needs_access_token = client.state().connectivity == Connectivity::NeedsAccessToken;
    let outcome = client.quit(|| {
        let waiting = "Waiting for the responses of the server. Ctrl-C quits at once";
        printer.print_now(&style.info(&day::now(), waiting));
    });
    for description in outcome.unsent.iter().filter_map(describe_unsent) {
        printer.print_now(&style.error(&day::now(), format!("Not sent{description}")));
    }
    let is_done = outcome.all_answered && outcome.unsent.is_empty();
    ExitCode::from(match (needs_access_token, is_done) {
        (true, _) => exit::REFUSED,
        (false, true) => exit::DONE,
        (false, false) => exit::FAILED,
    })
}

/// The typing side of a conversation.
struct Conversation {
    client: ReconnectingClient,
    printer: Printer,
    style: Style,
    known_users: Arc<Mutex<KnownUsers>>,
    watching: Arc<Mutex<Watching>>,
    answered_messages: Arc<AnsweredMessages>,
    /// The number of messages that were passed to the client.
    sent: Cell<usize>,
    name_answered_rx: Receiver<()>,
}

/// The next action after an input.
enum Action {
    /// Let the user edit a line that begins with this text.
    EditLine(String),
    Quit,
}

impl editor::EditorCallbacks for Conversation {
    /// Uses presence, if the client knows all names from it. Otherwise asks the server. If there
    /// is no response in time, uses the names that were seen.
    fn names_online(&self, prefix: &str) -> Vec<Username> {
        let state = self.client.state();
        if let Some(names) = self.watching.lock().names(prefix, &state.name) {
            return names;
        }
        let from_memory = || {
            let known_users = self.known_users.lock();
            let mut names = known_users.seen.clone();
            names.retain(|name| name.starts_with(prefix));
            names
        };
        if state.connectivity != Connectivity::Online {
            return from_memory();
        }
        let Ok(printable) = Printable::new(prefix.as_bytes()) else {
            return Vec::new();
        };
        let response_rx = self.client.ask(Command::ListNames { prefix: printable });
        match response_rx.recv_timeout(COMPLETION_TIMEOUT) {
            Ok(response) => parse_name_list(&response.text),
            Err(_) => from_memory(),
        }
    }

    fn last_private_sender(&self) -> Option<Username> {
        self.known_users.lock().last_private_sender.clone()
    }
}

impl Conversation {
    /// Reads and executes inputs until the user quits.
    fn input_loop(&self, editor: &mut Editor) {
        let (mut has_warned, mut initial_text) = (false, String::new());
        loop {
            let name = self.client.state().name;
            let space = " ".repeat(TIME_WIDTH);
            let prompt = Prompt {
                plain: format!("{space}{name}> "),
                painted: format!("{space}{}> ", self.style.name(&name)),
            };
            let outcome = editor.read_line(&prompt, std::mem::take(&mut initial_text));
            let is_warned = std::mem::take(&mut has_warned);
            let action = match outcome {
                EditOutcome::Line(line) => {
                    if let Err(e) = editor.remember(&line) {
                        self.print_error(&format!("cannot keep the typed lines: {e}"));
                    }
                    self.execute(&line, editor)
                }
                EditOutcome::Block(block) => self.execute_block(&block, editor),
                EditOutcome::Interrupt { cleared: true } => continue,
                EditOutcome::Interrupt { cleared: false } if !is_warned => {
                    has_warned = true;
                    self.print_info("Press Ctrl-C again to quit");
                    continue;
                }
                EditOutcome::NotUtf8 => {
                    self.print_error("Line dropped: it is not UTF-8");
                    continue;
                }
                EditOutcome::Interrupt { cleared: false } | EditOutcome::End => Action::Quit,
            };
            match action {
                Action::EditLine(line) => initial_text = line,
                Action::Quit => return,
            }
        }
    }

    /// Executes a line.
    fn execute(&self, line: &str, editor: &mut Editor) -> Action {
        match UserInput::parse(line) {
            Ok(UserInput::Nothing) => {
                editor.erase_line();
            }
            Ok(UserInput::Send {
                recipient,
                texts,
                text_offset,
            }) => match recipient {
                Recipient::Everyone => self.send_texts(None, texts, editor),
                Recipient::User(name) => self.send_texts(Some(&name), texts, editor),
                Recipient::LastPrivateSender => {
                    return self.address_reply(&line[text_offset..], editor);
                }
            },
            Ok(UserInput::ListNames { prefix }) => self.request(Command::ListNames { prefix }),
            Ok(UserInput::WatchPresence { is_on }) => {
                self.request(Command::WatchPresence { is_on });
            }
            Ok(UserInput::RecentMessages { count }) => {
                self.request(Command::RecentMessages { count });
            }
            Ok(UserInput::SetName(name)) => self.rename(name),
            Ok(UserInput::Ignore(name)) => self.ignore(name),
            Ok(UserInput::Unignore(name)) => self.unignore(&name),
            Ok(UserInput::Help) => self.printer.print_now(&help()),
            Ok(UserInput::Quit) => return Action::Quit,
            Err(error) => self.print_error(&error.to_string()),
        }
        Action::EditLine(String::new())
    }

    /// Sends a request that makes no sense on a later connection.
    fn request(&self, request: Command) {
        match self.is_online() {
            true => self.client.send(request),
            false => self.print_error("There is no connection now"),
        }
    }

    /// Replaces a `/reply` that was pasted or typed ahead by `/msg NAME`.
    ///
    /// The user must see the recipient before the text is sent.
    fn address_reply(&self, text: &str, editor: &mut Editor) -> Action {
        let Some(name) = editor::EditorCallbacks::last_private_sender(self) else {
            self.print_error("No user has sent you a private message yet");
            return Action::EditLine(String::new());
        };
        if self.printer.is_dumb() {
            self.print_error(&format!("Not sent: write /msg {name} TEXT"));
            return Action::EditLine(String::new());
        }
        editor.erase_line();
        self.print_info(&format!("Enter sends this to {name}"));
        Action::EditLine(format!("/msg {name} {text}"))
    }

    /// Sends a block of lines, if the user confirms it.
    fn execute_block(&self, block: &str, editor: &mut Editor) -> Action {
        let (to, texts) = match UserInput::parse(block) {
            Ok(UserInput::Send {
                recipient, texts, ..
            }) => match recipient {
                Recipient::Everyone => (None, texts),
                Recipient::User(name) => (Some(name), texts),
                // The user would not see the recipient.
                Recipient::LastPrivateSender => {
                    self.print_error("Not sent: /reply cannot send a block, use /msg NAME");
                    return Action::EditLine(String::new());
                }
            },
            Ok(UserInput::Nothing) => return Action::EditLine(String::new()),
            Ok(_) => {
                self.print_error("Not sent: this command cannot send a block");
                return Action::EditLine(String::new());
            }
            Err(error) => {
                self.print_error(&error.to_string());
                return Action::EditLine(String::new());
            }
        };
        let count = texts.len();
        let whom = to
            .as_ref()
            .map_or("all other users".to_owned(), Username::to_string);
        self.print_info(&format!("A block of {count} messages to {whom} is ready"));
        let question = "      Enter sends it, Ctrl-C drops it> ".to_owned();
        let prompt = Prompt {
            plain: question.clone(),
            painted: question,
        };
        loop {
            match editor.read_line(&prompt, String::new()) {
                EditOutcome::Line(answer) if answer.trim().is_empty() => {
                    self.send_texts(to.as_ref(), texts, editor);
                    return Action::EditLine(String::new());
                }
                EditOutcome::Line(_) | EditOutcome::Block(_) | EditOutcome::NotUtf8 => {
                    editor.erase_line();
                }
                EditOutcome::Interrupt { .. } => {
                    editor.erase_line();
                    self.print_info(&format!("Not sent: the block of {count} messages"));
                    return Action::EditLine(String::new());
                }
                EditOutcome::End => return Action::Quit,
            }
        }
    }

    /// Sends texts one after the other. Each is shown after its response, or after
    /// [`ECHO_TIMEOUT`] without one.
    fn send_texts(&self, to: Option<&Username>, texts: Vec<Text>, editor: &mut Editor) {
        let count = texts.len();
        if count > 1 {
            // Enable Ctrl-C first: the user may press it as soon as the block disappears.
            if let Some(tty) = editor.tty() {
                tty.begin_interruptible();
            }
            editor.erase_line();
            self.printer.close_editor();
        }
        for (number, text) in texts.into_iter().enumerate() {
            if count > 1 && is_interrupted(editor) {
                let rest = count - number;
                self.print_error(&format!("Not sent: the last {rest} of {count} messages"));
                break;
            }
            let is_online = self.is_online();
            let shown = text.clone();
            self.client.send(Command::message(to.cloned(), text));
            self.sent.set(self.sent.get() + 1);
            let answered = is_online && self.wait_for_response(count > 1, editor);
            if count == 1 {
                editor.erase_line();
            }
            if !answered {
                let name = self.client.state().name;
                let line = (self.style()).own_message(UNANSWERED_TIME, &name, to, shown.as_str());
                // `write` puts this before the line of a response that arrives now.
                self.printer.write(&(line + "\n"));
            }
        }
    }

    /// Waits for the response to the last message, at most [`ECHO_TIMEOUT`]. Returns whether it
    /// has arrived.
    ///
    /// In a block, waits until Ctrl-C or until the connection is lost.
    fn wait_for_response(&self, in_block: bool, editor: &Editor) -> bool {
        loop {
            let deadline = Instant::now() + ECHO_TIMEOUT;
            if self.answered_messages.wait_until(self.sent.get(), deadline) {
                return true;
            }
            if !in_block || !self.is_online() || is_interrupted(editor) {
                return false;
            }
        }
    }

    /// Changes the name, and waits for the response.
    fn rename(&self, name: Username) {
        let _ = self.name_answered_rx.try_recv();
        if self.client.set_name(name.clone()) == Connectivity::Offline {
            let name = self.style.name(&name);
            self.print_info(&format!("Your name will be {name} after the reconnect"));
            return;
        }
        // The next prompt shows the new name.
        let _ = self.name_answered_rx.recv_timeout(NAME_ANSWER_TIMEOUT);
    }

    /// Ignores a user, or lists the ignored users.
    fn ignore(&self, name: Option<Username>) {
        let text = {
            let mut known_users = self.known_users.lock();
            match name {
                Some(name) if known_users.is_ignored(&name) => format!("{name} is ignored already"),
                Some(name) => {
                    known_users
                        .last_private_sender
                        .take_if(|last| last.is_same_as(&name));
                    known_users.ignored.push(name.clone());
                    format!("Messages from {name} are hidden. /unignore {name} shows them again")
                }
                None if known_users.ignored.is_empty() => "You ignore no user".to_owned(),
                None => {
                    let names: Vec<String> = known_users
                        .ignored
                        .iter()
                        .map(Username::to_string)
                        .collect();
                    format!("You ignore {}", names.join(", "))
                }
            }
        };
        self.print_info(&text);
    }

    fn unignore(&self, name: &Username) {
        let was_ignored = {
            let mut known_users = self.known_users.lock();
            let count = known_users.ignored.len();
            known_users
                .ignored
                .retain(|ignored| !ignored.is_same_as(name));
            known_users.ignored.len() < count
        };
        match was_ignored {
            true => self.print_info(&format!("Messages from {name} are shown")),
            false => self.print_error(&format!("You do not ignore {name}")),
        }
    }

    fn is_online(&self) -> bool {
        self.client.state().connectivity == Connectivity::Online
    }

    fn print_info(&self, text: &str) {
        self.printer
            .print_now(&self.style().info(&day::now(), text));
    }

    fn print_error(&self, text: &str) {
        self.printer
            .print_now(&self.style().error(&day::now(), text));
    }

    /// Returns the style for the present width of the terminal.
    fn style(&self) -> Style {
        self.style.with_columns(Some(self.printer.columns()))
    }
}

/// Returns whether the user has pressed Ctrl-C while the client sends a block.
fn is_interrupted(editor: &Editor) -> bool {
    editor.tty().is_some_and(|tty| tty.is_interrupted())
}

/// Returns the text of `/help`.
fn help() -> String {
    let mut rows = vec![("TEXT".to_owned(), "sends TEXT to all other users")];
    rows.extend(
        COMMANDS
            .iter()
            .map(|command| (command.usage(), command.description)),
    );
    rows.push(("//TEXT".to_owned(), "sends /TEXT to all other users"));
    rows.push((
        "TAB".to_owned(),
        "completes commands, and names of users online",
    ));
    rows.push((
        "Ctrl-R".to_owned(),
        "finds an earlier line that contains the typed text",
    ));
    rows.push((
        "Ctrl-C".to_owned(),
        "clears the line. Twice on an empty line, it quits",
    ));
    rows.push(("Ctrl-D".to_owned(), "quits"));
    let aliases = COMMANDS.iter().flat_map(|command| {
        let same = |alias: &&'static str| ((*alias).to_owned(), command.word);
        command.aliases.iter().map(same)
    });
    let rows = rows
        .iter()
        .map(|(usage, description)| format!("  {usage:<16} {description}"));
    let aliases = aliases.map(|(alias, word)| format!("  {alias:<16} same as {word}"));
    let rows: Vec<String> = rows.chain(aliases).collect();
    rows.join("\n")
}
