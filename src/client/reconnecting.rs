//! A connection that comes back when it is lost.
//!
//! Does not know a terminal: it reports events to a function. Two threads. `link` blocks in
//! reading the socket, and when the connection ends, connects again. `sender` blocks until
//! there is a request and a connection, then in writing. Both end when the user leaves.
//!
//! Invariant: *a request is written at most once*. A request that was written and not
//! answered when the connection ended is reported as such. A request that was not written
//! waits for the next connection, in order.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, TryRecvError, after, bounded, never, select, unbounded,
};
use parking_lot::Mutex;

use super::address::Address;
use super::connection::{Answer, CLOSED, Connection, Event, Requests, without_os_code};
use super::login::{LoginOutcome, log_in};
use crate::limits::{
    EMPTY_ROOM_INTERVAL, EMPTY_ROOM_TIMEOUT, QUIT_TIMEOUT, RECONNECT_BACKOFF, RECONNECT_BACKOFF_MAX,
};
use crate::protocol::reply::Notice;
use crate::protocol::request::Command;
use crate::protocol::text::Printable;
use crate::protocol::token::Token;
use crate::protocol::username::Username;
use crate::threads::spawn;

/// What happens, in the order in which it does.
#[derive(Debug)]
pub enum ClientEvent {
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
    Reconnected {
        /// Under this name.
        name: Username,
        /// With the session that there was: nothing has been missed.
        resumed: bool,
    },
    /// There is a connection again, but the server refuses the name.
    Refused {
        /// Why.
        text: Printable,
        /// The same name is asked for again now and then. Otherwise nothing goes on until
        /// there is another ([`ReconnectingClient::set_name`]).
        retries: bool,
    },
    /// Another connection has resumed the session. Nothing goes on here, until there is
    /// another name.
    ResumedElsewhere,
    /// The server has not answered for [`SILENCE_NOTICE_TIMEOUT`].
    ///
    /// [`SILENCE_NOTICE_TIMEOUT`]: crate::limits::SILENCE_NOTICE_TIMEOUT
    Silent,
}

/// The link, for the thread that types.
#[derive(Debug)]
pub struct ReconnectingClient {
    standing: Arc<Mutex<ClientState>>,
    outgoing: Sender<Outgoing>,
    /// Tells that there is another wish while nothing goes on without one.
    wished: Sender<()>,
    /// Dropping it ends the threads, once they have nothing to do.
    quit_tx: Sender<Infallible>,
    sender: thread::JoinHandle<Vec<Command>>,
}

/// How the user left.
#[derive(Debug)]
pub struct QuitOutcome {
    /// What could not be sent.
    pub unsent: Vec<Command>,
    /// Everything that was sent has been answered.
    pub answered: bool,
}

/// Where things stand.
#[derive(Clone, Debug)]
pub struct ClientState {
    /// The own name, or the last one.
    pub name: Username,
    /// The name to take instead, as soon as there is a connection again.
    pending_name: Option<Username>,
    /// Whether there is a connection, and if not, why.
    pub stage: Connectivity,
}

/// See [`ClientState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// There is one.
    Online,
    /// It broke, and comes back.
    Offline,
    /// It comes back when there is another name.
    NeedsName,
}

/// A request, and who waits for its answer, if that is not to be an event.
#[derive(Debug)]
struct Outgoing {
    request: Command,
    waiting: Option<Sender<Answer>>,
}

/// A connection that requests can be sent on.
struct Online {
    requests: Requests,
    since: Instant,
    /// It has a new session: the others may not have come back yet.
    is_new: bool,
}

impl ClientState {
    /// As it is after logging in under this name. Its lock is held for a moment only.
    pub fn online(name: Username) -> Arc<Mutex<ClientState>> {
        Arc::new(Mutex::new(ClientState {
            name,
            pending_name: None,
            stage: Connectivity::Online,
        }))
    }
}

