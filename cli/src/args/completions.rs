//! The options of `capspan completions`.

use clap::Args;
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  capspan completions bash > ~/.local/share/bash-completion/completions/capspan
  capspan completions zsh > ~/.zfunc/_capspan
  capspan completions fish > ~/.config/fish/completions/capspan.fish

Exit status: 0 when it is written, 2 when it can't be.";

/// The options of `completions`.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}
