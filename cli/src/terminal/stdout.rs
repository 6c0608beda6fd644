//! What fits the standard output.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use super::Style;
use crate::args::{Color, Look};

const DEFAULT_WIDTH: usize = 100;

impl Style {
    /// What fits the standard output, but for what the user asks for. The width is `COLUMNS` where that is a number, else the
    /// terminal's, else 100. There are colours on a terminal, unless `NO_COLOR` is set to something
    /// or `TERM` is `dumb`.
    pub fn of_stdout(look: Look) -> Self {
        let stdout = io::stdout();
        let size = terminal_size::terminal_size_of(&stdout);
        let columns = size.map(|(terminal_size::Width(columns), _)| columns);
        let found = Self::detect(stdout.is_terminal(), columns, |name| std::env::var_os(name));
        found.asked_for(look)
    }

    fn asked_for(self, look: Look) -> Self {
        let colour = match look.color {
            Color::Auto => self.colour(),
            Color::Always => true,
            Color::Never => false,
        };
        Self::new(look.width.unwrap_or(self.width()), colour)
    }

    fn detect(
        is_terminal: bool,
        columns: Option<u16>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let wanted: Option<usize> = variable("COLUMNS")
            .and_then(|value| value.to_str()?.parse().ok())
            .filter(|columns| *columns > 0);
        let no_colour = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = variable("TERM").is_some_and(|value| value == "dumb");
        let columns = columns.filter(|columns| *columns > 0).map(usize::from);
        Self::new(
            wanted.or(columns).unwrap_or(DEFAULT_WIDTH),
            is_terminal && !no_colour && !dumb,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::{MAX_WIDTH, MIN_WIDTH};

    fn detect(
        is_terminal: bool,
        columns: Option<u16>,
        variables: &[(&str, &str)],
    ) -> (usize, bool) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        };
        let style = Style::detect(is_terminal, columns, variable);
        (style.width(), style.colour())
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert_eq!(detect(true, Some(120), &[("TERM", "xterm")]), (120, true));
        assert_eq!(detect(true, Some(120), &[("NO_COLOR", "")]), (120, true));
        assert_eq!(detect(true, Some(120), &[("NO_COLOR", "1")]), (120, false));
        assert_eq!(detect(true, Some(120), &[("TERM", "dumb")]), (120, false));
        assert_eq!(detect(false, None, &[]), (100, false));
    }

    #[test]
    fn the_width_is_asked_for_or_measured_or_assumed_and_kept_in_bounds() {
        assert_eq!(detect(true, Some(120), &[("COLUMNS", "60")]).0, 60);
        assert_eq!(detect(true, Some(120), &[("COLUMNS", "wide")]).0, 120);
        assert_eq!(detect(true, Some(120), &[("COLUMNS", "0")]).0, 120);
        assert_eq!(detect(true, Some(0), &[]).0, 100);
        assert_eq!(detect(true, Some(9), &[]).0, MIN_WIDTH);
        assert_eq!(detect(true, Some(999), &[]).0, MAX_WIDTH);
    }

    #[test]
    fn what_the_user_asks_for_comes_before_what_is_found() {
        let asked = |color, width| Style::new(100, true).asked_for(Look { color, width });
        assert_eq!(asked(Color::Auto, None), Style::new(100, true));
        assert_eq!(asked(Color::Never, Some(40)), Style::new(40, false));
        let plain = Style::new(100, false).asked_for(Look {
            color: Color::Always,
            width: None,
        });
        assert_eq!(plain, Style::new(100, true));
    }
}
