//! The life of one client, from the accept to the close.
//!
//! The reader thread, `reader-N`, reads requests, executes them and queues the responses. At
//! the end it releases session and connection in a fixed order, because guarantees depend on
//! it. The writer thread is started before the first name. Until then the reader thread writes
//! its few responses itself.
//!
//! It blocks in read(2), while its client does not read the responses, and while its client is
//! faster than the rate limit. Without a session it also blocks in write(2), at most for the
//! write timeout. Before each of these calls it drains the outboxes that it has filled
//! ([`crate::outbox`]). At the end it waits for its writer thread, and at most
//! [`CLOSE_TIMEOUT`](limits::CLOSE_TIMEOUT) for the client to close its side. It ends for one of
//! the reasons in `Ending`, or because a read fails.
//!
//! Does not know other clients.
//!
//! Invariant: whatever ends the conversation, both threads end with it. If the client, a
//! response or a panic ends it, the session has ended before the client can see the connection
//! close. A lost connection may leave its session behind, to be resumed.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, error, info, trace};
use rustix::net::sockopt;

#[cfg(feature = "redis")]
use crate::cluster::Node;
use crate::commands::{self, Outcome};
use crate::limits::{self, MAX_BAD_REQUESTS};
use crate::net::keepalive;
use crate::net::line_reader::LineReader;
use crate::outbox::direct_write::{DirectWrites, PendingWrites};
use crate::outbox::{Attachment, Loss};
use crate::protocol::framing::Line;
use crate::protocol::redact::Redacted;
use crate::protocol::reply::{Notice, Recent, Reply, Response};
use crate::protocol::request::{self, BadLine, BadStatusLine, Header, Request};
use crate::protocol::status::Status;
use crate::protocol::telnet::TelnetFilter;
use crate::server::rate_limit::RateLimiter;
use crate::server::refusal::Refuser;
use crate::sessions::Registration;
use input::{Input, drain_input};

pub mod input;
#[cfg(test)]
mod tests;

/// An accepted connection, with all that the reader thread needs.
pub struct Connection {
    /// Peer address, from `accept`. `peer_addr` fails after the client has reset the
    /// connection.
    pub peer: SocketAddr,
    /// Its registration among the sessions, with its socket.
    pub registration: Registration,
    /// The time of the accept.
    pub accepted_at: Instant,
    /// The longest time from the accept to the first name.
    pub login_timeout: Duration,
    /// The limit for its requests.
    pub rate_limiter: RateLimiter,
    /// Whether its session lingers if the connection is lost.
    pub may_linger: bool,
    /// What all reader threads share for their direct writes.
    pub direct_writes: Arc<DirectWrites>,
    /// Logs the refusal of a name for which no writer thread can be started.
    pub refuser: Refuser,
    /// This server as a node, if it shares its chat with others.
    #[cfg(feature = "redis")]
    pub node: Option<Arc<Node>>,
}

/// Serves one client until its connection is closed.
///
/// An idle client costs every page of its thread's stack that has ever been touched. So the
/// connection and its line reader are boxed: otherwise each function that they are moved
/// through would have a copy in its frame. `#[inline(never)]` keeps the frames of the functions
/// below apart, because one frame for all of them would be large.
pub fn serve(connection: Box<Connection>) {
    #[cfg(feature = "redis")]
    if let Some(node) = connection.node.clone() {
        return serve_with(connection, move |registration, pending, request| {
            commands::shared::execute(&node, registration, pending, request)
        });
    }
    serve_with(connection, commands::execute);
}

/// Serves with another function that executes requests. The tests have one that panics.
fn serve_with(
    mut connection: Box<Connection>,
    execute: impl Fn(&mut Registration, &PendingWrites, Request) -> Outcome,
) {
    let attachment = connection.registration.attachment();
    if let Err(e) = set_options(&attachment.socket, attachment.write_timeout) {
        debug!("setting socket options failed: {e}");
    }
    info!("connected from {}", connection.peer);
    let ending = request_loop_catching_panics(&mut connection, execute);
    close_connection(connection, ending);
}

