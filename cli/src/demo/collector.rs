//! The collector to which the spans of a process go, beside its records.

use std::time::Duration;

use capspan::export::Otel;
use capspan::trace::{Observer, Tracer};

use crate::failure::Failure;

/// How long the collector may take for the last spans.
const TIME_TO_EXPORT: Duration = Duration::from_secs(5);

/// Where spans go as well, if the user has named a collector.
pub(super) struct Collector(Option<Otel>);

impl Collector {
    /// `url`: the collector's.
    pub(super) fn new(url: Option<&str>) -> Result<Self, Failure> {
        let otel = url.map(|url| Otel::builder().endpoint(url).build());
        let otel = otel.transpose();
        Ok(Self(otel.map_err(|error| {
            Failure::told(format!("--otlp: {}", error.reason()))
        })?))
    }

    /// Spans go to `lines`, and to the collector.
    pub(super) fn tracer(&self, lines: impl Observer + 'static) -> Tracer {
        match &self.0 {
            Some(otel) => Tracer::new((lines, otel.observer())),
            None => Tracer::new(lines),
        }
    }

    /// Waits until the collector has all that it is going to get, and tells what it has not.
    pub(super) async fn finish(&self) -> Result<(), Failure> {
        let Some(otel) = &self.0 else { return Ok(()) };
        let counts = otel.shutdown(TIME_TO_EXPORT).await;
        if counts.dropped() == 0 {
            return Ok(());
        }
        let why = otel
            .last_failure()
            .unwrap_or_else(|| "it takes too long".to_owned());
        Err(Failure::told(format!(
            "--otlp: {} of {} spans are not exported: {why}",
            counts.dropped(),
            counts.emitted,
        )))
    }
}
