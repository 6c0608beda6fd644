//! What metrics cost the thread of a service: `cargo bench --features metrics --bench metrics`.
//!
//! The observer is told of spans that were closed before, by the SDK of OpenTelemetry with a reader that is
//! never asked but in the last row. To compare: what the bare instrument takes.

#![allow(missing_docs, reason = "criterion's macro makes a function without")]

use std::hint::black_box;
use std::sync::{Arc, Weak};
use std::time::Duration;

use capspan::export::Metrics;
use capspan::trace::{MemoryObserver, Observer, SpanRecord, SpanRole};
use capspan_testkit::calls::{number, pair};
use capspan_testkit::run::run;
use capspan_testkit::service::Place;
use criterion::{Criterion, criterion_group, criterion_main};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality,
};

/// Spans of a session with one call, that have closed.
fn records() -> Vec<SpanRecord> {
    let spans: MemoryObserver = run(async {
        let pair = pair(Place::InProcess);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await;
        drop(thing);
        pair.settle().await;
        drop(handle);
        let spans = pair.spans.clone();
        pair.finish().await;
        spans
    });
    spans.closed()
}

fn metrics(criterion: &mut Criterion) {
    let records = records();
    let of = |role| records.iter().find(|span| span.role() == role).cloned();
    let (call, event) = (of(SpanRole::Call), of(SpanRole::Event));
    let (call, event) = (call.expect("it was called"), event.expect("it was opened"));

    let reader = Arc::new(ManualReader::default());
    let provider = SdkMeterProvider::builder()
        .with_reader(Shared(reader.clone()))
        .build();
    let meter = provider.meter("bench");
    let metrics = Metrics::new(&meter);
    let observer = metrics.observer();

    let mut group = criterion.benchmark_group("metrics");
    group.bench_function("call", |bencher| {
        bencher.iter(|| {
            observer.opened(black_box(&call));
            observer.closed(black_box(&call));
        });
    });
    group.bench_function("event", |bencher| {
        bencher.iter(|| {
            observer.opened(black_box(&event));
            observer.closed(black_box(&event));
        });
    });
    let histogram = meter.f64_histogram("bare").build();
    let attributes = [
        KeyValue::new("capspan.outcome", "ok"),
        KeyValue::new("rpc.method", "Thing/number"),
        KeyValue::new("rpc.system.name", "capnproto"),
    ];
    group.bench_function("histogram_alone", |bencher| {
        bencher.iter(|| histogram.record(black_box(0.001), black_box(&attributes)));
    });
    group.bench_function("collect", |bencher| {
        bencher.iter(|| {
            let mut collected = ResourceMetrics::default();
            let _is_registered = reader.collect(&mut collected);
            collected
        });
    });
    group.finish();
}

#[derive(Debug)]
struct Shared(Arc<ManualReader>);

impl MetricReader for Shared {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

criterion_group!(benches, metrics);
criterion_main!(benches);
