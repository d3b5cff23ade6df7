//! A client that reconnects when its connection is lost.
//!
//! Does not know a terminal: it reports events to a function. It has two threads, `sender` and
//! `receiver`, in modules of these names. Both end after the user quits.
//!
//! Invariant: *a request is written at most once*. If the connection ends after a request was
//! written and before its response, the request is reported as unconfirmed. A request that was
//! not written waits for the next connection, in order.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;

use super::address::Address;
use super::connection::{Connection, Event, ServerResponse};
use super::login::Target;
use super::receiver::ReceiverThread;
use super::sender::{Outgoing, ReadyConnection, SenderThread};
use crate::limits::{QUIT_TIMEOUT, RECONNECT_BACKOFF};
use crate::protocol::request::Command;
use crate::protocol::text::Printable;
use crate::protocol::username::Username;
use crate::threads::spawn;

/// An event of the client. The function gets them in the order in which they occur.
#[derive(Debug)]
pub enum ClientEvent {
    /// The server has sent something.
    Event(Event),
    /// The connection was lost.
    Lost {
        /// The reason.
        problem: String,
        /// The requests that were sent and have no response.
        unconfirmed: Vec<Command>,
    },
    /// The first attempt to reconnect failed, at all addresses. The client tries again.
    Unreachable(io::Error),
    /// The client has logged in at another server than before.
    /// [`Reconnected`](ClientEvent::Reconnected) follows.
    ServerChanged(Address),
    /// The client has reconnected and logged in.
    Reconnected {
        /// The name.
        name: Username,
        /// True if the session was resumed, so that no message is missing.
        resumed: bool,
    },
    /// The client has reconnected, but the server refuses the name.
    Refused {
        /// The text of the server.
        text: Printable,
        /// True if the client tries this name again later. Otherwise the user can set another
        /// one ([`ReconnectingClient::set_name`]).
        retries: bool,
    },
    /// The client has a connection with a session: at the start, and after each
    /// [`Reconnected`](ClientEvent::Reconnected).
    Connected {
        /// True if the session is new, false if it was resumed.
        is_new: bool,
        /// Takes automatic requests for this connection. Those that are sent during this event
        /// precede the user's requests.
        requests: AutomaticRequests,
    },
    /// Another connection has resumed the session, or has taken its name at another server. The
    /// client does not reconnect until [`ReconnectingClient::set_name`] is called.
    SessionTaken,
    /// The server needs an access token that it knows. The client does not reconnect any more,
    /// so the user can only quit.
    NeedsAccessToken {
        /// The text for the user.
        advice: String,
    },
    /// A response is late: the server has sent nothing for [`SILENCE_NOTICE_TIMEOUT`].
    ///
    /// [`SILENCE_NOTICE_TIMEOUT`]: crate::limits::SILENCE_NOTICE_TIMEOUT
    Silent,
}

/// Takes the requests that the client sends without its user, for one connection.
#[derive(Clone, Debug)]
pub struct AutomaticRequests(Sender<Command>);

impl AutomaticRequests {
    /// Returns the two ends of a queue of automatic requests.
    pub(super) fn channel() -> (AutomaticRequests, Receiver<Command>) {
        let (tx, rx) = unbounded();
        (AutomaticRequests(tx), rx)
    }

    /// Sends a request. Its response [says](ServerResponse::is_automatic) that it was automatic.
    ///
    /// Does not block. If the connection is lost before, the request is dropped.
    pub fn send(&self, request: Command) {
        let _ = self.0.send(request);
    }
}

/// The handle with which a thread sends requests, sets the name and quits.
#[derive(Debug)]
pub struct ReconnectingClient {
    state: Arc<Mutex<ClientState>>,
    outgoing_tx: Sender<Outgoing>,
    /// Wakes the receiver thread when it may be waiting for another name.
    name_set_tx: Sender<()>,
    /// Carries nothing. Dropping it makes the threads end when they have nothing to do.
    quit_tx: Sender<Infallible>,
    sender: thread::JoinHandle<Vec<Command>>,
}

/// The result of [`ReconnectingClient::quit`].
#[derive(Debug)]
pub struct QuitOutcome {
    /// The requests that were not sent.
    pub unsent: Vec<Command>,
    /// True if every request that was sent has been answered.
    pub all_answered: bool,
}

/// The name of the user, and whether there is a connection.
#[derive(Clone, Debug)]
pub struct ClientState {
    /// The name of the session, or of the last session.
    pub name: Username,
    /// The name for the next connection, if the user has set one meanwhile.
    pub(super) pending_name: Option<Username>,
    /// Whether there is a connection, and if not, why.
    pub connectivity: Connectivity,
}

