//! The client in terminal emulators with width tables of their own.
//!
//! `tmux` and GNU `screen` do not use the client's tables. Each test has its own socket, and
//! ends the emulator that it has started.

use crate::pty::client;
use crate::support::{Server, has_tool, wait_for};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A client in an emulator.
trait Emulator {
    /// Types these characters.
    fn types(&self, keys: &str);

    /// Returns all rows, including the scrolled ones.
    fn rows(&self) -> Vec<String>;

    #[track_caller]
    fn shows(&self, part: &str) {
        wait_for(&format!("{part:?}"), || {
            self.rows().iter().any(|row| row.contains(part))
        });
    }
}

struct Tmux {
    socket: String,
}

struct Screen {
    folder: PathBuf,
}

/// Returns a name that no other emulator has.
fn unique(kind: &str) -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    format!("chat-{kind}-{}-{number}", std::process::id())
}

impl Tmux {
    #[track_caller]
    fn start(address: SocketAddr, name: &str, columns: u16) -> Tmux {
        let tmux = Tmux {
            socket: unique("tmux"),
        };
        let columns = columns.to_string();
        let command = format!("{} -n {name} {address}", client());
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            "24",
            &command,
        ]);
        tmux.run(&["set-option", "-g", "history-limit", "5000"]);
        tmux.shows(&format!("{name}>"));
        tmux
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-u", "-L", &self.socket])
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn resize(&self, columns: u16) {
        self.run(&["resize-window", "-x", &columns.to_string()]);
    }
}

impl Emulator for Tmux {
    fn types(&self, keys: &str) {
        self.run(&["send-keys", "-l", keys]);
    }

    fn rows(&self) -> Vec<String> {
        let rows = self.run(&["capture-pane", "-p", "-S", "-"]);
        rows.lines().map(|row| row.trim_end().to_owned()).collect()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .args(["-L", &self.socket, "kill-server"])
            .output();
    }
}

impl Screen {
    /// Starts a client in a detached window, which has 80 columns.
    #[track_caller]
    fn start(address: SocketAddr, name: &str) -> Screen {
        let folder = std::env::temp_dir().join(unique("screen"));
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("the permissions");
        let screen = Screen { folder };
        let command = [client(), "-n", name, &address.to_string()].map(str::to_owned);
        let status = screen
            .command()
            .args(["-U", "-c", "/dev/null", "-h", "1000", "-dmS", "chat"])
            .args(command)
            .status();
        assert!(status.expect("the program starts").success());
        screen.shows(&format!("{name}>"));
        screen
    }

    fn command(&self) -> Command {
        let mut command = Command::new("screen");
        command
            .env("SCREENDIR", &self.folder)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) {
        let command = self
            .command()
            .args(["-S", "chat", "-X"])
            .args(arguments)
            .status();
        assert!(command.is_ok());
    }
}

impl Emulator for Screen {
    fn types(&self, keys: &str) {
        self.run(&["stuff", keys]);
    }

