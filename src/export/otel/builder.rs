//! How an exporter is set up.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use opentelemetry_sdk::logs::LogExporter;
use opentelemetry_sdk::trace::SpanExporter;

use super::exporters::{self, Export, Exporters, Place};
use super::queue::{Limits, Queue};
use super::worker::Worker;
use super::{Handle, Otel};
use crate::error::{Error, Result};
use crate::trace::Value;

/// Sets up an [`Otel`].
#[derive(Debug)]
#[must_use]
pub struct OtelBuilder {
    place: Place,
    attributes: Vec<(String, Value)>,
    limits: Limits,
    timeout: Duration,
    only_sampled: bool,
}

impl OtelBuilder {
    pub(super) fn new() -> Self {
        Self {
            place: Place::default(),
            attributes: Vec::new(),
            limits: Limits {
                records: 8192,
                bytes: 16 * 1024 * 1024,
                batch: 512,
                delay: Duration::from_secs(1),
            },
            timeout: Duration::from_secs(10),
            only_sampled: false,
        }
    }

    /// The collector's URL without a path of a signal, as `http://127.0.0.1:4318`: spans go to `/v1/traces`
    /// below it, late updates to `/v1/logs`. By default the environment decides (`OTEL_EXPORTER_OTLP_ENDPOINT`
    /// and its kin), then port 4318 of this machine.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.place.endpoint = Some(url.into());
        self
    }

    /// A header of every request: a token, for instance. It is sent to no other place, should the collector
    /// redirect.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.place.headers.insert(name.into(), value.into());
        self
    }

    /// Says more of whoever exports: `deployment.environment.name`, for instance. `service.name` is the
    /// [service](crate::trace::SpanRecord::service) of each record; this one is for records without.
    pub fn resource_attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// Records that wait or are on their way; default 8,192. More are dropped, and counted.
    pub fn max_records(mut self, count: usize) -> Self {
        self.limits.records = count;
        self
    }

    /// Bytes of them; default 16 MiB. More are dropped, and counted. A batch that is on its way takes room once
    /// more, in the form in which it is sent.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Records that are exported at once, at most; default 512. When as many wait, nothing is waited for.
    pub fn batch_size(mut self, count: usize) -> Self {
        self.limits.batch = count;
        self
    }

    /// How long records wait for others, to be exported with them; default one second.
    pub fn batch_delay(mut self, delay: Duration) -> Self {
        self.limits.delay = delay;
        self
    }

    /// How long the export of one batch may take, with all attempts; default 10 seconds. After that it is
    /// dropped, and counted.
    pub fn export_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Leaves out spans of traces that whoever began them has not sampled. By default all are exported that
    /// are observed.
    pub fn only_sampled(mut self, only: bool) -> Self {
        self.only_sampled = only;
        self
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// Invalid if a value can't be used; failed if the system has no thread to give.
    pub fn build(mut self) -> Result<Otel> {
        if let Some(endpoint) = &self.place.endpoint {
            check_endpoint(endpoint)?;
        }
        for (name, value) in &self.place.headers {
            if http::HeaderName::try_from(name).is_err()
                || http::HeaderValue::try_from(value).is_err()
            {
                return Err(Error::invalid(format!("header {name:?} for the collector")));
            }
        }
        let place = std::mem::take(&mut self.place);
        self.start(move || exporters::otlp(place))
    }

    /// Starts the worker with other exporters: spans go to the first one, late updates to the second.
    ///
    /// They are used in the worker's thread alone, and told of the resource each time that the
    /// service of the records is another one. What they return counts: all of a batch is taken, or all of it
    /// has failed. Trying again is their own business. Futures that are not done when the
    /// [timeout](Self::export_timeout) is over are dropped. No async runtime runs there: an exporter that needs
    /// one, as those over gRPC do, brings it along.
    ///
    /// # Errors
    /// Invalid if a value can't be used; failed if the system has no thread to give.
    pub fn build_with(
        self,
        spans: impl SpanExporter + 'static,
        logs: impl LogExporter + 'static,
    ) -> Result<Otel> {
        self.start(move || Ok(Exporters::of(spans, logs)))
    }

    /// What makes the exporters is run in the worker's thread: a blocking client must not see an event loop.
    fn start<E: Export>(self, make: impl FnOnce() -> Result<E> + Send + 'static) -> Result<Otel> {
        let limits = self.limits;
        if limits.batch == 0 || limits.records == 0 || limits.bytes == 0 {
            return Err(Error::invalid("a batch or queue of nothing"));
        }
        let queue = Arc::new(Queue::new(limits));
        let (attributes, timeout) = (self.attributes, self.timeout);
        let (made, is_made) = mpsc::channel();
        let worker_queue = queue.clone();
        thread::Builder::new()
            .name("capspan-otel".to_owned())
            .spawn(move || {
                let exporters = match make() {
                    Ok(exporters) => exporters,
                    Err(error) => return drop(made.send(Err(error))),
                };
                let _ = made.send(Ok(()));
                // Whoever waits for a worker is told should it fail.
                let _closes = CloseAtEnd(worker_queue.clone());
                Worker {
                    queue: worker_queue,
                    exporters,
                    attributes,
                    timeout,
                }
                .run();
            })
            .map_err(|error| Error::failed(format!("a thread to export in: {error}")))?;
        is_made
            .recv()
            .unwrap_or_else(|_| Err(Error::failed("the exporters can't be made")))?;
        Ok(Otel {
            handle: Arc::new(Handle { queue, timeout }),
            only_sampled: self.only_sampled,
        })
    }
}

struct CloseAtEnd(Arc<Queue>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn check_endpoint(endpoint: &str) -> Result<()> {
    let uri: Option<http::Uri> = endpoint.parse().ok();
    let is_http = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
    });
    match is_http {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "{endpoint:?} is not a collector's URL, as http://127.0.0.1:4318 is"
        ))),
    }
}
