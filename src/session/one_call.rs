//! An event that is one call, on the callee's side.

use std::rc::Rc;

use capnp::capability::Promise;

use super::channels::Channels;
use super::end::SessionEnd;
use super::life::Life;
use super::setting::Setting;
use super::side::{Side, What};
use crate::enrich::Enricher;
use crate::error::Error;
use crate::membrane::Membrane;
use crate::trace::{Outcome, SpanBuilder};

/// An event that is being delivered by one call. Dropping it cancels the event, unless that has been
/// answered.
pub(crate) struct OneCall {
    life: Rc<Life>,
    is_answered: bool,
}

impl OneCall {
    pub(crate) fn begin(
        spans: Channels<SpanBuilder>,
        enricher: Enricher,
        setting: &Setting<'_>,
    ) -> (Self, Membrane) {
        let life = Life::begin(What::Event, Side::Callee, spans, enricher, setting);
        let membrane = setting.membrane(&life);
        let run = Self {
            life,
            is_answered: false,
        };
        (run, membrane)
    }

    pub(crate) fn life(&self) -> &Rc<Life> {
        &self.life
    }

    /// Delivers it by a call through the membrane, which is on its way. Once answered it lasts as long as
    /// something refers to it.
    pub(crate) async fn answer(self, call: Promise<(), capnp::Error>) -> Result<(), capnp::Error> {
        let mut call = call;
        // After the call, so dropped before it: else it would look like an event that is complete.
        let mut run = self;
        let answer = (&mut call).await;
        run.is_answered = true;
        answer.inspect_err(|error| {
            run.life.fail(&Error::from(error.clone()));
        })
    }
}

impl Drop for OneCall {
    fn drop(&mut self) {
        if !self.is_answered {
            let reason = "the caller no longer waits";
            self.life
                .abort(SessionEnd::new(Outcome::Canceled, Some(reason)));
        }
    }
}
