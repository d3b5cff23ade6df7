//! A client that does everything wrong, in ten ways.

use crate::support::Client;
use std::net::SocketAddr;
use std::thread;

/// One way of being a bad client. Each comes, does what it does, and is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Sends each byte by itself.
    ByteByByte,
    /// Asks for much, reads nothing, and is gone.
    Stalled,
    /// Reads what it asked for a byte at a time, and gives up.
    Trickle,
    /// Closes its side behind its requests, and reads the answers.
    HalfClose,
    /// Breaks off in the middle of a request; its token is known, so its session lingers.
    Reset,
    /// Says nothing.
    Silent,
    /// Sends bytes that mean nothing, those of this seed.
    Garbage(u64),
    /// Takes the port for one of TLS.
    TlsHello,
    /// Puts in what ends a line elsewhere.
    NulAndLoneCr,
    /// Cuts a character in half, between two writes and at the end of a line.
    CutCharacter,
}

impl Fault {
    /// A member of a series in which all ways take turns.
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

    /// Does it, under this name where it takes one. Whatever has an answer has the right
    /// one.
    #[track_caller]
    pub(crate) fn run(self, server: SocketAddr, name: &str) {
        let _told_on_failure = Told(self);
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
                // Gone with something unread in it, so it is reset.
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

/// Says on failure which it was, with the seed.
struct Told(Fault);

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the fault was {:?}", self.0);
        }
    }
}

/// The beginning of a conversation with a web server: a record of a handshake, of
/// version 3.1, with a hello of version 3.3 in it, whose rest is taken for random.
fn tls_hello() -> Vec<u8> {
    let mut random = Random::new(0x16);
    let mut bytes = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3];
    bytes.extend((0..506).map(|_| random.next() as u8));
    bytes
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        // Zero would stay zero, and small seeds would begin alike.
        Random(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    /// One of the numbers below this.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
