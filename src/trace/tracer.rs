//! Where spans begin: an observer, and all that its spans have in common.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::context::{SpanContext, TraceFlags};
use super::ids::{IdGenerator, RandomIds};
use super::limits::SpanLimits;
use super::observer::Observer;
use super::parent::SpanParent;
use super::record::Channel;
use super::rules::EnrichRules;
use crate::clock::{Clock, SystemClock, Timestamp};

/// Opens spans and tells an observer of them. A clone is cheap and tells the same observer.
///
/// Make one per process (or thread) and channel, and hand it down. Nothing here is global.
///
/// ```
/// # use capspan::trace::{MemoryObserver, SpanKind, Tracer};
/// let spans = MemoryObserver::new();
/// let tracer = Tracer::new(spans.clone()).with_service("users");
/// let request = tracer.root().start("request", SpanKind::Server);
/// request.parent().start("query", SpanKind::Client).end();
/// request.end();
///
/// let [query, request] = &spans.closed()[..] else { panic!() };
/// assert_eq!(query.parent_span_id(), Some(request.span_id()));
/// ```
#[derive(Clone)]
pub struct Tracer {
    shared: Option<Rc<Shared>>,
}

/// What the spans of one tracer have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) observer: Rc<dyn Observer>,
    pub(super) clock: Rc<dyn Clock>,
    pub(super) ids: Rc<dyn IdGenerator>,
    pub(super) service: Rc<str>,
    pub(super) limits: SpanLimits,
    pub(super) rules: EnrichRules,
    pub(super) channel: Channel,
    pub(super) new_trace_flags: Option<TraceFlags>,
    pub(super) outer: Option<Outer>,
    pub(super) late_updates: LateUpdates,
}

/// Tells which span of somebody else's is around what begins here.
pub(super) type Outer = Rc<dyn Fn() -> Option<SpanContext>>;

/// How many changes came after the end of their span. It outlives the tracer in weak handles.
#[derive(Clone, Default)]
pub(super) struct LateUpdates(Rc<Cell<u64>>);

impl LateUpdates {
    pub(super) fn count(&self) {
        self.0.set(self.0.get().saturating_add(1));
    }
}

impl Tracer {
    /// A tracer on the user channel, by the system's clock, with random ids and default limits,
    /// whose service is "unknown_service".
    pub fn new(observer: impl Observer + 'static) -> Self {
        Self {
            shared: Some(Rc::new(Shared {
                observer: Rc::new(observer),
                clock: Rc::new(SystemClock::new()),
                ids: Rc::new(RandomIds::new()),
                service: "unknown_service".into(),
                limits: SpanLimits::default(),
                rules: EnrichRules::default(),
                channel: Channel::default(),
                new_trace_flags: Some(TraceFlags::SAMPLED),
                outer: None,
                late_updates: LateUpdates::default(),
            })),
        }
    }

    /// A tracer of which nobody is told: its spans draw no ids, store nothing, allocate nothing.
    pub const fn unobserved() -> Self {
        Self { shared: None }
    }

    /// Its clock; `None` if nobody is told.
    pub(crate) fn clock(&self) -> Option<Rc<dyn Clock>> {
        self.shared.as_ref().map(|shared| shared.clock.clone())
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock + 'static) -> Self {
        self.with(|shared| shared.clock = Rc::new(clock))
    }

    /// The same with ids from elsewhere.
    #[must_use]
    pub fn with_ids(self, ids: impl IdGenerator + 'static) -> Self {
        self.with(|shared| shared.ids = Rc::new(ids))
    }

    /// The same for a service, or process, of this name.
    #[must_use]
    pub fn with_service(self, name: &str) -> Self {
        self.with(|shared| shared.service = name.into())
    }

    /// The same with other limits on each span.
    #[must_use]
    pub fn with_limits(self, limits: SpanLimits) -> Self {
        self.with(|shared| shared.limits = limits)
    }

