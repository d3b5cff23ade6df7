//! The exercises of the course (`src/course`), one file a chapter: what is wanted, the code
//! that is yours to change, and the test that waits for it.
//!
//! `make exercise CHAPTER=lines` runs the test against your code. `make test` runs it
//! against the solution, so that it is known to have one.

/// Chapter 7: a last line that is read.
mod clean_close;
/// Chapter 10: several loops, and still one room.
mod event_loop;
/// Chapter 2: a room that nobody can stop.
mod fan_out;
/// Chapter 1: the beginning of a long line.
mod lines;
/// Chapter 6: a name that is changed in one step.
mod name_race;
/// Chapter 8: out of descriptors, and polite.
mod resource_limits;
/// Chapter 9: nothing is lost.
mod resuming;
/// Chapter 3: a queue that drops the oldest.
mod slow_reader;
/// A solution of each.
mod solutions;
/// Chapter 5: a service that can be stopped.
mod stopping;
/// Chapter 4: a writer that makes few writes.
mod thread_cost;
