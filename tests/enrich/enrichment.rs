//! The callee writes to the caller's span: E1 and E2, with the rights of E5.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::enrich::Enricher;
use capspan::trace::{
    Channel, MemoryObserver, SpanEvent, SpanKind, SpanLimits, SpanRecord, SpanStatus, SpanUpdate,
    Tracer, Value,
};
use capspan_testkit::service::{Pair, Place, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

/// An object that enriches the caller's span in each of its calls.
struct Writer {
    caller: Enricher,
    calls: Cell<i64>,
    /// How many updates it writes in each call.
    updates: i64,
}

impl thing::Server for Writer {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        let call = self.calls.get() + 1;
        self.calls.set(call);
        for update in 1..=self.updates {
            self.caller.set_attribute("call", call);
            self.caller.set_attribute("update", update);
        }
        results.get().set_number(u32::try_from(call).unwrap());
        Ok(())
    }

    async fn fail(
        self: Rc<Self>,
        _params: thing::FailParams,
        _results: thing::FailResults,
    ) -> Result<(), capnp::Error> {
        self.caller.set_attribute("failed", true);
        Err(capnp::Error::failed("as it was asked to".into()))
    }
}

fn writing(place: Place, updates: i64) -> Pair {
    Pair::serving(place, move |event, _| async move {
        let caller = event.enricher().clone();
        caller.set_attribute("opening", true);
        let thing: thing::Client = capnp_rpc::new_client(Writer {
            caller,
            calls: Cell::new(0),
            updates,
        });
        Ok(Client::new(thing.into_client_hook()))
    })
}

fn open_span(pair: &Pair) -> SpanRecord {
    let mut all = pair.spans.open();
    all.extend(pair.spans.closed());
    let id = pair.request.context().map(|request| request.span_id());
    let mut found = all.into_iter().filter(|span| span.parent_span_id() == id);
    found.next().expect("the caller's session span")
}

fn attribute(pair: &Pair, key: &str) -> Option<Value> {
    open_span(pair).attributes().get(key).cloned()
}

#[test]
fn e1_name_attributes_events_and_status_are_the_callees_and_marked() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        pair.clock.advance(Duration::from_nanos(3));
        let event = pair.event();
        let caller = event.enricher();
        assert!(caller.is_observed());
        caller.set_name("GET /first");
        caller.set_name("GET /users/{id}");
        caller.set_attribute("rows", 1);
        caller.set_attribute("rows", 2);
        caller.set_attribute("plan", "pro");
        caller.add_event(SpanEvent::new("cache miss").attribute("key", "u1"));
        caller.set_status(SpanStatus::error("no such user"));
        caller.update(SpanUpdate::new().attribute("hit", 0.5).event("retry"));
        pair.settle().await;

        let span = open_span(&pair);
        assert_eq!(
            (span.name(), span.original_name()),
            ("GET /users/{id}", Some("open"))
        );
        assert!(span.is_named_by_callee() && span.is_status_by_callee());
        let attributes: Vec<_> = span.attributes().iter().collect();
        let wanted = [
            ("rows", Value::from(2)),
            ("plan", "pro".into()),
            ("hit", 0.5.into()),
        ];
        assert_eq!(attributes.len(), wanted.len(), "{attributes:?}");
        for (attribute, (key, value)) in attributes.into_iter().zip(wanted) {
            assert_eq!((&*attribute.key, &attribute.value), (key, &value));
        }
        assert_eq!(
            span.set_by_callee(),
            ["rows".into(), "plan".into(), "hit".into()]
        );
        assert_eq!(*span.status(), SpanStatus::error("no such user"));
        let events: Vec<_> = span.events().iter().map(|event| event.name()).collect();
        assert_eq!(events, ["cache miss", "retry"]);
        assert!(span.events().iter().all(|event| event.is_by_callee()));
        assert_eq!(span.events()[0].time().unix_nanos(), 1_003);
        assert_eq!(span.events()[0].attributes().get("key"), Some(&"u1".into()));

        // Nothing of it is on any other span.
        for name in ["request", "session"] {
            let span = pair.spans.named(name).unwrap();
            assert!(
                span.attributes().is_empty() && span.events().is_empty(),
                "{name}"
            );
        }
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e1_of_two_channels_only_the_users_span_is_written() {
    everywhere(async |place| {
        let internal = MemoryObserver::new();
        let callee_internal = Tracer::new(internal.clone()).with_service("callee");
        let pair = Pair::configured(place, |callee| callee.internal_tracer(callee_internal));
        let operator = Tracer::new(internal.clone()).with_channel(Channel::Internal);
        let operation = operator.root().start("operation", SpanKind::Internal);
        let event = pair.pipeline.event("open");
        let event = event.parent(pair.request.parent());
        let event = event.internal_parent(operation.parent());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        event.enricher().set_name("renamed");
        event.enricher().set_attribute("plan", "pro");
        event.update(&SpanUpdate::new().attribute("by", "user"));
        event.update_internal(&SpanUpdate::new().attribute("by", "operator"));
        pair.settle().await;
        drop(thing);
        assert!(handle.done().await.is_ok());
        pair.settle().await;
        drop(operation);

        assert_eq!(open_span(&pair).name(), "renamed");
        let tree = capspan_testkit::story::tree(&internal);
        let wanted = "\
operation INTERNAL unknown_service closed internal
  open CLIENT unknown_service ok internal
    session SERVER callee ok internal
";
        assert_eq!(tree, wanted);
        assert!(internal.named("open").unwrap().attributes().is_empty());
        for (spans, by) in [(&internal, "operator"), (&pair.spans, "user")] {
            let session = spans.named("session").unwrap();
            assert_eq!(session.attributes().get("by"), Some(&by.into()));
            assert_eq!(session.attributes().len(), 1);
        }
        drop((handle, event));
        pair.finish().await;
    });
}

