//! The program `chat-client`: parses the command line, runs the client, returns the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use chat::client::access::{self, AccessVariable};
use chat::client::options::{self, Environment, Operation};
use chat::client::{exit, script, terminal};

fn main() -> ExitCode {
    let environment = Environment {
        stdin_is_terminal: io::stdin().is_terminal(),
        stdout_is_terminal: io::stdout().is_terminal(),
        user: std::env::var("USER").ok().filter(|user| !user.is_empty()),
        access: AccessVariable::parse(std::env::var_os(access::VARIABLE)),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb"),
    };
    match options::parse(std::env::args_os().skip(1), environment) {
        Ok(Operation::Converse(config)) => terminal::converse(&config)
            .unwrap_or_else(|e| exit::fail(exit::FAILED, &config.addresses.describe_failure(&e))),
        Ok(Operation::Send(config)) => script::send(config),
        Ok(Operation::Listen(config)) => script::listen(config),
        Ok(Operation::Print(text)) => {
            let mut stdout = io::stdout();
            // `print!` panics if stdout is closed.
            let _ = stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush());
            ExitCode::from(exit::DONE)
        }
        Err(problem) => exit::fail(
            exit::BAD_USAGE,
            &format!("{problem} (chat-client --help lists the options)"),
        ),
    }
}
