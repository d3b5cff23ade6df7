//! The plan of a test run: all moves of all clients, made from the seed before the run.
//!
//! Does not know the server's responses. A plan names clients by number, so the same seed gives
//! the same plan. A client without a session executes the rest of a step that needs one.

use std::fmt;

use crate::fault_client::Random;

/// The number of clients in a plan. The witness is one more client outside the plan.
pub(super) const CLIENTS: usize = 8;

/// Few names, so that clients compete for them. Two of them differ only in case.
const NAMES: [&str; 10] = [
    "ann", "bob", "BOB", "cat", "dee", "eve", "fay", "gus", "hal", "ivy",
];

const ROUNDS: usize = 40;

/// The moves between two settlings.
pub(super) type Round = Vec<Move>;

pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) rounds: Vec<Round>,
}

/// The server's options.
pub(super) struct Settings {
    pub(super) queue: usize,
    /// Seconds.
    pub(super) linger: u64,
    pub(super) rate: u64,
    pub(super) burst: u64,
    /// The number of broadcasts that the server keeps.
    pub(super) history: usize,
    pub(super) witness_watches: bool,
}

/// The move of one client in a round: it sends all requests at once, then does `then`.
pub(super) struct Move {
    pub(super) client: usize,
    /// The first requests, if it has to connect.
    pub(super) arrival: Vec<Ask>,
    pub(super) asks: Vec<Ask>,
    /// The number of bytes in its first write.
    pub(super) first: usize,
    pub(super) then: Then,
    /// Whether it begins after the moves that are not late.
    pub(super) is_late: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Reads its responses and stays connected.
    Stay,
    /// Sends nothing, and reads nothing until its next move.
    StopReading,
    /// Half-closes within a request, and reads to the end.
    HalfClose,
    /// Reads this many responses and closes the connection.
    Close(usize),
    /// Reads this many responses, begins another request and resets the connection.
    Reset(usize),
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Move {
            client,
            arrival,
            asks,
            then,
            is_late,
            ..
        } = self;
        let late = if *is_late { "late " } else { "" };
        write!(
            f,
            "{late}client {client} (if new: {arrival:?}) {asks:?} {then:?}"
        )
    }
}

/// A request, or a bad status line.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) header: Header,
    pub(super) body: Body,
    /// Whether its lines end with LF instead of CRLF.
    pub(super) bare: bool,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.header {
            Header::Empty => write!(f, "{:?}", self.body),
            header => write!(f, "{header:?} {:?}", self.body),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Empty,
    /// The last token that this client got. Empty if it has none.
    TokenOf(usize),
    /// A token that no session has.
    Unknown,
    NotAToken,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    SetName(&'static str),
    Private {
        to: &'static str,
        size: usize,
    },
    Broadcast {
        size: usize,
    },
    ListNames {
        prefix: &'static str,
    },
    WatchPresence {
        is_on: bool,
    },
    RecentMessages {
        /// `None` for a request without a number.
        count: Option<usize>,
    },
    Ping,
    Quit,
    Wrong(&'static Wrong),
    /// A bad line in place of the status line.
    BadStatusLine(&'static Wrong),
}

/// A bad line and its response.
pub(super) struct Wrong {
    pub(super) bytes: &'static [u8],
    /// The number of `x` bytes after it.
    pub(super) more: usize,
    pub(super) found: FoundBy,
    pub(super) status: &'static str,
    pub(super) data: &'static str,
}

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes.escape_ascii())
    }
}

/// The check that finds the error (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoundBy {
    /// Before the token is looked up.
    Characters,
    /// With or without a session.
    Word,
    /// Only with a session.
    Arguments,
}

const BAD: &str = "400 Bad Request";

const fn wrong(
    found: FoundBy,
    bytes: &'static [u8],
    status: &'static str,
    data: &'static str,
) -> Wrong {
    Wrong {
        bytes,
        more: 0,
        found,
        status,
        data,
    }
}

