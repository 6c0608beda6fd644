//! What is written on a session's span, as much as is kept of it.

use crate::page::view::{EventView, Said, TEXT_BYTES, cut};
use crate::trace::{Attribute, SpanRecord, Value};

/// How many attributes are kept.
const MAX_ATTRIBUTES: usize = 64;

/// How many events are kept, and how many attributes of each.
const MAX_EVENTS: usize = 32;
const MAX_EVENT_ATTRIBUTES: usize = 8;

/// The attributes that may say who the peer is, the best one first.
const PEERS: [&str; 4] = [
    "network.peer.address",
    "client.address",
    "server.address",
    "peer",
];

#[derive(Default)]
pub(super) struct Written {
    pub(super) attributes: Vec<Said>,
    pub(super) attributes_left_out: usize,
    pub(super) events: Vec<EventView>,
    pub(super) events_left_out: usize,
}

impl Written {
    pub(super) fn of(span: &SpanRecord) -> Self {
        let by_callee = span.set_by_callee();
        let attributes = span.attributes().iter().take(MAX_ATTRIBUTES);
        let attributes = attributes.map(|attribute| {
            let is_by_callee = by_callee.contains(&attribute.key);
            said(attribute, is_by_callee)
        });
        let events = span.events().iter().take(MAX_EVENTS);
        let events = events.map(|event| EventView {
            name: cut(event.name(), TEXT_BYTES).into(),
            time: event.time(),
            attributes: {
                let first = event.attributes().iter().take(MAX_EVENT_ATTRIBUTES);
                first.map(|attribute| said(attribute, false)).collect()
            },
            by_callee: event.is_by_callee(),
        });
        Self {
            attributes: attributes.collect(),
            attributes_left_out: span.attributes().len().saturating_sub(MAX_ATTRIBUTES),
            events: events.collect(),
            events_left_out: span.events().len().saturating_sub(MAX_EVENTS),
        }
    }

    /// Who the peer is, where that is said.
    pub(super) fn peer(&self) -> Option<&str> {
        let mut said = PEERS.iter().filter_map(|key| {
            let attribute = self.attributes.iter().find(|said| &*said.key == *key);
            attribute.filter(|said| !said.by_callee)
        });
        said.next().map(|said| &*said.value)
    }
}

fn said(attribute: &Attribute, by_callee: bool) -> Said {
    Said {
        key: cut(&attribute.key, TEXT_BYTES).into(),
        value: text(&attribute.value).into_boxed_str(),
        by_callee,
    }
}

/// A value for people.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => cut(text, TEXT_BYTES).into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::TextList(list) => joined(list.iter().map(|text| cut(text, TEXT_BYTES))),
        Value::BoolList(list) => joined(list.iter()),
        Value::IntList(list) => joined(list.iter()),
        Value::FloatList(list) => joined(list.iter()),
    }
}

/// As many as there is room for.
fn joined(values: impl Iterator<Item = impl ToString>) -> String {
    let mut all = String::new();
    for value in values {
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value.to_string());
        if all.len() > TEXT_BYTES {
            all.truncate(all.floor_char_boundary(TEXT_BYTES));
            all.push('…');
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_as_people_write_it_and_cut() {
        assert_eq!(text(&Value::from([1_i64, 2])), "1, 2");
        assert_eq!(text(&Value::from(true)), "true");
        let long = "ä".repeat(10_000);
        assert_eq!(text(&Value::from(long.as_str())).len(), TEXT_BYTES);
        let list = text(&Value::TextList(vec![long.into(); 1_000]));
        assert!(list.len() <= TEXT_BYTES + '…'.len_utf8() && list.ends_with('…'));
    }
}
