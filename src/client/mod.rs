//! The client: what someone uses who does not want to type protocol by hand, and what
//! a script uses.
//!
//! | module | what it is |
//! |---|---|
//! | [`address`] | the address of a server, as it is typed |
//! | [`connection`] | the wire side: requests out, events in |
//! | `watch` | when a silent server is asked, and given up |
//! | [`login`] | from an address and a name to a connection with a session |
//! | [`reconnecting`] | a connection that comes back when it is lost |
//! | [`split`] | how a long text is cut into messages |
//! | [`terminal`] | the conversation at a terminal, with a map of its own |
//! | [`script`] | sending and listening without one |
//! | [`options`] | the command line |
//! | [`exit`] | how it ends: exit codes |
//!
//! Other programs take [`Connection`], which has an example.
//!
//! # The threads, at a terminal
//!
//! ```text
//!   keyboard ─► main ── requests ─► sender ─► socket
//!   screen  ◄── main ◄── lines ──── link   ◄─ socket
//! ```
//!
//! `main` edits the line, knows what it means, and prints what has come when it paints.
//! `sender` writes requests and waits while there is no connection. `link` reads what comes,
//! and connects again when that ends. `printer` makes `main` paint while a line is being
//! edited. `resizes` does so when the window has another size, and `signals` gives the
//! terminal back if the client is killed. The channels between them form no cycle, so none
//! can wait for itself.

pub mod address;
pub mod connection;
pub mod exit;
pub mod login;
pub mod options;
pub mod reconnecting;
pub mod script;
pub mod split;
pub mod terminal;
mod watch;

pub use connection::{Answer, Connection, Event, Requests};
