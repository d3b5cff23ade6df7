//! The client: what someone uses who does not want to type protocol by hand, and what
//! a script uses.
//!
//! | module | what it is |
//! |---|---|
//! | [`address`] | the address of a server, as it is typed |
//! | [`connection`] | the wire side: requests out, events in |
//! | `watch` | when a silent server is asked, and given up |
//! | [`log_in`](mod@log_in) | from an address and a name to a connection with a session |
//! | [`link`](mod@link) | a connection that comes back when it is lost |
//! | [`typed`] | what a typed line means, and how a long one is cut |
//! | [`display`] | how what happens looks |
//! | [`wrap`] | where its rows end |
//! | [`screen`] | printing while a line is being typed |
//! | [`tty`] | the mode of the terminal, taken over and given back |
//! | [`keys`] | what the keyboard sends: keys, pastes and reports |
//! | [`editor`] | the line being typed |
//! | `layout` | how many rows it takes |
//! | [`first_name`] | the name to begin with |
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
pub mod display;
pub mod editor;
pub mod exit;
pub mod first_name;
pub mod keys;
mod layout;
pub mod link;
pub mod log_in;
pub mod options;
pub mod screen;
pub mod script;
pub mod show;
pub mod terminal;
pub mod tty;
pub mod typed;
mod watch;
pub mod wrap;

pub use connection::{Answer, Connection, Event, Requests};
