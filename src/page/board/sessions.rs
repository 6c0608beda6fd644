//! The sessions of one event loop: those that are open, and the last ones that were.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use rustc_hash::FxBuildHasher;

use super::session::Session;
use super::spans::Noted;
use crate::page::view::{Kept, LeftOut, Outcomes};
use crate::trace::{SpanId, SpanRecord, SpanRole, TraceId};

/// How many open ones are kept.
const MAX_OPEN: usize = 10_000;

/// How many of those that are over.
const MAX_RECENT: usize = 200;

/// How many spans in all of them.
const MAX_SPANS: usize = 50_000;

/// How many bytes of what is written on all of them.
const MAX_WRITTEN: usize = 16 * 1024 * 1024;

/// Ids of spans are drawn by this process, not chosen by a peer: a fast hash is enough.
type BySpan<T> = HashMap<SpanId, T, FxBuildHasher>;

#[derive(Default)]
pub(super) struct Sessions {
    all: BySpan<Box<Session>>,
    /// Those that are over, the latest last.
    recent: VecDeque<SpanId>,
    /// Which session a span that is kept belongs to.
    by_span: BySpan<SpanId>,
    /// Of traces with one session: a span whose parent is not kept belongs to it. Peers choose these ids.
    by_trace: HashMap<TraceId, OfTrace>,
    spans: usize,
    /// Bytes of what is written on sessions.
    written: usize,
    outcomes: Outcomes,
    left_out: LeftOut,
}

/// The sessions of one trace that are open.
enum OfTrace {
    One(SpanId),
    Several(usize),
}

impl Sessions {
    pub(super) fn opened(&mut self, record: &SpanRecord, method: Option<Rc<str>>) {
        match record.role() {
            SpanRole::Event => self.begun(record),
            SpanRole::Call | SpanRole::Work => self.joined(record, method),
        }
    }

    pub(super) fn changed(&mut self, record: &SpanRecord) {
        if record.role() == SpanRole::Event {
            self.set(record);
        } else if let Some(session) = self.session_of(record) {
            session.spans.renamed(record);
        }
    }

    pub(super) fn closed(&mut self, record: &SpanRecord) {
        let is_event = record.role() == SpanRole::Event;
        if is_event {
            self.outcomes.count(record.outcome());
            if self.set(record) {
                self.over(record);
            }
        } else if let Some(session) = self.session_of(record) {
            session.open_spans = session.open_spans.saturating_sub(1);
            session.spans.closed(record);
        }
    }

    pub(super) fn get(&self, id: SpanId) -> Option<&Session> {
        self.all.get(&id).map(|session| &**session)
    }

    /// The session that a span is part of.
    pub(super) fn containing(&self, span: SpanId) -> Option<SpanId> {
        self.by_span.get(&span).copied()
    }

    /// Those that are open, in no order.
    pub(super) fn open(&self) -> impl Iterator<Item = &Session> {
        let all = self.all.values().map(|session| &**session);
        all.filter(|session| session.end.is_none())
    }

    /// Those that are over, the latest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Session> {
        self.recent.iter().rev().filter_map(|id| self.get(*id))
    }

    pub(super) fn outcomes(&self) -> Outcomes {
        self.outcomes
    }

    pub(super) fn left_out(&self) -> LeftOut {
        self.left_out
    }

    pub(super) fn kept(&self) -> Kept {
        Kept {
            open: self.all.len() - self.recent.len(),
            recent: self.recent.len(),
            spans: self.spans,
            methods: 0,
        }
    }

    /// A session has begun.
    fn begun(&mut self, record: &SpanRecord) {
        if self.all.len() - self.recent.len() >= MAX_OPEN {
            self.left_out.sessions += 1;
            return;
        }
        let id = record.span_id();
        let session = Session::of(record, MAX_WRITTEN - self.written);
        self.written += session.written.bytes();
        self.all.insert(id, Box::new(session));
        self.by_span.insert(id, id);
        let of_trace = self.by_trace.entry(record.trace_id());
        of_trace
            .and_modify(|of_trace| {
                *of_trace = match of_trace {
                    OfTrace::One(_) => OfTrace::Several(2),
                    OfTrace::Several(count) => OfTrace::Several(*count + 1),
                }
            })
            .or_insert(OfTrace::One(id));
    }

    /// A span was opened that may be part of a session.
    fn joined(&mut self, record: &SpanRecord, method: Option<Rc<str>>) {
        let Some(id) = self.owner_of(record) else {
            self.left_out.strays += 1;
            return;
        };
        while self.spans >= MAX_SPANS && self.forget_oldest(id) {}
        let has_room = self.spans < MAX_SPANS;
        let Some(session) = self.all.get_mut(&id) else {
            return;
        };
        match session.spans.opened(record, method, has_room) {
            Noted::Kept => self.spans += 1,
            Noted::KeptFor(gone) => {
                self.by_span.remove(&gone);
                self.left_out.spans += 1;
            }
            Noted::LeftOut => {
                self.left_out.spans += 1;
                return;
            }
        }
        session.open_spans += 1;
        self.by_span.insert(record.span_id(), id);
    }

    /// The session that a new span belongs to.
    fn owner_of(&self, record: &SpanRecord) -> Option<SpanId> {
        let parent = match record.has_remote_parent() {
            true => None,
            false => record.parent_span_id(),
        };
        let of_parent = parent.and_then(|parent| self.containing(parent));
        of_parent.or_else(|| match self.by_trace.get(&record.trace_id())? {
            OfTrace::One(id) if parent.is_some() => Some(*id),
            _ => None,
        })
    }

    fn session_of(&mut self, record: &SpanRecord) -> Option<&mut Session> {
        let id = self.by_span.get(&record.span_id())?;
        self.all.get_mut(id).map(|session| &mut **session)
    }

    /// Notes what is written on a session now. Is it known?
    fn set(&mut self, record: &SpanRecord) -> bool {
        let written = self.written;
        let Some(session) = self.session_of(record) else {
            return false;
        };
        let others = written - session.written.bytes();
        session.set(record, MAX_WRITTEN - others);
        self.written = others + session.written.bytes();
        true
    }

    /// A session is over.
    fn over(&mut self, record: &SpanRecord) {
        if let Some(of_trace) = self.by_trace.get_mut(&record.trace_id()) {
            let is_last = match of_trace {
                OfTrace::One(_) => true,
                OfTrace::Several(count) => {
                    *count -= 1;
                    *count == 0
                }
            };
            if is_last {
                self.by_trace.remove(&record.trace_id());
            }
        }
        self.recent.push_back(record.span_id());
        if self.recent.len() > MAX_RECENT {
            self.forget_oldest(record.span_id());
        }
    }

    /// Forgets the one that has been over for longest, but not `but`. Is there one?
    fn forget_oldest(&mut self, but: SpanId) -> bool {
        let Some(place) = self.recent.iter().position(|id| *id != but) else {
            return false;
        };
        let oldest = self.recent.remove(place);
        if let Some(session) = oldest.and_then(|id| self.all.remove(&id)) {
            self.spans -= session.spans.len();
            self.written -= session.written.bytes();
            for span in session.spans.iter() {
                self.by_span.remove(&span.id);
            }
            self.by_span.remove(&session.id);
        }
        true
    }
}
