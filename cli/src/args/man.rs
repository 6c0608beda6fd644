//! The options of `capspan man`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  capspan man > capspan.1
  capspan man trace | man -l -
  capspan man --dir ~/.local/share/man/man1

Exit status: 0 when it is written, 2 when it can't be.";

/// The options of `man`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// The command that the page is about [default: the tool as a whole]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub command: Option<String>,

    /// Write all pages into this folder, which is there already
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
