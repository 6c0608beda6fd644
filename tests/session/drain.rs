//! A callee that is shut down gracefully: it takes no more events, and those that run finish or are cut.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::Tasks;
use capspan::pipeline::{Callee, EventContext, Pipeline, RunResult, Scheduled, Service};
use capspan::pipeline_capnp::pipeline;
use capspan::session::{Drain, Drained};
use capspan::trace::{Outcome, SpanStatus};
use capspan_testkit::run::{pass, run, until_idle};
use capspan_testkit::service::{LATENCY, Pair, Place, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use tokio::task::spawn_local;
use tokio::time::sleep;

const DEADLINE: Duration = Duration::from_secs(30);
const REASON: &str = "the service is shutting down";

/// Gives each session an object of its own, and runs for as long as the deadline allows, and longer.
struct Plain {
    world: World,
    _alive: Rc<()>,
}

impl Service for Plain {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        Ok(Client::new(self.world.thing().into_client_hook()))
    }

    async fn scheduled(self: Rc<Self>, _: Scheduled, _: EventContext) -> capnp::Result<RunResult> {
        let _object = self.world.thing();
        pending().await
    }
}

/// A caller and a callee, and what drains that with a deadline.
fn drainable(place: Place) -> (Pair, impl Fn(Duration) -> Drain) {
    let world = World::new();
    let service = |alive| Plain {
        world: world.clone(),
        _alive: alive,
    };
    let kept: Rc<RefCell<Option<Callee<Plain>>>> = Rc::default();
    let keep = kept.clone();
    let configure = move |callee: Callee<Plain>| {
        keep.replace(Some(callee.clone()));
        callee
    };
    let pair = Pair::with_service(place, world.clone(), configure, service);
    let drain = move |deadline| {
        let callee = kept.take().expect("it is drained once");
        callee.drain(sleep(deadline))
    };
    (pair, drain)
}

fn open(pair: &Pair) -> (thing::Client, capspan::session::SessionHandle) {
    pair.open().into_parts()
}

async fn number(thing: &thing::Client) -> capnp::Result<()> {
    thing.number_request().send().promise.await.map(drop)
}

fn drained(finished: usize, cut: usize, refused: u64) -> Drained {
    Drained {
        finished,
        cut,
        refused,
    }
}

