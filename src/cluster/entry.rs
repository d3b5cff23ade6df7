//! The entries of an inbox, as the stream has them: fields with a name each.
//!
//! Strangers can write to a Redis, so an entry is checked like a line of a client.
//!
//! Does not know what an entry causes.
//!
//! Invariant: *all names and texts of an [`Entry`] are valid.*

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::waiting::{Confirmation, NodeId, Outcome};
use crate::protocol::text::{Printable, Text};
use crate::protocol::token::Token;
use crate::protocol::username::Username;

/// The names and values of an entry, one after the other, as XREAD returns them.
pub(super) type Fields = Vec<Vec<u8>>;

/// An entry of an inbox.
#[derive(Debug, PartialEq)]
pub(super) enum Entry {
    /// The first entry after a `join`, with the number that it gave, and the counters.
    Hello { fence: u64, counters: Counters },
    /// A heartbeat, with the counters.
    Tick(Counters),
    /// A change of presence, with its number.
    Presence { number: u64, change: Change },
    /// A broadcast, with its number.
    Broadcast {
        number: u64,
        asked: Asked,
        sender_token: Token,
        message: Spoken,
        time: SystemTime,
    },
    /// A message for the session of this token.
    Private {
        asked: Asked,
        to: Token,
        message: Spoken,
    },
    /// A request to end the session of this token.
    End { asked: Asked, token: Token },
    /// A request to let this session watch presence, or stop it.
    Watch {
        asked: Asked,
        token: Token,
        is_on: bool,
    },
    /// The client of this session knows its token.
    Used { token: Token },
    /// A confirmation for the request of this number.
    Confirm {
        request: u64,
        confirmation: Confirmation,
    },
}

/// How many broadcasts and changes of presence there have been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) broadcasts: u64,
    pub(super) presence: u64,
}

/// The node that asked, and the number of the request there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) node: NodeId,
    pub(super) request: u64,
}

/// A text and the name of its sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) sender: Username,
    pub(super) text: Text,
}

/// A change of presence. `asked` is `None` if no client waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Joined {
        token: Token,
        name: Username,
        node: NodeId,
        request: Option<u64>,
    },
    Renamed {
        token: Token,
        old: Username,
        name: Username,
        node: NodeId,
        request: Option<u64>,
    },
    /// These sessions have ended.
    Left(Vec<Username>),
}

impl Change {
    /// Returns how many changes it is, as the counter counts them.
    pub(super) fn count(&self) -> u64 {
        match self {
            Change::Joined { .. } | Change::Renamed { .. } => 1,
            Change::Left(names) => names.len() as u64,
        }
    }
}

impl Entry {
    /// Parses the fields of an entry. `None` if they are not understood.
    pub(super) fn parse(fields: &Fields) -> Option<Entry> {
        let fields = Map::new(fields)?;
        Some(match fields.text("k")? {
            "hello" => Entry::Hello {
                fence: fields.number("fence")?,
                counters: fields.counters()?,
            },
            "tick" => Entry::Tick(fields.counters()?),
            "joined" => Entry::Presence {
                number: fields.number("p")?,
                change: Change::Joined {
                    token: fields.token("token")?,
                    name: fields.name("name")?,
                    node: fields.node("node")?,
                    request: fields.number("q"),
                },
            },
            "renamed" => Entry::Presence {
                number: fields.number("p")?,
                change: Change::Renamed {
                    token: fields.token("token")?,
                    old: fields.name("old")?,
                    name: fields.name("name")?,
                    node: fields.node("node")?,
                    request: fields.number("q"),
                },
            },
            "left" => Entry::Presence {
                number: fields.number("p")?,
                change: Change::Left(fields.names("names")?),
            },
            "broadcast" => Entry::Broadcast {
                number: fields.number("n")?,
                asked: fields.asked()?,
                sender_token: fields.token("token")?,
                message: fields.spoken()?,
                time: fields.time()?,
            },
            "private" => Entry::Private {
                asked: fields.asked()?,
                to: fields.token("to")?,
                message: fields.spoken()?,
            },
            "end" => Entry::End {
                asked: fields.asked()?,
                token: fields.token("token")?,
            },
            kind @ ("watch" | "unwatch") => Entry::Watch {
                asked: fields.asked()?,
                token: fields.token("token")?,
                is_on: kind == "watch",
            },
            "used" => Entry::Used {
                token: fields.token("token")?,
            },
            "confirm" => Entry::Confirm {
                request: fields.number("q")?,
                confirmation: Confirmation {
                    node: fields.node("from")?,
                    outcome: Outcome::parse(fields.text("outcome")?)?,
                    count: usize::try_from(fields.number("count")?).ok()?,
                },
            },
            _ => return None,
        })
    }

