//! A Redis process for the servers of one chat.
//!
//! Does not know the keys or the scripts of the servers. Invariant: it ends with its test, and
//! leaves no file.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use redis::{Connection, FromRedisValue};
use rustix::process::Signal;

use super::{DEADLINE, process, wait_for};

/// The maximum bytes of the path of a unix socket.
const MAX_SOCKET_PATH: usize = 107;

/// A `redis-server` on a unix socket. Dropping it kills the process and removes its data.
pub(crate) struct Redis {
    folder: PathBuf,
    options: Vec<String>,
    child: Child,
}

impl Redis {
    /// Starts a Redis that saves nothing, with more options of redis-server(1).
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Redis {
        let folder = new_folder();
        let options: Vec<String> = options.iter().map(|&it| it.to_owned()).collect();
        let child = spawn(&folder, &options);
        let redis = Redis {
            folder,
            options,
            child,
        };
        redis.wait_until_ready();
        redis
    }

    /// Returns the URL for `--redis`.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", socket(&self.folder).display())
    }

    /// Returns the path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().expect("a connection to Redis")
    }

    fn try_connect(&self) -> redis::RedisResult<Connection> {
        let connection = redis::Client::open(self.url())?.get_connection()?;
        connection.set_read_timeout(Some(DEADLINE))?;
        connection.set_write_timeout(Some(DEADLINE))?;
        Ok(connection)
    }

    /// Sends one command on a connection of its own.
    #[track_caller]
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command
            .arg(&words[1..])
            .query(&mut self.connect())
            .unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    /// Stops the process until [`Redis::resume`].
    #[track_caller]
    pub(crate) fn stop(&self) {
        process::stop(self.child.id());
    }

    #[track_caller]
    pub(crate) fn resume(&self) {
        process::signal(self.child.id(), Signal::CONT);
    }

    /// Saves the data, which the next start loads.
    #[track_caller]
    pub(crate) fn save(&self) {
        self.ask::<()>(&["SAVE"]);
    }

    /// Kills the process. What it has not saved is lost.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process");
        self.child.wait().expect("a status");
    }

    /// Starts the process again after [`Redis::kill`], with the data that it saved last.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.options);
        self.wait_until_ready();
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        wait_for("an answer of Redis", || {
            let ping = |mut it| redis::cmd("PING").query::<String>(&mut it);
            self.try_connect().and_then(ping).is_ok()
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read_to_string(log(&self.folder)).unwrap_or_default();
            eprintln!("--- the log of Redis\n{log}---");
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("socket")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Makes a folder that no other process has, and whose socket has a path that is short enough.
#[track_caller]
fn new_folder() -> PathBuf {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let name = format!("redis-{}-{number}", std::process::id());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    let folder = match socket(&target).as_os_str().len() {
        ..=MAX_SOCKET_PATH => target,
        _ => std::env::temp_dir().join(name),
    };
    // A test that was killed has left it.
    let _ = fs::remove_dir_all(&folder);
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.expect("a new folder");
    folder
}

#[track_caller]
fn spawn(folder: &Path, options: &[String]) -> Child {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(log(folder));
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .args(["--loglevel", "warning", "--unixsocket"])
        .arg(socket(folder))
        .arg("--dir")
        .arg(folder)
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.expect("a file for the log"))
        .spawn()
        .expect("redis-server, which is a package of this name")
}
