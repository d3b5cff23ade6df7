//! A client in a pseudo-terminal: what is typed into it, and what it shows.
//!
//! Does not know the protocol. Invariant: everything that waits has a deadline, and a failure
//! shows the screen.

use crate::support::{DEADLINE, Program, Server, has_tool};
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::Command;
use std::time::Instant;

/// The path of the client.
pub(crate) fn client() -> &'static str {
    env!("CARGO_BIN_EXE_chat-client")
}

pub(crate) const ROWS: NonZero<u16> = NonZero::new(40).unwrap();
pub(crate) const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// The client in a pseudo-terminal, which script(1) gives it, and what it shows there.
pub(crate) struct Terminal {
    pub(crate) program: Program,
    pub(crate) screen: vt100::Parser,
    /// All that came, as it came.
    pub(crate) raw: Vec<u8>,
}

impl Terminal {
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

    /// Runs this in a shell in a terminal.
    #[track_caller]
    pub(crate) fn run(in_a_terminal: &str, prepare: impl FnOnce(&mut Command)) -> Terminal {
        let mut command = Command::new("script");
        command
            .args(["-q", "-e", "-f", "-c", in_a_terminal, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("USER", "tester")
            .env_remove("NO_COLOR");
        prepare(&mut command);
        Terminal {
            program: Program::start(&mut command),
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
            raw: Vec::new(),
        }
    }

    /// One that has logged in.
    #[track_caller]
    pub(crate) fn named(server: &Server, name: &str) -> Terminal {
        Terminal::named_at(server.address, name, "")
    }

    /// The same, through a network perhaps.
    #[track_caller]
    pub(crate) fn named_at(address: SocketAddr, name: &str, arguments: &str) -> Terminal {
        let mut terminal = Terminal::start(address, &format!("-n {name} {arguments}"), |_| {});
        terminal.shows(&format!("hh:mm * 1 online: {name}"), &format!("{name}> "));
        terminal
    }

    #[track_caller]
    pub(crate) fn types(&mut self, keys: &str) {
        self.program.types(keys.as_bytes());
    }

    /// Waits until a row shows this, and the one with the cursor ends with that.
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

    /// What the rows show, with the time of day made the same in all.
    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.screen.screen().rows(0, COLUMNS.get());
        rows.map(|row| without_time(row.trim_end())).collect()
    }

    /// The row with the cursor, as far as the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        let (row, column) = self.screen.screen().cursor_position();
        self.screen.screen().contents_between(row, 0, row, column)
    }

    /// Waits for it to end, and gives its exit code and what it still showed.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (Option<i32>, Vec<String>) {
        // script(1) waits for the end of its own input too.
        let status = self.program.ends();
        let deadline = Instant::now() + DEADLINE;
        while let Ok(bytes) = self.program.next_output(deadline) {
            self.screen.process(&bytes);
        }
        (status.code(), self.rows())
    }
}

pub(crate) fn without_time(row: &str) -> String {
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

pub(crate) fn can_be_tested() -> bool {
    ["script", "stty"].into_iter().all(has_tool)
}
