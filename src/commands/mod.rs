//! The commands: each takes a request and the sessions, and returns the response.
//!
//! The first functions check the request. The functions after them are the commands, in one
//! function each.
//!
//! Does not know sockets, threads or bytes.
//!
//! Invariant: *the checks are in the order of section 6 of the [protocol](crate::protocol).*
//! The first check that fails determines the response.

use std::time::SystemTime;

use log::info;

use crate::limits::{MAX_LINE, MAX_SHOWN_COMMAND};
use crate::outbox::SendError;
use crate::outbox::direct_write::PendingWrites;
use crate::protocol::reply::{Delivery, Reply, Response, Scope};
use crate::protocol::request::{BadLine, Command, Header, Request, Verb};
use crate::protocol::text::{Printable, Text};
use crate::protocol::token::Token;
use crate::protocol::username::Username;
use crate::sessions::{NameError, Registration, Session};

#[cfg(feature = "redis")]
pub mod shared;

/// What the caller does with the response to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enqueue this response, then read the next request.
    Respond(Reply),
    /// Only read the next request. The response was enqueued in the step that attached the
    /// connection, or the closing notice replaces it.
    AlreadyQueued,
    /// Enqueue this response as the last message, then close the connection.
    RespondAndClose(Reply),
}

/// Executes a request of this connection.
pub fn execute(
    registration: &mut Registration,
    pending: &PendingWrites,
    request: Request,
) -> Outcome {
    let find = |header| Ok(acting_session(registration, header));
    match check(registration, request, find) {
        Ok((acting, command)) => run(registration, pending, acting, command),
        Err(reply) => Outcome::Respond(reply),
    }
}

/// The session for which a request acts.
trait Actor {
    /// Returns the token of the session.
    fn token(&self) -> Token;
}

impl Actor for Session {
    fn token(&self) -> Token {
        self.token
    }
}

/// Checks a request. Returns its session, which `find` finds by the header, and its command. Or
/// returns the response to the first fault.
fn check<A: Actor>(
    registration: &Registration,
    request: Request,
    find: impl Fn(Result<Header, BadLine>) -> Result<Option<A>, Response>,
) -> Result<(Option<A>, Command), Reply> {
    let requested = request.header;
    let (header, body) = match request.into_lines() {
        Ok(lines) => lines,
        Err(fault) => {
            let acting = find(requested).unwrap_or_default();
            let header = acting.map_or(registration.token(), |acting| Some(acting.token()));
            return Err(Reply {
                header,
                response: Response::Fault(fault),
            });
        }
    };
    let is_access = matches!(header, Header::Token(token) if is_access(registration, token, &body));
    let acting = match is_access {
        true => None,
        false => find(requested).map_err(|response| reply(None::<&A>, response))?,
    };
    // Whether the connection may get a new session.
    let may_begin = match header {
        Header::Empty => !registration.sessions().access.are_needed(),
        _ if acting.is_some() || is_access => true,
        Header::Token(_) | Header::NotAToken => {
            return Err(reply(None::<&A>, Response::UnknownToken));
        }
    };
    match parse_command(body, acting.is_some()) {
        Ok(Command::SetName(_)) if registration.token().is_none() && !may_begin => {
            Err(reply(None::<&A>, Response::NeedsAccessToken))
        }
        Ok(command) => Ok((acting, command)),
        Err(response) => Err(reply(acting.as_ref(), response)),
    }
}

/// Returns the header of the response to a malformed request, or to one whose handling panicked.
///
/// It is the token of the session that the request acts for, or else of the connection's own.
pub fn fallback_header(
    registration: &Registration,
    header: Result<Header, BadLine>,
) -> Option<Token> {
    acting_session(registration, header).map_or(registration.token(), |session| Some(session.token))
}

/// Returns the session that a request with this header acts for.
fn acting_session(registration: &Registration, header: Result<Header, BadLine>) -> Option<Session> {
    // A bad line means the connection's own session, as an empty line does.
    match header.unwrap_or(Header::Empty) {
        Header::Empty => registration.sessions().by_token(registration.token()?),
        Header::Token(token) => registration.sessions().use_token(token),
        Header::NotAToken => None,
    }
}

