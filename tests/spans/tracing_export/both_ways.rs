//! With a layer in the same subscriber that makes `tracing`'s spans ours.

use capspan::export::TracingSpans;
use capspan::trace::{
    MemoryObserver, NoopObserver, Observer, SpanKind, SpanParent, SpanRecord, Tracer, TracingGuard,
    TracingLayer, with_current,
};
use capspan_testkit::story;
use tracing::subscriber::DefaultGuard;
use tracing::{info, info_span};
use tracing_subscriber::layer::SubscriberExt;

use super::setting::Seen;
use crate::tracing_parent::setting::mark;

/// All that is told, in both directions.
fn both_ways(
    also: impl Observer + 'static,
) -> (
    Seen,
    MemoryObserver,
    Tracer,
    TracingSpans,
    (DefaultGuard, TracingGuard),
) {
    let (seen, ours, spans) = (Seen::default(), MemoryObserver::new(), TracingSpans::new());
    let tracer = Tracer::new(((spans.clone(), ours.clone()), also)).with_service("test");
    let subscriber = tracing_subscriber::registry()
        .with(TracingLayer::new())
        .with(seen.clone());
    let default = tracing::subscriber::set_default(subscriber);
    let observing = tracer.observe_tracing();
    (seen, ours, tracer, spans, (default, observing))
}

#[test]
fn each_span_is_told_once_in_each_direction() {
    let (seen, ours, tracer, spans, _observing) = both_ways(NoopObserver);
    info_span!("theirs", a = 1).in_scope(|| {
        info!("in theirs");
        mark("below theirs");
        let request = tracer.root().start("request", SpanKind::Server);
        request.set_attribute("k", 1).add_event("in request");
        with_current(request.parent(), || {
            spans.current().in_scope(|| {
                info_span!("look up").in_scope(|| {
                    info!("found");
                    mark("below look up");
                });
            });
        });
    });
    let wanted = "\
theirs
  work below theirs internal test
  work request server test
    look up
      work below look up internal test
";
    assert_eq!(seen.tree(), wanted);
    let wanted = "\
theirs INTERNAL test closed
  below theirs INTERNAL test closed
request SERVER test closed
  look up INTERNAL test closed
    below look up INTERNAL test closed
";
    assert_eq!(story::tree(&ours), wanted);
    story::assert_closed_once(&ours);
    let events = |name: &str| -> Vec<String> {
        let span = ours.named(name).unwrap();
        span.events()
            .iter()
            .map(|event| event.name().to_owned())
            .collect()
    };
    assert_eq!(events("theirs"), ["in theirs"]);
    assert_eq!(events("request"), ["in request"]);
    assert_eq!(events("look up"), ["found"]);
    assert_eq!(seen.named("theirs").events, ["INFO in theirs"]);
    assert_eq!(ours.named("request").unwrap().dropped().refused, 0);
}

#[test]
fn ids_of_a_subscribers_that_are_used_again_mean_the_new_span() {
    let (seen, ours, tracer, _, _observing) = both_ways(NoopObserver);
    for round in 0..100 {
        let span = tracer
            .root()
            .start(format!("ours {round}"), SpanKind::Internal);
        info_span!("theirs").in_scope(|| mark("in it"));
        drop(span);
    }
    assert_eq!(seen.spans().len(), 300);
    assert!(seen.spans().iter().all(|span| span.closed == 1));
    assert_eq!(ours.closed().len(), 300);
    story::assert_closed_once(&ours);
}

#[test]
fn an_observer_that_uses_tracing_beside_it_ends() {
    struct Chatty;
    impl Chatty {
        fn say(&self) {
            info_span!("telling").in_scope(|| {
                info!("told");
                SpanParent::current()
                    .start("more", SpanKind::Internal)
                    .end();
            });
        }
    }
    impl Observer for Chatty {
        fn opened(&self, record: &SpanRecord) {
            if record.name() == "ours" {
                self.say();
            }
        }

        fn closed(&self, record: &SpanRecord) {
            if record.name() == "ours" {
                self.say();
            }
        }
    }
    let (seen, ours, tracer, _, _observing) = both_ways(Chatty);
    drop(tracer.root().start("ours", SpanKind::Internal));
    assert_eq!(
        seen.spans()
            .iter()
            .filter(|span| span.name == "telling")
            .count(),
        2
    );
    assert!(
        seen.spans().iter().all(|span| span.closed == 1),
        "{}",
        seen.tree()
    );
    story::assert_closed_once(&ours);
    assert_eq!(ours.closed().len(), 5, "{}", story::tree(&ours));
}
