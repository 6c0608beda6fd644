//! Spans of the `tracing` crate as parents: whoever was entered last is current, and follows the task.
#![cfg(feature = "tracing")]

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::pipeline::{Callee, EventContext, Service};
use capspan::session::CallSpans;
use capspan::trace::{
    InSpan, MemoryObserver, Observer, SpanKind, SpanParent, SpanRecord, Tracer, TracingGuard,
    TracingLayer, Value, with_current,
};
use capspan_testkit::run::run;
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;
use tokio::task::{spawn_local, yield_now};
use tracing::instrument::{Instrument, WithSubscriber as _};
use tracing::subscriber::DefaultGuard;
use tracing::{Span, info, info_span, instrument};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Layered, SubscriberExt};

fn subscriber() -> Layered<TracingLayer, Registry> {
    tracing_subscriber::registry().with(TracingLayer::new())
}

/// Lets `tracer` be told of `tracing`'s spans on this thread.
fn observe(tracer: &Tracer) -> (DefaultGuard, TracingGuard) {
    let default = tracing::subscriber::set_default(subscriber());
    (default, tracer.observe_tracing())
}

/// The same with a tracer of its own.
fn observed() -> (MemoryObserver, Tracer, (DefaultGuard, TracingGuard)) {
    let spans = MemoryObserver::new();
    let tracer = Tracer::new(spans.clone()).with_service("test");
    let observing = observe(&tracer);
    (spans, tracer, observing)
}

/// A session with one call in it.
async fn session(pair: &Pair, name: &str) {
    let (thing, handle) = pair.pipeline.open_session(name).into_parts();
    let thing: thing::Client = thing;
    thing.number_request().send().promise.await.unwrap();
    drop(thing);
    handle.done().await.unwrap();
}

/// A span of ours in what is current.
fn mark(name: &str) {
    SpanParent::current().start(name, SpanKind::Internal).end();
}

#[instrument(skip_all)]
async fn outer(pair: &Pair) {
    yield_now().await;
    session(pair, "first").await;
    inner(pair).await;
    session(pair, "third").await;
}

#[instrument(skip_all)]
async fn inner(pair: &Pair) {
    yield_now().await;
    session(pair, "second").await;
}

#[test]
fn sessions_are_children_of_the_span_they_are_opened_in_nested_and_across_awaits() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let _observing = observe(&pair.caller);
        outer(&pair).await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
outer INTERNAL caller closed
  first CLIENT caller ok
    session SERVER callee ok
  inner INTERNAL caller closed
    second CLIENT caller ok
      session SERVER callee ok
  third CLIENT caller ok
    session SERVER callee ok
";
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

#[test]
fn futures_that_take_turns_are_each_in_their_own() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let _observing = observe(&pair.caller);
        let work = async |name| {
            for _ in 0..3 {
                yield_now().await;
            }
            session(&pair, name).await;
            mark(name);
        };
        let left = work("a").instrument(info_span!("left"));
        let right = work("b").instrument(info_span!("right"));
        let ours = work("c").in_span(pair.request.parent());
        futures::join!(left, right, ours, async {
            yield_now().await;
            assert!(!SpanParent::current().is_observed());
        });
        pair.settle().await;
        let of = |name: &str, service: &str| {
            format!(
                "  {name} CLIENT caller ok\n    session SERVER callee ok\n  {name} INTERNAL {service} closed\n"
            )
        };
        let wanted = format!(
            "request INTERNAL caller open\n{}left INTERNAL caller closed\n{}right INTERNAL caller closed\n{}",
            of("c", "caller"),
            of("a", "caller"),
            of("b", "caller")
        );
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

#[test]
fn a_detached_task_is_in_the_span_that_it_is_given_and_in_none_otherwise() {
    everywhere(async |place| {
        let pair = Rc::new(Pair::new(place));
        let _observing = observe(&pair.caller);
        let task = |name: &'static str, turns| {
            let pair = pair.clone();
            async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                session(&pair, name).await;
            }
        };
        async {
            spawn_local(task("own", 1).instrument(info_span!("detached")));
            spawn_local(task("current", 2).in_current_span());
            spawn_local(task("ours", 3).in_span(SpanParent::current()));
            spawn_local(task("none", 4));
        }
        .instrument(info_span!("spawner"))
        .await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
spawner INTERNAL caller closed
  detached INTERNAL caller closed
    own CLIENT caller ok
      session SERVER callee ok
  current CLIENT caller ok
    session SERVER callee ok
  ours CLIENT caller ok
    session SERVER callee ok
session SERVER callee ok
";
        assert_eq!(pair.tree(), wanted);
        let Ok(pair) = Rc::try_unwrap(pair) else {
            panic!("a task is alive")
        };
        pair.finish().await;
    });
}

