//! How fast messages, bytes and cancelations come.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::breach::Breach;
use super::limits::GuardLimits;
use super::options::GuardOptions;
use super::rules::Cut;
use crate::timer::Timer;

const SECOND: Duration = Duration::from_secs(1);

/// What comes of a peer in a second.
pub(super) struct Pace {
    limits: GuardLimits,
    timer: Option<Rc<dyn Timer>>,
    second: Option<Instant>,
    messages: u32,
    bytes: u64,
    calls: Option<Calls>,
}

/// The calls since a moment.
struct Calls {
    since: Instant,
    begun: u64,
    canceled: u64,
}

impl Pace {
    pub(super) fn new(options: &GuardOptions) -> Self {
        Self {
            limits: options.limits,
            timer: options.timer.clone(),
            second: None,
            messages: 0,
            bytes: 0,
            calls: None,
        }
    }

    fn now(&self) -> Instant {
        match &self.timer {
            Some(timer) => timer.now(),
            None => Instant::now(),
        }
    }

    /// A message has come. The clock is only looked at where there is a limit.
    pub(super) fn message(&mut self, bytes: u64) -> Result<(), Cut> {
        let limits = (self.limits.messages_a_second, self.limits.bytes_a_second);
        if let (None, None) = limits {
            return Ok(());
        }
        let now = self.now();
        if self.second.is_none_or(|second| now - second >= SECOND) {
            (self.second, self.messages, self.bytes) = (Some(now), 0, 0);
        }
        self.messages += 1;
        self.bytes += bytes;
        match limits {
            (Some(max), _) if self.messages > max => Err(Cut::new(
                Breach::MessageRate,
                format!("more than {max} messages within a second"),
            )),
            (_, Some(max)) if self.bytes > max => Err(Cut::new(
                Breach::ByteRate,
                format!("more than {max} bytes within a second"),
            )),
            _ => Ok(()),
        }
    }

    /// So many calls have come in all, and so many of them were finished before they had returned. Those that others
    /// were made on are none, from then on. The clock is only looked at once in as many calls as the limit is about.
    pub(super) fn calls(&mut self, begun: u64, canceled: u64) -> Result<(), Cut> {
        let of = u64::from(self.limits.canceled_of);
        let known = self.calls.as_ref().map_or(0, |calls| calls.begun);
        if canceled == 0 || begun.saturating_sub(known) < of {
            return Ok(());
        }
        let now = self.now();
        let last = self.calls.replace(Calls {
            since: now,
            begun,
            canceled,
        });
        let Some(last) = last else {
            return Ok(());
        };
        let (begun, canceled) = (begun - last.begun, canceled - last.canceled);
        if now - last.since <= SECOND && canceled * 2 > begun {
            return Err(Cut::new(
                Breach::CanceledCalls,
                format!("{canceled} of {begun} calls were finished before they had returned"),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::LocalBoxFuture;
    use std::cell::Cell;

    struct Hands(Instant, Rc<Cell<Duration>>);

    impl Timer for Hands {
        fn now(&self) -> Instant {
            self.0 + self.1.get()
        }

        fn sleep_until(&self, _: Instant) -> LocalBoxFuture<'static, ()> {
            Box::pin(futures::future::pending())
        }
    }

    fn pace(limits: GuardLimits) -> (Pace, Rc<Cell<Duration>>) {
        let time = Rc::new(Cell::new(Duration::ZERO));
        let timer = Hands(Instant::now(), time.clone());
        let options = GuardOptions::from(limits).timer(timer);
        (Pace::new(&options), time)
    }

    fn breach(result: Result<(), Cut>) -> Option<Breach> {
        result.err().map(|cut| cut.breach)
    }

    #[test]
    fn as_many_messages_a_second_as_are_allowed() {
        let (mut pace, time) = pace(GuardLimits::default().messages_a_second(3));
        for _ in 0..2 {
            for _ in 0..3 {
                assert_eq!(breach(pace.message(1)), None);
            }
            time.set(time.get() + SECOND);
        }
        for _ in 0..3 {
            assert_eq!(breach(pace.message(1)), None);
        }
        assert_eq!(breach(pace.message(1)), Some(Breach::MessageRate));
    }

    #[test]
    fn as_many_bytes_a_second_as_are_allowed() {
        let (mut pace, time) = pace(GuardLimits::default().bytes_a_second(100));
        assert_eq!(breach(pace.message(100)), None);
        time.set(SECOND);
        assert_eq!(breach(pace.message(60)), None);
        assert_eq!(breach(pace.message(41)), Some(Breach::ByteRate));
    }

    #[test]
    fn more_than_half_of_the_calls_canceled_within_a_second() {
        let (mut pace, time) = pace(GuardLimits::default().max_canceled_of(10));
        assert_eq!(breach(pace.calls(10, 10)), None);
        assert_eq!(
            breach(pace.calls(20, 15)),
            None,
            "half is not more than half"
        );
        time.set(Duration::from_secs(5));
        assert_eq!(breach(pace.calls(30, 25)), None, "over a longer time");
        assert_eq!(breach(pace.calls(39, 34)), None, "of fewer calls");
        assert_eq!(breach(pace.calls(40, 31)), Some(Breach::CanceledCalls));
    }
}
