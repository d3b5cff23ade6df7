//! Reports: a table for people, and JSON for programs.

use std::fmt::{self, Write};

use super::cases::Case;
use super::metrics::Metric;
use super::protocol::Protocol;

/// The result of a case.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) protocol: Protocol,
    pub(crate) figures: Vec<Metric>,
}

/// Returns a table for each kind of case, with a row for each outcome and a legend.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let kind = |outcome: &Outcome| outcome.case.kind();
    for group in outcomes.chunk_by(|a, b| kind(a) == kind(b)) {
        let titles = shown(&group[0]).map(|figure| figure.title.to_owned());
        let mut rows = vec![["case".to_owned()].into_iter().chain(titles).collect()];
        rows.extend(group.iter().map(row));
        text.push_str(&aligned(&rows));
        text.push_str(legend(&group[0].case));
        text.push('\n');
    }
    text
}

fn legend(case: &Case) -> &'static str {
    match case {
        Case::Fanout(_) => {
            "  fanout-CLIENTS-SENDERS-IN_FLIGHT[-deliveries], the window in broadcasts or in
  deliveries; p50 to max: from the sending to each recipient; CPU of the server, waits
  and preemptions of its threads: per delivery; RSS, threads: per client
"
        }
        Case::Ping(_) => {
            "  ping-PAIRS; p50 to max: of a round trip, two messages; CPU of the server, waits
  and preemptions of its threads: per message; RSS, threads: per client
"
        }
        Case::Login(_) => {
            "  login-CLIENTS-WATCHERS; told: presence deliveries; CPU of the server: per login;
  p50 to max: of a login
"
        }
        Case::IdleCase(_) => {
            "  hold-CLIENTS; early: around the 80th login, late: the last ones; idle: CPU of the
  server while all stay; RSS, threads: per client
"
        }
    }
}

/// Returns a JSON array with one object per line. All names are constants, so nothing needs
/// escaping.
pub(crate) fn json(outcomes: &[Outcome]) -> String {
    let objects: Vec<String> = outcomes.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}

fn shown(outcome: &Outcome) -> impl Iterator<Item = &Metric> {
    let figures = outcome.figures.iter();
    figures.filter(|figure| !figure.title.is_empty())
}

fn row(outcome: &Outcome) -> Vec<String> {
    let values = shown(outcome).map(|figure| match figure.value {
        Some(value) => short(value),
        None => "?".to_owned(),
    });
    [outcome.case.name()].into_iter().chain(values).collect()
}

/// Formats a value with at least three digits. Whole numbers have all their digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Aligns the first column to the left, and the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let written = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
            debug_assert!(written.is_ok(), "a write to a String never fails");
        }
        text.push('\n');
    }
    text
}

fn object(outcome: &Outcome) -> String {
    let figures: Vec<String> = outcome
        .figures
        .iter()
        .map(|figure| match figure.value {
            Some(value) if value.is_finite() => format!("\"{}\":{value}", figure.key),
            _ => format!("\"{}\":null", figure.key),
        })
        .collect();
    format!(
        "{{\"case\":\"{}\",\"kind\":\"{}\",\"clients\":{},\"pacing\":{},\"protocol\":\"{}\",\"figures\":{{{}}}}}",
        outcome.case.name(),
        outcome.case.kind(),
        outcome.case.clients(),
        match outcome.case.pacing() {
            Some(pacing) => format!("\"{pacing}\""),
            None => "null".to_owned(),
        },
        outcome.protocol,
        figures.join(",")
    )
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Cp => "cp",
            Protocol::Irc => "irc",
            Protocol::IrcEcho => "irc-echo",
        })
    }
}
