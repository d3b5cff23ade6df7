//! The exercise of chapter 8: a last message that every client can read.
//!
//! `send_and_close` below sends the message and closes. Change it as follows:
//!
//! - A client that reads gets all that was written before, then the message, then the end of
//!   input. It gets no reset, even if it has sent input that was not read.
//! - The function returns as soon as the client has closed its side.
//! - It takes no longer than [`CLOSE_TIMEOUT`] (a little more does not matter). The client may
//!   read nothing, never close, or keep sending single bytes.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a client may take to read the message and close its side.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the last message to a client, and closes. Change this function.
pub(crate) fn send_and_close(mut socket: TcpStream, message: &[u8]) -> io::Result<()> {
    socket.write_all(message)
}

mod test {
    use super::CLOSE_TIMEOUT;
    use crate::solutions;
    use std::io::{self, ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    #[ignore = "the exercise of chapter 8"]
    fn exercise() {
        check(super::send_and_close);
    }

    #[test]
    fn solution() {
        check(solutions::clean_close::send_and_close);
    }

    type SendAndClose = fn(TcpStream, &[u8]) -> io::Result<()>;

    const MESSAGE: &[u8] = b"Goodbye\r\n";

    /// Much longer than [`CLOSE_TIMEOUT`], for a busy machine.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn check(send_and_close: SendAndClose) {
        client_reads_the_message_and_gets_no_reset(send_and_close);
        close_by_the_client_ends_the_wait(send_and_close);
        client_that_never_closes_gets_the_full_timeout(send_and_close);
        trickled_input_does_not_extend_the_timeout(send_and_close);
        stalled_reader_does_not_block_the_close(send_and_close);
    }

    /// Returns both ends of a connection, the server's first.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("a client");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        (listener.accept().expect("the client").0, client)
    }

    fn client_reads_the_message_and_gets_no_reset(send_and_close: SendAndClose) {
        for waiting in [0, 200 * 1024] {
            let (mut server, mut client) = connection();
            server
                .write_all(&vec![b'.'; waiting])
                .expect("room in the kernel");
            client
                .write_all(&[b'x'; 20_000])
                .expect("room in the kernel");
            thread::scope(|scope| {
                let closing = scope.spawn(move || send_and_close(server, MESSAGE));
                let mut bytes = Vec::new();
                let result = client.read_to_end(&mut bytes);
                assert!(
                    bytes.ends_with(MESSAGE),
                    "read {} bytes of {}, then {result:?}",
                    bytes.len(),
                    waiting + MESSAGE.len()
                );
                assert_eq!(bytes.len(), waiting + MESSAGE.len());
                // A reset may also arrive after the end of input.
                assert!(client.peer_addr().is_ok() && result.is_ok(), "a reset");
                drop(client);
                closing.join().expect("no panic").expect("no error");
            });
        }
    }

    fn close_by_the_client_ends_the_wait(send_and_close: SendAndClose) {
        const CLIENTS: u32 = 50;
        let begin = Instant::now();
        for _ in 0..CLIENTS {
            let (server, client) = connection();
            drop(client);
            let _ = send_and_close(server, MESSAGE);
        }
        let taken = begin.elapsed();
        assert!(
            taken < CLIENTS * CLOSE_TIMEOUT / 2,
            "{CLIENTS} took {taken:?}"
        );
    }

    fn client_that_never_closes_gets_the_full_timeout(send_and_close: SendAndClose) {
        let (server, _client) = connection();
        let begin = Instant::now();
        let _ = send_and_close(server, MESSAGE);
        let taken = begin.elapsed();
        assert!(taken >= CLOSE_TIMEOUT, "returned after {taken:?}");
        assert!(taken < DEADLINE, "returned after {taken:?}");
    }

    fn trickled_input_does_not_extend_the_timeout(send_and_close: SendAndClose) {
        let (server, mut client) = connection();
        thread::scope(|scope| {
            scope.spawn(move || {
                let begin = Instant::now();
                // The write fails when the server has closed the connection.
                while begin.elapsed() < DEADLINE && client.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let begin = Instant::now();
            let _ = send_and_close(server, MESSAGE);
            let taken = begin.elapsed();
            assert!(taken < DEADLINE, "returned after {taken:?}");
        });
    }

    fn stalled_reader_does_not_block_the_close(send_and_close: SendAndClose) {
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
        // A function without a write timeout blocks until the client is dropped below. So the
        // test fails, and does not hang.
        thread::scope(|scope| {
            let closing = scope.spawn(move || {
                let begin = Instant::now();
                let _ = send_and_close(server, MESSAGE);
                begin.elapsed()
            });
            let begin = Instant::now();
            while !closing.is_finished() && begin.elapsed() < DEADLINE {
                thread::sleep(Duration::from_millis(10));
            }
            drop(client);
            let taken = closing.join().expect("no panic");
            assert!(taken < DEADLINE, "returned after {taken:?}");
        });
    }
}
