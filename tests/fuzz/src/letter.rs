//! A reference implementation of the protocol's sections 1, 2 and 6, as simple as possible.
//!
//! The server must agree with it. It uses no code of the server. Its numbers and texts are
//! copies of the protocol's.

/// Splits a client's text, without telnet sequences, into lines without their ends.
///
/// A line that is too long is `None`. An unterminated line is dropped.
pub fn lines(mut text: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut lines = Vec::new();
    let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r\0"];
    while let Some((at, end)) = (0..text.len()).find_map(|at| {
        let end = ends.into_iter().find(|end| text[at..].starts_with(end))?;
        Some((at, end))
    }) {
        lines.push((at <= 8_512).then(|| text[..at].to_vec()));
        text = &text[at + end.len()..];
    }
    lines
}

/// Splits a stream into its text and the answers to its telnet requests.
pub fn telnet(stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut text, mut answers, mut rest) = (Vec::new(), Vec::new(), stream);
    while !rest.is_empty() {
        rest = match rest {
            // DO is answered with WONT.
            [255, 253, option, after @ ..] => {
                answers.extend([255, 252, *option]);
                after
            }
            // WILL, WONT, DONT. Then one of them, or DO, cut off by the end of the stream.
            [255, 251 | 252 | 254, _, after @ ..] => after,
            [255, 251..=254] => &[],
            // SB.
            [255, 250, after @ ..] => &after[subnegotiation(after)..],
            // Any other command, also IAC itself. Then IAC at the end of the stream.
            [255, _, after @ ..] => after,
            [255] => &[],
            [byte, after @ ..] => {
                text.push(*byte);
                after
            }
            [] => &[],
        };
    }
    (text, answers)
}

/// Returns the length of a subnegotiation after IAC SB: up to IAC SE, at most 512 bytes.
fn subnegotiation(bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(512)];
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at..] {
            [255, 240, ..] => return at + 2,
            [255, _, ..] => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A response: its status line and its text.
pub type Said = (&'static str, String);

/// The status of every malformed request.
pub const BAD_REQUEST: &str = "400 Bad Request";

fn bad(text: impl Into<String>) -> Said {
    (BAD_REQUEST, text.into())
}

/// Returns the response to a bad status line, and `None` for a good one.
pub fn bad_status_line(line: Option<&[u8]>) -> Option<Said> {
    let line = match line {
        None => return Some(bad("Line too long")),
        Some([]) => return None,
        Some(line) => line,
    };
    Some(
        match line.ends_with(b" HTTP/1.0") || line.ends_with(b" HTTP/1.1") {
            true => (
                "418 I'm a tea pocket",
                "This is a chat server, not a web server".into(),
            ),
            false => bad("A request is an empty line, a token line and a request line"),
        },
    )
}

/// A fault of a line. The order is the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Fault {
    TooLong,
    NotUtf8,
    Forbidden(char),
}

impl Fault {
    /// Returns the response to it.
    pub fn said(self) -> Said {
        match self {
            Fault::TooLong => bad("Line too long"),
            Fault::NotUtf8 => bad("Not UTF-8"),
            Fault::Forbidden(c) => bad(format!("Forbidden character U+{:04X}", u32::from(c))),
        }
    }

    fn rank(self) -> u32 {
        match self {
            Fault::TooLong => 0,
            Fault::NotUtf8 => 1,
            Fault::Forbidden(_) => 2,
        }
    }
}

/// Returns the characters of a line, or its fault.
pub fn good(line: Option<&[u8]>) -> Result<&str, Fault> {
    let line = str::from_utf8(line.ok_or(Fault::TooLong)?).map_err(|_| Fault::NotUtf8)?;
    match line.chars().find(|&c| is_forbidden(c)) {
        Some(c) => Err(Fault::Forbidden(c)),
        None => Ok(line),
    }
}

/// Returns header and body, or the fault that determines the response.
pub fn both<'a>(
    header: Result<&'a str, Fault>,
    body: Result<&'a str, Fault>,
) -> Result<(&'a str, &'a str), Fault> {
    match (header, body) {
        (Ok(header), Ok(body)) => Ok((header, body)),
        (header, body) => {
            let faults = header.err().into_iter().chain(body.err());
            Err(faults.min_by_key(|fault| fault.rank()).expect("a fault"))
        }
    }
}

/// Whether a character is white space or invisible (section 2).
fn is_invisible(c: char) -> bool {
    let invisible = "\u{200B}\u{200C}\u{200D}\u{200E}\u{200F}\u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\
                     \u{FEFF}\u{AD}\u{34F}\u{180E}\u{2800}\u{115F}\u{1160}\u{3164}\u{FFA0}";
    c.is_whitespace() || invisible.contains(c)
}

/// Whether section 1 forbids a character.
pub fn is_forbidden(c: char) -> bool {
    matches!(u32::from(c),
        0..=0x8 | 0xA..=0x1F | 0x7F..=0x9F | 0x2028..=0x2029 | 0x202A..=0x202E | 0x2066..=0x2069)
}

