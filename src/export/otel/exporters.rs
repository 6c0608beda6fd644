//! Exporters: those of `opentelemetry-otlp` over our own way to the collector, or such as a user brings.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::{
    LogExporter as OtlpLogs, RetryPolicy, SpanExporter as OtlpSpans, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::answer::Answer;
use super::transport::Transport;
use super::wait::block_on;
use crate::error::{Error, Result};

/// A pair of exporters, one for spans and one for late updates. They live in the worker's thread, and whatever
/// they do there, a panic included, stays there.
pub(super) struct Exporters<S, L> {
    spans: S,
    logs: L,
    /// Whoever knows what the collector has said.
    transport: Option<Transport>,
}

/// The same without its types.
pub(super) trait Export {
    /// What follows is of this resource.
    fn set_resource(&mut self, resource: &Resource);

    /// Sends spans.
    fn spans(&mut self, batch: Vec<SpanData>, deadline: Instant) -> Answer;

    /// Sends log records.
    fn logs(
        &mut self,
        batch: &[(&SdkLogRecord, &InstrumentationScope)],
        deadline: Instant,
    ) -> Answer;

    /// Nothing follows.
    fn shutdown(&mut self);
}

/// Where a collector is to be found.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Of all signals; otherwise the environment's, or this machine's port 4318.
    pub(super) endpoint: Option<String>,
    pub(super) headers: HashMap<String, String>,
}

/// The exporters of `opentelemetry-otlp`, over HTTP, without retries of their own.
pub(super) fn otlp(place: Place) -> Result<Exporters<OtlpSpans, OtlpLogs>> {
    let transport = Transport::new()?;
    let mut spans = OtlpSpans::builder()
        .with_http()
        .with_http_client(transport.clone())
        .with_headers(place.headers.clone())
        .with_retry_policy(RetryPolicy::disabled());
    let mut logs = OtlpLogs::builder()
        .with_http()
        .with_http_client(transport.clone())
        .with_headers(place.headers)
        .with_retry_policy(RetryPolicy::disabled());
    if let Some(endpoint) = place.endpoint {
        let base = endpoint.trim_end_matches('/');
        spans = spans.with_endpoint(format!("{base}/v1/traces"));
        logs = logs.with_endpoint(format!("{base}/v1/logs"));
    }
    let not_built = |error| Error::invalid(format!("OTLP exporter: {error}"));
    Ok(Exporters {
        spans: spans.build().map_err(not_built)?,
        logs: logs.build().map_err(not_built)?,
        transport: Some(transport),
    })
}

impl<S: SpanExporter, L: LogExporter> Exporters<S, L> {
    /// A user's.
    pub(super) fn of(spans: S, logs: L) -> Self {
        Self {
            spans,
            logs,
            transport: None,
        }
    }

    /// One attempt, with what is known of its result.
    fn attempt<F: Future<Output = OTelSdkResult>>(
        transport: Option<&Transport>,
        deadline: Instant,
        export: impl FnOnce() -> F,
    ) -> Answer {
        if let Some(transport) = transport {
            transport.begin(deadline);
        }
        let result = catch_unwind(AssertUnwindSafe(|| block_on(export(), deadline)));
        let known = transport.and_then(Transport::answer);
        match (result, known) {
            (Ok(Some(_)), Some(answer)) => answer,
            (Ok(Some(Ok(()))), None) => Answer::Taken {
                rejected: 0,
                why: String::new(),
            },
            (Ok(Some(Err(error))), None) => Answer::Refused {
                why: error.to_string(),
            },
            (Ok(None), _) => Answer::Refused {
                why: "the exporter has not finished in time".to_owned(),
            },
            (Err(_), _) => Answer::Refused {
                why: "the exporter has panicked".to_owned(),
            },
        }
    }
}

impl<S: SpanExporter, L: LogExporter> Export for Exporters<S, L> {
    fn set_resource(&mut self, resource: &Resource) {
        // One that panics has the resource or has not: it is asked to export all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            self.spans.set_resource(resource);
            self.logs.set_resource(resource);
        }));
    }

    fn spans(&mut self, batch: Vec<SpanData>, deadline: Instant) -> Answer {
        let spans = &self.spans;
        Self::attempt(self.transport.as_ref(), deadline, || spans.export(batch))
    }

    fn logs(
        &mut self,
        batch: &[(&SdkLogRecord, &InstrumentationScope)],
        deadline: Instant,
    ) -> Answer {
        let logs = &self.logs;
        Self::attempt(self.transport.as_ref(), deadline, || {
            logs.export(LogBatch::new(batch))
        })
    }

    fn shutdown(&mut self) {
        // All has been exported: there is nothing left that could be lost.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _ = self.spans.shutdown();
            let _ = self.logs.shutdown();
        }));
    }
}
