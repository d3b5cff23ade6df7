//! The load generator with short runs at the real server, and at servers that cheat.
//!
//! The cheating servers show that the checks of the generator find faults.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

#[path = "../load/main.rs"]
mod generator;

use generator::floor::serve;
use generator::message::{Ledger, Texts, name};
use generator::protocol::{Protocol, ServerEvent};
use generator::run;

/// Returns the output of a run, or its failure.
fn load(arguments: &[&str]) -> Result<String, String> {
    let arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
    let mut out = Vec::new();
    run(&arguments, &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn closed_loop_delivers_and_reports_all_broadcasts() {
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{}", std::process::id()));
    let path = json.to_str().expect("a path of text");
    let table = load(&[
        "--clients",
        "6",
        "--senders",
        "2",
        "--in-flight",
        "5",
        "--messages",
        "100",
        "--json",
        path,
        "fanout",
    ]);
    let table = table.expect("a good server");
    let report = fs::read_to_string(&json).expect("the report");
    fs::remove_file(&json).expect("the report");
    assert!(
        table
            .lines()
            .nth(1)
            .is_some_and(|row| row.starts_with("fanout-6-2-5 ")),
        "{table}"
    );
    for part in [
        r#""case":"fanout-6-2-5","kind":"fanout","clients":6,"pacing":"broadcasts","protocol":"cp""#,
        r#""deliveries":500,"#,
    ] {
        assert!(report.contains(part), "{report}");
    }
    assert!(
        !report.contains("null"),
        "a metric of the process is missing: {report}"
    );
}

#[test]
fn open_loop_sends_at_the_given_rate() {
    let table = load(&[
        "--clients",
        "3",
        "--rate",
        "200",
        "--messages",
        "40",
        "fanout",
    ]);
    let table = table.expect("a good server");
    let row = table
        .lines()
        .nth(1)
        .and_then(|row| row.strip_prefix("fanout-3-1-at-200"));
    let per_second = row.and_then(|row| row.split_whitespace().next());
    let per_second: f64 = per_second.expect(&table).parse().expect("a number");
    // The last of forty messages is due after 195 ms.
    assert!(per_second < 80.0 / 0.19, "faster than the clock: {table}");
}

#[test]
fn pairs_exchange_all_messages() {
    let table = load(&["--pairs", "3", "--messages", "60", "ping"]).expect("a good server");
    assert!(table.contains("\nping-3 "), "{table}");
}

#[test]
fn login_case_counts_presence_of_all_watchers() {
    let table = load(&["--clients", "20", "--watchers", "5", "login"]).expect("a good server");
    assert!(table.contains("\nlogin-20-5 "), "{table}");
    let table = load(&["--clients", "20", "login"]).expect("a good server");
    assert!(table.contains("\nlogin-20-0 "), "{table}");
}

#[cfg(feature = "redis")]
#[test]
fn servers_are_compared_with_one_server() {
    if !crate::support::has_tool("redis-server") {
        return;
    }
    let arguments = ["--quick", "--rounds", "1", "--max-seconds", "0.1"];
    let table = load(&[&arguments[..], &["servers"]].concat()).expect("good servers");
    for row in [
        "| fanout-12-4-4 | 0 | ",
        "| fanout-12-4-4 | 2 | ",
        "| ping-3-local | 1 | ",
        "| ping-3-across | 2 | ",
        "| login-30-0 | 2 | ",
    ] {
        assert!(table.contains(row), "{row}: {table}");
    }
    assert!(!table.contains("ping-3-across | 1 |"), "{table}");
}

#[test]
fn hold_case_connects_and_disconnects_all_clients() {
    let table = load(&["--clients", "20", "--stay", "0", "hold"]).expect("a good server");
    assert!(table.contains("\nhold-20 "), "{table}");
}

#[test]
fn impossible_options_are_refused() {
    for (arguments, problem) in [
        (&["dance"][..], "\"dance\": expected a case"),
        (
            &["--clients", "1", "fanout"],
            "--clients: expected at least 2 for a fanout",
        ),
        (
            &["--senders", "2", "--in-flight", "1", "fanout"],
            "--in-flight: expected at least --senders",
        ),
        (
            &["--text", "3", "fanout"],
            "--text 3: expected a number, at least",
        ),
        (
            &["--pacing", "deliveries", "--in-flight", "0", "fanout"],
            "--in-flight: expected at least 1",
        ),
        (
            &["--pacing", "frames", "fanout"],
            "--pacing: \"frames\": expected broadcasts or deliveries",
        ),
        (
            &["--max-seconds", "0", "fanout"],
            "--max-seconds: 0: expected a number above 0",
        ),
        (
            &["--server", "irc-echo", "--address", "127.0.0.1:1", "fanout"],
            "--server irc-echo: expected the case ping or hold",
        ),
        (
            &["--server", "irc", "ping"],
            "--server irc: expected an --address",
        ),
    ] {
        let refusal = load(arguments).expect_err("a refusal");
        assert!(refusal.starts_with(problem), "{refusal}");
    }
}

#[test]
fn deliveries_pacing_delivers_and_reports_its_name() {
    let json = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("paced-{}", std::process::id()));
    let path = json.to_str().expect("a path of text");
    let table = load(&[
        "--clients",
        "6",
        "--senders",
        "3",
        "--in-flight",
        "2",
        "--pacing",
        "deliveries",
        "--messages",
        "100",
        "--json",
        path,
        "fanout",
    ]);
    let table = table.expect("a good server");
    let report = fs::read_to_string(&json).expect("the report");
    fs::remove_file(&json).expect("the report");
    assert!(table.contains("\nfanout-6-3-2-deliveries "), "{table}");
    for part in [
        r#""case":"fanout-6-3-2-deliveries","kind":"fanout","clients":6,"pacing":"deliveries""#,
        r#""deliveries":500,"#,
    ] {
        assert!(report.contains(part), "{report}");
    }
}

#[test]
fn list_option_names_cases_of_both_pacings() {
    let names = load(&["--list"]).expect("the list");
    for name in ["fanout-100-4-4", "fanout-100-4-4-deliveries"] {
        assert!(names.lines().any(|it| it == name), "{names}");
    }
}

#[test]
fn max_seconds_ends_a_run_early_and_without_loss() {
    for kind in ["fanout", "ping"] {
        let arguments = ["--messages", "100000000", "--max-seconds", "0.4"];
        let arguments = [&arguments[..], &["--pairs", "2", "--clients", "4", kind]].concat();
        load(&arguments).expect("a good server");
    }
}

/// Starts the floor of the shape in this process, and returns its address.
fn floor_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || serve(&listener));
    address
}

