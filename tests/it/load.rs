//! The generator against the real server, in small; and against a server that cheats,
//! because a check that has never failed is not known to check anything.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

#[path = "../load/main.rs"]
mod generator;

use generator::message::{Ledger, Texts, name};
use generator::protocol::{Protocol, Said};
use generator::run;

/// What a run prints, or why it fails.
fn load(arguments: &[&str]) -> Result<String, String> {
    let arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
    let mut out = Vec::new();
    run(&arguments, &mut out).map_err(|e| e.to_string())?;
    Ok(String::from_utf8(out).expect("text"))
}

#[test]
fn a_closed_loop_of_broadcasts_is_delivered_and_reported() {
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
        r#""case":"fanout-6-2-5","kind":"fanout","clients":6,"protocol":"cp""#,
        r#""deliveries":500,"#,
    ] {
        assert!(report.contains(part), "{report}");
    }
    assert!(
        !report.contains("null"),
        "the process could be seen: {report}"
    );
}

#[test]
fn an_open_loop_sends_by_the_clock() {
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
    // The last of forty is due after 195 ms.
    assert!(per_second < 80.0 / 0.19, "faster than the clock: {table}");
}

#[test]
fn pairs_bounce_their_messages() {
    let table = load(&["--pairs", "3", "--messages", "60", "ping"]).expect("a good server");
    assert!(table.contains("\nping-3 "), "{table}");
}

#[test]
fn clients_come_stay_and_go() {
    let table = load(&["--clients", "20", "--stay", "0", "hold"]).expect("a good server");
    assert!(table.contains("\nhold-20 "), "{table}");
}

#[test]
fn the_impossible_is_refused() {
    for (arguments, problem) in [
        (&["dance"][..], "\"dance\" is no case"),
        (&["--clients", "1", "fanout"], "a fanout needs two clients"),
        (
            &["--senders", "2", "--in-flight", "1", "fanout"],
            "each sender needs one message in flight",
        ),
        (&["--text", "3", "fanout"], "a text has at least"),
        (
            &["--server", "irc", "ping"],
            "an IRC server needs an --address",
        ),
    ] {
        let refusal = load(arguments).expect_err("a refusal");
        assert!(refusal.starts_with(problem), "{refusal}");
    }
}

/// What a server does to one of the messages for one of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Double,
    Swap,
    Damage,
}

/// The message that the fault is done to, and the last one: one goes before the twenty
/// that are counted.
const FAULTY: usize = 10;
const LAST: usize = 20;

/// In seconds: longer than a busy machine makes a good server pause.
const PATIENCE: &str = "1";

/// A server of CP for three clients, of whom the first sends. It ends with them.
fn cheating_server(fault: Fault, faulty: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let mut clients: Vec<BufReader<TcpStream>> = Vec::new();
        for _ in 0..3 {
            let mut client = BufReader::new(listener.accept().expect("a client").0);
            let request = body(&mut client).expect("a login");
            let name = request.strip_prefix("Set-name ").expect("a login");
            tell(&client, &format!("You are {name}"));
            clients.push(client);
        }
        // Connections are accepted in order, so the first is the sender's.
        let mut held_back = None;
        for number in 0.. {
            let Some(request) = body(&mut clients[0]) else {
                return;
            };
            let text = request
                .strip_prefix("Broadcast-message ")
                .expect("a broadcast");
            let delivery = format!("Incoming-message broadcast {} {text}", name(0));
            tell(&clients[2], &delivery);
            match fault {
                _ if number != faulty => tell(&clients[1], &delivery),
                Fault::None => tell(&clients[1], &delivery),
                Fault::Drop => {}
                Fault::Double => tell(
                    &clients[1],
                    &format!("{delivery}\r\n200 OK\r\n\r\n{delivery}"),
                ),
                Fault::Swap => held_back = Some(delivery),
                Fault::Damage => tell(&clients[1], &delivery.replace("abc", "abd")),
            }
            if number > faulty
                && let Some(delivery) = held_back.take()
            {
                tell(&clients[1], &delivery);
            }
            tell(&clients[0], "Delivered to 2");
        }
    });
    address
}

/// The last line of a request.
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

fn tell(client: &BufReader<TcpStream>, data: &str) {
    // Fails where the generator has seen enough.
    let _ = client
        .get_ref()
        .write_all(format!("200 OK\r\n\r\n{data}\r\n").as_bytes());
}

/// What the generator says of a server with this fault, with this many in flight.
fn verdict(fault: Fault, faulty: usize, in_flight: &str) -> Result<String, String> {
    let address = cheating_server(fault, faulty).to_string();
    load(&[
        "--address",
        &address,
        "--clients",
        "3",
        "--messages",
        "20",
        "--in-flight",
        in_flight,
        "--patience",
        PATIENCE,
        "--logins-at-once",
        "1",
        "fanout",
    ])
}

#[test]
fn a_server_that_cheats_fails_the_run() {
    verdict(Fault::None, FAULTY, "4").expect("it does not cheat yet");
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
fn a_ledger_takes_each_message_once_and_in_order() {
    let mut ledger = Ledger::new(2, 2);
    for number in 0..3 {
        ledger.enter(1, 0, number).expect("it is due");
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
fn a_text_tells_whose_it_is_and_the_how_manieth() {
    let texts = Texts::new(40);
    let mut text = Vec::new();
    texts.write(7, 123, &mut text);
    assert_eq!(text, b"00007 0000000123 abcdefghijklmnopqrstuvw");
    assert_eq!(texts.read(b"c00007", &text), Some((7, 123)));
    assert_eq!(texts.read(b"c00008", &text), None, "another's name");
    assert_eq!(texts.read(b"c00007", &text[..39]), None, "cut off");
}

#[test]
fn what_a_server_of_irc_says_is_understood() {
    let message = b":c00001!c00001@127.0.0.1 PRIVMSG #load :00001 text\r\n:next";
    let said = Said::Message {
        sender: b"c00001",
        text: b"00001 text",
    };
    assert_eq!(Protocol::Irc.read(message), Some((said, message.len() - 5)));
    assert_eq!(Protocol::Irc.read(b":c00001!c00001@127.0.0.1 PRIV"), None);
    for (line, said) in [
        ("PING :bench.invalid", Said::Question(b":bench.invalid")),
        (":bench.invalid PONG bench.invalid :load", Said::Alive),
        (
            ":bench.invalid 376 c00001 :End of MOTD command",
            Said::LoggedIn,
        ),
        (
            ":bench.invalid 422 c00001 :MOTD file is missing",
            Said::LoggedIn,
        ),
        (
            ":bench.invalid 366 c00001 #load :End of NAMES list",
            Said::Entered,
        ),
        (":c00002!c00002@127.0.0.1 JOIN :#load", Said::Aside),
        ("ERROR :Closing link", Said::Refusal(b"ERROR :Closing link")),
        (
            ":bench.invalid 433 * a :In use",
            Said::Refusal(b":bench.invalid 433 * a :In use"),
        ),
    ] {
        let line = format!("{line}\r\n");
        assert_eq!(
            Protocol::Irc.read(line.as_bytes()),
            Some((said, line.len()))
        );
    }
}
