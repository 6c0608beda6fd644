//! Observers that send what they are told somewhere else.
//!
//! - [`Tail`]: each invocation of a service, while it goes on, to another service.
//! - [`Otel`]: spans that have ended, to an OpenTelemetry collector (feature `otel`).
//! - [`TracingSpans`]: spans as those of the `tracing` crate (feature `tracing`).
//! - [`Metrics`]: sessions, calls and refusals, counted for OpenTelemetry (feature `metrics`).

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "otel")]
mod otel;
#[cfg(any(feature = "otel", feature = "tracing"))]
mod semantics;
mod tail;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "tracing")]
pub use self::tracing::{TracingHook, TracingSpans};
#[cfg(feature = "metrics")]
pub use metrics::{ExportCounts, Metrics, MetricsObserver, RefusalMetrics, Watch};
#[cfg(feature = "otel")]
pub use otel::{Otel, OtelBuilder, OtelCounts, OtelObserver};
pub use tail::{Tail, TailCounts, TailLimits};
