//! A client's outbox: the queue of everything that is to be written to it, and
//! the writer thread that drains the queue into the client's socket.
//!
//! An outbox belongs to a session, or to a connection that has none yet. The
//! socket is only attached to it: the threads that send know the outbox and
//! never the socket, and nothing here knows names, commands or other clients.
//!
//! # The contract of `send`
//!
//! Everything the server promises about delivery rests on what
//! [`Outbox::send`] promises:
//!
//! 1. It never blocks: not on the network, not on the client, and on no lock
//!    under which anybody does either.
//! 2. It keeps the order of one caller's sends.
//! 3. Any thread may call it.
//! 4. It either queues the delivery and says so, or says why not; if the queue is
//!    full, the miss is counted.
//! 5. The count reaches the client as a notice: before the next delivery that is
//!    queued, and at the latest when the last one that was queued is written.
//!
//! # How
//!
//! ```text
//!   any thread ── send ───┐  one mutex, held until the item is in the channel:
//!   the reader ── answer ─┼─► bytes queued, bytes of answers, misses
//!   shutdown ──── finish ─┘        │
//!                                  ▼
//!                    the client's crossbeam channel ──► writer-N ──► socket
//!                                          (takes all there is, one write)
//! ```
//!
//! The invariant: *whatever enters the channel enters it under the mutex, and
//! after the item that ends it, nothing does.* So the order of the channel is the
//! order of the accounts, a notice of a gap stands exactly where the gap is, and
//! nothing can follow a last word.
//!
//! The writer blocks in two places, and in both it holds no lock: on the channel,
//! which an ending item wakes, and on the socket, which [`Outbox::cut`] wakes.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use log::{Level, log_enabled, trace};
use parking_lot::{Condvar, Mutex};

use crate::limits;
use crate::logging::Wire;
use crate::protocol::reply::{Delivery, Notice, Reply};
use crate::protocol::token::Token;

/// The queue of everything that is to be written to one client.
pub struct Outbox {
    /// The client's channel. Unbounded, because the bound is one of bytes and
    /// kept by the account; a bounded one would besides allocate all of its
    /// slots at once, idle or not.
    queue: Sender<Item>,
    /// Its other end, which the writer thread of the attached connection drains.
    /// It stays here, with the session, so that a later writer can go on.
    items: Receiver<Item>,
    account: Mutex<Account>,
    /// Told when an answer was written, when the outbox was closed and when
    /// everything was written. Only the client's own reader waits for the first
    /// two, only the shutdown for the last.
    changed: Condvar,
    /// The header of whatever is sent to the session. Set once, when there is a
    /// session, and before anyone else can find it.
    token: OnceLock<Token>,
    /// The most bytes of deliveries, from the queueing until the kernel took
    /// them.
    bound: usize,
}

/// What is known about the queue without looking into it.
struct Account {
    /// Bytes of deliveries that the kernel has not taken. Those of a batch are
    /// taken off together, when it has taken all of it.
    deliveries: usize,
    /// Bytes of answers that the kernel has not taken.
    answers: usize,
    /// Deliveries that did not fit since the last notice of a gap.
    missed: u64,
    state: State,
    /// The socket of the attached connection, so that [`Outbox::cut`] reaches it.
    socket: Option<Arc<TcpStream>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The ending item is in the channel, and no other follows it.
    Closing,
    /// The writer has come to the end, or will never.
    Done,
}

/// What stands in the queue. It is typed because the kinds count differently.
enum Item {
    /// A response, or the answer to a telnet command: bytes, since it is for this
    /// client alone.
    Answer(Vec<u8>),
    Delivery(Delivery),
    Notice(Notice),
    /// Nothing follows.
    End,
}

/// Why a delivery was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotQueued {
    /// There is no room now; the client will be told of the gap.
    Full,
    /// The outbox is closed, the session ends.
    Closed,
}

impl Outbox {
    /// An open outbox that holds at most `bound` bytes of deliveries.
    pub fn new(bound: usize) -> Outbox {
        let (queue, items) = unbounded();
        Outbox {
            queue,
            items,
            account: Mutex::new(Account {
                deliveries: 0,
                answers: 0,
                missed: 0,
                state: State::Open,
                socket: None,
            }),
            changed: Condvar::new(),
            token: OnceLock::new(),
            bound,
        }
    }

