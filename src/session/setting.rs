//! What the sides of an event are made with.

use std::rc::Rc;

use super::call_spans::CallSpans;
use super::life::Life;
use super::limits::TimeLimits;
use super::live::LiveEvents;
use super::running::Running;
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::guard::Ending;
use crate::membrane::{Chain, Limits, Membrane, Policy};
use crate::trace::Clock;

/// What one side of an event is made with, beside its spans.
pub(crate) struct Setting<'a> {
    /// That of its connection, where there is one.
    pub(crate) ending: Option<&'a Ending>,
    /// What tells when it ended.
    pub(crate) clock: Option<Rc<dyn Clock>>,
    /// Where its calls are to be told of.
    pub(crate) call_spans: Option<&'a CallSpans>,
    /// How long it may last.
    pub(crate) limits: Option<&'a TimeLimits>,
    /// How much background work it may have at once.
    pub(crate) max_works: usize,
    /// Where it is to be seen as long as it lasts.
    pub(crate) running: Option<&'a Rc<Running>>,
    /// Where it is to be looked at as long as it lasts.
    pub(crate) live: Option<&'a LiveEvents>,
    /// What may pass through its membrane, and how much.
    pub(crate) policy: Option<Rc<dyn Policy>>,
    pub(crate) membrane_limits: Option<Limits>,
    pub(crate) tasks: &'a Tasks,
}

impl<'a> Setting<'a> {
    /// With nothing that may as well not be there.
    pub(crate) fn new(ending: Option<&'a Ending>, tasks: &'a Tasks) -> Self {
        Self {
            ending,
            clock: None,
            call_spans: None,
            limits: None,
            max_works: 0,
            running: None,
            live: None,
            policy: None,
            membrane_limits: None,
            tasks,
        }
    }

    /// What the caller's side has: none of its own, and calls back to it may write to other events.
    pub(super) fn no_enricher(&self) -> Enricher {
        let outbox = self.ending.map(Ending::outbox);
        Enricher::of_event(None, self.tasks, outbox)
    }

    /// The membrane of the side that lives `life`: its end is that one's end, and the other way round.
    pub(super) fn membrane(&self, life: &Rc<Life>) -> Membrane {
        let mut builder = Membrane::builder()
            .tasks(self.tasks)
            .clock(self.clock.clone());
        let activity = life.activity().cloned();
        let calls = self.call_spans.and_then(|calls| calls.policy(life));
        if calls.is_some() || self.live.is_some() {
            builder = builder.inspected();
        }
        if let Some(limits) = self.membrane_limits {
            builder = builder.limits(limits);
        }
        builder = match (self.policy.clone(), calls, activity) {
            (None, None, None) => builder,
            (None, None, Some(activity)) => builder.policy(activity),
            (None, Some(calls), None) => builder.policy(calls),
            (None, Some(calls), Some(activity)) => {
                builder.policy(Chain::new().with(calls).with(activity))
            }
            (Some(policy), calls, activity) => {
                // First, as it decides what is told of.
                let mut chain = Chain::new().with(policy);
                if let Some(calls) = calls {
                    chain = chain.with(calls);
                }
                if let Some(activity) = activity {
                    chain = chain.with(activity);
                }
                builder.policy(chain)
            }
        };
        let membrane = builder.build();
        membrane.watch(life.clone());
        life.set_membrane(membrane.downgrade());
        membrane
    }
}
