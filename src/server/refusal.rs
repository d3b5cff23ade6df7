//! Refusing a connection so that the client can read why, and now and then the log.
//!
//! The refusal is one small write into an empty send buffer, and does not block. What takes
//! time is the end of it: a socket that is closed while the client's
//! first bytes are on their way is reset, and the reset destroys the refusal. So
//! one thread, `refuser`, holds refused connections until the client has closed
//! them too, a second at most, [`MAX_PENDING_REFUSALS`] at a time; more are just closed.

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
use crate::outbox::send_now;
use crate::protocol::reply::Notice;
use crate::server::connection::input::drain_input;
use crate::server::log_throttle::LogThrottle;
use crate::threads::spawn;

/// A way to the `refuser` thread, which ends when the last of them is dropped.
#[derive(Clone)]
pub struct Refuser {
    refused: Sender<Refused>,
    /// What is told of each notice, so that the log does not fill up with one kind. Locked
    /// for the counting and not for the telling, by whoever refuses.
    told: Arc<Mutex<HashMap<Notice, LogThrottle>>>,
}

struct Refused {
    socket: Arc<TcpStream>,
    /// When it is closed, whatever the client does.
    deadline: Instant,
}

impl Refuser {
    /// Starts the thread. Nobody waits for it: it ends with the last `Refuser`, or
    /// with the process.
    pub fn start() -> io::Result<Refuser> {
        let (refused, queue) = bounded(MAX_PENDING_REFUSALS);
        spawn("refuser", move || drain_refused(&queue))?;
        let told = Arc::default();
        Ok(Refuser { refused, told })
    }

    /// Logs that a client is refused, at most once a minute for each notice.
    pub fn log_refusal(&self, peer: SocketAddr, notice: Notice, why: impl fmt::Display) {
        let mut told = self.told.lock();
        let suppressed = told.entry(notice).or_default().record(Instant::now());
        drop(told);
        if let Some(suppressed) = suppressed {
            warn!("refused {peer}: {why}{suppressed}");
        }
    }

    /// Sends the notice as the only message of a connection, and sees it off. The log is
    /// told why, unless it was a moment ago.
    pub fn refuse(
        &self,
        socket: Arc<TcpStream>,
        peer: SocketAddr,
        notice: Notice,
        why: impl fmt::Display,
    ) {
        self.log_refusal(peer, notice, why);
        // The accept thread must not wait for a client. The send buffer is empty, so the kernel
        // accepts all of it at once.
        let told =
            send_now(&socket, &notice.encoded(None)).and_then(|_| socket.shutdown(Shutdown::Write));
        if told.is_ok() {
            let deadline = Instant::now() + CLOSE_TIMEOUT;
            // No room: dropped, and so closed.
            let _ = self.refused.try_send(Refused { socket, deadline });
        }
    }
}

/// Drains one connection after the other. Each is closed at most a second after its refusal:
/// when the time of a slow one is over, so is that of those behind it.
fn drain_refused(queue: &Receiver<Refused>) {
    let mut buffer = vec![0; REFUSAL_READ_SIZE];
    for Refused { socket, deadline } in queue {
        drain_input(&socket, deadline, &mut buffer);
    }
}
