//! Every bound, of the server and its client, each a named constant with its reason.
//!
//! A number that stands anywhere else is an accident. What an operator may want
//! to change is an option ([`crate::server::options`]) with its default here; what the
//! protocol fixes is a constant here and nowhere an option.

use std::time::Duration;

// ---- The protocol's own (section numbers are those of [`crate::protocol`]) ----

/// The longest line in bytes, without its end (section 1): the longest request
/// is a private message, whose 2,047 characters of four bytes each, the longest
/// name and the command word still fit, with room to spare.
pub const MAX_LINE: usize = 8_512;

/// The fewest characters of a name (section 2).
pub const MIN_NAME: usize = 2;

/// The most characters of a name (section 2).
pub const MAX_NAME: usize = 63;

/// The most characters, that is Unicode scalar values, of a text (section 2).
pub const MAX_TEXT_CHARS: usize = 2_047;

/// How much of an unknown command word is repeated in the answer, in characters
/// (section 5).
pub const MAX_SHOWN_COMMAND: usize = 32;

/// A telnet subnegotiation that has not ended after so many bytes ends there
/// (section 1); otherwise two bytes would silence a connection for good.
pub const MAX_SUBNEGOTIATION: usize = 512;

/// So many answers of 400 in a row close a connection (section 6): what sends
/// them is not going to learn the protocol.
pub const MAX_BAD_REQUESTS: u32 = 20;

/// No further request is read from a connection while unwritten responses to it take this much
/// memory, in bytes (section 7.6).
pub const MAX_UNWRITTEN_RESPONSES: usize = 64 * 1024;

/// What a queued response costs besides its bytes: its place in the channel, and what the
/// allocator adds (section 7.6). An answer to a telnet command has three bytes and costs about
/// 70. A delivery does not count this: it has at least 73 bytes on the wire, and costs at most
/// half as much again.
pub const RESPONSE_OVERHEAD: usize = 64;

/// The most bytes that are written at once (section 3): large enough that a
/// busy client costs few system calls, small enough to be taken soon.
pub const MAX_BATCH: usize = 64 * 1024;

/// Hex digits of a token on the wire (section 1).
pub const TOKEN_DIGITS: usize = 32;

/// The longest message of the server: a status line, a token, a full line.
pub const MAX_MESSAGE: usize =
    "500 Internal Server Error\r\n".len() + (TOKEN_DIGITS + 2) + (MAX_LINE + 2);

/// Room for a response to a message, with the longest name, in bytes. A longer response, as a
/// list of names, grows.
pub const USUAL_RESPONSE_SIZE: usize = 128;

/// No notice is longer, in bytes.
pub const MAX_NOTICE: usize = 128;

// ---- Defaults of options ----

/// The port, where only an address is given to the client.
pub const DEFAULT_PORT: u16 = 1313;

/// Where the server listens unless it is told otherwise. Only this machine can
/// reach it: letting others in is a decision (README, "Let others in").
pub const DEFAULT_LISTEN: &str = "127.0.0.1:1313";

/// The most for `--max-clients`: Linux has at most 4,194,304 threads (proc_sys_kernel(5),
/// pid_max), and a client takes two.
pub const MAX_CLIENTS: usize = 2_000_000;

/// The most for `--queue`, in bytes: 1 GiB. A queue that does not fit into memory would end
/// the process.
pub const MAX_QUEUE: usize = 1024 * 1024 * 1024;

/// The most for `--rate`: one request a microsecond, which is faster than a thread answers.
/// The rate limit counts in nanoseconds, so a much larger rate would not be kept exactly.
pub const MAX_RATE: u32 = 1_000_000;

/// The most for `--burst`: with the least `--rate`, ten days of requests.
pub const MAX_BURST: u32 = 1_000_000;

/// The most for every option in seconds, 24 days. TCP_USER_TIMEOUT is the write timeout and
/// [`USER_TIMEOUT_MARGIN`], and the kernel refuses more than `i32::MAX` milliseconds.
pub const MAX_SECONDS: u32 = 2_147_453;

/// `--max-clients`.
pub const DEFAULT_MAX_CLIENTS: usize = 1_000;

/// `--max-per-address`.
pub const DEFAULT_MAX_PER_ADDRESS: usize = 64;

/// `--queue`, in bytes: 30 messages of the greatest length, some 2,000 of the
/// usual one.
pub const DEFAULT_QUEUE: usize = 256 * 1024;

