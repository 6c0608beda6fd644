//! What one change to the caller's span costs the callee, in process: `cargo bench -- enrichment`.
//!
//! Each has an observer that does nothing, and the system's clock.

#![allow(missing_docs, reason = "criterion's macro makes a function without")]

use std::hint::black_box;

use capspan::Tasks;
use capspan::enrich::{Enricher, export};
use capspan::trace::{EnrichRules, NoopObserver, SpanBuilder, SpanKind, Tracer};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

/// A span, and the callee's handle on it.
fn observed(rules: EnrichRules) -> (SpanBuilder, Enricher) {
    let (tasks, _driver) = Tasks::new();
    let tracer = Tracer::new(NoopObserver).with_enrich_rules(rules);
    let span = tracer.root().start("call", SpanKind::Client);
    let enricher = Enricher::from_capability(export(span.downgrade()), &tasks);
    (span, enricher)
}

fn enrichment(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("enrichment");
    let (_span, enricher) = observed(EnrichRules::default());
    let mut rows = 0;
    group.bench_function("attribute_again", |bencher| {
        bencher.iter(|| {
            rows += 1;
            black_box(&enricher).set_attribute("db.rows", rows);
        });
    });
    group.bench_function("text_again", |bencher| {
        bencher.iter(|| black_box(&enricher).set_attribute("user.plan", "pro"));
    });
    let (_span, ruled) = observed(EnrichRules::default().allow_keys(["db."]));
    group.bench_function("attribute_again_by_rules", |bencher| {
        bencher.iter(|| black_box(&ruled).set_attribute("db.rows", 1));
    });
    // The spans are made and dropped outside of what is measured.
    group.bench_function("first_attribute", |bencher| {
        bencher.iter_batched_ref(
            || observed(EnrichRules::default()),
            |(_span, enricher)| enricher.set_attribute("db.rows", 1),
            BatchSize::SmallInput,
        );
    });
    const KEYS: [&str; 8] = ["a.1", "a.2", "a.3", "a.4", "a.5", "a.6", "a.7", "a.8"];
    group.bench_function("eight_attributes", |bencher| {
        bencher.iter_batched_ref(
            || observed(EnrichRules::default()),
            |(_span, enricher)| {
                for key in KEYS {
                    enricher.set_attribute(key, 1);
                }
            },
            BatchSize::SmallInput,
        );
    });
    let nobody = Enricher::none();
    group.bench_function("unobserved", |bencher| {
        bencher.iter(|| black_box(&nobody).set_attribute("db.rows", 1));
    });
    group.finish();
}

criterion_group!(benches, enrichment);
criterion_main!(benches);
