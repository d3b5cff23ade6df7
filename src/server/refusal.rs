//! Refused connections: the client can read why, and the log says so once a minute.
//!
//! The refusal is one small write into an empty send buffer, and does not block. Only the close
//! takes time: if a socket is closed while the client's first bytes are on their way, the
//! connection is reset, and the reset destroys the refusal. So one thread, `refuser`, keeps
//! refused connections open until their clients close them, each at most for a second. It keeps
//! [`MAX_PENDING_REFUSALS`] at a time. Further ones are closed at once.
//!
//! The thread blocks on its channel, and in read(2) on one refused connection after the other. It
//! ends when the last [`Refuser`] is dropped, or with the process.
//!
//! Does not know sessions, or why a connection is refused.
//!
//! Invariant: a thread that refuses a connection does not wait for its client.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::warn;
use parking_lot::Mutex;

use crate::limits::{CLOSE_TIMEOUT, MAX_PENDING_REFUSALS, REFUSAL_READ_SIZE};
use crate::log_throttle::LogThrottle;
use crate::outbox::send_now;
use crate::protocol::reply::Notice;
use crate::server::connection::input::drain_input;
use crate::threads::spawn;

/// A handle of the thread `refuser`, which ends when the last handle is dropped.
#[derive(Clone)]
pub struct Refuser {
    refused: Sender<Refused>,
    /// The log's throttle for each notice, so that one kind does not fill the log. Locked only
    /// to count, and not while a line is logged.
    throttles: Arc<Mutex<HashMap<Notice, LogThrottle>>>,
}

/// A connection that has got its refusal.
struct Refused {
    socket: Arc<TcpStream>,
    /// The time at which it is closed, whatever the client does.
    deadline: Instant,
}

impl Refuser {
    /// Starts the thread. No other thread waits for its end.
    pub fn start() -> io::Result<Refuser> {
        let (refused, queue) = bounded(MAX_PENDING_REFUSALS);
        spawn("refuser", move || drain_refused(&queue))?;
        let throttles = Arc::default();
        Ok(Refuser { refused, throttles })
    }

    /// Logs that a client is refused with this notice, at most once a minute for each notice.
    pub fn log_refusal(&self, peer: SocketAddr, notice: &Notice, why: impl fmt::Display) {
        let mut throttles = self.throttles.lock();
        let suppressed = throttles
            .entry(notice.clone())
            .or_default()
            .record(Instant::now());
        drop(throttles);
        if let Some(suppressed) = suppressed {
            warn!("refused {peer}: {why}{suppressed}");
        }
    }

    /// Sends the notice as the only message of a connection, closes the connection, and logs why
    /// ([`Refuser::log_refusal`]).
    pub fn refuse(
        &self,
        socket: Arc<TcpStream>,
        peer: SocketAddr,
        notice: &Notice,
        why: impl fmt::Display,
    ) {
        self.log_refusal(peer, notice, why);
        // The accept thread must not wait for a client. The send buffer is empty, so the kernel
        // accepts all of it at once.
        let sent =
            send_now(&socket, &notice.encoded(None)).and_then(|_| socket.shutdown(Shutdown::Write));
        if sent.is_ok() {
            let deadline = Instant::now() + CLOSE_TIMEOUT;
            // If the queue is full, the socket is dropped, which closes it.
            let _ = self.refused.try_send(Refused { socket, deadline });
        }
    }
}

/// Drains one refused connection after the other, and closes each.
///
/// Each is closed about a second after its refusal at the latest. A slow client does not add to
/// that: while it is drained, the time of the connections behind it passes too.
fn drain_refused(queue: &Receiver<Refused>) {
    let mut buffer = vec![0; REFUSAL_READ_SIZE];
    for Refused { socket, deadline } in queue {
        drain_input(&socket, deadline, &mut buffer);
    }
}
