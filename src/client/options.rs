//! The command line of `chat-client`: a getopts table, and the operation that it selects.
//!
//! Pure. Does not execute the operation. Invariant: *every mistake is an error of one line that
//! names the expected value*.

use std::ffi::OsStr;
use std::path::PathBuf;

use getopts::{Matches, Options};

use super::access::{self, AccessSource, AccessVariable};
use super::address::Address;
use super::addresses::Addresses;
use super::exit;
use super::script::{ListenConfig, SendConfig};
use super::split::split_text;
use super::terminal;
use super::terminal::format::Style;
use crate::cli::BadUsage;
use crate::limits::{self, MAX_RECENT, TOKEN_DIGITS};
use crate::protocol::username::{BadName, Username};

/// The operation that the command line selects.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Hold a conversation at the terminal.
    Converse(terminal::Config),
    /// Send messages, and exit.
    Send(SendConfig),
    /// Print received messages.
    Listen(ListenConfig),
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
    /// `$CHAT_ACCESS_TOKEN`, the access token without `--access-file`.
    pub access: AccessVariable,
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
    let addresses = addresses(&matches.free)?;
    let access = access_source(&matches, environment.access)?;
    let name = match matches.opt_str("name") {
        Some(name) => Some(("--name", name)),
        None => environment.user.map(|user| ("$USER", user)),
    };
    let (text, to) = (matches.opt_str("message"), matches.opt_str("to"));
    let is_listening = matches.opt_present("listen");
    if is_listening && (text.is_some() || to.is_some()) {
        return Err(BadUsage(
            "--listen: expected neither --to nor -m, because it sends nothing".to_owned(),
        ));
    }
    let presence = matches.opt_present("presence");
    if presence && !is_listening {
        return Err(BadUsage("--presence: expected --listen".to_owned()));
    }
    let recent = recent(&matches)?;
    let terminal = environment.stdin_is_terminal && environment.stdout_is_terminal;
    let is_script = is_listening || text.is_some() || !terminal;
    let history_file = matches.opt_str("history-file").map(PathBuf::from);
    if history_file.is_some() && is_script {
        return Err(BadUsage(
            "--history-file: expected a conversation at a terminal".to_owned(),
        ));
    }
    if recent.is_some() && is_script && !is_listening {
        return Err(BadUsage(
            "--recent: expected --listen, or a conversation at a terminal".to_owned(),
        ));
    }
    if !is_script {
        if to.is_some() {
            return Err(BadUsage(
                "--to: expected -m TEXT, or lines from a pipe; at a terminal, use /msg".to_owned(),
            ));
        }
        return Ok(Operation::Converse(terminal::Config {
            addresses,
            access,
            name: name.map(|(_, name)| name).unwrap_or_default(),
            bell: matches.opt_present("bell"),
            style: Style {
                colours: !environment.no_color,
                ..Style::PLAIN
            },
            history_file,
            watches_presence: !matches.opt_present("no-presence"),
            recent: recent.unwrap_or(limits::GREETING_RECENT),
        }));
    }
    if matches.opt_present("no-presence") {
        return Err(BadUsage(
            "--no-presence: expected a conversation at a terminal".to_owned(),
        ));
    }
    let (source, name) = name.ok_or_else(|| {
        BadUsage("--name: expected a name, because $USER is empty; use -n NAME".to_owned())
    })?;
    let name = self::name(source, &name)?;
    if is_listening {
        return Ok(Operation::Listen(ListenConfig {
            addresses,
            access,
            name,
            presence,
            recent: recent.unwrap_or(0),
        }));
    }
    Ok(Operation::Send(SendConfig {
        addresses,
        access,
        name,
        is_typed: text.is_none() && environment.stdin_is_terminal,
        to: to.map(|to| self::name("--to", &to)).transpose()?,
        text: text.map(check_text).transpose()?,
    }))
}

