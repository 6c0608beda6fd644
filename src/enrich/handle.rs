//! The callee's handle on the caller's span.

use std::fmt;
use std::rc::Rc;

use capnp::capability::FromClientHook;

use super::hook;
use super::remote::Remote;
use crate::drive::Tasks;
use crate::pipeline_capnp::span_enricher;
use crate::trace::{SpanEvent, SpanStatus, SpanUpdate, Value, WeakSpan};

/// Writes to the caller's span of an event, and reads nothing of it.
///
/// It never fails and never waits: where the caller's span is not observed, or over, or the caller is
/// gone, what is written goes nowhere. What is written before a call returns is on the caller's span
/// before the caller sees the return. Clones write to the same span. Holding one keeps neither the span
/// nor the session open.
///
/// The caller's limits hold ([`SpanLimits`](crate::trace::SpanLimits)). Over a connection, 64 updates at
/// most are on their way; what is written meanwhile goes together in the next one.
///
/// ```
/// # use capspan::enrich::Enricher;
/// fn answer(caller: &Enricher) {
///     caller.set_name("GET /users/{id}");
///     caller.set_attribute("user.plan", "pro");
///     caller.add_event("cache miss");
/// }
/// # answer(&Enricher::none());
/// ```
#[derive(Clone, Default)]
pub struct Enricher {
    to: To,
}

#[derive(Clone, Default)]
enum To {
    #[default]
    Nobody,
    /// In this process: a plain call.
    Span(WeakSpan),
    Remote(Rc<Remote>),
}

impl Enricher {
    /// An enricher of no span.
    pub const fn none() -> Self {
        Self { to: To::Nobody }
    }

    /// The enricher that came with an event.
    pub(crate) fn from_capability(client: span_enricher::Client, tasks: &Tasks) -> Self {
        let mut client = client.into_client_hook();
        // Settled by whoever made it; a few hops are for those who passed it on.
        for _ in 0..8 {
            match client.get_resolved() {
                Some(resolved) => client = resolved,
                None => break,
            }
        }
        let to = match hook::local_span(&*client) {
            Some(span) => To::Span(span),
            None => To::Remote(Rc::new(Remote::new(FromClientHook::new(client), tasks))),
        };
        Self { to }
    }

    /// Is there a span to write to, as far as is known here? If not, an update need not even be made.
    pub fn is_observed(&self) -> bool {
        match &self.to {
            To::Nobody => false,
            To::Span(span) => span.is_open(),
            To::Remote(remote) => remote.is_open(),
        }
    }

    /// Renames the span. The caller keeps the first name beside it.
    pub fn set_name(&self, name: impl Into<String>) {
        self.write(|| SpanUpdate::new().name(name));
    }

    /// Sets an attribute; a key that was set before by the callee gets the new value.
    pub fn set_attribute(&self, key: impl Into<String>, value: impl Into<Value>) {
        self.write(|| SpanUpdate::new().attribute(key, value));
    }

    /// Adds an event.
    pub fn add_event(&self, event: impl Into<SpanEvent>) {
        self.write(|| SpanUpdate::new().event(event));
    }

    /// Says how the work went, unless the caller has said so itself: the caller has the last word.
    pub fn set_status(&self, status: SpanStatus) {
        self.write(|| SpanUpdate::new().status(status));
    }

    /// Writes several changes together.
    pub fn update(&self, update: SpanUpdate) {
        self.write(|| update);
    }

    fn write(&self, update: impl FnOnce() -> SpanUpdate) {
        match &self.to {
            To::Nobody => {}
            To::Span(span) => {
                span.enrich(&update());
            }
            To::Remote(remote) => remote.update(update()),
        }
    }

    /// Sends what is written and waits for room on its way. To be done before a call returns.
    pub(crate) fn send_pending(&self) {
        if let To::Remote(remote) = &self.to {
            remote.send_pending();
        }
    }

    /// Lets go of the caller: what is written from now on goes nowhere.
    pub(crate) fn cut(&self) {
        if let To::Remote(remote) = &self.to {
            remote.cut();
        }
    }
}

impl fmt::Debug for Enricher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enricher")
            .field("is_observed", &self.is_observed())
            .finish_non_exhaustive()
    }
}
