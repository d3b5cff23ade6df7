//! Tests of the session map alone. Sockets exist only inside attachments, and threads only in
//! the tests of concurrent changes.

use super::per_address::AddressKey;
use super::*;
use crate::outbox::Evicted;
use crate::outbox::direct_write::PendingWrites;
use crate::outbox::tests::next_number;
use crate::protocol::literals::name;
use crate::protocol::reply::Notice;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;

impl Sessions {
    /// Runs `run` while this thread holds the session-map lock for writing.
    pub(crate) fn while_locked(&self, run: impl FnOnce()) {
        let _state = self.state.write();
        run();
    }
}

/// The pending writes of a thread that only wakes the writer threads.
fn pending() -> PendingWrites {
    PendingWrites::for_test(false)
}

fn token(bits: u8) -> Token {
    Token::from_bits([bits; 16])
}

fn register(sessions: &Arc<Sessions>, address: Option<AddressKey>) -> Result<Registration, Notice> {
    sessions.register(Attachment::for_test(next_number()).0, address)
}

fn names(sessions: &Sessions) -> Vec<Username> {
    sessions.names("", usize::MAX).0
}

fn connect(sessions: &Arc<Sessions>) -> Registration {
    register(sessions, None).expect("room")
}

impl Registration {
    /// A claim whose response is not drained.
    fn claim_for_test(&mut self, its_name: &str, bits: u8) -> Result<Vec<Session>, NameError> {
        self.claim(&name(its_name), token(bits), &pending())
    }

    fn resume_for_test(
        &mut self,
        token: Token,
        its_name: &str,
    ) -> Result<Option<Evicted>, NameError> {
        self.resume(token, &name(its_name), &pending())
    }
}

#[test]
fn name_is_taken_in_any_case_until_its_session_ends() {
    let sessions = Sessions::new(10, None, 0);
    let (mut alice, mut other) = (connect(&sessions), connect(&sessions));
    assert!(alice.claim_for_test("Alice", 1).is_ok());
    assert_eq!(
        other.claim_for_test("aLICE", 2).err(),
        Some(NameError::Taken)
    );
    assert_eq!(other.token(), None);
    let found = sessions.by_name(&name("ALICE")).unwrap();
    assert_eq!((found.name.as_str(), found.token), ("Alice", token(1)));
    drop(alice);
    assert!(sessions.by_token(token(1)).is_none());
    assert!(other.claim_for_test("alice", 3).is_ok());
}

#[test]
fn rename_takes_the_new_name_and_frees_the_old() {
    let sessions = Sessions::new(10, None, 0);
    let (mut bob, mut carol) = (connect(&sessions), connect(&sessions));
    bob.claim_for_test("bob", 1).unwrap();
    carol.claim_for_test("carol", 2).unwrap();
    assert_eq!(bob.rename(&name("bob"), &pending()), Ok(false));
    assert_eq!(bob.rename(&name("Bob"), &pending()), Ok(true));
    assert_eq!(sessions.by_name(&name("BOB")).unwrap().token, token(1));
    assert_eq!(
        bob.rename(&name("CAROL"), &pending()),
        Err(NameError::Taken)
    );
    assert_eq!(bob.rename(&name("dave"), &pending()), Ok(true));
    assert!(sessions.by_name(&name("bob")).is_none());
    assert_eq!(sessions.by_name(&name("dave")).unwrap().token, token(1));
    bob.end_session(&pending());
    assert!(sessions.by_name(&name("dave")).is_none());
    assert_eq!(bob.rename(&name("dave"), &pending()), Err(NameError::Gone));
    assert_eq!(names(&sessions), [name("carol")]);
}

