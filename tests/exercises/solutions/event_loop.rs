use crate::event_loop::{Client, INBOX};
use mio::net::TcpStream;
use mio::{Events, Poll, Token, Waker};
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// What a loop finds in its inbox.
enum Message {
    Client(TcpStream),
    /// What was said on another loop. One sender's lines come through one loop and one
    /// channel, and so stay in order.
    Lines(Arc<[u8]>),
}

/// The way to a loop from other threads.
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
    /// Which of the remotes is its own.
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
                    INBOX => self.look_into_inbox()?,
                    client => self.hear(client)?,
                }
            }
            self.clients.retain(|_, client| client.write().is_ok());
        }
    }

    fn look_into_inbox(&mut self) -> io::Result<()> {
        for message in self.inbox.try_iter() {
            match message {
                Message::Client(socket) => {
                    self.last += 1;
                    let token = Token(self.last);
                    let client = Client::new(socket, &self.poll, token)?;
                    self.clients.insert(token, client);
                }
                Message::Lines(lines) => {
                    self.clients.values_mut().for_each(|it| it.tell(&lines));
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, token: Token) -> io::Result<()> {
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
                client.tell(&lines);
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
