//! How output has to look, whatever the command.

use clap::{Args, ValueEnum};

use crate::terminal::{MAX_WIDTH, MIN_WIDTH};

/// The options that every command has.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When to use colours; on a terminal without NO_COLOR, if not told
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_default_value = true
    )]
    pub color: Color,

    /// How many columns a line may take [default: COLUMNS, else the terminal's, else 100]
    #[arg(long, global = true, value_name = "COLUMNS", value_parser = width)]
    pub width: Option<usize>,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Also in a file or a pipe
    Always,
    /// Not at all
    Never,
}

fn width(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|width| (MIN_WIDTH..=MAX_WIDTH).contains(width))
        .ok_or_else(|| format!("not a number from {MIN_WIDTH} to {MAX_WIDTH}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::tests::{failure, look};

    #[test]
    fn any_command_takes_it_before_and_behind_its_name() {
        let wanted = Look {
            color: Color::Never,
            width: Some(60),
        };
        for words in [
            ["--color", "never", "--width=60", "demo"],
            ["demo", "--width", "60", "--color=never"],
            ["--width=60", "demo", "--color", "never"],
        ] {
            assert_eq!(look(&words), wanted);
        }
        assert_eq!(look(&["demo"]), Look::default());
    }

    #[test]
    fn a_width_that_can_not_be_is_refused() {
        for wrong in ["0", "19", "201", "wide", "-5"] {
            let told = failure(&["demo", &format!("--width={wrong}")]);
            assert!(told.contains("not a number from 20 to 200"), "{told}");
        }
    }
}
