//! One line of a message (section 1).
//!
//! Does not know how lines are read ([`LineReader`](crate::net::line_reader::LineReader)), or
//! what they mean.

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// At most [`MAX_LINE`](crate::limits::MAX_LINE) bytes, without a line end in them.
    Whole(&'a [u8]),
    /// A line that was longer than that. Its bytes have been skipped.
    TooLong,
}