#[test]
fn e1_where_only_the_operator_observes_nothing_can_be_written() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let event = pair.pipeline.event("open");
        let event = event.internal_parent(pair.request.parent());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        assert!(!event.enricher().is_observed());
        event.enricher().set_name("renamed");
        pair.settle().await;
        assert_eq!(open_span(&pair).name(), "open");
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e5_reserved_keys_are_refused_and_limits_are_the_callers() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let limits = SpanLimits::default().max_name_bytes(4);
        let tracer = pair.caller.clone().with_limits(limits);
        let request = pair.request.context().unwrap();
        let event = pair.pipeline.event("open").parent(tracer.child_of(request));
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        for key in ["capspan.outcome", "service.name", "telemetry.sdk.name"] {
            event.enricher().set_attribute(key, "evil");
        }
        event.enricher().set_name("renamed");
        pair.settle().await;
        let span = open_span(&pair);
        assert!(span.attributes().is_empty() && span.set_by_callee().is_empty());
        assert_eq!(span.name(), "rena");
        let dropped = span.dropped();
        assert_eq!((dropped.reserved_keys, dropped.cut_names), (3, 1));
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e2_what_a_call_enriches_is_there_when_its_caller_sees_the_answer() {
    everywhere(async |place| {
        let pair = writing(place, 1);
        let (thing, handle) = pair.open().into_parts();
        for call in 1..=1_000_i64 {
            thing.number_request().send().promise.await.unwrap();
            assert_eq!(attribute(&pair, "call"), Some(call.into()));
            assert_eq!(attribute(&pair, "opening"), Some(true.into()));
        }
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_so_it_is_for_calls_at_once_and_more_updates_than_may_be_on_their_way() {
    everywhere(async |place| {
        let pair = writing(place, 200);
        let (thing, handle) = pair.open().into_parts();
        let calls = (1..=8_i64).map(|call| {
            let (call, sent) = (call, thing.number_request().send().promise);
            let pair = &pair;
            async move {
                sent.await.unwrap();
                let Some(Value::Int(seen)) = attribute(pair, "call") else {
                    panic!("call {call} wrote nothing");
                };
                assert!(seen >= call, "call {call} sees {seen}");
            }
        });
        futures::future::join_all(calls).await;
        assert_eq!(attribute(&pair, "call"), Some(8.into()));
        assert_eq!(attribute(&pair, "update"), Some(200.into()));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_so_it_is_for_a_call_that_fails() {
    everywhere(async |place| {
        let pair = writing(place, 200);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        assert!(thing.fail_request().send().promise.await.is_err());
        assert_eq!(attribute(&pair, "failed"), Some(true.into()));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_what_a_handler_enriches_before_it_fails_is_on_the_span_before_that_closes() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, _| async move {
            for update in 1..=100 {
                event.enricher().set_attribute("update", update);
            }
            Err(capnp::Error::failed("as it was asked to".into()))
        });
        let (thing, handle) = pair.open().into_parts();
        assert!(handle.done().await.is_err());
        pair.settle().await;
        let span = open_span(&pair);
        assert!(!span.is_open());
        assert_eq!(span.attributes().get("update"), Some(&100.into()));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_what_is_written_before_the_last_capability_drops_is_on_the_span_before_it_closes() {
    everywhere(async |place| {
        // The service's object outlives the session, whose last capability is one that it stores.
        let kept = World::new().thing();
        let inside = kept.clone();
        let pair = Pair::serving(place, move |_, _| {
            let thing = inside.clone();
            async move { Ok(Client::new(thing.into_client_hook())) }
        });
        let (thing, handle) = pair.open().into_parts();
        let mut request = thing.store_request();
        request.get().set_thing(pair.world.thing());
        request.send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        let taken = kept.take_request().send().promise.await.unwrap();
        let event = pair.event();
        for update in 1..=200 {
            event.enricher().set_attribute("update", update);
        }
        drop(taken);
        pair.settle().await;
        let span = open_span(&pair);
        assert!(!span.is_open());
        assert_eq!(span.attributes().get("update"), Some(&200.into()));
        assert_eq!(pair.caller.late_updates(), 0);
        drop((kept, handle, event));
        pair.finish().await;
    });
}