#[test]
fn concurrent_claims_give_name_to_one_session() {
    for _ in 0..50 {
        let sessions = Sessions::new(100, None, 0);
        let barrier = Barrier::new(8);
        let winners: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let (sessions, barrier) = (&sessions, &barrier);
                    scope.spawn(move || {
                        let mut connection = connect(sessions);
                        barrier.wait();
                        let won = connection.claim_for_test("alice", n).is_ok();
                        barrier.wait();
                        usize::from(won)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(winners, 1);
        assert!(names(&sessions).is_empty(), "all connections have ended");
    }
}

#[test]
fn connections_are_limited_until_one_ends() {
    let sessions = Sessions::new(2, None, 0);
    let (first, _second) = (connect(&sessions), connect(&sessions));
    let full = register(&sessions, None).err();
    assert_eq!(full, Some(Notice::ServerIsFull));
    drop(first);
    assert!(register(&sessions, None).is_ok());
}

#[test]
fn closed_session_map_rejects_connections_and_keeps_sessions() {
    let sessions = Sessions::new(10, None, 0);
    let (mut alice, _nameless) = (connect(&sessions), connect(&sessions));
    alice.claim_for_test("alice", 1).unwrap();
    assert_eq!(sessions.close().len(), 2, "with a session or without");
    assert!(
        sessions.by_token(token(1)).is_some(),
        "until its connection ends"
    );
    let refused = register(&sessions, None).err();
    assert_eq!(refused, Some(Notice::ShuttingDown));
}

#[test]
fn outboxes_returns_one_shared_list_of_all_sessions() {
    let sessions = Sessions::new(10, None, 0);
    let mut connections = Vec::new();
    for bits in 0..3 {
        let mut connection = connect(&sessions);
        connection
            .claim_for_test(&format!("user{bits}"), bits)
            .unwrap();
        connections.push(connection);
    }
    let _without_a_session = connect(&sessions);
    let tokens: Vec<_> = sessions.outboxes().iter().map(|it| it.token()).collect();
    assert_eq!(tokens, [0, 1, 2].map(token));
    assert!(Arc::ptr_eq(&sessions.outboxes(), &sessions.outboxes()));
}

/// Lets this connection claim a name, uses its token and loses the connection, so that the
/// session lingers. Returns the token.
fn linger(mut connection: Registration, its_name: &str, bits: u8) -> Token {
    connection.claim_for_test(its_name, bits).unwrap();
    connection.sessions().use_token(token(bits));
    assert!(matches!(lose(&mut connection), Some((_, true))));
    token(bits)
}

/// Does what the reader thread does when its connection is lost.
fn lose(connection: &mut Registration) -> Option<(Session, bool)> {
    connection.attachment().abort();
    connection.writer.end();
    connection.break_session(true, &pending())
}

#[test]
fn lost_session_lingers_if_allowed_and_token_was_used() {
    let sessions = Sessions::new(10, None, 0);
    for (was_used, may_linger, lingers) in [
        (true, true, true),
        (true, false, false),
        (false, true, false),
    ] {
        let mut connection = connect(&sessions);
        connection.claim_for_test("alice", 1).unwrap();
        // A lookup by the server does not count as a use by the client.
        sessions.by_token(token(1)).unwrap();
        if was_used {
            sessions.use_token(token(1)).unwrap();
        }
        let broken = connection.break_session(may_linger, &pending());
        assert_eq!(matches!(broken, Some((_, true))), lingers);
        drop(connection);
        assert_eq!(sessions.by_name(&name("alice")).is_some(), lingers);
        sessions.end_and_close_outbox(token(1), &pending());
    }
}

#[test]
fn evicted_connection_can_neither_end_nor_break_session() {
    let sessions = Sessions::new(10, None, 0);
    let alice = token(1);
    let mut first = connect(&sessions);
    first.claim(&name("alice"), alice, &pending()).unwrap();
    sessions.use_token(alice).unwrap();
    let mut second = connect(&sessions);
    let resumed = second.resume_for_test(alice, "Alice").expect("it is there");
    assert!(resumed.is_some(), "the first is evicted");
    assert!(first.break_session(true, &pending()).is_none());
    let mut third = connect(&sessions);
    assert!(
        third
            .resume_for_test(alice, "Alice")
            .is_ok_and(|evicted| evicted.is_some())
    );
    assert!(second.end_session(&pending()).is_none());
    drop((first, second));
    assert_eq!(sessions.by_name(&name("ALICE")).unwrap().token, alice);
    assert!(third.end_session(&pending()).is_some());
}

#[test]
fn refused_resumption_changes_nothing() {
    let sessions = Sessions::new(10, None, 0);
    let alice = linger(connect(&sessions), "alice", 1);
    let (mut bob, mut newcomer) = (connect(&sessions), connect(&sessions));
    bob.claim_for_test("bob", 2).unwrap();
    assert_eq!(
        newcomer.resume_for_test(alice, "BOB").err(),
        Some(NameError::Taken)
    );
    assert_eq!(
        newcomer.resume_for_test(token(3), "carol").err(),
        Some(NameError::Gone)
    );
    assert_eq!(newcomer.token(), None);
    let (ended, next) = sessions.expire_lingering(Instant::now(), Duration::ZERO, &pending());
    assert_eq!(
        (ended[0].name.as_str(), ended.len(), next),
        ("alice", 1, None)
    );
    newcomer.claim_for_test("alice", 4).unwrap();
}

#[test]
fn lingering_sessions_expire_in_the_order_of_their_loss() {
    let sessions = Sessions::new(10, None, 0);
    let (one, two) = (
        linger(connect(&sessions), "one", 1),
        linger(connect(&sessions), "two", 2),
    );
    let mut resuming = connect(&sessions);
    assert!(resuming.resume_for_test(one, "one").is_ok());
    assert!(matches!(lose(&mut resuming), Some((_, true))));
    let minute = Duration::from_secs(60);
    let (ended, next) = sessions.expire_lingering(Instant::now(), minute, &pending());
    assert!(ended.is_empty() && next.is_some_and(|next| next > Instant::now()));
    let (ended, _) = sessions.expire_lingering(Instant::now() + 2 * minute, minute, &pending());
    assert_eq!(
        ended.iter().map(|it| it.token).collect::<Vec<_>>(),
        [two, one]
    );
}

#[test]
fn longest_lingering_is_evicted_only_for_a_new_session() {
    let sessions = Sessions::new(3, None, 0);
    let (one, two) = (
        linger(connect(&sessions), "one", 1),
        linger(connect(&sessions), "two", 2),
    );
    let ended = |registration: &mut Registration, its_name: &str, bits: u8| {
        let ended = registration
            .claim_for_test(its_name, bits)
            .expect("a free name");
        ended
            .iter()
            .map(|session| session.token)
            .collect::<Vec<_>>()
    };
    let mut first = connect(&sessions);
    assert_eq!(ended(&mut first, "first", 3), []);
    // A client without a name may want to resume a session, so nothing is evicted for it.
    let mut second = connect(&sessions);
    assert!(sessions.by_token(one).is_some());
    assert_eq!(ended(&mut second, "second", 4), [one]);
    let mut third = connect(&sessions);
    assert!(third.resume_for_test(two, "two").is_ok());
    let full = register(&sessions, None).err();
    assert_eq!(full, Some(Notice::ServerIsFull));
}

fn address(last: u8) -> Option<AddressKey> {
    AddressKey::of([192, 0, 2, last].into())
}

fn connect_from(sessions: &Arc<Sessions>, last: u8) -> Result<Registration, Notice> {
    register(sessions, address(last))
}

#[test]
fn connections_are_limited_per_address_except_loopback() {
    let sessions = Sessions::new(100, Some(2), 0);
    let (first, _second) = (connect_from(&sessions, 1), connect_from(&sessions, 1));
    let refused = connect_from(&sessions, 1).err();
    assert_eq!(refused, Some(Notice::TooManyFromAddress));
    let _others: Vec<Registration> = (0..5).map(|_| connect(&sessions)).collect();
    assert!(connect_from(&sessions, 2).is_ok());
    drop(first);
    assert!(connect_from(&sessions, 1).is_ok());
}

#[test]
fn lingering_session_counts_for_its_address() {
    let sessions = Sessions::new(100, Some(2), 0);
    let other = linger(connect_from(&sessions, 2).expect("room"), "other", 1);
    let (one, two) = (
        linger(connect_from(&sessions, 1).expect("room"), "one", 2),
        linger(connect_from(&sessions, 1).expect("room"), "two", 3),
    );
    // The client may want to resume a session, so nothing is evicted for it.
    let mut third = connect_from(&sessions, 1).expect("no connection from this address");
    assert!(sessions.by_token(one).is_some());
    let ended = third.claim_for_test("third", 4).expect("a free name");
    let ended: Vec<Token> = ended.iter().map(|session| session.token).collect();
    assert_eq!(ended, [one], "the longest lingering of this address");
    // A session that is resumed from another address counts for that address.
    let mut moved = connect_from(&sessions, 3).expect("room");
    assert!(moved.resume_for_test(two, "two").is_ok());
    assert!(connect_from(&sessions, 1).is_ok(), "two has moved");
    let _fourth = connect_from(&sessions, 3).expect("room for one more there");
    assert_eq!(
        connect_from(&sessions, 3).err(),
        Some(Notice::TooManyFromAddress)
    );
    assert!(sessions.by_token(other).is_some());
}

#[test]
fn address_count_is_zero_after_its_clients_end() {
    let sessions = Sessions::new(100, Some(2), 0);
    linger(connect_from(&sessions, 1).expect("room"), "one", 1);
    let two = linger(connect_from(&sessions, 1).expect("room"), "two", 2);
    drop(connect_from(&sessions, 1));
    let later = Instant::now() + Duration::from_secs(60);
    sessions.end_and_close_outbox(two, &pending());
    sessions.expire_lingering(later, Duration::from_secs(60), &pending());
    let counted = sessions.state.read().addresses.count(address(1));
    assert_eq!(counted, 0);
}

#[test]
fn closing_server_refuses_resumption() {
    let sessions = Sessions::new(3, None, 0);
    let one = linger(connect(&sessions), "one", 1);
    let mut late = connect(&sessions);
    sessions.close();
    assert_eq!(
        late.resume_for_test(one, "one").err(),
        Some(NameError::Closing)
    );
    assert_eq!(late.token(), None);
}

#[test]
fn broadcast_list_is_ordered_by_claiming_connection() {
    let sessions = Sessions::new(10, None, 0);
    let mut connections: Vec<Registration> = (0..4).map(|_| connect(&sessions)).collect();
    // The order is that of the connections, neither of the claims nor of the names.
    for (number, its_name) in [(2, "carol"), (0, "dora"), (3, "alice"), (1, "bob")] {
        let bits = u8::try_from(number).unwrap();
        connections[number].claim_for_test(its_name, bits).unwrap();
    }
    let outboxes: Vec<_> = connections
        .iter()
        .map(|connection| Arc::clone(connection.attachment().outbox().unwrap()))
        .collect();
    let recipients = |sessions: &Sessions| sessions.outboxes();
    let are_same = |some: &[Arc<Outbox>], others: &[Arc<Outbox>]| {
        some.len() == others.len() && some.iter().zip(others).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    assert!(are_same(&recipients(&sessions), &outboxes));
    // The first client disconnects, the next session expires, the last is ended from elsewhere.
    connections.remove(0);
    assert!(are_same(&recipients(&sessions), &outboxes[1..]));
    sessions.use_token(token(1)).unwrap();
    let lost = lose(&mut connections[0]);
    assert!(matches!(lost, Some((_, true))));
    assert!(are_same(&recipients(&sessions), &outboxes[1..]));
    sessions.expire_lingering(Instant::now(), Duration::ZERO, &pending());
    assert!(are_same(&recipients(&sessions), &outboxes[2..]));
    assert!(sessions.end_and_close_outbox(token(3), &pending()));
    assert!(are_same(&recipients(&sessions), &outboxes[2..3]));
}

#[test]
fn sorted_names_are_listed_up_to_the_size_limit() {
    let sessions = Sessions::new(10, None, 0);
    let spellings = ["bob", "Anna", "an", "AN-2", "Zed", "ant"];
    let _connections: Vec<Registration> = (0..)
        .zip(spellings)
        .map(|(bits, spelling)| {
            let mut connection = connect(&sessions);
            connection.claim_for_test(spelling, bits).unwrap();
            connection
        })
        .collect();
    for (prefix, room, expected, count) in [
        ("", usize::MAX, "an AN-2 Anna ant bob Zed", 6),
        ("an", usize::MAX, "an AN-2 Anna ant", 4),
        ("AN", "- an AN-2".len() - 1, "an AN-2", 4),
        ("An", "- an AN-2".len() - 2, "an", 4),
        ("", 2, "", 6),
        ("an-2", 100, "AN-2", 1),
        ("x", 100, "", 0),
        ("é", 100, "", 0),
    ] {
        let (names, all) = sessions.names(prefix, room);
        let names: Vec<&str> = names.iter().map(Username::as_str).collect();
        assert_eq!(
            (names.join(" "), all),
            (expected.to_owned(), count),
            "{prefix} {room}"
        );
    }
}

#[test]
fn name_of_ended_session_is_known_until_disconnect() {
    let sessions = Sessions::new(10, None, 0);
    let (mut alice, mut bob) = (connect(&sessions), connect(&sessions));
    assert_eq!(alice.name(), None);
    alice.claim_for_test("alice", 1).unwrap();
    bob.claim_for_test("bob", 2).unwrap();
    alice.rename(&name("Alice2"), &pending()).unwrap();
    assert!(sessions.end_and_close_outbox(token(1), &pending()));
    assert_eq!(alice.name(), Some(name("Alice2")));
    bob.end_session(&pending());
    assert_eq!(bob.name(), Some(name("bob")));
    drop((alice, bob));
    assert!(sessions.state.read().ended_names.is_empty());
}

/// A connection whose session watches presence. Its writer thread writes to the stream.
fn watcher(sessions: &Arc<Sessions>, its_name: &str, bits: u8) -> (Registration, Client) {
    let (attachment, stream) = Attachment::for_test(next_number());
    let mut connection = sessions.register(attachment, None).expect("room");
    let mut client = Client(BufReader::new(stream));
    connection.claim_for_test(its_name, bits).expect("a name");
    assert_eq!(client.next_data(), format!("You are {its_name}"));
    let session = sessions.by_token(token(bits)).expect("it lives");
    assert!(sessions.watch(&session, true));
    (connection, client)
}

/// The other end of a connection.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Reads the data of the next message.
    #[track_caller]
    fn next_data(&mut self) -> String {
        let mut line = String::new();
        for _ in 0..3 {
            line.clear();
            self.0.read_line(&mut line).expect("a message");
        }
        line.trim_end().to_owned()
    }
}

/// Begins a change while a watcher's outbox takes nothing, and calls `look` in the middle: the
/// map has changed, and the watcher is not told yet.
fn in_the_middle_of(
    sessions: &Arc<Sessions>,
    watching: &Registration,
    change: impl FnOnce() + Send,
    has_begun: impl Fn() -> bool,
    look: impl FnOnce(),
) {
    let token = watching.token().expect("a session");
    let outbox = sessions.by_token(token).expect("it lives").outbox;
    thread::scope(|scope| {
        outbox.while_locked(|| {
            scope.spawn(change);
            let deadline = Instant::now() + Duration::from_secs(20);
            while !has_begun() {
                assert!(Instant::now() < deadline, "the change does not begin");
                thread::yield_now();
            }
            look();
        });
    });
}

#[test]
fn map_can_be_read_while_watchers_are_told() {
    let sessions = Sessions::new(10, None, 0);
    let (alice, mut client) = watcher(&sessions, "alice", 1);
    let mut bob = connect(&sessions);
    let bob_attachment = Arc::clone(bob.attachment());
    let is_here = |its_name: &str| sessions.by_name(&name(its_name)).is_some();
    in_the_middle_of(
        &sessions,
        &alice,
        || drop(bob.claim_for_test("bob", 2).expect("a name")),
        || is_here("bob"),
        || {
            // Others read the map, and can already send to bob.
            assert_eq!(names(&sessions), [name("alice"), name("bob")]);
            assert_eq!(sessions.outboxes().len(), 2);
            // He is attached when the watchers are told, so he gets nothing before.
            assert!(bob_attachment.outbox().is_none());
            drop(connect(&sessions));
        },
    );
    assert_eq!(client.next_data(), "Incoming-presence joined bob");
    assert!(bob_attachment.outbox().is_some());
}

#[test]
fn session_sends_under_its_old_name_until_watchers_are_told() {
    let sessions = Sessions::new(10, None, 0);
    let (alice, mut client) = watcher(&sessions, "alice", 1);
    let mut bob = connect(&sessions);
    bob.claim_for_test("bob", 2).expect("a name");
    assert_eq!(client.next_data(), "Incoming-presence joined bob");
    in_the_middle_of(
        &sessions,
        &alice,
        || assert_eq!(bob.rename(&name("carl"), &pending()), Ok(true)),
        || sessions.by_name(&name("carl")).is_some(),
        || {
            // Others find it under its new name alone, and it sends under its old one.
            assert_eq!(names(&sessions), [name("alice"), name("carl")]);
            assert!(sessions.by_name(&name("bob")).is_none());
            assert_eq!(
                sessions.by_name(&name("carl")).expect("it").name,
                name("carl")
            );
            assert_eq!(sessions.by_token(token(2)).expect("it").name, name("bob"));
        },
    );
    assert_eq!(client.next_data(), "Incoming-presence renamed bob carl");
    assert_eq!(sessions.by_token(token(2)).expect("it").name, name("carl"));
}

#[test]
fn name_is_free_before_watchers_are_told_that_it_left() {
    let sessions = Sessions::new(10, None, 0);
    let (alice, mut client) = watcher(&sessions, "alice", 1);
    let mut bob = connect(&sessions);
    bob.claim_for_test("bob", 2).expect("a name");
    assert_eq!(client.next_data(), "Incoming-presence joined bob");
    in_the_middle_of(
        &sessions,
        &alice,
        || drop(bob),
        || sessions.by_name(&name("bob")).is_none(),
        || assert_eq!(names(&sessions), [name("alice")]),
    );
    assert_eq!(client.next_data(), "Incoming-presence left bob");
}

#[test]
fn panic_in_a_reader_thread_is_told_to_watchers() {
    let sessions = Sessions::new(10, None, 0);
    let (_alice, mut client) = watcher(&sessions, "alice", 1);
    let mut bob = connect(&sessions);
    bob.claim_for_test("bob", 2).expect("a name");
    let panicked = thread::spawn(move || {
        let _bob = bob;
        panic!("a defect");
    });
    assert!(panicked.join().is_err());
    assert_eq!(client.next_data(), "Incoming-presence joined bob");
    assert_eq!(client.next_data(), "Incoming-presence left bob");
}

#[test]
fn ended_session_is_not_kept_as_a_watcher() {
    let sessions = Sessions::new(10, None, 0);
    let (mut alice, _client) = watcher(&sessions, "alice", 1);
    let session = sessions.by_token(token(1)).expect("it lives");
    alice.end_session(&pending());
    session.outbox.finish();
    alice.writer.end();
    drop(alice);
    let outbox = Arc::downgrade(&session.outbox);
    // A request that was on its way.
    assert!(sessions.watch(&session, true));
    drop(session);
    assert!(outbox.upgrade().is_none());
}

#[test]
fn closed_map_delivers_no_presence() {
    let sessions = Sessions::new(10, None, 0);
    let (_alice, mut client) = watcher(&sessions, "alice", 1);
    let mut bob = connect(&sessions);
    bob.claim_for_test("bob", 2).expect("a name");
    assert_eq!(client.next_data(), "Incoming-presence joined bob");
    let connections = sessions.close();
    drop(bob);
    for connection in connections {
        connection.shut_down();
    }
    assert_eq!(client.next_data(), "The server is shutting down");
}

/// Makes the next change panic in the middle: its thread drains alice's outbox at once, and
/// panics there.
fn make_defective(sessions: &Sessions, bits: u8) {
    let session = sessions.by_token(token(bits)).expect("it lives");
    session.outbox.make_defective_when_half_full();
}

#[test]
fn panic_in_a_write_to_a_watcher_leaves_no_session() {
    let sessions = Sessions::new(100, None, 0);
    let (_alice, _client) = watcher(&sessions, "alice", 1);
    let mut others: Vec<_> = (2..12)
        .map(|bits| watcher(&sessions, &format!("other{bits}"), bits))
        .collect();
    make_defective(&sessions, 1);
    let mut bob = connect(&sessions);
    let panicked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // It is dropped while the thread unwinds, as in a reader thread.
            let pending = PendingWrites::for_test(true);
            bob.claim(&name("bob"), token(99), &pending)
        });
        reader.join()
    });
    assert!(panicked.is_err());
    assert_eq!(bob.token(), Some(token(99)), "it owns the session");
    drop(bob);
    assert!(sessions.by_name(&name("bob")).is_none());
    for (bits, (_, client)) in (2..12).zip(&mut others) {
        for later in bits + 1..12 {
            let joined = format!("Incoming-presence joined other{later}");
            assert_eq!(client.next_data(), joined);
        }
        assert_eq!(client.next_data(), "Incoming-presence joined bob");
        assert_eq!(client.next_data(), "Incoming-presence left bob");
    }
}

