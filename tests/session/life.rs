//! How long a session lasts: what holds it (S2), and who cancels it (S7).

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::session::SessionHandle;
use capspan::trace::{Outcome, SpanStatus};
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use futures::FutureExt;

/// How the spans of both sides stand: both the same, and nothing but them below the request.
fn assert_both(pair: &Pair, stand: &str) {
    let wanted = format!(
        "request INTERNAL caller open\n  open CLIENT caller {stand}\n    session SERVER callee {stand}\n"
    );
    assert_eq!(pair.tree(), wanted);
}

/// Opens a session, takes `hold` of something in it, drops all else: it stays open until that is let go.
async fn assert_holds<T>(pair: Pair, hold: impl AsyncFnOnce(&thing::Client, &Pair) -> T) {
    let (thing, handle) = pair.open().into_parts();
    let held = hold(&thing, &pair).await;
    drop(thing);
    pair.settle().await;
    assert_both(&pair, "open");
    assert!(pair.world.live() > 0);
    assert!(handle.done().now_or_never().is_none());
    drop(held);
    pair.settle().await;
    assert_both(&pair, "ok");
    drop(handle);
    pair.finish().await;
}

#[test]
fn s2_a_cursor_holds_the_session() {
    everywhere(async |place| {
        assert_holds(Pair::new(place), async |thing, _| {
            let made = thing.make_request().send().promise.await.unwrap();
            made.get().unwrap().get_thing().unwrap()
        })
        .await;
    });
}

#[test]
fn s2_a_cursor_that_was_asked_for_before_the_session_was_open_holds_it() {
    everywhere(async |place| {
        assert_holds(Pair::new(place), async |thing, _| {
            thing.make_request().send().pipeline.get_thing()
        })
        .await;
    });
}

#[test]
fn s2_an_unsent_request_holds_the_session() {
    everywhere(async |place| {
        assert_holds(Pair::new(place), async |thing, _| {
            thing.number_request().send().promise.await.unwrap();
            thing.number_request()
        })
        .await;
        assert_holds(Pair::new(place), async |thing, _| thing.number_request()).await;
    });
}

#[test]
fn s2_a_response_that_carries_a_capability_holds_the_session() {
    everywhere(async |place| {
        assert_holds(Pair::new(place), async |thing, _| {
            thing.make_request().send().promise.await.unwrap()
        })
        .await;
    });
}

#[test]
fn s2_a_call_in_flight_holds_the_session() {
    everywhere(async |place| {
        assert_holds(Pair::new(place), async |thing, pair| {
            let call = tokio::task::spawn_local(thing.never_request().send().promise.map(drop));
            pair.settle().await;
            Abort(call)
        })
        .await;
    });
}

