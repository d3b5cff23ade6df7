//! The scripts that the nodes run in Redis, without a node.
//!
//! A [`Node`] of these tests runs the scripts with the arguments of a real node, and reads its
//! inbox. The head of `src/cluster/lua/prelude.lua` has the keys.

use crate::support::{Redis, has_tool, wait_for};
use redis::{Connection, Value, cmd};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The prefix of all keys.
const PREFIX: &str = "chat:{t}:";

/// A lease that does not end during a test.
const LEASE: &str = "15000";

macro_rules! script {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../src/cluster/lua/", $name, ".lua")),
        )
    };
}

const PRELUDE: &str = script!("prelude").1;

const SCRIPTS: [(&str, &str); 12] = [
    script!("ask"),
    script!("broadcast"),
    script!("claim"),
    script!("confirm"),
    script!("join"),
    script!("leave"),
    script!("list"),
    script!("release"),
    script!("rename"),
    script!("renew"),
    script!("route"),
    script!("whois"),
];

/// An entry of an inbox: its fields.
type Entry = BTreeMap<String, String>;

/// A Redis with the scripts.
struct Scripts {
    redis: Redis,
    hashes: Arc<BTreeMap<&'static str, String>>,
}

impl Scripts {
    /// Returns `None` if redis-server is not installed.
    #[track_caller]
    fn start() -> Option<Scripts> {
        has_tool("redis-server").then(|| {
            let redis = Redis::start(&[]);
            let hashes = load(&redis);
            Scripts { redis, hashes }
        })
    }

    /// Joins a node with a lease of this many milliseconds.
    #[track_caller]
    fn join(&self, lease: &str) -> Node {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let mut node = Node {
            connection: self.redis.connect(),
            hashes: Arc::clone(&self.hashes),
            id: format!("{:016x}", 1 + LAST.fetch_add(1, Ordering::Relaxed)),
            fence: "0".to_owned(),
            lease: lease.to_owned(),
            last: "0-0".to_owned(),
            counters: ["0", "0"].map(str::to_owned),
            joined: Joined::default(),
        };
        node.join();
        node
    }

    #[track_caller]
    fn nodes<const N: usize>(&self) -> [Node; N] {
        [(); N].map(|()| self.join(LEASE))
    }

    /// Sends a command about the key of this name. Returns the answer as [`flat`] does.
    #[track_caller]
    fn ask(&self, command: &str, key: &str, arguments: &[&str]) -> Vec<String> {
        let key = format!("{PREFIX}{key}");
        let words = [&[command, &key], arguments].concat();
        flat(self.redis.ask::<Value>(&words))
    }
}

/// Loads all scripts, and returns their hashes.
#[track_caller]
fn load(redis: &Redis) -> Arc<BTreeMap<&'static str, String>> {
    let load = |(name, text)| {
        let whole = format!("{PRELUDE}{text}");
        (name, redis.ask::<String>(&["SCRIPT", "LOAD", &whole]))
    };
    Arc::new(SCRIPTS.map(load).into_iter().collect())
}

/// A node, as far as the scripts know nodes.
struct Node {
    connection: Connection,
    hashes: Arc<BTreeMap<&'static str, String>>,
    id: String,
    fence: String,
    lease: String,
    /// The id of the last entry that it has read.
    last: String,
    /// The counters `n` and `p`, as it knows them.
    counters: [String; 2],
    joined: Joined,
}

/// The rest of the answer of `join`.
#[derive(Default)]
struct Joined {
    is_known: bool,
    is_behind: bool,
    epoch: String,
    /// The token and the spelling of each session.
    sessions: Vec<String>,
}

impl Node {
    /// Runs a script. Returns the answer as [`flat`] does.
    #[track_caller]
    fn run(&mut self, script: &str, arguments: &[&str]) -> Vec<String> {
        let mut command = cmd("EVALSHA");
        command.arg(&self.hashes[script]).arg(1).arg(PREFIX);
        command.arg(&self.id).arg(&self.fence).arg(arguments);
        let answer = command.query::<Value>(&mut self.connection);
        flat(answer.unwrap_or_else(|e| panic!("{script} {arguments:?}: {e}")))
    }

