//! The client at a terminal: conversation, completion, keys, reconnecting.

use crate::proxy::Network;
use crate::pty::{
    COLUMNS, ROWS, Terminal, client, has_terminal_tools, pid_of_client, restart, server_and_alice,
};
use crate::support::{Client, Server, has_tool, has_unread, signal, wait_for};
use rustix::process::Signal;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

#[test]
fn conversation_looks_the_same_to_both_users() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = Terminal::start(server.address, "-n bob", |_| {});
    bob.shows("hh:mm * 2 online: alice, bob", "bob> ");
    alice.types("hello, everyone 🙂\r");
    alice.shows("hh:mm alice: hello, everyone 🙂", "alice> ");
    bob.shows("hh:mm alice: hello, everyone 🙂", "bob> ");
    bob.types("/msg alice только тебе\r");
    bob.shows("hh:mm bob (to alice): только тебе", "bob> ");
    alice.shows("hh:mm bob (to you): только тебе", "alice> ");
    alice.types("/reply thanks\r");
    alice.shows("hh:mm alice (to bob): thanks", "alice> ");
    bob.shows("hh:mm alice (to you): thanks", "bob> ");
    alice.types("//etc\r");
    bob.shows("hh:mm alice: /etc", "bob> ");
    alice.types("/names b\r");
    alice.shows("hh:mm * 1 online with prefix b: bob", "alice> ");
    alice.types("/name Alicia\r");
    alice.shows("hh:mm * You are Alicia", "Alicia> ");
    alice.types("it is me\r");
    alice.shows("hh:mm Alicia: it is me", "Alicia> ");
    bob.shows("hh:mm Alicia: it is me", "bob> ");
    alice.types("/quit\r");
    let (code, rows) = alice.ends();
    assert_eq!(code, Some(0), "{rows:#?}");
    bob.types("still there?\r");
    bob.shows(
        "hh:mm * Not delivered: no other user is online, or every queue is full",
        "bob> ",
    );
}

#[test]
fn input_errors_are_shown_and_not_sent() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    alice.types("/etc\r");
    alice.shows(
        "hh:mm ! /etc is not a command. /help lists the commands, // sends a slash",
        "alice> ",
    );
    alice.types("/reply hi\r");
    alice.shows(
        "hh:mm ! No user has sent you a private message yet",
        "alice> ",
    );
    alice.types("/msg carol psst\r");
    alice.shows(
        "hh:mm ! No one is named carol. Not sent to carol: psst",
        "alice> ",
    );
    alice.types("/name bob\r");
    alice.shows("hh:mm ! bob is taken", "alice> ");
    alice.types("/msg bob\r");
    alice.shows("hh:mm ! Usage: /msg NAME TEXT", "alice> ");
    // Ctrl-V inserts the next key literally.
    alice.types("a\x16\x07b\r");
    alice.shows("hh:mm ! Forbidden character U+0007", "alice> ");
    alice.types("fine\r");
    bob.expect_delivery("broadcast", "alice", "fine");
    alice.types("/help\r");
    alice.shows("  /msg NAME TEXT   sends TEXT to one user", "alice> ");
}

#[test]
fn deliveries_appear_above_the_input_line() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    alice.types("half of ");
    alice.shows("", "alice> half of ");
    for number in 1..=20 {
        bob.send(&format!("Broadcast-message interrupting {number}"));
        alice.types("x");
    }
    let typed = format!("half of {}", "x".repeat(20));
    alice.shows("hh:mm bob: interrupting 20", &format!("alice> {typed}"));
    // The same holds for an input line of several rows.
    let long = " a word".repeat(20) + " the last";
    alice.types(&long);
    bob.send("Broadcast-message and again");
    alice.shows("hh:mm bob: and again", " the last");
    alice.types("\r");
    alice.shows("", "alice> ");
    for _ in 1..=21 {
        assert_eq!(bob.next().data, "Delivered to 1");
    }
    bob.expect_delivery("broadcast", "alice", &format!("{typed}{long}"));
    let rows = alice.rows();
    for number in 1..=20 {
        let row = format!("hh:mm bob: interrupting {number}");
        assert!(rows.contains(&row), "{row:?} in {rows:#?}");
    }
    // The rows of the sent message end between words.
    let first = format!(
        "hh:mm alice: {typed}{}",
        &long[..(" a word".repeat(5) + " a").len()]
    );
    assert!(rows.contains(&first), "{first:?} in {rows:#?}");
}

