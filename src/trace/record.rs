//! The record of one span: plain data, written by its owner, read by observers.

use std::rc::Rc;

use super::attribute::Attributes;
use super::context::SpanContext;
use super::dropped::{Dropped, count};
use super::ids::{SpanId, TraceId};
use super::limits::cut_text;
use super::outcome::Outcome;
use super::status::SpanStatus;
use super::tracer::Shared;
use super::write::Bytes;
use crate::clock::Timestamp;

/// Who is to see a span. The two travel side by side and never mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The operator of the services.
    Internal,
    /// The tenant whose code runs.
    #[default]
    User,
}

impl Channel {
    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::User => "user",
        }
    }
}

/// On which side of a call a span stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// It calls another service.
    Client,
    /// It answers a call.
    Server,
    /// Neither.
    #[default]
    Internal,
}

impl SpanKind {
    /// Its name, in upper case as in OTLP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "CLIENT",
            Self::Server => "SERVER",
            Self::Internal => "INTERNAL",
        }
    }
}

/// What a span stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanRole {
    /// Some work of a service's: a span that it has opened itself.
    #[default]
    Work,
    /// One side of an event: a session, or one of another kind.
    Event,
    /// One call in an event, whose first name is the interface and the method, as far as they are known.
    Call,
}

impl SpanRole {
    /// Its name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Event => "event",
            Self::Call => "call",
        }
    }
}

/// One event, as it stands on a span.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    pub(super) name: Box<str>,
    pub(super) time: Timestamp,
    pub(super) attributes: Attributes,
    pub(super) by_callee: bool,
}

impl EventRecord {
    /// What happened.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What else there is to say.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Did the callee write it?
    pub fn is_by_callee(&self) -> bool {
        self.by_callee
    }
}

/// One link, as it stands on a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRecord {
    pub(super) context: SpanContext,
    pub(super) by_callee: bool,
}

impl LinkRecord {
    /// The other span: its ids, flags and trace state.
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    /// The trace that the other span is in.
    pub fn trace_id(&self) -> TraceId {
        self.context.trace_id()
    }

    /// The other span.
    pub fn span_id(&self) -> SpanId {
        self.context.span_id()
    }

    /// Did the callee write it?
    pub fn is_by_callee(&self) -> bool {
        self.by_callee
    }
}

/// What is known of one span. Only the handles of the span write to it.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    pub(super) context: SpanContext,
    pub(super) parent_span_id: Option<SpanId>,
    pub(super) has_remote_parent: bool,
    pub(super) channel: Channel,
    pub(super) kind: SpanKind,
    pub(super) role: SpanRole,
    pub(super) outcome: Option<Outcome>,
    pub(super) name: Rc<str>,
    pub(super) service: Rc<str>,
    pub(super) start: Timestamp,
    pub(super) end: Option<Timestamp>,
    /// Of most spans of calls there is nothing more to say.
    details: Option<Box<Details>>,
}

/// What is written on a span beside how it began and ended.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) original_name: Option<Rc<str>>,
    pub(super) full_name_bytes: Option<usize>,
    pub(super) status: SpanStatus,
    pub(super) attributes: Attributes,
    pub(super) set_by_callee: Vec<Box<str>>,
    pub(super) named_by_callee: bool,
    pub(super) status_by_callee: bool,
    pub(super) events: Vec<EventRecord>,
    pub(super) callee_events: usize,
    pub(super) links: Vec<LinkRecord>,
    pub(super) callee_links: usize,
    pub(super) dropped: Dropped,
    /// What counts towards the limit on bytes in all.
    pub(super) bytes: Bytes,
}

impl Details {
    const NONE: Self = Self {
        original_name: None,
        full_name_bytes: None,
        status: SpanStatus::Unset,
        attributes: Attributes::new(),
        set_by_callee: Vec::new(),
        named_by_callee: false,
        status_by_callee: false,
        events: Vec::new(),
        callee_events: 0,
        links: Vec::new(),
        callee_links: 0,
        dropped: Dropped::NONE,
        bytes: Bytes::NONE,
    };
}

/// A name for a span, before it is cut.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    Text(&'a str),
    /// It need not be copied.
    Shared(&'a Rc<str>),
}

