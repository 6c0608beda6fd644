//! Events that are one call: what callers, services and peers do that is odd, and what comes of it.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::event_capnp::run_result;
use capspan::pipeline::{
    Alarm, CustomEvent, Event, EventContext, Pipeline, QueueBatch, QueueMessage, QueueResult,
    RunResult, Scheduled, Service,
};
use capspan::pipeline_capnp::{event_dispatcher, pipeline};
use capspan::trace::{MemoryObserver, Outcome, Tracer, Value};
use capspan::trace_capnp::span_update;
use capspan_testkit::link::{link, watched};
use capspan_testkit::run::pass;
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tokio::task::spawn_local;

type Custom = dyn Fn(CustomEvent, EventContext) -> LocalBoxFuture<'static, capnp::Result<()>>;

/// Does with custom events what a test says.
struct Script {
    custom: Box<Custom>,
    /// Of a batch: how many messages there are, and how many can be read.
    read: Rc<Cell<(usize, usize)>>,
    _alive: Rc<()>,
}

impl Service for Script {
    async fn scheduled(self: Rc<Self>, _: Scheduled, _: EventContext) -> capnp::Result<RunResult> {
        Err(capnp::Error::disconnected("my own database is gone".into()))
    }

    async fn alarm(self: Rc<Self>, _: Alarm, _: EventContext) -> capnp::Result<RunResult> {
        let after = Some(Duration::ZERO);
        Ok(RunResult::Retry {
            after,
            is_free: false,
        })
    }

    async fn queue(
        self: Rc<Self>,
        batch: QueueBatch,
        _: EventContext,
    ) -> capnp::Result<QueueResult> {
        let readable = batch.messages()?.filter(|message| message.is_ok()).count();
        self.read.set((batch.len(), readable));
        Ok(QueueResult::default())
    }

    fn custom(
        self: Rc<Self>,
        custom: CustomEvent,
        event: EventContext,
    ) -> impl Future<Output = capnp::Result<()>> + 'static {
        (self.custom)(custom, event)
    }
}

type Read = Rc<Cell<(usize, usize)>>;

fn serving<F>(
    place: Place,
    custom: impl Fn(CustomEvent, EventContext) -> F + 'static,
) -> (Pair, Read)
where
    F: Future<Output = capnp::Result<()>> + 'static,
{
    let read = Read::default();
    let service = |alive| Script {
        custom: Box::new(move |given, event| custom(given, event).boxed_local()),
        read: Rc::clone(&read),
        _alive: alive,
    };
    (
        Pair::with_service(place, World::new(), |callee| callee, service),
        read,
    )
}

fn answering(place: Place) -> (Pair, Read) {
    serving(place, |_, _| async { Ok(()) })
}

fn event(pair: &Pair) -> Event<'_> {
    pair.pipeline.event("deliver").parent(pair.request.parent())
}

fn outcome(spans: &MemoryObserver, name: &str) -> Option<Outcome> {
    let span = spans.named(name).expect(name);
    assert!(!span.is_open(), "{name} is open");
    span.outcome()
}

fn thing() -> Box<dyn capnp::private::capability::ClientHook> {
    World::new().thing().into_client_hook()
}

/// A pipeline that leads to what is not ours.
fn foreign(place: Place, client: pipeline::Client) -> (Pipeline, Tasks) {
    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    let pipeline = match place {
        Place::InProcess => Pipeline::new(client, &tasks),
        _ => {
            let link = link(LATENCY);
            let bootstrap = Client::new(client.into_client_hook());
            let (connection, _) = watched((link.client, link.server), |_| bootstrap);
            Pipeline::over(&connection, &tasks)
        }
    };
    (pipeline, tasks)
}

