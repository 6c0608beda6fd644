//! What a board says when the page asks.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use super::State;
use super::session::Session;
use super::sessions::Sessions;
use super::spans::Span;
use crate::page::query::Query;
use crate::page::view::{
    CapabilityView, Introduced, Kept, LeftOut, Limits, LiveView, MAX_SHOWN, OpenRow, Overview,
    SessionView, SpanView,
};
use crate::session::{LiveCapability, LiveEvent};
use crate::trace::{SpanId, Timestamp};

/// How many capabilities of one session are shown.
const MAX_CAPABILITIES_SHOWN: usize = 500;

impl State {
    /// Of all that it has seen.
    pub(in crate::page) fn overview(&self, query: &Query) -> Overview {
        let now = self.now();
        let live = self.live.events();
        let sessions = self.sessions.borrow();
        let mut open = open_rows(&live, &sessions, now);
        let mut view = Overview {
            open_count: open.len(),
            calls: open.iter().map(|row| row.calls).sum(),
            capabilities: open.iter().map(|row| row.capabilities).sum(),
            begun: self.live.begun(),
            refused: self.refusals.borrow().total(),
            left_out: self.left_out(),
            ..Overview::default()
        };
        open.retain(|row| query.matches_open(row));
        view.open_matching = open.len();
        query.sort_open(&mut open);
        open.truncate(MAX_SHOWN);
        view.open = open.iter().map(OpenRow::to_shown).collect();

        view.outcomes = sessions.outcomes();
        view.begun = view
            .begun
            .max(view.outcomes.ended() + sessions.kept().open as u64);
        let recent = sessions.recent().map(|session| session.recent_row(now));
        view.recent = recent.filter(|row| query.matches_recent(row)).collect();
        let mut methods = self.methods.borrow().rows();
        methods.retain(|row| query.matches_method(row));
        view.methods = methods;
        view
    }

    /// Of one session, if it knows that.
    pub(in crate::page) fn session(&self, id: SpanId) -> Option<SessionView> {
        let now = self.now();
        let live = self.live.events();
        let live = live
            .iter()
            .find(|event| event.span_ids().contains(&Some(id)));
        let live = live.map(|event| self.live_view(event, now));
        let sessions = self.sessions.borrow();
        let session = sessions.get(id)?;
        let parent = session.parent.filter(|parent| *parent != id);
        Some(SessionView {
            id,
            trace_id: session.trace_id,
            parent: session.parent,
            part_of: parent.and_then(|parent| sessions.containing(parent)),
            name: session.name.to_string(),
            service: session.service.to_string(),
            peer: session.peer.as_deref().map(str::to_owned),
            side: session.kind,
            start: session.start,
            took: session.took(now),
            is_open: session.end.is_none(),
            outcome: session.outcome,
            why: session.why.as_deref().map(str::to_owned),
            attributes: session.written.attributes.clone(),
            attributes_left_out: session.written.attributes_left_out,
            events: session.written.events.clone(),
            events_left_out: session.written.events_left_out,
            spans: tree(session, now),
            spans_left_out: session.spans.left_out(),
            live,
        })
    }

    /// Of what was refused, and of what it could not keep.
    pub(in crate::page) fn limits(&self) -> Limits {
        let now = self.now();
        let refusals = self.refusals.borrow();
        Limits {
            refused: refusals.counts(),
            last: refusals.last(now),
            kept: Kept {
                methods: self.methods.borrow().len(),
                ..self.sessions.borrow().kept()
            },
            left_out: self.left_out(),
        }
    }

    fn left_out(&self) -> LeftOut {
        LeftOut {
            calls: self.methods.borrow().others_count(),
            ..self.sessions.borrow().left_out()
        }
    }

    fn live_view(&self, event: &LiveEvent, now: Timestamp) -> LiveView {
        let mut capabilities = event.capabilities();
        let capability_count = capabilities.len();
        // The suspects first: held for long, and seldom called.
        capabilities.sort_by_key(|capability| {
            let held = capability.since().map(|since| now.duration_since(since));
            let held = held.unwrap_or(Duration::ZERO).as_nanos();
            Reverse(held / (1 + u128::from(capability.calls())))
        });
        capabilities.truncate(MAX_CAPABILITIES_SHOWN);
        let shown = capabilities.iter();
        LiveView {
            calls: event.calls(),
            background: event.background_work(),
            capabilities: shown.map(|one| self.capability_view(one, now)).collect(),
            capability_count,
        }
    }

