//! The client with several addresses: which server it uses, at the start and after a loss.
//!
//! The test plays each server by hand, on a real socket. So it decides what a server knows of the
//! session.

use crate::pty::{Terminal, has_terminal_tools};
use crate::script::Script;
use crate::support::{DEADLINE, wait_for};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// No process listens on this address.
const DOWN: &str = "127.0.0.1:1";

const FULL: (&str, &str) = ("403 Forbidden", "The server is full");
const SHUTTING_DOWN: (&str, &str) = ("502 Bad Gateway", "The server is shutting down");
const ELSEWHERE: (&str, &str) = ("403 Forbidden", "This session is at another server");
const TAKEN: (&str, &str) = ("403 Forbidden", "alice is taken");
const UNKNOWN: (&str, &str) = ("401 Unauthorized", "Unknown token");
const UNREACHABLE: (&str, &str) = ("502 Bad Gateway", "The other servers cannot be reached now");

const RESUMED: &str = "hh:mm * Reconnected as alice. Messages that arrived meanwhile follow";
const NEW_SESSION: &str =
    "hh:mm * Reconnected as alice with a new session. Messages may be missing";

/// A server that the test plays.
struct FakeServer {
    listener: TcpListener,
    address: SocketAddr,
}

/// A connection of the client, at the side of the server.
struct Peer(BufReader<TcpStream>);

impl FakeServer {
    fn start() -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        FakeServer { listener, address }
    }

    /// Accepts a connection that is there already.
    fn try_accept(&self) -> Option<Peer> {
        match self.listener.accept() {
            Ok((socket, _)) => {
                socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                Some(Peer(BufReader::new(socket)))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            Err(e) => panic!("cannot accept: {e}"),
        }
    }

    /// Waits for the client, which must request this name for the session of this token.
    #[track_caller]
    fn expect_login(&self, token: &str, name: &str) -> Peer {
        let mut peer = None;
        wait_for(&format!("the client at {}", self.address), || {
            peer = self.try_accept();
            peer.is_some()
        });
        let mut peer = peer.expect("a client");
        peer.expect(token, &format!("Set-name {name}"));
        peer
    }

    /// Creates a session with this token for the client, which must bring no token.
    #[track_caller]
    fn log_in(&self, name: &str, token: &str) -> Peer {
        let peer = self.expect_login("", name);
        peer.send("200 OK", token, &format!("You are {name}"));
        peer
    }

    /// Answers this to the client, which must bring this token, and waits until it disconnects.
    #[track_caller]
    fn refuse(&self, token: &str, (status, text): (&str, &str)) {
        let peer = self.expect_login(token, "alice");
        peer.send(status, "", text);
        peer.end();
    }

    /// Resumes the session of alice.
    #[track_caller]
    fn resume(&self, token: &str) -> Peer {
        let peer = self.expect_login(token, "alice");
        peer.send("304 Not Modified", token, "You are already alice");
        peer
    }
}

impl Peer {
    /// Expects a request.
    #[track_caller]
    fn expect(&mut self, token: &str, body: &str) {
        let [status, header, data] = [(); 3].map(|()| {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a request");
            line.trim_end().to_owned()
        });
        assert_eq!((&*status, &*header, &*data), ("", token, body));
    }

    #[track_caller]
    fn send(&self, status: &str, header: &str, text: &str) {
        let message = format!("{status}\r\n{header}\r\n{text}\r\n");
        let mut socket = self.0.get_ref();
        socket.write_all(message.as_bytes()).expect("a client");
    }

    /// Half-closes the connection, and waits until the client closes it.
    #[track_caller]
    fn end(mut self) {
        let socket = self.0.get_ref();
        socket.shutdown(Shutdown::Write).expect("an open socket");
        io::copy(&mut self.0, &mut io::sink()).expect("the end of input");
    }
}

/// Starts a script named bot with these addresses.
#[track_caller]
fn script(options: &[&str], first: &str, last: &FakeServer) -> Script {
    let mut script = Script::start(last.address, &[&["-n", "bot", first], options].concat());
    drop(script.child.stdin.take());
    script
}

/// Starts a client named alice with the addresses of these servers.
///
/// Returns `None` if the tools for a pseudo-terminal are missing.
fn alice(servers: &[FakeServer]) -> Option<Terminal> {
    let (last, others) = servers.split_last().expect("a server");
    let others: Vec<String> = others.iter().map(|it| it.address.to_string()).collect();
    let arguments = format!("-n alice {}", others.join(" "));
    has_terminal_tools().then(|| Terminal::start(last.address, &arguments, |_| {}))
}

