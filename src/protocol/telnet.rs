//! The telnet filter (section 1): removes negotiation from the bytes of a client.
//!
//! It is a pure state machine over bytes. It keeps its state between calls, so a sequence may
//! be cut anywhere.
//!
//! Does not know lines or sockets.
//!
//! Invariant: *it removes no text.* Every sequence begins with the byte 255 (IAC), which never
//! occurs in UTF-8.
//!
//! It answers only `IAC DO x`, with `IAC WONT x`. When Ctrl-C is pressed, telnet sends `IAC DO
//! TIMING-MARK` and shows nothing more until the answer arrives (RFC 860). All other sequences
//! may stay unanswered (RFC 854). The server starts no negotiation, because netcat would show
//! its bytes.

use crate::limits::MAX_SUBNEGOTIATION;

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// The position of the filter in a sequence.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// In text, outside all sequences.
    #[default]
    Text,
    /// After IAC.
    Command,
    /// After IAC WILL, WONT or DONT.
    Option,
    /// After IAC DO.
    Do,
    /// In a subnegotiation, after this many bytes of it.
    Subnegotiation(usize),
    /// After an IAC in a subnegotiation, after this many bytes, the IAC included.
    SubnegotiationCommand(usize),
}

/// The telnet filter of one connection.
#[derive(Debug, Default)]
pub struct TelnetFilter {
    state: State,
}

impl TelnetFilter {
    /// Moves the text in `bytes` to their front, and returns its length.
    ///
    /// Appends the answers to `answers`.
    pub fn filter(&mut self, bytes: &mut [u8], answers: &mut Vec<u8>) -> usize {
        if matches!(self.state, State::Text) && !bytes.contains(&IAC) {
            return bytes.len();
        }
        let mut kept = 0;
        for at in 0..bytes.len() {
            let byte = bytes[at];
            self.state = match (self.state, byte) {
                (State::Text, IAC) => State::Command,
                (State::Text, _) => {
                    bytes[kept] = byte;
                    kept += 1;
                    State::Text
                }
                (State::Command, DO) => State::Do,
                (State::Command, WILL | WONT | DONT) => State::Option,
                (State::Command, SB) => State::Subnegotiation(0),
                (State::Do, option) => {
                    answers.extend([IAC, WONT, option]);
                    State::Text
                }
                (State::Command | State::Option, _) => State::Text,
                (State::SubnegotiationCommand(_), SE) => State::Text,
                (State::Subnegotiation(len) | State::SubnegotiationCommand(len), _)
                    if len + 1 == MAX_SUBNEGOTIATION =>
                {
                    State::Text
                }
                (State::Subnegotiation(len), IAC) => State::SubnegotiationCommand(len + 1),
                (State::Subnegotiation(len) | State::SubnegotiationCommand(len), _) => {
                    State::Subnegotiation(len + 1)
                }
            };
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Filters pieces that arrive one after the other. Returns the text and the answers.
    fn filtered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<u8>) {
        let (mut telnet, mut text, mut answers) = (TelnetFilter::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let mut piece = piece.to_vec();
            let kept = telnet.filter(&mut piece, &mut answers);
            text.extend_from_slice(&piece[..kept]);
        }
        (text, answers)
    }

    #[track_caller]
    fn check(bytes: &[u8], text: &[u8], answers: &[u8]) {
        let expected = (text.to_vec(), answers.to_vec());
        assert_eq!(filtered([bytes]), expected, "in one piece");
        assert_eq!(filtered(bytes.chunks(1)), expected, "byte by byte");
        for cut in 0..bytes.len() {
            assert_eq!(
                filtered([&bytes[..cut], &bytes[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn putty_and_ctrl_c_leave_nothing_in_the_text() {
        let putty =
            b"\xFF\xFB\x1F\xFF\xFB\x20\xFF\xFB\x18\xFF\xFB\x27\xFF\xFD\x01\xFF\xFB\x03\xFF\xFD\x03";
        check(putty, b"", b"\xFF\xFC\x01\xFF\xFC\x03");
        check(b"he\xFF\xF4\xFF\xFD\x06llo", b"hello", b"\xFF\xFC\x06");
    }

    #[test]
    fn every_kind_of_sequence_is_removed_and_only_do_is_answered() {
        check(
            b"a\xFF\xFBxb\xFF\xFCxc\xFF\xFExd\xFF\xFDxe",
            b"abcde",
            b"\xFF\xFCx",
        );
        check(b"a\xFF\xFFb\xFF\xF1c\xFF\xF6d", b"abcd", b"");
        check(b"\xFF\xFD\xFF.", b".", b"\xFF\xFC\xFF");
    }

    #[test]
    fn subnegotiation_may_contain_a_doubled_iac() {
        check(b"a\xFF\xFA\x18\x00xterm\xFF\xFF\xF0\xFF\xF0b", b"ab", b"");
    }

    #[test]
    fn unterminated_subnegotiation_ends_after_512_bytes() {
        let begun = |bytes: usize| [b"\xFF\xFA".to_vec(), vec![b'x'; bytes]].concat();
        check(&begun(512), b"", b"");
        check(&begun(513), b"x", b"");
        check(&[begun(510), b"\xFF\xF0hi".to_vec()].concat(), b"hi", b"");
        check(&[begun(511), b"\xFFhi".to_vec()].concat(), b"hi", b"");
    }

    proptest! {
        #[test]
        fn text_is_unchanged_and_cuts_do_not_matter(bytes: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            let whole = filtered([&bytes[..]]);
            prop_assert_eq!(&whole, &filtered([&bytes[..cut], &bytes[cut..]]));
            if !bytes.contains(&IAC) {
                prop_assert_eq!(&whole, &(bytes, Vec::new()));
            }
        }
    }
}
