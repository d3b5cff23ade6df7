//! A client in a pseudo-terminal: its keys, its screen and its end.
//!
//! Does not know the protocol. Invariant: every wait has a deadline, and a failure prints the
//! screen.

use crate::support::{DEADLINE, Program, Server, has_tool};
use std::fs;
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::Command;
use std::time::Instant;

/// Returns the path of the client.
pub(crate) fn client() -> &'static str {
    env!("CARGO_BIN_EXE_chat-client")
}

pub(crate) const ROWS: NonZero<u16> = NonZero::new(40).unwrap();
pub(crate) const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// A client in a pseudo-terminal of script(1), and its screen.
pub(crate) struct Terminal {
    pub(crate) program: Program,
    pub(crate) screen: vt100::Parser,
    /// All output, with its control sequences.
    pub(crate) raw: Vec<u8>,
}

impl Terminal {
    /// Starts a client with these arguments.
    #[track_caller]
    pub(crate) fn start(
        address: SocketAddr,
        arguments: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Terminal {
        let client = client();
        let resize = format!("stty rows {ROWS} cols {COLUMNS}");
        Terminal::run(
            &format!("{resize}; exec {client} {arguments} {address}"),
            prepare,
        )
    }

    /// Runs this shell command in a terminal.
    #[track_caller]
    pub(crate) fn run(in_a_terminal: &str, prepare: impl FnOnce(&mut Command)) -> Terminal {
        let mut command = Command::new("script");
        command
            .args(["-q", "-e", "-f", "-c", in_a_terminal, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("USER", "tester")
            .env_remove("CHAT_ACCESS_TOKEN")
            .env_remove("NO_COLOR");
        prepare(&mut command);
        Terminal {
            program: Program::start(&mut command),
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
            raw: Vec::new(),
        }
    }

    /// Starts a client named alice, and waits until it is logged in as the only user.
    #[track_caller]
    pub(crate) fn alice(address: SocketAddr) -> Terminal {
        let mut alice = Terminal::start(address, "-n alice", |_| {});
        alice.shows("hh:mm * 1 online: alice", "alice> ");
        alice
    }

    /// Like [`alice`](Terminal::alice), without presence. So TAB asks the server, which knows
    /// users that have just logged in.
    #[track_caller]
    pub(crate) fn alice_without_presence(address: SocketAddr) -> Terminal {
        let mut alice = Terminal::start(address, "-n alice --no-presence", |_| {});
        alice.shows("hh:mm * 1 online: alice", "alice> ");
        alice
    }

    /// Starts an interactive shell with the prompt `shell: `, which controls jobs.
    #[track_caller]
    pub(crate) fn shell() -> Terminal {
        let command = format!("stty rows {ROWS} cols {COLUMNS}; exec dash -i");
        let mut shell = Terminal::run(&command, |command| {
            command.env("PS1", "shell: ");
        });
        shell.shows("", "shell: ");
        shell
    }

    #[track_caller]
    pub(crate) fn types(&mut self, keys: &str) {
        self.program.types(keys.as_bytes());
    }

    /// Waits for this row, and for a row that ends with `cursor_row` at the cursor.
    #[track_caller]
    pub(crate) fn shows(&mut self, row: &str, cursor_row: &str) {
        self.waits_for(
            &format!("{row:?}, and the cursor after {cursor_row:?}"),
            |terminal| {
                let row = row.is_empty() || terminal.rows().iter().any(|shown| shown == row);
                row && terminal.before_cursor().ends_with(cursor_row)
            },
        );
    }

    /// Waits until the client has reported this many lost connections.
    #[track_caller]
    pub(crate) fn shows_losses(&mut self, count: usize) {
        self.waits_for(&format!("{count} lost connections"), |terminal| {
            let rows = terminal.rows();
            let losses = rows.iter().filter(|row| row.contains("! Connection lost"));
            losses.count() == count
        });
    }

    #[track_caller]
    pub(crate) fn waits_for(&mut self, what: &str, holds: impl Fn(&Terminal) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            match self.program.next_output(deadline) {
                Ok(bytes) => {
                    self.screen.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(e) => panic!(
                    "{e}; expected {what} in\n{}",
                    self.screen.screen().contents()
                ),
            }
        }
    }

    /// Returns the rows, with `hh:mm` for the time of day.
    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.screen.screen().rows(0, COLUMNS.get());
        rows.map(|row| without_time(row.trim_end())).collect()
    }

    /// Returns the row of the cursor, up to the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        let (row, column) = self.screen.screen().cursor_position();
        self.screen.screen().contents_between(row, 0, row, column)
    }

    /// Waits until the program ends. Returns its exit code and the last rows.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (Option<i32>, Vec<String>) {
        // script(1) also waits for the end of its own input.
        let status = self.program.ends();
        let deadline = Instant::now() + DEADLINE;
        while let Ok(bytes) = self.program.next_output(deadline) {
            self.screen.process(&bytes);
        }
        (status.code(), self.rows())
    }
}

/// Replaces the time at the beginning of a row.
fn without_time(row: &str) -> String {
    let is_time = |row: &[u8]| {
        matches!(
            row,
            [
                b'0'..=b'2',
                b'0'..=b'9',
                b':',
                b'0'..=b'5',
                b'0'..=b'9',
                b' ',
                ..
            ]
        )
    };
    match is_time(row.as_bytes()) {
        true => format!("hh:mm{}", &row[5..]),
        false => row.to_owned(),
    }
}

/// Returns whether the tools for a pseudo-terminal are installed.
pub(crate) fn has_terminal_tools() -> bool {
    ["script", "stty"].into_iter().all(has_tool)
}

/// Starts a server, and a client named alice in a terminal.
///
/// Returns `None` if the tools for a pseudo-terminal are missing.
#[track_caller]
pub(crate) fn server_and_alice() -> Option<(Server, Terminal)> {
    if !has_terminal_tools() {
        return None;
    }
    let server = Server::start(&[]);
    let alice = Terminal::alice(server.address);
    Some((server, alice))
}

/// Starts a server at the address of an earlier one.
#[track_caller]
pub(crate) fn restart(address: SocketAddr) -> Server {
    Server::start(&["-l", &address.to_string()])
}

/// Returns the process id of the client that was started for this server.
#[track_caller]
pub(crate) fn pid_of_client(server: &Server) -> u32 {
    let address = server.address.to_string();
    let entries = fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_ours = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.starts_with(client()) && command.contains(&address)
    };
    let mut pids = pids.filter_map(|pid| pid.parse().ok());
    pids.find(is_ours).expect("the client")
}
