//! All limits of the server and its client, as named constants with their reasons.
//!
//! If an operator may want to change a limit, it is an option ([`crate::server::options`]), and
//! its default is here. If the protocol fixes a limit, it is a constant here and not an option.
//!
//! Does not know how a limit is enforced.
//!
//! Invariant: *no other module has a limit of its own.*

use std::time::Duration;

// ---- The protocol (section numbers are those of [`crate::protocol`]) ----

/// Maximum length of a line in bytes, without its end (section 1).
///
/// The longest request is a private message. Its 2,047 characters of four bytes each, the
/// longest name and the command word fit, with room to spare.
pub const MAX_LINE: usize = 8_512;

/// Minimum length of a name in characters (section 2).
pub const MIN_NAME: usize = 2;

/// Maximum length of a name in characters (section 2).
pub const MAX_NAME: usize = 63;

/// Maximum length of a text in characters, which are Unicode scalar values (section 2).
pub const MAX_TEXT_CHARS: usize = 2_047;

/// Maximum length in characters of the unknown command word that a response repeats (section 5).
pub const MAX_SHOWN_COMMAND: usize = 32;

/// Maximum length of a telnet subnegotiation in bytes (section 1).
///
/// A longer one ends there. Otherwise two bytes would make the filter drop all further input
/// of a connection.
pub const MAX_SUBNEGOTIATION: usize = 512;

/// Number of responses with 400 in a row after which the server closes a connection (section 6).
///
/// A program that sends that many bad requests does not speak the protocol.
pub const MAX_BAD_REQUESTS: u32 = 20;

/// Memory of a connection's unwritten responses, in bytes, at which the server stops reading.
///
/// It reads no further request while they take this much (section 7.6).
pub const MAX_UNWRITTEN_RESPONSES: usize = 64 * 1024;

/// Memory of a queued response besides its bytes: its slot in the channel and what the allocator
/// adds, in bytes (section 7.6).
///
/// An answer to a telnet command has three bytes and takes about 70. A delivery does not count
/// this overhead: it has at least 73 bytes on the wire, and takes at most half as much again.
pub const RESPONSE_OVERHEAD: usize = 64;

/// Messages in the response to a `Recent-messages` without a number (section 2).
pub const DEFAULT_RECENT: usize = 20;

/// The largest number for `Recent-messages` (section 2).
pub const MAX_RECENT: usize = 1_000;

/// The messages of one response to `Recent-messages`, in bytes on the wire (section 2). With it,
/// the responses that wait for one client are bounded by twice 64 KiB and one response. The
/// server keeps no older message, because no response could return it.
pub const MAX_RECENT_SIZE: usize = 64 * 1024;

/// Maximum size of one write in bytes (section 3).
///
/// It is large enough that a busy client costs few system calls, and small enough that the
/// kernel accepts it soon.
pub const MAX_BATCH: usize = 64 * 1024;

/// Number of hex digits of a token in a message (section 1).
pub const TOKEN_DIGITS: usize = 32;

/// Maximum length of a message of the server in bytes: a status line, a token, a full line.
pub const MAX_MESSAGE: usize =
    "500 Internal Server Error\r\n".len() + (TOKEN_DIGITS + 2) + (MAX_LINE + 2);

/// First size of a response's buffer in bytes. It holds the response to a message, with the
/// longest name. For a longer response, such as a list of names, the buffer grows.
pub const USUAL_RESPONSE_SIZE: usize = 128;

/// Upper bound for the length of a notice, in bytes. A batch reserves it before it knows the text.
pub const MAX_NOTICE: usize = 192;

// ---- Defaults of options ----

/// The port that the client uses if it is given only a host.
pub const DEFAULT_PORT: u16 = 1313;

/// `--listen`: the address on which the server listens.
///
/// Only clients on the same machine can reach it. The operator decides whether to let others
/// in (README, "Let others in").
pub const DEFAULT_LISTEN: &str = "127.0.0.1:1313";

/// Maximum for `--max-clients`.
///
/// Linux has at most 4,194,304 threads (proc_sys_kernel(5), pid_max), and a client takes two.
pub const MAX_CLIENTS: usize = 2_000_000;

