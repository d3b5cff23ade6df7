//! The first name: the one that was wished for, another, or the same when it is free again.
//!
//! Does not know messages. Invariant: *no name is taken that the user has not typed or given
//! at the start*.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Config;
use super::editor::{Editor, Input, Prompt};
use crate::client::connection::Connection;
use crate::client::login::{LoginOutcome, log_in};
use crate::limits::NAME_RETRY_INTERVAL;
use crate::protocol::text::Printable;
use crate::protocol::username::Username;

/// Takes the name that was wished for, or asks for others until one is taken. `None` if
/// none is given.
pub fn first_log_in(
    config: &Config,
    editor: &mut Editor,
) -> io::Result<Option<(Username, Connection)>> {
    let mut wished = config.name.clone();
    loop {
        let (problem, taken) = match Username::new(&wished) {
            Ok(name) => match log_in(&config.address, &name, None)? {
                LoginOutcome::Done { connection, .. } => return Ok(Some((name, connection))),
                LoginOutcome::Refused(text) => (
                    format!(
                        "{}. If that was you: after a break a name stays taken for a while",
                        text.as_str()
                    ),
                    Some(name),
                ),
            },
            Err(bad) => {
                // There is no use in asking if there is no server.
                Connection::connect(&config.address)?;
                (bad.to_string(), None)
            }
        };
        editor.printer().print_now(&problem);
        let question = match &taken {
            Some(name) => format!("Your name (Enter waits for {name}, Ctrl-D leaves): "),
            None => "Your name (Ctrl-D leaves): ".to_owned(),
        };
        match (ask(editor, question), taken) {
            (Some(answer), Some(name)) if answer.is_empty() => {
                match wait_for(config, editor, &name)? {
                    Some(connection) => return Ok(Some((name, connection))),
                    None => wished = name.to_string(),
                }
            }
            (Some(answer), _) => wished = answer,
            (None, _) => return Ok(None),
        }
    }
}

/// Asks a question. `None` if there is no answer.
fn ask(editor: &mut Editor, question: String) -> Option<String> {
    let prompt = Prompt {
        plain: question.clone(),
        painted: question,
    };
    match editor.next(&prompt, String::new()) {
        Input::Line(answer) => Some(answer.trim().to_owned()),
        Input::Block(_) | Input::NotUtf8 => Some(String::new()),
        Input::Interrupt { .. } | Input::End => None,
    }
}

/// Asks for a name that is taken until it is free. `None` if Ctrl-C ends that.
fn wait_for(config: &Config, editor: &Editor, name: &Username) -> io::Result<Option<Connection>> {
    let printer = editor.printer();
    // Before the user can know of it.
    if let Some(tty) = editor.tty() {
        tty.begin_interruptible();
    }
    printer.print_now(&format!("Waiting for {name}; Ctrl-C ends that"));
    let is_interrupted = || editor.tty().is_some_and(|tty| tty.is_interrupted());
    let mut told: Option<Printable> = None;
    loop {
        let until = Instant::now() + NAME_RETRY_INTERVAL;
        while Instant::now() < until {
            if is_interrupted() {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(50));
        }
        match log_in(&config.address, name, None)? {
            LoginOutcome::Done { connection, .. } => return Ok(Some(connection)),
            // The name, or the number of connections.
            LoginOutcome::Refused(text) if told.as_ref() != Some(&text) => {
                printer.print_now(text.as_str());
                told = Some(text);
            }
            LoginOutcome::Refused(_) => {}
        }
    }
}
