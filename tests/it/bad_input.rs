//! Bad input: the responses, their order and their cost (section 6).

use crate::support::{Client, Server};

const BAD_STATUS_LINE: &str = "A request is an empty line, a token line and a request line";

#[test]
fn nonempty_status_line_gets_400_and_costs_one_line() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    // The server checks only the length and the HTTP ending.
    for line in ["Set-name bob", " ", "\u{7}", "GET / HTTP/2", "HTTP/1.1"] {
        client.send_raw(format!("{line}\r\n"));
        client.expect("400 Bad Request", BAD_STATUS_LINE);
    }
    client.send_raw(b"\xFF\xFF\xC3\n");
    client.expect("400 Bad Request", BAD_STATUS_LINE);
    client.barrier();
}

#[test]
fn http_request_gets_418_and_is_closed() {
    let server = Server::start(&[]);
    for version in ["1.0", "1.1"] {
        let mut client = server.connect();
        client.send_raw(format!(
            "POST / HTTP/{version}\r\nHost: x\r\nContent-Length: 40\r\n\r\n\r\nSet-name evil\r\n"
        ));
        client.expect(
            "418 I'm a tea pocket",
            "This is a chat server, not a web server",
        );
        client.expect_end();
    }
    let mut client = server.log_in("alice");
    client.send_raw("\x07\u{80} HTTP/1.1\n");
    client.expect(
        "418 I'm a tea pocket",
        "This is a chat server, not a web server",
    );
    client.expect_end();
    // Its session has ended with the connection.
    server.log_in("alice");
}

#[test]
fn http_text_in_header_or_body_is_not_http() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw("\r\nGET / HTTP/1.1\r\nPing\r\n");
    client.expect("401 Unauthorized", "Unknown token");
    client.ask(
        "GET / HTTP/1.1",
        "501 Not Implemented",
        "GET is not a command; try Help",
    );
    let long = "x".repeat(8_512);
    client.send_raw(format!("GET /{long} HTTP/1.1\r\n"));
    client.expect("400 Bad Request", "Line too long");
}

#[test]
fn each_malformed_request_gets_its_response() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    let name = "A name is 2 to 63 of A-Z a-z 0-9 _ -";
    let long = "я".repeat(2_048);
    for (body, data) in [
        ("", "Empty request"),
        (" Ping", "Empty request"),
        (" ", "Empty request"),
        ("Ping \u{7}", "Forbidden character U+0007"),
        ("Ping \0", "Forbidden character U+0000"),
        ("Ping \r", "Forbidden character U+000D"),
        ("Ping \rx", "Forbidden character U+000D"),
        ("Ping a\u{1B}[2J\u{7F}", "Forbidden character U+001B"),
        ("Ping \u{7F}", "Forbidden character U+007F"),
        ("Ping \u{9B}", "Forbidden character U+009B"),
        ("Ping \u{2028}", "Forbidden character U+2028"),
        ("Ping \u{202E}", "Forbidden character U+202E"),
        ("Ping \u{2069}", "Forbidden character U+2069"),
        ("Set-name x", name),
        ("Set-name a b", name),
        ("Set-name боб", name),
        ("Private-message b hi", name),
    ] {
        client.ask(body, "400 Bad Request", data);
    }
    client.barrier();
    for (body, data) in [
        (format!("Set-name {}", "x".repeat(64)), name),
        (
            format!("Broadcast-message {long}"),
            "A text is at most 2047 characters",
        ),
        (
            format!("Private-message bob {long}"),
            "A text is at most 2047 characters",
        ),
    ] {
        client.ask(&body, "400 Bad Request", data);
    }
    client.barrier();
    for (body, usage) in [
        ("Set-name", "Set-name NAME"),
        ("Set-name ", "Set-name NAME"),
        ("Private-message", "Private-message NAME TEXT"),
        ("Private-message bob", "Private-message NAME TEXT"),
        ("Private-message bob ", "Private-message NAME TEXT"),
        (
            "Private-message bob \t \u{3000}",
            "Private-message NAME TEXT",
        ),
        ("Broadcast-message", "Broadcast-message TEXT"),
        ("Broadcast-message   ", "Broadcast-message TEXT"),
        ("Help me", "Help"),
        ("Quit now", "Quit"),
    ] {
        client.ask(body, "400 Bad Request", &format!("Usage: {usage}"));
    }
    client.barrier();
    client.send_raw(b"\n\nPing \xC3\n");
    client.expect("400 Bad Request", "Not UTF-8");
    client.send_raw(b"\n\xC3\x28\nPing\n");
    client.expect("400 Bad Request", "Not UTF-8");
    client.barrier();
}

