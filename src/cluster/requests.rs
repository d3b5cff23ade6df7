//! What the commands ask of the other servers. The reader thread of the client that asked waits
//! here, at most for [`ASK_TIMEOUT`](limits::ASK_TIMEOUT).
//!
//! Before each call the caller has drained its pending writes, and it holds no lock.
//!
//! Does not know sockets, or how an entry is carried out.
//!
//! Invariant: *a message is answered 200 only if the node that holds the recipient has said that
//! it is in the recipient's queue.*

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::Node;
use super::link::Answer;
use super::out::{Failure, Order};
use super::scripts::{Call, Script};
use super::turns::Turn;
use super::waiting::{Confirmation, NodeId, Outcome, Ticket};
use crate::limits::{self, MAX_LINE};
use crate::protocol::reply::Response;
use crate::protocol::text::Text;
use crate::protocol::token::Token;
use crate::protocol::unreachable::Unreachable;
use crate::protocol::username::Username;
use crate::sessions::{Claim, NameError, Session};

/// Why a session does not get a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As with one server.
    Name(NameError),
    /// The other servers cannot be asked.
    Unreachable(Unreachable),
}

impl From<Failure> for Unreachable {
    fn from(failure: Failure) -> Unreachable {
        match failure {
            Failure::NotCalled => Unreachable::Others,
            Failure::Unconfirmed => Unreachable::OthersUnconfirmed,
        }
    }
}

impl From<Unreachable> for Refusal {
    fn from(why: Unreachable) -> Refusal {
        Refusal::Unreachable(why)
    }
}

impl Node {
    /// Claims a name for a new session. When this returns, the session has begun. Returns the
    /// sessions that were evicted to make room.
    pub fn claim(&self, session: &Session, claim: Claim) -> Result<Vec<Session>, Refusal> {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let (ticket, begun) = self.waiting.claim(claim);
        let called = self.call(
            Call::new(Script::Claim)
                .arg(session.token.hex())
                .arg(session.name.key().as_str())
                .arg(session.name.as_str())
                .arg("new")
                .number(ticket.number),
            deadline,
        );
        refusal_of(&ticket, called)?;
        let claimed = wait_for_change(&ticket, &begun, deadline)?;
        claimed.map_err(Refusal::Name)
    }

