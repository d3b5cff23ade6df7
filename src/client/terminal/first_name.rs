//! The first login: with the requested name, with another, or with the same when it is free.
//!
//! Does not know messages. Invariant: *the client logs in only with a name that the user has
//! typed or given at the start*.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Config;
use super::editor::{EditOutcome, Editor, Prompt};
use crate::client::connection::Connection;
use crate::client::login::{LoginOutcome, Target, log_in};
use crate::limits::NAME_RETRY_INTERVAL;
use crate::protocol::text::Printable;
use crate::protocol::username::Username;

/// The result of the first login.
pub enum FirstLogin {
    /// The connection has a session with this name.
    Done {
        /// The name.
        name: Username,
        /// The connection.
        connection: Connection,
    },
    /// The user gives no name.
    NoName,
    /// The server needs an access token that it knows.
    NeedsAccessToken,
}

/// Logs in with the requested name, or with another that the user types.
///
/// Asks for names until a login succeeds.
pub fn first_log_in(
    config: &Config,
    target: &mut Target,
    editor: &mut Editor,
) -> io::Result<FirstLogin> {
    let mut name_text = config.name.clone();
    loop {
        let (problem, taken_name) = match Username::new(&name_text) {
            Ok(name) => match log_in(target, &name, None)? {
                LoginOutcome::Done { connection, .. } => {
                    return Ok(FirstLogin::Done { name, connection });
                }
                LoginOutcome::NeedsAccessToken => return Ok(FirstLogin::NeedsAccessToken),
                LoginOutcome::Refused { text, .. } => (
                    format!(
                        "{}. After a lost connection, a name stays taken for a while",
                        text.as_str()
                    ),
                    Some(name),
                ),
            },
            Err(bad) => {
                // Without a server, fail now and do not ask for a name.
                target.addresses.try_each(|it| Connection::connect(it))?;
                (bad.to_string(), None)
            }
        };
        editor.printer().print_now(&problem);
        let question = match &taken_name {
            Some(name) => format!("Your name (Enter waits for {name}, Ctrl-D quits): "),
            None => "Your name (Ctrl-D quits): ".to_owned(),
        };
        match (ask_name(editor, question), taken_name) {
            (Some(answer), Some(name)) if answer.is_empty() => {
                match wait_for_name(target, editor, &name)? {
                    Some(login) => return Ok(login),
                    None => name_text = name.to_string(),
                }
            }
            (Some(answer), _) => name_text = answer,
            (None, _) => return Ok(FirstLogin::NoName),
        }
    }
}

/// Asks the user for a name. Returns `None` at Ctrl-C or the end of input.
fn ask_name(editor: &mut Editor, question: String) -> Option<String> {
    let prompt = Prompt {
        plain: question.clone(),
        painted: question,
    };
    match editor.read_line(&prompt, String::new()) {
        EditOutcome::Line(answer) => Some(answer.trim().to_owned()),
        EditOutcome::Block(_) | EditOutcome::NotUtf8 => Some(String::new()),
        EditOutcome::Interrupt { .. } | EditOutcome::End => None,
    }
}

/// Tries a taken name until it is free. Returns `None` after Ctrl-C.
fn wait_for_name(
    target: &mut Target,
    editor: &Editor,
    name: &Username,
) -> io::Result<Option<FirstLogin>> {
    let printer = editor.printer();
    // Enable Ctrl-C first: the user may press it as soon as the next line appears.
    if let Some(tty) = editor.tty() {
        tty.begin_interruptible();
    }
    printer.print_now(&format!("Waiting for {name}. Ctrl-C stops waiting"));
    let is_interrupted = || editor.tty().is_some_and(|tty| tty.is_interrupted());
    let mut last_refusal: Option<Printable> = None;
    loop {
        let until = Instant::now() + NAME_RETRY_INTERVAL;
        while Instant::now() < until {
            if is_interrupted() {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(50));
        }
        match log_in(target, name, None)? {
            LoginOutcome::Done { connection, .. } => {
                let name = name.clone();
                return Ok(Some(FirstLogin::Done { name, connection }));
            }
            LoginOutcome::NeedsAccessToken => return Ok(Some(FirstLogin::NeedsAccessToken)),
            // The reason may change: the name is taken, or the server is full.
            LoginOutcome::Refused { text, .. } if last_refusal.as_ref() != Some(&text) => {
                printer.print_now(text.as_str());
                last_refusal = Some(text);
            }
            LoginOutcome::Refused { .. } => {}
        }
    }
}
