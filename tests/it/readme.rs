//! The README's conversation, the demo and the Makefile, replayed.

use crate::support::{Client, Server, has_tool, is_token, output_of};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    fs::read_to_string(Path::new(ROOT).join("README.md")).expect("README.md")
}

/// What stands under this heading.
#[track_caller]
fn section<'a>(readme: &'a str, heading: &str) -> &'a str {
    let rest = readme
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading)
        .1;
    rest.split("\n## ").next().expect("a section")
}

/// The lines of each block that is marked as a transcript, with its mark.
fn transcripts(readme: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if let Some(mark) = line.strip_prefix("```text ") {
            let block = lines
                .by_ref()
                .take_while(|line| *line != "```")
                .map(str::to_owned);
            blocks.push((mark.to_owned(), block.collect()));
        }
    }
    blocks
}

/// The tokens of the README, each with the one that the server gave instead.
#[derive(Default)]
struct Tokens(HashMap<String, String>);

impl Tokens {
    /// Whether a line is what the README shows; a token has to be the same
    /// wherever the README has the same.
    fn matches(&mut self, shown: &str, line: &str) -> bool {
        if is_token(shown) && is_token(line) {
            self.0.entry(shown.to_owned()).or_insert(line.to_owned()) == line
        } else {
            shown == line
        }
    }
}

#[test]
fn the_conversation_goes_as_the_readme_shows_it() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start_with(&[], |_| {});
    let (mut people, mut tokens) = (HashMap::<String, Client>::new(), Tokens::default());
    for (who, lines) in transcripts(&readme()) {
        if who == "pipes" {
            continue;
        }
        if who == "shell" {
            replay_script(&server, &lines, &mut tokens);
            continue;
        }
        if let Some(who) = who.strip_prefix("break ") {
            // Closed with something unread in it, as the kernel does it for a netcat
            // that is killed.
            let person = people.remove(who).expect("someone to break");
            person.stream().peek(&mut [0]).expect("something unread");
            drop(person);
            server.expect_log_of(&format!("lost {who} ("), "session lingers");
            continue;
        }
        let person = people
            .entry(who.clone())
            .or_insert_with(|| server.connect());
        for line in lines {
            match line.split_at(1) {
                (">", typed) => {
                    let typed = typed.strip_prefix(' ').unwrap_or("");
                    let typed = tokens.0.get(typed).map_or(typed, String::as_str);
                    person.send_raw(format!("{typed}\n"));
                }
                ("<", shown) => {
                    let (shown, line) = (shown.trim_start_matches(' '), person.next_line());
                    assert!(
                        tokens.matches(shown, &line),
                        "{who} sees {line:?}, not {shown:?}"
                    );
                }
                _ => panic!("{line:?} is neither typed nor seen"),
            }
        }
    }
    // Nobody has seen more than the README shows.
    people.remove("bob").expect("bob").expect_end();
    for (name, shown) in [
        ("alice", "5b1f0c9d8e7a4f3c2b1a09f8e7d6c5b4"),
        ("dora", "9c8b7a69584736251403f2e1d0c9b8a7"),
    ] {
        let mut person = people.remove(name).expect(name);
        person.token = tokens.0[shown].clone();
        person.barrier();
    }
    assert_eq!((people.len(), tokens.0.len()), (0, 4), "four had a name");
}

/// Runs a script of the README, with the port that this server has.
fn replay_script(server: &Server, lines: &[String], tokens: &mut Tokens) {
    let command = lines[0].strip_prefix("$ ").expect("a command");
    assert!(command.contains("127.0.0.1 1313"), "{command}");
    let command = command.replace("1313", &server.address.port().to_string());
    let child = Command::new("sh")
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .spawn();
    let output = output_of(child.expect("a shell"));
    let output: Vec<&str> = output.split_terminator("\r\n").collect();
    assert_eq!(output.len(), lines.len() - 1, "{output:?}");
    for (shown, line) in lines[1..].iter().zip(output) {
        assert!(
            tokens.matches(shown, line),
            "it prints {line:?}, not {shown:?}"
        );
    }
}

