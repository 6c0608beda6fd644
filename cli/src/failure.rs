//! How the tool ends early.

use std::fmt;
use std::io;

use crate::terminal::escape;

/// Why the tool ends before its work is done.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something that the user is told in one line.
    Told(String),
    /// All that is wrong in what the user said, a line for each.
    Wrong(Vec<String>),
    /// What went wrong though all that the user said was right: the same may go well the next time.
    AtWork(String),
    /// Whoever read the standard output wants no more: nothing to tell, and no error.
    OutputClosed,
    /// The user wants no more (Ctrl-C): nothing to tell either.
    Interrupted,
}

impl Failure {
    /// A failure that is told as `message`, which may hold anything: it is printed as one line.
    pub fn told(message: impl Into<String>) -> Self {
        Self::Told(message.into())
    }

    /// The same failure where work has begun.
    #[must_use]
    pub fn at_work(self) -> Self {
        match self {
            Self::Told(message) => Self::AtWork(message),
            other => other,
        }
    }

    /// The lines that the user is told, if any, without ends.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Told(message) | Self::AtWork(message) => vec![escape(message)],
            Self::Wrong(messages) => messages.iter().map(|message| escape(message)).collect(),
            Self::OutputClosed | Self::Interrupted => Vec::new(),
        }
    }

    /// The status that the process ends with.
    pub fn status(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::AtWork(_) => 1,
            Self::Told(_) | Self::Wrong(_) => 2,
            // As shells expect.
            Self::Interrupted => 130,
        }
    }

    /// The standard output can't be written.
    pub fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::told(format!("standard output: {error}"))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(_) | Self::Wrong(_) | Self::AtWork(_) => {
                f.write_str(&self.lines().join("; "))
            }
            Self::OutputClosed => f.write_str("standard output is closed"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_one_line_whatever_it_holds() {
        let failure = Failure::told("no file a\nb\u{1b}[2J");
        assert_eq!(failure.to_string(), "no file a\\nb\\u{1b}[2J");
    }

    #[test]
    fn only_a_broken_pipe_is_a_closed_output() {
        let failure = |kind| Failure::output(io::Error::from(kind));
        assert_eq!(failure(io::ErrorKind::BrokenPipe), Failure::OutputClosed);
        assert!(matches!(
            failure(io::ErrorKind::StorageFull),
            Failure::Told(_)
        ));
    }
}
