//! What one connection carries goes in order; another has nothing to do with it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::guard::{Connection, Ending};
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::pipeline_capnp::pipeline;
use capspan::session::Session;
use capspan::trace::{MemoryObserver, Tracer};
use capspan_testkit::link::link;
use capspan_testkit::run::{run, until_idle};
use capspan_testkit::service::LATENCY;
use capspan_testkit::taker::Taker;
use capspan_testkit::testkit_capnp::thing;
use futures::FutureExt;
use tokio::task::spawn_local;

use super::setting::{Scribe, Target, calls_seen, each_sees_its_own, number};

/// A service that opens sessions with what a function gives.
struct Opens<F>(F);

impl<F: Fn(EventContext) -> thing::Client + 'static> Service for Opens<F> {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
        Ok(Client::new((self.0)(event).into_client_hook()))
    }
}

/// A connection to a callee.
fn connect(callee: &Callee<impl Service>, latency: Duration) -> Connection {
    serve(|ending| callee.bootstrap(ending), latency)
}

fn serve(bootstrap: impl FnOnce(&Ending) -> Client, latency: Duration) -> Connection {
    let link = link(latency);
    let (reader, writer) = link.server;
    let (_, serving) = Connection::serve(reader, writer, bootstrap);
    let (reader, writer) = link.client;
    let (connection, driver) = Connection::connect(reader, writer);
    for driver in [serving, driver] {
        spawn_local(driver.map(drop));
    }
    connection
}

fn tasks() -> Tasks {
    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    tasks
}

#[test]
fn e2_so_it_is_where_nothing_is_known_of_the_connection() {
    run(async {
        let to = Target::default();
        let opens = Opens(move |event| Scribe::of_event(&to, &event));
        let tasks = tasks();
        let served = Callee::new(opens, &tasks).pipeline();
        let connection = serve(|_| Client::new(served.into_client_hook()), LATENCY);
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone());
        let pipeline = Pipeline::new(connection.bootstrap(), &tasks);
        let open = |name| {
            let event = pipeline.event(name).parent(tracer.root());
            event.open_session::<thing::Client>()
        };
        let first = open("written");
        number(first.top_level()).await;
        let second = open("answered");
        each_sees_its_own(second.top_level(), &spans).await;
        drop((first, second));
    });
}

/// Opens an event on the other side, which it is given first; after each call back it tells what is on the span.
struct Asking {
    tracer: Tracer,
    spans: MemoryObserver,
    tasks: Tasks,
    opened: RefCell<Option<Session<thing::Client>>>,
}

impl thing::Server for Asking {
    async fn store(
        self: Rc<Self>,
        params: thing::StoreParams,
        _results: thing::StoreResults,
    ) -> Result<(), capnp::Error> {
        let pipeline = params.get()?.get_thing()?.cast_to();
        let pipeline = Pipeline::new(pipeline, &self.tasks);
        let event = pipeline.event("written").parent(self.tracer.root());
        let session = event.open_session::<thing::Client>();
        let answered = session.top_level().number_request().send().promise;
        self.opened.replace(Some(session));
        answered.await.map(drop)
    }

    async fn call(
        self: Rc<Self>,
        params: thing::CallParams,
        mut results: thing::CallResults,
    ) -> Result<(), capnp::Error> {
        let thing = params.get()?.get_thing()?;
        thing.number_request().send().promise.await?;
        if let Some(call) = calls_seen(&self.spans) {
            results.get().set_number(u32::try_from(call).unwrap());
        }
        Ok(())
    }
}

#[test]
fn e2_what_the_callers_object_writes_when_it_is_called_back_is_there_when_it_returns() {
    run(async {
        let spans = MemoryObserver::new();
        let tracer = Tracer::new(spans.clone());
        let asking = Rc::new(Asking {
            tracer: tracer.clone(),
            spans,
            tasks: tasks(),
            opened: RefCell::default(),
        });
        let given = asking.clone();
        let opens = Opens(move |_| capnp_rpc::new_client_from_rc(given.clone()));
        let connection = connect(&Callee::new(opens, &asking.tasks), LATENCY);

        // The other direction, over the same connection.
        let tasks = tasks();
        let to = Target::default();
        let writes = to.clone();
        let opens = Opens(move |event| Scribe::of_event(&writes, &event));
        let back = Callee::new(opens, &tasks).bootstrap(connection.ending());
        let pipeline = Pipeline::over(&connection, &tasks);
        let event = pipeline.event("asked").parent(tracer.root());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        let mut request = thing.store_request();
        request.get().set_thing(back.cast_to());
        request.send().promise.await.unwrap();
        let scribe = Scribe::client(&to);
        let calls = (1..=200).map(|call| {
            let mut request = thing.call_request();
            request.get().set_thing(scribe.clone());
            let sent = request.send().promise;
            async move {
                let seen = sent.await.unwrap().get().unwrap().get_number();
                assert!(seen >= call, "call {call} sees {seen}");
            }
        });
        futures::future::join_all(calls).await;
        drop((thing, handle, asking.opened.take()));
    });
}

#[test]
fn what_another_connection_carries_hurries_nobody() {
    run(async {
        let tasks = tasks();
        let to = Target::default();
        let writes = to.clone();
        let opens = Opens(move |event| Scribe::of_event(&writes, &event));
        let callee = Callee::new(opens, &tasks);
        let taker = Taker::default();
        taker.keep_silent(true);
        let connection = connect(&callee, Duration::ZERO);
        let mut request = connection
            .bootstrap::<pipeline::Client>()
            .start_event_request();
        request.get().set_enricher(taker.client());
        let dispatcher = request.send().pipeline.get_dispatcher();
        let opened = dispatcher.open_session_request().send().promise;
        let opened = opened.await.unwrap();

        let other = connect(&callee, Duration::ZERO);
        let pipeline = Pipeline::over(&other, &tasks);
        let session = pipeline.open_session::<thing::Client>("answered");
        for _ in 0..1_100 {
            number(session.top_level()).await;
        }
        assert_eq!(taker.count(), 64);
        assert!(to.borrow().is_observed(), "it is not given up");
        taker.keep_silent(false);
        until_idle().await;
        let last = taker.taken().pop().unwrap();
        assert_eq!(last.update.attributes[0].value, 1_100.into());
        drop((opened, session));
    });
}
