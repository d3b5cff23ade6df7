//! The exercise of chapter 5: a service that can be stopped.
//!
//! `YourService` below runs a handler for each connection, in a thread of its own. Its `stop`
//! waits forever. Change it as follows:
//!
//! - `stop` returns soon, whatever the threads are blocked in. By then all threads have ended,
//!   the port is free, and every client has seen the end of its connection.
//! - That is also true for a client that connects at that moment.
//! - A connection is closed as soon as its handler returns, and not only by `stop`.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// A function that serves one connection.
pub(crate) type Handler = Arc<dyn Fn(&TcpStream) + Send + Sync>;

/// The methods of a service.
pub(crate) trait Service {
    /// Starts to accept connections.
    fn start(listener: TcpListener, handler: Handler) -> Self;

    /// Ends all threads and connections, and waits until they have ended.
    fn stop(self);
}

/// Change this type and its methods.
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
        connection_closes_when_its_handler_returns::<S>();
        service_without_clients_stops::<S>();
        silent_client_does_not_delay_stop::<S>();
        stalled_reader_does_not_delay_stop::<S>();
        client_that_connects_during_stop_is_closed::<S>();
    }

    fn connection_closes_when_its_handler_returns<S: Service + Send + 'static>() {
        let hello: Handler = Arc::new(|mut socket| drop(socket.write_all(b"hello")));
        let service = Running::<S>::start(hello);
        for _ in 0..3 {
            let mut text = String::new();
            let read = service.connect().read_to_string(&mut text);
            assert_eq!(read.expect("the end of input"), 5);
        }
        service.stop();
    }

    fn service_without_clients_stops<S: Service + Send + 'static>() {
        let service = Running::<S>::echo();
        service.stop();
    }

    fn silent_client_does_not_delay_stop<S: Service + Send + 'static>() {
        let service = Running::<S>::echo();
        let mut clients: Vec<TcpStream> = (0..10).map(|_| service.connect()).collect();
        for client in &mut clients {
            // A response proves that its handler runs.
            client.write_all(b"x").expect("a reader");
            client.read_exact(&mut [0]).expect("a response");
        }
        service.stop();
        for mut client in clients {
            expect_end(&mut client);
        }
    }

    fn stalled_reader_does_not_delay_stop<S: Service + Send + 'static>() {
        let service = Running::<S>::echo();
        let mut client = service.connect();
        client
            .set_write_timeout(Some(Duration::from_millis(300)))
            .expect("a timeout");
        // Ends when the service is blocked in a write, and so reads no more.
        while client.write_all(&[b'x'; 64 * 1024]).is_ok() {}
        service.stop();
        expect_end(&mut client);
    }

    fn client_that_connects_during_stop_is_closed<S: Service + Send + 'static>() {
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
                // If the listener is closed while the connection is established, Linux may drop
                // its end without notice. The client learns that when it sends.
                let _ = client.write_all(b"x");
                expect_end(&mut client);
            }
        }
    }

    /// A service, and the number of its running handlers.
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

        /// Starts a service that sends back all that a client sends.
        fn echo() -> Running<S> {
            Running::start(Arc::new(|mut socket| {
                let _ = io::copy(&mut &*socket, &mut socket);
            }))
        }

        fn connect(&self) -> TcpStream {
            let client = TcpStream::connect(self.address).expect("a listener");
            client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            client
        }

        /// Stops the service, and checks that no handler and no listener remain.
        fn stop(self) {
            let (stopping, stopped) = mpsc::channel();
            let service = self.service;
            thread::spawn(move || {
                service.stop();
                let _ = stopping.send(());
            });
            stopped.recv_timeout(DEADLINE).expect("an end");
            assert_eq!(self.handling.load(Ordering::SeqCst), 0, "running handlers");
            if let Err(e) = TcpListener::bind(self.address) {
                panic!("the port is not free: {e}");
            }
        }
    }

    /// Reads up to the end of input or a reset. A client whose input was not read gets a reset.
    fn expect_end(client: &mut TcpStream) {
        let mut buffer = [0; 64 * 1024];
        loop {
            match client.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the connection does not end")
                }
                Err(_) => return,
            }
        }
    }
}
