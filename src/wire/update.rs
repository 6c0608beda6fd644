//! Updates of spans, on their way and when they came in.

use capnp::struct_list;

use super::{
    MAX_ELEMENTS, MAX_TEXT_BYTES, read_context, read_text, read_time, write_context, write_time,
};
use crate::trace::{Attribute, Dropped, SpanEvent, SpanStatus, SpanUpdate, Value};
use crate::trace_capnp;

/// About how many bytes of an update are sent: a peer must be able to read it in one message.
const MAX_UPDATE_BYTES: usize = 1024 * 1024;

/// What an element counts beside what is in it.
const ENTRY: usize = 32;

/// An update that came in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedUpdate {
    /// What could be read of it.
    pub update: SpanUpdate,
    /// What could not, by what it is; and what its author says that it left out.
    pub dropped: Dropped,
}

/// Writes `update`. What is more than is sent at once is left out, and the count of it goes along.
pub fn write_update(update: &SpanUpdate, to: trace_capnp::span_update::Builder<'_>) {
    write_update_and(update, 0, to);
}

/// Writes `update`, and that `unsent` things were left out before.
pub(crate) fn write_update_and(
    update: &SpanUpdate,
    unsent: u32,
    mut to: trace_capnp::span_update::Builder<'_>,
) {
    let mut out = Out {
        room: MAX_UPDATE_BYTES,
        unsent,
    };
    if let Some(name) = &update.name {
        to.set_name(out.cut(name));
    }
    match &update.status {
        None | Some(SpanStatus::Unset) => {}
        Some(SpanStatus::Ok) => to.set_status(trace_capnp::SpanStatus::Ok),
        Some(SpanStatus::Error(message)) => {
            to.set_status(trace_capnp::SpanStatus::Error);
            to.set_status_message(out.cut(message));
        }
    }
    let attributes = out.fitting(&update.attributes, size_of_attribute);
    if !attributes.is_empty() {
        let list = to.reborrow().init_attributes(length(&attributes));
        out.write_attributes(&attributes, list);
    }
    let events = out.fitting(&update.events, size_of_event);
    if !events.is_empty() {
        let mut list = to.reborrow().init_events(length(&events));
        for (index, event) in (0..MAX_ELEMENTS).zip(events) {
            out.write_event(event, list.reborrow().get(index));
        }
    }
    let links = out.fitting(&update.links, |link| {
        ENTRY + link.trace_state().as_str().len()
    });
    if !links.is_empty() {
        let mut list = to.reborrow().init_links(length(&links));
        for (index, link) in (0..MAX_ELEMENTS).zip(links) {
            write_context(link, list.reborrow().get(index));
        }
    }
    to.set_unsent(out.unsent);
}

/// About how many bytes an update takes on the wire.
pub(crate) fn size_of_update(update: &SpanUpdate) -> usize {
    let attributes = update.attributes.iter().map(size_of_attribute);
    let events = update.events.iter().map(size_of_event);
    attributes.chain(events).sum()
}

/// What is being written.
#[derive(Default)]
struct Out {
    /// How many bytes may follow.
    room: usize,
    /// How much was left out.
    unsent: u32,
}