#[test]
fn floor_serves_every_kind_of_case() {
    for arguments in [
        &["--clients", "6", "--senders", "3", "fanout"][..],
        &["--clients", "6", "--in-flight", "32", "fanout"],
        &["--pairs", "3", "ping"],
        &["--clients", "20", "--stay", "0", "hold"],
    ] {
        let address = floor_server();
        load(&[&["--address", &address][..], arguments].concat()).expect("a good server");
    }
}

/// A fault that a server makes with one message of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Double,
    Swap,
    Damage,
}

/// The number of the faulty message.
const FAULTY: usize = 10;
/// The number of the last message. The warm-up message has the number 0.
const LAST: usize = 20;

/// The idle timeout in seconds. It is longer than a pause of a good server on a busy machine.
const IDLE_TIMEOUT: &str = "1";

/// Accepts three clients of CP and answers their logins.
fn three_clients(listener: &TcpListener) -> Vec<BufReader<TcpStream>> {
    let logged_in = |_| {
        let mut client = BufReader::new(listener.accept().expect("a client").0);
        let request = body(&mut client).expect("a login");
        let name = request.strip_prefix("Set-name ").expect("a login");
        respond(&client, &format!("You are {name}"));
        client
    };
    (0..3).map(logged_in).collect()
}

/// Starts a CP server for three clients, of which the first sends. It ends with them.
fn cheating_server(fault: Fault, faulty: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut clients = three_clients(&listener);
        // The first accepted connection belongs to the sender.
        let mut held_back = None;
        for number in 0.. {
            let Some(request) = body(&mut clients[0]) else {
                return;
            };
            let text = request
                .strip_prefix("Broadcast-message ")
                .expect("a broadcast");
            let delivery = format!("Incoming-message broadcast {} {text}", name(0));
            respond(&clients[2], &delivery);
            match fault {
                _ if number != faulty => respond(&clients[1], &delivery),
                Fault::None => respond(&clients[1], &delivery),
                Fault::Drop => {}
                Fault::Double => respond(
                    &clients[1],
                    &format!("{delivery}\r\n200 OK\r\n\r\n{delivery}"),
                ),
                Fault::Swap => held_back = Some(delivery),
                Fault::Damage => respond(&clients[1], &delivery.replace("abc", "abd")),
            }
            if number > faulty
                && let Some(delivery) = held_back.take()
            {
                respond(&clients[1], &delivery);
            }
            respond(&clients[0], "Delivered to 2");
        }
    });
    address
}

