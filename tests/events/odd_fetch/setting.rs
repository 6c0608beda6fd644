//! Services and callers, ours and foreign, that do what a test says.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use capnp::capability::{Client, FromClientHook};
use capspan::byte_stream_capnp::byte_stream;
use capspan::fetch::Body;
use capspan::http_over_capnp_capnp::HttpMethod;
use capspan::http_over_capnp_capnp::http_service::{self, client_request_context};
use capspan::pipeline::{Event, EventContext, Pipeline, Service};
use capspan::pipeline_capnp::{event_dispatcher, pipeline};
use capspan::trace::{MemoryObserver, Outcome, Tracer};
use capspan::{Error, Tasks};
use capspan_testkit::link::{link, watched};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Pair, Place};
use capspan_testkit::world::World;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use tokio::task::spawn_local;

/// As in the testkit, but each place is tried, whatever became of the one before.
pub(super) fn at(places: impl IntoIterator<Item = Place>, test: impl AsyncFn(Place)) {
    let mut failed = Vec::new();
    for place in places {
        let tried = std::panic::AssertUnwindSafe(|| capspan_testkit::run::run(test(place)));
        match std::panic::catch_unwind(tried) {
            Ok(()) => eprintln!("== {place:?}: ok"),
            Err(_) => {
                eprintln!("== {place:?}: FAILED");
                failed.push(place);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

pub(super) fn everywhere(test: impl AsyncFn(Place)) {
    at(Place::ALL, test);
}

// ---- our service, as a test says

pub(super) type Answer = capnp::Result<Response<Body>>;
pub(super) type Fetch = dyn Fn(Request<Body>, EventContext) -> LocalBoxFuture<'static, Answer>;

pub(super) struct Site {
    pub(super) fetch: Box<Fetch>,
    pub(super) _alive: Rc<()>,
}

impl Service for Site {
    fn fetch(
        self: Rc<Self>,
        request: Request<Body>,
        event: EventContext,
    ) -> impl Future<Output = Answer> + 'static {
        (self.fetch)(request, event)
    }
}

pub(super) fn serving<F>(
    place: Place,
    fetch: impl Fn(Request<Body>, EventContext) -> F + 'static,
) -> Pair
where
    F: Future<Output = Answer> + 'static,
{
    let service = |alive| Site {
        fetch: Box::new(move |request, event| fetch(request, event).boxed_local()),
        _alive: alive,
    };
    Pair::with_service(place, World::new(), |callee| callee, service)
}

pub(super) fn ok(body: impl Into<Body>) -> Answer {
    Ok(Response::new(body.into()))
}

pub(super) fn event(pair: &Pair) -> Event<'_> {
    pair.pipeline
        .event("fetch it")
        .parent(pair.request.parent())
}

pub(super) fn get() -> Request<Body> {
    Request::get("http://site/").body(Body::empty()).unwrap()
}

pub(super) fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("http://site/").body(body.into()).unwrap()
}

pub(super) fn outcome(spans: &MemoryObserver, name: &str) -> Option<Outcome> {
    let span = spans.named(name).expect(name);
    assert!(!span.is_open(), "{name} is open");
    span.outcome()
}

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LATENCY * 200, future).await {
        Ok(result) => result,
        Err(_) => panic!("hangs: {what}"),
    }
}

// ---- a service that is not ours

pub(super) type Serve = dyn Fn(
    http_service::RequestParams,
    http_service::RequestResults,
) -> LocalBoxFuture<'static, capnp::Result<()>>;

#[derive(Clone)]
pub(super) struct Foreign(pub(super) Rc<Serve>);

impl pipeline::Server for Foreign {
    async fn start_event(
        self: Rc<Self>,
        _: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> capnp::Result<()> {
        let foreign = Foreign(self.0.clone());
        results.get().set_dispatcher(capnp_rpc::new_client(foreign));
        Ok(())
    }
}

impl event_dispatcher::Server for Foreign {
    async fn fetch(
        self: Rc<Self>,
        _: event_dispatcher::FetchParams,
        mut results: event_dispatcher::FetchResults,
    ) -> capnp::Result<()> {
        let foreign = Foreign(self.0.clone());
        results.get().set_http(capnp_rpc::new_client(foreign));
        Ok(())
    }
}

impl http_service::Server for Foreign {
    fn request(
        self: Rc<Self>,
        params: http_service::RequestParams,
        results: http_service::RequestResults,
    ) -> impl Future<Output = capnp::Result<()>> + 'static {
        (self.0)(params, results)
    }
}

pub(super) fn foreign<F>(
    place: Place,
    serve: impl Fn(http_service::RequestParams, http_service::RequestResults) -> F + 'static,
) -> (Pipeline, Tasks)
where
    F: Future<Output = capnp::Result<()>> + 'static,
{
    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    let serve: Rc<Serve> = Rc::new(move |params, results| serve(params, results).boxed_local());
    let client: pipeline::Client = capnp_rpc::new_client(Foreign(serve));
    let latency = match place {
        Place::InProcess => return (Pipeline::new(client, &tasks), tasks),
        Place::Connection => Duration::ZERO,
        Place::Distant => LATENCY,
    };
    let link = link(latency);
    let bootstrap = Client::new(client.into_client_hook());
    let (connection, _) = watched((link.client, link.server), |_| bootstrap);
    (Pipeline::over(&connection, &tasks), tasks)
}

