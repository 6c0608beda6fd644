//! A timer whose time passes when it is told to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use capspan::Timer;
use capspan::session::TimeLimits;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{LocalBoxFuture, ready};

use super::ops::Limits;

/// What one unit of time is for the real ones.
const TICK: Duration = Duration::from_secs(1);

/// Clones are handles to the same.
#[derive(Clone)]
pub(super) struct ManualTimer(Rc<Inner>);

struct Inner {
    now: Cell<Instant>,
    sleepers: RefCell<Vec<(Instant, oneshot::Sender<()>)>>,
}

impl ManualTimer {
    pub(super) fn new() -> Self {
        Self(Rc::new(Inner {
            now: Cell::new(Instant::now()),
            sleepers: RefCell::default(),
        }))
    }

    /// So much time passes, at once.
    pub(super) fn pass(&self, ticks: u64) {
        let ticks = u32::try_from(ticks).expect("a sequence is short");
        let now = self.now() + TICK * ticks;
        self.0.now.set(now);
        let sleepers = self.0.sleepers.take().into_iter();
        let (due, left) = sleepers.partition(|(deadline, _)| *deadline <= now);
        self.0.sleepers.replace(left);
        for (_, sleeper) in due {
            let _who_waits_no_more = sleeper.send(());
        }
    }

    /// What an event is limited by; `None`: nothing.
    pub(super) fn limits(&self, Limits { total, idle }: Limits) -> Option<TimeLimits> {
        let mut limits = TimeLimits::new(self.clone());
        if let Some(total) = total {
            limits = limits.total(TICK * total.into());
        }
        if let Some(idle) = idle {
            limits = limits.idle(TICK * idle.into());
        }
        (total.is_some() || idle.is_some()).then_some(limits)
    }
}

impl Timer for ManualTimer {
    fn now(&self) -> Instant {
        self.0.now.get()
    }

    fn sleep_until(&self, deadline: Instant) -> LocalBoxFuture<'static, ()> {
        if deadline <= self.now() {
            return ready(()).boxed_local();
        }
        let (sleeper, wakes) = oneshot::channel();
        self.0.sleepers.borrow_mut().push((deadline, sleeper));
        wakes.map(drop).boxed_local()
    }
}
