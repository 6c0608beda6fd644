//! The spans of a session: S1, S2, S3, S4 and S6.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::trace::{Channel, InSpan, Outcome, SpanKind, SpanStatus, Tracer, with_current};
use capspan_testkit::service::{Pair, Place, everywhere};
use capspan_testkit::testkit_capnp::thing;

const WHOLE: &str = "\
request INTERNAL caller closed
  open CLIENT caller ok
    session SERVER callee ok
";

#[test]
fn s1_s2_a_session_is_two_spans_from_its_delivery_to_its_last_capability() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        pair.clock.advance(Duration::from_nanos(10));
        let (thing, handle) = pair.open().into_parts();
        assert!(pair.spans.named("session").is_none(), "not delivered yet");
        thing.number_request().send().promise.await.unwrap();
        pair.clock.advance(Duration::from_nanos(10));
        assert_eq!(pair.spans.open().len(), 3);
        drop(thing);
        pair.settle().await;
        pair.clock.advance(Duration::from_nanos(10));

        for (name, kind, service) in [
            ("open", SpanKind::Client, "caller"),
            ("session", SpanKind::Server, "callee"),
        ] {
            let span = pair.spans.named(name).unwrap();
            let times = (
                span.start().unix_nanos(),
                span.end().map(|t| t.unix_nanos()),
            );
            assert_eq!(times, (1_010, Some(1_020)), "{name}");
            assert_eq!((span.kind(), span.service()), (kind, service));
            assert_eq!(span.channel(), Channel::User);
            assert_eq!(span.outcome(), Some(Outcome::Ok));
            assert_eq!(*span.status(), SpanStatus::Unset);
            let id = span.span_id();
            let counts = (pair.spans.opened_count(id), pair.spans.closed_count(id));
            assert_eq!(counts, (1, 1));
        }
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn s2_it_ends_when_the_last_capability_is_dropped_and_not_when_that_is_noticed() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        pair.settle().await;
        drop(thing);
        pair.clock.advance(Duration::from_nanos(10));
        pair.settle().await;
        let end = pair.spans.named("open").unwrap().end().unwrap();
        assert_eq!(end.unix_nanos(), 1_000);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn s2_the_callees_span_opens_when_the_event_is_delivered_and_not_when_it_is_announced() {
    use capspan::pipeline_capnp::pipeline;
    everywhere(async |place| {
        let pair = Pair::new(place);
        let client: pipeline::Client = pair.client.clone();
        let started = client.start_event_request().send().promise;
        let started = started.await.unwrap();
        let dispatcher = started.get().unwrap().get_dispatcher().unwrap();
        pair.settle().await;
        assert_eq!(pair.callee_ids.drawn(), 0);
        pair.clock.advance(Duration::from_nanos(7));
        let opened = dispatcher.open_session_request().send().promise;
        let opened = opened.await.unwrap();
        let span = pair.spans.named("session").unwrap();
        assert_eq!(span.start().unix_nanos(), 1_007);
        drop((opened, dispatcher, started, client));
        pair.finish().await;
    });
}

#[test]
fn s2_a_dispatcher_without_an_event_is_a_canceled_event() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let started = pair.client.start_event_request().send().promise;
        drop(started.await.unwrap());
        pair.settle().await;
        let tree = "request INTERNAL caller open\nevent SERVER callee canceled\n";
        assert_eq!(pair.tree(), tree);
        assert!(pair.events.borrow().is_empty());
        pair.finish().await;
    });
}

#[test]
fn s2_a_dispatcher_takes_one_event() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let started = pair.client.start_event_request().send();
        let dispatcher = started.pipeline.get_dispatcher();
        let first = dispatcher.open_session_request().send().promise;
        let second = dispatcher.open_session_request().send().promise;
        let opened = first.await.unwrap();
        let error = second.await.err().unwrap().to_string();
        assert!(error.contains("has delivered its event"), "{error}");
        assert_eq!(pair.events.borrow().len(), 1);
        drop((started, dispatcher, opened));
        pair.settle().await;
        assert_eq!(pair.spans.closed().len(), 1);
        pair.finish().await;
    });
}

#[test]
fn s2_a_handler_that_fails_is_an_exception_on_both_sides() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |_, _| async {
            Err(capnp::Error::failed("no such account".into()))
        });
        let (thing, handle) = pair.open().into_parts();
        let error = thing.number_request().send().promise.await.err().unwrap();
        assert!(error.to_string().contains("no such account"), "{error}");
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  open CLIENT caller exception
    session SERVER callee exception
