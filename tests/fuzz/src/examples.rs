//! The initial inputs of the fuzzer: the conversations of the protocol's document, of the
//! README and of the guide, and the edge cases of the protocol.

const README: &str = include_str!("../../../README.md");
const BY_HAND: &str = include_str!("../../../src/guide/by_hand.md");
const PROTOCOL: &str = include_str!("../../../src/protocol/mod.rs");

/// Returns the initial inputs of a target, or `None` if there is no such target.
pub fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    match target {
        "line" | "connection" => Some(streams()),
        "request" => Some(requests()),
        "reply" => Some(replies()),
        _ => None,
    }
}

/// Returns whole streams of clients.
pub fn streams() -> Vec<Vec<u8>> {
    let mut streams: Vec<Vec<u8>> = conversations()
        .iter()
        .map(|conversation| lines_after(">", conversation).join("\r\n") + "\r\n")
        .map(String::into_bytes)
        .collect();
    streams.extend(edges());
    streams
}

/// Returns single requests.
pub fn requests() -> Vec<Vec<u8>> {
    messages(">")
        .into_iter()
        .chain(bodies().into_iter().map(|body| format!("\n\n{body}")))
        .map(String::into_bytes)
        .collect()
}

/// Returns single messages of servers.
pub fn replies() -> Vec<Vec<u8>> {
    let others = [
        "502 Bad Gateway\n\nMissed 3 messages: you read too slowly",
        "502 Bad Gateway\n\nThe server is shutting down",
        "401 Unauthorized\n\nToo slow: set a name within 60 seconds",
        "403 Forbidden\n\nThe server is full",
        "200 OK\n\n4 online: alice and bob more",
        "200 OK\n\nIncoming-presence joined alice",
        "200 OK\n\nIncoming-presence left alice",
        "200 OK\n\nIncoming-presence renamed alice Alice",
        "200 OK\n\nIncoming-presence renamed alice",
        "200 OK\n\nIncoming-presence",
        "200 OK\n\nIncoming-recent 2026-11-25T21:04:05Z bob fine",
        "200 OK\n\nIncoming-recent 2026-11-25T21:04:05.9+01:00 bob  two  spaces ",
        "200 OK\n\nIncoming-recent 2026-11-25T21:04:65Z bob fine",
        "200 OK\n\nIncoming-recent now bob fine",
        "200 OK\n\nIncoming-weather rain",
        "304 Not Modified\n\nIncoming-weather rain",
        "200 OK\n\nWatching presence",
        "304 Not Modified\n\nNot watching presence",
        "200 OK\n\n20 recent",
    ];
    let others = others.map(str::to_owned);
    messages("<")
        .into_iter()
        .chain(others)
        .map(String::into_bytes)
        .collect()
}

/// Returns the messages of one side, with LF between their lines.
fn messages(mark: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for conversation in conversations() {
        let lines = lines_after(mark, &conversation);
        messages.extend(lines.chunks_exact(3).map(|lines| lines.join("\n")));
    }
    messages.sort();
    messages.dedup();
    messages
}

/// Returns the code blocks in which `>` marks a client's lines and `<` a server's.
fn conversations() -> Vec<Vec<&'static str>> {
    let documents = README.lines().chain(BY_HAND.lines());
    let protocol = PROTOCOL.lines().map(|line| {
        let line = line.strip_prefix("//!").unwrap_or(line);
        line.strip_prefix(' ').unwrap_or(line)
    });
    let mut blocks = vec![Vec::new()];
    for line in documents.chain(protocol) {
        match blocks.last_mut() {
            Some(block) if !line.starts_with("```") => block.push(line),
            _ => blocks.push(Vec::new()),
        }
    }
    // Every second block is between two fences.
    let fenced = blocks.into_iter().skip(1).step_by(2);
    fenced
        .filter(|block| block.iter().all(|line| line.starts_with(['<', '>'])))
        .filter(|block| block.iter().any(|line| line.starts_with('>')))
        .collect()
}

fn lines_after<'a>(mark: &str, block: &[&'a str]) -> Vec<&'a str> {
    let marked = block.iter().filter_map(|line| line.strip_prefix(mark));
    marked
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect()
}