/// Sets the socket options that differ from the kernel's defaults. Fails if the client has
/// already reset the connection. Then the next read fails too.
fn set_options(socket: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    // A batch is one write, and must not wait for the acknowledgement of the batch before it
    // (Nagle's algorithm, 40 ms).
    socket.set_nodelay(true)?;
    // SO_SNDTIMEO bounds one call of send(2).
    socket.set_write_timeout(Some(write_timeout))?;
    sockopt::set_socket_send_buffer_size(socket, limits::SEND_BUFFER_SIZE)?;
    let user_timeout = limits::USER_TIMEOUT.max(write_timeout + limits::USER_TIMEOUT_MARGIN);
    keepalive::detect_dead_peers(socket, user_timeout)
}

/// Why a conversation ended without a failed read.
enum Ending {
    /// The client closed its side, or the whole connection.
    EndOfInput,
    /// This response is the last.
    LastResponse(Reply),
    /// The client had no name at the login deadline.
    LoginTimeout,
    /// Nothing more is written to the connection: the server shuts down, a `Quit` or a
    /// resumption from elsewhere has ended it, or it is lost.
    Closed,
}

/// Runs the request loop. A panic in it becomes a last response.
#[inline(never)]
fn request_loop_catching_panics(
    connection: &mut Connection,
    execute: impl Fn(&mut Registration, &PendingWrites, Request) -> Outcome,
) -> io::Result<Ending> {
    let Connection {
        peer,
        registration,
        accepted_at,
        login_timeout,
        rate_limiter,
        direct_writes,
        refuser,
        ..
    } = connection;
    let pending = PendingWrites::new(Arc::clone(direct_writes));
    let input = Input {
        attachment: &Arc::clone(registration.attachment()),
        pending: &pending,
        telnet: TelnetFilter::default(),
        rate_limiter,
        login_deadline: Some(*accepted_at + *login_timeout),
    };
    let execute = |registration: &mut Registration, pending: &PendingWrites, request| {
        let outcome = execute(registration, pending, request);
        if matches!(&outcome, Outcome::Respond(reply) if reply.response == Response::ServerIsFull) {
            refuser.log_refusal(
                *peer,
                &Notice::ServerIsFull,
                "starting its writer thread failed",
            );
        }
        outcome
    };
    // A panic is a defect. It may leave an update of this connection half done, so the
    // connection is closed. Updates of the session map and of queues cannot panic. A panic in a
    // write to another client loses that connection too.
    let mut current_header = Ok(Header::Empty);
    let conversation = || request_loop(input, registration, &pending, &mut current_header, execute);
    panic::catch_unwind(AssertUnwindSafe(conversation)).unwrap_or_else(|_| {
        Ok(Ending::LastResponse(internal_error(
            registration,
            current_header,
        )))
    })
}

/// Reads requests, executes them and responds, until the conversation ends. During a request,
/// its header is in `current_header`, for the response to a panic.
fn request_loop(
    input: Input<'_>,
    registration: &mut Registration,
    pending: &PendingWrites,
    current_header: &mut Result<Header, BadLine>,
    mut execute: impl FnMut(&mut Registration, &PendingWrites, Request) -> Outcome,
) -> io::Result<Ending> {
    let attachment = Arc::clone(registration.attachment());
    let mut lines = Box::new(LineReader::new(input));
    let mut bad_requests = 0;
    while let Some(request) = read_request(&mut lines)? {
        lines.source_mut().wait_for_rate();
        if !attachment.wait_for_room(pending) {
            return Ok(Ending::Closed);
        }
        if lines.source_mut().login_deadline_passed() {
            return Ok(Ending::LoginTimeout);
        }
        let outcome = match request {
            Ok(request) => {
                *current_header = request.header;
                execute(registration, pending, request)
            }
            Err(bad_line) => reject_status_line(registration, bad_line),
        };
        match outcome {
            Outcome::AlreadyQueued => bad_requests = 0,
            Outcome::Respond(reply) => {
                let is_bad = reply.response.status() == Status::BadRequest;
                bad_requests = if is_bad { bad_requests + 1 } else { 0 };
                if bad_requests == MAX_BAD_REQUESTS {
                    return Ok(Ending::LastResponse(reply));
                }
                debug!("responded {}", reply.response.status());
                match &reply.response {
                    Response::Recent(recent) => {
                        respond_with_recent(&attachment, recent, &reply, pending);
                    }
                    _ => attachment.respond(reply.encode(), pending),
                }
            }
            Outcome::RespondAndClose(reply) => return Ok(Ending::LastResponse(reply)),
        }
        if registration.token().is_some() {
            lines.source_mut().clear_login_deadline()?;
        }
    }
    Ok(if attachment.loss().is_some() || !attachment.is_served() {
        Ending::Closed
    } else if lines.source_mut().login_deadline_passed() {
        Ending::LoginTimeout
    } else {
        Ending::EndOfInput
    })
}

