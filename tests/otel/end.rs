//! Flushing and shutting down: on an event loop, without one, and by letting go.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use capspan::export::Otel;
use capspan::trace::{SpanKind, Tracer};
use futures::FutureExt as _;

use crate::taken::{Fate, Taken};

const LONG: Duration = Duration::from_secs(60);

fn emit(otel: &Otel, name: &str) {
    let tracer = Tracer::new(otel.observer());
    tracer.root().start(name, SpanKind::Internal).end();
}

/// Never exports by itself: a batch is too large, and its time too long.
fn patient(taken: &Taken) -> Otel {
    let builder = Otel::builder().batch_delay(LONG).batch_size(1000);
    builder.build_with(taken.clone(), taken.clone()).unwrap()
}

/// A current-thread event loop.
fn on_a_loop<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_flush_does_not_wait_for_a_batch() {
    let taken = Taken::new();
    let otel = patient(&taken);
    on_a_loop(async {
        emit(&otel, "a");
        assert_eq!(otel.flush().await.exported, 1);
        emit(&otel, "b");
        emit(&otel, "c");
        // Begun now, whenever it is awaited.
        let flush = otel.flush();
        let counts = otel.flush().await;
        assert_eq!((counts.exported, counts.queued), (3, 0));
        assert_eq!(flush.await.exported, 3);
        // There is nothing to do.
        assert_eq!(otel.flush().now_or_never(), Some(counts));
    });
    assert_eq!(taken.names(), ["a", "b", "c"]);
}

#[test]
fn an_event_loop_goes_on_while_a_flush_waits() {
    let (give, given) = mpsc::channel();
    let given = std::sync::Mutex::new(given);
    let taken = Taken::deciding(move |_| given.lock().unwrap().recv().unwrap());
    let otel = patient(&taken);
    on_a_loop(async {
        emit(&otel, "a");
        let mut flush = Box::pin(otel.flush());
        for _ in 0..100 {
            assert!(flush.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        give.send(Fate::Take).unwrap();
        assert_eq!(flush.await.exported, 1);
    });
}

#[test]
fn a_shutdown_exports_what_waits_and_lets_nothing_in() {
    let taken = Taken::new();
    let otel = patient(&taken);
    on_a_loop(async {
        emit(&otel, "a");
        let counts = otel.shutdown(LONG).await;
        assert_eq!((counts.emitted, counts.exported), (1, 1));
        emit(&otel, "b");
        let counts = otel.counts();
        assert_eq!((counts.emitted, counts.exported), (2, 1));
        assert_eq!(counts.dropped_shut_down, 1);
        // Once more does no harm, nor does a flush.
        assert_eq!(otel.shutdown(LONG).await, counts);
        assert_eq!(otel.flush().await, counts);
    });
    assert_eq!(taken.names(), ["a"]);
}

#[test]
fn a_shutdown_keeps_its_deadline_whatever_hangs() {
    let (hangs, is_hanging) = mpsc::channel();
    let hangs = std::sync::Mutex::new(hangs);
    let taken = Taken::deciding(move |_| {
        let _ = hangs.lock().unwrap().send(());
        Fate::Hang
    });
    let otel = Otel::builder()
        .batch_size(1)
        .export_timeout(LONG)
        .build_with(taken.clone(), taken)
        .unwrap();
    emit(&otel, "a");
    is_hanging.recv_timeout(LONG).unwrap();
    emit(&otel, "b");
    let flush = otel.flush();
    let began = Instant::now();
    let counts = on_a_loop(otel.shutdown(Duration::from_millis(20)));
    assert!((Duration::from_millis(20)..LONG).contains(&began.elapsed()));
    assert_eq!(
        (counts.emitted, counts.dropped_shut_down, counts.queued),
        (2, 2, 0)
    );
    assert_eq!(on_a_loop(flush), counts);
    assert_eq!(otel.shutdown_blocking(LONG), counts);
}

#[test]
fn the_earlier_of_two_deadlines_counts() {
    let taken = Taken::deciding(|_| Fate::Hang);
    let builder = Otel::builder().batch_size(1).export_timeout(LONG);
    let otel = builder.build_with(taken.clone(), taken).unwrap();
    emit(&otel, "a");
    let late = otel.shutdown(LONG);
    let early = otel.shutdown(Duration::from_millis(1));
    let began = Instant::now();
    assert_eq!(on_a_loop(late), on_a_loop(early));
    assert!(began.elapsed() < LONG);
}

#[test]
fn letting_go_exports_what_waits_and_waits_for_nobody() {
    let (say, said) = mpsc::channel();
    let say = std::sync::Mutex::new(say);
    let (give, given) = mpsc::channel();
    let given = std::sync::Mutex::new(given);
    let taken = Taken::deciding(move |count| {
        let _ = say.lock().unwrap().send(count);
        given.lock().unwrap().recv().unwrap()
    });
    let otel = patient(&taken);
    let memory = taken.memory.clone();
    drop(taken);
    let tracer = Tracer::new(otel.observer());
    drop(otel);
    // An observer is a handle, too.
    tracer.root().start("a", SpanKind::Internal).end();
    drop(tracer);
    assert_eq!(said.recv_timeout(LONG), Ok(1));
    give.send(Fate::Take).unwrap();
    // The worker lets go of the exporters when it is done.
    assert_eq!(said.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    assert_eq!(memory.lock().unwrap().shutdowns, 1);
}

#[test]
fn many_threads_share_one() {
    let taken = Taken::new();
    let otel = Otel::builder()
        .build_with(taken.clone(), taken.clone())
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let otel = &otel;
            scope.spawn(move || {
                let tracer = Tracer::new(otel.observer()).with_service(&thread.to_string());
                for _ in 0..1000 {
                    tracer.root().start("work", SpanKind::Internal).end();
                }
            });
        }
    });
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!((counts.emitted, counts.exported), (4000, 4000));
    let exported = taken.exported();
    for thread in 0..4 {
        let of_it = exported
            .iter()
            .filter(|span| span.service == thread.to_string());
        assert_eq!(of_it.count(), 1000);
    }
}
