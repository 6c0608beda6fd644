//! Spans as they are on the wire.

use capspan::trace::Value;
use capspan_testkit::collector::Request;
use capspan_testkit::exported::{Exported, ExportedEvent, ExportedLink, Said};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use prost::Message as _;

/// The spans of a request.
pub(crate) fn spans(request: &Request) -> Vec<Exported> {
    let message = ExportTraceServiceRequest::decode(&*request.body).unwrap();
    let mut all = Vec::new();
    for resource in message.resource_spans {
        let attributes = said(&resource.resource.unwrap().attributes);
        for scope in resource.scope_spans {
            assert_eq!(scope.scope.unwrap().name, "capspan");
            let spans = scope.spans.iter();
            all.extend(spans.map(|span| exported(&attributes["service.name"], span)));
        }
    }
    all
}

fn exported(service: &Value, span: &Span) -> Exported {
    let status = span.status.clone().unwrap();
    assert_ne!(span.flags & SpanFlags::ContextHasIsRemoteMask as u32, 0);
    Exported {
        service: service.as_text().unwrap().to_owned(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        has_remote_parent: span.flags & SpanFlags::ContextIsRemoteMask as u32 != 0,
        flags: span.flags as u8,
        trace_state: span.trace_state.clone(),
        name: span.name.clone(),
        kind: ["", "INTERNAL", "SERVER", "CLIENT"][span.kind as usize],
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status: ["UNSET", "OK", "ERROR"][status.code as usize],
        message: status.message,
        attributes: said(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| ExportedEvent {
                name: event.name.clone(),
                time: event.time_unix_nano,
                attributes: said(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| ExportedLink {
                trace_id: hex(&link.trace_id),
                span_id: hex(&link.span_id),
                trace_state: link.trace_state.clone(),
                flags: link.flags as u8,
                attributes: said(&link.attributes),
            })
            .collect(),
        dropped: [
            span.dropped_attributes_count,
            span.dropped_events_count,
            span.dropped_links_count,
        ],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(attributes: &[KeyValue]) -> Said {
    let said: Said = attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), value(attribute.value.as_ref())))
        .collect();
    assert_eq!(said.len(), attributes.len(), "a key stands twice");
    said
}

fn value(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()).unwrap() {
        any_value::Value::StringValue(text) => text.into(),
        any_value::Value::BoolValue(is) => (*is).into(),
        any_value::Value::IntValue(number) => (*number).into(),
        any_value::Value::DoubleValue(number) => (*number).into(),
        any_value::Value::ArrayValue(list) => {
            let elements = list.values.iter().map(|element| self::value(Some(element)));
            let elements: Vec<_> = elements.collect();
            match elements.first() {
                None => Value::TextList(Vec::new()),
                Some(Value::Text(_)) => Value::TextList(all(elements, |it| match it {
                    Value::Text(text) => Some(text),
                    _ => None,
                })),
                Some(Value::Bool(_)) => Value::BoolList(all(elements, |it| match it {
                    Value::Bool(is) => Some(is),
                    _ => None,
                })),
                Some(Value::Int(_)) => Value::IntList(all(elements, |it| match it {
                    Value::Int(number) => Some(number),
                    _ => None,
                })),
                _ => Value::FloatList(all(elements, |it| match it {
                    Value::Float(number) => Some(number),
                    _ => None,
                })),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// All of one kind.
fn all<T>(elements: Vec<Value>, of_kind: impl Fn(Value) -> Option<T>) -> Vec<T> {
    elements
        .into_iter()
        .map(|element| of_kind(element).unwrap())
        .collect()
}