impl Out {
    /// Those elements of a list for which there is room.
    fn fitting<'a, T>(&mut self, list: &'a [T], size: impl Fn(&T) -> usize) -> Vec<&'a T> {
        let mut fitting = Vec::with_capacity(list.len().min(MAX_ELEMENTS as usize));
        for element in list {
            match self.room.checked_sub(size(element)) {
                Some(room) if fitting.len() < MAX_ELEMENTS as usize => {
                    self.room = room;
                    fitting.push(element);
                }
                _ => add(&mut self.unsent, 1),
            }
        }
        fitting
    }

    /// As much of a text of ours as is sent.
    fn cut<'a>(&mut self, text: &'a str) -> &'a str {
        let cut = cut(text);
        add(&mut self.unsent, u32::from(cut.len() < text.len()));
        cut
    }

    /// How long a list of ours is on the wire.
    fn cut_list<T>(&mut self, list: &[T]) -> u32 {
        let length = length(list);
        add(&mut self.unsent, u32::from(list.len() > length as usize));
        length
    }

    fn write_event(&mut self, event: &SpanEvent, mut to: trace_capnp::span_event::Builder<'_>) {
        to.set_name(self.cut(&event.name));
        to.set_time_unix_nano(write_time(event.time));
        let length = self.cut_list(&event.attributes);
        if length > 0 {
            let attributes: Vec<_> = event.attributes.iter().take(length as usize).collect();
            self.write_attributes(&attributes, to.init_attributes(length));
        }
    }

    fn write_attributes(
        &mut self,
        attributes: &[&Attribute],
        mut to: struct_list::Builder<'_, trace_capnp::attribute::Owned>,
    ) {
        for (index, attribute) in (0..MAX_ELEMENTS).zip(attributes) {
            let mut entry = to.reborrow().get(index);
            entry.set_key(self.cut(&attribute.key));
            self.write_value(&attribute.value, entry.init_value());
        }
    }

    fn write_value(&mut self, value: &Value, mut to: trace_capnp::value::Builder<'_>) {
        match value {
            Value::Text(text) => to.set_text(self.cut(text)),
            Value::Bool(value) => to.set_bool(*value),
            Value::Int(value) => to.set_int64(*value),
            Value::Float(value) => to.set_float64(*value),
            Value::TextList(list) => {
                let mut to = to.init_text_list(self.cut_list(list));
                for (index, text) in (0..MAX_ELEMENTS).zip(list) {
                    to.set(index, self.cut(text));
                }
            }
            Value::BoolList(list) => {
                let mut to = to.init_bool_list(self.cut_list(list));
                for (index, value) in (0..MAX_ELEMENTS).zip(list) {
                    to.set(index, *value);
                }
            }
            Value::IntList(list) => {
                let mut to = to.init_int64_list(self.cut_list(list));
                for (index, value) in (0..MAX_ELEMENTS).zip(list) {
                    to.set(index, *value);
                }
            }
            Value::FloatList(list) => {
                let mut to = to.init_float64_list(self.cut_list(list));
                for (index, value) in (0..MAX_ELEMENTS).zip(list) {
                    to.set(index, *value);
                }
            }
        }
    }
}

fn size_of_attribute(attribute: &Attribute) -> usize {
    let elements = |length: usize| length.min(MAX_ELEMENTS as usize);
    let value = match &attribute.value {
        Value::Text(text) => size_of_text(text),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::TextList(list) => {
            let sent = &list[..elements(list.len())];
            sent.iter().map(|text| 8 + size_of_text(text)).sum()
        }
        Value::BoolList(list) => elements(list.len()) / 8,
        Value::IntList(list) => 8 * elements(list.len()),
        Value::FloatList(list) => 8 * elements(list.len()),
    };
    ENTRY + size_of_text(&attribute.key) + value
}

fn size_of_event(event: &SpanEvent) -> usize {
    let attributes = event.attributes.iter().take(MAX_ELEMENTS as usize);
    let attributes: usize = attributes.map(size_of_attribute).sum();
    ENTRY + size_of_text(&event.name) + attributes
}

fn size_of_text(text: &str) -> usize {
    text.len().min(MAX_TEXT_BYTES)
}

/// As much of a text of ours as is sent.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

/// Writes an event by itself.
pub(super) fn write_event(event: &SpanEvent, to: trace_capnp::span_event::Builder<'_>) {
    Out::default().write_event(event, to);
}

/// Writes attributes by themselves.
pub(super) fn write_attributes(
    attributes: &[Attribute],
    to: struct_list::Builder<'_, trace_capnp::attribute::Owned>,
) {
    let attributes: Vec<_> = attributes.iter().take(MAX_ELEMENTS as usize).collect();
    Out::default().write_attributes(&attributes, to);
}

pub(super) fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).map_or(MAX_ELEMENTS, |length| length.min(MAX_ELEMENTS))
}

