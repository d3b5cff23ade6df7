//! The state of the model: sessions, names and tokens, and the commands that change them.
//!
//! It has section 4 and the commands of section 2, one step after the other. Does not know
//! threads, sockets or bytes.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::deliveries::{Queue, Told, Uncounted};

/// A session's token, which also identifies it in the model.
pub(super) type Token = Arc<str>;

/// The number of a connection in a run. The driver counts them, not the server.
pub(super) type Connection = u32;

/// A message: the connection that sent it, and its number on that connection.
pub(super) type Id = (Connection, u32);

/// The state of a server, as far as the protocol shows it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) sessions: BTreeMap<Token, Session>,
    /// The sessions that have ended in this round.
    pub(super) ended: BTreeMap<Token, Session>,
    /// The session that each connection has or had.
    pub(super) own: BTreeMap<Connection, Token>,
    /// The broadcasts whose count of recipients is not explained yet.
    pub(super) uncounted: Rc<BTreeMap<Id, Uncounted>>,
    /// The rename that is being executed. The server makes no other change meanwhile.
    pub(super) renaming: Option<Renaming>,
    /// The number of changes in this round of which watching sessions were told.
    changes: u32,
}

/// The first half of a rename: the session has its new name, and still sends under the old one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Renaming {
    token: Token,
    old: Acting,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Session {
    pub(super) name: Arc<str>,
    /// The node at which it began. No other node can resume it.
    node: usize,
    /// The connections to which it was attached in this round, in order.
    pub(super) holders: Vec<Connection>,
    /// If it lingers, the time before which it must not expire.
    pub(super) lingers: Option<u64>,
    /// Whether a request has used its token.
    pub(super) token_was_used: bool,
    pub(super) is_watching: bool,
    /// The change of this round that gave it its name, or 0. See [`Told::number`].
    named_by: u32,
    pub(super) queue: Queue,
}

/// The session for which a request acts, and its name at the time of the lookup.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Acting {
    pub(super) token: Token,
    pub(super) name: Arc<str>,
    /// See [`Session::named_by`].
    pub(super) named_by: u32,
}

/// The expected response.
pub(super) struct Reply {
    pub(super) status: &'static str,
    pub(super) header: Option<Token>,
    pub(super) data: String,
}

impl Reply {
    pub(super) fn new(
        status: &'static str,
        header: Option<&Token>,
        data: impl Into<String>,
    ) -> Reply {
        Reply {
            status,
            header: header.cloned(),
            data: data.into(),
        }
    }

    pub(super) fn unknown_token() -> Reply {
        Reply::new("401 Unauthorized", None, "Unknown token")
    }

    pub(super) fn set_a_name_first() -> Reply {
        Reply::new("401 Unauthorized", None, "Set a name first")
    }
}

impl State {
    /// Looks up the session of a token.
    pub(super) fn acting(&self, token: &Token) -> Option<Acting> {
        let session = self.sessions.get(token)?;
        if let Some(renaming) = self.renaming.as_ref().filter(|it| it.token == *token) {
            return Some(renaming.old.clone());
        }
        Some(Acting {
            token: Arc::clone(token),
            name: Arc::clone(&session.name),
            named_by: session.named_by,
        })
    }

    pub(super) fn by_name(&self, name: &str) -> Option<(&Token, &Session)> {
        let mut sessions = self.sessions.iter();
        sessions.find(|(_, session)| session.name.eq_ignore_ascii_case(name))
    }

    /// Whether this connection still has its session.
    pub(super) fn has_session(&self, connection: Connection) -> bool {
        let session = self
            .own
            .get(&connection)
            .and_then(|own| self.sessions.get(own));
        session.is_some_and(|session| session.holder() == Some(connection))
    }

    /// Executes `Set-name` on a connection to this node, up to the first half of a rename. Returns
    /// the response, and whether the state has changed.
    pub(super) fn set_name(
        &mut self,
        (connection, node): (Connection, usize),
        acting: Option<&Acting>,
        name: &str,
        new_token: &Token,
    ) -> (Reply, bool) {
        let owner = self.by_name(name).map(|(token, _)| Arc::clone(token));
        let taken = |header| Reply::new("403 Forbidden", header, format!("{name} is taken"));
        match (self.own.get(&connection).cloned(), acting) {
            (None, None) if owner.is_some() => (taken(None), false),
            (None, None) => {
                self.own.insert(connection, Arc::clone(new_token));
                let session = Session {
                    name: name.into(),
                    node,
                    holders: vec![connection],
                    lingers: None,
                    token_was_used: false,
                    is_watching: false,
                    named_by: 0,
                    queue: Queue::default(),
                };
                self.sessions.insert(Arc::clone(new_token), session);
                self.tell_of_name(new_token, &format!("joined {name}"));
                (
                    Reply::new("200 OK", Some(new_token), format!("You are {name}")),
                    true,
                )
            }
            (own, Some(Acting { token, .. })) if own.as_ref().is_none_or(|own| own == token) => {
                let Some(old) = self.acting(token) else {
                    return (Reply::unknown_token(), false);
                };
                if own.is_none() && self.sessions[token].node != node {
                    let data = "This session is at another server";
                    return (Reply::new("403 Forbidden", Some(token), data), false);
                }
                if owner.is_some_and(|owner| owner != *token) {
                    return (taken(Some(token)), false);
                }
                let is_renamed = *old.name != *name;
                let reply = if !is_renamed {
                    Reply::new(
                        "304 Not Modified",
                        Some(token),
                        format!("You are already {name}"),
                    )
                } else {
                    Reply::new("200 OK", Some(token), format!("You are {name}"))
                };
                let resumes = own.is_none();
                if let Some(session) = self.sessions.get_mut(token) {
                    session.name = name.into();
                    if resumes {
                        session.holders.push(connection);
                        session.lingers = None;
                        self.own.insert(connection, Arc::clone(token));
                    }
                }
                if is_renamed {
                    self.tell_of_name(token, &format!("renamed {} {name}", old.name));
                    let token = Arc::clone(token);
                    self.renaming = Some(Renaming { token, old });
                }
                (reply, resumes || is_renamed)
            }
            (own, _) => match own.and_then(|own| self.acting(&own)) {
                Some(own) => {
                    let data = format!("This connection is {}", own.name);
                    (Reply::new("403 Forbidden", Some(&own.token), data), false)
                }
                // The connection has been closed, so no client reads this response.
                None => (Reply::unknown_token(), false),
            },
        }
    }