/// Replayed in a shell, with the address that the server has, a command at a time:
/// what a command prints, and the listener, has come before the next is begun.
#[cfg(feature = "client")]
#[test]
fn the_client_does_in_pipes_what_the_readme_shows() {
    use crate::support::DEADLINE;
    use std::io::{BufRead, BufReader, Write};

    let server = Server::start(&[]);
    let mut blocks = transcripts(&readme()).into_iter();
    let (_, lines) = blocks.find(|(mark, _)| mark == "pipes").expect("a block");
    let mut shell = Command::new("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = shell.stdin.take().expect("a pipe");
    let stdout = BufReader::new(shell.stdout.take().expect("a pipe"));
    let (sender, printed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let client = format!("{} {}", env!("CARGO_BIN_EXE_chat-client"), server.address);
    writeln!(stdin, "exec 2>&1").expect("it reads");
    for line in &lines {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.replace("target/release/chat-client", &client);
            writeln!(stdin, "{command}").expect("it reads");
            if command.ends_with('&') {
                server.expect_log("logged in as logger");
            }
            continue;
        }
        let printed = printed.recv_timeout(DEADLINE).expect("a line");
        // The time is another.
        let (printed, shown) = match (printed.split_once('\t'), line.split_once('\t')) {
            (Some((_, printed)), Some((_, shown))) => (printed, shown),
            _ => (&*printed, &**line),
        };
        assert_eq!(printed, shown);
    }
    drop(stdin);
    drop(server);
    shell.wait().expect("its end");
    assert_eq!(lines.len(), 7, "the block was replayed to its end");
}

#[test]
fn what_the_readme_names_is_there() {
    let readme = readme();
    assert!(readme.contains("    make run ") && readme.contains("    make test "));
    for (_, rest) in readme
        .match_indices("](")
        .map(|(at, _)| readme.split_at(at + 2))
    {
        let target = rest.split(')').next().expect("a link");
        let known = target.starts_with("https://") || Path::new(ROOT).join(target).exists();
        assert!(known, "{target} is not there");
    }
    let patterns = section(&readme, "Patterns of blocking I/O");
    let mut rows = 0;
    for row in patterns.lines().filter(|line| line.contains(".rs`")) {
        let cells: Vec<&str> = row.split('`').rev().collect();
        let (function, file) = (cells[1], cells[3]);
        let source = fs::read_to_string(Path::new(ROOT).join(file)).expect(file);
        assert!(
            ['(', '<']
                .iter()
                .any(|next| source.contains(&format!("fn {function}{next}"))),
            "{file} has no {function}"
        );
        rows += 1;
    }
    assert!(rows > 10, "{rows} patterns");
}

#[test]
fn the_pictures_are_those_of_the_code() {
    let readme = readme();
    let code = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).expect("src/lib.rs");
    let pictures: Vec<&str> = code.split("//! ```text\n").skip(1).collect();
    assert_eq!(pictures.len(), 3);
    for picture in pictures {
        let picture = picture.split("//! ```").next().expect("its end");
        assert!(
            readme.contains(&picture.replace("//! ", "    ")),
            "{picture}"
        );
    }
}

#[test]
fn each_promise_has_its_tests() {
    let readme = readme();
    let mut sources = String::new();
    for folder in ["src", "tests/it"] {
        read_sources(&Path::new(ROOT).join(folder), &mut sources);
    }
    let promises = section(&readme, "What it promises");
    for number in 1..=6 {
        assert!(promises.contains(&format!("\n| {number} | ")), "{number}");
    }
    for row in promises
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        let tests = row.rsplit(" | ").next().expect("a cell").split('`');
        let tests: Vec<&str> = tests.skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            let is_there = sources.contains(&format!("#[test]\nfn {test}()"))
                || sources.contains(&format!("#[test]\n    fn {test}()"));
            assert!(is_there, "there is no test {test}");
        }
    }
}

/// Appends all Rust files in this folder and below.
fn read_sources(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn the_readme_lists_the_options_of_the_help_text() {
    let help = Command::new(env!("CARGO_BIN_EXE_chat-server"))
        .arg("--help")
        .output();
    let help = String::from_utf8(help.expect("it starts").stdout).expect("UTF-8");
    let readme = readme();
    let table = section(&readme, "Options");
    let options = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let mut options: Vec<_> = words
            .filter(|word| word.starts_with("--") && !word.ends_with('-'))
            .map(str::to_owned)
            .collect();
        options.sort();
        options.dedup();
        options
    };
    assert_eq!(options(table), options(&help));
}

#[test]
fn the_demo_shows_a_conversation_and_ends() {
    if !has_tool("bash") {
        return;
    }
    let demo = Command::new(Path::new(ROOT).join("scripts/demo"))
        .env("DEMO_SERVER", env!("CARGO_BIN_EXE_chat-server"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let output = output_of(demo.expect("it starts"));
    for line in [
        "alice > Broadcast-message Tea at four? 🫖",
        "carol < 200 OK | Incoming-message broadcast alice Tea at four? 🫖",
        "alice < 200 OK | Incoming-message private bob Only if there is cake.",
    ] {
        assert!(
            output.lines().any(|shown| shown == line),
            "{line:?} in {output}"
        );
    }
    assert!(
        output.ends_with("carol < 502 Bad Gateway | The server is shutting down\n"),
        "{output}"
    );
}

#[test]
fn without_cargo_make_says_in_one_line_how_to_get_it() {
    if !has_tool("make") {
        return;
    }
    let make = Command::new("sh")
        .args(["-c", "command -v make"])
        .output()
        .expect("a shell");
    let make = String::from_utf8(make.stdout).expect("UTF-8");
    let output = Command::new(make.trim())
        .args(["--no-print-directory", "-C", ROOT, "run"])
        .env_remove("MAKEFLAGS")
        .env("PATH", "/nonexistent")
        .env("HOME", "/nonexistent")
        .output()
        .expect("make");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let line = said.lines().next().expect("a line");
    assert_eq!(
        line,
        "Rust is missing: install it from https://rustup.rs, then try again"
    );
    assert!(!output.status.success());
}
