//! Sending and listening without a terminal, for scripts.
//!
//! Nothing but messages goes to stdout; what goes wrong is a line on stderr and an exit
//! code.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::connection::{Answer, CLOSED, Connection, Event, Requests, reason};
use super::display::timestamp;
use super::exit::{BAD_USAGE, DONE, FAILED, REFUSED, fail, say};
use super::log_in::{LogIn, log_in};
use super::typed;
use crate::limits::INPUT_PIECE;
use crate::protocol::from_server::Message;
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::username::Username;
use crate::threads::spawn;

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
            Err(e) => break reason(&e),
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
                match print(&message) {
                    Ok(()) => {}
                    // Whoever read it has had enough.
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                        return ExitCode::from(DONE);
                    }
                    Err(e) => break format!("cannot write: {}", reason(&e)),
                }
            }
            Ok(Some(Event::Notice(notice))) => say(&notice.to_string()),
            Ok(Some(Event::Answer(answer))) => say(answer.text.as_str()),
            Ok(None) => break CLOSED.to_owned(),
            Err(e) => break reason(&e),
        }
    };
    match interrupted.load(Ordering::SeqCst) {
        true => ExitCode::from(DONE),
        false => fail(FAILED, &problem),
    }
}

/// A connection whose session has the name.
fn begin(address: &str, name: &Username) -> Result<Connection, ExitCode> {
    match log_in(address, name, None) {
        Ok(LogIn::Done { connection, .. }) => {
            // A script does not come back, so its name is to be free when it is gone,
            // however it goes. A session lingers whose token has been sent.
            connection.forget_token();
            Ok(connection)
        }
        Ok(LogIn::Refused(text)) => Err(fail(REFUSED, text.as_str())),
        Err(e) => Err(fail(
            FAILED,
            &format!("cannot talk to {address}: {}", reason(&e)),
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
fn send_all(requests: &Requests, sending: &Sending) -> Input {
    let result = match &sending.text {
        Some(text) => send_lines(requests, sending.to.as_ref(), text.as_bytes()),
        None => send_lines(requests, sending.to.as_ref(), io::stdin().lock()),
    };
    // If it fails, the connection is gone, which the reading side notices.
    let _ = requests.request(&Command::Quit);
    result.unwrap_or_else(|e| {
        say(&format!("cannot read the input: {}", reason(&e)));
        Input {
            code: BAD_USAGE,
            all_read: false,
        }
    })
}

fn send_lines(
    requests: &Requests,
    to: Option<&Username>,
    mut input: impl BufRead,
) -> io::Result<Input> {
    let mut code = DONE;
    let (mut number, mut line) = (1, Vec::new());
    while read_piece(&mut input, &mut line)? {
        let (piece, rest) = cut_piece(&line);
        let texts = typed::texts(piece);
        let this = number;
        number += usize::from(line.ends_with(b"\n"));
        line = rest.to_vec();
        let texts = match texts {
            Ok(texts) => texts,
            Err(unprintable) => {
                say(&format!("line {this} not sent: {unprintable}"));
                code = REFUSED;
                continue;
            }
        };
        for text in texts {
            if requests
                .request(&Command::message(to.cloned(), text))
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

/// Adds to the line up to its end, or until it is as long as is read at once. False at
/// the end of the input.
fn read_piece(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    let most = INPUT_PIECE.saturating_sub(line.len()) as u64;
    input.take(most).read_until(b'\n', line)?;
    Ok(!line.is_empty())
}

/// Parts what has been read into what is to be sent, without its line end, and what
/// belongs to the next piece, if the line goes on.
fn cut_piece(line: &[u8]) -> (&[u8], &[u8]) {
    if let Some(line) = line.strip_suffix(b"\n") {
        return (line.strip_suffix(b"\r").unwrap_or(line), b"");
    }
    if line.len() < INPUT_PIECE {
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
        return false;
    }
    let (status, why) = (answer.status, answer.text.as_str());
    match answer.request.as_ref().and_then(Command::as_message) {
        Some((_, text)) => say(&format!("not sent: {:?}: {status}, {why}", text.as_str())),
        None => say(&format!("{status}, {why}")),
    }
    true
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

/// Starts the thread `signals`, which closes the connection in good order on SIGINT and
/// says that it did. It ends with the process.
fn close_on_interrupt(requests: Requests) -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT])?;
    let told = Arc::clone(&interrupted);
    spawn("signals", move || {
        for signal in signals.forever() {
            // A second one is for who is stuck in writing to what nobody reads.
            if told.swap(true, Ordering::SeqCst) {
                let _ = emulate_default_handler(signal);
            }
            requests.close();
        }
    })?;
    Ok(interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_does_not_end_is_read_in_pieces() {
        for (text, longest) in [
            ("слово ".repeat(50_000), INPUT_PIECE),
            ("я".repeat(200_000), INPUT_PIECE),
            (format!(" {}", "x".repeat(200_000)), INPUT_PIECE),
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
        let no_text = vec![0x80; INPUT_PIECE];
        assert_eq!(cut_piece(&no_text), (&no_text[..], &b""[..]));
    }
}
