//! What the server has to say to one client, from the beginning to the end, if two
//! sessions linger and nobody else is there.
//!
//! It goes through the client's lines and through what the client has heard side by side,
//! and panics at the first that is not as it must be. There is one thing that it cannot
//! know: how much of the short queue of a session that the client has resumed is still
//! there when something is sent to it. So there it takes the server's word, and counts.

use std::collections::VecDeque;
use std::slice;

use crate::connection::{RESIDENT_QUEUE, RESIDENTS};
use crate::letter::{self, BAD_REQUEST, Command, Said};

/// A message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the lines of a message")]
pub enum Heard {
    /// The answer to a request.
    Answer {
        status: &'static str,
        header: String,
        data: String,
    },
    /// What somebody sent.
    Delivery { header: String, data: String },
    /// So many did not fit into the queue.
    Missed { header: String, count: u64 },
}

/// The sessions, as the client's requests make them.
pub struct Model {
    members: Vec<Member>,
    /// The client's own session, by its place among the others.
    own: Option<usize>,
    bad_requests: u32,
    /// How many messages its session could not take, and of how many of these it was told.
    missed: u64,
    told: u64,
    /// It has been sent its last answer.
    is_closed: bool,
    names_taken: Vec<String>,
}

struct Member {
    name: String,
    /// The server's choice, if it is the client's own, and known when it has been heard.
    token: String,
    is_resident: bool,
    /// What waits for it, if it lingers.
    waiting: VecDeque<String>,
    /// And how many did not fit.
    missed: u64,
}

impl Member {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The recipient's queue is full.
struct Full;

type Messages<'a> = std::iter::Peekable<slice::Iter<'a, Heard>>;

impl Model {
    /// Before the client has said anything.
    #[expect(clippy::new_without_default, reason = "it is not empty")]
    pub fn new() -> Model {
        let members = RESIDENTS.map(|(name, token)| Member {
            name: name.to_owned(),
            token: token.to_owned(),
            is_resident: true,
            waiting: VecDeque::new(),
            missed: 0,
        });
        Model {
            members: members.into(),
            own: None,
            bad_requests: 0,
            missed: 0,
            told: 0,
            is_closed: false,
            names_taken: Vec::new(),
        }
    }

    /// Follows the conversation, and says whether the server has ended it before the
    /// client.
    pub fn listen(&mut self, lines: &[Option<Vec<u8>>], heard: &[Heard]) -> bool {
        let mut heard = heard.iter().peekable();
        let mut lines = lines.iter().map(Option::as_deref);
        while let Some(line) = lines.next()
            && !self.is_closed
        {
            if let Some(said) = letter::stray(line) {
                self.is_closed = said.0.starts_with("418");
                self.answered(&mut heard, self.own, said);
            } else if let (Some(header), Some(body)) = (lines.next(), lines.next()) {
                self.request(&mut heard, letter::good(header), letter::good(body));
            }
        }
        self.hear_of_gaps(&mut heard);
        assert_eq!(heard.next(), None, "there is nothing more to say");
        assert_eq!(
            self.told, self.missed,
            "told of {}, missed {}",
            self.told, self.missed
        );
        self.is_closed
    }

    /// The names of those who are there when the client has left, sorted.
    pub fn names_left(&self) -> Vec<String> {
        let left = self.members.iter().enumerate();
        let left = left.filter(|(at, _)| Some(*at) != self.own);
        let mut names: Vec<String> = left.map(|(_, member)| member.name.clone()).collect();
        names.sort();
        names
    }

    /// The tokens of all.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.token)
    }

    /// All names that the client has taken.
    pub fn names_taken(&self) -> impl Iterator<Item = &str> {
        self.names_taken.iter().map(String::as_str)
    }

