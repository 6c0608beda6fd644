//! E1 to E6 where other tests leave a gap: after faults, and limits from end to end.

use capspan::pipeline::{EventContext, RunResult, Scheduled, Service};
use capspan::trace::{Noticed, Outcome, SpanLimits, SpanRecord, SpanUpdate, Tracer, Value};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

fn connected(test: impl AsyncFn(Place)) {
    at(Place::CONNECTED, test);
}

/// The caller's span, which may have been renamed.
fn callers(pair: &Pair) -> SpanRecord {
    let mut all = pair.spans.open();
    all.extend(pair.spans.closed());
    let request = pair.request.context().map(|request| request.span_id());
    let mut found = all
        .into_iter()
        .filter(|span| span.parent_span_id() == request);
    found.next().expect("the caller's span")
}

#[test]
fn e1_after_a_lost_connection_what_the_callee_wrote_is_on_the_span_and_nothing_more() {
    connected(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        let update = SpanUpdate::new()
            .name("renamed")
            .attribute("rows", 2)
            .event("hit");
        event.enricher().update(update);
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        event.enricher().set_attribute("late", 1);
        pair.settle().await;
        let span = callers(&pair);
        assert_eq!(span.outcome(), Some(Outcome::Disconnected));
        assert_eq!(
            (span.name(), span.original_name()),
            ("renamed", Some("open"))
        );
        assert_eq!(span.attributes().get("rows"), Some(&Value::from(2)));
        // Beside that only the caller's own word for what went wrong.
        let keys: Vec<_> = span.attributes().iter().map(|own| &*own.key).collect();
        assert_eq!(keys, ["rows", "error.type"]);
        assert_eq!(span.events().len(), 1);
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e2_after_a_fault_what_was_written_before_it_is_on_the_span_before_that_closes() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, _| async move {
            for count in 0..200 {
                event.enricher().set_attribute("count", count);
            }
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        let (thing, handle) = pair.open().into_parts();
        assert!(thing.number_request().send().promise.await.is_err());
        pair.settle().await;
        let span = callers(&pair);
        assert_eq!(span.outcome(), Some(Outcome::Exception));
        assert_eq!(span.attributes().get("count"), Some(&Value::from(199)));
        let of_it = |noticed: &Noticed| match noticed {
            Noticed::Updated(id) | Noticed::Closed(id) => *id == span.span_id(),
            _ => false,
        };
        let last = pair.spans.log().into_iter().rfind(of_it);
        assert_eq!(last, Some(Noticed::Closed(span.span_id())));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e3_after_a_lost_connection_an_enricher_knows_of_the_end_and_holds_no_object() {
    connected(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let kept = pair.event().enricher().clone();
        assert!(kept.is_observed());
        pair.cut();
        pair.settle().await;
        assert!(!kept.is_observed());
        kept.set_attribute("late", 1);
        drop((thing, handle));
        pair.settle().await;
        assert_eq!(pair.world.live(), 0);
        let span = callers(&pair);
        let keys: Vec<_> = span.attributes().iter().map(|own| &*own.key).collect();
        assert_eq!(keys, ["error.type"]);
        drop(kept);
        pair.finish().await;
    });
}

/// Writes, and then does not do what it is to.
struct Fails {
    with: &'static str,
    _alive: std::rc::Rc<()>,
}

impl Service for Fails {
    async fn scheduled(
        self: std::rc::Rc<Self>,
        _run: Scheduled,
        event: EventContext,
    ) -> capnp::Result<RunResult> {
        event.enricher().set_attribute("app.seen", true);
        match self.with {
            "error" => Err(capnp::Error::failed("as it was asked to".into())),
            "panic" => std::panic::resume_unwind(Box::new("on purpose")),
            _ => std::future::pending().await,
        }
    }
}

#[test]
fn e4_after_a_fault_an_event_that_is_one_call_has_been_enriched_all_the_same() {
    everywhere(async |place| {
        for (with, outcome) in [
            ("error", Outcome::Exception),
            ("panic", Outcome::Exception),
            ("lost", Outcome::Disconnected),
        ] {
            if with == "lost" && place == Place::InProcess {
                continue;
            }
            let service = |alive| Fails {
                with,
                _alive: alive,
            };
            let pair = Pair::with_service(place, World::new(), |callee| callee, service);
            let event = pair.pipeline.event("run").parent(pair.request.parent());
            let answer = tokio::task::spawn_local(event.scheduled(&Scheduled::new()));
            pair.settle().await;
            if with == "lost" {
                pair.cut();
            }
            assert!(answer.await.unwrap().is_err());
            pair.settle().await;
            let span = callers(&pair);
            assert_eq!(span.outcome(), Some(outcome), "{with}");
            assert_eq!(*span.set_by_callee(), ["app.seen".into()]);
            pair.finish().await;
        }
    });
}

#[test]
fn e5_after_a_lost_connection_what_was_the_callees_is_still_marked_and_the_rest_refused() {
    connected(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        let caller = event.enricher();
        caller.set_attribute("app.rows", 1);
        caller.set_attribute("service.name", "evil");
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        let span = callers(&pair);
        assert_eq!(span.service(), "caller");
        assert_eq!(*span.set_by_callee(), ["app.rows".into()]);
        assert_eq!(span.dropped().reserved_keys, 1);
        drop((thing, handle, event));
        pair.finish().await;
    });
}

/// Opens a session whose span has small limits, and breaks each of them.
async fn beyond_limits(place: Place, is_lost: bool) {
    let pair = Pair::new(place);
    let limits = SpanLimits::default().max_name_bytes(4).max_attributes(4);
    let limits = limits.max_events(4).max_value_bytes(8).max_key_bytes(8);
    let tracer: Tracer = pair.caller.clone().with_limits(limits);
    let request = pair.request.context().unwrap();
    let event = pair.pipeline.event("open").parent(tracer.child_of(request));
    let (thing, handle) = event.open_session::<thing::Client>().into_parts();
    thing.number_request().send().promise.await.unwrap();
    let event = pair.event();
    let caller = event.enricher();
    caller.set_name("renamed");
    caller.set_attribute("a key that is too long", 1);
    caller.set_attribute("capspan.", 1);
    caller.set_attribute("cut", "a value that is too long");
    for key in ["b", "c", "d"] {
        caller.set_attribute(key, 1);
        caller.add_event(key);
    }
    pair.settle().await;
    match is_lost {
        true => pair.cut(),
        false => drop(thing.clone()),
    }
    drop(thing);
    pair.settle().await;
    let span = callers(&pair);
    // As it was told of when it closed.
    assert!(!span.is_open());
    assert_eq!(span.name(), "rena");
    assert_eq!(span.attributes().get("cut"), Some(&Value::from("a value ")));
    assert_eq!((span.attributes().len(), span.events().len()), (2, 2));
    let dropped = span.dropped();
    assert_eq!((dropped.cut_names, dropped.cut_values), (1, 1));
    assert_eq!((dropped.invalid_keys, dropped.reserved_keys), (1, 1));
    assert_eq!((dropped.attributes, dropped.events), (2, 1));
    drop((handle, event));
    pair.finish().await;
}

#[test]
fn e6_limits_are_the_callers_and_what_they_cut_is_counted_on_the_span() {
    everywhere(async |place| beyond_limits(place, false).await);
}

#[test]
fn e6_after_a_lost_connection_the_counts_are_on_the_span_as_well() {
    connected(async |place| beyond_limits(place, true).await);
}
