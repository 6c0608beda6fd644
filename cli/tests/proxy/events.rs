//! A service that takes events: each is told of below its caller's span, and what the service writes to its
//! caller's span gets there.

use std::rc::Rc;

use bytes::Bytes;
use capnp::capability::{Client, FromClientHook as _};
use capnp::traits::HasTypeId as _;
use capspan::Tasks;
use capspan::fetch::Body;
use capspan::guard::Connection;
use capspan::pipeline::{Callee, EventContext, Pipeline, RunResult, Scheduled, Service as Events};
use capspan::pipeline_capnp::pipeline;
use capspan::trace::{MemoryObserver, Outcome, SpanKind, Tracer};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use super::setting::{Caller, Over, Proxy, Service, assert_closed, run};

/// Takes events, and writes to the spans of who started them.
struct Takes(World);

impl Events for Takes {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
        event.enricher().set_attribute("opened", true);
        Ok(Client::new(self.0.thing().into_client_hook()))
    }

    async fn scheduled(
        self: Rc<Self>,
        _run: Scheduled,
        event: EventContext,
    ) -> Result<RunResult, capnp::Error> {
        event.enricher().set_name("nightly");
        Ok(RunResult::failed("not today"))
    }

    async fn fetch(
        self: Rc<Self>,
        request: http::Request<Body>,
        event: EventContext,
    ) -> Result<http::Response<Body>, capnp::Error> {
        event.enricher().set_name(request.uri().path());
        let body = request.into_body().whole(1 << 20).await?;
        Ok(http::Response::new(Body::from(body)))
    }
}

/// A callee, the proxy, and a caller, each with spans of its own.
pub(super) struct Stage {
    folder: TempDir,
    pub(super) proxy: Proxy,
    pub(super) pipeline: Pipeline,
    caller: Tracer,
    callers: MemoryObserver,
    callees: MemoryObserver,
    pub(super) world: World,
    tasks: Tasks,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The proxy has these options as well.
    pub(super) async fn with(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (callers, callees) = (MemoryObserver::new(), MemoryObserver::new());
        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let world = World::new();
        let tracer = Tracer::new(callees.clone()).with_service("callee");
        let callee = Callee::new(Takes(world.clone()), &tasks).tracer(tracer);
        let path = folder.path().join("service");
        let listener = UnixListener::bind(&path).unwrap();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reader, writer) = stream.into_split();
                let (reader, writer) = (reader.compat(), writer.compat_write());
                let (_, driver) =
                    Connection::serve(reader, writer, |ending| callee.bootstrap(ending));
                spawn_local(async { drop(driver.await) });
            }
        });
        let upstream = format!("unix:{}", path.display());
        let proxy = Proxy::start(Over::Unix, &folder, &upstream, words).await;
        let stream = UnixStream::connect(&proxy.address["unix:".len()..])
            .await
            .unwrap();
        let (reader, writer) = stream.into_split();
        let (connection, driver) = Connection::connect(reader.compat(), writer.compat_write());
        spawn_local(async { drop(driver.await) });
        Self {
            folder,
            proxy,
            pipeline: Pipeline::over(&connection, &tasks),
            caller: Tracer::new(callers.clone()).with_service("caller"),
            callers,
            callees,
            world,
            tasks,
        }
    }

    /// Ends it all; gives what the proxy has told.
    async fn finish(self) -> Vec<Json> {
        drop((self.pipeline, self.tasks));
        let records = self.proxy.finish().await;
        assert_closed(&records);
        assert!(self.callees.open().is_empty() && self.callers.open().is_empty());
        assert_eq!(self.world.live(), 0);
        drop(self.folder);
        records
    }
}

/// The proxy's two spans of an event, the one that it took and the one that it started.
fn hop<'a>(records: &'a [Json], caller: &str, callee: &str) -> (&'a Json, &'a Json) {
    let of = |key: &str, id: &str| {
        let mut found = records.iter().filter(|record| record[key] == id);
        found
            .next()
            .unwrap_or_else(|| panic!("no {key} {id} in {records:#?}"))
    };
    let taken = of("parentSpanId", caller);
    let started = of("spanId", callee);
    assert_eq!(started["parentSpanId"], taken["spanId"]);
    assert_eq!(
        (&taken["kind"], &started["kind"]),
        (&"SERVER".into(), &"CLIENT".into())
    );
    (taken, started)
}

#[test]
fn a_session_is_told_of_between_its_callers_span_and_its_callees() {
    run(async {
        let stage = Stage::new().await;
        let root = stage.caller.root().start("work", SpanKind::Internal);
        let event = stage.pipeline.event("ask").parent(root.parent());
        let (thing, session) = event.open_session::<thing::Client>().into_parts();
        let response = thing.number_request().send().promise.await.unwrap();
        assert_eq!(response.get().unwrap().get_number(), 1);
        // Before any call has returned that was made after it (E2).
        let ask = stage.callers.open();
        let ask = ask.iter().find(|span| span.name() == "ask").unwrap();
        assert!(ask.attributes().get("opened").is_some());
        drop((thing, response));
        assert_eq!(session.done().await.unwrap().outcome(), Outcome::Ok);
        drop((session, root));
        let ask = stage.callers.named("ask").unwrap();
        let callee = stage.callees.named("session").unwrap();
        assert_eq!(callee.trace_id(), ask.trace_id());
        let records = stage.finish().await;
        let parent = callee.parent_span_id().unwrap().to_string();
        let (taken, started) = hop(&records, &ask.span_id().to_string(), &parent);
        assert_eq!(taken["traceId"], ask.trace_id().to_string());
        assert_eq!(
            (&taken["outcome"], &started["outcome"]),
            (&"ok".into(), &"ok".into())
        );
    });
}