";
        assert_eq!(pair.tree(), wanted);
        for name in ["open", "session"] {
            let span = pair.spans.named(name).unwrap();
            let SpanStatus::Error(message) = span.status() else {
                panic!("{name}: {:?}", span.status());
            };
            assert!(message.contains("no such account"), "{name}: {message}");
        }
        let error = handle.done().await.unwrap_err();
        assert!(error.reason().contains("no such account"), "{error}");
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s2_a_handler_that_panics_is_an_exception_on_both_sides_and_harms_no_other_session() {
    everywhere(async |place| {
        let times = Cell::new(0);
        let pair = Pair::serving(place, move |_, world| {
            times.set(times.get() + 1);
            let panics = times.get() == 2;
            async move {
                let thing = world.thing();
                assert!(!panics, "as it was asked to");
                Ok(Client::new(thing.into_client_hook()))
            }
        });
        let (other, other_handle) = pair.open().into_parts();
        other.number_request().send().promise.await.unwrap();
        let (thing, handle) = pair.open().into_parts();
        let error = thing.number_request().send().promise.await.err().unwrap();
        assert!(
            error.to_string().contains("the service panicked"),
            "{error}"
        );
        let error = handle.done().await.unwrap_err();
        assert!(error.reason().contains("the service panicked"), "{error}");
        other.number_request().send().promise.await.unwrap();
        drop((other, other_handle));
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  open CLIENT caller ok
    session SERVER callee ok
  open CLIENT caller exception
    session SERVER callee exception
";
        assert_eq!(pair.tree(), wanted);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s2_a_call_that_fails_does_not_fail_the_session() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        for kind in 0..4 {
            let mut request = thing.fail_request();
            request.get().set_kind(kind);
            request.get().set_text("as asked");
            let error = request.send().promise.await.err().unwrap();
            assert!(error.to_string().contains("as asked"), "{error}");
        }
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        drop(handle);
        pair.request.end();
        pair.settle().await;
        assert_eq!(pair.tree(), WHOLE);
        pair.finish().await;
    });
}

#[test]
fn s2_canceled_while_the_handler_works_is_canceled_on_both_sides() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |_, world| async move {
            let _held = world.thing();
            std::future::pending::<()>().await;
            unreachable!()
        });
        let (thing, handle) = pair.open().into_parts();
        pair.settle().await;
        assert_eq!(pair.world.live(), 1);
        drop(handle);
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  open CLIENT caller canceled
    session SERVER callee canceled
";
        assert_eq!(pair.tree(), wanted);
        let error = thing.number_request().send().promise.await.err().unwrap();
        assert!(error.to_string().contains("dropped it"), "{error}");
        drop(thing);
        pair.finish().await;
    });
}

#[test]
fn s3_the_callees_span_is_a_child_of_the_callers_which_is_one_of_the_current_span() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let thing: thing::Client = with_current(pair.request.parent(), || {
            let (thing, handle) = pair.pipeline.open_session("open").into_parts();
            handle.detach();
            thing
        });
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        pair.request.end();
        assert_eq!(pair.tree(), WHOLE);
        let session = pair.spans.named("session").unwrap();
        assert!(session.has_remote_parent());
        assert!(!pair.spans.named("open").unwrap().has_remote_parent());
        pair.finish().await;
    });
}

#[test]
fn s3_the_current_span_is_current_across_an_await() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let other = pair.caller.root().start("other", SpanKind::Internal);
        let opening = async {
            pair.settle().await;
            let session = pair.pipeline.open_session::<thing::Client>("open");
            pair.settle().await;
            let again = pair.pipeline.open_session::<thing::Client>("again");
            (session, again)
        };
        let opening = opening.in_span(pair.request.parent());
        let elsewhere = async {
            pair.settle().await;
            pair.pipeline.open_session::<thing::Client>("elsewhere")
        };
        let elsewhere = elsewhere.in_span(other.parent());
        let held = futures::join!(opening, elsewhere);
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  open CLIENT caller open
    session SERVER callee open
  again CLIENT caller open
    session SERVER callee open
other INTERNAL caller open
  elsewhere CLIENT caller open
    session SERVER callee open
";
        assert_eq!(pair.tree(), wanted);
        drop((held, other));
        pair.finish().await;
    });
}

