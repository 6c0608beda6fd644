//! The same for programs. Times are whole nanoseconds; ids are hexadecimal, as in W3C Trace Context.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::boards::Answer;
use super::query::Query;
use super::view::{
    CapabilityView, EventView, Limits, LiveView, MethodRow, OpenRow, Overview, RecentRow, Said,
    SessionView, SpanView,
};
use crate::trace::{Outcome, SpanId};

pub(super) fn overview(answers: Vec<Answer<Overview>>, query: &Query) -> String {
    let loops: Vec<Value> = answers.iter().map(event_loop).collect();
    let (view, _) = Overview::of_all(answers, query);
    let outcomes = view.outcomes.iter();
    let outcomes = outcomes.map(|(outcome, count)| (outcome.as_str().into(), count.into()));
    let outcomes: serde_json::Map<String, Value> = outcomes.collect();
    let page = json!({
        "eventLoops": loops,
        "openCount": view.open_count,
        "openMatching": view.open_matching,
        "callsInFlight": view.calls,
        "capabilitiesAlive": view.capabilities,
        "begun": view.begun,
        "ended": view.outcomes.ended(),
        "outcomes": outcomes,
        "refusedByGuards": view.refused,
        "open": view.open.iter().map(open).collect::<Vec<_>>(),
        "recent": view.recent.iter().map(recent).collect::<Vec<_>>(),
        "methods": view.methods.iter().map(method).collect::<Vec<_>>(),
        "leftOut": counts(view.left_out.iter().map(|(_, key, count)| (key, count))),
    });
    page.to_string()
}

pub(super) fn session(
    id: SpanId,
    found: Option<&(Arc<str>, SessionView)>,
    silent: &[Arc<str>],
) -> String {
    let silent: Vec<&str> = silent.iter().map(|board| &**board).collect();
    let page = match found {
        None => json!({
            "spanId": id.to_string(),
            "error": "this session is not known any more",
            "notAnswering": silent,
        }),
        Some((board, view)) => json!({
            "spanId": id.to_string(),
            "traceId": view.trace_id.to_string(),
            "parentSpanId": view.parent.map(|parent| parent.to_string()),
            "partOf": view.part_of.map(|session| session.to_string()),
            "eventLoop": &**board,
            "name": view.name,
            "service": view.service,
            "peer": view.peer,
            "kind": view.side.as_str(),
            "startTimeUnixNano": view.start.unix_nanos().to_string(),
            "durationNanos": nanos(view.took),
            "open": view.is_open,
            "outcome": outcome(view.outcome),
            "reason": view.why,
            "attributes": view.attributes.iter().map(said).collect::<Vec<_>>(),
            "events": view.events.iter().map(event).collect::<Vec<_>>(),
            "spans": view.spans.iter().map(span).collect::<Vec<_>>(),
            "live": view.live.as_ref().map(live),
            "leftOut": {
                "attributes": view.attributes_left_out,
                "events": view.events_left_out,
                "spans": view.spans_left_out,
            },
            "notAnswering": silent,
        }),
    };
    page.to_string()
}

pub(super) fn limits(answers: &[Answer<Limits>]) -> String {
    let loops = answers.iter().map(|answer| {
        let Some(said) = &answer.said else {
            return event_loop(answer);
        };
        let refused = said.refused.iter().map(|(breach, refused, ended)| {
            json!({ "breach": breach.name(), "refused": refused, "ended": ended })
        });
        let last = said.last.iter().map(|row| {
            json!({
                "peer": row.peer,
                "breach": row.breach.name(),
                "text": row.text,
                "endedConnection": row.ends,
                "agoNanos": nanos(row.ago),
            })
        });
        json!({
            "name": &*answer.board,
            "answers": true,
            "refused": refused.collect::<Vec<_>>(),
            "last": last.collect::<Vec<_>>(),
            "kept": counts(said.kept.iter().map(|(_, key, count)| (key, count as u64))),
            "leftOut": counts(said.left_out.iter().map(|(_, key, count)| (key, count))),
        })
    });
    json!({ "eventLoops": loops.collect::<Vec<_>>() }).to_string()
}

fn event_loop<T>(answer: &Answer<T>) -> Value {
    json!({ "name": &*answer.board, "answers": answer.said.is_some() })
}

fn open(row: &OpenRow) -> Value {
    json!({
        "spanId": row.id.map(|id| id.to_string()),
        "name": row.name,
        "peer": row.peer,
        "kind": row.side.map(|side| side.as_str()),
        "ageNanos": row.age.map(nanos),
        "callsInFlight": row.calls,
        "capabilitiesAlive": row.capabilities,
    })
}

fn recent(row: &RecentRow) -> Value {
    json!({
        "spanId": row.id.to_string(),
        "name": row.name,
        "peer": row.peer,
        "kind": row.side.as_str(),
        "outcome": outcome(row.outcome),
        "reason": row.why,
        "durationNanos": nanos(row.took),
        "endedAgoNanos": nanos(row.ago),
        "spans": row.spans,
    })
}

fn method(row: &MethodRow) -> Value {
    json!({
        "name": row.name,
        "kind": row.side.as_str(),
        "begun": row.begun,
        "inFlight": row.in_flight(),
        "ok": row.ok,
        "failed": row.failed,
        "canceled": row.canceled,
        "p50Nanos": row.latency(0.5).map(nanos),
        "p90Nanos": row.latency(0.9).map(nanos),
        "p99Nanos": row.latency(0.99).map(nanos),
        "maxNanos": row.latency(1.0).map(nanos),
    })
}

fn said(said: &Said) -> Value {
    json!({ "key": said.key, "value": said.value, "byCallee": said.by_callee })
}

fn event(event: &EventView) -> Value {
    json!({
        "name": event.name,
        "timeUnixNano": event.time.unix_nanos().to_string(),
        "byCallee": event.by_callee,
        "attributes": event.attributes.iter().map(said).collect::<Vec<_>>(),
    })
}

fn span(span: &SpanView) -> Value {
    json!({
        "spanId": span.id.to_string(),
        "depth": span.depth,
        "name": span.name,
        "kind": span.side.as_str(),
        "role": span.role.as_str(),
        "afterNanos": nanos(span.after),
        "durationNanos": nanos(span.took),
        "open": span.is_open,
        "outcome": outcome(span.outcome),
        "reason": span.why,
    })
}

fn live(live: &LiveView) -> Value {
    json!({
        "callsInFlight": live.calls,
        "backgroundWork": live.background,
        "capabilitiesAlive": live.capability_count,
        "capabilities": live.capabilities.iter().map(capability).collect::<Vec<_>>(),
    })
}

fn capability(view: &CapabilityView) -> Value {
    let introduced = view.introduced.as_ref();
    json!({
        "number": view.number,
        "heldBy": if view.is_ours { "peer" } else { "thisSide" },
        "introducedBy": introduced.map(|by| json!({
            "method": by.method,
            "in": if by.in_results { "results" } else { "parameters" },
            "spanId": by.span.map(|span| span.to_string()),
        })),
        "heldNanos": view.held.map(nanos),
        "calls": view.calls,
        "lastCall": view.last_call,
    })
}

fn counts(counts: impl IntoIterator<Item = (&'static str, u64)>) -> Value {
    counts
        .into_iter()
        .map(|(key, count)| (key.to_owned(), Value::from(count)))
        .collect()
}

fn outcome(outcome: Option<Outcome>) -> Option<&'static str> {
    outcome.map(Outcome::as_str)
}

/// Above 2^53 JavaScript rounds it: that is after a hundred days.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
