//! A connection that comes back when it breaks.
//!
//! Two threads: `link` reads what comes, and when that ends connects again; `sender`
//! writes requests, and keeps them while there is no connection. Neither knows a
//! terminal: what happens is told to a function.
//!
//! The invariant: a request is written at most once. What was written and not answered
//! when a connection broke is reported as such; what was not written is kept for the
//! next connection, in order.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, select, unbounded,
};
use parking_lot::Mutex;

use super::connection::{Answer, Connection, Event, Requests};
use crate::limits::{LOG_IN_TIME, RECONNECT, RECONNECT_MAX, STACK};
use crate::protocol::reply::Notice;
use crate::protocol::request::Command;
use crate::protocol::status::Status;
use crate::protocol::text::Printable;
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// What happens, in the order in which it does.
#[derive(Debug)]
pub enum Happening {
    /// Something came from the server.
    Event(Event),
    /// The connection ended.
    Lost {
        /// How.
        problem: String,
        /// What had been sent and not answered.
        unconfirmed: Vec<Command>,
    },
    /// The first attempt to connect again failed. There will be more.
    Unreachable(io::Error),
    /// There is a connection again.
    Back {
        /// Under this name.
        name: Username,
        /// With the session that there was: nothing has been missed.
        resumed: bool,
    },
    /// There is a connection again, but the server refuses the name. Nothing goes on
    /// until there is another ([`Link::set_name`]).
    Refused(Printable),
    /// Another connection has resumed the session. Nothing goes on here, until there is
    /// another name.
    Taken,
    /// This was typed while there was no connection, and has been sent now.
    SentLate(Command),
}

/// What became of an attempt to take a name.
pub enum LogIn {
    /// There is a session.
    Done {
        /// Its connection.
        connection: Connection,
        /// It is the one that the token stood for.
        resumed: bool,
    },
    /// The server refuses the name.
    Refused(Printable),
}

/// The link, for the thread that types.
#[derive(Debug)]
pub struct Link {
    standing: Arc<Mutex<Standing>>,
    outgoing: Sender<Outgoing>,
    other_names: Sender<Username>,
    /// Never sent on: dropping it ends the threads, once they have nothing to do.
    staying: Sender<()>,
    sender: thread::JoinHandle<Vec<Command>>,
}

/// How one left.
#[derive(Debug)]
pub struct Left {
    /// What could not be sent.
    pub unsent: Vec<Command>,
    /// Everything that was sent has been answered.
    pub answered: bool,
}

/// After how long it is worth a word that one is still waiting for the last answer.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Where things stand.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The own name, or the last one.
    pub name: Username,
    /// Whether there is a connection, and if not, why.
    pub stage: Stage,
}

/// See [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// There is one.
    Online,
    /// It broke, and comes back.
    Offline,
    /// It comes back when there is another name.
    Nameless,
}

/// A request, and who waits for its answer, if that is not to be an event.
#[derive(Debug)]
struct Outgoing {
    request: Command,
    waiting: Option<Sender<Answer>>,
}

