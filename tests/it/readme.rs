//! README and the guide against the programs: conversations are replayed, and options, names,
//! diagrams and links are compared with the code. Also the demo and the Makefile.

use crate::support::{Client, Server, has_tool, is_token, output_of};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn readme() -> String {
    read("README.md")
}

/// A page of the guide.
#[track_caller]
fn page(name: &str) -> String {
    read(&format!("src/guide/{name}.md"))
}

/// The names of the guide's pages.
fn pages() -> Vec<String> {
    let files = fs::read_dir(Path::new(ROOT).join("src/guide")).expect("a folder");
    let mut names: Vec<String> = files
        .map(|file| file.expect("an entry").file_name().into_string())
        .filter_map(|name| Some(name.expect("UTF-8").strip_suffix(".md")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// The path and the text of README and of each page of the guide.
fn documents() -> Vec<(String, String)> {
    let pages = pages()
        .into_iter()
        .map(|name| format!("src/guide/{name}.md"));
    ["README.md".to_owned()]
        .into_iter()
        .chain(pages)
        .map(|path| (path.clone(), read(&path)))
        .collect()
}

/// The text under this heading.
#[track_caller]
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let rest = document
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading)
        .1;
    rest.split("\n## ").next().expect("a section")
}

/// The lines of each block that is marked as a transcript, with its mark.
fn transcripts(document: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
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

/// The tokens of a document, each with the token that the server gave instead.
#[derive(Default)]
struct Tokens(HashMap<String, String>);

impl Tokens {
    /// Whether a line is what the document shows. Where the document repeats a token, the
    /// server must repeat its own. The time of a broadcast may be another.
    fn matches(&mut self, shown: &str, line: &str) -> bool {
        if is_token(shown) && is_token(line) {
            self.0.entry(shown.to_owned()).or_insert(line.to_owned()) == line
        } else {
            without_time(shown) == without_time(line)
        }
    }
}

/// A line that repeats a broadcast without its time, or any other line as it is.
fn without_time(line: &str) -> String {
    let recent = line.strip_prefix("Incoming-recent ");
    let Some((time, message)) = recent.and_then(|rest| rest.split_once(' ')) else {
        return line.to_owned();
    };
    let shape = time.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{line:?}");
    format!("Incoming-recent {message}")
}

#[test]
fn readme_conversation_matches_the_server() {
    if !has_tool("nc") {
        return;
    }
    let replayed: Vec<(String, usize)> = documents()
        .into_iter()
        .filter_map(|(path, text)| {
            let mut blocks = transcripts(&text);
            blocks.retain(|(mark, _)| mark != "pipes");
            // In README, alice is online before the reader types.
            let online: &[&str] = if path == "README.md" { &["alice"] } else { &[] };
            (!blocks.is_empty()).then(|| (path, replay(blocks, online)))
        })
        .collect();
    assert_eq!(
        replayed,
        [
            ("README.md".to_owned(), 1),
            ("src/guide/by_hand.md".to_owned(), 5)
        ],
        "the documents with conversations, and how many users have a token in each"
    );
}

/// A user of a conversation.
struct Person {
    client: Client,
    has_quit: bool,
}

/// Replays the conversation of a document with a server of its own. Before it, the users of
/// these names log in. Returns how many tokens the document shows.
fn replay(blocks: Vec<(String, Vec<String>)>, online: &[&str]) -> usize {
    let server = Server::start_with(&[], |_| {});
    let (mut people, mut tokens) = (HashMap::<String, Person>::new(), Tokens::default());
    let mut audience: Vec<Client> = online.iter().map(|name| server.log_in(name)).collect();
    let mut broadcasts = Vec::new();
    for (user, lines) in blocks {
        if user == "shell" {
            replay_script(&server, &lines, &mut tokens);
            continue;
        }
        if let Some(user) = user.strip_prefix("break ") {
            // Closed with unread input, as the kernel closes the socket of a killed netcat.
            let person = people.remove(user).expect("a user to lose").client;
            person.stream().peek(&mut [0]).expect("unread input");
            drop(person);
            server.expect_log_of(&format!("lost {user} ("), "session lingers");
            continue;
        }
        let person = people.entry(user.clone()).or_insert_with(|| Person {
            client: server.connect(),
            has_quit: false,
        });
        for line in lines {
            match line.split_at(1) {
                (">", typed) => {
                    let typed = typed.strip_prefix(' ').unwrap_or("");
                    let typed = tokens.0.get(typed).map_or(typed, String::as_str);
                    person.client.send_raw(format!("{typed}\n"));
                    person.has_quit |= typed == "Quit";
                    if let Some(text) = typed.strip_prefix("Broadcast-message ") {
                        broadcasts.push((user.clone(), text.to_owned()));
                    }
                }
                ("<", shown) => {
                    let shown = shown.trim_start_matches(' ');
                    let line = person.client.next_line();
                    assert!(
                        tokens.matches(shown, &line),
                        "{user} sees {line:?}, not {shown:?}"
                    );
                    if is_token(&line) {
                        person.client.token = line;
                    }
                }
                _ => panic!("{line:?} is neither typed nor seen"),
            }
        }
    }
    for client in &mut audience {
        for (sender, text) in &broadcasts {
            client.expect_delivery("broadcast", sender, text);
        }
        client.barrier();
    }
    // The clients have not received more than the document shows.
    for mut person in people.into_values() {
        if person.has_quit {
            person.client.expect_end();
        } else {
            person.client.barrier();
        }
    }
    tokens.0.len()
}

/// Runs a script of a document, with the port of this server.
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
fn readme_pipe_example_matches_the_client() {
    let mut lengths = Vec::new();
    for (path, text) in documents() {
        for (_, lines) in transcripts(&text)
            .into_iter()
            .filter(|(mark, _)| mark == "pipes")
        {
            replay_in_a_shell(&lines);
            lengths.push((path.clone(), lines.len()));
        }
    }
    assert_eq!(
        lengths,
        [
            ("README.md".to_owned(), 3),
            ("src/guide/client.md".to_owned(), 7)
        ],
        "each block was replayed to its end"
    );
}

#[cfg(feature = "client")]
fn replay_in_a_shell(lines: &[String]) {
    use crate::support::DEADLINE;
    use std::io::{BufRead, BufReader, Write};

    let server = Server::start(&[]);
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
    for line in lines {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.replace("target/release/chat-client", &client);
            writeln!(stdin, "{command}").expect("the program reads");
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
}

#[test]
fn readme_links_and_functions_exist() {
    let readme = readme();
    assert!(readme.contains("    make run ") && readme.contains("    make test "));
    let mut links = 0;
    for (path, text) in documents() {
        let folder = Path::new(ROOT).join(&path);
        let folder = folder.parent().expect("a folder");
        let inline = text.split("](").skip(1);
        let inline = inline.map(|rest| rest.split(')').next().expect("a link"));
        let defined = text
            .lines()
            .filter_map(definition)
            .map(|(_, target)| target);
        for target in inline.chain(defined) {
            let known = match target.strip_prefix('#') {
                Some(anchor) => anchors(&text).any(|known| known == anchor),
                None => target.starts_with("https://") || folder.join(target).exists(),
            };
            assert!(known, "{path}: {target} is not there");
            links += 1;
        }
    }
    assert!(links > 50, "{links} links");
    let patterns = page("patterns");
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

/// The label and the target of a line that defines a link.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// The anchors of the headings of a document.
fn anchors(document: &str) -> impl Iterator<Item = String> {
    let headings = document.lines().filter(|line| line.starts_with("##"));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        heading.replace(' ', "-")
    })
}

#[test]
fn readme_has_at_most_250_lines() {
    let lines = readme().lines().count();
    assert!(lines <= 250, "{lines} lines");
}

/// Rustdoc cannot follow links to files. So the module of a page defines the labels of its
/// links first.
#[test]
fn guide_pages_are_in_rustdoc_with_their_links() {
    let guide = read("src/guide/mod.rs");
    for name in pages() {
        let module = guide
            .split_once(&format!("\npub mod {name} {{\n"))
            .unwrap_or_else(|| panic!("src/guide/mod.rs lacks {name}"))
            .1;
        let module = module.split("\n}\n").next().expect("its end");
        assert!(module.contains(&format!("#![doc = include_str!(\"{name}.md\")]")));
        assert!(
            guide.contains(&format!("//! | [`{name}`] | ")),
            "{name} is not in the table"
        );
        let page = page(&name);
        for (label, _) in page.lines().filter_map(definition) {
            assert!(
                module.contains(&format!("//! [{label}]: ")),
                "the module of {name} does not define {label}"
            );
            let uses = page.matches(&format!("[{label}]")).count();
            assert!(uses > 1, "{name} does not use {label}");
        }
        // A link without a definition would be plain text in the repository.
        let text = page.lines().filter(|line| definition(line).is_none());
        for label in text.flat_map(|line| line.split("[`").skip(1)) {
            let label = label.split(']').next().expect("a label");
            assert!(
                page.contains(&format!("\n[`{label}]: ")),
                "{name} does not define [`{label}]"
            );
        }
    }
}

#[test]
fn readme_diagrams_equal_the_code_documentation() {
    let readme = readme();
    let code = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).expect("src/lib.rs");
    let pictures: Vec<&str> = code.split("//! ```text\n").skip(1).collect();
    assert_eq!(pictures.len(), 3);
    for picture in pictures {
        let picture = picture.split("//! ```").next().expect("an end");
        assert!(
            readme.contains(&picture.replace("//! ", "    ")),
            "{picture}"
        );
    }
}

#[test]
fn each_guarantee_names_existing_tests() {
    let (readme, promises) = (readme(), page("guarantees"));
    let mut sources = String::new();
    for folder in ["src", "tests/it"] {
        read_sources(&Path::new(ROOT).join(folder), &mut sources);
    }
    let short = section(&readme, "Guarantees");
    for number in 1..=6 {
        assert!(promises.contains(&format!("\n| {number} | ")), "{number}");
        assert!(short.contains(&format!("\n{number}. ")), "{number}");
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
fn readme_lists_the_options_of_the_help_text() {
    let help = Command::new(env!("CARGO_BIN_EXE_chat-server"))
        .arg("--help")
        .output();
    let help = String::from_utf8(help.expect("it starts").stdout).expect("UTF-8");
    let (readme, operating) = (readme(), page("operating"));
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
    let all = options(&help);
    assert_eq!(options(section(&operating, "Options")), all);
    let most_needed = options(section(&readme, "Options"));
    assert!(most_needed.len() > 3, "{most_needed:?}");
    for option in most_needed {
        assert!(all.contains(&option), "there is no {option}");
    }
}

#[test]
fn each_package_is_in_the_tables_of_dependencies() {
    let (readme, dependencies) = (readme(), page("dependencies"));
    let mut count = 0;
    for manifest in ["Cargo.toml", "tests/fuzz/Cargo.toml"] {
        for part in read(manifest).split("\n[").skip(1) {
            let (heading, lines) = part.split_once("]\n").expect("a heading");
            if !heading.ends_with("dependencies") {
                continue;
            }
            for (package, _) in lines.lines().filter_map(|line| line.split_once(" = ")) {
                if package == "chat" {
                    continue;
                }
                assert!(
                    dependencies.contains(&format!("[{package}](https://docs.rs/{package})")),
                    "dependencies.md lacks {package}"
                );
                let table = section(&readme, "Dependencies");
                let is_named = table
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
                    .any(|word| word == package);
                assert!(
                    is_named || manifest != "Cargo.toml" || heading != "dependencies",
                    "README lacks {package}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 15, "{count} packages");
}

#[test]
fn demo_shows_a_conversation_and_ends() {
    if !has_tool("bash") {
        return;
    }
    let demo = Command::new(Path::new(ROOT).join("scripts/demo"))
        .env("DEMO_SERVER", env!("CARGO_BIN_EXE_chat-server"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let output = output_of(demo.expect("the program starts"));
    for line in [
        "alice < 200 OK | Incoming-presence joined bob",
        "alice > Broadcast-message Tea at four? 🫖",
        "carol < 200 OK | Incoming-message broadcast alice Tea at four? 🫖",
        "alice < 200 OK | Incoming-message private bob Only if there is cake.",
        "alice < 200 OK | Incoming-presence left bob",
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
fn make_without_cargo_says_how_to_get_it() {
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
