//! A connection that is lost in the middle: S2, S7 and S8.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::guard::{Connection, ConnectionDriver};
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::trace::{
    MemoryObserver, Observer, Outcome, SpanKind, SpanRecord, SpanStatus, SpanUpdate, Tracer,
};
use capspan_testkit::link::direct;
use capspan_testkit::run::run;
use capspan_testkit::service::{LATENCY, Pair, Place, at};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::{AsyncWriteExt, FutureExt};

const LOST: &str = "\
request INTERNAL caller open
  open CLIENT caller disconnected
    session SERVER callee disconnected
";

fn everywhere(test: impl AsyncFn(Place)) {
    at(Place::CONNECTED, test);
}

/// Both closed `disconnected`, with a reason.
fn assert_lost(pair: &Pair) {
    assert_eq!(pair.tree(), LOST);
    for name in ["open", "session"] {
        let span = pair.spans.named(name).unwrap();
        let SpanStatus::Error(reason) = span.status() else {
            panic!("{name} has no reason");
        };
        assert!(reason.contains("connection"), "{name}: {reason}");
    }
}

#[test]
fn s8_an_idle_session_closes_at_once_on_both_sides() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let outside = World::new();
        let (thing, handle) = pair.open().into_parts();
        let made = thing.make_request().send().promise.await.unwrap();
        let mut request = thing.store_request();
        request.get().set_thing(outside.thing());
        request.send().promise.await.unwrap();
        pair.settle().await;
        pair.clock.advance(std::time::Duration::from_nanos(5));
        pair.cut();
        tokio::task::yield_now().await;
        pair.settle().await;
        pair.clock.advance(std::time::Duration::from_nanos(5));
        // The application still holds all of it.
        assert_lost(&pair);
        let end = pair.spans.named("open").unwrap().end().unwrap();
        assert_eq!(end.unix_nanos(), 1_005);
        assert_eq!((pair.world.live(), outside.live()), (0, 0));
        assert_eq!(handle.end().unwrap().outcome(), Outcome::Disconnected);
        for error in [
            thing.number_request().send().promise.await.err().unwrap(),
            made.get()
                .unwrap()
                .get_thing()
                .unwrap()
                .number_request()
                .send()
                .promise
                .await
                .err()
                .unwrap(),
        ] {
            assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        }
        assert!(handle.done().await.unwrap_err().is_disconnected());
        drop((thing, made, handle));
        pair.finish().await;
    });
}

#[test]
fn s8_a_call_in_flight_fails_and_both_sides_close() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        let call = thing.never_request().send().promise;
        let done = handle.done();
        pair.settle().await;
        assert_eq!(pair.world.calls(), 1);
        pair.cut();
        let error = call.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        assert!(done.await.unwrap_err().is_disconnected());
        pair.settle().await;
        assert_lost(&pair);
        assert_eq!(pair.world.live(), 0);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s8_lost_while_it_is_being_opened() {
    at([Place::Distant], async |place| {
        for quarter in 0..9 {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            let call = thing.number_request().send().promise;
            capspan_testkit::run::pass(LATENCY / 4 * quarter).await;
            pair.cut();
            let result = call.await;
            assert!(result.is_err(), "{quarter}");
            pair.settle().await;
            match pair.spans.named("session") {
                Some(_) => assert_lost(&pair),
                None => assert_eq!(
                    pair.tree(),
                    "request INTERNAL caller open\n  open CLIENT caller disconnected\n"
                ),
            }
            assert!(handle.done().await.unwrap_err().is_disconnected());
            drop((thing, handle, result));
            pair.finish().await;
        }
    });
}

#[test]
fn s8_lost_while_the_handler_works() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |_, world| async move {
            let _held = world.thing();
            std::future::pending::<()>().await;
            unreachable!()
        });
        let (thing, handle) = pair.open().into_parts();
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        assert_lost(&pair);
        assert_eq!(pair.world.live(), 0);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s8_what_the_handler_has_open_closes_with_it() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, _| async move {
            let _work = event.parent().start("work", SpanKind::Internal);
            std::future::pending::<()>().await;
            unreachable!()
        });
        let (thing, handle) = pair.open().into_parts();
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        let tree = pair.tree();
        assert!(tree.contains("work INTERNAL callee closed"), "{tree}");
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s8_a_session_that_is_over_stays_as_it_ended() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        drop(pair.open());
        pair.settle().await;
        let ended = pair.tree();
        assert!(ended.contains("session SERVER callee ok"), "{ended}");
        pair.cut();
        pair.settle().await;
        assert_eq!(pair.tree(), ended);
        pair.finish().await;
    });
}

#[test]
fn s8_a_session_that_is_opened_after_the_end_is_disconnected() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        pair.cut();
        pair.settle().await;
        let (thing, handle) = pair.open().into_parts();
        let error = thing.number_request().send().promise.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        assert!(handle.done().await.unwrap_err().is_disconnected());
        let wanted = "request INTERNAL caller open\n  open CLIENT caller disconnected\n";
        assert_eq!(pair.tree(), wanted);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s8_a_detached_session_ends_with_the_connection() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        handle.detach();
        pair.settle().await;
        pair.cut();
        pair.settle().await;
        assert_lost(&pair);
        drop(thing);
        pair.finish().await;
    });
}