/// Returns the row that tells the present server.
fn connected_to(server: &FakeServer) -> String {
    format!("hh:mm * Connected to {}", server.address)
}

/// Waits for a text that may be wrapped.
#[track_caller]
fn shows_wrapped(terminal: &mut Terminal, text: &str) {
    terminal.waits_for(text, |terminal| {
        let rows = terminal.rows().join(" ");
        let words: Vec<&str> = rows.split_whitespace().collect();
        words.join(" ").contains(text)
    });
}

#[test]
fn script_uses_next_address_if_the_first_gives_no_connection() {
    let (first, second) = (FakeServer::start(), FakeServer::start());
    let here = first.address.to_string();
    for problem in [None, Some(FULL), Some(SHUTTING_DOWN), Some(UNREACHABLE)] {
        let address = problem.map_or(DOWN, |_| &here);
        let script = script(&["-m", "hi"], address, &second);
        if let Some((status, text)) = problem {
            let peer = first.expect_login("", "bot");
            peer.send(status, "", text);
            peer.end();
        }
        let mut peer = second.log_in("bot", TOKEN);
        peer.expect("", "Broadcast-message hi");
        peer.send("200 OK", TOKEN, "Delivered to 1");
        peer.expect("", "Quit");
        peer.send("200 OK", TOKEN, "Goodbye");
        peer.end();
        script.ends().expect(0, "");
    }
}

#[test]
fn error_names_each_address_with_its_reason() {
    for options in [&["-m", "hi"][..], &["--listen"]] {
        let full = FakeServer::start();
        let script = script(options, DOWN, &full);
        let peer = full.expect_login("", "bot");
        peer.send(FULL.0, "", FULL.1);
        peer.end();
        script.ends().expect(
            1,
            &format!(
                "chat-client: cannot talk to any server: \
                 {DOWN}: Connection refused, {}: The server is full\n",
                full.address
            ),
        );
    }
}

#[test]
fn taken_name_at_the_first_address_ends_the_script() {
    for options in [&["-m", "hi"][..], &["--listen"]] {
        let (first, second) = (FakeServer::start(), FakeServer::start());
        let script = script(options, &first.address.to_string(), &second);
        let peer = first.expect_login("", "bot");
        peer.send("403 Forbidden", "", "bot is taken");
        peer.end();
        script.ends().expect(3, "chat-client: bot is taken\n");
        assert!(second.try_accept().is_none());
    }
}

#[test]
fn next_address_takes_over_and_is_then_tried_first() {
    let servers = [FakeServer::start(), FakeServer::start()];
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    let peer = servers[0].log_in("alice", TOKEN);
    alice.shows(&connected_to(&servers[0]), "alice> ");
    peer.end();
    servers[0].refuse(TOKEN, SHUTTING_DOWN);
    let mut peer = servers[1].expect_login(TOKEN, "alice");
    // No server has the session, so the client asks no other server.
    peer.send(UNKNOWN.0, "", UNKNOWN.1);
    peer.expect("", "Set-name alice");
    peer.send("200 OK", OTHER, "You are alice");
    alice.shows(NEW_SESSION, "alice> ");
    peer.end();
    let _peer = servers[1].resume(OTHER);
    alice.shows(RESUMED, "alice> ");
    let rows = alice.rows();
    let connected: Vec<_> = rows
        .iter()
        .filter(|row| row.contains("Connected"))
        .collect();
    assert_eq!(
        connected,
        [&connected_to(&servers[0]), &connected_to(&servers[1])]
    );
    assert!(servers[0].try_accept().is_none());
}

#[test]
fn session_at_another_server_is_resumed_there() {
    let servers = [(); 3].map(|()| FakeServer::start());
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    servers[0].log_in("alice", TOKEN).end();
    servers[0].refuse(TOKEN, ELSEWHERE);
    servers[1].refuse(TOKEN, ELSEWHERE);
    let _peer = servers[2].resume(TOKEN);
    alice.shows(&connected_to(&servers[2]), "alice> ");
    alice.shows(RESUMED, "alice> ");
}

#[test]
fn session_that_no_server_has_is_replaced_by_a_new_one() {
    let servers = [(); 3].map(|()| FakeServer::start());
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    servers[0].log_in("alice", TOKEN).end();
    servers[0].refuse(TOKEN, SHUTTING_DOWN);
    servers[1].refuse(TOKEN, ELSEWHERE);
    servers[2].refuse(TOKEN, ELSEWHERE);
    // A new session, at a server that could be reached.
    let _peer = servers[1].log_in("alice", OTHER);
    alice.shows(&connected_to(&servers[1]), "alice> ");
    alice.shows(NEW_SESSION, "alice> ");
}