#[test]
fn a_batch_of_as_many_messages_as_are_allowed_can_be_read() {
    everywhere(async |place| {
        for count in [1_000, 1_500, 10_000] {
            let (pair, read) = answering(place);
            let message = QueueMessage {
                id: "m",
                body: b"b",
                ..QueueMessage::default()
            };
            let answer = event(&pair).queue("orders", &vec![message; count]).unwrap();
            answer.await.unwrap();
            assert_eq!(read.get(), (count, count));
            pair.finish().await;
        }
    });
}

#[test]
fn a_capability_that_is_not_in_the_result_may_be_asked_for_late() {
    everywhere(async |place| {
        let (pair, _) = answering(place);
        // Not observed.
        let (answer, result) = pair
            .pipeline
            .event("deliver")
            .custom("greet")
            .unwrap()
            .send();
        let answer = answer.await.unwrap();
        let nothing: thing::Client = FromClientHook::new(result.as_cap());
        assert!(nothing.number_request().send().promise.await.is_err());
        drop((answer, result, nothing));
        pair.finish().await;
    });
}

/// Keeps the first event's payload, and gives that as the second one's dispatcher.
struct LeadsBack(Rc<RefCell<Option<Client>>>);

impl pipeline::Server for LeadsBack {
    async fn start_event(
        self: Rc<Self>,
        _: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> capnp::Result<()> {
        let kept = self.0.borrow().clone();
        results.get().set_dispatcher(match kept {
            Some(kept) => FromClientHook::new(kept.hook),
            None => capnp_rpc::new_client(Keeps(self.clone())),
        });
        Ok(())
    }
}

struct Keeps(Rc<LeadsBack>);

impl event_dispatcher::Server for Keeps {
    async fn custom(
        self: Rc<Self>,
        params: event_dispatcher::CustomParams,
        _: event_dispatcher::CustomResults,
    ) -> capnp::Result<()> {
        let kept = params.get()?.get_payload().get_as_capability()?;
        self.0.0.replace(Some(kept));
        Ok(())
    }
}

#[test]
fn a_dispatcher_that_leads_back_to_the_caller_panics_nobody() {
    at(Place::CONNECTED, async |place| {
        let kept = Rc::default();
        let leads_back = LeadsBack(Rc::clone(&kept));
        let (pipeline, _tasks) = foreign(place, capnp_rpc::new_client(leads_back));
        let mut custom = pipeline.event("first").custom("first").unwrap();
        custom.payload().set_as_capability(thing());
        drop(custom.send().0.await.unwrap());
        let mut custom = pipeline.event("second").custom("second").unwrap();
        custom.payload().set_as_capability(thing());
        pass(LATENCY * 4).await;
        assert!(custom.send().0.await.is_err());
        // A bootstrap capability that keeps what is the peer's is never let go.
        kept.take();
        pass(LATENCY * 20).await;
    });
}

#[test]
fn s8_an_answer_comes_when_the_connection_is_cut_on_this_side_before_the_start_returns() {
    at(Place::CONNECTED, async |place| {
        let (pair, _) = answering(place);
        pair.settle().await;
        let answer = event(&pair).alarm(&Alarm::new());
        pair.drop_driver(false);
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "deliver"), Some(Outcome::Disconnected));
        let answer = tokio::time::timeout(LATENCY * 100, answer).await;
        let answer = answer.expect("the span is closed, and the answer never comes");
        assert!(answer.unwrap_err().is_disconnected());
    });
}

#[test]
fn s8_nothing_stays_when_the_connection_is_cut_on_this_side_before_the_start_returns() {
    at(Place::CONNECTED, async |place| {
        let (pair, _) = answering(place);
        drop(event(&pair).alarm(&Alarm::new()));
        pair.drop_driver(false);
        pair.settle().await;
        pair.finish().await;
    });
}

struct NeverReturns;