/// Reads a request and returns its last line.
fn body(client: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    for _ in 0..3 {
        line.clear();
        client
            .read_line(&mut line)
            .ok()
            .filter(|&count| count > 0)?;
    }
    Some(line.trim_end().to_owned())
}

fn respond(client: &BufReader<TcpStream>, data: &str) {
    // The write fails after the generator has found the fault.
    let _ = client
        .get_ref()
        .write_all(format!("200 OK\r\n\r\n{data}\r\n").as_bytes());
}

/// Runs the generator at a server with this fault, with this many broadcasts in flight.
fn verdict(fault: Fault, faulty: usize, in_flight: &str) -> Result<String, String> {
    load_three(cheating_server(fault, faulty), in_flight, "broadcasts")
}

/// Loads a server for three clients with twenty broadcasts.
fn load_three(address: SocketAddr, in_flight: &str, pacing: &str) -> Result<String, String> {
    load(&[
        "--address",
        &address.to_string(),
        "--clients",
        "3",
        "--messages",
        "20",
        "--in-flight",
        in_flight,
        "--pacing",
        pacing,
        "--idle-timeout",
        IDLE_TIMEOUT,
        "--logins-at-once",
        "1",
        "fanout",
    ])
}

#[test]
fn cheating_server_fails_the_run() {
    verdict(Fault::None, FAULTY, "4").expect("a good server");
    for (fault, faulty, in_flight, what) in [
        (
            Fault::Drop,
            FAULTY,
            "4",
            "client 1 gets client 0's message 11 where 10 was due: missing or out of order",
        ),
        (
            Fault::Drop,
            FAULTY,
            "1",
            "nothing has come for 1 s: 1 deliveries are missing, the first of them client 0's message 10 at client 1",
        ),
        (
            Fault::Drop,
            LAST,
            "4",
            "nothing has come for 1 s: 1 deliveries are missing, the first of them client 0's message 20 at client 1",
        ),
        (
            Fault::Double,
            FAULTY,
            "4",
            "client 1 gets client 0's message 10 twice",
        ),
        (
            Fault::Double,
            LAST,
            "4",
            "client 1 gets client 0's message 20 twice",
        ),
        (
            Fault::Swap,
            FAULTY,
            "4",
            "client 1 gets client 0's message 11 where 10 was due: missing or out of order",
        ),
        (
            Fault::Damage,
            FAULTY,
            "4",
            "client 1 gets a message that is not for it: \"00000 0000000010 abd",
        ),
    ] {
        let found = verdict(fault, faulty, in_flight).expect_err("a failure");
        let (case, found) = found.split_once(": ").expect("the case and what was found");
        assert_eq!(case, format!("fanout-3-1-{in_flight}"));
        assert!(found.starts_with(what), "{fault:?} of {faulty}: {found}");
    }
}

