//! Writes the initial corpus of a target into a folder: `corpus TARGET FOLDER`.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use chat_fuzz::examples;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [target, folder] = &arguments[..] else {
        eprintln!("usage: corpus TARGET FOLDER");
        return ExitCode::from(2);
    };
    let Some(inputs) = examples::of(target) else {
        eprintln!("{target} is no target");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    fs::create_dir_all(folder).expect("a folder for the corpus");
    for (number, input) in inputs.iter().enumerate() {
        fs::write(folder.join(format!("example-{number:03}")), input)
            .expect("a file of the corpus");
    }
    ExitCode::SUCCESS
}