/// Whether a [`ReconnectingClient`] has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// There is a connection with a session.
    Online,
    /// The connection was lost. The client reconnects.
    Offline,
    /// The server refuses the name, or another connection has the session or its name. The
    /// client can reconnect with another name.
    NeedsName,
    /// The server needs an access token that it knows. The client does not reconnect.
    NeedsAccessToken,
}

impl ClientState {
    /// Returns the state after logging in with this name. No thread blocks while it holds the
    /// lock.
    pub fn online(name: Username) -> Arc<Mutex<ClientState>> {
        Arc::new(Mutex::new(ClientState {
            name,
            pending_name: None,
            connectivity: Connectivity::Online,
        }))
    }
}

impl ReconnectingClient {
    /// Starts the two threads on a connection that has a session.
    ///
    /// Both threads and the caller share `state`. `on_event` runs on the receiver thread. Only
    /// the first event, [`Connected`](ClientEvent::Connected), is reported in this call.
    pub fn start(
        mut connection: Connection,
        target: Target,
        state: Arc<Mutex<ClientState>>,
        on_event: impl Fn(ClientEvent) + Send + Sync + 'static,
    ) -> io::Result<ReconnectingClient> {
        let (outgoing_tx, outgoing_rx) = unbounded();
        let (connections_tx, connections_rx) = unbounded();
        let (name_set_tx, name_set_rx) = bounded(1);
        let (quit_tx, quit_rx) = bounded(0);
        let (requests, automatic_rx) = AutomaticRequests::channel();
        on_event(ClientEvent::Connected {
            is_new: true,
            requests,
        });
        let sender_thread = SenderThread {
            outgoing_rx,
            connections_rx,
            quit_rx: quit_rx.clone(),
            connection: Some(ReadyConnection {
                requests: connection.requests(),
                since: Instant::now(),
                // The other users are not expected to come back.
                is_new: false,
                automatic_rx,
            }),
        };
        let sender = spawn("sender", move || sender_thread.run())?;
        let receiver = ReceiverThread {
            target,
            state: Arc::clone(&state),
            connections_tx,
            name_set_rx,
            delay: RECONNECT_BACKOFF,
            retries: true,
            quit_rx,
            on_event: Arc::new(on_event),
        };
        receiver.detect_silence(&mut connection)?;
        spawn("receiver", move || receiver.run(connection))?;
        Ok(ReconnectingClient {
            state,
            outgoing_tx,
            name_set_tx,
            quit_tx,
            sender,
        })
    }

    /// Returns a copy of the state.
    pub fn state(&self) -> ClientState {
        self.state.lock().clone()
    }

    /// Sends a request now, or on the next connection. Does not block.
    pub fn send(&self, request: Command) {
        self.enqueue(request, None);
    }

    /// Sends a request like [`send`](ReconnectingClient::send). The response goes to the
    /// returned receiver.
    ///
    /// The receiver is disconnected if the connection ends before the response.
    pub fn ask(&self, request: Command) -> Receiver<ServerResponse> {
        let (response_tx, response_rx) = bounded(1);
        self.enqueue(request, Some(response_tx));
        response_rx
    }

    /// Changes the name now, or on the next connection if there is none. Returns the
    /// connectivity that decided this.
    pub fn set_name(&self, name: Username) -> Connectivity {
        let mut state = self.state.lock();
        let connectivity = state.connectivity;
        if connectivity == Connectivity::Online {
            drop(state);
            self.send(Command::SetName(name));
        } else {
            state.pending_name = Some(name);
            // Fails if an earlier signal is still in the channel. That signal is enough,
            // because the name itself is in the state.
            let _ = self.name_set_tx.try_send(());
        }
        connectivity
    }

    /// Quits. If there is a connection, first waits until all requests are answered.
    ///
    /// Calls `on_slow` if that takes longer than [`QUIT_TIMEOUT`], and waits on.
    pub fn quit(self, on_slow: impl FnOnce()) -> QuitOutcome {
        let ReconnectingClient {
            state,
            outgoing_tx,
            quit_tx,
            sender,
            ..
        } = self;
        drop(quit_tx);
        let mut all_answered = false;
        if state.lock().connectivity == Connectivity::Online {
            let (response_tx, response_rx) = bounded(1);
            let _ = outgoing_tx.send(Outgoing {
                request: Command::Quit,
                response_tx: Some(response_tx),
            });
            // The response to `Quit` is the last one, so all others have arrived before it.
            let response = response_rx.recv_timeout(QUIT_TIMEOUT);
            all_answered = match response {
                Err(RecvTimeoutError::Timeout) => {
                    on_slow();
                    response_rx.recv().is_ok()
                }
                response => response.is_ok(),
            };
        }
        drop(outgoing_tx);
        QuitOutcome {
            unsent: sender.join().unwrap_or_default(),
            all_answered,
        }
    }

