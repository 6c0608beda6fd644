//! Our spans as spans of the `tracing` crate.
//!
//! - [`TracingSpans`]: the observer.
//! - [`TracingHook`]: what a service's own `tracing` stack wants to add to them.
//!
//! The other direction, spans of `tracing`'s as spans of ours, is [`TracingLayer`](crate::trace::TracingLayer).
//!
//! - `seen`: one span of `tracing`'s, and what it has been told.
//! - `callsites`: the spans and events, with their fields, as `tracing` wants them in the code.
//! - `shown`: texts and attributes for people.

mod callsites;
mod hook;
mod seen;
mod shown;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use tracing::Span;

pub use hook::TracingHook;
use seen::Seen;

use crate::trace::{
    LateUpdate, Observer, SpanContext, SpanId, SpanParent, SpanRecord, TraceId, is_telling_tracing,
    tell_tracing,
};

/// Tells of each span of ours as a span of the `tracing` crate, with the target `capspan`, so that the
/// subscribers that a service has see sessions and calls among the rest.
///
/// ```
/// use capspan::export::TracingSpans;
/// use capspan::trace::{SpanKind, Tracer};
///
/// // On each thread that serves.
/// let tracer = Tracer::new(TracingSpans::new()).with_service("users");
/// tracer.root().start("look up", SpanKind::Internal).end();
/// ```
///
/// # Where they stand
///
/// A span is in that of its parent, where that is one of ours, open, and told of by the same `TracingSpans` or a
/// clone of it; else in the span that is `tracing`'s current one when it is opened. What a service does itself with
/// `tracing` is in none of ours, as an observer enters nothing, unless it is put there: see
/// [`current`](Self::current).
///
/// # What they say
///
/// `tracing` has names and fields that stand in the code. So the name is `event`, `call` or `work`
/// ([`SpanRole`](crate::trace::SpanRole)), and the real one is in the field `otel.name`. Spans of calls have the level
/// `DEBUG`, the others `INFO`. Attributes, whose keys are not known before, are told by an event in the span
/// (`DEBUG`, "attributes"), as are a new name and links; our events are events (`INFO`). With a [`TracingHook`] they
/// may be written in another way. What is not enabled is not told, and costs next to nothing.
///
/// `tracing` measures times itself, and closes a span no sooner than all within it. Therefore a span that ends is
/// entered and left once more: `tracing-opentelemetry` takes that for its end.
///
/// # Both directions
///
/// With a [`TracingLayer`](crate::trace::TracingLayer) in the same subscriber nothing is told twice: what that layer
/// makes of `tracing`'s spans is not made spans of `tracing`'s again, nor the other way round.
#[derive(Clone, Default)]
pub struct TracingSpans {
    /// Borrowed only while no code but ours runs.
    open: Rc<RefCell<FxHashMap<Key, Open>>>,
    hook: Option<Rc<dyn TracingHook>>,
}

/// Which span.
type Key = (TraceId, SpanId);

enum Open {
    Seen(Rc<Seen>),
    /// It is not enabled. Its children are in the next one above it that is.
    Hidden {
        above: Key,
    },
}

impl TracingSpans {
    /// Those of one thread.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with somebody who adds to each span.
    #[must_use]
    pub fn with_hook(mut self, hook: impl TracingHook + 'static) -> Self {
        self.hook = Some(Rc::new(hook));
        self
    }

    /// The `tracing` span of what is [current](SpanParent::current) here; a disabled one, if it is none of these.
    ///
    /// With it a handler's own spans and events are in that of the call, or the event, which it handles:
    ///
    /// ```
    /// # use capspan::export::TracingSpans;
    /// use tracing::Instrument;
    ///
    /// async fn find(spans: &TracingSpans) {
    ///     async { tracing::info!("found") }.instrument(spans.current()).await;
    /// }
    /// ```
    pub fn current(&self) -> Span {
        self.of(&SpanParent::current())
    }

    /// The `tracing` span of the span whose children `parent` starts.
    pub fn of(&self, parent: &SpanParent) -> Span {
        let context = parent.context();
        let seen = context.and_then(|context| self.find(key(&context)));
        seen.map_or_else(Span::none, |(_, seen)| seen.span().clone())
    }

    /// The span, or the next one above it that is enabled.
    fn find(&self, key: Key) -> Option<(Key, Rc<Seen>)> {
        let open = self.open.borrow();
        let key = match open.get(&key)? {
            Open::Seen(_) => key,
            Open::Hidden { above } => *above,
        };
        match open.get(&key)? {
            Open::Seen(seen) => Some((key, seen.clone())),
            Open::Hidden { .. } => None,
        }
    }

    fn seen(&self, record: &SpanRecord) -> Option<Rc<Seen>> {
        match self.open.borrow().get(&key(record.context()))? {
            Open::Seen(seen) => Some(seen.clone()),
            Open::Hidden { .. } => None,
        }
    }
}

fn key(context: &SpanContext) -> Key {
    (context.trace_id(), context.span_id())
}

impl Observer for TracingSpans {
    fn opened(&self, record: &SpanRecord) {
        if is_telling_tracing() {
            return;
        }
        let parent = record.parent_span_id().map(|id| (record.trace_id(), id));
        let above = parent.and_then(|parent| self.find(parent));
        let _telling = tell_tracing();
        let seen = Seen::open(record, above.as_ref().map(|(_, seen)| &**seen));
        let open = match (&seen, above) {
            (Some(seen), _) => Open::Seen(seen.clone()),
            (None, Some((above, _))) => Open::Hidden { above },
            (None, None) => return,
        };
        let before = self.open.borrow_mut().insert(key(record.context()), open);
        drop(before);
        if let Some(seen) = seen {
            if let Some(hook) = &self.hook {
                hook.opened(seen.span(), record);
            }
            seen.tell(record);
        }
    }

    fn renamed(&self, record: &SpanRecord, previous: &str) {
        if let Some(seen) = self.seen(record) {
            let _telling = tell_tracing();
            seen.rename(record, previous);
        }
    }

    fn updated(&self, record: &SpanRecord) {
        if let Some(seen) = self.seen(record) {
            let _telling = tell_tracing();
            seen.tell(record);
        }
    }

    fn closed(&self, record: &SpanRecord) {
        let closed = self.open.borrow_mut().remove(&key(record.context()));
        if let Some(Open::Seen(seen)) = closed {
            let _telling = tell_tracing();
            seen.tell(record);
            seen.end(record);
            if let Some(hook) = &self.hook {
                hook.closing(seen.span(), record);
            }
            seen.close();
        }
    }

    fn late(&self, update: &LateUpdate) {
        let _telling = tell_tracing();
        callsites::late(update);
    }
}

impl fmt::Debug for TracingSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracingSpans")
            .field("open", &self.open.borrow().len())
            .finish_non_exhaustive()
    }
}