impl ReconnectingClient {
    /// Goes on with a connection that has a session. What happens from now on is told to
    /// `on_event`, on other threads.
    pub fn start(
        mut connection: Connection,
        address: Address,
        standing: Arc<Mutex<ClientState>>,
        on_event: impl Fn(ClientEvent) + Send + Sync + 'static,
    ) -> io::Result<ReconnectingClient> {
        let (outgoing, to_send) = unbounded();
        let (connections, next_connection) = unbounded();
        let (wished, pending_name) = bounded(1);
        let (quit_tx, quit_rx) = bounded(0);
        let _ = connections.send(Online {
            requests: connection.requests(),
            since: Instant::now(),
            is_new: false,
        });
        let sender_thread = SenderThread {
            to_send,
            next_connection,
            quit_rx: quit_rx.clone(),
        };
        let sender = spawn("sender", move || sender_thread.run())?;
        let receiver = LinkThread {
            address,
            standing: Arc::clone(&standing),
            connections,
            pending_name,
            delay: RECONNECT_BACKOFF,
            retries: true,
            quit_rx,
            on_event: Arc::new(on_event),
        };
        receiver.watch(&mut connection)?;
        spawn("receiver", move || receiver.run(connection))?;
        Ok(ReconnectingClient {
            standing,
            outgoing,
            wished,
            quit_tx,
            sender,
        })
    }

    /// Where things stand.
    pub fn standing(&self) -> ClientState {
        self.standing.lock().clone()
    }

    /// Sends a request now, or when there is a connection again.
    pub fn send(&self, request: Command) {
        self.pass_on(request, None);
    }

    /// Sends a request for whose answer the caller waits. The receiver is disconnected if
    /// the connection ends before it comes.
    pub fn ask(&self, request: Command) -> Receiver<Answer> {
        let (waiting, answer) = bounded(1);
        self.pass_on(request, Some(waiting));
        answer
    }

    /// Takes another name: now, or, if there is no connection, with the next one. Gives
    /// the stage that decided that.
    pub fn set_name(&self, name: Username) -> Connectivity {
        let mut standing = self.standing.lock();
        let stage = standing.stage;
        if stage == Connectivity::Online {
            drop(standing);
            self.send(Command::SetName(name));
        } else {
            standing.pending_name = Some(name);
            // One place: the wish itself stands elsewhere, and the last one counts.
            let _ = self.wished.try_send(());
        }
        stage
    }

    /// Leaves: everything that was typed is sent and answered first, if there is a
    /// connection. `waits` is called if that takes long.
    pub fn leave(self, waits: impl FnOnce()) -> QuitOutcome {
        let ReconnectingClient {
            standing,
            outgoing,
            quit_tx,
            sender,
            ..
        } = self;
        drop(quit_tx);
        let mut answered = false;
        if standing.lock().stage == Connectivity::Online {
            let (waiting, goodbye) = bounded(1);
            let _ = outgoing.send(Outgoing {
                request: Command::Quit,
                waiting: Some(waiting),
            });
            let soon = goodbye.recv_timeout(QUIT_TIMEOUT);
            answered = match soon {
                Err(RecvTimeoutError::Timeout) => {
                    waits();
                    goodbye.recv().is_ok()
                }
                soon => soon.is_ok(),
            };
        }
        drop(outgoing);
        QuitOutcome {
            unsent: sender.join().unwrap_or_default(),
            answered,
        }
    }

    fn pass_on(&self, request: Command, waiting: Option<Sender<Answer>>) {
        // The thread that takes it lives as long as this does.
        let _ = self.outgoing.send(Outgoing { request, waiting });
    }
}

/// The thread `sender`. It ends when it has sent everything and cannot be given more, or
/// when the user leaves while there is no connection.
struct SenderThread {
    to_send: Receiver<Outgoing>,
    next_connection: Receiver<Online>,
    quit_rx: Receiver<Infallible>,
}

impl SenderThread {
    /// Gives what it could not send.
    fn run(self) -> Vec<Command> {
        let mut connection = None;
        while let Ok(outgoing) = self.to_send.recv() {
            while !try_send(connection.as_ref(), &outgoing) {
                let Some(online) = self.next_connection() else {
                    let unsent = self.to_send.try_iter().map(|outgoing| outgoing.request);
                    return std::iter::once(outgoing.request).chain(unsent).collect();
                };
                if online.is_new && outgoing.request.as_message().is_some() {
                    self.wait_for_others(&online);
                }
                connection = Some(online.requests);
            }
        }
        Vec::new()
    }