static WRONG: [Wrong; 17] = [
    wrong(FoundBy::Characters, b"Ping \xC3(", BAD, "Not UTF-8"),
    wrong(
        FoundBy::Characters,
        b"Ping \x07",
        BAD,
        "Forbidden character U+0007",
    ),
    wrong(
        FoundBy::Characters,
        "Broadcast-message a\u{202E}b".as_bytes(),
        BAD,
        "Forbidden character U+202E",
    ),
    Wrong {
        more: 8_512,
        ..wrong(FoundBy::Characters, b"Ping ", BAD, "Line too long")
    },
    wrong(FoundBy::Word, b"", BAD, "Empty request"),
    wrong(FoundBy::Word, b" Ping", BAD, "Empty request"),
    wrong(
        FoundBy::Word,
        b"Shout hello",
        "501 Not Implemented",
        "Shout is not a command; try Help",
    ),
    wrong(FoundBy::Word, b"Set-name", BAD, "Usage: Set-name NAME"),
    wrong(
        FoundBy::Word,
        b"Set-name b",
        BAD,
        "A name is 2 to 63 of A-Z a-z 0-9 _ -",
    ),
    wrong(FoundBy::Word, b"Help me", BAD, "Usage: Help"),
    wrong(FoundBy::Word, b"Quit now", BAD, "Usage: Quit"),
    wrong(
        FoundBy::Arguments,
        b"Private-message ann",
        BAD,
        "Usage: Private-message NAME TEXT",
    ),
    wrong(
        FoundBy::Arguments,
        b"Private-message b@b hi",
        BAD,
        "A name is 2 to 63 of A-Z a-z 0-9 _ -",
    ),
    wrong(
        FoundBy::Arguments,
        b"Broadcast-message  \t ",
        BAD,
        "Usage: Broadcast-message TEXT",
    ),
    wrong(
        FoundBy::Arguments,
        b"Watch-presence yes",
        BAD,
        "Usage: Watch-presence on|off",
    ),
    wrong(
        FoundBy::Arguments,
        b"Recent-messages 1001",
        BAD,
        "Usage: Recent-messages [N]",
    ),
    Wrong {
        more: 2_047,
        ..wrong(
            FoundBy::Arguments,
            b"Broadcast-message x",
            BAD,
            "A text is at most 2047 characters",
        )
    },
];

const SHAPE: &str = "A request is an empty line, a token line and a request line";

static BAD_STATUS_LINES: [Wrong; 2] = [
    wrong(FoundBy::Characters, b"hello?", BAD, SHAPE),
    Wrong {
        more: 8_512,
        ..wrong(FoundBy::Characters, b"x", BAD, "Line too long")
    },
];

static HTTP: Wrong = wrong(
    FoundBy::Characters,
    b"GET / HTTP/1.1",
    "418 I'm a tea pocket",
    "This is a chat server, not a web server",
);

/// A connection closes after this many responses with 400 in a row.
pub(super) const MAX_BAD_REQUESTS: usize = 20;

impl Plan {
    pub(super) fn new(seed: u64) -> Plan {
        let mut random = Random::new(seed);
        let settings = Settings {
            queue: pick(&mut random, &[16 * 1024, 16 * 1024, 40_000, 256 * 1024]),
            linger: pick(&mut random, &[60, 60, 1, 0]),
            rate: pick(&mut random, &[0, 0, 400]),
            burst: 1 + random.below(10),
            history: pick(&mut random, &[200, 200, 5, 0]),
            witness_watches: random.below(4) > 0,
        };
        let mut rounds: Vec<Round> = Vec::new();
        while rounds.len() < ROUNDS {
            match random.below(8) {
                0 => rounds.extend(fight(&mut random)),
                _ => rounds.push(round(&mut random)),
            }
        }
        Plan { settings, rounds }
    }
}

/// Makes a round of a few clients with one move each.
fn round(random: &mut Random) -> Round {
    let count = 1 + random.below(5) as usize;
    let clients = shuffled(random);
    let clients = clients.into_iter().take(count);
    clients.map(|client| client_move(random, client)).collect()
}

/// Makes two rounds in which two clients take over the same session, while it sends requests
/// and other clients broadcast. In every second fight, it watches presence.
fn fight(random: &mut Random) -> [Round; 2] {
    let clients = shuffled(random);
    let [victim, takers @ .., _, _, _] = &clients[..6] else {
        unreachable!("six clients");
    };
    let all = |what: Body, client, then| Move {
        client,
        arrival: Vec::new(),
        asks: vec![ask(Header::Empty, what); if then == Then::Stay { 30 } else { 0 }],
        first: 0,
        then,
        is_late: false,
    };
    let leave = takers
        .iter()
        .map(|&it| all(Body::Ping, it, Then::HalfClose));
    let mut fight = vec![all(Body::Ping, *victim, Then::Stay)];
    if random.below(2) == 0 {
        fight[0].asks[0].body = Body::WatchPresence { is_on: true };
    }
    fight.extend(takers.iter().map(|&taker| Move {
        arrival: vec![ask(
            Header::TokenOf(*victim),
            Body::SetName(pick(random, &NAMES)),
        )],
        asks: burst(random, taker),
        ..all(Body::Ping, taker, Then::Stay)
    }));
    // The server reads 4 KiB at once. It writes after it has executed those requests.
    let talk = Body::Broadcast {
        size: pick(random, &[20, 400, 1_000]),
    };
    fight.extend(clients[3..6].iter().map(|&it| all(talk, it, Then::Stay)));
    [leave.collect(), fight]
}

