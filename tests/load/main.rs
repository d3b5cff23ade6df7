//! The load generator: it measures the speed and the cost of a chat server.
//!
//! It speaks CP and IRC, so that the same load runs against this server and against IRC
//! servers. `make bench` runs the standard cases against this server, and `make bench-peers`
//! compares it with others. `cargo bench --bench load -- --help` explains how to run one case.
//!
//! The files, in reading order:
//!
//! | file | what it is |
//! |---|---|
//! | `protocol.rs` | the messages of CP and IRC |
//! | `message.rs` | texts with sender and number, and the ledger that checks them |
//! | `engine.rs` | the epoll loop and the connections |
//! | `ramp_up.rs` | the login of all clients |
//! | `fanout.rs`, `ping.rs`, `idle.rs`, `login.rs` | the cases |
//! | `metrics.rs`, `process.rs` | the metrics and their sources |
//! | `cases.rs` | the standard cases |
//! | `server.rs` | the loaded server |
//! | `floor.rs` | the floor of the shape: a server that only reads and writes |
//! | `report.rs`, `progress.rs` | the output |
//! | `servers.rs` | several servers that are one chat, beside one server |
//!
//! Its tests are in `tests/it/load.rs`, which includes this file as a module, because Cargo
//! runs no tests of a bench target without a harness.

#![forbid(unsafe_code)]

mod cases;
mod engine;
mod fanout;
pub(crate) mod floor;
mod idle;
mod login;
pub(crate) mod message;
mod metrics;
mod ping;
pub(crate) mod process;
mod progress;
pub(crate) mod protocol;
mod ramp_up;
mod report;
mod server;
#[cfg(feature = "redis")]
mod servers;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use getopts::{Matches, Options};
use rustix::process::{Resource, getrlimit, setrlimit};

use cases::Case;
use engine::{Engine, Failure, LoadSettings};
use fanout::{Fanout, Pace};
use floor::FLOOR_SERVER;
use idle::IdleCase;
use login::LoginCase;
use ping::Ping;
use process::Measured;
use progress::Progress;
use protocol::Protocol;
use report::Outcome;
use server::Server;
#[cfg(feature = "redis")]
use servers::Comparison;

/// The server of the same build, which is the default.
const OWN_SERVER: &str = env!("CARGO_BIN_EXE_chat-server");

/// The default idle timeout: longer than a server needs to announce 4,000 clients to each
/// other.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The default number of clients that log in at the same time: enough to keep a server busy,
/// and few enough for its listen backlog.
const LOGINS_AT_ONCE: usize = 64;

/// The default number of rounds of `servers`.
const ROUNDS: usize = 5;

/// Descriptors that are not connections: the standard streams, epoll, the timer, and a few of
/// /proc.
const OTHER_DESCRIPTORS: u64 = 32;

#[cfg_attr(test, allow(dead_code, reason = "the tests call run"))]
fn main() -> ExitCode {
    // `cargo bench` appends --bench, which the server would get as an option.
    let arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let arguments: Vec<String> = arguments.collect();
    match run(&arguments, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(match error {
                Error::Failed(_) => 1,
                Error::Usage(_) => 2,
            })
        }
    }
}

/// The reason why there is no report.
#[derive(Debug)]
pub(crate) enum Error {
    /// The arguments are wrong.
    Usage(String),
    /// A case has failed.
    Failed(Failure),
}

/// Runs the cases of the arguments and prints the report.
pub(crate) fn run(arguments: &[String], out: &mut impl Write) -> Result<(), Error> {
    let table = options();
    let matches = table.parse(arguments)?;
    if matches.opt_present("help") {
        return print(out, &table.usage(BRIEF));
    }
    if matches.free.first().is_some_and(|it| it == FLOOR_SERVER) {
        return floor::run(out).map_err(|e| Error::Failed(e.into()));
    }
    if matches.opt_present("list") {
        let names: Vec<String> = cases::standard().iter().map(Case::name).collect();
        return print(out, &format!("{}\n", names.join("\n")));
    }
    if matches.free.first().is_some_and(|it| it == "servers") {
        return compare_servers(&matches, out);
    }
    let plan = Plan::from_matches(&matches)?;
    let clients = plan.cases.iter().map(Case::clients).max().unwrap_or(0);
    raise_descriptor_limit(clients)?;
    let mut outcomes = Vec::new();
    for case in plan.cases {
        let figures = run_case(&case, &plan.target, plan.settings)
            .map_err(|failure| Failure(format!("{}: {failure}", case.name())))?;
        let outcome = Outcome {
            case,
            protocol: plan.target.protocol(),
            figures,
        };
        outcomes.push(outcome);
    }
    if let Some(path) = matches.opt_str("json") {
        write_file(&path, &report::json(&outcomes))?;
    }
    print(out, &report::table(&outcomes))
}

