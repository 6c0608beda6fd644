//! A clock by the processor's own counter.

use std::cell::Cell;

use super::{Clock, SystemClock, Timestamp};

/// For how long the counter is trusted, in nanoseconds. Counters go wrong by some millionths.
const TRUSTED: u64 = 1_000_000_000;

/// As the [`SystemClock`], but read from the processor's counter, which takes a fraction of the time where
/// the kernel's clock is slow to ask, as it is on many virtual machines. Spans of calls in one process are
/// little more than two readings.
///
/// Once a second it is set by the `SystemClock`, so that it does not drift; it never runs backwards. Where
/// the processor has no steady counter, it is the system's clock. The first one in a process measures the
/// counter, which may take 200 ms: make it at the start. Clones are clocks of their own.
///
/// ```
/// # use capspan::trace::{FastClock, NoopObserver, Tracer};
/// let tracer = Tracer::new(NoopObserver).with_clock(FastClock::new());
/// ```
#[derive(Clone, Debug)]
pub struct FastClock {
    counter: quanta::Clock,
    inner: Counted<SystemClock>,
}

impl FastClock {
    /// A clock that agrees with the wall clock now.
    pub fn new() -> Self {
        Self {
            counter: quanta::Clock::new(),
            inner: Counted::new(SystemClock::new()),
        }
    }
}

impl Default for FastClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let elapsed = |since, count| self.counter.delta_as_nanos(since, count);
        self.inner.now(self.counter.raw(), elapsed)
    }
}

/// The time by a counter that is set by another clock now and then.
#[derive(Clone, Debug)]
struct Counted<C> {
    clock: C,
    /// What the counter and the clock said when it was set.
    set: Cell<Option<(u64, Timestamp)>>,
    last: Cell<Timestamp>,
}

impl<C: Clock> Counted<C> {
    fn new(clock: C) -> Self {
        Self {
            clock,
            set: Cell::new(None),
            last: Cell::default(),
        }
    }

    /// The moment when the counter says `count`; `elapsed` tells the nanoseconds between two counts.
    #[inline]
    fn now(&self, count: u64, elapsed: impl Fn(u64, u64) -> u64) -> Timestamp {
        let counted = self.set.get().and_then(|(since, time)| {
            let elapsed = elapsed(since, count);
            let is_trusted = count >= since && elapsed < TRUSTED;
            is_trusted.then(|| Timestamp(time.0.saturating_add(elapsed)))
        });
        let now = counted.unwrap_or_else(|| {
            let now = self.clock.now();
            self.set.set(Some((count, now)));
            now
        });
        let now = now.max(self.last.get());
        self.last.set(now);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn elapsed(since: u64, count: u64) -> u64 {
        count.saturating_sub(since)
    }

    #[test]
    fn it_counts_on_from_where_it_was_set() {
        let clock = ManualClock::new(Timestamp(5_000));
        let counted = Counted::new(clock.clone());
        assert_eq!(counted.now(100, elapsed).0, 5_000);
        clock.set(Timestamp(9_999));
        assert_eq!(counted.now(107, elapsed).0, 5_007);
    }

    #[test]
    fn it_is_set_again_after_a_second() {
        let clock = ManualClock::new(Timestamp(0));
        let counted = Counted::new(clock.clone());
        counted.now(0, elapsed);
        clock.set(Timestamp(TRUSTED + 40));
        assert_eq!(counted.now(TRUSTED - 1, elapsed).0, TRUSTED - 1);
        assert_eq!(counted.now(TRUSTED, elapsed).0, TRUSTED + 40);
        assert_eq!(counted.now(TRUSTED + 2, elapsed).0, TRUSTED + 42);
    }

    #[test]
    fn it_never_runs_backwards() {
        let clock = ManualClock::new(Timestamp(0));
        let counted = Counted::new(clock.clone());
        counted.now(10, elapsed);
        let late = counted.now(10 + TRUSTED - 1, elapsed);
        clock.set(Timestamp(3));
        // The counter was ahead of the clock, then goes back itself.
        for count in [10 + TRUSTED, 11 + TRUSTED, 4] {
            assert_eq!(counted.now(count, elapsed), late);
        }
    }

    #[test]
    fn it_agrees_with_the_system() {
        let clock = FastClock::new();
        let system = SystemClock::new();
        let (before, now) = (clock.now(), clock.now());
        assert!(now >= before);
        // Whatever happens to the test meanwhile takes less than a minute.
        assert!(system.now().duration_since(before).as_secs() < 60);
        assert!(before.duration_since(system.now()).as_secs() < 60);
    }
}