    /// Makes this the outbox of the session of `token`, for good.
    pub fn belong_to(&self, token: Token) {
        let earlier = self.token.set(token);
        debug_assert!(
            earlier.is_ok(),
            "an outbox belongs to one session in its life"
        );
    }

    /// Queues a delivery; the module's documentation has the contract.
    pub fn send(&self, delivery: &Delivery) -> Result<(), NotQueued> {
        let length = delivery.wire_len();
        let mut account = self.account.lock();
        if account.state != State::Open {
            return Err(NotQueued::Closed);
        }
        if account.deliveries + length > self.bound {
            account.missed += 1;
            return Err(NotQueued::Full);
        }
        self.tell_of_gap(&mut account);
        account.deliveries += length;
        self.enqueue(&account, Item::Delivery(delivery.clone()));
        Ok(())
    }

    /// Queues the answer to a request of this client, behind everything that the
    /// request caused. Dropped if the outbox is closed.
    pub fn answer(&self, reply: &Reply) {
        self.queue_answer(reply.encode());
    }

    /// Queues the answer to a telnet command of this client, which counts as any
    /// answer does.
    pub fn answer_telnet(&self, bytes: Vec<u8>) {
        self.queue_answer(bytes);
    }

    fn queue_answer(&self, bytes: Vec<u8>) {
        let mut account = self.account.lock();
        if account.state == State::Open {
            account.answers += bytes.len();
            self.enqueue(&account, Item::Answer(bytes));
        }
    }

    /// Closes the outbox: what is queued is still written, then the connection
    /// ends. The first to finish an outbox has the last word, later calls do
    /// nothing.
    pub fn finish(&self) {
        self.finish_with(None);
    }

    /// Closes it with this as the last message.
    pub fn finish_with_answer(&self, reply: &Reply) {
        self.finish_with(Some(Item::Answer(reply.encode())));
    }

    /// Closes it with this as the last message.
    pub fn finish_with_notice(&self, notice: Notice) {
        self.finish_with(Some(Item::Notice(notice)));
    }

    fn finish_with(&self, last: Option<Item>) {
        let mut account = self.account.lock();
        if account.state != State::Open {
            return;
        }
        self.tell_of_gap(&mut account);
        if let Some(last) = last {
            if let Item::Answer(bytes) = &last {
                account.answers += bytes.len();
            }
            self.enqueue(&account, last);
        }
        self.enqueue(&account, Item::End);
        account.state = State::Closing;
        self.changed.notify_all();
    }

    /// Queues the notice of the deliveries that were missed, if any were.
    fn tell_of_gap(&self, account: &mut Account) {
        if account.missed > 0 {
            let notice = Notice::Missed(std::mem::take(&mut account.missed));
            self.enqueue(account, Item::Notice(notice));
        }
    }

    /// The account is asked for as a proof that its lock is held: see the
    /// module's invariant.
    fn enqueue(&self, _account: &Account, item: Item) {
        // Fails only without a receiver, and the outbox holds one itself.
        let _ = self.queue.send(item);
    }

    /// Blocks the client's own reader while too many answers to it are
    /// unwritten (section 7.6). False once the outbox is closed: there is no use
    /// in reading on.
    pub fn wait_for_room(&self) -> bool {
        let mut account = self.account.lock();
        while account.state == State::Open && account.answers >= limits::UNWRITTEN_ANSWERS {
            self.changed.wait(&mut account);
        }
        account.state == State::Open
    }

    /// Blocks the client's own reader for so long, or until the outbox is closed.
    pub fn pause(&self, time: Duration) {
        self.wait_while(State::Open, Instant::now() + time);
    }

    /// Whether anything can still be queued.
    pub fn is_open(&self) -> bool {
        self.account.lock().state == State::Open
    }

    /// Waits until the writer of a finished outbox has come to its end, be it that
    /// all is written or that the client is gone; false if it has not at the
    /// deadline.
    pub fn wait_until_written(&self, deadline: Instant) -> bool {
        self.wait_while(State::Closing, deadline) == State::Done
    }