#[test]
fn tab_completes_commands_and_names() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("Bobby");
    let _others = [server.log_in("carol"), server.log_in("carola")];
    alice.shows("hh:mm * carola joined", "alice> ");
    alice.types("/ms\t");
    alice.shows("", "alice> /msg ");
    alice.types("bo\t");
    alice.shows("", "alice> /msg Bobby ");
    alice.types("hi\r");
    bob.expect_delivery("private", "alice", "hi");
    alice.types("/na\t");
    alice.shows("", "alice> /name");
    alice.types("s ca\t");
    alice.shows("carol   carola", "alice> /names carol");
    // Messages are shown while the list is.
    bob.send("Private-message alice seen?");
    alice.shows("hh:mm Bobby (to you): seen?", "alice> /names carol");
    bob.expect("200 OK", "Delivered to alice");
    alice.types("a\t\r");
    alice.shows("hh:mm * 1 online with prefix carola: carola", "alice> ");
    alice.types("a word and zz\t!\r");
    bob.expect_delivery("broadcast", "alice", "a word and zz!");
}

#[test]
fn tab_does_not_list_too_many_names() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut alice = Terminal::alice_without_presence(server.address);
    let name = |number| format!("Member{number}");
    let _crowd: Vec<Client> = (10..=31).map(|n| server.log_in(&name(n))).collect();
    alice.types("/names m\t");
    alice.shows("", "alice> /names Member");
    alice.types("3\t");
    alice.shows("Member30  Member31", "alice> /names Member3");
    let listed = alice.rows();
    assert!(
        !listed.iter().any(|row| row.contains(&name(10))),
        "{listed:#?}"
    );
}

#[test]
fn long_typed_message_is_replaced_by_wrapped_rows() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    let text = "word ".repeat(20) + "end";
    bob.ask("Private-message alice psst", "200 OK", "Delivered to alice");
    alice.shows("hh:mm bob (to you): psst", "alice> ");
    // The empty line before the command is not sent.
    alice.types(&format!("\r/reply {text}\r"));
    alice.waits_for("the message instead of what was typed", |alice| {
        let rows = alice.rows();
        let begins = |start: &str| rows.iter().any(|row| row.starts_with(start));
        begins("hh:mm alice (to bob): word") && begins("      word") && !begins("      alice> /")
    });
    bob.expect_delivery("private", "alice", &text);
    bob.barrier();
}

#[test]
fn line_of_3000_characters_is_sent_as_two_messages() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    let line = "слово ".repeat(500);
    alice.types(&line);
    alice.types("\r");
    let cut = line.char_indices().nth(2_045).expect("long enough").0;
    assert_eq!(&line[cut..=cut], " ");
    bob.expect_delivery("broadcast", "alice", &line[..cut]);
    bob.expect_delivery("broadcast", "alice", &line[cut + 1..]);
}

#[test]
fn pasted_block_arrives_line_by_line_despite_the_rate() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start_with(&["--rate", "100", "--burst", "20"], |_| {});
    let mut alice = Terminal::alice(server.address);
    let mut bob = server.log_in("bob");
    let block: Vec<String> = (1..=60).map(|n| format!("line {n} of a block")).collect();
    // The first half is pasted with bracketed paste, the second half without.
    alice.types(&format!("\x1B[200~{}\x1B[201~\r", block[..30].join("\n")));
    alice.types(&format!("{}\r", block[30..].join("\r")));
    for line in &block {
        bob.expect_delivery("broadcast", "alice", line);
    }
    alice.shows("hh:mm alice: line 60 of a block", "alice> ");
    let rows = alice.rows();
    for line in &block[31..] {
        let row = format!("hh:mm alice: {line}");
        assert!(rows.contains(&row), "{row:?} in {rows:#?}");
    }
    alice.types("\x04");
    assert_eq!(alice.ends().0, Some(0));
}

#[test]
fn ctrl_c_clears_the_line_and_quits_when_pressed_twice() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    alice.types("regretted");
    alice.shows("", "alice> regretted");
    alice.types("\x03");
    alice.shows("      alice> regretted", "alice> ");
    alice.types("\x03");
    alice.shows("hh:mm * Press Ctrl-C again to quit", "alice> ");
    alice.types("better\r");
    bob.expect_delivery("broadcast", "alice", "better");
    alice.shows("hh:mm alice: better", "alice> ");
    alice.types("\x03");
    alice.waits_for("the second hint", |alice| {
        let is_hint = |row: &&String| *row == "hh:mm * Press Ctrl-C again to quit";
        alice.rows().iter().filter(is_hint).count() == 2
    });
    alice.types("\x03");
    assert_eq!(alice.ends().0, Some(0));
    bob.ask("List-names", "200 OK", "1 online: bob");
}

