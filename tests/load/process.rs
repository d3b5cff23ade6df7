//! The resources of the servers' processes, read from outside: CPU time, context switches,
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

/// A thread of a measured process.
#[cfg(feature = "redis")]
pub(crate) struct Thread {
    folder: PathBuf,
}

#[cfg(feature = "redis")]
impl Thread {
    /// Returns its CPU time, in nanoseconds of the scheduler.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let times = fs::read_to_string(self.folder.join("schedstat"))?;
        let nanos = times
            .split_whitespace()
            .next()
            .and_then(|it| it.parse().ok());
        let nanos = nanos.ok_or_else(|| io::Error::other("no time in schedstat"))?;
        Ok(Duration::from_nanos(nanos))
    }
}

/// The processes of the loaded servers. Their resources are added up.
pub(crate) struct Measured {
    processes: Vec<Process>,
    further: Box<dyn Fn() -> io::Result<Counters>>,
}

/// Further counters that only grow, each with the name of its figure.
pub(crate) type Counters = Vec<(&'static str, f64)>;

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

    /// Returns its first thread with this name.
    #[cfg(feature = "redis")]
    pub(crate) fn thread(&self, name: &str) -> io::Result<Thread> {
        for task in fs::read_dir(self.folder.join("task"))? {
            let folder = task?.path();
            if fs::read_to_string(folder.join("comm"))?.trim_end() == name {
                return Ok(Thread { folder });
            }
        }
        Err(io::Error::other(format!("no thread {name}")))
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

impl Measured {
    /// Measures these processes.
    pub(crate) fn new(processes: Vec<Process>) -> Measured {
        Measured::with(processes, || Ok(Counters::new()))
    }

    /// Measures these processes and further counters.
    pub(crate) fn with(
        processes: Vec<Process>,
        further: impl Fn() -> io::Result<Counters> + 'static,
    ) -> Measured {
        Measured {
            processes,
            further: Box::new(further),
        }
    }

    /// Returns the CPU time of all processes.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// Returns the context switches of all processes. It takes as long as
    /// [`Process::switches`].
    pub(crate) fn switches(&self) -> io::Result<Switches> {
        let each = self.processes.iter().map(Process::switches);
        each.reduce(|sum, next| {
            let (sum, next) = (sum?, next?);
            Ok(Switches {
                voluntary: sum.voluntary + next.voluntary,
                involuntary: sum.involuntary + next.involuntary,
            })
        })
        .unwrap_or_else(|| Err(io::Error::other("no process")))
    }

    /// Returns the size of all processes.
    pub(crate) fn size(&self) -> io::Result<Size> {
        let each = self.processes.iter().map(Process::size);
        each.reduce(|sum, next| {
            let (sum, next) = (sum?, next?);
            Ok(Size {
                rss_kib: sum.rss_kib + next.rss_kib,
                threads: sum.threads + next.threads,
            })
        })
        .unwrap_or_else(|| Err(io::Error::other("no process")))
    }

    /// Returns the further counters.
    pub(crate) fn counters(&self) -> io::Result<Counters> {
        (self.further)()
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
