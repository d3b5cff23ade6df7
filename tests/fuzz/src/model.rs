//! A model of the server for one client and two lingering sessions.
//!
//! It reads the client's lines and the received messages side by side, and panics at the first
//! unexpected message. It cannot know how full the short queue of a resumed session is when a
//! message is sent to it. There it accepts what the server reports, and counts the missed
//! messages. The time of a kept broadcast is not compared.

use std::collections::VecDeque;
use std::slice;

use crate::connection::{RESIDENT_QUEUE, RESIDENTS};
use crate::letter::{self, BAD_REQUEST, Command, Said};

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are lines of a message")]
pub enum Received {
    /// The response to a request.
    Answer {
        status: &'static str,
        header: String,
        data: String,
    },
    /// A delivery of a message or of presence.
    Delivery { header: String, data: String },
    /// A kept broadcast. Its data has the word `TIME` in place of the time.
    Recent { header: String, data: String },
    /// A notice of messages that did not fit into the queue.
    Missed { header: String, count: u64 },
}

/// The sessions after the client's requests.
pub struct Model {
    members: Vec<Member>,
    /// The index of the client's own session in `members`.
    own: Option<usize>,
    bad_requests: u32,
    /// The number of messages that its session missed, and the number that notices reported.
    missed: u64,
    reported: u64,
    /// Whether the client has got its last response.
    is_closed: bool,
    names_taken: Vec<String>,
    /// The value of `--history`.
    history: usize,
    /// The sender and the text of each broadcast.
    broadcasts: Vec<String>,
}

struct Member {
    name: String,
    /// For the client's own session the server chooses it. Then it is empty before the first
    /// response.
    token: String,
    is_resident: bool,
    /// Its queue, if it lingers.
    waiting: VecDeque<String>,
    /// The number of messages that did not fit.
    missed: u64,
    is_watching: bool,
}

/// A kind of delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Presence,
}

impl Member {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The recipient's queue is full.
struct Full;

type Messages<'a> = std::iter::Peekable<slice::Iter<'a, Received>>;

impl Model {
    /// Makes the model before the first request. The server keeps this many broadcasts.
    pub fn new(history: usize) -> Model {
        let members = RESIDENTS.map(|(name, token)| Member {
            name: name.to_owned(),
            token: token.to_owned(),
            is_resident: true,
            waiting: VecDeque::new(),
            missed: 0,
            is_watching: false,
        });
        Model {
            members: members.into(),
            own: None,
            bad_requests: 0,
            missed: 0,
            reported: 0,
            is_closed: false,
            names_taken: Vec::new(),
            history,
            broadcasts: Vec::new(),
        }
    }

    /// Checks the whole conversation. Returns whether the server has ended it before the
    /// client.
    pub fn check(&mut self, lines: &[Option<Vec<u8>>], received: &[Received]) -> bool {
        let mut received = received.iter().peekable();
        let mut lines = lines.iter().map(Option::as_deref);
        while let Some(line) = lines.next()
            && !self.is_closed
        {
            if let Some(said) = letter::bad_status_line(line) {
                self.is_closed = said.0.starts_with("418");
                self.expect_response(&mut received, self.own, said);
            } else if let (Some(header), Some(body)) = (lines.next(), lines.next()) {
                self.request(&mut received, letter::good(header), letter::good(body));
            }
        }
        self.read_gap_notices(&mut received);
        assert_eq!(
            received.next(),
            None,
            "a message after the last expected one"
        );
        assert_eq!(
            self.reported, self.missed,
            "reported {}, missed {}",
            self.reported, self.missed
        );
        self.is_closed
    }

    /// Returns the sorted names of the other sessions.
    pub fn names_left(&self) -> Vec<String> {
        let left = self.members.iter().enumerate();
        let left = left.filter(|(at, _)| Some(*at) != self.own);
        let mut names: Vec<String> = left.map(|(_, member)| member.name.clone()).collect();
        names.sort();
        names
    }

    /// Returns the tokens of all sessions.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.token)
    }

    /// Returns all names that the client has set.
    pub fn names_taken(&self) -> impl Iterator<Item = &str> {
        self.names_taken.iter().map(String::as_str)
    }

    fn request(
        &mut self,
        received: &mut Messages<'_>,
        header: Result<&str, letter::Fault>,
        body: Result<&str, letter::Fault>,
    ) {
        let by_token = |token| self.members.iter().position(|member| member.token == token);
        let acting = match header {
            Ok("") | Err(_) => self.own,
            Ok(token) => by_token(token),
        };
        let body = match letter::both(header, body) {
            Ok((_, body)) => body,
            // With an unknown token, the header of the response is the connection's own token.
            Err(fault) => return self.expect_response(received, acting.or(self.own), fault.said()),
        };
        if header != Ok("") && acting.is_none() {
            return self.expect_response(
                received,
                None,
                ("401 Unauthorized", "Unknown token".into()),
            );
        }
        match letter::command(body, acting.is_some()) {
            Ok(command) => self.execute(received, acting, command),
            Err(said) => self.expect_response(received, acting, said),
        }
    }

