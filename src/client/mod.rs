//! The client: what someone uses who does not want to type protocol by hand, and what
//! a script uses.
//!
//! | module | what it is |
//! |---|---|
//! | [`connection`] | the wire side: requests out, events in |
//! | [`log_in`](mod@log_in) | from an address and a name to a connection with a session |
//! | [`link`](mod@link) | a connection that comes back when it breaks |
//! | [`typed`] | what a typed line means, and how a long one is cut |
//! | [`display`] | how what happens looks |
//! | [`screen`] | what is printed while somebody types |
//! | [`editor`] | the line being typed |
//! | [`terminal`] | the conversation at a terminal: the typing side |
//! | [`show`] | and the reading side |
//! | [`script`] | sending and listening without one |
//! | [`options`] | the command line |
//! | [`exit`] | how it ends: exit codes |
//!
//! Other programs take [`Connection`], which has an example.
//!
//! # The threads, at a terminal
//!
//! ```text
//!   keyboard ─► main ──── requests ───► sender ─► socket
//!   screen ◄─ printer ◄── lines ──────  link   ◄─ socket
//! ```
//!
//! `main` edits the line and knows what it means. `sender` writes requests and waits
//! while there is no connection. `link` reads what comes, and connects again when that
//! ends. `printer` shows it above the line being typed; `signals` gives the terminal back
//! if somebody kills us. The channels between them form no cycle, so none can wait for
//! itself. `main` waits for nobody but the keyboard; for an answer that it has asked for
//! with a deadline; and when the user leaves, until everything has been answered, which
//! Ctrl-C ends.

pub mod connection;
pub mod display;
pub mod editor;
pub mod exit;
pub mod link;
pub mod log_in;
pub mod options;
pub mod screen;
pub mod script;
pub mod show;
pub mod terminal;
pub mod typed;

pub use connection::{Answer, Connection, Event, Requests};
