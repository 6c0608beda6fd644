//! What they have in common.

use capspan::trace::{MemoryObserver, SpanKind, SpanParent, Tracer, TracingGuard, TracingLayer};
use capspan_testkit::service::Pair;
use capspan_testkit::testkit_capnp::thing;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layered, SubscriberExt};

/// A subscriber with our layer.
pub(crate) fn subscriber() -> Layered<TracingLayer, Registry> {
    tracing_subscriber::registry().with(TracingLayer::new())
}

/// Lets `tracer` be told of `tracing`'s spans on this thread.
pub(crate) fn observe(tracer: &Tracer) -> (DefaultGuard, TracingGuard) {
    let default = tracing::subscriber::set_default(subscriber());
    (default, tracer.observe_tracing())
}

/// The same with a tracer of its own.
pub(crate) fn observed() -> (MemoryObserver, Tracer, (DefaultGuard, TracingGuard)) {
    let spans = MemoryObserver::new();
    let tracer = Tracer::new(spans.clone()).with_service("test");
    let observing = observe(&tracer);
    (spans, tracer, observing)
}

/// A session with one call in it.
pub(crate) async fn session(pair: &Pair, name: &str) {
    let (thing, handle) = pair.pipeline.open_session(name).into_parts();
    let thing: thing::Client = thing;
    thing.number_request().send().promise.await.unwrap();
    drop(thing);
    handle.done().await.unwrap();
}

/// A span of ours in what is current.
pub(crate) fn mark(name: &str) {
    SpanParent::current().start(name, SpanKind::Internal).end();
}