    /// Returns the node that has sent the entry, if it is one that tells it.
    pub(super) fn from(&self) -> Option<&NodeId> {
        match self {
            Entry::Broadcast { asked, .. }
            | Entry::Private { asked, .. }
            | Entry::End { asked, .. }
            | Entry::Watch { asked, .. } => Some(&asked.node),
            Entry::Confirm { confirmation, .. } => Some(&confirmation.node),
            Entry::Presence {
                change: Change::Joined { node, .. } | Change::Renamed { node, .. },
                ..
            } => Some(node),
            Entry::Hello { .. } | Entry::Tick(_) | Entry::Presence { .. } | Entry::Used { .. } => {
                None
            }
        }
    }
}

/// Parses a broadcast of the stream `history`: its number, its time, and the message.
pub(super) fn parse_history(fields: &Fields) -> Option<(u64, SystemTime, Spoken)> {
    let fields = Map::new(fields)?;
    Some((fields.number("n")?, fields.time()?, fields.spoken()?))
}

/// The values of an entry by their names.
struct Map<'a>(HashMap<&'a [u8], &'a [u8]>);

impl<'a> Map<'a> {
    fn new(fields: &'a Fields) -> Option<Map<'a>> {
        let (pairs, rest) = fields.as_chunks();
        let pairs = pairs.iter().map(|[name, value]| (&name[..], &value[..]));
        rest.is_empty().then(|| Map(pairs.collect()))
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        str::from_utf8(self.0.get(name.as_bytes())?).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn token(&self, name: &str) -> Option<Token> {
        Token::from_hex(self.text(name)?)
    }

    fn node(&self, name: &str) -> Option<NodeId> {
        NodeId::parse(self.text(name)?)
    }

    fn name(&self, name: &str) -> Option<Username> {
        Username::new(self.text(name)?).ok()
    }

    fn names(&self, name: &str) -> Option<Vec<Username>> {
        let names = self.text(name)?.split(' ').map(Username::new);
        names.collect::<Result<_, _>>().ok()
    }

    fn spoken(&self) -> Option<Spoken> {
        let text = Printable::new(self.0.get(b"text".as_slice())?).ok()?;
        Some(Spoken {
            sender: self.name("sender")?,
            text: Text::new(text).ok()?,
        })
    }

    fn asked(&self) -> Option<Asked> {
        Some(Asked {
            node: self.node("from")?,
            request: self.number("q")?,
        })
    }

    fn counters(&self) -> Option<Counters> {
        Some(Counters {
            broadcasts: self.number("n")?,
            presence: self.number("p")?,
        })
    }

    /// The time `at` in seconds since 1970.
    fn time(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.number("at")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::{name, text};
    use proptest::prelude::*;

    const TOKEN: &str = "5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4";
    const NODE: &str = "0123456789abcdef";

    fn fields(words: &[&str]) -> Fields {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn private(its_text: &str) -> Fields {
        let words = [
            "k", "private", "q", "7", "from", NODE, "to", TOKEN, "sender", "Bob", "text", its_text,
        ];
        fields(&words)
    }

    #[test]
    fn entry_is_parsed_from_its_fields() {
        let expected = Entry::Private {
            asked: Asked {
                node: NodeId::parse(NODE).unwrap(),
                request: 7,
            },
            to: Token::from_hex(TOKEN).unwrap(),
            message: Spoken {
                sender: name("Bob"),
                text: text("hi there"),
            },
        };
        assert_eq!(Entry::parse(&private("hi there")), Some(expected));
        let left = fields(&["k", "left", "p", "3", "names", "al Bob"]);
        let change = Change::Left(vec![name("al"), name("Bob")]);
        let expected = Entry::Presence { number: 3, change };
        assert_eq!(Entry::parse(&left), Some(expected));
    }

    #[test]
    fn entry_of_a_stranger_is_refused() {
        for bad in ["", "   ", "two\r\nlines", "\u{7}", "\u{202E}"] {
            assert_eq!(Entry::parse(&private(bad)), None, "{bad:?}");
        }
        for words in [
            &["k"][..],
            &["k", "private"],
            &["k", "unknown"],
            &["x", "y"],
            &["k", "tick", "n", "-1", "p", "0"],
            &["k", "left", "p", "1", "names", "a b"],
        ] {
            assert_eq!(Entry::parse(&fields(words)), None, "{words:?}");
        }
        let huge = u64::MAX.to_string();
        let words = ["n", "1", "at", &huge, "sender", "bob", "text", "hi"];
        assert_eq!(parse_history(&fields(&words)), None);
    }

    proptest! {
        #[test]
        fn any_fields_are_parsed_without_a_panic(fields: Fields) {
            let _ = Entry::parse(&fields);
            let _ = parse_history(&fields);
        }
    }
}
