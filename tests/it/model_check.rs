//! The server against the model.

use std::env;
use std::io::{self, Write};

use crate::model;

/// The seed that the environment asks for, alone, or else these.
fn seeds(others: impl IntoIterator<Item = u64>) -> Vec<u64> {
    match env::var("MODEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => others.into_iter().collect(),
    }
}

#[test]
fn server_agrees_with_the_model_for_known_seeds() {
    // The last one has a reset client whose line was no request: it uses no token.
    for seed in seeds((1..=6).chain([617_034_880])) {
        eprintln!("seed {seed}: {:?}", model::run(seed));
    }
}

#[test]
fn server_agrees_with_the_model_for_a_fresh_seed() {
    for seed in seeds([model::fresh_seed()]) {
        // Not by a macro, of which a test that passes would show nothing.
        let _ = writeln!(io::stderr(), "the model's fresh seed is {seed}");
        model::run(seed);
    }
}
