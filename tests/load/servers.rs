//! Several servers that are one chat (*nodes*), beside one server without Redis.
//!
//! Each run has its own servers and its own redis-server on a unix socket. A round runs each case
//! with each number of nodes, in turn, so that another load on the machine concerns all of them.
//! The report has the medians of the rounds, with the smallest and the largest value.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cases::{Case, TEXT};
use super::engine::{Engine, Failure, LoadSettings, Spread};
use super::fanout::{Fanout, Pace};
use super::login::LoginCase;
use super::metrics::Metric;
use super::ping::Ping;
use super::process::{Counters, Measured, Process, Thread};
use super::progress::Progress;
use super::protocol::Protocol;
use super::report::short;
use super::server::Server;

/// The numbers of nodes that are compared. 0 is one server without Redis.
const NODES: [usize; 4] = [0, 1, 2, 3];

/// The default time in which a run sends.
const DURATION: Duration = Duration::from_secs(1);

/// More messages than a run sends in its time.
const MESSAGES: u64 = 100_000_000;

/// How long a redis-server or a node may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A case, and where its clients are.
#[derive(Clone)]
struct Placed {
    case: Case,
    /// The number of consecutive clients at one node.
    together: usize,
    /// The smallest number of nodes that it makes sense for.
    nodes: usize,
}

impl Placed {
    fn name(&self) -> String {
        let name = self.case.name();
        match (&self.case, self.together) {
            (Case::Ping(_), 1) => format!("{name}-across"),
            (Case::Ping(_), _) => format!("{name}-local"),
            _ => name,
        }
    }
}

/// Returns the cases. `is_quick` leaves one of each kind, with few clients.
fn cases(is_quick: bool) -> Vec<Placed> {
    let spread = |case| Placed {
        case,
        together: 1,
        nodes: 0,
    };
    let fanout = |clients, senders, pace| {
        spread(Case::Fanout(Fanout {
            clients,
            senders,
            broadcasts: MESSAGES,
            pace,
            text: TEXT,
        }))
    };
    let ping = |pairs, together, nodes| Placed {
        case: Case::Ping(Ping {
            pairs,
            messages: MESSAGES,
            text: TEXT,
        }),
        together,
        nodes,
    };
    let login = |clients| {
        spread(Case::Login(LoginCase {
            clients,
            watchers: 0,
        }))
    };
    if is_quick {
        return vec![
            fanout(12, 4, Pace::InFlight(4)),
            ping(3, 2, 0),
            ping(3, 1, 2),
            login(30),
        ];
    }
    vec![
        fanout(100, 1, Pace::InFlight(1)),
        fanout(100, 1, Pace::InFlight(8)),
        fanout(100, 32, Pace::InFlight(32)),
        fanout(100, 32, Pace::Deliveries(32)),
        fanout(1_000, 1, Pace::InFlight(1)),
        fanout(1_000, 32, Pace::InFlight(32)),
        ping(1, 2, 0),
        ping(1, 1, 2),
        ping(50, 2, 0),
        ping(50, 1, 2),
        login(1_000),
    ]
}

/// The runs of the report.
pub(crate) struct Comparison {
    pub(crate) rounds: usize,
    pub(crate) is_quick: bool,
    /// The names of the cases to run. If it is empty, all cases run.
    pub(crate) names: Vec<String>,
    /// The settings of all runs. Without a maximum duration, a run sends for [`DURATION`].
    pub(crate) settings: LoadSettings,
}

/// The figures of a run, by their keys.
type Figures = BTreeMap<&'static str, f64>;

/// The runs of one case with one number of nodes.
struct Row {
    case: Placed,
    nodes: usize,
    runs: Vec<Figures>,
}

/// The report: all runs, grouped by case and number of nodes.
pub(crate) struct Report(Vec<Row>);

impl Comparison {
    /// Returns the largest number of clients.
    pub(crate) fn clients(&self) -> usize {
        let clients = self.cases().map(|it| it.case.clients());
        clients.max().unwrap_or(0)
    }

    /// Returns the names that no case has.
    pub(crate) fn unknown_names(&self) -> impl Iterator<Item = &String> {
        let is_known = |name: &str| cases(self.is_quick).iter().any(|it| it.name() == name);
        self.names.iter().filter(move |name| !is_known(name))
    }

    fn cases(&self) -> impl Iterator<Item = Placed> {
        let is_wanted = |it: &Placed| self.names.is_empty() || self.names.contains(&it.name());
        cases(self.is_quick).into_iter().filter(is_wanted)
    }

    /// Runs all rounds with the server at this path.
    pub(crate) fn run(&self, server: &str) -> Result<Report, Failure> {
        let counts = match self.is_quick {
            true => &NODES[..3],
            false => &NODES,
        };
        let mut rows = Vec::new();
        for case in self.cases() {
            for &nodes in counts.iter().filter(|&&nodes| nodes >= case.nodes) {
                rows.push(Row {
                    case: case.clone(),
                    nodes,
                    runs: Vec::new(),
                });
            }
        }
        for round in 1..=self.rounds {
            for row in &mut rows {
                let what = format!("{} with {} nodes", row.case.name(), row.nodes);
                let progress = Progress::of(format!("round {round}, {what}"));
                let run = run(&row.case, row.nodes, self.settings, server, progress);
                let figures = run.map_err(|failure| Failure(format!("{what}: {failure}")))?;
                row.runs.push(for_each_message(&row.case.case, &figures));
            }
        }
        Ok(Report(rows))
    }
}

