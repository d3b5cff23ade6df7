//! Typed and pasted input at a terminal, and input that must not be sent.

use crate::pty::{
    COLUMNS, ROWS, Terminal, client, has_terminal_tools, pid_of_client, server_and_alice,
};
use crate::support::{Client, Server, has_tool, signal};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const PASTE: &str = "\x1B[200~";
const END: &str = "\x1B[201~";

#[test]
fn stopped_client_restores_terminal_and_shows_all_after_fg() {
    if !has_terminal_tools() || !has_tool("dash") {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let mut alice = Terminal::shell();
    alice.types(&format!("{} -n alice {}\n", client(), server.address));
    alice.shows("hh:mm * 2 online: alice, bob", "alice> ");
    for round in 0..8 {
        alice.types("half");
        alice.shows("", "alice> half");
        // This message arrives at about the time of the stop.
        bob.send(&format!("Broadcast-message before {round}"));
        alice.types("\x1A");
        alice.shows("", "shell: ");
        bob.send(&format!("Broadcast-message stopped {round}"));
        alice.types("stty -a | grep -o '[-]*[e]cho ' >/dev/tty; stty -a | grep -o '[-]*[i]sig '\n");
        alice.waits_for("echo and signals", |alice| {
            let rows = alice.rows();
            rows.iter().any(|row| row == "echo") && rows.iter().any(|row| row == "isig")
        });
        alice.types("clear; fg\n");
        let row = format!("hh:mm bob: stopped {round}");
        alice.shows(&row, "alice> half");
        bob.send(&format!("Broadcast-message after {round}"));
        alice.shows(&format!("hh:mm bob: after {round}"), "alice> half");
        alice.types("\x15");
        alice.shows("", "alice> ");
    }
    let raw = String::from_utf8_lossy(&alice.raw).into_owned();
    for round in 0..8 {
        for text in ["before", "stopped", "after"] {
            let shown = raw.matches(&format!(": {text} {round}\r\n")).count();
            assert_eq!(shown, 1, "{text} {round}");
        }
    }
}

#[test]
fn sigterm_and_sighup_restore_the_terminal_for_a_shell() {
    if !has_terminal_tools() || !has_tool("dash") {
        return;
    }
    for kill in [Signal::TERM, Signal::HUP] {
        let server = Server::start(&[]);
        let mut alice = Terminal::shell();
        alice.types(&format!("{} -n alice {}\n", client(), server.address));
        alice.shows("hh:mm * 1 online: alice", "alice> ");
        signal(pid_of_client(&server), kill);
        alice.shows("", "shell: ");
        let raw = String::from_utf8_lossy(&alice.raw).into_owned();
        let (on, off) = (raw.rfind("\x1B[?2004h"), raw.rfind("\x1B[?2004l"));
        assert!(on < off, "bracketed paste is still on: {raw:?}");
        alice.types("stty -a | grep -o '[-]*[e]cho '\n");
        alice.shows("echo", "shell: ");
    }
}

#[test]
fn misplaced_command_is_reported_and_not_sent() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let (mut bob, mut carol) = (server.log_in("bob"), server.log_in("carol"));
    let problem = "hh:mm ! Not sent: blanks before the slash. Remove them, or // sends a slash";
    alice.types(" /msg bob secret\r");
    alice.shows(problem, "alice> ");
    alice.types(&format!("{PASTE}\n/msg bob secret{END}\r"));
    alice.waits_for("the second report", |alice| {
        alice.rows().iter().filter(|row| *row == problem).count() == 2
    });
    alice.types(&format!("{PASTE}hello\n/msg bob secret{END}\r"));
    alice.shows(
        "hh:mm ! Not sent: line 2 is a private message, but the text is for all users",
        "alice> ",
    );
    alice.types("/MGS bob secret\r/MSG bob for you\r/QUIT now\r");
    alice.shows("hh:mm ! /quit takes no text", "alice> ");
    bob.expect_delivery("private", "alice", "for you");
    bob.barrier();
    carol.barrier();
    alice.types("/Q\r");
    assert_eq!(alice.ends().0, Some(0));
}

#[test]
fn reply_keeps_the_recipient_from_when_it_was_typed() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let (mut bob, mut carol) = (server.log_in("bob"), server.log_in("carol"));
    bob.ask("Private-message alice psst", "200 OK", "Delivered to alice");
    alice.shows("hh:mm bob (to you): psst", "alice> ");
    alice.types("/reply sec");
    alice.shows("", "alice> /msg bob sec");
    carol.ask("Private-message alice me", "200 OK", "Delivered to alice");
    alice.shows("hh:mm carol (to you): me", "alice> /msg bob sec");
    alice.types("ret\r");
    bob.expect_delivery("private", "alice", "secret");
    // A pasted reply shows its recipient before it is sent. TAB shows it too.
    alice.types(&format!("{PASTE}/reply for carol{END}\r"));
    alice.shows(
        "hh:mm * Enter sends this to carol",
        "alice> /msg carol for carol",
    );
    carol.barrier();
    alice.types("\r");
    carol.expect_delivery("private", "alice", "for carol");
    alice.types("/rep\t");
    alice.shows("", "alice> /msg carol ");
    bob.barrier();
}

