//! The ten status codes (section 5).

use std::fmt;

/// A status code with its reason phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Success, and every delivery.
    Ok,
    /// The name is the one that the session has already.
    NotModified,
    /// The request is malformed.
    BadRequest,
    /// There is no session to act for.
    Unauthorized,
    /// Understood and refused.
    Forbidden,
    /// No one has that name.
    NotFound,
    /// An HTTP request came.
    TeaPocket,
    /// A defect of the server.
    InternalServerError,
    /// There is no such command.
    NotImplemented,
    /// The far side cannot take it.
    BadGateway,
}

impl Status {
    /// All ten, in the order of their codes.
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

    /// The status of this status line; `None` if it is anything else.
    pub fn parse(line: &[u8]) -> Option<Status> {
        Status::ALL
            .into_iter()
            .find(|status| status.line().as_bytes() == line)
    }

    /// Whether what was asked has been done, or was so already.
    pub fn is_success(self) -> bool {
        matches!(self, Status::Ok | Status::NotModified)
    }

    /// The status line of a message, without its end.
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
