//! The server as its clients see it, and the client as its users do: each test starts
//! the real binary on a free port and talks to it through real sockets. One file a
//! topic; the numbers in comments are the sections of the protocol
//! (`src/protocol/mod.rs`).

mod addresses;
mod bad_input;
mod blank;
mod capacity;
mod command_line;
mod commands;
mod course;
mod delivery;
#[cfg(feature = "client")]
mod emulators;
mod endings;
mod fault_client;
mod faults;
mod framing;
mod listening;
mod load;
mod login;
mod logs;
mod machine;
mod make;
mod model;
#[cfg(feature = "client")]
mod network;
#[cfg(feature = "client")]
mod outages;
#[cfg(feature = "client")]
mod pty;
mod readme;
mod reconnecting;
mod resuming;
#[cfg(feature = "client")]
mod script;
mod seeds;
mod signals;
mod support;
mod telnet;
#[cfg(feature = "client")]
mod terminal;
mod tokens;
mod tools;
#[cfg(feature = "client")]
mod typing;
