//! Access tokens in the client (section 4): `--access-file`, `CHAT_ACCESS_TOKEN`, and a server
//! that needs another token.

use crate::access::{ACCESS, AccessFile, NEEDED, OTHER, log_in};
use crate::proxy::Network;
use crate::pty::{COLUMNS, Terminal, client, has_terminal_tools, pid_of_client};
use crate::script::{Ended, Script};
use crate::support::{Server, wait_for};
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

const VARIABLE: &str = "CHAT_ACCESS_TOKEN";

/// Runs a client with this value of the variable until it ends.
#[track_caller]
fn run(address: SocketAddr, arguments: &[&str], variable: Option<&str>) -> Ended {
    let with_variable = |command: &mut Command| {
        command.envs(variable.map(|value| (VARIABLE, value)));
    };
    let mut script = Script::start_with(address, arguments, with_variable);
    drop(script.child.stdin.take());
    script.ends()
}

/// The arguments of a client that sends, and of one that listens.
const FORMS: [&[&str]; 2] = [&["-n", "bot", "-m", "hi"], &["-n", "bot", "--listen"]];

/// A terminal client named alice, with this access token.
#[track_caller]
fn alice_with(address: SocketAddr, token: &str) -> Terminal {
    let mut alice = Terminal::start(address, "-n alice", |command| {
        command.env(VARIABLE, token);
    });
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    alice
}

/// Waits until the client of this server has ended by itself, and returns exit code and rows.
#[track_caller]
fn ends_itself(client: u32, terminal: Terminal) -> (Option<i32>, Vec<String>) {
    wait_for("the end of the client", || {
        // A process that was not waited for yet has an empty command line.
        fs::read(format!("/proc/{client}/cmdline")).map_or(true, |line| line.is_empty())
    });
    terminal.ends()
}

/// Waits until the log has every earlier line. The server must log each line on the wire.
#[track_caller]
fn flush_log(server: &Server) {
    server
        .connect()
        .ask("Ping flushed", "200 OK", "Pong flushed");
    server.expect_log("> Ping flushed");
}

/// Starts a server at the address of an earlier one, with this access file.
#[track_caller]
fn restart(address: SocketAddr, file: &AccessFile) -> Server {
    file.serve(&["-l", &address.to_string()])
}

#[test]
fn client_takes_its_access_token_from_a_file_or_the_variable() {
    let file = AccessFile::new("client-server", ACCESS);
    let server = file.serve(&["-vv"]);
    let mut alice = log_in(&server, ACCESS, "alice");
    // The first token counts, and the rules are those of the server.
    let own = AccessFile::new(
        "client-own",
        &format!("# mine\r\n\n{ACCESS} # the first\n{OTHER}\n"),
    );
    let from_file = ["-n", "bot", "-m", "hi", "--access-file", own.path()];
    for (arguments, variable) in [
        (FORMS[0], Some(ACCESS)),
        (&from_file, None),
        // The file has precedence, also over a variable that is malformed.
        (&from_file, Some(OTHER)),
        (&from_file, Some("nonsense")),
        (&from_file, Some("")),
    ] {
        run(server.address, arguments, variable).expect(0, "");
        alice.expect_delivery("broadcast", "bot", "hi");
    }
    // The variable was not tried.
    flush_log(&server);
    assert_eq!(server.count_log("> Set-name bot"), 5, "{}", server.log());
}

#[test]
fn access_token_is_in_no_argument_of_a_process() {
    let file = AccessFile::new("client-ps", ACCESS);
    let server = file.serve(&[]);
    let script = Script::start_with(server.address, &["-n", "bot", "--listen"], |command| {
        command.env(VARIABLE, ACCESS);
    });
    server.expect_log("logged in as bot");
    for pid in [
        script.child.id(),
        server.pid().as_raw_nonzero().get() as u32,
    ] {
        let line = fs::read(format!("/proc/{pid}/cmdline")).expect("Linux");
        let line = String::from_utf8_lossy(&line);
        assert!(line.contains("chat-") && !line.contains(ACCESS), "{line}");
    }
    drop(server);
    let ended = script.ends();
    ended.expect(1, "chat-client: the server closed the connection\n");
}

