//! Whose child a span is: the exact tree for each way in which work can be arranged. Calls within sessions
//! are in `calls.rs`, three processes in `three_processes.rs`.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::fetch::Body;
use capspan::pipeline::{EventContext, Service};
use capspan::session::CallSpans;
use capspan::trace::{InSpan, SpanKind, SpanParent, Tracer, with_current};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

/// One session, opened in the span that is current, and done with.
async fn session(pair: &Pair, name: &str) {
    let session = pair.pipeline.open_session::<thing::Client>(name);
    let (thing, handle) = session.into_parts();
    thing.number_request().send().promise.await.unwrap();
    drop(thing);
    pair.settle().await;
    drop(handle);
}

fn start(name: &str) -> capspan::trace::SpanBuilder {
    SpanParent::current().start(name, SpanKind::Internal)
}

/// Closes what is left, and compares.
async fn ends(pair: Pair, tree: &str) {
    pair.request.end();
    pair.settle().await;
    assert_eq!(pair.tree(), tree);
    pair.finish().await;
}

#[test]
fn nested() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        with_current(pair.request.parent(), || {
            let outer = start("outer");
            with_current(outer.parent(), || {
                let inner = start("inner");
                with_current(inner.parent(), || start("innermost").end());
            });
            start("after").end();
        });
        let tree = "\
request INTERNAL caller closed
  outer INTERNAL caller closed
    inner INTERNAL caller closed
      innermost INTERNAL caller closed
  after INTERNAL caller closed
";
        ends(pair, tree).await;
    });
}

#[test]
fn nested_across_await() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let work = async {
            let outer = start("outer");
            let nested = async {
                tokio::task::yield_now().await;
                let inner = start("inner");
                session(&pair, "open").in_span(inner.parent()).await;
                start("after the await").end();
            };
            nested.in_span(outer.parent()).await;
            start("after").end();
        };
        work.in_span(pair.request.parent()).await;
        let tree = "\
request INTERNAL caller closed
  outer INTERNAL caller closed
    inner INTERNAL caller closed
      open CLIENT caller ok
        session SERVER callee ok
    after the await INTERNAL caller closed
  after INTERNAL caller closed
";
        ends(pair, tree).await;
    });
}

#[test]
fn siblings_that_take_turns() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let sibling = |name: &'static str| {
            let span = pair.request.parent().start(name, SpanKind::Internal);
            let parent = span.parent();
            let pair = &pair;
            let work = async move {
                let _span = span;
                session(pair, "open").await;
            };
            work.in_span(parent)
        };
        futures::join!(sibling("left"), sibling("right"));
        let tree = "\
request INTERNAL caller closed
  left INTERNAL caller closed
    open CLIENT caller ok
      session SERVER callee ok
  right INTERNAL caller closed
    open CLIENT caller ok
      session SERVER callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn detached() {
    everywhere(async |place| {
        let pair = Rc::new(Pair::new(place));
        let parent = pair.request.parent();
        let inside = pair.clone();
        // A task of its own is nobody's child unless it is told whose; the span may be over meanwhile.
        let detached = tokio::task::spawn_local(
            async move {
                inside.settle().await;
                let work = start("detached");
                session(&inside, "open").in_span(work.parent()).await;
            }
            .in_span(parent),
        );
        let alone = tokio::task::spawn_local(async {
            assert!(!SpanParent::current().is_observed());
        });
        pair.request.end();
        alone.await.unwrap();
        detached.await.unwrap();
        let tree = "\
request INTERNAL caller closed
  detached INTERNAL caller closed
    open CLIENT caller ok
      session SERVER callee ok
";
        let Some(pair) = Rc::into_inner(pair) else {
            panic!("the tasks are over");
        };
        ends(pair, tree).await;
    });
}

#[test]
fn a_session_in_an_enclosing_span() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        session(&pair, "open").in_span(pair.request.parent()).await;
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    session SERVER callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn a_session_in_a_nested_span() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let outer = pair.request.parent().start("outer", SpanKind::Internal);
        let inner = outer.parent().start("inner", SpanKind::Internal);
        session(&pair, "open").in_span(inner.parent()).await;
        // What is said outright counts more than what is current.
        let opening = pair.pipeline.event("explicit").parent(outer.parent());
        let (thing, handle) =
            with_current(inner.parent(), || opening.open_session::<thing::Client>()).into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        drop((handle, inner, outer));
        let tree = "\
request INTERNAL caller closed
  outer INTERNAL caller closed
    inner INTERNAL caller closed
      open CLIENT caller ok
        session SERVER callee ok
    explicit CLIENT caller ok
      session SERVER callee ok
";
        ends(pair, tree).await;
    });
}

/// Answers a request, and does some work of its own for it.
struct Web {
    _alive: Rc<()>,
}

impl Service for Web {
    async fn fetch(
        self: Rc<Self>,
        _request: http::Request<Body>,
        _event: EventContext,
    ) -> Result<http::Response<Body>, capnp::Error> {
        let query = start("query");
        tokio::task::yield_now().await;
        query.end();
        Ok(http::Response::new(Body::from("found")))
    }
}