fn option_table() -> Options {
    let mut table = Options::new();
    table
        .optopt("n", "name", "name to log in with ($USER)", "NAME")
        .optopt(
            "m",
            "message",
            "text to send, instead of the lines of stdin",
            "TEXT",
        )
        .optopt("", "to", "recipient of the messages (all users)", "NAME")
        .optflag(
            "",
            "listen",
            "print each received message as a line, until Ctrl-C",
        )
        .optflag(
            "",
            "presence",
            "with --listen, also print users that join, leave or change their name",
        )
        .optopt(
            "",
            "recent",
            "number of recent messages to show first, 0 = none (10, with --listen 0)",
            "N",
        )
        .optopt(
            "",
            "access-file",
            "file whose first access token is used ($CHAT_ACCESS_TOKEN)",
            "FILE",
        )
        .optflag("", "bell", "bell for private messages and for your name")
        .optopt(
            "",
            "history-file",
            "file that keeps the typed lines for the next run (none)",
            "FILE",
        )
        .optflag(
            "",
            "no-presence",
            "at a terminal: do not show users that log in or out",
        )
        .optflag("h", "help", "this help")
        .optflag("V", "version", "the version");
    table
}

fn help(table: &Options) -> String {
    let brief = format!(
        "\
Chat client for the protocol CP/0.0.0: conversations, scripts and listeners.

Usage: chat-client [OPTION ...] [ADDR[:PORT] | :PORT] ...

If stdin and stdout are a terminal, the client holds a conversation. /help in it
lists the commands. Otherwise each line of stdin that is not blank is sent as a
message, and the client ends when the server has answered all of them. The rate
limit of the server may slow it down. The default address is {}.

Several addresses are those of servers that are one chat. The client uses the
first that it can reach. If a conversation loses its connection, it goes on at
the same server or at the next.",
        limits::DEFAULT_LISTEN
    );
    let notes = format!(
        "
--listen prints the time (ISO 8601), 'broadcast' or 'private', the sender and
the text, separated by tabs. --presence adds lines with 'joined', 'left' or
'renamed' after the time, and one or two names. --recent adds lines with the
time of sending, 'recent', the sender and the text.
NO_COLOR=1 in the environment turns colours off.

Exit codes:
    {}  every message was sent and answered, or --listen was stopped
    {}  there was no connection, or it was lost
    {}  bad option, access file or input
    {}  the server refused the login or a message, or a line was not sent
",
        exit::DONE,
        exit::FAILED,
        exit::BAD_USAGE,
        exit::REFUSED
    );
    table.usage(&brief) + &notes
}

/// Parses the arguments that are not options. Each address may be there once.
fn addresses(arguments: &[String]) -> Result<Addresses, BadUsage> {
    let Some((first, others)) = arguments.split_first() else {
        return Ok(Address::local().into());
    };
    let mut addresses = Addresses::from(address(first)?);
    for typed in others {
        if !addresses.add(address(typed)?) {
            return Err(BadUsage(format!("{typed:?}: expected each ADDR:PORT once")));
        }
    }
    Ok(addresses)
}

fn address(typed: &str) -> Result<Address, BadUsage> {
    Address::parse(typed).ok_or_else(|| {
        let example = limits::DEFAULT_LISTEN;
        BadUsage(format!(
            "{typed:?}: expected ADDR:PORT, such as {example} or [::1]:{}",
            limits::DEFAULT_PORT
        ))
    })
}

/// Selects the source of the access token. The file is read later.
fn access_source(matches: &Matches, variable: AccessVariable) -> Result<AccessSource, BadUsage> {
    match (matches.opt_str("access-file"), variable) {
        (Some(file), _) => Ok(AccessSource::File(file.into())),
        (None, AccessVariable::Unset) => Ok(AccessSource::Nowhere),
        (None, AccessVariable::Token(token)) => Ok(AccessSource::Variable(token)),
        (None, AccessVariable::Malformed) => Err(BadUsage(format!(
            "{}: expected a token of {TOKEN_DIGITS} hex digits (0-9 a-f)",
            access::VARIABLE
        ))),
    }
}

