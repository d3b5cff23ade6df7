//! Sending and listening without a terminal, for scripts.
//!
//! Does not know a terminal. Only messages go to stdout. A problem is a line on stderr and an
//! exit code. Threads, which end with the process:
//!
//! - `input` blocks in reading stdin and in writing requests.
//! - `signals` blocks until SIGINT arrives.
//! - `stdout` blocks until the reader of stdout closes it.
//!
//! Invariant: *a line that was typed is not sent if it looks like a command*. In a line from a
//! pipe, a slash has no meaning.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::access::AccessSource;
use super::addresses::Addresses;
use super::connection::{CLOSED, Connection, Event, ServerResponse, without_os_code};
use super::exit::{BAD_USAGE, DONE, FAILED, REFUSED, fail, report};
use super::login::{LoginOutcome, Target, log_in};
use super::requests::Requests;
use super::split;
use super::terminal::command::trim_blanks;
use crate::limits::{MAX_INPUT_CHUNK, QUIT_TIMEOUT};
use crate::protocol::presence::Presence;
use crate::protocol::reply::{Response, Scope};
use crate::protocol::request::Command;
use crate::protocol::server_message::{Message, Recent};
use crate::protocol::status::Status;
use crate::protocol::username::Username;
use crate::threads::spawn;

/// The messages to send, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendConfig {
    /// The servers, of which the first that can be reached is used.
    pub addresses: Addresses,
    /// Where the access token comes from.
    pub access: AccessSource,
    /// The name to log in with.
    pub name: Username,
    /// The recipient. `None` for all users.
    pub to: Option<Username>,
    /// The text. `None` for each line of stdin.
    pub text: Option<String>,
    /// Whether the lines are typed at a terminal.
    pub is_typed: bool,
}

/// The messages to print, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// The servers, of which the first that can be reached is used.
    pub addresses: Addresses,
    /// Where the access token comes from.
    pub access: AccessSource,
    /// The name to log in with.
    pub name: Username,
    /// Whether to print changes of the users that are online.
    pub presence: bool,
    /// The number of recent broadcasts to print. 0 for none.
    pub recent: usize,
}

