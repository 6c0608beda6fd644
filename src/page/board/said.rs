//! What is written on a session's span, as much as is kept of it.

use crate::page::view::{EventView, Said, TEXT_BYTES, cut};
use crate::trace::{Attribute, SpanRecord, Value};

/// How many attributes are kept.
const MAX_ATTRIBUTES: usize = 64;

/// How many events are kept, and how many attributes of each.
const MAX_EVENTS: usize = 32;
const MAX_EVENT_ATTRIBUTES: usize = 8;

/// The attributes that may say where the peer is, the best ones first: its address, and its port.
const ADDRESSES: [(&str, &str); 3] = [
    ("network.peer.address", "network.peer.port"),
    ("client.address", "client.port"),
    ("server.address", "server.port"),
];

/// The process of a peer on this machine.
const PEER_PROCESS: &str = "capspan.peer.pid";

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

    /// Who the peer is, where that is said by who knows it.
    pub(super) fn peer(&self) -> Option<Box<str>> {
        let mut addresses = ADDRESSES.iter().filter_map(|(address, port)| {
            let address = self.said_here(address)?;
            Some(match self.said_here(port) {
                None => address.into(),
                Some(port) if address.contains(':') => format!("[{address}]:{port}"),
                Some(port) => format!("{address}:{port}"),
            })
        });
        let process = || Some(format!("pid {}", self.said_here(PEER_PROCESS)?));
        addresses
            .next()
            .or_else(process)
            .map(String::into_boxed_str)
    }

    /// What stands under `key`, if not the callee has written it.
    fn said_here(&self, key: &str) -> Option<&str> {
        let said = self.attributes.iter().find(|said| &*said.key == key);
        said.filter(|said| !said.by_callee).map(|said| &*said.value)
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
    fn a_peer_is_an_address_or_a_process() {
        for (attributes, expected) in [
            (&[][..], None),
            (&[("client.address", "a")], Some("a")),
            (
                &[
                    ("network.peer.port", "7"),
                    ("network.peer.address", "10.0.0.1"),
                ],
                Some("10.0.0.1:7"),
            ),
            (
                &[("network.peer.address", "::1"), ("network.peer.port", "7")],
                Some("[::1]:7"),
            ),
            (&[("capspan.peer.pid", "12")], Some("pid 12")),
        ] {
            let said = attributes.iter().map(|(key, value)| Said {
                key: (*key).into(),
                value: (*value).into(),
                by_callee: false,
            });
            let mut written = Written {
                attributes: said.collect(),
                ..Written::default()
            };
            assert_eq!(written.peer().as_deref(), expected);
            for said in &mut written.attributes {
                said.by_callee = true;
            }
            assert_eq!(
                written.peer(),
                None,
                "the callee's words are not taken for it"
            );
        }
    }

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
