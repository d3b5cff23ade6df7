//! The `receiver` thread reports events, and reconnects when the connection is lost.
//!
//! Does not know a terminal, or which requests wait to be sent. It blocks in reading from the
//! socket, in logging in, and in the back-off between two attempts. After the user quits, it
//! ends with the connection, or in the wait for the next attempt.
//!
//! Invariant: *the state is `Online` only after the sender thread has got the connection*. So a
//! user that quits while online still sends everything.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, after, never, select};
use parking_lot::Mutex;

use super::connection::{CLOSED, Connection, Event, ServerResponse, without_os_code};
use super::login::{LoginOutcome, Target, log_in};
use super::reconnecting::{AutomaticRequests, ClientEvent, ClientState, Connectivity};
use super::sender::ReadyConnection;
use crate::limits::{RECONNECT_BACKOFF, RECONNECT_BACKOFF_MAX};
use crate::protocol::reply::Notice;
use crate::protocol::request::Command;
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// The state of the thread `receiver`.
pub(super) struct ReceiverThread {
    pub(super) target: Target,
    pub(super) state: Arc<Mutex<ClientState>>,
    pub(super) connections_tx: Sender<ReadyConnection>,
    /// Signals that the state has another pending name.
    pub(super) name_set_rx: Receiver<()>,
    /// The back-off before the next attempt to reconnect.
    pub(super) delay: Duration,
    /// Whether a refused name is tried again later.
    pub(super) retries: bool,
    pub(super) quit_rx: Receiver<Infallible>,
    pub(super) on_event: Arc<dyn Fn(ClientEvent) + Send + Sync>,
}

impl ReceiverThread {
    /// Receives and reconnects until the thread ends.
    pub(super) fn run(mut self, mut connection: Connection) {
        loop {
            let began = Instant::now();
            let (problem, is_session_taken) = self.receive_events(&mut connection);
            if began.elapsed() >= RECONNECT_BACKOFF_MAX {
                self.delay = RECONNECT_BACKOFF;
            }
            let token = connection.token().filter(|_| !is_session_taken);
            self.retries = !is_session_taken;
            let connectivity = if is_session_taken {
                Connectivity::NeedsName
            } else {
                Connectivity::Offline
            };
            self.state.lock().connectivity = connectivity;
            let unanswered = connection.requests().close();
            let unconfirmed: Vec<Command> = unanswered
                .iter()
                .filter(|pending| !pending.is_automatic)
                .map(|pending| pending.request.clone())
                .filter(|request| !matches!(request, Command::Quit | Command::Ping(_)))
                .collect();
            if self.is_quitting() && unconfirmed.is_empty() {
                return;
            }
            self.on_event(ClientEvent::Lost {
                problem,
                unconfirmed,
            });
            // This drop disconnects threads that wait for a response, and so lets the client
            // quit. The event must come first, or it would not be shown.
            drop(unanswered);
            if is_session_taken {
                self.on_event(ClientEvent::SessionTaken);
            }
            match self.reconnect(token) {
                Some(next) => connection = next,
                None => return,
            }
        }
    }

    /// Reports events until the connection ends. Returns the reason, and whether another
    /// connection has the session or its name now.
    fn receive_events(&mut self, connection: &mut Connection) -> (String, bool) {
        let mut last_notice = None;
        let problem = loop {
            match connection.next_event() {
                Ok(Some(event)) => {
                    last_notice = match &event {
                        Event::Notice(notice) => Some(notice.clone()),
                        _ => None,
                    };
                    self.note_name(&event);
                    self.on_event(ClientEvent::Event(event));
                }
                Ok(None) => break CLOSED.to_owned(),
                Err(e) => break without_os_code(&e),
            }
        };
        let is_session_taken = matches!(
            last_notice,
            Some(Notice::ResumedElsewhere | Notice::TakenMeanwhile(_))
        );
        (problem, is_session_taken)
    }

    /// Copies a name that the server has accepted into the state.
    fn note_name(&mut self, event: &Event) {
        if let Event::Response(ServerResponse {
            request: Some(Command::SetName(name)),
            status,
            ..
        }) = event
            && status.is_success()
        {
            self.state.lock().name = name.clone();
        }
    }

    /// Makes the connection detect a silent server.
    pub(super) fn detect_silence(&self, connection: &mut Connection) -> io::Result<()> {
        let on_event = Arc::clone(&self.on_event);
        connection.detect_silence(move || on_event(ClientEvent::Silent))
    }