const BRIEF: &str = "\
Loads a chat server, and reports its throughput, its latencies and its cost.

Usage: load [OPTION ...] [CASE [SERVER-OPTION ...]]

CASE is fanout, ping, hold or login, with the options below, or the name of a standard
case. Without a CASE, all standard cases run. Each case starts the server of this build,
with the SERVER-OPTIONs behind `--`, unless --address or --floor is given.

CASE servers compares several servers that are one chat with one server, in rounds of
several cases, or in those whose names follow. It needs a build with the feature redis,
and redis-server.

Pacing of a fanout with --in-flight W:
  broadcasts  a sender sends when fewer than its share of W broadcasts are in flight.
              A broadcast is in flight until its last recipient has it.
  deliveries  the next sender in turn sends while fewer than W x (clients - 1)
              deliveries are in flight. Each recipient of a broadcast is one delivery.";

fn options() -> Options {
    let mut table = Options::new();
    let mut value = |name: &str, argument: &str, meaning: String| {
        table.optopt("", name, &meaning, argument);
    };
    let (clients, messages, text) = (cases::CLIENTS, cases::MESSAGES, cases::TEXT);
    let (stay, idle_timeout) = (cases::STAY.as_secs(), IDLE_TIMEOUT.as_secs());
    value(
        "clients",
        "N",
        format!("fanout, hold, login: number of clients ({clients})"),
    );
    value("senders", "S", "fanout: number of senders (1)".into());
    value(
        "in-flight",
        "W",
        "fanout: window in broadcasts (1 for each sender)".into(),
    );
    value(
        "pacing",
        "broadcasts|deliveries",
        "fanout: unit in which the window is counted (broadcasts)".into(),
    );
    value(
        "rate",
        "R",
        "fanout: broadcasts per second, instead of a window".into(),
    );
    value("pairs", "P", "ping: number of pairs (1)".into());
    value(
        "watchers",
        "N",
        "login: number of clients that watch presence (0)".into(),
    );
    value(
        "messages",
        "M",
        format!("fanout, ping: number of messages ({messages})"),
    );
    value(
        "stay",
        "S",
        format!("hold: seconds in which all clients are idle ({stay})"),
    );
    value(
        "max-seconds",
        "S",
        "fanout, ping: seconds after which nothing more is sent (no limit; servers: 1)".into(),
    );
    value(
        "rounds",
        "N",
        format!("servers: number of rounds ({ROUNDS})"),
    );
    value("text", "BYTES", format!("size of a text ({text})"));
    value("server", "cp|irc|irc-echo", "protocol (cp)".into());
    value("address", "ADDR:PORT", "address of a running server".into());
    value(
        "pid",
        "PID",
        "process of that server, whose cost is measured".into(),
    );
    value("spawn", "PATH", "chat-server to start".into());
    value(
        "idle-timeout",
        "S",
        format!("seconds without a message after which a case fails ({idle_timeout})"),
    );
    value(
        "logins-at-once",
        "N",
        format!("number of logins at the same time ({LOGINS_AT_ONCE})"),
    );
    value("json", "FILE", "file for the report in JSON".into());
    table
        .optflag("", "quick", "send a twentieth of the messages, as a trial")
        .optflag("", "floor", "start the floor of the shape")
        .optflag("", "list", "print the names of the standard cases")
        .optflag("h", "help", "print this text");
    table
}

/// The cases to run, their server and their settings.
struct Plan {
    cases: Vec<Case>,
    target: Target,
    settings: LoadSettings,
}

/// The server to load.
enum Target {
    Running {
        protocol: Protocol,
        address: SocketAddr,
        pid: Option<u32>,
    },
    Started {
        path: String,
        options: Vec<String>,
    },
    Floor,
}