/// The least `--queue`, in bytes: one message of the greatest length always
/// fits into an empty queue, or it could never be sent.
pub const MIN_QUEUE: usize = 16 * 1024;

/// `--rate`, in requests a second: faster than a person types.
///
/// A request costs little time of a processor, however many clients there are: 2 to 5 µs, and
/// 100 µs for a `List-names` that fills a line (at 2,000 names as at 8,000). Only a broadcast
/// grows with the clients, by about 1 µs for each recipient, which is the write to its socket.
pub const DEFAULT_RATE: u32 = 10;

/// `--burst`, in requests: a pasted block of lines passes without a pause.
pub const DEFAULT_BURST: u32 = 50;

/// `--login-timeout`, in seconds.
pub const DEFAULT_LOGIN_TIMEOUT: u32 = 60;

/// `--write-timeout`, in seconds.
pub const DEFAULT_WRITE_TIMEOUT: u32 = 30;

/// `--linger`, in seconds.
pub const DEFAULT_LINGER: u32 = 60;

/// `--grace`, in seconds.
pub const DEFAULT_GRACE: u32 = 5;

// ---- Addresses ----

/// The least allowance of an address: requests that its new connections may send at once, all
/// together. A class of 64 that shares an address logs in with 8 requests each. With a larger
/// `--burst` it is that burst.
pub const MIN_ALLOWANCE: u32 = 512;

/// An allowance refills at this many times `--rate`. So a client that reconnects again and
/// again, to have a new burst each time, counts as ten clients, and not as thousands.
pub const ALLOWANCE_RATES: u32 = 10;

/// Addresses whose allowances are remembered at a time, in about 512 KiB. An address is
/// forgotten when its allowances have refilled: by default 5 s after the last burst, and a
/// second for each connection that was logged.
pub const MAX_ADDRESSES: usize = 4_096;

/// Connections of an address that the log mentions one by one if they come at once: all
/// clients of a server of the default size, behind one tunnel, that come back together.
pub const MAX_LOGGED_CONNECTIONS: u32 = 1_000;

/// And then one in this time. The others are counted. A client that does nothing but
/// reconnect would write thousands of lines a second.
pub const LOGGED_CONNECTION_INTERVAL: Duration = Duration::from_secs(1);

// ---- Sockets ----

/// Connections that the kernel keeps for us until they are accepted. std asks
/// for 128, of which a class that connects at once overflows.
pub const LISTEN_BACKLOG: i32 = 1_024;

/// SO_SNDBUF in bytes. Left alone, the kernel swallows up to 4 MiB for each
/// client that does not read, which is memory that no bound of ours would see.
pub const SEND_BUFFER_SIZE: usize = 64 * 1024;

/// SO_RCVBUF in bytes, set on the listener. Without it the kernel keeps up to
/// `tcp_rmem[2]` (32 MiB) of unread input for each client that the rate pauses. It holds
/// seven requests of the greatest length, and so keeps a client with a round trip of 100 ms
/// at 75 such requests a second, far above the default `--rate`. The kernel reserves as much
/// again for its own structures (socket(7)).
pub const RECEIVE_BUFFER_SIZE: usize = 64 * 1024;

/// Bytes asked of a client's socket in one read, of one that sends much at once: so many
/// requests are answered together.
pub const READ_BUFFER_SIZE: usize = 4 * 1024;

/// And of one that does not, as most are: the line of a person.
pub const FIRST_READ_BUFFER_SIZE: usize = 512;

/// So many batches are written by whoever has filled an outbox, before it leaves the
/// rest to the writer, so that nobody is captured writing for a popular client.
pub const MAX_DIRECT_BATCHES: u32 = 4;

/// A reader thread that has queued this many deliveries at once has broadcast to a crowd. If
/// others do so too, and it must drain this many outboxes, it gives them to the thread
/// `broadcaster`, where the messages of all share writes. For fewer, waking that thread costs
/// more than the writes that it saves.
pub const MIN_BROADCAST_DELIVERIES: usize = 32;

/// A reader thread that must drain this many outboxes gives them to the thread `broadcaster`,
/// also if no other thread broadcasts. For fewer, the wake costs more than it saves. The model
/// checker has one outbox.
pub const MIN_BROADCASTER_OUTBOXES: usize = if cfg!(model) { 1 } else { 256 };

/// Lists that may wait for the thread `broadcaster`. More are drained by the reader threads
/// that made them. Each has 32 outboxes at least, so these are the outboxes of 8,192 clients.
pub const MAX_BROADCASTER_LISTS: usize = 256;

