//! Integration tests: the server as its clients see it, and the client as its users see it.
//!
//! Each test starts the real binary on a free port and talks to it through real sockets. Each
//! file has one topic. Section numbers in comments refer to the protocol
//! (`src/protocol/mod.rs`).

mod access;
#[cfg(feature = "client")]
mod access_client;
mod addresses;
#[cfg(feature = "client")]
mod addresses_client;
mod bad_input;
mod blank;
mod capacity;
mod closing;
mod command_line;
mod commands;
mod course;
mod delivery;
#[cfg(feature = "client")]
mod emulators;
mod fault_client;
mod faulty_clients;
mod framing;
mod history;
#[cfg(feature = "client")]
mod install;
mod layers;
mod listening;
mod load;
mod login;
mod logs;
mod make;
mod model;
mod model_check;
mod netcat_telnet_curl;
#[cfg(feature = "client")]
mod outages;
mod presence;
#[cfg(feature = "client")]
mod presence_terminal;
#[cfg(feature = "client")]
mod proxy;
#[cfg(feature = "client")]
mod pty;
mod readme;
mod reconnecting;
mod resource_limits;
mod resuming;
#[cfg(feature = "client")]
mod script;
#[cfg(feature = "redis")]
mod servers;
mod shutdown;
mod signals;
mod support;
mod telnet;
#[cfg(feature = "client")]
mod terminal;
mod tokens;
#[cfg(feature = "client")]
mod typing;
