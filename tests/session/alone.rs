//! Sessions around a capability that is given out by hand, and what is seen of sessions while they last.

use capnp::traits::HasTypeId;
use capspan::guard::Connection;
use capspan::membrane::{AllowList, IntroducedBy};
use capspan::session::{CallSpans, LiveEvents, SessionAlone, SessionBuilder};
use capspan::trace::{ManualClock, MemoryObserver, Outcome, SpanKind, SpanRole, Timestamp, Tracer};
use capspan_testkit::link::{Cutter, link};
use capspan_testkit::run::run;
use capspan_testkit::service::{Pair, at, everywhere};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_local};

const MAKE: u16 = 4;

/// A client of a bootstrap capability that is a session.
struct Served {
    client: thing::Client,
    session: SessionAlone,
    spans: MemoryObserver,
    world: World,
    live: LiveEvents,
    cutter: Cutter,
    /// The client's.
    connection: JoinHandle<()>,
}

impl Served {
    fn new(configure: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Self {
        let (spans, world, live) = (MemoryObserver::new(), World::new(), LiveEvents::new());
        let tracer = Tracer::new(spans.clone())
            .with_clock(ManualClock::new(Timestamp::from_unix_nanos(1_000)))
            .with_service("served");
        let (tasks, driver) = capspan::Tasks::new();
        spawn_local(driver);
        let ends = link(Duration::ZERO);
        let session = RefCell::new(None);
        let (reader, writer) = ends.server;
        let (_, driver) = Connection::serve(reader, writer, |ending| {
            let builder = SessionBuilder::new(&tasks)
                .parent(tracer.root())
                .call_spans(CallSpans::new().interface::<thing::Client>("Thing", ["number"]))
                .live(&live)
                .ending(ending);
            let (client, alone) = configure(builder).begin("connection", world.thing());
            session.replace(Some(alone));
            capnp::capability::FromClientHook::new(
                capnp::capability::FromClientHook::into_client_hook(client),
            )
        });
        spawn_local(driver.map(drop));
        let (reader, writer) = ends.client;
        let (connection, driver) = Connection::connect(reader, writer);
        let connection_task = spawn_local(driver.map(drop));
        Self {
            client: connection.bootstrap(),
            session: session.take().expect("it was begun"),
            spans,
            world,
            live,
            cutter: ends.cutter,
            connection: connection_task,
        }
    }

    /// Lets all of it go, and makes sure that nothing is left.
    async fn assert_over(self, outcome: Outcome) {
        let end = self.session.ended().await;
        assert_eq!(end.outcome(), outcome, "{end:?}");
        drop(self.client);
        self.connection.abort();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((self.world.live(), self.live.len()), (0, 0));
        story::assert_closed_once(&self.spans);
        let span = self.spans.named("connection").expect("there is one");
        assert_eq!(
            (span.outcome(), span.kind(), span.role()),
            (Some(outcome), SpanKind::Server, SpanRole::Event)
        );
    }
}

#[test]
fn a_connection_that_its_client_closes_is_a_session_that_went_well() {
    run(async {
        let served = Served::new(|builder| builder);
        served.client.number_request().send().promise.await.unwrap();
        let made = served.client.make_request().send().promise.await.unwrap();
        served.cutter.cut();
        served.assert_over(Outcome::Ok).await;
        drop(made);
    });
}

#[test]
fn its_calls_are_spans_below_it() {
    run(async {
        let served = Served::new(|builder| builder);
        served.client.number_request().send().promise.await.unwrap();
        served.cutter.cut();
        let (spans, call) = (
            served.spans.clone(),
            served.spans.named("Thing/number").unwrap(),
        );
        served.assert_over(Outcome::Ok).await;
        let connection = spans.named("connection").unwrap();
        assert_eq!(call.parent_span_id(), Some(connection.span_id()));
        assert_eq!(
            (call.role(), call.kind()),
            (SpanRole::Call, SpanKind::Server)
        );
    });
}

#[test]
fn s8_one_that_is_lost_with_a_call_in_flight_is_disconnected() {
    run(async {
        let served = Served::new(|builder| builder);
        let call = spawn_local(served.client.never_request().send().promise.map(drop));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(served.live.events()[0].calls(), 1);
        served.cutter.cut();
        served.assert_over(Outcome::Disconnected).await;
        call.await.unwrap();
    });
}

#[test]
fn what_a_policy_refuses_does_not_reach_the_service() {
    run(async {
        let allowed = Rc::new(AllowList::new().method::<thing::Client>(MAKE));
        let served = Served::new(|builder| builder.policy(allowed));
        let error = served.client.number_request().send().promise.await;
        assert!(error.err().unwrap().extra.contains("allow-list"));
        served.client.make_request().send().promise.await.unwrap();
        assert_eq!(served.world.calls(), 1);
        served.cutter.cut();
        served.assert_over(Outcome::Ok).await;
    });
}

#[test]
fn one_that_is_aborted_ends_then_and_its_capabilities_fail() {
    run(async {
        let served = Served::new(|builder| builder);
        let made = served.client.make_request().send().pipeline.get_thing();
        made.number_request().send().promise.await.unwrap();
        served
            .session
            .abort(Outcome::Disconnected, "the upstream is gone");
        let error = made.number_request().send().promise.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected);
        assert!(error.extra.contains("the upstream is gone"), "{error}");
        drop(made);
        served.assert_over(Outcome::Disconnected).await;
    });
}