/// Whether a line is 32 lower-case hex digits.
pub fn is_token(line: &str) -> bool {
    line.len() == 32 && line.chars().all(|c| "0123456789abcdef".contains(c))
}

/// Whether a name has 2 to 63 characters of `A–Z a–z 0–9 _ -`.
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (2..=63).contains(&name.chars().count()) && name.chars().all(good)
}

/// Whether a text is a time of UTC, cut to the second, such as `2026-11-25T21:04:05Z`.
pub fn is_time(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00Z";
    let fits = |(c, place): (char, char)| match place {
        '0' => c.is_ascii_digit(),
        mark => c == mark,
    };
    text.len() == shape.len() && text.chars().zip(shape.chars()).all(fits)
}

/// A command with the arguments of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the protocol explains them")]
pub enum Command<'a> {
    SetName(&'a str),
    PrivateMessage(&'a str, &'a str),
    BroadcastMessage(&'a str),
    ListNames(&'a str),
    WatchPresence(bool),
    RecentMessages(usize),
    Ping(Option<&'a str>),
    Help,
    Quit,
}

const USAGES: [&str; 9] = [
    "Set-name NAME",
    "Private-message NAME TEXT",
    "Broadcast-message TEXT",
    "List-names [PREFIX]",
    "Watch-presence on|off",
    "Recent-messages [N]",
    "Ping [TEXT]",
    "Help",
    "Quit",
];

/// Returns the text of the response to `Help`.
pub fn help() -> String {
    format!("Commands: {}", USAGES.join(", "))
}

/// Returns the command of a good body, or the response to a bad one.
pub fn command(body: &str, for_a_session: bool) -> Result<Command<'_>, Said> {
    if body.is_empty() || body.starts_with(' ') {
        return Err(bad("Empty request"));
    }
    let (word, arguments) = match body.split_once(' ') {
        Some((word, arguments)) => (word, Some(arguments)),
        None => (body, None),
    };
    let usage = USAGES.into_iter().find(|usage| {
        let (its_word, _) = usage.split_once(' ').unwrap_or((usage, ""));
        its_word.eq_ignore_ascii_case(word)
    });
    let Some(usage) = usage else {
        let word: String = word.chars().take(32).collect();
        let text = format!("{word} is not a command; try Help");
        return Err(("501 Not Implemented", text));
    };
    if !for_a_session
        && ["Pri", "Bro", "Lis", "Wat", "Rec"]
            .iter()
            .any(|start| usage.starts_with(start))
    {
        return Err(("401 Unauthorized", "Set a name first".into()));
    }
    let usage_error = || bad(format!("Usage: {usage}"));
    let name = |name| match is_name(name) {
        true => Ok(name),
        false => Err(bad("A name is 2 to 63 of A-Z a-z 0-9 _ -")),
    };
    let text = |text: &'_ str| {
        if text.chars().count() > 2_047 {
            Err(bad("A text is at most 2047 characters"))
        } else if text.chars().all(is_invisible) {
            Err(usage_error())
        } else {
            Ok(())
        }
    };
    let some = arguments.unwrap_or("");
    match (usage, some) {
        ("Ping [TEXT]", _) => Ok(Command::Ping(arguments)),
        ("List-names [PREFIX]", prefix) => Ok(Command::ListNames(prefix)),
        ("Recent-messages [N]", "") => Ok(Command::RecentMessages(20)),
        ("Recent-messages [N]", digits) => {
            let is_digit = |c: char| c.is_ascii_digit();
            match digits.trim_start_matches('0') {
                count if !digits.chars().all(is_digit) || !(1..=4).contains(&count.len()) => {
                    Err(usage_error())
                }
                count => match count.parse().expect("up to four digits") {
                    count @ 1..=1_000 => Ok(Command::RecentMessages(count)),
                    _ => Err(usage_error()),
                },
            }
        }
        ("Watch-presence on|off", word) => match &*word.to_ascii_lowercase() {
            "on" => Ok(Command::WatchPresence(true)),
            "off" => Ok(Command::WatchPresence(false)),
            _ => Err(usage_error()),
        },
        ("Help", "") => Ok(Command::Help),
        ("Quit", "") => Ok(Command::Quit),
        ("Help" | "Quit", _) | (_, "") => Err(usage_error()),
        ("Set-name NAME", wanted) => Ok(Command::SetName(name(wanted)?)),
        ("Broadcast-message TEXT", sent) => {
            text(sent)?;
            Ok(Command::BroadcastMessage(sent))
        }
        (_, both) => {
            let (to, sent) = both.split_once(' ').unwrap_or((both, ""));
            if to.is_empty() {
                return Err(usage_error());
            }
            let to = name(to)?;
            text(sent)?;
            Ok(Command::PrivateMessage(to, sent))
        }
    }
}
