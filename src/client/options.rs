//! The command line of `chat-client`: a getopts table, and what it comes to.
//!
//! Pure. Does not know what is done then. Invariant: what is wrong is an error of one line that
//! says what is expected.

use std::ffi::OsStr;
use std::path::PathBuf;

use getopts::Options;

use super::address::Address;
use super::exit;
use super::script::SendConfig;
use super::split::texts;
use super::terminal;
use super::terminal::format::Style;
use crate::cli::BadUsage;
use crate::limits;
use crate::protocol::username::Username;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Hold a conversation at the terminal.
    Converse(terminal::Config),
    /// Send, and end.
    Send(SendConfig),
    /// Print what arrives.
    Listen {
        /// At which server.
        address: Address,
        /// Under which name.
        name: Username,
    },
    /// Print this on stdout, and end.
    Print(String),
}

/// What the process finds around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// stdin is a terminal.
    pub stdin_terminal: bool,
    /// stdout is a terminal.
    pub stdout_terminal: bool,
    /// `$USER`, for who gives no name.
    pub user: Option<String>,
    /// `$NO_COLOR` is set, and not empty (<https://no-color.org>), or the terminal is dumb.
    pub no_color: bool,
}

/// Reads the arguments, without the program's name.
pub fn parse<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    surroundings: Environment,
) -> Result<Operation, BadUsage> {
    let table = table();
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
        None => surroundings.user.map(|user| ("$USER", user)),
    };
    let (text, to) = (matches.opt_str("message"), matches.opt_str("to"));
    let listening = matches.opt_present("listen");
    if listening && (text.is_some() || to.is_some()) {
        return Err(BadUsage(
            "--listen sends nothing: leave out --to and -m".to_owned(),
        ));
    }
    let terminal = surroundings.stdin_terminal && surroundings.stdout_terminal;
    let in_a_script = listening || text.is_some() || !terminal;
    let history_file = matches.opt_str("history-file").map(PathBuf::from);
    if history_file.is_some() && in_a_script {
        return Err(BadUsage(
            "--history-file: expected a conversation at a terminal".to_owned(),
        ));
    }
    if !in_a_script {
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
                colours: !surroundings.no_color,
                ..Style::PLAIN
            },
            history_file,
        }));
    }
    let (origin, name) = name.ok_or_else(|| BadUsage("--name NAME is wanted".to_owned()))?;
    let name = self::name(origin, &name)?;
    if listening {
        return Ok(Operation::Listen { address, name });
    }
    Ok(Operation::Send(SendConfig {
        address,
        name,
        is_typed: text.is_none() && surroundings.stdin_terminal,
        to: to.map(|to| self::name("--to", &to)).transpose()?,
        text: text.map(sendable).transpose()?,
    }))
}

fn table() -> Options {
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

/// The one argument that is not an option.
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

fn name(option: &str, name: &str) -> Result<Username, BadUsage> {
    Username::new(name).map_err(|bad| {
        let hint = match suggestion(name) {
            Some(other) if option == "$USER" => format!("; try -n {other}"),
            _ => String::new(),
        };
        BadUsage(format!("{option} {name:?}: {bad}{hint}"))
    })
}

/// A name that resembles this one, with `_` in the place of other characters.
fn suggestion(name: &str) -> Option<Username> {
    let allowed = |c: char| if Username::may_contain(c) { c } else { '_' };
    Username::new(&name.chars().map(allowed).collect::<String>()).ok()
}

/// A text of which at least one message can be made.
fn sendable(text: String) -> Result<String, BadUsage> {
    let lines = text.lines().map(|line| texts(line.as_bytes()));
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
            stdin_terminal: true,
            stdout_terminal: true,
            user: Some("somebody".to_owned()),
            no_color: false,
        }
    }

    fn in_a_pipe() -> Environment {
        Environment {
            stdin_terminal: false,
            stdout_terminal: false,
            ..at_a_terminal()
        }
    }

    fn problem(arguments: &[&str], surroundings: Environment) -> String {
        parse(arguments, surroundings)
            .expect_err("not good")
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
            config("127.0.0.1:1313", "somebody", false, true)
        );
        let plain = Environment {
            no_color: true,
            ..at_a_terminal()
        };
        // Whatever the name is: if it is none, another is asked for.
        assert_eq!(
            parse(["-n", "x y", "--bell", "host:7000"], plain),
            config("host:7000", "x y", true, false)
        );
        let nobody = Environment {
            user: None,
            ..at_a_terminal()
        };
        let unnamed = config("127.0.0.1:1313", "", false, true);
        assert_eq!(parse::<&str>([], nobody), unnamed);
    }

    #[test]
    fn script_options_select_send_or_listen() {
        let sending = |to: Option<&str>, text: Option<&str>| {
            Ok(Operation::Send(SendConfig {
                address: Address::local(),
                name: name("somebody"),
                to: to.map(name),
                text: text.map(str::to_owned),
                is_typed: false,
            }))
        };
        assert_eq!(parse::<&str>([], in_a_pipe()), sending(None, None));
        assert_eq!(
            parse(["--to", "bob"], in_a_pipe()),
            sending(Some("bob"), None)
        );
        assert_eq!(
            parse(["-m", "hi"], at_a_terminal()),
            sending(None, Some("hi"))
        );
        let listening = Ok(Operation::Listen {
            address: Address::parse("[::1]:7").unwrap(),
            name: name("log"),
        });
        let arguments = ["--listen", "-n", "log", "[::1]:7"];
        assert_eq!(parse(arguments, at_a_terminal()), listening);
    }

    #[test]
    fn input_counts_as_typed_if_only_stdin_is_a_terminal() {
        let piped = Environment {
            stdout_terminal: false,
            ..at_a_terminal()
        };
        for (arguments, expected) in [(vec![], true), (vec!["-m", "hi"], false)] {
            let Ok(Operation::Send(sending)) = parse(arguments, piped.clone()) else {
                panic!("it sends")
            };
            assert_eq!(sending.is_typed, expected);
        }
    }

    #[test]
    fn client_help_and_version_precede_usage_errors() {
        let Ok(Operation::Print(help)) = parse(["--help", "-n", "x"], in_a_pipe()) else {
            panic!("help")
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
        let nobody = Environment {
            user: None,
            ..in_a_pipe()
        };
        assert_eq!(problem(&[], nobody), "--name NAME is wanted");
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