    fn capability_view(&self, capability: &LiveCapability, now: Timestamp) -> CapabilityView {
        CapabilityView {
            number: capability.number(),
            is_ours: capability.is_ours(),
            introduced: capability.introduced_by().map(|by| Introduced {
                method: self.method_name((by.interface_id, by.method_id)),
                in_results: by.in_results,
                span: capability.introduced_in().map(|span| span.span_id()),
            }),
            held: capability.since().map(|since| now.duration_since(since)),
            calls: capability.calls(),
            last_call: capability.last_call().map(|call| self.method_name(call)),
        }
    }
}

/// Those that are under way, and those of which only the spans are known.
fn open_rows<'a>(
    live: &[LiveEvent],
    sessions: &'a Sessions,
    now: Timestamp,
) -> Vec<OpenRow<&'a str>> {
    let mut seen = HashSet::with_capacity_and_hasher(live.len(), FxBuildHasher);
    let mut rows = Vec::with_capacity(live.len());
    for event in live {
        let known = event.span_ids().into_iter().flatten();
        let session = known.filter_map(|id| sessions.get(id)).next();
        seen.extend(session.map(|session| session.id));
        rows.push(OpenRow {
            calls: event.calls(),
            capabilities: event.count_capabilities(true) + event.count_capabilities(false),
            ..match session {
                Some(session) => open_row(session, now),
                None => unobserved_row(event),
            }
        });
    }
    let others = sessions.open().filter(|open| !seen.contains(&open.id));
    rows.extend(others.map(|session| open_row(session, now)));
    rows
}

fn open_row(session: &Session, now: Timestamp) -> OpenRow<&str> {
    OpenRow {
        id: Some(session.id),
        name: &session.name,
        peer: session.peer.as_deref(),
        side: Some(session.kind),
        age: Some(session.took(now)),
        calls: session.open_spans,
        capabilities: 0,
    }
}

/// Of one that nobody has told the board of.
fn unobserved_row<'a>(event: &LiveEvent) -> OpenRow<&'a str> {
    OpenRow {
        id: None,
        name: match event.is_session() {
            true => "a session that is not observed",
            false => "an event that is not observed",
        },
        peer: None,
        side: event.side(),
        age: None,
        calls: 0,
        capabilities: 0,
    }
}

/// The spans of a session, each below its parent.
fn tree(session: &Session, now: Timestamp) -> Vec<SpanView> {
    let mut children: HashMap<SpanId, Vec<&Span>> = HashMap::new();
    let known: HashSet<SpanId> = session.spans.iter().map(|span| span.id).collect();
    for span in session.spans.iter() {
        let parent = span.parent.filter(|parent| known.contains(parent));
        // One whose parent is not kept stands below the session itself.
        let parent = parent.unwrap_or(session.id);
        children.entry(parent).or_default().push(span);
    }
    let mut views = Vec::with_capacity(known.len());
    // Walked with a list of its own: a peer chooses how deep it is.
    let mut next = Vec::new();
    let mut parent = Some((session.id, 0));
    while let Some((id, depth)) = parent {
        let below = children.remove(&id).unwrap_or_default();
        next.extend(below.into_iter().rev().map(|span| (span, depth + 1)));
        parent = next.pop().map(|(span, depth)| {
            views.push(span_view(span, depth, session, now));
            (span.id, depth)
        });
    }
    views
}

fn span_view(span: &Span, depth: usize, session: &Session, now: Timestamp) -> SpanView {
    SpanView {
        id: span.id,
        depth,
        name: span.name.to_string(),
        side: span.kind,
        role: span.role,
        after: span.start.duration_since(session.start),
        took: span.end.unwrap_or(now).duration_since(span.start),
        is_open: span.end.is_none(),
        outcome: span.outcome,
        why: span.why.as_deref().map(str::to_owned),
    }
}