/// Maximum for `--queue`, in bytes: 1 GiB. A queue that does not fit into memory would end the
/// process.
pub const MAX_QUEUE: usize = 1024 * 1024 * 1024;

/// Maximum for `--rate`, in requests a second: one request a microsecond.
///
/// No thread answers faster. The rate limit counts in nanoseconds, so a much larger rate would
/// not be exact.
pub const MAX_RATE: u32 = 1_000_000;

/// Maximum for `--burst`, in requests: more than ten days of requests at the lowest `--rate`.
pub const MAX_BURST: u32 = 1_000_000;

/// Maximum for every option in seconds: 24 days.
///
/// TCP_USER_TIMEOUT is the write timeout plus [`USER_TIMEOUT_MARGIN`], and the kernel refuses
/// more than `i32::MAX` milliseconds.
pub const MAX_SECONDS: u32 = 2_147_453;

/// `--max-clients`: connections and lingering sessions.
pub const DEFAULT_MAX_CLIENTS: usize = 1_000;

/// `--max-per-address`: clients from one address, or from one IPv6 network of 64 bits.
pub const DEFAULT_MAX_PER_ADDRESS: usize = 64;

/// `--queue`, in bytes: 30 messages of the maximum length, or about 2,000 usual messages.
pub const DEFAULT_QUEUE: usize = 256 * 1024;

/// Minimum for `--queue`, in bytes.
///
/// A message of the maximum length must fit into an empty queue. Otherwise it could never be
/// sent.
pub const MIN_QUEUE: usize = 16 * 1024;

/// The broadcasts that the server keeps for clients that come later. A screen shows fewer.
pub const DEFAULT_HISTORY: usize = 200;

/// The maximum for `--history`: no request can ask for more.
pub const MAX_HISTORY: usize = MAX_RECENT;

/// `--rate`, in requests a second: faster than a person types.
///
/// A request takes little processor time, at any number of clients: 2 to 5 µs, and 100 µs for a
/// `List-names` that fills a line (with 2,000 names and with 8,000). Only a broadcast grows with
/// the clients. Each recipient costs about 1 µs, for the write to its socket.
pub const DEFAULT_RATE: u32 = 10;

/// `--burst`, in requests: a pasted block of lines passes without a pause.
pub const DEFAULT_BURST: u32 = 50;

/// `--login-timeout`, in seconds: a person has the time to type a name.
pub const DEFAULT_LOGIN_TIMEOUT: u32 = 60;

/// `--write-timeout`, in seconds, for one batch.
pub const DEFAULT_WRITE_TIMEOUT: u32 = 30;

/// `--linger`, in seconds, in which a lost session can be resumed.
pub const DEFAULT_LINGER: u32 = 60;

/// `--grace`, in seconds: the grace period of a shutdown.
pub const DEFAULT_GRACE: u32 = 5;

// ---- Addresses ----

/// Minimum allowance of an address: requests that all its new connections together may send at
/// once.
///
/// A class of 64 that shares an address can log in with 8 requests each. If `--burst` is
/// larger, the allowance is that burst.
pub const MIN_ALLOWANCE: u32 = 512;

/// Refill rate of an allowance, as a multiple of `--rate`.
///
/// A client may reconnect again and again to get a new burst each time. With this limit it
/// counts as ten clients, and not as thousands.
pub const ALLOWANCE_RATES: u32 = 10;

/// Maximum number of addresses whose allowances are remembered, in about 512 KiB.
///
/// An address is forgotten when its allowances have refilled. By default that takes 5 s after
/// the last burst, and a second for each logged connection.
pub const MAX_ADDRESSES: usize = 4_096;

/// Maximum number of simultaneous connections from one address that the log reports one by one.
///
/// It is enough for all clients of a server of the default size that reconnect at once through
/// one tunnel.
pub const MAX_LOGGED_CONNECTIONS: u32 = 1_000;

/// Interval at which the log reports one further connection from an address.
///
/// The others are counted. A client that only reconnects would write thousands of lines a
/// second.
pub const LOGGED_CONNECTION_INTERVAL: Duration = Duration::from_secs(1);

