//! The exercise of chapter 5: a service that can be stopped.
//!
//! `YourService` below runs a handler for each connection, in a thread of its own, and has
//! a `stop` that waits for ever. Change it, so that
//!
//! - `stop` comes back soon, whatever the threads are blocked in, and when it does, none of
//!   them is left, the port is free, and every client has seen the end of its connection;
//! - that holds for who connects at the very moment, too;
//! - a connection is closed as soon as its handler returns, and not only by `stop`.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// What is done with a connection.
pub(crate) type Handler = Arc<dyn Fn(&TcpStream) + Send + Sync>;

/// What a service does.
pub(crate) trait Service {
    /// Begins to accept.
    fn start(listener: TcpListener, handler: Handler) -> Self;

    /// Ends everything, and waits until it has ended.
    fn stop(self);
}

/// This is what you change.
pub(crate) struct YourService {
    stop: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Service for YourService {
    fn start(listener: TcpListener, handler: Handler) -> YourService {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let accepting = thread::spawn(move || {
            let mut threads = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Ok((socket, _)) = listener.accept() else {
                    continue;
                };
                let handler = Arc::clone(&handler);
                threads.push(thread::spawn(move || handler(&socket)));
            }
            for thread in threads {
                let _ = thread.join();
            }
        });
        YourService { stop, accepting }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.accepting.join();
    }
}

mod test {
    use super::{Handler, Service, YourService};
    use crate::solutions::stopping::Solution;
    use std::io::{self, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(5);

    #[test]
    #[ignore = "the exercise of chapter 5"]
    fn exercise() {
        check::<YourService>();
    }

    #[test]
    fn solution() {
        check::<Solution>();
    }

    fn check<S: Service + Send + 'static>() {
        a_connection_is_closed_when_its_handler_returns::<S>();
        with_nobody_there_it_stops::<S>();
        who_says_nothing_does_not_keep_it::<S>();
        who_does_not_read_does_not_keep_it::<S>();
        who_connects_at_that_moment_is_not_forgotten::<S>();
    }

    fn a_connection_is_closed_when_its_handler_returns<S: Service + Send + 'static>() {
        let hello: Handler = Arc::new(|mut socket| drop(socket.write_all(b"hello")));
        let service = Running::<S>::start(hello);
        for _ in 0..3 {
            let mut text = String::new();
            let read = service.connect().read_to_string(&mut text);
            assert_eq!(read.expect("its end"), 5);
        }
        service.stop();
    }

    fn with_nobody_there_it_stops<S: Service + Send + 'static>() {
        let service = Running::<S>::echo();
        service.stop();
    }

    fn who_says_nothing_does_not_keep_it<S: Service + Send + 'static>() {
        let service = Running::<S>::echo();
        let mut clients: Vec<TcpStream> = (0..10).map(|_| service.connect()).collect();
        for client in &mut clients {
            // So that it is known to be served.
            client.write_all(b"x").expect("it reads");
            client.read_exact(&mut [0]).expect("it answers");
        }
        service.stop();
        for mut client in clients {
            expect_end(&mut client);
        }
    }

    fn who_does_not_read_does_not_keep_it<S: Service + Send + 'static>() {
        let service = Running::<S>::echo();
        let mut client = service.connect();
        client
            .set_write_timeout(Some(Duration::from_millis(300)))
            .expect("a timeout");
        // Until the service can write no more, and so reads no more.
        while client.write_all(&[b'x'; 64 * 1024]).is_ok() {}
        service.stop();
        expect_end(&mut client);
    }

    fn who_connects_at_that_moment_is_not_forgotten<S: Service + Send + 'static>() {
        for _ in 0..50 {
            let service = Running::<S>::echo();
            let address = service.address;
            let connecting = thread::spawn(move || {
                let connect = |_| TcpStream::connect(address);
                (0..5).map_while(|it| connect(it).ok()).collect::<Vec<_>>()
            });
            service.stop();
            for mut client in connecting.join().expect("no panic") {
                client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
                // Where a listener goes at the moment in which a connection comes about, Linux
                // may forget its end of it, and the client learns of that when it sends.
                let _ = client.write_all(b"x");
                expect_end(&mut client);
            }
        }
    }

    /// A service, and how many handlers are at it.
    struct Running<S> {
        service: S,
        address: SocketAddr,
        handling: Arc<AtomicUsize>,
    }

    impl<S: Service + Send + 'static> Running<S> {
        fn start(handler: Handler) -> Running<S> {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("its address");
            let handling = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&handling);
            let counted: Handler = Arc::new(move |socket| {
                counter.fetch_add(1, Ordering::SeqCst);
                handler(socket);
                counter.fetch_sub(1, Ordering::SeqCst);
            });
            Running {
                service: S::start(listener, counted),
                address,
                handling,
            }
        }

        /// One whose clients get back what they send.
        fn echo() -> Running<S> {
            Running::start(Arc::new(|mut socket| {
                let _ = io::copy(&mut &*socket, &mut socket);
            }))
        }

        fn connect(&self) -> TcpStream {
            let client = TcpStream::connect(self.address).expect("it listens");
            client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            client
        }

        /// Stops it, and sees that nothing is left.
        fn stop(self) {
            let (stopping, stopped) = mpsc::channel();
            let service = self.service;
            thread::spawn(move || {
                service.stop();
                let _ = stopping.send(());
            });
            stopped.recv_timeout(DEADLINE).expect("it stops");
            assert_eq!(self.handling.load(Ordering::SeqCst), 0, "handlers are left");
            if let Err(e) = TcpListener::bind(self.address) {
                panic!("its port is not free: {e}");
            }
        }
    }

    /// Reads on to the end, or to the reset that a client gets who is not read to the end.
    fn expect_end(client: &mut TcpStream) {
        let mut buffer = [0; 64 * 1024];
        loop {
            match client.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => panic!("it does not end"),
                Err(_) => return,
            }
        }
    }
}
