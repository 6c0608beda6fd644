//! A span in the hands of the callee: write-only, and no reason for the span to live.

use std::borrow::Cow;
use std::fmt;
use std::rc::{Rc, Weak};

use super::attribute::Value;
use super::dropped::Dropped;
use super::late::LateSpan;
use super::open::{Change, OpenSpan, Written};
use super::tracer::LateUpdates;
use super::update::SpanUpdate;

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnrichStatus {
    /// Written on the span, within the limits and rights that the span's owner sets.
    Applied,
    /// The span is over, or not observed: nothing was written, and nothing ever will be.
    SpanEnded,
    /// Too much at once: nothing of this update was written.
    Overloaded,
}

/// A write-only handle to a span, to be used on behalf of the callee.
///
/// It keeps the span neither open nor alive, and it reads nothing of it. What it writes is marked
/// as the callee's. It can't touch attributes that the owner has set, unless the owner
/// [allows it](super::SpanBuilder::allow_callee_overwrite), nor
/// [reserved keys](super::SpanLimits::is_reserved); limits hold, and so do the tracer's
/// [rules](super::EnrichRules). What is cut or refused is counted on the span, and the rest of the update
/// is written.
#[derive(Clone, Default)]
pub struct WeakSpan {
    span: Weak<OpenSpan>,
    /// Where late updates are counted when the span is gone; `None` if it was not observed.
    late_updates: Option<LateUpdates>,
    /// Who is told of them, where somebody wants to know.
    late: Option<Rc<LateSpan>>,
}

impl WeakSpan {
    /// A handle to no span, as that of an unobserved one.
    pub const fn none() -> Self {
        Self {
            span: Weak::new(),
            late_updates: None,
            late: None,
        }
    }

    pub(super) fn of(span: &Rc<OpenSpan>) -> Self {
        Self {
            span: Rc::downgrade(span),
            late_updates: Some(span.tracer.late_updates.clone()),
            late: span.late(),
        }
    }

    /// Writes `update` on the span as the callee. An update that changes nothing is applied to an
    /// open span, too.
    ///
    /// [`Overloaded`](EnrichStatus::Overloaded) is the answer only to an observer that enriches
    /// the span which it is just being told of, and to a [redactor](super::Redactor) that enriches.
    pub fn enrich(&self, update: &SpanUpdate) -> EnrichStatus {
        self.enrich_received(update, &Dropped::default())
    }

    /// The same with what came along and could not be read: that is counted, unless it comes late.
    pub(crate) fn enrich_received(&self, update: &SpanUpdate, dropped: &Dropped) -> EnrichStatus {
        if update.is_empty() && dropped.is_empty() {
            return match self.is_open() {
                true => EnrichStatus::Applied,
                false => EnrichStatus::SpanEnded,
            };
        }
        let written = match self.span.upgrade() {
            Some(span) => span.enrich(update, dropped),
            None => {
                if let Some(late_updates) = &self.late_updates {
                    late_updates.count();
                }
                Written::Late
            }
        };
        match written {
            Written::Yes => EnrichStatus::Applied,
            Written::Busy => EnrichStatus::Overloaded,
            Written::Late => {
                if let Some(late) = &self.late {
                    late.tell(update, dropped);
                }
                EnrichStatus::SpanEnded
            }
        }
    }

    /// Writes an update of one attribute, without making one where that can be helped.
    pub(crate) fn set_attribute(&self, key: &str, value: Value) -> EnrichStatus {
        match self.span.upgrade() {
            Some(span) if span.tracer.rules.allow_all() && !span.is_over() => {
                let (callee, limits) = (span.callee(), &span.tracer.limits);
                let written = span.write(|record| {
                    let details = record.details_mut();
                    details.set_attribute(key, Cow::Owned(value), callee, limits);
                    Change::of_more()
                });
                match written {
                    Written::Yes => EnrichStatus::Applied,
                    Written::Late => EnrichStatus::SpanEnded,
                    Written::Busy => EnrichStatus::Overloaded,
                }
            }
            _ => self.enrich(&SpanUpdate::new().attribute(key, value)),
        }
    }

    /// Is the span, as far as anybody observes it, still open?
    pub fn is_open(&self) -> bool {
        self.span.upgrade().is_some_and(|span| span.is_open())
    }

    /// Was the span observed? If not, an update need not even be made.
    pub fn is_observed(&self) -> bool {
        self.late_updates.is_some()
    }
}

