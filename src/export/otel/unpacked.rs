//! A record in the worker's thread, taken apart again.

use super::packed::{Head, Packed, Part, Status, What};
use crate::trace::{SpanId, Timestamp, TraceFlags, TraceId, Value};

/// What a record said, in values of its own.
pub(super) struct Unpacked {
    pub(super) head: Head,
    /// Of a late update: only if there is to be another one.
    pub(super) name: Option<String>,
    pub(super) original_name: Option<String>,
    pub(super) set_by_callee: Vec<Box<str>>,
    pub(super) trace_state: String,
    /// The message, if it is an error.
    pub(super) message: String,
    pub(super) attributes: Vec<(String, Value)>,
    pub(super) events: Vec<Event>,
    pub(super) links: Vec<Link>,
}

pub(super) struct Event {
    pub(super) name: String,
    pub(super) time: Timestamp,
    pub(super) by_callee: bool,
    pub(super) attributes: Vec<(String, Value)>,
}

pub(super) struct Link {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) flags: Option<TraceFlags>,
    pub(super) trace_state: String,
    pub(super) by_callee: bool,
}

impl Unpacked {
    pub(super) fn of(packed: &Packed) -> Self {
        let head = packed.head;
        let (has_name, is_renamed) = match head.what {
            What::Span(span) => (true, span.is_renamed),
            What::Late { has_name, .. } => (has_name, false),
        };
        let mut reader = Reader {
            text: &packed.text,
            parts: packed.parts.iter(),
        };
        let _service = reader.text();
        Self {
            head,
            name: has_name.then(|| reader.text().to_owned()),
            original_name: is_renamed.then(|| reader.text().to_owned()),
            set_by_callee: reader.times(head.set_by_callee as usize, |reader| reader.text().into()),
            trace_state: reader.text().to_owned(),
            message: match head.status {
                Status::Error => reader.text().to_owned(),
                Status::Unset | Status::Ok => String::new(),
            },
            attributes: reader.attributes(head.attributes as usize),
            events: reader.times(head.events as usize, Reader::event),
            links: reader
                .times(head.links as usize, Reader::link)
                .into_iter()
                .flatten()
                .collect(),
        }
    }
}

/// Reads what a `Packer` has written, in the same order. What does not fit reads as empty: it never happens.
struct Reader<'a> {
    text: &'a str,
    parts: std::slice::Iter<'a, Part>,
}

impl<'a> Reader<'a> {
    fn times<T>(&mut self, count: usize, mut read: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..count).map(|_| read(self)).collect()
    }

    fn part(&mut self) -> Part {
        self.parts.next().copied().unwrap_or(Part::Bool(false))
    }

    fn bytes(&mut self, length: usize) -> &'a str {
        let (text, rest) = self.text.split_at_checked(length).unwrap_or_default();
        self.text = rest;
        text
    }

    fn text(&mut self) -> &'a str {
        match self.part() {
            Part::Text(length) => self.bytes(length),
            _ => "",
        }
    }

    fn bool(&mut self) -> bool {
        matches!(self.part(), Part::Bool(true))
    }

    fn int(&mut self) -> i64 {
        match self.part() {
            Part::Int(number) => number,
            _ => 0,
        }
    }

    fn float(&mut self) -> f64 {
        match self.part() {
            Part::Float(number) => number,
            _ => 0.0,
        }
    }

    fn value(&mut self) -> Value {
        match self.part() {
            Part::Text(length) => Value::Text(self.bytes(length).into()),
            Part::Bool(is) => Value::Bool(is),
            Part::Int(number) => Value::Int(number),
            Part::Float(number) => Value::Float(number),
            Part::Texts(count) => Value::TextList(self.times(count, |reader| reader.text().into())),
            Part::Bools(count) => Value::BoolList(self.times(count, Self::bool)),
            Part::Ints(count) => Value::IntList(self.times(count, Self::int)),
            Part::Floats(count) => Value::FloatList(self.times(count, Self::float)),
        }
    }

    fn attributes(&mut self, count: usize) -> Vec<(String, Value)> {
        self.times(count, |reader| (reader.text().to_owned(), reader.value()))
    }

    fn event(&mut self) -> Event {
        Event {
            name: self.text().to_owned(),
            time: Timestamp::from_unix_nanos(self.int().cast_unsigned()),
            by_callee: self.bool(),
            attributes: {
                let count = match self.part() {
                    Part::Ints(count) => count,
                    _ => 0,
                };
                self.attributes(count)
            },
        }
    }

    fn link(&mut self) -> Option<Link> {
        let trace_state = self.text().to_owned();
        let [high, low, span_id] = [(); 3].map(|()| self.int().cast_unsigned());
        let flags = u8::try_from(self.int()).ok().map(TraceFlags::from_u8);
        Some(Link {
            trace_state,
            flags,
            by_callee: self.bool(),
            // Ids of links are none but these.
            trace_id: TraceId::from_halves(high, low)?,
            span_id: SpanId::from_u64(span_id)?,
        })
    }
}
