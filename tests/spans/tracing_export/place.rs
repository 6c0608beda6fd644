//! In which span a span of ours stands.

use capspan::export::TracingSpans;
use capspan::pipeline::Callee;
use capspan::session::CallSpans;
use capspan::trace::{SpanKind, SpanParent, Tracer, with_current};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;
use tracing::info_span;
use tracing_subscriber::filter::LevelFilter;

use super::setting::Seen;

#[test]
fn sessions_and_calls_of_both_sides_are_in_one_tree() {
    everywhere(async |place| {
        let seen = Seen::default();
        let _seeing = seen.observing();
        let spans = TracingSpans::new();
        let tracer = |service| Tracer::new(spans.clone()).with_service(service);
        let calls = || CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
        let configure = |callee: Callee<_>| callee.tracer(tracer("callee")).call_spans(calls());
        let mut pair = Pair::configured(place, configure);
        pair.pipeline = pair.pipeline.call_spans(calls());
        let work = info_span!("the application's");
        let session = work.in_scope(|| {
            let event = pair.pipeline.event("open").parent(tracer("caller").root());
            event.open_session::<thing::Client>()
        });
        drop(work);
        let (thing, handle) = session.into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        handle.done().await.unwrap();
        drop(handle);
        pair.settle().await;
        let wanted = "\
the application's
  event open client caller ok
    call Thing/number client caller ok
    event session server callee ok
      call Thing/number server callee ok
";
        assert_eq!(seen.tree(), wanted);
        for call in seen.spans().iter().filter(|span| span.name == "call") {
            assert_eq!(call.level, tracing::Level::DEBUG);
            assert_eq!(call.get("rpc.system.name"), Some("capnproto"));
            assert_eq!(call.get("rpc.method"), Some("Thing/number"));
        }
        assert_eq!(seen.named("open").get("rpc.method"), None);
        assert_eq!(format!("{spans:?}"), "TracingSpans { open: 0, .. }");
        pair.finish().await;
    });
}

#[test]
fn a_span_is_in_its_parent_while_that_is_open_and_else_in_what_is_current() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let tracer = Tracer::new(TracingSpans::new());
    let current = info_span!("current").entered();
    let parent = tracer.root().start("parent", SpanKind::Internal);
    let children = parent.parent();
    info_span!("another").in_scope(|| drop(children.start("first", SpanKind::Internal)));
    drop(parent);
    drop(children.start("second", SpanKind::Internal));
    drop(current);
    drop(children.start("third", SpanKind::Internal));
    let wanted = "\
current
  work parent internal unknown_service
    work first internal unknown_service
  another
  work second internal unknown_service
work third internal unknown_service
";
    assert_eq!(seen.tree(), wanted);
}

#[test]
fn what_a_service_does_is_in_its_span_if_it_is_put_there() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let spans = TracingSpans::new();
    let tracer = Tracer::new(spans.clone());
    let span = tracer.root().start("request", SpanKind::Server);
    assert!(spans.current().is_disabled());
    with_current(span.parent(), || {
        spans
            .current()
            .in_scope(|| info_span!("look up").in_scope(|| tracing::info!("found")));
    });
    assert!(spans.of(&Tracer::unobserved().root()).is_disabled());
    let elsewhere = TracingSpans::new();
    assert!(elsewhere.of(&span.parent()).is_disabled());
    drop(span);
    let wanted = "work request server unknown_service\n  look up\n";
    assert_eq!(seen.tree(), wanted);
    assert_eq!(seen.named("look up").events, ["INFO found"]);
}

#[test]
fn what_is_not_enabled_is_left_out_of_the_tree() {
    let seen = Seen::default();
    let _seeing = seen.observing_up_to(LevelFilter::INFO);
    everywhere_calls_are_hidden(&seen);
    let nobody = Seen::default();
    let _seeing = nobody.observing_up_to(LevelFilter::OFF);
    let tracer = Tracer::new(TracingSpans::new());
    let span = tracer.root().start("x", SpanKind::Internal);
    span.set_attribute("a", 1).set_name("y").add_event("e");
    drop(span.parent().start("child", SpanKind::Internal));
    drop(span);
    assert_eq!((nobody.spans().len(), nobody.events().len()), (0, 0));
}

/// A service's own span in a call stands in what the call is in.
fn everywhere_calls_are_hidden(seen: &Seen) {
    capspan_testkit::run::run(async {
        let spans = TracingSpans::new();
        let tracer = Tracer::new(spans.clone());
        let calls = CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
        let pair = Pair::configured(capspan_testkit::service::Place::InProcess, |callee| {
            callee.tracer(tracer.clone()).call_spans(calls)
        });
        let event = pair.pipeline.event("open").parent(tracer.root());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        assert!(!SpanParent::current().is_observed());
        drop(thing);
        handle.done().await.unwrap();
        drop(handle);
        pair.settle().await;
        let wanted = "\
event open client unknown_service ok
  event session server unknown_service ok
";
        assert_eq!(seen.tree(), wanted);
        assert_eq!(format!("{spans:?}"), "TracingSpans { open: 0, .. }");
        pair.finish().await;
    });
}

#[test]
fn a_span_belongs_to_the_subscriber_that_its_parent_is_of() {
    let (one, other) = (Seen::default(), Seen::default());
    let spans = TracingSpans::new();
    let tracer = Tracer::new(spans.clone());
    let seeing = one.observing();
    let parent = tracer.root().start("parent", SpanKind::Internal);
    drop(seeing);
    let _seeing = other.observing();
    // The same id, were it taken for one of this subscriber's.
    let _same = info_span!("same id");
    let child = parent.parent().start("child", SpanKind::Internal);
    child.add_event("in it");
    drop(child);
    drop(parent);
    let wanted = "\
work parent internal unknown_service
  work child internal unknown_service
";
    assert_eq!(one.tree(), wanted);
    assert_eq!(one.named("child").events.len(), 1);
    assert_eq!(other.tree(), "same id open\n");
    assert!(other.events().is_empty());
}

#[test]
fn a_span_that_ends_in_a_panic_is_closed() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let tracer = Tracer::new(TracingSpans::new());
    let panics = std::panic::AssertUnwindSafe(|| {
        let _span = tracer.root().start("x", SpanKind::Internal);
        std::panic::resume_unwind(Box::new("oh"));
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(seen.tree(), "work x internal unknown_service\n");
}
