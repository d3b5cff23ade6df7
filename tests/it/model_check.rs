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
fn the_server_does_what_its_model_does() {
    // The last one has a reset client whose line was no request: it uses no token.
    for seed in seeds((1..=6).chain([617_034_880])) {
        eprintln!("seed {seed}: {:?}", model::run(seed));
    }
}

#[test]
fn the_server_does_what_its_model_does_with_a_seed_that_nobody_has_tried() {
    for seed in seeds([model::fresh_seed()]) {
        // Not by a macro, of which a test that passes would show nothing.
        let _ = writeln!(io::stderr(), "the model's fresh seed is {seed}");
        model::run(seed);
    }
}
