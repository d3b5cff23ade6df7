//! The chat protocol CP/0.0.0: this page is its document, and the modules are its types.
//!
//! The rule of this folder: pure, no I/O.
//!
//! Does not know sockets, threads or the session map.
//!
//! Invariant: *every part of a message is valid by its type, so a message is always exactly
//! three lines.*
//!
//! The memo "Chat protocol -- CP/0.0.0" fixes the shape of a message, three
//! commands and ten status codes. Where it is silent, this page decides. Texts in
//! `code` are normative, to the byte.
//!
//! # 1. Framing
//!
//! ```text
//! message       = status-line header body
//! status-line   = [ status-code SP reason-phrase ] CRLF     ; empty from a client
//! header        = [ token ] CRLF                            ; empty before there is a token
//! body          = data CRLF
//! token         = 32 lower-case hex digits                  ; 128 random bits
//! ```
//!
//! - A message is always three lines, in both directions. The client's status
//!   line is an empty line.
//! - The server ends lines with CRLF. It accepts CRLF, a bare LF (netcat) and
//!   CR NUL (telnet) as a line end. A CR or a NUL anywhere else is a forbidden
//!   character.
//! - Text is UTF-8. Forbidden characters: U+0000–U+001F except TAB, U+007F,
//!   U+0080–U+009F (they control the terminals of other users), U+2028, U+2029, and the
//!   directional controls U+202A–U+202E and U+2066–U+2069.
//! - Telnet negotiation (IAC sequences, RFC 854) is removed everywhere, also
//!   inside a word. It is never part of a line. The server answers `IAC DO x` with
//!   `IAC WONT x`. It answers nothing else, and sends nothing unasked. `IAC IAC` is
//!   removed too. A subnegotiation that has not ended after 512 bytes ends there.
//! - A line is at most 8,512 bytes, without its end and after IAC removal. The
//!   server's own lines have the same limit.
//! - Requests may be pipelined. A connection's responses come in the order of its
//!   requests. Deliveries and notices may come between messages, never inside
//!   one.
//!
//! # 2. Requests
//!
//! ```text
//! request-data  = command [ SP arguments ]
//! ```
//!
//! Command words match in any ASCII case. Exactly one SP separates the command, the
//! name and the text. The text is kept as it was typed, further spaces included.
//!
//! | request | does | response, when it went well |
//! |---|---|---|
//! | `Set-name NAME` | takes the name NAME, or changes to it | `200 OK`, `You are NAME`; `304 Not Modified`, `You are already NAME` where it is spelled so already |
//! | `Private-message NAME TEXT` | sends TEXT to NAME (oneself too) | `200 OK`, `Delivered to NAME` |
//! | `Broadcast-message TEXT` | sends TEXT to every session but the sender's | `200 OK`, `Delivered to N` (N may be 0) |
//! | `List-names [PREFIX]` | who is here: all sessions, or those whose name begins with PREFIX, whatever the case | `200 OK`, `N online: NAME NAME …`, N counting the matches, sorted without regard to case; `0 online` where there are none; where the names do not fit into the line, as many as fit, then ` and M more` |
//! | `Watch-presence on` | the acting session receives presence deliveries (section 3) | `200 OK`, `Watching presence`; `304 Not Modified` with the same text if it was watching already |
//! | `Watch-presence off` | stops them | `200 OK`, `Not watching presence`; `304 Not Modified` with the same text if it was not watching |
//! | `Recent-messages [N]` | returns the newest N broadcasts that are kept, the oldest of them first. N is 1 to 1000, default 20 | the messages (section 3), then `200 OK`, `N recent` with the number returned (`0 recent` if none) |
//! | `Ping [TEXT]` | nothing | `200 OK`, `Pong`, or `Pong TEXT` with the TEXT, whatever it is |
//! | `Help` | nothing | `200 OK` and one line with all commands and their arguments |
//! | `Quit` | ends the session and closes the connection when all that is queued has been written | `200 OK`, `Goodbye` |
//!
//! `Set-name`, `Ping`, `Help` and `Quit` work without a session. The other commands
//! need one. Nothing follows `Goodbye`. Requests after a `Quit` are dropped.
//!
//! NAME: 2 to 63 characters out of `A–Z a–z 0–9 _ -`. Names that differ only in
//! ASCII case are the same name. A refusal repeats the name as the request spells it.
//! All other messages show its owner's spelling. If `bob` sends `Set-name Bob`, that is a
//! change (200).
//!
//! TEXT: 1 to 2,047 characters (Unicode scalar values), not blank. A
//! text is blank if each of its characters is white space (Unicode's White_Space) or shows
//! nothing: U+200B–U+200F, U+2060–U+2064, U+FEFF, U+00AD, U+034F, U+180E, U+2800, U+115F,
//! U+1160, U+3164, U+FFA0.
//!
//! The argument of `Watch-presence` matches in any ASCII case. N is written in the digits
//! 0–9. Leading zeros are allowed. The *acting session* is the session that a request acts
//! for: the connection's own, or that of the token in the header.
//!
//! Empty arguments count as no arguments: `Help ` is `Help`, and `Set-name ` lacks its
//! NAME. `Ping` is the exception: its response repeats them.
//!
//! # 3. Server messages
//!
//! A *response* answers one request. Its header is the token of the session that
//! the request acted for. The header is empty if there was none. The data is a text for
//! people. The texts on this page are fixed.
//!
//! A *delivery* is a message that a client sent. Its status line is `200 OK`, its header
//! is the receiving session's token, and its data is
//!
//! ```text
//! delivery      = "Incoming-message" SP ( "private" / "broadcast" ) SP sender SP text
//! ```
//!
//! No response with the status 200 has data that begins with `Incoming-message `. So the
//! status and one word distinguish a delivery from a response. (The word alone is not
//! enough: `Incoming-message is not a command; try Help` is a 501.)
//!
//! A *presence delivery* goes to a session that watches presence. Its status line is `200
//! OK`, its header is the watching session's token, and its data is
//!
//! ```text
//! presence      = "Incoming-presence" SP ( "joined" SP name / "left" SP name / "renamed" SP old SP new )
//! ```
//!
//! - `joined`: a new session took this name. Resuming is not joining.
//! - `left`: a session ended, for any reason. A session that starts to linger has not left yet.
//! - `renamed`: a session changed its name, even if only the case changed. `old` has its
//!   former spelling.
//! - A session receives nothing about itself.
//! - A presence delivery counts as a delivery in every respect: it takes room in the queue,
//!   it is counted in `Missed N messages`, it survives a lost connection, it is never
//!   duplicated on one connection. To keep room for messages, it is queued only while less
//!   than half of the queue is in use. Otherwise it counts as missed. The notice of a gap
//!   does not wait for a further delivery.
//! - All watchers receive the changes in the same order, which is the order in which they
//!   happened. Each change after `Watching presence` is delivered once or counted as missed.
//!   None comes after `Not watching presence`.
//! - A change is queued for all watchers before the request that made it is answered. So
//!   `joined` precedes every delivery from the new session. `renamed` precedes every delivery
//!   under the new name. `left` follows every delivery that the session's own connection
//!   caused, unless another connection ended the session.
//! - From the start of a shutdown, no presence is delivered.
//!
//! `Watch-presence on` followed by `List-names` gives the whole picture, as far as the names
//! fit into the list. A change that was delivered before the list's response may be in the
//! list too, so a client applies the changes that arrived between request and response once
//! more after the response. A client that is told `Missed` asks for the list again.
//!
//! Each message in front of the response to `Recent-messages` has the status line `200 OK`,
//! the acting session's token as header, and this data:
//!
//! ```text
//! recent        = "Incoming-recent" SP time SP sender SP text
//! ```
//!
//! `time` is the server's time in UTC, cut to the second: `2026-11-25T21:04:05Z`. `sender` is
//! the name at that time.
//!
//! - These messages are part of the response, not deliveries. They go to the connection that
//!   asked, are queued together with the response with nothing between them, count as
//!   responses (section 7.6), and are dropped with the connection.
//! - The server keeps the newest 200 broadcasts (`--history N`, 0 to 1000, 0 keeps none),
//!   whoever sent them, as far as one response can return them. Private messages are never
//!   kept. A single server keeps them in memory only.
//! - One response returns at most the newest messages that have 65,536 bytes on the wire
//!   together (three lines each, without the response itself). So the responses that wait for
//!   one client are bounded by twice 64 KiB and one response.
//! - A broadcast enters the history before its recipients are looked up. So between the oldest
//!   message of a response and the newest delivery nothing is missing: each broadcast is in
//!   the response, or is delivered or counted as missed, or both. A broadcast that was
//!   answered before the request was sent is in the response, as far back as the response
//!   reaches.
//!
//! With status 200, data that begins with `Incoming-` is never a response. A client ignores
//! kinds that it does not know.
//!
//! A *notice* is a message that the server sends unasked. Its status is not 200. Its header
//! is the token of the session that the connection has, or had until that moment. The
//! header is empty if the connection never had a session. A closing notice is the last
//! message on a connection.
//!
//! | notice | when |
//! |---|---|
//! | `502 Bad Gateway`, `Missed N messages: you read too slowly` | N deliveries did not fit into this session's queue. Stands where the gap is; the counts add up exactly |
//! | `502 Bad Gateway`, `The server is shutting down` | closing, at shutdown |
//! | `401 Unauthorized`, `Too slow: set a name within N seconds` | closing: no `Set-name` had succeeded at the login deadline, which counts from the connecting |
//! | `403 Forbidden`, `The server is full` or `Too many connections from your address` | closing, at once after connecting |
//! | `403 Forbidden`, `This session was resumed from another connection` | closing, on the old connection; best effort |
//! | `502 Bad Gateway`, `You read too slowly` | closing: a batch of output (64 KiB at most) was not wholly taken within the write timeout; best effort |
//!
//! # 4. Sessions and tokens
//!
//! - `Set-name` on a connection without a session makes a session: a name, a fresh token
//!   from the operating system's random source, and a queue of deliveries. The response
//!   carries the token and precedes the session's first delivery.
//! - Watching presence belongs to the session: it is off at first, and a resumed session goes
//!   on watching.
//! - **Access tokens.** `--access-file FILE` names a text file of access tokens: one token of
//!   32 lower-case hex digits a line, optionally followed by spaces, or by spaces and a
//!   comment that begins with `#`. Empty lines and lines that begin with `#` are ignored.
//!   Lines end in LF or CRLF. A token may appear twice. A file without tokens is good: no new
//!   session is made. `chat-server --new-token` prints a fresh token and exits. With the file,
//!   a connection without a session needs an access token for `Set-name`: it is in the
//!   header, in the place of a session's token. The session then gets its own fresh token as
//!   always. Without an access token: `401 Unauthorized`, `This server needs an access token`
//!   (after the arguments are checked, before the 403s). A session's token still resumes that
//!   session without an access token. In any other request, also in a `Set-name` on a
//!   connection that has a session, an access token is an `Unknown token`, which comes before
//!   everything that section 6 lists after it. So is every access token at a server without
//!   `--access-file`. A SIGHUP loads the file again: a file with an error is logged and changes
//!   nothing; a good one holds for every later `Set-name`; existing sessions continue. An
//!   access token in a header or in a file never appears in a log, in a response, in an error
//!   text or in the arguments of a process. Typed in another place it is answered like any
//!   other word, and the log hides it there too.
//! - If the server has no thread left for a session on this connection, the response to
//!   `Set-name` is `403 Forbidden`, `The server is full`. Nothing has changed, and the
//!   connection stays open.
//! - A later request may carry a token or leave its header empty. An empty header means the
//!   connection's own session. So netcat is usable by hand: Enter, Enter,
//!   `Broadcast-message hello`.
//! - A request with the token of another live session acts for that session, from any
//!   connection. The response comes on the connection that sent the request. Deliveries
//!   still go to the connection to which the session is attached. So a client can send a
//!   message with three lines and a token. `Quit` with another session's token ends that
//!   session and closes both connections.
//! - The response to a header that is neither empty nor a live session's token is `401
//!   Unauthorized`, `Unknown token`. The server reads the request to its end and does not
//!   execute it.
//! - **Ending.** `Quit` and an end of input (the client closed or half-closed) end a session
//!   at once. Its name is free before the client can see the server close. After an end of
//!   input, all requests already sent are still answered. Then the session ends and the
//!   server closes. An unfinished request is dropped. After a reset, the requests that the
//!   server's kernel had received before are still executed, at the rate. Their responses
//!   are dropped. Data that the client's own kernel had not sent by then is lost. Nothing
//!   more is executed after the write timeout, after a resumption or a `Quit` from
//!   elsewhere, and at shutdown. If the server closes a connection for another reason (20
//!   bad requests, 418, 500, shutdown), that ends its session too.
//! - **Lingering.** A connection is lost by a read or write error, by keepalive or by the
//!   write timeout. When the requests received before are executed, the session ends or
//!   lingers. It lingers if its token has been in the header of at least one request: then
//!   its client knows the token. A lingering session is detached, for 60 s by default and at
//!   most 1 s more. Its name stays taken, deliveries queue, and its token resumes it. Any
//!   other session ends, so that a user that types by hand is not locked out of the name.
//!   Lingering sessions count as clients for both limits: that of the server, and that of
//!   the address of their last connection. If room is needed, the session that has lingered
//!   longest ends.
//! - **Resuming.** `Set-name NAME` with a session's token, on a connection that has no
//!   session, attaches that session to this connection. If NAME is its name, the status is
//!   304. Otherwise it is a rename, with 200. A refused `Set-name` attaches nothing. If the
//!   session was attached to another connection, that connection gets its notice and is
//!   closed. The response comes first, then the deliveries and gap notices that had not been
//!   written, in order. A message that had been written in part is sent again as a whole.
//!   Unwritten responses are dropped with the connection that asked for them.
//! - On a connection whose session is `alice`, the response to `Set-name` with another
//!   session's token is `403 Forbidden`, `This connection is alice`, with alice's token.
//!
//! # 5. Status codes
//!
//! | code, reason phrase | used for |
//! |---|---|
//! | `200 OK` | success; deliveries |
//! | `304 Not Modified` | `Set-name` to the name one has; resuming under it; `Watch-presence` without a change |
//! | `400 Bad Request` | anything malformed: section 6 |
//! | `401 Unauthorized` | `Set a name first`; `Unknown token`; `This server needs an access token`; the login deadline |
//! | `403 Forbidden` | understood and refused: `NAME is taken`; `This connection is NAME`; full (a notice or a response); resumed elsewhere; two texts of section 9 |
//! | `404 Not Found` | `No one is named NAME` |
//! | `418 I'm a tea pocket` | an HTTP request: a line in the status-line position that ends in ` HTTP/1.0` or ` HTTP/1.1`. Data: `This is a chat server, not a web server`. Then the connection is closed, so that no web page can make a browser talk to it |
//! | `500 Internal Server Error` | a defect: the request's handling panicked. Data: `The server failed to answer this request`. It is logged with where, the connection is closed, no one else notices |
//! | `501 Not Implemented` | `COMMAND is not a command; try Help` (the word as it was sent, cut at 32 characters) |
//! | `502 Bad Gateway` | the far side cannot take it: `NAME cannot take more messages now`; the notices above; four texts of section 9 |
//!
//! # 6. Bad input
//!
//! Bad input gets a response and costs only itself. It never causes a crash, is never
//! relayed in part, and never costs another client's time.
//!
//! | input | answer |
//! |---|---|
//! | a line in the status-line position that is not empty | 400, `A request is an empty line, a token line and a request line`, at once. Only that line is dropped; the next is a status line again. Nothing but its length and the HTTP ending is looked at |
//! | a line over 8,512 bytes | 400, `Line too long`, when the line has ended. The rest of the line is skipped without being kept; it counts as the line it stands for, and is answered where that line's error would be |
//! | an empty body, or one that begins with SP | 400, `Empty request` |
//! | not UTF-8 | 400, `Not UTF-8` |
//! | a forbidden character | 400, `Forbidden character U+XXXX` (the first one, at least four upper-case hex digits) |
//! | a bad name | 400, `A name is 2 to 63 of A-Z a-z 0-9 _ -` |
//! | a text of more than 2,047 characters | 400, `A text is at most 2047 characters` |
//! | an argument missing, a text blank, an argument where there is none | 400, `Usage: ` and the command with its arguments as in section 2, `Usage: Private-message NAME TEXT` |
//! | 20 answers of 400 in a row | the last is sent as usual, then the connection is closed |
//! | requests faster than the rate | answered later: the server stops reading from that client for as long as it takes. Nothing is dropped. The first bursts of all connections from one address share an allowance, so a new connection may begin without a burst; it still has its own rate |
//!
//! The first fault determines the response. The faults are checked in this order:
//!
//! 1. length, UTF-8 and characters of the lines: each check of both lines before the next
//!    check, and the header before the body;
//! 2. `Unknown token`;
//! 3. empty request;
//! 4. unknown command (501);
//! 5. `Set a name first` (401);
//! 6. arguments: the name, then the text's length, then a missing or blank argument;
//! 7. `This server needs an access token` (401);
//! 8. then 403, 404, 502.
//!
//! A 400 carries the header that the response would have had without the fault: the token of
//! the request's session if the header line was good, else that of the connection's own
//! session.
//!
//! # 7. Guarantees
//!
//! 1. Messages sent on one connection reach one recipient in the order in which
//!    they were sent; a response follows every delivery that its request caused to
//!    the same session. Between different senders no order is promised.
//! 2. A message answered 200 stands once in the queue of every recipient counted.
//!    It is written to that recipient's connection, or to the one that resumes the
//!    session, unless the session ends first. What the kernel had taken when a
//!    connection broke may be lost; nothing is delivered twice on one connection.
//! 3. A message that a recipient's queue could not take is never dropped in
//!    silence: a private one is answered 502, a broadcast does not count that
//!    recipient, and the recipient is told how many it missed.
//! 4. A name belongs to one session at any instant.
//! 5. No client can delay another: nobody waits for anyone else's socket.
//! 6. Memory is bounded for each client. A client can fill these buffers:
//!    - the line that is read, and up to 4 KiB that were read with it;
//!    - the queue: bytes of deliveries on the wire, from the queueing until the kernel
//!      took them;
//!    - its responses, until the kernel took them: no further request is read from a
//!      connection while they take 64 KiB, counting their bytes and 64 more for each.
//!      Answers to telnet commands count too, for this and for the rate;
//!    - the batch that is being written, 64 KiB at most;
//!    - the kernel's receive buffer and send buffer for the socket, 64 KiB each.
//!
//! # 8. A session, byte for byte
//!
//! `>` marks the client's lines and `<` the server's lines. Every line ends in CRLF. An
//! empty line shows only its mark.
//!
//! ```text
//! >
//! >
//! > Set-name alice
//! < 200 OK
//! < 5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4
//! < You are alice
//! >
//! > 5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4
//! > Private-message bob see you at two
//! < 200 OK
//! < 5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4
//! < Delivered to bob
//! < 200 OK
//! < 5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4
//! < Incoming-message broadcast bob fine
//! >
//! >
//! > Private-message carol hi
//! < 404 Not Found
//! < 5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4
//! < No one is named carol
//! ```
//!
//! # 9. Several servers
//!
//! Several servers that share a Redis (`--redis URL`) and the name of a chat (`--chat NAME`) are
//! one chat. Each is a *node*. The sections above hold for all nodes together, except for what
//! this section says.
//!
//! - A session begins at the node of its connection, stays there, and ends with that node.
//!   Names are unique across the nodes.
//! - A private message is answered 200 when the recipient's node has queued it and has
//!   confirmed that. A broadcast is queued at all nodes, and its N is the sum of what the nodes
//!   have confirmed. What was not confirmed is not answered 200, and may have arrived.
//! - A request waits for other nodes for 5 s at most. A private message that its recipient's
//!   node reads more than 4 s after it was sent is dropped there. A node that was asked, and
//!   from which nothing has come for 1 s, is left out until it is heard again: the response to
//!   a broadcast does not count its sessions, which may receive the broadcast later, and a
//!   private message to it is answered 502 at once.
//! - All sessions receive the broadcasts in the same order.
//! - A change of presence is queued for the watchers of the same node before its request is
//!   answered. The watchers of the other nodes receive it in the same order, perhaps later.
//!   Each node queues `joined` before a delivery from the new session, `renamed` before a
//!   delivery under the new name. A session that ends may lack the last changes before its end.
//! - What did not reach a node counts as missed for each of its sessions: they get the notice
//!   `Missed N messages: you read too slowly`. If the Redis has lost data, N is the maximum.
//! - With the token of a session at another node, `Set-name` on a connection without a session
//!   is refused: a session is resumed at its node. `Quit` and `Watch-presence` are executed at
//!   its node, and every other request here, in the name of the session. All of them count as
//!   a use of the token (section 4, Lingering).
//! - The name of a session that has ended is free at all nodes before its client can see the
//!   server close, if the Redis can be reached. If another connection has ended it, that is
//!   true for `Goodbye` on the other connection. The names of a node that was killed are free
//!   within 20 s, and `left` is told for each.
//! - Every node keeps the history, also a node that starts later. A broadcast that was answered
//!   is in the history of each node that has confirmed it.
//! - `Ping` is answered by the connection's node alone. Its response says nothing about
//!   messages of other nodes.
//! - Each node has access tokens of its own.
//!
//! | message | when |
//! |---|---|
//! | `403 Forbidden`, `This session is at another server` | the response to a `Set-name` that would resume a session of another node |
//! | `502 Bad Gateway`, `The other servers cannot be reached now` | the node cannot reach the Redis, and has sent nothing: a new name, a rename, a list, a broadcast, a private message to a name that is not at this node, any request with a token that is not of this node |
//! | `502 Bad Gateway`, `The other servers cannot be reached now; the message may have arrived` | the node lost the Redis after it had sent the request, or has not carried out its own part within 5 s |
//! | `502 Bad Gateway`, `The server of NAME cannot be reached now` | a private message, or a request with the token of the session NAME: its node is left out, or has too much to read. Nothing was sent |
//! | `502 Bad Gateway`, `No answer from the server of NAME; the message may have arrived` | the same: its node has not confirmed within 5 s |
//! | `403 Forbidden`, `NAME was taken while the servers could not reach each other` | a closing notice. While the node could not reach the Redis, its names were given up, and another session has taken this one. The node has tried for 5 s to get it back |
//!
//! While a node cannot reach the Redis, it disconnects no client. `Ping`, `Help`, `Quit`,
//! `Recent-messages`, `Watch-presence` and private messages within the node go on.
//!
//! Section 7 holds with these words: (1) and (2) what a killed node had queued ends with its
//! sessions; (4) as long as the nodes reach the Redis; after a separation the last row of the
//! table decides; (5) no client waits for the socket of another client, but a request that
//! concerns another node takes a trip there.

pub mod framing;
#[cfg(test)]
pub(crate) mod literals;
pub mod presence;
pub mod redact;
pub mod reply;
pub mod request;
pub mod server_message;
pub mod status;
pub mod telnet;
pub mod text;
pub mod token;
pub mod unreachable;
pub mod username;
