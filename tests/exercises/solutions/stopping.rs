use crate::stopping::{Handler, Service};
use rustix::net::{Shutdown, shutdown};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

/// A service. Only the accept thread knows the clients, and it returns them at its end. So no
/// client is missing from that list.
pub(crate) struct Solution {
    listener: Arc<TcpListener>,
    stop: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<Client>>,
}

struct Client {
    thread: JoinHandle<()>,
    /// Weak, because otherwise the socket would stay open after its handler has returned.
    socket: Weak<TcpStream>,
}

impl Service for Solution {
    fn start(listener: TcpListener, handler: Handler) -> Solution {
        let (listener, stop) = (Arc::new(listener), Arc::new(AtomicBool::new(false)));
        let (its_listener, its_stop) = (Arc::clone(&listener), Arc::clone(&stop));
        Solution {
            listener,
            stop,
            accepting: thread::spawn(move || accept(&its_listener, &its_stop, &handler)),
        }
    }

    fn stop(self) {
        // Set the flag before the wake-up, so that the accept thread finds it set.
        self.stop.store(true, Ordering::Relaxed);
        let _ = shutdown(&self.listener, Shutdown::Both);
        let clients = self.accepting.join().unwrap_or_default();
        for client in &clients {
            if let Some(socket) = client.socket.upgrade() {
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
        }
        for client in clients {
            let _ = client.thread.join();
        }
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool, handler: &Handler) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok((socket, _)) = listener.accept() else {
            continue;
        };
        clients.retain(|client| !client.thread.is_finished());
        let (socket, handler) = (Arc::new(socket), Arc::clone(handler));
        clients.push(Client {
            socket: Arc::downgrade(&socket),
            thread: thread::spawn(move || handler(&socket)),
        });
    }
    clients
}