#[test]
fn paste_without_end_mark_ends_with_ctrl_c_or_a_pause() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    alice.types(&format!("{PASTE}hello more\r"));
    bob.ask("Broadcast-message seen?", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: seen?", "alice> ");
    alice.types("\x03fine\r");
    bob.expect_delivery("broadcast", "alice", "fine");
    alice.shows("hh:mm alice: fine", "alice> ");
    alice.types(&format!("{PASTE}after a "));
    // A pause of two seconds ends the paste.
    thread::sleep(Duration::from_millis(2_200));
    alice.types("p");
    alice.shows("", "alice> after a p");
    alice.types("ause\r");
    bob.expect_delivery("broadcast", "alice", "after a pause");
}

#[test]
fn terminal_reports_leave_nothing_in_the_line() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    for report in [
        "\x1B[<0;10;5M",
        "\x1B[<0;10;5m",
        "\x1B[M !!",
        "\x1B[?62;22c",
        "\x1B[>41;354;0c",
        "\x1B]11;rgb:1e1e/1e1e/1e1e\x1B\\",
        "\x1B]11;rgb:1e1e/1e1e/1e1e\x07",
        "\x1BP1$r0m\x1B\\",
        "\x1B[97;5u",
        "\x1B[27;5;13~",
        "\x1B[I",
        "\x1B[O",
    ] {
        alice.types(&format!("{report}hi\r"));
        bob.expect_delivery("broadcast", "alice", "hi");
    }
}

#[test]
fn tab_completes_after_punctuation_and_leaves_no_list() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut alice = Terminal::alice_without_presence(server.address);
    let _others = ["Bobby", "carol", "carola"].map(|name| server.log_in(name));
    alice.types("@bo\t");
    alice.shows("", "alice> @Bobby ");
    alice.types("(bo\t");
    alice.shows("", "alice> @Bobby (Bobby ");
    alice.types("ca\t");
    alice.shows("carol   carola", "alice> @Bobby (Bobby carol");
    alice.types("a");
    alice.waits_for("no list", |alice| {
        alice.before_cursor().ends_with(" carola")
            && alice.rows().iter().all(|row| row != "carol   carola")
    });
    let name = |number| format!("Member{number}");
    let _crowd: Vec<Client> = (10..=31).map(|n| server.log_in(&name(n))).collect();
    alice.types(" m\t");
    alice.shows("22 names match", " Member");
}

#[test]
fn long_paste_is_sent_after_a_question_and_can_be_stopped() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start_with(&["--rate", "5", "--burst", "20"], |_| {});
    let mut alice = Terminal::alice(server.address);
    let mut bob = server.log_in("bob");
    let block = |lines| -> String {
        let lines: Vec<String> = (1..=lines).map(|n| format!("line {n}")).collect();
        format!("{PASTE}{}{END}", lines.join("\n"))
    };
    let question = "Enter sends it, Ctrl-C drops it> ";
    alice.types(&block(21));
    alice.shows(
        "hh:mm * A block of 21 messages to all other users is ready",
        question,
    );
    bob.ask("Broadcast-message meanwhile", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: meanwhile", question);
    alice.types("\x03");
    alice.shows("hh:mm * Not sent: the block of 21 messages", "alice> ");
    bob.barrier();
    alice.types("/msg bob ");
    alice.shows("", "alice> /msg bob ");
    alice.types(&block(60));
    alice.shows("hh:mm * A block of 60 messages to bob is ready", question);
    alice.types("\r");
    // The rate limit delays each later message.
    alice.waits_for("progress", |alice| {
        alice
            .rows()
            .iter()
            .any(|row| row == "hh:mm alice (to bob): line 20")
    });
    alice.types("\x03");
    alice.waits_for("the report of the rest", |alice| {
        let is_report = |row: &String| row.starts_with("hh:mm ! Not sent: the last ");
        alice.rows().iter().any(is_report) && alice.before_cursor().ends_with("alice> ")
    });
    let rows = alice.rows();
    let report = rows
        .iter()
        .find_map(|row| row.strip_prefix("hh:mm ! Not sent: the last "));
    let rest: usize = report
        .and_then(|it| it.split(' ').next()?.parse().ok())
        .expect("a number");
    for number in 1..=60 - rest {
        bob.expect_delivery("private", "alice", &format!("line {number}"));
    }
    bob.barrier();
}

#[test]
fn paste_taller_than_window_hides_nothing_and_leaves_no_copy() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    bob.ask("Broadcast-message before", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: before", "alice> ");
    let lines: Vec<String> = (1..=15)
        .map(|n| format!("begin {n} {}", "x".repeat(300)))
        .collect();
    alice.types(&format!("{PASTE}{}{END}", lines.join("\n")));
    alice.shows("", "Enter sends it, Ctrl-C drops it> ");
    for number in 1..=5 {
        bob.ask(
            &format!("Broadcast-message during {number}"),
            "200 OK",
            "Delivered to 1",
        );
    }
    alice.shows("hh:mm bob: during 5", "Enter sends it, Ctrl-C drops it> ");
    let rows = alice.rows();
    assert!(rows.contains(&"hh:mm bob: before".to_owned()), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("begin")), "{rows:#?}");
    alice.types("\r");
    for line in &lines {
        bob.expect_delivery("broadcast", "alice", line);
    }
}

