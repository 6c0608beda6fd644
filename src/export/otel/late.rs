//! What callees write after the end of a span, as log records.

use opentelemetry::Key;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};

use super::packed::{Packed, Status, What};
use super::span::{flags, span_id, time, trace_id};
use super::unpacked::{Event, Link, Unpacked};
use super::{keys, value};

/// The name of the event that a log record tells.
const EVENT_NAME: &str = "capspan.late_update";

/// Makes log records: nobody else can make one of the SDK's.
pub(super) struct LogRecords(SdkLogger);

impl LogRecords {
    pub(super) fn new() -> Self {
        Self(SdkLoggerProvider::builder().build().logger("capspan"))
    }

    /// The log record of a late update; `None` if it is none.
    pub(super) fn of(&self, record: &Packed) -> Option<SdkLogRecord> {
        let What::Late { time: came, .. } = record.head.what else {
            return None;
        };
        let said = Unpacked::of(record);
        let head = said.head;
        let mut log = self.0.create_log_record();
        log.set_event_name(EVENT_NAME);
        log.set_timestamp(time(came));
        log.set_observed_timestamp(time(came));
        log.set_severity_number(Severity::Info);
        log.set_severity_text("INFO");
        log.set_trace_context(
            trace_id(head.trace_id),
            span_id(head.span_id),
            flags(head.flags),
        );
        log.set_body("a callee wrote on a span after its end".into());
        log.add_attributes(
            said.attributes
                .into_iter()
                .map(|(key, value)| (key, value::to_any_value(value))),
        );
        if let Some(name) = said.name {
            log.add_attribute(keys::NAME, name);
        }
        match head.status {
            Status::Unset => {}
            Status::Ok => log.add_attribute(keys::STATUS, "ok"),
            Status::Error => {
                log.add_attribute(keys::STATUS, "error");
                log.add_attribute(keys::STATUS_MESSAGE, said.message);
            }
        }
        if !said.events.is_empty() {
            let events = value::any_list(said.events.into_iter().map(event));
            log.add_attribute(keys::EVENTS, events);
        }
        if !said.links.is_empty() {
            let links = value::any_list(said.links.into_iter().map(link));
            log.add_attribute(keys::LINKS, links);
        }
        if let Some(channel) = keys::channel(head.channel) {
            log.add_attribute(keys::CHANNEL, channel);
        }
        for (key, count) in keys::dropped(&head.dropped, false) {
            log.add_attribute(key, count);
        }
        Some(log)
    }
}

fn event(event: Event) -> AnyValue {
    // Texts of digits, as in JSON: nanoseconds may not fit a signed number.
    let time = event.time.unix_nanos().to_string();
    let attributes = event.attributes.into_iter();
    let attributes = attributes.map(|(key, value)| (Key::from(key), value::to_any_value(value)));
    value::any_map([
        ("name".into(), event.name.into()),
        ("time_unix_nano".into(), time.into()),
        ("attributes".into(), value::any_map(attributes)),
    ])
}

fn link(link: Link) -> AnyValue {
    value::any_map([
        ("trace_id".into(), link.trace_id.to_string().into()),
        ("span_id".into(), link.span_id.to_string().into()),
        ("trace_state".into(), link.trace_state.into()),
    ])
}
