//! The worker: a thread of its own, in which all is converted, sent, and waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::Resource;

use super::answer::{Answer, Backoff};
use super::exporters::Export;
use super::late::LogRecords;
use super::packed::Packed;
use super::queue::{Queue, Settled};
use super::span::to_span_data;
use super::value::key_value;
use super::wait::from_now;
use crate::trace::Value;

pub(super) struct Worker<E> {
    pub(super) queue: Arc<Queue>,
    pub(super) exporters: E,
    /// Of every resource, beside the service.
    pub(super) attributes: Vec<(String, Value)>,
    /// For each batch, with all attempts.
    pub(super) timeout: Duration,
}

impl<E: Export> Worker<E> {
    /// Until all is over.
    pub(super) fn run(self) {
        // What the exporters themselves do is not to be exported.
        let _suppressed = Context::enter_telemetry_suppressed_scope();
        let mut running = Running {
            scope: InstrumentationScope::builder("capspan")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            log_records: LogRecords::new(),
            service: None,
            not_before: None,
            worker: self,
        };
        let mut taken = VecDeque::new();
        while running.worker.queue.take(&mut taken) {
            while !taken.is_empty() {
                let count = taken.len().min(running.worker.queue.limits.batch);
                let batch: Vec<_> = taken.drain(..count).collect();
                if !running.export(batch) {
                    taken.clear();
                    running.worker.queue.close();
                }
            }
        }
        running.worker.exporters.shutdown();
    }
}

struct Running<E> {
    worker: Worker<E>,
    scope: InstrumentationScope,
    log_records: LogRecords,
    /// The service that the exporters know of.
    service: Option<Box<str>>,
    /// The collector does not want to hear of us until then.
    not_before: Option<Instant>,
}

impl<E: Export> Running<E> {
    /// Exports a batch, a part for each service and kind. Is there time for another one?
    fn export(&mut self, batch: Vec<Packed>) -> bool {
        let count = batch.len();
        let mut parts: Vec<Vec<Packed>> = Vec::new();
        for record in batch {
            let is_alike = |part: &&mut Vec<Packed>| {
                part.first().is_some_and(|first| {
                    first.is_span() == record.is_span() && first.service() == record.service()
                })
            };
            match parts.iter_mut().find(is_alike) {
                Some(part) => part.push(record),
                None => parts.push(vec![record]),
            }
        }
        let has_time = parts.into_iter().all(|part| self.export_part(&part));
        self.worker.queue.finish(count);
        has_time
    }

    /// Exports records of one service and kind, and counts them. Is there time for more?
    fn export_part(&mut self, part: &[Packed]) -> bool {
        let queue = self.worker.queue.clone();
        if let Some(not_before) = self.not_before.take()
            && !queue.pause(not_before)
        {
            return false;
        }
        if let Some(first) = part.first() {
            self.set_service(first.service());
        }
        let Some(rejected) = self.try_until_taken(part) else {
            return false;
        };
        let all = part.len() as u64;
        let failed = rejected.min(all);
        queue.settle(Settled {
            exported: all - failed,
            failed,
            bytes: part.iter().map(Packed::size).sum(),
        });
        true
    }

    /// How many of them no collector has; `None` if all is to be over.
    fn try_until_taken(&mut self, part: &[Packed]) -> Option<u64> {
        let queue = self.worker.queue.clone();
        let timeout = from_now(self.worker.timeout);
        let mut backoff = Backoff::new();
        loop {
            let end = queue.ends_at();
            if end.is_some_and(|end| end <= Instant::now()) {
                return None;
            }
            let deadline = end.map_or(timeout, |end| end.min(timeout));
            let (why, after) = match self.attempt(part, deadline) {
                Answer::Taken { rejected: 0, .. } => return Some(0),
                Answer::Taken { rejected, why } => {
                    queue.failed(&format!("the collector refuses {rejected} of them: {why}"));
                    return Some(rejected);
                }
                Answer::Refused { why } => {
                    queue.failed(&why);
                    return Some(part.len() as u64);
                }
                Answer::Later { why, after } => (why, after),
            };
            queue.failed(&why);
            let next = Instant::now() + after.unwrap_or_else(|| backoff.next());
            if next >= timeout {
                // As long as a collector said, the following ones wait as well.
                self.not_before = after.map(|_| next);
                return Some(part.len() as u64);
            }
            if !queue.pause(next) {
                return None;
            }
        }
    }

    fn attempt(&mut self, part: &[Packed], deadline: Instant) -> Answer {
        let exporters = &mut self.worker.exporters;
        if part.first().is_some_and(Packed::is_span) {
            let spans = part.iter();
            let spans = spans.filter_map(|record| to_span_data(record, &self.scope));
            exporters.spans(spans.collect(), deadline)
        } else {
            let records = part.iter();
            let records = records.filter_map(|record| self.log_records.of(record));
            let records: Vec<_> = records.collect();
            let batch: Vec<_> = records.iter().map(|record| (record, &self.scope)).collect();
            exporters.logs(&batch, deadline)
        }
    }

    fn set_service(&mut self, service: &str) {
        if self.service.as_deref() == Some(service) {
            return;
        }
        self.service = Some(service.into());
        let attributes = self.worker.attributes.iter().cloned().map(key_value);
        let resource = Resource::builder().with_attributes(attributes);
        let resource = match service {
            "" => resource.build(),
            service => resource.with_service_name(service.to_owned()).build(),
        };
        self.worker.exporters.set_resource(&resource);
    }
}