#[test]
fn what_is_alive_tells_the_call_that_it_came_with() {
    everywhere(async |place| {
        let live = LiveEvents::new();
        let seen = live.clone();
        let calls = || CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
        let pair = Pair::configured(place, |callee| callee.live(&seen).call_spans(calls()));
        let (thing, handle) = pair.open().into_parts();
        let response = thing.make_request().send().promise.await.unwrap();
        let made = response.get().unwrap().get_thing().unwrap();
        drop(response);
        made.number_request().send().promise.await.unwrap();
        pair.settle().await;

        let [event] = &live.events()[..] else {
            panic!("one event");
        };
        assert!(event.is_session());
        assert_eq!((event.side(), event.calls()), (Some(SpanKind::Server), 0));
        let session = event.contexts().user.unwrap();
        assert_eq!(pair.spans.named("session").unwrap().context(), &session);
        let [top_level, cursor] = &event.capabilities()[..] else {
            panic!("{:?}", event.capabilities());
        };
        assert_eq!((top_level.number(), top_level.introduced_by()), (1, None));
        assert!(top_level.is_ours() && cursor.is_ours());
        let interface_id = thing::Client::TYPE_ID;
        let by = IntroducedBy {
            interface_id,
            method_id: MAKE,
            in_results: true,
        };
        assert_eq!(cursor.introduced_by(), Some(by));
        assert_eq!(
            (cursor.calls(), cursor.last_call()),
            (1, Some((interface_id, 0)))
        );
        let call = format!("{interface_id:#x}/{MAKE}");
        let call = pair.spans.named(&call).unwrap();
        assert_eq!(cursor.introduced_in(), Some(call.context()));
        assert_eq!(cursor.since(), Some(call.start()));

        assert!(event.revoke("enough"));
        assert!(!event.revoke("once more"));
        assert_eq!(event.end().unwrap().outcome(), Outcome::Revoked);
        assert!(live.is_empty());
        let error = made.number_request().send().promise.await.err().unwrap();
        assert!(error.extra.contains("enough"), "{error}");
        drop((thing, made, handle));
        pair.finish().await;
        assert_eq!(live.begun(), 1);
    });
}

#[test]
fn the_callers_side_of_an_event_is_seen_where_nobody_observes_it() {
    at(capspan_testkit::service::Place::ALL, async |place| {
        let live = LiveEvents::new();
        let pair = Pair::new(place);
        let pipeline = pair.pipeline.clone().live(&live);
        let (thing, handle) = pipeline.open_session::<thing::Client>("open").into_parts();
        thing.number_request().send().promise.await.unwrap();
        let [event] = &live.events()[..] else {
            panic!("one event");
        };
        assert_eq!(event.side(), Some(SpanKind::Client));
        assert_eq!(event.contexts().user, None);
        let [top_level] = &event.capabilities()[..] else {
            panic!("one capability");
        };
        assert!(!top_level.is_ours());
        drop((thing, pipeline));
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        drop(handle);
        pair.settle().await;
        assert!(live.is_empty() && event.end().is_none());
        pair.finish().await;
    });
}
