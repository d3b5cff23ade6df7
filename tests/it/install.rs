//! `make install`: the files, the man pages and the unit for systemd.

use crate::support::{has_tool, server_threads};
use chat::limits;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SERVER: &str = env!("CARGO_BIN_EXE_chat-server");
const CLIENT: &str = env!("CARGO_BIN_EXE_chat-client");

/// An empty folder, until it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    /// Returns its files and their modes, as `usr/bin/chat-server 755`, sorted.
    fn files(&self) -> Vec<String> {
        let (mut folders, mut files) = (vec![self.0.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let mode = path.metadata().expect("a file").permissions().mode() & 0o777;
                let name = path.strip_prefix(&self.0).expect("it is in there");
                files.push(format!("{} {mode:o}", name.display()));
            }
        }
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a target of the Makefile with the programs of this test run, so nothing is built.
#[track_caller]
fn make(target: &str, destination: &Path, prefix: &Path) {
    let programs = Path::new(SERVER).parent().expect("a folder");
    let output = Command::new("make")
        .args(["--no-print-directory", "-C", env!("CARGO_MANIFEST_DIR")])
        .arg(target)
        .arg(format!("BIN={}", programs.display()))
        .arg(format!("DESTDIR={}", destination.display()))
        .arg(format!("PREFIX={}", prefix.display()))
        .env_remove("MAKEFLAGS")
        .output()
        .expect("make");
    expect_silent_stderr(&output);
}

#[track_caller]
fn expect_silent_stderr(output: &Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}

/// Returns what a program prints on stdout.
#[track_caller]
fn stdout_of(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    expect_silent_stderr(&output);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns the man page of a program, as `make install` writes it.
#[track_caller]
fn man_page(program: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/man-page");
    stdout_of(Command::new(script).arg(program))
}

/// Returns the value of a setting of the unit, as `LimitNOFILE`.
#[track_caller]
fn setting(name: &str) -> String {
    let unit = include_str!("../../scripts/chat-server.service");
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    unit.lines().find_map(value).expect(name)
}

#[test]
fn install_puts_files_in_place_and_uninstall_removes_them() {
    if !has_tool("make") || !has_tool("awk") {
        return;
    }
    let folder = Folder::new("install");
    make("install", &folder.0, Path::new("/usr"));
    let expected = [
        "usr/bin/chat-client 755",
        "usr/bin/chat-server 755",
        "usr/lib/systemd/system/chat-server.service 644",
        "usr/share/man/man1/chat-client.1 644",
        "usr/share/man/man1/chat-server.1 644",
    ];
    assert_eq!(folder.files(), expected);

    let read = |name: &str| fs::read_to_string(folder.0.join(name)).expect(name);
    let unit = read("usr/lib/systemd/system/chat-server.service");
    assert!(
        unit.contains("\nExecStart=/usr/bin/chat-server $CHAT_ARGS\n") && !unit.contains("@PREFIX"),
        "{unit}"
    );
    for (page, program) in [("chat-server.1", SERVER), ("chat-client.1", CLIENT)] {
        let page = read(&format!("usr/share/man/man1/{page}"));
        assert_eq!(page, man_page(program));
    }

    make("uninstall", &folder.0, Path::new("/usr"));
    assert!(folder.files().is_empty(), "{:?}", folder.files());
}

#[test]
fn man_pages_have_every_line_of_the_help() {
    if !has_tool("awk") {
        return;
    }
    for program in [SERVER, CLIENT] {
        let page = man_page(program);
        assert!(
            page.lines().any(|line| line == ".SH OPTIONS"),
            "it has options:\n{page}"
        );
        // The text alone, without requests, fonts and escapes.
        let text = page
            .replace("\n.TP\n", "\n")
            .replace("\\fB", "")
            .replace("\\fI", "")
            .replace("\\fR", "")
            .replace("\\-", "-")
            .replace("\\(aq", "'")
            .replace('\n', " ");
        let help = stdout_of(Command::new(program).arg("--help"));
        // The first lines are the summary, which loses its capital and its full stop.
        let (summary, rest) = help.split_once("\n\nUsage: ").expect("a usage");
        let summary = summary.replace('\n', " ");
        let summary = summary[1..].trim_end_matches('.');
        assert!(text.contains(summary), "{summary:?} is in:\n{page}");
        for line in rest.lines().filter(|line| !line.ends_with(':')) {
            // Names and meaning of an option are two lines of the page.
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(text.contains(&words.join(" ")), "{line:?} is in:\n{page}");
        }
    }
}

#[test]
fn man_pages_pass_groff_without_warnings() {
    if !has_tool("awk") || !has_tool("groff") {
        return;
    }
    let folder = Folder::new("groff");
    for (program, option) in [(SERVER, "--max-per-address N"), (CLIENT, "--name NAME")] {
        let page = folder.0.join("page.1");
        fs::write(&page, man_page(program)).expect("a file");
        // Plain text: no escape sequences of a terminal, and ASCII hyphens.
        let arguments = ["-man", "-ww", "-Tascii", "-P-cbou"];
        let text = stdout_of(Command::new("groff").args(arguments).arg(&page));
        assert!(text.contains(option), "{text}");
    }
}

#[test]
fn systemd_accepts_the_unit() {
    if !has_tool("make") || !has_tool("awk") || !has_tool("systemd-analyze") {
        return;
    }
    let folder = Folder::new("unit");
    // Without DESTDIR, because the unit has to name a program that exists.
    make("install", Path::new(""), &folder.0);
    let unit = folder.0.join("lib/systemd/system/chat-server.service");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&unit);
    let output = verify.output().expect("it starts");
    // It also reads other units of this machine, and may complain about them.
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!told.contains("chat-server.service"), "{told}");
}