#[test]
fn panic_in_a_write_to_a_watcher_leaves_no_resumed_session() {
    let sessions = Sessions::new(10, None, 0);
    let bob = linger(connect(&sessions), "bob", 2);
    let (_alice, _client) = watcher(&sessions, "alice", 1);
    make_defective(&sessions, 1);
    let mut again = connect(&sessions);
    let panicked = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let pending = PendingWrites::for_test(true);
            again.resume(bob, &name("robert"), &pending).map(drop)
        });
        reader.join()
    });
    assert!(panicked.is_err());
    drop(again);
    assert!(sessions.by_token(bob).is_none());
    assert_eq!(names(&sessions), [name("alice")]);
}

#[test]
fn resumed_session_keeps_its_old_name_until_watchers_are_told() {
    let sessions = Sessions::new(10, None, 0);
    let (alice, mut client) = watcher(&sessions, "alice", 1);
    let mut bob = connect(&sessions);
    bob.claim_for_test("bob", 2).expect("a name");
    assert_eq!(client.next_data(), "Incoming-presence joined bob");
    let mut again = connect(&sessions);
    let attachment = Arc::clone(again.attachment());
    in_the_middle_of(
        &sessions,
        &alice,
        || drop(again.resume_for_test(token(2), "carl").expect("it lives")),
        || sessions.by_name(&name("carl")).is_some(),
        || {
            assert_eq!(sessions.by_token(token(2)).expect("it").name, name("bob"));
            // Its response comes after the watchers are told.
            assert!(attachment.outbox().is_none());
        },
    );
    assert_eq!(client.next_data(), "Incoming-presence renamed bob carl");
    assert_eq!(sessions.by_token(token(2)).expect("it").name, name("carl"));
}