    /// The same with other rules for what callees may write.
    #[must_use]
    pub fn with_enrich_rules(self, rules: EnrichRules) -> Self {
        self.with(|shared| shared.rules = rules)
    }

    /// The same on another channel.
    #[must_use]
    pub fn with_channel(self, channel: Channel) -> Self {
        self.with(|shared| shared.channel = channel)
    }

    /// The same with other flags on traces that begin here; by default
    /// [`TraceFlags::SAMPLED`], for what is observed is recorded. `None` leaves it to whoever
    /// comes downstream. A child has the flags of its parent.
    #[must_use]
    pub fn with_new_trace_flags(self, flags: impl Into<Option<TraceFlags>>) -> Self {
        self.with(|shared| shared.new_trace_flags = flags.into())
    }

    /// The same within another tracing system of the process: a span of [`root`](Self::root)'s that would begin a
    /// trace is a child of the span that `outer` tells when it is opened, if that tells any.
    ///
    /// So traces go on that `tracing-opentelemetry` has begun; `docs/export.md` shows how. `outer` is called where an
    /// [`Observer`](super::Observer) is, and its contract holds.
    #[must_use]
    pub fn with_outer(self, outer: impl Fn() -> Option<SpanContext> + 'static) -> Self {
        self.with(|shared| shared.outer = Some(Rc::new(outer)))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = &mut self.shared {
            change(Rc::make_mut(shared));
        }
        self
    }

    /// The parent of spans that begin a trace each.
    pub fn root(&self) -> SpanParent {
        SpanParent::root(self)
    }

    /// The parent of children of a span elsewhere, as it came in a message or a header.
    pub fn child_of(&self, remote: SpanContext) -> SpanParent {
        SpanParent::child_of(self, remote, true)
    }

    /// The parent of spans that begin a trace each and are linked to `context`.
    pub fn linked_to(&self, context: SpanContext) -> SpanParent {
        SpanParent::linked_to(self, context)
    }

    /// The moment that it is, by the tracer's clock; 1970 if it is not observed.
    pub fn now(&self) -> Timestamp {
        self.shared
            .as_ref()
            .map(|shared| shared.clock.now())
            .unwrap_or_default()
    }

    /// Is anybody told of its spans?
    pub fn is_observed(&self) -> bool {
        self.shared.is_some()
    }

    /// Who is to see its spans.
    pub fn channel(&self) -> Channel {
        self.shared
            .as_ref()
            .map(|shared| shared.channel)
            .unwrap_or_default()
    }

    /// How many changes came after the end of their span and were refused, in all that was made
    /// of one [`Tracer::new`].
    pub fn late_updates(&self) -> u64 {
        self.shared
            .as_ref()
            .map_or(0, |shared| shared.late_updates.0.get())
    }

    pub(super) fn of(shared: &Rc<Shared>) -> Self {
        Self {
            shared: Some(shared.clone()),
        }
    }

