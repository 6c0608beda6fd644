//! How often what is counted allocates: not at all, once its attributes are there.
//!
//! In a process of its own: the global allocator counts for all threads.
#![cfg(feature = "metrics")]

use capspan::export::Metrics;
use capspan::trace::{Observer, SpanRecord, SpanRole};
use capspan_testkit::calls::{number, pair};
use capspan_testkit::memory::{COUNTING, Counting, allocated};
use capspan_testkit::run::run;
use capspan_testkit::service::Place;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};

#[global_allocator]
static ALLOCATOR: Counting = COUNTING;

const TIMES: usize = 1_000;

/// Spans that have closed: of two sessions, each called twice, of which one fails.
fn records() -> Vec<SpanRecord> {
    run(async {
        let pair = pair(Place::InProcess);
        for _ in 0..2 {
            let (thing, handle) = pair.open().into_parts();
            number(&thing).await;
            assert!(thing.fail_request().send().promise.await.is_err());
            drop(thing);
            pair.settle().await;
            drop(handle);
        }
        let spans = pair.spans.clone();
        pair.finish().await;
        spans.closed()
    })
}

#[test]
fn a_call_and_a_session_cost_no_allocation() {
    let records = records();
    let is = |role| records.iter().filter(move |span| span.role() == role);
    assert_eq!(
        [is(SpanRole::Call).count(), is(SpanRole::Event).count()],
        [8, 4]
    );
    // In the SDK's hands until it is asked.
    let provider = SdkMeterProvider::builder()
        .with_reader(ManualReader::default())
        .build();
    let metrics = Metrics::new(&provider.meter("capspan"));
    let observer = metrics.observer();
    let tell = || {
        for span in &records {
            observer.opened(span);
            observer.closed(span);
        }
    };
    // Each method and each way to end is seen for the first time.
    let ((), first) = allocated(tell);
    assert!(first.times > 0);
    let ((), more) = allocated(|| (0..TIMES).for_each(|_| tell()));
    assert_eq!((more.times, more.bytes), (0, 0));
}
