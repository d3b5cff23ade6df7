//! The command line of `chat-client`: a getopts table, and the operation that it selects.
//!
//! Pure. Does not execute the operation. Invariant: *every mistake is an error of one line that
//! names the expected value*.

use std::ffi::OsStr;
use std::path::PathBuf;

use getopts::Options;

use super::address::Address;
use super::exit;
use super::script::SendConfig;
use super::split::split_text;
use super::terminal;
use super::terminal::format::Style;
use crate::cli::BadUsage;
use crate::limits;
use crate::protocol::username::Username;

/// The operation that the command line selects.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Hold a conversation at the terminal.
    Converse(terminal::Config),
    /// Send messages, and exit.
    Send(SendConfig),
    /// Print received messages.
    Listen {
        /// The server.
        address: Address,
        /// The name to log in with.
        name: Username,
    },
    /// Print this text on stdout, and exit.
    Print(String),
}

/// The facts about the process that affect how the options are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Whether stdin is a terminal.
    pub stdin_is_terminal: bool,
    /// Whether stdout is a terminal.
    pub stdout_is_terminal: bool,
    /// `$USER`, the default name.
    pub user: Option<String>,
    /// Whether `$NO_COLOR` is set and not empty (<https://no-color.org>), or `$TERM` is `dumb`.
    pub no_color: bool,
}

