//! Where a time lies on a line. What happened lies side by side, and times at which nothing did are drawn short:
//! a session may have a few calls of milliseconds in an hour.

use std::time::Duration;

/// How wide the line is.
pub(super) const WIDTH: f64 = 1_000.0;

/// An idle time is drawn no longer than this part of the time in which something happened.
const IDLE_PART: u32 = 20;

/// How many places where a time is cut short are marked.
const MAX_MARKS: usize = 8;

/// A line from the beginning of a session to the end of its last call.
pub(super) struct Axis {
    /// Idle times that are cut short, in order.
    cuts: Vec<Cut>,
    whole: Duration,
    cut: Duration,
}

struct Cut {
    from: Duration,
    to: Duration,
    drawn: Duration,
}

impl Axis {
    /// One for times that lie in `busy`, each from when to when.
    pub(super) fn of(busy: impl Iterator<Item = (Duration, Duration)>) -> Self {
        let mut busy: Vec<_> = busy.collect();
        busy.sort_unstable();
        let (mut end, mut idle) = (Duration::ZERO, Vec::new());
        for (from, to) in busy {
            if from > end {
                idle.push((end, from));
            }
            end = end.max(to);
        }
        let all_idle: Duration = idle.iter().map(|(from, to)| *to - *from).sum();
        // Many of them take no more room than all that happened.
        let parts = IDLE_PART.max(u32::try_from(idle.len()).unwrap_or(u32::MAX));
        let most = (end - all_idle) / parts;
        let cuts = idle.into_iter().filter(|(from, to)| *to - *from > most);
        let cuts: Vec<_> = cuts
            .map(|(from, to)| Cut {
                from,
                to,
                drawn: most,
            })
            .collect();
        Self {
            cut: cuts.iter().map(|cut| cut.to - cut.from - cut.drawn).sum(),
            cuts,
            whole: end,
        }
    }

    /// From beginning to end.
    pub(super) fn whole(&self) -> Duration {
        self.whole
    }

    /// How much of that is not drawn.
    pub(super) fn cut(&self) -> Duration {
        self.cut
    }

    /// Where a time lies, from 0 to [`WIDTH`].
    pub(super) fn place(&self, time: Duration) -> f64 {
        let mut drawn = time;
        for cut in self.cuts.iter().take_while(|cut| cut.from < time) {
            let of_it = time.min(cut.to) - cut.from;
            drawn -= of_it - of_it.min(cut.drawn);
        }
        let whole = self.whole - self.cut;
        match whole.is_zero() {
            true => 0.0,
            false => (drawn.as_secs_f64() / whole.as_secs_f64() * WIDTH).min(WIDTH),
        }
    }

    /// The middle of each time that is cut short, where these are few.
    pub(super) fn marks(&self) -> Vec<f64> {
        if self.cuts.len() > MAX_MARKS {
            return Vec::new();
        }
        let middle = |cut: &Cut| (self.place(cut.from) + self.place(cut.to)) / 2.0;
        self.cuts.iter().map(middle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn axis(busy: &[(u64, u64)]) -> Axis {
        Axis::of(busy.iter().map(|(from, to)| (ms(*from), ms(*to))))
    }

    #[test]
    fn what_happens_side_by_side_lies_in_proportion() {
        let axis = axis(&[(0, 40), (40, 50), (10, 100)]);
        assert_eq!((axis.whole(), axis.cut()), (ms(100), ms(0)));
        assert_eq!(
            [0, 10, 40, 100].map(|at| axis.place(ms(at)).round()),
            [0.0, 100.0, 400.0, 1_000.0]
        );
        assert!(axis.marks().is_empty());
    }

    #[test]
    fn an_idle_hour_is_drawn_short() {
        let axis = axis(&[(3_600_100, 3_600_200), (0, 100)]);
        assert_eq!(axis.cut(), ms(3_600_000 - 10));
        let places = [0, 100, 3_600_100, 3_600_200].map(|at| axis.place(ms(at)).round());
        assert_eq!(places, [0.0, 476.0, 524.0, 1_000.0]);
        assert_eq!(axis.marks().len(), 1);
        assert!(axis.place(ms(1_800_000)) <= axis.place(ms(3_600_100)));
    }

    #[test]
    fn many_idle_times_leave_room_for_what_happened() {
        let busy: Vec<_> = (0..500).map(|n| (n * 1_000, n * 1_000 + 1)).collect();
        let axis = axis(&busy);
        assert!(axis.place(ms(1)) >= 0.9, "{}", axis.place(ms(1)));
        assert_eq!(axis.place(ms(499_001)), 1_000.0);
        assert!(axis.marks().is_empty());
    }

    #[test]
    fn what_takes_no_time_lies_somewhere() {
        assert_eq!(axis(&[]).place(ms(5)), 0.0);
        assert_eq!(axis(&[(0, 0)]).place(ms(0)), 0.0);
        let axis = axis(&[(5, 5), (9, 9)]);
        assert!((0.0..=WIDTH).contains(&axis.place(ms(9))));
    }
}
