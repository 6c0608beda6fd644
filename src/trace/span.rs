//! A span in the hands of its owner.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use super::attribute::Value;
use super::context::SpanContext;
use super::dropped::Dropped;
use super::open::{Change, End, OpenSpan};
use super::outcome::Outcome;
use super::parent::{Place, SpanParent};
use super::record::{Details, Name, SpanKind, SpanRecord, SpanRole};
use super::status::SpanStatus;
use super::tracer::Shared;
use super::update::{SpanEvent, SpanUpdate};
use super::weak::WeakSpan;
use super::write::Author;
use crate::clock::Timestamp;

/// An open span, in the hands of its one owner. It ends once: by [`end`](Self::end), or when it
/// is dropped.
///
/// Changes never fail: what breaks a limit is cut or dropped, what comes after the end is refused,
/// and both are counted. On an unobserved span they do nothing, at no cost.
///
/// ```
/// # use capspan::trace::{Outcome, SpanKind, Tracer};
/// # let tracer = Tracer::unobserved();
/// let span = tracer.root().start("checkout", SpanKind::Server);
/// span.set_attribute("cart.items", 3).add_event("payment accepted");
/// span.set_outcome(Outcome::Ok);
/// span.end();
/// ```
#[must_use = "a span ends when it is dropped"]
pub struct SpanBuilder {
    span: Option<Rc<OpenSpan>>,
    is_ended: Cell<bool>,
}

impl SpanBuilder {
    pub(super) fn open(
        parent: &SpanParent,
        name: Name<'_>,
        (kind, role): (SpanKind, SpanRole),
        start: Option<Timestamp>,
    ) -> Self {
        let begin = |tracer: &Rc<Shared>| {
            let outer = match (parent.place(), &tracer.outer) {
                (Place::Root, Some(outer)) => outer(),
                _ => None,
            };
            let outer = outer.map(|context| Place::Child {
                context,
                is_remote: true,
            });
            let place = outer.as_ref().unwrap_or(parent.place());
            let span_id = tracer.ids.span_id();
            let context = match place {
                Place::Child { context, .. } => context.clone().with_span_id(span_id),
                Place::Root | Place::Linked(_) => SpanContext::new(tracer.ids.trace_id(), span_id)
                    .with_flags(tracer.new_trace_flags),
            };
            let start = start.unwrap_or_else(|| tracer.clock.now());
            let mut record = SpanRecord::new(context, tracer, name, kind, start);
            record.role = role;
            match place {
                Place::Root => {}
                Place::Child { context, is_remote } => {
                    record.parent_span_id = Some(context.span_id());
                    record.has_remote_parent = *is_remote;
                }
                Place::Linked(link) => {
                    let (details, link) = (record.details_mut(), link.clone());
                    details.add_link(link, Author::Owner, &tracer.limits);
                }
            }
            record
        };
        let tracer = parent.tracer().shared();
        let span = tracer.map(|tracer| OpenSpan::new(tracer, || begin(tracer)));
        Self {
            span,
            is_ended: Cell::new(false),
        }
    }

    /// From now on it stands for one side of an event.
    pub(crate) fn become_event(&self) {
        self.write(|record, _| {
            record.role = SpanRole::Event;
            Change::of_more()
        });
    }

    /// Renames the span; the first name is kept beside it. An empty name changes nothing.
    pub fn set_name(&self, name: impl AsRef<str>) -> &Self {
        let name = name.as_ref();
        self.write(|record, span| Change {
            previous_name: record.rename(name, Author::Owner, &span.tracer.limits),
            is_more: false,
        })
    }

    /// Sets an attribute; a key set before gets the new value, and is the owner's from then on.
    pub fn set_attribute(&self, key: impl AsRef<str>, value: impl Into<Value>) -> &Self {
        if self.span.is_none() {
            return self;
        }
        let (key, value) = (key.as_ref(), Cow::Owned(value.into()));
        self.update(|details, span| {
            details.set_attribute(key, value, Author::Owner, &span.tracer.limits);
        })
    }

    /// Adds an event; without a time of its own, it happened now.
    pub fn add_event(&self, event: impl Into<SpanEvent>) -> &Self {
        let Some(span) = &self.span else { return self };
        let event = event.into();
        let now = event.time.unwrap_or_else(|| span.tracer.clock.now());
        self.update(|details, span| {
            details.add_event(&event, Author::Owner, now, &span.tracer.limits);
        })
    }

    /// Adds a link to another span that it has to do with.
    pub fn add_link(&self, link: SpanContext) -> &Self {
        self.update(|details, span| details.add_link(link, Author::Owner, &span.tracer.limits))
    }

