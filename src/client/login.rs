//! Logging in: from an address and a name to a connection that has a session.
//!
//! Does not know a terminal. Invariant: *logging in ends within [`LOG_IN_TIMEOUT`]*, with a
//! session, a refused name or an error. After a refusal the caller tries another name, after
//! an error the same name later.

use std::io;
use std::net::ToSocketAddrs;
use std::time::Instant;

use super::connection::{Connection, Event};
use crate::limits::LOG_IN_TIMEOUT;
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// The result of an attempt to log in.
pub enum LoginOutcome {
    /// The connection has a session with the name.
    Done {
        /// The connection.
        connection: Connection,
        /// True if the session of the token was resumed, false if the session is new.
        resumed: bool,
    },
    /// The server refuses the name, with this text.
    Refused(Printable),
}

/// Connects and logs in.
///
/// Resumes the session of the token, if it still exists, or creates a new session.
pub fn log_in(
    address: impl ToSocketAddrs,
    name: &Username,
    token: Option<Token>,
) -> io::Result<LoginOutcome> {
    let deadline = Instant::now() + LOG_IN_TIMEOUT;
    let mut connection = Connection::connect_until(address, deadline)?;
    let mut resuming = token.is_some();
    if let Some(token) = token {
        connection.resume(token);
    }
    connection.set_deadline(Some(deadline))?;
    connection.request(&Command::SetName(name.clone()))?;
    loop {
        match connection.next_event().map_err(explain_timeout)? {
            Some(Event::Response(response)) => match response.status {
                status if status.is_success() => {
                    connection.set_deadline(None)?;
                    return Ok(LoginOutcome::Done {
                        connection,
                        resumed: resuming,
                    });
                }
                Status::Unauthorized if resuming => {
                    resuming = false;
                    connection.forget_token();
                    connection.request(&Command::SetName(name.clone()))?;
                }
                // These two are about the name.
                Status::Forbidden | Status::BadRequest => {
                    return Ok(LoginOutcome::Refused(response.text));
                }
                _ => return Err(io::Error::other(response.text.as_str().to_owned())),
            },
            Some(Event::Notice(notice)) => return Err(io::Error::other(notice.to_string())),
            Some(Event::Message(_) | Event::Presence(_) | Event::Recent(_)) => {}
            None => {
                return Err(io::Error::other(
                    "it closes the connection without an answer; is that a chat server?",
                ));
            }
        }
    }
}

/// Replaces the error of a passed deadline with a text that users understand.
fn explain_timeout(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::other(format!(
            "no answer within {} s; is that a chat server?",
            LOG_IN_TIMEOUT.as_secs()
        )),
        _ => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;
    use std::io::Write;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn client_login_removes_its_read_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let token = "0".repeat(Token::DIGITS);
            write!(socket, "200 OK\r\n{token}\r\nYou are alice\r\n").unwrap();
            socket
        });
        let logged_in = log_in(&address, &name("alice"), None).unwrap();
        let LoginOutcome::Done { connection, .. } = logged_in else {
            panic!("it is refused");
        };
        assert_eq!(connection.read_timeout().unwrap(), None);
        drop(server.join().unwrap());
    }
}