#[test]
fn ctrl_r_finds_typed_lines_while_messages_are_shown() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    for line in ["first tea", "second cake", "third tea"] {
        alice.types(&format!("{line}\r"));
        bob.expect_delivery("broadcast", "alice", line);
    }
    alice.types("TEA\x12");
    alice.shows("", "alice> third tea");
    bob.ask("Broadcast-message seen?", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: seen?", "alice> third tea");
    alice.types("\x12");
    alice.shows("", "alice> first tea");
    alice.types("!\r");
    bob.expect_delivery("broadcast", "alice", "first tea!");
}

#[test]
fn message_begins_a_row_on_a_dumb_terminal() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let mut alice = Terminal::start(server.address, "-n alice", |command| {
        command.env("TERM", "dumb");
    });
    alice.shows("hh:mm * 2 online: alice, bob", "");
    alice.types("half");
    alice.shows("half", "");
    bob.ask("Broadcast-message hi", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: hi", "");
    alice.types(" and half\n");
    bob.expect_delivery("broadcast", "alice", "half and half");
}

#[test]
fn ignored_user_is_not_shown_until_unignored() {
    let Some((server, mut alice)) = server_and_alice() else {
        return;
    };
    let mut bob = server.log_in("bob");
    alice.types("/ignore BOB\r");
    alice.shows(
        "hh:mm * Messages from BOB are hidden. /unignore BOB shows them again",
        "alice> ",
    );
    bob.ask("Broadcast-message one", "200 OK", "Delivered to 1");
    bob.ask("Private-message alice two", "200 OK", "Delivered to alice");
    // A later message of another user is shown.
    let mut carol = server.log_in("carol");
    carol.ask("Broadcast-message behind", "200 OK", "Delivered to 2");
    bob.expect_delivery("broadcast", "carol", "behind");
    alice.shows("hh:mm carol: behind", "alice> ");
    alice.types("/reply hi\r");
    alice.shows(
        "hh:mm ! No user has sent you a private message yet",
        "alice> ",
    );
    alice.types("/ignore\r");
    alice.shows("hh:mm * You ignore BOB", "alice> ");
    alice.types("/unignore bob\r");
    alice.shows("hh:mm * Messages from bob are shown", "alice> ");
    bob.ask("Broadcast-message three", "200 OK", "Delivered to 2");
    alice.shows("hh:mm bob: three", "alice> ");
    let rows = alice.rows().join("\n");
    assert!(!rows.contains("one\n") && !rows.contains("two"), "{rows}");
}

#[test]
fn history_file_keeps_typed_lines_for_its_owner() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = file.join(format!("history-{}", std::process::id()));
    let _ = fs::remove_file(&file);
    let option = format!("--history-file {}", file.display());
    let online = "hh:mm * 2 online: alice, bob";
    let mut alice = Terminal::start(server.address, &format!("-n alice {option}"), |_| {});
    alice.shows(online, "alice> ");
    alice.types("first\r");
    bob.expect_delivery("broadcast", "alice", "first");
    bob.ask("Broadcast-message not typed", "200 OK", "Delivered to 1");
    alice.shows("hh:mm bob: not typed", "alice> ");
    // The file is complete although the client is killed.
    signal(pid_of_client(&server), Signal::KILL);
    drop(alice);
    bob.barrier();
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        !fs::read_to_string(&file)
            .expect("text")
            .contains("not typed")
    );
    let mut again = Terminal::start(server.address, &format!("-n again {option}"), |_| {});
    again.waits_for("a prompt", |again| {
        again.before_cursor().ends_with("again> ")
    });
    again.types("\x1B[A");
    again.shows("", "again> first");
    again.types("\x15/quit\r");
    assert_eq!(again.ends().0, Some(0));
    fs::remove_file(&file).expect("the file");
}

#[test]
fn typed_lines_are_not_commands_if_stdout_is_a_pipe() {
    if !has_terminal_tools() {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.log_in("bob");
    let pipe = format!("{} -n tina {} | cat", client(), server.address);
    let mut tina = Terminal::run(
        &format!("stty rows {ROWS} cols {COLUMNS} -echo; {pipe}"),
        |_| {},
    );
    tina.waits_for("the warning", |tina| {
        let rows = tina.rows().join("");
        rows.contains("chat-client: stdout is not a terminal: each line goes to everyone, and")
    });
    tina.types("/msg bob secret\n /MSG bob secret\n/mgs bob secret\nhello\n");
    bob.expect_delivery("broadcast", "tina", "hello");
    tina.types("\x04");
    for line in 1..=3 {
        let row = format!("chat-client: line {line} not sent: commands work only at a terminal");
        tina.shows(&row, "");
    }
    bob.barrier();
}
