//! Spans to an OpenTelemetry collector (feature `otel`).

mod counts;
mod end;
mod fields;

mod taken;
