//! An enricher of somebody else's, and what is to become of what is written to it.

use std::cell::Cell;
use std::rc::Rc;

use capspan::pipeline_capnp::span_enricher;
use capspan::trace::{EnrichStatus, SpanStatus, SpanUpdate};
use capspan::trace_capnp;

use super::Worst;

/// Hands updates on, unless it refuses them.
pub(super) struct Relay {
    to: span_enricher::Client,
    pub(super) refuses: Rc<Cell<bool>>,
}

impl Relay {
    pub(super) fn new(to: span_enricher::Client) -> Self {
        Self {
            to,
            refuses: Rc::default(),
        }
    }

    pub(super) fn client(&self) -> span_enricher::Client {
        capnp_rpc::new_client(Self {
            to: self.to.clone(),
            refuses: self.refuses.clone(),
        })
    }
}

impl span_enricher::Server for Relay {
    async fn enrich(
        self: Rc<Self>,
        params: span_enricher::EnrichParams,
        mut results: span_enricher::EnrichResults,
    ) -> Result<(), capnp::Error> {
        if self.refuses.get() {
            let mut result = results.get().init_result();
            result.set_status(trace_capnp::EnrichStatus::Overloaded);
            return Ok(());
        }
        let mut request = self.to.enrich_request();
        request.get().set_update(params.get()?.get_update()?)?;
        let answer = request.send().promise.await?;
        results.get().set_result(answer.get()?.get_result()?)
    }
}

/// What was written to an enricher elsewhere, and did not go yet.
#[derive(Default)]
pub(super) struct Sent {
    pending: SpanUpdate,
    unsent: u32,
    is_closed: bool,
    pub(super) worst: Worst,
}

impl Sent {
    /// All that is written in one turn is one update.
    pub(super) fn write(&mut self, update: &SpanUpdate) {
        if self.is_closed {
            return;
        }
        let pending = &mut self.pending;
        if let Some(name) = update.name.as_ref().filter(|name| !name.is_empty()) {
            pending.name = Some(name.clone());
        }
        for attribute in &update.attributes {
            let mut known = pending.attributes.iter_mut();
            match known.find(|known| known.key == attribute.key) {
                Some(known) => known.value = attribute.value.clone(),
                None => pending.attributes.push(attribute.clone()),
            }
        }
        pending.events.extend(update.events.iter().cloned());
        pending.links.extend(update.links.iter().cloned());
        match &update.status {
            None | Some(SpanStatus::Unset) => {}
            status if pending.status != Some(SpanStatus::Ok) => pending.status.clone_from(status),
            _ => {}
        }
    }

    /// What goes at the end of the turn, and is taken; and how much was left out before.
    pub(super) fn go(&mut self, refuses: bool) -> Option<(SpanUpdate, u32)> {
        if self.is_closed || self.pending.is_empty() {
            return None;
        }
        let update = std::mem::take(&mut self.pending);
        if refuses {
            let parts = update.attributes.len() + update.events.len() + update.links.len();
            let parts = u32::try_from(parts).expect("a few");
            let others = u32::from(update.name.is_some()) + u32::from(update.status.is_some());
            self.unsent += parts + others;
            self.worst.note(EnrichStatus::Overloaded);
            return None;
        }
        Some((update, std::mem::take(&mut self.unsent)))
    }

    pub(super) fn answered(&mut self, status: EnrichStatus) {
        self.worst.note(status);
        self.is_closed |= status == EnrichStatus::SpanEnded;
    }
}