    /// Tries to reconnect until it succeeds. Returns `None` if the user quits before. One attempt
    /// tries all addresses.
    ///
    /// If the server needs an access token, only waits until the user quits.
    fn reconnect(&mut self, mut token: Option<Token>) -> Option<Connection> {
        let (mut is_unreachable_reported, mut reported_refusal) = (false, None);
        let previous = self.target.addresses.first().clone();
        loop {
            self.wait_for_next_attempt()?;
            let (name, pending_name) = {
                let mut state = self.state.lock();
                (state.name.clone(), state.pending_name.take())
            };
            let is_new_name = pending_name.is_some();
            let name = pending_name.unwrap_or(name);
            match self.log_in(&name, token) {
                Ok(LoginOutcome::Done {
                    connection,
                    resumed,
                }) => {
                    self.state.lock().name = name.clone();
                    let server = self.target.addresses.first();
                    if *server != previous {
                        self.on_event(ClientEvent::ServerChanged(server.clone()));
                    }
                    self.on_event(ClientEvent::Reconnected { name, resumed });
                    if !resumed {
                        // A session can be resumed only after a request has carried its token.
                        // If this fails, the connection is lost, and the next read finds it.
                        let _ = connection.requests().ask(&Command::Ping(None));
                    }
                    let (requests, automatic_rx) = AutomaticRequests::channel();
                    let is_new = !resumed;
                    self.on_event(ClientEvent::Connected { is_new, requests });
                    self.go_online(ReadyConnection {
                        requests: connection.requests(),
                        since: Instant::now(),
                        is_new,
                        automatic_rx,
                    });
                    return Some(connection);
                }
                Ok(LoginOutcome::Refused {
                    text,
                    session_is_elsewhere,
                }) => {
                    // If a new name was refused, the session can still be resumed with its own
                    // name. Otherwise it is lost, unless it is at another server.
                    if !(is_new_name && token.is_some()) {
                        token = token.filter(|_| session_is_elsewhere);
                        self.state.lock().connectivity = Connectivity::NeedsName;
                    }
                    if is_new_name || reported_refusal.as_ref() != Some(&text) {
                        reported_refusal = Some(text.clone());
                        let retries = self.retries && !is_new_name;
                        self.on_event(ClientEvent::Refused { text, retries });
                    }
                }
                Ok(LoginOutcome::NeedsAccessToken) => {
                    self.state.lock().connectivity = Connectivity::NeedsAccessToken;
                    let advice = self.target.access.advice();
                    self.on_event(ClientEvent::NeedsAccessToken { advice });
                    // The sender thread must not end before the user has quit: it collects the
                    // requests that the user sends until then.
                    let _ = self.quit_rx.recv();
                    return None;
                }
                Err(e) => {
                    let mut state = self.state.lock();
                    if is_new_name {
                        state.pending_name.get_or_insert(name);
                    }
                    // `Offline` and not `NeedsName`: the connection failed, not the name. So
                    // the next attempt follows after the delay.
                    state.connectivity = Connectivity::Offline;
                    drop(state);
                    if !is_unreachable_reported {
                        is_unreachable_reported = true;
                        self.on_event(ClientEvent::Unreachable(e));
                    }
                }
            }
        }
    }

    /// Logs in, and makes the new connection detect a silent server.
    fn log_in(&mut self, name: &Username, token: Option<Token>) -> io::Result<LoginOutcome> {
        let mut outcome = log_in(&mut self.target, name, token)?;
        if let LoginOutcome::Done { connection, .. } = &mut outcome {
            self.detect_silence(connection)?;
        }
        Ok(outcome)
    }

    /// Gives the connection to the sender thread and sets the state to `Online`.
    ///
    /// If the user has set another name during the login, requests that name first.
    fn go_online(&self, connection: ReadyConnection) {
        loop {
            let mut state = self.state.lock();
            let Some(name) = state.pending_name.take() else {
                // In this order: a thread that sees `Online` and quits must find the
                // connection in the channel.
                let _ = self.connections_tx.send(connection);
                state.connectivity = Connectivity::Online;
                return;
            };
            drop(state);
            // If this fails, the connection is lost, and the next read finds it.
            let _ = connection.requests.request(&Command::SetName(name));
        }
    }

    /// Waits for the back-off. Returns `None` if the user quits.
    ///
    /// A client that needs a name continues as soon as it gets one.
    fn wait_for_next_attempt(&mut self) -> Option<()> {
        let delay = self.delay;
        self.delay = (delay * 2).min(RECONNECT_BACKOFF_MAX);
        let needs_name = self.state.lock().connectivity == Connectivity::NeedsName;
        let until = match needs_name && !self.retries {
            true => never(),
            false => after(delay),
        };
        loop {
            // While the client is offline, another name does not shorten the back-off. The next
            // attempt takes the name.
            if needs_name && self.state.lock().pending_name.is_some() {
                return Some(());
            }
            select! {
                recv(self.name_set_rx) -> signal => signal.ok()?,
                recv(self.quit_rx) -> _ => return None,
                recv(until) -> _ => return Some(()),
            }
        }
    }

    fn is_quitting(&self) -> bool {
        self.quit_rx.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn on_event(&self, event: ClientEvent) {
        (self.on_event)(event);
    }
}
