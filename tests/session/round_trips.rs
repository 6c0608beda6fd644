//! A session costs no round trip of its own.

use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::session::Session;
use capspan::trace::{MemoryObserver, SpanKind, Tracer};
use capspan_testkit::link::{Link, link, plain};
use capspan_testkit::run::run;
use capspan_testkit::service::{LATENCY, Pair, Place};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use tokio::time::Instant;

struct Things(World);

impl Service for Things {
    async fn open_session(
        self: std::rc::Rc<Self>,
        event: EventContext,
    ) -> Result<Client, capnp::Error> {
        event.enricher().set_name("renamed");
        Ok(Client::new(self.0.thing().into_client_hook()))
    }
}

/// How long a first call on a bootstrap capability takes, from the moment there is a connection.
async fn bare_call() -> Duration {
    let Link { client, server, .. } = link(LATENCY);
    let start = Instant::now();
    let bootstrap = Client::new(World::new().thing().into_client_hook());
    let thing: thing::Client = plain((client, server), bootstrap);
    thing.number_request().send().promise.await.unwrap();
    start.elapsed()
}

/// How long `opens` takes to the first answer, from the moment there is a connection.
async fn in_a_session(
    tracer: &Tracer,
    opens: impl FnOnce(Pipeline, &Tracer) -> Session<thing::Client>,
) -> Duration {
    let Link { client, server, .. } = link(LATENCY);
    let (tasks, driver) = Tasks::new();
    tokio::task::spawn_local(driver);
    let callee = Callee::new(Things(World::new()), &tasks).tracer(tracer.clone());
    let start = Instant::now();
    let (_, driver) = Connection::serve(server.0, server.1, |ending| callee.bootstrap(ending));
    tokio::task::spawn_local(driver);
    let (connection, driver) = Connection::connect(client.0, client.1);
    tokio::task::spawn_local(driver);
    let session = opens(Pipeline::over(&connection, &tasks), tracer);
    drop(connection);
    let first = session.top_level().number_request().send();
    first.promise.await.unwrap();
    start.elapsed()
}

#[test]
fn a_session_and_its_first_call_take_as_long_as_a_bare_call() {
    run(async {
        let bare = bare_call().await;
        assert_eq!(bare, 2 * LATENCY, "one trip there, one back");
        for tracer in [Tracer::new(MemoryObserver::new()), Tracer::unobserved()] {
            // The pipeline is dropped at once.
            let took = in_a_session(&tracer, |pipeline, tracer| {
                let request = tracer.root().start("request", SpanKind::Internal);
                let event = pipeline.event("open").parent(request.parent());
                event.open_session()
            });
            assert_eq!(took.await, bare);
        }
    });
}

#[test]
fn so_does_a_second_call_on_what_the_first_one_gives() {
    run(async {
        let pair = Pair::new(Place::Distant);
        let start = Instant::now();
        let (thing, handle) = pair.open().into_parts();
        let made = thing.make_request().send().pipeline.get_thing();
        drop(thing);
        made.number_request().send().promise.await.unwrap();
        assert_eq!(start.elapsed(), 2 * LATENCY);
        drop(made);
        assert!(handle.done().await.is_ok());
        // The last capability's drop on its way there, and the answer on its way back.
        assert_eq!(start.elapsed(), 4 * LATENCY);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn the_end_is_seen_one_trip_after_the_last_drop() {
    run(async {
        let pair = Pair::new(Place::Distant);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        pair.settle().await;
        drop(thing);
        capspan_testkit::run::pass(LATENCY - Duration::from_millis(1)).await;
        assert!(pair.spans.named("open").unwrap().outcome().is_some());
        assert!(pair.spans.named("session").unwrap().is_open());
        capspan_testkit::run::pass(Duration::from_millis(2)).await;
        assert!(!pair.spans.named("session").unwrap().is_open());
        drop(handle);
        pair.finish().await;
    });
}
