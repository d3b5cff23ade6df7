//! The program `chat-server`: parses the command line, starts logging, and runs the server.
//!
//! Exit codes: 0 after a graceful shutdown, 1 if the server cannot start, 2 for a bad command line.

use std::io::{self, Write};
use std::process::ExitCode;

use chat::server::Server;
use chat::server::options::{self, Config, Operation};
use chat::server::{logging, signals};

fn main() -> ExitCode {
    match options::parse(std::env::args_os().skip(1)) {
        Ok(Operation::Run { config, verbosity }) => match serve(config, verbosity) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => fail(&problem, ExitCode::FAILURE),
        },
        Ok(Operation::Print(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(problem) => fail(
            &format!("{problem} (chat-server --help lists the options)"),
            ExitCode::from(2),
        ),
    }
}

fn serve(config: Config, verbosity: usize) -> Result<(), String> {
    let _logging = logging::init(verbosity).map_err(|e| format!("cannot start logging: {e}"))?;
    let server = Server::bind(config).map_err(|e| e.to_string())?;
    signals::shut_down_on_signals(server.shutdown_handle())
        .map_err(|e| format!("cannot wait for signals: {e}"))?;
    let addresses = server.local_addrs().map_err(|e| e.to_string())?;
    for address in addresses {
        print(&format!("listening on {address}\n"));
    }
    server.run().map_err(|e| format!("cannot start: {e}"))
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
