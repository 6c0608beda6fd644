//! A life and who waits for its end.

use super::*;
use crate::trace::{SpanKind, Tracer};
use std::sync::Arc;
use std::task::{Context, Waker};

/// Asks once with a waker of its own, as each call of a peer's does, and gives up.
fn ask_and_give_up(life: &Life) {
    struct Nobody;
    impl std::task::Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let nobody = Arc::new(Nobody);
    let waker = nobody.clone().into();
    let mut ended = Box::pin(life.ended());
    let polled = ended.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop((ended, waker));
    assert_eq!(Arc::strong_count(&nobody), 1, "it is remembered");
}

#[test]
fn who_asks_how_it_ended_and_gives_up_is_forgotten() {
    let spans = Channels::default().map(|()| Tracer::unobserved().root());
    let spans = spans.map(|parent| parent.start("x", SpanKind::Server));
    let (tasks, _driver) = Tasks::new();
    let setting = Setting::new(None, &tasks);
    let life = Life::begin(
        What::Session,
        Side::Caller,
        spans,
        Enricher::none(),
        &setting,
    );
    let waker = Waker::noop();
    let mut stays = Box::pin(life.ended());
    let mut cx = Context::from_waker(waker);
    assert!(stays.as_mut().poll(&mut cx).is_pending());
    for _ in 0..3 {
        ask_and_give_up(&life);
    }
    life.abort(SessionEnd::new(Outcome::Canceled, None));
    assert!(stays.as_mut().poll(&mut cx).is_ready());
}
