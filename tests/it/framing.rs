//! Lines and requests at every cut of the input (section 1).

use crate::support::{Server, is_spread_without};
use std::io::Write;
use std::thread;

const LINE: usize = 8_512;

#[test]
fn crlf_lf_and_cr_nul_end_a_line() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw("\r\n\r\nPing crlf\r\n");
    client.expect("200 OK", "Pong crlf");
    client.send_raw("\n\nPing lf\n");
    client.expect("200 OK", "Pong lf");
    client.send_raw("\r\0\r\0Ping cr nul\r\0");
    client.expect("200 OK", "Pong cr nul");
    client.send_raw("\n\r\0Ping mixed\r\n");
    client.expect("200 OK", "Pong mixed");
}

#[test]
fn request_is_read_byte_by_byte() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for byte in "\r\n\r\nPing приве́т 🙂\r\n".bytes() {
        client.send_raw([byte]);
    }
    client.expect("200 OK", "Pong приве́т 🙂");
}

#[test]
fn request_is_read_across_any_cut() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let request = "\r\n\r\nPing \u{1F642}\r\0";
    for cut in 1..request.len() {
        let (first, second) = request.as_bytes().split_at(cut);
        // During the barrier of another client, the server has time to read the first piece
        // alone.
        client.send_raw(first);
        server.connect().barrier();
        client.send_raw(second);
        client.expect("200 OK", "Pong \u{1F642}");
    }
}

#[test]
fn thousands_of_requests_in_one_write_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut writer = client.stream().try_clone().expect("a second handle");
    let requests: String = (0..5_000).map(|n| format!("\n\nPing {n}\n")).collect();
    let sender = thread::spawn(move || writer.write_all(requests.as_bytes()));
    for n in 0..5_000 {
        client.expect("200 OK", &format!("Pong {n}"));
    }
    sender.join().expect("no panic").expect("the server reads");
}

#[test]
fn cr_at_end_of_input_ends_no_line() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send_raw("\n\nPing never\r");
    client.close_input();
    client.expect_end();
}

#[test]
fn every_message_has_three_crlf_lines() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send("Set-name alice");
    client.send("Private-message alice hi");
    client.send("Quit");
    let all = String::from_utf8(client.rest().expect("an end without a reset")).expect("UTF-8");
    let token = all.split("\r\n").nth(1).expect("a header").to_owned();
    let expected: String = [
        "You are alice",
        "Incoming-message private alice hi",
        "Delivered to alice",
        "Goodbye",
    ]
    .map(|data| format!("200 OK\r\n{token}\r\n{data}\r\n"))
    .concat();
    assert_eq!(all, expected);
}

#[test]
fn line_of_maximum_length_gets_a_full_response() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let text = "x".repeat(LINE - "Ping ".len());
    client.ask(&format!("Ping {text}"), "200 OK", &format!("Pong {text}"));
    client.ask(&format!("Ping {text}x"), "400 Bad Request", "Line too long");
}

#[test]
fn too_long_line_counts_as_the_line_it_replaces() {
    let server = Server::start(&[]);
    let mut client = server.log_in("alice");
    let long = "x".repeat(LINE + 1);
    // As a status line, it is answered at once. The next line is a status line again.
    client.send_raw(format!("{long}\r\n"));
    client.expect("400 Bad Request", "Line too long");
    client.barrier();
    // As a header, it is answered after the body.
    client.send_raw(format!("\r\n{long}\r\n"));
    client.send_raw("Broadcast-message never\r\n");
    client.expect("400 Bad Request", "Line too long");
    client.barrier();
    // As a body, it is answered with the token of its header.
    client.send(&long);
    client.expect("400 Bad Request", "Line too long");
    client.barrier();
}

#[test]
fn unterminated_line_costs_no_memory() {
    if is_spread_without("the memory is of one process") {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.barrier();
    let before = server.proc_status("VmHWM");
    let mebibyte = vec![b'x'; 1 << 20];
    for _ in 0..50 {
        client
            .stream()
            .write_all(&mebibyte)
            .expect("the server reads");
    }
    client.send_raw("\r\n");
    client.expect("400 Bad Request", "Line too long");
    client.barrier();
    let grown = server.proc_status("VmHWM").saturating_sub(before);
    assert!(grown < 1_024, "the process grew by {grown} kB");
}

#[test]
fn responses_and_deliveries_never_split_each_other() {
    let server = Server::start(&["--queue", "4194304"]);
    let mut alice = server.log_in("alice");
    let mut bob = server.log_in("bob");
    let count = 2_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..count {
                bob.send(&format!("Private-message alice {n}"));
            }
            for _ in 0..count {
                bob.expect("200 OK", "Delivered to alice");
            }
        });
        let mut writer = alice.stream().try_clone().expect("a second handle");
        scope.spawn(move || {
            for n in 0..count {
                writer
                    .write_all(format!("\n\nPing {n}\n").as_bytes())
                    .expect("the server reads");
            }
        });
        let (mut pongs, mut deliveries) = (0, 0);
        while pongs < count || deliveries < count {
            let message = alice.next();
            assert_eq!(
                (&*message.status, &*message.header),
                ("200 OK", &*alice.token)
            );
            if message.data == format!("Pong {pongs}") {
                pongs += 1;
            } else {
                assert_eq!(
                    message.data,
                    format!("Incoming-message private bob {deliveries}")
                );
                deliveries += 1;
            }
        }
    });
}
