//! The ten status codes (section 5).
//!
//! Does not know which response or notice has which status.

use std::fmt;

/// A status code with its reason phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Success, and every delivery.
    Ok,
    /// The session already has this name.
    NotModified,
    /// The request is malformed.
    BadRequest,
    /// The request has no session to act for, or the login deadline has passed.
    Unauthorized,
    /// The request is understood and refused.
    Forbidden,
    /// No session has that name.
    NotFound,
    /// The request is an HTTP request.
    TeaPocket,
    /// The server has a defect.
    InternalServerError,
    /// The command does not exist.
    NotImplemented,
    /// The recipient or the client cannot take more, or the server shuts down.
    BadGateway,
}

impl Status {
    /// All status codes, in numerical order.
    pub const ALL: [Status; 10] = [
        Status::Ok,
        Status::NotModified,
        Status::BadRequest,
        Status::Unauthorized,
        Status::Forbidden,
        Status::NotFound,
        Status::TeaPocket,
        Status::InternalServerError,
        Status::NotImplemented,
        Status::BadGateway,
    ];

    /// Parses a status line. Returns `None` for any other line.
    pub fn parse(line: &[u8]) -> Option<Status> {
        Status::ALL
            .into_iter()
            .find(|status| status.line().as_bytes() == line)
    }

    /// Returns whether the request has had its effect, now or before.
    pub fn is_success(self) -> bool {
        matches!(self, Status::Ok | Status::NotModified)
    }

    /// Returns the status line, without its line end.
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::TeaPocket => "418 I'm a tea pocket",
            Status::InternalServerError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::BadGateway => "502 Bad Gateway",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.line())
    }
}