    fn execute(
        &mut self,
        received: &mut Messages<'_>,
        acting: Option<usize>,
        command: Command<'_>,
    ) {
        let said = match (command, acting) {
            (Command::SetName(name), _) => return self.set_name(received, acting, name),
            (Command::Ping(None), _) => ok("Pong"),
            (Command::Ping(Some(text)), _) => ok(format!("Pong {text}")),
            (Command::Help, _) => ok(letter::help()),
            (Command::Quit, _) => {
                self.is_closed = true;
                let another = acting.filter(|_| acting != self.own);
                // The session of another token ends too.
                if let Some(another) = another {
                    let left = format!("left {}", self.members[another].name);
                    self.change(received, another, &left);
                }
                self.expect_response(received, acting, ok("Goodbye"));
                if let Some(another) = another {
                    self.members.remove(another);
                    self.own = self.own.map(|own| own - usize::from(another < own));
                }
                return;
            }
            (Command::ListNames(prefix), _) => ok(self.online(prefix)),
            (Command::PrivateMessage(to, text), Some(sender)) => {
                self.private_message(received, sender, to, text)
            }
            (Command::BroadcastMessage(text), Some(sender)) => {
                self.broadcast_message(received, sender, text)
            }
            (Command::WatchPresence(is_on), Some(session)) => {
                let was_on = std::mem::replace(&mut self.members[session].is_watching, is_on);
                let watching = if is_on { "Watching" } else { "Not watching" };
                let text = format!("{watching} presence");
                match was_on == is_on {
                    true => ("304 Not Modified", text),
                    false => ok(text),
                }
            }
            (Command::RecentMessages(count), Some(session)) => {
                let recent = self.recent(count);
                self.read_gap_notices(received);
                for message in &recent {
                    self.expect_recent(received, session, message);
                }
                // Nothing is between the messages and the response.
                assert!(
                    recent.is_empty() || matches!(received.peek(), Some(Received::Answer { .. }))
                );
                ok(format!("{} recent", recent.len()))
            }
            (_, None) => unreachable!("it needs a session"),
        };
        self.expect_response(received, acting, said);
    }

    fn set_name(&mut self, received: &mut Messages<'_>, acting: Option<usize>, name: &str) {
        if let Some(own) = self.own
            && acting != Some(own)
        {
            let text = format!("This connection is {}", self.members[own].name);
            return self.expect_response(received, self.own, ("403 Forbidden", text));
        }
        let owner = self.members.iter().position(|member| member.is_named(name));
        if owner.is_some() && owner != acting {
            let text = format!("{name} is taken");
            return self.expect_response(received, acting, ("403 Forbidden", text));
        }
        let is_new = acting.is_none();
        let session = acting.unwrap_or_else(|| {
            self.members.push(Member {
                name: String::new(),
                token: String::new(),
                is_resident: false,
                waiting: VecDeque::new(),
                missed: 0,
                is_watching: false,
            });
            self.members.len() - 1
        });
        let old = std::mem::replace(&mut self.members[session].name, name.to_owned());
        let said = match old == name {
            true => ("304 Not Modified", format!("You are already {name}")),
            false => {
                let change = match is_new {
                    true => format!("joined {name}"),
                    false => format!("renamed {old} {name}"),
                };
                self.change(received, session, &change);
                ok(format!("You are {name}"))
            }
        };
        self.names_taken.push(name.to_owned());
        self.expect_response(received, Some(session), said);
        if self.own.is_none() {
            self.own = Some(session);
            let resumed = &mut self.members[session];
            self.missed = resumed.missed;
            for data in std::mem::take(&mut resumed.waiting) {
                self.read_gap_notices(received);
                self.expect_delivery(received, data);
            }
        }
    }

    fn online(&self, prefix: &str) -> String {
        let names = self.members.iter().map(|member| &*member.name);
        let prefix = prefix.to_ascii_lowercase();
        let mut names: Vec<&str> = names
            .filter(|name| name.to_ascii_lowercase().starts_with(&prefix))
            .collect();
        names.sort_by_key(|name| name.to_ascii_lowercase());
        match names.len() {
            0 => "0 online".to_owned(),
            count => format!("{count} online: {}", names.join(" ")),
        }
    }

    fn private_message(
        &mut self,
        received: &mut Messages<'_>,
        sender: usize,
        to: &str,
        text: &str,
    ) -> Said {
        let recipient = self.members.iter().position(|member| member.is_named(to));
        let Some(recipient) = recipient else {
            return ("404 Not Found", format!("No one is named {to}"));
        };
        let sender = &self.members[sender].name;
        let data = format!("Incoming-message private {sender} {text}");
        match self.send(received, recipient, Kind::Message, data) {
            Ok(()) => ok(format!("Delivered to {}", self.members[recipient].name)),
            Err(Full) => (
                "502 Bad Gateway",
                format!("{to} cannot take more messages now"),
            ),
        }
    }

