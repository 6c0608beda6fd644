//! An open span: its record, and what all handles to it share.
//!
//! A span's builder holds it strongly, weak handles weakly: it lives as long as its builder, and
//! nothing that a callee holds keeps it.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use super::dropped::{Dropped, count};
use super::late::LateSpan;
use super::limits::SpanLimits;
use super::outcome::Outcome;
use super::parent::SpanParent;
use super::record::SpanRecord;
use super::status::SpanStatus;
use super::tracer::{Shared, Tracer};
use super::update::SpanUpdate;
use super::write::Author;
use crate::clock::Timestamp;

/// One span and its tracer.
pub(super) struct OpenSpan {
    pub(super) tracer: Rc<Shared>,
    /// Borrowed for writing only while no code but ours runs; observers get it by a shared borrow.
    record: RefCell<SpanRecord>,
    may_overwrite: Cell<bool>,
    /// An end that was asked for while the observer was being told of this span.
    pending_end: RefCell<Option<Box<End>>>,
    /// Changes that were asked for meanwhile.
    refused: Cell<u32>,
    /// What its weak handles share.
    late: OnceCell<Rc<LateSpan>>,
}

/// What became of an attempt to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// The span is over.
    Late,
    /// The observer is being told of this span.
    Busy,
}

/// What is to be told after a write.
pub(super) struct Change {
    /// The name before, if it is another now.
    pub(super) previous_name: Option<Rc<str>>,
    /// Did anything beside the name change?
    pub(super) is_more: bool,
}

/// How a span ends.
pub(super) struct End {
    pub(super) time: Timestamp,
    /// Said with the end, where it was not said before.
    pub(super) outcome: Option<Outcome>,
    pub(super) status: Option<SpanStatus>,
}

impl Change {
    /// It was not the name.
    pub(super) fn of_more() -> Self {
        Self {
            previous_name: None,
            is_more: true,
        }
    }

    /// Writes all of `update`.
    pub(super) fn of(
        update: &SpanUpdate,
        record: &mut SpanRecord,
        author: Author,
        now: Timestamp,
        limits: &SpanLimits,
    ) -> Self {
        Self {
            previous_name: record.apply(update, author, now, limits),
            is_more: update.is_more_than_a_name(),
        }
    }
}

impl OpenSpan {
    /// Opens the span and tells the observer.
    #[inline]
    pub(super) fn new(tracer: &Rc<Shared>, record: impl FnOnce() -> SpanRecord) -> Rc<Self> {
        // Not for a cycle: like this the record is made where it stays.
        let span = Rc::new_cyclic(|_| Self {
            may_overwrite: Cell::new(tracer.rules.allows_overwrite()),
            tracer: tracer.clone(),
            record: RefCell::new(record()),
            pending_end: RefCell::default(),
            refused: Cell::new(0),
            late: OnceCell::new(),
        });
        span.tell(|record| span.tracer.observer.opened(record));
        span
    }

    /// Writes and tells the observer, unless the span is over.
    pub(super) fn write(&self, write: impl FnOnce(&mut SpanRecord) -> Change) -> Written {
        let change = {
            let Ok(mut record) = self.record.try_borrow_mut() else {
                return self.refuse();
            };
            if record.end.is_some() {
                count(&mut record.details_mut().dropped.late_updates);
                self.tracer.late_updates.count();
                return Written::Late;
            }
            write(&mut record)
        };
        self.tell(|record| {
            if let Some(previous) = &change.previous_name {
                self.tracer.observer.renamed(record, previous);
            }
            if change.is_more {
                self.tracer.observer.updated(record);
            }
        });
        Written::Yes
    }

    /// Writes what the callee may write of `update`, and counts `dropped`, which never came to be one.
    pub(super) fn enrich(&self, update: &SpanUpdate, dropped: &Dropped) -> Written {
        let (limits, mut dropped) = (&self.tracer.limits, *dropped);
        let admitted = match self.is_over() {
            // Where late updates are kept, the rules hold as well.
            true => Some(Cow::Borrowed(update)),
            false => self.tracer.rules.admit(update, limits, &mut dropped),
        };
        let Some(admitted) = admitted else {
            return self.refuse();
        };
        let now = match admitted.events[..] {
            [] => Timestamp::default(),
            _ => self.tracer.clock.now(),
        };
        let callee = self.callee();
        self.write(|record| {
            if !dropped.is_empty() {
                record.details_mut().dropped.add(&dropped);
            }
            let mut change = Change::of(&admitted, record, callee, now, limits);
            change.is_more |= !dropped.is_empty();
            change
        })
    }