    fn enqueue(&self, request: Command, response_tx: Option<Sender<ServerResponse>>) {
        // Never fails: the sender thread lives as long as this handle.
        let _ = self.outgoing_tx.send(Outgoing {
            request,
            response_tx,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::access::Access;
    use crate::client::login::{LoginOutcome, log_in};
    use crate::client::sender::try_send;
    use crate::protocol::literals::name;
    use crate::protocol::token::Token;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// Starts a server that logs one client in and then calls `then` with its socket.
    fn server(then: impl FnOnce(TcpStream) + Send + 'static) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target_of(&listener);
        thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let mut request = [0; 100];
            assert_ne!(socket.read(&mut request).unwrap(), 0);
            let token = "0".repeat(Token::DIGITS);
            write!(socket, "200 OK\r\n{token}\r\nYou are alice\r\n").unwrap();
            then(socket);
        });
        target
    }

    fn target_of(listener: &TcpListener) -> Target {
        Target {
            addresses: Address::from(listener.local_addr().unwrap()).into(),
            access: Access::none(),
        }
    }

    fn logged_in(target: &Target) -> Connection {
        match log_in(&mut target.clone(), &name("alice"), None).unwrap() {
            LoginOutcome::Done { connection, .. } => connection,
            LoginOutcome::Refused { text, .. } => panic!("{text:?}"),
            LoginOutcome::NeedsAccessToken => panic!("an access token"),
        }
    }

    fn outgoing() -> Outgoing {
        Outgoing {
            request: Command::Ping(None),
            response_tx: None,
        }
    }

    #[test]
    fn request_counts_as_sent_unless_connection_was_closed() {
        assert!(!try_send(None, &outgoing()));
        let (close_tx, close_rx) = bounded::<()>(0);
        let target = server(move |_socket| assert!(close_rx.recv().is_err()));
        let requests = logged_in(&target).requests();
        assert!(try_send(Some(&requests), &outgoing()));
        requests.close();
        assert!(!try_send(Some(&requests), &outgoing()));
        drop(close_tx);

        // After a reset, the first write fails, and its bytes may have arrived. The next write
        // is not tried. The server waits before it resets, because a reset would overtake its
        // response.
        let (close_tx, close_rx) = bounded::<()>(0);
        let target = server(move |socket| {
            assert!(close_rx.recv().is_err());
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        });
        let mut connection = logged_in(&target);
        drop(close_tx);
        let requests = connection.requests();
        assert!(connection.next_event().is_err());
        assert!(try_send(Some(&requests), &outgoing()));
        assert!(!try_send(Some(&requests), &outgoing()));
        assert_eq!(requests.close().len(), 1);
    }

    #[test]
    fn name_set_during_reconnect_is_requested_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target_of(&listener);
        let (reconnected_tx, reconnected_rx) = bounded(0);
        let (respond_tx, respond_rx) = bounded::<()>(0);
        let (renamed_tx, renamed_rx) = unbounded();
        thread::spawn(move || {
            let token = "0".repeat(Token::DIGITS);
            let response = format!("200 OK\r\n{token}\r\nYou are alice\r\n");
            let request = |socket: &mut TcpStream| {
                let mut lines = BufReader::new(socket).lines();
                lines.nth(2).unwrap().unwrap()
            };
            let mut first = listener.accept().unwrap().0;
            request(&mut first);
            first.write_all(response.as_bytes()).unwrap();
            drop(first);
            let mut second = listener.accept().unwrap().0;
            reconnected_tx.send(request(&mut second)).unwrap();
            respond_rx.recv().unwrap();
            second.write_all(response.as_bytes()).unwrap();
            renamed_tx.send(request(&mut second)).unwrap();
        });
        let state = ClientState::online(name("alice"));
        let client = ReconnectingClient::start(logged_in(&target), target, state, |_| {}).unwrap();
        let deadline = Duration::from_secs(20);
        let request = reconnected_rx.recv_timeout(deadline).unwrap();
        assert_eq!(request, "Set-name alice");
        assert_eq!(client.set_name(name("bob")), Connectivity::Offline);
        respond_tx.send(()).unwrap();
        let request = renamed_rx.recv_timeout(deadline).unwrap();
        assert_eq!(request, "Set-name bob");
    }