#[test]
fn a_session_that_its_caller_cancels_is_canceled_on_all_sides() {
    run(async {
        let stage = Stage::new().await;
        let root = stage.caller.root().start("work", SpanKind::Internal);
        let event = stage.pipeline.event("ask").parent(root.parent());
        let (thing, session) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(session);
        let error = thing.number_request().send().promise.await;
        assert!(error.is_err());
        drop((thing, root));
        let callees = stage.callees.clone();
        let records = stage.finish().await;
        let callee = callees.named("session").unwrap();
        assert_eq!(callee.outcome(), Some(Outcome::Canceled));
        let sessions = records
            .iter()
            .filter(|record| record["name"] == "session" && record["outcome"] == "canceled");
        assert_eq!(sessions.count(), 2, "{records:#?}");
    });
}

#[test]
fn what_may_not_be_called_may_not_be_called_in_an_events_session() {
    run(async {
        let deny = format!("{:#x}/0", thing::Client::TYPE_ID);
        let stage = Stage::with(&["--deny", &deny]).await;
        let session = stage.pipeline.event("ask").open_session::<thing::Client>();
        let (thing, session) = session.into_parts();
        let error = thing.number_request().send().promise.await.err().unwrap();
        assert!(error.extra.contains("does not let"), "{error}");
        // Nor on what comes of it.
        let made = thing.make_request().send().pipeline.get_thing();
        assert!(made.number_request().send().promise.await.is_err());
        // What is not denied passes.
        thing.make_request().send().promise.await.unwrap();
        assert_eq!(stage.world.calls(), 2);
        drop((thing, made));
        assert_eq!(session.done().await.unwrap().outcome(), Outcome::Ok);
        drop(session);
        stage.finish().await;
    });
}

#[test]
fn events_that_may_not_be_delivered_are_not() {
    run(async {
        let stage = Stage::with(&["--deny", "0x84c3f2c0232a2061/1"]).await;
        let error = stage
            .pipeline
            .event("run")
            .scheduled(&Scheduled::new())
            .await;
        assert!(error.unwrap_err().reason().contains("does not let"));
        stage.finish().await;
    });
}

#[test]
fn a_client_that_pipelines_events_on_what_is_never_answered_leaves_nothing() {
    run(async {
        let (folder, world) = (tempfile::tempdir().unwrap(), World::new());
        let service = Service::of(&world, Over::Unix, &folder).await;
        let mut proxy = Proxy::start(Over::Unix, &folder, &service.address, &[]).await;
        let caller: Caller = Caller::connect(&proxy.address).await;
        let never = caller.client.never_request().send();
        let pipeline = |client: thing::Client| pipeline::Client {
            client: Client::new(client.into_client_hook()),
        };
        let mut events = Vec::new();
        for client in [never.pipeline.get_thing(), caller.client.clone()] {
            let started = pipeline(client).start_event_request().send();
            let dispatcher = started.pipeline.get_dispatcher();
            events.push((dispatcher.open_session_request().send(), started));
        }
        caller.client.number_request().send().promise.await.unwrap();
        proxy.signal("TERM").await;
        proxy.says("ending, with 1 connections open").await;
        proxy.signal("TERM").await;
        let records = proxy.ended().await;
        assert_closed(&records);
        drop((events, never, caller));
    });
}

#[test]
fn a_run_and_a_request_pass_with_what_is_written_about_them() {
    run(async {
        let stage = Stage::new().await;
        let root = stage.caller.root().start("work", SpanKind::Internal);
        let event = || stage.pipeline.event("run").parent(root.parent());
        let result = event().scheduled(&Scheduled::new()).await.unwrap();
        assert_eq!(result, RunResult::failed("not today"));
        let request = http::Request::post("http://service/a?b")
            .body(Body::from(Bytes::from_static(b"hello")))
            .unwrap();
        let response = event().fetch(request).unwrap().await.unwrap();
        let body = response.into_body().whole(100).await.unwrap();
        assert_eq!(&body[..], b"hello");
        root.end();
        let callers = stage.callers.clone();
        let records = stage.finish().await;
        for name in ["nightly", "/a"] {
            let span = callers.named(name).unwrap();
            assert_eq!(span.original_name(), Some("run"));
            let id = span.span_id().to_string();
            assert!(
                records
                    .iter()
                    .any(|record| record["parentSpanId"] == id.as_str())
            );
        }
    });
}
