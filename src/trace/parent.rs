//! What can start children and nothing else.

use std::fmt;
use std::rc::Rc;

use super::context::SpanContext;
use super::record::{Name, SpanKind, SpanRole};
use super::span::SpanBuilder;
use super::tracer::Tracer;
use crate::clock::Timestamp;

/// An opaque token that can start children of a span, or spans that begin a trace.
///
/// It neither reads nor changes the span, nor keeps it open: children may start after it ended.
/// That of an unobserved span costs nothing, and so do its children.
#[derive(Clone)]
pub struct SpanParent {
    tracer: Tracer,
    place: Place,
}

/// Where children stand.
#[derive(Clone)]
pub(super) enum Place {
    Root,
    Child {
        context: SpanContext,
        is_remote: bool,
    },
    Linked(SpanContext),
}

impl SpanParent {
    /// The parent of spans of which nobody is told.
    pub const fn none() -> Self {
        Self {
            tracer: Tracer::unobserved(),
            place: Place::Root,
        }
    }

    pub(super) fn root(tracer: &Tracer) -> Self {
        Self::at(tracer, || Place::Root)
    }

    pub(super) fn child_of(tracer: &Tracer, context: SpanContext, is_remote: bool) -> Self {
        Self::at(tracer, || Place::Child { context, is_remote })
    }

    pub(super) fn linked_to(tracer: &Tracer, context: SpanContext) -> Self {
        Self::at(tracer, || Place::Linked(context))
    }

    fn at(tracer: &Tracer, place: impl FnOnce() -> Place) -> Self {
        if !tracer.is_observed() {
            return Self::none();
        }
        Self {
            tracer: tracer.clone(),
            place: place(),
        }
    }

    /// Is anybody told of its children?
    pub fn is_observed(&self) -> bool {
        self.tracer.is_observed()
    }

    /// Opens a child now. Dropping what this returns ends it.
    #[must_use = "a span ends when it is dropped"]
    pub fn start(&self, name: impl AsRef<str>, kind: SpanKind) -> SpanBuilder {
        SpanBuilder::open(
            self,
            Name::Text(name.as_ref()),
            (kind, SpanRole::Work),
            None,
        )
    }

    /// The same for one side of an event.
    pub(crate) fn start_event(&self, name: &str, kind: SpanKind) -> SpanBuilder {
        SpanBuilder::open(self, Name::Text(name), (kind, SpanRole::Event), None)
    }

    /// The same for a call, by a name that need not be copied.
    pub(crate) fn start_call(&self, name: &Rc<str>, kind: SpanKind) -> SpanBuilder {
        SpanBuilder::open(self, Name::Shared(name), (kind, SpanRole::Call), None)
    }

    /// Opens a child that began at `time`.
    #[must_use = "a span ends when it is dropped"]
    pub fn start_at(&self, name: impl AsRef<str>, kind: SpanKind, time: Timestamp) -> SpanBuilder {
        SpanBuilder::open(
            self,
            Name::Text(name.as_ref()),
            (kind, SpanRole::Work),
            Some(time),
        )
    }

    /// The span whose children it starts, for propagation; `None` if it is not observed or its
    /// children begin traces.
    pub(crate) fn context(&self) -> Option<SpanContext> {
        match &self.place {
            Place::Child { context, .. } => Some(context.clone()),
            Place::Root | Place::Linked(_) => None,
        }
    }

    /// The same, the span's id alone.
    #[cfg(feature = "page")]
    pub(crate) fn span_id(&self) -> Option<super::SpanId> {
        match &self.place {
            Place::Child { context, .. } => Some(context.span_id()),
            Place::Root | Place::Linked(_) => None,
        }
    }

    /// The tracer of its children.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

/// Not observed.
impl Default for SpanParent {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for SpanParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanParent")
            .field("is_observed", &self.is_observed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{SpanId, TraceFlags, TraceId, TraceState};
    use std::time::Duration;

    fn elsewhere() -> SpanContext {
        let state: TraceState = "vendor=1".parse().unwrap();
        SpanContext::new(
            TraceId::from_u128(77).unwrap(),
            SpanId::from_u64(78).unwrap(),
        )
        .with_flags(TraceFlags::NONE)
        .with_trace_state(state)
    }

    #[test]
    fn each_child_of_a_root_begins_a_trace() {
        let (tracer, spans, _) = observed();
        let root = tracer.root();
        assert_eq!(root.context(), None);
        drop(root.start("a", SpanKind::Internal));
        drop(root.start("b", SpanKind::Internal));
        let [a, b] = &spans.closed()[..] else {
            panic!("two spans")
        };
        assert_ne!(a.trace_id(), b.trace_id());
        assert_eq!((a.parent_span_id(), a.has_remote_parent()), (None, false));
    }

    #[test]
    fn a_child_of_a_span_elsewhere_takes_over_its_trace() {
        let (tracer, spans, _) = observed();
        let parent = tracer.child_of(elsewhere());
        assert_eq!(parent.context(), Some(elsewhere()));
        drop(parent.start("a", SpanKind::Server));
        let span = spans.named("a").unwrap();
        assert_eq!(*span.context(), elsewhere().with_span_id(span.span_id()));
        assert_eq!(span.parent_span_id(), Some(elsewhere().span_id()));
        assert!(span.has_remote_parent());
    }

    #[test]
    fn a_linked_span_begins_a_trace_and_links() {
        let (tracer, spans, _) = observed();
        let parent = tracer.linked_to(elsewhere());
        assert_eq!(parent.context(), None);
        drop(parent.start("a", SpanKind::Server));
        let span = spans.named("a").unwrap();
        assert_ne!(span.trace_id(), elsewhere().trace_id());
        let [link] = span.links() else { panic!("one") };
        assert_eq!(
            (span.parent_span_id(), link.context(), link.is_by_callee()),
            (None, &elsewhere(), false)
        );
    }

    #[test]
    fn children_start_after_their_parent_ended() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("parent", SpanKind::Internal);
        let parent = span.parent();
        drop(span);
        drop(parent.start("child", SpanKind::Internal));
        let (parent, child) = (
            spans.named("parent").unwrap(),
            spans.named("child").unwrap(),
        );
        assert_eq!(child.parent_span_id(), Some(parent.span_id()));
        assert_eq!(child.trace_id(), parent.trace_id());
        assert!(!child.has_remote_parent());
    }

    #[test]
    fn a_span_parent_does_not_keep_the_span_open() {
        let (tracer, spans, _) = observed();
        let parent = tracer.root().start("x", SpanKind::Internal).parent();
        assert!(spans.open().is_empty());
        assert!(parent.is_observed());
    }

    #[test]
    fn a_span_can_begin_earlier_than_now() {
        let (tracer, spans, clock) = observed();
        clock.advance(Duration::from_nanos(9));
        let earlier = Timestamp::from_unix_nanos(4);
        drop(tracer.root().start_at("x", SpanKind::Internal, earlier));
        let span = spans.named("x").unwrap();
        assert_eq!((span.start(), span.end()), (earlier, Some(tracer.now())));
    }
}
