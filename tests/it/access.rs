//! Access tokens (section 4): `--access-file`, `--new-token`, and SIGHUP.

use crate::support::{Client, Server};
use rustix::process::Signal;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

pub(crate) const ACCESS: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const OTHER: &str = "fedcba9876543210fedcba9876543210";
const UNKNOWN: &str = "11111111111111111111111111111111";
pub(crate) const NEEDED: &str = "This server needs an access token";

/// A file of access tokens, which only this user can read.
pub(crate) struct AccessFile(PathBuf);

impl AccessFile {
    pub(crate) fn new(name: &str, text: &str) -> AccessFile {
        let folder = std::env::temp_dir().join(format!("chat-access-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let file = AccessFile(folder.join(name));
        file.write(text);
        fs::set_permissions(&file.0, fs::Permissions::from_mode(0o600)).expect("its mode");
        file
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("the file");
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    pub(crate) fn serve(&self, options: &[&str]) -> Server {
        Server::start(&[&["--access-file", self.path()], options].concat())
    }
}

impl Drop for AccessFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn server_command(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-server"));
    command.args(options);
    command
}

/// Takes a name with this in the header, and remembers the session's own token.
#[track_caller]
pub(crate) fn log_in(server: &Server, header: &str, name: &str) -> Client {
    let mut client = server.connect();
    client.send_as(header, &format!("Set-name {name}"));
    let answer = client.next();
    assert_eq!(
        (&*answer.status, answer.data),
        ("200 OK", format!("You are {name}"))
    );
    assert_ne!(answer.header, header, "the session has a token of its own");
    client.token = answer.header;
    client
}

#[test]
fn first_name_needs_an_access_token() {
    let file = AccessFile::new(
        "first",
        &format!("# for the class\n{ACCESS}\n{OTHER} # bob\n"),
    );
    let server = file.serve(&[]);
    let mut client = server.connect();
    client.ask("Set-name alice", "401 Unauthorized", NEEDED);
    client.send_as(UNKNOWN, "Set-name alice");
    client.expect("401 Unauthorized", "Unknown token");
    client.ask("Ping", "200 OK", "Pong");
    client.send_as(ACCESS, "Set-name alice");
    let answer = client.next();
    assert_eq!(answer.data, "You are alice");
    client.token = answer.header;
    client.barrier();
    // Many may use one token, and each token of the file is good.
    let mut bob = log_in(&server, ACCESS, "bob");
    let mut carol = log_in(&server, OTHER, "carol");
    carol.ask("Broadcast-message hi", "200 OK", "Delivered to 2");
    bob.expect_delivery("broadcast", "carol", "hi");
}

#[test]
fn access_is_checked_after_the_arguments_and_before_the_name() {
    let file = AccessFile::new("order", ACCESS);
    let server = file.serve(&[]);
    let _alice = log_in(&server, ACCESS, "alice");
    let mut client = server.connect();
    client.ask("Set-name", "400 Bad Request", "Usage: Set-name NAME");
    client.ask(
        "Set-name a",
        "400 Bad Request",
        "A name is 2 to 63 of A-Z a-z 0-9 _ -",
    );
    client.ask("Set-name alice", "401 Unauthorized", NEEDED);
    client.send_as(ACCESS, "Set-name alice");
    client.expect("403 Forbidden", "alice is taken");
    client.send_as(ACCESS, "Set-name");
    client.expect("400 Bad Request", "Usage: Set-name NAME");
    client.send_as(ACCESS, "Set-name a");
    client.expect("400 Bad Request", "A name is 2 to 63 of A-Z a-z 0-9 _ -");
}

#[test]
fn access_token_is_unknown_in_every_other_request() {
    let file = AccessFile::new("other", ACCESS);
    let server = file.serve(&[]);
    let mut alice = log_in(&server, ACCESS, "alice");
    let mut client = server.connect();
    let requests = [
        "Ping",
        "Help",
        "Quit",
        "List-names",
        "Nonsense",
        "",
        " x",
        "Recent-messages",
    ];
    for body in requests {
        client.send_as(ACCESS, body);
        client.expect_with("", "401 Unauthorized", "Unknown token");
    }
    // The same for a `Set-name` on a connection that has a session.
    for body in ["Set-name alice", "Set-name bob", "Set-name", "Ping"] {
        alice.send_as(ACCESS, body);
        alice.expect_with("", "401 Unauthorized", "Unknown token");
    }
    alice.barrier();
    // And for every request to a server without such a file.
    let open = Server::start(&[]);
    let mut client = open.connect();
    client.send_as(ACCESS, "Set-name alice");
    client.expect("401 Unauthorized", "Unknown token");
    client.set_name("alice");
}

#[test]
fn session_token_resumes_without_an_access_token() {
    let file = AccessFile::new("resume", ACCESS);
    let server = file.serve(&[]);
    let mut alice = log_in(&server, ACCESS, "alice");
    alice.use_token();
    let token = alice.token.clone();
    alice.reset();
    server.expect_log_of("lost alice", "session lingers");
    let mut again = server.connect();
    again.token.clone_from(&token);
    again.send_as(&token, "Set-name alice");
    again.expect("304 Not Modified", "You are already alice");
}

#[test]
fn file_without_tokens_gives_no_client_a_session() {
    let file = AccessFile::new("empty", "# none yet\n");
    let server = file.serve(&[]);
    let mut client = server.connect();
    client.ask("Set-name alice", "401 Unauthorized", NEEDED);
    server.expect_log("0 access tokens");
}

#[test]
fn sighup_reloads_the_file_and_a_bad_file_changes_nothing() {
    let file = AccessFile::new("reload", ACCESS);
    let server = file.serve(&[]);
    server.expect_log("1 access token");
    let mut alice = log_in(&server, ACCESS, "alice");
    let mut client = server.connect();
    client.barrier();
    file.write(&format!("{OTHER}\n{UNKNOWN}\n{OTHER}\n"));
    server.signal(Signal::HUP);
    server.expect_log("2 access tokens");
    alice.barrier();
    // A connection from before the reload gets no session by the old token.
    client.send_as(ACCESS, "Set-name bob");
    client.expect("401 Unauthorized", "Unknown token");
    let _bob = log_in(&server, OTHER, "bob");
    file.write(&format!("{ACCESS}\nnot {UNKNOWN}\n"));
    server.signal(Signal::HUP);
    server.expect_log("line 2: ");
    let _carol = log_in(&server, OTHER, "carol");
    fs::remove_file(file.path()).expect("it is there");
    server.signal(Signal::HUP);
    server.expect_log("No such file");
    let _dora = log_in(&server, UNKNOWN, "dora");
    alice.barrier();
    // A SIGTERM still ends the server, and no SIGHUP counted as a first signal.
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", "The server is shutting down");
}

#[test]
fn bad_access_file_is_one_line_and_exit_code_2() {
    let file = AccessFile::new("bad", &format!("{ACCESS}\n{OTHER}x\n"));
    for (path, problem) in [
        (file.path(), "line 2: "),
        ("/", "/: Is a directory"),
        (
            "/nowhere/access",
            "/nowhere/access: No such file or directory",
        ),
    ] {
        let stderr = expect_bad_access_file(path);
        assert!(stderr.contains(problem), "{stderr}");
        assert!(
            stderr.contains(path) && !stderr.contains(&OTHER[..16]),
            "{stderr}"
        );
    }
    // A token in the place of the file name.
    let stderr = expect_bad_access_file(ACCESS);
    assert!(stderr.contains("[token]: No such file"), "{stderr}");
    assert!(!stderr.contains(ACCESS), "{stderr}");
}

/// Starts a server that fails because of this file. Returns its line on stderr.
#[track_caller]
fn expect_bad_access_file(path: &str) -> String {
    let output = server_command(&["--access-file", path, "-l", "127.0.0.1:0"])
        .output()
        .expect("it starts");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
    stderr
}

#[test]
fn file_that_others_can_read_is_warned_about() {
    let file = AccessFile::new("mode", ACCESS);
    for (mode, is_warned) in [(0o600, false), (0o640, true), (0o604, true), (0o400, false)] {
        fs::set_permissions(&file.0, fs::Permissions::from_mode(mode)).expect("its mode");
        let server = file.serve(&[]);
        server.expect_log("1 access token");
        assert_eq!(
            server.count_log("WARN") > 0,
            is_warned,
            "{mode:o}: {}",
            server.log()
        );
    }
    // Below systemd's folder of credentials the mode is systemd's.
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o640)).expect("its mode");
    let folder = file
        .0
        .parent()
        .expect("its folder")
        .to_str()
        .expect("UTF-8");
    let options = ["--access-file", file.path()];
    for (credentials, warnings) in [(folder, 0), ("", 1), ("/run/credentials", 1)] {
        let server = Server::start_with(&options, |it| {
            it.env("CREDENTIALS_DIRECTORY", credentials);
        });
        server.expect_log("1 access token");
        assert_eq!(server.count_log("WARN"), warnings, "{}", server.log());
    }
}

#[test]
fn sighup_reloads_the_file_under_nohup_too() {
    let file = AccessFile::new("nohup", ACCESS);
    // nohup(1) ignores SIGHUP in the same way.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_chat-server"));
    let server = Server::start_by(command, &["--access-file", file.path()], |_| {});
    let mut alice = log_in(&server, ACCESS, "alice");
    file.write(&format!("{OTHER}\n{UNKNOWN}\n"));
    // A terminal that closes sends SIGHUP twice.
    for _ in 0..2 {
        server.signal(Signal::HUP);
    }
    server.expect_log("2 access tokens");
    alice.barrier();
    let _bob = log_in(&server, OTHER, "bob");
    server.signal(Signal::TERM);
    alice.expect("502 Bad Gateway", "The server is shutting down");
}

#[test]
fn command_word_with_an_access_token_matches_in_any_case() {
    let file = AccessFile::new("case", ACCESS);
    let server = file.serve(&[]);
    let mut client = server.connect();
    client.send_as(ACCESS, "sEt-NAME alice");
    assert_eq!(client.next().data, "You are alice");
}

#[test]
fn access_token_reaches_no_log() {
    let file = AccessFile::new("log", ACCESS);
    let server = file.serve(&["-vv"]);
    let mut alice = log_in(&server, ACCESS, "alice");
    alice.ask(
        &format!("Ping {ACCESS}"),
        "200 OK",
        &format!("Pong {ACCESS}"),
    );
    let mut client = server.connect();
    client.send_as(ACCESS, "Ping");
    client.expect("401 Unauthorized", "Unknown token");
    client.send(ACCESS);
    client.expect(
        "501 Not Implemented",
        &format!("{ACCESS} is not a command; try Help"),
    );
    // The response cuts the word at 32 characters, in the middle of the token.
    client.send(&format!("x{ACCESS}"));
    let answer = format!("x{} is not a command; try Help", &ACCESS[..31]);
    client.expect("501 Not Implemented", &answer);
    client.barrier();
    // A name of these digits is as good as any other, in all places where the log has names.
    let mut bob = log_in(&server, ACCESS, "bob");
    bob.ask(
        &format!("Set-name {ACCESS}"),
        "200 OK",
        &format!("You are {ACCESS}"),
    );
    server.expect_log("renamed bob to [token]");
    bob.use_token();
    bob.reset();
    server.expect_log_of("lost [token] (", "session lingers");
    file.write(&format!("{ACCESS}{ACCESS}\n"));
    server.signal(Signal::HUP);
    server.expect_log("line 1: ");
    assert!(!server.log().contains(&ACCESS[..16]), "{}", server.log());
}

#[test]
fn new_token_prints_a_fresh_token() {
    let fresh = || {
        let output = server_command(&["--new-token"])
            .output()
            .expect("it starts");
        assert!(output.status.success() && output.stderr.is_empty());
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let (one, two) = (fresh(), fresh());
    assert_ne!(one, two);
    let file = AccessFile::new("new", &one);
    let server = file.serve(&[]);
    log_in(&server, one.trim_end(), "alice").barrier();
}

#[test]
fn access_token_matches_exactly_and_command_in_any_case() {
    let file = AccessFile::new("match", ACCESS);
    let server = file.serve(&[]);
    let mut client = server.connect();
    for header in [
        &ACCESS.to_uppercase(),
        &ACCESS[1..],
        &format!("{ACCESS}0"),
        &format!("{ACCESS} "),
        &format!(" {ACCESS}"),
        "x",
    ] {
        client.send_as(header, "Set-name alice");
        client.expect("401 Unauthorized", "Unknown token");
    }
    // Exactly one space separates the command.
    for body in [" Set-name alice", "Set-name\talice", "Set-names alice"] {
        client.send_as(ACCESS, body);
        client.expect("401 Unauthorized", "Unknown token");
    }
    client.send_as(ACCESS, "sEt-NaMe alice");
    client.token = client.next().header;
    client.barrier();
    // A change of name needs none.
    client.ask("Set-name bob", "200 OK", "You are bob");
}

#[test]
fn bad_line_comes_before_the_access_token() {
    let file = AccessFile::new("line", ACCESS);
    let server = file.serve(&[]);
    let mut client = server.connect();
    client.send_raw(format!("\n{ACCESS}\nSet-name \u{FFFD}\u{1}\n"));
    client.expect("400 Bad Request", "Forbidden character U+0001");
    client.send_raw([format!("\n{ACCESS}\nSet-name ").as_bytes(), b"\xFE\n"].concat());
    client.expect("400 Bad Request", "Not UTF-8");
    client.send_raw(format!("\n{ACCESS}\nSet-name {}\n", "x".repeat(8_513)));
    client.expect("400 Bad Request", "Line too long");
}

#[test]
fn only_read_permission_is_warned_about_and_also_on_sighup() {
    let file = AccessFile::new("bits", ACCESS);
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o733)).expect("its mode");
    let server = file.serve(&[]);
    server.expect_log("1 access token");
    assert_eq!(server.count_log("WARN"), 0, "{}", server.log());
    fs::set_permissions(&file.0, fs::Permissions::from_mode(0o604)).expect("its mode");
    file.write(&format!("{ACCESS}\n{OTHER}\n"));
    server.signal(Signal::HUP);
    server.expect_log("2 access tokens");
    assert_eq!(server.count_log("WARN"), 1, "{}", server.log());
}