impl Name<'_> {
    /// At most `max` bytes of it; how many it had, if it had more.
    fn cut_to(self, max: usize) -> (Rc<str>, Option<usize>) {
        let whole: &str = match self {
            Self::Text(name) => name,
            Self::Shared(name) => name,
        };
        let cut = cut_text(whole, max);
        match self {
            _ if cut.len() < whole.len() => (cut.into(), Some(whole.len())),
            Self::Shared(name) => (name.clone(), None),
            Self::Text(name) => (name.into(), None),
        }
    }
}

impl SpanRecord {
    /// Of a span on which nothing is written yet.
    #[inline]
    pub(super) fn new(
        context: SpanContext,
        tracer: &Shared,
        name: Name<'_>,
        kind: SpanKind,
        start: Timestamp,
    ) -> Self {
        let (name, full_name_bytes) = name.cut_to(tracer.limits.name_bytes);
        let mut record = Self {
            context,
            parent_span_id: None,
            has_remote_parent: false,
            channel: tracer.channel,
            kind,
            role: SpanRole::default(),
            outcome: None,
            name,
            service: tracer.service.clone(),
            start,
            end: None,
            details: None,
        };
        if full_name_bytes.is_some() {
            let details = record.details_mut();
            details.full_name_bytes = full_name_bytes;
            count(&mut details.dropped.cut_names);
        }
        record
    }

    /// What is written on it, to be read.
    pub(super) fn details(&self) -> &Details {
        const NONE: &Details = &Details::NONE;
        self.details.as_deref().unwrap_or(NONE)
    }

    /// The same to be written to.
    pub(super) fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_with(|| Box::new(Details::NONE))
    }

    /// Its ids, flags and trace state.
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    /// The trace that it is in.
    pub fn trace_id(&self) -> TraceId {
        self.context.trace_id()
    }

    /// The span itself.
    pub fn span_id(&self) -> SpanId {
        self.context.span_id()
    }

    /// The span of which it is a child; `None` for the root of a trace.
    pub fn parent_span_id(&self) -> Option<SpanId> {
        self.parent_span_id
    }

    /// Is its parent a span of another process, or of somebody else's tracer?
    pub fn has_remote_parent(&self) -> bool {
        self.has_remote_parent
    }

    /// Who is to see it.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Its name now.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name with which it was opened, if it has been renamed since.
    pub fn original_name(&self) -> Option<&str> {
        self.details().original_name.as_deref()
    }

    /// How many bytes its name had before it was cut; `None` if it was not.
    pub fn full_name_bytes(&self) -> Option<usize> {
        self.details().full_name_bytes
    }

    /// On which side of a call it stands.
    pub fn kind(&self) -> SpanKind {
        self.kind
    }

    /// What it stands for.
    pub fn role(&self) -> SpanRole {
        self.role
    }

    /// Which service, or process, it is a span of.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// When it was opened.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// When it ended, never before its start; `None` while it is open.
    pub fn end(&self) -> Option<Timestamp> {
        self.end
    }

    /// Is it still open?
    pub fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// How it ended, where that has been said.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// What has been said about how the work went.
    pub fn status(&self) -> &SpanStatus {
        &self.details().status
    }

    /// What has been said about it, the callee's words among the owner's.
    pub fn attributes(&self) -> &Attributes {
        &self.details().attributes
    }

    /// The keys of the attributes whose value is the callee's.
    pub fn set_by_callee(&self) -> &[Box<str>] {
        &self.details().set_by_callee
    }

    /// Is its name the callee's?
    pub fn is_named_by_callee(&self) -> bool {
        self.details().named_by_callee
    }

    /// Is its status the callee's?
    pub fn is_status_by_callee(&self) -> bool {
        self.details().status_by_callee
    }

    /// What happened in it, in the order in which it was written.
    pub fn events(&self) -> &[EventRecord] {
        &self.details().events
    }

    /// Other spans that it has to do with.
    pub fn links(&self) -> &[LinkRecord] {
        &self.details().links
    }

    /// What was cut from it or refused.
    pub fn dropped(&self) -> &Dropped {
        &self.details().dropped
    }
}