    /// Counts what is refused as it comes while this span, or what is written on it, is being looked at.
    fn refuse(&self) -> Written {
        self.refused.set(self.refused.get().saturating_add(1));
        Written::Busy
    }

    /// Closes the span and tells the observer, the first time.
    pub(super) fn close(&self, end: End) {
        match self.record.try_borrow_mut() {
            Ok(mut record) => {
                if record.end.is_some() {
                    return;
                }
                record.outcome = end.outcome.or(record.outcome);
                if let Some(status) = &end.status {
                    record
                        .details_mut()
                        .set_status(status, Author::Owner, &self.tracer.limits);
                }
                record.end = Some(end.time.max(record.start));
            }
            Err(_) => {
                let mut pending = self.pending_end.borrow_mut();
                pending.get_or_insert_with(|| Box::new(end));
                return;
            }
        }
        self.tell(|record| self.tracer.observer.closed(record));
    }

    /// What `read` finds in the record.
    pub(super) fn read<T>(&self, read: impl FnOnce(&SpanRecord) -> T) -> Option<T> {
        self.record.try_borrow().ok().map(|record| read(&record))
    }

    /// The parent of its children.
    pub(super) fn parent(&self) -> SpanParent {
        let context = self.read(|record| record.context.clone());
        context.map_or_else(SpanParent::none, |context| {
            SpanParent::child_of(&Tracer::of(&self.tracer), context, false)
        })
    }

    /// The rights of a callee.
    pub(super) fn callee(&self) -> Author {
        Author::Callee {
            may_overwrite: self.may_overwrite.get(),
        }
    }

    pub(super) fn allow_callee_overwrite(&self, allow: bool) {
        self.may_overwrite.set(allow);
    }

    /// Has its end come?
    pub(super) fn is_over(&self) -> bool {
        self.read(|record| !record.is_open()).unwrap_or_default()
    }

    /// What its weak handles share, where late updates are kept.
    pub(super) fn late(&self) -> Option<Rc<LateSpan>> {
        if !self.tracer.rules.keeps_late() {
            return None;
        }
        let context = self.read(|record| record.context.clone())?;
        let late = || Rc::new(LateSpan::new(self.tracer.clone(), context));
        Some(self.late.get_or_init(late).clone())
    }

    /// Has its end neither come nor been asked for?
    pub(super) fn is_open(&self) -> bool {
        self.pending_end.borrow().is_none() && self.read(SpanRecord::is_open).unwrap_or_default()
    }

