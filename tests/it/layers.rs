//! The folders of `src` import only downward, as the map in `src/lib.rs` shows.

use std::fs;
use std::path::Path;

/// Each folder or file of `src`, and what it may import.
const LAYERS: [(&str, &[&str]); 13] = [
    ("limits", &[]),
    ("log_throttle", &["limits"]),
    ("protocol", &["limits"]),
    ("threads", &["limits"]),
    ("cli", &[]),
    ("access_file", &["protocol"]),
    ("net", &["limits", "protocol"]),
    ("outbox", &["limits", "protocol", "threads"]),
    ("sessions", &["limits", "protocol", "outbox"]),
    (
        "cluster",
        &[
            "limits",
            "log_throttle",
            "protocol",
            "threads",
            "outbox",
            "sessions",
        ],
    ),
    (
        "commands",
        &["limits", "protocol", "outbox", "sessions", "cluster"],
    ),
    (
        "server",
        &[
            "limits",
            "log_throttle",
            "protocol",
            "threads",
            "cli",
            "access_file",
            "net",
            "outbox",
            "sessions",
            "cluster",
            "commands",
        ],
    ),
    (
        "client",
        &["limits", "protocol", "threads", "cli", "access_file", "net"],
    ),
];

#[test]
fn imports_run_downward_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows = 0;
    for (layer, allowed) in LAYERS {
        for (path, code) in sources(&src.join(layer)) {
            for import in imports(&code) {
                let is_allowed = import == layer || allowed.contains(&import);
                assert!(is_allowed, "{path} imports {import}");
                arrows += 1;
            }
        }
    }
    assert!(arrows > 100, "{arrows} imports");
}

#[test]
fn each_folder_has_its_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.expect("a name");
        let is_document = ["bin", "course", "guide", "lib"].contains(&name);
        let is_layer = LAYERS.iter().any(|(layer, _)| *layer == name);
        assert!(is_document || is_layer, "{name} is in no layer");
    }
}

/// Returns the code of a module: of its file, or of all files in its folder.
fn sources(module: &Path) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    if !module.is_dir() {
        add_source(&module.with_extension("rs"), &mut sources);
        return sources;
    }
    for entry in fs::read_dir(module).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources.extend(self::sources(&path)),
            false => add_source(&path, &mut sources),
        }
    }
    sources
}

/// Adds a file without its tests, which may use modules above.
fn add_source(path: &Path, sources: &mut Vec<(String, String)>) {
    let name = path.display().to_string();
    if name.ends_with("tests.rs") || name.contains("/tests/") || name.contains("model") {
        return;
    }
    let text = fs::read_to_string(path).expect("a file");
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    sources.push((name, code.unwrap_or_default().to_owned()));
}

/// Returns the modules that follow `crate::` outside of comments.
fn imports(code: &str) -> Vec<&str> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split("crate::").skip(1));
    let names = paths.map(|path| {
        let end = path.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        &path[..end.unwrap_or(path.len())]
    });
    names.collect()
}
