//! Spans that go to other threads, or outlive theirs.

use capspan::trace::{MemoryObserver, Observer, SpanParent, SpanRecord, Tracer};
use capspan_testkit::story;
use tracing::{Span, info, info_span};

use super::setting::{mark, observe, observed};

/// Runs `work` on a thread of its own, with the subscriber of this one, and waits for it.
fn elsewhere(work: impl FnOnce() + Send + 'static) {
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let thread = std::thread::spawn(move || tracing::dispatcher::with_default(&dispatch, work));
    thread.join().unwrap();
}

#[test]
fn on_another_thread_a_span_is_not_seen_and_closed_there_it_closes_here_once() {
    let (spans, _, _observing) = observed();
    let span = info_span!("span");
    let clone = span.clone();
    elsewhere(move || {
        let others = MemoryObserver::new();
        let _observing = Tracer::new(others.clone()).observe_tracing();
        clone.in_scope(|| {
            assert!(!SpanParent::current().is_observed());
            info!("lost");
            info_span!("of the other thread").in_scope(|| mark("in it"));
        });
        assert_eq!(others.closed().len(), 2);
    });
    span.in_scope(|| mark("in it"));
    elsewhere(move || drop(span));
    assert!(spans.named("span").unwrap().is_open());
    info_span!("next");
    let wanted = "\
span INTERNAL test closed
  in it INTERNAL test closed
next INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
    assert!(spans.named("span").unwrap().events().is_empty());
    story::assert_closed_once(&spans);
}

#[test]
fn what_is_open_when_the_observing_or_the_thread_ends_is_closed_once() {
    let (spans, _, (_default, observing)) = observed();
    let span = info_span!("closed elsewhere");
    elsewhere(move || drop(span));
    drop(observing);
    assert!(spans.open().is_empty());
    story::assert_closed_once(&spans);

    struct Counts(std::sync::mpsc::Sender<&'static str>);
    impl Observer for Counts {
        fn opened(&self, _span: &SpanRecord) {
            self.0.send("opened").unwrap();
        }

        fn closed(&self, _span: &SpanRecord) {
            self.0.send("closed").unwrap();
        }
    }
    let (told, telling) = std::sync::mpsc::channel();
    let span = std::thread::spawn(move || {
        let (default, observing) = observe(&Tracer::new(Counts(told)));
        let span = info_span!("outlives its thread");
        drop((default, observing));
        span
    });
    let span: Span = span.join().unwrap();
    drop(span);
    assert_eq!(telling.iter().collect::<Vec<_>>(), ["opened", "closed"]);
}