// ---- Sockets ----

/// Listen backlog: maximum number of connections that wait in the kernel for `accept`.
///
/// std uses 128, which overflows when a whole class connects at once.
pub const LISTEN_BACKLOG: i32 = 1_024;

/// SO_SNDBUF in bytes.
///
/// Without it, the kernel buffers up to 4 MiB for each client that does not read. No other
/// limit of the server counts that memory.
pub const SEND_BUFFER_SIZE: usize = 64 * 1024;

/// SO_RCVBUF in bytes, set on the listener.
///
/// Without it, the kernel keeps up to `tcp_rmem[2]` (32 MiB) of unread input for each client
/// that the rate limit delays. The buffer holds seven requests of the maximum length. So a
/// client with a round trip of 100 ms can send 75 such requests a second, far more than the
/// default `--rate`. The kernel reserves as much again for its own structures (socket(7)).
pub const RECEIVE_BUFFER_SIZE: usize = 64 * 1024;

/// Maximum size of one read from a client's socket, in bytes.
///
/// A client that sends much at once gets a buffer of this size, so that its requests are
/// answered together.
pub const READ_BUFFER_SIZE: usize = 4 * 1024;

/// First size of the read buffer, in bytes: enough for the line of a person.
pub const FIRST_READ_BUFFER_SIZE: usize = 512;

/// Maximum number of batches that a thread writes directly to one client in a row.
///
/// The writer thread sends the rest. So no reader thread keeps writing for a client that many
/// others write to.
pub const MAX_DIRECT_BATCHES: u32 = 4;

/// Minimum number of deliveries at once that count as a broadcast to a crowd.
///
/// If other threads broadcast too, a reader thread that must drain this many outboxes gives
/// them to the thread `broadcaster`. There the messages of all senders share writes. With
/// fewer outboxes, the wake of that thread costs more than the writes that it saves.
pub const MIN_BROADCAST_DELIVERIES: usize = 32;

/// Minimum number of outboxes that a reader thread gives to the thread `broadcaster` if no other
/// thread broadcasts.
///
/// With fewer outboxes, the wake costs more than it saves. The model checker has one outbox.
pub const MIN_BROADCASTER_OUTBOXES: usize = if cfg!(model) { 1 } else { 256 };

/// Maximum number of lists that wait for the thread `broadcaster`.
///
/// If the channel is full, a reader thread drains its list itself. A list has at least 32
/// outboxes, so these are the outboxes of at least 8,192 clients.
pub const MAX_BROADCASTER_LISTS: usize = 256;

/// Maximum number of deliveries that a reader thread queues before it flushes.
///
/// Fewer deliveries would take more writes. More deliveries would wait longer than some
/// milliseconds, and so would the messages of other threads to the same clients.
pub const MAX_UNFLUSHED_DELIVERIES: usize = 32 * 1024;

/// Maximum size of an empty batch's buffer, in bytes: idle threads keep little memory.
pub const MAX_IDLE_BATCH: usize = 4 * 1024;

/// Maximum capacity of an idle list of items or outboxes: idle threads keep little memory.
pub const MAX_IDLE_ITEMS: usize = 16;

/// TCP_KEEPIDLE: time without input after which the kernel sends the first keepalive probe.
///
/// A peer whose cable was pulled sends nothing, not even an end of input (tcp(7)).
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// TCP_KEEPINTVL: interval of the keepalive probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// TCP_KEEPCNT: number of unanswered probes after which the connection is lost, two minutes after
/// the last input.
pub const MAX_KEEPALIVE_PROBES: u32 = 4;

/// Minimum for TCP_USER_TIMEOUT: how long sent data may stay without an acknowledgement.
///
/// The kernel's default is a quarter of an hour. A value below the time of keepalive would end
/// keepalive early on Linux. See also [`USER_TIMEOUT_MARGIN`].
pub const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// Time by which TCP_USER_TIMEOUT exceeds the write timeout.
///
/// TCP_USER_TIMEOUT also runs while a live peer keeps its window closed. When it fires, the
/// data in the kernel is lost. So the write timeout must fire first.
pub const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(30);

