//! The client: a library for programs that use the protocol, and the program `chat-client`.
//!
//! | module | what it is |
//! |---|---|
//! | [`access`] | the access token, and where it comes from |
//! | [`address`] | parses the address of a server |
//! | [`addresses`] | the servers that are one chat, in the order in which they are tried |
//! | [`connection`] | a connection to a server: its receiving half, and events |
//! | [`requests`] | its sending half, and the pending requests |
//! | `watch` | decides when a silent server gets a `Ping`, and when it is given up |
//! | [`login`] | from addresses and a name to a connection with a session |
//! | [`reconnecting`] | a client that reconnects when its connection is lost |
//! | `sender`, `receiver` | the two threads of a reconnecting client |
//! | [`split`] | splits a long text into messages |
//! | [`terminal`] | the conversation at a terminal, with a map of its own |
//! | [`script`] | sending and listening without a terminal |
//! | [`options`] | the command line |
//! | [`exit`] | the exit codes |
//!
//! Does not know the server's code. Other programs use [`Connection`], which has an example.
//!
//! # The threads, at a terminal
//!
//! ```text
//!   keyboard ─► main ── requests ─► sender   ─► socket
//!   screen  ◄── main ◄── lines ──── receiver ◄─ socket
//! ```
//!
//! - `main` edits the line, executes what the user has typed, and prints waiting lines when it
//!   paints.
//! - `sender` writes requests. While there is no connection, it waits.
//! - `receiver` reads events and formats them as lines. When the connection is lost, it
//!   reconnects.
//! - `presence` prints one line about the logins, logouts and renames that had no line of their own.
//! - `printer` makes `main` paint while the user edits a line.
//! - `resizes` makes `main` paint again after the window has changed its size.
//! - `signals` restores the terminal if a signal ends the client.
//!
//! Invariant: *no two threads wait for each other without a timeout*.

pub mod access;
pub mod address;
pub mod addresses;
pub mod connection;
pub mod exit;
pub mod login;
pub mod options;
mod receiver;
pub mod reconnecting;
pub mod requests;
pub mod script;
mod sender;
pub mod split;
pub mod terminal;
mod watch;

pub use connection::{Connection, Event, ServerResponse};
pub use requests::Requests;
