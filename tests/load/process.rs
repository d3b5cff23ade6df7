//! What the server's process costs, read from outside: processor time, context switches,
//! memory, threads.
//!
//! Linux only, by `/proc` and by the processor clock that a process has. The clock counts
//! nanoseconds where `/proc/PID/stat` counts ticks of 10 ms; it is the same time, user and
//! system together, and it includes threads that have ended.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// A process that is measured.
pub(crate) struct Process {
    folder: PathBuf,
    clock: ClockId,
}

/// Context switches since the threads that are there now began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switches {
    /// A thread waited.
    pub(crate) voluntary: u64,
    /// A thread was made to wait.
    pub(crate) involuntary: u64,
}

/// How big a process is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rss_kib: u64,
    pub(crate) threads: u64,
}

impl Process {
    /// The process of this number, which has to be there.
    pub(crate) fn of(pid: u32) -> io::Result<Process> {
        let raw = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Process {
            folder: PathBuf::from(format!("/proc/{pid}")),
            clock: ClockId::pid_cpu_clock_id(Pid::from_raw(raw))?,
        })
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        Ok(self.clock.now()?.into())
    }

    /// Its context switches, summed over its threads. Takes milliseconds where these are
    /// thousands, so it is not to be called between two looks at the time.
    pub(crate) fn switches(&self) -> io::Result<Switches> {
        let mut sum = Switches {
            voluntary: 0,
            involuntary: 0,
        };
        for task in fs::read_dir(self.folder.join("task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            sum.voluntary += figure(&status, "voluntary_ctxt_switches")?;
            sum.involuntary += figure(&status, "nonvoluntary_ctxt_switches")?;
        }
        Ok(sum)
    }

    /// How big it is now.
    pub(crate) fn size(&self) -> io::Result<Size> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        Ok(Size {
            rss_kib: figure(&status, "VmRSS")?,
            threads: figure(&status, "Threads")?,
        })
    }
}

/// The processor time that the generator itself has used.
pub(crate) fn own_cpu() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// A figure of a `status` file: kB, or a count.
fn figure(status: &str, name: &str) -> io::Result<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no {name} in /proc")))
}
