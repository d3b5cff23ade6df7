//! Parts of the protocol for tests, from literals that are known to be good.

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