struct Abort(tokio::task::JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[test]
fn s2_a_pipelined_capability_of_a_call_that_has_not_returned_holds_the_session() {
    everywhere(async |place| {
        assert_holds(Pair::new(place), async |thing, _| {
            thing.gated_request().send().pipeline.get_thing()
        })
        .await;
    });
}

/// A callee whose object, `kept`, outlives the session.
fn keeping(place: Place, kept: &thing::Client) -> Pair {
    let kept = kept.clone();
    Pair::serving(place, move |_, _| {
        let thing = kept.clone();
        async move { Ok(Client::new(thing.into_client_hook())) }
    })
}

#[test]
fn s2_a_callers_capability_that_the_service_stores_holds_the_session() {
    everywhere(async |place| {
        let kept = World::new().thing();
        let pair = keeping(place, &kept);
        let outside = World::new();
        let (thing, handle) = pair.open().into_parts();
        let mut request = thing.store_request();
        request.get().set_thing(outside.thing());
        request.send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        assert_both(&pair, "open");
        assert_eq!(outside.live(), 1);
        let taken = kept.take_request().send().promise.await.unwrap();
        assert_both(&pair, "open");
        drop(taken);
        pair.settle().await;
        assert_both(&pair, "ok");
        assert_eq!(outside.live(), 0);
        drop((kept, handle));
        pair.finish().await;
    });
}

/// Opens a session in which each side holds a capability of the other's.
async fn entangled(pair: &Pair, outside: &World) -> (thing::Client, thing::Client, SessionHandle) {
    let (thing, handle) = pair.open().into_parts();
    let made = thing.make_request().send().promise.await.unwrap();
    let cursor = made.get().unwrap().get_thing().unwrap();
    let mut request = cursor.store_request();
    request.get().set_thing(outside.thing());
    request.send().promise.await.unwrap();
    (thing, cursor, handle)
}

#[test]
fn s7_dropping_the_handle_revokes_all_capabilities_on_both_sides() {
    everywhere(async |place| {
        let kept: Rc<Cell<Option<thing::Client>>> = Rc::default();
        let keep = kept.clone();
        let pair = Pair::serving(place, move |_, world| {
            let thing = world.thing();
            keep.set(Some(thing.clone()));
            async move { Ok(Client::new(thing.into_client_hook())) }
        });
        let outside = World::new();
        let (thing, cursor, handle) = entangled(&pair, &outside).await;
        let mut request = thing.store_request();
        request.get().set_thing(outside.thing());
        request.send().promise.await.unwrap();
        let in_flight = thing.never_request().send().promise;
        pair.settle().await;
        let (live, inside) = (pair.world.live(), kept.take().unwrap());
        assert_eq!((live, outside.live()), (2, 2));

        drop(handle);
        let error = in_flight.await.err().unwrap().to_string();
        assert!(error.contains("the caller dropped it"), "{error}");
        for capability in [&thing, &cursor] {
            let error = capability.number_request().send().promise.await;
            let error = error.err().unwrap().to_string();
            assert!(error.contains("the caller dropped it"), "{error}");
        }
        pair.settle().await;
        assert_both(&pair, "canceled");
        assert_eq!(
            *pair.spans.named("open").unwrap().status(),
            SpanStatus::Unset
        );
        // What the service keeps of the caller's is a husk.
        let taken = inside.take_request().send().pipeline.get_thing();
        let error = taken.number_request().send().promise.await.err().unwrap();
        assert!(
            error.to_string().contains("the caller dropped it"),
            "{error}"
        );
        assert_eq!((pair.world.live(), outside.live()), (1, 0));
        drop((thing, cursor, taken, inside));
        pair.finish().await;
    });
}

#[test]
fn s7_dropping_the_handle_before_the_answer_cancels() {
    everywhere(async |place| {
        // As the calls leave, while they are on their way, when the handler is done, on the way back.
        for quarter in 0..8 {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            let first = tokio::task::spawn_local(thing.number_request().send().promise.map(drop));
            capspan_testkit::run::pass(LATENCY / 4 * quarter).await;
            drop(handle);
            // It is done in the driver's next turn.
            pair.settle().await;
            let error = thing.number_request().send().promise.await.err().unwrap();
            assert!(
                error.to_string().contains("the caller dropped it"),
                "{error}"
            );
            match pair.spans.named("session") {
                Some(_) => assert_both(&pair, "canceled"),
                // The event was announced and not delivered, or not even announced.
                None => {
                    let caller = "request INTERNAL caller open\n  open CLIENT caller canceled\n";
                    let tree = pair.tree();
                    let callee = tree.strip_prefix(caller).unwrap();
                    assert!(["", "    event SERVER callee canceled\n"].contains(&callee));
                }
            }
            assert_eq!(pair.world.live(), 0);
            assert!(first.is_finished());
            drop(thing);
            pair.finish().await;
        }
    });
}

#[test]
fn s7_all_dropped_top_level_first_is_the_end_and_not_a_cancellation() {
    everywhere(async |place| {
        for quarter in 0..9 {
            let pair = Pair::new(place);
            let session = pair.open();
            capspan_testkit::run::pass(LATENCY / 4 * quarter).await;
            // The fields of a session are dropped in their order.
            drop(session);
            pair.settle().await;
            assert_both(&pair, "ok");
            pair.finish().await;
        }
    });
}

#[test]
fn s7_all_dropped_handle_first_is_a_cancellation() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        pair.settle().await;
        drop(handle);
        drop(thing);
        pair.settle().await;
        assert_both(&pair, "canceled");
        pair.finish().await;
    });
}

#[test]
fn s7_dropping_the_handle_takes_back_what_only_the_service_holds() {
    everywhere(async |place| {
        let kept = World::new().thing();
        let pair = keeping(place, &kept);
        let outside = World::new();
        let (thing, handle) = pair.open().into_parts();
        let mut request = thing.store_request();
        request.get().set_thing(outside.thing());
        request.send().promise.await.unwrap();
        drop(thing);
        drop(handle);
        pair.settle().await;
        assert_both(&pair, "canceled");
        assert_eq!(outside.live(), 0);
        drop(kept);
        pair.finish().await;
    });
}

