//! The only place where generated types become values of [`trace`](crate::trace), and back; and what
//! other values have in common on their way, texts and times.
//!
//! What is read comes from a peer. Nothing here panics on it, and only a text for which there is no other way
//! fails, with its name; none of it can make us allocate more than a message may hold: of each list at most
//! 1,024 elements are looked at. What is left out or can't be read is counted; limits on what is kept are the
//! span's own. What is sent is cut to 1,024 elements a list, 64 KiB a text and 1 MiB an update, far above what
//! a span keeps.

mod update;

mod tail;

use std::time::Duration;

use capnp::text;

pub use update::{ReceivedUpdate, read_update, write_update};
pub(crate) use update::{size_of_update, write_update_and};

use crate::error::{Error, Result};
use crate::trace::{EnrichStatus, Outcome, SpanContext, SpanId, Timestamp, TraceFlags, TraceId};
use crate::{pipeline_capnp, trace_capnp};

pub use tail::{read_tail_event, write_tail_event};

/// How many elements of a list are sent, and of one that came in looked at.
pub(crate) const MAX_ELEMENTS: u32 = 1024;

/// How much of a text is sent, in bytes: as much as a span holds in all, by default.
pub(crate) const MAX_TEXT_BYTES: usize = 64 * 1024;

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