#[test]
fn text_of_maximum_length_is_delivered() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let text = "🙂".repeat(2_047);
    alice.ask(
        &format!("Broadcast-message {text}"),
        "200 OK",
        "Delivered to 1",
    );
    bob.expect_delivery("broadcast", "alice", &text);
    let longest = "n".repeat(63);
    let mut other = server.log_in(&longest);
    alice.ask(
        &format!("Private-message {longest} {text}"),
        "200 OK",
        &format!("Delivered to {longest}"),
    );
    other.expect_delivery("private", "alice", &text);
}

/// Sends a request with a header, and expects a response with the last header.
#[track_caller]
fn ask_with(client: &mut Client, lines: (&[u8], &[u8]), answer: (&str, &str), header: &str) {
    client.send_raw([b"\r\n", lines.0, b"\r\n", lines.1, b"\r\n"].concat());
    client.expect_with(header, answer.0, answer.1);
}

#[test]
fn first_error_determines_response() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    let own = client.token.clone();
    let long = vec![b'x'; 8_513];
    let bad = "400 Bad Request";
    // Each request has several errors. The expected response is for the first check that fails.
    for (header, body, answer) in [
        (&b"\x07"[..], &long[..], (bad, "Line too long")),
        (&long, b"\xC3", (bad, "Line too long")),
        (b"\x07", b"\xC3", (bad, "Not UTF-8")),
        (b"\xC3", b"\x07", (bad, "Not UTF-8")),
        (b"\x01", b"\x07", (bad, "Forbidden character U+0001")),
        (b"unknown", b"\x07", (bad, "Forbidden character U+0007")),
    ] {
        ask_with(&mut client, (header, body), answer, &own);
    }
    client.barrier();
    let unknown = ("401 Unauthorized", "Unknown token");
    for body in ["", " ", "Nonsense", "Broadcast-message", "Set-name x"] {
        ask_with(&mut client, (b"unknown", body.as_bytes()), unknown, "");
    }
    let mut nameless = server.connect();
    let first = ("401 Unauthorized", "Set a name first");
    ask_with(
        &mut nameless,
        (b"", b" Broadcast-message"),
        (bad, "Empty request"),
        "",
    );
    let nonsense = ("501 Not Implemented", "Nonsense is not a command; try Help");
    ask_with(&mut nameless, (b"", b"Nonsense"), nonsense, "");
    ask_with(&mut nameless, (b"", b"Broadcast-message"), first, "");
    ask_with(&mut nameless, (b"", b"Private-message x"), first, "");
    // The server checks arguments before 403 and 404.
    ask_with(
        &mut nameless,
        (b"", b"Set-name alice "),
        (bad, "A name is 2 to 63 of A-Z a-z 0-9 _ -"),
        "",
    );
    client.ask(
        "Private-message absent ",
        bad,
        "Usage: Private-message NAME TEXT",
    );
}

#[test]
fn response_400_has_the_header_of_the_request() {
    let server = Server::start(&[]);
    let (mut alice, bob) = (server.log_in("alice"), server.log_in("bob"));
    let mut nameless = server.connect();
    let (own, other) = (alice.token.clone(), bob.token.clone());
    let long = vec![b'x'; 8_513];
    let too_long = ("400 Bad Request", "Line too long");
    ask_with(&mut alice, (other.as_bytes(), &long), too_long, &other);
    ask_with(&mut alice, (b"", &long), too_long, &own);
    ask_with(&mut alice, (b"unknown", &long), too_long, &own);
    ask_with(&mut alice, (&long, b"Ping"), too_long, &own);
    ask_with(&mut nameless, (other.as_bytes(), &long), too_long, &other);
    ask_with(&mut nameless, (&long, b"Ping"), too_long, "");
    let empty = ("400 Bad Request", "Empty request");
    ask_with(&mut alice, (other.as_bytes(), b""), empty, &other);
    ask_with(&mut nameless, (other.as_bytes(), b""), empty, &other);
}

