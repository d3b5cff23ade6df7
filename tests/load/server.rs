//! The loaded server: a running one, or the server of this build, started for a case.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::engine::Failure;
use super::floor::FLOOR_SERVER;
use super::process::Process;

/// The default options of the started server. They neither delay nor refuse a client. A queue
/// of 64 MiB holds the backlog of an open loop. A closed loop needs no such queue.
const UNLIMITED: [(&str, &str); 4] = [
    ("--rate", "0"),
    ("--max-clients", "100000"),
    ("--max-per-address", "0"),
    ("--queue", "67108864"),
];

/// A server. Dropping it ends the process, if this program has started it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// `None` if the process is on another machine.
    pub(crate) process: Option<Process>,
    started: Option<Child>,
}

impl Server {
    /// Uses a running server, and its process if it has a process id.
    pub(crate) fn at(address: SocketAddr, pid: Option<u32>) -> Result<Server, Failure> {
        let process = pid.map(Process::of).transpose();
        Ok(Server {
            address,
            process: process.map_err(|e| Failure(format!("no process {pid:?}: {e}")))?,
            started: None,
        })
    }

    /// Starts the chat server at this path on a free port. It has no limits except those in
    /// `options`. Its log goes to /dev/null at the usual level.
    pub(crate) fn start(path: &str, options: &[String]) -> Result<Server, Failure> {
        let unlimited = UNLIMITED
            .into_iter()
            .filter(|(name, _)| !options.iter().any(|option| option == name));
        let mut command = Command::new(path);
        command
            .args(["--listen", "127.0.0.1:0"])
            .args(unlimited.flat_map(<[&str; 2]>::from))
            .args(options)
            .env_remove("RUST_LOG");
        Server::spawn(command, path)
    }

    /// Starts the floor of the shape, which is this program with another argument.
    pub(crate) fn start_floor() -> Result<Server, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(FLOOR_SERVER);
        Server::spawn(command, FLOOR_SERVER)
    }

    /// Starts a server that prints its address as its first line.
    fn spawn(mut command: Command, name: &str) -> Result<Server, Failure> {
        let failed = |what: &str| Failure(format!("{name}: {what}"));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| failed(&e.to_string()))?;
        let stdout = child.stdout.take();
        let pid = child.id();
        // From here on, the drop of `server` ends the process, also after an error.
        let mut server = Server {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            process: None,
            started: Some(child),
        };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        server.address = line
            .strip_prefix("listening on ")
            .and_then(|address| address.trim_end().parse().ok())
            .ok_or_else(|| failed("it prints no address; run it by itself to see why"))?;
        server.process = Some(Process::of(pid)?);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