    #[track_caller]
    fn expect(&mut self, script: &str, arguments: &[&str], answer: &[&str]) {
        assert_eq!(
            self.run(script, arguments),
            answer,
            "{script} {arguments:?}"
        );
    }

    #[track_caller]
    fn join(&mut self) {
        let (lease, last, [n, p]) = (self.lease.clone(), self.last.clone(), self.counters.clone());
        let answer = self.run("join", &[&lease, &last, &n, &p]);
        let [fence, is_known, is_behind, epoch, n, p, sessions @ ..] = &answer[..] else {
            panic!("{answer:?}");
        };
        self.fence.clone_from(fence);
        self.counters = [n.clone(), p.clone()];
        self.joined = Joined {
            is_known: is_known == "1",
            is_behind: is_behind == "1",
            epoch: epoch.clone(),
            sessions: sessions.to_vec(),
        };
    }

    /// Reads its inbox to the end, and returns the entries of other kinds than `hello` and `tick`.
    #[track_caller]
    fn read(&mut self) -> Vec<Entry> {
        let mut command = cmd("XRANGE");
        command
            .arg(self.inbox())
            .arg(format!("({}", self.last))
            .arg("+");
        let entries: Vec<(String, Entry)> = command.query(&mut self.connection).expect("entries");
        if let Some((id, _)) = entries.last() {
            self.last.clone_from(id);
        }
        let entries = entries.into_iter().map(|(_, entry)| entry);
        entries
            .filter(|it| !["hello", "tick"].contains(&&*it["k"]))
            .collect()
    }

    /// Reads the only entry, and expects these values in this order of fields.
    #[track_caller]
    fn expect_entry(&mut self, fields: &[(&str, &str)]) {
        let entries = self.read();
        let [entry] = &entries[..] else {
            panic!("expected one entry, got {entries:?}");
        };
        for (field, value) in fields {
            assert_eq!(
                entry.get(*field).map(String::as_str),
                Some(*value),
                "{entry:?}"
            );
        }
    }

    /// Reads its inbox, and returns the kinds of the entries.
    #[track_caller]
    fn kinds(&mut self) -> Vec<String> {
        let entries = self.read().into_iter();
        entries.map(|entry| entry["k"].clone()).collect()
    }

    fn inbox(&self) -> String {
        format!("{PREFIX}inbox:{}", self.id)
    }

    /// Fills its inbox to the limit of the scripts.
    #[track_caller]
    fn fill_inbox(&mut self) {
        let inbox = self.inbox();
        let length: usize = cmd("XLEN")
            .arg(&inbox)
            .query(&mut self.connection)
            .expect("a length");
        let mut commands = redis::pipe();
        for _ in length..10_000 {
            commands.cmd("XADD").arg(&inbox).arg(&["*", "k", "x"]);
        }
        commands
            .exec(&mut self.connection)
            .expect("room for the entries");
    }

    /// Removes from its inbox what it has read.
    #[track_caller]
    fn trim_inbox(&mut self) {
        let mut command = cmd("XTRIM");
        command.arg(self.inbox()).arg("MINID").arg(&self.last);
        command.exec(&mut self.connection).expect("a stream");
    }

    /// Claims a new name for the session of this token.
    #[track_caller]
    fn claim_new(&mut self, token: &str, name: &str) -> Vec<String> {
        self.claim(token, name, "new")
    }

    #[track_caller]
    fn claim(&mut self, token: &str, name: &str, mode: &str) -> Vec<String> {
        let folded = name.to_ascii_lowercase();
        self.run("claim", &[token, &folded, name, mode, "7"])
    }
}