    fn request(
        &mut self,
        heard: &mut Messages<'_>,
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
            // Where the token is nobody's, it is the connection's.
            Err(fault) => return self.answered(heard, acting.or(self.own), fault.said()),
        };
        if header != Ok("") && acting.is_none() {
            return self.answered(heard, None, ("401 Unauthorized", "Unknown token".into()));
        }
        match letter::command(body, acting.is_some()) {
            Ok(command) => self.carry_out(heard, acting, command),
            Err(said) => self.answered(heard, acting, said),
        }
    }

    fn carry_out(&mut self, heard: &mut Messages<'_>, acting: Option<usize>, command: Command<'_>) {
        let said = match (command, acting) {
            (Command::SetName(name), _) => return self.set_name(heard, acting, name),
            (Command::Ping(None), _) => ok("Pong"),
            (Command::Ping(Some(text)), _) => ok(format!("Pong {text}")),
            (Command::Help, _) => ok(letter::help()),
            (Command::Quit, _) => {
                self.is_closed = true;
                self.answered(heard, acting, ok("Goodbye"));
                // Another's session ends too.
                if acting != self.own
                    && let Some(another) = acting
                {
                    self.members.remove(another);
                    self.own = self.own.map(|own| own - usize::from(another < own));
                }
                return;
            }
            (Command::ListNames(prefix), _) => ok(self.online(prefix)),
            (Command::PrivateMessage(to, text), Some(sender)) => {
                self.private_message(heard, sender, to, text)
            }
            (Command::BroadcastMessage(text), Some(sender)) => {
                self.broadcast_message(heard, sender, text)
            }
            (_, None) => unreachable!("it needs a session"),
        };
        self.answered(heard, acting, said);
    }

    fn set_name(&mut self, heard: &mut Messages<'_>, acting: Option<usize>, name: &str) {
        if let Some(own) = self.own
            && acting != Some(own)
        {
            let text = format!("This connection is {}", self.members[own].name);
            return self.answered(heard, self.own, ("403 Forbidden", text));
        }
        let owner = self.members.iter().position(|member| member.is_named(name));
        if owner.is_some() && owner != acting {
            let text = format!("{name} is taken");
            return self.answered(heard, acting, ("403 Forbidden", text));
        }
        let session = acting.unwrap_or_else(|| {
            self.members.push(Member {
                name: String::new(),
                token: String::new(),
                is_resident: false,
                waiting: VecDeque::new(),
                missed: 0,
            });
            self.members.len() - 1
        });
        let said = match self.members[session].name == name {
            true => ("304 Not Modified", format!("You are already {name}")),
            false => ok(format!("You are {name}")),
        };
        name.clone_into(&mut self.members[session].name);
        self.names_taken.push(name.to_owned());
        self.answered(heard, Some(session), said);
        if self.own.is_none() {
            self.own = Some(session);
            let resumed = &mut self.members[session];
            self.missed = resumed.missed;
            for data in std::mem::take(&mut resumed.waiting) {
                self.hear_of_gaps(heard);
                self.delivered(heard, data);
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
        heard: &mut Messages<'_>,
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
        match self.send(heard, recipient, data) {
            Ok(()) => ok(format!("Delivered to {}", self.members[recipient].name)),
            Err(Full) => (
                "502 Bad Gateway",
                format!("{to} cannot take more messages now"),
            ),
        }
    }

    fn broadcast_message(&mut self, heard: &mut Messages<'_>, sender: usize, text: &str) -> Said {
        let name = &self.members[sender].name;
        let data = format!("Incoming-message broadcast {name} {text}");
        let others = (0..self.members.len()).filter(|recipient| *recipient != sender);
        let others: Vec<usize> = others.collect();
        let taken = others
            .into_iter()
            .filter(|recipient| self.send(heard, *recipient, data.clone()).is_ok());
        ok(format!("Delivered to {}", taken.count()))
    }

    fn send(&mut self, heard: &mut Messages<'_>, to: usize, data: String) -> Result<(), Full> {
        if Some(to) == self.own {
            self.hear_of_gaps(heard);
            let may_be_full = self.members[to].is_resident;
            if may_be_full && !matches!(heard.peek(), Some(Heard::Delivery { .. })) {
                self.missed += 1;
                return Err(Full);
            }
            self.delivered(heard, data);
            return Ok(());
        }
        let recipient = &mut self.members[to];
        let wire_len = |data: &String| "200 OK".len() + 32 + data.len() + 3 * "\r\n".len();
        let queued: usize = recipient.waiting.iter().map(wire_len).sum();
        if queued + wire_len(&data) > RESIDENT_QUEUE {
            recipient.missed += 1;
            return Err(Full);
        }
        recipient.waiting.push_back(data);
        Ok(())
    }

    /// The next message is this delivery.
    fn delivered(&self, heard: &mut Messages<'_>, data: String) {
        let header = self.own.map(|own| self.members[own].token.clone());
        let header = header.expect("a session");
        assert_eq!(heard.next(), Some(&Heard::Delivery { header, data }));
    }

    /// The next message is this answer, with the token of this session.
    fn answered(&mut self, heard: &mut Messages<'_>, acting: Option<usize>, said: Said) {
        self.hear_of_gaps(heard);
        let heard = heard.next();
        let Some(Heard::Answer {
            status,
            header,
            data,
        }) = heard
        else {
            panic!("{heard:?} is not the answer {said:?}");
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

    /// Takes in how many messages the client is told to have missed.
    fn hear_of_gaps(&mut self, heard: &mut Messages<'_>) {
        while let Some(Heard::Missed { header, count }) = heard.peek() {
            assert_eq!(Some(header), self.own.map(|own| &self.members[own].token));
            self.told += count;
            heard.next();
        }
    }
}

fn ok(text: impl Into<String>) -> Said {
    ("200 OK", text.into())
}