    pub(super) fn list_names(&self, prefix: &str) -> String {
        let mut names: Vec<&str> = self.sessions.values().map(|it| &*it.name).collect();
        names.retain(|name| {
            name.get(..prefix.len())
                .is_some_and(|it| it.eq_ignore_ascii_case(prefix))
        });
        names.sort_by_key(|name| name.to_ascii_lowercase());
        match names.len() {
            0 => "0 online".to_owned(),
            count => format!("{count} online: {}", names.join(" ")),
        }
    }

    /// Executes `Watch-presence`. The session may have ended since the lookup.
    pub(super) fn watch(&mut self, acting: &Acting, is_on: bool) -> Reply {
        let session = self.sessions.get_mut(&acting.token);
        let was_on = session.map(|it| std::mem::replace(&mut it.is_watching, is_on));
        let status = match was_on == Some(is_on) {
            true => "304 Not Modified",
            false => "200 OK",
        };
        let data = match is_on {
            true => "Watching presence",
            false => "Not watching presence",
        };
        Reply::new(status, Some(&acting.token), data)
    }

    /// Ends a session at the request of another connection.
    pub(super) fn end(&mut self, token: &Token) {
        self.end_after(token, None, false);
    }

    /// Ends a session whose linger time has expired.
    pub(super) fn expire(&mut self, token: &Token) {
        let last = self.sessions.get(token).and_then(|it| it.holders.last());
        self.end_after(token, last.copied(), true);
    }

    /// Ends a connection and its session.
    pub(super) fn end_connection(&mut self, connection: Connection) {
        if self.has_session(connection) {
            self.end_after(&Arc::clone(&self.own[&connection]), Some(connection), false);
        }
    }

    /// Ends a session. The watching sessions are told behind all messages of `connection`.
    fn end_after(&mut self, token: &Token, connection: Option<Connection>, may_come_later: bool) {
        let Some(session) = self.sessions.remove(token) else {
            return;
        };
        let mut told = Told::new(&format!("left {}", session.name));
        (told.last_of, told.may_come_later) = (connection, may_come_later);
        self.tell(token, &told);
        self.ended.insert(Arc::clone(token), session);
    }

    /// Tells the watching sessions that a session has a name.
    fn tell_of_name(&mut self, token: &Token, change: &str) {
        let named_by = self.tell(token, &Told::new(change));
        if let Some(session) = self.sessions.get_mut(token) {
            session.named_by = named_by;
        }
    }

    /// Tells the watching sessions of a change of another session. Returns the change's number,
    /// or 0 if no session watches.
    fn tell(&mut self, about: &Token, told: &Told) -> u32 {
        let others = self.sessions.iter_mut().filter(|(it, _)| *it != about);
        let mut watching = others.filter(|(_, it)| it.is_watching).peekable();
        if watching.peek().is_none() {
            return 0;
        }
        self.changes += 1;
        let number = self.changes;
        for (_, session) in watching {
            let mut told = told.clone();
            told.number = number;
            session.queue.tell(told);
        }
        number
    }

    /// Forgets what only this round needs. So states that are the same from now on are equal.
    pub(super) fn end_round(&mut self) {
        self.changes = 0;
        for session in self.sessions.values_mut() {
            session.named_by = 0;
            session.holders = session.holder().into_iter().collect();
        }
    }

    /// Loses a connection. If its session may linger, it does so until this time at least.
    pub(super) fn lose_connection(&mut self, connection: Connection, lingers: Option<u64>) {
        if !self.has_session(connection) {
            return;
        }
        let token = Arc::clone(&self.own[&connection]);
        match self.sessions.get_mut(&token) {
            Some(session) if session.token_was_used && lingers.is_some() => {
                session.lingers = lingers
            }
            _ => self.end_connection(connection),
        }
    }
}

impl Session {
    pub(super) fn holder(&self) -> Option<Connection> {
        match self.lingers {
            None => self.holders.last().copied(),
            Some(_) => None,
        }
    }
}
