//! The Makefile targets that take a chapter of the course.

use crate::support::has_tool;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Runs a target with a `cargo` that only prints its arguments.
#[track_caller]
fn make(target: &str, chapter: &str) -> Output {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("printing-cargo");
    fs::create_dir_all(&folder).expect("a folder");
    let cargo = folder.join(format!("{}-{target}-{chapter}", std::process::id()));
    fs::create_dir_all(&cargo).expect("a folder");
    let program = cargo.join("cargo");
    fs::write(&program, "#!/bin/sh\necho cargo \"$@\"\n").expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the permissions");
    let path = std::env::var("PATH").expect("a path");
    let output = Command::new("make")
        .args([
            "--no-print-directory",
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            target,
        ])
        .arg(format!("CHAPTER={chapter}"))
        .env_remove("MAKEFLAGS")
        .env("PATH", format!("{}:{path}", cargo.display()))
        .output()
        .expect("make");
    fs::remove_dir_all(&cargo).expect("the folder");
    output
}

#[test]
fn chapter_is_selected_by_name_or_number() {
    if !has_tool("make") || !has_tool("awk") {
        return;
    }
    for (target, last) in [
        ("experiment", "--bench course -- slow_reader\n"),
        ("exercise", "--test exercises -- --ignored slow_reader\n"),
    ] {
        for chapter in ["slow_reader", "3"] {
            let output = make(target, chapter);
            let printed = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(printed.ends_with(last), "{printed}");
            let message = String::from_utf8(output.stderr).expect("UTF-8");
            assert!(
                message.contains("building what is not built yet"),
                "{message}"
            );
        }
    }
}

#[test]
fn unknown_chapter_lists_all_chapters() {
    if !has_tool("make") || !has_tool("awk") {
        return;
    }
    for target in ["experiment", "exercise"] {
        for chapter in ["", "13", "line"] {
            let output = make(target, chapter);
            let message = String::from_utf8(output.stderr).expect("UTF-8");
            assert!(!output.status.success() && output.stdout.is_empty());
            let expected = format!("CHAPTER={chapter}: expected a chapter");
            assert!(message.starts_with(&expected), "{message}");
            for listed in ["\n  1 lines\n", "\n  3 slow_reader\n", "\n  12 "] {
                assert!(message.contains(listed), "{message}");
            }
        }
    }
}
