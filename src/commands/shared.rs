//! The commands of a server that shares its chat with others.
//!
//! Only what concerns other servers differs from the commands of one server: new names, renames,
//! lists, broadcasts, and whatever is for a session that is not here. The reader thread waits for
//! the other servers, and drains its pending writes before.
//!
//! Does not know how servers reach each other.

use log::info;

use super::{
    Actor, Outcome, acting_session, check, deliver, log_claim, new_token, quit, refuse_name, reply,
    watch_presence,
};
use crate::cluster::{Node, Refusal};
use crate::outbox::direct_write::PendingWrites;
use crate::protocol::reply::{Reply, Response};
use crate::protocol::request::{BadLine, Command, Header, Request};
use crate::protocol::text::Text;
use crate::protocol::token::Token;
use crate::protocol::username::Username;
use crate::sessions::{NameError, Registration, Session};

/// The session that a request acts for.
enum Acting {
    Here(Session),
    Elsewhere { token: Token, name: Username },
}

impl Actor for Acting {
    fn token(&self) -> Token {
        match self {
            Acting::Here(session) => session.token,
            Acting::Elsewhere { token, .. } => *token,
        }
    }
}

impl Acting {
    fn name(&self) -> &Username {
        match self {
            Acting::Here(session) => &session.name,
            Acting::Elsewhere { name, .. } => name,
        }
    }
}

/// Executes a request of this connection. At a shutdown it executes nothing more: the session's
/// name may be free already.
pub fn execute(
    node: &Node,
    registration: &mut Registration,
    pending: &PendingWrites,
    request: Request,
) -> Outcome {
    if registration.sessions().is_closing() {
        return Outcome::AlreadyQueued;
    }
    let find = |header| find(node, registration, pending, header);
    match check(registration, request, find) {
        Ok((acting, command)) => Shared {
            node,
            registration,
            pending,
        }
        .run(acting, command),
        Err(reply) => Outcome::Respond(reply),
    }
}

/// Finds the session that a request with this header acts for.
fn find(
    node: &Node,
    registration: &Registration,
    pending: &PendingWrites,
    header: Result<Header, BadLine>,
) -> Result<Option<Acting>, Response> {
    if let Some(session) = acting_session(registration, header) {
        return Ok(Some(Acting::Here(session)));
    }
    let Ok(Header::Token(token)) = header else {
        return Ok(None);
    };
    pending.flush();
    let name = node.whose(token).map_err(Response::Unreachable)?;
    Ok(name.map(|name| Acting::Elsewhere { token, name }))
}

/// What the commands need.
struct Shared<'a> {
    node: &'a Node,
    registration: &'a mut Registration,
    pending: &'a PendingWrites,
}