/// How long the server waits for a client to close its side after the last message.
///
/// Until then the server reads and drops all input, without a limit of bytes. A close with
/// unread input resets the connection, and a reset destroys the last message.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same time at shutdown, for all connections together.
///
/// A netcat closes its side only at the next Enter. The server must not stop a second later
/// because of that.
pub const SHUTDOWN_CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// How long the shutdown waits for threads to end after it has shut their sockets down.
///
/// They need milliseconds. The limit exists only so that no defect keeps the process alive.
pub const THREAD_EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of refused connections that are drained at a time. Others are just closed.
pub const MAX_PENDING_REFUSALS: usize = 16;

/// Size of one read of the thread `refuser` from a refused connection, in bytes.
///
/// A client can send as much before the kernel stops it. So two reads drain a connection, and
/// one thread keeps up with clients that reconnect at once.
pub const REFUSAL_READ_SIZE: usize = 64 * 1024;

/// First back-off delay after `accept` has failed. It doubles up to [`ACCEPT_BACKOFF_MAX`].
///
/// Without it, a server without free descriptors would use a whole core for failing calls.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);

/// Maximum back-off delay after `accept` has failed.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

// ---- The client ----

/// How long a login at a server may take in all, from connecting to the response.
///
/// The peer may not be a chat server, and may stay silent for ever.
pub const LOG_IN_TIMEOUT: Duration = Duration::from_secs(10);

/// Back-off delay before the first attempt to reconnect. It doubles up to
/// [`RECONNECT_BACKOFF_MAX`].
///
/// Without it, all clients together would overload a server that has just restarted.
pub const RECONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// Maximum back-off delay between two attempts to reconnect.
pub const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Interval at which a client checks whether the server is silent.
///
/// It is a fraction of the shortest timeout that it checks ([`SILENCE_NOTICE_TIMEOUT`]).
pub const SILENCE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a server may send nothing while a response is due, before the client tells the user.
///
/// A person waits about as long before asking what is wrong.
pub const SILENCE_NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may send nothing before the client sends a `Ping`.
///
/// Keepalive does not detect a frozen server, because its kernel still answers.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long a server may send nothing after that `Ping` before the connection counts as lost.
pub const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a typed message waits for its response before it is painted as not yet answered.
///
/// A person does not notice so short a time.
pub const ECHO_TIMEOUT: Duration = Duration::from_millis(200);

/// How long messages that were typed without a connection wait in a new session for other users.
///
/// After a restart of the server, the other clients reconnect within the same seconds.
pub const EMPTY_ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which the client meanwhile checks for other users.
pub const EMPTY_ROOM_INTERVAL: Duration = Duration::from_millis(250);

/// Interval at which the client asks again for a taken name, for a user that waits for it.
pub const NAME_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long TAB waits for the server's list of names before it uses the names already seen.
///
/// A person does not mind so short a delay.
pub const COMPLETION_TIMEOUT: Duration = Duration::from_millis(500);

/// Maximum number of names that TAB lists.
///
/// With more names, TAB only completes their common prefix. A longer list would push the
/// conversation off the screen.
pub const MAX_COMPLETIONS: usize = 20;

/// Maximum number of names that the client shows after login. `/names` lists all.
pub const MAX_GREETED_NAMES: usize = 10;

/// Number of earlier messages that the client shows after login, unless told otherwise.
pub const GREETING_RECENT: usize = 10;

/// Maximum number of users online for which the client watches presence on its own.
///
/// On a larger server, users log in and out all the time, and most of them are unknown to the
/// reader. `/presence on` watches in any case.
pub const MAX_WATCHED_USERS: usize = 500;

/// Maximum number of presence lines in a second. The other changes of the second share a line.
///
/// When a server restarts, all users come back within a few seconds.
pub const MAX_PRESENCE_LINES: usize = 5;

/// The second of [`MAX_PRESENCE_LINES`].
pub const PRESENCE_INTERVAL: Duration = Duration::from_secs(1);

/// Number of the newest messages that the client remembers, to find them in the history after a
/// lost connection.
///
/// One would do if no text was ever repeated. Those before it tell two equal texts apart.
pub const MAX_REMEMBERED_MESSAGES: usize = 50;

