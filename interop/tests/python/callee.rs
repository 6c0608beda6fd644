//! Our caller and a service in Python.

use std::time::Duration;

use capspan::guard::Connection;
use capspan::pipeline::{Event, Metadata, Pipeline, RunResult, Scheduled};
use capspan::session::SessionHandle;
use capspan::trace::{
    Attributes, MemoryObserver, Outcome, SpanBuilder, SpanKind, SpanRecord, Tracer, Value,
};
use capspan::{Result, Tasks};
use capspan_testkit::greeter_capnp::greeter;
use capspan_testkit::story::assert_closed_once;
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::{run, start};
use capspan_interop::{Program, halves};

/// A service in Python, and a connection to it.
struct Pair {
    service: Program,
    pipeline: Pipeline,
    driver: JoinHandle<Result<()>>,
    spans: MemoryObserver,
    /// What the caller is at.
    work: SpanBuilder,
}

impl Pair {
    async fn meet() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let socket = folder.path().join("socket");
        let mut service = start("callee.py", &socket);
        assert_eq!(service.line().await, "listening");
        let stream = UnixStream::connect(&socket).await.expect("it listens");

        let (tasks, driver) = Tasks::new();
        spawn_local(driver);
        let (reader, writer) = halves(stream);
        let (connection, driver) = Connection::connect(reader, writer);
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone()).with_service("rust");
        Self {
            service,
            pipeline: Pipeline::over(&connection, &tasks),
            driver: spawn_local(driver),
            spans,
            work: tracer.root().start("work", SpanKind::Internal),
        }
    }

    fn event<'a>(&'a self, name: &'a str) -> Event<'a> {
        self.pipeline.event(name).parent(self.work.parent())
    }

    fn session(&self, name: &str) -> (greeter::Client, SessionHandle) {
        self.event(name).open_session().into_parts()
    }

    /// The span that was opened with this name.
    fn span(&self, name: &str) -> SpanRecord {
        let all = [self.spans.closed(), self.spans.open()].concat();
        let is_it = |span: &SpanRecord| span.original_name().unwrap_or(span.name()) == name;
        all.into_iter().find(is_it).expect("a span of this name")
    }

    /// The same, when it is over, which is a turn of the event loop after the last reference has gone.
    async fn closed(&self, name: &str) -> SpanRecord {
        while self.span(name).is_open() {
            yield_now().await;
        }
        self.span(name)
    }

    /// Nothing is left to do: each span was closed once, and the service ends well.
    async fn part(self) {
        drop((self.work, self.pipeline));
        assert_closed_once(&self.spans);
        self.driver.abort();
        self.service.finish().await;
    }
}

async fn greet(greeter: &greeter::Client, name: &str) -> capnp::Result<String> {
    let mut request = greeter.greet_request();
    request.get().set_name(name);
    let response = request.send().promise.await?;
    response.get()?.get_text()?.to_string().map_err(Into::into)
}

fn text<'a>(attributes: &'a Attributes, key: &str) -> Option<&'a str> {
    attributes.get(key).and_then(Value::as_text)
}

#[test]
fn a_session_is_one_span_that_the_service_writes_to() {
    run(async {
        let mut pair = Pair::meet().await;
        let metadata = Metadata::new().with_application("[7]").unwrap();
        let event = pair.event("greet").metadata(metadata);
        let (greeter, session): (greeter::Client, _) = event.open_session().into_parts();
        assert_eq!(greet(&greeter, "Ada").await.unwrap(), "Hello, Ada!");

        // What was written before the method returned is here.
        let span = pair.span("greet");
        assert!(span.is_open());
        assert_eq!(span.name(), "greet in Python");
        assert_eq!(span.original_name(), Some("greet"));
        assert!(span.is_named_by_callee());
        let written = span.attributes();
        assert_eq!(text(written, "greeted"), Some("Ada"));
        assert_eq!(text(written, "application"), Some("[7]"));
        let caller = format!("{}-{}", span.trace_id(), span.span_id());
        assert_eq!(text(written, "caller"), Some(&*caller));
        let set_by_callee: Vec<_> = span.set_by_callee().iter().map(|key| &**key).collect();
        assert_eq!(set_by_callee, ["greeted", "application", "caller"]);
        let [greeting] = span.events() else {
            panic!("{:?}", span.events())
        };
        assert!(greeting.name() == "greeting" && greeting.is_by_callee());
        assert_eq!(span.dropped(), &Default::default());

        // A second capability holds the session when the first is gone.
        let other = greeter.another_request().send().promise.await.unwrap();
        let second = other.get().unwrap().get_greeter().unwrap();
        drop((greeter, other));
        assert_eq!(greet(&second, "Grace").await.unwrap(), "Hello, Grace!");
        assert!(pair.span("greet").is_open());

        drop(second);
        let end = session.done().await.unwrap();
        assert_eq!((end.outcome(), end.reason()), (Outcome::Ok, None));
        assert_eq!(pair.service.line().await, "session ok");
        let span = pair.span("greet");
        assert_eq!(span.outcome(), Some(Outcome::Ok));
        assert_eq!(text(span.attributes(), "greeted"), Some("Grace"));
        pair.part().await;
    });
}