    /// Says how the work went: the owner's word, in place of whatever the callee has said or will say.
    /// Among the owner's own, [`SpanStatus::Ok`] is final; [`SpanStatus::Unset`] changes nothing.
    pub fn set_status(&self, status: SpanStatus) -> &Self {
        self.update(|details, span| {
            details.set_status(&status, Author::Owner, &span.tracer.limits);
        })
    }

    /// Says how the span ends. The last word counts.
    pub fn set_outcome(&self, outcome: Outcome) -> &Self {
        self.write(|record, _| {
            record.outcome = Some(outcome);
            Change::of_more()
        })
    }

    /// Writes all of an update as the owner; the observer is told once.
    pub fn apply(&self, update: &SpanUpdate) -> &Self {
        let Some(span) = &self.span else { return self };
        if update.is_empty() {
            return self;
        }
        let now = span.tracer.clock.now();
        self.write(|record, span| {
            Change::of(update, record, Author::Owner, now, &span.tracer.limits)
        })
    }

    /// May the callee give new values to attributes that the owner has set? By default as the tracer's
    /// [rules](super::EnrichRules::allow_overwrite) say.
    pub fn allow_callee_overwrite(&self, allow: bool) -> &Self {
        if let Some(span) = &self.span {
            span.allow_callee_overwrite(allow);
        }
        self
    }

    /// The parent of its children. It works after the span's end as well.
    pub fn parent(&self) -> SpanParent {
        let span = self.span.as_ref();
        span.map(|span| span.parent()).unwrap_or_default()
    }

    pub(super) fn open_span(&self) -> Option<&Rc<OpenSpan>> {
        self.span.as_ref()
    }

    /// Its ids, flags and trace state; `None` if it is not observed.
    pub fn context(&self) -> Option<SpanContext> {
        self.span.as_ref()?.read(|record| record.context.clone())
    }

    /// Is anybody told of it?
    pub fn is_observed(&self) -> bool {
        self.span.is_some()
    }

    /// Has it ended?
    pub fn is_ended(&self) -> bool {
        self.is_ended.get()
    }

    /// What has been cut from it or refused so far, after its end as well.
    pub fn dropped(&self) -> Dropped {
        let read = self
            .span
            .as_ref()
            .and_then(|span| span.read(|record| *record.dropped()));
        read.unwrap_or_default()
    }

    /// Ends it now. The second time, nothing happens.
    pub fn end(&self) {
        if let Some(span) = &self.span
            && !self.is_ended.get()
        {
            self.end_at(span.tracer.clock.now());
        }
        self.is_ended.set(true);
    }

    /// Ends it at `time`, but not before its start. The second time, nothing happens.
    pub fn end_at(&self, time: Timestamp) {
        if !self.is_ended.replace(true)
            && let Some(span) = &self.span
        {
            span.close(End {
                time,
                outcome: None,
                status: None,
            });
        }
    }

    /// Ends it, now unless it is known when, and says how it went. It is told as one change, and also
    /// where the observer that is being told of this very span brings it about.
    pub(crate) fn conclude(
        &self,
        outcome: Outcome,
        status: Option<SpanStatus>,
        at: Option<Timestamp>,
    ) {
        if !self.is_ended.replace(true)
            && let Some(span) = &self.span
        {
            span.close(End {
                time: at.unwrap_or_else(|| span.tracer.clock.now()),
                outcome: Some(outcome),
                status,
            });
        }
    }

    /// When it began; `None` where it is not observed.
    pub(crate) fn start_time(&self) -> Option<Timestamp> {
        self.span.as_ref()?.read(|record| record.start)
    }

    /// A handle for the callee, which keeps the span neither open nor alive.
    pub fn downgrade(&self) -> WeakSpan {
        self.span.as_ref().map(WeakSpan::of).unwrap_or_default()
    }

    fn update(&self, write: impl FnOnce(&mut Details, &OpenSpan)) -> &Self {
        self.write(|record, span| {
            write(record.details_mut(), span);
            Change::of_more()
        })
    }

    fn write(&self, write: impl FnOnce(&mut SpanRecord, &OpenSpan) -> Change) -> &Self {
        if let Some(span) = &self.span {
            span.write(|record| write(record, span));
        }
        self
    }
}

impl Drop for SpanBuilder {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for SpanBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanBuilder")
            .field("context", &self.context())
            .field("is_ended", &self.is_ended())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{Clock, Noticed, SpanLimits};
    use std::time::Duration;