#[test]
fn session_is_resumed_although_its_name_was_refused_elsewhere() {
    let servers = [FakeServer::start(), FakeServer::start()];
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    servers[0].log_in("alice", TOKEN).end();
    // The session is still at the first server, which is full for a moment.
    servers[0].refuse(TOKEN, FULL);
    servers[1].refuse(TOKEN, ELSEWHERE);
    servers[1].refuse("", TAKEN);
    let taken = "hh:mm ! alice is taken. Retrying, /name NEW sets another name";
    alice.shows(taken, "alice> ");
    let _peer = servers[0].resume(TOKEN);
    alice.shows(RESUMED, "alice> ");
}

#[test]
fn name_of_a_killed_server_is_requested_until_it_is_free() {
    let servers = [FakeServer::start(), FakeServer::start()];
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    servers[0].log_in("alice", TOKEN).end();
    servers[0].refuse(TOKEN, SHUTTING_DOWN);
    servers[1].refuse(TOKEN, ELSEWHERE);
    servers[1].refuse("", TAKEN);
    servers[0].refuse(TOKEN, SHUTTING_DOWN);
    let mut peer = servers[1].expect_login(TOKEN, "alice");
    peer.send(UNKNOWN.0, "", UNKNOWN.1);
    peer.expect("", "Set-name alice");
    peer.send(TAKEN.0, "", TAKEN.1);
    peer.end();
    // The session has ended. So the server that answers is asked first.
    let _peer = servers[1].log_in("alice", OTHER);
    alice.shows(&connected_to(&servers[1]), "alice> ");
    alice.shows(NEW_SESSION, "alice> ");
    let rows = alice.rows();
    let reports = rows.iter().filter(|row| row.contains("is taken")).count();
    assert_eq!(reports, 1, "{rows:#?}");
}

#[test]
fn server_that_cannot_ask_the_others_decides_nothing() {
    let servers = [FakeServer::start(), FakeServer::start()];
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    servers[0].log_in("alice", TOKEN).end();
    servers[0].refuse(TOKEN, FULL);
    servers[1].refuse(TOKEN, UNREACHABLE);
    let [first, second] = [&servers[0], &servers[1]].map(|it| it.address);
    let failed = format!(
        "! Reconnect failed: {first}: {}, {second}: {}. Retrying, /quit quits",
        FULL.1, UNREACHABLE.1
    );
    shows_wrapped(&mut alice, &failed);
    let _peer = servers[0].resume(TOKEN);
    alice.shows(RESUMED, "alice> ");
}

#[test]
fn session_whose_name_was_taken_meanwhile_is_not_resumed() {
    let servers = [FakeServer::start(), FakeServer::start()];
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    let peer = servers[0].log_in("alice", TOKEN);
    let notice = "alice was taken while the servers could not reach each other";
    peer.send("403 Forbidden", TOKEN, notice);
    peer.end();
    alice.shows(&format!("hh:mm ! {notice}"), "alice> ");
    let advice = "hh:mm ! /name NEW starts a new session here, /quit quits";
    alice.shows(advice, "alice> ");
    alice.types("/name bob\r");
    // The first connection after the loss is for the new name, and without a token.
    let _peer = servers[0].log_in("bob", OTHER);
    alice.shows("", "bob> ");
    assert!(servers[1].try_accept().is_none());
}

#[test]
fn listener_whose_name_was_taken_meanwhile_ends_with_1() {
    let server = FakeServer::start();
    let script = script(&["--listen"], DOWN, &server);
    let peer = server.log_in("bot", TOKEN);
    let notice = "bot was taken while the servers could not reach each other";
    peer.send("403 Forbidden", TOKEN, notice);
    peer.end();
    script.ends().expect(
        1,
        &format!("chat-client: {notice}\nchat-client: the server closed the connection\n"),
    );
}

#[test]
fn client_with_one_address_does_not_show_it() {
    let servers = [FakeServer::start()];
    let Some(mut alice) = alice(&servers) else {
        return;
    };
    servers[0].log_in("alice", TOKEN).end();
    // A single address may lead to several servers, too.
    servers[0].refuse(TOKEN, ELSEWHERE);
    let _peer = servers[0].log_in("alice", OTHER);
    alice.shows(NEW_SESSION, "alice> ");
    let rows = alice.rows();
    assert!(!rows.concat().contains("Connected"), "{rows:#?}");
}