/// Runs a case once, with servers of its own.
fn run(
    placed: &Placed,
    nodes: usize,
    settings: LoadSettings,
    path: &str,
    progress: Progress,
) -> Result<Vec<Metric>, Failure> {
    let redis = (nodes > 0).then(Redis::start).transpose()?;
    let options = redis.as_ref().map_or_else(Vec::new, Redis::options);
    let mut servers = Vec::new();
    for _ in 0..nodes.max(1) {
        servers.push(Server::start(path, &options)?);
    }
    let spread = Spread {
        addresses: servers.iter().map(|server| server.address).collect(),
        together: placed.together,
    };
    let processes = servers.iter_mut().filter_map(|it| it.process.take());
    let processes: Vec<Process> = processes.collect();
    let measured = match &redis {
        Some(redis) => redis.measure(processes)?,
        None => Measured::new(processes),
    };
    let settings = LoadSettings {
        max_duration: settings.max_duration.or(Some(DURATION)),
        ..settings
    };
    let mut engine = Engine::new(spread, Protocol::Cp, settings, progress)?;
    placed.case.run(&mut engine, Some(&measured))
}

/// Tries until there is a result, or [`START_TIMEOUT`] is over.
fn retry<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(_) if began.elapsed() < START_TIMEOUT => thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
}

/// A redis-server on a unix socket. Dropping it ends the process and removes its folder.
struct Redis {
    folder: PathBuf,
    child: Child,
}

