//! The server as its clients see it, and the client as its users do: each test starts
//! the real binary on a free port and talks to it through real sockets. One file a
//! topic; the numbers in comments are the sections of the protocol
//! (`src/protocol/mod.rs`).

/// How many may come from one address.
mod addresses;
/// Bad input: what is answered, in which order, and what it costs (6).
mod bad_input;
/// The command line: options, its errors, what is printed where.
mod command_line;
/// The seven commands, and each status code (2, 5).
mod commands;
/// The course: its code is what its experiments run.
mod course;
/// Order, bounds and gaps of what is delivered (7).
mod delivery;
/// How connections and the server end (4, and the signals).
mod endings;
/// A client that does everything wrong.
mod fault_client;
/// What bad clients leave behind: nothing.
mod faults;
/// Lines and requests, however they are cut (1).
mod framing;
/// The load generator, in small, and that it finds what is wrong.
mod load;
/// The time there is for a first name (3).
mod login;
/// What is logged, and what is not.
mod logs;
/// Where the machine ends: descriptors, threads, memory maps.
mod machine;
/// A model of the server, and clients that find out whether it is right (4 to 7).
mod model;
/// A network that can break.
#[cfg(feature = "client")]
mod network;
/// The README's conversation, the demo and the Makefile, replayed.
mod readme;
/// Breaking, lingering, resuming, taking over (4).
mod resuming;
/// The client in pipes.
#[cfg(feature = "client")]
mod script;
/// The server against the model.
mod seeds;
/// Starting servers, being clients.
mod support;
/// Telnet's bytes (1).
mod telnet;
/// The client at a terminal.
#[cfg(feature = "client")]
mod terminal;
/// Acting for a session by its token (4).
mod tokens;
/// The real netcat, telnet and curl.
mod tools;
