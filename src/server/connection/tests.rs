//! The edges of a connection's life: what a panic costs, the order of the steps at its end, and
//! the difference between a disconnect and a lost connection. Real sockets, no server.

use super::*;
use crate::limits::DEFAULT_QUEUE;
use crate::outbox::Attachment;
use crate::outbox::tests::next_number;
use crate::protocol::literals::name;
use crate::protocol::token::Token;
use crate::sessions::Sessions;
use crossbeam_channel::never;
use std::io::Write;
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

/// Executes requests with a defect: one text makes it panic.
fn defective(connection: &mut Registration, pending: &PendingWrites, request: Request) -> Outcome {
    if request
        .body
        .as_ref()
        .is_ok_and(|body| body.as_str() == "Ping panic")
    {
        panic!("a defect");
    }
    commands::execute(connection, pending, request)
}

/// Connects a client to a reader thread with the defect.
fn connect(sessions: &Arc<Sessions>) -> (TcpStream, JoinHandle<()>) {
    let (client, socket, peer) = socket_pair();
    let attachment = attachment(&Arc::new(socket));
    let connection = Box::new(Connection {
        peer,
        registration: sessions.register(attachment, None).unwrap(),
        may_linger: true,
        accepted_at: Instant::now(),
        login_timeout: Duration::from_secs(60),
        direct_writes: DirectWrites::new(true),
        rate_limiter: any_rate(),
        refuser: Refuser::start().unwrap(),
        #[cfg(feature = "redis")]
        node: None,
    });
    (client, thread::spawn(|| serve_with(connection, defective)))
}

fn socket_pair() -> (TcpStream, TcpStream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let (socket, peer) = listener.accept().unwrap();
    (client, socket, peer)
}

/// Sends a request and reads the three lines of its response.
fn ask(client: &mut TcpStream, header: &str, body: &str) -> [String; 3] {
    client
        .write_all(format!("\r\n{header}\r\n{body}\r\n").as_bytes())
        .unwrap();
    [(); 3].map(|()| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    })
}

fn set_name(client: &mut TcpStream, name: &str) -> String {
    let [status, token, _] = ask(client, "", &format!("Set-name {name}"));
    assert_eq!(status, "200 OK");
    token
}

const FAILED: [&str; 2] = [
    "500 Internal Server Error",
    "The server failed to answer this request",
];

#[test]
fn panic_gets_response_500_and_closes_one_connection() {
    let sessions = Sessions::new(10, None, 0);
    let (mut other, other_reader) = connect(&sessions);
    let (mut client, reader) = connect(&sessions);
    set_name(&mut other, "other");
    let token = set_name(&mut client, "victim");

    let answer = ask(&mut client, "", "Ping panic");
    assert_eq!(answer, [FAILED[0], &*token, FAILED[1]]);
    assert_eq!(
        client.read(&mut [0]).unwrap(),
        0,
        "then the connection is closed"
    );
    drop(client);
    reader.join().expect("the panic has been caught");

    set_name(&mut other, "victim2");
    set_name(&mut connect(&sessions).0, "victim");
    drop(other);
    other_reader.join().unwrap();
}

#[test]
fn response_500_has_the_token_of_the_acting_session() {
    let sessions = Sessions::new(10, None, 0);
    let (mut other, _) = connect(&sessions);
    let token = set_name(&mut other, "other");
    let (mut client, _) = connect(&sessions);
    assert_eq!(
        ask(&mut client, &token, "Ping panic"),
        [FAILED[0], &*token, FAILED[1]]
    );
    let (mut client, _) = connect(&sessions);
    let own = set_name(&mut client, "client");
    assert_eq!(
        ask(&mut client, &token, "Ping panic"),
        [FAILED[0], &*token, FAILED[1]]
    );
    let (mut client, _) = connect(&sessions);
    assert_eq!(
        ask(&mut client, &own, "Ping panic"),
        [FAILED[0], "", FAILED[1]]
    );
}

