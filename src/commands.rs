//! What a request does: one function a command, request and sessions in, answer
//! out.
//!
//! Knows no sockets, threads or bytes. The checks stand in the order of section 6
//! of the [protocol](crate::protocol), where the first thing wrong names the
//! answer; the functions below them are the commands.

use log::info;

use crate::limits::{COMMAND_SHOWN, LINE};
use crate::outbox::NotQueued;
use crate::outbox::direct_write::Cork;
use crate::protocol::reply::{Delivery, Reply, Response, Scope};
use crate::protocol::request::{Command, Header, LineFault, Request, Verb};
use crate::protocol::text::{Printable, Text};
use crate::protocol::token::Token;
use crate::protocol::username::Username;
use crate::sessions::{Admission, NameError, Session};

/// What is to be done with the answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Queue it, and read on.
    Send(Reply),
    /// It has been queued, at the only moment that was right for it. Read on.
    Sent,
    /// Queue it as the last message, and close the connection.
    Last(Reply),
}

/// Carries a request out for the connection that it came from.
pub fn answer(admission: &mut Admission, cork: &Cork, request: Request) -> Answer {
    let asked = request.header;
    let (header, body) = match request.into_lines() {
        Ok(lines) => lines,
        Err(fault) => {
            return Answer::Send(Reply {
                header: fallback_header(admission, asked),
                response: Response::Fault(fault),
            });
        }
    };
    let acting = acting(admission, asked);
    if header != Header::Empty && acting.is_none() {
        return Answer::Send(Reply {
            header: None,
            response: Response::UnknownToken,
        });
    }
    match command(body, acting.is_some()) {
        Ok(command) => carry_out(admission, cork, acting, command),
        Err(response) => Answer::Send(reply(acting.as_ref(), response)),
    }
}

/// The header of an answer to a request that was not understood, or whose handling has
/// panicked: that of the session it acts for, or else the connection's own.
pub fn fallback_header(admission: &Admission, asked: Result<Header, LineFault>) -> Option<Token> {
    acting(admission, asked).map_or(admission.token(), |session| Some(session.token))
}

/// The session that a request with this header acts for.
fn acting(admission: &Admission, header: Result<Header, LineFault>) -> Option<Session> {
    // A line that is not good stands for the connection's own, as an empty one.
    match header.unwrap_or(Header::Empty) {
        Header::Empty => admission.sessions().by_token(admission.token()?),
        Header::Token(token) => admission.sessions().use_token(token),
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
        return Err(Response::NotACommand(word.first_chars(COMMAND_SHOWN)));
    };
    if verb.needs_session() && !for_a_session {
        return Err(Response::SetANameFirst);
    }
    Command::parse(verb, body.after_first_word()).map_err(Response::BadArguments)
}

fn carry_out(
    admission: &mut Admission,
    cork: &Cork,
    acting: Option<Session>,
    command: Command,
) -> Answer {
    let response = match (command, &acting) {
        (Command::SetName(name), _) => return set_name(admission, cork, acting, name),
        (Command::Quit, _) => return quit(admission, acting),
        (Command::Ping(text), _) => Response::Pong(text),
        (Command::Help, _) => Response::Help,
        (Command::PrivateMessage { to, text }, Some(sender)) => {
            private_message(admission, cork, sender, to, &text)
        }
        (Command::BroadcastMessage(text), Some(sender)) => {
            broadcast_message(admission, cork, sender, &text)
        }
        (Command::ListNames { prefix }, Some(_)) => list_names(admission, prefix.as_str()),
        // Asked before the arguments were read, so it does not come to this.
        (_, None) => Response::SetANameFirst,
    };
    Answer::Send(reply(acting.as_ref(), response))
}

fn set_name(
    admission: &mut Admission,
    cork: &Cork,
    acting: Option<Session>,
    name: Username,
) -> Answer {
    match (admission.token(), acting) {
        (None, None) => claim(admission, cork, name),
        (None, Some(session)) => resume(admission, cork, session, name),
        (Some(own), Some(session)) if session.token == own => rename(admission, &session, name),
        (Some(own), another) => Answer::Send(match admission.sessions().by_token(own) {
            Some(own) => reply(Some(&own), Response::ThisConnectionIs(own.name.clone())),
            // Its own session was ended from elsewhere; the connection closes.
            None => reply(another.as_ref(), Response::UnknownToken),
        }),
    }
}

