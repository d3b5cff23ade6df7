//! What bad clients leave behind: nothing.

use crate::fault_client::Fault;
use crate::support::{Server, wait_for};

#[test]
fn two_thousand_faulty_clients_leave_nothing_behind() {
    let server = Server::start(&["--linger", "1"]);
    let mut alice = server.log_in("alice");
    let begin = server.usage();
    let mut strike = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            Fault::nth(number).run(server.address, &format!("bad{number}"));
        }
        // The last of them that could be resumed have lingered out.
        wait_for("the names to be free", || {
            alice.send("List-names");
            alice.next().data == "1 online: alice"
        });
        wait_for("threads and descriptors to be as before", || {
            let now = server.usage();
            (now.threads, now.descriptors) == (begin.threads, begin.descriptors)
        });
        server.usage().memory
    };
    // What a first few leave is the allocator's, which keeps it for the next.
    let few = strike(0..500);
    let many = strike(500..2_500);
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
    // They keep their side open, and it is of no use to them.
    wait_for("their threads to end", || {
        let now = server.usage();
        (now.threads, now.descriptors) == (begin.threads, begin.descriptors)
    });
    alice.barrier();
}
