//! The program `chat-server`: parses the command line, starts logging, and runs the server.
//!
//! Exit codes: 0 after a graceful shutdown, 1 if the server cannot start, 2 for a bad command line.

use std::io::{self, Write};
use std::process::ExitCode;

use chat::protocol::token::Token;
use chat::server::options::{self, Config, Operation};
use chat::server::{BindError, Server, logging, signals};

/// Exit code: the server could not start.
const FAILED: u8 = 1;
/// Exit code: an option or the access file is bad.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let redis = std::env::var(options::REDIS_VARIABLE).ok();
    match options::parse(std::env::args_os().skip(1), redis) {
        Ok(Operation::Run { config, verbosity }) => match serve(config, verbosity) {
            Ok(()) => ExitCode::SUCCESS,
            Err((problem, code)) => fail(&problem, ExitCode::from(code)),
        },
        Ok(Operation::NewToken) => match new_token() {
            Ok(token) => {
                print(&format!("{token}\n"));
                ExitCode::SUCCESS
            }
            Err(problem) => fail(&problem, ExitCode::FAILURE),
        },
        Ok(Operation::Print(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(problem) => fail(
            &format!("{problem} (chat-server --help lists the options)"),
            ExitCode::from(BAD_USAGE),
        ),
    }
}

/// Serves until the shutdown. An error is a text and the exit code.
fn serve(config: Config, verbosity: usize) -> Result<(), (String, u8)> {
    let failed = |what: &str, e: io::Error| (format!("{what}: {e}"), FAILED);
    let _logging = logging::init(verbosity).map_err(|e| failed("cannot start logging", e))?;
    let server = Server::bind(config).map_err(|e| match e {
        BindError::Access(_) => (e.to_string(), BAD_USAGE),
        _ => (e.to_string(), FAILED),
    })?;
    signals::handle_signals(server.shutdown_handle(), server.access_file())
        .map_err(|e| failed("cannot wait for signals", e))?;
    let addresses = server
        .local_addrs()
        .map_err(|e| failed("cannot listen", e))?;
    for address in addresses {
        print(&format!("listening on {address}\n"));
    }
    server.run().map_err(|e| failed("cannot start", e))
}

/// Makes an access token, from the operating system's random source.
fn new_token() -> Result<String, String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|e| format!("no random bytes: {e}"))?;
    let digits = Token::from_bits(bits).hex();
    Ok(String::from_utf8_lossy(&digits).into_owned())
}

fn fail(problem: &str, code: ExitCode) -> ExitCode {
    // eprintln! would panic if stderr is closed. In `print`, println! would panic in the same way.
    let _ = writeln!(io::stderr(), "chat-server: {problem}");
    code
}

fn print(text: &str) {
    let mut stdout = io::stdout();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
