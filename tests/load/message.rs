//! Names of clients, texts with sender and sequence number, and the ledger that checks them.
//!
//! Pure. The ledger finds each message that is missing, doubled, out of order or damaged. Such
//! a message fails the run, because the metrics of a server that loses messages mean nothing.

use std::fmt;

/// The size of the shortest text: a sender, a number, and a space after each.
pub(crate) const SHORTEST: usize = SENDER_DIGITS + 1 + NUMBER_DIGITS + 1;

/// Enough for every client that one address and port can have.
const SENDER_DIGITS: usize = 5;
/// Enough for every `u32`.
const NUMBER_DIGITS: usize = 10;

/// Returns the name of a client. It is short because IRC limits names.
pub(crate) fn name(client: usize) -> String {
    format!("c{client:0SENDER_DIGITS$}")
}

/// Returns the client of a name.
fn client(name: &[u8]) -> Option<usize> {
    number(name.strip_prefix(b"c")?, SENDER_DIGITS).map(|client| client as usize)
}

/// A writer and reader of texts of one size.
pub(crate) struct Texts {
    filler: Vec<u8>,
}

impl Texts {
    /// Makes texts of this many bytes, at least [`SHORTEST`].
    pub(crate) fn new(length: usize) -> Texts {
        let filler = (b'a'..=b'z').cycle();
        Texts {
            filler: filler.take(length - SHORTEST).collect(),
        }
    }

    /// Writes the text of a sender's message with this number.
    pub(crate) fn write(&self, sender: usize, number: u32, out: &mut Vec<u8>) {
        put_digits(sender as u32, SENDER_DIGITS, out);
        out.push(b' ');
        put_digits(number, NUMBER_DIGITS, out);
        out.push(b' ');
        out.extend_from_slice(&self.filler);
    }

    /// Returns sender and number of a text, if every byte is as written.
    pub(crate) fn read(&self, sender: &[u8], text: &[u8]) -> Option<(usize, u32)> {
        let from = client(sender)?;
        let (head, filler) = text.split_at_checked(SHORTEST)?;
        let (written_by, numbered) = head.split_at(SENDER_DIGITS + 1);
        let is_whole = number(&written_by[..SENDER_DIGITS], SENDER_DIGITS) == Some(from as u32)
            && filler == self.filler;
        let number = number(&numbered[..NUMBER_DIGITS], NUMBER_DIGITS)?;
        is_whole.then_some((from, number))
    }
}

/// The number of the next message, for each recipient and sender.
pub(crate) struct Ledger {
    senders: usize,
    due: Vec<u32>,
}

impl Ledger {
    /// Makes an empty ledger. The first message has the number 0.
    pub(crate) fn new(recipients: usize, senders: usize) -> Ledger {
        Ledger {
            senders,
            due: vec![0; recipients * senders],
        }
    }

    /// Enters an arrived message.
    pub(crate) fn enter(
        &mut self,
        recipient: usize,
        sender: usize,
        number: u32,
    ) -> Result<(), Disorder> {
        let due = &mut self.due[recipient * self.senders + sender];
        if number != *due {
            return Err(Disorder { number, due: *due });
        }
        *due += 1;
        Ok(())
    }

    /// Returns the number of the next message.
    pub(crate) fn due(&self, recipient: usize, sender: usize) -> u32 {
        self.due[recipient * self.senders + sender]
    }
}

/// An arrived message that was not due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disorder {
    number: u32,
    due: u32,
}

impl fmt::Display for Disorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disorder { number, due } = self;
        if number < due {
            write!(f, "message {number} twice")
        } else {
            write!(
                f,
                "message {number} where {due} was due: missing or out of order"
            )
        }
    }
}

/// Writes a number with leading zeros, at a tenth of the cost of `write!`.
fn put_digits(value: u32, digits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits, b'0');
    let mut rest = value;
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Parses a number of exactly this many digits.
fn number(text: &[u8], digits: usize) -> Option<u32> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
