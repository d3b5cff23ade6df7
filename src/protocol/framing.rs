//! One line, as the protocol frames it (section 1).
//!
//! Does not know how lines are read ([`LineReader`](crate::net::line_reader::LineReader)).

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// At most [`MAX_LINE`](crate::limits::MAX_LINE) bytes, any bytes but a line end.
    Whole(&'a [u8]),
    /// It was longer than that, and has been skipped.
    TooLong,
}