impl Shared<'_> {
    /// Calls the function of the command.
    fn run(&mut self, acting: Option<Acting>, command: Command) -> Outcome {
        let response = match (command, &acting) {
            (Command::SetName(name), _) => return self.set_name(acting, name),
            (Command::Quit, _) => return self.quit(acting),
            (Command::PrivateMessage { to, text }, Some(sender)) => {
                self.private_message(sender, to, &text)
            }
            (Command::BroadcastMessage(text), Some(sender)) => {
                self.pending.flush();
                self.node.broadcast(sender.token(), sender.name(), &text)
            }
            (Command::ListNames { prefix }, Some(_)) => {
                self.pending.flush();
                self.node.list_names(prefix.as_str())
            }
            (Command::WatchPresence { is_on }, Some(Acting::Here(session))) => {
                watch_presence(self.registration, session, is_on)
            }
            (Command::WatchPresence { is_on }, Some(Acting::Elsewhere { token, name })) => {
                self.pending.flush();
                self.node.watch(*token, name, is_on)
            }
            (Command::RecentMessages { count }, Some(_)) => {
                Response::Recent(self.registration.sessions().history.newest(count))
            }
            (Command::Ping(text), _) => Response::Pong(text),
            (Command::Help, _) => Response::Help,
            // Not reached, as with one server.
            (_, None) => Response::SetANameFirst,
        };
        Outcome::Respond(reply(acting.as_ref(), response))
    }

    /// Claims, resumes or renames.
    fn set_name(&mut self, acting: Option<Acting>, name: Username) -> Outcome {
        match (self.registration.token(), acting) {
            (None, None) => self.claim(name),
            (None, Some(Acting::Here(session))) => self.resume(session, name),
            (None, Some(elsewhere @ Acting::Elsewhere { .. })) => {
                Outcome::Respond(reply(Some(&elsewhere), Response::SessionElsewhere))
            }
            (Some(own), Some(Acting::Here(session))) if session.token == own => {
                self.rename(&session, name)
            }
            (Some(own), another) => {
                Outcome::Respond(match self.registration.sessions().by_token(own) {
                    Some(own) => reply(Some(&own), Response::ThisConnectionIs(own.name.clone())),
                    // As with one server.
                    None => reply(another.as_ref(), Response::UnknownToken),
                })
            }
        }
    }

    /// Makes a new session for this connection.
    fn claim(&mut self, name: Username) -> Outcome {
        let claim = match self.registration.prepare_claim(&name, new_token()) {
            Ok(claim) => claim,
            Err(error) => return refuse_name(error, None::<&Session>, name),
        };
        let session = claim.session().clone();
        self.pending.flush();
        let evicted = match self.node.claim(&session, claim) {
            Ok(evicted) => evicted,
            Err(refusal) => return refuse(refusal, None, name),
        };
        if let Err(error) = self.registration.attach_claimed(&session, self.pending) {
            return refuse_name(error, None::<&Session>, name);
        }
        log_claim(&name, evicted);
        Outcome::AlreadyQueued
    }

    /// Changes the name of the connection's own session.
    fn rename(&self, session: &Session, name: Username) -> Outcome {
        let acting = Some(session);
        self.pending.flush();
        let renamed = self.node.turn(session.token).and_then(|turn| {
            let is_other = self.registration.check_rename(&name);
            match is_other.map_err(Refusal::Name)? {
                true => self.node.rename(&turn, &name),
                false => Ok(false),
            }
        });
        let response = match renamed {
            Ok(true) => {
                info!("renamed {} to {name}", session.name);
                Response::YouAre(name)
            }
            Ok(false) => Response::YouAreAlready(name),
            Err(refusal) => return refuse(refusal, acting, name),
        };
        Outcome::Respond(reply(acting, response))
    }

    /// Attaches a session of this server to this connection, which has none.
    fn resume(&mut self, session: Session, name: Username) -> Outcome {
        let acting = Some(&session);
        let token = session.token;
        // Before the rename, so that a refusal changes nothing.
        if self.registration.writer.start().is_err() {
            return refuse_name(NameError::NoThread, acting, name);
        }
        self.pending.flush();
        let turn = match self.node.turn(token) {
            Ok(turn) => turn,
            Err(refusal) => return refuse(refusal, acting, name),
        };
        let is_other = self.registration.sessions().check_name(token, &name);
        let renamed = match is_other {
            Ok(true) => self.node.rename(&turn, &name),
            Ok(false) => Ok(false),
            Err(error) => Err(Refusal::Name(error)),
        };
        let is_renamed = match renamed {
            Ok(is_renamed) => is_renamed,
            Err(refusal) => return refuse(refusal, acting, name),
        };
        let resumed = self
            .registration
            .resume_unchanged(token, is_renamed, self.pending);
        match resumed {
            Ok(evicted) => {
                info!("resumed session of {name}");
                if let Some(evicted) = evicted {
                    evicted.evict();
                }
                Outcome::AlreadyQueued
            }
            // Others have seen the rename, so this is a session that has ended just after it.
            Err(NameError::Gone) if is_renamed => {
                Outcome::RespondAndClose(reply(acting, Response::YouAre(name)))
            }
            Err(error) => refuse_name(error, acting, name),
        }
    }

    /// Sends a text to the session of this name, here or at another server.
    fn private_message(&self, sender: &Acting, to: Username, text: &Text) -> Response {
        if let Some(recipient) = self.registration.sessions().by_name(&to) {
            return deliver(self.pending, sender.name(), recipient, to, text);
        }
        self.pending.flush();
        self.node.private_message(sender.name(), to, text)
    }

    /// Ends this connection, and with it the connection's own session and that of the request.
    fn quit(&self, acting: Option<Acting>) -> Outcome {
        match acting {
            None => quit(self.registration, self.pending, None),
            Some(Acting::Here(session)) => {
                let token = session.token;
                let outcome = quit(self.registration, self.pending, Some(session));
                if self.registration.token() != Some(token) {
                    self.pending.flush();
                    self.node.wait_for_release(token);
                }
                outcome
            }
            Some(Acting::Elsewhere { token, name }) => {
                self.pending.flush();
                let response = match self.node.end(token, &name) {
                    Ok(_) => Response::Goodbye,
                    Err(why) => Response::Unreachable(why),
                };
                let reply = Reply {
                    header: Some(token),
                    response,
                };
                match reply.response {
                    Response::Goodbye => Outcome::RespondAndClose(reply),
                    _ => Outcome::Respond(reply),
                }
            }
        }
    }
}

/// Returns the response to a `Set-name` that has changed nothing.
fn refuse(refusal: Refusal, acting: Option<&Session>, name: Username) -> Outcome {
    match refusal {
        Refusal::Name(error) => refuse_name(error, acting, name),
        Refusal::Unreachable(why) => Outcome::Respond(reply(acting, Response::Unreachable(why))),
    }
}
