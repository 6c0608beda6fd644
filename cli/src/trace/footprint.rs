//! About how much memory a span takes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::records::{Event, LateUpdate, Link, Span};

/// What the allocator adds to each piece.
const PIECE: usize = 16;
/// A node of a B-tree, which has room for eleven and may be half empty.
const NODE: usize = 704;
const IN_NODE: usize = 5;

/// How many bytes `span` takes, rather too many than too few.
pub(super) fn of_span(span: &Span) -> usize {
    let texts = [
        Some(&span.trace_id),
        Some(&span.span_id),
        span.parent_span_id.as_ref(),
        Some(&span.name),
        span.original_name.as_ref(),
        Some(&span.kind),
        Some(&span.service),
        span.outcome.as_ref(),
        span.status.as_ref().map(|status| &status.code),
        span.status.as_ref().map(|status| &status.message),
    ];
    let links = span
        .links
        .iter()
        .map(|link| text(&link.trace_id) + text(&link.span_id));
    size_of::<Span>()
        + texts
            .into_iter()
            .flatten()
            .map(|piece| text(piece))
            .sum::<usize>()
        + members(&span.attributes)
        + span
            .set_by_callee
            .iter()
            .map(|key| size_of::<String>() + text(key))
            .sum::<usize>()
        + span.events.capacity() * size_of::<Event>()
        + span.events.iter().map(of_event).sum::<usize>()
        + span.links.capacity() * size_of::<Link>()
        + links.sum::<usize>()
        + span.dropped.len().div_ceil(IN_NODE) * NODE
        + span.dropped.keys().map(|key| text(key)).sum::<usize>()
}

pub(super) fn of_late(late: &LateUpdate) -> usize {
    let texts = [&late.trace_id, &late.span_id, &late.service];
    size_of::<LateUpdate>()
        + texts.map(|piece| text(piece)).iter().sum::<usize>()
        + of_event(&late.event)
}

fn of_event(event: &Event) -> usize {
    text(&event.name) + members(&event.attributes)
}

fn text(text: &str) -> usize {
    text.len() + PIECE
}

fn members(members: &BTreeMap<String, Value>) -> usize {
    let nodes = members.len().div_ceil(IN_NODE) * NODE;
    nodes
        + members
            .iter()
            .map(|(key, value)| text(key) + of_value(value))
            .sum::<usize>()
}

/// `serde_json` reads no more than 128 levels.
fn of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(piece) => text(piece),
        Value::Array(list) => {
            PIECE + list.capacity() * size_of::<Value>() + list.iter().map(of_value).sum::<usize>()
        }
        Value::Object(object) => {
            let nodes = object.len().div_ceil(IN_NODE) * NODE;
            nodes
                + object
                    .iter()
                    .map(|(key, value)| text(key) + of_value(value))
                    .sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_small_on_a_line_is_counted_as_what_it_takes() {
        let attributes = |value: Value| Span {
            attributes: BTreeMap::from([("a".into(), value)]),
            ..Span::default()
        };
        let plain = of_span(&Span::default());
        assert!(plain >= size_of::<Span>());
        assert!(of_span(&attributes(Value::Null)) >= plain + NODE);
        let many = Value::Array(vec![Value::Array(Vec::new()); 1_000]);
        assert!(of_span(&attributes(many)) >= plain + 1_000 * size_of::<Value>());
        let text = Value::String("x".repeat(5_000));
        assert!(of_span(&attributes(text)) >= plain + 5_000);
    }
}
