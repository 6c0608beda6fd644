//! Background work of an event: it outlives the response, and holds the event open, but not beyond its end.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use capspan::Tasks;
use capspan::pipeline::{Alarm, Callee, EventContext, Pipeline, RunResult, Service};
use capspan::session::TimeLimits;
use capspan::trace::{MemoryObserver, Outcome, SpanKind, SpanParent, SpanStatus, Tracer, Value};
use capspan_testkit::run::{PausedTime, pass, run, until_idle};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::story;
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::spawn_local;

const WORK: Duration = Duration::from_secs(20);

/// Some work, seen from outside.
#[derive(Clone, Default)]
struct Work {
    world: World,
    done: Rc<Cell<u32>>,
}

impl Work {
    /// Takes its time, and keeps an object alive meanwhile.
    async fn take(self, time: Duration) -> capnp::Result<()> {
        let _object = self.world.thing();
        pass(time).await;
        self.done.set(self.done.get() + 1);
        Ok(())
    }

    /// How much goes on, and how much is done.
    fn stands(&self) -> (usize, u32) {
        (self.world.live(), self.done.get())
    }
}

fn assert_tree(pair: &Pair, caller: &str, callee: &str) {
    let wanted = format!(
        "request INTERNAL caller open\n  open CLIENT caller {caller}\n    session SERVER callee {callee}\n"
    );
    assert_eq!(pair.tree(), wanted);
}

async fn number(thing: &thing::Client) -> capnp::Result<()> {
    thing.number_request().send().promise.await.map(drop)
}

#[test]
fn s2_work_outlives_all_capabilities_of_a_session_and_holds_it_open() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        let work = Work::default();
        pair.event().wait_until(work.clone().take(WORK)).unwrap();
        let done = spawn_local(handle.done());
        drop(thing);
        pair.settle().await;
        assert_eq!(work.stands(), (1, 0));
        assert_tree(&pair, "ok", "open");
        assert!(!done.is_finished());
        // More of it, while it goes on.
        pair.event().wait_until(work.clone().take(WORK)).unwrap();
        // Nothing is left to cancel.
        drop(handle);
        pass(WORK).await;
        pair.settle().await;
        assert_eq!(work.stands(), (0, 2));
        assert_eq!(done.await.unwrap().unwrap().outcome(), Outcome::Ok);
        assert_tree(&pair, "ok", "ok");
        pair.finish().await;
    });
}

#[test]
fn s3_the_events_span_is_the_current_one_of_its_work() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        let work = async {
            let child = |name| drop(SpanParent::current().start(name, SpanKind::Internal));
            child("before");
            pass(WORK).await;
            child("after");
            Ok(())
        };
        pair.event().wait_until(work).unwrap();
        drop((thing, handle));
        pass(WORK).await;
        pair.settle().await;
        let wanted = "request INTERNAL caller open\n  open CLIENT caller ok\n    session SERVER callee ok\n      \
                      before INTERNAL callee closed\n      after INTERNAL callee closed\n";
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

#[test]
fn s7_work_of_a_session_that_is_canceled_is_dropped() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        let work = Work::default();
        pair.event().wait_until(work.clone().take(WORK)).unwrap();
        pair.settle().await;
        drop(handle);
        pair.settle().await;
        assert_eq!(work.stands(), (0, 0));
        assert_tree(&pair, "canceled", "canceled");
        drop(thing);
        pair.finish().await;
    });
}

#[test]
fn s8_work_of_a_session_whose_connection_is_lost_is_dropped_if_anything_of_it_was_held() {
    at(Place::CONNECTED, async |place| {
        for is_held in [true, false] {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            number(&thing).await.unwrap();
            let work = Work::default();
            pair.event().wait_until(work.clone().take(WORK)).unwrap();
            let held = is_held.then_some(thing);
            pair.settle().await;
            pair.cut();
            pair.settle().await;
            if is_held {
                assert_eq!(work.stands(), (0, 0));
                assert_tree(&pair, "disconnected", "disconnected");
            } else {
                assert_eq!(work.stands(), (1, 0));
                assert_tree(&pair, "ok", "open");
                pass(WORK).await;
                assert_eq!(work.stands(), (0, 1));
                assert_tree(&pair, "ok", "ok");
            }
            drop((held, handle));
            pair.finish().await;
        }
    });
}