    /// Blocks the client's own reader until the writer of a finished outbox has
    /// come to its end.
    pub fn wait_until_done(&self) {
        let mut account = self.account.lock();
        while account.state != State::Done {
            self.changed.wait(&mut account);
        }
    }

    /// The state when it is no longer this one, or at the deadline.
    fn wait_while(&self, state: State, deadline: Instant) -> State {
        let mut account = self.account.lock();
        while account.state == state {
            if self.changed.wait_until(&mut account, deadline).timed_out() {
                break;
            }
        }
        account.state
    }

    /// Cuts the attached connection, if there is one: its reader and its writer
    /// leave whatever they are blocked in, and what is queued is lost.
    pub fn cut(&self) {
        let socket = self.account.lock().socket.clone();
        if let Some(socket) = socket {
            // Fails where the client was faster, and then there is nothing to cut.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Attaches a connection: starts the thread that writes to `socket` what is
    /// queued here. An error means that there is no thread to be had.
    pub fn attach(
        self: &Arc<Self>,
        socket: Arc<TcpStream>,
        name: String,
    ) -> io::Result<Attachment> {
        let (reading, reader_gone) = bounded(0);
        self.account.lock().socket = Some(Arc::clone(&socket));
        let outbox = Arc::clone(self);
        let writer = thread::Builder::new()
            .name(name)
            .stack_size(limits::STACK)
            .spawn(move || outbox.write_until_end(&socket, &reader_gone))
            .inspect_err(|_| {
                self.account.lock().socket = None;
                self.say_done();
            })?;
        Ok(Attachment {
            outbox: Arc::clone(self),
            reading: Some(reading),
            writer: Some(writer),
        })
    }

    /// The life of a writer thread.
    fn write_until_end(
        &self,
        socket: &TcpStream,
        reader_gone: &Receiver<Infallible>,
    ) -> io::Result<()> {
        let _detach = DetachOnDrop {
            outbox: self,
            socket,
        };
        self.drain(socket)?;
        self.say_done();
        // The client reads the end of input behind the last line, and closes its
        // side. Until then the socket must stay open, with the reader reading from
        // it: closing it with unread input in it would reset the connection and
        // destroy that line (RFC 1122, 4.2.2.13).
        let _ = socket.shutdown(Shutdown::Write);
        let _ = reader_gone.recv_timeout(limits::DRAIN_TIME);
        Ok(())
    }

    /// Writes batches until the item that ends the queue.
    fn drain(&self, socket: &TcpStream) -> io::Result<()> {
        let mut batch = Batch::default();
        // Fails only without a sender, and the outbox holds one itself.
        while let Ok(item) = self.items.recv() {
            batch.add(item, self.token.get().copied());
            while batch.has_room() {
                match self.items.try_recv() {
                    Ok(item) => batch.add(item, self.token.get().copied()),
                    Err(_) => break,
                }
            }
            let mut socket = socket;
            socket.write_all(&batch.bytes)?;
            self.settle(&batch);
            if batch.last {
                break;
            }
            batch.clear();
        }
        Ok(())
    }

    /// Takes a written batch off the account.
    fn settle(&self, batch: &Batch) {
        let mut account = self.account.lock();
        account.deliveries -= batch.deliveries;
        account.answers -= batch.answers;
        // No delivery is left, and none may come that would announce the gap. It
        // is not for the channel to say so: answers may keep it filled for ever.
        // (Once the outbox is closing, the gap has been told.)
        if account.deliveries == 0 && account.state == State::Open {
            self.tell_of_gap(&mut account);
        }
        self.changed.notify_all();
    }

    /// The writer has come to the end of the queue, or there is none any more:
    /// nobody waits for it.
    fn say_done(&self) {
        self.account.lock().state = State::Done;
        self.changed.notify_all();
    }
}

/// Ends a writer thread, by whichever way it leaves, a panic included: whatever
/// the reader is blocked in, it leaves now too.
struct DetachOnDrop<'a> {
    outbox: &'a Outbox,
    socket: &'a TcpStream,
}

impl Drop for DetachOnDrop<'_> {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.outbox.account.lock().socket = None;
        self.outbox.say_done();
    }
}

