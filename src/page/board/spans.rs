//! The spans of one session, as many as are kept: the first ones, and the last.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::page::view::{TEXT_BYTES, cut};
use crate::trace::{Outcome, SpanId, SpanKind, SpanRecord, SpanRole, SpanStatus, Timestamp};

/// How many are kept of one session.
const MAX_SPANS: usize = 500;

/// How many of the first ones stay, however many follow.
const FIRST: usize = 100;

#[derive(Default)]
pub(super) struct Spans {
    /// In boxes: one is taken from among the others for each that comes when they are full.
    list: VecDeque<Box<Span>>,
    seen: u64,
}

/// One call in a session, or other work in it.
pub(super) struct Span {
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) name: Rc<str>,
    pub(super) kind: SpanKind,
    pub(super) role: SpanRole,
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
    pub(super) outcome: Option<Outcome>,
    pub(super) why: Option<Box<str>>,
}

/// What has become of a span that came.
pub(super) enum Noted {
    Kept,
    /// In the place of that one.
    KeptFor(SpanId),
    LeftOut,
}

impl Spans {
    pub(super) fn opened(
        &mut self,
        record: &SpanRecord,
        name: Option<Rc<str>>,
        has_room: bool,
    ) -> Noted {
        self.seen += 1;
        if self.list.len() < MAX_SPANS && has_room {
            self.list.push_back(Box::new(Span::of(record, name)));
            return Noted::Kept;
        }
        // Those that are open stay: what never ends is what one looks for.
        let mut later = self.list.iter().skip(FIRST);
        let place = later.position(|span| span.end.is_some());
        let Some(mut reused) = place.and_then(|place| self.list.remove(FIRST + place)) else {
            return Noted::LeftOut;
        };
        let gone = reused.id;
        *reused = Span::of(record, name);
        self.list.push_back(reused);
        Noted::KeptFor(gone)
    }

    pub(super) fn closed(&mut self, record: &SpanRecord) {
        if let Some(span) = self.find(record.span_id()) {
            span.end = record.end();
            span.outcome = record.outcome();
            span.why = why(record);
        }
    }

    pub(super) fn renamed(&mut self, record: &SpanRecord) {
        if let Some(span) = self.find(record.span_id()) {
            span.name = cut(record.name(), TEXT_BYTES).into();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// How many there were.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn left_out(&self) -> u64 {
        self.seen - self.list.len() as u64
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Span> {
        self.list.iter().map(|span| &**span)
    }

    /// Most end soon after they began.
    fn find(&mut self, id: SpanId) -> Option<&mut Span> {
        let mut latest_first = self.list.iter_mut().rev();
        latest_first
            .find(|span| span.id == id)
            .map(|span| &mut **span)
    }
}

impl Span {
    fn of(record: &SpanRecord, name: Option<Rc<str>>) -> Self {
        Self {
            id: record.span_id(),
            parent: record.parent_span_id(),
            name: name.unwrap_or_else(|| cut(record.name(), TEXT_BYTES).into()),
            kind: record.kind(),
            role: record.role(),
            start: record.start(),
            end: record.end(),
            outcome: record.outcome(),
            why: None,
        }
    }
}

/// What was wrong with what a span stands for, or why it ended.
pub(super) fn why(record: &SpanRecord) -> Option<Box<str>> {
    let reason = || record.attributes().get("capspan.reason")?.as_text();
    let message = match record.status() {
        SpanStatus::Error(message) if !message.is_empty() => Some(&**message),
        _ => None,
    };
    message
        .or_else(reason)
        .map(|text| cut(text, TEXT_BYTES).into())
}
