//! What a service's handler of an event knows.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use super::handler::guarded;
use super::limits::Received;
use super::metadata::Metadata;
use crate::enrich::Enricher;
use crate::room::Place;
use crate::session::{Channels, Life};
use crate::trace::{SpanParent, SpanUpdate};

/// An event, as its service sees it. Clones are of the same event; holding one keeps nothing open.
#[derive(Clone)]
pub struct EventContext {
    received: Rc<Received>,
    life: Rc<Life>,
}

impl EventContext {
    pub(super) fn new(received: Rc<Received>, life: &Rc<Life>) -> Self {
        Self {
            received,
            life: life.clone(),
        }
    }

    /// What travelled with the event.
    pub fn metadata(&self) -> &Metadata {
        &self.received.metadata
    }

    /// Where what is kept of it besides is to have its place.
    pub(super) fn place(&self) -> Option<Place> {
        self.received.place()
    }

    /// Writes to the caller's span.
    pub fn enricher(&self) -> &Enricher {
        self.life.enricher()
    }

    /// Lets `work` go on in the background, and the event with it: its span stays open, and the caller of a
    /// session that waits for its end waits for it, too. It outlives the response, and all capabilities of the
    /// event, but not an end before the time: when the event is canceled, or its connection lost while anything
    /// of it is held, at a limit of its time, at the deadline of a [`drain`](super::Callee::drain), it is
    /// dropped. While it runs, the event's span is the current one.
    ///
    /// If it fails, or panics, so does the event when it ends; its capabilities are of use until then, as
    /// whoever holds them may have nothing to do with it.
    ///
    /// # Errors
    ///
    /// After the end of the event ([`Error::is_ended`](crate::Error::is_ended)), and where as much is under way
    /// as it may have at once ([`Callee::max_background_work`](super::Callee::max_background_work),
    /// [`Error::is_overloaded`](crate::Error::is_overloaded)): then `work` is dropped.
    pub fn wait_until(
        &self,
        work: impl Future<Output = Result<(), capnp::Error>> + 'static,
    ) -> crate::error::Result<()> {
        let (life, parent) = (self.life.clone(), self.parent().clone());
        let work = async move { guarded(&life, parent, work).await };
        self.life.wait_until(work)
    }

    /// Starts children of this event's span, on the user channel.
    pub fn parent(&self) -> &SpanParent {
        &self.parents().user
    }

    /// Starts children of this event's span, on each channel.
    pub fn parents(&self) -> &Channels<SpanParent> {
        &self.life.parents().channels
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
            .field("metadata", self.metadata())
            .field("enricher", self.enricher())
            .finish_non_exhaustive()
    }
}