#[test]
fn twentieth_400_in_a_row_closes_the_connection() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    for _ in 0..3 {
        for _ in 0..19 {
            client.send_raw("x\n");
            client.expect("400 Bad Request", BAD_STATUS_LINE);
        }
        client.barrier();
    }
    // A response to a name change resets the count like other responses.
    for _ in 0..19 {
        client.ask("", "400 Bad Request", "Empty request");
    }
    client.ask("Set-name Alice", "200 OK", "You are Alice");
    for n in 0..20 {
        client.send(if n % 2 == 0 { "Quit now" } else { "" });
    }
    for n in 0..20 {
        let data = if n % 2 == 0 {
            "Usage: Quit"
        } else {
            "Empty request"
        };
        client.expect("400 Bad Request", data);
    }
    client.expect_end();
    server.log_in("alice");
}

#[test]
fn any_other_response_resets_the_count_of_400s() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    for (header, body, status) in [
        ("", "Ping", "200 OK"),
        ("", "Set-name alice", "304 Not Modified"),
        ("unknown", "Ping", "401 Unauthorized"),
        ("", "Private-message absent hi", "404 Not Found"),
        ("", "Nonsense", "501 Not Implemented"),
    ] {
        for _ in 0..19 {
            client.send_raw("x\n");
            client.expect("400 Bad Request", BAD_STATUS_LINE);
        }
        client.send_as(header, body);
        assert_eq!(client.next().status, status);
    }
    client.barrier();
}

#[test]
fn bad_input_is_never_partly_delivered() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.log_in("alice"), server.log_in("bob"));
    let long = "x".repeat(8_513);
    for body in [
        &format!("Broadcast-message {long}")[..],
        &format!("Broadcast-message {}", "x".repeat(2_048)),
        "Broadcast-message a\u{1B}b",
        "Broadcast-message a\rBroadcast-message b",
        "Private-message bob a\0b",
        "Private-message bob  \t",
    ] {
        alice.send(body);
        assert_eq!(alice.next().status, "400 Bad Request");
    }
    alice.send_raw(b"\n\nBroadcast-message a\xFF\xFF\xC3\n");
    alice.expect("400 Bad Request", "Not UTF-8");
    alice.send_as(&long, "Broadcast-message never");
    alice.expect("400 Bad Request", "Line too long");
    bob.barrier();
}

#[test]
fn first_name_resets_the_count_of_400s() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for _ in 0..19 {
        client.ask("", "400 Bad Request", "Empty request");
    }
    client.set_name("alice");
    client.ask("", "400 Bad Request", "Empty request");
    client.barrier();
}

#[test]
fn rate_limit_delays_requests_without_loss() {
    let server = Server::start_with(&["-v", "--rate", "100", "--burst", "5"], |_| {});
    let mut client = server.connect();
    let begun = std::time::Instant::now();
    let requests: String = (0..25).map(|n| format!("\n\nPing {n}\n")).collect();
    client.send_raw(requests);
    for n in 0..25 {
        client.expect("200 OK", &format!("Pong {n}"));
    }
    server.expect_log("rate limit exceeded: waiting ");
    // Twenty requests wait at least ten milliseconds each.
    assert!(begun.elapsed().as_millis() >= 200, "{:?}", begun.elapsed());
    // Bad status lines cost as much as requests.
    client.send_raw("x\n".repeat(10));
    let begun = std::time::Instant::now();
    for _ in 0..10 {
        client.expect("400 Bad Request", BAD_STATUS_LINE);
    }
    assert!(begun.elapsed().as_millis() >= 40, "{:?}", begun.elapsed());
}

#[test]
fn default_burst_passes_a_pasted_block_at_once() {
    let server = Server::start_with(&["-v"], |_| {});
    let mut client = server.log_in("alice");
    for n in 0..40 {
        client.send(&format!("Broadcast-message line {n}"));
    }
    for _ in 0..40 {
        client.expect("200 OK", "Delivered to 0");
    }
    assert!(!server.log().contains("too fast"));
}

#[test]
fn rate_limited_client_delays_no_other() {
    let server = Server::start_with(&["--rate", "1", "--burst", "2"], |_| {});
    let mut slow = server.log_in("slow");
    for n in 0..3 {
        slow.send(&format!("Ping {n}"));
    }
    slow.expect("200 OK", "Pong 0");
    // The slow client waits two seconds for its other two responses. Meanwhile another client
    // logs in and sends it a message.
    let mut other = server.log_in("other");
    other.ask("Private-message slow hi", "200 OK", "Delivered to slow");
    slow.expect_delivery("private", "other", "hi");
    slow.expect("200 OK", "Pong 1");
    slow.expect("200 OK", "Pong 2");
}
