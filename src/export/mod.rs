//! Observers that send what they are told somewhere else.
//!
//! - [`Tail`]: each invocation of a service, while it goes on, to another service.
//! - [`Metrics`]: sessions, calls and refusals, counted for OpenTelemetry (feature `metrics`).

#[cfg(feature = "metrics")]
mod metrics;
mod tail;

#[cfg(feature = "metrics")]
pub use metrics::{ExportCounts, Metrics, MetricsObserver, RefusalMetrics, Watch};
pub use tail::{Tail, TailCounts, TailLimits};