/// Returns the strings and numbers of an answer in their order.
fn flat(value: Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.into_iter().flat_map(flat).collect(),
        Value::BulkString(bytes) => vec![String::from_utf8(bytes).expect("UTF-8")],
        Value::SimpleString(text) => vec![text],
        Value::Int(number) => vec![number.to_string()],
        Value::Nil => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// Returns a token that no other call returns.
fn token() -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    format!("{:032x}", 1 + LAST.fetch_add(1, Ordering::Relaxed))
}

#[test]
fn name_has_one_session_in_any_case() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two, mut three] = scripts.nodes();
    let (alice, bob) = (token(), token());
    assert_eq!(one.claim_new(&alice, "Alice"), ["done"]);
    assert_eq!(two.claim_new(&bob, "ALICE"), ["taken"]);
    assert_eq!(two.claim_new(&bob, "bob"), ["done"]);
    // A session has one name, and one node.
    assert_eq!(one.claim_new(&alice, "al"), ["named", "Alice"]);
    assert_eq!(two.claim_new(&alice, "Alice"), ["elsewhere", &one.id]);
    for node in [&mut one, &mut two, &mut three] {
        let entries = node.read();
        let told: Vec<_> = entries.iter().map(|it| (&*it["k"], &*it["name"])).collect();
        assert_eq!(told, [("joined", "Alice"), ("joined", "bob")]);
        assert_eq!(entries[0]["token"], alice);
        assert_eq!(entries[0]["q"], "7");
    }
}

#[test]
fn claim_again_restores_a_name_and_tells_no_node() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let alice = token();
    one.claim_new(&alice, "Alice");
    one.read();
    two.read();
    assert_eq!(one.claim(&alice, "Alice", "again"), ["mine"]);
    for name in ["al", "Alice"] {
        assert_eq!(one.claim(&alice, name, "again"), ["done"]);
    }
    assert_eq!(scripts.ask("HGETALL", "names", &[]).len(), 2);
    assert_eq!(two.kinds(), [""; 0]);
    // Another node's name stays with it.
    let other = token();
    assert_eq!(two.claim(&other, "alice", "again"), ["taken"]);
    assert_eq!(two.claim(&alice, "alice", "again"), ["elsewhere", &one.id]);
}

#[test]
fn claim_told_tells_joined_again() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let alice = token();
    assert_eq!(one.claim(&alice, "Alice", "told"), ["done"]);
    two.expect_entry(&[("k", "joined"), ("token", &alice), ("name", "Alice")]);
}

#[test]
fn claim_is_refused_while_the_own_inbox_is_full() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one] = scripts.nodes();
    one.fill_inbox();
    assert_eq!(one.claim_new(&token(), "alice"), ["full"]);
    assert_eq!(scripts.ask("HGETALL", "names", &[]), [""; 0]);
}

#[test]
fn private_message_goes_to_the_inbox_of_its_recipient() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two, mut three] = scripts.nodes();
    let (alice, bob) = (token(), token());
    one.claim_new(&alice, "Alice");
    two.claim_new(&bob, "Bob");
    one.read();
    two.read();
    three.read();
    let (first, second) = (one.id.clone(), two.id.clone());
    one.expect(
        "route",
        &["7", "bob", "Alice", "hi"],
        &["sent", &second, "Bob"],
    );
    two.expect_entry(&[
        ("k", "private"),
        ("q", "7"),
        ("from", &first),
        ("to", &bob),
        ("sender", "Alice"),
        ("text", "hi"),
    ]);
    one.expect("route", &["7", "absent", "Alice", "hi"], &["none"]);
    let suspected = ["7", "bob", "Alice", "hi", &three.id, &second];
    one.expect("route", &suspected, &["suspected", "Bob"]);
    two.fill_inbox();
    one.expect("route", &["7", "bob", "Alice", "hi"], &["full", "Bob"]);
    assert_eq!(three.kinds(), [""; 0]);
    assert_eq!(one.kinds(), [""; 0]);
}

