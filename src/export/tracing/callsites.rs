//! The spans and events, with their fields, as `tracing` wants them in the code.

use tracing::field::Empty;
use tracing::{Span, event, span};
use tracing_core::span::Id;

use super::super::semantics::CAPNPROTO;
use super::shown::{self, Text};
use crate::trace::{
    Attribute, Channel, EventRecord, LateUpdate, LinkRecord, SpanKind, SpanRecord, SpanRole,
    SpanStatus,
};

/// The target of all of them.
const TARGET: &str = "capspan";

/// Makes the span of a record: within `parent`, or in what is `tracing`'s current one.
pub(super) fn span(record: &SpanRecord, parent: Option<Id>) -> Span {
    // Name and level, and whether it says whose child it is, belong to the place in the code.
    macro_rules! made {
        ($level:ident, $name:literal $(, $parent:ident)?) => {
            span!(
                target: TARGET,
                $(parent: $parent,)?
                tracing::Level::$level,
                $name,
                otel.name = record.name(),
                otel.kind = kind(record.kind()),
                otel.status_code = Empty,
                otel.status_description = Empty,
                rpc.system.name = is_call(record).then_some(CAPNPROTO),
                rpc.method = is_call(record).then_some(record.name()),
                error.r#type = Empty,
                capspan.trace_id = %record.trace_id(),
                capspan.span_id = %record.span_id(),
                capspan.service = record.service(),
                capspan.channel = channel(record.channel()),
                capspan.outcome = Empty,
                capspan.original_name = Empty,
            )
        };
    }
    match (record.role(), parent) {
        (SpanRole::Event, Some(parent)) => made!(INFO, "event", parent),
        (SpanRole::Event, None) => made!(INFO, "event"),
        (SpanRole::Work, Some(parent)) => made!(INFO, "work", parent),
        (SpanRole::Work, None) => made!(INFO, "work"),
        (SpanRole::Call, Some(parent)) => made!(DEBUG, "call", parent),
        (SpanRole::Call, None) => made!(DEBUG, "call"),
    }
}

fn is_call(record: &SpanRecord) -> bool {
    record.role() == SpanRole::Call
}

/// As `tracing-opentelemetry` reads it.
fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Internal => "internal",
    }
}

/// The channel, unless it is the usual one.
fn channel(channel: Channel) -> Option<&'static str> {
    (channel != Channel::User).then(|| channel.as_str())
}

/// What somebody has said about how the work went: a code as `tracing-opentelemetry` reads it, and a message.
pub(super) fn status(status: &SpanStatus) -> Option<(&'static str, Option<&str>)> {
    match status {
        SpanStatus::Unset => None,
        SpanStatus::Ok => Some(("ok", None)),
        SpanStatus::Error(message) => Some(("error", Some(message))),
    }
}

/// A span got another name.
pub(super) fn renamed(parent: Id, name: &str, previous: &str) {
    event!(
        target: TARGET,
        parent: parent,
        tracing::Level::DEBUG,
        name,
        previous,
        message = "renamed",
    );
}

/// Attributes that are new on a span, or have another value now.
pub(super) fn attributes<'a>(
    parent: Id,
    attributes: impl IntoIterator<Item = &'a Attribute> + Clone,
) {
    event!(
        target: TARGET,
        parent: parent,
        tracing::Level::DEBUG,
        attributes = %shown::attributes(attributes),
        message = "attributes",
    );
}

/// Something happened in a span.
pub(super) fn happened(parent: Id, happened: &EventRecord) {
    let attributes = happened.attributes();
    event!(
        target: TARGET,
        parent: parent,
        tracing::Level::INFO,
        attributes = (!attributes.is_empty()).then(|| tracing::field::display(shown::attributes(attributes))),
        time_unix_nano = happened.time().unix_nanos(),
        by_callee = happened.is_by_callee().then_some(true),
        message = %Text(happened.name()),
    );
}

/// A span has to do with another.
pub(super) fn link(parent: Id, link: &LinkRecord) {
    event!(
        target: TARGET,
        parent: parent,
        tracing::Level::DEBUG,
        trace_id = %link.trace_id(),
        span_id = %link.span_id(),
        by_callee = link.is_by_callee().then_some(true),
        message = "link",
    );
}

/// A callee wrote on a span that is over.
pub(super) fn late(update: &LateUpdate) {
    let status = status(update.status());
    let links = update.links().iter();
    event!(
        target: TARGET,
        tracing::Level::INFO,
        capspan.trace_id = %update.trace_id(),
        capspan.span_id = %update.span_id(),
        capspan.service = update.service(),
        capspan.channel = channel(update.channel()),
        name = update.name(),
        status_code = status.map(|(code, _)| code),
        status_description = status.and_then(|(_, message)| message),
        attributes = %shown::attributes(update.attributes()),
        events = %shown::list(update.events().iter().map(|event| Text(event.name()))),
        links = %shown::list(links.map(|link| link.context().to_traceparent())),
        message = "a callee wrote on a span after its end",
    );
}