/// Parses the arguments, which must not include the program's name.
pub fn parse<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    environment: Environment,
) -> Result<Operation, BadUsage> {
    let table = option_table();
    let matches = table.parse(arguments)?;
    if matches.opt_present("help") {
        return Ok(Operation::Print(help(&table)));
    }
    if matches.opt_present("version") {
        return Ok(Operation::Print(format!(
            "chat-client {}\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let address = address(&matches.free)?;
    let name = match matches.opt_str("name") {
        Some(name) => Some(("--name", name)),
        None => environment.user.map(|user| ("$USER", user)),
    };
    let (text, to) = (matches.opt_str("message"), matches.opt_str("to"));
    let is_listening = matches.opt_present("listen");
    if is_listening && (text.is_some() || to.is_some()) {
        return Err(BadUsage(
            "--listen sends nothing: leave out --to and -m".to_owned(),
        ));
    }
    let terminal = environment.stdin_is_terminal && environment.stdout_is_terminal;
    let is_script = is_listening || text.is_some() || !terminal;
    let history_file = matches.opt_str("history-file").map(PathBuf::from);
    if history_file.is_some() && is_script {
        return Err(BadUsage(
            "--history-file: expected a conversation at a terminal".to_owned(),
        ));
    }
    if !is_script {
        if to.is_some() {
            return Err(BadUsage(
                "--to wants -m TEXT, or lines from a pipe; here, use /msg".to_owned(),
            ));
        }
        return Ok(Operation::Converse(terminal::Config {
            address,
            name: name.map(|(_, name)| name).unwrap_or_default(),
            bell: matches.opt_present("bell"),
            style: Style {
                colours: !environment.no_color,
                ..Style::PLAIN
            },
            history_file,
        }));
    }
    let (source, name) = name.ok_or_else(|| BadUsage("--name NAME is wanted".to_owned()))?;
    let name = self::name(source, &name)?;
    if is_listening {
        return Ok(Operation::Listen { address, name });
    }
    Ok(Operation::Send(SendConfig {
        address,
        name,
        is_typed: text.is_none() && environment.stdin_is_terminal,
        to: to.map(|to| self::name("--to", &to)).transpose()?,
        text: text.map(check_text).transpose()?,
    }))
}

fn option_table() -> Options {
    let mut table = Options::new();
    table
        .optopt("n", "name", "your name ($USER)", "NAME")
        .optopt("m", "message", "send this, and end", "TEXT")
        .optopt(
            "",
            "to",
            "send to NAME alone, instead of to everyone",
            "NAME",
        )
        .optflag(
            "",
            "listen",
            "print what arrives, a line each, until Ctrl-C",
        )
        .optflag("", "bell", "ring for private messages and for your name")
        .optopt(
            "",
            "history-file",
            "keep the typed lines in FILE for the next run (off)",
            "FILE",
        )
        .optflag("h", "help", "print this")
        .optflag("V", "version", "print the version");
    table
}

fn help(table: &Options) -> String {
    let brief = format!(
        "\
Talks to a chat server by the protocol CP/0.0.0.

Usage: chat-client [OPTION ...] [ADDR[:PORT] | :PORT]

At a terminal it holds a conversation; /help in there lists the commands. In a
script, when stdin or stdout is not a terminal, it sends each line of stdin that
is not blank, and ends when all have been answered; the server's rate may slow it
down. The server is at {} unless ADDR:PORT says otherwise.",
        limits::DEFAULT_LISTEN
    );
    let notes = format!(
        "
--listen prints time (ISO 8601), broadcast or private, sender and text, parted
by tabs. NO_COLOR=1 in the environment turns colours off.

Exit codes:
    {}  all was sent; or you stopped listening
    {}  the connection failed or broke
    {}  bad usage
    {}  something was refused, which stderr tells
",
        exit::DONE,
        exit::FAILED,
        exit::BAD_USAGE,
        exit::REFUSED
    );
    table.usage(&brief) + &notes
}

/// Parses the argument that is not an option. There may be at most one.
fn address(arguments: &[String]) -> Result<Address, BadUsage> {
    match arguments {
        [] => Ok(Address::local()),
        [typed] => Address::parse(typed).ok_or_else(|| {
            let example = limits::DEFAULT_LISTEN;
            BadUsage(format!(
                "{typed:?}: expected ADDR:PORT, as {example} or [::1]:{}",
                limits::DEFAULT_PORT
            ))
        }),
        [_, another, ..] => Err(BadUsage(format!("{another:?}: one ADDR:PORT is enough"))),
    }
}

/// Parses a name. `source` is the option or variable that it comes from.
fn name(source: &str, name: &str) -> Result<Username, BadUsage> {
    Username::new(name).map_err(|bad| {
        let hint = match suggestion(name) {
            Some(other) if source == "$USER" => format!("; try -n {other}"),
            _ => String::new(),
        };
        BadUsage(format!("{source} {name:?}: {bad}{hint}"))
    })
}

/// Replaces each forbidden character by `_`. Returns the result if it is a valid name.
fn suggestion(name: &str) -> Option<Username> {
    let allowed = |c: char| if Username::may_contain(c) { c } else { '_' };
    Username::new(&name.chars().map(allowed).collect::<String>()).ok()
}

/// Checks that a text makes at least one message.
fn check_text(text: String) -> Result<String, BadUsage> {
    let lines = text.lines().map(|line| split_text(line.as_bytes()));
    match lines.collect::<Result<Vec<_>, _>>() {
        Err(unprintable) => Err(BadUsage(format!("--message {text:?}: {unprintable}"))),
        Ok(texts) if texts.concat().is_empty() => {
            Err(BadUsage("--message: it is blank".to_owned()))
        }
        Ok(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;

    fn at_a_terminal() -> Environment {
        Environment {
            stdin_is_terminal: true,
            stdout_is_terminal: true,
            user: Some("dave".to_owned()),
            no_color: false,
        }
    }

    fn in_a_pipe() -> Environment {
        Environment {
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            ..at_a_terminal()
        }
    }

    fn problem(arguments: &[&str], environment: Environment) -> String {
        parse(arguments, environment)
            .expect_err("bad arguments")
            .to_string()
    }

    #[test]
    fn terminal_selects_a_conversation() {
        let config = |address: &str, name: &str, bell, colours| {
            Ok(Operation::Converse(terminal::Config {
                address: Address::parse(address).unwrap(),
                name: name.to_owned(),
                bell,
                style: Style {
                    colours,
                    ..Style::PLAIN
                },
                history_file: None,
            }))
        };
        assert_eq!(
            parse::<&str>([], at_a_terminal()),
            config("127.0.0.1:1313", "dave", false, true)
        );
        let plain = Environment {
            no_color: true,
            ..at_a_terminal()
        };
        // A bad name is no error here: the client asks for another one.
        assert_eq!(
            parse(["-n", "x y", "--bell", "host:7000"], plain),
            config("host:7000", "x y", true, false)
        );
        let without_user = Environment {
            user: None,
            ..at_a_terminal()
        };
        let unnamed = config("127.0.0.1:1313", "", false, true);
        assert_eq!(parse::<&str>([], without_user), unnamed);
    }

    #[test]
    fn script_options_select_send_or_listen() {
        let send = |to: Option<&str>, text: Option<&str>| {
            Ok(Operation::Send(SendConfig {
                address: Address::local(),
                name: name("dave"),
                to: to.map(name),
                text: text.map(str::to_owned),
                is_typed: false,
            }))
        };
        assert_eq!(parse::<&str>([], in_a_pipe()), send(None, None));
        assert_eq!(parse(["--to", "bob"], in_a_pipe()), send(Some("bob"), None));
        assert_eq!(parse(["-m", "hi"], at_a_terminal()), send(None, Some("hi")));
        let listen = Ok(Operation::Listen {
            address: Address::parse("[::1]:7").unwrap(),
            name: name("log"),
        });
        let arguments = ["--listen", "-n", "log", "[::1]:7"];
        assert_eq!(parse(arguments, at_a_terminal()), listen);
    }

    #[test]
    fn input_counts_as_typed_if_only_stdin_is_a_terminal() {
        let piped = Environment {
            stdout_is_terminal: false,
            ..at_a_terminal()
        };
        for (arguments, expected) in [(vec![], true), (vec!["-m", "hi"], false)] {
            let Ok(Operation::Send(config)) = parse(arguments, piped.clone()) else {
                panic!("does not send")
            };
            assert_eq!(config.is_typed, expected);
        }
    }

    #[test]
    fn server_help_and_version_precede_usage_errors() {
        let Ok(Operation::Print(help)) = parse(["--help", "-n", "x"], in_a_pipe()) else {
            panic!("no help")
        };
        assert!(help.contains("--listen"), "{help}");
        assert_eq!(
            parse(["-V", "-n", "x"], at_a_terminal()),
            Ok(Operation::Print("chat-client 0.1.0\n".to_owned()))
        );
    }

    #[test]
    fn usage_error_names_the_argument_in_one_line() {
        for (arguments, expected) in [
            (
                vec!["::1:1313"],
                "\"::1:1313\": expected ADDR:PORT, as 127.0.0.1:1313 or [::1]:1313",
            ),
            (vec!["a:1", "b:2"], "\"b:2\": one ADDR:PORT is enough"),
            (
                vec!["--to", "b"],
                "--to \"b\": A name is 2 to 63 of A-Z a-z 0-9 _ -",
            ),
            (vec!["-m", "\n \n"], "--message: it is blank"),
            (
                vec!["-m", "a\u{7}"],
                "--message \"a\\u{7}\": Forbidden character U+0007",
            ),
            (
                vec!["--listen", "--to", "bob"],
                "--listen sends nothing: leave out --to and -m",
            ),
            (
                vec!["--history-file", "x"],
                "--history-file: expected a conversation at a terminal",
            ),
            (vec!["-n"], "Argument to option 'n' missing"),
        ] {
            assert_eq!(problem(&arguments, in_a_pipe()), expected);
        }
        let without_user = Environment {
            user: None,
            ..in_a_pipe()
        };
        assert_eq!(problem(&[], without_user), "--name NAME is wanted");
        let odd = Environment {
            user: Some("john.doe".to_owned()),
            ..in_a_pipe()
        };
        assert_eq!(
            problem(&[], odd),
            "$USER \"john.doe\": A name is 2 to 63 of A-Z a-z 0-9 _ -; try -n john_doe"
        );
        assert_eq!(
            problem(&["--to", "bob"], at_a_terminal()),
            "--to wants -m TEXT, or lines from a pipe; here, use /msg"
        );
    }
}