#[test]
fn directory_is_an_unreadable_access_file() {
    let file = AccessFile::new("folder", ACCESS);
    let folder = file.0.parent().expect("its folder");
    let folder = folder.to_str().expect("UTF-8");
    let output = server_command(&["--access-file", folder, "-l", "127.0.0.1:0"])
        .output()
        .expect("it starts");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("{folder}: Is a directory")));
}

#[test]
fn reload_to_no_tokens_keeps_sessions_and_their_tokens() {
    let file = AccessFile::new("close", &format!("{ACCESS}\r\n"));
    let server = file.serve(&[]);
    let mut alice = log_in(&server, ACCESS, "alice");
    let mut bob = log_in(&server, ACCESS, "bob");
    file.write("");
    server.signal(Signal::HUP);
    server.expect_log("0 access tokens");
    let mut client = server.connect();
    client.ask("Set-name carol", "401 Unauthorized", NEEDED);
    client.send_as(ACCESS, "Set-name carol");
    client.expect("401 Unauthorized", "Unknown token");
    bob.use_token();
    let token = bob.token.clone();
    bob.reset();
    server.expect_log_of("lost bob", "session lingers");
    client.token.clone_from(&token);
    client.send_as(&token, "Set-name robert");
    client.expect("200 OK", "You are robert");
    alice.ask("Private-message robert hi", "200 OK", "Delivered to robert");
    client.expect_delivery("private", "alice", "hi");
}