#[test]
fn a_services_handler_is_in_the_callees_trace() {
    everywhere(async |place| {
        #[instrument(skip_all)]
        async fn look_up() {
            yield_now().await;
            info!("found");
        }
        let pair = Pair::serving(place, |_, world| async move {
            look_up().await;
            Ok(Client::new(world.thing().into_client_hook()))
        });
        let _observing = observe(&pair.caller);
        session(&pair, "open").instrument(info_span!("work")).await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
work INTERNAL caller closed
  open CLIENT caller ok
    session SERVER callee ok
      look_up INTERNAL callee closed
";
        assert_eq!(pair.tree(), wanted);
        assert_eq!(pair.spans.named("look_up").unwrap().events().len(), 1);
        pair.finish().await;
    });
}

/// Gives each session an object that looks something up in each call.
struct Looks(Rc<()>);

impl Service for Looks {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        let thing: thing::Client = capnp_rpc::new_client(Self(self.0.clone()));
        Ok(Client::new(thing.into_client_hook()))
    }
}

impl thing::Server for Looks {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> capnp::Result<()> {
        #[instrument]
        async fn look_up() {
            yield_now().await;
            mark("read");
        }
        look_up().await;
        Ok(())
    }
}

#[test]
fn a_services_call_is_in_the_calls_span() {
    everywhere(async |place| {
        let calls = || CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
        let configure = |callee: Callee<Looks>| callee.call_spans(calls());
        let mut pair = Pair::with_service(place, Default::default(), configure, Looks);
        pair.pipeline = pair.pipeline.call_spans(calls());
        let _observing = observe(&pair.caller);
        session(&pair, "open").instrument(info_span!("work")).await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
work INTERNAL caller closed
  open CLIENT caller ok
    Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/number SERVER callee ok
        look_up INTERNAL callee closed
          read INTERNAL callee closed
";
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

#[test]
fn whoever_was_entered_last_is_current() {
    let (spans, tracer, _observing) = observed();
    let ours = |name| tracer.root().start(name, SpanKind::Internal);
    let (a, b) = (ours("a"), ours("b"));
    info_span!("outside").in_scope(|| {
        mark("1");
        with_current(a.parent(), || {
            mark("2");
            let inside = info_span!("inside").entered();
            mark("3");
            with_current(b.parent(), || mark("4"));
            mark("5");
            drop(inside);
            mark("6");
        });
        mark("7");
        with_current(SpanParent::none(), || {
            mark("not seen");
            info_span!("not seen either").in_scope(|| mark("nor this"));
        });
        mark("8");
    });
    mark("in nothing");
    drop((a, b));
    let wanted = "\
a INTERNAL test closed
  2 INTERNAL test closed
  inside INTERNAL test closed
    3 INTERNAL test closed
    5 INTERNAL test closed
  6 INTERNAL test closed
b INTERNAL test closed
  4 INTERNAL test closed
outside INTERNAL test closed
  1 INTERNAL test closed
  7 INTERNAL test closed
  8 INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
    story::assert_closed_once(&spans);
}

#[test]
fn a_span_entered_twice_and_left_in_any_order_leaves_nothing() {
    let (spans, _, _observing) = observed();
    let (a, b) = (info_span!("a"), info_span!("b"));
    let (first, second, again) = (a.enter(), b.enter(), a.enter());
    mark("in a");
    drop(first);
    mark("in b");
    drop(second);
    mark("in a still");
    drop(again);
    mark("in nothing");
    drop((a, b));
    let wanted = "\
a INTERNAL test closed
  in a INTERNAL test closed
  in a still INTERNAL test closed
b INTERNAL test closed
  in b INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
}

#[test]
fn a_guard_that_is_held_across_an_await_is_not_current_for_others() {
    run(async {
        let (spans, tracer, _observing) = observed();
        let request = tracer.root().start("request", SpanKind::Internal);
        let wrong = async {
            let span = info_span!("held");
            let _entered = span.enter();
            mark("before");
            yield_now().await;
            mark("after");
        };
        let others = async {
            mark("in nothing");
            yield_now().await;
            mark("in nothing");
        };
        futures::join!(wrong.in_span(request.parent()), others);
        mark("in nothing");
        drop(request);
        let wanted = "\
request INTERNAL test closed
  held INTERNAL test closed
    before INTERNAL test closed
  after INTERNAL test closed
";
        assert_eq!(story::tree(&spans), wanted);
    });
}

#[test]
fn a_parent_that_is_named_counts_and_so_does_none() {
    let (spans, tracer, _observing) = observed();
    let a = info_span!("a");
    let request = tracer.root().start("request", SpanKind::Internal);
    with_current(request.parent(), || {
        info_span!(parent: &a, "of a").in_scope(|| mark("in it"));
        info_span!(parent: None, "of nothing").in_scope(|| mark("in it"));
        info_span!("of the current");
    });
    drop((a, request));
    let wanted = "\
a INTERNAL test closed
  of a INTERNAL test closed
    in it INTERNAL test closed
request INTERNAL test closed
  of the current INTERNAL test closed
of nothing INTERNAL test closed
  in it INTERNAL test closed
";
    assert_eq!(story::tree(&spans), wanted);
}

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
    assert_eq!(said(0, "target"), Some("tracing_parent".into()));
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
        let hangs = std::future::pending::<()>().instrument(info_span!("hangs"));
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
