//! Ten kinds of faulty clients.

use crate::support::Client;
use std::net::SocketAddr;
use std::thread;

/// A kind of faulty client. It connects, misbehaves and disconnects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Sends each byte by itself.
    ByteByByte,
    /// Sends many requests, reads nothing, and disconnects.
    Stalled,
    /// Reads some responses byte by byte, and disconnects.
    Trickle,
    /// Half-closes the connection after its requests, and reads the responses.
    HalfClose,
    /// Resets the connection within a request. It has used its token, so its session lingers.
    Reset,
    /// Sends nothing.
    Silent,
    /// Sends the random bytes of this seed.
    Garbage(u64),
    /// Begins a TLS handshake.
    TlsHello,
    /// Sends NUL and lone CR within lines.
    NulAndLoneCr,
    /// Cuts a character in two, between two writes and at the end of a line.
    CutCharacter,
}

impl Fault {
    /// Returns the kind of this number. All kinds take turns.
    pub(crate) fn nth(number: u64) -> Fault {
        match number % 10 {
            0 => Fault::ByteByByte,
            1 => Fault::Stalled,
            2 => Fault::Trickle,
            3 => Fault::HalfClose,
            4 => Fault::Reset,
            5 => Fault::Silent,
            6 => Fault::Garbage(number),
            7 => Fault::TlsHello,
            8 => Fault::NulAndLoneCr,
            _ => Fault::CutCharacter,
        }
    }

    /// Runs the client, with this name if it needs one. Panics if a response is wrong.
    #[track_caller]
    pub(crate) fn run(self, server: SocketAddr, name: &str) {
        let _report = ReportOnPanic(self);
        let mut client = Client::connect(server);
        client.ignore_deliveries = true;
        match self {
            Fault::ByteByByte => {
                for byte in format!("\n\nSet-name {name}\n\n\nQuit\n").bytes() {
                    client.send_raw([byte]);
                }
                client.token = client.next().header;
                client.expect("200 OK", "Goodbye");
                client.expect_end();
            }
            Fault::Stalled => {
                client.set_name(name);
                client.send_raw("\n\nHelp\n".repeat(500));
                // With unread input, the close becomes a reset.
                client.wait_for_input();
            }
            Fault::Trickle => {
                client.set_name(name);
                client.send_raw("\n\nHelp\n".repeat(50));
                client.read_bytes_one_by_one(200);
            }
            Fault::HalfClose => {
                client.send_raw(format!(
                    "\n\nSet-name {name}\n\n\nPing\n\n\nPing unfinished"
                ));
                client.close_input();
                client.token = client.next().header;
                client.expect("200 OK", "Pong");
                client.expect_end();
            }
            Fault::Reset => {
                client.set_name(name);
                client.use_token();
                client.send_raw("\n\nBroadcast-message unfini");
                client.reset();
            }
            Fault::Silent => {}
            Fault::Garbage(seed) => {
                let mut random = Random::new(seed);
                let bytes: Vec<u8> = (0..random.below(20_000))
                    .map(|_| random.next() as u8)
                    .collect();
                client.send_raw(bytes);
                client.close_input();
                client.rest_or_reset();
            }
            Fault::TlsHello => {
                client.send_raw(tls_hello());
                client.close_input();
                let answers = client.rest_or_reset();
                for line in answers.split_terminator("\r\n").step_by(3) {
                    assert_eq!(line, "400 Bad Request", "{answers}");
                }
            }
            Fault::NulAndLoneCr => {
                for (byte, code) in [('\0', "0000"), ('\r', "000D")] {
                    client.ask(
                        &format!("Ping a{byte}b"),
                        "400 Bad Request",
                        &format!("Forbidden character U+{code}"),
                    );
                }
                client.send_raw("\r\r\r");
                client.close_input();
                client.expect_end();
            }
            Fault::CutCharacter => {
                client.send_raw(b"\n\nPing \xC3");
                client.send_raw(b"\xA9\n");
                client.expect("200 OK", "Pong é");
                client.send_raw(b"\n\nPing \xC3\n");
                client.expect("400 Bad Request", "Not UTF-8");
                client.send_raw(b"\n\nPing \xC3");
                client.close_input();
                client.expect_end();
            }
        }
    }
}

/// Prints the kind and its seed after a panic.
struct ReportOnPanic(Fault);

impl Drop for ReportOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the fault was {:?}", self.0);
        }
    }
}

/// Returns the first bytes of a TLS handshake: a record of version 3.1 with a hello of version
/// 3.3. The rest of the hello is random.
fn tls_hello() -> Vec<u8> {
    let mut random = Random::new(0x16);
    let mut bytes = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    bytes.extend((0..506).map(|_| random.next() as u8));
    bytes
}

/// A generator of pseudo-random numbers that depend only on the seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // A state of zero would stay zero, and small seeds would begin alike.
        Random(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