#[test]
fn rename_moves_a_name_and_tells_all_nodes() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let (alice, bob) = (token(), token());
    one.claim_new(&alice, "Alice");
    two.claim_new(&bob, "bob");
    one.read();
    two.read();
    one.expect("rename", &[&alice, "bob", "Bob", "7"], &["taken"]);
    one.expect("rename", &[&alice, "alice", "Alice", "7"], &["same"]);
    two.expect("rename", &[&alice, "carol", "carol", "7"], &["gone"]);
    one.expect("rename", &[&token(), "carol", "carol", "7"], &["gone"]);
    one.expect("rename", &[&alice, "alice", "ALICE", "7"], &["done"]);
    one.expect("rename", &[&alice, "carol", "Carol", "8"], &["done"]);
    assert_eq!(
        scripts.ask("ZRANGE", "sorted", &["0", "-1"]),
        ["bob bob", "carol Carol"]
    );
    for node in [&mut one, &mut two] {
        let entries = node.read();
        let told = entries
            .iter()
            .map(|it| [&*it["k"], &it["old"], &it["name"], &it["q"]]);
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ["renamed", "Alice", "ALICE", "7"],
                ["renamed", "ALICE", "Carol", "8"]
            ]
        );
    }
    one.fill_inbox();
    one.expect("rename", &[&alice, "dora", "dora", "7"], &["full"]);
}

#[test]
fn list_counts_all_names_and_returns_those_that_fit() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    one.claim_new(&token(), "Carol");
    two.claim_new(&token(), "bob");
    two.claim_new(&token(), "BOBBY");
    for (prefix, bytes, answer) in [
        ("", "100", ["3", "bob BOBBY Carol"]),
        ("ca", "100", ["1", "Carol"]),
        ("bob", "100", ["2", "bob BOBBY"]),
        ("x", "100", ["0", ""]),
        ("", "5", ["3", "bob"]),
        ("", "0", ["3", ""]),
    ] {
        one.expect("list", &[prefix, bytes], &answer);
    }
}

#[test]
fn list_reads_on_behind_a_full_step() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one] = scripts.nodes();
    let names: Vec<String> = (0..600).map(|n| format!("n{n:03}")).collect();
    for name in &names {
        one.claim_new(&token(), name);
    }
    one.expect("list", &["n", "100000"], &["600", &names.join(" ")]);
}

#[test]
fn broadcast_reaches_all_inboxes_and_is_kept() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let mut nodes: [Node; 3] = scripts.nodes();
    let alice = token();
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        let number = (number + 1).to_string();
        let answer = nodes[0].run("broadcast", &["7", &alice, "Alice", text, "2"]);
        assert_eq!(answer[..2], ["sent", &number]);
        let mut reached = answer[2..].to_vec();
        reached.sort();
        assert_eq!(reached, nodes.each_ref().map(|it| it.id.clone()));
        let from = nodes[0].id.clone();
        for node in &mut nodes {
            node.expect_entry(&[
                ("k", "broadcast"),
                ("n", &number),
                ("q", "7"),
                ("from", &from),
                ("token", &alice),
                ("sender", "Alice"),
                ("text", text),
            ]);
        }
    }
    let history = scripts.ask("XRANGE", "history", &["-", "+"]);
    let texts = ["one", "two", "three"].map(|text| history.iter().any(|it| it == text));
    assert_eq!(texts, [false, true, true]);
    // Nothing is kept with `--history 0`.
    nodes[0].run("broadcast", &["7", &alice, "Alice", "four", "0"]);
    assert_eq!(scripts.ask("XLEN", "history", &[]), ["2"]);
}

#[test]
fn full_inbox_refuses_and_the_counter_shows_the_gap() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let send = |node: &mut Node| node.run("broadcast", &["7", &token(), "Alice", "hi", "0"]);
    send(&mut one);
    two.fill_inbox();
    assert_eq!(send(&mut one), ["sent", "2", &one.id]);
    two.read();
    two.trim_inbox();
    assert_eq!(send(&mut one).len(), 4);
    two.expect_entry(&[("k", "broadcast"), ("n", "3")]);
}

