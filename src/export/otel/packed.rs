//! A record on its way to the worker's thread: a copy in few pieces, quickly made and taken apart later.

use std::mem::size_of;

use crate::trace::{
    Attributes, Channel, Dropped, EventRecord, LateUpdate, LinkRecord, Outcome, SpanContext,
    SpanId, SpanKind, SpanRecord, SpanRole, SpanStatus, Timestamp, TraceFlags, TraceId, Value,
};

/// A copy of a record. What it says is in two pieces: all texts, one after the other, and the rest in the order
/// in which it is to be read, which `pack` below and [`unpacked`](super::unpacked) agree on.
pub(super) struct Packed {
    pub(super) head: Head,
    pub(super) text: Box<str>,
    pub(super) parts: Box<[Part]>,
}

/// What is always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) what: What,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) flags: Option<TraceFlags>,
    pub(super) channel: Channel,
    pub(super) status: Status,
    pub(super) dropped: Dropped,
    /// Bytes of the service's name, which is the first text.
    pub(super) service: u32,
    pub(super) set_by_callee: u32,
    pub(super) attributes: u32,
    pub(super) events: u32,
    pub(super) links: u32,
}

/// What a record is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// A span that has ended.
    Span(Span),
    /// What was written on it afterwards.
    Late { time: Timestamp, has_name: bool },
}

/// What a span has and a late update has not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) parent: Option<SpanId>,
    pub(super) has_remote_parent: bool,
    pub(super) kind: SpanKind,
    pub(super) role: SpanRole,
    pub(super) outcome: Option<Outcome>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) is_renamed: bool,
    pub(super) full_name_bytes: Option<usize>,
    pub(super) named_by_callee: bool,
    pub(super) status_by_callee: bool,
}

/// A status; the message of an error is among the texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    Unset,
    Ok,
    Error,
}

/// One thing that is said. Lists are followed by their elements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// So many bytes of the text.
    Text(usize),
    Bool(bool),
    Int(i64),
    Float(f64),
    Texts(usize),
    Bools(usize),
    Ints(usize),
    Floats(usize),
}

impl Packed {
    /// The bytes that it takes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.parts.len() * size_of::<Part>()
    }

    /// The service that it is of.
    pub(super) fn service(&self) -> &str {
        self.text
            .get(..self.head.service as usize)
            .unwrap_or_default()
    }

    /// Is it of a span?
    pub(super) fn is_span(&self) -> bool {
        matches!(self.head.what, What::Span(_))
    }
}

/// Makes copies. It keeps its room, so that a copy takes no allocation but those that it consists of.
#[derive(Default)]
pub(super) struct Packer {
    text: String,
    parts: Vec<Part>,
}

impl Packer {
    /// More room than this is given back.
    const MAX_ROOM: usize = 256 * 1024;

    /// Of a span that has ended.
    pub(super) fn span(&mut self, span: &SpanRecord) -> Packed {
        self.text(span.service());
        self.text(span.name());
        if let Some(name) = span.original_name() {
            self.text(name);
        }
        for key in span.set_by_callee() {
            self.text(key);
        }
        let what = What::Span(Span {
            parent: span.parent_span_id(),
            has_remote_parent: span.has_remote_parent(),
            kind: span.kind(),
            role: span.role(),
            outcome: span.outcome(),
            start: span.start(),
            // An observer is told of the end of spans that have one.
            end: span.end().unwrap_or(span.start()),
            is_renamed: span.original_name().is_some(),
            full_name_bytes: span.full_name_bytes(),
            named_by_callee: span.is_named_by_callee(),
            status_by_callee: span.is_status_by_callee(),
        });
        let said = Said {
            context: span.context(),
            status: span.status(),
            attributes: span.attributes(),
            events: span.events(),
            links: span.links(),
        };
        let head = self.rest(what, &said);
        self.finish(Head {
            channel: span.channel(),
            dropped: *span.dropped(),
            service: count(span.service().len()),
            set_by_callee: count(span.set_by_callee().len()),
            ..head
        })
    }

