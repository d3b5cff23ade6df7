//! Comparisons of the server with its model, for known seeds and for a fresh one.

use std::env;
use std::io::{self, Write};

use crate::model;

/// Returns the seed in `MODEL_SEED`, or these if it is not set.
fn seeds(others: impl IntoIterator<Item = u64>) -> Vec<u64> {
    match env::var("MODEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => others.into_iter().collect(),
    }
}

#[test]
fn server_agrees_with_the_model_for_known_seeds() {
    // In the last seed, a client is reset whose line is not a request. It uses no token.
    for seed in seeds((1..=6).chain([56_397])) {
        eprintln!("seed {seed}: {:?}", model::run(seed));
    }
}

#[test]
fn server_agrees_with_the_model_for_a_fresh_seed() {
    for seed in seeds([model::fresh_seed()]) {
        // The test harness hides the output of `eprintln!` if a test passes.
        let _ = writeln!(io::stderr(), "the model's fresh seed is {seed}");
        model::run(seed);
    }
}