impl fmt::Debug for WeakSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSpan")
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{Clock, Outcome, SpanEvent, SpanKind, SpanStatus, Timestamp, Value};

    #[test]
    fn e1_the_callee_adds_name_attributes_events_and_status() {
        let (tracer, spans, clock) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        clock.set(Timestamp::from_unix_nanos(8));
        let update = SpanUpdate::new()
            .name("GET /users/{id}")
            .attribute("rows", 3)
            .event(SpanEvent::new("cache miss").attribute("key", "u1"))
            .status(SpanStatus::error("no such user"));
        assert_eq!(span.downgrade().enrich(&update), EnrichStatus::Applied);
        drop(span);

        let span = &spans.closed()[0];
        assert_eq!(
            (span.name(), span.original_name()),
            ("GET /users/{id}", Some("call"))
        );
        assert_eq!(span.attributes().get("rows"), Some(&Value::Int(3)));
        assert_eq!(*span.status(), SpanStatus::error("no such user"));
        let event = &span.events()[0];
        assert_eq!(
            (event.name(), event.time(), event.is_by_callee()),
            ("cache miss", clock.now(), true)
        );
        assert_eq!(event.attributes().get("key"), Some(&Value::from("u1")));
        assert_eq!(span.set_by_callee(), ["rows".into()]);
        assert!(span.is_named_by_callee() && span.is_status_by_callee());
        assert!(span.dropped().is_empty());
    }

    #[test]
    fn e1_the_last_write_wins() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        let (one, other) = (span.downgrade(), span.downgrade());
        one.enrich(&SpanUpdate::new().name("a").attribute("k", 1));
        other.enrich(&SpanUpdate::new().name("b").attribute("k", "two"));
        let open = &spans.open()[0];
        assert_eq!((open.name(), open.original_name()), ("b", Some("call")));
        assert_eq!(open.attributes().get("k"), Some(&Value::from("two")));
        assert_eq!(
            (open.attributes().len(), open.set_by_callee().len()),
            (1, 1)
        );
    }

    #[test]
    fn e3_a_weak_handle_keeps_the_span_neither_open_nor_alive() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        let weak = span.downgrade();
        assert!(weak.is_open() && weak.is_observed());
        drop(span);
        assert_eq!(spans.closed().len(), 1);
        assert!(weak.span.upgrade().is_none());
        assert!(!weak.is_open() && weak.is_observed());
    }

    #[test]
    fn e3_after_the_end_the_answer_is_span_ended_and_it_is_counted() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        let weak = span.downgrade();
        span.end();
        let update = SpanUpdate::new().name("late");
        assert_eq!(weak.enrich(&update), EnrichStatus::SpanEnded);
        assert_eq!(span.dropped().late_updates, 1);
        drop(span);
        assert_eq!(weak.enrich(&update), EnrichStatus::SpanEnded);
        assert_eq!(tracer.late_updates(), 2);
        assert_eq!(weak.enrich(&SpanUpdate::new()), EnrichStatus::SpanEnded);
        assert_eq!(tracer.late_updates(), 2, "nothing to refuse");
        assert_eq!(spans.closed()[0].name(), "call");
    }

    #[test]
    fn e5_attributes_of_the_owner_are_protected() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        span.set_attribute("tenant", "a");
        span.downgrade().enrich(
            &SpanUpdate::new()
                .attribute("tenant", "b")
                .attribute("rows", 1),
        );
        let open = &spans.open()[0];
        assert_eq!(open.attributes().get("tenant"), Some(&Value::from("a")));
        assert_eq!(open.set_by_callee(), ["rows".into()]);
        assert_eq!(open.dropped().protected_keys, 1);
    }

    #[test]
    fn e5_the_owner_can_allow_the_callee_to_overwrite() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        span.set_attribute("tenant", "a")
            .allow_callee_overwrite(true);
        let update = SpanUpdate::new()
            .attribute("tenant", "b")
            .attribute("capspan.x", 1);
        span.downgrade().enrich(&update);
        let open = &spans.open()[0];
        assert_eq!(open.attributes().get("tenant"), Some(&Value::from("b")));
        assert_eq!(open.set_by_callee(), ["tenant".into()]);
        assert_eq!(open.dropped().reserved_keys, 1, "reserved all the same");
    }

    #[test]
    fn e5_what_the_owner_takes_over_is_the_owners() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        let weak = span.downgrade();
        weak.enrich(&SpanUpdate::new().attribute("k", 1));
        span.set_attribute("k", 2);
        weak.enrich(&SpanUpdate::new().attribute("k", 3));
        let open = &spans.open()[0];
        assert_eq!(open.attributes().get("k"), Some(&Value::Int(2)));
        assert!(open.set_by_callee().is_empty());
    }

    #[test]
    fn e5_reserved_keys_are_refused_on_the_span_and_in_events() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        let mut update = SpanUpdate::new().event(
            SpanEvent::new("e")
                .attribute("service.name", "evil")
                .attribute("ok", true),
        );
        for key in ["capspan.outcome", "service.name", "telemetry.sdk.name"] {
            update = update.attribute(key, "evil");
        }
        assert_eq!(span.downgrade().enrich(&update), EnrichStatus::Applied);
        let open = &spans.open()[0];
        assert!(open.attributes().is_empty() && open.set_by_callee().is_empty());
        assert_eq!(open.events()[0].attributes().len(), 1);
        assert_eq!(open.dropped().reserved_keys, 4);
    }

    #[test]
    fn e5_ids_times_parent_and_outcome_stay() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        let before = spans.open()[0].clone();
        span.set_outcome(Outcome::Timeout);
        span.downgrade().enrich(
            &SpanUpdate::new()
                .name("x")
                .attribute("traceId", "1")
                .status(SpanStatus::Ok),
        );
        let after = &spans.open()[0];
        assert_eq!(
            (after.context(), after.start()),
            (before.context(), before.start())
        );
        assert_eq!(after.parent_span_id(), before.parent_span_id());
        assert_eq!(after.outcome(), Some(Outcome::Timeout));
    }

    #[test]
    fn one_update_is_told_once() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("call", SpanKind::Client);
        span.downgrade().enrich(
            &SpanUpdate::new()
                .attribute("a", 1)
                .attribute("b", 2)
                .event("e"),
        );
        assert_eq!(spans.log().len(), 2, "opened, updated: {:?}", spans.log());
    }

    #[test]
    fn a_handle_to_no_span_answers_span_ended() {
        let update = SpanUpdate::new().name("x");
        assert_eq!(WeakSpan::none().enrich(&update), EnrichStatus::SpanEnded);
        assert!(!WeakSpan::default().is_observed());
    }
}
