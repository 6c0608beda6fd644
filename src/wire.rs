//! The only place where generated types become values of [`trace`](crate::trace), and back; and what
//! other values have in common on their way, texts and times.
//!
//! What is read comes from a peer. Nothing here panics on it, and only a text for which there is no other way
//! fails, with its name; none of it can make us allocate more than a message may hold: of each list at most 1,024 elements are looked at. What is
//! left out or can't be read is counted; limits on what is kept are the span's own. What is sent is cut
//! to 1,024 elements a list and 64 KiB a text, far above what a span keeps.

mod tail;

use std::time::Duration;

use capnp::text;

use crate::error::{Error, Result};
use crate::trace::{
    Attribute, Dropped, EnrichStatus, Outcome, SpanContext, SpanEvent, SpanId, SpanStatus,
    SpanUpdate, Timestamp, TraceFlags, TraceId, Value,
};
use crate::{pipeline_capnp, trace_capnp};

pub use tail::{read_tail_event, write_tail_event};

/// How many elements of a list are sent, and of one that came in looked at.
pub(crate) const MAX_ELEMENTS: u32 = 1024;

/// How much of a text is sent, in bytes: as much as a span holds in all, by default.
pub(crate) const MAX_TEXT_BYTES: usize = 64 * 1024;

/// An update that came in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedUpdate {
    /// What could be read of it.
    pub update: SpanUpdate,
    /// What could not, by what it is.
    pub dropped: Dropped,
}

/// Writes `context`.
pub fn write_context(context: &SpanContext, mut to: trace_capnp::span_context::Builder<'_>) {
    let mut trace_id = to.reborrow().init_trace_id();
    trace_id.set_high(context.trace_id().high());
    trace_id.set_low(context.trace_id().low());
    to.set_span_id(context.span_id().to_u64());
    let mut flags = to.reborrow().get_flags();
    match context.flags() {
        Some(value) => flags.set_value(value.to_u8()),
        None => flags.set_unset(()),
    }
    let trace_state = context.trace_state().as_str();
    if !trace_state.is_empty() {
        to.set_trace_state(trace_state);
    }
}

/// Reads a context; `None` where an id is missing. A trace state that can't be read is left out.
pub fn read_context(from: trace_capnp::span_context::Reader<'_>) -> Option<SpanContext> {
    use trace_capnp::span_context::flags;
    let trace_id = from.get_trace_id().ok()?;
    let trace_id = (u128::from(trace_id.get_high()) << 64) | u128::from(trace_id.get_low());
    let context = SpanContext::new(
        TraceId::from_u128(trace_id)?,
        SpanId::from_u64(from.get_span_id())?,
    );
    let context = match from.get_flags().which() {
        Ok(flags::Value(value)) => context.with_flags(TraceFlags::from_u8(value)),
        Ok(flags::Unset(())) | Err(capnp::NotInSchema(_)) => context,
    };
    let trace_state = read_text(from.get_trace_state()).and_then(|text| text.parse().ok());
    Some(context.with_trace_state(trace_state.unwrap_or_default()))
}

/// Writes `update`.
pub fn write_update(update: &SpanUpdate, mut to: trace_capnp::span_update::Builder<'_>) {
    if let Some(name) = &update.name {
        to.set_name(cut(name));
    }
    if !update.attributes.is_empty() {
        let list = to.reborrow().init_attributes(length(&update.attributes));
        write_attributes(&update.attributes, list);
    }
    if !update.events.is_empty() {
        let mut list = to.reborrow().init_events(length(&update.events));
        for (index, event) in (0..MAX_ELEMENTS).zip(&update.events) {
            write_event(event, list.reborrow().get(index));
        }
    }
    match &update.status {
        None | Some(SpanStatus::Unset) => {}
        Some(SpanStatus::Ok) => to.set_status(trace_capnp::SpanStatus::Ok),
        Some(SpanStatus::Error(message)) => {
            to.set_status(trace_capnp::SpanStatus::Error);
            to.set_status_message(cut(message));
        }
    }
}

