//! The `capspan` program: reads the command line, does what it says, and ends with status 0, or with
//! status 2 and one line on the standard error; with status 130 after Ctrl-C, as shells expect.

use std::io::Write as _;
use std::process::ExitCode;

use capspan_cli::args::{self, Command, Parsed};
use capspan_cli::failure::Failure;
use capspan_cli::terminal::Style;
use capspan_cli::{demo, manual, trace};

fn main() -> ExitCode {
    match run() {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(130),
        Err(failure @ Failure::Told(_)) => {
            // Where the standard error is closed, the status has to say it all.
            let _ = writeln!(std::io::stderr(), "capspan: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Failure> {
    match args::parse(std::env::args_os())? {
        Parsed::Print(text) => print(&text),
        Parsed::Run(cli) => match cli.command {
            Command::Demo(args) => demo::run(&args, Style::of_stdout(cli.look)),
            Command::DemoCallee(args) => demo::run_callee(args),
            Command::Trace(args) => trace::run(&args, Style::of_stdout(cli.look)),
            Command::Completions(args) => manual::completions(args),
            Command::Man(args) => manual::man(&args),
        },
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::output)
}
