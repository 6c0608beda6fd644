//! How long an event may take, and how long it may do nothing.

use std::cell::Cell;
use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use super::life::Life;
use crate::drive::Tasks;
use crate::membrane::{Call, CallWatch, Policy};
use crate::timer::Timer;

/// How long an event may last on this side: a session, or one of another kind. By default as long as it
/// likes.
///
/// At a limit it ends with the outcome `timeout` and a reason that names the limit; its capabilities are
/// revoked. Each side has limits of its own, and a peer learns of the end as of any other: its calls fail
/// with the reason, and so does the call that delivers an event; of a session
/// [`SessionHandle::done`](super::SessionHandle::done) tells.
///
/// ```
/// # use std::time::Duration;
/// # use capspan::session::TimeLimits;
/// # fn example(timer: impl capspan::Timer) {
/// // With the feature `tokio`, `timer` may be `capspan::TokioTimer`.
/// let limits = TimeLimits::new(timer)
///     .total(Duration::from_secs(3600))
///     .idle(Duration::from_secs(60));
/// # }
/// ```
///
/// For either there is one task for each event, which sleeps until the limit may have come. An idle limit
/// costs each call a small allocation, and one look at the time when no other is in flight.
#[derive(Clone)]
pub struct TimeLimits {
    timer: Rc<dyn Timer>,
    total: Option<Duration>,
    idle: Option<Duration>,
}

impl TimeLimits {
    /// No limit yet; `timer` is to wait for those that are set.
    pub fn new(timer: impl Timer) -> Self {
        Self {
            timer: Rc::new(timer),
            total: None,
            idle: None,
        }
    }

    /// How long it may last, from its delivery (on the caller's side: from its start).
    #[must_use]
    pub fn total(mut self, limit: Duration) -> Self {
        self.total = Some(limit);
        self
    }

    /// For how long nothing may happen in it: no call in flight, in either direction, no background work
    /// ([`EventContext::wait_until`](crate::pipeline::EventContext::wait_until)), and its opening answered.
    /// At least a millisecond.
    #[must_use]
    pub fn idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit.max(Duration::from_millis(1)));
        self
    }

    fn is_set(&self) -> bool {
        self.total.is_some() || self.idle.is_some()
    }

    /// Waits for the first limit that is reached; gives the reason. `activity` is there where it may idle.
    async fn reached(&self, start: Instant, activity: Option<&Activity>) -> String {
        let total = self.total.and_then(|total| start.checked_add(total));
        let mut now = start;
        loop {
            let idle = activity.and_then(|activity| activity.may_idle_until(now));
            let Some(deadline) = [total, idle].into_iter().flatten().min() else {
                // In a time that can't be told.
                return pending().await;
            };
            if deadline <= now {
                let (name, limit) = match idle {
                    Some(idle) if idle <= now => ("idle", self.idle),
                    _ => ("total", self.total),
                };
                let limit = limit.unwrap_or_default();
                return format!("the {name} time limit of {limit:?} is reached");
            }
            self.timer.sleep_until(deadline).await;
            // A timer that is early would be asked again and again, in one turn.
            now = self.timer.now().max(deadline);
        }
    }
}

/// Ends `life` when a limit is reached.
pub(super) fn watch(limits: &TimeLimits, life: &Rc<Life>, tasks: &Tasks) {
    if !limits.is_set() {
        return;
    }
    let (limits, life) = (limits.clone(), life.clone());
    // Delivery is now, and not when the task is polled first.
    let start = limits.timer.now();
    tasks.spawn(async move {
        let reached = pin!(limits.reached(start, life.activity()));
        if let Either::Left((reason, _)) = select(reached, pin!(life.ended())).await {
            life.time_out(&reason);
        }
    });
}

/// What happens in an event that may not idle. Clones are of the same event.
#[derive(Clone)]
pub(crate) struct Activity(Rc<Happening>);

struct Happening {
    timer: Rc<dyn Timer>,
    limit: Duration,
    /// How much is in flight.
    count: Cell<usize>,
    /// Since when nothing is.
    since: Cell<Instant>,
}

impl Activity {
    /// Where there is an idle limit.
    pub(super) fn of(limits: &TimeLimits) -> Option<Self> {
        limits.idle.map(|limit| {
            Self(Rc::new(Happening {
                timer: limits.timer.clone(),
                limit,
                count: Cell::new(0),
                since: Cell::new(limits.timer.now()),
            }))
        })
    }

    /// Something happens, as long as what it gives lives.
    pub(crate) fn begin(&self) -> Active {
        self.0.count.set(self.0.count.get() + 1);
        Active(self.clone())
    }

    /// When the limit is reached at the earliest.
    fn may_idle_until(&self, now: Instant) -> Option<Instant> {
        let since = match self.0.count.get() {
            0 => self.0.since.get(),
            _ => now,
        };
        since.checked_add(self.0.limit)
    }
}

/// That something happens.
pub(crate) struct Active(Activity);

impl Drop for Active {
    fn drop(&mut self) {
        let Happening {
            timer,
            count,
            since,
            ..
        } = &*self.0.0;
        count.set(count.get() - 1);
        if count.get() == 0 {
            since.set(timer.now());
        }
    }
}

/// All calls that cross.
impl Policy for Activity {
    fn call_begins(&self, _: &Call<'_>) -> Option<Rc<dyn CallWatch>> {
        Some(Rc::new(ActiveCall(Cell::new(Some(self.begin())))))
    }
}

/// A call, which happens until it is over.
struct ActiveCall(Cell<Option<Active>>);

impl CallWatch for ActiveCall {
    fn ended(&self, _: Result<(), &capnp::Error>) {
        self.0.take();
    }

    fn canceled(&self) {
        self.0.take();
    }
}

impl fmt::Debug for TimeLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeLimits")
            .field("total", &self.total)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}
