//! What the callee writes with: E3, and E4, the same in process and over a connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook, Promise, Request, Response};
use capnp::traits::HasTypeId;
use capspan::pipeline::Pipeline;
use capspan::pipeline_capnp::{pipeline, span_enricher};
use capspan::trace::{Observer, SpanRecord, SpanUpdate, Tracer};
use capspan::{Tasks, trace_capnp, wire};
use capspan_testkit::link::{link, watched};
use capspan_testkit::run::until_idle;
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;

fn caller_span(pair: &Pair) -> SpanRecord {
    pair.spans.named("open").expect("the caller's session span")
}

#[test]
fn e3_an_enricher_keeps_neither_span_nor_session_open_and_knows_of_the_end() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let enricher = pair.event().enricher().clone();
        assert!(enricher.is_observed());
        drop(thing);
        pair.settle().await;
        assert!(pair.tree().contains("session SERVER callee ok"));
        let ended = format!("{:?}", caller_span(&pair));
        assert!(!enricher.is_observed());
        enricher.set_name("late");
        pair.settle().await;
        assert_eq!(format!("{:?}", caller_span(&pair)), ended);
        drop((handle, enricher));
        pair.finish().await;
    });
}

#[test]
fn e3_an_update_that_crosses_the_end_is_answered_with_it() {
    at([Place::Distant], async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let enricher = pair.event().enricher().clone();
        // It ends on the caller's side; the callee does not know of it yet.
        drop(handle);
        tokio::task::yield_now().await;
        assert!(enricher.is_observed());
        enricher.set_name("late");
        pair.settle().await;
        assert!(!enricher.is_observed());
        assert_eq!(caller_span(&pair).name(), "open");
        assert_eq!(pair.caller.late_updates(), 1);
        drop((thing, enricher));
        pair.finish().await;
    });
}

/// The enricher of a span that is over.
struct Over {
    asked: Rc<Cell<u32>>,
}

impl span_enricher::Server for Over {
    async fn enrich(
        self: Rc<Self>,
        _params: span_enricher::EnrichParams,
        mut results: span_enricher::EnrichResults,
    ) -> Result<(), capnp::Error> {
        self.asked.set(self.asked.get() + 1);
        let mut result = results.get().init_result();
        result.set_status(trace_capnp::EnrichStatus::SpanEnded);
        Ok(())
    }
}

#[test]
fn e3_after_the_answer_that_the_span_is_over_nothing_is_sent_any_more() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let asked = Rc::new(Cell::new(0));
        let mut request = pair.client.start_event_request();
        request.get().set_enricher(capnp_rpc::new_client(Over {
            asked: asked.clone(),
        }));
        let dispatcher = request.send().pipeline.get_dispatcher();
        let opened = dispatcher.open_session_request().send().promise;
        let opened = opened.await.unwrap();
        let event = pair.event();
        assert!(event.enricher().is_observed());
        event.enricher().set_name("late");
        pair.settle().await;
        assert!(!event.enricher().is_observed());
        event.enricher().set_name("later");
        pair.settle().await;
        assert_eq!(asked.get(), 1);
        drop((dispatcher, opened, event));
        pair.finish().await;
    });
}

/// Notes what it is told.
#[derive(Clone, Default)]
struct Listening {
    heard: Rc<RefCell<Vec<String>>>,
}

impl Observer for Listening {
    fn renamed(&self, span: &SpanRecord, _previous: &str) {
        self.heard
            .borrow_mut()
            .push(format!("name {}", span.name()));
    }

    fn updated(&self, span: &SpanRecord) {
        let attributes = span.attributes().len();
        self.heard
            .borrow_mut()
            .push(format!("{attributes} attributes"));
    }
}

#[test]
fn e4_in_process_an_update_is_a_plain_call() {
    at([Place::InProcess], async |place| {
        let pair = Pair::new(place);
        let listening = Listening::default();
        let tracer = Tracer::new(listening.clone());
        let event = pair.pipeline.event("open").parent(tracer.root());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        assert!(listening.heard.borrow().is_empty());
        // No turn of the event loop comes between what is written and what is heard.
        event.enricher().set_name("renamed");
        assert_eq!(*listening.heard.borrow(), ["name renamed"]);
        event.enricher().set_attribute("rows", 1);
        assert_eq!(listening.heard.borrow().len(), 2);
        drop((thing, handle, event));
        pair.finish().await;
    });
}

/// Takes events with nothing of ours, as a service in another language does.
struct Bare {
    enricher: Rc<RefCell<Option<span_enricher::Client>>>,
}

impl pipeline::Server for Bare {
    async fn start_event(
        self: Rc<Self>,
        params: pipeline::StartEventParams,
        _results: pipeline::StartEventResults,
    ) -> Result<(), capnp::Error> {
        *self.enricher.borrow_mut() = Some(params.get()?.get_enricher()?);
        std::future::pending().await
    }
}

/// What a bare callee gets of `pipeline`'s events.
fn bare(place: Place, tasks: &Tasks) -> (Pipeline, Rc<RefCell<Option<span_enricher::Client>>>) {
    let enricher = Rc::default();
    let client: pipeline::Client = capnp_rpc::new_client(Bare {
        enricher: Rc::clone(&enricher),
    });
    if place == Place::InProcess {
        return (Pipeline::new(client, tasks), enricher);
    }
    let link = link(LATENCY);
    let bootstrap = Client::new(client.into_client_hook());
    let ends = (link.client, link.server);
    let (connection, _) = watched(ends, |_| bootstrap);
    (Pipeline::over(&connection, tasks), enricher)
}

fn enrich(
    enricher: &span_enricher::Client,
    update: &SpanUpdate,
) -> Promise<Response<span_enricher::enrich_results::Owned>, capnp::Error> {
    let mut request = enricher.enrich_request();
    wire::write_update(update, request.get().init_update());
    request.send().promise
}

#[test]
fn e4_the_bare_capability_answers_the_same_in_process_at_once() {
    everywhere(async |place| {
        let (tasks, driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        let (pipeline, slot) = bare(place, &tasks);
        let listening = Listening::default();
        let tracer = Tracer::new(listening.clone());
        let event = pipeline.event("open").parent(tracer.root());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        until_idle().await;
        capspan_testkit::run::pass(2 * LATENCY).await;
        let enricher = slot.take().expect("an event was announced");

        let renamed = SpanUpdate::new().name("renamed");
        let answer = enrich(&enricher, &renamed);
        let at_once = place == Place::InProcess;
        assert_eq!(listening.heard.borrow().len(), usize::from(at_once));
        let status = |answer: &Response<span_enricher::enrich_results::Owned>| {
            answer.get().unwrap().get_result().unwrap().get_status()
        };
        let answer = answer.await.unwrap();
        assert_eq!(status(&answer), Ok(trace_capnp::EnrichStatus::Applied));
        assert_eq!(*listening.heard.borrow(), ["name renamed"]);

        let unknown = enricher
            .client
            .new_call::<_, span_enricher::enrich_results::Owned>(
                span_enricher::Client::TYPE_ID,
                7,
                None,
            );
        let unknown: Request<span_enricher::enrich_params::Owned, _> = unknown;
        let error = unknown.send().promise.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Unimplemented, "{error}");

        drop(handle);
        until_idle().await;
        let heard = listening.heard.borrow().len();
        let answer = enrich(&enricher, &renamed).await.unwrap();
        assert_eq!(status(&answer), Ok(trace_capnp::EnrichStatus::SpanEnded));
        assert_eq!(listening.heard.borrow().len(), heard);
        drop(thing);
    });
}
