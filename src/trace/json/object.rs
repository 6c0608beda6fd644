//! A span record as one JSON object.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::trace::{
    Attributes, Dropped, EventRecord, LateUpdate, LinkRecord, SpanRecord, SpanStatus, Timestamp,
    Value,
};

/// A span as one JSON value: an object with the members that [`JsonLines`](super::JsonLines) writes.
///
/// An object of `serde_json` has its members in alphabetical order, unless the program turns
/// `serde_json`'s feature `preserve_order` on; [`JsonLines`](super::JsonLines) has an order of its own.
///
/// ```
/// # use capspan::trace::{MemoryObserver, SpanKind, Tracer, to_json};
/// let spans = MemoryObserver::new();
/// Tracer::new(spans.clone()).root().start("work", SpanKind::Server).end();
/// assert_eq!(to_json(&spans.closed()[0])["kind"], "SERVER");
/// ```
pub fn to_json(span: &SpanRecord) -> serde_json::Value {
    // Fails only on keys that are no texts and on numbers beyond 64 bits; there are neither.
    serde_json::to_value(Object(span)).unwrap_or_default()
}

/// The one view of a record from which JSON is written.
pub(super) struct Object<'a>(pub(super) &'a SpanRecord);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("traceId", &format_args!("{}", span.trace_id()))?;
        object.serialize_entry("spanId", &format_args!("{}", span.span_id()))?;
        if let Some(parent) = span.parent_span_id() {
            object.serialize_entry("parentSpanId", &format_args!("{parent}"))?;
        }
        object.serialize_entry("name", span.name())?;
        if let Some(name) = span.original_name() {
            object.serialize_entry("originalName", name)?;
        }
        if span.is_named_by_callee() {
            object.serialize_entry("nameByCallee", &true)?;
        }
        object.serialize_entry("kind", span.kind().as_str())?;
        object.serialize_entry("service", span.service())?;
        object.serialize_entry("startTimeUnixNano", &Time(span.start()))?;
        match span.end() {
            Some(end) => object.serialize_entry("endTimeUnixNano", &Time(end))?,
            None => object.serialize_entry("open", &true)?,
        }
        if let Some(outcome) = span.outcome() {
            object.serialize_entry("outcome", outcome.as_str())?;
        }
        if *span.status() != SpanStatus::Unset {
            object.serialize_entry("status", &Status(span.status()))?;
        }
        object.serialize_entry("attributes", &Members(span.attributes()))?;
        object.serialize_entry("setByCallee", span.set_by_callee())?;
        object.serialize_entry("events", &List(span.events().iter().map(Event)))?;
        object.serialize_entry("links", &List(span.links().iter().map(Link)))?;
        object.serialize_entry("dropped", &Counts(span.dropped()))?;
        object.end()
    }
}

/// What was written late, marked by `late`.
pub(super) struct Late<'a>(pub(super) &'a LateUpdate);

impl Serialize for Late<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let late = self.0;
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("traceId", &format_args!("{}", late.trace_id()))?;
        object.serialize_entry("spanId", &format_args!("{}", late.span_id()))?;
        object.serialize_entry("name", "late update")?;
        object.serialize_entry("late", &true)?;
        object.serialize_entry("service", late.service())?;
        object.serialize_entry("timeUnixNano", &Time(late.time()))?;
        if let Some(name) = late.name() {
            object.serialize_entry("newName", name)?;
        }
        if *late.status() != SpanStatus::Unset {
            object.serialize_entry("status", &Status(late.status()))?;
        }
        object.serialize_entry("attributes", &Members(late.attributes()))?;
        object.serialize_entry("events", &List(late.events().iter().map(Event)))?;
        object.serialize_entry("links", &List(late.links().iter().map(Link)))?;
        object.serialize_entry("dropped", &Counts(late.dropped()))?;
        object.end()
    }
}

/// Text, for JSON's numbers can't hold nanoseconds.
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.unix_nanos())
    }
}

struct Status<'a>(&'a SpanStatus);

impl Serialize for Status<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        match self.0 {
            SpanStatus::Unset => {}
            SpanStatus::Ok => object.serialize_entry("code", "OK")?,
            SpanStatus::Error(message) => {
                object.serialize_entry("code", "ERROR")?;
                object.serialize_entry("message", message)?;
            }
        }
        object.end()
    }
}

