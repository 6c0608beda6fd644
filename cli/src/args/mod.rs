//! What the user can ask for on the command line.
//!
//! Each command has a file for its options; this one puts them together and reads the line.

mod completions;
mod demo;
mod look;
mod man;
mod trace;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

pub use completions::CompletionsArgs;
pub use demo::{CalleeArgs, CalleePlace, DemoArgs, End};
pub use look::{Color, Look};
pub use man::ManArgs;
pub use trace::{FilterArgs, TraceArgs};

use crate::failure::Failure;
pub use crate::proxy::ProxyArgs;

const EXAMPLES: &str = "\
Examples:
  capspan demo                        a caller and a callee, and their trace
  capspan proxy --listen unix:/run/front.sock --upstream unix:/run/service.sock
                                      what passes between a service and its clients
  capspan trace spans.jsonl           traces that services have written, as trees
  capspan trace spans.jsonl --follow  the same while they come
  capspan trace --help                all that it can do, with examples

Exit status: 0 when it is done; 2 when it can't be done, with one line on the standard error that
says why; 130 after Ctrl-C. `capspan proxy --help` has its own.";

/// See what services do that talk Cap'n Proto RPC
#[derive(Debug, Parser)]
#[command(name = "capspan", version, after_help = EXAMPLES)]
pub struct Cli {
    /// How it has to look.
    #[command(flatten)]
    pub look: Look,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the tool can do.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Let a caller and a callee analyse a text together, and print their trace
    Demo(DemoArgs),
    /// Stand before a service and tell of its sessions and calls
    Proxy(Box<ProxyArgs>),
    /// Show span records, JSON lines, as trees with waterfalls, as a page, or for Perfetto
    Trace(TraceArgs),
    /// Write a shell's completions for this tool
    Completions(CompletionsArgs),
    /// Write the manual's pages
    Man(ManArgs),
    /// The callee of `demo`, which starts it; not for people.
    #[command(hide = true)]
    DemoCallee(CalleeArgs),
}

/// What a command line came to.
#[derive(Debug)]
pub enum Parsed {
    /// Do this.
    Run(Box<Cli>),
    /// Print this text (help, version), and that is all.
    Print(String),
}

/// Reads the command line; its first word is the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, Failure> {
    let words: Vec<OsString> = words.into_iter().collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => Ok(Parsed::Run(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Parsed::Print(error.to_string()))
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::told("what to do? (see 'capspan --help')"))
            }
            _ => Err(Failure::told(format!(
                "{} (see '{} --help')",
                one_line(&error.to_string()),
                asked_for(&words),
            ))),
        },
    }
}

/// The first paragraph of what `clap` says, as one line; the rest is usage and tips.
fn one_line(message: &str) -> String {
    let first = message.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = first.split_whitespace().collect();
    let line = words.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// The program with the command that `words` name, if it has one of that name: whose help says more.
fn asked_for(words: &[OsString]) -> String {
    let cli = Cli::command();
    let named = words.iter().skip(1).find_map(|word| {
        let known = cli.find_subcommand(word)?;
        Some(format!("capspan {}", known.get_name()))
    });
    named.unwrap_or_else(|| "capspan".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Parsed, Failure> {
        let program = std::iter::once("capspan");
        parse(program.chain(words.iter().copied()).map(OsString::from))
    }

    pub(super) fn command(words: &[&str]) -> Command {
        match parse_words(words) {
            Ok(Parsed::Run(cli)) => cli.command,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    pub(super) fn look(words: &[&str]) -> Look {
        match parse_words(words) {
            Ok(Parsed::Run(cli)) => cli.look,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    pub(super) fn failure(words: &[&str]) -> String {
        match parse_words(words) {
            Err(failure) => failure.to_string(),
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
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
    fn who_asks_for_no_command_is_led_to_the_list_of_them() {
        assert_eq!(
            failure(&["dance"]),
            "unrecognized subcommand 'dance' (see 'capspan --help')"
        );
        assert!(failure(&["--dance"]).ends_with("(see 'capspan --help')"));
        assert!(failure(&["demo-callee"]).ends_with("(see 'capspan demo-callee --help')"));
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
