//! The instruments that are written to when something happens.

use opentelemetry::metrics::{Counter, Histogram, Meter};

// Keys of attributes. Those without `capspan.` are OpenTelemetry's, as of its conventions' version 1.45.
pub(super) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
pub(super) const RPC_METHOD: &str = "rpc.method";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const SIDE: &str = "capspan.side";
pub(super) const OUTCOME: &str = "capspan.outcome";
pub(super) const OWNER: &str = "capspan.capability.owner";
pub(super) const ENRICHMENT_RESULT: &str = "capspan.enrichment.result";
pub(super) const DROPPED_REASON: &str = "capspan.dropped.reason";
pub(super) const BREACH: &str = "capspan.guard.breach";
pub(super) const ENDS_CONNECTION: &str = "capspan.guard.ends_connection";
pub(super) const EXPORTER: &str = "capspan.exporter";
pub(super) const EXPORT_CAUSE: &str = "capspan.export.cause";

/// The value of [`RPC_SYSTEM_NAME`]: the conventions have none for this system.
pub(super) const CAPNPROTO: &str = "capnproto";
/// What is not told apart, in the conventions' word.
pub(super) const OTHER: &str = "_OTHER";

/// Those that the conventions advise, from 5 ms on, and finer ones below: most calls take microseconds.
const CALL_SECONDS: [f64; 20] = [
    0.000_025, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
    0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// An event may be one short call, or a session that lasts for days.
const EVENT_SECONDS: [f64; 14] = [
    0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0,
    604_800.0,
];

pub(super) struct Instruments {
    pub(super) server_calls: Histogram<f64>,
    pub(super) client_calls: Histogram<f64>,
    pub(super) events: Histogram<f64>,
    pub(super) enrichment: Counter<u64>,
    pub(super) dropped: Counter<u64>,
    pub(super) refusals: Counter<u64>,
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        let seconds = |name, description, boundaries: &[f64]| {
            meter
                .f64_histogram(name)
                .with_unit("s")
                .with_description(description)
                .with_boundaries(boundaries.into())
                .build()
        };
        let counter = |name, unit, description| {
            meter
                .u64_counter(name)
                .with_unit(unit)
                .with_description(description)
                .build()
        };
        Self {
            server_calls: seconds(
                "rpc.server.call.duration",
                "Measures the duration of an incoming Remote Procedure Call (RPC).",
                &CALL_SECONDS,
            ),
            client_calls: seconds(
                "rpc.client.call.duration",
                "Measures the duration of an outgoing Remote Procedure Call (RPC).",
                &CALL_SECONDS,
            ),
            events: seconds(
                "capspan.event.duration",
                "How long sessions, and events of other kinds, have lasted.",
                &EVENT_SECONDS,
            ),
            enrichment: counter(
                "capspan.enrichment.changes",
                "{change}",
                "What callees wrote to spans of callers, and what became of it.",
            ),
            dropped: counter(
                "capspan.span.dropped",
                "{item}",
                "What was cut from spans or refused.",
            ),
            refusals: counter(
                "capspan.guard.refusals",
                "{refusal}",
                "How often guards stepped in between a peer and this process.",
            ),
        }
    }
}