fn shuffled(random: &mut Random) -> Vec<usize> {
    let mut clients: Vec<usize> = (0..CLIENTS).collect();
    let draw = |_| clients.swap_remove(random.below(clients.len() as u64) as usize);
    (0..CLIENTS).map(draw).collect()
}

fn client_move(random: &mut Random, client: usize) -> Move {
    let asks = match random.below(40) {
        // Enough to overflow queues.
        0..2 => flood(random),
        2 => vec![
            ask(Header::Empty, Body::BadStatusLine(&BAD_STATUS_LINES[0]));
            MAX_BAD_REQUESTS + 2
        ],
        _ => burst(random, client),
    };
    let read_before = random.below(asks.len() as u64 + 3) as usize;
    let then = match random.below(20) {
        _ if asks.len() >= MAX_BAD_REQUESTS => Then::Stay,
        0 => Then::HalfClose,
        1 => Then::Close(read_before),
        2..4 => Then::Reset(read_before),
        4..6 => Then::StopReading,
        _ => Then::Stay,
    };
    Move {
        client,
        arrival: arrival(random, client),
        asks: if then == Then::StopReading {
            Vec::new()
        } else {
            asks
        },
        first: random.below(200) as usize,
        then,
        is_late: random.below(4) == 0,
    }
}

/// Makes the first requests of a new connection. Most clients resume their own session, or
/// begin a new one.
fn arrival(random: &mut Random, client: usize) -> Vec<Ask> {
    let set_name = |header, name| ask(header, Body::SetName(name));
    let name = pick(random, &NAMES);
    let mut asks = match random.below(10) {
        0 => Vec::new(),
        // Resume another client's session.
        1..3 => vec![set_name(Header::TokenOf(other(random)), name)],
        _ => vec![
            set_name(Header::TokenOf(client), name),
            set_name(Header::Empty, name),
        ],
    };
    if random.below(2) == 0 {
        asks.push(ask(Header::Empty, Body::WatchPresence { is_on: true }));
    }
    if random.below(2) == 0 {
        asks.push(ask(Header::Empty, recent(random)));
    }
    asks
}

fn burst(random: &mut Random, client: usize) -> Vec<Ask> {
    (0..random.below(7))
        .map(|_| request(random, client))
        .collect()
}

fn request(random: &mut Random, client: usize) -> Ask {
    let header = match random.below(20) {
        0..13 => Header::Empty,
        13..16 => Header::TokenOf(client),
        16..19 => Header::TokenOf(other(random)),
        _ => pick(random, &[Header::Unknown, Header::NotAToken]),
    };
    let body = match random.below(46) {
        0..13 => Body::Private {
            to: pick(random, &NAMES),
            size: size(random),
        },
        13..26 => Body::Broadcast { size: size(random) },
        26..28 => Body::ListNames {
            prefix: pick(random, &["", "", "b", "B", "x"]),
        },
        28..31 => Body::Ping,
        31..34 => Body::SetName(pick(random, &NAMES)),
        34..38 => Body::WatchPresence {
            is_on: random.below(3) > 0,
        },
        38..41 => recent(random),
        41 => Body::Quit,
        42 => Body::BadStatusLine(pick(
            random,
            &[
                &BAD_STATUS_LINES[0],
                &BAD_STATUS_LINES[0],
                &BAD_STATUS_LINES[1],
                &HTTP,
            ],
        )),
        _ => Body::Wrong(&WRONG[random.below(WRONG.len() as u64) as usize]),
    };
    let header = match body {
        // The header of this response depends on the check that failed, so the plan avoids it.
        Body::Wrong(Wrong {
            found: FoundBy::Characters,
            ..
        }) => Header::Empty,
        _ => header,
    };
    Ask {
        header,
        body,
        bare: random.below(3) == 0,
    }
}

fn recent(random: &mut Random) -> Body {
    Body::RecentMessages {
        count: pick(random, &[None, Some(1), Some(3), Some(1_000)]),
    }
}

fn flood(random: &mut Random) -> Vec<Ask> {
    let to = match random.below(3) {
        0 => Some(pick(random, &NAMES)),
        _ => None,
    };
    (0..60 + random.below(60))
        .map(|_| {
            let size = 7_000 + random.below(1_000) as usize;
            let body = match to {
                Some(to) => Body::Private { to, size },
                None => Body::Broadcast { size },
            };
            ask(Header::Empty, body)
        })
        .collect()
}

fn ask(header: Header, body: Body) -> Ask {
    Ask {
        header,
        body,
        bare: false,
    }
}

fn size(random: &mut Random) -> usize {
    match random.below(10) {
        0 => random.below(8_000) as usize,
        _ => random.below(100) as usize,
    }
}

fn other(random: &mut Random) -> usize {
    random.below(CLIENTS as u64) as usize
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}