fn claim(admission: &mut Admission, cork: &Cork, name: Username) -> Answer {
    // Drawn before the claim, because the lock is no place for a system call.
    // Without a random source there are no sessions: a defect of the machine, which
    // is answered as ours.
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the operating system gives random bytes");
    match admission.claim(&name, Token::from_bits(bits), cork) {
        Ok(ended) => {
            info!("logged in as {name}");
            for session in ended {
                let evicted = session.name;
                info!("evicted lingering session of {evicted} to make room");
            }
            Answer::Sent
        }
        Err(error) => refused(error, None, name),
    }
}

fn rename(admission: &Admission, session: &Session, name: Username) -> Answer {
    let response = match admission.sessions().rename(session.token, &name) {
        Ok(true) => {
            info!("renamed {} to {name}", session.name);
            Response::YouAre(name)
        }
        Ok(false) => Response::YouAreAlready(name),
        Err(error) => return refused(error, Some(session), name),
    };
    Answer::Send(reply(Some(session), response))
}

/// Attaches a session to this connection, which has none. The session lingers, or belongs to
/// another connection, which then closes.
fn resume(admission: &mut Admission, cork: &Cork, session: Session, name: Username) -> Answer {
    match admission.resume(session.token, &name, cork) {
        Ok(evicted) => {
            info!("resumed session of {name}");
            if let Some(evicted) = evicted {
                evicted.evict();
            }
            Answer::Sent
        }
        Err(error) => refused(error, Some(&session), name),
    }
}

/// The answer to a `Set-name` that changes nothing.
fn refused(error: NameError, acting: Option<&Session>, name: Username) -> Answer {
    match error {
        NameError::Taken => Answer::Send(reply(acting, Response::Taken(name))),
        NameError::NoThread => Answer::Send(reply(acting, Response::ServerIsFull)),
        // The session has ended since it was looked up.
        NameError::Gone => Answer::Send(reply(None, Response::UnknownToken)),
        // The closing notice is on its way.
        NameError::Closing => Answer::Sent,
    }
}

fn private_message(
    admission: &Admission,
    cork: &Cork,
    sender: &Session,
    to: Username,
    text: &Text,
) -> Response {
    let Some(recipient) = admission.sessions().by_name(&to) else {
        return Response::NoOneIsNamed(to);
    };
    let delivery = Delivery::new(Scope::Private, &sender.name, text);
    match cork.send(&recipient.outbox, &delivery) {
        Ok(()) => Response::Delivered(recipient.name),
        Err(NotQueued::Full) => Response::CannotTakeMore(to),
        Err(NotQueued::Closed) => Response::NoOneIsNamed(to),
    }
}

fn broadcast_message(
    admission: &Admission,
    cork: &Cork,
    sender: &Session,
    text: &Text,
) -> Response {
    let delivery = Delivery::new(Scope::Broadcast, &sender.name, text);
    let outboxes = admission.sessions().outboxes();
    let others = outboxes
        .iter()
        .filter(|outbox| outbox.token() != sender.token);
    let queued = others.filter(|outbox| cork.send(outbox, &delivery).is_ok());
    Response::DeliveredTo(queued.count())
}

fn list_names(admission: &Admission, prefix: &str) -> Response {
    let (names, count) = admission.sessions().names(prefix, LINE);
    Response::Online { names, count }
}

/// Ends this connection, with which its own session ends; and the session that
/// the request acts for if that is another connection's, which closes too when it
/// has been written what is queued for it.
fn quit(admission: &Admission, acting: Option<Session>) -> Answer {
    if let Some(session) = &acting
        && admission.token() != Some(session.token)
        && admission.sessions().end_and_finish(session.token)
    {
        info!("ended session of {}", session.name);
    }
    Answer::Last(reply(acting.as_ref(), Response::Goodbye))
}

/// A response for the session that the request acted for.
fn reply(acting: Option<&Session>, response: Response) -> Reply {
    Reply {
        header: acting.map(|session| session.token),
        response,
    }
}
