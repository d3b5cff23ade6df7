//! The exercise of chapter 4: a writer that makes few writes.
//!
//! `drain` below makes a system call for each message. Change it as follows:
//!
//! - It writes all queued messages in one write, but at most [`MAX_BATCH`] bytes. A message may
//!   be cut between two writes.
//! - It never waits for more messages while it has bytes to write.
//! - It goes on after a partial write, and after the error
//!   [`Interrupted`](io::ErrorKind::Interrupted). It returns any other error.
//!
//! It returns when all senders are dropped and all messages are written.

use crossbeam_channel::Receiver;
use std::io::{self, Write};

/// How many bytes one write has at most.
pub(crate) const MAX_BATCH: usize = 4_096;

/// Writes the messages of the queue to the socket. Change this function.
pub(crate) fn drain(queue: &Receiver<Vec<u8>>, socket: &mut dyn Write) -> io::Result<()> {
    for message in queue {
        socket.write_all(&message)?;
    }
    Ok(())
}

mod test {
    use super::MAX_BATCH;
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
        queued_messages_take_the_fewest_writes(drain);
        messages_that_arrive_during_a_write_share_the_next(drain);
        partial_and_interrupted_writes_continue(drain);
        error_ends_the_drain(drain);
    }

    fn queued_messages_take_the_fewest_writes(drain: Drain) {
        for (count, length) in [
            (1, 10),
            (1_000, 100),
            (3, 3 * MAX_BATCH),
            (4, MAX_BATCH),
            (0, 0),
        ] {
            let (queue, bytes) = filled(count, length);
            let mut writes = Writes::default();
            drain(&queue, &mut writes).expect("all is written");
            assert_eq!(writes.0.concat(), bytes);
            let longest = writes.0.iter().map(Vec::len).max().unwrap_or(0);
            assert_eq!(
                (writes.0.len(), longest),
                (bytes.len().div_ceil(MAX_BATCH), bytes.len().min(MAX_BATCH)),
                "{count} messages of {length} bytes: number of writes, and the longest"
            );
        }
    }

    fn messages_that_arrive_during_a_write_share_the_next(drain: Drain) {
        let (sender, queue) = unbounded();
        let (mut socket, written, go_on) = Slow::new();
        let thread = thread::spawn(move || drain(&queue, &mut socket));
        let next = || written.recv_timeout(DEADLINE).expect("a write");
        sender.send(b"alone".to_vec()).expect("a receiver");
        assert_eq!(next(), b"alone");
        // The first write is still blocked when these messages arrive.
        for number in 0..50 {
            sender.send(vec![number; 10]).expect("a receiver");
        }
        go_on.send(()).expect("a receiver");
        let expected: Vec<u8> = (0..50).flat_map(|number| [number; 10]).collect();
        assert_eq!(next(), expected);
        drop((sender, go_on));
        thread.join().expect("no panic").expect("no error");
    }

    fn partial_and_interrupted_writes_continue(drain: Drain) {
        let (queue, bytes) = filled(100, 100);
        let mut socket = Partial::default();
        drain(&queue, &mut socket).expect("all is written");
        assert_eq!(socket.accepted, bytes);
    }

    fn error_ends_the_drain(drain: Drain) {
        let (sender, queue) = unbounded();
        sender.send(b"lost".to_vec()).expect("a receiver");
        let error = drain(&queue, &mut Broken).expect_err("a broken pipe");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    /// Returns a queue with this many messages of this length, and all their bytes.
    fn filled(count: usize, length: usize) -> (Receiver<Vec<u8>>, Vec<u8>) {
        let (sender, queue) = unbounded();
        let mut bytes = Vec::new();
        for number in 0..count {
            let message = vec![number as u8; length];
            bytes.extend_from_slice(&message);
            sender.send(message).expect("a receiver");
        }
        (queue, bytes)
    }

    /// A socket that keeps the bytes of each write.
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

    /// A socket that reports each write, and blocks in it until `go_on` gets a message.
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
            // Blocks until a message arrives or the other end is dropped.
            let _ = self.go_on.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A socket that accepts seven bytes at a time, and fails with `Interrupted` each third time.
    #[derive(Default)]
    struct Partial {
        accepted: Vec<u8>,
        calls: usize,
    }

    impl Write for Partial {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(7);
            self.accepted.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A socket that fails.
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
