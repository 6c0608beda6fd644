//! Spans of calls beyond plain sessions: custom events, streams, two channels, limits beside them.

use std::rc::Rc;
use std::time::Duration;

use capnp::capability::FromClientHook;
use capspan::pipeline::{CustomEvent, EventContext, Service};
use capspan::trace::{Channel, MemoryObserver, SpanKind, Tracer};
use capspan_testkit::calls::{named, number};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

/// Calls what it is given, and gives a new object.
struct Greets {
    world: World,
    _alive: Rc<()>,
}

impl Service for Greets {
    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        _event: EventContext,
    ) -> Result<(), capnp::Error> {
        let given: thing::Client = custom.payload()?.get_as_capability()?;
        number(&given).await;
        let made = self.world.thing().into_client_hook();
        custom.result().set_as_capability(made);
        Ok(())
    }
}

#[test]
fn calls_that_come_of_a_custom_event_are_its_children_and_its_delivery_is_none() {
    everywhere(async |place| {
        let world = World::new();
        let service = |alive| Greets {
            world: world.clone(),
            _alive: alive,
        };
        let configure = |callee: capspan::pipeline::Callee<Greets>| callee.call_spans(named());
        let mut pair = Pair::with_service(place, world.clone(), configure, service);
        pair.pipeline = pair.pipeline.clone().call_spans(named());
        let event = pair.pipeline.event("greet").parent(pair.request.parent());
        let mut custom = event.custom("hello").unwrap();
        let given = World::new().thing().into_client_hook();
        custom.payload().set_as_capability(given);
        let answer = custom.send().0.await.unwrap();
        let made: thing::Client = answer.get().unwrap().get_as_capability().unwrap();
        drop(answer);
        number(&made).await;
        drop(made);
        pair.settle().await;
        let tree = "\
request INTERNAL caller open
  greet CLIENT caller ok
    hello SERVER callee ok
      Thing/number CLIENT callee ok
      Thing/number SERVER callee ok
    Thing/number SERVER caller ok
    Thing/number CLIENT caller ok
";
        assert_eq!(pair.tree(), tree);
        pair.finish().await;
    });
}

#[test]
fn calls_of_a_stream_are_spans_as_others_are() {
    everywhere(async |place| {
        let mut pair = Pair::configured(place, |callee| callee.call_spans(named()));
        pair.pipeline = pair.pipeline.clone().call_spans(named());
        let (thing, handle) = pair.open().into_parts();
        for _ in 0..2 {
            let mut push = thing.push_request();
            push.get().set_data(b"seven");
            push.send().await.unwrap();
        }
        let pushed = thing.pushed_request().send().promise.await.unwrap();
        assert_eq!(pushed.get().unwrap().get_bytes(), 10);
        drop((pushed, thing));
        pair.settle().await;
        drop(handle);
        for (name, kind, count) in [
            ("Thing/push", SpanKind::Client, 2),
            ("Thing/push", SpanKind::Server, 2),
            ("Thing/pushed", SpanKind::Client, 1),
            ("Thing/pushed", SpanKind::Server, 1),
        ] {
            let closed = pair.spans.closed();
            let found = closed.iter().filter(|span| {
                let is_ok = span.outcome() == Some(capspan::trace::Outcome::Ok);
                span.name() == name && span.kind() == kind && is_ok
            });
            assert_eq!(found.count(), count, "{name} {kind:?}");
        }
        pair.finish().await;
    });
}

#[test]
fn s5_each_channel_has_spans_of_its_own_for_each_call() {
    everywhere(async |place| {
        let internal = MemoryObserver::new();
        let operator = Tracer::new(internal.clone())
            .with_service("operator")
            .with_channel(Channel::Internal);
        let callees = operator.clone();
        let mut pair = Pair::configured(place, move |callee| {
            callee.call_spans(named()).internal_tracer(callees)
        });
        pair.pipeline = pair.pipeline.clone().call_spans(named());
        let operation = operator.root().start("operation", SpanKind::Internal);
        let event = pair.pipeline.event("open").parent(pair.request.parent());
        let event = event.internal_parent(operation.parent());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        let made = thing.make_request().send();
        number(&made.pipeline.get_thing()).await;
        drop((made, thing));
        pair.settle().await;
        drop((handle, operation));
        let operators = "\
operation INTERNAL operator closed internal
  open CLIENT operator ok internal
    Thing/make CLIENT operator canceled internal
      Thing/number CLIENT operator ok internal
    session SERVER operator ok internal
      Thing/make SERVER operator ok internal
        Thing/number SERVER operator ok internal
";
        assert_eq!(story::tree(&internal), operators);
        let users = operators
            .replace(
                "operation INTERNAL operator closed",
                "request INTERNAL caller open",
            )
            .replace("CLIENT operator", "CLIENT caller")
            .replace("SERVER operator", "SERVER callee")
            .replace(" internal", "");
        assert_eq!(pair.tree(), users);
        story::assert_closed_once(&internal);
        pair.finish().await;
    });
}

#[test]
fn a_call_under_way_when_a_limit_of_time_ends_its_session_says_so() {
    use capspan::session::TimeLimits;
    use capspan_testkit::run::PausedTime;

    everywhere(async |place| {
        let limits = || TimeLimits::new(PausedTime).total(Duration::from_secs(60));
        let mut pair = Pair::configured(place, |callee| {
            callee.call_spans(named()).time_limits(limits())
        });
        pair.pipeline = pair.pipeline.clone().call_spans(named());
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await;
        let never = thing.never_request().send().promise;
        assert!(never.await.is_err());
        pair.settle().await;
        let tree = "\
request INTERNAL caller open
  open CLIENT caller timeout
    Thing/number CLIENT caller ok
    session SERVER callee timeout
      Thing/number SERVER callee ok
      Thing/never SERVER callee timeout
    Thing/never CLIENT caller exception
";
        assert_eq!(pair.tree(), tree);
        drop((thing, handle));
        pair.finish().await;
    });
}