/// Connects and takes a name: with the session of a token, if it is still there, else
/// with a new one.
pub fn log_in(address: &str, name: &Username, token: Option<Token>) -> io::Result<LogIn> {
    let mut connection = Connection::connect(address)?;
    let mut resuming = token.is_some();
    if let Some(token) = token {
        connection.resume(token);
    }
    // What listens there need not be a chat server, and may say nothing for ever.
    connection.wait_at_most(Some(LOG_IN_TIME))?;
    connection.request(&Command::SetName(name.clone()))?;
    loop {
        match connection.next_event()? {
            Some(Event::Answer(answer)) => match answer.status {
                Status::Ok | Status::NotModified => {
                    connection.wait_at_most(None)?;
                    return Ok(LogIn::Done {
                        connection,
                        resumed: resuming,
                    });
                }
                Status::Unauthorized if resuming => {
                    resuming = false;
                    connection.forget_token();
                    connection.request(&Command::SetName(name.clone()))?;
                }
                _ => return Ok(LogIn::Refused(answer.text)),
            },
            Some(Event::Notice(notice)) => return Err(io::Error::other(notice.to_string())),
            Some(Event::Message(_)) => {}
            None => return Err(closed()),
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
}

impl Standing {
    /// As it is after logging in under this name. Its lock is held for a moment only.
    pub fn online(name: Username) -> Arc<Mutex<Standing>> {
        let stage = Stage::Online;
        Arc::new(Mutex::new(Standing { name, stage }))
    }
}

impl Link {
    /// Goes on with a connection that has a session. What happens from now on is told to
    /// `happens`, on other threads.
    pub fn start(
        connection: Connection,
        address: String,
        standing: Arc<Mutex<Standing>>,
        happens: impl FnMut(Happening) + Clone + Send + 'static,
    ) -> io::Result<Link> {
        let (outgoing, to_send) = unbounded();
        let (connections, next_connection) = unbounded();
        let (other_names, other_name) = unbounded();
        let (staying, leaving) = bounded(0);
        let sender = Writer {
            to_send,
            next_connection,
            leaving: leaving.clone(),
            happens: Box::new(happens.clone()),
        };
        let sender = spawn("sender", move || sender.run())?;
        let reader = Reader {
            address,
            standing: Arc::clone(&standing),
            connections,
            other_name,
            leaving,
            happens: Box::new(happens),
        };
        spawn("link", move || reader.run(connection))?;
        Ok(Link {
            standing,
            outgoing,
            other_names,
            staying,
            sender,
        })
    }

    /// Where things stand.
    pub fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Sends a request now, or when there is a connection again.
    pub fn send(&self, request: Command) {
        self.pass_on(request, None);
    }

    /// Sends a request for whose answer somebody waits. The receiver is disconnected if
    /// the connection breaks before it comes.
    pub fn ask(&self, request: Command) -> Receiver<Answer> {
        let (waiting, answer) = bounded(1);
        self.pass_on(request, Some(waiting));
        answer
    }

    /// Takes another name, now or when there is a connection again.
    pub fn set_name(&self, name: Username) {
        if self.standing().stage == Stage::Nameless {
            let _ = self.other_names.send(name);
        } else {
            self.send(Command::SetName(name));
        }
    }

    /// Leaves: everything that was typed is sent and answered first, if there is a
    /// connection. `waits` is called if that takes long.
    pub fn leave(self, waits: impl FnOnce()) -> Left {
        let Link {
            standing,
            outgoing,
            staying,
            sender,
            ..
        } = self;
        drop(staying);
        let mut answered = false;
        if standing.lock().stage == Stage::Online {
            let (waiting, goodbye) = bounded(1);
            let _ = outgoing.send(Outgoing {
                request: Command::Quit,
                waiting: Some(waiting),
            });
            let soon = goodbye.recv_timeout(GOODBYE_TIME);
            answered = match soon {
                Err(RecvTimeoutError::Timeout) => {
                    waits();
                    goodbye.recv().is_ok()
                }
                soon => soon.is_ok(),
            };
        }
        drop(outgoing);
        Left {
            unsent: sender.join().unwrap_or_default(),
            answered,
        }
    }

    fn pass_on(&self, request: Command, waiting: Option<Sender<Answer>>) {
        // The thread that takes it lives as long as this does.
        let _ = self.outgoing.send(Outgoing { request, waiting });
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(run)
}

/// The thread `sender`. It ends when it has sent everything and nobody can give it more,
/// or when one leaves while there is no connection.
struct Writer {
    to_send: Receiver<Outgoing>,
    next_connection: Receiver<Requests>,
    leaving: Receiver<()>,
    happens: Box<dyn FnMut(Happening) + Send>,
}

impl Writer {
    /// Gives what it could not send.
    fn run(mut self) -> Vec<Command> {
        let mut connection = None;
        while let Ok(outgoing) = self.to_send.recv() {
            let mut late = false;
            while !sent(connection.as_ref(), &outgoing) {
                late = connection.is_some();
                connection = select! {
                    recv(self.next_connection) -> next => next.ok(),
                    recv(self.leaving) -> _ => None,
                };
                if connection.is_none() {
                    let unsent = self.to_send.try_iter().map(|outgoing| outgoing.request);
                    return std::iter::once(outgoing.request).chain(unsent).collect();
                }
            }
            if late {
                (self.happens)(Happening::SentLate(outgoing.request));
            }
        }
        Vec::new()
    }
}

/// Whether the request has been written, perhaps in part only: then it is the next
/// thing to be reported as unconfirmed.
fn sent(connection: Option<&Requests>, outgoing: &Outgoing) -> bool {
    connection.is_some_and(|connection| {
        match connection.send(&outgoing.request, outgoing.waiting.clone()) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => false,
            Ok(()) | Err(_) => true,
        }
    })
}

/// The thread `link`. It ends with the connection, or the wait for the next one, when
/// one leaves.
struct Reader {
    address: String,
    standing: Arc<Mutex<Standing>>,
    connections: Sender<Requests>,
    other_name: Receiver<Username>,
    leaving: Receiver<()>,
    happens: Box<dyn FnMut(Happening) + Send>,
}

impl Reader {
    fn run(mut self, mut connection: Connection) {
        loop {
            let requests = connection.requests();
            if self.connections.send(requests.clone()).is_err() {
                return;
            }
            let (problem, taken) = self.listen(&mut connection);
            let token = connection.token().filter(|_| !taken);
            let stage = if taken {
                Stage::Nameless
            } else {
                Stage::Offline
            };
            self.standing.lock().stage = stage;
            let unconfirmed = requests.close();
            if self.is_leaving() && unconfirmed.is_empty() {
                return;
            }
            self.happens(Happening::Lost {
                problem,
                unconfirmed,
            });
            if taken {
                self.happens(Happening::Taken);
            }
            match self.come_back(token) {
                Some(next) => connection = next,
                None => return,
            }
        }
    }

    /// Reads until there is nothing more. Gives why, and whether the session goes on in
    /// another connection.
    fn listen(&mut self, connection: &mut Connection) -> (String, bool) {
        let mut last_notice = None;
        let problem = loop {
            match connection.next_event() {
                Ok(Some(event)) => {
                    last_notice = match &event {
                        Event::Notice(notice) => Some(*notice),
                        _ => None,
                    };
                    self.note_name(&event);
                    self.happens(Happening::Event(event));
                }
                Ok(None) => break closed().to_string(),
                Err(e) => break e.to_string(),
            }
        };
        (problem, last_notice == Some(Notice::ResumedElsewhere))
    }

    fn note_name(&mut self, event: &Event) {
        if let Event::Answer(Answer {
            request: Some(Command::SetName(name)),
            status: Status::Ok | Status::NotModified,
            ..
        }) = event
        {
            self.standing.lock().name = name.clone();
        }
    }

    /// Connects again, as often as it takes. `None` if one leaves meanwhile.
    fn come_back(&mut self, mut token: Option<Token>) -> Option<Connection> {
        let mut delay = RECONNECT;
        let mut told = false;
        loop {
            if self.standing.lock().stage == Stage::Nameless {
                select! {
                    recv(self.other_name) -> name => self.standing.lock().name = name.ok()?,
                    recv(self.leaving) -> _ => return None,
                }
                self.standing.lock().stage = Stage::Offline;
            } else {
                // Nothing is ever sent on it: what ends the wait is that one leaves.
                self.leaving
                    .recv_timeout(delay)
                    .err()
                    .filter(RecvTimeoutError::is_timeout)?;
                delay = (delay * 2).min(RECONNECT_MAX);
            }
            let name = self.standing.lock().name.clone();
            match log_in(&self.address, &name, token) {
                Ok(LogIn::Done {
                    connection,
                    resumed,
                }) => {
                    self.standing.lock().stage = Stage::Online;
                    self.happens(Happening::Back { name, resumed });
                    return Some(connection);
                }
                Ok(LogIn::Refused(text)) => {
                    token = None;
                    self.standing.lock().stage = Stage::Nameless;
                    self.happens(Happening::Refused(text));
                }
                Err(e) if !told => {
                    told = true;
                    self.happens(Happening::Unreachable(e));
                }
                Err(_) => {}
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.leaving.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn happens(&mut self, happening: Happening) {
        (self.happens)(happening);
    }
}
