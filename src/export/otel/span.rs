//! Our spans as those of the SDK.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::super::semantics;
use super::packed::{Packed, Span, Status, What};
use super::unpacked::{self, Unpacked};
use super::{keys, value};
use crate::trace::{self, SpanKind, SpanRole, Timestamp};

/// The span that a record is of; `None` if it is of none.
pub(super) fn to_span_data(record: &Packed, scope: &InstrumentationScope) -> Option<SpanData> {
    let What::Span(span) = record.head.what else {
        return None;
    };
    let mut said = Unpacked::of(record);
    let head = said.head;
    let attributes = attributes(&mut said, &span);
    let mut events = SpanEvents::default();
    events.events = said.events.into_iter().map(event).collect();
    events.dropped_count = head.dropped.events;
    let mut links = SpanLinks::default();
    links.links = said.links.into_iter().map(link).collect();
    links.dropped_count = head.dropped.links;
    Some(SpanData {
        span_context: SpanContext::new(
            trace_id(head.trace_id),
            span_id(head.span_id),
            flags(head.flags).unwrap_or_default(),
            false,
            trace_state(&said.trace_state),
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, span_id),
        parent_span_is_remote: span.has_remote_parent,
        span_kind: match span.kind {
            SpanKind::Client => opentelemetry::trace::SpanKind::Client,
            SpanKind::Server => opentelemetry::trace::SpanKind::Server,
            SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
        },
        name: said.name.unwrap_or_default().into(),
        start_time: time(span.start),
        end_time: time(span.end),
        attributes,
        dropped_attributes_count: head.dropped.attributes,
        events,
        links,
        status: match head.status {
            Status::Unset => opentelemetry::trace::Status::Unset,
            Status::Ok => opentelemetry::trace::Status::Ok,
            Status::Error => opentelemetry::trace::Status::Error {
                description: said.message.into(),
            },
        },
        instrumentation_scope: scope.clone(),
    })
}

/// What was said, and what we and the conventions say of it.
fn attributes(said: &mut Unpacked, span: &Span) -> Vec<KeyValue> {
    let head = said.head;
    let mut list = List(
        std::mem::take(&mut said.attributes)
            .into_iter()
            .map(value::key_value)
            .collect(),
    );
    if span.role == SpanRole::Call {
        let method = said.original_name.as_ref().or(said.name.as_ref());
        list.put_new(semantics::RPC_SYSTEM_NAME, semantics::CAPNPROTO);
        list.put_new(semantics::RPC_METHOD, method.cloned().unwrap_or_default());
    }
    let is_error = matches!(head.status, Status::Error);
    if let Some(kind) = semantics::error_type(span.outcome, is_error) {
        list.put_new(semantics::ERROR_TYPE, kind);
    }
    if let Some(outcome) = span.outcome {
        list.put(keys::OUTCOME, outcome.as_str());
    }
    if let Some(channel) = keys::channel(head.channel) {
        list.put(keys::CHANNEL, channel);
    }
    if let Some(name) = said.original_name.take() {
        list.put(keys::ORIGINAL_NAME, name);
    }
    if let Some(bytes) = span.full_name_bytes {
        list.put(
            keys::FULL_NAME_BYTES,
            i64::try_from(bytes).unwrap_or(i64::MAX),
        );
    }
    if span.named_by_callee {
        list.put(keys::NAMED_BY_CALLEE, true);
    }
    if span.status_by_callee {
        list.put(keys::STATUS_BY_CALLEE, true);
    }
    if !said.set_by_callee.is_empty() {
        let set = std::mem::take(&mut said.set_by_callee).into_iter();
        let set = set.map(|key| key.into_string().into()).collect();
        list.put(keys::SET_BY_CALLEE, Value::Array(Array::String(set)));
    }
    for (key, count) in keys::dropped(&head.dropped, true) {
        list.put(key, count);
    }
    list.0
}

/// Attributes, each key once.
struct List(Vec<KeyValue>);

impl List {
    /// What is ours to say, in place of what somebody else has said.
    fn put(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let key = key.into();
        let value = value.into();
        match self.0.iter_mut().find(|known| *known.key.as_str() == *key) {
            Some(known) => known.value = value,
            None => self.0.push(KeyValue::new(key, value)),
        }
    }

    /// What whoever has said it knows better.
    fn put_new(&mut self, key: &'static str, value: impl Into<Value>) {
        if !self.0.iter().any(|known| known.key.as_str() == key) {
            self.0.push(KeyValue::new(key, value));
        }
    }
}

fn event(event: unpacked::Event) -> opentelemetry::trace::Event {
    let by_callee = event
        .by_callee
        .then(|| KeyValue::new(keys::BY_CALLEE, true));
    let attributes = event.attributes.into_iter().map(value::key_value);
    opentelemetry::trace::Event::new(
        event.name,
        time(event.time),
        attributes.chain(by_callee).collect(),
        // Which event they were of is not known; the span has their number.
        0,
    )
}

fn link(link: unpacked::Link) -> Link {
    let context = SpanContext::new(
        trace_id(link.trace_id),
        span_id(link.span_id),
        flags(link.flags).unwrap_or_default(),
        // As far as a link tells, it may be.
        true,
        trace_state(&link.trace_state),
    );
    let by_callee = link.by_callee.then(|| KeyValue::new(keys::BY_CALLEE, true));
    Link::new(context, by_callee.into_iter().collect(), 0)
}

pub(super) fn trace_id(id: trace::TraceId) -> TraceId {
    TraceId::from(id.to_u128())
}

pub(super) fn span_id(id: trace::SpanId) -> SpanId {
    SpanId::from(id.to_u64())
}

pub(super) fn flags(flags: Option<trace::TraceFlags>) -> Option<TraceFlags> {
    flags.map(|flags| TraceFlags::new(flags.to_u8()))
}

pub(super) fn time(time: Timestamp) -> SystemTime {
    let since = Duration::from_nanos(time.unix_nanos());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// Members that the SDK does not allow are left out.
fn trace_state(list: &str) -> TraceState {
    let members = list.split(',').filter_map(|member| member.split_once('='));
    let allowed = members.filter(|member| TraceState::from_key_value([*member]).is_ok());
    TraceState::from_key_value(allowed).unwrap_or_default()
}