impl pipeline::Server for NeverReturns {
    async fn start_event(
        self: Rc<Self>,
        _: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> capnp::Result<()> {
        results.get().set_dispatcher(capnp_rpc::new_client(Garbage));
        results.set_pipeline()?;
        pending().await
    }
}

#[test]
fn an_event_that_fails_before_its_start_returns_fails() {
    everywhere(async |place| {
        let spans = MemoryObserver::new();
        let (pipeline, _tasks) = foreign(place, capnp_rpc::new_client(NeverReturns));
        let event = pipeline
            .event("deliver")
            .parent(Tracer::new(spans.clone()).root());
        let answer = tokio::time::timeout(LATENCY * 100, event.alarm(&Alarm::new())).await;
        assert!(answer.expect("it has failed, and nobody is told").is_err());
        assert_eq!(outcome(&spans, "deliver"), Some(Outcome::Exception));
    });
}

#[test]
fn e2_what_was_enriched_before_an_answer_that_comes_later_is_there_before_it() {
    everywhere(async |place| {
        let (pair, _) = serving(place, |mut custom, event| async move {
            spawn_local(async move {
                pass(LATENCY).await;
                for number in 0..100 {
                    event.enricher().set_attribute("n", number);
                }
                custom
                    .result()
                    .init_as::<span_update::Builder<'_>>()
                    .set_name("x");
                drop(custom);
            });
            Ok(())
        });
        let answer = event(&pair)
            .custom("greet")
            .unwrap()
            .send()
            .0
            .await
            .unwrap();
        pair.settle().await; // Neither later, with the span still open.
        let span = pair.spans.named("deliver").unwrap();
        assert_eq!(span.attributes().get("n"), Some(&Value::from(99)));
        drop(answer);
        pair.finish().await;
    });
}

struct Odd;

impl pipeline::Server for Odd {
    async fn start_event(
        self: Rc<Self>,
        _: pipeline::StartEventParams,
        mut results: pipeline::StartEventResults,
    ) -> capnp::Result<()> {
        results.get().set_dispatcher(capnp_rpc::new_client(Garbage));
        Ok(())
    }
}

/// Has no alarms, and odd results.
struct Garbage;

impl event_dispatcher::Server for Garbage {
    async fn scheduled(
        self: Rc<Self>,
        _: event_dispatcher::ScheduledParams,
        mut results: event_dispatcher::ScheduledResults,
    ) -> capnp::Result<()> {
        let mut message = capnp::message::Builder::new_default();
        message.init_root::<run_result::Builder<'_>>().set_done(());
        let mut bytes = capnp::serialize::write_message_to_words(&message);
        bytes[16..18].copy_from_slice(&9_u16.to_le_bytes()); // A kind that is not known.
        let options = capnp::message::ReaderOptions::new();
        let read = capnp::serialize::read_message_from_flat_slice(&mut &bytes[..], options)?;
        results.get().set_result(read.get_root()?)
    }