/// A reader drains what it has queued after this many deliveries. Fewer would take more
/// writes; more would wait longer than some milliseconds, and with them what others send to
/// the same clients.
pub const MAX_UNFLUSHED_DELIVERIES: usize = 32 * 1024;

/// What a writer, or a reader, keeps of its batch buffer while it has nothing to write.
pub const MAX_IDLE_BATCH: usize = 4 * 1024;

/// And of its list of what is in the batch, in items.
pub const MAX_IDLE_ITEMS: usize = 16;

/// TCP_KEEPALIVE: a connection that was silent for so long is asked whether it is
/// still there, since a peer whose cable was pulled says nothing (tcp(7)).
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// And then at this interval.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// So many times, before the connection counts as broken: after two minutes in all.
pub const KEEPALIVE_PROBES: u32 = 4;

/// The least TCP_USER_TIMEOUT: how long what was sent may go without acknowledgement,
/// for which the kernel's own patience is a quarter of an hour.
///
/// No less than keepalive takes, or Linux would end that early. Longer than the write
/// timeout by [`USER_TIMEOUT_MARGIN`], because it also runs while a live peer keeps its
/// window shut, and what the kernel holds is lost when it fires: the write timeout has to
/// come first.
pub const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// See [`USER_TIMEOUT`].
pub const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(30);

/// How long a client that has got its last message may take to close its side. Until then the
/// server reads and drops what the client still sends, however much that is. A close with
/// unread input resets the connection, and a reset destroys the last message.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The same at shutdown, for all connections together: nobody waits a second
/// for a server to stop because netcat waits for Enter.
pub const SHUTDOWN_CLOSE_TIMEOUT: Duration = Duration::from_millis(200);

/// How long the threads may take to leave after their sockets were cut, which
/// is a matter of milliseconds; a bound only so that no defect can keep the
/// process alive.
pub const THREAD_EXIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Refused connections that are drained at the same time; more are just closed.
pub const MAX_PENDING_REFUSALS: usize = 16;

/// Bytes that the thread `refuser` asks of a refused connection in one read: as many as the kernel
/// lets a client send that nobody reads, so that seeing it off takes two reads, and one
/// thread keeps up with those who come again at once.
pub const REFUSAL_READ_SIZE: usize = 64 * 1024;

/// The first pause after `accept` failed; it doubles up to
/// [`ACCEPT_BACKOFF_MAX`]. Without it a server that is out of descriptors spends
/// a whole core on failing.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);

/// The longest pause after `accept` failed.
pub const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

// ---- The client ----

/// How long logging in may take in all, from connecting to the answer: what listens there
/// need not be a chat server, and may be silent for ever.
pub const LOG_IN_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause before the first attempt to connect again. It doubles up to
/// [`RECONNECT_BACKOFF_MAX`], so that a server that starts again is not run over by all the
/// clients that it has lost.
pub const RECONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to connect again.
pub const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// How often a client looks whether the server is silent: a part of the shortest time that
/// matters ([`SILENCE_NOTICE_TIMEOUT`]).
pub const SILENCE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a server may send nothing while an answer is due, before the user is told: as
/// long as a person waits before asking what is wrong.
pub const SILENCE_NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client sends a `Ping` after a server has sent nothing for so long. Keepalive does not
/// find a server that is frozen, because its kernel answers.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long a server may send nothing after that `Ping`, before the connection counts as
/// lost.
pub const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a typed message waits for its answer before it is painted as not yet answered:
/// shorter than a person notices.
pub const ECHO_TIMEOUT: Duration = Duration::from_millis(200);

/// How long messages that were typed without a connection wait in a new session for others
/// to come back too.
pub const EMPTY_ROOM_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the client looks for others meanwhile.
pub const EMPTY_ROOM_INTERVAL: Duration = Duration::from_millis(250);

/// How often a name that is taken is asked for again, by a user that waits for it.
pub const NAME_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long TAB waits for the server to list the names, before it makes do with those
/// that were seen: as long as a person does not mind.
pub const COMPLETION_TIMEOUT: Duration = Duration::from_millis(500);

/// More names than this are not listed by TAB, which then only completes what they have
/// in common: a longer list would push the conversation off the screen.
pub const MAX_COMPLETIONS: usize = 20;

/// The most names that are shown after logging in; `/names` lists all.
pub const MAX_GREETED_NAMES: usize = 10;

/// How many names are remembered for when the server does not answer in time.
pub const MAX_KNOWN_NAMES: usize = 1_000;

