//! What exporters say of themselves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use capspan::export::ExportCounts;

use super::setting::Meters;

#[test]
fn what_exporters_say_is_shown_as_it_is_then() {
    let meters = Meters::new();
    let queued = Arc::new(AtomicU64::new(3));
    let now = queued.clone();
    meters.metrics.exporter("otlp", move || {
        ExportCounts::new(10, 4)
            .queued(now.load(Ordering::Relaxed))
            .dropped("queue_full", 2)
            .dropped("export_failed", 1)
    });
    // It may name another while it is asked.
    let metrics = Arc::new(Mutex::new(Some(meters.metrics.clone())));
    let once = metrics.clone();
    meters.metrics.exporter("file", move || {
        // Taken, or it would keep itself.
        if let Some(metrics) = once.lock().unwrap().take() {
            metrics.exporter("late", || ExportCounts::new(1, 1));
        }
        ExportCounts::new(5, 5)
    });
    let exporter = |name: &str| format!("capspan.exporter={name}");
    let emitted = meters.sums("capspan.export.emitted");
    assert_eq!(
        [emitted[&exporter("otlp")], emitted[&exporter("file")]],
        [10.0, 5.0]
    );
    let exported = meters.sums("capspan.export.exported");
    assert_eq!(
        [exported[&exporter("otlp")], exported[&exporter("file")]],
        [4.0, 5.0]
    );
    let dropped = meters.sums("capspan.export.dropped");
    let cause = |cause| format!("capspan.export.cause={cause} {}", exporter("otlp"));
    let wanted = [("queue_full", 2.0), ("export_failed", 1.0)];
    assert_eq!(
        dropped,
        wanted.map(|(name, count)| (cause(name), count)).into()
    );
    let waiting = || {
        meters
            .sums("capspan.export.queued")
            .get(&exporter("otlp"))
            .copied()
    };
    assert_eq!(waiting(), Some(3.0));
    queued.store(7, Ordering::Relaxed);
    assert_eq!(waiting(), Some(7.0));
    assert!(metrics.lock().unwrap().is_none());
    assert_eq!(
        meters.sums("capspan.export.emitted")[&exporter("late")],
        1.0
    );
}

#[cfg(feature = "otel")]
#[test]
fn what_becomes_of_spans_on_their_way_to_a_collector_is_shown() {
    use capspan::export::Otel;
    use capspan::trace::{SpanKind, Tracer};
    use std::time::Duration;

    let meters = Meters::new();
    // Nobody has exported anything before its time.
    let long = Duration::from_secs(600);
    let builder = Otel::builder()
        .endpoint("http://127.0.0.1:1")
        .max_records(2);
    let otel = builder.batch_delay(long).build().unwrap();
    meters.metrics.otel(&otel);
    let tracer = Tracer::new(otel.observer());
    for _ in 0..3 {
        tracer.root().start("x", SpanKind::Internal).end();
    }
    let exporter = "capspan.exporter=otlp";
    let sum = |name: &str| meters.sums(&format!("capspan.export.{name}"));
    let dropped = |cause| format!("capspan.export.cause={cause} {exporter}");
    assert_eq!(sum("emitted"), [(exporter.to_owned(), 3.0)].into());
    assert_eq!(sum("queued"), [(exporter.to_owned(), 2.0)].into());
    assert_eq!(sum("dropped"), [(dropped("queue_full"), 1.0)].into());
    // What shows it does not hold it.
    otel.shutdown_blocking(Duration::ZERO);
    drop((tracer, otel));
    let lost = [("queue_full", 1.0), ("shut_down", 2.0)];
    assert_eq!(
        sum("dropped"),
        lost.map(|(cause, count)| (dropped(cause), count)).into()
    );
    assert!(sum("queued").is_empty());
}
