//! Spans to an OpenTelemetry collector (feature `otel`).

mod collector;
mod counts;
mod end;
mod fields;
mod taken;
mod wire;
