//! Tests of the session map alone. Sockets exist only inside attachments, and threads only in
//! the test of concurrent claims.

use super::per_address::AddressKey;
use super::*;
use crate::outbox::Evicted;
use crate::outbox::direct_write::PendingWrites;
use crate::outbox::tests::next_number;
use crate::protocol::literals::name;
use crate::protocol::reply::Notice;
use std::sync::Barrier;
use std::thread;

impl Sessions {
    /// Runs `run` while this thread holds the session-map lock for writing.
    pub(crate) fn while_locked(&self, run: impl FnOnce()) {
        let _state = self.state.write();
        run();
    }
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
        self.claim(
            &name(its_name),
            token(bits),
            &PendingWrites::for_test(false),
        )
    }

    fn resume_for_test(
        &mut self,
        token: Token,
        its_name: &str,
    ) -> Result<Option<Evicted>, NameError> {
        self.resume(token, &name(its_name), &PendingWrites::for_test(false))
    }
}

#[test]
fn name_is_taken_in_any_case_until_its_session_ends() {
    let sessions = Sessions::new(10, None);
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
    let sessions = Sessions::new(10, None);
    let (mut bob, mut carol) = (connect(&sessions), connect(&sessions));
    bob.claim_for_test("bob", 1).unwrap();
    carol.claim_for_test("carol", 2).unwrap();
    assert_eq!(sessions.rename(token(1), &name("bob")), Ok(false));
    assert_eq!(sessions.rename(token(1), &name("Bob")), Ok(true));
    assert_eq!(sessions.by_name(&name("BOB")).unwrap().token, token(1));
    assert_eq!(
        sessions.rename(token(1), &name("CAROL")),
        Err(NameError::Taken)
    );
    assert_eq!(sessions.rename(token(1), &name("dave")), Ok(true));
    assert!(sessions.by_name(&name("bob")).is_none());
    assert_eq!(sessions.by_name(&name("dave")).unwrap().token, token(1));
    drop(bob);
    assert!(sessions.by_name(&name("dave")).is_none());
    assert_eq!(
        sessions.rename(token(1), &name("dave")),
        Err(NameError::Gone)
    );
    assert_eq!(names(&sessions), [name("carol")]);
}

#[test]
fn concurrent_claims_give_name_to_one_session() {
    for _ in 0..50 {
        let sessions = Sessions::new(100, None);
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
    let sessions = Sessions::new(2, None);
    let (first, _second) = (connect(&sessions), connect(&sessions));
    let full = register(&sessions, None).err();
    assert_eq!(full, Some(Notice::ServerIsFull));
    drop(first);
    assert!(register(&sessions, None).is_ok());
}

#[test]
fn closed_session_map_rejects_connections_and_keeps_sessions() {
    let sessions = Sessions::new(10, None);
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
    let sessions = Sessions::new(10, None);
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
    connection.break_session(true)
}

#[test]
fn lost_session_lingers_if_allowed_and_token_was_used() {
    let sessions = Sessions::new(10, None);
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
        let broken = connection.break_session(may_linger);
        assert_eq!(matches!(broken, Some((_, true))), lingers);
        drop(connection);
        assert_eq!(sessions.by_name(&name("alice")).is_some(), lingers);
        sessions.end_and_close_outbox(token(1));
    }
}

#[test]
fn evicted_connection_can_neither_end_nor_break_session() {
    let sessions = Sessions::new(10, None);
    let alice = token(1);
    let mut first = connect(&sessions);
    first
        .claim(&name("alice"), alice, &PendingWrites::for_test(false))
        .unwrap();
    sessions.use_token(alice).unwrap();
    let mut second = connect(&sessions);
    let resumed = second.resume_for_test(alice, "Alice").expect("it is there");
    assert!(resumed.is_some(), "the first is evicted");
    assert!(first.break_session(true).is_none());
    let mut third = connect(&sessions);
    assert!(
        third
            .resume_for_test(alice, "Alice")
            .is_ok_and(|evicted| evicted.is_some())
    );
    assert!(second.end_session().is_none());
    drop((first, second));
    assert_eq!(sessions.by_name(&name("ALICE")).unwrap().token, alice);
    assert!(third.end_session().is_some());
}

#[test]
fn refused_resumption_changes_nothing() {
    let sessions = Sessions::new(10, None);
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
    let (ended, next) = sessions.expire_lingering(Instant::now(), Duration::ZERO);
    assert_eq!(
        (ended[0].name.as_str(), ended.len(), next),
        ("alice", 1, None)
    );
    newcomer.claim_for_test("alice", 4).unwrap();
}

#[test]
fn lingering_sessions_expire_in_the_order_of_their_loss() {
    let sessions = Sessions::new(10, None);
    let (one, two) = (
        linger(connect(&sessions), "one", 1),
        linger(connect(&sessions), "two", 2),
    );
    let mut resuming = connect(&sessions);
    assert!(resuming.resume_for_test(one, "one").is_ok());
    assert!(matches!(lose(&mut resuming), Some((_, true))));
    let minute = Duration::from_secs(60);
    let (ended, next) = sessions.expire_lingering(Instant::now(), minute);
    assert!(ended.is_empty() && next.is_some_and(|next| next > Instant::now()));
    let (ended, _) = sessions.expire_lingering(Instant::now() + 2 * minute, minute);
    assert_eq!(
        ended.iter().map(|it| it.token).collect::<Vec<_>>(),
        [two, one]
    );
}

#[test]
fn longest_lingering_is_evicted_only_for_a_new_session() {
    let sessions = Sessions::new(3, None);
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
    let sessions = Sessions::new(100, Some(2));
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
    let sessions = Sessions::new(100, Some(2));
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
    let sessions = Sessions::new(100, Some(2));
    linger(connect_from(&sessions, 1).expect("room"), "one", 1);
    let two = linger(connect_from(&sessions, 1).expect("room"), "two", 2);
    drop(connect_from(&sessions, 1));
    let later = Instant::now() + Duration::from_secs(60);
    sessions.end_and_close_outbox(two);
    sessions.expire_lingering(later, Duration::from_secs(60));
    let counted = sessions.state.read().addresses.count(address(1));
    assert_eq!(counted, 0);
}

#[test]
fn closing_server_refuses_resumption() {
    let sessions = Sessions::new(3, None);
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
    let sessions = Sessions::new(10, None);
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
    sessions.expire_lingering(Instant::now(), Duration::ZERO);
    assert!(are_same(&recipients(&sessions), &outboxes[2..]));
    assert!(sessions.end_and_close_outbox(token(3)));
    assert!(are_same(&recipients(&sessions), &outboxes[2..3]));
}

#[test]
fn sorted_names_are_listed_up_to_the_size_limit() {
    let sessions = Sessions::new(10, None);
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
    let sessions = Sessions::new(10, None);
    let (mut alice, mut bob) = (connect(&sessions), connect(&sessions));
    assert_eq!(alice.name(), None);
    alice.claim_for_test("alice", 1).unwrap();
    bob.claim_for_test("bob", 2).unwrap();
    sessions.rename(token(1), &name("Alice2")).unwrap();
    assert!(sessions.end_and_close_outbox(token(1)));
    assert_eq!(alice.name(), Some(name("Alice2")));
    bob.end_session();
    assert_eq!(bob.name(), Some(name("bob")));
    drop((alice, bob));
    assert!(sessions.state.read().ended_names.is_empty());
}
