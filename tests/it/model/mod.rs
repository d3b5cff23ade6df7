//! The server against a model of it.
//!
//! A seed makes a plan ([`plan`]) for eight clients: who asks what, who breaks off how,
//! who comes back, who takes whose session. They carry it out at the real server, all at
//! the same time ([`driver`]). The model is the protocol's sections 4 to 7 as a state
//! ([`state`]) with queues ([`deliveries`]), for one request after the other; whether what
//! the clients have seen can have come of some order of what they did is searched for
//! ([`explain`]).
//!
//! The same seed is the same plan. What comes of it is not: who comes first in a race,
//! whether a reset finds something unread, and so whether a client has a connection, or
//! whose token it knows, when its next move comes, is as the threads have it. So a seed
//! that has failed may pass when it is repeated. Before it is told it is tried again with
//! rounds left out, as long as it still fails.
//!
//! What the model leaves to the server, beyond what section 7 does: the notice to whom is
//! taken over may be missing; and a session that lingers may do so for longer than it
//! should, but not for less.

mod deliveries;
mod driver;
mod explain;
mod plan;
mod state;

use std::env;
use std::panic;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(crate) use driver::Tally;
use plan::Plan;

/// A plan with some rounds left out is tried so often, because it may fail by chance alone.
const TRIES: usize = 3;

/// For so long.
const SHORTENING: Duration = Duration::from_secs(30);

/// Runs a seed, or those of its rounds that `MODEL_ROUNDS` names. If the model does not
/// agree, panics with what was said, and with how to see it again.
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
            "{problem}\n{}to see it again:\n\
             MODEL_SEED={seed} MODEL_ROUNDS={} cargo test --locked --test it model_check\n",
            moves.collect::<String>(),
            numbers.join(",")
        )
    })
}

fn numbers(text: &str) -> Vec<usize> {
    let numbers = text.split(',').map(str::parse);
    numbers
        .collect::<Result<_, _>>()
        .expect("numbers parted by commas")
}

fn run_rounds(plan: &Plan, rounds: &[usize]) -> Result<Tally, String> {
    panic::catch_unwind(|| driver::run(plan, rounds)).unwrap_or_else(|problem| {
        let text = problem.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "the driver panicked".to_owned()))
    })
}

/// Leaves rounds out as long as it still fails.
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

/// A number that nobody has chosen.
pub(crate) fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("the present").subsec_nanos().into()
}
