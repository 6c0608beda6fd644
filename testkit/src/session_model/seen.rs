//! An observer that counts, and keeps each span as it is now.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::spans::SHOWN;
use capspan::trace::{IdGenerator, Observer, SpanId, SpanRecord, TraceId};

/// All that one is told of spans.
#[derive(Clone, Default)]
pub(super) struct Seen {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    spans: RefCell<Vec<SeenSpan>>,
    places: RefCell<HashMap<SpanId, usize>>,
}

/// A span, and how often one was told that it opened and closed.
pub(super) struct SeenSpan {
    pub(super) record: SpanRecord,
    pub(super) opened: u32,
    pub(super) closed: u32,
    /// Was told of when it was not open.
    pub(super) astray: u32,
}

impl Seen {
    /// In the order in which they were opened.
    pub(super) fn spans(&self) -> Ref<'_, [SeenSpan]> {
        Ref::map(self.inner.spans.borrow(), |spans| &spans[..])
    }

    /// Does the caller's span of an event show what a call with this number has written?
    pub(super) fn shows(&self, event: u32, number: u32) -> bool {
        let name = format!("e{event}");
        let spans = self.inner.spans.borrow();
        let mut spans = spans.iter().map(|span| &span.record);
        spans
            .find(|span| span.original_name().unwrap_or(span.name()) == name)
            .is_some_and(|span| span.attributes().get(SHOWN) == Some(&number.into()))
    }

    fn note(&self, record: &SpanRecord, note: impl FnOnce(&mut SeenSpan)) {
        let mut spans = self.inner.spans.borrow_mut();
        let mut places = self.inner.places.borrow_mut();
        let place = *places.entry(record.span_id()).or_insert_with(|| {
            spans.push(SeenSpan {
                record: record.clone(),
                opened: 0,
                closed: 0,
                astray: 0,
            });
            spans.len() - 1
        });
        let span = &mut spans[place];
        span.record.clone_from(record);
        note(span);
    }
}

impl Observer for Seen {
    fn opened(&self, span: &SpanRecord) {
        self.note(span, |seen| seen.opened += 1);
    }

    fn renamed(&self, span: &SpanRecord, _previous: &str) {
        self.updated(span);
    }

    fn updated(&self, span: &SpanRecord) {
        self.note(span, |seen| {
            seen.astray += u32::from(seen.opened != 1 || seen.closed != 0);
        });
    }

    fn closed(&self, span: &SpanRecord) {
        self.note(span, |seen| seen.closed += 1);
    }
}

/// Ids that count from one for all vats; how many a vat drew is counted apart.
#[derive(Clone, Default)]
pub(super) struct Ids {
    last: Rc<Cell<u64>>,
    drawn: Rc<Cell<usize>>,
}

impl Ids {
    /// The same ids for another vat.
    pub(super) fn apart(&self) -> Self {
        Self {
            last: self.last.clone(),
            drawn: Rc::default(),
        }
    }

    pub(super) fn drawn(&self) -> usize {
        self.drawn.get()
    }

    fn next(&self) -> u64 {
        self.drawn.set(self.drawn.get() + 1);
        self.last.set(self.last.get() + 1);
        self.last.get()
    }
}

impl IdGenerator for Ids {
    fn trace_id(&self) -> TraceId {
        TraceId::from_u128(self.next().into()).expect("ids count from one")
    }

    fn span_id(&self) -> SpanId {
        SpanId::from_u64(self.next()).expect("ids count from one")
    }
}
