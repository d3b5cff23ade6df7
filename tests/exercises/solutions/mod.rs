//! One solution of each exercise, which is not the only one. Look when you have your own.

pub(crate) mod fan_out;
pub(crate) mod last_line;
pub(crate) mod lines;
pub(crate) mod name_race;
pub(crate) mod resuming;
pub(crate) mod running_out;
pub(crate) mod slow_reader;
pub(crate) mod stopping;
pub(crate) mod the_end;
pub(crate) mod wake_up;
