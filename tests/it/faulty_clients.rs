//! Faulty clients leave no names, threads, descriptors or memory behind.

use crate::fault_client::Fault;
use crate::support::{Server, wait_for};

#[test]
fn two_thousand_faulty_clients_leave_nothing_behind() {
    let server = Server::start(&["--linger", "1"]);
    let mut alice = server.log_in("alice");
    let begin = server.usage();
    let mut run = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            Fault::nth(number).run(server.address, &format!("bad{number}"));
        }
        // The lingering sessions of the last clients must have expired.
        wait_for("free names", || {
            alice.send("List-names");
            alice.next().data == "1 online: alice"
        });
        wait_for("the earlier count of threads and descriptors", || {
            let now = server.usage();
            (now.threads, now.descriptors) == (begin.threads, begin.descriptors)
        });
        server.usage().memory
    };
    // The allocator keeps the memory of the first clients for the next ones.
    let few = run(0..500);
    let many = run(500..2_500);
    assert!(many < few + 1024, "{few} kB grew to {many} kB");
}

#[test]
fn silent_clients_are_closed_at_the_login_deadline() {
    let server = Server::start(&["--login-timeout", "1"]);
    let mut alice = server.log_in("alice");
    let begin = server.usage();
    let mut silent: Vec<_> = (0..100).map(|_| server.connect()).collect();
    for client in &mut silent {
        client.expect("401 Unauthorized", "Too slow: set a name within 1 seconds");
        client.expect_end();
    }
    // These clients keep their side open. The server closes the connections all the same.
    wait_for("the end of their threads", || {
        let now = server.usage();
        (now.threads, now.descriptors) == (begin.threads, begin.descriptors)
    });
    alice.barrier();
}
