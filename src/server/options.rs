//! The command line of `chat-server`, with a getopts table.
//!
//! Does not know sockets: an address is checked for its form, and resolved later.
//!
//! Invariant: a [`Config`] from [`parse`] is valid.

use std::ffi::OsStr;
use std::fmt;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use getopts::{Matches, Options};

use crate::cli::{BadUsage, is_address};
#[cfg(feature = "redis")]
use crate::cluster::settings::{BadSettings, Settings};
use crate::limits;

/// The operation that the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Run the server.
    Run {
        /// The values of the options.
        config: Config,
        /// The number of `-v` options.
        verbosity: usize,
    },
    /// Print this text on stdout, and exit.
    Print(String),
    /// Print a fresh access token on stdout, and end.
    NewToken,
}

/// The configuration of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The addresses to listen on: `HOST:PORT`, at least one.
    pub listen: Vec<String>,
    /// The most clients, at least one. The server lowers it if the system has less room.
    pub max_clients: usize,
    /// The most clients from one address, except loopback. `None` is no limit.
    pub max_per_address: Option<usize>,
    /// The most bytes of deliveries in the queue of one client, at least [`limits::MIN_QUEUE`].
    pub queue: usize,
    /// Requests a second of one client. 0 is no limit.
    pub rate: u32,
    /// Requests of one client that may come at once, at least one.
    pub burst: u32,
    /// The longest time from the accept to the first name.
    pub login_timeout: Duration,
    /// The longest time until the kernel has accepted a batch.
    pub write_timeout: Duration,
    /// The time in which a lost session can be resumed. Zero is never.
    pub linger: Duration,
    /// The longest time at shutdown until all queues are written.
    pub grace: Duration,
    /// The number of the newest broadcasts that are kept; 0 keeps none.
    pub history: usize,
    /// The file of access tokens. `None`: the server is open to everyone.
    pub access_file: Option<PathBuf>,
    /// Whether reader threads write to idle clients themselves, instead of waking the writer
    /// threads.
    pub direct_writes: bool,
    /// The Redis and the chat that this server shares with others. `None`: it is alone.
    #[cfg(feature = "redis")]
    pub cluster: Option<Settings>,
}

/// The variable of the environment that gives the URL of `--redis`. A URL may hold a password,
/// and other users can see arguments.
pub const REDIS_VARIABLE: &str = "CHAT_REDIS";