/// Returns whether this is an access token in the one place for it: the header of a `Set-name`
/// on a connection that has no session.
fn is_access(registration: &Registration, token: Token, body: &Printable) -> bool {
    registration.token().is_none()
        && Verb::parse(body.first_word()) == Some(Verb::SetName)
        && registration.sessions().access.contain(token)
}

/// Parses the command in a body, and checks whether it has the session that it needs.
fn parse_command(body: Printable, has_session: bool) -> Result<Command, Response> {
    let word = body.first_word();
    if word.is_empty() {
        return Err(Response::EmptyRequest);
    }
    let Some(verb) = Verb::parse(word) else {
        let (word, _) = body.split_word();
        return Err(Response::NotACommand(word.first_chars(MAX_SHOWN_COMMAND)));
    };
    if verb.needs_session() && !has_session {
        return Err(Response::SetANameFirst);
    }
    Command::parse(verb, body.after_first_word()).map_err(Response::BadArguments)
}

/// Calls the function of the command.
fn run(
    registration: &mut Registration,
    pending: &PendingWrites,
    acting: Option<Session>,
    command: Command,
) -> Outcome {
    let response = match (command, &acting) {
        (Command::SetName(name), _) => return set_name(registration, pending, acting, name),
        (Command::Quit, _) => return quit(registration, pending, acting),
        (Command::Ping(text), _) => Response::Pong(text),
        (Command::Help, _) => Response::Help,
        (Command::PrivateMessage { to, text }, Some(sender)) => {
            private_message(registration, pending, &sender.name, to, &text)
        }
        (Command::BroadcastMessage(text), Some(sender)) => {
            broadcast_message(registration, pending, sender, &text)
        }
        (Command::ListNames { prefix }, Some(_)) => list_names(registration, prefix.as_str()),
        (Command::WatchPresence { is_on }, Some(session)) => {
            watch_presence(registration, session, is_on)
        }
        (Command::RecentMessages { count }, Some(_)) => {
            Response::Recent(registration.sessions().history.newest(count))
        }
        // Not reached: `parse_command` has checked this before it read the arguments.
        (_, None) => Response::SetANameFirst,
    };
    Outcome::Respond(reply(acting.as_ref(), response))
}

/// Claims, resumes or renames: it depends on the connection's session and the request's.
fn set_name(
    registration: &mut Registration,
    pending: &PendingWrites,
    acting: Option<Session>,
    name: Username,
) -> Outcome {
    match (registration.token(), acting) {
        (None, None) => claim(registration, pending, name),
        (None, Some(session)) => resume(registration, pending, session, name),
        (Some(own), Some(session)) if session.token == own => {
            rename(registration, pending, &session, name)
        }
        (Some(own), another) => Outcome::Respond(match registration.sessions().by_token(own) {
            Some(own) => reply(Some(&own), Response::ThisConnectionIs(own.name.clone())),
            // Another connection has ended this session, so this connection is closing.
            None => reply(another.as_ref(), Response::UnknownToken),
        }),
    }
}

/// Makes a new session for this connection.
fn claim(registration: &mut Registration, pending: &PendingWrites, name: Username) -> Outcome {
    match registration.claim(&name, new_token(), pending) {
        Ok(evicted) => {
            log_claim(&name, evicted);
            Outcome::AlreadyQueued
        }
        Err(error) => refuse_name(error, None::<&Session>, name),
    }
}

/// Makes a fresh token. It is made before the claim, which holds the session-map lock, because
/// this is a system call. If it fails, no session can be made. The panic is reported as a 500.
fn new_token() -> Token {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the operating system gives random bytes");
    Token::from_bits(bits)
}

/// Logs that a session has begun, and which ones have ended to make room.
fn log_claim(name: &Username, evicted: Vec<Session>) {
    info!("logged in as {name}");
    for session in evicted {
        let evicted = session.name;
        info!("evicted lingering session of {evicted} to make room");
    }
}

/// Changes the name of the connection's own session.
fn rename(
    registration: &Registration,
    pending: &PendingWrites,
    session: &Session,
    name: Username,
) -> Outcome {
    let response = match registration.rename(&name, pending) {
        Ok(true) => {
            info!("renamed {} to {name}", session.name);
            Response::YouAre(name)
        }
        Ok(false) => Response::YouAreAlready(name),
        Err(error) => return refuse_name(error, Some(session), name),
    };
    Outcome::Respond(reply(Some(session), response))
}

