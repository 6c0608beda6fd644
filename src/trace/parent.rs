//! What can start children and nothing else.

use std::fmt;

use super::context::SpanContext;
use super::record::SpanKind;
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
enum Place {
    Root,
    Child {
        context: SpanContext,
        is_remote: bool,
    },
    Linked(SpanContext),
}

/// What a new span takes over from where it stands.
pub(super) struct Inherited {
    pub(super) context: Option<SpanContext>,
    pub(super) is_remote: bool,
    pub(super) link: Option<SpanContext>,
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
        SpanBuilder::open(self, name.as_ref(), kind, None)
    }

    /// Opens a child that began at `time`.
    #[must_use = "a span ends when it is dropped"]
    pub fn start_at(&self, name: impl AsRef<str>, kind: SpanKind, time: Timestamp) -> SpanBuilder {
        SpanBuilder::open(self, name.as_ref(), kind, Some(time))
    }

    /// The span whose children it starts, for propagation; `None` if it is not observed or its
    /// children begin traces.
    pub(crate) fn context(&self) -> Option<SpanContext> {
        match &self.place {
            Place::Child { context, .. } => Some(context.clone()),
            Place::Root | Place::Linked(_) => None,
        }
    }

    /// The tracer of its children.
    pub(crate) fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    pub(super) fn inherited(&self) -> Inherited {
        Inherited {
            context: self.context(),
            is_remote: matches!(
                self.place,
                Place::Child {
                    is_remote: true,
                    ..
                }
            ),
            link: match &self.place {
                Place::Linked(context) => Some(context.clone()),
                Place::Root | Place::Child { .. } => None,
            },
        }
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
