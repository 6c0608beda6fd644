//! What becomes of each record is counted, whatever the exporters do.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use capspan::export::{Otel, OtelCounts};
use capspan::trace::{SpanKind, Tracer};
use capspan_testkit::exported::Random;

use crate::taken::{Fate, Taken};

const LONG: Duration = Duration::from_secs(60);

fn assert_adds_up(counts: OtelCounts) {
    let OtelCounts {
        emitted,
        exported,
        queued,
        ..
    } = counts;
    assert_eq!(emitted, exported + counts.dropped() + queued, "{counts:?}");
}

/// Emits spans of this name.
fn emit(tracer: &Tracer, name: &str, count: usize) {
    for _ in 0..count {
        tracer.root().start(name, SpanKind::Internal).end();
    }
}

#[test]
fn counts_add_up_under_random_failures() {
    for seed in 0..40 {
        let fates = Arc::new(Mutex::new((Random::new(seed), OtelCounts::default())));
        let decided = fates.clone();
        let taken = Taken::deciding(move |count| {
            let (random, model) = &mut *decided.lock().unwrap();
            let fate = match random.below(10) {
                0 => Fate::Panic,
                1 => Fate::Hang,
                2 | 3 => Fate::Fail,
                _ => Fate::Take,
            };
            match fate {
                Fate::Take => model.exported += count as u64,
                _ => model.dropped_export_failed += count as u64,
            }
            fate
        });
        let mut random = Random::new(seed + 1000);
        let max_records = 1 + random.below(40);
        let otel = Otel::builder()
            .max_records(max_records)
            .batch_size(1 + random.below(20))
            .batch_delay(Duration::from_millis(random.below(3) as u64))
            .export_timeout(Duration::from_millis(2))
            .build_with(taken.clone(), taken.clone())
            .unwrap();
        let threads = (0..3).map(|number| {
            let (otel, mut random) = (otel.clone(), Random::new(seed + 2000 + number));
            thread::spawn(move || {
                let service = format!("{number}");
                let tracer = Tracer::new(otel.observer()).with_service(&service);
                let mut emitted = 0;
                for _ in 0..20 {
                    let count = random.below(20);
                    emit(&tracer, "work", count);
                    emitted += count as u64;
                    let counts = otel.counts();
                    assert_adds_up(counts);
                    assert!(counts.queued <= max_records as u64, "{counts:?}");
                    if random.one_in(4) {
                        let counts = otel.flush_blocking(LONG);
                        assert_adds_up(counts);
                        assert!(counts.emitted >= emitted);
                    }
                }
                emitted
            })
        });
        let threads: Vec<_> = threads.collect();
        let emitted: u64 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        let counts = otel.shutdown_blocking(LONG);
        let mut wanted = fates.lock().unwrap().1;
        wanted.emitted = emitted;
        wanted.dropped_queue_full = emitted - wanted.exported - wanted.dropped_export_failed;
        assert_eq!(counts, wanted, "seed {seed}");
        assert_eq!(
            taken.exported().len() as u64,
            counts.exported,
            "seed {seed}"
        );
        assert_adds_up(otel.counts());
    }
}

/// An exporter that waits for a word before each batch; who gives it, and hears when a batch is there.
fn gated() -> (Taken, mpsc::Sender<Fate>, mpsc::Receiver<usize>) {
    let (give, given) = mpsc::channel();
    let (say, said) = mpsc::channel();
    let given = Mutex::new((given, say));
    let taken = Taken::deciding(move |count| {
        let (given, say) = &*given.lock().unwrap();
        let _ = say.send(count);
        given.recv().unwrap_or(Fate::Fail)
    });
    (taken, give, said)
}

#[test]
fn a_full_queue_keeps_what_it_has() {
    let (taken, give, said) = gated();
    let builder = Otel::builder().max_records(10).batch_size(4);
    let otel = builder.build_with(taken.clone(), taken.clone()).unwrap();
    let tracer = Tracer::new(otel.observer());
    for number in 0..4 {
        emit(&tracer, &number.to_string(), 1);
    }
    // These are on their way, and count as long as nobody knows what becomes of them.
    assert_eq!(said.recv_timeout(LONG), Ok(4));
    for number in 4..20 {
        emit(&tracer, &number.to_string(), 1);
    }
    let counts = otel.counts();
    assert_eq!((counts.queued, counts.dropped_queue_full), (10, 10));
    for _ in 0..3 {
        give.send(Fate::Take).unwrap();
    }
    assert_eq!(otel.shutdown_blocking(LONG).exported, 10);
    let first: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(taken.names(), first);
}

#[test]
fn bytes_are_limited_as_well() {
    let (taken, give, said) = gated();
    let builder = Otel::builder().max_bytes(100_000).batch_size(1);
    let otel = builder.build_with(taken.clone(), taken.clone()).unwrap();
    let tracer = Tracer::new(otel.observer());
    let emit_large = || {
        let span = tracer.root().start("large", SpanKind::Internal);
        for key in ["a", "b", "c", "d", "e"] {
            span.set_attribute(key, "x".repeat(4_000));
        }
        span.end();
    };
    emit_large();
    assert_eq!(said.recv_timeout(LONG), Ok(1));
    for _ in 0..9 {
        emit_large();
    }
    // Each takes somewhat more than its 20,000 bytes of text.
    let counts = otel.counts();
    assert_eq!((counts.queued, counts.dropped_queue_full), (4, 6));
    for _ in 0..4 {
        give.send(Fate::Take).unwrap();
    }
    assert_eq!(otel.flush_blocking(LONG).exported, 4);
    // There is room again.
    emit_large();
    give.send(Fate::Take).unwrap();
    assert_eq!(otel.shutdown_blocking(LONG).exported, 5);
}

#[test]
fn why_an_export_has_failed_can_be_asked() {
    let taken = Taken::deciding(|_| Fate::Fail);
    let otel = Otel::builder().build_with(taken.clone(), taken).unwrap();
    assert_eq!(otel.last_failure(), None);
    emit(&Tracer::new(otel.observer()), "work", 2);
    assert_eq!(otel.flush_blocking(LONG).dropped_export_failed, 2);
    assert_eq!(
        otel.last_failure().as_deref(),
        Some("Operation failed: as told")
    );
}

#[test]
fn a_wrong_setup_is_told() {
    for endpoint in [
        "",
        "127.0.0.1:4318",
        "ftp://a/",
        "http://",
        "http://a/?b",
        "http://a b/",
    ] {
        let error = Otel::builder().endpoint(endpoint).build().unwrap_err();
        assert!(error.is_invalid(), "{endpoint}: {error}");
    }
    let error = Otel::builder().header("a b", "c").build().unwrap_err();
    assert!(error.is_invalid(), "{error}");
    let error = Otel::builder().batch_size(0).build().unwrap_err();
    assert!(error.is_invalid(), "{error}");
}
