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
        "GET / HTTP/1.1\r\nHost: chat\r\n\r\n".to_owned(),
        "x\r\n".repeat(21),
        format!(
            "{}{}",
            "\n\n\n".repeat(19),
            requests(&["Ping", "", "Quit", "Ping"])
        ),
        "\n\nPing one\r\0\n\r\0Ping two\r\n\r\r\n\n\nPing thr\ree\n".to_owned(),
    ];
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
