//! Values for tests: names and texts of valid literals, and arbitrary values for property tests.
//!
//! Does not know errors: an invalid literal panics at the line of the caller.

use jiff::Timestamp;
use proptest::prelude::*;

use super::reply::{Notice, Response};
use super::request::{BadArguments, BadLine, BadStatusLine, Verb};
use super::text::{Printable, Text, Unprintable};
use super::unreachable::Unreachable;
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

pub(crate) fn names() -> impl Strategy<Value = Username> {
    "[A-Za-z0-9_-]{2,63}".prop_map(|spelling| name(&spelling))
}

pub(crate) fn printables() -> impl Strategy<Value = Printable> {
    "[^\\pC\u{2028}\u{2029}]{0,80}".prop_map(|text| printable(&text))
}

pub(crate) fn texts() -> impl Strategy<Value = Text> {
    printables().prop_filter_map("blank", |text| Text::new(text).ok())
}

/// Times at which a server may run, with parts of a second.
pub(crate) fn times() -> impl Strategy<Value = Timestamp> {
    let last = Timestamp::MAX.as_second();
    (0..=last, 0..1_000_000_000).prop_map(|(second, nanosecond)| {
        Timestamp::new(second, nanosecond).unwrap_or(Timestamp::MAX)
    })
}

/// All responses, except the one that a client takes for the notice of a full server.
pub(crate) fn responses() -> impl Strategy<Value = Response> {
    let word = printables().prop_map(|text| text.split_word().0.first_chars(32));
    let lists = (prop::collection::vec(names(), 0..20), 0_usize..3);
    let verb = prop::sample::select(Verb::ALL.to_vec());
    let fixed = prop::sample::select(vec![
        Response::Pong(None),
        Response::Help,
        Response::Goodbye,
        Response::BadStatusLine(BadStatusLine::TooLong),
        Response::BadStatusLine(BadStatusLine::Http),
        Response::BadStatusLine(BadStatusLine::NotEmpty),
        Response::Fault(BadLine::TooLong),
        Response::Fault(BadLine::Unprintable(Unprintable::NotUtf8)),
        Response::EmptyRequest,
        Response::BadArguments(BadArguments::BadName),
        Response::BadArguments(BadArguments::TextTooLong),
        Response::SetANameFirst,
        Response::NeedsAccessToken,
        Response::UnknownToken,
        Response::SessionElsewhere,
        Response::Failed,
    ]);
    let unreachable = prop_oneof![
        Just(Unreachable::Others),
        Just(Unreachable::OthersUnconfirmed),
        names().prop_map(Unreachable::ServerOf),
        names().prop_map(Unreachable::ServerOfUnconfirmed),
    ];
    prop_oneof![
        fixed,
        names().prop_map(Response::YouAre),
        names().prop_map(Response::YouAreAlready),
        names().prop_map(Response::Delivered),
        any::<usize>().prop_map(Response::DeliveredTo),
        lists.prop_map(|(names, others)| Response::Online {
            count: names.len() + others,
            names,
        }),
        any::<(bool, bool)>().prop_map(|(is_on, changed)| Response::Watching { is_on, changed }),
        Just(Response::Recent(Vec::new())),
        printables().prop_map(|text| Response::Pong(Some(text))),
        any::<char>()
            .prop_map(|c| { Response::Fault(BadLine::Unprintable(Unprintable::Forbidden(c))) }),
        verb.prop_map(|verb| Response::BadArguments(BadArguments::Usage(verb))),
        names().prop_map(Response::Taken),
        names().prop_map(Response::ThisConnectionIs),
        names().prop_map(Response::NoOneIsNamed),
        word.prop_map(Response::NotACommand),
        names().prop_map(Response::CannotTakeMore),
        unreachable.prop_map(Response::Unreachable),
    ]
}

/// All notices.
pub(crate) fn notices() -> impl Strategy<Value = Notice> {
    prop_oneof![
        any::<u64>().prop_map(Notice::Missed),
        any::<u64>().prop_map(Notice::TooSlowToLogIn),
        Just(Notice::ShuttingDown),
        Just(Notice::ServerIsFull),
        Just(Notice::TooManyFromAddress),
        Just(Notice::ResumedElsewhere),
        Just(Notice::ReadTooSlowly),
        names().prop_map(Notice::TakenMeanwhile),
    ]
}
