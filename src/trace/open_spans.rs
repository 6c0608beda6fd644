//! What an observer remembers of the spans that are open.

use std::collections::HashMap;

use super::ids::{SpanId, TraceId};
use super::record::SpanRecord;

/// Copies of the records of open spans, as they were when the observer was last told.
#[derive(Debug, Default)]
pub(super) struct OpenSpans {
    opened: u64,
    spans: HashMap<(TraceId, SpanId), (u64, SpanRecord)>,
}

impl OpenSpans {
    /// A span was opened or changed.
    pub(super) fn keep(&mut self, span: &SpanRecord) {
        let entry = self.spans.entry(key(span)).or_insert_with(|| {
            self.opened += 1;
            (self.opened, span.clone())
        });
        entry.1.clone_from(span);
    }

    /// A span was closed. Was it open?
    pub(super) fn remove(&mut self, span: &SpanRecord) -> bool {
        self.spans.remove(&key(span)).is_some()
    }

    /// All of them, in the order in which they were opened.
    pub(super) fn in_order(&self) -> Vec<&SpanRecord> {
        let mut spans: Vec<_> = self.spans.values().collect();
        spans.sort_unstable_by_key(|(order, _)| *order);
        spans.into_iter().map(|(_, span)| span).collect()
    }
}

fn key(span: &SpanRecord) -> (TraceId, SpanId) {
    (span.trace_id(), span.span_id())
}
