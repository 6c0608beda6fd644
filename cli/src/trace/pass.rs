//! Lines as they are, if they are wanted.

use std::io::{self, BufWriter, Write};

use super::plain::plain;
use crate::failure::Failure;

/// The standard output, for lines.
pub(super) struct Pass<W: Write = io::Stdout>(BufWriter<W>);

impl Pass {
    pub(super) fn to_stdout() -> Self {
        Self(BufWriter::new(io::stdout()))
    }
}

impl<W: Write> Pass<W> {
    pub(super) fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.0, "{}", plain(line)).map_err(Failure::output)
    }

    /// Nothing is to wait here for what comes after it.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_of_the_same_meaning() {
        let mut pass = Pass(BufWriter::new(Vec::new()));
        pass.line("{\"a\": 1}\r").unwrap();
        pass.line("{\"\u{9b}2J\":2}").unwrap();
        pass.flush().unwrap();
        assert_eq!(
            pass.0.into_inner().unwrap(),
            b"{\"a\": 1} \n{\"\\u009b2J\":2}\n"
        );
    }
}
