//! The exercise of chapter 4: a writer that makes few writes.
//!
//! `drain` below makes a system call for each message. Change it, so that
//!
//! - it makes one write of all that is there, but of [`BATCH`] bytes at most: a message may
//!   be cut between two writes;
//! - it never waits for more while it has something to write;
//! - it goes on where the socket takes only a part of what it is given, or says
//!   [`Interrupted`](io::ErrorKind::Interrupted), and gives any other error back.
//!
//! It ends when all senders are gone and everything is written.

use crossbeam_channel::Receiver;
use std::io::{self, Write};

/// The most bytes of one write.
pub(crate) const BATCH: usize = 4_096;

/// Writes what comes through the queue. This is what you change.
pub(crate) fn drain(queue: &Receiver<Vec<u8>>, socket: &mut dyn Write) -> io::Result<()> {
    for message in queue {
        socket.write_all(&message)?;
    }
    Ok(())
}

mod test {
    use super::BATCH;
    use crate::solutions;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
    use std::io::{self, Write};
    use std::thread;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[test]
    #[ignore = "the exercise of chapter 4"]
    fn exercise() {
        check(super::drain);
    }

    #[test]
    fn solution() {
        check(solutions::thread_cost::drain);
    }

    type Drain = fn(&Receiver<Vec<u8>>, &mut dyn Write) -> io::Result<()>;

    fn check(drain: Drain) {
        what_is_there_is_written_in_the_fewest_writes(drain);
        a_message_alone_is_written_at_once_and_all_that_came_meanwhile_behind_it(drain);
        a_socket_may_take_a_part_and_interrupt(drain);
        an_error_ends_it(drain);
    }

    fn what_is_there_is_written_in_the_fewest_writes(drain: Drain) {
        for (count, length) in [(1, 10), (1_000, 100), (3, 3 * BATCH), (4, BATCH), (0, 0)] {
            let (queue, bytes) = filled(count, length);
            let mut writes = Writes::default();
            drain(&queue, &mut writes).expect("it takes all");
            assert_eq!(writes.0.concat(), bytes);
            let longest = writes.0.iter().map(Vec::len).max().unwrap_or(0);
            assert_eq!(
                (writes.0.len(), longest),
                (bytes.len().div_ceil(BATCH), bytes.len().min(BATCH)),
                "{count} messages of {length} bytes: how many writes, and the longest"
            );
        }
    }

    fn a_message_alone_is_written_at_once_and_all_that_came_meanwhile_behind_it(drain: Drain) {
        let (sender, queue) = unbounded();
        let (mut socket, written, go_on) = Slow::new();
        let thread = thread::spawn(move || drain(&queue, &mut socket));
        let next = || written.recv_timeout(DEADLINE).expect("it is written");
        sender.send(b"alone".to_vec()).expect("it lives");
        assert_eq!(next(), b"alone");
        // While it is being written, some more come.
        for number in 0..50 {
            sender.send(vec![number; 10]).expect("it lives");
        }
        go_on.send(()).expect("it lives");
        let expected: Vec<u8> = (0..50).flat_map(|number| [number; 10]).collect();
        assert_eq!(next(), expected);
        drop((sender, go_on));
        thread.join().expect("no panic").expect("no error");
    }

    fn a_socket_may_take_a_part_and_interrupt(drain: Drain) {
        let (queue, bytes) = filled(100, 100);
        let mut socket = Grudging::default();
        drain(&queue, &mut socket).expect("it takes all in the end");
        assert_eq!(socket.taken, bytes);
    }

    fn an_error_ends_it(drain: Drain) {
        let (sender, queue) = unbounded();
        sender.send(b"lost".to_vec()).expect("it lives");
        let error = drain(&queue, &mut Broken).expect_err("it is broken");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// A queue in which so many messages of this length stand, and their bytes.
    fn filled(count: usize, length: usize) -> (Receiver<Vec<u8>>, Vec<u8>) {
        let (sender, queue) = unbounded();
        let mut bytes = Vec::new();
        for number in 0..count {
            let message = vec![number as u8; length];
            bytes.extend_from_slice(&message);
            sender.send(message).expect("it lives");
        }
        (queue, bytes)
    }

    /// Keeps each write by itself.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Tells of each write, and does not come back from it before it may.
    struct Slow {
        written: Sender<Vec<u8>>,
        go_on: Receiver<()>,
    }

    impl Slow {
        fn new() -> (Slow, Receiver<Vec<u8>>, Sender<()>) {
            let (written, writes) = unbounded();
            let (going_on, go_on) = bounded(0);
            (Slow { written, go_on }, writes, going_on)
        }
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.written.send(bytes.to_vec());
            // Or until the other end is dropped.
            let _ = self.go_on.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes seven bytes at a time, and interrupts each third time.
    #[derive(Default)]
    struct Grudging {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Grudging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(7);
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
