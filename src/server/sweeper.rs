//! The `sweeper` thread ends sessions whose linger time has expired.
//!
//! It blocks on three channels: the shutdown, the signal that a session begins to linger, and a
//! timer for the session that expires next. It ends at the shutdown.
//!
//! Does not know connections, and writes to none.
//!
//! Invariant: while no session lingers, the thread does not wake.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};
use log::info;

use crate::outbox::direct_write::{DirectWrites, PendingWrites};
use crate::sessions::Sessions;
use crate::threads::spawn;

/// Starts the thread. It ends when the last sender of `shutdown_rx` is dropped. No other thread
/// waits for its end.
pub(super) fn start(
    sessions: &Arc<Sessions>,
    linger: Duration,
    shutdown_rx: &Receiver<Infallible>,
) -> io::Result<()> {
    let (sessions, shutdown_rx) = (Arc::clone(sessions), shutdown_rx.clone());
    spawn("sweeper", move || sweep(&sessions, linger, &shutdown_rx))?;
    Ok(())
}

fn sweep(sessions: &Sessions, linger: Duration, shutdown_rx: &Receiver<Infallible>) {
    // The writer threads write to the watchers. A panic in a write would end this thread.
    let pending = PendingWrites::new(DirectWrites::new(false));
    let mut due = never();
    loop {
        select! {
            recv(shutdown_rx) -> _ => return,
            recv(sessions.expiry_signal()) -> _ => {}
            recv(due) -> _ => {}
        }
        let (ended, next) = sessions.expire_lingering(Instant::now(), linger, &pending);
        pending.flush();
        for session in ended {
            info!("expired lingering session of {}", session.name);
        }
        due = next.map_or_else(never, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Attachment;
    use crate::outbox::tests::next_number;
    use crate::protocol::literals::name;
    use crate::protocol::token::Token;
    use crate::sessions::Registration;
    use crossbeam_channel::bounded;
    use std::net::TcpStream;
    use std::thread;

    fn log_in(sessions: &Arc<Sessions>, its_name: &str, bits: u8) -> (Registration, TcpStream) {
        let (attachment, client) = Attachment::for_test(next_number());
        let mut connection = sessions.register(attachment, None).expect("room");
        let token = Token::from_bits([bits; 16]);
        connection
            .claim(&name(its_name), token, &PendingWrites::for_test(false))
            .expect("a free name");
        (connection, client)
    }

    fn let_linger(sessions: &Arc<Sessions>, its_name: &str, bits: u8) {
        let (mut connection, _client) = log_in(sessions, its_name, bits);
        sessions.use_token(connection.token().expect("a session"));
        let lost = connection.break_session(true, &PendingWrites::for_test(false));
        assert!(matches!(lost, Some((_, true))));
    }

    #[test]
    fn defective_watcher_does_not_end_the_sweeper() {
        let sessions = Sessions::new(10, None, 0);
        let (alice, _client) = log_in(&sessions, "alice", 1);
        let token = alice.token().expect("a session");
        let session = sessions.by_token(token).expect("it lives");
        assert!(sessions.watch(&session, true));
        let_linger(&sessions, "bob", 2);
        session.outbox.make_defective_when_half_full();
        let (_shutdown_tx, shutdown_rx) = bounded(0);
        start(&sessions, Duration::ZERO, &shutdown_rx).expect("a thread");
        let deadline = Instant::now() + Duration::from_secs(10);
        let is_alone = || sessions.names("", usize::MAX).1 == 1;
        for its_name in ["bob", "carol"] {
            while !is_alone() {
                assert!(Instant::now() < deadline, "{its_name} has not expired");
                thread::yield_now();
            }
            if its_name == "bob" {
                let_linger(&sessions, "carol", 3);
            }
        }
    }
}
