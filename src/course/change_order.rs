//! Chapter 7: announcing changes in the order in which they happen.
//!
//! A client wants to show the online users, and to keep its list correct. It asks for the names
//! once. After that, the server announces each change to it: a name has joined, left or changed.
//!
//! # The naive version
//!
//! There are two. Both keep the names behind one lock, and give each watcher a queue, so that no
//! announcement blocks ([chapter 3](super::slow_reader)).
//!
//! ```
//! #[derive(Default)]
//! struct Room {
//!     names: RwLock<BTreeSet<String>>,
//!     /// The queues of the clients that watch. A writer thread empties each.
//!     watchers: RwLock<Vec<Sender<String>>>,
//! }
//! ```
//!
//! ```
//! impl Room {
//!     fn announce(&self, change: &Presence) {
//!         for watcher in &*self.watchers.read() {
//!             let _ = watcher.send(format!("Incoming-presence {change}"));
//!         }
//!     }
//! }
//! ```
//!
//! The first changes the names under the lock, and announces the change after it has released
//! the lock. That is the rule of [chapter 2](super::fan_out): copy or change under a lock, and
//! send without it.
//!
//! ```
//! fn change_then_announce(room: &Room, change: &Presence) -> bool {
//!     let is_made = apply(&mut room.names.write(), change);
//!     if is_made {
//!         room.announce(change);
//!     }
//!     is_made
//! }
//! ```
//!
//! The second holds the lock until the change is announced. The only difference is the life of
//! the guard.
//!
//! ```
//! fn announce_under_the_lock(room: &Room, change: &Presence) -> bool {
//!     let mut names = room.names.write();
//!     let is_made = apply(&mut names, change);
//!     if is_made {
//!         room.announce(change);
//!     }
//!     is_made
//! }
//! ```
//!
//! # How it fails
//!
//! In `make experiment CHAPTER=change_order`, the name kim passes from one client to another.
//! The second client claims it again and again while the first one gives it up. The experiment
//! waits until both changes are complete, and then reads what each watcher was told.
//!
//! ```text
//! kim disconnects, and connects again, 2000 times, before 10 watchers.
//!                            told in the wrong order  told differently
//!   change_then_announce                          47                37
//!     for example joined kim, then left kim, and List-names has kim
//!   announce_under_the_lock                        0                 0
//!   this server                                    0                 0
//! two clients take turns as kim, 2000 times, before 10 watchers.
//!                            told in the wrong order  told differently
//!   change_then_announce                          24                19
//!     for example renamed ann kim, then renamed kim bob, and List-names has kim
//!   announce_under_the_lock                        0                 0
//!   this server                                    0                 0
//! A client changes its name, and 2000 watchers are told:
//!                            slowest lookup  whole change
//!   change_then_announce            700.0ns       364.2µs
//!   announce_under_the_lock         404.9µs       323.5µs
//!   this server                       2.5µs       360.5µs
//! ```
//!
//! *The order of the lock is not the order of the queues.* The thread of the first client
//! removes the name, and releases the lock. Before it has told all watchers, the thread of the
//! second client inserts the name, and tells them too. At some watchers, the second thread is
//! faster. So `joined kim` comes before `left kim`, and these watchers remove kim from their
//! lists. Kim is online, and `List-names` has her. Their lists stay wrong until her name changes
//! again, which may take hours. The counts vary: in another run, the first one was 1.
//!
//! Renames fail in the same way. A watcher is told that ann is now kim, while it still lists
//! another kim. Then it is told that kim is now bob, and removes kim from its list, although kim
//! is online.
//!
//! *The watchers disagree.* In most of these cases, other watchers were told the right order.
//! So a test with one watcher finds fewer of them, and a test with one change at a time finds
//! none.
//!
//! *Under the lock, readers wait.* The second version has the right order, because the lock
//! orders the changes and the announcements together. But all threads read the names: each
//! private message looks one up. With 2,000 watchers, a lookup waits 0.4 ms, for as long as the
//! announcement takes. When 2,000 clients log in at once, after a network failure, their
//! announcements hold the lock for 0.6 s. In the experiment, no writer thread waits for a queue.
//! To wake one for each watcher takes much longer ([chapter 4](super::thread_cost)), and would
//! also happen under the lock.
//!
//! # The fix
//!
//! *Use a second lock that orders the changes, and take it first.* This is the presence lock
//! ([`presence`]). A thread that changes sessions or names holds it for the whole change:
//!
//! 1. It takes the presence lock. From now on no other change begins.
//! 2. It takes the session-map lock, checks and changes the map, and releases it.
//! 3. It queues the announcement for all watchers. Readers of the map do not wait for that.
//! 4. It completes the change, and releases the presence lock.
//!
//! So all watchers are told all changes in one order, which is the order of the map. A reader
//! of the map waits only for step 2, and for a rename also for step 4. It never takes the
//! presence lock.
//!
//! Step 4 exists because other clients see the change in two ways: they are told of it, and they
//! get messages. [`claim`] attaches the connection in step 4. Only then can the new client get
//! its response and send. So `joined kim` precedes each message from kim. [`rename`] changes the
//! map in two steps. In step 2, the map has the new name and no longer the old one. In step 4,
//! the session begins to send under the new name. So `renamed bob kim` precedes each message
//! from kim, even if another connection sends it with the session's token. A session that ends
//! needs no step 4. Its name is free after step 2. But a session that takes the name waits for the
//! presence lock, so its `joined` comes after the `left`.
//!
//! `Watch-presence` takes the presence lock too ([`watch`]). So a watcher begins between two
//! changes, and is told each later one. `List-names` does not take it. The list may have a
//! change that the client is told only later. So a client watches first, then asks for the list,
//! and applies the changes that arrive between request and response once more after the
//! response.
//!
//! An announcement is only queued under the presence lock. The thread writes to the sockets
//! after it has released both locks.
//!
//! Two other fixes are worse here. Under the map's lock, a thread could put each change into a
//! queue, and a separate thread could announce them. Then the order is right, but a message
//! from kim may arrive before `joined kim`. Or the server could number the changes. Then each
//! client must sort them, and must know which numbers its full queue has dropped.
//!
//! Three tests check this: `concurrent_changes_reach_all_watchers_in_one_order` and
//! `change_precedes_the_answer_and_what_the_session_sends` from outside, and
//! `map_can_be_read_while_watchers_are_told` beside the session map.
//!
//! What it costs: changes wait for each other. The rename in the experiment takes 0.36 ms, so
//! with 2,000 watchers the server can make fewer than 3,000 changes a second. And [the lock
//! order](crate#lock-order) has one lock more. A thread that takes the presence lock while it
//! holds the session-map lock can deadlock with a thread that makes a change.
//!
//! # Exercise
//!
//! `YourList` in `tests/exercises/change_order.rs` is a guest list with watchers, which are
//! functions that may block. It announces changes after it has released its lock. Make it
//! announce them in order, without making readers wait. A watcher begins with the names at that
//! moment. The test applies each change to these names, and compares the result with the list.
//!
//! ```sh
//! make exercise CHAPTER=change_order
//! ```
//!
//! [`presence`]: crate::sessions::presence
//! [`claim`]: crate::sessions::Registration::claim
//! [`rename`]: crate::sessions::Registration::rename
//! [`watch`]: crate::sessions::Sessions::watch