/// Returns request lines: each command, and lines that are just invalid.
fn bodies() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "",
        " ",
        "Help",
        "help me",
        "Ping",
        "Ping ",
        "PING \t x ",
        "List-names",
        "List-names B",
        "Set-name",
        "Set-name x",
        "Set-name -_",
        "Private-message bob",
        "Private-message bob \u{A0}",
        "Private-message  bob hi",
        "Private-message alice  two  spaces ",
        "Broadcast-message \u{202E}",
        "Broadcast-message \u{7}",
        "Watch-presence",
        "Watch-presence ",
        "watch-PRESENCE On",
        "Watch-presence oFF",
        "Watch-presence on ",
        "Watch-presence  on",
        "Watch-presence yes",
        "Recent-messages",
        "Recent-messages ",
        "recent-MESSAGES 0001000",
        "Recent-messages 1001",
        "Recent-messages 0",
        "Recent-messages 000",
        "Recent-messages +5",
        "Recent-messages -1",
        "Recent-messages 5 ",
        "Recent-messages \u{665}",
        "Recent-messages 99999999999999999999",
        "no-such-command with arguments",
        "Quit",
    ]
    .map(str::to_owned)
    .into();
    for over in [0, 1] {
        bodies.push(format!("Set-name {}", "n".repeat(63 + over)));
        bodies.push(format!("Broadcast-message {}", "я".repeat(2_047 + over)));
        bodies.push(format!("Private-message bob {}", "🙂".repeat(2_047 + over)));
        bodies.push("w".repeat(32 + over));
    }
    bodies
}