#[test]
fn a_fetch_in_an_enclosing_span() {
    everywhere(async |place| {
        let service = |alive| Web { _alive: alive };
        let pair = Pair::with_service(place, World::new(), |callee| callee, service);
        let outer = pair.request.parent().start("outer", SpanKind::Internal);
        let fetching = with_current(outer.parent(), || {
            let request = http::Request::get("https://users.example/7");
            let request = request.body(Body::empty()).unwrap();
            pair.pipeline.event("look up").fetch(request).unwrap()
        });
        let body = fetching.await.unwrap().into_body();
        assert_eq!(body.whole(100).await.unwrap(), "found");
        pair.settle().await;
        drop(outer);
        let tree = "\
request INTERNAL caller closed
  outer INTERNAL caller closed
    look up CLIENT caller ok
      GET SERVER callee ok
        query INTERNAL callee closed
";
        ends(pair, tree).await;
    });
}

#[test]
fn two_sessions_at_once() {
    everywhere(async |place| {
        let mut pair = Pair::configured(place, |callee| callee.call_spans(calls()));
        pair.pipeline = pair.pipeline.clone().call_spans(calls());
        let open = |name| {
            let event = pair.pipeline.event(name).parent(pair.request.parent());
            event.open_session::<thing::Client>().into_parts()
        };
        let (first, first_handle) = open("first");
        let (second, second_handle) = open("second");
        let made = first.make_request().send();
        drop(made.pipeline);
        second.number_request().send().promise.await.unwrap();
        let answer = made.promise.await.unwrap();
        let made = answer.get().unwrap().get_thing().unwrap();
        drop(answer);
        // One session's capability in the other: its calls are of both.
        let mut call = second.call_request();
        call.get().set_thing(made);
        call.send().promise.await.unwrap();
        drop((first, second));
        pair.settle().await;
        drop((first_handle, second_handle));
        let tree = "\
request INTERNAL caller closed
  first CLIENT caller ok
    Thing/make CLIENT caller ok
      Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/make SERVER callee ok
        Thing/number SERVER callee ok
  second CLIENT caller ok
    Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/number SERVER callee ok
      Thing/call SERVER callee ok
        Thing/number CLIENT callee ok
    Thing/call CLIENT caller ok
      Thing/number SERVER caller ok
";
        ends(pair, tree).await;
    });
}

fn calls() -> CallSpans {
    let methods = [
        "number", "echo", "echoWith", "swap", "make", "store", "take", "reflect", "call",
    ];
    CallSpans::new().interface::<thing::Client>("Thing", methods)
}

#[test]
fn a_session_from_a_session() {
    everywhere(async |place| {
        let far = Rc::new(Pair::new(place));
        let inside = far.clone();
        // The far callee is a third party: its spans have an observer of their own.
        let near = Pair::serving(place, move |_, world| {
            let (thing, handle) = inside
                .pipeline
                .open_session::<thing::Client>("onwards")
                .into_parts();
            handle.detach();
            async move {
                thing.number_request().send().promise.await?;
                drop(thing);
                Ok(Client::new(world.thing().into_client_hook()))
            }
        });
        session(&near, "open").in_span(near.request.parent()).await;
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    session SERVER callee ok
      onwards CLIENT callee ok
";
        ends(near, tree).await;
        let far = Rc::into_inner(far).unwrap();
        // Its parent is the near callee's, in the same trace.
        let session = far.spans.named("session").unwrap();
        assert!(session.parent_span_id().is_some() && session.has_remote_parent());
        far.finish().await;
    });
}

#[test]
fn propagation_off() {
    everywhere(async |place| {
        let pair = Pair::configured(place, |callee| {
            callee.propagation(false).call_spans(calls())
        });
        session(&pair, "open").in_span(pair.request.parent()).await;
        let trace = |name| pair.spans.named(name).unwrap().trace_id();
        assert_ne!(trace("session"), trace("open"));
        assert_eq!(trace("session"), trace("Thing/number"));
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
session SERVER callee ok -> open
  Thing/number SERVER callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn an_unobserved_caller_of_an_observed_callee() {
    everywhere(async |place| {
        let pair = Pair::configured(place, |callee| callee.call_spans(calls()));
        session(&pair, "open").await;
        let tree = "\
request INTERNAL caller closed
session SERVER callee ok
  Thing/number SERVER callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn an_observed_caller_of_an_unobserved_callee() {
    everywhere(async |place| {
        let mut pair = Pair::configured(place, |callee| {
            callee.tracer(Tracer::unobserved()).call_spans(calls())
        });
        pair.pipeline = pair.pipeline.clone().call_spans(calls());
        session(&pair, "open").in_span(pair.request.parent()).await;
        assert_eq!(pair.callee_ids.drawn(), 0);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/number CLIENT caller ok
";
        ends(pair, tree).await;
    });
}