/// Maximum number of names that the client remembers, for a TAB to which no list arrives in time.
pub const MAX_KNOWN_NAMES: usize = 1_000;

/// Maximum number of lines that wait while the editor or the terminal does not accept them.
///
/// Then the client stops reading, and the server's limits apply.
pub const MAX_UNSHOWN_LINES: usize = 10_000;

/// Maximum number of lines of a paste that is edited like typed text.
///
/// The client asks before it sends a longer paste, because it may be the wrong clipboard.
pub const MAX_PASTED_LINES: usize = 20;

/// How long a paste may go on without a key. Then its end mark is lost, and the paste has ended.
pub const PASTE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after the last key of a terminal's report a key may still belong to the report.
///
/// A terminal sends a report at once.
pub const REPORT_TIMEOUT: Duration = Duration::from_millis(50);

/// Interval at which the client reads the size of a resized window, until it stays the same.
pub const RESIZE_INTERVAL: Duration = Duration::from_millis(50);

/// How long after a resize of its window a terminal may report it.
///
/// tmux reports it after a quarter of a second.
pub const RESIZE_DELAY: Duration = Duration::from_millis(500);

/// Maximum number of shown lines that are kept, in case a resize of the window erases them.
pub const MAX_RECENT_LINES: usize = 100;

/// The host that the client uses if it is given only a port.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// The columns of a terminal whose size is unknown.
pub const DEFAULT_COLUMNS: usize = 80;

/// How long the prompt waits for the response to `/name`, which changes it.
///
/// After a longer wait, a person would wonder where the prompt is.
pub const NAME_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a client that quits waits silently for the last response.
///
/// An idle server responds sooner.
pub const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum size of one piece of an input line that a script reads, in bytes.
///
/// A longer line is cut. A line of more than 2,047 characters is cut anyway.
pub const MAX_INPUT_CHUNK: usize = 64 * 1024;

// ---- Logging ----

/// Maximum number of log lines that wait for stderr. Further lines are counted and dropped.
///
/// It is enough for the lines of all clients that connect at once. Usual lines take 100 KiB.
/// With `-vv` and the longest lines that clients can send, they take 50 MiB.
pub const MAX_LOG_LINES: usize = 1_024;

/// Minimum interval between two log lines about the same kind of refusal or failure.
///
/// A program that is refused may reconnect at once, thousands of times a second.
pub const LOG_THROTTLE_INTERVAL: Duration = Duration::from_secs(60);

/// How long the end of the process waits until stderr has accepted all log lines.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

// ---- Threads and the machine ----

/// Stack size of each thread, in bytes.
///
/// std uses 2 MiB. That is only address space, but page tables and limits on address space
/// count it.
pub const STACK_SIZE: usize = 256 * 1024;

/// Number of descriptors that are not for clients: stdio, the first listener, the signal pipe,
/// and refused connections that the thread `refuser` keeps open.
pub const RESERVED_DESCRIPTORS: u64 = 32;

/// Number of descriptors for each further listener: its own, and that of the connection that its
/// thread has accepted but not yet registered or refused.
pub const DESCRIPTORS_PER_LISTENER: u64 = 2;

/// Number of memory maps that are neither for clients' threads nor for the allocator's arenas.
///
/// They are for the heap, the libraries and the threads of the server itself.
pub const RESERVED_MAPS: u64 = 512;

/// Number of memory maps for the thread of each further listener, see [`MAPS_PER_CLIENT`].
pub const MAPS_PER_LISTENER: u64 = 4;

/// Number of memory maps of glibc's allocator for each processor.
///
/// It makes up to 8 arenas for each processor. An arena takes two maps: the part in use, and
/// the part that is reserved for later (mallopt(3), M_ARENA_MAX).
pub const MAPS_PER_CPU: u64 = 16;

/// Number of memory maps for each client.
///
/// A client takes two threads. A thread of std takes four maps: its stack, its signal stack,
/// and a guard page for each.
pub const MAPS_PER_CLIENT: u64 = 8;