#[test]
fn malformed_variable_exits_with_2_and_is_not_shown() {
    let open = Server::start(&[]);
    for value in [&ACCESS[1..], &ACCESS.to_uppercase(), " ", "secret"] {
        for arguments in FORMS {
            run(open.address, arguments, Some(value)).expect(
                2,
                "chat-client: CHAT_ACCESS_TOKEN: expected a token of 32 hex digits (0-9 a-f) \
                 (chat-client --help lists the options)\n",
            );
        }
    }
    assert_eq!(open.count_log("connected"), 0, "{}", open.log());
    if !has_terminal_tools() {
        return;
    }
    let terminal = Terminal::start(open.address, "-n alice", |command| {
        command.env(VARIABLE, "secret");
    });
    let (code, rows) = terminal.ends();
    assert_eq!(code, Some(2), "{rows:#?}");
    let text = rows.concat();
    assert!(
        text.contains("CHAT_ACCESS_TOKEN: expected") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn bad_access_file_of_the_client_exits_with_2() {
    let open = Server::start(&[]);
    let bad = AccessFile::new("client-bad", &format!("{ACCESS}\n{OTHER}x\n"));
    let none = AccessFile::new("client-none", "# none yet\n");
    let expected = |path: &str, problem: &str| format!("chat-client: {path}: {problem}\n");
    let line = "line 2: expected a token of 32 hex digits (0-9 a-f)";
    let missing = "No such file or directory (os error 2)";
    for (path, problem) in [
        (bad.path(), expected(bad.path(), line)),
        // A file without a token cannot do what the user wants.
        (
            none.path(),
            expected(none.path(), "expected at least one access token"),
        ),
        ("/nowhere/access", expected("/nowhere/access", missing)),
        // A token in the place of the file name is not shown.
        (ACCESS, expected("[token]", missing)),
    ] {
        for arguments in FORMS {
            let arguments = [arguments, &["--access-file", path]].concat();
            run(open.address, &arguments, Some(ACCESS)).expect(2, &problem);
        }
        if has_terminal_tools() {
            let arguments = format!("-n alice --access-file {path}");
            let (code, rows) = Terminal::start(open.address, &arguments, |_| {}).ends();
            assert_eq!(code, Some(2), "{rows:#?}");
            let text: String = rows.concat();
            assert!(problem.starts_with(text.trim_end()), "{text} for {problem}");
        }
    }
    assert_eq!(open.count_log("connected"), 0, "{}", open.log());
}

#[test]
fn server_that_needs_an_access_token_ends_the_client_with_3() {
    let file = AccessFile::new("client-needed", OTHER);
    let server = file.serve(&["-vv"]);
    let own = AccessFile::new("client-unknown", ACCESS);
    for arguments in FORMS {
        for none in [None, Some("")] {
            run(server.address, arguments, none).expect(
                3,
                "chat-client: This server needs an access token: \
                 use --access-file FILE, or set CHAT_ACCESS_TOKEN\n",
            );
        }
        run(server.address, arguments, Some(ACCESS)).expect(
            3,
            "chat-client: This server needs an access token, \
             and does not know the one in CHAT_ACCESS_TOKEN\n",
        );
        let arguments = [arguments, &["--access-file", own.path()]].concat();
        let problem = format!(
            "chat-client: {NEEDED}, and does not know the first one in {}\n",
            own.path()
        );
        run(server.address, &arguments, None).expect(3, &problem);
    }
    flush_log(&server);
    // Without a token the client asks once, and after an unknown token once more.
    assert_eq!(server.count_log("> Set-name bot"), 2 * (1 + 1 + 2 + 2));
    assert_eq!(server.count_log("> [token]"), 2 * 2);
    assert!(!server.log().contains(ACCESS), "{}", server.log());
}

#[test]
fn open_server_is_used_without_the_unknown_access_token() {
    let server = Server::start(&["-vv"]);
    let mut alice = server.log_in("alice");
    run(server.address, FORMS[0], Some(ACCESS)).expect(0, "");
    alice.expect_delivery("broadcast", "bot", "hi");
    flush_log(&server);
    assert_eq!(server.count_log("> Set-name bot"), 2, "{}", server.log());
    assert_eq!(server.count_log("> [token]"), 1, "{}", server.log());
}

#[test]
fn terminal_client_without_access_ends_with_3_at_login() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-first", OTHER);
    let server = file.serve(&[]);
    for (variable, advice) in [
        ("", ": use --access-file FILE, or set CHAT_ACCESS_TOKEN"),
        (ACCESS, ", and does not know the one in CHAT_ACCESS_TOKEN"),
    ] {
        let terminal = Terminal::start(server.address, "-n alice", |command| {
            command.env(VARIABLE, variable);
        });
        let (code, rows) = terminal.ends();
        assert_eq!(code, Some(3), "{rows:#?}");
        let problem = format!("chat-client: {NEEDED}{advice}");
        let text: String = rows.concat();
        assert!(text.contains(&problem), "{problem} in {text}");
    }
    let mut alice = alice_with(server.address, OTHER);
    alice.types("/quit\r");
    assert_eq!(alice.ends().0, Some(0));
}

#[test]
fn client_that_waits_for_its_name_ends_with_3_without_access() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-wait", ACCESS);
    let server = file.serve(&[]);
    let _owner = log_in(&server, ACCESS, "alice");
    let mut alice = Terminal::start(server.address, "-n alice", |command| {
        command.env(VARIABLE, ACCESS);
    });
    alice.shows("", "Your name (Enter waits for alice, Ctrl-D quits): ");
    let client = pid_of_client(&server);
    alice.types("\r");
    alice.shows("Waiting for alice. Ctrl-C stops waiting", "");
    file.write(OTHER);
    server.signal(Signal::HUP);
    let (code, rows) = ends_itself(client, alice);
    assert_eq!(code, Some(3), "{rows:#?}");
    let text: String = rows.concat();
    assert!(text.contains("and does not know the one in"), "{text}");
}

