//! Sending and listening without a terminal, for scripts.
//!
//! Does not know a terminal. Nothing but messages goes to stdout. What goes wrong is a line on
//! stderr and an exit code. Threads: `input` blocks in reading stdin, then in sending.
//! `signals` blocks until SIGINT comes, `stdout` until the reader of stdout has closed it.
//! They end with the process.
//!
//! Invariant: *a line that was typed is not sent if it looks like a command*. In a pipe a
//! slash means nothing.

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

use super::address::Address;
use super::connection::{Answer, CLOSED, Connection, Event, Requests, without_os_code};
use super::exit::{BAD_USAGE, DONE, FAILED, REFUSED, fail, report};
use super::login::{LoginOutcome, log_in};
use super::split;
use super::terminal::command::trim_blanks;
use crate::limits::{MAX_INPUT_CHUNK, QUIT_TIMEOUT};
use crate::protocol::reply::Response;
use crate::protocol::request::Command;
use crate::protocol::server_message::Message;
use crate::protocol::status::Status;
use crate::protocol::username::Username;
use crate::threads::spawn;

/// What to send, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendConfig {
    /// The server.
    pub address: Address,
    /// Under which name.
    pub name: Username,
    /// To whom; `None` for everyone.
    pub to: Option<Username>,
    /// What; `None` for each line of stdin.
    pub text: Option<String>,
    /// The lines are typed at a terminal.
    pub is_typed: bool,
}