#[test]
fn deliveries_pacing_finds_a_cheating_server() {
    let run = |fault, faulty| load_three(cheating_server(fault, faulty), "4", "deliveries");
    run(Fault::None, FAULTY).expect("a good server");
    let disorder = "client 1 gets client 0's message 11 where 10 was due: missing or out of order";
    for (fault, faulty, what) in [
        (Fault::Drop, FAULTY, disorder),
        (
            Fault::Drop,
            LAST,
            "nothing has come for 1 s: 1 deliveries are missing, the first of them client 0's message 20 at client 1",
        ),
        (
            Fault::Double,
            FAULTY,
            "client 1 gets client 0's message 10 twice",
        ),
        (
            Fault::Double,
            LAST,
            "client 1 gets client 0's message 20 twice",
        ),
        (Fault::Swap, FAULTY, disorder),
        (
            Fault::Damage,
            FAULTY,
            "client 1 gets a message that is not for it: \"00000 0000000010 abd",
        ),
    ] {
        let found = run(fault, faulty).expect_err("a failure");
        let (case, found) = found.split_once(": ").expect("the case and what was found");
        assert_eq!(case, "fanout-3-1-4-deliveries");
        assert!(found.starts_with(what), "{fault:?} of {faulty}: {found}");
    }
}

/// Starts a server of CP for three clients. Client 1 gets its deliveries only after each
/// `group` of broadcasts.
fn lagging_server(group: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut clients = three_clients(&listener);
        // The warm-up has one broadcast.
        for group in std::iter::once(1).chain(std::iter::repeat(group)) {
            let mut held_back = Vec::new();
            for _ in 0..group {
                let Some(request) = body(&mut clients[0]) else {
                    return;
                };
                let text = request.strip_prefix("Broadcast-message ").expect("a text");
                let delivery = format!("Incoming-message broadcast {} {text}", name(0));
                respond(&clients[2], &delivery);
                respond(&clients[0], "Delivered to 2");
                held_back.push(delivery);
            }
            for delivery in held_back {
                respond(&clients[1], &delivery);
            }
        }
    });
    address
}

#[test]
fn deliveries_window_does_not_wait_for_slowest_recipient() {
    // Two broadcasts are four deliveries. Client 2 has four of them while client 1 has none.
    load_three(lagging_server(4), "2", "deliveries").expect("a window that stays open");
    for (group, pacing) in [(4, "broadcasts"), (5, "deliveries")] {
        let found = load_three(lagging_server(group), "2", pacing).expect_err("a full window");
        assert!(found.contains("nothing has come for 1 s"), "{found}");
    }
}

/// Starts a server of IRC for one pair, with echoes, and a fault in one of these.
fn echoing_server(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let say = |client: &BufReader<TcpStream>, line: &str| {
            // Fails after the generator has found the fault.
            let _ = client.get_ref().write_all(format!("{line}\r\n").as_bytes());
        };
        let next = |client: &mut BufReader<TcpStream>| {
            let mut line = String::new();
            client
                .read_line(&mut line)
                .ok()
                .filter(|&count| count > 0)?;
            Some(line.trim_end().to_owned())
        };
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = BufReader::new(listener.accept().expect("a client").0);
            assert_eq!(next(&mut client).expect("a line"), "CAP REQ :echo-message");
            while next(&mut client).expect("a line") != "CAP END" {}
            say(&client, ":test.invalid CAP * ACK :echo-message");
            say(&client, ":test.invalid 376 * :End of MOTD command");
            clients.push(client);
        }
        for number in 0.. {
            let (sender, recipient) = (number % 2, (number + 1) % 2);
            let Some(line) = next(&mut clients[sender]) else {
                return;
            };
            let from = name(sender);
            let delivery = format!(":{from}!{from}@127.0.0.1 {line}");
            match fault {
                Fault::None => say(&clients[sender], &delivery),
                _ if number != FAULTY => say(&clients[sender], &delivery),
                Fault::Drop => {}
                Fault::Double => say(&clients[sender], &format!("{delivery}\r\n{delivery}")),
                _ => say(&clients[sender], &delivery.replace("abc", "abd")),
            }
            say(&clients[recipient], &delivery);
        }
    });
    address
}

