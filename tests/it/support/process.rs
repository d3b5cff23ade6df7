//! Processes that are not the server: their signals, their ends and their output.
//!
//! Does not know the server or the protocol.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, wait_for};

/// A copy of a program that every user can execute. Dropping it removes the file.
pub(crate) struct ExecutableCopy(PathBuf);

impl ExecutableCopy {
    #[track_caller]
    pub(crate) fn copy(program: &str) -> ExecutableCopy {
        let name = Path::new(program).file_name().expect("a file");
        // Tests of one process run at the same time, so each copy needs its own name.
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", name.to_string_lossy(), std::process::id());
        let path = std::env::temp_dir().join(name);
        // Another process makes the copy. If this process had the file open for writing, a
        // server that another test starts now would inherit the descriptor, and a file that is
        // open for writing cannot be executed.
        let copied = Command::new("install")
            .args(["-m", "755", program])
            .arg(&path)
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy");
        ExecutableCopy(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for ExecutableCopy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[track_caller]
pub(super) fn pid_of(process: u32) -> Pid {
    let process = process.try_into().expect("a process id");
    Pid::from_raw(process).expect("a process id")
}

/// Sends a signal to a process.
#[track_caller]
pub(crate) fn signal(process: u32, signal: Signal) {
    kill_process(pid_of(process), signal).expect("a running process");
}

/// Stops a process and waits until all its threads have stopped.
#[cfg(any(feature = "client", feature = "redis"))]
#[track_caller]
pub(crate) fn stop(pid: u32) {
    signal(pid, Signal::STOP);
    wait_for("the stop of all threads", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("Linux");
        tasks.filter_map(Result::ok).all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).expect("Linux");
            let (_, state) = stat.rsplit_once(") ").expect("a state");
            state.starts_with('T')
        })
    });
}

/// Waits until a child ends by itself.
#[track_caller]
pub(crate) fn status_of(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_for("the exit", || {
        status = child.try_wait().expect("a status");
        status.is_some()
    });
    status.expect("an exit status")
}

/// Waits until a child ends, and returns what it printed.
#[track_caller]
pub(crate) fn output_of(mut child: Child) -> String {
    let output = chunks_of(child.stdout.take().expect("a pipe"));
    let (deadline, mut printed) = (Instant::now() + DEADLINE, Vec::new());
    let end = loop {
        match next_chunk(&output, deadline) {
            Ok(chunk) => printed.extend(chunk),
            Err(end) => break end,
        }
    };
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if end == RecvTimeoutError::Timeout {
        let _ = child.kill();
        panic!("the process does not end; it printed {printed:?}");
    }
    status_of(&mut child);
    printed
}

/// Reads a pipe on another thread, so that a wait for its output can have a deadline.
fn chunks_of(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, chunks) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let _ = sender.send(buffer[..count].to_vec());
        }
    });
    chunks
}

fn next_chunk(chunks: &Receiver<Vec<u8>>, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
    chunks.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

/// A program whose input a test types and whose output it reads. Dropping it kills the process.
pub(crate) struct Program {
    child: Child,
    output: Receiver<Vec<u8>>,
}

impl Program {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = chunks_of(child.stdout.take().expect("a pipe"));
        Program { child, output }
    }

    #[track_caller]
    pub(crate) fn types(&mut self, keys: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin
            .write_all(keys)
            .and_then(|()| stdin.flush())
            .expect("the program reads");
    }

    /// Returns its next output. Fails at the end of the output and at the deadline.
    pub(crate) fn next_output(&self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        next_chunk(&self.output, deadline)
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        self::signal(self.child.id(), signal);
    }

    /// Closes its input and waits until it ends.
    #[cfg(feature = "client")]
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.child.stdin = None;
        status_of(&mut self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
