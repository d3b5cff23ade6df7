use crate::thread_cost::MAX_BATCH;
use crossbeam_channel::Receiver;
use std::io::{self, Write};

/// Writes batches. It blocks on the queue only if no bytes are left to write.
pub(crate) fn drain(queue: &Receiver<Vec<u8>>, socket: &mut dyn Write) -> io::Result<()> {
    let mut unwritten: Vec<u8> = Vec::new();
    loop {
        if unwritten.is_empty() {
            match queue.recv() {
                Ok(message) => unwritten = message,
                Err(_) => return Ok(()),
            }
        }
        while unwritten.len() < MAX_BATCH
            && let Ok(message) = queue.try_recv()
        {
            unwritten.extend(message);
        }
        let batch = &unwritten[..unwritten.len().min(MAX_BATCH)];
        match socket.write(batch) {
            Ok(0) if !batch.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => drop(unwritten.drain(..count)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
