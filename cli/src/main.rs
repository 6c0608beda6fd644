//! The `capspan` program: reads the command line, does what it says, and ends with status 0, or with
//! status 2 and one line on the standard error (`proxy`: one for each mistake in its configuration, and status 1
//! for what goes wrong though that is right); with status 130 after Ctrl-C, as shells expect.

use std::io::Write as _;
use std::process::ExitCode;

use capspan_cli::args::{self, Command, Parsed};
use capspan_cli::failure::Failure;
use capspan_cli::terminal::Style;
use capspan_cli::{demo, manual, proxy, trace};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.lines() {
                // Where the standard error is closed, the status has to say it all.
                let _ = writeln!(std::io::stderr(), "capspan: {line}");
            }
            ExitCode::from(failure.status())
        }
    }
}

fn run() -> Result<(), Failure> {
    match args::parse(std::env::args_os())? {
        Parsed::Print(text) => print(&text),
        Parsed::Run(cli) => match cli.command {
            Command::Demo(args) => demo::run(&args, Style::of_stdout(cli.look)),
            Command::Proxy(args) => proxy::command(&args),
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