#[test]
fn ctrl_d_quits_after_everything_is_sent() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start_with(&["--rate", "20", "--burst", "1"], |_| {});
    let mut alice = Terminal::alice(server.address);
    let mut bob = server.log_in("bob");
    let lines: Vec<String> = (1..=30).map(|n| format!("line {n}\r")).collect();
    alice.types(&lines.concat());
    alice.types("\x04");
    let (code, rows) = alice.ends();
    assert_eq!(code, Some(0), "{rows:#?}");
    for number in 1..=30 {
        bob.expect_delivery("broadcast", "alice", &format!("line {number}"));
    }
    bob.ask("List-names", "200 OK", "1 online: bob");
}

#[test]
fn lines_typed_during_an_outage_are_sent_afterwards() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let address = server.address;
    // The stopped server never answers this message.
    server.stop();
    alice.types("into the void\r");
    wait_for("unread bytes at the server", || has_unread(address.port()));
    drop(server);
    alice.shows("hh:mm ! Perhaps not sent: into the void", "alice> ");
    alice.types("meanwhile\rand more\r/reply absent\r/names\r");
    alice.shows("--:-- alice: and more", "alice> ");
    alice.shows("hh:mm ! There is no connection now", "alice> ");
    alice.types("/name alix\r/name Alice\r");
    alice.shows(
        "hh:mm * Your name will be Alice after the reconnect",
        "alice> ",
    );
    let server = restart(address);
    let mut bob = server.log_in("bob");
    alice.shows("hh:mm Alice: meanwhile", "alice> ");
    alice.shows("hh:mm Alice: and more", "alice> ");
    bob.expect_delivery("broadcast", "Alice", "meanwhile");
    bob.expect_delivery("broadcast", "Alice", "and more");
    alice.types("and on\r");
    bob.expect_delivery("broadcast", "Alice", "and on");
    bob.barrier();
    let back = "hh:mm * Reconnected as Alice with a new session. Messages may be missing";
    alice.shows(back, "Alice> ");
    let rows = alice.rows();
    let and_on = rows.iter().filter(|row| row.ends_with("alice: and on"));
    assert!(and_on.count() <= 1, "{rows:#?}");
}

#[test]
fn outage_keeps_known_names_and_reports_private_messages() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bobby");
    bob.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bobby: hi", "alice> ");
    server.stop();
    alice.types("/msg bobby into the void\r");
    wait_for("unread bytes at the server", || {
        has_unread(server.address.port())
    });
    drop(server);
    alice.shows(
        "hh:mm ! Perhaps not sent to bobby: into the void",
        "alice> ",
    );
    alice.shows(
        "hh:mm ! Reconnect failed: Connection refused. Retrying, /quit quits",
        "alice> ",
    );
    alice.types("/msg bo\t");
    alice.shows("", "alice> /msg bobby ");
}

#[test]
fn session_is_resumed_after_a_reset() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let network = Network::to(server.address);
    let mut alice = Terminal::alice(network.address);
    let mut bob = server.log_in("bob");
    alice.types("before\r");
    bob.expect_delivery("broadcast", "alice", "before");
    // This delivery follows the response to alice's message. Without the response, the client
    // could not know that the message was sent.
    bob.ask(
        "Private-message alice heard",
        "200 OK",
        "Delivered to alice",
    );
    alice.shows("hh:mm bob (to you): heard", "alice> ");
    network.reset();
    server.expect_log_of("lost alice (", "session lingers");
    bob.ask(
        "Private-message alice and now?",
        "200 OK",
        "Delivered to alice",
    );
    alice.types("meanwhile\r");
    alice.shows("hh:mm bob (to you): and now?", "alice> ");
    alice.shows("hh:mm alice: meanwhile", "alice> ");
    bob.expect_delivery("broadcast", "alice", "meanwhile");
    let rows = alice.rows().join("\n");
    assert!(
        rows.contains("hh:mm * Reconnected as alice. Messages that arrived meanwhile follow"),
        "{rows}"
    );
    assert!(!rows.contains("Perhaps not sent"), "{rows}");
}