#[test]
fn irc_echoes_are_checked_as_responses() {
    let run = |fault| {
        let address = echoing_server(fault).to_string();
        let target = ["--server", "irc-echo", "--address", &address];
        let limits = ["--idle-timeout", IDLE_TIMEOUT, "--logins-at-once", "1"];
        load(&[&target[..], &limits, &["--messages", "40", "ping"]].concat())
    };
    run(Fault::None).expect("a good server");
    // Message 10 of the pair is message 5 of its client.
    for (fault, what) in [
        (
            Fault::Drop,
            "client 0 gets the echo of its message 6 where 5 was due",
        ),
        (
            Fault::Double,
            "client 0 gets the echo of its message 5 twice",
        ),
        (
            Fault::Damage,
            "client 0 gets a message that is not for it: \"00000 0000000005 abd",
        ),
    ] {
        let found = run(fault).expect_err("a failure");
        assert!(found.contains(what), "{fault:?}: {found}");
    }
}

#[test]
fn ledger_accepts_each_message_once_in_order() {
    let mut ledger = Ledger::new(2, 2);
    for number in 0..3 {
        ledger.enter(1, 0, number).expect("the next message");
    }
    ledger.enter(0, 0, 0).expect("another recipient");
    ledger.enter(1, 1, 0).expect("another sender");
    assert_eq!(ledger.due(1, 0), 3);
    let disorder = |number| {
        ledger
            .enter(1, 0, number)
            .expect_err("disorder")
            .to_string()
    };
    assert_eq!(
        [2, 4].map(disorder),
        [
            "message 2 twice",
            "message 4 where 3 was due: missing or out of order"
        ]
    );
}

#[test]
fn text_encodes_sender_and_sequence_number() {
    let texts = Texts::new(40);
    let mut text = Vec::new();
    texts.write(7, 123, &mut text);
    assert_eq!(text, b"00007 0000000123 abcdefghijklmnopqrstuvw");
    assert_eq!(texts.read(b"c00007", &text), Some((7, 123)));
    assert_eq!(
        texts.read(b"c00008", &text),
        None,
        "the name of another client"
    );
    assert_eq!(texts.read(b"c00007", &text[..39]), None, "a shorter text");
}

#[test]
fn irc_server_lines_are_parsed() {
    let message = b":c00001!c00001@127.0.0.1 PRIVMSG #load :00001 text\r\n:next";
    let said = ServerEvent::Message {
        sender: b"c00001",
        text: b"00001 text",
    };
    assert_eq!(Protocol::Irc.read(message), Some((said, message.len() - 5)));
    assert_eq!(Protocol::Irc.read(b":c00001!c00001@127.0.0.1 PRIV"), None);
    for (line, said) in [
        (
            "PING :bench.invalid",
            ServerEvent::Question(b":bench.invalid"),
        ),
        (
            ":bench.invalid PONG bench.invalid :load",
            ServerEvent::Alive,
        ),
        (
            ":bench.invalid 376 c00001 :End of MOTD command",
            ServerEvent::LoggedIn,
        ),
        (
            ":bench.invalid 422 c00001 :MOTD file is missing",
            ServerEvent::LoggedIn,
        ),
        (
            ":bench.invalid 366 c00001 #load :End of NAMES list",
            ServerEvent::Entered,
        ),
        (":c00002!c00002@127.0.0.1 JOIN :#load", ServerEvent::Aside),
        (":bench.invalid CAP * ACK :echo-message", ServerEvent::Aside),
        (
            ":bench.invalid CAP * NAK :echo-message",
            ServerEvent::Refusal(b":bench.invalid CAP * NAK :echo-message"),
        ),
        (
            "ERROR :Closing link",
            ServerEvent::Refusal(b"ERROR :Closing link"),
        ),
        (
            ":bench.invalid 433 * a :In use",
            ServerEvent::Refusal(b":bench.invalid 433 * a :In use"),
        ),
    ] {
        let line = format!("{line}\r\n");
        assert_eq!(
            Protocol::Irc.read(line.as_bytes()),
            Some((said, line.len()))
        );
    }
}