pub(super) fn context_of(params: &http_service::RequestParams) -> client_request_context::Client {
    params.get().unwrap().get_context().unwrap()
}

// ---- a caller that is not ours

pub(super) struct Context {
    pub(super) status: Rc<Cell<u16>>,
    /// Where the response's body is to be written.
    pub(super) body: RefCell<Option<byte_stream::Client>>,
}

impl client_request_context::Server for Context {
    async fn start_response(
        self: Rc<Self>,
        params: client_request_context::StartResponseParams,
        mut results: client_request_context::StartResponseResults,
    ) -> capnp::Result<()> {
        let status = params.get()?.get_response()?.get_status_code();
        self.status.set(status);
        if let Some(body) = self.body.take() {
            results.get().set_body(body);
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Sink(pub(super) Rc<RefCell<(Vec<u8>, bool)>>);

impl byte_stream::Server for Sink {
    async fn write(self: Rc<Self>, params: byte_stream::WriteParams) -> capnp::Result<()> {
        let bytes = params.get()?.get_bytes()?;
        self.0.borrow_mut().0.extend_from_slice(bytes);
        Ok(())
    }
    async fn end(
        self: Rc<Self>,
        _: byte_stream::EndParams,
        _: byte_stream::EndResults,
    ) -> capnp::Result<()> {
        self.0.borrow_mut().1 = true;
        Ok(())
    }
}

pub(super) struct Asked {
    pub(super) http: http_service::Client,
    pub(super) pipeline: http_service::request_results::Pipeline,
    pub(super) done: tokio::task::JoinHandle<capnp::Result<()>>,
    pub(super) status: Rc<Cell<u16>>,
    pub(super) received: Rc<RefCell<(Vec<u8>, bool)>>,
}

impl Asked {
    pub(super) fn body(&self) -> byte_stream::Client {
        self.pipeline.get_request_body()
    }
}

/// Makes a request by hand. `length` of the body; `takes`: is there somewhere to write the response's.
pub(super) fn ask(pair: &Pair, length: Option<u64>, takes: bool) -> Asked {
    let start = pair.client.start_event_request().send();
    let dispatcher = start.pipeline.get_dispatcher();
    let fetch = dispatcher.fetch_request().send();
    let http = fetch.pipeline.get_http();
    // In process a call is made when somebody waits for it.
    spawn_local(start.promise.map(drop));
    spawn_local(fetch.promise.map(drop));
    let (status, received) = (Rc::default(), Rc::default());
    let sink = Sink(Rc::clone(&received));
    let context = Context {
        status: Rc::clone(&status),
        body: RefCell::new(takes.then(|| capnp_rpc::new_client(sink))),
    };
    let mut request = http.request_request();
    let mut head = request.get().init_request();
    head.set_method(HttpMethod::Post);
    head.set_url("http://site/");
    match length {
        Some(length) => head.init_body_size().set_fixed(length),
        None => head.init_body_size().set_unknown(()),
    }
    request.get().set_context(capnp_rpc::new_client(context));
    let call = request.send();
    let done = spawn_local(call.promise.map(|done| done.map(drop)));
    Asked {
        http,
        pipeline: call.pipeline,
        done,
        status,
        received,
    }
}

pub(super) fn write(
    to: &byte_stream::Client,
    bytes: &[u8],
) -> capnp::capability::Promise<(), capnp::Error> {
    let mut request = to.write_request();
    request.get().set_bytes(bytes);
    request.send()
}

/// What a service got of a body.
pub(super) type Got = Rc<RefCell<Option<Result<Bytes, Error>>>>;

/// The service reads a body when it is told to, and tells what it got.
pub(super) fn reads_later(place: Place) -> (Pair, Rc<Cell<bool>>, Got) {
    let go = Rc::new(Cell::new(false));
    let got: Rc<RefCell<Option<_>>> = Rc::default();
    let (gate, result) = (go.clone(), got.clone());
    let pair = serving(place, move |request, _| {
        let (gate, result) = (gate.clone(), result.clone());
        async move {
            while !gate.get() {
                pass(LATENCY).await;
            }
            let body = request.into_body().whole(1 << 30).await;
            result.replace(Some(body));
            ok("")
        }
    });
    (pair, go, got)
}

// ======== lost bytes, ends that are none

/// The call that makes the request fails, and its body is kept by the peer.
pub(super) fn body_kept(fails: bool, observed: bool) {
    everywhere(async |place| {
        let kept: Rc<RefCell<Vec<byte_stream::Client>>> = Rc::default();
        let keeps = kept.clone();
        let (pipeline, _tasks) = foreign(place, move |params, _| {
            let keeps = keeps.clone();
            async move {
                let mut request = context_of(&params).start_response_request();
                request.get().init_response().set_status_code(200);
                let started = request.send().promise.await?;
                let body = started.get()?.get_body()?;
                write(&body, b"abc").await?;
                keeps.borrow_mut().push(body);
                match fails {
                    true => Err(capnp::Error::failed("the disk is gone".into())),
                    false => Ok(()),
                }
            }
        });
        let spans = MemoryObserver::new();
        let mut event = pipeline.event("x");
        if observed {
            event = event.parent(Tracer::new(spans.clone()).root());
        }
        let response = soon("response", event.fetch(get()).unwrap()).await.unwrap();
        let whole = soon(
            "a body after its request has returned",
            response.into_body().whole(100),
        )
        .await;
        assert!(whole.is_err());
        kept.take();
        pass(LATENCY * 20).await;
    });
}