/// Sends messages, and waits until each is answered.
pub fn send(config: SendConfig) -> ExitCode {
    let access = config.access.clone();
    let mut connection = match start_session(config.addresses.clone(), access, &config.name) {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    if config.is_typed {
        let whom = config
            .to
            .as_ref()
            .map_or("everyone".into(), Username::to_string);
        report(&format!(
            "stdout is not a terminal: each line goes to {whom}, and commands do not work"
        ));
    }
    let requests = connection.requests();
    let input = spawn("input", move || send_all(&requests, &config));
    let input = match input {
        Ok(input) => input,
        Err(e) => return fail(FAILED, &format!("cannot start a thread: {e}")),
    };
    let (mut answered, mut refused) = (0, false);
    let problem = loop {
        match connection.next_event() {
            Ok(Some(Event::Response(response))) => {
                if response.request == Some(Command::Quit) {
                    return exit_code(refused, input);
                }
                answered += 1;
                refused |= report_refusal(&response);
            }
            // A sending script ignores messages, and notices of missed ones. After a last
            // notice, the connection ends.
            Ok(Some(
                Event::Message(_) | Event::Presence(_) | Event::Recent(_) | Event::Notice(_),
            )) => {}
            Ok(None) => break CLOSED.to_owned(),
            Err(e) => break without_os_code(&e),
        }
    };
    let mut unanswered = connection.requests().close();
    unanswered.retain(|unanswered| unanswered.request != Command::Quit);
    let unknown = unanswered.len();
    // Join only a finished thread: it may be blocked in reading stdin.
    let all_read = input.is_finished() && input.join().is_ok_and(|input| input.all_read);
    let rest = match all_read {
        true => "",
        false => "; the rest was not sent",
    };
    fail(
        FAILED,
        &format!(
            "{problem}; messages with a response: {answered}, without a response: {unknown}{rest}"
        ),
    )
}

/// Prints each received message as a line, until SIGINT or the end of the connection.
pub fn listen(config: ListenConfig) -> ExitCode {
    let mut connection = match start_session(config.addresses, config.access, &config.name) {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let is_stopped = Arc::new(AtomicBool::new(false));
    let watching = close_on_interrupt(connection.requests(), Arc::clone(&is_stopped))
        .and_then(|()| quit_when_stdout_closes(connection.requests(), Arc::clone(&is_stopped)));
    if let Err(e) = watching {
        return fail(FAILED, &format!("cannot wait for signals: {e}"));
    }
    let recent = (config.recent > 0).then_some(Command::RecentMessages {
        count: config.recent,
    });
    let presence = (config.presence).then_some(Command::WatchPresence { is_on: true });
    for request in recent.iter().chain(&presence) {
        // If this fails, the connection is lost, and the next read finds it.
        let _ = connection.request(request);
    }
    let mut history = recent.map(|_| History::default());
    let problem = loop {
        let printed = match connection.next_event() {
            Ok(Some(Event::Message(message))) => {
                let printed = print_message(&message);
                if let Some(history) = &mut history {
                    history.delivered.push(message);
                }
                printed
            }
            Ok(Some(Event::Presence(change))) => print_presence(&change),
            Ok(Some(Event::Recent(recent))) => {
                if let Some(history) = &mut history {
                    history.recent.push(recent);
                }
                Ok(())
            }
            Ok(Some(Event::Notice(notice))) => {
                report(&notice.to_string());
                Ok(())
            }
            // The response to `Quit`, which the thread `stdout` has sent.
            Ok(Some(Event::Response(_))) if is_stopped.load(Ordering::SeqCst) => Ok(()),
            Ok(Some(Event::Response(response))) => {
                report_unexpected(&response);
                match (&response.request, history.take()) {
                    (Some(Command::RecentMessages { .. }), Some(asked)) => asked.print(),
                    (_, other) => {
                        history = other;
                        Ok(())
                    }
                }
            }
            Ok(None) => break CLOSED.to_owned(),
            Err(e) => break without_os_code(&e),
        };
        match printed {
            Ok(()) => {}
            // The reader of stdout has closed it.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return ExitCode::from(DONE),
            Err(e) => break format!("cannot write: {}", without_os_code(&e)),
        }
    };
    match is_stopped.load(Ordering::SeqCst) {
        true => ExitCode::from(DONE),
        false => fail(FAILED, &problem),
    }
}

/// Logs in. If that fails, reports the problem and returns the exit code.
fn start_session(
    addresses: Addresses,
    access: AccessSource,
    name: &Username,
) -> Result<Connection, ExitCode> {
    let access = access.load().map_err(|problem| fail(BAD_USAGE, &problem))?;
    let mut target = Target { addresses, access };
    match log_in(&mut target, name, None) {
        Ok(LoginOutcome::Done { connection, .. }) => {
            // A script does not resume its session, so its name must be free when it ends. A
            // session does not linger if no request has carried its token.
            connection.forget_token();
            Ok(connection)
        }
        Ok(LoginOutcome::Refused { text, .. }) => Err(fail(REFUSED, text.as_str())),
        Ok(LoginOutcome::NeedsAccessToken) => Err(fail(REFUSED, &target.access.advice())),
        Err(e) => Err(fail(FAILED, &target.addresses.describe_failure(&e))),
    }
}

/// The result of the thread `input`.
struct InputOutcome {
    /// The exit code, unless the server refuses a request.
    code: u8,
    /// Whether the input was read and sent to its end.
    all_read: bool,
}

/// Runs the thread `input`: sends the messages, then `Quit`, whose response is the last.
fn send_all(requests: &Requests, config: &SendConfig) -> InputOutcome {
    let result = match &config.text {
        Some(text) => send_lines(requests, config, text.as_bytes()),
        None => send_lines(requests, config, io::stdin().lock()),
    };
    // If this fails, the connection is lost, and the thread that reads finds out.
    let _ = requests.request(&Command::Quit);
    result.unwrap_or_else(|e| {
        report(&format!("cannot read the input: {}", without_os_code(&e)));
        InputOutcome {
            code: BAD_USAGE,
            all_read: false,
        }
    })
}

fn send_lines(
    requests: &Requests,
    config: &SendConfig,
    mut input: impl BufRead,
) -> io::Result<InputOutcome> {
    let mut code = DONE;
    drop_byte_order_mark(&mut input)?;
    let (mut number, mut line) = (1, Vec::new());
    while read_chunk(&mut input, &mut line)? {
        let (piece, rest) = split_chunk(&line);
        let texts = split::split_text(piece);
        let line_number = number;
        number += usize::from(line.ends_with(b"\n"));
        let looks_like_command = config.is_typed && is_command(piece);
        line = rest.to_vec();
        let texts = match texts {
            Ok(_) if looks_like_command => {
                report(&format!(
                    "line {line_number} not sent: commands work only at a terminal"
                ));
                code = REFUSED;
                continue;
            }
            Ok(texts) => texts,
            Err(unprintable) => {
                report(&format!("line {line_number} not sent: {unprintable}"));
                code = REFUSED;
                continue;
            }
        };
        for text in texts {
            if requests
                .request(&Command::message(config.to.clone(), text))
                .is_err()
            {
                let all_read = false;
                return Ok(InputOutcome { code, all_read });
            }
        }
    }
    let all_read = true;
    Ok(InputOutcome { code, all_read })
}

/// Returns whether a typed line looks like a command: a slash, also after blanks.
fn is_command(line: &[u8]) -> bool {
    trim_blanks(&String::from_utf8_lossy(line)).starts_with('/')
}

/// Skips U+FEFF at the start of the input, which some programs write before a text.
fn drop_byte_order_mark(input: &mut impl BufRead) -> io::Result<()> {
    const MARK: &[u8] = "\u{FEFF}".as_bytes();
    if input.fill_buf()?.starts_with(MARK) {
        input.consume(MARK.len());
    }
    Ok(())
}

/// Appends input to `line` up to its line end, or up to [`MAX_INPUT_CHUNK`]. Returns false at
/// the end of the input.
fn read_chunk(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let most = MAX_INPUT_CHUNK.saturating_sub(line.len()) as u64;
    input.take(most).read_until(b'\n', line)?;
    Ok(!line.is_empty())
}

/// Splits a chunk into the text to send and the start of the next chunk.
///
/// The text is without its line end.
fn split_chunk(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(line) = line.strip_suffix(b"\n") {
        return (line.strip_suffix(b"\r").unwrap_or(line), b"");
    }
    if line.len() < MAX_INPUT_CHUNK {
        return (line, b"");
    }
    // Cut at a space, as `split_text` does, or before a character that may be incomplete.
    let begins_character = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    if let Some(space) = line.iter().rposition(|&byte| byte == b' ') {
        return (&line[..space], &line[space + 1..]);
    }
    match line.iter().rposition(begins_character) {
        Some(end @ 1..) => line.split_at(end),
        _ => (line, b""),
    }
}

/// Reports a refused request on stderr. Returns whether the server refused it.
fn report_refusal(response: &ServerResponse) -> bool {
    if response.status == Status::Ok {
        report_empty_room(response);
        return false;
    }
    let (status, why) = (response.status, response.text.as_str());
    match response.request.as_ref().and_then(Command::as_message) {
        Some((_, text)) => report(&format!("not sent: {:?}: {status}, {why}", text.as_str())),
        None => report(&format!("{status}, {why}")),
    }
    true
}

/// Reports on stderr that a message has reached no other user.
fn report_empty_room(response: &ServerResponse) {
    let message = response.request.as_ref().and_then(Command::as_message);
    if let Some((None, text)) = message
        && response.text.as_str() == Response::DeliveredTo(0).to_string()
    {
        report(&format!("delivered to no other user: {:?}", text.as_str()));
    }
}

/// Returns the exit code after all requests are answered.
fn exit_code(refused: bool, input: JoinHandle<InputOutcome>) -> ExitCode {
    // The thread ends now: it has sent `Quit`, its last request.
    ExitCode::from(match input.join() {
        Ok(InputOutcome { code: DONE, .. }) if refused => REFUSED,
        Ok(InputOutcome { code, .. }) => code,
        Err(_) => FAILED,
    })
}

/// The messages that have arrived before the response to `Recent-messages`.
#[derive(Default)]
struct History {
    /// The messages of the response.
    recent: Vec<Recent>,
    /// The deliveries, which are printed already.
    delivered: Vec<Message>,
}

impl History {
    /// Prints the messages of the response, without those that were delivered too.
    fn print(mut self) -> io::Result<()> {
        for message in self.delivered.iter().rev() {
            let is_same = |recent: &Recent| {
                message.scope == Scope::Broadcast
                    && (&recent.sender, &recent.text) == (&message.sender, &message.text)
            };
            // From the end: a delivered message is newer than an earlier one with this text.
            if let Some(at) = self.recent.iter().rposition(is_same) {
                self.recent.remove(at);
            }
        }
        self.recent.iter().try_for_each(print_recent)
    }
}

/// Reports a response on stderr, unless it is one that `listen` expects.
///
/// A server that does not know the commands for presence and history is used without them.
fn report_unexpected(response: &ServerResponse) {
    let is_optional = matches!(
        response.request,
        Some(Command::WatchPresence { .. } | Command::RecentMessages { .. })
    );
    let is_expected = response.status.is_success() || response.status == Status::NotImplemented;
    if !(is_optional && is_expected) {
        report(response.text.as_str());
    }
}

/// Prints a message: its scope, its sender and its text.
fn print_message(message: &Message) -> io::Result<()> {
    let text = without_tabs(message.text.as_str());
    let (scope, sender) = (message.scope.word(), &message.sender);
    print_line(&Zoned::now(), &format!("{scope}\t{sender}\t{text}"))
}

/// Prints a change of the users that are online: a word, and one or two names.
fn print_presence(change: &Presence) -> io::Result<()> {
    print_line(&Zoned::now(), &change.to_string().replace(' ', "\t"))
}

/// Prints a message of the history: its sender and its text, with the time of sending.
fn print_recent(recent: &Recent) -> io::Result<()> {
    let Recent { time, sender, text } = recent;
    let text = without_tabs(text.as_str());
    let time = time.to_zoned(TimeZone::system());
    print_line(&time, &format!("recent\t{sender}\t{text}"))
}

/// Replaces tabs, which separate the fields of a line.
fn without_tabs(text: &str) -> String {
    text.replace('\t', " ")
}

/// Prints the time, ISO 8601 with the offset of the time zone, and the other fields of a line.
///
/// Flushes each line, so that a pipe gets it at once.
fn print_line(time: &Zoned, fields: &str) -> io::Result<()> {
    let time = time.strftime("%Y-%m-%dT%H:%M:%S%:z");
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{time}\t{fields}")?;
    stdout.flush()
}

/// Starts the thread `signals`, which closes the connection on SIGINT and sets `is_stopped`.
fn close_on_interrupt(requests: Requests, is_stopped: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    spawn("signals", move || {
        for signal in signals.forever() {
            // The first SIGINT does not end a process that is blocked in a write to stdout. So
            // the second one kills it.
            if is_stopped.swap(true, Ordering::SeqCst) {
                let _ = emulate_default_handler(signal);
            }
            requests.close();
        }
    })?;
    Ok(())
}

/// Starts the thread `stdout`, which quits when the reader of stdout closes it.
///
/// It does so also while no message arrives. So the name is free when the process ends.
fn quit_when_stdout_closes(requests: Requests, is_stopped: Arc<AtomicBool>) -> io::Result<()> {
    spawn("stdout", move || {
        let stdout = io::stdout();
        // `poll` reports POLLERR and POLLHUP even if no event is requested.
        let mut closed = [PollFd::new(&stdout, PollFlags::empty())];
        while poll(&mut closed, None).is_err() {}
        is_stopped.store(true, Ordering::SeqCst);
        let _ = requests.request(&Command::Quit);
        thread::sleep(QUIT_TIMEOUT);
        requests.close();
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unterminated_line_is_read_in_chunks() {
        for (text, longest) in [
            ("слово ".repeat(50_000), MAX_INPUT_CHUNK),
            ("я".repeat(200_000), MAX_INPUT_CHUNK),
            (format!(" {}", "x".repeat(200_000)), MAX_INPUT_CHUNK),
        ] {
            let (mut input, mut line) = (text.as_bytes(), Vec::new());
            let mut pieces = Vec::new();
            while read_chunk(&mut input, &mut line).unwrap() {
                let (piece, rest) = split_chunk(&line);
                pieces.push(str::from_utf8(piece).expect("UTF-8").to_owned());
                line = rest.to_vec();
            }
            assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= longest));
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&pieces.concat()), letters(&text));
        }
        assert_eq!(split_chunk(b"one\r\n"), (&b"one"[..], &b""[..]));
        assert_eq!(split_chunk(b"no end"), (&b"no end"[..], &b""[..]));
        // Bytes without the start of a character are not cut.
        let no_text = vec![0x80; MAX_INPUT_CHUNK];
        assert_eq!(split_chunk(&no_text), (&no_text[..], &b""[..]));
    }
}
