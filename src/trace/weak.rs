//! A span in the hands of the callee: write-only, and no reason for the span to live.

use std::fmt;
use std::rc::{Rc, Weak};

use super::dropped::Dropped;
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
/// [reserved keys](super::SpanLimits::is_reserved); limits hold. What is cut or refused is counted
/// on the span, and the rest of the update is written.
#[derive(Clone, Default)]
pub struct WeakSpan {
    span: Weak<OpenSpan>,
    /// Where late updates are counted when the span is gone; `None` if it was not observed.
    late_updates: Option<LateUpdates>,
}

impl WeakSpan {
    /// A handle to no span, as that of an unobserved one.
    pub const fn none() -> Self {
        Self {
            span: Weak::new(),
            late_updates: None,
        }
    }

    pub(super) fn of(span: &Rc<OpenSpan>) -> Self {
        Self {
            span: Rc::downgrade(span),
            late_updates: Some(span.tracer.late_updates.clone()),
        }
    }

    /// Writes `update` on the span as the callee. An update that changes nothing is applied to an
    /// open span, too.
    ///
    /// [`Overloaded`](EnrichStatus::Overloaded) is the answer only to an observer that enriches
    /// the span which it is just being told of.
    pub fn enrich(&self, update: &SpanUpdate) -> EnrichStatus {
        let Some(span) = self.span.upgrade() else {
            if let Some(late_updates) = &self.late_updates {
                late_updates.count();
            }
            return EnrichStatus::SpanEnded;
        };
        let now = span.tracer.clock.now();
        let limits = &span.tracer.limits;
        match span.write(|record| Change::of(update, record, span.callee(), now, limits)) {
            Written::Yes => EnrichStatus::Applied,
            Written::Late => EnrichStatus::SpanEnded,
            Written::Busy => EnrichStatus::Overloaded,
        }
    }

    /// Counts what never came to be an update. Not after the end: then nothing is written.
    pub(crate) fn count_dropped(&self, dropped: &Dropped) {
        if !dropped.is_empty()
            && let Some(span) = self.span.upgrade()
            && span.is_open()
        {
            span.write(|record| {
                record.dropped.add(dropped);
                Change {
                    previous_name: None,
                    is_more: true,
                }
            });
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