#[test]
fn systemd_accepts_the_drop_in_files_for_access_tokens() {
    if !has_tool("make") || !has_tool("awk") || !has_tool("systemd-analyze") {
        return;
    }
    let folder = Folder::new("drop-in");
    make("install", Path::new(""), &folder.0);
    let unit = folder.0.join("lib/systemd/system/chat-server.service");
    let drop_in = unit.with_extension("service.d").join("override.conf");
    fs::create_dir_all(drop_in.parent().expect("a folder")).expect("a folder");
    let guide = include_str!("../../src/guide/operating.md");
    let (_, rest) = guide
        .split_once("\n### Access tokens in a service\n")
        .expect("it");
    let section = rest.split("\n## ").next().expect("a section");
    let blocks: Vec<&str> = section
        .split("```ini\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block"))
        .collect();
    assert_eq!(blocks.len(), 2);
    // Without this one the test could not see a fault.
    let faulty = "[Service]\nExecReload=nowhere-at-all\nNonsense=yes\n";
    for (block, is_good) in blocks
        .into_iter()
        .map(|it| (it, true))
        .chain([(faulty, false)])
    {
        let prefix = folder.0.to_str().expect("UTF-8");
        fs::write(&drop_in, block.replace("/usr/local", prefix)).expect("a file");
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(&unit);
        let output = verify.output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        let is_silent = !told.contains("chat-server.service") && !told.contains("override.conf");
        assert_eq!(is_silent, is_good, "{block}{told}");
    }
}

#[test]
fn unit_has_room_for_the_default_number_of_clients() {
    let number = |name| setting(name).parse::<u64>().expect(name);
    let clients = limits::DEFAULT_MAX_CLIENTS as u64;
    assert!(number("LimitNOFILE") >= clients + limits::RESERVED_DESCRIPTORS);
    assert!(number("TasksMax") >= 2 * clients + server_threads());
    assert_eq!(setting("MemoryMax"), "1G");
    assert!(clients <= 1_024, "each has 1 MiB of that");
}

#[test]
fn unit_leaves_time_for_the_graceful_shutdown() {
    let longest =
        limits::SHUTDOWN_CLOSE_TIMEOUT + limits::THREAD_EXIT_TIMEOUT + limits::LOG_FLUSH_TIMEOUT;
    let seconds: u64 = setting("TimeoutStopSec").parse().expect("seconds");
    assert!(seconds > u64::from(limits::DEFAULT_GRACE) + longest.as_secs() + 1);
}