/// Sends these messages and the response to a `Recent-messages`, with nothing between them.
///
/// Not inlined: its frame would take a page more of every idle client's stack.
#[inline(never)]
fn respond_with_recent(
    attachment: &Attachment,
    recent: &[Recent],
    reply: &Reply,
    pending: &PendingWrites,
) {
    let messages = recent.iter().map(|it| it.encode(reply.header));
    let messages: Vec<_> = messages.chain([reply.encode()]).collect();
    attachment.respond_with(messages, pending);
}

/// Reads the three lines of a request, or one line that is not a status line. Returns `None` at
/// the end of input, and then drops the lines of an incomplete request.
fn read_request(
    lines: &mut LineReader<impl Read>,
) -> io::Result<Option<Result<Request, BadStatusLine>>> {
    let Some(status_line) = next_line(lines)? else {
        return Ok(None);
    };
    if let Err(bad_line) = request::check_status_line(status_line) {
        return Ok(Some(Err(bad_line)));
    }
    let Some(header) = next_line(lines)? else {
        return Ok(None);
    };
    let header = Header::parse(header);
    let Some(body) = next_line(lines)? else {
        return Ok(None);
    };
    let body = request::printable(body);
    Ok(Some(Ok(Request { header, body })))
}

fn next_line<R: Read>(lines: &mut LineReader<R>) -> io::Result<Option<Line<'_>>> {
    let line = lines.next_line()?;
    match line {
        Some(Line::Whole(bytes)) => trace!("> {}", Redacted(bytes)),
        Some(Line::TooLong) => trace!("> (too long)"),
        None => {}
    }
    Ok(line)
}

/// Returns the response to a line where a request should begin.
fn reject_status_line(registration: &Registration, bad_line: BadStatusLine) -> Outcome {
    let reply = Reply {
        header: registration.token(),
        response: Response::BadStatusLine(bad_line),
    };
    match bad_line {
        // A browser sends more lines. Three of them could be taken for a request.
        BadStatusLine::Http => Outcome::RespondAndClose(reply),
        BadStatusLine::TooLong | BadStatusLine::NotEmpty => Outcome::Respond(reply),
    }
}

/// Returns the response to a request with this header whose execution panicked.
fn internal_error(registration: &Registration, current_header: Result<Header, BadLine>) -> Reply {
    error!("panic in a request: closing its connection");
    Reply {
        header: commands::fallback_header(registration, current_header),
        response: Response::Failed,
    }
}