/// Parses the arguments, without the program's name. `redis` is the value of [`REDIS_VARIABLE`].
pub fn parse<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    redis: Option<String>,
) -> Result<Operation, BadUsage> {
    let table = table();
    let matches = table.parse(arguments)?;
    if matches.opt_present("help") {
        return Ok(Operation::Print(help(&table)));
    }
    if matches.opt_present("version") {
        return Ok(Operation::Print(format!(
            "chat-server {}\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    if let Some(argument) = matches.free.first() {
        return Err(BadUsage(format!("{argument:?}: expected an option")));
    }
    if matches.opt_present("new-token") {
        return Ok(Operation::NewToken);
    }
    let verbosity = matches.opt_count("verbose");
    Ok(Operation::Run {
        config: Config::from_matches(&matches, redis)?,
        verbosity,
    })
}

fn table() -> Options {
    let mut table = Options::new();
    table.optmulti(
        "l",
        "listen",
        &format!(
            "address to listen on, may be repeated ({})",
            limits::DEFAULT_LISTEN
        ),
        "ADDR:PORT",
    );
    MAX_CLIENTS.add_to(&mut table);
    MAX_PER_ADDRESS.add_to(&mut table);
    QUEUE.add_to(&mut table);
    RATE.add_to(&mut table);
    BURST.add_to(&mut table);
    LOGIN_TIMEOUT.add_to(&mut table);
    WRITE_TIMEOUT.add_to(&mut table);
    LINGER.add_to(&mut table);
    GRACE.add_to(&mut table);
    HISTORY.add_to(&mut table);
    table
        .optopt(
            "",
            "access-file",
            "file of access tokens: only clients that send one get a session",
            "FILE",
        )
        .optflag("", "new-token", "print a fresh access token")
        .optopt(
            "",
            "redis",
            "share the chat with the other servers on this Redis",
            "URL",
        )
        .optopt(
            "",
            "chat",
            &format!("name of the chat on Redis ({})", limits::DEFAULT_CHAT),
            "NAME",
        )
        .optflag(
            "",
            "no-direct-writes",
            "deliver only from the writer threads (slower, for comparison)",
        )
        .optflagmulti(
            "v",
            "verbose",
            "more detailed log, with -vv each line on the wire",
        )
        .optflag("h", "help", "this help")
        .optflag("V", "version", "the version");
    table
}

fn help(table: &Options) -> String {
    let brief = "\
Chat server for the protocol CP/0.0.0: blocking I/O, two threads per client.

Usage: chat-server [OPTION ...]";
    let notes = "
S is a whole number. Clients on this machine do not count for --max-per-address.
The environment variable CHAT_REDIS can give the URL of --redis, so that ps does
not show it.
The lines 'listening on ADDR:PORT' go to stdout, one for each listener.
Logs go to stderr. RUST_LOG, if set, overrides -v.
";
    table.usage(brief) + notes
}

impl Config {
    fn from_matches(matches: &Matches, redis: Option<String>) -> Result<Config, BadUsage> {
        let mut listen = matches.opt_strs("listen");
        if listen.is_empty() {
            listen.push(limits::DEFAULT_LISTEN.to_owned());
        }
        for address in &listen {
            check_address(address)?;
        }
        let seconds =
            |option: Number<u32>| option.value(matches).map(|n| Duration::from_secs(n.into()));
        let per_address = MAX_PER_ADDRESS.value(matches)?;
        let chat = SharedChat {
            url: matches
                .opt_str("redis")
                .or(redis.filter(|url| !url.is_empty())),
            name: matches.opt_str("chat"),
        };
        #[cfg(not(feature = "redis"))]
        refuse_cluster(&chat)?;
        Ok(Config {
            listen,
            max_clients: MAX_CLIENTS.value(matches)?,
            max_per_address: (per_address > 0).then_some(per_address),
            queue: QUEUE.value(matches)?,
            rate: RATE.value(matches)?,
            burst: BURST.value(matches)?,
            login_timeout: seconds(LOGIN_TIMEOUT)?,
            write_timeout: seconds(WRITE_TIMEOUT)?,
            linger: seconds(LINGER)?,
            grace: seconds(GRACE)?,
            history: HISTORY.value(matches)?,
            access_file: matches.opt_str("access-file").map(PathBuf::from),
            direct_writes: !matches.opt_present("no-direct-writes"),
            #[cfg(feature = "redis")]
            cluster: cluster(&chat)?,
        })
    }
}

/// The values of `--redis` and `--chat`.
struct SharedChat {
    url: Option<String>,
    name: Option<String>,
}

/// Returns the chat that the server shares with others, if it is to share one.
#[cfg(feature = "redis")]
fn cluster(chat: &SharedChat) -> Result<Option<Settings>, BadUsage> {
    let Some(url) = &chat.url else {
        return match chat.name {
            Some(_) => Err(BadUsage(
                "--chat: expected together with --redis".to_owned(),
            )),
            None => Ok(None),
        };
    };
    let name = chat.name.as_deref().unwrap_or(limits::DEFAULT_CHAT);
    let settings = Settings::new(url, name);
    settings.map(Some).map_err(|problem| match problem {
        // Not the URL: it may hold a password.
        BadSettings::Url if url.starts_with("rediss:") => {
            BadUsage("--redis: rediss:// needs a build with the cargo feature redis-tls".to_owned())
        }
        BadSettings::Url => BadUsage(
            "--redis: expected a URL, such as redis://127.0.0.1/ or unix:///run/redis.sock"
                .to_owned(),
        ),
        BadSettings::Chat => BadUsage(format!(
            "--chat {name:?}: expected 1 to {} of A-Z a-z 0-9 _ -",
            limits::MAX_CHAT_NAME
        )),
    })
}

/// Refuses the options that this build does not have.
#[cfg(not(feature = "redis"))]
fn refuse_cluster(chat: &SharedChat) -> Result<(), BadUsage> {
    let option = match (&chat.url, &chat.name) {
        (Some(_), _) => "--redis",
        (None, Some(_)) => "--chat",
        (None, None) => return Ok(()),
    };
    Err(BadUsage(format!(
        "{option}: this build is without it, build with the cargo feature redis"
    )))
}

fn check_address(address: &str) -> Result<(), BadUsage> {
    if is_address(address) {
        return Ok(());
    }
    // `1314` and `:1314` have a port. The error suggests it with both hosts.
    let digits = address.strip_prefix(':').unwrap_or(address);
    let port: u16 = digits.parse().unwrap_or(limits::DEFAULT_PORT);
    Err(BadUsage(format!(
        "--listen {address:?}: expected ADDR:PORT, such as 127.0.0.1:{port} for this machine \
         only, or 0.0.0.0:{port} for all"
    )))
}

/// An option whose value is a number.
struct Number<N> {
    name: &'static str,
    argument: &'static str,
    meaning: &'static str,
    least: N,
    most: N,
    default: N,
}

const MAX_CLIENTS: Number<usize> = Number {
    name: "max-clients",
    argument: "N",
    meaning: "maximum number of clients",
    least: 1,
    most: limits::MAX_CLIENTS,
    default: limits::DEFAULT_MAX_CLIENTS,
};

const MAX_PER_ADDRESS: Number<usize> = Number {
    name: "max-per-address",
    argument: "N",
    meaning: "maximum number of clients from one address, 0 = no limit",
    least: 0,
    most: limits::MAX_CLIENTS,
    default: limits::DEFAULT_MAX_PER_ADDRESS,
};

const QUEUE: Number<usize> = Number {
    name: "queue",
    argument: "BYTES",
    meaning: "maximum bytes of deliveries queued for one client",
    least: limits::MIN_QUEUE,
    most: limits::MAX_QUEUE,
    default: limits::DEFAULT_QUEUE,
};

const RATE: Number<u32> = Number {
    name: "rate",
    argument: "N",
    meaning: "maximum requests a second of one client, 0 = no limit",
    least: 0,
    most: limits::MAX_RATE,
    default: limits::DEFAULT_RATE,
};

const BURST: Number<u32> = Number {
    name: "burst",
    argument: "N",
    meaning: "maximum requests of one client at once",
    least: 1,
    most: limits::MAX_BURST,
    default: limits::DEFAULT_BURST,
};

const LOGIN_TIMEOUT: Number<u32> = Number {
    name: "login-timeout",
    argument: "S",
    meaning: "seconds for a new client to set its first name",
    least: 1,
    most: limits::MAX_SECONDS,
    default: limits::DEFAULT_LOGIN_TIMEOUT,
};

const WRITE_TIMEOUT: Number<u32> = Number {
    name: "write-timeout",
    argument: "S",
    meaning: "seconds to send a batch of at most 64 KiB to a client",
    least: 1,
    most: limits::MAX_SECONDS,
    default: limits::DEFAULT_WRITE_TIMEOUT,
};

const LINGER: Number<u32> = Number {
    name: "linger",
    argument: "S",
    meaning: "seconds in which a lost session can be resumed, 0 = never",
    least: 0,
    most: limits::MAX_SECONDS,
    default: limits::DEFAULT_LINGER,
};

const GRACE: Number<u32> = Number {
    name: "grace",
    argument: "S",
    meaning: "seconds to send queued messages at shutdown",
    least: 0,
    most: limits::MAX_SECONDS,
    default: limits::DEFAULT_GRACE,
};

const HISTORY: Number<usize> = Number {
    name: "history",
    argument: "N",
    meaning: "newest broadcasts kept for later clients, 0 = none",
    least: 0,
    most: limits::MAX_HISTORY,
    default: limits::DEFAULT_HISTORY,
};

impl<N> Number<N>
where
    N: Copy + FromStr<Err = ParseIntError> + PartialOrd + fmt::Display + From<bool>,
{
    fn add_to(&self, table: &mut Options) {
        let Number {
            name,
            argument,
            meaning,
            least,
            default,
            ..
        } = self;
        // A least value of 0 or 1 is obvious, so the help does not show it.
        let least = if *least > N::from(true) {
            format!(", at least {least}")
        } else {
            String::new()
        };
        table.optopt("", name, &format!("{meaning}{least} ({default})"), argument);
    }

    fn value(&self, matches: &Matches) -> Result<N, BadUsage> {
        let Number {
            name, least, most, ..
        } = self;
        let Some(value) = matches.opt_str(name) else {
            return Ok(self.default);
        };
        match value.parse() {
            Ok(number) if (*least..=*most).contains(&number) => Ok(number),
            _ => Err(BadUsage(format!(
                "--{name} {value:?}: expected a number, at least {least} and at most {most}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Result<Config, String> {
        match parse(arguments, None) {
            Ok(Operation::Run { config, .. }) => Ok(config),
            Ok(Operation::Print(_) | Operation::NewToken) => panic!("prints"),
            Err(BadUsage(problem)) => Err(problem),
        }
    }

    #[test]
    fn defaults_apply_without_options() {
        let seconds = |s| Duration::from_secs(s);
        let expected = Config {
            listen: vec!["127.0.0.1:1313".to_owned()],
            max_clients: 1_000,
            max_per_address: Some(64),
            queue: 262_144,
            rate: 10,
            burst: 50,
            login_timeout: seconds(60),
            write_timeout: seconds(30),
            linger: seconds(60),
            grace: seconds(5),
            history: 200,
            access_file: None,
            direct_writes: true,
            #[cfg(feature = "redis")]
            cluster: None,
        };
        assert_eq!(
            parse::<&str>([], None),
            Ok(Operation::Run {
                config: expected,
                verbosity: 0
            })
        );
    }

    #[test]
    fn every_option_is_parsed() {
        let config = config(&[
            "-l",
            "[::1]:0",
            "--listen",
            "localhost:7000",
            "--max-clients=7",
            "--max-per-address",
            "0",
            "--queue",
            "16384",
            "--rate",
            "0",
            "--burst",
            "1",
            "--login-timeout",
            "1",
            "--write-timeout",
            "2",
            "--linger",
            "0",
            "--grace",
            "3",
            "--history",
            "7",
            "--access-file",
            "tokens",
            "--no-direct-writes",
        ]);
        let seconds = |s| Duration::from_secs(s);
        let expected = Config {
            listen: vec!["[::1]:0".to_owned(), "localhost:7000".to_owned()],
            max_clients: 7,
            max_per_address: None,
            queue: 16_384,
            rate: 0,
            burst: 1,
            login_timeout: seconds(1),
            write_timeout: seconds(2),
            linger: seconds(0),
            grace: seconds(3),
            history: 7,
            access_file: Some("tokens".into()),
            direct_writes: false,
            #[cfg(feature = "redis")]
            cluster: None,
        };
        assert_eq!(config, Ok(expected));
        let Ok(Operation::Run { verbosity: 3, .. }) = parse(["-vv", "--verbose"], None) else {
            panic!("-v counts")
        };
    }

    #[test]
    fn bad_option_is_named_in_one_line() {
        for (arguments, problem) in [
            (
                vec!["--queue", "100"],
                "--queue \"100\": expected a number, at least 16384 and at most 1073741824",
            ),
            (
                vec!["--burst", "0"],
                "--burst \"0\": expected a number, at least 1 and at most 1000000",
            ),
            (
                vec!["--max-clients", "0"],
                "--max-clients \"0\": expected a number, at least 1 and at most 2000000",
            ),
            (
                vec!["--rate", "-1"],
                "--rate \"-1\": expected a number, at least 0 and at most 1000000",
            ),
            (
                vec!["--rate", "5000000000"],
                "--rate \"5000000000\": expected a number, at least 0 and at most 1000000",
            ),
            (
                vec!["--grace", "1.5"],
                "--grace \"1.5\": expected a number, at least 0 and at most 2147453",
            ),
            (
                vec!["--grace", "a\nb"],
                "--grace \"a\\nb\": expected a number, at least 0 and at most 2147453",
            ),
            (
                vec!["--max-per-address", "-1"],
                "--max-per-address \"-1\": expected a number, at least 0 and at most 2000000",
            ),
            (
                vec!["-l", "1314"],
                "--listen \"1314\": expected ADDR:PORT, such as 127.0.0.1:1314 for this machine only, or 0.0.0.0:1314 for all",
            ),
            (
                vec!["-l", ":1314"],
                "--listen \":1314\": expected ADDR:PORT, such as 127.0.0.1:1314 for this machine only, or 0.0.0.0:1314 for all",
            ),
            (
                vec!["-l", "x:65536"],
                "--listen \"x:65536\": expected ADDR:PORT, such as 127.0.0.1:1313 for this machine only, or 0.0.0.0:1313 for all",
            ),
            (vec!["1313"], "\"1313\": expected an option"),
            (vec!["--nope"], "Unrecognized option: 'nope'"),
            (vec!["--rate"], "Argument to option 'rate' missing"),
            (
                vec!["--rate", "1", "--rate", "2"],
                "Option 'rate' given more than once",
            ),
        ] {
            assert_eq!(config(&arguments), Err(problem.to_owned()));
        }
    }

    #[test]
    fn option_limits_are_accepted_and_named_in_errors() {
        for (name, least, most) in [
            ("max-clients", 1, 2_000_000),
            ("max-per-address", 0, 2_000_000),
            ("queue", 16_384, 1_073_741_824),
            ("rate", 0, 1_000_000),
            ("burst", 1, 1_000_000),
            ("login-timeout", 1, 2_147_453),
            ("write-timeout", 1, 2_147_453),
            ("linger", 0, 2_147_453),
            ("grace", 0, 2_147_453),
            ("history", 0, 1_000),
        ] {
            let with = |value: i64| config(&[&format!("--{name}={value}")]);
            for value in [least, most] {
                assert!(with(value).is_ok(), "{name} {value}");
            }
            for value in [least - 1, most + 1, i64::MAX] {
                let problem = format!(
                    "--{name} \"{value}\": expected a number, \
                     at least {least} and at most {most}"
                );
                assert_eq!(with(value), Err(problem));
            }
        }
    }

    #[test]
    fn server_help_and_version_precede_usage_errors() {
        let Ok(Operation::Print(help)) = parse(["--help", "--queue", "1"], None) else {
            panic!("help")
        };
        for name in [
            "listen",
            "max-clients",
            "max-per-address",
            "queue",
            "rate",
            "burst",
        ] {
            assert!(help.contains(&format!("--{name} ")), "{name} in {help}");
        }
        for name in [
            "login-timeout",
            "write-timeout",
            "linger",
            "grace",
            "history",
            "access-file",
            "new-token",
            "verbose",
            "version",
        ] {
            assert!(help.contains(&format!("--{name}")), "{name} in {help}");
        }
        assert_eq!(parse(["--new-token"], None), Ok(Operation::NewToken));
        assert_eq!(
            parse(["-V"], None),
            Ok(Operation::Print("chat-server 0.1.0\n".to_owned()))
        );
    }
}
