//! How often a span that is exported allocates more, in the thread of the service.
//!
//! In a process of its own: the global allocator counts for all threads. So the worker sleeps meanwhile.

use std::sync::mpsc::{self, RecvError, Sender};
use std::time::Duration;

use capspan::export::Otel;
use capspan::trace::{NoopObserver, Observer, Outcome, SpanEvent, SpanKind, SpanStatus, Tracer};
use capspan_testkit::memory::{COUNTING, Counting, allocated};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

/// Keeps nothing. Whoever has the other end is told when the worker has let go of it.
#[derive(Clone, Debug)]
struct Nowhere {
    _kept: Sender<()>,
}

fn nowhere(kept: Sender<()>) -> Nowhere {
    Nowhere { _kept: kept }
}

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
}

impl LogExporter for Nowhere {
    async fn export(&self, _: LogBatch<'_>) -> opentelemetry_sdk::error::OTelSdkResult {
        Ok(())
    }
}

/// A span as one of a call is, and one on which much is written.
fn plain(tracer: &Tracer) {
    tracer
        .root()
        .start("users.Users/find", SpanKind::Client)
        .end();
}

fn full(tracer: &Tracer) {
    let span = tracer.root().start("users.Users/find", SpanKind::Client);
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        span.set_attribute(key, "a text")
            .set_attribute(format!("{key}.list"), ["a", "b"]);
    }
    span.set_name("another");
    span.add_event(SpanEvent::new("first").attribute("k", 1));
    span.set_status(SpanStatus::error("oh no"));
    span.set_outcome(Outcome::Exception);
    span.end();
}

const SPANS: usize = 100;

/// Allocations and bytes of so many spans.
fn cost(observer: impl Observer + 'static, span: fn(&Tracer)) -> (usize, usize) {
    let tracer = Tracer::new(observer).with_service("users");
    // The first ones make room, here and in the queue.
    for _ in 0..2 * SPANS {
        span(&tracer);
    }
    // The thread of the tests' own has its moments: the least of several is what spans take.
    let several = (0..5).map(|_| {
        let (_, allocated) = allocated(|| (0..SPANS).for_each(|_| span(&tracer)));
        (allocated.times, allocated.bytes)
    });
    several.min().unwrap_or_default()
}

/// The same, where each record is exported.
fn exported_cost(span: fn(&Tracer)) -> (usize, usize) {
    let long = Duration::from_secs(3600);
    let otel = Otel::builder().batch_size(10_000).batch_delay(long);
    let (kept, is_over) = mpsc::channel();
    let otel = otel
        .build_with(nowhere(kept.clone()), nowhere(kept))
        .unwrap();
    // The queues of both threads have had as many.
    let tracer = Tracer::new(otel.observer());
    for _ in 0..2 {
        for _ in 0..8 * SPANS {
            span(&tracer);
        }
        otel.flush_blocking(long);
    }
    let cost = cost(otel.observer(), span);
    // It allocates for what it exports: nobody is to count that.
    otel.shutdown_blocking(long);
    assert_eq!(is_over.recv(), Err(RecvError));
    cost
}

#[test]
fn an_exported_span_allocates_twice_more() {
    let spans = [plain, full];
    for (span, (times, bytes)) in spans.map(|span| (span, cost(NoopObserver, span))) {
        let (times_exported, bytes_exported) = exported_cost(span);
        assert_eq!(times_exported - times, 2 * SPANS);
        let more = (bytes_exported - bytes) / SPANS;
        assert!(more < 1500, "{more} bytes for a span");
    }
    // What is not wanted costs nothing.
    let otel = Otel::builder().only_sampled(true);
    let (kept, _) = mpsc::channel();
    let otel = otel
        .build_with(nowhere(kept.clone()), nowhere(kept))
        .unwrap();
    let unsampled = |tracer: &Tracer| plain(&tracer.clone().with_new_trace_flags(None));
    assert_eq!(
        cost(otel.observer(), unsampled),
        cost(NoopObserver, unsampled)
    );
}
