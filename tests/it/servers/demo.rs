//! The script of `make demo-servers`.

use crate::support::has_tool;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the script, which starts the server of this build.
fn demo() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo-servers");
    let mut demo = Command::new("bash");
    demo.arg(script)
        .env("DEMO_SERVER", env!("CARGO_BIN_EXE_chat-server"))
        .stdin(Stdio::null());
    demo
}

#[test]
fn demo_shows_two_servers_of_which_one_is_killed() {
    if !has_tool("bash") || !has_tool("redis-server") {
        return;
    }
    // Each read of the script has a timeout, so it ends.
    let output = demo().output().expect("the program starts");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let mut lines = output.lines();
    for line in [
        "bob   < 403 Forbidden | ALICE is taken",
        "alice < 200 OK | Incoming-presence joined bob",
        "bob   < 200 OK | Incoming-message private alice Tea at four? 🫖",
        "bob   < 200 OK | Delivered to 2",
        "carol < 200 OK | Incoming-message broadcast bob Tea at four, with cake!",
        "carol < 200 OK | 3 online: alice bob carol",
        "carol < 200 OK | 1 recent",
        "alice < 502 Bad Gateway | No answer from the server of bob; the message may have arrived",
        "alice < 502 Bad Gateway | The server of bob cannot be reached now",
        "carol < 200 OK | Delivered to 1",
        "alice < 200 OK | Incoming-presence left bob",
        "carol < 200 OK | 2 online: alice carol",
        "bob   < 200 OK | You are bob",
    ] {
        assert!(lines.any(|shown| shown == line), "{line:?} in {output}");
    }
    assert!(
        output.ends_with("carol < 200 OK | 3 online: alice bob carol\n"),
        "{output}"
    );
}

#[test]
fn demo_without_redis_server_says_that_it_is_missing() {
    let tool = |name: &str| {
        let paths = std::env::var_os("PATH").expect("a path");
        let mut all = std::env::split_paths(&paths).map(|it| it.join(name));
        all.find(|it| it.is_file())
    };
    let (Some(bash), Some(dirname)) = (tool("bash"), tool("dirname")) else {
        return;
    };
    let name = format!("without-redis-{}", std::process::id());
    let tools = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&tools).expect("a folder");
    for tool in [bash, dirname] {
        symlink(&tool, tools.join(tool.file_name().expect("a name"))).expect("a link");
    }
    let output = demo().env("PATH", &tools).output();
    std::fs::remove_dir_all(&tools).expect("the folder");
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "redis-server is missing: install the package of this name, then try again\n"
    );
}
