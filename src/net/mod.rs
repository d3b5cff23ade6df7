//! Byte and socket helpers of both programs: lines from a stream, and keepalive.
//!
//! The rule of this folder: only what the server and the client both need for bytes and sockets.
//!
//! Does not know what a line means, or whether a server or a client reads it.

pub mod keepalive;
pub mod line_reader;
