//! What came of one attempt to export, and when to make the next one.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The collector has it, but for so many records.
    Taken { rejected: u64, why: String },
    /// It does not want it, and won't.
    Refused { why: String },
    /// It may take it later; it may have said when.
    Later {
        why: String,
        after: Option<Duration>,
    },
}

/// How long to wait before the next attempt: twice as long each time, and less than that by chance, so that not
/// all who wait come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The time to wait now, between half of it and all.
    pub(super) fn next(&mut self) -> Duration {
        let most = self.next;
        self.next = (most * 2).min(Self::LONGEST);
        // As random as need be, and new for each.
        let random = RandomState::new().hash_one(0) as u32;
        most / 2 + (most / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_up_to_a_limit() {
        let mut backoff = Backoff::new();
        let mut most = Backoff::FIRST;
        for _ in 0..10 {
            let now = backoff.next();
            assert!((most / 2..=most).contains(&now), "{now:?} of {most:?}");
            most = (most * 2).min(Backoff::LONGEST);
        }
        assert_eq!(most, Backoff::LONGEST);
    }
}