/// Checks that a client sees neither a last response nor the close while its session cannot
/// end.
#[track_caller]
fn check_nothing_comes_before_the_session_has_ended(last: &str) {
    let sessions = Sessions::new(10, None, 0);
    let (mut client, reader) = connect(&sessions);
    set_name(&mut client, "alice");
    sessions.while_locked(|| {
        client.write_all(last.as_bytes()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let kind = client.read(&mut [0]).expect_err("nothing to see").kind();
        assert_eq!(kind, io::ErrorKind::WouldBlock);
    });
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    reader.join().unwrap();
}

#[test]
fn session_ends_before_the_client_sees_the_close() {
    check_nothing_comes_before_the_session_has_ended("");
    check_nothing_comes_before_the_session_has_ended("GET / HTTP/1.1\r\n");
}

#[test]
fn prepare_sets_nodelay_keepalive_and_send_buffer() {
    let (_client, socket, _) = socket_pair();
    set_options(&socket, Duration::from_secs(30)).unwrap();
    assert!(socket.nodelay().unwrap());
    assert!(sockopt::socket_keepalive(&socket).unwrap());
    assert_eq!(
        sockopt::tcp_keepidle(&socket).unwrap(),
        Duration::from_secs(60)
    );
    assert_eq!(
        sockopt::tcp_keepintvl(&socket).unwrap(),
        Duration::from_secs(15)
    );
    assert_eq!(sockopt::tcp_keepcnt(&socket).unwrap(), 4);
    #[cfg(target_os = "linux")]
    {
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 120_000);
        set_options(&socket, Duration::from_secs(300)).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 330_000);
    }
    let buffer = sockopt::socket_send_buffer_size(&socket).unwrap();
    // Linux reserves as much again for its own structures (socket(7)).
    assert!((64 * 1024..=128 * 1024).contains(&buffer), "{buffer} bytes");
}

/// The attachment of this socket, as the server makes it.
fn attachment(socket: &Arc<TcpStream>) -> Attachment {
    let timeout = Duration::from_secs(30);
    let socket = Arc::clone(socket);
    Attachment::new(next_number(), socket, DEFAULT_QUEUE, timeout, never())
}

/// Registers a connection with a session that may linger. Its first response is pending.
fn with_session(
    sessions: &Arc<Sessions>,
    socket: &Arc<TcpStream>,
    pending: &PendingWrites,
) -> Registration {
    let mut registration = sessions.register(attachment(socket), None).unwrap();
    let (name, token) = (name("alice"), Token::from_bits([1; 16]));
    registration.claim(&name, token, pending).unwrap();
    sessions.use_token(token).unwrap();
    registration
}

#[test]
fn session_lingers_if_connection_is_lost_not_if_closed() {
    let failed = |kind: io::ErrorKind| Some(Loss::WriteFailed(kind.into()));
    for (ending, loss, lingers) in [
        (
            Ok(Ending::Closed),
            failed(io::ErrorKind::ConnectionReset),
            true,
        ),
        (Ok(Ending::Closed), Some(Loss::TooSlow), true),
        // The client has closed its side before.
        (Ok(Ending::Closed), failed(io::ErrorKind::BrokenPipe), false),
        (Ok(Ending::Closed), None, false),
        (Err(io::ErrorKind::ConnectionReset.into()), None, true),
        (
            Err(io::ErrorKind::TimedOut.into()),
            failed(io::ErrorKind::BrokenPipe),
            true,
        ),
    ] {
        let sessions = Sessions::new(10, None, 0);
        let (_client, socket, _) = socket_pair();
        let (socket, pending) = (Arc::new(socket), PendingWrites::for_test(true));
        let mut registration = with_session(&sessions, &socket, &pending);
        let attachment = Arc::clone(registration.attachment());
        match loss {
            Some(loss) => attachment.outbox().unwrap().fail_write(loss, || {}),
            None => attachment.abort(),
        }
        registration.writer.end();
        release_session(registration, &pending, ending, true, "a client");
        assert_eq!(sessions.names("", usize::MAX).1, usize::from(lingers));
    }
}