    fn broadcast_message(
        &mut self,
        received: &mut Messages<'_>,
        sender: usize,
        text: &str,
    ) -> Said {
        let name = &self.members[sender].name;
        let data = format!("Incoming-message broadcast {name} {text}");
        self.broadcasts.push(format!("{name} {text}"));
        let others = (0..self.members.len()).filter(|recipient| *recipient != sender);
        let others: Vec<usize> = others.collect();
        let taken = others.into_iter().filter(|recipient| {
            let sent = self.send(received, *recipient, Kind::Message, data.clone());
            sent.is_ok()
        });
        ok(format!("Delivered to {}", taken.count()))
    }

    /// Tells all watching sessions except this one of a change of it.
    fn change(&mut self, received: &mut Messages<'_>, about: usize, change: &str) {
        for to in 0..self.members.len() {
            if to != about && self.members[to].is_watching {
                let data = format!("Incoming-presence {change}");
                // If it does not fit, it is counted.
                let _ = self.send(received, to, Kind::Presence, data);
            }
        }
    }

    /// Returns the newest broadcasts, the oldest of them first: at most `count`, at most as many
    /// as the server keeps, and at most 65,536 bytes on the wire.
    fn recent(&self, count: usize) -> Vec<String> {
        let time = "2026-11-25T21:04:05Z".len();
        let around = "200 OK\r\n".len() + 32 + 2 + "Incoming-recent ".len() + time + 1 + 2;
        let (mut newest, mut size) = (Vec::new(), 0);
        for message in self.broadcasts.iter().rev() {
            size += around + message.len();
            if size > 65_536 || newest.len() == count.min(self.history) {
                break;
            }
            newest.push(message.clone());
        }
        newest.reverse();
        newest
    }

    /// Checks that the next message is this kept broadcast.
    fn expect_recent(&self, received: &mut Messages<'_>, acting: usize, message: &str) {
        let header = self.members[acting].token.clone();
        let data = format!("Incoming-recent TIME {message}");
        assert_eq!(received.next(), Some(&Received::Recent { header, data }));
    }

    fn send(
        &mut self,
        received: &mut Messages<'_>,
        to: usize,
        kind: Kind,
        data: String,
    ) -> Result<(), Full> {
        if Some(to) == self.own {
            self.read_gap_notices(received);
            let may_be_full = self.members[to].is_resident;
            if may_be_full && !matches!(received.peek(), Some(Received::Delivery { .. })) {
                self.missed += 1;
                return Err(Full);
            }
            self.expect_delivery(received, data);
            return Ok(());
        }
        let recipient = &mut self.members[to];
        let wire_len = |data: &String| "200 OK".len() + 32 + data.len() + 3 * "\r\n".len();
        let queued: usize = recipient.waiting.iter().map(wire_len).sum();
        let fits = match kind {
            Kind::Message => queued + wire_len(&data) <= RESIDENT_QUEUE,
            Kind::Presence => 2 * queued < RESIDENT_QUEUE,
        };
        if !fits {
            recipient.missed += 1;
            return Err(Full);
        }
        recipient.waiting.push_back(data);
        Ok(())
    }

    /// Checks that the next message is this delivery.
    fn expect_delivery(&self, received: &mut Messages<'_>, data: String) {
        let header = self.own.map(|own| self.members[own].token.clone());
        let header = header.expect("a session");
        assert_eq!(received.next(), Some(&Received::Delivery { header, data }));
    }

    /// Checks that the next message is this response, with the token of this session.
    fn expect_response(&mut self, received: &mut Messages<'_>, acting: Option<usize>, said: Said) {
        self.read_gap_notices(received);
        let received = received.next();
        let Some(Received::Answer {
            status,
            header,
            data,
        }) = received
        else {
            panic!("got {received:?}, expected {said:?}");
        };
        assert_eq!((*status, data), (said.0, &said.1));
        let expected = match acting {
            Some(session) => {
                let member = &mut self.members[session];
                if member.token.is_empty() {
                    assert!(letter::is_token(header));
                    header.clone_into(&mut member.token);
                }
                &*member.token
            }
            None => "",
        };
        assert_eq!(header, expected, "the header of {said:?}");
        self.bad_requests = match said.0 == BAD_REQUEST {
            true => self.bad_requests + 1,
            false => 0,
        };
        self.is_closed |= self.bad_requests == 20;
    }

    /// Reads the notices of missed messages and counts them.
    fn read_gap_notices(&mut self, received: &mut Messages<'_>) {
        while let Some(Received::Missed { header, count }) = received.peek() {
            assert_eq!(Some(header), self.own.map(|own| &self.members[own].token));
            self.reported += count;
            received.next();
        }
    }
}

fn ok(text: impl Into<String>) -> Said {
    ("200 OK", text.into())
}
