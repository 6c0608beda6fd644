//! What callees write after the end of a span, for observers who want to know.

use std::cell::Cell;
use std::rc::Rc;

use super::attribute::Attributes;
use super::context::SpanContext;
use super::dropped::Dropped;
use super::ids::{SpanId, TraceId};
use super::record::{Channel, EventRecord, LinkRecord, Name, SpanKind, SpanRecord};
use super::status::SpanStatus;
use super::tracer::Shared;
use super::update::SpanUpdate;
use super::write::Author;
use crate::clock::Timestamp;

/// How many late updates of one span are told. More are only counted.
const MAX_TOLD: u32 = 16;

/// What a callee wrote after the end of a span, within the rules and limits of the span: all of it is the
/// callee's. The span's record did not change by it; nor is it known here which keys the owner had set.
#[derive(Clone, Debug)]
pub struct LateUpdate {
    /// As if it were a span of its own.
    record: SpanRecord,
}

impl LateUpdate {
    /// The span that was over: its ids, flags and trace state.
    pub fn context(&self) -> &SpanContext {
        self.record.context()
    }

    /// The trace that the span is in.
    pub fn trace_id(&self) -> TraceId {
        self.record.trace_id()
    }

    /// The span.
    pub fn span_id(&self) -> SpanId {
        self.record.span_id()
    }

    /// Who is to see it.
    pub fn channel(&self) -> Channel {
        self.record.channel()
    }

    /// Which service, or process, the span is of.
    pub fn service(&self) -> &str {
        self.record.service()
    }

    /// When it came.
    pub fn time(&self) -> Timestamp {
        self.record.start()
    }

    /// The name that the span was to get, if any.
    pub fn name(&self) -> Option<&str> {
        let is_renamed = self.record.is_named_by_callee();
        is_renamed.then(|| self.record.name())
    }

    /// The attributes that were to be set.
    pub fn attributes(&self) -> &Attributes {
        self.record.attributes()
    }

    /// The events that were to be added.
    pub fn events(&self) -> &[EventRecord] {
        self.record.events()
    }

    /// The links that were to be added.
    pub fn links(&self) -> &[LinkRecord] {
        self.record.links()
    }

    /// What was to be said about how the work went.
    pub fn status(&self) -> &SpanStatus {
        self.record.status()
    }

    /// What was cut from this update or refused.
    pub fn dropped(&self) -> &Dropped {
        self.record.dropped()
    }
}

/// What must be known of a span to tell of late updates when it is gone.
pub(super) struct LateSpan {
    tracer: Rc<Shared>,
    context: SpanContext,
    told: Cell<u32>,
}

impl LateSpan {
    pub(super) fn new(tracer: Rc<Shared>, context: SpanContext) -> Self {
        Self {
            tracer,
            context,
            told: Cell::new(0),
        }
    }

    /// Tells the observer, unless it has been told of enough. `dropped` never came to be an update.
    pub(super) fn tell(&self, update: &SpanUpdate, dropped: &Dropped) {
        if self.told.get() >= MAX_TOLD {
            return;
        }
        let tracer = &self.tracer;
        let mut dropped = *dropped;
        let Some(admitted) = tracer.rules.admit(update, &tracer.limits, &mut dropped) else {
            return;
        };
        self.told.set(self.told.get() + 1);
        let (context, now) = (self.context.clone(), tracer.clock.now());
        let mut record = SpanRecord::new(context, tracer, Name::Text(""), SpanKind::Internal, now);
        record.details_mut().dropped.add(&dropped);
        let callee = Author::Callee {
            may_overwrite: false,
        };
        record.apply(&admitted, callee, now, &tracer.limits);
        tracer.observer.late(&LateUpdate { record });
    }
}