/// How many lines may wait to be shown, while the editor or the terminal does not take
/// them. Then the client stops reading, and the server's limits hold.
pub const MAX_UNSHOWN_LINES: usize = 10_000;

/// The most lines of a paste that is edited like typed text. A longer one is sent only after
/// a question: it may be the wrong clipboard.
pub const MAX_PASTED_LINES: usize = 20;

/// A paste without a key for so long has lost its end mark.
pub const PASTE_TIMEOUT: Duration = Duration::from_secs(2);

/// A report of the terminal comes at once: a key after so long does not belong to it.
pub const REPORT_TIMEOUT: Duration = Duration::from_millis(50);

/// How often the size of a window that is being dragged is read, until it stays the same.
pub const RESIZE_INTERVAL: Duration = Duration::from_millis(50);

/// How long after a change of its window a terminal may tell: tmux does so after a quarter of
/// a second.
pub const RESIZE_DELAY: Duration = Duration::from_millis(500);

/// How many lines are kept for the case that a change of the window has erased them.
pub const MAX_RECENT_LINES: usize = 100;

/// The host of the server, where only a port is given to the client.
pub const DEFAULT_HOST: &str = "127.0.0.1";

/// The columns of a terminal that does not tell them.
pub const DEFAULT_COLUMNS: usize = 80;

/// How long the prompt waits for the answer to `/name`, which changes it: no longer than
/// a person waits for a prompt before wondering where it is.
pub const NAME_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a user that leaves waits for the last answer without a word: a server that
/// has nothing else to do answers sooner.
pub const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes of a line of input that are read at once, in a script. A longer one is
/// cut, as one of more than 2,047 characters is anyway.
pub const MAX_INPUT_CHUNK: usize = 64 * 1024;

// ---- Logging ----

/// Lines of the log that wait for stderr to take them; what comes then is counted and
/// not kept. Enough for a burst of everyone coming at once, and 100 KiB of usual lines;
/// with `-vv`, and the longest lines that clients can think of, 50 MiB.
pub const MAX_LOG_LINES: usize = 1_024;

/// How often one kind of refusal or failure is told in the log at most. A client that is
/// refused comes again at once, thousands of times a second if it is a program.
pub const LOG_THROTTLE_INTERVAL: Duration = Duration::from_secs(60);

/// How long the end of the process waits for stderr to take what was logged.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

// ---- Threads and the machine ----

/// The stack of each thread, in bytes. std's 2 MiB are only address space, but
/// page tables and limits on address space count them.
pub const STACK_SIZE: usize = 256 * 1024;

/// Descriptors that are not clients': stdio, the first listener, the signal pipe, and
/// refused connections that the thread `refuser` keeps open.
pub const RESERVED_DESCRIPTORS: u64 = 32;

/// Descriptors of each further listener: its own, and that of the connection that its thread
/// has accepted and not yet let in or refused.
pub const DESCRIPTORS_PER_LISTENER: u64 = 2;

/// Memory maps kept for what is neither a client's thread nor an arena of the allocator: the
/// heap, libraries, the threads of the server itself.
pub const RESERVED_MAPS: u64 = 512;

/// Memory maps of the thread of each further listener, see [`MAPS_PER_CLIENT`].
pub const MAPS_PER_LISTENER: u64 = 4;

/// Memory maps of glibc's allocator for each processor: it makes up to 8 arenas a processor,
/// and an arena takes two maps, of the part in use and of the part kept for later
/// (mallopt(3), M_ARENA_MAX).
pub const MAPS_PER_CPU: u64 = 16;

/// A thread of std takes four memory maps (the stack, the stack for signals,
/// and a guard page for each), a client two threads.
pub const MAPS_PER_CLIENT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_line_still_fits_a_batch_and_the_smallest_queue() {
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
    fn no_notice_is_longer_than_is_reckoned_with() {
        use crate::protocol::reply::Notice;
        use crate::protocol::token::Token;
        for notice in [
            Notice::Missed(u64::MAX),
            Notice::ShuttingDown,
            Notice::TooSlowToLogIn(u64::MAX),
            Notice::ServerIsFull,
            Notice::TooManyFromAddress,
            Notice::ResumedElsewhere,
            Notice::ReadTooSlowly,
        ] {
            let mut bytes = Vec::new();
            notice.encode(Some(Token::from_bits([1; 16])), &mut bytes);
            assert!(bytes.len() <= MAX_NOTICE, "{notice}: {} bytes", bytes.len());
        }
    }
}
