//! What a service's handler of an event knows.

use std::fmt;
use std::rc::Rc;

use super::metadata::Metadata;
use crate::enrich::Enricher;
use crate::session::{Channels, Life};
use crate::trace::{SpanBuilder, SpanParent, SpanUpdate};

/// An event, as its service sees it. Clones are of the same event; holding one keeps nothing open.
#[derive(Clone)]
pub struct EventContext {
    metadata: Rc<Metadata>,
    life: Rc<Life>,
    parents: Channels<SpanParent>,
}

impl EventContext {
    pub(super) fn new(metadata: Metadata, life: &Rc<Life>) -> Self {
        let parents = life.with_spans(|spans| spans.as_ref().map(SpanBuilder::parent));
        Self {
            metadata: Rc::new(metadata),
            life: life.clone(),
            parents: parents.unwrap_or_default(),
        }
    }

    /// What travelled with the event.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Writes to the caller's span.
    pub fn enricher(&self) -> &Enricher {
        self.life.enricher()
    }

    /// Starts children of this event's span, on the user channel.
    pub fn parent(&self) -> &SpanParent {
        &self.parents.user
    }

    /// Starts children of this event's span, on each channel.
    pub fn parents(&self) -> &Channels<SpanParent> {
        &self.parents
    }

    /// Writes to this event's own span, on the user channel. Does nothing after its end.
    pub fn update(&self, update: &SpanUpdate) {
        self.life.with_spans(|spans| {
            spans.user.apply(update);
        });
    }

    /// Writes to this event's own span, on the internal channel. Does nothing after its end.
    pub fn update_internal(&self, update: &SpanUpdate) {
        self.life.with_spans(|spans| {
            spans.internal.apply(update);
        });
    }
}

impl fmt::Debug for EventContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventContext")
            .field("metadata", &self.metadata)
            .field("enricher", self.enricher())
            .finish_non_exhaustive()
    }
}
