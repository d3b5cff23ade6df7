use crate::event_loop::{Client, INBOX};
use mio::net::TcpStream;
use mio::{Events, Poll, Token, Waker};
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A message in the inbox of a loop.
enum Message {
    Client(TcpStream),
    /// Lines from another loop. All lines of a sender come through one loop and one channel, so
    /// they stay in order.
    Lines(Arc<[u8]>),
}

/// A handle to a loop, for other threads.
struct Remote {
    inbox: Sender<Message>,
    waker: Waker,
}

impl Remote {
    fn send(&self, message: Message) -> io::Result<()> {
        // Fails only if the loop has ended.
        let _ = self.inbox.send(message);
        self.waker.wake()
    }
}

pub(crate) fn start(listener: TcpListener, loops: usize) -> io::Result<()> {
    let (mut remotes, mut parts) = (Vec::new(), Vec::new());
    for _ in 0..loops {
        let (sender, inbox) = channel();
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), INBOX)?;
        remotes.push(Remote {
            inbox: sender,
            waker,
        });
        parts.push((poll, inbox));
    }
    let remotes: Arc<[Remote]> = remotes.into();
    for (number, (poll, inbox)) in parts.into_iter().enumerate() {
        let mut its = Loop {
            poll,
            inbox,
            clients: HashMap::new(),
            last: 0,
            number,
            remotes: Arc::clone(&remotes),
        };
        thread::spawn(move || its.run());
    }
    thread::spawn(move || accept(&listener, &remotes));
    Ok(())
}

fn accept(listener: &TcpListener, remotes: &[Remote]) -> io::Result<()> {
    for remote in remotes.iter().cycle() {
        let (socket, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        remote.send(Message::Client(TcpStream::from_std(socket)))?;
    }
    Ok(())
}

struct Loop {
    poll: Poll,
    inbox: Receiver<Message>,
    clients: HashMap<Token, Client>,
    last: usize,
    /// The index of this loop in `remotes`.
    number: usize,
    remotes: Arc<[Remote]>,
}

impl Loop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    INBOX => self.empty_inbox()?,
                    client => self.read_from(client)?,
                }
            }
            self.clients.retain(|_, client| client.write().is_ok());
        }
    }

    fn empty_inbox(&mut self) -> io::Result<()> {
        for message in self.inbox.try_iter() {
            match message {
                Message::Client(socket) => {
                    self.last += 1;
                    let token = Token(self.last);
                    let client = Client::new(socket, &self.poll, token)?;
                    self.clients.insert(token, client);
                }
                Message::Lines(lines) => {
                    self.clients.values_mut().for_each(|it| it.queue(&lines));
                }
            }
        }
        Ok(())
    }

    fn read_from(&mut self, token: Token) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&token) else {
            return Ok(());
        };
        let (lines, is_open) = client.read();
        if !is_open {
            self.clients.remove(&token);
        }
        if lines.is_empty() {
            return Ok(());
        }
        for (other, client) in &mut self.clients {
            if *other != token {
                client.queue(&lines);
            }
        }
        let lines: Arc<[u8]> = lines.into();
        for (number, remote) in self.remotes.iter().enumerate() {
            if number != self.number {
                remote.send(Message::Lines(Arc::clone(&lines)))?;
            }
        }
        Ok(())
    }
}
