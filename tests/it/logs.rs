use crate::support::Server;

#[test]
fn who_came_took_which_name_and_left_why_is_logged() {
    let server = Server::start(&[]);
    let mut alice = server.connect();
    let port = alice.stream().local_addr().expect("bound").port();
    alice.set_name("alice");
    alice.ask("Set-name Alice2", "200 OK", "You are Alice2");
    alice.ask("Quit", "200 OK", "Goodbye");
    alice.expect_end();
    drop(alice);
    let mut curl = server.connect();
    curl.send_raw("GET / HTTP/1.1\r\n");
    curl.expect(
        "418 I'm a tea pocket",
        "This is a chat server, not a web server",
    );
    drop(curl);
    server.connect().close_input();
    for line in [
        &format!("INFO  reader-1: came from 127.0.0.1:{port}"),
        "INFO  reader-1: is alice",
        "INFO  reader-1: is Alice2, was alice",
        "INFO  reader-1: left as Alice2: answered 200 OK, Goodbye",
        "INFO  reader-2: left: answered 418 I'm a tea pocket, This is a chat server",
        "INFO  reader-3: left: end of input",
    ] {
        server.expect_log(line);
    }
    assert!(!server.log().contains("TRACE") && !server.log().contains("DEBUG"));
}

#[test]
fn the_wire_is_logged_at_trace_escaped_and_without_tokens() {
    let server = Server::start(&["-vv"]);
    let mut alice = server.named("alice");
    let token = alice.token.clone();
    alice.send_as(&token, &format!("Ping {token} приве́т"));
    alice.expect("200 OK", &format!("Pong {token} приве́т"));
    // In the wrong line, and in another's mouth.
    alice.send_raw(format!("{token}\r\n"));
    alice.expect(
        "400 Bad Request",
        "A request is an empty line, a token line and a request line",
    );
    alice.ask(
        &token,
        "501 Not Implemented",
        &format!("{token} is not a command; try Help"),
    );
    alice.ask(
        "Ping \u{1B}]0;gotcha\u{7}",
        "400 Bad Request",
        "Forbidden character U+001B",
    );
    alice.send_raw(b"\n\nPing \xC3\n");
    alice.expect("400 Bad Request", "Not UTF-8");
    for line in [
        "TRACE reader-1: > Set-name alice",
        "TRACE writer-1: < You are alice",
        "TRACE writer-1: < [token]",
        "TRACE reader-1: > Ping [token] приве́т",
        "TRACE writer-1: < [token] is not a command; try Help",
        r"TRACE reader-1: > Ping \u{1b}]0;gotcha\u{7}",
        r"TRACE reader-1: > Ping \xc3",
        "DEBUG reader-1: answered 501 Not Implemented",
    ] {
        server.expect_log(line);
    }
    let log = server.log();
    assert!(!log.contains(&token), "a token in the log");
    assert!(
        !log.contains(['\u{1B}', '\u{7}']),
        "a control character in the log"
    );
}

#[test]
fn the_environment_rules_over_the_options() {
    let server = Server::start_with(&["-vv"], |command| {
        command.env("RUST_LOG", "chat=error");
    });
    server.named("alice").barrier();
    assert_eq!(server.log(), "");
}

#[test]
fn nothing_but_the_address_goes_to_stdout() {
    let mut server = Server::start(&["-vv"]);
    server.named("alice").barrier();
    server.signal(rustix::process::Signal::TERM);
    server.expect_exit();
    assert_eq!(server.rest_of_stdout(), "");
}
