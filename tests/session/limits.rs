//! How long an event may last, and how long it may do nothing: on either side.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::pipeline::{Callee, CustomEvent, EventContext, RunResult, Scheduled, Service};
use capspan::session::{Session, SessionHandle, TimeLimits};
use capspan::trace::{Outcome, SpanStatus};
use capspan_testkit::run::{PausedTime, pass, until_idle};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;
use tokio::task::spawn_local;

const TOTAL: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(10);
const TOTAL_REASON: &str = "the total time limit of 30s is reached";
const IDLE_REASON: &str = "the idle time limit of 10s is reached";

fn total() -> TimeLimits {
    TimeLimits::new(PausedTime).total(TOTAL)
}

fn idle() -> TimeLimits {
    TimeLimits::new(PausedTime).idle(IDLE)
}

/// A callee with limits.
fn limited(place: Place, limits: TimeLimits) -> Pair {
    Pair::configured(place, |callee| callee.time_limits(limits))
}

/// A session that the caller limits.
fn open_limited(pair: &Pair, limits: TimeLimits) -> Session<thing::Client> {
    let event = pair.pipeline.event("open").parent(pair.request.parent());
    event.time_limits(limits).open_session()
}

fn assert_tree(pair: &Pair, caller: &str, callee: &str) {
    let wanted = format!(
        "request INTERNAL caller open\n  open CLIENT caller {caller}\n    session SERVER callee {callee}\n"
    );
    assert_eq!(pair.tree(), wanted);
}

async fn number(thing: &thing::Client) -> Result<(), capnp::Error> {
    thing.number_request().send().promise.await.map(drop)
}

async fn assert_over(thing: &thing::Client, reason: &str) {
    let error = number(thing).await.unwrap_err();
    let wanted = format!("revoked: the session is over: {reason}");
    assert!(error.extra.ends_with(&wanted), "{}", error.extra);
}

async fn assert_done(handle: &SessionHandle, outcome: Outcome, reason: &str) {
    let end = handle.done().await.unwrap();
    assert_eq!((end.outcome(), end.reason()), (outcome, Some(reason)));
}

