//! The course: ten things that everybody gets wrong once in a server like this, each in the
//! order in which one comes upon it.
//!
//! A chapter begins with the version that one writes first, shows how it fails, and ends at
//! the place in this crate where it is repaired. Whoever knows Rust and has never written
//! a server can read them from the first to the last; each stands for itself, too.
//!
//! | | chapter | what goes wrong |
//! |---|---|---|
//! | 1 | [`lines`] | reading lines from a stream |
//! | 2 | [`fan_out`] | fan-out under a lock |
//! | 3 | [`slow_reader`] | the slow reader |
//! | 4 | [`thread_cost`] | a thread's price in memory and in a wake-up; batching and direct writes |
//! | 5 | [`stopping`] | stopping a blocked `accept`, `read` and `write` |
//! | 6 | [`name_race`] | a name race |
//! | 7 | [`clean_close`] | the last line before a close |
//! | 8 | [`resource_limits`] | running out of descriptors, threads and maps |
//! | 9 | [`resuming`] | resuming |
//! | 10 | [`event_loop`] | where the shape ends, and what one would do then |
//!
//! # How to read it
//!
//! Each chapter has the same four parts.
//!
//! - *The naive version* is a few lines of Rust. They are not made worse than people write
//!   them, and they are not only shown: the chapter's experiment contains them, and a test
//!   sees that they are the same to the letter.
//! - *How it fails* is what the experiment printed, and the command that runs it. The
//!   figures are of one machine, of two processors, with Linux 6.18, Debian 12 and Rust
//!   1.95; yours will be others, and what they say should be the same.
//! - *The repair* says what is done here instead, where it stands, and what it costs.
//! - *The exercise* goes a step further. It is a small piece of code that works and is
//!   naive, and a test that it does not pass yet.
//!
//! # How to run an experiment
//!
//! ```sh
//! make experiment CHAPTER=lines
//! make experiments
//! ```
//!
//! They are in `tests/course`, one file a chapter: real processes and real sockets, and
//! this server beside the naive version wherever there can be one. Change something in
//! them, and look again.
//!
//! # How to do an exercise
//!
//! Read `tests/exercises/lines.rs`: what is wanted stands at its top, then comes the code
//! that is yours to change, then the test. This runs it:
//!
//! ```sh
//! make exercise CHAPTER=lines
//! ```
//!
//! It fails until you have solved it. One solution stands in
//! `tests/exercises/solutions/lines.rs`, and `make test` runs the same test against that.

pub mod clean_close;
pub mod event_loop;
pub mod fan_out;
pub mod lines;
pub mod name_race;
pub mod resource_limits;
pub mod resuming;
pub mod slow_reader;
pub mod stopping;
pub mod thread_cost;