#[test]
fn s8_work_is_not_idle_and_is_dropped_at_the_total_limit() {
    everywhere(async |place| {
        let limits = TimeLimits::new(PausedTime).total(WORK * 3).idle(WORK / 4);
        let pair = Pair::configured(place, |callee| callee.time_limits(limits));
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        let work = Work::default();
        pair.event()
            .wait_until(work.clone().take(WORK * 4))
            .unwrap();
        drop(thing);
        pass(WORK * 2).await;
        assert_eq!(work.stands(), (1, 0));
        assert_tree(&pair, "ok", "open");
        pass(WORK).await;
        until_idle().await;
        assert_eq!(work.stands(), (0, 0));
        assert_tree(&pair, "ok", "timeout");
        let end = handle.done().await.unwrap();
        assert_eq!(end.outcome(), Outcome::Timeout);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn s2_work_that_fails_fails_the_session_at_its_end_once() {
    everywhere(async |place| {
        for panics in [true, false] {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            number(&thing).await.unwrap();
            let event = pair.event();
            let fails = async move {
                match panics {
                    true => panic!("on purpose"),
                    false => Err(capnp::Error::failed("as it was asked to".into())),
                }
            };
            event.wait_until(fails).unwrap();
            event
                .wait_until(async { Err(capnp::Error::failed("me, too".into())) })
                .unwrap();
            drop(event);
            pair.settle().await;
            // Its capabilities are of use.
            number(&thing).await.unwrap();
            assert_tree(&pair, "open", "open");
            drop(thing);
            let end = handle.done().await.unwrap();
            let (kind, message, reason) = match panics {
                true => ("panic", "on purpose", "the service panicked"),
                false => ("failed", "as it was asked to", "as it was asked to"),
            };
            assert_eq!(
                (end.outcome(), end.reason()),
                (Outcome::Exception, Some(reason))
            );
            let span = pair.spans.named("session").unwrap();
            assert_eq!(span.outcome(), Some(Outcome::Exception));
            assert_eq!(*span.status(), SpanStatus::error(reason));
            let [event] = span.events() else {
                panic!("{:?}", span.events());
            };
            let said = ["exception.type", "exception.message"]
                .map(|key| event.attributes().get(key).and_then(Value::as_text));
            assert_eq!(
                (event.name(), said),
                ("exception", [Some(kind), Some(message)])
            );
            drop(handle);
            pair.finish().await;
        }
    });
}

#[test]
fn more_work_at_once_than_the_limit_is_refused() {
    everywhere(async |place| {
        let pair = Pair::configured(place, |callee| callee.max_background_work(2));
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        let (work, event) = (Work::default(), pair.event());
        for _ in 0..2 {
            event.wait_until(work.clone().take(WORK)).unwrap();
        }
        let error = event.wait_until(work.clone().take(WORK)).unwrap_err();
        assert!(error.is_overloaded(), "{error}");
        assert!(error.reason().ends_with("the limit is 2"), "{error}");
        pass(WORK).await;
        until_idle().await;
        assert_eq!(work.stands(), (0, 2));
        event.wait_until(work.clone().take(WORK)).unwrap();
        drop((thing, event));
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        assert_eq!(work.stands(), (0, 3));
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn after_the_end_work_is_refused() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        let (work, event) = (Work::default(), pair.event());
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        let error = event.wait_until(work.clone().take(WORK)).unwrap_err();
        assert!(error.is_ended(), "{error}");
        assert_eq!(error.reason(), "the session is over: ok");
        until_idle().await;
        assert_eq!(work.stands(), (0, 0));
        drop((handle, event));
        pair.finish().await;
    });
}

/// Answers alarms at once: the first well, the others with a failure; and works in the background.
struct Works {
    work: Work,
    _alive: Rc<()>,
}

impl Service for Works {
    async fn alarm(self: Rc<Self>, alarm: Alarm, event: EventContext) -> capnp::Result<RunResult> {
        event.wait_until(self.work.clone().take(WORK))?;
        match alarm.retries() {
            0 => Ok(RunResult::Done),
            1 => Err(capnp::Error::failed("as it was asked to".into())),
            _ => pending().await,
        }
    }
}

fn working(place: Place) -> (Pair, Work) {
    let work = Work::default();
    let service = |alive| Works {
        work: work.clone(),
        _alive: alive,
    };
    let pair = Pair::with_service(place, World::new(), |callee| callee, service);
    (pair, work)
}

fn assert_alarm(pair: &Pair, caller: &str, callee: &str) {
    let wanted = format!(
        "request INTERNAL caller open\n  run CLIENT caller {caller}\n    alarm SERVER callee {callee}\n"
    );
    assert_eq!(pair.tree(), wanted);
}

#[test]
fn s2_work_of_an_event_that_is_one_call_outlives_its_answer() {
    everywhere(async |place| {
        let (pair, work) = working(place);
        let event = pair.pipeline.event("run").parent(pair.request.parent());
        assert_eq!(event.alarm(&Alarm::new()).await, Ok(RunResult::Done));
        pair.settle().await;
        assert_eq!(work.stands(), (1, 0));
        assert_alarm(&pair, "ok", "open");
        pass(WORK).await;
        assert_eq!(work.stands(), (0, 1));
        assert_alarm(&pair, "ok", "ok");
        pair.finish().await;
    });
}

#[test]
fn s2_work_of_an_event_that_fails_or_is_given_up_is_dropped() {
    everywhere(async |place| {
        let (pair, work) = working(place);
        let event = pair.pipeline.event("run").parent(pair.request.parent());
        let error = event.alarm(&Alarm::new().with_retries(1)).await;
        assert!(error.is_err());
        pair.settle().await;
        assert_eq!(work.stands(), (0, 0));
        assert_alarm(&pair, "exception", "exception");
        pair.finish().await;

        let (pair, work) = working(place);
        let event = pair.pipeline.event("run").parent(pair.request.parent());
        let call = spawn_local(event.alarm(&Alarm::new().with_retries(2)).map(drop));
        pair.settle().await;
        assert_eq!(work.stands(), (1, 0));
        call.abort();
        pair.settle().await;
        assert_eq!(work.stands(), (0, 0));
        assert_alarm(&pair, "canceled", "canceled");
        pair.finish().await;
    });
}

#[test]
fn s1_work_whose_driver_is_gone_is_dropped_and_its_span_closed() {
    run(async {
        let spans = MemoryObserver::new();
        let (tasks, driver) = Tasks::new();
        let work = Work::default();
        let service = Works {
            work: work.clone(),
            _alive: Rc::default(),
        };
        let callee = Callee::new(service, &tasks).tracer(Tracer::new(spans.clone()));
        let pipeline = Pipeline::new(callee.pipeline(), &tasks);
        let stop = Rc::new(Notify::new());
        let stopped = stop.clone();
        let driving = spawn_local(async move {
            futures::future::select(driver, Box::pin(stopped.notified())).await;
        });
        let answer = pipeline.event("run").alarm(&Alarm::new()).await;
        assert_eq!(answer, Ok(RunResult::Done));
        until_idle().await;
        assert_eq!((work.stands(), spans.open().len()), ((1, 0), 1));
        stop.notify_one();
        driving.await.unwrap();
        assert_eq!(work.stands(), (0, 0));
        story::assert_closed_once(&spans);
        let alarm = spans.named("alarm").unwrap();
        assert_eq!(alarm.outcome(), Some(Outcome::Canceled));
    });
}
