//! Spans to a collector that is not ours, and back from what it prints. `.ci/interop` installs it.

mod demo;
mod down;
mod session;

use std::future::Future;
use std::time::Duration;

use capspan::export::Otel;
use capspan::trace::{SpanKind, Tracer};
use capspan_interop::{Collector, Printed};

/// No step of a test takes longer, unless something is wrong.
const LONG: Duration = Duration::from_secs(60);

/// After this one all that was exported before has been printed.
const LAST: &str = "the last one";

fn run(test: impl Future<Output = ()>) {
    capspan_interop::run(2 * LONG, test);
}

/// Exports to a collector, which may not be there yet.
fn to(collector: &Collector) -> Otel {
    let builder = Otel::builder().endpoint(collector.url());
    builder
        .export_timeout(LONG)
        .build()
        .expect("a collector's URL")
}

/// What the collector has printed, now that nothing more will come of `otel`.
async fn printed(collector: &mut Collector, otel: &Otel) -> Vec<Printed> {
    let tracer = Tracer::new(otel.observer());
    otel.flush().await;
    tracer.root().start(LAST, SpanKind::Internal).end();
    otel.shutdown(LONG).await;
    collector.until(LAST).await
}

/// Both lists have the same spans, each once, in any order.
fn assert_same(mut wanted: Vec<Printed>, mut printed: Vec<Printed>) {
    for list in [&mut wanted, &mut printed] {
        list.sort_by(|a, b| a.span_id.cmp(&b.span_id));
    }
    for (wanted, printed) in wanted.iter().zip(&printed) {
        assert_eq!(wanted, printed);
    }
    assert_eq!(wanted.len(), printed.len());
}
