//! What a request does: one function a command, request and sessions in, answer
//! out.
//!
//! Knows no sockets, threads or bytes. The checks stand in the order of section 6
//! of the [protocol](crate::protocol), where the first thing wrong names the
//! answer; the functions below them are the commands.

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

/// What is to be done with the answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Queue it, and read on.
    Respond(Reply),
    /// It has been queued, at the only moment that was right for it. Read on.
    AlreadyQueued,
    /// Queue it as the last message, and close the connection.
    RespondAndClose(Reply),
}

/// Carries a request out for the connection that it came from.
pub fn execute(
    registration: &mut Registration,
    pending: &PendingWrites,
    request: Request,
) -> Outcome {
    let asked = request.header;
    let (header, body) = match request.into_lines() {
        Ok(lines) => lines,
        Err(fault) => {
            return Outcome::Respond(Reply {
                header: fallback_header(registration, asked),
                response: Response::Fault(fault),
            });
        }
    };
    let acting = acting(registration, asked);
    if header != Header::Empty && acting.is_none() {
        return Outcome::Respond(Reply {
            header: None,
            response: Response::UnknownToken,
        });
    }
    match command(body, acting.is_some()) {
        Ok(command) => run(registration, pending, acting, command),
        Err(response) => Outcome::Respond(reply(acting.as_ref(), response)),
    }
}

/// The header of an answer to a request that was not understood, or whose handling has
/// panicked: that of the session it acts for, or else the connection's own.
pub fn fallback_header(
    registration: &Registration,
    asked: Result<Header, BadLine>,
) -> Option<Token> {
    acting(registration, asked).map_or(registration.token(), |session| Some(session.token))
}

/// The session that a request with this header acts for.
fn acting(registration: &Registration, header: Result<Header, BadLine>) -> Option<Session> {
    // A line that is not good stands for the connection's own, as an empty one.
    match header.unwrap_or(Header::Empty) {
        Header::Empty => registration.sessions().by_token(registration.token()?),
        Header::Token(token) => registration.sessions().use_token(token),
        Header::NotAToken => None,
    }
}

/// Reads a command from a good body, for a session or for none.
fn command(body: Printable, for_a_session: bool) -> Result<Command, Response> {
    let word = body.first_word();
    if word.is_empty() {
        return Err(Response::EmptyRequest);
    }
    let Some(verb) = Verb::parse(word) else {
        let (word, _) = body.split_word();
        return Err(Response::NotACommand(word.first_chars(MAX_SHOWN_COMMAND)));
    };
    if verb.needs_session() && !for_a_session {
        return Err(Response::SetANameFirst);
    }
    Command::parse(verb, body.after_first_word()).map_err(Response::BadArguments)
}

fn run(
    registration: &mut Registration,
    pending: &PendingWrites,
    acting: Option<Session>,
    command: Command,
) -> Outcome {
    let response = match (command, &acting) {
        (Command::SetName(name), _) => return set_name(registration, pending, acting, name),
        (Command::Quit, _) => return quit(registration, acting),
        (Command::Ping(text), _) => Response::Pong(text),
        (Command::Help, _) => Response::Help,
        (Command::PrivateMessage { to, text }, Some(sender)) => {
            private_message(registration, pending, sender, to, &text)
        }
        (Command::BroadcastMessage(text), Some(sender)) => {
            broadcast_message(registration, pending, sender, &text)
        }
        (Command::ListNames { prefix }, Some(_)) => list_names(registration, prefix.as_str()),
        // Asked before the arguments were read, so it does not come to this.
        (_, None) => Response::SetANameFirst,
    };
    Outcome::Respond(reply(acting.as_ref(), response))
}

fn set_name(
    registration: &mut Registration,
    pending: &PendingWrites,
    acting: Option<Session>,
    name: Username,
) -> Outcome {
    match (registration.token(), acting) {
        (None, None) => claim(registration, pending, name),
        (None, Some(session)) => resume(registration, pending, session, name),
        (Some(own), Some(session)) if session.token == own => rename(registration, &session, name),
        (Some(own), another) => Outcome::Respond(match registration.sessions().by_token(own) {
            Some(own) => reply(Some(&own), Response::ThisConnectionIs(own.name.clone())),
            // Its own session was ended from elsewhere; the connection closes.
            None => reply(another.as_ref(), Response::UnknownToken),
        }),
    }
}