#[test]
fn end_of_input_waits_for_a_failing_write() {
    let (client, socket, _) = socket_pair();
    let sessions = Sessions::new(10, None, 0);
    let (socket, pending) = (Arc::new(socket), PendingWrites::for_test(true));
    let registration = with_session(&sessions, &socket, &pending);
    let attachment = Arc::clone(registration.attachment());
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    // This write gets the error, as one of another thread would.
    while (&*socket).write(b"x").is_ok() {}
    let (read, was_read) = crossbeam_channel::bounded(1);
    thread::scope(|scope| {
        let outbox = attachment.outbox().unwrap();
        let reset = io::ErrorKind::ConnectionReset.into();
        outbox.fail_write(Loss::WriteFailed(reset), || {
            scope.spawn(|| {
                let pending = PendingWrites::for_test(true);
                let mut rate = any_rate();
                let mut input = input(&attachment, &pending, &mut rate);
                read.send(input.read(&mut [0; 10]).unwrap())
            });
            let early = was_read.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "the reset was taken for an end of input");
        });
        assert_eq!(was_read.recv_timeout(Duration::from_secs(10)), Ok(0));
    });
    assert!(attachment.loss().is_some());
}

/// Returns a rate limiter without a limit.
fn any_rate() -> RateLimiter {
    RateLimiter::new(0, 1, Instant::now())
}

/// Returns the input of a reader thread whose connection has a session.
fn input<'a>(
    attachment: &'a Attachment,
    pending: &'a PendingWrites,
    rate_limiter: &'a mut RateLimiter,
) -> Input<'a> {
    Input {
        rate_limiter,
        attachment,
        pending,
        telnet: TelnetFilter::default(),
        login_deadline: None,
    }
}

#[test]
fn end_of_input_counts_although_a_reset_follows() {
    let (client, socket, _) = socket_pair();
    let sessions = Sessions::new(10, None, 0);
    let (socket, pending) = (Arc::new(socket), PendingWrites::for_test(true));
    let registration = with_session(&sessions, &socket, &pending);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((&*socket).read(&mut [0]).unwrap(), 0);
    drop(client);
    // The kernel answers a write to a closed socket with a reset.
    let attachment = registration.attachment();
    (&*socket).write_all(b"x").unwrap();
    while socket.peer_addr().is_ok() {
        thread::yield_now();
    }
    // With the other list, a flush would write, and get the error.
    let other = PendingWrites::for_test(true);
    let mut rate = any_rate();
    let mut input = input(attachment, &other, &mut rate);
    assert_eq!(input.read(&mut [0; 10]).unwrap(), 0);
    assert!(
        attachment.is_served(),
        "the read has not waited for the writer thread"
    );
}

#[test]
fn server_reads_without_timeout_after_login() {
    let (mut client, socket, _) = socket_pair();
    let sessions = Sessions::new(10, None, 0);
    let (socket, pending) = (Arc::new(socket), PendingWrites::for_test(true));
    let registration = with_session(&sessions, &socket, &pending);
    let mut rate = any_rate();
    let mut input = Input {
        login_deadline: Some(Instant::now() + Duration::from_secs(60)),
        ..input(registration.attachment(), &pending, &mut rate)
    };
    client.write_all(b"x").unwrap();
    assert_eq!(input.read(&mut [0; 10]).unwrap(), 1);
    assert!(socket.read_timeout().unwrap() <= Some(Duration::from_secs(60)));
    assert!(socket.read_timeout().unwrap().is_some());
    input.clear_login_deadline().unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(input.read(&mut [0; 10]).unwrap(), 1);
    assert_eq!(socket.read_timeout().unwrap(), None);
}

#[test]
fn evicted_connection_does_not_rename_the_session() {
    let sessions = Sessions::new(10, None, 0);
    let pending = PendingWrites::for_test(true);
    let [(_first_client, first, _), (_second_client, second, _)] = [(); 2].map(|()| socket_pair());
    let mut first = with_session(&sessions, &Arc::new(first), &pending);
    let second = attachment(&Arc::new(second));
    let mut second = sessions.register(second, None).expect("room");
    let token = first.token().expect("a session");
    let evicted = second.resume(token, &name("alice"), &pending);
    drop(evicted.expect("it lives"));
    // The reader thread had begun this request before, and has waited for the presence lock.
    let request = Request {
        header: Ok(Header::Empty),
        body: request::printable(Line::Whole(b"Set-name bob")),
    };
    commands::execute(&mut first, &pending, request);
    assert_eq!(second.name(), Some(name("alice")));
}
