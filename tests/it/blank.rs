//! Texts of invisible characters only (section 2).

use crate::support::Server;

#[test]
fn blank_text_gets_the_usage() {
    let server = Server::start(&[]);
    let mut alice = server.log_in("alice");
    for blank in ["\u{200B}", "\u{2800} \u{3164}", "\u{AD}\t\u{FEFF}"] {
        for command in ["Broadcast-message TEXT", "Private-message alice TEXT"] {
            let usage = command.replace("alice", "NAME");
            let request = command.replace("TEXT", blank);
            alice.ask(&request, "400 Bad Request", &format!("Usage: {usage}"));
        }
    }
    // Ping returns any text.
    alice.ask("Ping \u{200B}", "200 OK", "Pong \u{200B}");
    alice.ask("Broadcast-message \u{200B}.", "200 OK", "Delivered to 0");
}