/// Parses the number of recent messages, if there is one.
fn recent(matches: &Matches) -> Result<Option<usize>, BadUsage> {
    // The parser of std takes a sign too.
    let parse = |value: String| match value.parse() {
        Ok(number) if number <= MAX_RECENT && !value.starts_with('+') => Ok(number),
        _ => Err(BadUsage(format!(
            "--recent {value:?}: expected a number, at least 0 and at most {MAX_RECENT}"
        ))),
    };
    matches.opt_str("recent").map(parse).transpose()
}

/// Parses a name. `source` is the option or variable that it comes from.
fn name(source: &str, name: &str) -> Result<Username, BadUsage> {
    Username::new(name).map_err(|BadName| {
        let hint = match suggestion(name) {
            Some(other) if source == "$USER" => format!("; use -n {other}"),
            _ => String::new(),
        };
        BadUsage(format!(
            "{source} {name:?}: expected 2 to 63 characters of A-Z a-z 0-9 _ -{hint}"
        ))
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
        Err(unprintable) => Err(BadUsage(format!(
            "--message {text:?}: expected printable text ({unprintable})"
        ))),
        Ok(texts) if texts.concat().is_empty() => Err(BadUsage(format!(
            "--message {text:?}: expected a text that is not blank"
        ))),
        Ok(_) => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::literals::name;
    use crate::protocol::token::Token;

    fn at_a_terminal() -> Environment {
        Environment {
            stdin_is_terminal: true,
            stdout_is_terminal: true,
            user: Some("dave".to_owned()),
            access: AccessVariable::Unset,
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
                addresses: Address::parse(address).unwrap().into(),
                access: AccessSource::Nowhere,
                name: name.to_owned(),
                bell,
                style: Style {
                    colours,
                    ..Style::PLAIN
                },
                history_file: None,
                watches_presence: true,
                recent: 10,
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
        let Ok(Operation::Converse(several)) = parse(["a", "b:2", ":3"], at_a_terminal()) else {
            panic!("no conversation")
        };
        let mut addresses = Addresses::from(Address::parse("a:1313").unwrap());
        assert!(addresses.add(Address::parse("b:2").unwrap()));
        assert!(addresses.add(Address::parse("127.0.0.1:3").unwrap()));
        assert_eq!(several.addresses, addresses);
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
    fn presence_and_recent_options_configure_the_conversation() {
        let config = |arguments: &[&str]| match parse(arguments, at_a_terminal()) {
            Ok(Operation::Converse(config)) => (config.watches_presence, config.recent),
            other => panic!("{other:?}"),
        };
        assert_eq!(config(&[]), (true, 10));
        assert_eq!(config(&["--no-presence", "--recent", "0"]), (false, 0));
        assert_eq!(config(&["--recent", "1000"]), (true, 1_000));
        for typed in ["1001", "-1", "+1", "x", "", "99999999999999999999"] {
            assert_eq!(
                problem(&[&format!("--recent={typed}")], at_a_terminal()),
                format!("--recent {typed:?}: expected a number, at least 0 and at most 1000")
            );
        }
        assert_eq!(
            problem(&["--no-presence"], in_a_pipe()),
            "--no-presence: expected a conversation at a terminal"
        );
    }

    #[test]
    fn script_options_select_send_or_listen() {
        let send = |to: Option<&str>, text: Option<&str>| {
            Ok(Operation::Send(SendConfig {
                addresses: Address::local().into(),
                access: AccessSource::Nowhere,
                name: name("dave"),
                to: to.map(name),
                text: text.map(str::to_owned),
                is_typed: false,
            }))
        };
        assert_eq!(parse::<&str>([], in_a_pipe()), send(None, None));
        assert_eq!(parse(["--to", "bob"], in_a_pipe()), send(Some("bob"), None));
        assert_eq!(parse(["-m", "hi"], at_a_terminal()), send(None, Some("hi")));
        let listen = |presence, recent| {
            Ok(Operation::Listen(ListenConfig {
                addresses: Address::parse("[::1]:7").unwrap().into(),
                access: AccessSource::Nowhere,
                name: name("log"),
                presence,
                recent,
            }))
        };
        let mut arguments = vec!["--listen", "-n", "log", "[::1]:7"];
        assert_eq!(parse(&arguments, at_a_terminal()), listen(false, 0));
        arguments.extend(["--presence", "--recent", "1000"]);
        assert_eq!(parse(&arguments, in_a_pipe()), listen(true, 1_000));
    }

    #[test]
    fn access_file_precedes_the_variable() {
        let token = Token::from_bits([7; 16]);
        let source = |arguments: &[&str], access| {
            let environment = Environment {
                access,
                ..in_a_pipe()
            };
            match parse(arguments, environment)? {
                Operation::Send(config) => Ok(config.access),
                other => panic!("{other:?}"),
            }
        };
        let file = ["--access-file", "tokens"];
        for (access, without_file) in [
            (AccessVariable::Unset, Ok(AccessSource::Nowhere)),
            (
                AccessVariable::Token(token),
                Ok(AccessSource::Variable(token)),
            ),
            (
                AccessVariable::Malformed,
                Err(BadUsage(
                    "CHAT_ACCESS_TOKEN: expected a token of 32 hex digits (0-9 a-f)".to_owned(),
                )),
            ),
        ] {
            assert_eq!(source(&[], access), without_file);
            let from_file = Ok(AccessSource::File("tokens".into()));
            assert_eq!(source(&file, access), from_file);
        }
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
                "\"::1:1313\": expected ADDR:PORT, such as 127.0.0.1:1313 or [::1]:1313",
            ),
            (
                vec!["a:1", "b", "c:d"],
                "\"c:d\": expected ADDR:PORT, such as 127.0.0.1:1313 or [::1]:1313",
            ),
            (
                vec!["a", "b:2", "a:1313"],
                "\"a:1313\": expected each ADDR:PORT once",
            ),
            (
                vec!["--to", "b"],
                "--to \"b\": expected 2 to 63 characters of A-Z a-z 0-9 _ -",
            ),
            (
                vec!["-m", "\n \n"],
                "--message \"\\n \\n\": expected a text that is not blank",
            ),
            (
                vec!["-m", "a\u{7}"],
                "--message \"a\\u{7}\": expected printable text (Forbidden character U+0007)",
            ),
            (
                vec!["--listen", "--to", "bob"],
                "--listen: expected neither --to nor -m, because it sends nothing",
            ),
            (
                vec!["--history-file", "x"],
                "--history-file: expected a conversation at a terminal",
            ),
            (vec!["--presence"], "--presence: expected --listen"),
            (
                vec!["--recent", "7"],
                "--recent: expected --listen, or a conversation at a terminal",
            ),
            (
                vec!["--listen", "--recent", "1001"],
                "--recent \"1001\": expected a number, at least 0 and at most 1000",
            ),
            (
                vec!["--listen", "--recent", "+1"],
                "--recent \"+1\": expected a number, at least 0 and at most 1000",
            ),
            (
                vec!["--listen", "--recent", "-1"],
                "--recent \"-1\": expected a number, at least 0 and at most 1000",
            ),
            (
                vec!["--access-token", "x"],
                "Unrecognized option: 'access-token'",
            ),
            (vec!["--token", "x"], "Unrecognized option: 'token'"),
            (vec!["-n"], "Argument to option 'n' missing"),
        ] {
            assert_eq!(problem(&arguments, in_a_pipe()), expected);
        }
        let without_user = Environment {
            user: None,
            ..in_a_pipe()
        };
        assert_eq!(
            problem(&[], without_user),
            "--name: expected a name, because $USER is empty; use -n NAME"
        );
        let odd = Environment {
            user: Some("john.doe".to_owned()),
            ..in_a_pipe()
        };
        assert_eq!(
            problem(&[], odd),
            "$USER \"john.doe\": expected 2 to 63 characters of A-Z a-z 0-9 _ -; use -n john_doe"
        );
        assert_eq!(
            problem(&["--presence"], at_a_terminal()),
            "--presence: expected --listen"
        );
        assert_eq!(
            problem(&["--to", "bob"], at_a_terminal()),
            "--to: expected -m TEXT, or lines from a pipe; at a terminal, use /msg"
        );
    }
}