// ---- Several servers on Redis ([`crate::cluster`]) ----

/// The longest time that a node keeps its names without a renewal.
///
/// The names of a killed node are free after this time, one renewal of another node and the
/// sweep, together within 20 s.
pub const LEASE: Duration = Duration::from_secs(15);

/// Time between two renewals of a lease. Four may fail.
pub const RENEWAL: Duration = Duration::from_secs(3);

/// Time without a heartbeat in its own inbox after which a node does not renew its lease: it
/// would keep names for which it gets no messages.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a node must have been connected before it removes others. If all leases ran out
/// together, Redis was away, and the other nodes need this time to come back.
pub const REMOVAL_AFTER: Duration = Duration::from_secs(6);

/// Names of a removed node that one script sweeps. More would block Redis for longer than 4 ms.
pub const SWEEP_CHUNK: u64 = 500;

/// The longest time for which a request waits for other servers.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Age of an entry at which it is skipped. Less than [`ASK_TIMEOUT`], so that nothing arrives long
/// after its sender was told that it may not.
pub const ENTRY_TIMEOUT: Duration = Duration::from_secs(4);

/// Time after which a node that was asked, and from which nothing has come, is suspected.
pub const SUSPICION: Duration = Duration::from_secs(1);

/// Time for which a session whose name is taken tries to get it back. A stale entry of another
/// node is gone by then.
pub const RECLAIM_TIME: Duration = Duration::from_secs(5);

/// Time between two such tries.
pub const RECLAIM_INTERVAL: Duration = Duration::from_millis(500);

/// The longest time for an answer of Redis. Its slowest script takes milliseconds.
pub const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time that one read of an inbox waits for an entry. The thread sees the end of the
/// server between two reads.
pub const INBOX_BLOCK: Duration = Duration::from_secs(1);

/// The read timeout of the connection that reads the inbox. More than [`INBOX_BLOCK`].
pub const INBOX_TIMEOUT: Duration = Duration::from_secs(3);

/// Entries that one read of an inbox returns. More would delay the writes for the first of them.
pub const INBOX_CHUNK: usize = 256;

/// Requests that one pipeline to Redis carries. More would delay the first of them.
pub const MAX_PIPELINE: usize = 256;

/// Waits before a new connection to Redis: the first, then doubled up to the second.
pub const REDIS_BACKOFF: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(2));

/// Time between two tries to leave while entries arrive.
pub const LEAVE_INTERVAL: Duration = Duration::from_millis(20);

/// Maximum length of the name of a chat in characters.
pub const MAX_CHAT_NAME: usize = 32;

/// Name of the chat without `--chat`.
pub const DEFAULT_CHAT: &str = "main";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_message_fits_a_batch_and_the_smallest_queue() {
        const { assert!(MAX_MESSAGE < MAX_BATCH && MAX_MESSAGE < MIN_QUEUE) };
    }

    #[test]
    fn longest_write_timeout_fits_the_kernel() {
        let margin = USER_TIMEOUT_MARGIN.as_millis() as u64;
        let longest = |seconds: u32| u64::from(seconds) * 1_000 + margin;
        let most = i32::MAX as u64;
        assert!(longest(MAX_SECONDS) <= most && longest(MAX_SECONDS + 1) > most);
    }

    #[test]
    fn every_notice_fits_its_size_limit() {
        use crate::protocol::reply::Notice;
        use crate::protocol::token::Token;
        use crate::protocol::username::Username;
        let longest = Username::new(&"x".repeat(MAX_NAME)).expect("a name");
        for notice in [
            Notice::Missed(u64::MAX),
            Notice::ShuttingDown,
            Notice::TooSlowToLogIn(u64::MAX),
            Notice::ServerIsFull,
            Notice::TooManyFromAddress,
            Notice::ResumedElsewhere,
            Notice::ReadTooSlowly,
            Notice::TakenMeanwhile(longest),
        ] {
            let mut bytes = Vec::new();
            notice.encode(Some(Token::from_bits([1; 16])), &mut bytes);
            assert!(bytes.len() <= MAX_NOTICE, "{notice}: {} bytes", bytes.len());
        }
    }
}