    /// Tells the observer, then does what it may not do itself meanwhile.
    fn tell(&self, tell: impl FnOnce(&SpanRecord)) {
        self.read(tell);
        let refused = self.refused.take();
        if refused > 0
            && let Ok(mut record) = self.record.try_borrow_mut()
        {
            let dropped = &mut record.details_mut().dropped;
            dropped.refused = dropped.refused.saturating_add(refused);
        }
        if let Some(end) = self.pending_end.take() {
            self.close(*end);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::trace::{
        EnrichStatus, MemoryObserver, Observer, Outcome, SpanBuilder, SpanKind, SpanRecord,
        SpanStatus, SpanUpdate, Tracer, WeakSpan,
    };
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// Does with a span whatever it can lay its hands on, while it is told of it.
    #[derive(Default)]
    struct Meddler {
        span: RefCell<Option<Rc<SpanBuilder>>>,
        weak: RefCell<WeakSpan>,
        answers: RefCell<Vec<EnrichStatus>>,
        ends: Cell<bool>,
    }

    impl Meddler {
        fn meddle(&self) {
            if let Some(span) = &*self.span.borrow() {
                span.set_name("mine").set_attribute("k", 1);
                assert_eq!(span.parent().is_observed(), span.context().is_some());
                if self.ends.get() {
                    span.end();
                }
            }
            let answer = self.weak.borrow().enrich(&SpanUpdate::new().name("mine"));
            self.answers.borrow_mut().push(answer);
        }
    }

    impl Observer for Meddler {
        fn renamed(&self, _: &SpanRecord, _: &str) {
            self.meddle();
        }

        fn updated(&self, _: &SpanRecord) {
            self.meddle();
        }

        fn closed(&self, _: &SpanRecord) {
            self.meddle();
        }
    }

    fn meddled() -> (Rc<SpanBuilder>, Rc<Meddler>, MemoryObserver) {
        let (meddler, spans) = (Rc::new(Meddler::default()), MemoryObserver::new());
        let tracer = Tracer::new((meddler.clone(), spans.clone()));
        let span = Rc::new(tracer.root().start("x", SpanKind::Internal));
        *meddler.weak.borrow_mut() = span.downgrade();
        *meddler.span.borrow_mut() = Some(span.clone());
        (span, meddler, spans)
    }

    #[test]
    fn what_an_observer_does_with_the_same_span_is_refused_and_counted() {
        let (span, meddler, _) = meddled();
        span.set_attribute("a", 1);
        assert_eq!(*meddler.answers.borrow(), [EnrichStatus::Overloaded]);
        assert_eq!(span.dropped().refused, 3);
        span.end();
        assert_eq!(span.dropped().refused, 6);
        meddler.span.take();
    }

    #[test]
    fn a_span_that_its_observer_ends_is_closed_when_the_observer_returns() {
        let (span, meddler, spans) = meddled();
        meddler.ends.set(true);
        span.downgrade()
            .enrich(&SpanUpdate::new().name("y").attribute("k", 2));
        assert!(span.is_ended());
        assert_eq!((spans.closed().len(), spans.open().len()), (1, 0));
        assert_eq!(spans.log().len(), 4, "closed last: {:?}", spans.log());
        meddler.span.take();
    }

    #[test]
    fn an_outcome_that_comes_with_the_end_is_not_refused() {
        struct Concluder(Rc<RefCell<Option<SpanBuilder>>>);

        impl Observer for Concluder {
            fn updated(&self, _: &SpanRecord) {
                if let Some(span) = &*self.0.borrow() {
                    span.conclude(Outcome::Revoked, Some(SpanStatus::error("why")), None);
                }
            }
        }

        let slot = Rc::new(RefCell::new(None));
        let spans = MemoryObserver::new();
        let tracer = Tracer::new((Concluder(slot.clone()), spans.clone()));
        let span = tracer.root().start("x", SpanKind::Internal);
        let weak = span.downgrade();
        slot.replace(Some(span));
        weak.enrich(&SpanUpdate::new().attribute("k", 1));
        let closed = &spans.closed()[0];
        assert_eq!(closed.outcome(), Some(Outcome::Revoked));
        assert_eq!(closed.status(), &SpanStatus::error("why"));
        assert!(closed.dropped().is_empty());
        slot.take();
    }

    #[test]
    fn a_span_that_its_observer_drops_is_closed_once() {
        struct Dropper(Rc<RefCell<Option<SpanBuilder>>>);

        impl Observer for Dropper {
            fn updated(&self, _: &SpanRecord) {
                drop(self.0.take());
            }
        }

        let slot = Rc::new(RefCell::new(None));
        let spans = MemoryObserver::new();
        let tracer = Tracer::new((Dropper(slot.clone()), spans.clone()));
        let span = tracer.root().start("x", SpanKind::Internal);
        let weak = span.downgrade();
        slot.replace(Some(span));
        assert_eq!(
            weak.enrich(&SpanUpdate::new().attribute("k", 1)),
            EnrichStatus::Applied
        );
        assert_eq!((spans.closed().len(), spans.open().len()), (1, 0));
        assert!(!weak.is_open());
    }

    #[test]
    fn an_observer_may_open_and_close_other_spans() {
        struct Opener(RefCell<Tracer>);

        impl Observer for Opener {
            fn closed(&self, span: &SpanRecord) {
                let other = self.0.borrow().child_of(span.context().clone());
                drop(other.start("after", SpanKind::Internal));
            }
        }

        let spans = MemoryObserver::new();
        let opener = Opener(RefCell::new(Tracer::new(spans.clone())));
        let tracer = Tracer::new((spans.clone(), opener));
        drop(tracer.root().start("x", SpanKind::Internal));
        assert_eq!(spans.closed().len(), 2);
        assert_eq!(
            spans.named("after").unwrap().parent_span_id(),
            Some(spans.named("x").unwrap().span_id())
        );
    }
}