#[test]
fn s7_of_a_caller_that_is_not_observed_the_callee_sees_the_same() {
    everywhere(async |place| {
        for (handle_first, outcome) in [(false, Outcome::Ok), (true, Outcome::Canceled)] {
            let pair = Pair::new(place);
            let session = pair.pipeline.open_session::<thing::Client>("open");
            let (thing, handle) = session.into_parts();
            thing.number_request().send().promise.await.unwrap();
            pair.settle().await;
            match handle_first {
                true => drop((handle, thing)),
                false => drop((thing, handle)),
            }
            pair.settle().await;
            let session = pair.spans.named("session").unwrap();
            assert_eq!(session.outcome(), Some(outcome));
            pair.finish().await;
        }
    });
}

#[test]
fn s7_dropped_before_the_answer_by_a_caller_that_is_not_observed() {
    everywhere(async |place| {
        for quarter in 0..8 {
            let pair = Pair::new(place);
            let session = pair.pipeline.open_session::<thing::Client>("open");
            let (thing, handle) = session.into_parts();
            capspan_testkit::run::pass(LATENCY / 4 * quarter).await;
            drop(handle);
            pair.settle().await;
            let error = thing.number_request().send().promise.await.err().unwrap();
            assert!(
                error.to_string().contains("the caller dropped it"),
                "{error}"
            );
            let session = pair.spans.named("session").unwrap();
            assert_eq!(session.outcome(), Some(Outcome::Canceled));
            drop(thing);
            pair.finish().await;
        }
    });
}

#[test]
fn s7_dropping_the_handle_after_the_end_does_nothing() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        let log = pair.spans.log();
        drop(handle);
        pair.settle().await;
        assert_eq!(pair.spans.log(), log);
        assert_both(&pair, "ok");
        pair.finish().await;
    });
}

#[test]
fn s7_done_tells_how_it_ended_the_same_whenever_it_is_asked() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        assert!(
            handle.done().now_or_never().is_none(),
            "a wait that is given up"
        );
        let early = handle.done();
        let given_up = tokio::task::spawn_local(handle.done());
        pair.settle().await;
        given_up.abort();
        pair.settle().await;
        assert!(handle.end().is_none());
        drop(thing);
        let end = early.await.unwrap();
        assert_eq!((end.outcome(), end.reason()), (Outcome::Ok, None));
        assert_eq!(handle.done().await.unwrap(), end);
        assert_eq!(handle.done().await.unwrap(), end);
        assert_eq!(handle.end(), Some(end));
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn s7_done_does_not_hold_the_session_and_outlives_the_handle() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let done = handle.done();
        pair.settle().await;
        drop(handle);
        let end = done.await.unwrap();
        assert_eq!(end.outcome(), Outcome::Canceled);
        assert_eq!(end.reason(), Some("the caller dropped it"));
        assert_both(&pair, "canceled");
        drop(thing);
        pair.finish().await;
    });
}

#[test]
fn s7_a_session_without_a_handle_lasts_as_long_as_its_capabilities() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        handle.detach();
        pair.settle().await;
        thing.number_request().send().promise.await.unwrap();
        assert_both(&pair, "open");
        drop(thing);
        pair.settle().await;
        assert_both(&pair, "ok");
        pair.finish().await;
    });
}

#[test]
fn s7_many_sessions_at_once_each_have_their_own_end() {
    at(Place::ALL, async |place| {
        let pair = Pair::new(place);
        let mut sessions: Vec<_> = (0..20).map(|_| pair.open().into_parts()).collect();
        for (thing, _) in &sessions {
            thing.number_request().send().promise.await.unwrap();
        }
        for _ in 0..10 {
            let (_thing, handle) = sessions.swap_remove(0);
            drop(handle);
        }
        for (thing, handle) in sessions {
            assert!(thing.number_request().send().promise.await.is_ok());
            drop((thing, handle));
        }
        pair.settle().await;
        for name in ["open", "session"] {
            for (outcome, wanted) in [(Outcome::Canceled, 10), (Outcome::Ok, 10)] {
                let closed = pair.spans.closed().into_iter();
                let spans = closed.filter(|s| s.name() == name && s.outcome() == Some(outcome));
                assert_eq!(spans.count(), wanted, "{name} {outcome}");
            }
        }
        pair.finish().await;
    });
}
