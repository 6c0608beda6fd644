//! What is known of one session, open or closed.

use super::said::Written;
use super::spans::{Spans, why};
use crate::page::view::{RecentRow, TEXT_BYTES, cut};
use crate::trace::{Outcome, SpanId, SpanKind, SpanRecord, Timestamp, TraceId};

pub(super) struct Session {
    pub(super) id: SpanId,
    pub(super) trace_id: TraceId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: Box<str>,
    pub(super) service: Box<str>,
    pub(super) kind: SpanKind,
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
    pub(super) why: Option<Box<str>>,
    pub(super) peer: Option<Box<str>>,
    pub(super) written: Written,
    pub(super) spans: Spans,
    /// Calls that have begun and not ended, where nobody else counts them.
    pub(super) open_spans: usize,
}

impl Session {
    pub(super) fn of(record: &SpanRecord) -> Self {
        let mut session = Self {
            id: record.span_id(),
            trace_id: record.trace_id(),
            parent: record.parent_span_id(),
            name: Box::default(),
            service: cut(record.service(), TEXT_BYTES).into(),
            kind: record.kind(),
            start: record.start(),
            end: None,
            outcome: None,
            why: None,
            peer: None,
            written: Written::default(),
            spans: Spans::default(),
            open_spans: 0,
        };
        session.set(record);
        session
    }

    /// What is written on its span now.
    pub(super) fn set(&mut self, record: &SpanRecord) {
        self.name = cut(record.name(), TEXT_BYTES).into();
        self.end = record.end();
        self.outcome = record.outcome();
        self.why = why(record);
        self.written = Written::of(record);
        self.peer = self.written.peer();
    }

    /// How long it has been open, or was.
    pub(super) fn took(&self, now: Timestamp) -> std::time::Duration {
        self.end.unwrap_or(now).duration_since(self.start)
    }

    pub(super) fn recent_row(&self, now: Timestamp) -> RecentRow {
        RecentRow {
            id: self.id,
            name: self.name.to_string(),
            peer: self.peer.as_deref().map(str::to_owned),
            side: self.kind,
            outcome: self.outcome,
            why: self.why.as_deref().map(str::to_owned),
            took: self.took(now),
            ago: now.duration_since(self.end.unwrap_or(now)),
            spans: self.spans.seen(),
        }
    }
}
