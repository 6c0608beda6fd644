//! How a connection is guarded.

use std::fmt;
use std::rc::Rc;

use super::budget::Budget;
use super::limits::GuardLimits;
use super::observer::GuardObserver;
use crate::timer::Timer;

/// How a connection is guarded: by which limits, and who is told.
///
/// ```
/// # use capspan::guard::{Budget, GuardLimits, GuardOptions};
/// # fn example(timer: impl capspan::Timer, tenant: &Budget) {
/// let options = GuardOptions::default()
///     .limits(GuardLimits::default().max_calls(256))
///     .peer("billing")
///     .budget(tenant)
///     .timer(timer);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct GuardOptions {
    pub(super) limits: GuardLimits,
    pub(super) peer: Option<Rc<str>>,
    pub(super) observer: Option<Rc<dyn GuardObserver>>,
    pub(super) budget: Option<Budget>,
    pub(super) timer: Option<Rc<dyn Timer>>,
}

impl GuardOptions {
    /// How much the peer may have. By default [`GuardLimits::default`].
    #[must_use]
    pub fn limits(mut self, limits: GuardLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How the peer is called where the guard tells of it. By default `peer`.
    #[must_use]
    pub fn peer(mut self, name: impl Into<Rc<str>>) -> Self {
        self.peer = Some(name.into());
        self
    }

    /// Who is told when the guard steps in. By default nobody: it is only counted.
    #[must_use]
    pub fn observer(mut self, observer: impl GuardObserver) -> Self {
        self.observer = Some(Rc::new(observer));
        self
    }

    /// What the connection shares with others. By default nothing.
    #[must_use]
    pub fn budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// What waits for limits of time. Without it no message comes too late.
    #[must_use]
    pub fn timer(mut self, timer: impl Timer) -> Self {
        self.timer = Some(Rc::new(timer));
        self
    }
}

impl From<GuardLimits> for GuardOptions {
    fn from(limits: GuardLimits) -> Self {
        Self::default().limits(limits)
    }
}

impl fmt::Debug for GuardOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardOptions")
            .field("limits", &self.limits)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
