//! A hostile callee against our caller: what it answers, or does not.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::guard::Connection;
use capspan::pipeline::{Pipeline, Scheduled};
use capspan::pipeline_capnp::{event_dispatcher, pipeline, rpc_session};
use capspan::trace::{MemoryObserver, Outcome, SpanBuilder, SpanKind, Tracer};
use capspan_testkit::link::direct;
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{Place, at, everywhere};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use tokio::task::{JoinHandle, spawn_local};

/// Our caller.
struct Caller {
    pipeline: Pipeline,
    spans: MemoryObserver,
    request: SpanBuilder,
    connection: Option<JoinHandle<()>>,
}

fn caller_of(place: Place, callee: pipeline::Client) -> Caller {
    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    let (pipeline, connection) = match place {
        Place::InProcess => (Pipeline::new(callee, &tasks), None),
        _ => {
            let (client, server) = direct();
            let bootstrap = Client::new(callee.into_client_hook());
            let (_, driver) = Connection::serve(server.0, server.1, |_| bootstrap);
            spawn_local(driver.map(drop));
            let (connection, driver) = Connection::connect(client.0, client.1);
            let driver = spawn_local(driver.map(drop));
            (Pipeline::over(&connection, &tasks), Some(driver))
        }
    };
    let spans = MemoryObserver::new();
    Caller {
        pipeline,
        request: Tracer::new(spans.clone())
            .root()
            .start("request", SpanKind::Internal),
        spans,
        connection,
    }
}

#[test]
fn a_callee_that_never_answers_keeps_no_span_open_that_the_caller_gives_up() {
    everywhere(async |place| {
        let never = capnp_rpc::new_future_client(std::future::pending());
        let caller = caller_of(place, never);
        let event = |name| caller.pipeline.event(name).parent(caller.request.parent());
        let session = event("open").open_session::<thing::Client>();
        let called = session.top_level().number_request().send().promise;
        let called = spawn_local(called.map(|called| called.is_err()));
        let run = spawn_local(event("run").scheduled(&Scheduled::new()));
        until_idle().await;
        assert_eq!(caller.spans.open().len(), 3);
        let (thing, handle) = session.into_parts();
        drop(handle);
        run.abort();
        until_idle().await;
        assert!(called.await.unwrap(), "the call waits for ever");
        for name in ["open", "run"] {
            let span = caller.spans.named(name).unwrap();
            assert_eq!(span.outcome(), Some(Outcome::Canceled), "{name}");
        }
        drop(thing);
    });
}

#[test]
fn a_callee_that_never_answers_is_disconnected_with_its_connection() {
    at([Place::Connection], async |place| {
        let never = capnp_rpc::new_future_client(std::future::pending());
        let caller = caller_of(place, never);
        let event = |name| caller.pipeline.event(name).parent(caller.request.parent());
        let session = event("open").open_session::<thing::Client>();
        let run = spawn_local(event("run").scheduled(&Scheduled::new()));
        until_idle().await;
        caller.connection.as_ref().unwrap().abort();
        assert!(run.await.unwrap().unwrap_err().is_disconnected());
        let (thing, handle) = session.into_parts();
        assert!(handle.done().await.unwrap_err().is_disconnected());
        caller.request.end();
        story::assert_closed_once(&caller.spans);
        let open = caller.spans.named("open").unwrap();
        assert_eq!(open.outcome(), Some(Outcome::Disconnected));
        drop((thing, handle));
    });
}

/// Opens sessions, and has much to say about how they ended.
struct Talkative(World);

impl pipeline::Server for Talkative {
    async fn start_event(
        self: Rc<Self>,
        _params: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> capnp::Result<()> {
        results
            .get()
            .set_dispatcher(capnp_rpc::new_client_from_rc(self));
        Ok(())
    }
}

impl event_dispatcher::Server for Talkative {
    async fn open_session(
        self: Rc<Self>,
        _params: event_dispatcher::OpenSessionParams,
        mut results: event_dispatcher::OpenSessionResults,
    ) -> capnp::Result<()> {
        let mut results = results.get();
        results.set_session(capnp_rpc::new_client_from_rc(self.clone()));
        let thing = self.0.thing().into_client_hook();
        results.init_top_level().set_as_capability(thing);
        Ok(())
    }

    async fn scheduled(
        self: Rc<Self>,
        _params: event_dispatcher::ScheduledParams,
        _results: event_dispatcher::ScheduledResults,
    ) -> capnp::Result<()> {
        Err(capnp::Error::failed("ä".repeat(5 << 20)))
    }
}

impl rpc_session::Server for Talkative {
    async fn done(
        self: Rc<Self>,
        _params: rpc_session::DoneParams,
        mut results: rpc_session::DoneResults,
    ) -> capnp::Result<()> {
        results.get().set_reason("ä".repeat(5 << 20));
        Ok(())
    }
}

#[test]
fn of_what_a_callee_says_about_an_end_4_kib_are_kept() {
    everywhere(async |place| {
        let callee = capnp_rpc::new_client(Talkative(World::new()));
        let caller = caller_of(place, callee);
        let event = |name| caller.pipeline.event(name).parent(caller.request.parent());
        let session = event("open").open_session::<thing::Client>();
        let (thing, handle) = session.into_parts();
        let done = handle.done().await.unwrap();
        assert_eq!(done.reason().map(str::len), Some(4_096));
        assert!(event("run").scheduled(&Scheduled::new()).await.is_err());
        let run = caller.spans.named("run").unwrap();
        assert_eq!(run.outcome(), Some(Outcome::Exception));
        assert!(format!("{:?}", run.status()).len() < 4_200);
        drop((thing, handle));
        until_idle().await;
        caller.request.end();
        story::assert_closed_once(&caller.spans);
    });
}