/// Reads an update.
pub fn read_update(from: trace_capnp::span_update::Reader<'_>) -> ReceivedUpdate {
    let mut received = ReceivedUpdate::default();
    let ReceivedUpdate { update, dropped } = &mut received;
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
    match from.get_events() {
        Err(_) => add(&mut dropped.events, 1),
        Ok(events) => {
            for event in events.iter().take(MAX_ELEMENTS as usize) {
                match read_event(event, dropped) {
                    Some(event) => update.events.push(event),
                    None => add(&mut dropped.events, 1),
                }
            }
            add(
                &mut dropped.events,
                events.len().saturating_sub(MAX_ELEMENTS),
            );
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

/// Writes what became of an update.
pub(crate) fn write_enrich_status(
    status: EnrichStatus,
    mut to: trace_capnp::enrich_result::Builder<'_>,
) {
    to.set_status(match status {
        EnrichStatus::Applied => trace_capnp::EnrichStatus::Applied,
        EnrichStatus::SpanEnded => trace_capnp::EnrichStatus::SpanEnded,
        EnrichStatus::Overloaded => trace_capnp::EnrichStatus::Overloaded,
    });
}

/// Reads what became of an update; what is not known is the end of the span.
pub(crate) fn read_enrich_status(from: trace_capnp::enrich_result::Reader<'_>) -> EnrichStatus {
    match from.get_status() {
        Ok(trace_capnp::EnrichStatus::Applied) => EnrichStatus::Applied,
        Ok(trace_capnp::EnrichStatus::Overloaded) => EnrichStatus::Overloaded,
        Ok(trace_capnp::EnrichStatus::SpanEnded) | Err(capnp::NotInSchema(_)) => {
            EnrichStatus::SpanEnded
        }
    }
}

/// Writes an outcome.
pub(crate) fn write_outcome(outcome: Outcome) -> pipeline_capnp::Outcome {
    match outcome {
        Outcome::Ok => pipeline_capnp::Outcome::Ok,
        Outcome::Exception => pipeline_capnp::Outcome::Exception,
        Outcome::Canceled => pipeline_capnp::Outcome::Canceled,
        Outcome::Disconnected => pipeline_capnp::Outcome::Disconnected,
        Outcome::Revoked => pipeline_capnp::Outcome::Revoked,
        Outcome::Timeout => pipeline_capnp::Outcome::Timeout,
        Outcome::Overloaded => pipeline_capnp::Outcome::Overloaded,
    }
}

/// Reads an outcome; one that is not known is an exception.
pub(crate) fn read_outcome(
    from: std::result::Result<pipeline_capnp::Outcome, capnp::NotInSchema>,
) -> Outcome {
    match from {
        Ok(pipeline_capnp::Outcome::Ok) => Outcome::Ok,
        Ok(pipeline_capnp::Outcome::Exception) | Err(capnp::NotInSchema(_)) => Outcome::Exception,
        Ok(pipeline_capnp::Outcome::Canceled) => Outcome::Canceled,
        Ok(pipeline_capnp::Outcome::Disconnected) => Outcome::Disconnected,
        Ok(pipeline_capnp::Outcome::Revoked) => Outcome::Revoked,
        Ok(pipeline_capnp::Outcome::Timeout) => Outcome::Timeout,
        Ok(pipeline_capnp::Outcome::Overloaded) => Outcome::Overloaded,
    }
}

/// A text that came in; `None` where it can't be read. One that is missing is empty.
pub(crate) fn read_text(from: capnp::Result<text::Reader<'_>>) -> Option<&str> {
    from.ok()?.to_str().ok()
}

/// A text that came in, of at most `max` bytes; `None` where it is empty. One that can't be read, or is too
/// long, is an error with the name of its `field`.
pub(crate) fn received_text(
    field: &str,
    text: capnp::Result<text::Reader<'_>>,
    max: usize,
) -> Result<Option<Box<str>>> {
    let text = received_str(field, text, max)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

/// The same where it lies; empty where it is missing.
pub(crate) fn received_str<'a>(
    field: &str,
    text: capnp::Result<text::Reader<'a>>,
    max: usize,
) -> Result<&'a str> {
    match read_text(text) {
        Some(text) => checked_str(field, text, max),
        None => Err(Error::malformed(format!("{field} is not a readable text"))),
    }
}

/// A text of at most `max` bytes; `None` where it is empty. A longer one is an error with the name of its
/// `field`.
pub(crate) fn checked_text(field: &str, text: String, max: usize) -> Result<Option<Box<str>>> {
    checked_str(field, &text, max)?;
    Ok((!text.is_empty()).then(|| text.into_boxed_str()))
}

/// The same where it lies.
pub(crate) fn checked_str<'a>(field: &str, text: &'a str, max: usize) -> Result<&'a str> {
    match text.len() {
        length if length > max => Err(Error::limit(format!(
            "{field} has {length} bytes; the limit is {max}"
        ))),
        _ => Ok(text),
    }
}

/// A moment; zero is none.
pub(crate) fn read_time(unix_nanos: u64) -> Option<Timestamp> {
    (unix_nanos != 0).then(|| Timestamp::from_unix_nanos(unix_nanos))
}

/// A moment; none is zero.
pub(crate) fn write_time(time: Option<Timestamp>) -> u64 {
    time.map_or(0, Timestamp::unix_nanos)
}

/// A time to wait; zero is none.
pub(crate) fn read_delay(millis: u64) -> Option<Duration> {
    (millis != 0).then(|| Duration::from_millis(millis))
}

