//! The exercise of chapter 8: out of descriptors, and polite.
//!
//! `accept_all` below waits when `accept` fails, and goes on. So nobody who is there is lost;
//! but whoever comes is left waiting without a word. Change it, so that
//!
//! - who comes when there is no descriptor left reads the line [`FULL`] and then the end, at
//!   once;
//! - when there is room again, who comes is served again;
//! - while it waits it uses no processor.
//!
//! A hint: to be able to open something when nothing can be opened, keep something open that
//! you can do without. And to know whether there is room again, try to have it back.

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What is said to whom there is no room for, on a line.
pub(crate) const FULL: &str = "full";

/// Accepts for ever, and serves each in a thread of its own. This is what you change.
pub(crate) fn accept_all(listener: &TcpListener, serve: fn(TcpStream)) -> io::Result<Infallible> {
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                thread::spawn(move || serve(socket));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

mod test {
    use super::{FULL, accept_all};
    use crate::solutions;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::convert::Infallible;
    use std::env;
    use std::fs;
    use std::io::{self, BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    #[ignore = "the exercise of chapter 8"]
    fn exercise() {
        check("resource_limits::test::exercise", accept_all);
    }

    #[test]
    fn solution() {
        check(
            "resource_limits::test::solution",
            solutions::resource_limits::accept_all,
        );
    }

    type AcceptAll = fn(&TcpListener, fn(TcpStream)) -> io::Result<Infallible>;

    /// Makes this program the server of the test of this name.
    const BE_SERVER: &str = "RUNNING_OUT_SERVER";

    /// What the server may have open, of which some are its own.
    const DESCRIPTORS: u64 = 24;

    const CLIENTS: usize = 60;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// The limit is a process's, and this one has other tests to run.
    fn check(test: &str, accept_all: AcceptAll) {
        if env::var_os(BE_SERVER).is_some() {
            be_server(accept_all);
        }
        let server = Server::start(test);
        // Twice, because what was used up would be missing the second time.
        for _ in 0..2 {
            let mut served = server.fill();
            let begin = server.ticks();
            thread::sleep(Duration::from_millis(500));
            let used = server.ticks() - begin;
            assert!(used < 25, "{used} hundredths of a second for waiting");
            for client in &mut served {
                assert_eq!(client.ask(), "hello", "it was there before");
            }
            drop(served);
            server.wait_for_room();
        }
    }

    fn be_server(accept_all: AcceptAll) -> ! {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let limit = Rlimit {
            current: Some(DESCRIPTORS),
            ..getrlimit(Resource::Nofile)
        };
        setrlimit(Resource::Nofile, limit).expect("less is allowed");
        // On a line of its own: the test harness has begun one.
        println!("\nlistening on {address}");
        let problem = accept_all(&listener, echo);
        panic!("it does not accept any more: {problem:?}");
    }

    /// Gives back each line that it reads.
    fn echo(socket: TcpStream) {
        for line in BufReader::new(&socket).lines().map_while(Result::ok) {
            let _ = (&socket).write_all(format!("{line}\n").as_bytes());
        }
    }

    struct Server {
        child: Child,
        address: SocketAddr,
    }

    impl Server {
        fn start(test: &str) -> Server {
            let mut child = Command::new(env::current_exe().expect("this program has a path"))
                .args(["--exact", test, "--include-ignored", "--nocapture"])
                .env(BE_SERVER, "")
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts");
            let stdout = child.stdout.take().expect("a pipe");
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let mut addresses =
                lines.filter_map(|line| line.strip_prefix("listening on ")?.parse().ok());
            let address = addresses.next();
            Server {
                child,
                address: address.expect("it says where it listens"),
            }
        }

        /// Connects more than there is room for. Gives those who are served, if all others
        /// have been told.
        fn fill(&self) -> Vec<Client> {
            let mut clients: Vec<Client> = (0..CLIENTS)
                .map(|_| Client::connect(self.address))
                .collect();
            let all = clients.len();
            clients.retain_mut(|client| match &*client.ask() {
                "hello" => true,
                FULL => false,
                other => panic!("{other}, instead of an answer"),
            });
            let (served, full) = (clients.len(), all - clients.len());
            assert!(
                served >= DESCRIPTORS as usize / 2,
                "only {served} were served"
            );
            assert!(full >= CLIENTS / 2, "{served} were served");
            clients
        }

        fn wait_for_room(&self) {
            let begin = Instant::now();
            while Client::connect(self.address).ask() != "hello" {
                assert!(
                    begin.elapsed() < DEADLINE,
                    "there is room, and nobody is served"
                );
                thread::sleep(Duration::from_millis(10));
            }
        }

        /// Hundredths of a second of the processor that it has used (proc_pid_stat(5)).
        fn ticks(&self) -> u64 {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
            let stat = stat.expect("Linux");
            let fields: Vec<&str> = stat
                .rsplit(')')
                .next()
                .expect("fields")
                .split(' ')
                .collect();
            let ticks = |field: &str| field.parse::<u64>().expect("ticks");
            ticks(fields[12]) + ticks(fields[13])
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn connect(address: SocketAddr) -> Client {
            let socket = TcpStream::connect(address).expect("it listens");
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            Client(BufReader::new(socket))
        }

        /// Says something, and gives the next line, or why there is none.
        fn ask(&mut self) -> String {
            // Fails where it has been told already.
            let _ = self.0.get_mut().write_all(b"hello\n");
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => "the end".to_owned(),
                Ok(_) => line.trim_end().to_owned(),
                Err(e) => e.to_string(),
            }
        }
    }
}
