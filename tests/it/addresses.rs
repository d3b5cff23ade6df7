//! The limit of connections per address.

use crate::support::{Client, Server, skip, wait_for};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

/// The environment variable with the addresses of the network namespace. It is set when the
/// test runs itself inside one.
const INSIDE: &str = "CHAT_TEST_ADDRESSES";

const TWO_HOSTS: &str = "10.0.0.1 10.0.0.2";
const TWO_NETWORKS: &str = "2001:db8:0:1::1 2001:db8:0:1::2 2001:db8:0:2::1";

const TOO_MANY: &str = "Too many connections from your address";

#[test]
fn connections_per_address_are_limited() {
    if let Ok(addresses) = std::env::var(INSIDE) {
        let addresses: Vec<IpAddr> = addresses
            .split(' ')
            .map(|address| address.parse().expect("an address"))
            .collect();
        check_hosts(&addresses[..2]);
        check_networks(&addresses[2..]);
    } else if let Some(output) =
        run_in_a_namespace("addresses::connections_per_address_are_limited")
    {
        assert!(output.contains("test result: ok. 1 passed"), "{output}");
    } else if let Some(own) = own_address() {
        check_hosts(&[own]);
    } else {
        skip("loopback is the only address, and a network namespace is not allowed");
    }
}

/// Runs a test of this program in its own network namespace and returns its output.
///
/// Returns `None` if the kernel refuses the namespace. It takes root, or a kernel that lets
/// each user act as root in a namespace.
fn run_in_a_namespace(test: &str) -> Option<String> {
    let addresses = format!("{TWO_HOSTS} {TWO_NETWORKS}");
    let script = format!(
        "ip link set lo up && for address in {addresses}; do \
         ip address add $address dev lo || exit 1; done && echo ready && exec \"$0\" {test}"
    );
    let this = std::env::current_exe().expect("a path");
    for options in [["--net"].as_slice(), &["--net", "--map-root-user"]] {
        let output = Command::new("unshare")
            .args(options)
            .args(["sh", "-c", &script])
            .arg(&this)
            .env(INSIDE, &addresses)
            .output();
        let Ok(output) = output else { continue };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.starts_with("ready") {
            return Some(said + &String::from_utf8_lossy(&output.stderr));
        }
    }
    None
}

/// Returns the address of this machine for connections to other machines.
///
/// Connecting a UDP socket sends nothing. The address below is reserved for documentation
/// (RFC 5737).
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.77:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

/// Starts a server on all addresses that accepts two clients of each address.
fn server_for_two(listen: &str) -> Server {
    let mut server = Server::start(&["-l", listen, "--max-per-address", "2"]);
    // The first printed address is 127.0.0.1, on which all servers of the tests listen.
    server.address = server.next_address();
    server
}

/// Connects from this address. A client that connects to an address of its own machine has
/// the same address.
#[track_caller]
fn connect(server: &Server, address: IpAddr) -> Client {
    Client::connect(SocketAddr::new(address, server.address.port()))
}

#[track_caller]
fn log_in(server: &Server, address: IpAddr, name: &str) -> Client {
    let mut client = connect(server, address);
    client.set_name(name);
    client
}

#[track_caller]
fn expect_refused(server: &Server, address: IpAddr) {
    let address = SocketAddr::new(address, server.address.port());
    server.expect_refusal(address, TOO_MANY);
}

fn check_hosts(hosts: &[IpAddr]) {
    let server = server_for_two("0.0.0.0:0");
    let (mut alice, mut bob) = (
        log_in(&server, hosts[0], "alice"),
        log_in(&server, hosts[0], "bob"),
    );
    for _ in 0..50 {
        expect_refused(&server, hosts[0]);
    }
    server.expect_log(TOO_MANY);
    let loopback: Vec<Client> = (0..5)
        .map(|n| log_in(&server, [127, 0, 0, 1].into(), &format!("local{n}")))
        .collect();
    if let Some(&other) = hosts.get(1) {
        log_in(&server, other, "dave").barrier();
    }
    drop(loopback);

    // A lingering session counts until the server evicts it for a new client.
    bob.use_token();
    bob.reset();
    server.expect_log_of("lost bob (", "session lingers");
    let mut carol = log_in(&server, hosts[0], "carol");
    server.expect_log("evicted lingering session of bob to make room");
    expect_refused(&server, hosts[0]);
    carol.ask("Quit", "200 OK", "Goodbye");
    drop(carol);
    wait_for("room for a client", || {
        let mut client = connect(&server, hosts[0]);
        client.send("Ping");
        client.next().data == "Pong"
    });
    alice.barrier();
}

/// Checks three IPv6 addresses, of which the first two are in one network.
fn check_networks(addresses: &[IpAddr]) {
    // IPv4 clients connect to this listener too, as ::ffff:a.b.c.d.
    let server = server_for_two("[::]:0");
    let _alice = log_in(&server, addresses[0], "alice");
    let _bob = log_in(&server, addresses[1], "bob");
    expect_refused(&server, addresses[0]);
    expect_refused(&server, addresses[1]);
    let _carol = log_in(&server, addresses[2], "carol");
    let mut local = Vec::new();
    for address in ["::1", "127.0.0.1", "127.0.0.7"] {
        for _ in 0..3 {
            local.push(connect(&server, address.parse().expect("an address")));
        }
    }
    for client in &mut local {
        client.barrier();
    }
    let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|host| host.parse().expect("an address"));
    let _one = [log_in(&server, one, "one1"), log_in(&server, one, "one2")];
    expect_refused(&server, one);
    log_in(&server, two, "two").barrier();
}
