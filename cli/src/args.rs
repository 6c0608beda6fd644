//! What the user can ask for on the command line.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;

/// One trace of two services that talk Cap'n Proto RPC.
#[derive(Debug, Parser)]
#[command(name = "capspan", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the tool can do.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Let a caller and a callee analyse a text together, and print their trace
    Demo(DemoArgs),
    /// The callee of `demo`, which starts it; not for people.
    #[command(hide = true)]
    DemoCallee(CalleeArgs),
}

/// The options of `demo`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DemoArgs {
    /// Text to analyse, UTF-8, up to 16 MiB [default: README.md if there is one here, else a text of
    /// the tool's own]
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Unix socket to talk over [default: a new one in a folder of its own]
    #[arg(long, value_name = "PATH", conflicts_with = "tcp")]
    pub socket: Option<PathBuf>,

    /// Talk over TCP on this machine, at ADDRESS [default: 127.0.0.1, any free port]
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:0",
        value_parser = loopback,
    )]
    pub tcp: Option<SocketAddr>,

    /// Print span records as JSON lines, and nothing else
    #[arg(long)]
    pub json: bool,

    /// Send the spans of both processes to the OpenTelemetry collector at URL, as http://127.0.0.1:4318, as well
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,

    /// How the session ends
    #[arg(long, value_enum, value_name = "HOW", default_value_t = End::Finish)]
    pub end: End,
}

/// How the demo's session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum End {
    /// The caller reads all results and lets go
    Finish,
    /// The caller drops the session midway
    Cancel,
    /// The callee's process is killed midway
    Kill,
}

/// The options of `demo-callee`: where its caller waits for it, and for what text. It writes its span
/// records on its standard output, which the caller reads.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CalleeArgs {
    /// Where to connect to.
    #[command(flatten)]
    pub place: CalleePlace,

    /// What people call the text: a file name, for instance.
    #[arg(long)]
    pub title: String,

    /// Where a collector is, if spans are to go there as well.
    #[arg(long)]
    pub otlp: Option<String>,
}

/// Where the caller waits for the callee: exactly one of these.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[group(required = true, multiple = false)]
pub struct CalleePlace {
    /// At a Unix socket.
    #[arg(long)]
    pub socket: Option<PathBuf>,

    /// At a loopback address.
    #[arg(long, value_parser = loopback)]
    pub tcp: Option<SocketAddr>,
}

/// What a command line came to.
#[derive(Debug)]
pub enum Parsed {
    /// Do this.
    Run(Cli),
    /// Print this text (help, version), and that is all.
    Print(String),
}

/// Reads the command line; its first word is the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, Failure> {
    match Cli::try_parse_from(words) {
        Ok(cli) => Ok(Parsed::Run(cli)),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Parsed::Print(error.to_string()))
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::told("what to do? (see 'capspan --help')"))
            }
            _ => Err(Failure::told(one_line(&error.to_string()))),
        },
    }
}

/// The first paragraph of what `clap` says, as one line; the rest is usage and tips.
fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = first.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line} (see 'capspan demo --help')")
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| {
        format!(
            "not an address with a port, as {}:7000 is",
            Ipv4Addr::LOCALHOST
        )
    })?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{} is not an address of this machine only",
            address.ip()
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse_words(words: &[&str]) -> Result<Parsed, Failure> {
        let program = std::iter::once("capspan");
        parse(program.chain(words.iter().copied()).map(OsString::from))
    }

    fn command(words: &[&str]) -> Command {
        match parse_words(words) {
            Ok(Parsed::Run(cli)) => cli.command,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    fn failure(words: &[&str]) -> String {
        match parse_words(words) {
            Err(failure) => failure.to_string(),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    const PLAIN: DemoArgs = DemoArgs {
        input: None,
        socket: None,
        tcp: None,
        json: false,
        otlp: None,
        end: End::Finish,
    };

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn demo_needs_no_option() {
        assert_eq!(command(&["demo"]), Command::Demo(PLAIN));
    }

    #[test]
    fn demo_takes_all_its_options() {
        assert_eq!(
            command(&[
                "demo", "--input", "a b", "--tcp", "--json", "--otlp", "x", "--end", "kill"
            ]),
            Command::Demo(DemoArgs {
                input: Some("a b".into()),
                tcp: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
                json: true,
                otlp: Some("x".into()),
                end: End::Kill,
                ..PLAIN
            })
        );
        assert_eq!(
            command(&["demo", "--tcp=[::1]:7000", "--end=cancel"]),
            Command::Demo(DemoArgs {
                tcp: "[::1]:7000".parse().ok(),
                end: End::Cancel,
                ..PLAIN
            })
        );
    }

    #[test]
    fn the_callee_is_told_one_place_and_what_the_text_is_called() {
        assert_eq!(
            command(&["demo-callee", "--socket", "/tmp/s", "--title", "README.md"]),
            Command::DemoCallee(CalleeArgs {
                place: CalleePlace {
                    socket: Some("/tmp/s".into()),
                    tcp: None,
                },
                title: "README.md".into(),
                otlp: None,
            })
        );
        failure(&["demo-callee", "--title", "x"]);
        failure(&[
            "demo-callee",
            "--socket",
            "a",
            "--tcp",
            "[::1]:1",
            "--title",
            "x",
        ]);
    }

    #[test]
    fn a_wrong_argument_is_told_in_one_line() {
        assert_eq!(
            failure(&["demo", "--colour"]),
            "unexpected argument '--colour' found (see 'capspan demo --help')"
        );
        assert_eq!(
            failure(&["demo", "--end", "never"]),
            "invalid value 'never' for '--end <HOW>' [possible values: finish, cancel, kill] \
             (see 'capspan demo --help')"
        );
        assert_eq!(
            failure(&["demo", "--tcp=10.0.0.1:80"]),
            "invalid value '10.0.0.1:80' for '--tcp[=<ADDRESS>]': 10.0.0.1 is not an address of \
             this machine only (see 'capspan demo --help')"
        );
        for wrong in [
            &[][..],
            &["dance"],
            &["demo", "file"],
            &["demo", "--input"],
            &["demo", "--tcp=7000"],
            &["demo", "--tcp", "--socket", "s"],
            &["demo", "a\nb\n\nc"],
        ] {
            assert!(!failure(wrong).contains('\n'), "{wrong:?}");
        }
    }

    #[test]
    fn no_argument_at_all_is_told_as_well() {
        assert_eq!(failure(&[]), "what to do? (see 'capspan --help')");
    }

    #[test]
    fn help_is_no_failure_and_does_not_tell_of_the_callee() {
        match parse_words(&["--help"]) {
            Ok(Parsed::Print(text)) => {
                assert!(
                    text.contains("demo ") && !text.contains("callee of"),
                    "{text}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