#[test]
fn old_connection_changes_nothing() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let alice = token();
    one.claim_new(&alice, "alice");
    let old = one.fence.clone();
    one.join();
    assert!(one.joined.is_known && !one.joined.is_behind);
    assert_eq!(one.joined.sessions, [&*alice, "alice"]);
    let new = std::mem::replace(&mut one.fence, old);
    one.read();
    two.read();
    let (second, lease) = (two.id.clone(), LEASE);
    for (script, arguments) in [
        ("ask", &["end", "7", &*alice][..]),
        ("broadcast", &["7", &alice, "alice", "hi", "9"]),
        ("claim", &[&token(), "zz", "zz", "new", "7"]),
        ("confirm", &[&second, "7", "queued", "1"]),
        ("leave", &["0-0"]),
        ("release", &["ended", &alice]),
        ("rename", &[&alice, "zz", "zz", "7"]),
        ("renew", &[lease, "500"]),
        ("route", &["7", "alice", "alice", "hi"]),
    ] {
        one.expect(script, arguments, &["lost"]);
    }
    assert_eq!(two.kinds(), [""; 0]);
    one.fence = new;
    one.expect("list", &["", "100"], &["1", "alice"]);
}

#[test]
fn name_is_taken_until_its_node_is_removed() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two, mut three] = scripts.nodes();
    let mut short = scripts.join("1");
    let dan = token();
    short.claim_new(&dan, "Dan");
    let short_id = short.id.clone();
    let all = [&one.id, &two.id, &three.id].map(String::clone);
    // The lease of a millisecond is over.
    wait_for("the end of a lease", || {
        let answer = three.run("renew", &[LEASE, "0"]);
        let at = answer.iter().position(|it| *it == short_id);
        answer[at.expect("the node") + 1].starts_with('-')
    });
    assert_eq!(one.claim_new(&token(), "dan"), ["taken"]);
    // A node whose own lease was over removes no other.
    scripts.ask("ZADD", "nodes", &["1", &all[1]]);
    let answer = two.run("renew", &[LEASE, "500"]);
    assert_eq!(answer[..2], ["done", "0"]);
    assert!(answer.contains(&short_id), "{answer:?}");
    one.read();
    let answer = one.run("renew", &[LEASE, "500"]);
    assert!(!answer.contains(&short_id), "{answer:?}");
    three.run("renew", &[LEASE, "500"]);
    // `left` is told once.
    one.expect_entry(&[("k", "left"), ("p", "2"), ("names", "Dan")]);
    // The removed node joins again, and claims the name again.
    assert_eq!(short.claim(&dan, "Dan", "again"), ["lost"]);
    short.lease = LEASE.to_owned();
    short.join();
    assert!(!short.joined.is_known);
    assert_eq!(short.joined.sessions, [""; 0]);
    assert_eq!(short.claim(&dan, "Dan", "told"), ["done"]);
    short.expect("release", &["ended", &dan], &["done", "1"]);
    let kinds = one.kinds();
    assert_eq!(kinds, ["joined", "left"]);
}

#[test]
fn left_of_a_removed_node_is_told_once_and_before_joined() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let mut short = scripts.join("1");
    let names: Vec<String> = (0..30).map(|n| format!("E{n:04}")).collect();
    for name in &names {
        short.claim_new(&token(), name);
    }
    one.read();
    two.read();
    let short_id = short.id.clone();
    wait_for("the removal of a node", || {
        !one.run("renew", &[LEASE, "10"]).contains(&short_id)
    });
    let first = one.read();
    let swept: Vec<&str> = first.iter().flat_map(|it| it["names"].split(' ')).collect();
    // A name that is not swept yet is free all the same.
    let free = names.iter().find(|it| !swept.contains(&&***it));
    let free = free.expect("a step sweeps ten names");
    assert_eq!(one.claim_new(&token(), free), ["done"]);
    while one.run("renew", &[LEASE, "10"])[1] == "1" {}
    let mut told = BTreeMap::new();
    for entry in two.read() {
        let names = entry.get("names").or(entry.get("name")).expect("a name");
        for name in names.split(' ') {
            let changes: &mut Vec<String> = told.entry(name.to_owned()).or_default();
            changes.push(entry["k"].clone());
        }
    }
    assert_eq!(told.len(), 30);
    assert!(told.iter().all(|(name, changes)| match name == free {
        true => *changes == ["left", "joined"],
        false => *changes == ["left"],
    }));
    one.expect("list", &["e", "1000"], &["1", free]);
    assert_eq!(scripts.ask("SCARD", "dead", &[]), ["0"]);
}