#[test]
fn session_is_resumed_although_its_access_token_is_gone() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-resume", ACCESS);
    let server = file.serve(&[]);
    let network = Network::to(server.address);
    let mut alice = alice_with(network.address, ACCESS);
    file.write(OTHER);
    server.signal(Signal::HUP);
    wait_for("the new tokens", || {
        server.count_log("loaded access file") == 2
    });
    network.reset();
    let back = "hh:mm * Reconnected as alice. Messages that arrived meanwhile follow";
    alice.shows(back, "alice> ");
    // The line is printed just before requests are sent again.
    alice.types("here\r");
    alice.shows("hh:mm alice: here", "alice> ");
    alice.types("/quit\r");
    assert_eq!(alice.ends().0, Some(0));
}

#[test]
fn client_reconnects_to_a_new_session_with_its_access_token() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-new", ACCESS);
    let server = file.serve(&[]);
    let address = server.address;
    let mut alice = alice_with(address, ACCESS);
    drop(server);
    alice.shows_losses(1);
    let _server = restart(address, &file);
    let back = "hh:mm * Reconnected as alice with a new session. Messages may be missing";
    alice.shows(back, "alice> ");
}

#[test]
fn client_without_access_ends_with_3_after_a_lost_connection() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-lost", ACCESS);
    let server = file.serve(&[]);
    let address = server.address;
    let mut alice = alice_with(address, ACCESS);
    let client = pid_of_client(&server);
    drop(server);
    alice.shows_losses(1);
    alice.types("meanwhile\r");
    alice.shows("--:-- alice: meanwhile", "alice> ");
    alice.types("half a line");
    alice.shows("", "alice> half a line");
    file.write(OTHER);
    let server = restart(address, &file);
    let (code, rows) = ends_itself(client, alice);
    assert_eq!(code, Some(3), "{rows:#?}");
    let problem = format!("hh:mm ! {NEEDED}, and does not know the one in");
    assert!(
        rows.iter().any(|row| row.starts_with(&problem)),
        "{rows:#?}"
    );
    let unsent = "hh:mm ! Not sent: meanwhile".to_owned();
    assert!(rows.contains(&unsent), "{rows:#?}");
    assert!(!rows.concat().contains(ACCESS), "{rows:#?}");
    assert!(!server.log().contains(ACCESS), "{}", server.log());
}

#[test]
fn client_at_dumb_terminal_ends_with_3_after_lost_connection() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-dumb", ACCESS);
    let server = file.serve(&[]);
    let address = server.address;
    let mut alice = Terminal::start(address, "-n alice", |command| {
        command.env("TERM", "dumb").env(VARIABLE, ACCESS);
    });
    alice.shows("hh:mm * 1 online: alice", "");
    let client = pid_of_client(&server);
    alice.types("half a line");
    drop(server);
    file.write(OTHER);
    let _server = restart(address, &file);
    let (code, rows) = ends_itself(client, alice);
    assert_eq!(code, Some(3), "{rows:#?}");
    assert!(rows.iter().any(|row| row.contains(NEEDED)), "{rows:#?}");
}

#[test]
fn client_without_access_restores_the_terminal() {
    if !has_terminal_tools() {
        return;
    }
    let file = AccessFile::new("terminal-mode", ACCESS);
    let server = file.serve(&[]);
    let address = server.address;
    let command = format!(
        "stty rows 40 cols {COLUMNS}; {} -n alice {address}; echo code $?; stty -a",
        client()
    );
    let mut alice = Terminal::run(&command, |command| {
        command.env(VARIABLE, ACCESS);
    });
    alice.shows("hh:mm * 1 online: alice", "alice> ");
    drop(server);
    file.write(OTHER);
    let _server = restart(address, &file);
    alice.shows("code 3", "");
    alice.waits_for("the modes of the terminal", |alice| {
        let text = alice.rows().concat();
        text.contains(" icanon ") && text.contains(" echo ")
    });
}
