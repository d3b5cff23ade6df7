//! The command line of `chat-client`: a getopts table, and what it comes to.

use std::ffi::OsStr;

use getopts::Options;

use super::display::Style;
use super::exit;
use super::script::Sending;
use super::terminal;
use super::typed;
use crate::limits;
use crate::options::{BadUsage, is_address};
use crate::protocol::username::Username;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Hold a conversation at the terminal.
    Converse(terminal::Config),
    /// Send, and end.
    Send(Sending),
    /// Print what arrives.
    Listen {
        /// At which server: `HOST:PORT`.
        address: String,
        /// Under which name.
        name: Username,
    },
    /// Print this on stdout, and end.
    Print(String),
}

/// What the process finds around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Both stdin and stdout are a terminal.
    pub terminal: bool,
    /// `$USER`, for who gives no name.
    pub user: Option<String>,
    /// `$NO_COLOR` is set, and not empty (<https://no-color.org>), or the terminal is dumb.
    pub no_color: bool,
}

/// Reads the arguments, without the program's name.
pub fn parse<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    surroundings: Surroundings,
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
    let in_a_script = listening || text.is_some() || !surroundings.terminal;
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
        }));
    }
    let (origin, name) = name.ok_or_else(|| BadUsage("--name NAME is wanted".to_owned()))?;
    let name = self::name(origin, &name)?;
    if listening {
        return Ok(Operation::Listen { address, name });
    }
    Ok(Operation::Send(Sending {
        address,
        name,
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
        .optflag("h", "help", "print this")
        .optflag("V", "version", "print the version");
    table
}

fn help(table: &Options) -> String {
    let brief = format!(
        "\
Talks to a chat server by the protocol CP/0.0.0.

Usage: chat-client [OPTION ...] [ADDR[:PORT]]

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

/// The one argument that is not an option. Its port may be left out.
fn address(arguments: &[String]) -> Result<String, BadUsage> {
    let [address] = arguments else {
        return match arguments {
            [] => Ok(limits::DEFAULT_LISTEN.to_owned()),
            [_, another, ..] => Err(BadUsage(format!("{another:?}: one ADDR:PORT is enough"))),
            [_] => unreachable!("matched above"),
        };
    };
    let with_port = format!("{address}:{}", limits::DEFAULT_PORT);
    let is_host = |host: &str| host.contains(|c: char| !c.is_ascii_digit());
    let bare_host = is_host(address) && (!address.contains(':') || address.ends_with(']'));
    let whole = if bare_host { &with_port } else { address };
    if is_address(whole) {
        Ok(whole.clone())
    } else {
        let example = limits::DEFAULT_LISTEN;
        Err(BadUsage(format!(
            "{address:?}: ADDR:PORT is wanted, as {example}"
        )))
    }
}

fn name(option: &str, name: &str) -> Result<Username, BadUsage> {
    Username::new(name).map_err(|bad| BadUsage(format!("{option} {name:?}: {bad}")))
}

/// A text of which at least one message can be made.
fn sendable(text: String) -> Result<String, BadUsage> {
    let lines = text.lines().map(|line| typed::texts(line.as_bytes()));
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

    fn at_a_terminal() -> Surroundings {
        Surroundings {
            terminal: true,
            user: Some("somebody".to_owned()),
            no_color: false,
        }
    }

    fn in_a_pipe() -> Surroundings {
        Surroundings {
            terminal: false,
            ..at_a_terminal()
        }
    }

    fn problem(arguments: &[&str], surroundings: Surroundings) -> String {
        parse(arguments, surroundings)
            .expect_err("not good")
            .to_string()
    }

    #[test]
    fn at_a_terminal_it_holds_a_conversation() {
        let config = |address: &str, name: &str, bell, colours| {
            Ok(Operation::Converse(terminal::Config {
                address: address.to_owned(),
                name: name.to_owned(),
                bell,
                style: Style {
                    colours,
                    ..Style::PLAIN
                },
            }))
        };
        assert_eq!(
            parse::<&str>([], at_a_terminal()),
            config("127.0.0.1:1313", "somebody", false, true)
        );
        let plain = Surroundings {
            no_color: true,
            ..at_a_terminal()
        };
        // Whatever the name is: if it is none, another is asked for.
        assert_eq!(
            parse(["-n", "x y", "--bell", "host:7000"], plain),
            config("host:7000", "x y", true, false)
        );
        let nobody = Surroundings {
            user: None,
            ..at_a_terminal()
        };
        let unnamed = config("127.0.0.1:1313", "", false, true);
        assert_eq!(parse::<&str>([], nobody), unnamed);
    }

    #[test]
    fn in_a_script_it_sends_or_listens() {
        let sending = |to: Option<&str>, text: Option<&str>| {
            Ok(Operation::Send(Sending {
                address: "127.0.0.1:1313".to_owned(),
                name: name("somebody"),
                to: to.map(name),
                text: text.map(str::to_owned),
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
        for (address, expected) in [
            ("[::1]:7", "[::1]:7"),
            ("localhost", "localhost:1313"),
            ("192.0.2.7", "192.0.2.7:1313"),
            ("[::1]", "[::1]:1313"),
        ] {
            let listening = Ok(Operation::Listen {
                address: expected.to_owned(),
                name: name("log"),
            });
            let arguments = ["--listen", "-n", "log", address];
            assert_eq!(parse(arguments, at_a_terminal()), listening);
        }
    }

    #[test]
    fn help_and_version_come_before_what_is_wrong_with_the_rest() {
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
    fn what_is_wrong_is_named_in_one_line() {
        for (arguments, expected) in [
            (
                vec!["1313"],
                "\"1313\": ADDR:PORT is wanted, as 127.0.0.1:1313",
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
            (vec!["-n"], "Argument to option 'n' missing"),
        ] {
            assert_eq!(problem(&arguments, in_a_pipe()), expected);
        }
        let nobody = Surroundings {
            user: None,
            ..in_a_pipe()
        };
        assert_eq!(problem(&[], nobody), "--name NAME is wanted");
        let odd = Surroundings {
            user: Some("john.doe".to_owned()),
            ..in_a_pipe()
        };
        assert_eq!(
            problem(&[], odd),
            "$USER \"john.doe\": A name is 2 to 63 of A-Z a-z 0-9 _ -"
        );
        assert_eq!(
            problem(&["--to", "bob"], at_a_terminal()),
            "--to wants -m TEXT, or lines from a pipe; here, use /msg"
        );
    }
}