#[test]
fn join_brings_lost_data_up_to_what_a_node_has_read() {
    let Some(mut scripts) = Scripts::start() else {
        return;
    };
    let [mut one] = scripts.nodes();
    let alice = token();
    one.claim_new(&alice, "Alice");
    one.run("broadcast", &["7", &alice, "Alice", "hi", "9"]);
    one.read();
    one.counters = ["1", "1"].map(str::to_owned);
    let epoch = one.joined.epoch.clone();
    // The epoch is a time in milliseconds.
    wait_for("the next millisecond", || {
        let time: Vec<u64> = scripts.redis.ask(&["TIME"]);
        (time[0] * 1_000 + time[1] / 1_000).to_string() > epoch
    });
    scripts.redis.ask::<()>(&["FLUSHALL"]);
    scripts.hashes = load(&scripts.redis);
    assert_eq!(one.claim(&alice, "Alice", "again"), ["lost"]);
    one.join();
    assert!(!one.joined.is_known && one.joined.is_behind);
    assert_ne!(one.joined.epoch, epoch);
    assert_eq!(one.counters, ["1", "1"]);
    assert_eq!(one.joined.sessions, [""; 0]);
    scripts.ask("XADD", &format!("inbox:{}", one.id), &["*", "k", "after"]);
    assert_eq!(one.kinds(), ["after"]);
    assert_eq!(one.claim(&alice, "Alice", "again"), ["done"]);
    one.join();
    assert!(one.joined.is_known && !one.joined.is_behind);
    assert_eq!(one.joined.sessions, [&*alice, "Alice"]);
}

#[test]
fn join_continues_an_inbox_although_the_clock_goes_back() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one] = scripts.nodes();
    let (ms, _) = one.last.split_once('-').expect("an id");
    assert_eq!(ms, "0");
    one.read();
    let (ms, _) = one.last.split_once('-').expect("an id");
    let later = ms.parse::<u64>().expect("a time") + 1_000_000;
    one.last = format!("{later}-5");
    one.join();
    scripts.ask("XADD", &format!("inbox:{}", one.id), &["*", "k", "later"]);
    assert_eq!(one.kinds(), ["later"]);
}

#[test]
fn node_leaves_when_its_inbox_is_read() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let alice = token();
    one.claim_new(&alice, "alice");
    let last = one.last.clone();
    one.expect("leave", &[&last], &["more"]);
    one.read();
    let last = one.last.clone();
    one.expect("leave", &[&last], &["done"]);
    one.expect("leave", &[&last], &["lost"]);
    let id = one.id.clone();
    assert_eq!(scripts.ask("EXISTS", &format!("inbox:{id}"), &[]), ["0"]);
    // A name that it did not release is free at once, and swept by the next renewal.
    two.read();
    assert_eq!(two.claim_new(&token(), "alice"), ["done"]);
    assert_eq!(two.kinds(), ["left", "joined"]);
    assert_eq!(two.run("renew", &[LEASE, "500"])[1], "1");
    assert_eq!(two.run("renew", &[LEASE, "500"])[1], "0");
}