    /// Waits for a connection; `None` if the user leaves before there is one.
    fn next_connection(&self) -> Option<Online> {
        // One that is there already goes before the leaving, between which the select
        // would choose as it likes.
        self.next_connection.try_recv().ok().or_else(|| {
            select! {
                recv(self.next_connection) -> next => next.ok(),
                recv(self.quit_rx) -> _ => self.next_connection.try_recv().ok(),
            }
        })
    }

    /// Waits until another user is there, or a while after the connection began. After a
    /// restart of the server all clients come back in the same seconds, and a message to an
    /// empty room would reach none of them.
    fn wait_for_others(&self, online: &Online) {
        let deadline = online.since + EMPTY_ROOM_TIMEOUT;
        let names = Command::ListNames {
            prefix: Printable::default(),
        };
        while Instant::now() < deadline {
            let Ok(answer) = online.requests.ask(&names) else {
                return;
            };
            match answer.recv_deadline(deadline) {
                Ok(answer) if count_listed(&answer.text) <= 1 => {}
                _ => return,
            }
            let waited = self.quit_rx.recv_timeout(EMPTY_ROOM_INTERVAL);
            if waited.is_err_and(|e| e.is_disconnected()) {
                return;
            }
        }
    }
}

/// How many names an answer to `List-names` counts.
pub fn count_listed(answer: &Printable) -> usize {
    answer.split_word().0.as_str().parse().unwrap_or(0)
}

/// Sends the request. False if the connection had been closed before, so that nothing was
/// written. True also after a failure, because a part may have arrived.
fn try_send(connection: Option<&Requests>, outgoing: &Outgoing) -> bool {
    connection.is_some_and(|connection| {
        match connection.send(&outgoing.request, outgoing.waiting.clone()) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => false,
            Ok(()) | Err(_) => true,
        }
    })
}

/// The thread `link`. It ends with the connection, or the wait for the next one, when
/// the user leaves.
struct LinkThread {
    address: Address,
    standing: Arc<Mutex<ClientState>>,
    connections: Sender<Online>,
    pending_name: Receiver<()>,
    /// The pause before the next attempt to connect again.
    delay: Duration,
    /// Without a name, the last one is asked for again now and then.
    retries: bool,
    quit_rx: Receiver<Infallible>,
    on_event: Arc<dyn Fn(ClientEvent) + Send + Sync>,
}

