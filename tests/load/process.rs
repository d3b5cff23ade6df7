//! The resources of the server's process, read from outside: CPU time, context switches,
//! memory, threads.
//!
//! Linux only: it reads `/proc` and the CPU clock of the process. The clock counts nanoseconds,
//! and `/proc/PID/stat` counts ticks of 10 ms. Both count user and system time, and include
//! ended threads.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// A measured process.
pub(crate) struct Process {
    folder: PathBuf,
    clock: ClockId,
}

/// The context switches of all present threads since they began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Switches {
    /// Switches in which a thread waited.
    pub(crate) voluntary: u64,
    /// Switches in which a thread was preempted.
    pub(crate) involuntary: u64,
}

/// The size of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) rss_kib: u64,
    pub(crate) threads: u64,
}

impl Process {
    /// Opens a running process.
    pub(crate) fn of(pid: u32) -> io::Result<Process> {
        let raw = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Process {
            folder: PathBuf::from(format!("/proc/{pid}")),
            clock: ClockId::pid_cpu_clock_id(Pid::from_raw(raw))?,
        })
    }

    /// Returns its CPU time.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        Ok(self.clock.now()?.into())
    }

    /// Returns the sum of its threads' context switches.
    ///
    /// With thousands of threads it takes milliseconds. So do not call it within a measured
    /// time.
    pub(crate) fn switches(&self) -> io::Result<Switches> {
        let mut sum = Switches {
            voluntary: 0,
            involuntary: 0,
        };
        for task in fs::read_dir(self.folder.join("task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            sum.voluntary += status_value(&status, "voluntary_ctxt_switches")?;
            sum.involuntary += status_value(&status, "nonvoluntary_ctxt_switches")?;
        }
        Ok(sum)
    }

    /// Returns its present size.
    pub(crate) fn size(&self) -> io::Result<Size> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        Ok(Size {
            rss_kib: status_value(&status, "VmRSS")?,
            threads: status_value(&status, "Threads")?,
        })
    }
}

/// Returns the CPU time of the generator itself.
pub(crate) fn own_cpu() -> io::Result<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

/// Reads a value of a `status` file: kB, or a count.
fn status_value(status: &str, name: &str) -> io::Result<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no {name} in /proc")))
}
