//! How an event or call ended.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// How what a span stands for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing went wrong.
    Ok,
    /// The service's handler failed.
    Exception,
    /// Whoever asked for it no longer wanted it.
    Canceled,
    /// The connection was lost.
    Disconnected,
    /// Its capabilities were taken back.
    Revoked,
    /// It took longer than it was allowed to.
    Timeout,
    /// A limit was reached.
    Overloaded,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Exception,
        Self::Canceled,
        Self::Disconnected,
        Self::Revoked,
        Self::Timeout,
        Self::Overloaded,
    ];

    /// Its name, in lower case: `ok`, `exception`, …
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exception => "exception",
            Self::Canceled => "canceled",
            Self::Disconnected => "disconnected",
            Self::Revoked => "revoked",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = Error;

    /// # Errors
    /// Invalid unless `name` is one that [`as_str`](Self::as_str) gives.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
            .ok_or_else(|| Error::invalid(format!("outcome {name:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_there_and_back() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.to_string().parse(), Ok(outcome));
        }
    }

    #[test]
    fn other_names_are_invalid() {
        for name in ["", "OK", "error"] {
            assert!(name.parse::<Outcome>().unwrap_err().is_invalid());
        }
    }
}