impl Plan {
    fn from_matches(matches: &Matches) -> Result<Plan, Error> {
        let (case, options) = match matches.free.split_first() {
            Some((case, options)) => (Some(case.as_str()), options),
            None => (None, [].as_slice()),
        };
        let mut cases = match case {
            None => cases::standard(),
            Some(kind @ ("fanout" | "ping" | "hold" | "login")) => vec![case_of(kind, matches)?],
            Some(name) => {
                let case = cases::standard().into_iter().find(|it| it.name() == name);
                vec![case.ok_or_else(|| Error::Usage(format!("{name:?}: expected a case")))?]
            }
        };
        if matches.opt_present("quick") {
            cases = cases.into_iter().map(Case::quick).collect();
        }
        let target = Target::from_matches(matches, options)?;
        let needs_presence = |case: &Case| case.kind() == "login";
        if target.protocol() != Protocol::Cp && cases.iter().any(needs_presence) {
            return Err(Error::Usage(
                "the case login: expected a server of the protocol cp".to_owned(),
            ));
        }
        if target.protocol() == Protocol::IrcEcho && cases.iter().any(|it| it.kind() == "fanout") {
            return Err(Error::Usage(
                "--server irc-echo: expected the case ping or hold".to_owned(),
            ));
        }
        Ok(Plan {
            cases,
            target,
            settings: settings(matches)?,
        })
    }
}

/// Returns the settings that all cases share.
fn settings(matches: &Matches) -> Result<LoadSettings, Error> {
    let idle_timeout: Option<f64> = value(matches, "idle-timeout")?;
    Ok(LoadSettings {
        idle_timeout: idle_timeout.map_or(IDLE_TIMEOUT, Duration::from_secs_f64),
        logins_at_once: value(matches, "logins-at-once")?.unwrap_or(LOGINS_AT_ONCE),
        max_duration: max_duration(matches)?,
    })
}

/// Returns the limit of the option `--max-seconds`.
fn max_duration(matches: &Matches) -> Result<Option<Duration>, Error> {
    let Some(seconds) = value::<f64>(matches, "max-seconds")? else {
        return Ok(None);
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(Error::Usage(format!(
            "--max-seconds: {seconds}: expected a number above 0"
        ))),
    }
}

/// Returns what the window of a fanout counts, from the option `--pacing`.
fn closed_loop(matches: &Matches, window: usize) -> Result<Pace, Error> {
    match matches.opt_str("pacing").as_deref() {
        None | Some("broadcasts") => Ok(Pace::InFlight(window)),
        Some("deliveries") => Ok(Pace::Deliveries(window)),
        Some(other) => Err(Error::Usage(format!(
            "--pacing: {other:?}: expected broadcasts or deliveries"
        ))),
    }
}

/// Makes a case of this kind from the options.
fn case_of(kind: &str, matches: &Matches) -> Result<Case, Error> {
    let clients = value(matches, "clients")?.unwrap_or(cases::CLIENTS);
    let messages = value(matches, "messages")?.unwrap_or(cases::MESSAGES);
    let text = value(matches, "text")?.unwrap_or(cases::TEXT);
    if text < message::SHORTEST {
        let least = message::SHORTEST;
        return Err(Error::Usage(format!(
            "--text {text}: expected a number, at least {least}"
        )));
    }
    let case = match kind {
        "fanout" => {
            let senders = value(matches, "senders")?.unwrap_or(1);
            let window = value(matches, "in-flight")?.unwrap_or(senders);
            let rate: Option<f64> = value(matches, "rate")?;
            Case::Fanout(Fanout {
                clients,
                senders,
                broadcasts: messages,
                pace: match rate {
                    Some(rate) => Pace::PerSecond(rate),
                    None => closed_loop(matches, window)?,
                },
                text,
            })
        }
        "ping" => Case::Ping(Ping {
            pairs: value(matches, "pairs")?.unwrap_or(1),
            messages,
            text,
        }),
        "login" => Case::Login(LoginCase {
            clients,
            watchers: value(matches, "watchers")?.unwrap_or(0),
        }),
        _ => Case::IdleCase(IdleCase {
            clients,
            stay: value(matches, "stay")?.map_or(cases::STAY, Duration::from_secs),
        }),
    };
    match case.validate() {
        Some(problem) => Err(Error::Usage(problem)),
        None => Ok(case),
    }
}