#[test]
fn what_runs_finishes_and_nothing_new_begins() {
    everywhere(async |place| {
        let (pair, drain) = drainable(place);
        let (thing, handle) = open(&pair);
        number(&thing).await.unwrap();
        let draining = spawn_local(drain(DEADLINE));
        until_idle().await;
        number(&thing).await.unwrap();

        let (refused, refused_handle) = open(&pair);
        let error = number(&refused).await.unwrap_err();
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        assert!(error.extra.contains(REASON), "{error}");
        pair.settle().await;
        let end = refused_handle.end().unwrap();
        assert_eq!(end.outcome(), Outcome::Overloaded);
        drop((refused, refused_handle));
        let event = pair.pipeline.event("open").parent(pair.request.parent());
        let error = event.scheduled(&Scheduled::new()).await.unwrap_err();
        assert!(
            error.is_overloaded() && error.reason().contains(REASON),
            "{error}"
        );

        assert!(!draining.is_finished());
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        until_idle().await;
        assert_eq!(draining.now_or_never().unwrap().unwrap(), drained(1, 0, 2));
        let wanted = "request INTERNAL caller open\n  open CLIENT caller ok\n    session SERVER callee ok\n  \
                      open CLIENT caller overloaded\n  open CLIENT caller overloaded\n";
        assert_eq!(pair.tree(), wanted);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn what_is_left_at_the_deadline_is_revoked_on_both_sides() {
    everywhere(async |place| {
        let (pair, drain) = drainable(place);
        let (thing, handle) = open(&pair);
        let done = spawn_local(handle.done());
        let event = pair.pipeline.event("run").parent(pair.request.parent());
        let run = spawn_local(event.scheduled(&Scheduled::new()));
        let in_flight = spawn_local(thing.never_request().send().promise.map(|r| r.err()));
        pair.settle().await;
        let draining = drain(DEADLINE);
        pass(DEADLINE / 2).await;
        assert_eq!(pair.world.live(), 2);
        // The deadline is when the caller of `drain` wants it to be.
        assert_eq!(draining.await, drained(0, 2, 0));
        pair.settle().await;
        assert_eq!(pair.world.live(), 0);
        let end = done.await.unwrap().unwrap();
        assert_eq!(
            (end.outcome(), end.reason()),
            (Outcome::Revoked, Some(REASON))
        );
        let error = in_flight.await.unwrap().unwrap();
        assert!(error.extra.contains(REASON), "{error}");
        let error = run.await.unwrap().unwrap_err();
        assert!(error.reason().contains(REASON), "{error}");
        let wanted = "request INTERNAL caller open\n  open CLIENT caller revoked\n    session SERVER callee revoked\n  \
                      run CLIENT caller exception\n    scheduled SERVER callee revoked\n";
        assert_eq!(pair.tree(), wanted);
        for name in ["open", "session", "scheduled"] {
            let span = pair.spans.named(name).unwrap();
            assert_eq!(*span.status(), SpanStatus::error(REASON));
            let kind = span.attributes().get("error.type");
            assert_eq!(kind, Some(&"revoked".into()));
            assert!(span.events().is_empty());
        }
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn a_callee_without_events_is_drained_at_once() {
    everywhere(async |place| {
        let (pair, drain) = drainable(place);
        let (thing, handle) = open(&pair);
        number(&thing).await.unwrap();
        drop(thing);
        handle.done().await.unwrap();
        drop(handle);
        assert_eq!(drain(DEADLINE).now_or_never(), Some(drained(0, 0, 0)));
        pair.finish().await;
    });
}

#[test]
fn an_event_that_was_announced_and_not_delivered_is_refused() {
    everywhere(async |place| {
        let (pair, drain) = drainable(place);
        let started = pair.client.start_event_request().send().promise.await;
        let dispatcher = started.unwrap().get().unwrap().get_dispatcher().unwrap();
        let announced = pair.client.start_event_request().send().promise.await;
        let draining = spawn_local(drain(DEADLINE));
        until_idle().await;
        let opened = dispatcher.open_session_request().send();
        let top_level = opened.pipeline.get_top_level().as_cap();
        let top_level: thing::Client = FromClientHook::new(top_level);
        let error = number(&top_level).await.unwrap_err();
        assert!(error.extra.contains(REASON), "{error}");
        let error = opened.promise.await.err().unwrap();
        assert_eq!(error.kind, capnp::ErrorKind::Overloaded, "{error}");
        drop((announced, dispatcher, top_level));
        pair.settle().await;
        // Nothing was running.
        assert_eq!(draining.await.unwrap(), drained(0, 0, 0));
        let outcomes: Vec<_> = pair.spans.closed().iter().map(|s| s.outcome()).collect();
        assert_eq!(
            outcomes,
            [Some(Outcome::Canceled), Some(Outcome::Overloaded)]
        );
        assert!(
            pair.spans
                .closed()
                .iter()
                .all(|span| span.name() == "event")
        );
        pair.request.set_outcome(Outcome::Ok);
        drop(opened.pipeline);
        pair.finish().await;
    });
}

#[test]
fn a_session_that_is_being_opened_runs() {
    everywhere(async |place| {
        let (pair, drain) = drainable(place);
        let (thing, handle) = open(&pair);
        pass(LATENCY).await;
        until_idle().await;
        let draining = spawn_local(drain(DEADLINE));
        number(&thing).await.unwrap();
        drop((thing, handle));
        assert_eq!(draining.await.unwrap(), drained(1, 0, 0));
        pair.finish().await;
    });
}

#[test]
fn a_drain_that_is_dropped_cuts_nothing_and_takes_nothing_in() {
    everywhere(async |place| {
        let (pair, drain) = drainable(place);
        let (thing, handle) = open(&pair);
        number(&thing).await.unwrap();
        drop(drain(Duration::ZERO));
        pass(DEADLINE).await;
        number(&thing).await.unwrap();
        let (refused, refused_handle) = open(&pair);
        assert!(number(&refused).await.is_err());
        drop((refused, refused_handle, thing));
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn all_pipelines_of_a_callee_are_drained_and_again_with_another_deadline() {
    run(async {
        let (tasks, driver) = Tasks::new();
        let driving = spawn_local(driver);
        let world = World::new();
        let service = Plain {
            world: world.clone(),
            _alive: Rc::default(),
        };
        let callee = Callee::new(service, &tasks);
        let clients: [pipeline::Client; 2] = [callee.pipeline(), callee.pipeline()];
        // What is configured later is of the same callee.
        let callee = callee.session_name("later");
        let pipelines = clients.map(|client| Pipeline::new(client, &tasks));
        let sessions = pipelines.each_ref().map(|pipeline| {
            let session = pipeline.open_session::<thing::Client>("open");
            session.into_parts()
        });
        for (thing, _) in &sessions {
            number(thing).await.unwrap();
        }
        let slow = spawn_local(callee.drain(pending()));
        let fast = spawn_local(callee.drain(sleep(DEADLINE)));
        let [(thing, handle), (left, left_handle)] = sessions;
        drop(thing);
        handle.done().await.unwrap();
        for pipeline in &pipelines {
            let refused = pipeline.open_session::<thing::Client>("open");
            assert!(number(refused.top_level()).await.is_err());
        }
        assert_eq!(fast.await.unwrap(), drained(1, 1, 2));
        assert_eq!(slow.await.unwrap(), drained(1, 1, 2));
        assert!(number(&left).await.is_err());
        let again = callee.drain(pending()).now_or_never();
        assert_eq!(again, Some(drained(1, 1, 2)));
        drop((left, left_handle, handle, pipelines, callee, tasks));
        until_idle().await;
        assert!(driving.is_finished());
        assert_eq!(world.live(), 0);
    });
}

#[test]
fn background_work_goes_on_until_the_deadline() {
    everywhere(async |place| {
        let kept = Rc::new(RefCell::new(None));
        let pair = Pair::configured(place, |callee| {
            kept.replace(Some(callee.clone()));
            callee
        });
        let callee = kept.take().unwrap();
        let mut sessions = Vec::new();
        for work in [DEADLINE / 2, DEADLINE * 2] {
            let (thing, handle) = pair.open().into_parts();
            number(&thing).await.unwrap();
            let world = pair.world.clone();
            let work = async move {
                let _object = world.thing();
                pass(work).await;
                Ok(())
            };
            pair.event().wait_until(work).unwrap();
            drop(thing);
            sessions.push(handle);
        }
        let drained = callee.drain(sleep(DEADLINE)).await;
        assert_eq!((drained.finished, drained.cut), (1, 1));
        pair.settle().await;
        assert_eq!(pair.world.live(), 0);
        let mut outcomes = Vec::new();
        for handle in sessions {
            outcomes.push(handle.done().await.unwrap().outcome());
        }
        assert_eq!(outcomes, [Outcome::Ok, Outcome::Revoked]);
        drop(callee);
        pair.finish().await;
    });
}