    async fn queue(
        self: Rc<Self>,
        _: event_dispatcher::QueueParams,
        mut results: event_dispatcher::QueueResults,
    ) -> capnp::Result<()> {
        results.get().init_result().init_dispositions(10_001);
        Ok(())
    }
}

#[test]
fn s2_an_answer_that_can_not_be_read_is_an_exception() {
    everywhere(async |place| {
        for is_run in [true, false] {
            let spans = MemoryObserver::new();
            let (pipeline, _tasks) = foreign(place, capnp_rpc::new_client(Odd));
            let event = pipeline
                .event("deliver")
                .parent(Tracer::new(spans.clone()).root());
            match is_run {
                true => drop(event.scheduled(&Scheduled::new()).await.unwrap_err()),
                false => drop(event.queue("q", &[]).unwrap().await.unwrap_err()),
            }
            pass(LATENCY * 20).await;
            assert_eq!(outcome(&spans, "deliver"), Some(Outcome::Exception));
        }
    });
}

#[test]
fn s2_a_service_that_has_lost_something_of_its_own_is_an_exception() {
    everywhere(async |place| {
        let (pair, _) = answering(place);
        event(&pair).scheduled(&Scheduled::new()).await.unwrap_err();
        pair.settle().await;
        for name in ["scheduled", "deliver"] {
            assert_eq!(
                outcome(&pair.spans, name),
                Some(Outcome::Exception),
                "{name}"
            );
        }
        pair.finish().await;
    });
}

#[test]
fn a_payload_may_be_asked_for_again() {
    everywhere(async |place| {
        let (pair, _) = answering(place);
        let mut custom = event(&pair).custom("greet").unwrap();
        custom.payload().set_as_capability(thing());
        let kept: capnp::Result<Client> = custom.payload().into_reader().get_as_capability();
        assert!(kept.is_ok());
        drop(kept);
        drop(custom.send().0.await.unwrap());
        pair.finish().await;
    });
}

#[test]
fn a_result_may_be_asked_for_again() {
    everywhere(async |place| {
        let (pair, _) = serving(place, |mut custom, _| async move {
            custom.result().set_as_capability(thing());
            custom.set_pipeline()?;
            let _again = custom.result();
            Ok(())
        });
        let answer = event(&pair).custom("greet").unwrap().send().0.await;
        assert!(answer.is_ok(), "{:?}", answer.err());
        drop(answer);
        pair.finish().await;
    });
}

#[test]
fn s2_an_event_that_is_to_be_answered_later_and_is_given_up_is_canceled() {
    everywhere(async |place| {
        let kept: Rc<RefCell<Vec<CustomEvent>>> = Rc::default();
        let keeps = kept.clone();
        let (pair, _) = serving(place, move |custom, _| {
            keeps.borrow_mut().push(custom);
            async { Ok(()) }
        });
        let waits = spawn_local(event(&pair).custom("greet").unwrap().send().0.map(drop));
        pair.settle().await;
        waits.abort();
        pair.settle().await;
        assert_eq!(outcome(&pair.spans, "deliver"), Some(Outcome::Canceled));
        assert_eq!(outcome(&pair.spans, "greet"), Some(Outcome::Canceled));
        kept.take();
        pair.finish().await;
    });
}

#[test]
fn a_body_that_no_message_can_hold_is_an_error() {
    everywhere(async |place| {
        let (pair, _) = answering(place);
        let body = vec![0; 1 << 29];
        let message = QueueMessage {
            body: &body,
            ..QueueMessage::default()
        };
        assert!(event(&pair).queue("orders", &[message]).is_err());
        pair.finish().await;
    });
}

#[test]
fn a_batch_that_no_peer_takes_does_not_cost_the_connection() {
    at(Place::CONNECTED, async |place| {
        let (pair, _) = answering(place);
        let body = vec![0; 8 * 1024 * 1024];
        let message = QueueMessage {
            body: &body,
            ..QueueMessage::default()
        };
        if let Ok(answer) = event(&pair).queue("orders", &vec![message; 9]) {
            assert!(answer.await.is_err());
        }
        let other = event(&pair).custom("greet").unwrap().send().0.await;
        assert!(other.is_ok(), "{:?}", other.err());
        drop(other);
        pair.finish().await;
    });
}

#[test]
fn a_run_that_is_to_be_tried_again_at_once_says_so() {
    everywhere(async |place| {
        let (pair, _) = answering(place);
        let result = event(&pair).alarm(&Alarm::new()).await;
        let after = Some(Duration::from_millis(1));
        assert_eq!(
            result,
            Ok(RunResult::Retry {
                after,
                is_free: false
            })
        );
        pair.finish().await;
    });
}

#[test]
fn an_event_that_is_no_session_is_not_called_one() {
    everywhere(async |place| {
        let (pair, _) = serving(place, |_, _| pending());
        let (answer, result) = event(&pair).custom("greet").unwrap().send();
        let early: thing::Client = FromClientHook::new(result.as_cap());
        drop((answer, result));
        pair.settle().await;
        let error = early.number_request().send().promise.await.err().unwrap();
        drop(early);
        assert!(!error.extra.contains("session"), "{error}");
        pair.finish().await;
    });
}
