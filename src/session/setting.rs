//! What the sides of an event are made with.

use std::rc::Rc;

use super::call_spans::CallSpans;
use super::life::Life;
use super::limits::TimeLimits;
use super::running::Running;
use crate::drive::Tasks;
use crate::enrich::Enricher;
use crate::guard::Ending;
use crate::membrane::{Chain, Membrane};
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
    pub(crate) tasks: &'a Tasks,
}

impl Setting<'_> {
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
        builder = match (calls, activity) {
            (None, None) => builder,
            (None, Some(activity)) => builder.policy(activity),
            (Some(calls), None) => builder.policy(calls).inspected(),
            (Some(calls), Some(activity)) => {
                let both = Chain::new().with(calls).with(activity);
                builder.policy(both).inspected()
            }
        };
        let membrane = builder.build();
        membrane.watch(life.clone());
        life.set_membrane(membrane.downgrade());
        membrane
    }
}
