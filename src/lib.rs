//! A chat server for the protocol CP/0.0.0: so far its pure parts, bytes and
//! strings in, values out.

#![forbid(unsafe_code)]

pub mod limits;
pub mod line;
pub mod protocol;
pub mod rate;
pub mod telnet;