#[test]
fn tokens_hold_during_reloads_that_keep_them() {
    let file = AccessFile::new("many", ACCESS);
    let server = file.serve(&[]);
    for n in 0..50 {
        // A rename, as an editor does it: no reload reads half a file.
        let next = AccessFile::new("many-next", &format!("{ACCESS}\n{OTHER}\n"));
        next.write(["not a token", ACCESS][n % 2]);
        fs::rename(next.path(), file.path()).expect("one folder");
        server.signal(Signal::HUP);
        log_in(&server, ACCESS, "alice").ask("Quit", "200 OK", "Goodbye");
    }
}

#[test]
fn access_token_typed_as_a_name_reaches_no_log() {
    let file = AccessFile::new("name", ACCESS);
    let server = file.serve(&["--linger", "1"]);
    let mut alice = log_in(&server, ACCESS, ACCESS);
    let other = format!("bob-{ACCESS}");
    let answer = format!("You are {other}");
    alice.ask(&format!("Set-name {other}"), "200 OK", &answer);
    alice.use_token();
    let token = alice.token.clone();
    alice.reset();
    server.expect_log_of("lost bob-[token] (", "session lingers");
    let mut again = server.connect();
    again.token.clone_from(&token);
    again.send_as(&token, &format!("Set-name {ACCESS}"));
    again.expect("200 OK", &format!("You are {ACCESS}"));
    again.reset();
    server.expect_log("expired lingering session of [token]");
    for line in [
        "logged in as [token]",
        "renamed [token] to bob-[token]",
        "resumed session of [token]",
    ] {
        server.expect_log(line);
    }
    let mut carol = log_in(&server, ACCESS, ACCESS);
    let mut script = server.connect();
    script.send_as(&carol.token, "Quit");
    script.expect_with(&carol.token, "200 OK", "Goodbye");
    carol.expect_end();
    drop(carol);
    server.expect_log("ended session of [token]");
    server.expect_log("disconnected [token] (");
    assert!(!server.log().contains(ACCESS), "{}", server.log());
}

#[test]
fn sighup_changes_nothing_if_the_file_is_a_pipe() {
    // From a pipe, as `--access-file <(...)` in bash. It is empty when it is read again.
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writeln!(writer, "{ACCESS}").expect("room");
    drop(writer);
    let options = ["--rate", "0", "--access-file", "/dev/stdin"];
    let server = Server::start_with(&options, |it| {
        it.stdin(reader);
    });
    server.signal(Signal::HUP);
    server.expect_log("tokens unchanged: /dev/stdin: is a pipe");
    log_in(&server, ACCESS, "alice").barrier();
    // A FIFO without a writer. Its open would block the thread that waits for SIGTERM.
    let file = AccessFile::new("fifo", ACCESS);
    let mut server = file.serve(&[]);
    fs::remove_file(file.path()).expect("it is there");
    let made = Command::new("mkfifo").arg(file.path()).status();
    assert!(made.is_ok_and(|status| status.success()), "a FIFO");
    server.signal(Signal::HUP);
    server.expect_log("is a pipe");
    log_in(&server, ACCESS, "bob").barrier();
    server.signal(Signal::TERM);
    assert!(server.expect_exit().success());
}