impl Target {
    fn from_matches(matches: &Matches, options: &[String]) -> Result<Target, Error> {
        let protocol = match matches.opt_str("server").as_deref() {
            None | Some("cp") => Protocol::Cp,
            Some("irc") => Protocol::Irc,
            Some("irc-echo") => Protocol::IrcEcho,
            Some(other) => {
                return Err(Error::Usage(format!(
                    "--server: {other:?}: expected cp, irc or irc-echo"
                )));
            }
        };
        if matches.opt_present("floor") {
            return Ok(Target::Floor);
        }
        match matches.opt_str("address") {
            Some(address) => Ok(Target::Running {
                protocol,
                address: address
                    .to_socket_addrs()
                    .ok()
                    .and_then(|mut all| all.next())
                    .ok_or_else(|| {
                        Error::Usage(format!("--address {address:?}: expected ADDR:PORT"))
                    })?,
                pid: value(matches, "pid")?,
            }),
            None if protocol != Protocol::Cp => Err(Error::Usage(
                "--server irc: expected an --address".to_owned(),
            )),
            None => Ok(Target::Started {
                path: matches
                    .opt_str("spawn")
                    .unwrap_or_else(|| OWN_SERVER.to_owned()),
                options: options.to_vec(),
            }),
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Target::Running { protocol, .. } => *protocol,
            Target::Started { .. } | Target::Floor => Protocol::Cp,
        }
    }

    fn server(&self) -> Result<Server, Failure> {
        match self {
            Target::Running { address, pid, .. } => Server::at(*address, *pid),
            Target::Started { path, options } => Server::start(path, options),
            Target::Floor => Server::start_floor(),
        }
    }
}

/// Parses the value of an option, if it is given.
fn value<T: FromStr>(matches: &Matches, name: &str) -> Result<Option<T>, Error> {
    let parse = |text: String| {
        text.parse()
            .map_err(|_| Error::Usage(format!("--{name} {text:?}: expected a number")))
    };
    matches.opt_str(name).map(parse).transpose()
}

/// Compares several servers that are one chat with one server.
#[cfg(feature = "redis")]
fn compare_servers(matches: &Matches, out: &mut impl Write) -> Result<(), Error> {
    let comparison = Comparison {
        rounds: value(matches, "rounds")?.unwrap_or(ROUNDS),
        is_quick: matches.opt_present("quick"),
        names: matches.free[1..].to_vec(),
        settings: settings(matches)?,
    };
    if let Some(name) = comparison.unknown_names().next() {
        return Err(Error::Usage(format!(
            "{name:?}: expected a case of servers"
        )));
    }
    if comparison.rounds == 0 {
        return Err(Error::Usage("--rounds: expected at least 1".to_owned()));
    }
    raise_descriptor_limit(comparison.clients())?;
    let server = matches.opt_str("spawn");
    let report = comparison.run(server.as_deref().unwrap_or(OWN_SERVER))?;
    if let Some(path) = matches.opt_str("json") {
        write_file(&path, &report.json())?;
    }
    print(out, &report.tables())
}

/// Refuses, because the servers of this build have no Redis.
#[cfg(not(feature = "redis"))]
fn compare_servers(_: &Matches, _: &mut impl Write) -> Result<(), Error> {
    Err(Error::Usage(
        "the case servers: expected a build with the feature redis, as make bench-servers has"
            .to_owned(),
    ))
}

fn run_case(
    case: &Case,
    target: &Target,
    settings: LoadSettings,
) -> Result<Vec<metrics::Metric>, Failure> {
    let mut server = target.server()?;
    let progress = Progress::of(format!("{} on {}", case.name(), target.protocol()));
    let spread = server.address.into();
    let mut engine = Engine::new(spread, target.protocol(), settings, progress)?;
    let measured = server.process.take().map(|it| Measured::new(vec![it]));
    case.run(&mut engine, measured.as_ref())
}

/// Raises the limit of descriptors for all connections. The usual soft limit is 1,024.
fn raise_descriptor_limit(clients: usize) -> Result<(), Failure> {
    let wanted = clients as u64 + OTHER_DESCRIPTORS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(Failure(format!(
            "{clients} clients need {wanted} descriptors: ulimit -Hn {wanted}"
        )));
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(io::Error::from)?;
    Ok(())
}

fn write_file(path: &str, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| Failure(format!("cannot write {path}: {e}")))
}

fn print(out: &mut impl Write, text: &str) -> Result<(), Error> {
    out.write_all(text.as_bytes())
        .map_err(|e| Error::Failed(e.into()))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Failed(failure)
    }
}

impl From<getopts::Fail> for Error {
    fn from(fail: getopts::Fail) -> Error {
        Error::Usage(fail.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(problem) => write!(f, "{problem}; --help tells more"),
            Error::Failed(failure) => failure.fmt(f),
        }
    }
}