impl Redis {
    fn start() -> Result<Redis, Failure> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("chat-load-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .arg("--unixsocket")
            .arg(folder.join("socket"))
            .arg("--dir")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(e) => {
                fs::remove_dir(&folder)?;
                return Err(Failure(format!(
                    "redis-server, a package of this name: {e}"
                )));
            }
        };
        let redis = Redis { folder, child };
        retry(|| redis.connect())?;
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("unix://{}", self.folder.join("socket").display())
    }

    /// Returns the options of a node.
    fn options(&self) -> Vec<String> {
        vec!["--redis".to_owned(), self.url()]
    }

    fn connect(&self) -> Result<redis::Connection, Failure> {
        let connection = redis::Client::open(self.url()).and_then(|it| it.get_connection());
        connection.map_err(|e| Failure(e.to_string()))
    }

    /// Measures nodes, their threads for Redis, and Redis itself.
    fn measure(&self, nodes: Vec<Process>) -> Result<Measured, Failure> {
        let process = Process::of(self.child.id())?;
        // A thread sets its name itself, after its start.
        let find = |node: &Process, name| retry(|| Ok(node.thread(name)?));
        let threads = |name| nodes.iter().map(|node| find(node, name)).collect();
        let inboxes: Result<Vec<Thread>, Failure> = threads("redis-in");
        let outs: Result<Vec<Thread>, Failure> = threads("redis-out");
        let (inboxes, outs) = (inboxes?, outs?);
        let connection = RefCell::new(self.connect()?);
        let read = move || {
            let micros = |time: Duration| time.as_secs_f64() * 1e6;
            let sum = |threads: &[Thread]| {
                let times = threads.iter().map(Thread::cpu);
                times.sum::<io::Result<Duration>>().map(micros)
            };
            let mut counters: Counters = vec![
                ("redis_cpu_us", micros(process.cpu()?)),
                ("redis_in_cpu_us", sum(&inboxes)?),
                ("redis_out_cpu_us", sum(&outs)?),
            ];
            let info = redis::cmd("INFO")
                .arg("all")
                .query::<String>(&mut connection.borrow_mut())
                .map_err(io::Error::other)?;
            counters.extend(commands(&info));
            Ok(counters)
        };
        Ok(Measured::with(nodes, read))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns the counters of the commands that nodes send, from the text of INFO.
fn commands(info: &str) -> Counters {
    let value = |line: &str, key: &str| {
        let value = info.lines().find_map(|it| it.strip_prefix(line))?;
        let mut values = value.trim_end().split(',');
        values.find_map(|it| it.strip_prefix(key)?.parse::<f64>().ok())
    };
    let command = |name: &str, key: &str| value(&format!("cmdstat_{name}:"), key).unwrap_or(0.0);
    let scripts = command("evalsha", "calls=");
    let reads = command("xread", "calls=");
    vec![
        ("redis_scripts", scripts),
        ("redis_script_us", command("evalsha", "usec=")),
        ("redis_inbox_reads", reads),
        // Each read of an inbox also asks for the time, and may delete entries. Scripts use none
        // of these commands except TIME, so that TIME is not counted by its name.
        (
            "redis_commands",
            scripts + 2.0 * reads + command("xtrim", "calls="),
        ),
        (
            "redis_socket_reads",
            value("total_reads_processed:", "").unwrap_or(0.0),
        ),
    ]
}

/// Returns the figures for each message: a broadcast, a private message or a login.
fn for_each_message(case: &Case, figures: &[Metric]) -> Figures {
    let recipients = match case {
        Case::Fanout(fanout) => fanout.clients as f64 - 1.0,
        _ => 1.0,
    };
    let mut values: Figures = figures
        .iter()
        .filter_map(|it| Some((it.key, it.value?)))
        .map(|(key, value)| match key.strip_prefix("redis_") {
            Some(_) => (key, value * recipients),
            None => (key, value),
        })
        .collect();
    let mut derive = |key, from, factor: f64| {
        if let Some(&value) = values.get(from) {
            values.insert(key, value * factor);
        }
    };
    derive("messages_per_s", "deliveries_per_s", 1.0 / recipients);
    derive("messages_per_s", "logins_per_s", 1.0);
    derive("cpu_per_message_us", "cpu_per_delivery_us", recipients);
    derive("cpu_per_message_us", "cpu_per_login_us", 1.0);
    values
}

/// The columns of a table: the title and the figure of each.
const COLUMNS: [(&str, &str); 12] = [
    ("a second", "messages_per_s"),
    ("p50, µs", "latency_p50_us"),
    ("p99, µs", "latency_p99_us"),
    ("nodes, CPU µs", "cpu_per_message_us"),
    ("for a delivery", "cpu_per_delivery_us"),
    ("redis-in", "redis_in_cpu_us"),
    ("redis-out", "redis_out_cpu_us"),
    ("Redis, CPU µs", "redis_cpu_us"),
    ("in scripts", "redis_script_us"),
    ("commands", "redis_commands"),
    ("scripts", "redis_scripts"),
    ("socket reads", "redis_socket_reads"),
];

/// The figures that are shown with their smallest and largest value.
const WITH_RANGE: [&str; 4] = [
    "messages_per_s",
    "latency_p50_us",
    "cpu_per_message_us",
    "redis_cpu_us",
];

/// Says what the numbers of the tables mean.
const LEGEND: &str = "\
Medians of all rounds, with the smallest and the largest value. Nodes 0: one server without Redis.
A fanout is fanout-CLIENTS-SENDERS-IN_FLIGHT[-deliveries], its message is a broadcast. A ping is
ping-PAIRS, with both clients of a pair at one node or across two. A login is login-CLIENTS-0.
p50 and p99: of a fanout from the sending to each recipient, of a ping for two messages, of a login
until its response. CPU, commands and the like: for each message or login, in all nodes together.
redis-in, redis-out: CPU of these threads. In scripts: the part of Redis's CPU that runs scripts.
";

impl Row {
    /// Returns the values of a figure, the smallest first.
    fn values(&self, key: &str) -> Vec<f64> {
        let values = self.runs.iter().filter_map(|run| run.get(key).copied());
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// Returns the cell of a figure. It is empty if no run has the figure.
    fn cell(&self, key: &str) -> String {
        let values = self.values(key);
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return String::new();
        };
        let median = short(values[values.len() / 2]);
        match WITH_RANGE.contains(&key) && values.len() > 1 {
            true => format!("{median} ({}–{})", short(*first), short(*last)),
            false => median,
        }
    }
}

impl Report {
    /// Returns a table in Markdown for each kind of case, and a legend.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        let kind = |row: &Row| row.case.case.kind();
        for rows in self.0.chunk_by(|a, b| kind(a) == kind(b)) {
            let is_known = |key: &str| rows.iter().any(|row| !row.values(key).is_empty());
            let columns = COLUMNS.iter().filter(|(_, key)| is_known(key));
            let columns: Vec<_> = columns.collect();
            let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
            text += &format!("| case | nodes | {} |\n", titles.join(" | "));
            text += &format!("|---|---:|{}\n", "---:|".repeat(columns.len()));
            for row in rows {
                let cells: Vec<String> = columns.iter().map(|(_, key)| row.cell(key)).collect();
                let (name, nodes) = (row.case.name(), row.nodes);
                text += &format!("| {name} | {nodes} | {} |\n", cells.join(" | "));
            }
            text.push('\n');
        }
        text + LEGEND
    }

    /// Returns a JSON array with one object for each run. All names are constants, so nothing
    /// needs escaping.
    pub(crate) fn json(&self) -> String {
        let mut objects = Vec::new();
        for row in &self.0 {
            for (round, figures) in row.runs.iter().enumerate() {
                let mut object = format!(
                    "{{\"case\":\"{}\",\"nodes\":{},\"round\":{}",
                    row.case.name(),
                    row.nodes,
                    round + 1
                );
                for (key, value) in figures {
                    let written = write!(object, ",\"{key}\":{value}");
                    debug_assert!(written.is_ok(), "a write to a String never fails");
                }
                object.push('}');
                objects.push(object);
            }
        }
        format!("[\n{}\n]\n", objects.join(",\n"))
    }
}