struct Event<'a>(&'a EventRecord);

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("name", self.0.name())?;
        object.serialize_entry("timeUnixNano", &Time(self.0.time()))?;
        object.serialize_entry("attributes", &Members(self.0.attributes()))?;
        object.serialize_entry("byCallee", &self.0.is_by_callee())?;
        object.end()
    }
}

struct Link<'a>(&'a LinkRecord);

impl Serialize for Link<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        let linked = self.0.context();
        object.serialize_entry("traceId", &format_args!("{}", linked.trace_id()))?;
        object.serialize_entry("spanId", &format_args!("{}", linked.span_id()))?;
        if !linked.trace_state().is_empty() {
            object.serialize_entry("traceState", linked.trace_state().as_str())?;
        }
        if self.0.is_by_callee() {
            object.serialize_entry("byCallee", &true)?;
        }
        object.end()
    }
}

/// Attributes: an object with a member for each.
struct Members<'a>(&'a Attributes);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self.0.iter();
        serializer.collect_map(members.map(|member| (&*member.key, AnyValue(&member.value))))
    }
}

struct AnyValue<'a>(&'a Value);

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => Float(*number).serialize(serializer),
            Value::TextList(list) => serializer.collect_seq(list),
            Value::BoolList(list) => serializer.collect_seq(list),
            Value::IntList(list) => serializer.collect_seq(list),
            Value::FloatList(list) => serializer.collect_seq(list.iter().copied().map(Float)),
        }
    }
}

/// A number that JSON does not know is a text, as in OTLP/JSON.
struct Float(f64);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            number if number.is_nan() => serializer.serialize_str("NaN"),
            number => serializer.serialize_f64(number),
        }
    }
}

/// An object of the counters that are not zero.
struct Counts<'a>(&'a Dropped);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(_, count)| *count > 0))
    }
}

/// A list of what an iterator brings.
struct List<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for List<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tracer::tests::observed;
    use crate::trace::{SpanKind, SpanUpdate};

    #[test]
    fn a_bare_root_has_neither_parent_nor_former_name_nor_outcome() {
        let (tracer, spans, _) = observed();
        drop(tracer.root().start("x", SpanKind::Server));
        let text = serde_json::to_string(&Object(&spans.closed()[0])).unwrap();
        let names: Vec<_> = text
            .split(['{', ','])
            .filter_map(|member| member.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        let wanted = [
            r#""traceId""#,
            r#""spanId""#,
            r#""name""#,
            r#""kind""#,
            r#""service""#,
            r#""startTimeUnixNano""#,
            r#""endTimeUnixNano""#,
            r#""attributes""#,
            r#""setByCallee""#,
            r#""events""#,
            r#""links""#,
            r#""dropped""#,
        ];
        assert_eq!(names, wanted, "{text}");
    }

    #[test]
    fn a_value_has_the_members_of_the_line() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("x", SpanKind::Server);
        span.set_attribute("k", ["a", "b"]).add_event("e");
        drop(span);
        let line = serde_json::to_string(&Object(&spans.closed()[0])).unwrap();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(to_json(&spans.closed()[0]), read);
        assert!(read.is_object());
    }

    #[test]
    fn a_name_is_marked_as_the_callees_only_while_it_is() {
        let (tracer, spans, _) = observed();
        let span = tracer.root().start("x", SpanKind::Server);
        let mark = || to_json(&spans.open()[0]).get("nameByCallee").cloned();
        assert_eq!(mark(), None);
        span.downgrade().enrich(&SpanUpdate::new().name("y"));
        assert_eq!(mark(), Some(true.into()));
        span.set_name("z");
        assert_eq!(mark(), None);
    }

    #[test]
    fn numbers_that_json_does_not_know_are_texts() {
        let text = |value: Value| serde_json::to_string(&AnyValue(&value)).unwrap();
        let numbers = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0];
        assert_eq!(
            text(Value::from(numbers)),
            r#"["NaN","NaN","Infinity","-Infinity",1.0]"#
        );
        assert_eq!(text(Value::from(i64::MIN)), "-9223372036854775808");
    }
}
