//! Observers that send what they are told somewhere else.
//!
//! - [`Tail`]: each invocation of a service, while it goes on, to another service.
//! - [`Otel`]: spans that have ended, to an OpenTelemetry collector (feature `otel`).

#[cfg(feature = "otel")]
mod otel;
mod tail;

#[cfg(feature = "otel")]
pub use otel::{Otel, OtelBuilder, OtelCounts, OtelObserver};
pub use tail::{Tail, TailCounts, TailLimits};
