//! The exercise of chapter 7: a last line that is read, whatever the client does.
//!
//! `say_and_close` below says it and closes. Change it, so that
//!
//! - a client that reads gets all that was written to it before, then the line, then the
//!   end, and no reset, whatever it has sent by then and nobody has read;
//! - it closes as soon as the client has closed its side;
//! - it takes no longer than [`TIME`] (a little more does not matter), whatever the client
//!   does: it may read nothing, never close, or send a byte now and then for ever.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a client may take to read the line and close its side.
pub(crate) const TIME: Duration = Duration::from_secs(1);

/// Says the last line to a client. This is what you change.
pub(crate) fn say_and_close(mut socket: TcpStream, line: &[u8]) -> io::Result<()> {
    socket.write_all(line)
}

mod test {
    use super::TIME;
    use crate::solutions;
    use std::io::{self, ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    #[ignore = "the exercise of chapter 7"]
    fn exercise() {
        check(super::say_and_close);
    }

    #[test]
    fn solution() {
        check(solutions::clean_close::say_and_close);
    }

    type SayAndClose = fn(TcpStream, &[u8]) -> io::Result<()>;

    const LINE: &[u8] = b"Goodbye\r\n";

    /// Much longer than [`TIME`], for a machine that has other things to do.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn check(say_and_close: SayAndClose) {
        who_reads_gets_the_line_and_no_reset(say_and_close);
        who_closes_is_not_waited_for(say_and_close);
        who_never_closes_is_waited_for_so_long(say_and_close);
        who_sends_now_and_then_prolongs_nothing(say_and_close);
        who_does_not_read_is_left(say_and_close);
    }

    /// Both ends of a connection, the server's first.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        (listener.accept().expect("the client").0, client)
    }

    fn who_reads_gets_the_line_and_no_reset(say_and_close: SayAndClose) {
        for waiting in [0, 200 * 1024] {
            let (mut server, mut client) = connection();
            server
                .write_all(&vec![b'.'; waiting])
                .expect("room in the kernel");
            client
                .write_all(&[b'x'; 20_000])
                .expect("room in the kernel");
            thread::scope(|scope| {
                let closing = scope.spawn(move || say_and_close(server, LINE));
                let mut bytes = Vec::new();
                let result = client.read_to_end(&mut bytes);
                assert!(
                    bytes.ends_with(LINE),
                    "{} bytes of {} came, then {result:?}",
                    bytes.len(),
                    waiting + LINE.len()
                );
                assert_eq!(bytes.len(), waiting + LINE.len());
                // The reset may come behind the end of input, too.
                assert!(client.peer_addr().is_ok() && result.is_ok(), "it was reset");
                drop(client);
                closing.join().expect("no panic").expect("no error");
            });
        }
    }

    fn who_closes_is_not_waited_for(say_and_close: SayAndClose) {
        const CLIENTS: u32 = 50;
        let begin = Instant::now();
        for _ in 0..CLIENTS {
            let (server, client) = connection();
            drop(client);
            let _ = say_and_close(server, LINE);
        }
        let taken = begin.elapsed();
        assert!(taken < CLIENTS * TIME / 2, "{CLIENTS} took {taken:?}");
    }

    fn who_never_closes_is_waited_for_so_long(say_and_close: SayAndClose) {
        let (server, _client) = connection();
        let begin = Instant::now();
        let _ = say_and_close(server, LINE);
        let taken = begin.elapsed();
        assert!(taken >= TIME, "it was given {taken:?}");
        assert!(taken < DEADLINE, "it was given {taken:?}");
    }

    fn who_sends_now_and_then_prolongs_nothing(say_and_close: SayAndClose) {
        let (server, mut client) = connection();
        thread::scope(|scope| {
            scope.spawn(move || {
                let begin = Instant::now();
                // Until it is told that nobody is there.
                while begin.elapsed() < DEADLINE && client.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let begin = Instant::now();
            let _ = say_and_close(server, LINE);
            let taken = begin.elapsed();
            assert!(taken < DEADLINE, "it was given {taken:?}");
        });
    }

    fn who_does_not_read_is_left(say_and_close: SayAndClose) {
        let (mut server, client) = connection();
        server.set_nonblocking(true).expect("an open socket");
        let piece = [b'.'; 64 * 1024];
        let full = loop {
            if let Err(e) = server.write(&piece) {
                break e;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        server.set_nonblocking(false).expect("an open socket");
        // It ends at once where that is forgotten, or the test would never.
        thread::scope(|scope| {
            let closing = scope.spawn(move || {
                let begin = Instant::now();
                let _ = say_and_close(server, LINE);
                begin.elapsed()
            });
            let begin = Instant::now();
            while !closing.is_finished() && begin.elapsed() < DEADLINE {
                thread::sleep(Duration::from_millis(10));
            }
            drop(client);
            let taken = closing.join().expect("no panic");
            assert!(taken < DEADLINE, "it was given {taken:?}");
        });
    }
}