#[test]
fn s8_the_callees_total_limit_ends_a_session_on_both_sides() {
    everywhere(async |place| {
        let pair = limited(place, total());
        let (thing, handle) = pair.open().into_parts();
        let done = spawn_local(handle.done());
        for _ in 0..20 {
            number(&thing).await.unwrap();
            pass(Duration::from_secs(1)).await;
        }
        assert_tree(&pair, "open", "open");
        let in_flight = thing.never_request().send().promise;
        let error = in_flight.await.err().unwrap();
        assert!(error.extra.contains(TOTAL_REASON), "{error}");
        pair.settle().await;
        assert_eq!(pair.world.live(), 0);
        let end = done.await.unwrap().unwrap();
        assert_eq!(
            (end.outcome(), end.reason()),
            (Outcome::Timeout, Some(TOTAL_REASON))
        );
        assert_tree(&pair, "timeout", "timeout");
        for name in ["open", "session"] {
            let span = pair.spans.named(name).unwrap();
            assert_eq!(*span.status(), SpanStatus::error(TOTAL_REASON));
        }
        assert_over(&thing, TOTAL_REASON).await;
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s8_the_callers_total_limit_ends_a_session_on_both_sides() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = open_limited(&pair, total()).into_parts();
        let in_flight = spawn_local(thing.never_request().send().promise.map(drop));
        pass(TOTAL - Duration::from_secs(1)).await;
        assert_tree(&pair, "open", "open");
        pass(Duration::from_secs(1)).await;
        until_idle().await;
        assert!(in_flight.is_finished());
        assert_over(&thing, TOTAL_REASON).await;
        pair.settle().await;
        // All that the callee can be told is that the caller has let go of it.
        assert_tree(&pair, "timeout", "canceled");
        assert_eq!(pair.world.live(), 0);
        assert_done(&handle, Outcome::Timeout, TOTAL_REASON).await;
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn a_caller_that_is_not_observed_may_have_limits() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let event = pair.pipeline.event("open").time_limits(total());
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        number(&thing).await.unwrap();
        let done = handle.done();
        pass(TOTAL).await;
        until_idle().await;
        assert_over(&thing, TOTAL_REASON).await;
        assert_eq!(handle.end().unwrap().outcome(), Outcome::Timeout);
        pair.settle().await;
        let session = pair.spans.named("session").unwrap();
        assert_eq!(session.outcome(), Some(Outcome::Canceled));
        // Asked before: what the callee says.
        assert_eq!(done.await.unwrap().outcome(), Outcome::Canceled);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn a_session_that_is_complete_before_its_limit_is_ok() {
    everywhere(async |place| {
        let pair = limited(place, total().idle(IDLE));
        let (thing, handle) = open_limited(&pair, total().idle(IDLE)).into_parts();
        number(&thing).await.unwrap();
        pass(IDLE / 2).await;
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        pass(TOTAL * 2).await;
        assert_tree(&pair, "ok", "ok");
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn an_idle_session_ends_when_nothing_has_happened_for_as_long_as_the_limit_and_no_sooner() {
    at([Place::InProcess, Place::Connection], async |place| {
        for is_callees in [true, false] {
            let (pair, session) = match is_callees {
                true => {
                    let pair = limited(place, idle());
                    let session = pair.open();
                    (pair, session)
                }
                false => {
                    let pair = Pair::new(place);
                    let session = open_limited(&pair, idle());
                    (pair, session)
                }
            };
            let (thing, handle) = session.into_parts();
            for _ in 0..5 {
                number(&thing).await.unwrap();
                pass(IDLE - Duration::from_millis(100)).await;
            }
            assert_tree(&pair, "open", "open");
            assert!(number(&thing).await.is_ok());
            pass(IDLE - Duration::from_millis(100)).await;
            assert_tree(&pair, "open", "open");
            pass(Duration::from_millis(200)).await;
            assert_over(&thing, IDLE_REASON).await;
            assert_done(&handle, Outcome::Timeout, IDLE_REASON).await;
            let callee = if is_callees { "timeout" } else { "canceled" };
            assert_tree(&pair, "timeout", callee);
            drop((thing, handle));
            pair.finish().await;
        }
    });
}

#[test]
fn a_session_that_nobody_calls_is_idle() {
    everywhere(async |place| {
        let pair = limited(place, idle());
        let (thing, handle) = pair.open().into_parts();
        assert_done(&handle, Outcome::Timeout, IDLE_REASON).await;
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn a_long_call_in_flight_is_not_idle_but_the_total_limit_counts() {
    everywhere(async |place| {
        let pair = limited(place, total().idle(IDLE));
        let (thing, handle) = open_limited(&pair, idle()).into_parts();
        let long = thing.gated_request().send().promise;
        pass(IDLE * 2).await;
        assert_tree(&pair, "open", "open");
        pair.world.open_gate();
        let answer = long.await.unwrap();
        pass(IDLE - Duration::from_secs(2)).await;
        let in_flight = thing.never_request().send().promise;
        pass(Duration::from_secs(3)).await;
        let error = in_flight.await.err().unwrap();
        assert!(error.extra.contains(TOTAL_REASON), "{error}");
        assert_done(&handle, Outcome::Timeout, TOTAL_REASON).await;
        assert_tree(&pair, "timeout", "timeout");
        drop((thing, handle, answer));
        pair.finish().await;
    });
}

#[test]
fn a_callback_in_flight_is_not_idle() {
    everywhere(async |place| {
        let kept = World::new().thing();
        let inside = kept.clone();
        let world = World::new();
        let service = move |alive| Keeps {
            kept: inside,
            _alive: alive,
        };
        let configure = |callee: Callee<Keeps>| callee.time_limits(idle());
        let pair = Pair::with_service(place, world, configure, service);
        let (thing, handle) = open_limited(&pair, idle()).into_parts();
        let outside = World::new();
        let mut request = thing.store_request();
        request.get().set_thing(outside.thing());
        request.send().promise.await.unwrap();
        let taken = kept.take_request().send().promise.await.unwrap();
        let callback = taken.get().unwrap().get_thing().unwrap();
        let calling = spawn_local(callback.never_request().send().promise.map(drop));
        pass(IDLE * 3).await;
        assert_tree(&pair, "open", "open");
        calling.abort();
        pass(IDLE / 2).await;
        assert_tree(&pair, "open", "open");
        pass(IDLE).await;
        assert_done(&handle, Outcome::Timeout, IDLE_REASON).await;
        drop((thing, handle, taken, callback, kept));
        pair.finish().await;
    });
}

/// Gives every session the same object.
struct Keeps {
    kept: thing::Client,
    _alive: Rc<()>,
}

impl Service for Keeps {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        Ok(Client::new(self.kept.clone().into_client_hook()))
    }
}

#[test]
fn calls_that_are_given_up_are_no_longer_in_flight() {
    everywhere(async |place| {
        let pair = limited(place, idle());
        let (thing, handle) = pair.open().into_parts();
        let given_up = spawn_local(thing.never_request().send().promise.map(drop));
        pass(IDLE * 2).await;
        assert_tree(&pair, "open", "open");
        given_up.abort();
        pass(IDLE / 2).await;
        assert_tree(&pair, "open", "open");
        pass(IDLE).await;
        assert_over(&thing, IDLE_REASON).await;
        drop((thing, handle));
        pair.finish().await;
    });
}

/// Takes its time, for ever; keeps an object alive.
struct Hangs {
    world: World,
    began: Rc<Cell<u32>>,
    _alive: Rc<()>,
}

impl Hangs {
    async fn hang<T>(&self) -> capnp::Result<T> {
        let _object = self.world.thing();
        self.began.set(self.began.get() + 1);
        pending().await
    }
}

impl Service for Hangs {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        self.hang().await
    }

    async fn scheduled(self: Rc<Self>, _: Scheduled, _: EventContext) -> capnp::Result<RunResult> {
        self.hang().await
    }

    async fn custom(self: Rc<Self>, _event: CustomEvent, _: EventContext) -> capnp::Result<()> {
        self.hang().await
    }

    async fn fetch(
        self: Rc<Self>,
        _request: http::Request<capspan::fetch::Body>,
        _: EventContext,
    ) -> capnp::Result<http::Response<capspan::fetch::Body>> {
        self.hang().await
    }
}

fn hanging(place: Place, limits: Option<TimeLimits>) -> Pair {
    let world = World::new();
    let service = |alive| Hangs {
        world: world.clone(),
        began: Rc::default(),
        _alive: alive,
    };
    let configure = |callee: Callee<Hangs>| match limits {
        Some(limits) => callee.time_limits(limits),
        None => callee,
    };
    Pair::with_service(place, world.clone(), configure, service)
}

#[test]
fn a_session_whose_promise_never_resolves_is_ended_by_the_total_limit_of_either_side() {
    everywhere(async |place| {
        for is_callees in [true, false] {
            let pair = hanging(place, is_callees.then(total));
            let session = match is_callees {
                true => pair.open(),
                false => open_limited(&pair, total()),
            };
            let (thing, handle) = session.into_parts();
            pass(TOTAL - Duration::from_secs(1)).await;
            assert_tree(&pair, "open", "open");
            assert_eq!(pair.world.live(), 1);
            pass(Duration::from_secs(2)).await;
            assert_eq!(pair.world.live(), 0);
            assert_over(&thing, TOTAL_REASON).await;
            match is_callees {
                // What the caller sees is that the session could not be opened.
                true => assert_tree(&pair, "exception", "timeout"),
                false => assert_tree(&pair, "timeout", "canceled"),
            }
            drop((thing, handle));
            pair.finish().await;
        }
    });
}

#[test]
fn a_session_that_is_being_opened_is_not_idle() {
    everywhere(async |place| {
        let pair = hanging(place, Some(idle()));
        let (thing, handle) = open_limited(&pair, idle()).into_parts();
        pass(IDLE * 3).await;
        assert_tree(&pair, "open", "open");
        drop((handle, thing));
        pair.settle().await;
        assert_eq!(pair.world.live(), 0);
        pair.finish().await;
    });
}

#[test]
fn s8_an_event_that_is_one_call_has_limits_on_either_side() {
    everywhere(async |place| {
        for is_callees in [true, false] {
            let pair = hanging(place, is_callees.then(|| total().idle(IDLE)));
            let event = || {
                let event = pair.pipeline.event("open").parent(pair.request.parent());
                match is_callees {
                    true => event,
                    false => event.time_limits(total().idle(IDLE)),
                }
            };
            let scheduled = event().scheduled(&Scheduled::new());
            let custom = event().custom("custom").unwrap().send().0;
            let request = http::Request::new(capspan::fetch::Body::empty());
            let fetch = event().fetch(request).unwrap();
            let waits = spawn_local(futures::future::join3(scheduled, custom, fetch));
            pass(TOTAL - Duration::from_secs(1)).await;
            assert_eq!(pair.world.live(), 3);
            assert!(pair.spans.open().len() == 7 && !waits.is_finished());
            pass(Duration::from_secs(2)).await;
            let (scheduled, custom, fetch) = waits.await.unwrap();
            let errors = [scheduled.err(), custom.err(), fetch.err()];
            for error in errors.map(|error| error.unwrap().to_string()) {
                assert!(error.contains(TOTAL_REASON), "{error}");
            }
            pair.settle().await;
            let (caller, callee) = match is_callees {
                true => (Outcome::Exception, Outcome::Timeout),
                false => (Outcome::Timeout, Outcome::Canceled),
            };
            for span in pair.spans.closed() {
                let is_callers = span.name() == "open";
                let wanted = if is_callers { caller } else { callee };
                assert_eq!(span.outcome(), Some(wanted), "{}", span.name());
                if let SpanStatus::Error(said) = span.status() {
                    assert!(said.contains(TOTAL_REASON), "{said}");
                }
            }
            assert_eq!(pair.spans.closed().len(), 6);
            assert_eq!(pair.world.live(), 0);
            pair.finish().await;
        }
    });
}

#[test]
fn both_sides_at_once_end_a_session_once() {
    everywhere(async |place| {
        let pair = limited(place, total());
        let (thing, handle) = open_limited(&pair, total()).into_parts();
        number(&thing).await.unwrap();
        pass(TOTAL * 2).await;
        let callee = pair.spans.named("session").unwrap().outcome();
        assert!([Outcome::Timeout, Outcome::Canceled].contains(&callee.unwrap()));
        let caller = pair.spans.named("open").unwrap().outcome();
        assert_eq!(caller, Some(Outcome::Timeout));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn a_connection_that_is_lost_before_the_limit_is_what_ends_a_session() {
    at(Place::CONNECTED, async |place| {
        let pair = limited(place, total().idle(IDLE));
        let (thing, handle) = open_limited(&pair, total().idle(IDLE)).into_parts();
        number(&thing).await.unwrap();
        pair.cut();
        pass(TOTAL * 2).await;
        assert_tree(&pair, "disconnected", "disconnected");
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn no_time_at_all_is_a_limit() {
    everywhere(async |place| {
        let pair = limited(place, TimeLimits::new(PausedTime).total(Duration::ZERO));
        let (thing, handle) = pair.open().into_parts();
        pair.settle().await;
        assert_over(&thing, "the total time limit of 0ns is reached").await;
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn a_limit_beyond_all_time_is_none() {
    everywhere(async |place| {
        let limits = TimeLimits::new(PausedTime)
            .total(Duration::MAX)
            .idle(Duration::MAX);
        let pair = limited(place, limits);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await.unwrap();
        pass(TOTAL).await;
        drop(thing);
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        drop(handle);
        pair.finish().await;
    });
}