/// Reads an update.
pub fn read_update(from: trace_capnp::span_update::Reader<'_>) -> ReceivedUpdate {
    let mut received = ReceivedUpdate::default();
    let ReceivedUpdate { update, dropped } = &mut received;
    dropped.unsent = from.get_unsent();
    if from.has_name() {
        match read_text(from.get_name()) {
            Some("") => {}
            Some(name) => update.name = Some(name.into()),
            None => add(&mut dropped.cut_names, 1),
        }
    }
    let attributes = from.get_attributes();
    update.attributes =
        read_attributes(attributes, &mut dropped.attributes, &mut dropped.cut_values);
    for event in elements(from.get_events(), &mut dropped.events) {
        match read_event(event, dropped) {
            Some(event) => update.events.push(event),
            None => add(&mut dropped.events, 1),
        }
    }
    for link in elements(from.get_links(), &mut dropped.links) {
        match read_context(link) {
            Some(link) => update.links.push(link),
            None => add(&mut dropped.links, 1),
        }
    }
    update.status = match from.get_status() {
        Ok(trace_capnp::SpanStatus::Unset) => None,
        Ok(trace_capnp::SpanStatus::Ok) => Some(SpanStatus::Ok),
        Ok(trace_capnp::SpanStatus::Error) => {
            let message = read_text(from.get_status_message()).unwrap_or_else(|| {
                add(&mut dropped.cut_values, 1);
                ""
            });
            Some(SpanStatus::error(message))
        }
        Err(capnp::NotInSchema(_)) => {
            add(&mut dropped.refused, 1);
            None
        }
    };
    received
}

/// The elements of a list that are looked at; the rest is counted, and so is a list that can't be read.
fn elements<'a, T: capnp::traits::OwnedStruct>(
    from: capnp::Result<struct_list::Reader<'a, T>>,
    dropped: &mut u32,
) -> impl Iterator<Item = T::Reader<'a>> + use<'a, T> {
    let list = from.inspect_err(|_| add(dropped, 1)).ok();
    let length = list.as_ref().map_or(0, |list| list.len());
    add(dropped, length.saturating_sub(MAX_ELEMENTS));
    let list = list.into_iter().flatten();
    list.take(MAX_ELEMENTS as usize)
}

pub(super) fn read_event(
    from: trace_capnp::span_event::Reader<'_>,
    dropped: &mut Dropped,
) -> Option<SpanEvent> {
    let name = read_text(from.get_name())?;
    let mut event = SpanEvent::new(name);
    event.time = read_time(from.get_time_unix_nano());
    event.attributes = read_attributes(
        from.get_attributes(),
        &mut dropped.event_attributes,
        &mut dropped.cut_values,
    );
    Some(event)
}

pub(super) fn read_attributes(
    from: capnp::Result<struct_list::Reader<'_, trace_capnp::attribute::Owned>>,
    dropped: &mut u32,
    cut: &mut u32,
) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    for entry in elements(from, dropped) {
        let key = read_text(entry.get_key());
        let value = entry.get_value().and_then(|value| read_value(value, cut));
        match (key, value) {
            (Some(key), Ok(value)) => attributes.push(Attribute::new(key, value)),
            _ => add(dropped, 1),
        }
    }
    attributes
}

/// Reads a value; `cut` counts a list that is longer than what is looked at.
fn read_value(from: trace_capnp::value::Reader<'_>, cut: &mut u32) -> capnp::Result<Value> {
    use trace_capnp::value;
    let mut elements = |length: u32| {
        add(cut, u32::from(length > MAX_ELEMENTS));
        0..length.min(MAX_ELEMENTS)
    };
    Ok(match from.which()? {
        value::Text(text) => Value::Text(text?.to_str()?.into()),
        value::Bool(value) => Value::Bool(value),
        value::Int64(value) => Value::Int(value),
        value::Float64(value) => Value::Float(value),
        value::TextList(list) => {
            let list = list?;
            let texts = elements(list.len()).map(|index| Ok(list.get(index)?.to_str()?.into()));
            Value::TextList(texts.collect::<capnp::Result<_>>()?)
        }
        value::BoolList(list) => {
            let list = list?;
            Value::BoolList(elements(list.len()).map(|index| list.get(index)).collect())
        }
        value::Int64List(list) => {
            let list = list?;
            Value::IntList(elements(list.len()).map(|index| list.get(index)).collect())
        }
        value::Float64List(list) => {
            let list = list?;
            Value::FloatList(elements(list.len()).map(|index| list.get(index)).collect())
        }
    })
}

pub(super) fn add(counter: &mut u32, more: u32) {
    *counter = counter.saturating_add(more);
}
