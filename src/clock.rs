//! Time is passed in: what asks for it holds a [`Clock`], and tests hold the hands of a
//! [`ManualClock`].

#[cfg(feature = "fast-clock")]
mod fast;

use std::cell::Cell;
use std::ops::{Add, Sub};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(feature = "fast-clock")]
pub use fast::FastClock;

/// A moment, in whole nanoseconds since 1970-01-01 UTC; it reaches into the year 2554.
///
/// All arithmetic saturates at both ends.
///
/// ```
/// # use capspan::trace::Timestamp;
/// # use std::time::Duration;
/// let start = Timestamp::from_unix_nanos(1_000);
/// assert_eq!((start + Duration::from_micros(1)).unix_nanos(), 2_000);
/// assert_eq!((start - Duration::from_secs(1)).unix_nanos(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment that lies `nanos` nanoseconds after 1970-01-01 UTC.
    pub const fn from_unix_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970-01-01 UTC.
    pub const fn unix_nanos(self) -> u64 {
        self.0
    }

    /// `duration` later, at most the last moment there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// `duration` earlier, at least 1970.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How long ago `earlier` was; zero if it was later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.saturating_sub(duration)
    }
}

/// What tells the time.
///
/// It is read on the path of every span, at its opening and at its end: be quick. It must not
/// run backwards. It must not call into spans or capabilities.
pub trait Clock {
    /// The moment that it is.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for Rc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The machine's clock: wall time as it was at the clock's creation, moved on by a monotonic one.
///
/// So no span ends before it began, even when somebody sets the wall clock. The price: a
/// correction of the wall clock is not seen until a new `SystemClock` is made.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    created: Timestamp,
    since: Instant,
}

impl SystemClock {
    /// A clock that agrees with the wall clock now.
    pub fn new() -> Self {
        // A machine whose clock stands before 1970 is taken to be in 1970.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            created: Timestamp(nanos(wall)),
            since: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.created + self.since.elapsed()
    }
}

/// A clock that stands still until it is moved. Clones are handles to the same clock.
///
/// ```
/// # use capspan::trace::{Clock, ManualClock};
/// # use std::time::Duration;
/// let clock = ManualClock::default();
/// let hand = clock.clone();
/// hand.advance(Duration::from_nanos(5));
/// assert_eq!(clock.now().unix_nanos(), 5);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now: Rc<Cell<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now: Rc::new(Cell::new(now)),
        }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.now.set(self.now.get() + by);
    }

    /// Moves the clock to `now`, backwards as well.
    pub fn set(&self, now: Timestamp) {
        self.now.set(now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.now.get()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let last = Timestamp::from_unix_nanos(u64::MAX);
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(last - Duration::MAX, Timestamp::default());
    }

    #[test]
    fn time_since_a_later_moment_is_zero() {
        let early = Timestamp::from_unix_nanos(1);
        let late = Timestamp::from_unix_nanos(3);
        assert_eq!(late.duration_since(early), Duration::from_nanos(2));
        assert_eq!(early.duration_since(late), Duration::ZERO);
    }

    #[test]
    fn the_system_clock_does_not_run_backwards() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(first > Timestamp::from_unix_nanos(1_600_000_000_000_000_000));
    }

    #[test]
    fn clones_of_a_manual_clock_are_one_clock() {
        let clock = ManualClock::new(Timestamp::from_unix_nanos(7));
        let shared: Rc<dyn Clock> = Rc::new(clock.clone());
        clock.advance(Duration::from_nanos(1));
        assert_eq!(shared.now().unix_nanos(), 8);
        clock.set(Timestamp::default());
        assert_eq!(shared.now(), Timestamp::default());
    }
}
