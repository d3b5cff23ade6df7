//! The client at a terminal: presence, the last messages, and servers without either.

use crate::proxy::Network;
use crate::pty::{Terminal, has_terminal_tools, restart, server_and_alice};
use crate::support::{DEADLINE, Server};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A server that answers as a test says, and reports each request.
struct ScriptedServer {
    address: SocketAddr,
    requests: Receiver<String>,
}

/// The messages that answer a request: status and data. `None` closes the connection.
type Answers = Option<Vec<(&'static str, String)>>;

impl ScriptedServer {
    /// Starts a server for any number of connections, one at a time. The function gets the
    /// number of the connection and the body of each request.
    fn start(answer: impl FnMut(usize, &str) -> Answers + Send + 'static) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (requests_tx, requests) = channel();
        thread::spawn(move || {
            let mut answer = answer;
            for (number, socket) in listener.incoming().enumerate() {
                let socket = socket.expect("a client");
                converse(&socket, &requests_tx, |body| answer(number, body));
            }
        });
        ScriptedServer { address, requests }
    }

    /// Expects exactly these requests next.
    #[track_caller]
    fn expects(&self, bodies: &[&str]) {
        for expected in bodies {
            let body = self.requests.recv_timeout(DEADLINE).expect(expected);
            assert_eq!(body, *expected);
        }
    }

    /// Expects that no other request has come. The client has sent one after it.
    #[track_caller]
    fn expects_only(&self, body: &str) {
        self.expects(&[body]);
        let more: Vec<String> = self.requests.try_iter().collect();
        assert!(more.is_empty(), "{more:?}");
    }
}

/// Answers the requests of a connection until it ends.
fn converse(
    socket: &TcpStream,
    requests_tx: &Sender<String>,
    mut answer: impl FnMut(&str) -> Answers,
) {
    let token = "0".repeat(32);
    let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
    while let (Some(_), Some(_), Some(body)) = (lines.next(), lines.next(), lines.next()) {
        // Fails only after the test has ended.
        let _ = requests_tx.send(body.clone());
        let Some(messages) = answer(&body) else {
            return;
        };
        for (status, data) in messages {
            let message = format!("{status}\r\n{token}\r\n{data}\r\n");
            if { socket }.write_all(message.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn ok(data: &str) -> (&'static str, String) {
    ("200 OK", data.to_owned())
}

/// Answers as the first version of the server did: without presence and without history.
fn answer_of_an_older_server(body: &str) -> Answers {
    let (word, argument) = body.split_once(' ').unwrap_or((body, ""));
    Some(vec![match word {
        "Set-name" => ok(&format!("You are {argument}")),
        "List-names" if argument == "bo" => ok("1 online: bobby"),
        "List-names" => ok("2 online: alice bobby"),
        "Broadcast-message" => ok("Delivered to 1"),
        "Quit" => ok("Goodbye"),
        _ => ("501 Not Implemented", format!("{word} is not a command")),
    }])
}

/// Answers as a server with presence and history on which alice is alone.
fn answer_alone(body: &str) -> Answers {
    let word = body.split(' ').next();
    Some(vec![match word {
        Some("Set-name") => ok("You are alice"),
        Some("List-names") => ok("1 online: alice"),
        Some("Watch-presence") => ok("Watching presence"),
        Some("Recent-messages") => ok("0 recent"),
        Some("Quit") => ok("Goodbye"),
        _ => ok("Delivered to 0"),
    }])
}

#[test]
fn older_server_is_used_without_presence_and_history() {
    if !has_terminal_tools() {
        return;
    }
    let server = ScriptedServer::start(|_, body| answer_of_an_older_server(body));
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("hh:mm * 2 online: alice, bobby", "alice> ");
    server.expects(&[
        "Set-name alice",
        "Recent-messages 10",
        "List-names",
        "Watch-presence on",
        "List-names",
    ]);
    alice.types("/msg bo\t");
    alice.shows("", "alice> /msg bobby ");
    server.expects(&["List-names bo"]);
    alice.types("\x03hello\r");
    alice.shows("hh:mm alice: hello", "alice> ");
    let rows = alice.rows();
    assert!(!rows.iter().any(|row| row.contains('!')), "{rows:#?}");
    // Only a typed command gets an error.
    alice.types("/recent\r/presence on\r");
    alice.shows("hh:mm ! The server does not support /recent", "alice> ");
    alice.shows("hh:mm ! The server does not support /presence", "alice> ");
    server.expects(&["Broadcast-message hello", "Recent-messages 20"]);
    server.expects(&["Watch-presence on"]);
    alice.types("/quit\r");
    assert_eq!(alice.ends().0, Some(0));
    server.expects_only("Quit");
}

#[test]
fn presence_lines_follow_the_users_online() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut carol = server.log_in("carol");
    alice.shows("hh:mm * carol joined", "alice> ");
    carol.ask("Set-name caroline", "200 OK", "You are caroline");
    alice.shows("hh:mm * carol is now caroline", "alice> ");
    carol.ask("Quit", "200 OK", "Goodbye");
    alice.shows("hh:mm * caroline left", "alice> ");
    let raw = String::from_utf8(alice.raw.clone()).expect("UTF-8");
    let (before, after) = raw.split_once(" * carol joined").expect("the line");
    let time = before.len() - "hh:mm".len();
    assert!(before[..time].ends_with("\x1B[2m"), "{before:?}");
    assert!(after.starts_with("\x1B[0m"), "{after:?}");
}

#[test]
fn presence_can_be_turned_off_and_on() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    alice.types("/presence off\r");
    alice.shows("hh:mm * Not watching presence", "alice> ");
    let mut bob = server.log_in("bob");
    bob.ask("Broadcast-message one", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: one", "alice> ");
    alice.types("/presence on\r");
    alice.shows("hh:mm * Watching presence", "alice> ");
    bob.ask("Quit", "200 OK", "Goodbye");
    alice.shows("hh:mm * bob left", "alice> ");
    let rows = alice.rows();
    assert!(
        !rows.iter().any(|row| row.ends_with("bob joined")),
        "{rows:#?}"
    );
}

#[test]
fn options_turn_presence_and_history_off() {
    if !has_terminal_tools() {
        return;
    }
    let server = ScriptedServer::start(|_, body| answer_alone(body));
    let mut alice = Terminal::start(server.address, "-n alice --no-presence --recent 0", |_| {});
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    alice.types("/quit\r");
    alice.ends();
    server.expects(&["Set-name alice", "List-names"]);
    server.expects_only("Quit");
    let mut alice = Terminal::start(server.address, "-n alice --recent 7", |_| {});
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    server.expects(&["Set-name alice", "Recent-messages 7"]);
}

#[test]
fn client_watches_a_crowd_only_if_told() {
    if !has_terminal_tools() {
        return;
    }
    let server = ScriptedServer::start(|_, body| match body {
        "List-names" => Some(vec![ok("501 online: alice and 500 more")]),
        body => answer_alone(body),
    });
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("hh:mm * 501 online: alice and 500 more", "alice> ");
    alice.types("/presence on\r");
    alice.shows("hh:mm * Watching presence", "alice> ");
    server.expects(&["Set-name alice", "Recent-messages 10", "List-names"]);
    server.expects(&["Watch-presence on", "List-names"]);
}

#[test]
fn change_that_the_shown_list_has_is_not_shown_again() {
    if !has_terminal_tools() {
        return;
    }
    let mut lists = 0;
    let server = ScriptedServer::start(move |_, body| match body {
        "List-names" => {
            lists += 1;
            Some(match lists {
                1 => vec![ok("2 online: alice bob")],
                // carol is in the list too, and dave has come after it was made.
                _ => vec![
                    ok("Incoming-presence joined carol"),
                    ok("Incoming-presence joined dave"),
                    ok("Incoming-presence left bob"),
                    ok("3 online: alice bob carol"),
                    ok("Incoming-presence joined erin"),
                ],
            })
        }
        body => answer_alone(body),
    });
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("hh:mm * 3 online: alice, carol, dave", "alice> ");
    alice.shows("hh:mm * erin joined", "alice> ");
    let rows = alice.rows();
    let changes = rows
        .iter()
        .filter(|row| row.contains("joined") || row.contains("left"));
    assert_eq!(changes.count(), 1, "{rows:#?}");
}

#[test]
fn many_changes_in_a_second_share_a_line() {
    if !has_terminal_tools() {
        return;
    }
    let server = ScriptedServer::start(|_, body| match body {
        "Broadcast-message now" => {
            let joined = (1..=17).map(|n| ok(&format!("Incoming-presence joined user{n}")));
            let left = (1..=3).map(|n| ok(&format!("Incoming-presence left user{n}")));
            let renamed = (4..=5).map(|n| ok(&format!("Incoming-presence renamed user{n} u{n}")));
            let delivered = [ok("Delivered to 1")];
            Some(joined.chain(left).chain(renamed).chain(delivered).collect())
        }
        body => answer_alone(body),
    });
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    alice.types("now\r");
    alice.shows("hh:mm * 12 more joined, 3 left, 2 changed name", "alice> ");
    let rows = alice.rows();
    let shown: Vec<&str> = rows.iter().map(|row| row.trim()).collect();
    assert!(shown.contains(&"hh:mm * user5 joined"), "{rows:#?}");
    assert!(!shown.contains(&"hh:mm * user6 joined"), "{rows:#?}");
}

#[test]
fn tab_completes_from_presence_without_the_server() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let _carol = server.log_in("carol");
    alice.shows("hh:mm * carol joined", "alice> ");
    server.stop();
    alice.types("/msg ca\t");
    alice.shows("", "alice> /msg carol ");
}

#[test]
fn missed_notice_makes_the_client_ask_for_the_list() {
    if !has_terminal_tools() {
        return;
    }
    let mut lists = 0;
    let server = ScriptedServer::start(move |_, body| match body {
        "List-names" => {
            lists += 1;
            Some(vec![ok(match lists {
                1 | 2 => "2 online: alice bob",
                _ => "2 online: alice carol",
            })])
        }
        "Broadcast-message now" => Some(vec![
            (
                "502 Bad Gateway",
                "Missed 2 messages: you read too slowly".to_owned(),
            ),
            ok("Delivered to 1"),
        ]),
        body => answer_alone(body),
    });
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("hh:mm * 2 online: alice, bob", "alice> ");
    server.expects(&["Set-name alice", "Recent-messages 10", "List-names"]);
    server.expects(&["Watch-presence on", "List-names"]);
    alice.types("now\r");
    alice.shows("hh:mm alice: now", "alice> ");
    server.expects(&["Broadcast-message now", "List-names"]);
    // The response has arrived before that to the user's next request.
    alice.types("/name alice\r");
    alice.shows("hh:mm * You are alice", "alice> ");
    alice.types("/msg ca\t");
    alice.shows("", "alice> /msg carol ");
    server.expects_only("Set-name alice");
}

#[test]
fn last_messages_are_shown_after_login() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let rows = alice.rows();
    assert!(!rows.iter().any(|row| row.contains("last")), "{rows:#?}");
    alice.types("one\r");
    alice.shows(
        "hh:mm * Not delivered: no other user is online, or every queue is full",
        "alice> ",
    );
    let mut bob = Terminal::start(server.address, "-n bob", |_| {});
    bob.shows("hh:mm * the last message:", "bob> ");
    bob.shows("hh:mm * 2 online: alice, bob", "bob> ");
    let rows = bob.rows();
    let at = |row: &str| rows.iter().position(|shown| shown == row).expect(row);
    assert_eq!(at("hh:mm * the last message:") + 1, at("hh:mm alice: one"));
    assert_eq!(
        at("hh:mm alice: one") + 1,
        at("hh:mm * 2 online: alice, bob")
    );
    let dimmed = b"alice: one\x1B[0m";
    assert!(bob.raw.windows(dimmed.len()).any(|part| part == dimmed));
    for number in 2..=12 {
        alice.types(&format!("number {number}\r"));
        bob.shows(&format!("hh:mm alice: number {number}"), "bob> ");
    }
    let mut carol = Terminal::start(server.address, "-n carol", |_| {});
    carol.shows("hh:mm * the last 10 messages:", "carol> ");
    carol.shows("hh:mm * 3 online: alice, bob, carol", "carol> ");
    let rows = carol.rows();
    assert!(
        rows.contains(&"hh:mm alice: number 3".to_owned()),
        "{rows:#?}"
    );
    assert!(
        !rows.contains(&"hh:mm alice: number 2".to_owned()),
        "{rows:#?}"
    );
    // What the user asks for is repeated.
    carol.types("/recent\r");
    carol.shows("hh:mm * the last 12 messages:", "carol> ");
    carol.types("/recent 1\r");
    carol.shows("hh:mm * the last message:", "carol> ");
}

#[test]
fn recent_without_messages_says_so() {
    let Some((_server, mut alice)) = server_and_alice() else {
        return;
    };
    alice.types("/recent 5\r");
    alice.shows("hh:mm * no messages yet", "alice> ");
}

#[test]
fn history_has_dates_and_leaves_out_deliveries() {
    if !has_terminal_tools() {
        return;
    }
    let server = ScriptedServer::start(|_, body| match body {
        "Recent-messages 10" => Some(vec![
            ok("Incoming-message broadcast bob again"),
            ok("Incoming-recent 2001-02-03T04:05:06Z bob again"),
            ok("Incoming-recent 2001-02-03T14:05:06Z carol long ago"),
            ok("Incoming-recent 2001-02-03T14:06:06Z bob again"),
            ok("3 recent"),
        ]),
        body => answer_alone(body),
    });
    let mut alice = Terminal::start(server.address, "-n alice", |command| {
        command.env("TZ", "UTC");
    });
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    let rows = alice.rows();
    let first = rows.iter().position(|row| row == "hh:mm bob: again");
    assert_eq!(
        rows[first.expect("the delivery")..][1..5],
        [
            "hh:mm * the last 2 messages:",
            "2001-02-03 04:05 bob: again",
            "2001-02-03 14:05 carol: long ago",
            "hh:mm * 1 online: alice",
        ]
    );
}

#[test]
fn new_session_shows_what_was_said_in_the_outage() {
    if !has_terminal_tools() {
        return;
    }
    let recent = |text: &str| ok(&format!("Incoming-recent 2001-02-03T04:05:06Z bob {text}"));
    let (mut logins, mut lists) = (0, 0);
    let server = ScriptedServer::start(move |connection, body| match body {
        "Set-name alice" => {
            logins += 1;
            Some(match logins {
                2 => vec![("401 Unauthorized", "Unknown token".to_owned())],
                _ => vec![ok("You are alice")],
            })
        }
        "Recent-messages 10" => Some(vec![recent("one"), ok("1 recent")]),
        "List-names" if connection == 0 => {
            lists += 1;
            let list = ok("1 online: alice");
            Some(match lists {
                1 => vec![list],
                _ => vec![list, ok("Incoming-message broadcast bob two")],
            })
        }
        "Broadcast-message lost" => None,
        "Ping" => Some(vec![ok("Pong")]),
        "Recent-messages 1000" => Some(vec![
            recent("one"),
            recent("two"),
            recent("three"),
            recent("four"),
            ok("4 recent"),
        ]),
        body => answer_alone(body),
    });
    let mut alice = Terminal::start(server.address, "-n alice", |_| {});
    alice.shows("hh:mm bob: two", "alice> ");
    alice.types("lost\r");
    alice.shows_losses(1);
    alice.shows("2001-02-03 04:05 bob: four", "alice> ");
    let rows = alice.rows();
    assert!(
        rows.contains(&"hh:mm * the last 2 messages:".to_owned()),
        "{rows:#?}"
    );
    let of = |text: &str| rows.iter().filter(|row| row.ends_with(text)).count();
    assert_eq!(
        (of("bob: one"), of("bob: two"), of("bob: three")),
        (1, 1, 1),
        "{rows:#?}"
    );
    alice.waits_for("the list of the new session", |alice| {
        let rows = alice.rows();
        rows.iter()
            .filter(|row| row.ends_with(" 1 online: alice"))
            .count()
            == 2
    });
    server.expects(&[
        "Set-name alice",
        "Recent-messages 10",
        "List-names",
        "Watch-presence on",
        "List-names",
        "Broadcast-message lost",
        "Set-name alice",
        "Set-name alice",
        "Ping",
        "Recent-messages 1000",
        "List-names",
        "Watch-presence on",
        "List-names",
    ]);
}

#[test]
fn resumed_session_goes_on_watching() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let network = Network::to(server.address);
    let mut alice = Terminal::alice(network.address);
    network.reset();
    server.expect_log_of("lost alice (", "session lingers");
    let mut bob = server.log_in("bob");
    alice.shows("hh:mm * bob joined", "alice> ");
    bob.ask("Quit", "200 OK", "Goodbye");
    alice.shows("hh:mm * bob left", "alice> ");
    let rows = alice.rows();
    let lists = rows.iter().filter(|row| row.contains(" online: "));
    assert_eq!(lists.count(), 1, "{rows:#?}");
}

#[test]
fn new_session_watches_again() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let address = server.address;
    let _bob = server.log_in("bob");
    alice.shows("hh:mm * bob joined", "alice> ");
    drop(server);
    alice.shows_losses(1);
    let server = restart(address);
    let mut carol = server.log_in("carol");
    // carol is in the list, or has joined after it.
    alice.waits_for("carol", |alice| {
        let has = |row: &str| alice.rows().iter().any(|shown| shown == row);
        has("hh:mm * 2 online: alice, carol") || has("hh:mm * carol joined")
    });
    carol.ask("Set-name caroline", "200 OK", "You are caroline");
    alice.shows("hh:mm * carol is now caroline", "alice> ");
    server.stop();
    alice.types("/msg ca\t");
    alice.shows("", "alice> /msg caroline ");
}