#[test]
fn release_frees_the_names_of_its_own_sessions_only() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let [alice, bob, carol] = [(); 3].map(|()| token());
    one.claim_new(&alice, "alice");
    one.claim_new(&bob, "bob");
    two.claim_new(&carol, "carol");
    two.read();
    one.expect(
        "release",
        &["ended", &alice, &carol, &token(), &bob],
        &["done", "2"],
    );
    one.expect("release", &["ended", &alice], &["done", "0"]);
    let told: Vec<String> = two.read().iter().map(|it| it["names"].clone()).collect();
    assert_eq!(told, ["alice bob"], "one entry, which counts as two");
    assert_eq!(scripts.ask("GET", "p", &[]), ["5"]);
    one.expect("list", &["", "100"], &["1", "carol"]);
    two.expect("release", &["stale", &carol], &["done", "1"]);
    assert_eq!(one.kinds().len(), 4);
    assert_eq!(two.kinds(), [""; 0]);
}

#[test]
fn ask_posts_to_the_node_of_another_session() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let (alice, bob) = (token(), token());
    one.claim_new(&alice, "alice");
    two.claim_new(&bob, "Bob");
    two.read();
    let (first, second) = (one.id.clone(), two.id.clone());
    for kind in ["end", "watch", "unwatch"] {
        one.expect("ask", &[kind, "7", &bob], &["sent", &second, "Bob"]);
        two.expect_entry(&[("k", kind), ("q", "7"), ("from", &first), ("token", &bob)]);
    }
    // A session of its own is not at another node.
    one.expect("ask", &["end", "7", &alice], &["none"]);
    one.expect("ask", &["end", "7", &token()], &["none"]);
    one.expect(
        "ask",
        &["end", "7", &bob, &first, &second],
        &["suspected", "Bob"],
    );
    two.fill_inbox();
    one.expect("ask", &["end", "7", &bob], &["full", "Bob"]);
}

#[test]
fn confirm_posts_the_outcome_to_the_asker() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let (first, second) = (one.id.clone(), two.id.clone());
    two.expect("confirm", &[&first, "7", "queued", "3"], &["sent"]);
    one.expect_entry(&[
        ("k", "confirm"),
        ("q", "7"),
        ("from", &second),
        ("outcome", "queued"),
        ("count", "3"),
    ]);
    two.expect("confirm", &["absent", "7", "queued", "3"], &["none"]);
    one.fill_inbox();
    two.expect("confirm", &[&first, "7", "gone", "0"], &["full"]);
}

#[test]
fn whois_names_a_session_and_tells_its_node() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, mut two] = scripts.nodes();
    let (alice, bob) = (token(), token());
    one.claim_new(&alice, "alice");
    two.claim_new(&bob, "Bob");
    two.read();
    let (first, second) = (one.id.clone(), two.id.clone());
    one.expect("whois", &[&bob], &["some", &second, "Bob"]);
    two.expect_entry(&[("k", "used"), ("from", &first), ("token", &bob)]);
    one.expect("whois", &[&alice], &["none"]);
    one.expect("whois", &[&token()], &["none"]);
    // A node with a full inbox is not told, and its session is found all the same.
    two.fill_inbox();
    one.expect("whois", &[&bob], &["some", &second, "Bob"]);
}

#[test]
fn heartbeat_goes_through_the_inbox_and_lists_all_nodes() {
    let Some(scripts) = Scripts::start() else {
        return;
    };
    let [mut one, two] = scripts.nodes();
    one.run("broadcast", &["7", &token(), "Alice", "hi", "0"]);
    let answer = one.run("renew", &[LEASE, "500"]);
    assert_eq!(answer[..2], ["done", "0"]);
    let mut nodes: Vec<&str> = answer[2..].iter().step_by(2).map(String::as_str).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [&*one.id, &*two.id]);
    let inbox = scripts.ask(
        "XREVRANGE",
        &format!("inbox:{}", one.id),
        &["+", "-", "COUNT", "1"],
    );
    assert_eq!(inbox[1..], ["k", "tick", "n", "1", "p", "0"]);
}
