//! What a span that is exported costs the service's thread: `cargo bench --features otel -- export`.
//!
//! Each is a root span of a call, opened and closed, by the system's clock. `unobserved` and `noop` are what it
//! takes anyway; `otel` copies its record for an exporter whose worker takes all at once and throws it away.

#![allow(missing_docs, reason = "criterion's macro makes a function without")]

use capspan::export::Otel;
use capspan::trace::{NoopObserver, Outcome, SpanKind, Tracer};
use criterion::{Criterion, criterion_group, criterion_main};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

impl LogExporter for Nowhere {
    async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
        Ok(())
    }
}

fn plain(tracer: &Tracer) {
    let span = tracer.root().start("users.Users/find", SpanKind::Client);
    span.set_outcome(Outcome::Ok).end();
}

fn eight_attributes(tracer: &Tracer) {
    let span = tracer.root().start("users.Users/find", SpanKind::Client);
    for key in ["a.1", "a.2", "a.3", "a.4", "a.5", "a.6", "a.7", "a.8"] {
        span.set_attribute(key, "a text of some length");
    }
    span.set_outcome(Outcome::Ok).end();
}

fn export(criterion: &mut Criterion) {
    let otel = || {
        Otel::builder()
            .build_with(Nowhere, Nowhere)
            .expect("a thread for the worker")
    };
    // Here no record waits for another: the queue is full, and each record is thrown away again.
    let full = Otel::builder().max_records(1).build_with(Nowhere, Nowhere);
    let full = full.expect("a thread for the worker");
    for (name, span) in [
        ("plain", plain as fn(&Tracer)),
        ("eight_attributes", eight_attributes),
    ] {
        let mut group = criterion.benchmark_group(format!("export/{name}"));
        let tracer = Tracer::unobserved();
        group.bench_function("unobserved", |bencher| bencher.iter(|| span(&tracer)));
        let tracer = Tracer::new(NoopObserver);
        group.bench_function("noop", |bencher| bencher.iter(|| span(&tracer)));
        let otel = otel();
        let tracer = Tracer::new(otel.observer());
        group.bench_function("otel", |bencher| bencher.iter(|| span(&tracer)));
        let tracer = Tracer::new(full.observer());
        group.bench_function("otel_full", |bencher| bencher.iter(|| span(&tracer)));
        group.finish();
    }
}

criterion_group!(benches, export);
criterion_main!(benches);
