//! The exercise of chapter 9: refusals without a free descriptor.
//!
//! `accept_all` below waits when `accept` fails, and goes on. So no connected client is lost. But
//! new clients wait without a message. Change it as follows:
//!
//! - If no descriptor is left, a new client reads the line [`FULL`] at once, and then the end of
//!   input.
//! - When there is room again, new clients are served again.
//! - The loop uses no processor time while it waits.
//!
//! A hint: keep a file open that you can do without. Close it when you need a descriptor. Try to
//! open it again to find out whether there is room again.

use std::convert::Infallible;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The line that a refused client gets.
pub(crate) const FULL: &str = "full";

/// Accepts clients forever, and serves each in a thread of its own. Change this function.
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
    #[ignore = "the exercise of chapter 9"]
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

    /// The environment variable that turns this program into the server of the test.
    const BE_SERVER: &str = "RESOURCE_LIMITS_SERVER";

    /// The number of descriptors that the server may have open, including its own.
    const DESCRIPTORS: u64 = 24;

    const CLIENTS: usize = 60;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Checks the function in a process of its own, because the limit is for a process.
    fn check(test: &str, accept_all: AcceptAll) {
        if env::var_os(BE_SERVER).is_some() {
            be_server(accept_all);
        }
        let server = Server::start(test);
        // The second round fails if the first one leaks a descriptor.
        for _ in 0..2 {
            let mut served = server.fill();
            let begin = server.ticks();
            thread::sleep(Duration::from_millis(500));
            let used = server.ticks() - begin;
            assert!(
                used < 25,
                "{used} hundredths of a second of processor time while waiting"
            );
            for client in &mut served {
                assert_eq!(client.ask(), "hello", "a client that was connected before");
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
        setrlimit(Resource::Nofile, limit).expect("a lower limit");
        // The line break comes first, because the test harness has begun a line.
        println!("\nlistening on {address}");
        let problem = accept_all(&listener, echo);
        panic!("the accept loop has ended: {problem:?}");
    }

    /// Sends each line back.
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
                address: address.expect("an address on stdout"),
            }
        }

        /// Connects more clients than there is room for. Returns the served ones. Checks that all
        /// others are refused.
        fn fill(&self) -> Vec<Client> {
            let mut clients: Vec<Client> = (0..CLIENTS)
                .map(|_| Client::connect(self.address))
                .collect();
            let all = clients.len();
            clients.retain_mut(|client| match &*client.ask() {
                "hello" => true,
                FULL => false,
                other => panic!("{other}, instead of a response"),
            });
            let (served, full) = (clients.len(), all - clients.len());
            assert!(
                served >= DESCRIPTORS as usize / 2,
                "only {served} were served"
            );
            assert!(full >= CLIENTS / 2, "as many as {served} were served");
            clients
        }

        fn wait_for_room(&self) {
            let begin = Instant::now();
            while Client::connect(self.address).ask() != "hello" {
                assert!(
                    begin.elapsed() < DEADLINE,
                    "there is room, but no client is served"
                );
                thread::sleep(Duration::from_millis(10));
            }
        }

        /// Returns the processor time of the server, in hundredths of a second (proc_pid_stat(5)).
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
            let socket = TcpStream::connect(address).expect("a listener");
            socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            Client(BufReader::new(socket))
        }

        /// Sends a line, and returns the next line of the server, or the reason why there is none.
        fn ask(&mut self) -> String {
            // Fails if the server has already refused the client.
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