impl LinkThread {
    fn run(mut self, mut connection: Connection) {
        loop {
            let began = Instant::now();
            let (problem, taken) = self.listen(&mut connection);
            if began.elapsed() >= RECONNECT_BACKOFF_MAX {
                self.delay = RECONNECT_BACKOFF;
            }
            let token = connection.token().filter(|_| !taken);
            self.retries = !taken;
            let stage = if taken {
                Connectivity::NeedsName
            } else {
                Connectivity::Offline
            };
            self.standing.lock().stage = stage;
            // Who waits for an answer learns that there is none when these are dropped,
            // which is after the others have been told of.
            let unanswered = connection.requests().close();
            let unconfirmed: Vec<Command> = unanswered
                .iter()
                .map(|unanswered| unanswered.request.clone())
                .filter(|request| !matches!(request, Command::Quit | Command::Ping(_)))
                .collect();
            if self.is_leaving() && unconfirmed.is_empty() {
                return;
            }
            self.on_event(ClientEvent::Lost {
                problem,
                unconfirmed,
            });
            drop(unanswered);
            if taken {
                self.on_event(ClientEvent::ResumedElsewhere);
            }
            match self.reconnect(token) {
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
                    self.on_event(ClientEvent::Event(event));
                }
                Ok(None) => break CLOSED.to_owned(),
                Err(e) => break without_os_code(&e),
            }
        };
        (problem, last_notice == Some(Notice::ResumedElsewhere))
    }

    fn note_name(&mut self, event: &Event) {
        if let Event::Answer(Answer {
            request: Some(Command::SetName(name)),
            status,
            ..
        }) = event
            && status.is_success()
        {
            self.standing.lock().name = name.clone();
        }
    }

    /// Has the connection notice a server that is silent.
    fn watch(&self, connection: &mut Connection) -> io::Result<()> {
        let on_event = Arc::clone(&self.on_event);
        connection.watch(move || on_event(ClientEvent::Silent))
    }

    /// Connects again, as often as it takes. `None` if the user leaves
    /// meanwhile.
    fn reconnect(&mut self, mut token: Option<Token>) -> Option<Connection> {
        let (mut told_unreachable, mut told_refused) = (false, None);
        loop {
            self.wait_for_next_attempt()?;
            let (name, pending_name) = {
                let mut standing = self.standing.lock();
                (standing.name.clone(), standing.pending_name.take())
            };
            let wished = pending_name.is_some();
            let name = pending_name.unwrap_or(name);
            let logged_in =
                log_in(&self.address, &name, token).and_then(|logged_in| match logged_in {
                    LoginOutcome::Done {
                        mut connection,
                        resumed,
                    } => {
                        self.watch(&mut connection)?;
                        Ok(LoginOutcome::Done {
                            connection,
                            resumed,
                        })
                    }
                    refused => Ok(refused),
                });
            match logged_in {
                Ok(LoginOutcome::Done {
                    connection,
                    resumed,
                }) => {
                    self.standing.lock().name = name.clone();
                    self.on_event(ClientEvent::Reconnected { name, resumed });
                    if !resumed {
                        // A session can be resumed once a request has come with its token.
                        // If it fails, the connection has ended, which is noticed next.
                        let _ = connection.requests().ask(&Command::Ping(None));
                    }
                    self.go_online(&connection, !resumed);
                    return Some(connection);
                }
                Ok(LoginOutcome::Refused(text)) => {
                    // The wished name was refused; under its own the session can still be
                    // resumed.
                    if !(wished && token.is_some()) {
                        token = None;
                        self.standing.lock().stage = Connectivity::NeedsName;
                    }
                    if wished || told_refused.as_ref() != Some(&text) {
                        told_refused = Some(text.clone());
                        let retries = self.retries && !wished;
                        self.on_event(ClientEvent::Refused { text, retries });
                    }
                }
                Err(e) => {
                    let mut standing = self.standing.lock();
                    if wished {
                        standing.pending_name.get_or_insert(name);
                    }
                    // Offline, not nameless: what failed was the connection, not the name,
                    // so the next attempt is made after the delay.
                    standing.stage = Connectivity::Offline;
                    drop(standing);
                    if !told_unreachable {
                        told_unreachable = true;
                        self.on_event(ClientEvent::Unreachable(e));
                    }
                }
            }
        }
    }

    /// From now on there is a connection, and another name is a request. One that was
    /// wished for while the last was being taken is requested before anything else.
    fn go_online(&self, connection: &Connection, is_new: bool) {
        let since = Instant::now();
        loop {
            let mut standing = self.standing.lock();
            let Some(late) = standing.pending_name.take() else {
                // Before anyone can know that there is one, so that who leaves then still
                // has it.
                let _ = self.connections.send(Online {
                    requests: connection.requests(),
                    since,
                    is_new,
                });
                standing.stage = Connectivity::Online;
                return;
            };
            drop(standing);
            // If it fails, the connection has broken, which is noticed next.
            let _ = connection.request(&Command::SetName(late));
        }
    }

    /// Waits for a while, or for another name where nothing goes on without. `None` if
    /// the user leaves.
    fn wait_for_next_attempt(&mut self) -> Option<()> {
        let delay = self.delay;
        self.delay = (delay * 2).min(RECONNECT_BACKOFF_MAX);
        let is_nameless = self.standing.lock().stage == Connectivity::NeedsName;
        let until = match is_nameless && !self.retries {
            true => never(),
            false => after(delay),
        };
        loop {
            // A connection that is tried again anyway takes a wish with it.
            if is_nameless && self.standing.lock().pending_name.is_some() {
                return Some(());
            }
            select! {
                recv(self.pending_name) -> wished => wished.ok()?,
                recv(self.quit_rx) -> _ => return None,
                recv(until) -> _ => return Some(()),
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.quit_rx.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn on_event(&mut self, happening: ClientEvent) {
        (self.on_event)(happening);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A server that logs one client in, and then does what it is told with it.
    fn server(then: impl FnOnce(TcpStream) + Send + 'static) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let mut request = [0; 100];
            assert_ne!(socket.read(&mut request).unwrap(), 0);
            let token = "0".repeat(Token::DIGITS);
            write!(socket, "200 OK\r\n{token}\r\nYou are alice\r\n").unwrap();
            then(socket);
        });
        address
    }

    fn logged_in(address: &Address) -> Connection {
        match log_in(address, &name("alice"), None).unwrap() {
            LoginOutcome::Done { connection, .. } => connection,
            LoginOutcome::Refused(text) => panic!("{text:?}"),
        }
    }

    fn outgoing() -> Outgoing {
        Outgoing {
            request: Command::Ping(None),
            waiting: None,
        }
    }

    #[test]
    fn request_counts_as_sent_unless_connection_was_closed() {
        assert!(!try_send(None, &outgoing()));
        let (keep, kept) = bounded::<()>(0);
        let address = server(move |_socket| assert!(kept.recv().is_err()));
        let requests = logged_in(&address).requests();
        assert!(try_send(Some(&requests), &outgoing()));
        requests.close();
        assert!(!try_send(Some(&requests), &outgoing()));
        drop(keep);

        // A reset: the first write that fails may have arrived, the next is not tried.
        // It comes after the answer has been read, which it would overtake.
        let (keep, kept) = bounded::<()>(0);
        let address = server(move |socket| {
            assert!(kept.recv().is_err());
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        });
        let mut connection = logged_in(&address);
        drop(keep);
        let requests = connection.requests();
        assert!(connection.next_event().is_err());
        assert!(try_send(Some(&requests), &outgoing()));
        assert!(!try_send(Some(&requests), &outgoing()));
        assert_eq!(requests.close().len(), 1);
    }

    #[test]
    fn name_set_during_reconnect_is_requested_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let (asked, comes_back) = bounded(0);
        let (go_on, answering) = bounded::<()>(0);
        let (heard, next_heard) = unbounded();
        thread::spawn(move || {
            let token = "0".repeat(Token::DIGITS);
            let answer = format!("200 OK\r\n{token}\r\nYou are alice\r\n");
            let request = |socket: &mut TcpStream| {
                let mut lines = BufReader::new(socket).lines();
                lines.nth(2).unwrap().unwrap()
            };
            let mut first = listener.accept().unwrap().0;
            request(&mut first);
            first.write_all(answer.as_bytes()).unwrap();
            drop(first);
            let mut second = listener.accept().unwrap().0;
            asked.send(request(&mut second)).unwrap();
            answering.recv().unwrap();
            second.write_all(answer.as_bytes()).unwrap();
            heard.send(request(&mut second)).unwrap();
        });
        let standing = ClientState::online(name("alice"));
        let link =
            ReconnectingClient::start(logged_in(&address), address, standing, |_| {}).unwrap();
        let deadline = Duration::from_secs(20);
        let request = comes_back.recv_timeout(deadline).unwrap();
        assert_eq!(request, "Set-name alice");
        assert_eq!(link.set_name(name("bob")), Connectivity::Offline);
        go_on.send(()).unwrap();
        let request = next_heard.recv_timeout(deadline).unwrap();
        assert_eq!(request, "Set-name bob");
    }

    #[test]
    fn leave_reports_unanswered_requests_before_it_returns() {
        for _ in 0..20 {
            let address = server(|mut socket| {
                let mut heard = Vec::new();
                let mut buffer = [0; 1_000];
                while !heard.ends_with(b"Quit\r\n") {
                    let count = socket.read(&mut buffer).unwrap();
                    heard.extend_from_slice(&buffer[..count]);
                }
            });
            let told = Arc::new(Mutex::new(Vec::new()));
            let happened = Arc::clone(&told);
            let link = ReconnectingClient::start(
                logged_in(&address),
                address,
                ClientState::online(name("alice")),
                move |happening| {
                    if let ClientEvent::Lost { unconfirmed, .. } = happening {
                        happened.lock().extend(unconfirmed);
                    }
                },
            );
            let link = link.unwrap();
            link.send(Command::Help);
            let left = link.leave(|| {});
            assert!(!left.answered && left.unsent.is_empty());
            assert_eq!(*told.lock(), [Command::Help]);
        }
    }
}
