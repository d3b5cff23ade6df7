//! The course: twelve mistakes that are easy to make in a server like this one, in the order in
//! which you meet them.
//!
//! Each chapter begins with the naive version, shows how it fails, and explains the fix in this
//! crate. You need to know Rust. You need not have written a server before. Read the chapters
//! in order, or each one alone.
//!
//! | | chapter | topic |
//! |---|---|---|
//! | 1 | [`lines`] | reading lines from a stream |
//! | 2 | [`fan_out`] | fan-out under a lock |
//! | 3 | [`slow_reader`] | the slow reader |
//! | 4 | [`thread_cost`] | the cost of a thread: memory, wake-ups, batching and direct writes |
//! | 5 | [`stopping`] | stopping a blocked `accept`, `read` and `write` |
//! | 6 | [`name_race`] | a race for a name |
//! | 7 | [`change_order`] | announcing changes in the order in which they happen |
//! | 8 | [`clean_close`] | the last message before a close |
//! | 9 | [`resource_limits`] | running out of descriptors, threads and memory maps |
//! | 10 | [`resuming`] | resuming a session |
//! | 11 | [`event_loop`] | the limits of a thread per client, and the alternatives |
//! | 12 | [`confirmation`] | several servers, and what a response promises |
//!
//! # How to read it
//!
//! Each chapter has the same four parts.
//!
//! - *The naive version* is a few lines of Rust, written as many programmers would write them.
//!   The experiment of the chapter runs the same code. A test checks that the two are equal.
//! - *How it fails* shows the output of the experiment, and the command that runs it. The
//!   figures are from one machine with two processors, Linux 6.18, Debian 12 and Rust 1.95.
//!   Your figures will differ, but should lead to the same conclusions.
//! - *The fix* explains what this crate does instead, in which file, and at what cost.
//! - *The exercise* goes one step further. It is a small piece of naive code that works, and a
//!   test that it does not pass yet.
//!
//! # How to run an experiment
//!
//! ```sh
//! make experiment CHAPTER=lines
//! make experiments
//! ```
//!
//! The experiments are in `tests/course`, one file for each chapter. They use real processes
//! and real sockets. Wherever possible, they run this server beside the naive version. Change
//! something in an experiment, and run it again. The experiment of chapter 12 needs redis-server.
//! Without it, that experiment is skipped, and prints how to install it.
//!
//! # How to do an exercise
//!
//! Read `tests/exercises/lines.rs`. The task is at the top. Below it is the code that you
//! change, and then the test. This command runs the test:
//!
//! ```sh
//! make exercise CHAPTER=lines
//! ```
//!
//! The test fails until you have solved the exercise. `tests/exercises/solutions/lines.rs` has
//! one solution. `make test` runs the same test against that solution.

pub mod change_order;
pub mod clean_close;
pub mod confirmation;
pub mod event_loop;
pub mod fan_out;
pub mod lines;
pub mod name_race;
pub mod resource_limits;
pub mod resuming;
pub mod slow_reader;
pub mod stopping;
pub mod thread_cost;
