//! What both programs need for bytes and sockets: lines from a stream, and keepalive.
//!
//! Does not know what a line means, or whether a server or a client reads it.

pub mod keepalive;
pub mod line_reader;