    /// Of what was written on a span after its end.
    pub(super) fn late(&mut self, late: &LateUpdate) -> Packed {
        self.text(late.service());
        if let Some(name) = late.name() {
            self.text(name);
        }
        let what = What::Late {
            time: late.time(),
            has_name: late.name().is_some(),
        };
        let said = Said {
            context: late.context(),
            status: late.status(),
            attributes: late.attributes(),
            events: late.events(),
            links: late.links(),
        };
        let head = self.rest(what, &said);
        self.finish(Head {
            channel: late.channel(),
            dropped: *late.dropped(),
            service: count(late.service().len()),
            ..head
        })
    }

    /// What both have.
    fn rest(&mut self, what: What, said: &Said<'_>) -> Head {
        self.text(said.context.trace_state().as_str());
        let status = match said.status {
            SpanStatus::Unset => Status::Unset,
            SpanStatus::Ok => Status::Ok,
            SpanStatus::Error(message) => {
                self.text(message);
                Status::Error
            }
        };
        self.attributes(said.attributes);
        for event in said.events {
            self.text(event.name());
            self.parts.extend([
                // The same bits again when it is read.
                Part::Int(event.time().unix_nanos().cast_signed()),
                Part::Bool(event.is_by_callee()),
                Part::Ints(event.attributes().len()),
            ]);
            self.attributes(event.attributes());
        }
        for link in said.links {
            let linked = link.context();
            self.text(linked.trace_state().as_str());
            self.parts.extend([
                Part::Int(linked.trace_id().high().cast_signed()),
                Part::Int(linked.trace_id().low().cast_signed()),
                Part::Int(linked.span_id().to_u64().cast_signed()),
                Part::Int(linked.flags().map_or(-1, |flags| flags.to_u8().into())),
                Part::Bool(link.is_by_callee()),
            ]);
        }
        Head {
            what,
            trace_id: said.context.trace_id(),
            span_id: said.context.span_id(),
            flags: said.context.flags(),
            channel: Channel::default(),
            status,
            dropped: Dropped::default(),
            service: 0,
            set_by_callee: 0,
            attributes: count(said.attributes.len()),
            events: count(said.events.len()),
            links: count(said.links.len()),
        }
    }

    fn finish(&mut self, head: Head) -> Packed {
        let packed = Packed {
            head,
            text: self.text.as_str().into(),
            parts: self.parts.as_slice().into(),
        };
        self.text.clear();
        self.parts.clear();
        if self.text.capacity() + self.parts.capacity() * size_of::<Part>() > Self::MAX_ROOM {
            *self = Self::default();
        }
        packed
    }

    fn text(&mut self, text: &str) {
        self.text.push_str(text);
        self.parts.push(Part::Text(text.len()));
    }

    fn attributes(&mut self, attributes: &Attributes) {
        for attribute in attributes {
            self.text(&attribute.key);
            self.value(&attribute.value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.text(text),
            Value::Bool(is) => self.parts.push(Part::Bool(*is)),
            Value::Int(number) => self.parts.push(Part::Int(*number)),
            Value::Float(number) => self.parts.push(Part::Float(*number)),
            Value::TextList(list) => {
                self.parts.push(Part::Texts(list.len()));
                list.iter().for_each(|text| self.text(text));
            }
            Value::BoolList(list) => {
                self.parts.push(Part::Bools(list.len()));
                self.parts.extend(list.iter().copied().map(Part::Bool));
            }
            Value::IntList(list) => {
                self.parts.push(Part::Ints(list.len()));
                self.parts.extend(list.iter().copied().map(Part::Int));
            }
            Value::FloatList(list) => {
                self.parts.push(Part::Floats(list.len()));
                self.parts.extend(list.iter().copied().map(Part::Float));
            }
        }
    }
}

/// What is said of a span, or late.
struct Said<'a> {
    context: &'a SpanContext,
    status: &'a SpanStatus,
    attributes: &'a Attributes,
    events: &'a [EventRecord],
    links: &'a [LinkRecord],
}

/// What has a limit far below.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