/// Sends messages, and waits until each has been answered.
pub fn send(sending: SendConfig) -> ExitCode {
    let mut connection = match begin(&sending.address, &sending.name) {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    if sending.is_typed {
        let whom = sending
            .to
            .as_ref()
            .map_or("everyone".into(), Username::to_string);
        report(&format!(
            "stdout is not a terminal: each line goes to {whom}, and commands do not work"
        ));
    }
    let requests = connection.requests();
    let input = spawn("input", move || send_all(&requests, &sending));
    let input = match input {
        Ok(input) => input,
        Err(e) => return fail(FAILED, &format!("cannot start a thread: {e}")),
    };
    let (mut answered, mut refused) = (0, false);
    let problem = loop {
        match connection.next_event() {
            Ok(Some(Event::Answer(answer))) => {
                if answer.request == Some(Command::Quit) {
                    return exit_code(refused, input);
                }
                answered += 1;
                refused |= report_refusal(&answer);
            }
            // Who only sends is not interested in others' messages, nor in having missed
            // some. If the notice is the last one, the end follows.
            Ok(Some(Event::Message(_) | Event::Notice(_))) => {}
            Ok(None) => break CLOSED.to_owned(),
            Err(e) => break without_os_code(&e),
        }
    };
    let mut unanswered = connection.requests().close();
    unanswered.retain(|unanswered| unanswered.request != Command::Quit);
    let unknown = unanswered.len();
    // It may wait for more input for ever.
    let all_read = input.is_finished() && input.join().is_ok_and(|input| input.all_read);
    let rest = match all_read {
        true => "",
        false => ", and the rest was not sent",
    };
    fail(
        FAILED,
        &format!("{problem}; messages answered: {answered}, then unknown: {unknown}{rest}"),
    )
}

/// Prints what arrives, a line each, until SIGINT or the end of the connection.
pub fn listen(address: &Address, name: &Username) -> ExitCode {
    let mut connection = match begin(address, name) {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let ended = Arc::new(AtomicBool::new(false));
    let watching = close_on_interrupt(connection.requests(), Arc::clone(&ended))
        .and_then(|()| quit_without_reader(connection.requests(), Arc::clone(&ended)));
    if let Err(e) = watching {
        return fail(FAILED, &format!("cannot wait for signals: {e}"));
    }
    let problem = loop {
        match connection.next_event() {
            Ok(Some(Event::Message(message))) => {
                match print(&message) {
                    Ok(()) => {}
                    // Whoever read it has had enough.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                        return ExitCode::from(DONE);
                    }
                    Err(e) => break format!("cannot write: {}", without_os_code(&e)),
                }
            }
            Ok(Some(Event::Notice(notice))) => report(&notice.to_string()),
            // To the `Quit` of a user that stopped listening.
            Ok(Some(Event::Answer(_))) if ended.load(Ordering::SeqCst) => {}
            Ok(Some(Event::Answer(answer))) => report(answer.text.as_str()),
            Ok(None) => break CLOSED.to_owned(),
            Err(e) => break without_os_code(&e),
        }
    };
    match ended.load(Ordering::SeqCst) {
        true => ExitCode::from(DONE),
        false => fail(FAILED, &problem),
    }
}

/// A connection whose session has the name.
fn begin(address: &Address, name: &Username) -> Result<Connection, ExitCode> {
    match log_in(address, name, None) {
        Ok(LoginOutcome::Done { connection, .. }) => {
            // A script does not come back, so its name is to be free when it is gone,
            // however it goes. A session lingers whose token has been sent.
            connection.forget_token();
            Ok(connection)
        }
        Ok(LoginOutcome::Refused(text)) => Err(fail(REFUSED, text.as_str())),
        Err(e) => Err(fail(
            FAILED,
            &format!("cannot talk to {address}: {}", without_os_code(&e)),
        )),
    }
}

/// What became of the input.
struct Input {
    /// The exit code that it asks for.
    code: u8,
    /// It was read to its end, and sent.
    all_read: bool,
}

/// The thread `input`: sends what there is to send, and then `Quit`, whose answer is the
/// last of all.
fn send_all(requests: &Requests, sending: &SendConfig) -> Input {
    let result = match &sending.text {
        Some(text) => send_lines(requests, sending, text.as_bytes()),
        None => send_lines(requests, sending, io::stdin().lock()),
    };
    // If it fails, the connection is gone, which the reading side notices.
    let _ = requests.request(&Command::Quit);
    result.unwrap_or_else(|e| {
        report(&format!("cannot read the input: {}", without_os_code(&e)));
        Input {
            code: BAD_USAGE,
            all_read: false,
        }
    })
}

fn send_lines(
    requests: &Requests,
    sending: &SendConfig,
    mut input: impl BufRead,
) -> io::Result<Input> {
    let mut code = DONE;
    drop_byte_order_mark(&mut input)?;
    let (mut number, mut line) = (1, Vec::new());
    while read_piece(&mut input, &mut line)? {
        let (piece, rest) = cut_piece(&line);
        let texts = split::texts(piece);
        let this = number;
        number += usize::from(line.ends_with(b"\n"));
        let looks_like_command = sending.is_typed && is_command(piece);
        line = rest.to_vec();
        let texts = match texts {
            Ok(_) if looks_like_command => {
                report(&format!(
                    "line {this} not sent: commands work only at a terminal"
                ));
                code = REFUSED;
                continue;
            }
            Ok(texts) => texts,
            Err(unprintable) => {
                report(&format!("line {this} not sent: {unprintable}"));
                code = REFUSED;
                continue;
            }
        };
        for text in texts {
            if requests
                .request(&Command::message(sending.to.clone(), text))
                .is_err()
            {
                let all_read = false;
                return Ok(Input { code, all_read });
            }
        }
    }
    let all_read = true;
    Ok(Input { code, all_read })
}

/// Whether a typed line looks like a command: it begins with a slash, behind blanks too.
fn is_command(line: &[u8]) -> bool {
    trim_blanks(&String::from_utf8_lossy(line)).starts_with('/')
}

/// Some programs begin a text with U+FEFF, which is no part of it.
fn drop_byte_order_mark(input: &mut impl BufRead) -> io::Result<()> {
    const MARK: &[u8] = "\u{FEFF}".as_bytes();
    if input.fill_buf()?.starts_with(MARK) {
        input.consume(MARK.len());
    }
    Ok(())
}

/// Adds to the line up to its end, or until it is as long as is read at once. False at
/// the end of the input.
fn read_piece(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let most = MAX_INPUT_CHUNK.saturating_sub(line.len()) as u64;
    input.take(most).read_until(b'\n', line)?;
    Ok(!line.is_empty())
}

/// Parts what has been read into what is to be sent, without its line end, and what
/// belongs to the next piece, if the line goes on.
fn cut_piece(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(line) = line.strip_suffix(b"\n") {
        return (line.strip_suffix(b"\r").unwrap_or(line), b"");
    }
    if line.len() < MAX_INPUT_CHUNK {
        return (line, b"");
    }
    // At a space, as texts are; else before a character that may have been cut.
    let begins_character = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    if let Some(space) = line.iter().rposition(|&byte| byte == b' ') {
        return (&line[..space], &line[space + 1..]);
    }
    match line.iter().rposition(begins_character) {
        Some(end @ 1..) => line.split_at(end),
        _ => (line, b""),
    }
}

/// Says on stderr what was not sent and why, if that is what the answer tells; whether it
/// is.
fn report_refusal(answer: &Answer) -> bool {
    if answer.status == Status::Ok {
        report_empty_room(answer);
        return false;
    }
    let (status, why) = (answer.status, answer.text.as_str());
    match answer.request.as_ref().and_then(Command::as_message) {
        Some((_, text)) => report(&format!("not sent: {:?}: {status}, {why}", text.as_str())),
        None => report(&format!("{status}, {why}")),
    }
    true
}

/// Says on stderr that a message has reached no other user.
fn report_empty_room(answer: &Answer) {
    let message = answer.request.as_ref().and_then(Command::as_message);
    if let Some((None, text)) = message
        && answer.text.as_str() == Response::DeliveredTo(0).to_string()
    {
        report(&format!("delivered to no other user: {:?}", text.as_str()));
    }
}

/// What the process ends with when everything has been answered.
fn exit_code(refused: bool, input: JoinHandle<Input>) -> ExitCode {
    // It has sent its last request, which has just been answered.
    ExitCode::from(match input.join() {
        Ok(Input { code: DONE, .. }) if refused => REFUSED,
        Ok(Input { code, .. }) => code,
        Err(_) => FAILED,
    })
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

/// Starts the thread `signals`, which closes the connection on SIGINT and notes that it did.
fn close_on_interrupt(requests: Requests, ended: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    spawn("signals", move || {
        for signal in signals.forever() {
            // A second one is for a process that is stuck in writing to stdout.
            if ended.swap(true, Ordering::SeqCst) {
                let _ = emulate_default_handler(signal);
            }
            requests.close();
        }
    })?;
    Ok(())
}

/// Starts the thread `stdout`, which ends the session when the reader of stdout has closed
/// it, also while no message comes. So the name is free when the process has ended.
fn quit_without_reader(requests: Requests, ended: Arc<AtomicBool>) -> io::Result<()> {
    spawn("stdout", move || {
        let stdout = io::stdout();
        // An error or the end is reported without being asked for.
        let mut closed = [PollFd::new(&stdout, PollFlags::empty())];
        while poll(&mut closed, None).is_err() {}
        ended.store(true, Ordering::SeqCst);
        let _ = requests.request(&Command::Quit);
        thread::sleep(QUIT_TIMEOUT);
        requests.close();
    })?;
    Ok(())
}

/// The time of day: ISO 8601 with the offset of the time zone.
fn timestamp() -> String {
    Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
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
            while read_piece(&mut input, &mut line).unwrap() {
                let (piece, rest) = cut_piece(&line);
                pieces.push(str::from_utf8(piece).expect("whole characters").to_owned());
                line = rest.to_vec();
            }
            assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= longest));
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&pieces.concat()), letters(&text));
        }
        assert_eq!(cut_piece(b"one\r\n"), (&b"one"[..], &b""[..]));
        assert_eq!(cut_piece(b"no end"), (&b"no end"[..], &b""[..]));
        // Where no character begins, there is nowhere to cut.
        let no_text = vec![0x80; MAX_INPUT_CHUNK];
        assert_eq!(cut_piece(&no_text), (&no_text[..], &b""[..]));
    }
}