#[test]
fn client_does_not_retake_session_resumed_elsewhere() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let network = Network::to(server.address);
    let mut alice = Terminal::alice(network.address);
    let mut other = server.connect();
    let token = network.token();
    other.send_as(&token, "Set-name alice");
    other.expect_with(&token, "304 Not Modified", "You are already alice");
    alice.shows(
        "hh:mm ! This session was resumed from another connection",
        "alice> ",
    );
    alice.shows(
        "hh:mm ! /name NEW starts a new session here, /quit quits",
        "alice> ",
    );
    alice.types("/name alice\r");
    alice.shows(
        "hh:mm ! alice is taken. /name NEW sets another name",
        "alice> ",
    );
    alice.types("kept\r");
    alice.types("/name alice2\r");
    alice.shows("hh:mm alice2: kept", "alice2> ");
    other.token = token;
    // The session watches presence.
    other.expect_with(
        &other.token.clone(),
        "200 OK",
        "Incoming-presence joined alice2",
    );
    other.expect_delivery("broadcast", "alice2", "kept");
}

#[test]
fn quitting_without_a_connection_lists_unsent_messages() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    drop(server);
    alice.shows(
        "hh:mm ! Connection lost: the server closed the connection",
        "alice> ",
    );
    alice.types("too late\r/quit\r");
    let (code, rows) = alice.ends();
    assert!(
        rows.contains(&"hh:mm ! Not sent: too late".to_owned()),
        "{rows:#?}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn client_exits_at_once_if_the_server_is_missing() {
    if !has_terminal_tools() {
        return;
    }
    let unused = "127.0.0.1:1".parse().expect("an address");
    let (code, rows) = Terminal::start(unused, "-n alice", |_| {}).ends();
    assert_eq!(code, Some(1));
    let problem = "chat-client: cannot talk to 127.0.0.1:1: Connection refused";
    assert!(rows.contains(&problem.to_owned()), "{rows:#?}");
}

#[test]
fn invalid_or_taken_name_is_asked_for_again() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let _bob = server.log_in("bob");
    let mut terminal = Terminal::start(server.address, "-n 'bob smith'", |_| {});
    terminal.shows(
        "A name is 2 to 63 of A-Z a-z 0-9 _ -",
        "Your name (Ctrl-D quits): ",
    );
    terminal.types("bob\r");
    terminal.shows(
        "bob is taken. After a lost connection, a name stays taken for a while",
        "Your name (Enter waits for bob, Ctrl-D quits): ",
    );
    terminal.types("alice\r");
    terminal.shows("hh:mm * 2 online: alice, bob", "alice> ");
    let mut user = Terminal::start(server.address, "", |_| {});
    user.shows("hh:mm * 3 online: alice, bob, tester", "tester> ");
    let mut other = Terminal::start(server.address, "-n bob", |_| {});
    other.shows(
        "bob is taken. After a lost connection, a name stays taken for a while",
        "Your name (Enter waits for bob, Ctrl-D quits): ",
    );
    other.types("\x04");
    assert_eq!(other.ends().0, Some(1));
}

#[test]
fn block_after_a_command_goes_to_its_recipient() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let (mut bob, mut carol) = (server.log_in("bob"), server.log_in("carol"));
    alice.types("/msg bob ");
    alice.shows("", "/msg bob ");
    alice.types("\x1B[200~secret one\n/quit\n\n  secret two\n\x1B[201~\r");
    alice.shows("hh:mm alice (to bob): secret one", "alice> ");
    for line in ["secret one", "/quit", "  secret two"] {
        bob.expect_delivery("private", "alice", line);
    }
    alice.types("\x1B[200~/names\nhi\n\x1B[201~\r");
    alice.shows("hh:mm ! This command takes no further lines", "alice> ");
    alice.types("still here\r");
    carol.expect_delivery("broadcast", "alice", "still here");
}

#[test]
fn reply_goes_to_the_last_private_sender() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let (mut bob, mut carol) = (server.log_in("bob"), server.log_in("carol"));
    bob.ask("Private-message alice psst", "200 OK", "Delivered to alice");
    alice.shows("hh:mm bob (to you): psst", "alice> ");
    carol.ask("Broadcast-message all", "200 OK", "Delivered to 2");
    bob.expect_delivery("broadcast", "carol", "all");
    alice.shows("hh:mm carol: all", "alice> ");
    alice.types("/reply what?\r");
    bob.expect_delivery("private", "alice", "what?");
    alice.shows("hh:mm alice (to bob): what?", "alice> ");
    // The line in the history has its recipient, too.
    alice.types("\x1B[A");
    alice.shows("", "alice> /msg bob what?");
    alice.types("\x7F!\r");
    bob.expect_delivery("private", "alice", "what!");
    carol.barrier();
}

#[test]
fn invalid_utf_8_drops_only_the_current_line() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    alice.types("hello ");
    alice.shows("", "alice> hello ");
    alice.program.types(b"\xFF");
    alice.shows("hh:mm ! Line dropped: it is not UTF-8", "alice> ");
    alice.types("again\r");
    bob.expect_delivery("broadcast", "alice", "again");
}