fn claim(registration: &mut Registration, pending: &PendingWrites, name: Username) -> Outcome {
    // Drawn before the claim, because the lock is no place for a system call.
    // Without a random source there are no sessions: a defect of the machine, which
    // is answered as ours.
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the operating system gives random bytes");
    match registration.claim(&name, Token::from_bits(bits), pending) {
        Ok(ended) => {
            info!("logged in as {name}");
            for session in ended {
                let evicted = session.name;
                info!("evicted lingering session of {evicted} to make room");
            }
            Outcome::AlreadyQueued
        }
        Err(error) => refused(error, None, name),
    }
}

fn rename(registration: &Registration, session: &Session, name: Username) -> Outcome {
    let response = match registration.sessions().rename(session.token, &name) {
        Ok(true) => {
            info!("renamed {} to {name}", session.name);
            Response::YouAre(name)
        }
        Ok(false) => Response::YouAreAlready(name),
        Err(error) => return refused(error, Some(session), name),
    };
    Outcome::Respond(reply(Some(session), response))
}

/// Attaches a session to this connection, which has none. The session lingers, or belongs to
/// another connection, which then closes.
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
        Err(error) => refused(error, Some(&session), name),
    }
}

/// The answer to a `Set-name` that changes nothing.
fn refused(error: NameError, acting: Option<&Session>, name: Username) -> Outcome {
    match error {
        NameError::Taken => Outcome::Respond(reply(acting, Response::Taken(name))),
        NameError::NoThread => Outcome::Respond(reply(acting, Response::ServerIsFull)),
        // The session has ended since it was looked up.
        NameError::Gone => Outcome::Respond(reply(None, Response::UnknownToken)),
        // The closing notice is on its way.
        NameError::Closing => Outcome::AlreadyQueued,
    }
}

fn private_message(
    registration: &Registration,
    pending: &PendingWrites,
    sender: &Session,
    to: Username,
    text: &Text,
) -> Response {
    let Some(recipient) = registration.sessions().by_name(&to) else {
        return Response::NoOneIsNamed(to);
    };
    let delivery = Delivery::new(Scope::Private, &sender.name, text);
    match pending.send(&recipient.outbox, &delivery) {
        Ok(()) => Response::Delivered(recipient.name),
        Err(SendError::Full) => Response::CannotTakeMore(to),
        Err(SendError::Closed) => Response::NoOneIsNamed(to),
    }
}

fn broadcast_message(
    registration: &Registration,
    pending: &PendingWrites,
    sender: &Session,
    text: &Text,
) -> Response {
    let delivery = Delivery::new(Scope::Broadcast, &sender.name, text);
    let outboxes = registration.sessions().outboxes();
    let others = outboxes
        .iter()
        .filter(|outbox| outbox.token() != sender.token);
    let queued = others.filter(|outbox| pending.send(outbox, &delivery).is_ok());
    Response::DeliveredTo(queued.count())
}

fn list_names(registration: &Registration, prefix: &str) -> Response {
    let (names, count) = registration.sessions().names(prefix, MAX_LINE);
    Response::Online { names, count }
}

/// Ends this connection, with which its own session ends; and the session that
/// the request acts for if that is another connection's, which closes too when it
/// has been written what is queued for it.
fn quit(registration: &Registration, acting: Option<Session>) -> Outcome {
    if let Some(session) = &acting
        && registration.token() != Some(session.token)
        && registration.sessions().end_and_close_outbox(session.token)
    {
        info!("ended session of {}", session.name);
    }
    Outcome::RespondAndClose(reply(acting.as_ref(), Response::Goodbye))
}

/// A response for the session that the request acted for.
fn reply(acting: Option<&Session>, response: Response) -> Reply {
    Reply {
        header: acting.map(|session| session.token),
        response,
    }
}