/// A connection's hold on an outbox, kept by the connection's reader.
///
/// Dropping it finishes the outbox, so that a reader that panics leaves no writer
/// behind.
pub struct Attachment {
    outbox: Arc<Outbox>,
    /// Dropped when the reader reads no more, for which the writer waits.
    reading: Option<Sender<Infallible>>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Attachment {
    /// Says that nothing more is read from the connection, and waits until
    /// everything has been written to it. The outbox is to be finished.
    ///
    /// An error is that of the write that broke the connection.
    pub fn wait_for_writer(mut self) -> io::Result<()> {
        self.reading = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the writer panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}

/// What goes into one write.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// How many of the bytes are deliveries.
    deliveries: usize,
    /// How many of them are answers.
    answers: usize,
    /// Nothing follows.
    last: bool,
}

impl Batch {
    /// Whether any message at all would still fit.
    fn has_room(&self) -> bool {
        !self.last && self.bytes.len() + limits::MESSAGE <= limits::BATCH
    }

    fn add(&mut self, item: Item, token: Option<Token>) {
        let start = self.bytes.len();
        match item {
            Item::Answer(bytes) => {
                self.bytes.extend_from_slice(&bytes);
                self.answers += bytes.len();
            }
            Item::Delivery(delivery) => {
                delivery.encode(token, &mut self.bytes);
                self.deliveries += delivery.wire_len();
            }
            Item::Notice(notice) => notice.encode(token, &mut self.bytes),
            Item::End => self.last = true,
        }
        if log_enabled!(Level::Trace) {
            for line in self.bytes[start..].split_inclusive(|&byte| byte == b'\n') {
                trace!("< {}", Wire(line.strip_suffix(b"\r\n").unwrap_or(line)));
            }
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(limits::IDLE_BATCH);
        (self.deliveries, self.answers) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reply::{Response, Scope};
    use crate::protocol::text::{Printable, Text};
    use crate::protocol::username::Username;
    use std::io::Read;
    use std::net::TcpListener;

    const ROOMY: usize = 1 << 20;

    fn delivery(text: &str) -> Delivery {
        let text = Text::new(Printable::new(text.as_bytes()).unwrap()).unwrap();
        Delivery::new(Scope::Private, &Username::new("bob").unwrap(), &text)
    }

    fn goodbye() -> Reply {
        Reply {
            header: None,
            response: Response::Goodbye,
        }
    }

    /// The data lines of what is queued, which is taken out as a writer would.
    fn take(outbox: &Outbox) -> Vec<String> {
        let mut batch = Batch::default();
        outbox
            .items
            .try_iter()
            .for_each(|item| batch.add(item, None));
        outbox.settle(&batch);
        let text = String::from_utf8(batch.bytes).unwrap();
        text.lines().skip(2).step_by(3).map(str::to_owned).collect()
    }

    /// An outbox that is attached to one end of a connection, and the other end.
    fn attached(outbox: &Arc<Outbox>) -> (Attachment, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let (server, _) = listener.accept().unwrap();
        (
            outbox
                .attach(Arc::new(server), "writer".to_owned())
                .unwrap(),
            client,
        )
    }

    #[test]
    fn what_one_thread_sends_stays_in_order() {
        let outbox = Outbox::new(ROOMY);
        for text in ["one", "two", "three"] {
            assert_eq!(outbox.send(&delivery(text)), Ok(()));
        }
        outbox.answer(&goodbye());
        let data = |text| format!("Incoming-message private bob {text}");
        assert_eq!(
            take(&outbox),
            [
                data("one"),
                data("two"),
                data("three"),
                "Goodbye".to_owned()
            ]
        );
    }

    #[test]
    fn the_bound_is_one_of_bytes_and_only_deliveries_count() {
        let message = delivery("x");
        let outbox = Outbox::new(2 * message.wire_len());
        outbox.answer(&goodbye());
        assert_eq!(outbox.send(&message), Ok(()));
        assert_eq!(outbox.send(&message), Ok(()));
        assert_eq!(outbox.send(&message), Err(NotQueued::Full));
        take(&outbox);
        assert_eq!(
            outbox.send(&message),
            Ok(()),
            "room again once it was written"
        );
    }

    #[test]
    fn a_gap_is_told_when_the_queue_has_run_empty() {
        let message = delivery("x");
        let outbox = Outbox::new(message.wire_len());
        assert_eq!(outbox.send(&message), Ok(()));
        for _ in 0..3 {
            assert_eq!(outbox.send(&message), Err(NotQueued::Full));
        }
        assert_eq!(take(&outbox), ["Incoming-message private bob x"]);
        assert_eq!(take(&outbox), ["Missed 3 messages: you read too slowly"]);
        assert_eq!(take(&outbox), [""; 0], "and only once");
    }

    #[test]
    fn a_gap_is_told_behind_the_last_delivery_although_answers_follow() {
        let message = delivery("x");
        let outbox = Outbox::new(message.wire_len());
        assert_eq!(outbox.send(&message), Ok(()));
        assert_eq!(outbox.send(&message), Err(NotQueued::Full));
        outbox.answer(&goodbye());
        let mut batch = Batch::default();
        batch.add(outbox.items.recv().unwrap(), None);
        outbox.settle(&batch);
        outbox.answer(&goodbye());
        let missed = "Missed 1 messages: you read too slowly";
        assert_eq!(take(&outbox), ["Goodbye", missed, "Goodbye"]);
    }

    #[test]
    fn a_gap_is_told_before_the_next_delivery_that_fits() {
        let (long, short) = (delivery(&"x".repeat(500)), delivery("x"));
        let outbox = Outbox::new(long.wire_len() + short.wire_len());
        assert_eq!(outbox.send(&long), Ok(()));
        assert_eq!(outbox.send(&long), Err(NotQueued::Full));
        assert_eq!(outbox.send(&short), Ok(()));
        assert_eq!(outbox.send(&short), Err(NotQueued::Full));
        let taken = take(&outbox);
        assert_eq!(taken[1], "Missed 1 messages: you read too slowly");
        assert_eq!(taken[2], "Incoming-message private bob x");
        assert_eq!(take(&outbox), ["Missed 1 messages: you read too slowly"]);
    }

    #[test]
    fn of_what_many_threads_send_each_is_queued_or_counted() {
        let message = delivery("x");
        let outbox = Outbox::new(100 * message.wire_len());
        let (mut queued, mut told, mut received) = (0, 0, 0);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..5_000).filter(|_| outbox.send(&message).is_ok()).count())
                })
                .collect();
            let mut count = |data: Vec<String>| {
                for data in data {
                    match data.strip_prefix("Missed ") {
                        Some(gap) => {
                            told += gap.split(' ').next().unwrap().parse::<usize>().unwrap();
                        }
                        None => received += 1,
                    }
                }
            };
            while !threads.iter().all(|thread| thread.is_finished()) {
                count(take(&outbox));
            }
            queued += threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<usize>();
            // Once for what is queued, and once for the gap that this tells.
            count(take(&outbox));
            count(take(&outbox));
        });
        assert_eq!((queued, queued + told), (received, 4 * 5_000));
    }

    #[test]
    fn the_last_word_is_the_last_and_gaps_are_told_before_it() {
        let message = delivery("x");
        let outbox = Outbox::new(message.wire_len());
        assert_eq!(outbox.send(&message), Ok(()));
        assert_eq!(outbox.send(&message), Err(NotQueued::Full));
        outbox.finish_with_answer(&goodbye());
        assert!(!outbox.is_open() && !outbox.wait_for_room());
        assert_eq!(outbox.send(&message), Err(NotQueued::Closed));
        outbox.answer(&goodbye());
        outbox.finish_with_notice(Notice::ShuttingDown);
        let missed = "Missed 1 messages: you read too slowly";
        assert_eq!(
            take(&outbox),
            ["Incoming-message private bob x", missed, "Goodbye"]
        );
    }

    #[test]
    fn a_finished_outbox_is_written_then_the_client_sees_the_end() {
        let outbox = Arc::new(Outbox::new(ROOMY));
        let token = Token::from_bits([0xAB; 16]);
        outbox.belong_to(token);
        // Queued before there is a connection, as what came while there was none.
        outbox.send(&delivery("early")).unwrap();
        let (attachment, mut client) = attached(&outbox);
        outbox.send(&delivery("late")).unwrap();
        outbox.finish_with_notice(Notice::ShuttingDown);
        assert!(outbox.wait_until_written(Instant::now() + Duration::from_secs(10)));
        attachment.wait_for_writer().unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        let header = "ab".repeat(16);
        let lines: Vec<&str> = received.split("\r\n").collect();
        assert_eq!(
            lines[..3],
            ["200 OK", &header, "Incoming-message private bob early"]
        );
        assert_eq!(
            lines[3..6],
            ["200 OK", &header, "Incoming-message private bob late"]
        );
        assert_eq!(
            lines[6..],
            [
                "502 Bad Gateway",
                &header,
                "The server is shutting down",
                ""
            ]
        );
    }

    #[test]
    fn a_client_that_reads_nothing_blocks_neither_senders_nor_its_cutting() {
        let outbox = Arc::new(Outbox::new(ROOMY));
        let (attachment, client) = attached(&outbox);
        let message = delivery(&"x".repeat(2_000));
        // More than the kernel takes: its buffers here are a few hundred KiB.
        while outbox.send(&message) == Ok(()) {}
        assert!(!outbox.wait_until_written(Instant::now()));
        outbox.finish();
        outbox.cut();
        assert!(
            attachment.wait_for_writer().is_err(),
            "cut in the middle of a write"
        );
        assert!(
            outbox.wait_until_written(Instant::now()),
            "nobody waits for it any more"
        );
        drop(client);
    }

    #[test]
    fn deliveries_count_until_the_kernel_has_taken_them() {
        const BOUND: usize = 1 << 20;
        let outbox = Arc::new(Outbox::new(BOUND));
        outbox.belong_to(Token::from_bits([1; 16]));
        let (attachment, mut client) = attached(&outbox);
        let message = delivery(&"x".repeat(2_000));
        let mut queued = 0;
        // Until the kernel takes no more, and the queue has filled up behind it.
        let mut full_since = Instant::now();
        while full_since.elapsed() < Duration::from_millis(100) {
            if outbox.send(&message) == Ok(()) {
                queued += message.wire_len();
                full_since = Instant::now();
            }
        }
        outbox.cut();
        assert!(attachment.wait_for_writer().is_err());
        let mut taken = Vec::new();
        client.read_to_end(&mut taken).unwrap();
        let unwritten = queued - taken.len();
        assert!(unwritten <= BOUND, "{unwritten} bytes");
        // A batch counts until all of it is taken.
        let least = BOUND - limits::BATCH - message.wire_len();
        assert!(unwritten > least, "{unwritten} bytes");
    }

    #[test]
    fn a_reader_waits_while_too_many_answers_are_unwritten_and_no_longer() {
        let outbox = Arc::new(Outbox::new(ROOMY));
        outbox.answer_telnet(vec![0; 65_535]);
        assert!(outbox.wait_for_room(), "one byte is left of 64 KiB");
        outbox.answer_telnet(vec![0]);
        let (asked, went_on) = bounded(1);
        thread::scope(|scope| {
            scope.spawn(|| asked.send(outbox.wait_for_room()));
            let early = went_on.recv_timeout(Duration::from_millis(50));
            assert_eq!(early, Err(crossbeam_channel::RecvTimeoutError::Timeout));
            take(&outbox);
            assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(true));

            outbox.answer_telnet(vec![0; 65_536]);
            scope.spawn(|| asked.send(outbox.wait_for_room()));
            outbox.finish();
            assert_eq!(went_on.recv_timeout(Duration::from_secs(10)), Ok(false));
        });
    }

    #[test]
    fn a_pause_ends_with_the_outbox() {
        let outbox = Outbox::new(ROOMY);
        outbox.pause(Duration::from_millis(1));
        thread::scope(|scope| {
            scope.spawn(|| outbox.pause(Duration::from_secs(3_600)));
            outbox.finish();
        });
    }

    #[test]
    fn a_reader_that_panics_leaves_no_writer() {
        let outbox = Arc::new(Outbox::new(ROOMY));
        let (attachment, mut client) = attached(&outbox);
        let panicked = thread::spawn(move || {
            let _attachment = attachment;
            panic!("as a defect would");
        })
        .join();
        assert!(panicked.is_err());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}