    fn rows(&self) -> Vec<String> {
        let file = self.folder.join("hardcopy");
        let _ = fs::remove_file(&file);
        // Another process writes the file. It drops the command if it has only just started.
        let mut asked = None;
        wait_for("a hard copy", || {
            if asked.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(1)) {
                asked = Some(Instant::now());
                self.run(&["hardcopy", "-h", &file.to_string_lossy()]);
            }
            fs::read(&file).is_ok_and(|copy| copy.ends_with(b"\n"))
        });
        let rows = fs::read(&file).expect("a hard copy");
        let rows = String::from_utf8_lossy(&rows).into_owned();
        rows.lines().map(|row| row.trim_end().to_owned()).collect()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.run(&["quit"]);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Characters that are invisible, or whose width differs between terminals.
const UNCERTAIN: [&str; 16] = [
    "\u{3164}",          // HANGUL FILLER
    "\u{AD}",            // SOFT HYPHEN
    "\u{115F}",          // HANGUL CHOSEONG FILLER
    "\u{1160}",          // HANGUL JUNGSEONG FILLER
    "\u{FFA0}",          // HALFWIDTH HANGUL FILLER
    "\u{200B}",          // ZERO WIDTH SPACE
    "e\u{301}",          // a letter with a combining accent
    "\u{1F1E6}",         // REGIONAL INDICATOR
    "\u{1F469}\u{200D}", // an emoji with a joiner
    "\u{263A}\u{FE0F}",  // a symbol shown as an emoji
    "\u{4DC0}",          // HEXAGRAM, wide since Unicode 16
    "\u{1FAE9}",         // an emoji that is newer than most tables
    "\u{0E33}",          // THAI SARA AM
    "\u{D7B0}",          // HANGUL JUNGSEONG, extended
    "\u{2E3A}",          // TWO-EM DASH
    "\u{FDFD}",          // ARABIC LIGATURE BISMILLAH
];

/// Sends texts whose forged part begins exactly after the first row, if their characters have
/// the assumed width. Expects that no row begins with the forged part.
#[track_caller]
fn expect_no_forged_row(emulator: &impl Emulator, server: &Server) {
    let mut mallory = server.log_in("mallory");
    let before = "14:02 mallory: ".len();
    for filler in UNCERTAIN {
        for width in [1, 2, 3] {
            let left = 80 - before;
            let text = format!(
                "{}{}23:37 carol: I owe you 100",
                "x".repeat(left % width),
                filler.repeat(left / width)
            );
            mallory.ask(
                &format!("Broadcast-message {text}"),
                "200 OK",
                "Delivered to 1",
            );
        }
    }
    mallory.ask("Broadcast-message that is all", "200 OK", "Delivered to 1");
    emulator.shows("mallory: that is all");
    let rows = emulator.rows();
    let forged: Vec<&String> = rows.iter().filter(|row| row.starts_with("23:37")).collect();
    assert!(forged.is_empty(), "{forged:#?} in {rows:#?}");
    let shown = rows.iter().filter(|row| row.contains("I owe you")).count();
    assert!(shown >= UNCERTAIN.len(), "{shown} in {rows:#?}");
}

/// Starts a server, and a client named alice in tmux. Returns `None` if tmux is missing.
#[track_caller]
fn server_and_tmux(columns: u16) -> Option<(Server, Tmux)> {
    if !has_tool("tmux") {
        return None;
    }
    let server = Server::start(&[]);
    let alice = Tmux::start(server.address, "alice", columns);
    Some((server, alice))
}

#[test]
fn text_cannot_begin_a_row_in_tmux() {
    let Some((server, alice)) = server_and_tmux(80) else {
        return;
    };
    expect_no_forged_row(&alice, &server);
}

#[test]
fn text_cannot_begin_a_row_in_screen() {
    if !has_tool("screen") {
        return;
    }
    let server = Server::start(&[]);
    expect_no_forged_row(&Screen::start(server.address, "alice"), &server);
}

#[test]
fn long_address_can_be_copied_from_tmux() {
    let Some((server, alice)) = server_and_tmux(60) else {
        return;
    };
    let mut bob = server.log_in("bob");
    let address = format!("https://example.org/{}end", "part/".repeat(20));
    for text in [format!("see {address} and this"), address.clone()] {
        bob.ask(
            &format!("Broadcast-message {text}"),
            "200 OK",
            "Delivered to 1",
        );
    }
    bob.ask("Broadcast-message that is all", "200 OK", "Delivered to 1");
    alice.shows("bob: that is all");
    alice.types(&format!("mine is {address}"));
    alice.run(&["send-keys", "Enter"]);
    bob.expect_delivery("broadcast", "alice", &format!("mine is {address}"));
    alice.shows("alice: mine is ");
    // With -J, tmux joins the rows that it has wrapped itself.
    let joined = alice.run(&["capture-pane", "-p", "-J", "-S", "-"]);
    assert_eq!(joined.matches(&address).count(), 3, "{joined}");
}

#[test]
fn resized_window_loses_no_message() {
    let Some((server, alice)) = server_and_tmux(50) else {
        return;
    };
    let mut bob = server.log_in("bob");
    let mut sent = 0;
    let mut say = |count: usize| {
        for _ in 0..count {
            sent += 1;
            let request = format!("Broadcast-message number {sent} of many");
            bob.ask(&request, "200 OK", "Delivered to 1");
        }
        alice.shows(&format!("number {sent} of many"));
        sent
    };
    say(5);
    alice.types(&"typed ".repeat(12));
    alice.shows("typed typed");
    // The typed line changes between one row and two.
    for columns in [100, 50, 80, 40, 100] {
        alice.resize(columns);
        say(3);
    }
    // Resize by one column at a time, while messages arrive.
    for columns in 60..100 {
        alice.resize(columns);
        say(1);
    }
    let sent = say(1);
    // tmux reports a resize after a quarter of a second. The client then shows the rows again
    // that were erased meanwhile.
    wait_for("all messages", || {
        let rows = alice.run(&["capture-pane", "-p", "-J", "-S", "-"]);
        let is_missing = |number: &usize| !rows.contains(&format!("number {number} of many"));
        !(1..=sent).any(|number| is_missing(&number))
    });
    // The typed text is still in the line.
    alice.types("end");
    alice.run(&["send-keys", "Enter"]);
    bob.expect_delivery("broadcast", "alice", &("typed ".repeat(12) + "end"));
}

#[test]
fn resized_window_keeps_a_short_line_in_one_copy() {
    let Some((_server, alice)) = server_and_tmux(50) else {
        return;
    };
    alice.types("short");
    alice.shows("alice> short");
    for columns in [100, 60, 80] {
        alice.resize(columns);
    }
    alice.types("er");
    alice.shows("alice> shorter");
    let rows = alice.rows();
    let copies = rows
        .iter()
        .filter(|row| row.contains("alice> short"))
        .count();
    assert_eq!(copies, 1, "{rows:#?}");
}
