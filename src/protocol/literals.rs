//! Names and texts for tests, made of valid literals.
//!
//! Does not know errors: an invalid literal panics at the line of the caller.

use super::text::{Printable, Text};
use super::username::Username;

#[track_caller]
pub(crate) fn name(spelling: &str) -> Username {
    Username::new(spelling).unwrap()
}

#[track_caller]
pub(crate) fn printable(text: &str) -> Printable {
    Printable::new(text.as_bytes()).unwrap()
}

#[track_caller]
pub(crate) fn text(text: &str) -> Text {
    Text::new(printable(text)).unwrap()
}
