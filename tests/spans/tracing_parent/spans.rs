//! Which spans there are, and what is told of them.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use capspan::trace::{MemoryObserver, Observer, SpanKind, SpanRecord, Tracer, Value, with_current};
use capspan_testkit::run::run;
use capspan_testkit::story;
use tokio::task::{spawn_local, yield_now};
use tracing::instrument::{Instrument, WithSubscriber};
use tracing::{info, info_span};

use super::setting::{mark, observe, observed, subscriber};

#[test]
fn fields_events_and_links_are_told() {
    let (spans, _, _observing) = observed();
    let first = info_span!("first");
    let span = info_span!(
        "span",
        text = "t",
        number = 7,
        float = 1.5,
        is_it = true,
        large = u64::MAX,
        debug = ?Some(1),
        later = tracing::field::Empty,
        error = &std::fmt::Error as &dyn std::error::Error,
        long = "x".repeat(1_000_000),
    );
    span.record("later", "said");
    span.follows_from(&first);
    span.in_scope(|| {
        info!(count = 3, message = "a message");
        tracing::warn!(name: "named", r#type = 1);
    });
    info!(parent: &first, "elsewhere");
    info!("nowhere");
    drop((span, first));
    let record = spans.named("span").unwrap();
    let get = |key: &str| record.attributes().get(key).cloned();
    assert_eq!(get("text"), Some("t".into()));
    assert_eq!(get("number"), Some(7.into()));
    assert_eq!(get("float"), Some(1.5.into()));
    assert_eq!(get("is_it"), Some(true.into()));
    assert_eq!(get("large"), Some("18446744073709551615".into()));
    assert_eq!(get("debug"), Some("Some(1)".into()));
    assert_eq!(get("later"), Some("said".into()));
    assert_eq!(
        get("error"),
        Some(std::fmt::Error.to_string().as_str().into())
    );
    assert_eq!(get("long").map(|value| value.size()), Some(4096));
    assert_eq!(record.links().len(), 1);
    let events: Vec<_> = record.events().iter().map(|event| event.name()).collect();
    assert_eq!(events, ["a message", "named"]);
    let said = |event: usize, key: &str| -> Option<Value> {
        record.events()[event].attributes().get(key).cloned()
    };
    assert_eq!(said(0, "count"), Some(3.into()));
    assert_eq!(said(0, "level"), Some("INFO".into()));
    assert_eq!(said(0, "target"), Some(module_path!().into()));
    assert_eq!(
        (said(1, "type"), said(1, "level")),
        (Some(1.into()), Some("WARN".into()))
    );
    assert_eq!(
        spans.named("first").unwrap().events()[0].name(),
        "elsewhere"
    );
}

#[test]
fn a_future_that_is_dropped_closes_its_span() {
    run(async {
        let (spans, _, _observing) = observed();
        let hangs = pending::<()>().instrument(info_span!("hangs"));
        let task = spawn_local(hangs);
        yield_now().await;
        assert_eq!(spans.open().len(), 1);
        task.abort();
        let _canceled = task.await;
        assert_eq!(spans.closed().len(), 1);
        story::assert_closed_once(&spans);
    });
}

#[test]
fn s6_where_nobody_wants_to_see_them_there_are_none() {
    let _default = tracing::subscriber::set_default(subscriber());
    let spans = MemoryObserver::new();
    let tracer = Tracer::new(spans.clone());
    let request = tracer.root().start("request", SpanKind::Internal);
    with_current(request.parent(), || {
        info_span!("no span of ours", a = 1).in_scope(|| mark("of the request"));
    });
    let open = info_span!("before");
    let observing = tracer.observe_tracing();
    open.in_scope(|| mark("in nothing"));
    let seen = info_span!("seen");
    drop(observing);
    info_span!("after").in_scope(|| mark("in nothing"));
    seen.in_scope(|| mark("in it"));
    drop((seen, open, request));
    let wanted = "\
request INTERNAL unknown_service closed
  of the request INTERNAL unknown_service closed
seen INTERNAL unknown_service closed
  in it INTERNAL unknown_service closed
";
    assert_eq!(story::tree(&spans), wanted);
    story::assert_closed_once(&spans);
}

#[test]
fn a_second_tracer_takes_the_place_of_the_first() {
    let (spans, tracer, (_default, first)) = observed();
    let second = tracer.clone().with_service("second").observe_tracing();
    drop(first);
    info_span!("x");
    drop(second);
    info_span!("y");
    assert_eq!(story::tree(&spans), "x INTERNAL second closed\n");
}

#[test]
fn subscribers_with_the_same_ids_are_told_apart() {
    let (spans, _, _observing) = observed();
    let other = tracing::Dispatch::new(subscriber());
    let here = info_span!("here");
    let there = tracing::dispatcher::with_default(&other, || info_span!("there"));
    assert_eq!(here.id(), there.id(), "else the test shows nothing");
    drop(here);
    assert!(spans.named("there").unwrap().is_open());
    there.in_scope(|| mark("in there"));
    drop(there);
    let wanted = "\
here INTERNAL test closed
there INTERNAL test closed
  in there INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
}

#[test]
fn an_observer_that_uses_tracing_itself_is_told_of_that_once() {
    struct Chatty {
        told: Rc<Cell<u32>>,
    }
    impl Chatty {
        fn say(&self) {
            self.told.set(self.told.get() + 1);
            info_span!("telling").in_scope(|| info!("told"));
        }
    }
    impl Observer for Chatty {
        fn opened(&self, _span: &SpanRecord) {
            self.say();
        }

        fn closed(&self, _span: &SpanRecord) {
            self.say();
        }
    }
    let told = Rc::new(Cell::new(0));
    let tracer = Tracer::new(Chatty { told: told.clone() });
    let _observing = observe(&tracer);
    info_span!("x");
    assert_eq!(told.get(), 2, "opened and closed, and nothing of its own");
    drop(tracer.root().start("ours", SpanKind::Internal));
    assert!(told.get() < 20, "{}", told.get());
}

#[test]
fn a_subscriber_of_one_future_is_seen_as_well() {
    run(async {
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone());
        let _observing = tracer.observe_tracing();
        let work = async {
            yield_now().await;
            info_span!("seen").in_scope(|| mark("in it"));
        };
        work.with_subscriber(subscriber()).await;
        info_span!("not seen");
        assert_eq!(spans.closed().len(), 2);
    });
}
