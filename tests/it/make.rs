//! The Makefile targets with variables: a chapter of the course, or the URL of a Redis.

use crate::support::has_tool;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a target with a `cargo` that only prints CHAT_REDIS and its arguments. `url` is CHAT_REDIS
/// in the environment of make.
#[track_caller]
fn make(target: &str, variable: &str, url: Option<&str>) -> Output {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("printing-cargo");
    fs::create_dir_all(&folder).expect("a folder");
    let cargo = folder.join(format!("{}-{number}", std::process::id()));
    fs::create_dir_all(&cargo).expect("a folder");
    let program = cargo.join("cargo");
    let script = "#!/bin/sh\necho \"CHAT_REDIS=$CHAT_REDIS\"\necho cargo \"$@\"\n";
    fs::write(&program, script).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the permissions");
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new("make");
    command
        .args([
            "--no-print-directory",
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            target,
        ])
        .arg(variable)
        .env_remove("MAKEFLAGS")
        .env_remove("CHAT_REDIS")
        .env("PATH", format!("{}:{path}", cargo.display()));
    if let Some(url) = url {
        command.env("CHAT_REDIS", url);
    }
    let output = command.output().expect("make");
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
            let output = make(target, &format!("CHAPTER={chapter}"), None);
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
            let output = make(target, &format!("CHAPTER={chapter}"), None);
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

#[test]
fn url_of_redis_is_only_in_the_environment_of_the_server() {
    if !has_tool("make") {
        return;
    }
    for (variable, url, feature) in [
        ("REDIS=redis://127.0.0.1/", None, "redis"),
        ("REDIS=rediss://redis.example/", None, "redis-tls"),
        ("REDIS=1", Some("redis://:pass$word@127.0.0.1/"), "redis"),
    ] {
        let output = make("run", variable, url);
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        let expected = url.unwrap_or_else(|| &variable["REDIS=".len()..]);
        let (shown, others): (Vec<&str>, Vec<&str>) = printed
            .lines()
            .partition(|line| line.starts_with("CHAT_REDIS="));
        assert_eq!(shown, [format!("CHAT_REDIS={expected}")]);
        assert_eq!(others.len(), 2, "the line of make, and that of cargo");
        for line in others {
            assert!(line.contains(&format!(" --features {feature} ")), "{line}");
            assert!(!line.contains(expected), "{line}");
        }
    }
    let without = make("run", "REDIS=1", None);
    let message = String::from_utf8(without.stderr).expect("UTF-8");
    assert!(!without.status.success() && without.stdout.is_empty());
    assert!(
        message.contains("REDIS=1: expected a URL in CHAT_REDIS"),
        "{message}"
    );
    let alone = make("run", "ARGS=", None);
    let printed = String::from_utf8(alone.stdout).expect("UTF-8");
    assert!(!printed.contains("--features"), "{printed}");
}
