//! A caller in Python and our service.

use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook as _};
use capspan::guard::Connection;
use capspan::pipeline::{Callee, CustomEvent, EventContext, RunResult, Scheduled, Service};
use capspan::trace::{MemoryObserver, Outcome, SpanKind, SpanRecord, SpanUpdate, Tracer};
use capspan::{Result, Tasks};
use capspan_testkit::greeter_capnp::greeter;
use capspan_testkit::story::assert_closed_once;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::{run, start};
use capspan_interop::{Program, halves};

/// What the caller's span is told of each greeting.
struct Greeter(EventContext);

impl greeter::Server for Greeter {
    async fn greet(
        self: Rc<Self>,
        params: greeter::GreetParams,
        mut results: greeter::GreetResults,
    ) -> capnp::Result<()> {
        let name = params.get()?.get_name()?.to_str()?;
        let update = SpanUpdate::new()
            .name("greet in Rust")
            .attribute("greeted", name)
            .attribute("bytes", name.len() as i64)
            .event("greeting");
        self.0.enricher().update(update);
        results.get().set_text(format!("Hello, {name}!"));
        Ok(())
    }

    async fn another(
        self: Rc<Self>,
        _params: greeter::AnotherParams,
        mut results: greeter::AnotherResults,
    ) -> capnp::Result<()> {
        let other = capnp_rpc::new_client(Self(self.0.clone()));
        results.get().set_greeter(other);
        Ok(())
    }
}

/// What is pending when a caller is killed.
struct Hangs(Rc<Notify>);

impl greeter::Server for Hangs {
    async fn greet(
        self: Rc<Self>,
        _params: greeter::GreetParams,
        _results: greeter::GreetResults,
    ) -> capnp::Result<()> {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[derive(Default)]
struct Greetings {
    /// Told of the first greeting, which then is never answered.
    hangs: Option<Rc<Notify>>,
}

impl Service for Greetings {
    async fn open_session(self: Rc<Self>, event: EventContext) -> capnp::Result<Client> {
        assert_eq!(event.metadata().application(), Some(r#"{"a":1}"#));
        assert!(event.metadata().start_time().is_some());
        let greeter: greeter::Client = match &self.hangs {
            Some(arrived) => capnp_rpc::new_client(Hangs(arrived.clone())),
            None => capnp_rpc::new_client(Greeter(event)),
        };
        Ok(Client::new(greeter.into_client_hook()))
    }

    async fn scheduled(
        self: Rc<Self>,
        run: Scheduled,
        event: EventContext,
    ) -> capnp::Result<RunResult> {
        let cron = run.cron().unwrap_or_default();
        event.enricher().set_attribute("cron", cron);
        Ok(RunResult::Retry {
            after: Some(Duration::from_millis(1500)),
            is_free: true,
        })
    }

    async fn custom(
        self: Rc<Self>,
        mut custom: CustomEvent,
        event: EventContext,
    ) -> capnp::Result<()> {
        let payload: capnp::text::Reader<'_> = custom.payload()?.get_as()?;
        let answer = format!("{} {}", custom.name(), payload.to_str()?);
        event.enricher().set_name("pong");
        custom.result().set_as(&*answer)
    }
}

/// A caller in Python, and our side of the connection to it.
struct Pair {
    caller: Program,
    driver: JoinHandle<Result<()>>,
    spans: MemoryObserver,
}

async fn meet(service: Greetings) -> Pair {
    let folder = tempfile::tempdir().expect("a folder for the socket");
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let caller = start("caller.py", &socket);
    let (stream, _) = listener.accept().await.expect("it connects");

    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    let spans = MemoryObserver::new();
    let tracer = Tracer::new(spans.clone()).with_service("rust");
    let callee = Callee::new(service, &tasks).tracer(tracer);
    let (reader, writer) = halves(stream);
    let (_connection, driver) =
        Connection::serve(reader, writer, |ending| callee.bootstrap(ending));
    Pair {
        caller,
        driver: spawn_local(driver),
        spans,
    }
}

/// Our span, next to what the caller tells of its own: the same trace, and the caller's span above it.
fn assert_child(span: &SpanRecord, of: &Value) {
    assert_eq!(of["traceId"], span.trace_id().to_string());
    let parent = span.parent_span_id().expect("it has a parent");
    assert_eq!(of["spanId"], parent.to_string());
    assert!(span.has_remote_parent());
    assert_eq!(span.kind(), SpanKind::Server);
}

#[test]
fn a_caller_in_python_is_served() {
    run(async {
        let mut pair = meet(Greetings::default()).await;
        let line = pair.caller.line().await;
        // It ends by itself, and so does the connection.
        pair.caller.finish().await;
        let ended = pair.driver.await.expect("it is not canceled");
        ended.expect("it ends well");
        let told: Value = serde_json::from_str(&line).expect("it tells in JSON");
        let spans = pair.spans;
        assert_closed_once(&spans);

        let session = &told["session"];
        assert_eq!(session["text"], "Hello, Ada!");
        assert_eq!(session["originalName"], "greet Ada");
        assert_eq!(session["name"], "greet in Rust");
        assert_eq!(
            session["attributes"],
            json!({"greeted": "Grace", "bytes": 5})
        );
        assert_eq!(session["events"], json!(["greeting", "greeting"]));
        assert_eq!(session["outcome"], "ok");
        let span = spans.named("session").expect("our side of the session");
        assert_child(&span, session);
        assert_eq!(span.outcome(), Some(Outcome::Ok));

        let scheduled = &told["scheduled"];
        assert_eq!(scheduled["result"], "retry");
        assert_eq!(scheduled["retryAfterMillis"], 1500);
        assert_eq!(scheduled["attributes"], json!({"cron": "0 0 * * *"}));
        let span = spans.named("scheduled").expect("our side of the run");
        assert_child(&span, scheduled);
        assert_eq!(span.outcome(), Some(Outcome::Ok));

        let custom = &told["custom"];
        assert_eq!(custom["result"], "ping from Python");
        assert_eq!(custom["name"], "pong");
        let span = spans.named("ping").expect("our side of the custom event");
        assert_child(&span, custom);
        assert_eq!(span.outcome(), Some(Outcome::Ok));

        let refused = |by: &str| format!("remote exception: {by}");
        let unserved = refused("this service serves no alarm events");
        assert_eq!(told["unserved"], json!(["UNIMPLEMENTED", unserved]));
        let second = "this dispatcher has delivered its event; start another one with startEvent";
        assert_eq!(told["second"], json!(["FAILED", refused(second)]));
        let span = spans
            .named("alarm")
            .expect("our side of what is not served");
        assert_eq!(span.outcome(), Some(Outcome::Exception));
    });
}

#[test]
fn a_caller_that_is_killed_disconnects_its_session() {
    run(async {
        let arrived = Rc::new(Notify::new());
        let hangs = Some(arrived.clone());
        let mut pair = meet(Greetings { hangs }).await;
        arrived.notified().await;
        assert!(pair.spans.named("session").expect("it is open").is_open());
        pair.caller.kill().await;
        let _however_it_ends = pair.driver.await.expect("it is not canceled");
        assert_closed_once(&pair.spans);
        let span = pair
            .spans
            .named("session")
            .expect("our side of the session");
        assert_eq!(span.outcome(), Some(Outcome::Disconnected));
    });
}
