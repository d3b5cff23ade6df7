//! The responses of a server that shares its chat with others, when it cannot ask them.
//!
//! All of them have the status 502.
//!
//! Does not know how servers reach each other.

use std::fmt;

use super::username::Username;

/// Why a request that concerns other servers was not carried out, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The request was not sent to the other servers.
    Others,
    /// The request was sent, and nothing tells whether it was carried out.
    OthersUnconfirmed,
    /// The request was not sent to the server of this user.
    ServerOf(Username),
    /// The request was sent to the server of this user, which has not confirmed it.
    ServerOfUnconfirmed(Username),
}

/// The end of the data if the request may have been carried out.
pub const MAY_HAVE_ARRIVED: &str = "; the message may have arrived";

/// Shows the data of the response.
impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreachable::Others => f.write_str("The other servers cannot be reached now"),
            Unreachable::OthersUnconfirmed => {
                write!(f, "{}{MAY_HAVE_ARRIVED}", Unreachable::Others)
            }
            Unreachable::ServerOf(name) => {
                write!(f, "The server of {name} cannot be reached now")
            }
            Unreachable::ServerOfUnconfirmed(name) => {
                write!(f, "No answer from the server of {name}{MAY_HAVE_ARRIVED}")
            }
        }
    }
}
