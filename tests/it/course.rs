//! The course: its code blocks are in its experiments, and its lists are complete.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The parts of a chapter, in order.
const PARTS: [&str; 4] = ["The naive version", "How it fails", "The fix", "Exercise"];

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Returns the documentation of a module.
fn documentation(source: &str) -> String {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    lines
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect()
}

/// Returns the names of the chapters, in the order of the course's table.
fn chapters() -> Vec<String> {
    let contents = documentation(&read("src/course/mod.rs"));
    let rows = contents.lines().filter(|line| line.contains("| [`"));
    let names = rows.map(|row| row.split('`').nth(1).expect("a link").to_owned());
    let names: Vec<String> = names.collect();
    assert!(!names.is_empty());
    names
}

/// Returns the code blocks of a text, each with the language of its first fence.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language, code.join("\n")));
        }
    }
    blocks
}

/// Returns the lines of a text without indentation, which differs in a code block.
fn unindented(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}

#[test]
fn chapter_code_equals_its_experiment() {
    for chapter in chapters() {
        let text = documentation(&read(&format!("src/course/{chapter}.rs")));
        let experiment = unindented(&read(&format!("tests/course/{chapter}.rs")));
        let naive = text.split("\n# ").find(|part| part.starts_with(PARTS[0]));
        let in_naive = blocks(naive.expect(&chapter)).len();
        assert!(in_naive > 0, "{chapter} shows no naive version");
        for (language, code) in blocks(&text) {
            match language {
                "" => assert!(
                    experiment.contains(&format!("\n{}", unindented(&code))),
                    "tests/course/{chapter}.rs lacks this code of its chapter:\n{code}"
                ),
                "text" | "sh" => {}
                other => panic!("{chapter}: unknown code block {other}"),
            }
        }
    }
}

#[test]
fn each_chapter_has_four_parts_and_its_commands() {
    for chapter in chapters() {
        let text = documentation(&read(&format!("src/course/{chapter}.rs")));
        let headings = text.lines().filter_map(|line| line.strip_prefix("# "));
        assert_eq!(headings.collect::<Vec<_>>(), PARTS, "{chapter}");
        let parts: Vec<&str> = text.split("\n# ").skip(1).collect();
        let [_, fails, repair, exercise] = parts[..] else {
            panic!("{chapter}")
        };
        for (part, has) in [
            (fails, format!("make experiment CHAPTER={chapter}")),
            (fails, "```text".to_owned()),
            (repair, "[`".to_owned()),
            (exercise, format!("tests/exercises/{chapter}.rs")),
            (exercise, format!("make exercise CHAPTER={chapter}")),
        ] {
            assert!(part.contains(&has), "{chapter} lacks {has:?} in {part}");
        }
    }
}

#[test]
fn each_chapter_is_in_every_list() {
    let [course, readme, experiments, exercises, solutions] = [
        "src/course/mod.rs",
        "README.md",
        "tests/course/main.rs",
        "tests/exercises/main.rs",
        "tests/exercises/solutions/mod.rs",
    ]
    .map(read);
    let modules = course.lines().filter(|line| line.starts_with("pub mod "));
    assert_eq!(modules.count(), chapters().len());
    for (number, chapter) in (1..).zip(chapters()) {
        let text = read(&format!("src/course/{chapter}.rs"));
        let exercise = read(&format!("tests/exercises/{chapter}.rs"));
        let declared = format!("/// Chapter {number}: ");
        let declares = |list: &str| {
            let mut lines = list.lines().skip_while(|line| !line.starts_with(&declared));
            lines.nth(1) == Some(&*format!("mod {chapter};"))
        };
        for (what, holds) in [
            ("the experiments", declares(&experiments)),
            ("the exercises", declares(&exercises)),
            (
                "its title",
                text.starts_with(&format!("//! Chapter {number}: ")),
            ),
        ] {
            assert!(holds, "chapter {number}, {chapter}: {what}");
        }
        for (list, part) in [
            (&course, format!("| {number} | [`{chapter}`] | ")),
            (&course, format!("\npub mod {chapter};")),
            (&readme, format!("\n{number}. [")),
            (&readme, format!("](src/course/{chapter}.rs)")),
            (
                &experiments,
                format!("(\"{chapter}\", {chapter}::experiment)"),
            ),
            (
                &exercise,
                format!("#[ignore = \"the exercise of chapter {number}\"]"),
            ),
            (&solutions, format!("pub(crate) mod {chapter};")),
        ] {
            assert!(list.contains(&part), "{part:?} is missing in a list");
        }
    }
}