    #[test]
    fn automatic_requests_go_first_and_only_to_their_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target_of(&listener);
        let (bodies_tx, bodies_rx) = unbounded();
        thread::spawn(move || {
            let token = "0".repeat(Token::DIGITS);
            for number in 0..2 {
                let mut socket = listener.accept().unwrap().0;
                let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
                while let Some(Ok(body)) = lines.nth(2) {
                    if body.starts_with("Set-name") {
                        write!(socket, "200 OK\r\n{token}\r\nYou are alice\r\n").unwrap();
                    }
                    bodies_tx.send((number, body.clone())).unwrap();
                    if number == 0 && body == "Help" {
                        break;
                    }
                }
            }
        });
        let (handles_tx, handles_rx) = unbounded();
        let (lost_tx, lost_rx) = bounded(0);
        let on_event = move |event| match event {
            ClientEvent::Connected { is_new, requests } => {
                requests.send(Command::RecentMessages {
                    count: if is_new { 1 } else { 2 },
                });
                handles_tx.send(requests).unwrap();
            }
            // Blocks until the test has queued a request without a connection.
            ClientEvent::Lost { .. } => lost_tx.send(()).unwrap(),
            _ => {}
        };
        let state = ClientState::online(name("alice"));
        let client =
            ReconnectingClient::start(logged_in(&target), target, state, on_event).unwrap();
        let next = || bodies_rx.recv_timeout(Duration::from_secs(20)).unwrap();
        let expect = |number: i32, body: &str| assert_eq!(next(), (number, body.to_owned()));
        expect(0, "Set-name alice");
        expect(0, "Recent-messages 1");
        client.send(Command::Help);
        expect(0, "Help");
        client.send(Command::Ping(None));
        lost_rx.recv_timeout(Duration::from_secs(20)).unwrap();
        expect(1, "Set-name alice");
        expect(1, "Recent-messages 2");
        let handles: Vec<_> = handles_rx.try_iter().collect();
        handles[0].send(Command::Quit);
        client.send(Command::Help);
        let mut bodies = vec![next().1];
        // The `Ping` may have been written to the lost connection.
        if bodies == ["Ping"] {
            bodies = vec![next().1];
        }
        assert_eq!(bodies, ["Help"]);
        handles[1].send(Command::Ping(None));
        expect(1, "Ping");
    }

    #[test]
    fn requests_without_access_are_returned_as_unsent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = target_of(&listener);
        thread::spawn(move || {
            let token = "0".repeat(Token::DIGITS);
            for response in [
                &format!("200 OK\r\n{token}\r\nYou are alice\r\n"),
                "401 Unauthorized\r\n\r\nUnknown token\r\n\
                 401 Unauthorized\r\n\r\nThis server needs an access token\r\n",
            ] {
                let (socket, _) = listener.accept().unwrap();
                { &socket }.write_all(response.as_bytes()).unwrap();
                socket.shutdown(std::net::Shutdown::Write).unwrap();
                let _ = io::copy(&mut { &socket }, &mut io::sink());
            }
        });
        let (advice_tx, advice_rx) = unbounded();
        let client = ReconnectingClient::start(
            logged_in(&target),
            target,
            ClientState::online(name("alice")),
            move |event| {
                if let ClientEvent::NeedsAccessToken { advice } = event {
                    advice_tx.send(advice).unwrap();
                }
            },
        );
        let client = client.unwrap();
        let advice = advice_rx.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(advice.contains("--access-file"), "{advice}");
        assert_eq!(client.state().connectivity, Connectivity::NeedsAccessToken);
        // The sender thread tries to send the first, and must still be there for the second.
        client.send(Command::Help);
        let until = Instant::now() + Duration::from_millis(100);
        while Instant::now() < until && !client.sender.is_finished() {
            thread::yield_now();
        }
        client.send(Command::Ping(None));
        let outcome = client.quit(|| {});
        assert_eq!(outcome.unsent, [Command::Help, Command::Ping(None)]);
        assert!(!outcome.all_answered);
    }

    #[test]
    fn leave_reports_unanswered_requests_before_it_returns() {
        for _ in 0..20 {
            let target = server(|mut socket| {
                let mut heard = Vec::new();
                let mut buffer = [0; 1_000];
                while !heard.ends_with(b"Quit\r\n") {
                    let count = socket.read(&mut buffer).unwrap();
                    heard.extend_from_slice(&buffer[..count]);
                }
            });
            let reported = Arc::new(Mutex::new(Vec::new()));
            let unconfirmed_requests = Arc::clone(&reported);
            let client = ReconnectingClient::start(
                logged_in(&target),
                target,
                ClientState::online(name("alice")),
                move |event| {
                    if let ClientEvent::Lost { unconfirmed, .. } = event {
                        unconfirmed_requests.lock().extend(unconfirmed);
                    }
                },
            );
            let client = client.unwrap();
            client.send(Command::Help);
            let outcome = client.quit(|| {});
            assert!(!outcome.all_answered && outcome.unsent.is_empty());
            assert_eq!(*reported.lock(), [Command::Help]);
        }
    }
}