#[test]
fn s3_the_handlers_current_span_is_the_callees() {
    everywhere(async |place| {
        let callee = Rc::new(RefCell::new(None));
        let seen = callee.clone();
        let pair = Pair::serving(place, move |event, world| {
            let seen = seen.clone();
            async move {
                tokio::task::yield_now().await;
                let current = capspan::trace::SpanParent::current();
                current.start("lookup", SpanKind::Internal).end();
                *seen.borrow_mut() = Some(event.parent().clone());
                Ok(Client::new(world.thing().into_client_hook()))
            }
        });
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        // Children may come after the end.
        let parent = callee.take().unwrap();
        parent.start("cleanup", SpanKind::Internal).end();
        let wanted = "\
request INTERNAL caller open
  open CLIENT caller ok
    session SERVER callee ok
      lookup INTERNAL callee closed
      cleanup INTERNAL callee closed
";
        assert_eq!(pair.tree(), wanted);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn s3_without_propagation_the_callee_begins_a_trace_that_links_to_the_callers() {
    everywhere(async |place| {
        let pair = Pair::configured(place, |callee| callee.propagation(false));
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  open CLIENT caller ok
session SERVER callee ok -> open
";
        assert_eq!(pair.tree(), wanted);
        let trace = |name| pair.spans.named(name).unwrap().trace_id();
        assert_ne!(trace("session"), trace("open"));
        assert_eq!(trace("open"), trace("request"));
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn s4_in_process_and_over_a_connection_the_trees_are_the_same() {
    let trees = RefCell::new(Vec::new());
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, world| async move {
            let work = event.parent().start("prepare", SpanKind::Internal);
            event.enricher().set_name("renamed");
            work.parent().start("look up", SpanKind::Client).end();
            Ok(Client::new(world.thing().into_client_hook()))
        });
        let (first, first_handle) = pair.open().into_parts();
        let (second, second_handle) = pair.open().into_parts();
        let made = first.make_request().send().promise.await.unwrap();
        second.number_request().send().promise.await.unwrap();
        drop(second_handle);
        drop((made, first, second));
        pair.settle().await;
        drop(first_handle);
        trees.borrow_mut().push(pair.tree());
        pair.finish().await;
    });
    let trees = trees.take();
    assert_eq!(trees.len(), Place::ALL.len());
    for tree in &trees {
        assert_eq!(tree, &trees[0]);
    }
    assert!(
        trees[0].contains("renamed CLIENT caller canceled"),
        "{}",
        trees[0]
    );
}

/// What the connection says it is, behind all promises.
fn brand(client: impl FromClientHook) -> usize {
    let mut hook = client.into_client_hook();
    while let Some(resolved) = hook.get_resolved() {
        hook = resolved;
    }
    hook.get_brand()
}

#[test]
fn s6_a_caller_that_is_not_observed_draws_no_ids_sends_no_enricher_and_has_no_membrane() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let drawn = pair.caller_ids.drawn();
        let session = pair.pipeline.open_session::<thing::Client>("open");
        let (thing, handle) = session.into_parts();
        thing.number_request().send().promise.await.unwrap();
        assert_eq!(pair.caller_ids.drawn(), drawn);
        let event = pair.event();
        assert!(!event.enricher().is_observed());
        event.enricher().set_name("never seen");
        assert_eq!(event.metadata().start_time(), None);
        if place != Place::InProcess {
            assert_eq!(brand(thing.clone()), brand(pair.client.clone()));
            let observed = pair.open();
            let (observed, handle) = observed.into_parts();
            observed.number_request().send().promise.await.unwrap();
            assert_ne!(brand(observed), brand(pair.client.clone()));
            handle.detach();
        }
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        assert_eq!(handle.end(), None);
        pair.settle().await;
        let mut closed = pair.spans.closed().into_iter();
        let session = closed.find(|span| span.parent_span_id().is_none()).unwrap();
        assert_eq!(session.name(), "session");
        assert_eq!(session.outcome(), Some(Outcome::Ok));
        assert!(session.links().is_empty());
        drop((handle, event));
        pair.finish().await;
    });
}

#[test]
fn s6_a_callee_that_is_not_observed_draws_no_ids_and_enriches_all_the_same() {
    everywhere(async |place| {
        let pair = Pair::configured(place, |callee| callee.tracer(Tracer::unobserved()));
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        assert!(!event.parent().is_observed());
        event.enricher().set_name("renamed");
        pair.settle().await;
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        pair.settle().await;
        assert_eq!(pair.callee_ids.drawn(), 0);
        let wanted = "request INTERNAL caller open\n  renamed CLIENT caller ok\n";
        assert_eq!(pair.tree(), wanted);
        drop((handle, event));
        pair.finish().await;
    });
}

#[test]
fn s6_where_nobody_is_observed_a_session_works_and_can_be_canceled() {
    everywhere(async |place| {
        let pair = Pair::configured(place, |callee| callee.tracer(Tracer::unobserved()));
        let drawn = pair.caller_ids.drawn();
        let session = pair.pipeline.open_session::<thing::Client>("open");
        let (thing, handle) = session.into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(handle);
        pair.settle().await;
        let error = thing.number_request().send().promise.await.err().unwrap();
        assert!(error.to_string().contains("dropped it"), "{error}");
        assert_eq!(pair.world.live(), 0);
        assert_eq!(
            (pair.caller_ids.drawn(), pair.callee_ids.drawn()),
            (drawn, 0)
        );
        drop(thing);
        pair.finish().await;
    });
}