/// Attaches a session to this connection, which has none.
///
/// The session lingers or belongs to another connection. That connection is evicted.
fn resume(
    registration: &mut Registration,
    pending: &PendingWrites,
    session: Session,
    name: Username,
) -> Outcome {
    match registration.resume(session.token, &name, pending) {
        Ok(evicted) => {
            info!("resumed session of {name}");
            if let Some(evicted) = evicted {
                evicted.evict();
            }
            Outcome::AlreadyQueued
        }
        Err(error) => refuse_name(error, Some(&session), name),
    }
}

/// Returns the response to a `Set-name` that has changed nothing.
fn refuse_name<A: Actor>(error: NameError, acting: Option<&A>, name: Username) -> Outcome {
    match error {
        NameError::Taken => Outcome::Respond(reply(acting, Response::Taken(name))),
        NameError::NoThread => Outcome::Respond(reply(acting, Response::ServerIsFull)),
        // The session has ended since the lookup, or another connection has resumed it.
        NameError::Gone => Outcome::Respond(reply(None::<&A>, Response::UnknownToken)),
        // The shutdown sends its closing notice to this connection.
        NameError::Closing => Outcome::AlreadyQueued,
    }
}

/// Sends a text to the session of this name.
fn private_message(
    registration: &Registration,
    pending: &PendingWrites,
    sender: &Username,
    to: Username,
    text: &Text,
) -> Response {
    match registration.sessions().by_name(&to) {
        Some(recipient) => deliver(pending, sender, recipient, to, text),
        None => Response::NoOneIsNamed(to),
    }
}

/// Sends a text to this session, which the request calls `to`.
fn deliver(
    pending: &PendingWrites,
    sender: &Username,
    recipient: Session,
    to: Username,
    text: &Text,
) -> Response {
    let delivery = Delivery::new(Scope::Private, sender, text);
    match pending.send(&recipient.outbox, &delivery) {
        Ok(()) => Response::Delivered(recipient.name),
        Err(SendError::Full) => Response::CannotTakeMore(to),
        Err(SendError::Closed) => Response::NoOneIsNamed(to),
    }
}

/// Sends a text to all sessions except the sender's, and counts the recipients.
fn broadcast_message(
    registration: &Registration,
    pending: &PendingWrites,
    sender: &Session,
    text: &Text,
) -> Response {
    let delivery = Delivery::new(Scope::Broadcast, &sender.name, text);
    // Before the lookup of the recipients, so that a session that begins now either is one of
    // them or finds the message in the history.
    registration
        .sessions()
        .history
        .add(&delivery, SystemTime::now());
    let outboxes = registration.sessions().outboxes();
    let others = outboxes
        .iter()
        .filter(|outbox| outbox.token() != sender.token);
    let queued = others.filter(|outbox| pending.send(outbox, &delivery).is_ok());
    Response::DeliveredTo(queued.count())
}

/// Lists the names with this prefix. A line is the most that the response can show.
fn list_names(registration: &Registration, prefix: &str) -> Response {
    let (names, count) = registration.sessions().names(prefix, MAX_LINE);
    Response::Online { names, count }
}

/// Makes the session watch presence, or stops it.
fn watch_presence(registration: &Registration, session: &Session, is_on: bool) -> Response {
    let changed = registration.sessions().watch(session, is_on);
    Response::Watching { is_on, changed }
}

/// Ends this connection, and with it the connection's own session.
///
/// If the request acts for another session, that session ends too. Its connection closes when
/// everything queued for it has been written.
fn quit(registration: &Registration, pending: &PendingWrites, acting: Option<Session>) -> Outcome {
    let sessions = registration.sessions();
    if let Some(session) = &acting
        && registration.token() != Some(session.token)
        && sessions.end_and_close_outbox(session.token, pending)
    {
        info!("ended session of {}", session.name);
    }
    Outcome::RespondAndClose(reply(acting.as_ref(), Response::Goodbye))
}

/// Adds the header to a response: the token of the session that the request acted for.
fn reply<A: Actor>(acting: Option<&A>, response: Response) -> Reply {
    Reply {
        header: acting.map(Actor::token),
        response,
    }
}
