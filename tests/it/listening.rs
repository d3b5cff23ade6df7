//! The addresses on which the server listens, and the options of its sockets.

use crate::support::{Client, Server, skip};
use rustix::net::sockopt;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Whether this machine has IPv6.
fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        skip("this machine has no IPv6");
    }
    has
}

/// Returns a port that is free on all addresses.
fn free_port() -> u16 {
    let listener = TcpListener::bind("[::]:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn connect(ip: &str, port: u16) -> Client {
    Client::connect(SocketAddr::new(ip.parse().expect("an address"), port))
}

/// A file that replaces /etc/hosts for its commands. Dropping it removes the file.
struct Hosts(PathBuf);

impl Hosts {
    /// Writes a file in which the name both.test has ::1 and 127.0.0.1.
    fn new() -> Hosts {
        let name = format!("hosts-{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, "::1 both.test\n127.0.0.1 both.test\n").expect("a file");
        Hosts(path)
    }

    /// Returns a command that becomes the server with this file as /etc/hosts.
    ///
    /// Returns `None` if the kernel refuses the mount namespace. It takes root, or a kernel
    /// that lets each user act as root in a namespace.
    fn server(&self) -> Option<Command> {
        [["--mount"].as_slice(), &["--mount", "--map-root-user"]]
            .into_iter()
            .find_map(|options| {
                let command = |program: &str| {
                    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
                    let mut command = Command::new("unshare");
                    command.args(options).args(["sh", "-c", script]);
                    command.arg(&self.0).arg(program);
                    command
                };
                let works = command("true").output().is_ok_and(|it| it.status.success());
                works.then(|| command(env!("CARGO_BIN_EXE_chat-server")))
            })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn name_with_two_addresses_binds_both_or_fails() {
    if !has_ipv6() {
        return;
    }
    let hosts = Hosts::new();
    let (Some(command), Some(mut second)) = (hosts.server(), hosts.server()) else {
        return skip("a mount namespace is not allowed");
    };
    let mut server = Server::start_by(command, &["-l", "both.test:0"], |_| {});
    let addresses = [server.next_address(), server.next_address()];
    let ips = addresses.map(|address| address.ip().to_string());
    assert_eq!(ips, ["::1", "127.0.0.1"]);
    for (n, address) in addresses.into_iter().enumerate() {
        Client::connect(address).set_name(&format!("user{n}"));
    }
    // One of the two addresses is taken.
    for address in addresses {
        let listen = format!("both.test:{}", address.port());
        let output = second
            .args(["-l", &listen])
            .output()
            .expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let begin =
            format!("chat-server: cannot listen on {address} ({listen}): the port is in use; ");
        assert!(
            stderr.starts_with(&begin) && stderr.lines().count() == 1,
            "{stderr}"
        );
        second = hosts.server().expect("a mount namespace");
    }
}

#[test]
fn both_wildcards_share_a_port() {
    if !has_ipv6() {
        return;
    }
    for order in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] {
        let port = free_port();
        let listen = order.map(|ip| format!("{ip}:{port}"));
        let mut server = Server::start(&["-l", &listen[0], "-l", &listen[1]]);
        for listen in &listen {
            assert_eq!(server.next_address().to_string(), *listen);
        }
        connect("127.0.0.1", port).set_name("alice");
        connect("::1", port).set_name("bob");
    }
}

#[test]
fn wildcard_serves_addresses_that_are_listed_too() {
    let port = TcpListener::bind("0.0.0.0:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a port").port();
    let [one, all] = ["127.0.0.1", "0.0.0.0"].map(|ip| format!("{ip}:{port}"));
    let mut server = Server::start(&["-l", &one, "-l", &all, "-l", &one]);
    assert_eq!(server.next_address().to_string(), all);
    connect("127.0.0.1", port).set_name("alice");
}

#[test]
fn ipv4_clients_of_an_ipv6_listener_are_logged_as_ipv4() {
    if !has_ipv6() {
        return;
    }
    let mut server = Server::start(&["-l", "[::]:0", "--max-clients", "2"]);
    let port = server.next_address().port();
    let clients = ["127.0.0.1", "::1"].map(|ip| {
        let mut client = connect(ip, port);
        client.barrier();
        client
    });
    for client in &clients {
        let address = client.stream().local_addr().expect("an address");
        server.expect_log(&format!("from {address}"));
    }
    let mut refused = connect("127.0.0.1", port);
    refused.expect("403 Forbidden", "The server is full");
    server.expect_log("refused 127.0.0.1:");
    assert!(!server.log().contains("ffff"), "{}", server.log());
}

#[test]
fn paused_client_fills_only_its_receive_buffer() {
    let burst = 2_000;
    let options = ["--rate", "1", "--burst", &burst.to_string()];
    let server = Server::start_with(&options, |_| {});
    let mut client = server.connect();
    sockopt::set_socket_send_buffer_size(client.stream(), 16 * 1024).expect("an open socket");
    // While the server reads fast, the kernel enlarges a receive buffer of no fixed size.
    let request = format!("\n\nBroadcast-message {}\n", "x".repeat(8_000));
    for _ in 0..burst {
        client.send_raw(&request);
        client.expect("401 Unauthorized", "Set a name first");
    }
    // Then the rate pauses this client.
    let mut socket = client.stream();
    let stuck = Duration::from_millis(500);
    socket.set_write_timeout(Some(stuck)).expect("a timeout");
    let mut sent = 0;
    while let Ok(count) = socket.write(request.as_bytes()) {
        sent += count;
        assert!(sent < 512 * 1024, "{sent} bytes are on their way");
    }
    assert!(sent > 0);
}