#[test]
fn s8_all_is_let_go_in_any_order_after_the_end() {
    everywhere(async |place| {
        for handle_first in [false, true] {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            thing.number_request().send().promise.await.unwrap();
            pair.cut();
            // Before anybody has noticed, too.
            match handle_first {
                true => drop((handle, thing)),
                false => drop((thing, handle)),
            }
            pair.settle().await;
            let session = pair.spans.named("session").unwrap();
            assert_eq!(session.outcome(), Some(Outcome::Disconnected));
            pair.finish().await;
        }
    });
}

#[test]
fn s8_a_driver_that_is_dropped_ends_the_connection_for_both() {
    everywhere(async |place| {
        for is_callees in [false, true] {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            let call = thing.never_request().send().promise;
            pair.settle().await;
            pair.drop_driver(is_callees);
            assert!(call.await.is_err());
            pair.settle().await;
            assert_lost(&pair);
            assert_eq!(pair.world.live(), 0);
            drop((thing, handle));
            pair.finish().await;
        }
    });
}

#[test]
fn s8_a_method_that_panics_loses_the_connection_and_nothing_stays() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        let made = thing.make_request().send().promise.await.unwrap();
        let call = thing.panics_request().send().promise;
        let error = call.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected, "{error}");
        pair.settle().await;
        assert_lost(&pair);
        assert_eq!(pair.world.live(), 0);
        drop((thing, made, handle));
        pair.cut();
        pair.finish().await;
    });
}

#[test]
fn s8_a_method_that_panics_in_process_leaves_the_session_as_it_is() {
    at([Place::InProcess], async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        let call = tokio::task::spawn_local(thing.panics_request().send().promise.map(drop));
        assert!(
            call.await.unwrap_err().is_panic(),
            "whoever waits for it has it"
        );
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        drop(handle);
        pair.finish().await;
    });
}

/// Drops the driver of a connection when it is told of a change.
#[derive(Clone, Default)]
struct Impatient {
    driver: Rc<RefCell<Option<ConnectionDriver>>>,
    spans: MemoryObserver,
}

impl Observer for Impatient {
    fn opened(&self, span: &SpanRecord) {
        Observer::opened(&self.spans, span);
    }

    fn updated(&self, span: &SpanRecord) {
        Observer::updated(&self.spans, span);
        drop(self.driver.take());
    }

    fn closed(&self, span: &SpanRecord) {
        Observer::closed(&self.spans, span);
    }
}

struct Listed {
    events: Rc<RefCell<Vec<EventContext>>>,
}

impl Service for Listed {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
        self.events.borrow_mut().push(event);
        Ok(Client::new(World::new().thing().into_client_hook()))
    }
}

#[test]
fn s8_an_observer_may_cut_the_connection_when_it_is_told_of_a_change() {
    run(async {
        let (tasks, driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        let (observer, events) = (Impatient::default(), Rc::default());
        let service = Listed {
            events: Rc::clone(&events),
        };
        let callee = Callee::new(service, &tasks).tracer(Tracer::new(observer.clone()));
        let (client, server) = direct();
        let (_, driver) = Connection::serve(server.0, server.1, |ending| callee.bootstrap(ending));
        observer.driver.replace(Some(driver));
        let driver = observer.driver.clone();
        tokio::task::spawn_local(poll_fn(move |cx| match &mut *driver.borrow_mut() {
            Some(driver) => driver.poll_unpin(cx).map(drop),
            None => Poll::Ready(()),
        }));
        let (connection, driver) = Connection::connect(client.0, client.1);
        tokio::task::spawn_local(driver);
        let pipeline = Pipeline::over(&connection, &tasks);
        let session = pipeline.open_session::<thing::Client>("open");
        let number = session.top_level().number_request().send().promise;
        number.await.unwrap();
        let event = events.borrow().first().cloned().expect("it was delivered");
        event.update(&SpanUpdate::new().attribute("k", 1));
        let closed = observer.spans.closed();
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].outcome(), Some(Outcome::Disconnected));
        drop((session, event));
    });
}

#[test]
fn s8_of_what_a_peer_says_when_it_gives_up_4_kib_are_kept() {
    run(async {
        let (client, server) = direct();
        let (connection, driver) = Connection::connect(client.0, client.1);
        tokio::task::spawn_local(driver);
        let mut message = capnp::message::Builder::new_default();
        let rpc: capnp_rpc::rpc_capnp::message::Builder<'_> = message.init_root();
        rpc.init_abort().set_reason("ä".repeat(1 << 20));
        let bytes = capnp::serialize::write_message_to_words(&message);
        let (_reader, mut writer) = server;
        writer.write_all(&bytes).await.unwrap();
        capspan_testkit::run::pass(LATENCY).await;
        let reason = connection.ending().reason().unwrap().reason();
        assert!((4000..4200).contains(&reason.len()), "{}", reason.len());
    });
}