#[test]
fn sigterm_restores_echo_and_line_mode() {
    if !has_terminal_tools() || !has_tool("sh") {
        return;
    }
    let server = Server::start(&[]);
    let client = client();
    let shell = format!(
        "stty rows {ROWS} cols {COLUMNS}; {client} -n alice {} & wait; \
         {client} -n alice {}; stty -a | grep -o '[-]*echo '; stty -a | grep -o '[-]*icanon '",
        "127.0.0.1:1", server.address
    );
    let mut alice = Terminal::run(&shell, |_| {});
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    signal(pid_of_client(&server), Signal::TERM);
    alice.shows("echo", "");
    alice.shows("icanon", "");
}

#[test]
fn colours_and_bell_follow_options_and_environment() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let say = |bob: &mut Client, request: &str| {
        bob.send(request);
        bob.next();
    };
    let talk = |bob: &mut Client, terminal: &mut Terminal| {
        say(bob, "Broadcast-message for all");
        say(bob, "Broadcast-message ALICE, look");
        say(bob, "Private-message alice psst");
        terminal.shows("hh:mm bob (to you): psst", "alice> ");
        let bells = terminal.raw.iter().filter(|byte| **byte == 7).count();
        let coloured = |row: &[u8]| terminal.raw.windows(row.len()).any(|part| part == row);
        (
            bells,
            coloured(b"bob\x1B[0m: for all"),
            coloured(b" bob: for all"),
        )
    };
    let online = "hh:mm * 2 online: alice, bob";
    let mut alice = Terminal::start(server.address, "-n alice --bell", |_| {});
    alice.shows(online, "alice> ");
    assert_eq!(talk(&mut bob, &mut alice), (2, true, false));
    alice.types("/quit\r");
    alice.ends();
    let mut alice = Terminal::start(server.address, "-n alice", |command| {
        command.env("NO_COLOR", "1");
    });
    alice.shows(online, "alice> ");
    assert_eq!(talk(&mut bob, &mut alice), (0, false, true));
}

#[test]
fn server_text_cannot_control_the_terminal() {
    if !has_terminal_tools() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let requests = BufReader::new(socket.try_clone().expect("a socket"));
        let token = "0".repeat(32);
        let mut say = |said: &str| socket.write_all(said.as_bytes()).expect("a client");
        say(&format!("200 OK\r\n{token}\r\nYou are alice\r\n"));
        // The only automatic request. Before it, the text that is not asked for would answer it.
        let mut lines = requests.lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "List-names"));
        let said = [
            format!("200 OK\r\n{token}\r\n1 online: alice\x1B[2J\r\n"),
            format!(
                "200 OK\r\n{token}\r\nIncoming-message broadcast bob \x1B[2J\x07\u{9B}2J\u{202E}hi\r\n"
            ),
            format!("403 Forbidden\r\n{token}\r\nunasked \x1B]0;title\x07\r\n"),
        ];
        say(&said.concat());
        let _ = io::copy(&mut socket, &mut io::sink());
    });
    let mut alice = Terminal::start(address, "-n alice --no-presence --recent 0", |_| {});
    // The emulator does not show U+FFFD, which replaces the control characters.
    alice.shows("hh:mm bob: [2J2Jhi", "alice> ");
    alice.shows("hh:mm ! unasked ]0;title", "alice> ");
    let raw = String::from_utf8(alice.raw.clone()).expect("UTF-8");
    assert!(
        raw.contains("\u{FFFD}[2J\u{FFFD}\u{FFFD}2J\u{FFFD}hi"),
        "{raw:?}"
    );
    assert!(
        !raw.contains('\u{7}') && !raw.contains('\u{202E}'),
        "{raw:?}"
    );
    drop(alice);
    server.join().expect("no panic");
}

#[test]
fn dumb_terminal_can_hold_a_conversation() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let mut alice = Terminal::start(server.address, "-n alice", |command| {
        command.env("TERM", "dumb");
    });
    alice.waits_for("the list of names", |alice| {
        let contents = alice.screen.screen().contents();
        contents.trim_end().ends_with(" * 2 online: alice, bob")
    });
    alice.types("hello\n");
    alice.shows("hello", "");
    bob.expect_delivery("broadcast", "alice", "hello");
    bob.send("Broadcast-message hi");
    alice.waits_for("the message", |alice| {
        let contents = alice.screen.screen().contents();
        contents.trim_end().ends_with(" bob: hi")
    });
    alice.types("/quit\n");
    assert_eq!(alice.ends().0, Some(0));
}
