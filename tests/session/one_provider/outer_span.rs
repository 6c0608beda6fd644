//! A span that a factory makes around an event is the event's own.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::Result;
use capspan::fetch::Body;
use capspan::pipeline::{
    Alarm, Binding, CallOptions, ClientProvider, CustomEvent, Event, EventContext, Path, Provided,
    QueueBatch, QueueDisposition, QueueMessage, QueueResult, RunResult, Scheduled, Service,
};
use capspan::trace::{SpanKind, SpanUpdate, Value};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::{binding, number, options};

/// Makes a span of its own around each call.
struct Actor {
    binding: Binding,
}

impl Actor {
    fn new(pair: &Pair) -> Self {
        let binding = binding(pair).prepare(|event, call| {
            let span = call.parents().user.start("actor", SpanKind::Client);
            span.set_attribute("actor.id", 7);
            Ok(event.span(span))
        });
        Self { binding }
    }
}

impl ClientProvider for Actor {
    fn client_for_one_call<'a>(
        &'a self,
        path: &mut Path<'a>,
        call: &CallOptions,
    ) -> Result<Provided> {
        self.binding.client_for_one_call(path, call)
    }
}

#[test]
fn the_outer_span_of_a_factory_is_the_sessions() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, world| async move {
            event.enricher().set_attribute("app.state", "warm");
            Ok(Client::new(world.thing().into_client_hook()))
        });
        let method = Actor::new(&pair).property("increment").unwrap();
        let mut path = Path::new();
        let provided = method.client_for_one_call(&mut path, &options(&pair));
        let provided = provided.unwrap();
        let session = provided.session().unwrap();
        session.update(&SpanUpdate::new().attribute("rpc.method", path.names()[0]));
        let thing: thing::Client = provided.into_client();
        number(&thing).await.unwrap();
        pair.settle().await;
        assert!(pair.spans.named("actor").unwrap().is_open());
        drop(thing);
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  actor CLIENT caller ok
    session SERVER callee ok
";
        assert_eq!(pair.tree(), wanted);
        let span = pair.spans.named("actor").unwrap();
        let said = ["actor.id", "rpc.method", "app.state"].map(|key| span.attributes().get(key));
        let [id, method_name, state] = said.map(Option::unwrap);
        assert_eq!((id, method_name), (&7.into(), &"increment".into()));
        assert_eq!(*state, Value::from("warm"));
        assert_eq!(span.set_by_callee(), [Box::from("app.state")]);
        drop(method);
        pair.finish().await;
    });
}

#[test]
fn an_outer_span_stays_where_it_is_and_is_the_sessions_whatever_else_is_said() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let other = pair.caller.root().start("other", SpanKind::Internal);
        let span = pair.request.parent().start("outer", SpanKind::Client);
        let event = pair.pipeline.event("not used").span(span);
        let session = event.parent(other.parent()).open_session::<thing::Client>();
        number(session.top_level()).await.unwrap();
        drop(other);
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  outer CLIENT caller open
    session SERVER callee open
other INTERNAL caller closed
";
        assert_eq!(pair.tree(), wanted);
        drop(session);
        pair.settle().await;
        pair.finish().await;
    });
}

#[test]
fn an_outer_span_of_an_event_that_is_not_delivered_ends_with_it() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let outer = |name| {
            let span = pair.request.parent().start(name, SpanKind::Client);
            pair.pipeline.event("not used").span(span)
        };
        drop(outer("dropped"));
        assert!(outer("refused").custom("").is_err());
        let wanted = "\
request INTERNAL caller open
  dropped CLIENT caller closed
  refused CLIENT caller closed
";
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

/// Takes events of every kind.
struct Everything(#[allow(dead_code)] Rc<()>);

impl Service for Everything {
    async fn scheduled(self: Rc<Self>, _: Scheduled, _: EventContext) -> capnp::Result<RunResult> {
        Ok(RunResult::Done)
    }

    async fn alarm(self: Rc<Self>, _: Alarm, _: EventContext) -> capnp::Result<RunResult> {
        Ok(RunResult::failed("as it was asked to"))
    }

    async fn queue(self: Rc<Self>, _: QueueBatch, _: EventContext) -> capnp::Result<QueueResult> {
        Ok(QueueResult::all(QueueDisposition::Acknowledge))
    }

    async fn custom(self: Rc<Self>, _: CustomEvent, event: EventContext) -> capnp::Result<()> {
        event.enricher().set_name("renamed");
        Ok(())
    }

    async fn fetch(
        self: Rc<Self>,
        _: http::Request<Body>,
        _: EventContext,
    ) -> capnp::Result<http::Response<Body>> {
        Ok(http::Response::default())
    }
}

type Delivers = fn(Event<'_>) -> LocalBoxFuture<'static, Result<()>>;

#[test]
fn an_outer_span_serves_every_kind_of_event() {
    let kinds: [(Delivers, &str, &str); 5] = [
        (
            |event| {
                event
                    .scheduled(&Scheduled::new())
                    .map(|answer| answer.map(drop))
                    .boxed_local()
            },
            "outer CLIENT caller ok",
            "scheduled SERVER callee ok",
        ),
        (
            |event| {
                event
                    .alarm(&Alarm::new())
                    .map(|answer| answer.map(drop))
                    .boxed_local()
            },
            "outer CLIENT caller exception",
            "alarm SERVER callee exception",
        ),
        (
            |event| {
                let answer = event.queue("orders", &[QueueMessage::default()]).unwrap();
                answer.map(|answer| answer.map(drop)).boxed_local()
            },
            "outer CLIENT caller ok",
            "process orders SERVER callee ok",
        ),
        (
            |event| {
                let (answer, _) = event.custom("greet").unwrap().send();
                answer.map(|answer| answer.map(drop)).boxed_local()
            },
            "renamed CLIENT caller ok",
            "greet SERVER callee ok",
        ),
        (
            |event| {
                let answer = event.fetch(http::Request::default()).unwrap();
                answer.map(|answer| answer.map(drop)).boxed_local()
            },
            "outer CLIENT caller ok",
            "GET SERVER callee ok",
        ),
    ];
    for (deliver, outer, callee) in kinds {
        everywhere(async |place| {
            let pair = Pair::with_service(place, Default::default(), |callee| callee, Everything);
            let span = pair.request.parent().start("outer", SpanKind::Client);
            deliver(pair.pipeline.event("not used").span(span))
                .await
                .unwrap();
            pair.settle().await;
            let wanted = format!("request INTERNAL caller open\n  {outer}\n    {callee}\n");
            assert_eq!(pair.tree(), wanted);
            pair.finish().await;
        });
    }
}
