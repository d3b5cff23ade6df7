//! One solution for each exercise. There are others. Read it after you have written your own.

pub(crate) mod change_order;
pub(crate) mod clean_close;
pub(crate) mod confirmation;
pub(crate) mod event_loop;
pub(crate) mod fan_out;
pub(crate) mod lines;
pub(crate) mod name_race;
pub(crate) mod resource_limits;
pub(crate) mod resuming;
pub(crate) mod slow_reader;
pub(crate) mod stopping;
pub(crate) mod thread_cost;
