//! The exercises of the course (`src/course`), one file for each chapter: the task, the code
//! that you change, and the test.
//!
//! `make exercise CHAPTER=lines` runs the test against your code. `make test` runs it against
//! the solution, which proves that the exercise can be solved.

/// Chapter 7: a guest list that its watchers can trust.
mod change_order;
/// Chapter 8: a last message that every client can read.
mod clean_close;
/// Chapter 12: a broadcast that several nodes confirm.
mod confirmation;
/// Chapter 11: several event loops, one room.
mod event_loop;
/// Chapter 2: a room that a stuck member cannot block.
mod fan_out;
/// Chapter 1: the beginning of a long line.
mod lines;
/// Chapter 6: names that are claimed and changed in one step.
mod name_race;
/// Chapter 9: refusals without a free descriptor.
mod resource_limits;
/// Chapter 10: delivery with acknowledgements.
mod resuming;
/// Chapter 3: a queue that drops the oldest.
mod slow_reader;
/// One solution for each exercise.
mod solutions;
/// Chapter 5: a service that can be stopped.
mod stopping;
/// Chapter 4: a writer that makes few writes.
mod thread_cost;
