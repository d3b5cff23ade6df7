//! Logging in: from addresses and a name to a connection that has a session.
//!
//! Does not know a terminal. Invariant: *the login at a server ends within [`LOG_IN_TIMEOUT`]*,
//! with a session, a refused name, a missing access token or an error. After an error, and if
//! the session is at another server, the login goes on at the next address. After a refusal the
//! caller tries another name, after an error of all addresses the same name later.

use std::io;
use std::time::Instant;

use super::access::Access;
use super::address::Address;
use super::addresses::Addresses;
use super::connection::{Connection, Event};
use crate::limits::LOG_IN_TIMEOUT;
use crate::protocol::reply::{Response, SESSION_ELSEWHERE};
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// The servers of a chat, and the access token for them.
#[derive(Clone, Debug)]
pub struct Target {
    /// The servers. [`log_in`] moves the server that has the session to the front.
    pub addresses: Addresses,
    /// The access token, which a server that is not open to everyone needs.
    pub access: Access,
}

/// The result of an attempt to log in.
pub enum LoginOutcome {
    /// The connection has a session with the name.
    Done {
        /// The connection.
        connection: Connection,
        /// True if the session of the token was resumed, false if the session is new.
        resumed: bool,
    },
    /// A server refuses the name.
    Refused {
        /// The text of the server.
        text: Printable,
        /// True if the session of the token is at a server that cannot be reached now. So a later
        /// attempt may resume it.
        session_is_elsewhere: bool,
    },
    /// The server needs an access token, and does not know the client's. Another attempt does
    /// not help. [`Access::advice`] is the text for the user.
    NeedsAccessToken,
}

/// The token in the header of a `Set-name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    Session(Token),
    Access(Token),
    Nothing,
}

/// Connects and logs in, at the first address that gives an answer.
///
/// That address becomes the first. The answer that the session of the token is at another server
/// leads to the next address. If no address leads to the session, creates a new session at the
/// first server that gave that answer.
pub fn log_in(
    target: &mut Target,
    name: &Username,
    token: Option<Token>,
) -> io::Result<LoginOutcome> {
    let Target { addresses, access } = target;
    let mut without_session = None;
    let answer = addresses.try_each(|address| match log_in_at(address, access, name, token)? {
        LoginOutcome::Refused {
            text,
            session_is_elsewhere: true,
        } => {
            without_session.get_or_insert_with(|| address.clone());
            Err(io::Error::other(text.as_str().to_owned()))
        }
        outcome => Ok((address.clone(), outcome)),
    });
    let (Err(_), Some(address)) = (&answer, without_session) else {
        let (address, outcome) = answer?;
        addresses.prefer(&address);
        return Ok(outcome);
    };
    let mut outcome = log_in_at(&address, access, name, None)?;
    match &mut outcome {
        LoginOutcome::Done { .. } => addresses.prefer(&address),
        LoginOutcome::Refused {
            session_is_elsewhere,
            ..
        } => *session_is_elsewhere = true,
        LoginOutcome::NeedsAccessToken => {}
    }
    Ok(outcome)
}

/// Connects to this server and logs in.
///
/// Resumes the session of the token, if it still exists, or creates a new session. For a new
/// session, sends the access token if there is one. If the server does not know that, asks once
/// more without it, because a server that is open to everyone knows no access token.
fn log_in_at(
    address: &Address,
    access: &Access,
    name: &Username,
    token: Option<Token>,
) -> io::Result<LoginOutcome> {
    let deadline = Instant::now() + LOG_IN_TIMEOUT;
    let mut connection = Connection::connect_until(address, deadline)?;
    connection.set_deadline(Some(deadline))?;
    let access = access.token();
    let mut credential = match (token, access) {
        (Some(token), _) => Credential::Session(token),
        (None, access) => access.map_or(Credential::Nothing, Credential::Access),
    };
    request_name(&connection, name, credential)?;
    loop {
        match connection.next_event().map_err(explain_timeout)? {
            Some(Event::Response(response)) => match response.status {
                status if status.is_success() => {
                    connection.set_deadline(None)?;
                    return Ok(LoginOutcome::Done {
                        connection,
                        resumed: matches!(credential, Credential::Session(_)),
                    });
                }
                // The server does not know the token.
                Status::Unauthorized if credential != Credential::Nothing => {
                    credential = match (credential, access) {
                        (Credential::Session(_), Some(access)) => Credential::Access(access),
                        _ => Credential::Nothing,
                    };
                    request_name(&connection, name, credential)?;
                }
                Status::Unauthorized
                    if response.text.as_str() == Response::NeedsAccessToken.to_string() =>
                {
                    return Ok(LoginOutcome::NeedsAccessToken);
                }
                // These two are about the name, or the session is at another server.
                Status::Forbidden | Status::BadRequest => {
                    return Ok(LoginOutcome::Refused {
                        session_is_elsewhere: response.text.as_str() == SESSION_ELSEWHERE,
                        text: response.text,
                    });
                }
                _ => return Err(io::Error::other(response.text.as_str().to_owned())),
            },
            Some(Event::Notice(notice)) => return Err(io::Error::other(notice.to_string())),
            Some(Event::Message(_) | Event::Presence(_) | Event::Recent(_)) => {}
            None => {
                return Err(io::Error::other(
                    "the server closed the connection without a response; check the address",
                ));
            }
        }
    }
}

/// Sends a `Set-name` with this token in its header.
fn request_name(
    connection: &Connection,
    name: &Username,
    credential: Credential,
) -> io::Result<()> {
    match credential {
        Credential::Session(token) | Credential::Access(token) => connection.resume(token),
        Credential::Nothing => connection.forget_token(),
    }
    connection.request(&Command::SetName(name.clone()))
}

/// Replaces the error of a passed deadline with a text that users understand.
fn explain_timeout(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::other(format!(
            "no response within {} s; check the address",
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
        let mut target = Target {
            addresses: Address::from(listener.local_addr().unwrap()).into(),
            access: Access::none(),
        };
        let server = thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let token = "0".repeat(Token::DIGITS);
            write!(socket, "200 OK\r\n{token}\r\nYou are alice\r\n").unwrap();
            socket
        });
        let logged_in = log_in(&mut target, &name("alice"), None).unwrap();
        let LoginOutcome::Done { connection, .. } = logged_in else {
            panic!("it is refused");
        };
        assert_eq!(connection.read_timeout().unwrap(), None);
        drop(server.join().unwrap());
    }
}
