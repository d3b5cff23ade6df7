//! A sequential model of the server, and random tests that compare the server with it.
//!
//! A test has these steps:
//!
//! 1. A seed makes a plan for eight clients ([`plan`]): their requests, how their connections
//!    end, and which sessions they resume or take over.
//! 2. The clients execute the plan at the real server, all at the same time ([`driver`]).
//! 3. A search looks for an order of all requests that explains what the clients have received
//!    ([`explain`]). If there is none, the test fails. The responses with the history of
//!    broadcasts are checked before ([`history`]).
//!
//! The model is sections 4 to 7 of the protocol, with the presence of section 3: a state that
//! changes with one request after the other ([`state`]), and the queues of its sessions
//! ([`deliveries`]). In most plans the witness watches presence, so that each change is observed.
//!
//! The same seed gives the same plan, but not the same result. The threads decide which client
//! wins a race and whether a reset finds unread bytes. So they also decide whether a client has
//! a connection, and which token it has, at its next move. A seed that failed may pass when it
//! is repeated. Before the test reports a failure, it runs the seed again with fewer rounds, as
//! long as it still fails.
//!
//! With several servers, each client always connects to the same one, so that it can resume its
//! session. The model has one state for all of them, as section 7 says. A session ends at
//! its node first, so it may not be told of the last changes before its end.
//!
//! The model allows two things that section 7 does not leave open. The notice of a takeover may
//! be missing. A session may linger longer than `--linger`, but not shorter. It checks the history
//! only with conditions that are necessary, and not sufficient.

mod deliveries;
mod driver;
mod explain;
mod history;
mod plan;
mod state;

use std::env;
use std::panic;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use driver::Tally;
use plan::Plan;

use crate::support::is_spread;

/// How often a shorter plan is tried. It may pass by chance.
const TRIES: usize = 3;

/// The time limit for finding a shorter plan.
const SHORTENING: Duration = Duration::from_secs(30);

/// Runs a seed, or the rounds of it in `MODEL_ROUNDS`.
///
/// If the server does not agree with the model, panics with the dialogues and with the command
/// that repeats the run.
pub(crate) fn run(seed: u64) -> Tally {
    let plan = Plan::new(seed);
    let all = (0..plan.rounds.len()).collect();
    let rounds = env::var("MODEL_ROUNDS").map_or(all, |text| numbers(&text));
    run_rounds(&plan, &rounds).unwrap_or_else(|problem| {
        let (rounds, problem) = shorten(&plan, rounds, problem);
        let moves = rounds.iter().flat_map(|&number| {
            let moves = plan.rounds[number].iter();
            moves.map(move |it| format!("round {number}: {it}\n"))
        });
        let numbers: Vec<String> = rounds.iter().map(usize::to_string).collect();
        panic!(
            "{problem}\n{}to repeat it:\n\
             {}MODEL_SEED={seed} MODEL_ROUNDS={} cargo test --locked {}--test it model_check\n",
            moves.collect::<String>(),
            if is_spread() { "SERVERS=3 " } else { "" },
            numbers.join(","),
            if is_spread() { "--features redis " } else { "" }
        )
    })
}

fn numbers(text: &str) -> Vec<usize> {
    let numbers = text.split(',').map(str::parse);
    numbers
        .collect::<Result<_, _>>()
        .expect("numbers with commas between them")
}

fn run_rounds(plan: &Plan, rounds: &[usize]) -> Result<Tally, String> {
    panic::catch_unwind(|| driver::run(plan, rounds)).unwrap_or_else(|problem| {
        let text = problem.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the driver panicked".to_owned()))
    })
}

/// Leaves out rounds as long as the plan still fails.
fn shorten(plan: &Plan, mut rounds: Vec<usize>, mut problem: String) -> (Vec<usize>, String) {
    let deadline = Instant::now() + SHORTENING;
    let mut size = rounds.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < rounds.len() && Instant::now() < deadline {
            let mut fewer = rounds.clone();
            fewer.drain(start..rounds.len().min(start + size));
            match (0..TRIES).find_map(|_| run_rounds(plan, &fewer).err()) {
                Some(again) => (rounds, problem) = (fewer, again),
                None => start += size,
            }
        }
        size /= 2;
    }
    (rounds, problem)
}

/// Returns a seed that depends on the time.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").subsec_nanos().into()
}