/// Returns streams with edge cases.
fn edges() -> Vec<Vec<u8>> {
    let [bob, dora] = crate::connection::RESIDENTS.map(|(_, token)| token);
    let request = |body: &str| format!("\r\n\r\n{body}\r\n");
    let named = |rest: &str| format!("{}{rest}", request("Set-name alice"));
    let requests = |bodies: &[&str]| bodies.iter().map(|body| request(body)).collect::<String>();
    let mut edges: Vec<String> = vec![
        named(&requests(&["Broadcast-message one"; 6])) + &format!("\n{bob}\nSet-name bob\n"),
        requests(&["Ping"; 3])
            + &format!("\n{bob}\nPrivate-message dora hi\n\n{bob}\nQuit\n\n\nPing\n"),
        format!(
            "\n{bob}\nSet-name bobby\n\n{dora}\nSet-name dora\n\n\nSet-name BOBBY\n\n\nPrivate-message bobby I\n"
        ),
        format!("\n{bob}\nBroadcast-message to dora\n").repeat(4)
            + &format!("\n{dora}\nSet-name eve\n\n\nList-names e\n"),
        named(&requests(&[
            "Private-message alice to myself",
            "List-names",
            "Set-name alice",
            "Set-name dora",
            "Set-name Alice",
        ])),
        // The client sees the end of another session.
        named(&requests(&[
            "Watch-presence on",
            "Watch-presence ON",
            "Watch-presence",
        ])) + &format!("\n{bob}\nQuit\n"),
        named(&requests(&[
            "Watch-presence off",
            "Watch-presence on",
            "Watch-presence off",
        ])) + &format!("\n{bob}\nQuit\n"),
        // A lingering session watches. What it is told waits for the client that resumes it.
        format!(
            "\n{bob}\nWatch-presence on\n\n{bob}\nWatch-presence on\n\n{dora}\nWatch-presence on\n"
        ) + &format!("\n{dora}\nSet-name Dora\n\n\nSet-name eve\n\n{bob}\nQuit\n"),
        // Messages leave less than half of its queue.
        format!("\n{bob}\nWatch-presence on\n")
            + &format!("\n{dora}\nPrivate-message bob 1\n").repeat(2)
            + &format!("\n{dora}\nQuit\n"),
        format!("\n{bob}\nBroadcast-message kept\n\n{dora}\nBroadcast-message  kept too \n")
            + &format!("\n{bob}\nPrivate-message dora not kept\n\n{dora}\nRecent-messages\n")
            + &named(&requests(&[
                "Recent-messages 1",
                "Recent-messages 2",
                "Recent-messages 0",
            ])),
        // More than 200 messages, or more than 65,536 bytes.
        named(&requests(&["Recent-messages"]))
            + &request(&format!("Broadcast-message {}", "🙂".repeat(2_000))).repeat(9)
            + &requests(&[
                "Recent-messages 7",
                "Recent-messages 8",
                "Ping",
                "Recent-messages 1000",
            ]),
        named(&"\n\nBroadcast-message x\n".repeat(210))
            + &requests(&[
                "Broadcast-message y",
                "Recent-messages 1000",
                "Recent-messages",
            ]),
        requests(&["Recent-messages", "Watch-presence on", "Recent-messages 0"]),
        "GET / HTTP/1.1\r\nHost: chat\r\n\r\n".to_owned(),
        "x\r\n".repeat(21),
        format!(
            "{}{}",
            "\n\n\n".repeat(19),
            requests(&["Ping", "", "Quit", "Ping"])
        ),
        "\n\nPing one\r\0\n\r\0Ping two\r\n\r\r\n\n\nPing thr\ree\n".to_owned(),
    ];
    // A message fills almost half of bob's queue, or half of it. So a change fits, or does not. Then
    // another message shows how much room is left.
    for length in [53, 54] {
        let private = format!("Private-message bob {}\n", "x".repeat(length));
        edges.push(format!(
            "\n{bob}\nWatch-presence on\n\n{dora}\n{private}\n{dora}\nSet-name Dora\n\n\n{private}"
        ));
    }
    // The message would fit if bob were not told of the change.
    for (change, length) in [("Ping", 120), ("Set-name Alice", 60)] {
        let private = request(&format!("Private-message bob {}", "x".repeat(length)));
        let rest = named(&(request(change) + &private));
        edges.push(format!("\n{bob}\nWatch-presence on\n{rest}"));
    }
    // Eight messages that take 65,536 bytes on the wire together, or one byte more. The length of
    // a stream determines how many messages the server keeps, so each has several lengths.
    for (over, pings) in (0..12).map(|number| (number % 2, number / 2)) {
        let message = |over| {
            format!(
                "Broadcast-message {}{}",
                "🙂".repeat(2_026),
                "x".repeat(over)
            )
        };
        let messages = request(&message(1)).repeat(7) + &request(&message(1 + over));
        let pings = request("Ping").repeat(pings);
        edges.push(named(&(messages + &pings + &request("Recent-messages"))));
    }
    // One stream for each body, because `Quit` and twenty bad requests end a connection.
    edges.extend(bodies().iter().map(|body| named(&request(body))));
    for length in [8_511, 8_512, 8_513] {
        let long = "x".repeat(length);
        edges.push(format!("{long}\r\n\r\n\r\nPing\r\n"));
        edges.push(format!("\r\n{long}\r\nPing\r\n"));
        edges.push(request(&format!("Ping {}", &long[5..])));
    }
    let mut edges: Vec<Vec<u8>> = edges.into_iter().map(String::into_bytes).collect();
    // PuTTY's negotiation, Ctrl-C, and subnegotiations with and without an end.
    let telnet: [&[u8]; 3] = [
        b"\xFF\xFB\x1F\xFF\xFD\x01\xFF\xFB\x03\xFF\xFD\x03\r\n\r\nPing\r\n",
        b"\r\n\r\nPing he\xFF\xF4\xFF\xFD\x06llo\r\n\xFF\xFF\r\nPing\r\n",
        b"\xFF\xFA\x18\x00xterm\xFF\xFF\xF0\xFF\xF0\n\nPing\n",
    ];
    edges.extend(telnet.map(<[u8]>::to_vec));
    for length in [511, 512, 513] {
        edges.push(
            [
                b"\xFF\xFA",
                "x".repeat(length).as_bytes(),
                b"\xFF\xF0\n\nPing\n",
            ]
            .concat(),
        );
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_conversations_are_found() {
        let typed: Vec<String> = conversations()
            .iter()
            .map(|conversation| lines_after(">", conversation).join("\n"))
            .collect();
        assert!(
            typed
                .contains(&"\n\nSet-name bob\n\n\nBroadcast-message hello, everyone 🙂".to_owned())
        );
        assert!(
            typed
                .iter()
                .any(|typed| typed.ends_with("Private-message carol hi"))
        );
        for (name, token) in crate::connection::RESIDENTS {
            assert!(
                BY_HAND.contains(token),
                "the guide has another token of {name}"
            );
        }
    }

    #[test]
    fn example_lines_are_read_at_every_cut() {
        streams()
            .iter()
            .for_each(|stream| crate::line::check(stream));
    }

    #[test]
    fn example_requests_are_parsed_as_specified() {
        requests()
            .iter()
            .for_each(|input| crate::request::check(input));
    }

    #[test]
    fn example_replies_are_parsed_as_specified() {
        replies()
            .iter()
            .for_each(|input| crate::reply::check(input));
    }

    #[test]
    fn example_conversations_are_answered_as_specified() {
        streams()
            .iter()
            .for_each(|stream| crate::connection::check(stream));
    }
}
