//! Telnet sequences in the input (section 1).

use crate::support::{Client, Server};
use rustix::net::SendFlags;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

const PUTTY: &[u8] =
    b"\xFF\xFB\x1F\xFF\xFB\x20\xFF\xFB\x18\xFF\xFB\x27\xFF\xFD\x01\xFF\xFB\x03\xFF\xFD\x03";

#[test]
fn putty_negotiation_leaves_a_usable_session() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw(PUTTY);
    let mut answer = [0; 6];
    client
        .stream()
        .read_exact(&mut answer)
        .expect("both answers");
    assert_eq!(&answer, b"\xFF\xFC\x01\xFF\xFC\x03");
    client.set_name("putty");
    client.barrier();
}

#[test]
fn ctrl_c_in_telnet_is_answered_and_leaves_a_usable_session() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    client.send_raw(b"\r\n\r\nPing he\xFF\xF4\xFF\xFD\x06llo\r\n");
    let mut answer = [0; 3];
    client.stream().read_exact(&mut answer).expect("the answer");
    assert_eq!(&answer, b"\xFF\xFC\x06");
    client.expect("200 OK", "Pong hello");
    client.barrier();
}

#[test]
fn urgent_bytes_stay_in_the_stream() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    let send_urgent = |client: &Client, byte: u8| {
        let sent = rustix::net::send(client.stream(), &[byte], SendFlags::OOB);
        assert_eq!(sent, Ok(1));
    };
    // Telnet's Synch is IAC, and then DM as urgent data (RFC 854).
    client.send_raw(b"\r\n\r\nPi\xFF");
    send_urgent(&client, b'\xF2');
    client.send_raw(b"ng hello\r\n");
    client.expect("200 OK", "Pong hello");
    client.send_raw(b"\r\n\r\nPing he");
    send_urgent(&client, b'l');
    client.send_raw(b"lo\r\n");
    client.expect("200 OK", "Pong hello");
}

#[test]
fn telnet_sequences_are_removed_at_any_position_and_cut() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let request =
        b"\xFF\xFB\x01\r\xFF\xF1\n\xFF\xFF\r\nPi\xFF\xFA\x18\0xterm\xFF\xFF\xFF\xF0ng \xD0\xFF\xFE\x01\x96\r\n";
    client.send_raw(request);
    client.expect("200 OK", "Pong \u{416}");
    for byte in request {
        client.send_raw([*byte]);
    }
    client.expect("200 OK", "Pong \u{416}");
}

#[test]
fn server_ends_unterminated_subnegotiation_at_512_bytes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw([b"\n\nPing \xFF\xFA", &[b'x'; 512][..], b"text\n"].concat());
    client.expect("200 OK", "Pong text");
}

#[test]
fn telnet_sequences_do_not_count_toward_line_length() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let text = "x".repeat(8_512 - "Ping ".len());
    client.send_raw(
        [
            b"\n\nPing ",
            text.as_bytes(),
            &b"\xFF\xF1".repeat(1_000),
            b"\n",
        ]
        .concat(),
    );
    client.expect("200 OK", &format!("Pong {text}"));
}

#[test]
fn server_sends_nothing_before_a_request() {
    let server = Server::start(&[]);
    let client = server.connect();
    server.connect().barrier();
    client
        .stream()
        .set_nonblocking(true)
        .expect("an open socket");
    let kind = client
        .stream()
        .read(&mut [0])
        .expect_err("nothing to read")
        .kind();
    assert_eq!(kind, ErrorKind::WouldBlock);
}

#[test]
fn server_stops_reading_when_telnet_answers_are_unread() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let stream = client.stream();
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let before = server.proc_status("VmHWM");
    let flood = b"\xFF\xFD\x01".repeat(20_000);
    let mut sent = 0;
    let mut stuck = false;
    while sent < 64 << 20 && !stuck {
        match stream.write_some(&flood[sent % flood.len()..]) {
            Some(count) => sent += count,
            None => stuck = true,
        }
    }
    assert!(
        stuck,
        "the server has read {sent} bytes although its answers are unread"
    );
    let grown = server.proc_status("VmHWM").saturating_sub(before);
    assert!(grown < 4_096, "the process grew by {grown} kB");
    // Every question is answered once the client reads.
    let mut answers = vec![0; sent / 3 * 3];
    client
        .stream()
        .read_exact(&mut answers)
        .expect("all answers");
    assert!(answers.chunks(3).all(|answer| answer == b"\xFF\xFC\x01"));
    let rest = &b"\xFF\xFD\x01"[sent % 3..];
    if sent % 3 > 0 {
        client.send_raw(rest);
        client
            .stream()
            .read_exact(&mut [0; 3])
            .expect("the last answer");
    }
    client.barrier();
}

trait WriteSome {
    fn write_some(&self, bytes: &[u8]) -> Option<usize>;
}

impl WriteSome for std::net::TcpStream {
    /// Writes until the timeout. Returns the number of bytes, and `None` for none.
    fn write_some(&self, bytes: &[u8]) -> Option<usize> {
        let mut stream = self;
        match stream.write(bytes) {
            Ok(count) => Some(count),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(e) => panic!("cannot send: {e}"),
        }
    }
}

#[test]
fn telnet_answers_keep_to_the_rate() {
    let server = Server::start_with(&["--rate", "10", "--burst", "5"], |_| {});
    let client = server.connect();
    let begun = Instant::now();
    for option in 0..15 {
        let mut stream = client.stream();
        stream
            .write_all(&[255, 253, option])
            .expect("an open socket");
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, [255, 252, option]);
    }
    // The client makes 15 requests. The first 5 pass at once, and the last is answered before
    // its delay.
    assert!(
        begun.elapsed() >= Duration::from_millis(850),
        "{:?}",
        begun.elapsed()
    );
}
