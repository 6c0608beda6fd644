//! What a board says of one session.

use std::time::Duration;

use crate::trace::{Outcome, SpanId, SpanKind, SpanRole, Timestamp, TraceId};

pub(in crate::page) struct SessionView {
    pub(in crate::page) id: SpanId,
    pub(in crate::page) trace_id: TraceId,
    pub(in crate::page) parent: Option<SpanId>,
    /// The session that its parent belongs to, where the board knows one.
    pub(in crate::page) part_of: Option<SpanId>,
    pub(in crate::page) name: String,
    pub(in crate::page) service: String,
    pub(in crate::page) peer: Option<String>,
    pub(in crate::page) side: SpanKind,
    pub(in crate::page) start: Timestamp,
    /// How long it has been open, or was.
    pub(in crate::page) took: Duration,
    pub(in crate::page) is_open: bool,
    pub(in crate::page) outcome: Option<Outcome>,
    pub(in crate::page) why: Option<String>,
    pub(in crate::page) attributes: Vec<Said>,
    pub(in crate::page) attributes_left_out: usize,
    pub(in crate::page) events: Vec<EventView>,
    pub(in crate::page) events_left_out: usize,
    /// In the order of a tree.
    pub(in crate::page) spans: Vec<SpanView>,
    /// Those that there were and are not kept.
    pub(in crate::page) spans_left_out: u64,
    /// `None` where it is over, or nobody looks.
    pub(in crate::page) live: Option<LiveView>,
}

/// An attribute.
#[derive(Clone)]
pub(in crate::page) struct Said {
    pub(in crate::page) key: Box<str>,
    pub(in crate::page) value: Box<str>,
    pub(in crate::page) by_callee: bool,
}

#[derive(Clone)]
pub(in crate::page) struct EventView {
    pub(in crate::page) name: Box<str>,
    pub(in crate::page) time: Timestamp,
    pub(in crate::page) attributes: Vec<Said>,
    pub(in crate::page) by_callee: bool,
}

/// A call in the session, or other work in it.
pub(in crate::page) struct SpanView {
    pub(in crate::page) id: SpanId,
    pub(in crate::page) depth: usize,
    pub(in crate::page) name: String,
    pub(in crate::page) side: SpanKind,
    pub(in crate::page) role: SpanRole,
    /// Since the beginning of the session.
    pub(in crate::page) after: Duration,
    pub(in crate::page) took: Duration,
    pub(in crate::page) is_open: bool,
    pub(in crate::page) outcome: Option<Outcome>,
    pub(in crate::page) why: Option<String>,
}

/// What is alive in an open session.
pub(in crate::page) struct LiveView {
    pub(in crate::page) calls: usize,
    pub(in crate::page) background: usize,
    /// Those that are old and have few calls first, as many as are shown.
    pub(in crate::page) capabilities: Vec<CapabilityView>,
    pub(in crate::page) capability_count: usize,
}

pub(in crate::page) struct CapabilityView {
    pub(in crate::page) number: u64,
    /// This side's, and held by the other?
    pub(in crate::page) is_ours: bool,
    /// `None` for the session's first.
    pub(in crate::page) introduced: Option<Introduced>,
    pub(in crate::page) held: Option<Duration>,
    pub(in crate::page) calls: u64,
    pub(in crate::page) last_call: Option<String>,
}

/// The call in which a capability came.
pub(in crate::page) struct Introduced {
    pub(in crate::page) method: String,
    pub(in crate::page) in_results: bool,
    pub(in crate::page) span: Option<SpanId>,
}