    #[test]
    fn s1_ending_twice_is_ending_once() {
        let (tracer, spans, clock) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        let id = span.context().unwrap().span_id();
        clock.advance(Duration::from_nanos(1));
        span.end();
        clock.advance(Duration::from_nanos(1));
        span.end();
        span.end_at(clock.now());
        drop(span);
        assert_eq!((spans.opened_count(id), spans.closed_count(id)), (1, 1));
        assert_eq!(
            spans.named("x").unwrap().end(),
            Some(Timestamp::from_unix_nanos(1))
        );
        assert_eq!(tracer.late_updates(), 0);
    }

    #[test]
    fn s1_dropping_ends() {
        let (tracer, spans, clock) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        clock.advance(Duration::from_nanos(3));
        drop(span);
        assert!(spans.open().is_empty());
        assert_eq!(spans.closed()[0].end(), Some(clock.now()));
    }

    #[test]
    fn s1_unwinding_ends() {
        let (tracer, spans, _) = observed();
        let run = std::panic::AssertUnwindSafe(|| {
            let _span = tracer.root().start("x", SpanKind::Internal);
            std::panic::resume_unwind(Box::new("a panic of the service"));
        });
        assert!(std::panic::catch_unwind(run).is_err());
        assert_eq!(spans.closed().len(), 1);
    }

    #[test]
    fn s1_changes_after_the_end_are_refused_and_counted() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        span.end();
        let link = span.context().unwrap();
        span.set_name("y")
            .set_attribute("k", 1)
            .add_event("e")
            .add_link(link);
        span.set_status(SpanStatus::Ok).set_outcome(Outcome::Ok);
        span.apply(&SpanUpdate::new().name("z"));
        assert_eq!(tracer.late_updates(), 7);
        assert_eq!(span.dropped().late_updates, 7);
        assert_eq!(spans.log().len(), 2, "opened and closed: {:?}", spans.log());
        drop(span);
        assert_eq!(spans.closed().len(), 1);
    }

    #[test]
    fn no_span_ends_before_it_began() {
        let (tracer, spans, clock) = observed();
        clock.set(Timestamp::from_unix_nanos(10));
        tracer
            .root()
            .start("x", SpanKind::Internal)
            .end_at(Timestamp::from_unix_nanos(3));
        assert_eq!(spans.closed()[0].end(), Some(clock.now()));
    }

    #[test]
    fn a_new_name_is_told_with_the_one_before_and_the_first_is_kept() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("first", SpanKind::Internal);
        span.set_name("second")
            .set_name("")
            .set_name("second")
            .set_name("third");
        let id = span.context().unwrap().span_id();
        let renamed = |previous: &str, name: &str| Noticed::Renamed {
            span: id,
            previous: previous.into(),
            name: name.into(),
        };
        assert_eq!(
            spans.log()[1..],
            [renamed("first", "second"), renamed("second", "third")]
        );
        let open = &spans.open()[0];
        assert_eq!(
            (open.name(), open.original_name()),
            ("third", Some("first"))
        );
        assert!(!open.is_named_by_callee());
    }

    #[test]
    fn events_happen_now_unless_they_say_when() {
        let (tracer, spans, clock) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        clock.set(Timestamp::from_unix_nanos(4));
        span.add_event("now");
        span.add_event(SpanEvent::new("then").at(Timestamp::from_unix_nanos(1)));
        let times: Vec<_> = spans.open()[0]
            .events()
            .iter()
            .map(|event| event.time().unix_nanos())
            .collect();
        assert_eq!(times, [4, 1]);
    }

    #[test]
    fn the_owner_may_use_reserved_keys() {
        let (tracer, spans, _) = observed();
        tracer
            .root()
            .start("x", SpanKind::Internal)
            .set_attribute("capspan.a", true);
        let span = &spans.closed()[0];
        assert_eq!(span.attributes().get("capspan.a"), Some(&Value::Bool(true)));
        assert!(span.set_by_callee().is_empty() && span.dropped().is_empty());
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_at_the_start_as_well() {
        let (tracer, spans, _) = observed();
        let tracer = tracer.with_limits(SpanLimits::default().max_name_bytes(4));
        drop(tracer.root().start("abcé", SpanKind::Internal));
        let span = &spans.closed()[0];
        assert_eq!((span.name(), span.full_name_bytes()), ("abc", Some(5)));
        assert_eq!(span.dropped().cut_names, 1);
    }

    #[test]
    fn an_update_of_the_owners_is_told_once() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("x", SpanKind::Internal);
        span.apply(
            &SpanUpdate::new()
                .attribute("a", 1)
                .attribute("b", 2)
                .event("e"),
        );
        span.apply(&SpanUpdate::new());
        assert_eq!(spans.log().len(), 2);
        assert_eq!(spans.open()[0].attributes().len(), 2);
    }
}