#[test]
fn what_is_written_before_a_return_is_there_each_time() {
    run(async {
        let mut pair = Pair::meet().await;
        let (greeter, session) = pair.session("greet");
        for number in 0..200 {
            let name = number.to_string();
            greet(&greeter, &name).await.unwrap();
            let span = pair.span("greet");
            assert_eq!(text(span.attributes(), "greeted"), Some(&*name));
        }
        drop(greeter);
        assert_eq!(session.done().await.unwrap().outcome(), Outcome::Ok);
        assert_eq!(pair.service.line().await, "session ok");
        pair.part().await;
    });
}

#[test]
fn a_session_that_is_not_observed_has_no_enricher() {
    run(async {
        let mut pair = Pair::meet().await;
        let session = pair.pipeline.event("greet").open_session();
        let (greeter, session): (greeter::Client, _) = session.into_parts();
        assert_eq!(greet(&greeter, "Ada").await.unwrap(), "Hello, Ada!");
        drop(greeter);
        assert_eq!(session.done().await.unwrap().outcome(), Outcome::Ok);
        assert_eq!(pair.service.line().await, "session ok");
        pair.part().await;
    });
}

#[test]
fn dropping_the_session_cancels_it() {
    run(async {
        let mut pair = Pair::meet().await;
        let (greeter, session) = pair.session("greet");
        greet(&greeter, "Ada").await.unwrap();
        drop(session);
        assert_eq!(pair.service.line().await, "session canceled");
        assert!(greet(&greeter, "Grace").await.is_err());
        assert_eq!(pair.span("greet").outcome(), Some(Outcome::Canceled));

        // Where nobody observes it on this side, it is the service that revokes its capabilities.
        let session = pair.pipeline.event("greet").open_session();
        let (greeter, session): (greeter::Client, _) = session.into_parts();
        greet(&greeter, "Ada").await.unwrap();
        drop(session);
        assert_eq!(pair.service.line().await, "session canceled");
        let refused = greet(&greeter, "Grace").await.unwrap_err().to_string();
        assert!(
            refused.contains("the session is over: canceled"),
            "{refused}"
        );
        pair.part().await;
    });
}

#[test]
fn a_service_that_is_killed_disconnects_the_session() {
    run(async {
        let mut pair = Pair::meet().await;
        let (greeter, session) = pair.session("greet");
        greet(&greeter, "Ada").await.unwrap();
        pair.service.kill().await;
        assert!(session.done().await.unwrap_err().is_disconnected());
        let span = pair.span("greet");
        assert_eq!(span.outcome(), Some(Outcome::Disconnected));
        // What it wrote before is not lost.
        assert_eq!(text(span.attributes(), "greeted"), Some("Ada"));
        drop(pair.work);
        assert_closed_once(&pair.spans);
    });
}

#[test]
fn a_scheduled_run_is_served() {
    run(async {
        let pair = Pair::meet().await;
        let run = Scheduled::new().with_cron("0 0 * * *").unwrap();
        let result = pair.event("nightly").scheduled(&run).await.unwrap();
        let retry = RunResult::Retry {
            after: Some(Duration::from_millis(1500)),
            is_free: false,
        };
        assert_eq!(result, retry);
        let span = pair.closed("nightly").await;
        assert_eq!(text(span.attributes(), "cron"), Some("0 0 * * *"));
        assert_eq!(span.outcome(), Some(Outcome::Ok));
        pair.part().await;
    });
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    run(async {
        let pair = Pair::meet().await;
        let request = pair.event("ping").custom("ping").unwrap();
        let error = request.send().0.await.unwrap_err();
        // Not of the kind `unimplemented`: pycapnp has only one kind of error to give.
        let named = "this service serves no custom events";
        assert!(error.reason().contains(named), "{error}");
        assert_eq!(pair.span("ping").outcome(), Some(Outcome::Exception));
        pair.part().await;
    });
}