/// Sends the last message, and ends the session and both threads. The connection counts as a
/// client until this returns.
#[inline(never)]
fn close_connection(mut connection: Box<Connection>, ending: io::Result<Ending>) {
    let attachment = Arc::clone(connection.registration.attachment());
    let client = match connection.registration.name() {
        Some(name) => format!("{name} ({})", connection.peer),
        None => connection.peer.to_string(),
    };
    let pending = PendingWrites::new(Arc::clone(&connection.direct_writes));
    // The session ends before the outbox is closed, so the name is free before the client can
    // see the close.
    if let Ok(Ending::EndOfInput | Ending::LastResponse(_)) = &ending {
        let ended = connection.registration.end_session(&pending);
        #[cfg(feature = "redis")]
        if let (Some(node), Some(session)) = (&connection.node, ended) {
            pending.flush();
            node.wait_for_release(session.token);
        }
        #[cfg(not(feature = "redis"))]
        drop(ended);
    }
    match &ending {
        Ok(Ending::LastResponse(reply)) => attachment.finish(Some(reply.encode())),
        Ok(Ending::EndOfInput) => attachment.finish(None),
        Ok(Ending::LoginTimeout) => {
            let notice = Notice::TooSlowToLogIn(connection.login_timeout.as_secs());
            attachment.finish(Some(notice.encoded(None)));
        }
        // Only the shutdown closes a connection that has no session.
        Ok(Ending::Closed) if attachment.outbox().is_none() => {
            attachment.finish(Some(Notice::ShuttingDown.encoded(None)));
        }
        Ok(Ending::Closed) => {}
        Err(_) => attachment.abort(),
    }
    // The watchers do not wait until this connection is closed.
    pending.flush();
    // While the writer thread writes the rest, unread input is safe in the kernel. Then it is
    // read and dropped: a close with unread input would reset the connection, and destroy what
    // the client has not read yet. After an end of input there is no unread input.
    connection.registration.writer.end();
    if !matches!(ending, Ok(Ending::EndOfInput)) {
        let mut buffer = vec![0; limits::READ_BUFFER_SIZE];
        drain_input(
            &attachment.socket,
            Instant::now() + limits::CLOSE_TIMEOUT,
            &mut buffer,
        );
    }
    let may_linger = connection.may_linger;
    release_session(
        connection.registration,
        &pending,
        ending,
        may_linger,
        &client,
    );
}

/// Ends the session if it has not ended yet, or lets it linger. Logs how the connection of this
/// client ended.
fn release_session(
    mut registration: Registration,
    pending: &PendingWrites,
    ending: io::Result<Ending>,
    may_linger: bool,
    client: &str,
) {
    let attachment = Arc::clone(registration.attachment());
    // `Ok` is a disconnect, `Err` a lost connection.
    let reason = match (ending, attachment.loss()) {
        (Ok(Ending::LastResponse(Reply { response, .. })), _) => {
            Ok(format!("last response {}, {response}", response.status()))
        }
        (Ok(Ending::EndOfInput), _) => Ok("end of input".to_owned()),
        (Ok(Ending::LoginTimeout), _) => Ok("login timeout".to_owned()),
        (Ok(Ending::Closed), None) if attachment.is_shutting_down() => Ok("shutdown".to_owned()),
        (Ok(Ending::Closed), None) => Ok("session ended from another connection".to_owned()),
        (Ok(Ending::Closed), Some(Loss::ResumedElsewhere)) => {
            Ok("session resumed from another connection".to_owned())
        }
        (Ok(Ending::Closed), Some(Loss::TooSlow)) => Err("write timeout".to_owned()),
        // A broken pipe is no loss. Either the client had closed its side, and the reader thread
        // had not read that yet, or the shutdown had shut down the socket.
        (Ok(Ending::Closed), Some(Loss::WriteFailed(e))) => match e.kind() {
            io::ErrorKind::BrokenPipe => Ok("closed during a write".to_owned()),
            _ => Err(format!("write failed: {e}")),
        },
        (Err(e), _) => Err(format!("read failed: {e}")),
    };
    match reason {
        Ok(reason) => {
            registration.end_session(pending);
            info!("disconnected {client}: {reason}");
        }
        Err(reason) => match registration.break_session(may_linger, pending) {
            Some((_, true)) => info!("lost {client}, session lingers: {reason}"),
            Some((_, false)) => info!("lost {client}, session ended: {reason}"),
            None => info!("lost {client}: {reason}"),
        },
    }
}
