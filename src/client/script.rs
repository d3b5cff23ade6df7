//! Sending and listening without a terminal, for scripts.
//!
//! Nothing but messages goes to stdout; what goes wrong is a line on stderr and an exit
//! code.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::connection::{Answer, Connection, Event, Requests};
use super::display::{reason, timestamp};
use super::link::{LogIn, log_in};
use super::typed;
use crate::limits::STACK;
use crate::protocol::from_server::Message;
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::text::Text;
use crate::protocol::username::Username;

/// The exit codes, as `--help` lists them: everything was sent, or one stopped
/// listening.
pub const SENT: u8 = 0;
/// There was no connection, or it broke.
pub const FAILED: u8 = 1;
/// The command line or the input cannot be used.
pub const BAD_USAGE: u8 = 2;
/// The server refused something.
pub const REFUSED: u8 = 3;

/// What to send, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// By way of which server: `HOST:PORT`.
    pub address: String,
    /// Under which name.
    pub name: Username,
    /// To whom; `None` for everyone.
    pub to: Option<Username>,
    /// What; `None` for each line of stdin.
    pub text: Option<String>,
}

/// Sends messages, and waits until each has been answered.
pub fn send(sending: Sending) -> ExitCode {
    let mut connection = match begin(&sending.address, &sending.name) {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let requests = connection.requests();
    let input = thread::Builder::new()
        .name("input".to_owned())
        .stack_size(STACK)
        .spawn(move || send_all(&requests, &sending));
    let input = match input {
        Ok(input) => input,
        Err(e) => return fail(FAILED, &format!("cannot start a thread: {e}")),
    };
    let mut refused = false;
    loop {
        match connection.next_event() {
            Ok(Some(Event::Answer(answer))) => {
                if answer.request == Some(Command::Quit) {
                    return sent(refused, input);
                }
                refused |= !is_sent(&answer);
            }
            // Who only sends is not interested in others' messages, nor in having missed
            // some. If the notice is the last one, the end follows.
            Ok(Some(Event::Message(_) | Event::Notice(_))) => {}
            Ok(None) => return broken(&connection, "the server closed the connection"),
            Err(e) => return broken(&connection, &reason(&e)),
        }
    }
}

/// Prints what arrives, a line each, until SIGINT or the end of the connection.
pub fn listen(address: &str, name: &Username) -> ExitCode {
    let mut connection = match begin(address, name) {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let interrupted = match close_on_interrupt(connection.requests()) {
        Ok(interrupted) => interrupted,
        Err(e) => return fail(FAILED, &format!("cannot wait for signals: {e}")),
    };
    let problem = loop {
        match connection.next_event() {
            Ok(Some(Event::Message(message))) => {
                // Whoever read it has had enough.
                if print(&message).is_err() {
                    return ExitCode::from(SENT);
                }
            }
            Ok(Some(Event::Notice(notice))) => say(&notice.to_string()),
            Ok(Some(Event::Answer(answer))) => say(answer.text.as_str()),
            Ok(None) => break "the server closed the connection".to_owned(),
            Err(e) => break reason(&e),
        }
    };
    match interrupted.load(Ordering::SeqCst) {
        true => ExitCode::from(SENT),
        false => fail(FAILED, &problem),
    }
}

/// A connection whose session has the name.
fn begin(address: &str, name: &Username) -> Result<Connection, ExitCode> {
    match log_in(address, name, None) {
        Ok(LogIn::Done { connection, .. }) => Ok(connection),
        Ok(LogIn::Refused(text)) => Err(fail(REFUSED, text.as_str())),
        Err(e) => Err(fail(
            FAILED,
            &format!("no connection to {address}: {}", reason(&e)),
        )),
    }
}

/// The thread `input`: sends what there is to send, and then `Quit`, whose answer is the
/// last of all. Gives the exit code that it thinks right.
fn send_all(requests: &Requests, sending: &Sending) -> u8 {
    let result = match &sending.text {
        Some(text) => send_lines(requests, sending.to.as_ref(), text.as_bytes()),
        None => send_lines(requests, sending.to.as_ref(), io::stdin().lock()),
    };
    // If it fails, the connection is gone, which the reading side notices.
    let _ = requests.request(&Command::Quit);
    result.unwrap_or_else(|e| {
        say(&format!("cannot read the input: {}", reason(&e)));
        BAD_USAGE
    })
}

fn send_lines(
    requests: &Requests,
    to: Option<&Username>,
    mut input: impl BufRead,
) -> io::Result<u8> {
    let mut code = SENT;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let texts = match typed::texts(line) {
            Ok(texts) => texts,
            Err(unprintable) => {
                say(&format!("line {number} not sent: {unprintable}"));
                code = REFUSED;
                continue;
            }
        };
        for text in texts {
            if requests.request(&message(to, text)).is_err() {
                return Ok(code);
            }
        }
    }
    Ok(code)
}

fn message(to: Option<&Username>, text: Text) -> Command {
    match to.cloned() {
        Some(to) => Command::PrivateMessage { to, text },
        None => Command::BroadcastMessage(text),
    }
}

/// Whether the answer says that the message was sent. If not, which it was and why goes
/// to stderr.
fn is_sent(answer: &Answer) -> bool {
    if answer.status == Status::Ok {
        return true;
    }
    let (status, why) = (answer.status, answer.text.as_str());
    match &answer.request {
        Some(Command::PrivateMessage { text, .. } | Command::BroadcastMessage(text)) => {
            say(&format!("not sent: {:?}: {status}, {why}", text.as_str()));
        }
        _ => say(&format!("{status}, {why}")),
    }
    false
}

fn sent(refused: bool, input: JoinHandle<u8>) -> ExitCode {
    // It has sent its last request, which has just been answered.
    match input.join() {
        Ok(SENT) if refused => ExitCode::from(REFUSED),
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(FAILED),
    }
}

fn broken(connection: &Connection, problem: &str) -> ExitCode {
    let mut unanswered = connection.requests().close();
    unanswered.retain(|request| *request != Command::Quit);
    match unanswered.len() {
        0 => fail(FAILED, problem),
        count => fail(
            FAILED,
            &format!("{problem}; perhaps not sent: the last {count}"),
        ),
    }
}

/// Prints a message as a line of four fields. Flushed with each line, because whoever
/// reads it waits for it.
fn print(message: &Message) -> io::Result<()> {
    let text = message.text.as_str().replace('\t', " ");
    let (time, scope, sender) = (timestamp(), message.scope.word(), &message.sender);
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{time}\t{scope}\t{sender}\t{text}")?;
    stdout.flush()
}

/// Starts the thread `signals`, which closes the connection in good order on SIGINT and
/// says that it did. It ends with the process.
fn close_on_interrupt(requests: Requests) -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT])?;
    let told = Arc::clone(&interrupted);
    thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            if signals.forever().next().is_some() {
                told.store(true, Ordering::SeqCst);
                requests.close();
            }
        })?;
    Ok(interrupted)
}

fn fail(code: u8, problem: &str) -> ExitCode {
    say(problem);
    ExitCode::from(code)
}

/// A line on stderr; not by eprintln, which panics where nobody reads any more.
fn say(problem: &str) {
    let _ = writeln!(io::stderr(), "chat-client: {problem}");
}