    pub(super) fn shared(&self) -> Option<&Rc<Shared>> {
        self.shared.as_ref()
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shared {
            None => f.write_str("Tracer(unobserved)"),
            Some(shared) => f
                .debug_struct("Tracer")
                .field("service", &shared.service)
                .field("channel", &shared.channel)
                .finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::trace::{MemoryObserver, NoopObserver, SequentialIds, SpanKind};

    /// A tracer with ids that count from 1, a clock that stands at 0, and all that it is told.
    pub(in crate::trace) fn observed() -> (Tracer, MemoryObserver, ManualClock) {
        let (spans, clock) = (MemoryObserver::new(), ManualClock::default());
        let tracer = Tracer::new(spans.clone())
            .with_clock(clock.clone())
            .with_ids(SequentialIds::new())
            .with_service("test");
        (tracer, spans, clock)
    }

    #[test]
    fn s6_an_unobserved_tracer_has_nothing_to_tell() {
        let tracer = Tracer::unobserved()
            .with_service("users")
            .with_channel(Channel::Internal);
        assert!(!tracer.is_observed());
        let ids = RandomIds::new();
        let other = SpanContext::new(ids.trace_id(), ids.span_id());
        for parent in [
            tracer.root(),
            tracer.child_of(other.clone()),
            tracer.linked_to(other.clone()),
        ] {
            assert!(!parent.is_observed());
            let span = parent.start("x", SpanKind::Internal);
            span.set_name("y")
                .set_attribute("k", 1)
                .add_event("e")
                .add_link(other.clone());
            assert_eq!(span.context(), None);
            assert!(!span.parent().is_observed());
            assert!(!span.downgrade().is_observed());
            assert!(!span.is_ended());
            span.end();
            assert!(span.is_ended());
        }
    }

    #[test]
    fn s6_an_unobserved_tracer_draws_no_ids() {
        let ids = SequentialIds::new();
        let tracer = Tracer::unobserved().with_ids(ids.clone());
        drop(tracer.root().start("x", SpanKind::Internal));
        assert_eq!(ids.span_id().to_u64(), 1);
    }

    #[test]
    fn a_span_has_what_its_tracer_has() {
        let (tracer, spans, clock) = observed();
        clock.set(Timestamp::from_unix_nanos(5));
        assert_eq!(tracer.now(), clock.now());
        drop(
            tracer
                .with_channel(Channel::Internal)
                .root()
                .start("x", SpanKind::Server),
        );
        let span = spans.named("x").unwrap();
        assert_eq!(
            (span.service(), span.channel()),
            ("test", Channel::Internal)
        );
        assert_eq!((span.kind(), span.start()), (SpanKind::Server, clock.now()));
    }

    #[test]
    fn changing_a_tracer_leaves_its_clones_alone() {
        let tracer = Tracer::new(NoopObserver);
        let internal = tracer.clone().with_channel(Channel::Internal);
        assert_eq!(tracer.channel(), Channel::User);
        assert_eq!(internal.channel(), Channel::Internal);
    }

    #[test]
    fn what_begins_within_another_systems_span_is_its_child() {
        let (tracer, spans, _) = observed();
        let ids = RandomIds::new();
        let outer = SpanContext::new(ids.trace_id(), ids.span_id()).with_flags(TraceFlags::NONE);
        let current = Rc::new(std::cell::RefCell::new(Some(outer.clone())));
        let told = current.clone();
        let tracer = tracer.with_outer(move || told.borrow().clone());
        let root = tracer.root();
        let span = root.start("inside", SpanKind::Internal);
        span.parent().start("child", SpanKind::Internal).end();
        span.end();
        drop(
            tracer
                .linked_to(outer.clone())
                .start("linked", SpanKind::Internal),
        );
        current.take();
        root.start("outside", SpanKind::Internal).end();
        let [inside, child, linked, outside] =
            ["inside", "child", "linked", "outside"].map(|name| spans.named(name).unwrap());
        assert_eq!(
            *inside.context(),
            outer.clone().with_span_id(inside.span_id())
        );
        assert_eq!(inside.parent_span_id(), Some(outer.span_id()));
        assert!(inside.has_remote_parent(), "it is somebody else's");
        assert_eq!(child.parent_span_id(), Some(inside.span_id()));
        for span in [linked, outside] {
            assert_eq!(span.parent_span_id(), None);
            assert_ne!(span.trace_id(), outer.trace_id());
        }
    }

    #[test]
    fn new_traces_are_sampled_unless_told_otherwise() {
        let (tracer, ..) = observed();
        let flags = |tracer: &Tracer| {
            tracer
                .root()
                .start("x", SpanKind::Internal)
                .context()
                .unwrap()
                .flags()
        };
        assert_eq!(flags(&tracer), Some(TraceFlags::SAMPLED));
        assert_eq!(flags(&tracer.with_new_trace_flags(None)), None);
    }
}