/// A time to wait, in milliseconds: none is zero, and any other at least one, as it is rounded up.
pub(crate) fn write_delay(delay: Option<Duration>) -> u64 {
    let Some(delay) = delay else { return 0 };
    let millis = delay.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn write_event(event: &SpanEvent, mut to: trace_capnp::span_event::Builder<'_>) {
    to.set_name(cut(&event.name));
    to.set_time_unix_nano(event.time.map_or(0, Timestamp::unix_nanos));
    if !event.attributes.is_empty() {
        let list = to.init_attributes(length(&event.attributes));
        write_attributes(&event.attributes, list);
    }
}

fn read_event(
    from: trace_capnp::span_event::Reader<'_>,
    dropped: &mut Dropped,
) -> Option<SpanEvent> {
    let name = read_text(from.get_name()).filter(|name| !name.is_empty())?;
    let mut event = SpanEvent::new(name);
    event.time = match from.get_time_unix_nano() {
        0 => None,
        nanos => Some(Timestamp::from_unix_nanos(nanos)),
    };
    event.attributes = read_attributes(
        from.get_attributes(),
        &mut dropped.event_attributes,
        &mut dropped.cut_values,
    );
    Some(event)
}

type AttributeList<'a> = capnp::struct_list::Reader<'a, trace_capnp::attribute::Owned>;

fn write_attributes(
    attributes: &[Attribute],
    mut to: capnp::struct_list::Builder<'_, trace_capnp::attribute::Owned>,
) {
    for (index, attribute) in (0..MAX_ELEMENTS).zip(attributes) {
        let mut entry = to.reborrow().get(index);
        entry.set_key(cut(&attribute.key));
        write_value(&attribute.value, entry.init_value());
    }
}

fn read_attributes(
    from: capnp::Result<AttributeList<'_>>,
    dropped: &mut u32,
    cut: &mut u32,
) -> Vec<Attribute> {
    let Ok(list) = from else {
        add(dropped, 1);
        return Vec::new();
    };
    add(dropped, list.len().saturating_sub(MAX_ELEMENTS));
    let mut attributes = Vec::new();
    for entry in list.iter().take(MAX_ELEMENTS as usize) {
        let key = read_text(entry.get_key()).filter(|key| !key.is_empty());
        let value = entry.get_value().and_then(|value| read_value(value, cut));
        match (key, value) {
            (Some(key), Ok(value)) => attributes.push(Attribute::new(key, value)),
            _ => add(dropped, 1),
        }
    }
    attributes
}

fn write_value(value: &Value, mut to: trace_capnp::value::Builder<'_>) {
    match value {
        Value::Text(text) => to.set_text(cut(text)),
        Value::Bool(value) => to.set_bool(*value),
        Value::Int(value) => to.set_int64(*value),
        Value::Float(value) => to.set_float64(*value),
        Value::TextList(list) => {
            let mut to = to.init_text_list(length(list));
            for (index, text) in (0..MAX_ELEMENTS).zip(list) {
                to.set(index, cut(text));
            }
        }
        Value::BoolList(list) => {
            let mut to = to.init_bool_list(length(list));
            for (index, value) in (0..MAX_ELEMENTS).zip(list) {
                to.set(index, *value);
            }
        }
        Value::IntList(list) => {
            let mut to = to.init_int64_list(length(list));
            for (index, value) in (0..MAX_ELEMENTS).zip(list) {
                to.set(index, *value);
            }
        }
        Value::FloatList(list) => {
            let mut to = to.init_float64_list(length(list));
            for (index, value) in (0..MAX_ELEMENTS).zip(list) {
                to.set(index, *value);
            }
        }
    }
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

/// How long a list of ours is on the wire.
fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).map_or(MAX_ELEMENTS, |length| length.min(MAX_ELEMENTS))
}

/// As much of a text of ours as is sent.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

fn add(counter: &mut u32, more: u32) {
    *counter = counter.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::Builder;

    #[test]
    fn what_became_of_an_update_arrives() {
        for status in [
            EnrichStatus::Applied,
            EnrichStatus::SpanEnded,
            EnrichStatus::Overloaded,
        ] {
            let mut message = Builder::new_default();
            write_enrich_status(status, message.init_root());
            let read = read_enrich_status(message.get_root_as_reader().unwrap());
            assert_eq!(read, status);
        }
    }

    #[test]
    fn what_is_not_known_to_have_become_of_an_update_is_the_end_of_the_span() {
        let mut message = Builder::new_default();
        write_enrich_status(EnrichStatus::Applied, message.init_root());
        let mut bytes = capnp::serialize::write_message_to_words(&message);
        // After the table of segments and the root pointer.
        bytes[16..18].copy_from_slice(&7_u16.to_le_bytes());
        let read = capnp::serialize::read_message_from_flat_slice(
            &mut &bytes[..],
            capnp::message::ReaderOptions::new(),
        );
        let status = read_enrich_status(read.unwrap().get_root().unwrap());
        assert_eq!(status, EnrichStatus::SpanEnded);
    }

    #[test]
    fn an_outcome_arrives_and_one_that_is_not_known_is_an_exception() {
        for outcome in [
            Outcome::Ok,
            Outcome::Exception,
            Outcome::Canceled,
            Outcome::Disconnected,
            Outcome::Revoked,
            Outcome::Timeout,
            Outcome::Overloaded,
        ] {
            assert_eq!(read_outcome(Ok(write_outcome(outcome))), outcome);
        }
        let unknown = read_outcome(Err(capnp::NotInSchema(99)));
        assert_eq!(unknown, Outcome::Exception);
    }
}