    /// Waits for the turn to rename or to resume a session of this node.
    pub fn turn(&self, token: Token) -> Result<Turn<'_>, Refusal> {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let turn = self.turns.take(token, deadline);
        turn.ok_or(Unreachable::Others.into())
    }

    /// Changes the name of a session of this node. Returns false if it has the name in this
    /// spelling.
    pub fn rename(&self, turn: &Turn<'_>, name: &Username) -> Result<bool, Refusal> {
        let &Turn {
            token, deadline, ..
        } = turn;
        let (ticket, renamed) = self.waiting.rename();
        let called = self.call(
            Call::new(Script::Rename)
                .arg(token.hex())
                .arg(name.key().as_str())
                .arg(name.as_str())
                .number(ticket.number),
            deadline,
        );
        match &called {
            Ok(answer) if answer.outcome() == "same" => return Ok(false),
            // The session is here. Its own claim of the name is under way.
            Ok(answer) if answer.outcome() == "gone" && self.sessions.by_token(token).is_some() => {
                return Err(Unreachable::Others.into());
            }
            _ => {}
        }
        refusal_of(&ticket, called)?;
        let renamed = wait_for_change(&ticket, &renamed, deadline)?;
        renamed.map_err(Refusal::Name)?;
        Ok(true)
    }

    /// Waits until the name of a session that has ended is free at all nodes, if Redis can be
    /// reached.
    pub fn wait_for_release(&self, token: Token) {
        if self.is_connected() {
            let (sender, released) = bounded(0);
            self.order(Order::AwaitRelease(token, sender));
            // Disconnected when it is released.
            let _ = released.recv_timeout(limits::ASK_TIMEOUT);
        }
    }

    /// Returns the name of the session of this token, if another node has it. Tells that node
    /// that the client knows the token.
    pub fn whose(&self, token: Token) -> Result<Option<Username>, Unreachable> {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let answer = self.call(Call::new(Script::Whois).arg(token.hex()), deadline);
        // Nothing of the request itself has been sent.
        let answer = answer.map_err(|_| Unreachable::Others)?;
        Ok(Username::new(answer.text(2)).ok())
    }

    /// Sends a text to the session of this name at another node.
    pub fn private_message(&self, sender: &Username, to: Username, text: &Text) -> Response {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let (ticket, confirmations) = self.waiting.confirmations();
        let called = self.call(
            Call::new(Script::Route)
                .number(ticket.number)
                .arg(to.key().as_str())
                .arg(sender.as_str())
                .arg(text.as_str())
                .args(self.peers.suspected(Instant::now())),
            deadline,
        );
        let (spelling, outcome) = match self.wait_for_one(called, &confirmations, &to, deadline) {
            Ok(None) => return Response::NoOneIsNamed(to),
            Ok(Some(confirmed)) => confirmed,
            Err(why) => return Response::Unreachable(why),
        };
        match outcome {
            Outcome::Queued => Response::Delivered(Username::new(&spelling).unwrap_or(to)),
            Outcome::Full => Response::CannotTakeMore(to),
            Outcome::Gone | Outcome::Done | Outcome::Same => Response::NoOneIsNamed(to),
        }
    }

    /// Ends the session of this token at another node. False if it had ended.
    pub fn end(&self, token: Token, name: &Username) -> Result<bool, Unreachable> {
        Ok(self.ask("end", token, name)? == Some(Outcome::Done))
    }

    /// Makes the session of this token at another node watch presence, or stops it.
    pub fn watch(&self, token: Token, name: &Username, is_on: bool) -> Response {
        let kind = if is_on { "watch" } else { "unwatch" };
        match self.ask(kind, token, name) {
            Ok(Some(outcome @ (Outcome::Done | Outcome::Same))) => Response::Watching {
                is_on,
                changed: outcome == Outcome::Done,
            },
            Ok(_) => Response::UnknownToken,
            Err(why) => Response::Unreachable(why),
        }
    }

    /// Asks the node of a session to do something with it. `None` if there is no such session.
    fn ask(
        &self,
        kind: &str,
        token: Token,
        name: &Username,
    ) -> Result<Option<Outcome>, Unreachable> {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let (ticket, confirmations) = self.waiting.confirmations();
        let called = self.call(
            Call::new(Script::Ask)
                .arg(kind)
                .number(ticket.number)
                .arg(token.hex())
                .args(self.peers.suspected(Instant::now())),
            deadline,
        );
        let confirmed = self.wait_for_one(called, &confirmations, name, deadline)?;
        Ok(confirmed.map(|(_, outcome)| outcome))
    }

    /// Sends a text to all sessions of all nodes except the sender's, and counts those whose
    /// nodes have confirmed that it is in their queues.
    pub fn broadcast(&self, token: Token, sender: &Username, text: &Text) -> Response {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let (ticket, confirmations) = self.waiting.confirmations();
        let called = self.call(
            Call::new(Script::Broadcast)
                .number(ticket.number)
                .arg(token.hex())
                .arg(sender.as_str())
                .arg(text.as_str())
                .number(self.sessions.history.limit()),
            deadline,
        );
        let missing: Vec<NodeId> = match called {
            Ok(answer) => {
                let nodes = answer.rest(2).iter();
                nodes.filter_map(|node| NodeId::parse(node)).collect()
            }
            // This node may carry it out at this moment.
            Err(Failure::Unconfirmed) if !ticket.give_up() => vec![self.id.clone()],
            Err(failure) => return Response::Unreachable(failure.into()),
        };
        match self.count_confirmed(missing, &ticket, &confirmations, deadline) {
            Some(count) => Response::DeliveredTo(count),
            None => Response::Unreachable(Unreachable::OthersUnconfirmed),
        }
    }

    /// Adds up the confirmations of these nodes, without waiting for those that are suspected.
    /// `None` if this node has not confirmed.
    fn count_confirmed(
        &self,
        mut missing: Vec<NodeId>,
        ticket: &Ticket<'_>,
        confirmations: &Receiver<Confirmation>,
        deadline: Instant,
    ) -> Option<usize> {
        let others = missing.iter().filter(|node| **node != self.id);
        self.peers.asked(others, Instant::now());
        let (mut count, mut own_confirmed) = (0_usize, false);
        while !missing.is_empty() {
            let suspicions = missing
                .iter()
                .filter_map(|it| self.peers.suspected_from(it));
            let wake = suspicions.chain([deadline]).min().unwrap_or(deadline);
            match confirmations.recv_deadline(wake) {
                Ok(confirmation) => {
                    self.peers.heard(&confirmation.node);
                    own_confirmed |= confirmation.node == self.id;
                    count = count.saturating_add(confirmation.count);
                    missing.retain(|node| *node != confirmation.node);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {
                    let suspected = self.peers.suspected(Instant::now());
                    missing.retain(|node| !suspected.contains(node));
                }
                Err(_) if own_confirmed || ticket.give_up() => break,
                // This node has begun to carry it out, and confirms at once.
                Err(_) => {
                    let rest = confirmations.recv_timeout(limits::ASK_TIMEOUT).ok()?;
                    own_confirmed = rest.node == self.id;
                    count = count.saturating_add(rest.count);
                }
            }
        }
        own_confirmed.then_some(count)
    }

    /// Returns the first names with this prefix of all nodes, and the number of all.
    pub fn list_names(&self, prefix: &str) -> Response {
        let deadline = Instant::now() + limits::ASK_TIMEOUT;
        let call = Call::new(Script::List)
            .arg(prefix.to_ascii_lowercase())
            .number(MAX_LINE);
        match self.call(call, deadline) {
            Ok(answer) => {
                let names = answer.text(1).split(' ').map(Username::new);
                Response::Online {
                    names: names.filter_map(Result::ok).collect(),
                    count: usize::try_from(answer.number(0)).unwrap_or(usize::MAX),
                }
            }
            // No message was sent that may have arrived.
            Err(_) => Response::Unreachable(Unreachable::Others),
        }
    }

    /// Calls a script, and waits for its answer.
    fn call(&self, call: Call, deadline: Instant) -> Result<Answer, Failure> {
        if !self.is_connected() {
            return Err(Failure::NotCalled);
        }
        let (sender, answer) = bounded(1);
        self.order(Order::Call(call, Some(sender)));
        answer
            .recv_deadline(deadline)
            .unwrap_or(Err(Failure::Unconfirmed))
    }

    /// Waits until the node that a script has sent an entry to confirms it. Returns the spelling
    /// of the name, and the outcome. `None` if there is no such session.
    fn wait_for_one(
        &self,
        called: Result<Answer, Failure>,
        confirmations: &Receiver<Confirmation>,
        name: &Username,
        deadline: Instant,
    ) -> Result<Option<(String, Outcome)>, Unreachable> {
        let answer = called?;
        match answer.outcome() {
            "none" => return Ok(None),
            "sent" => {}
            // Suspected, or full.
            _ => return Err(Unreachable::ServerOf(name.clone())),
        }
        let node = NodeId::parse(answer.text(1)).filter(|node| *node != self.id);
        self.peers.asked(&node, Instant::now());
        match confirmations.recv_deadline(deadline) {
            Ok(confirmation) => {
                // It may have come before the line above.
                self.peers.heard(&confirmation.node);
                Ok(Some((answer.text(2).to_owned(), confirmation.outcome)))
            }
            Err(_) => Err(Unreachable::ServerOfUnconfirmed(name.clone())),
        }
    }
}

/// Returns why the registry has refused a claim or a rename. If nothing tells whether it has, the
/// request is given up, unless this node carries it out at this moment.
fn refusal_of(ticket: &Ticket<'_>, called: Result<Answer, Failure>) -> Result<(), Refusal> {
    let answer = match called {
        Ok(answer) => answer,
        Err(Failure::Unconfirmed) if !ticket.give_up() => return Ok(()),
        Err(failure) => return Err(Unreachable::from(failure).into()),
    };
    match answer.outcome() {
        "done" => Ok(()),
        "taken" => Err(Refusal::Name(NameError::Taken)),
        "gone" => Err(Refusal::Name(NameError::Gone)),
        // The inbox of this node is full.
        _ => Err(Unreachable::Others.into()),
    }
}

/// Waits until this node has read the change in its inbox, and has carried it out.
fn wait_for_change<T>(
    ticket: &Ticket<'_>,
    result: &Receiver<T>,
    deadline: Instant,
) -> Result<T, Refusal> {
    let received = match result.recv_deadline(deadline) {
        // It is being carried out, and the result comes at once.
        Err(_) if !ticket.give_up() => result.recv().ok(),
        received => received.ok(),
    };
    received.ok_or(Unreachable::OthersUnconfirmed.into())
}
