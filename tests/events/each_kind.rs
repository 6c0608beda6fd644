//! Every kind of event but sessions and HTTP requests: there and back, refused, canceled, lost; with the
//! caller's span enriched.

use std::rc::Rc;

use capnp::capability::FromClientHook;
use capspan::Error;
use capspan::pipeline::{Alarm, EventKind, QueueMessage, RunResult};
use capspan::trace::{Outcome, SpanStatus, Value};
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;
use tokio::task::spawn_local;

use super::setting::{
    Does, Events, assert_both, deliver, event, number, of_each_kind, serving, spans, wanted,
};

#[test]
fn e4_an_event_is_delivered_and_answered_and_the_callers_span_enriched() {
    everywhere(async |place| {
        of_each_kind(async |kind| {
            let (pair, seen) = serving(place, Does::Answers);
            let (delivered, answered, _) = wanted(kind);
            let answer = deliver(event(&pair), kind);
            assert_eq!(answer.await.unwrap(), answered);
            assert_eq!(*seen.borrow(), [delivered]);
            pair.settle().await;
            assert_both(&pair, kind, "ok");
            for span in spans(&pair, kind) {
                let said = span.attributes().get("capspan.event.kind");
                assert_eq!(said, Some(&Value::from(kind.as_str())));
            }
            let [caller, _] = spans(&pair, kind);
            let written = caller.attributes().get("app.metadata");
            assert_eq!(written, Some(&Value::from("[7]")));
            assert_eq!(*caller.set_by_callee(), ["app.metadata".into()]);
            pair.finish().await;
        })
        .await;
    });
}

#[test]
fn s2_an_event_whose_service_fails_is_an_exception() {
    everywhere(async |place| {
        for does in [Does::Fails, Does::Panics] {
            of_each_kind(async |kind| {
                let (pair, _) = serving(place, does);
                let error = deliver(event(&pair), kind).await.unwrap_err();
                let reason = match does {
                    Does::Panics => "the service panicked",
                    _ => "as it was asked to",
                };
                assert!(error.reason().contains(reason), "{error}");
                pair.settle().await;
                assert_both(&pair, kind, "exception");
                let [caller, callee] = spans(&pair, kind);
                for span in [&caller, &callee] {
                    let SpanStatus::Error(said) = span.status() else {
                        panic!("{} has no reason", span.name());
                    };
                    assert!(said.contains(reason), "{said}");
                }
                // What was written before it failed.
                assert!(caller.attributes().get("app.metadata").is_some());
                pair.finish().await;
            })
            .await;
        }
    });
}

#[test]
fn a_run_that_says_that_it_failed_is_an_exception() {
    everywhere(async |place| {
        let (pair, _) = serving(place, Does::Answers);
        let result = event(&pair).alarm(&Alarm::new().with_retries(1)).await;
        assert_eq!(result, Ok(RunResult::failed("tried often enough")));
        pair.settle().await;
        assert_both(&pair, EventKind::Alarm, "exception");
        for span in spans(&pair, EventKind::Alarm) {
            assert_eq!(*span.status(), SpanStatus::error("tried often enough"));
        }
        pair.finish().await;
    });
}

#[test]
fn s2_an_event_that_the_caller_gives_up_is_canceled() {
    everywhere(async |place| {
        of_each_kind(async |kind| {
            let (pair, seen) = serving(place, Does::Hangs);
            let waits = spawn_local(deliver(event(&pair), kind));
            pair.settle().await;
            assert_eq!((seen.borrow().len(), pair.world.live()), (1, 1));
            assert_both(&pair, kind, "open");
            waits.abort();
            pair.settle().await;
            assert_both(&pair, kind, "canceled");
            assert_eq!(pair.world.live(), 0);
            pair.finish().await;
        })
        .await;
    });
}

#[test]
fn s8_an_event_whose_connection_is_lost_is_disconnected() {
    at(Place::CONNECTED, async |place| {
        of_each_kind(async |kind| {
            let (pair, seen) = serving(place, Does::Hangs);
            let answer = spawn_local(deliver(event(&pair), kind));
            pair.settle().await;
            assert_eq!(seen.borrow().len(), 1);
            pair.cut();
            assert!(answer.await.unwrap().unwrap_err().is_disconnected());
            pair.settle().await;
            assert_both(&pair, kind, "disconnected");
            assert_eq!(pair.world.live(), 0);
            pair.finish().await;
        })
        .await;
    });
}

#[test]
fn s8_lost_while_it_is_being_delivered() {
    at([Place::Distant], async |place| {
        of_each_kind(async |kind| {
            for quarter in 0..9 {
                let (pair, _) = serving(place, Does::Hangs);
                let answer = deliver(event(&pair), kind);
                capspan_testkit::run::pass(LATENCY / 4 * quarter).await;
                pair.cut();
                assert!(answer.await.unwrap_err().is_disconnected(), "{quarter}");
                pair.settle().await;
                let caller = pair.spans.named("deliver").unwrap();
                assert_eq!(caller.outcome().unwrap().as_str(), "disconnected");
                pair.finish().await;
            }
        })
        .await;
    });
}

#[test]
fn a_kind_that_the_service_does_not_serve_is_refused_by_name() {
    everywhere(async |place| {
        of_each_kind(async |kind| {
            let pair = Pair::new(place);
            let error = deliver(event(&pair), kind).await.unwrap_err();
            assert!(error.is_unimplemented(), "{error}");
            let reason = format!("this service serves no {kind} events");
            assert!(error.reason().contains(&reason), "{error}");
            pair.settle().await;
            assert_both(&pair, kind, "exception");
            pair.finish().await;
        })
        .await;
    });
}

#[test]
fn a_session_that_the_service_does_not_serve_is_refused_by_name() {
    everywhere(async |place| {
        let (pair, _) = serving(place, Does::Answers);
        let (thing, handle) = pair.open().into_parts();
        let error = Error::from(number(&thing).await.unwrap_err());
        let reason = "this service serves no session events";
        assert!(error.reason().contains(reason), "{error}");
        let done = handle.done().await.unwrap_err();
        assert!(done.reason().contains(reason), "{done}");
        let end = handle.end().unwrap();
        assert_eq!(end.outcome(), Outcome::Exception);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn s2_a_custom_event_lasts_until_the_last_capability_that_came_of_it_is_dropped() {
    everywhere(async |place| {
        let (pair, _) = serving(place, Does::Answers);
        let mut custom = event(&pair).custom("greet").unwrap();
        let given = World::new().thing().into_client_hook();
        custom.payload().set_as_capability(given);
        let (answer, result) = custom.send();
        // Before the answer is there.
        let early: thing::Client = FromClientHook::new(result.as_cap());
        assert_eq!(number(&early).await.unwrap(), 2);
        drop((early, result));
        let answer = answer.await.unwrap();
        let thing: thing::Client = answer.get().unwrap().get_as_capability().unwrap();
        drop(answer);
        pair.settle().await;
        assert_both(&pair, EventKind::Custom, "open");
        assert_eq!(number(&thing).await.unwrap(), 2);
        drop(thing);
        pair.settle().await;
        assert_both(&pair, EventKind::Custom, "ok");
        pair.finish().await;
    });
}

#[test]
fn s8_a_capability_of_an_event_is_revoked_when_the_connection_is_lost() {
    at(Place::CONNECTED, async |place| {
        let (pair, _) = serving(place, Does::Answers);
        let mut custom = event(&pair).custom("greet").unwrap();
        let given = World::new().thing().into_client_hook();
        custom.payload().set_as_capability(given);
        let answer = custom.send().0.await.unwrap();
        let thing: thing::Client = answer.get().unwrap().get_as_capability().unwrap();
        pair.cut();
        pair.settle().await;
        assert_both(&pair, EventKind::Custom, "disconnected");
        let error = number(&thing).await.unwrap_err();
        assert_eq!(error.kind, capnp::ErrorKind::Disconnected);
        drop((thing, answer));
        pair.finish().await;
    });
}

#[test]
fn s6_with_nobody_to_see_an_event_no_id_is_drawn() {
    everywhere(async |place| {
        of_each_kind(async |kind| {
            let (world, seen) = (World::new(), Rc::default());
            let service = |alive| Events {
                does: Does::Answers,
                world: world.clone(),
                seen: Rc::clone(&seen),
                _alive: alive,
            };
            let unobserved = |callee: capspan::pipeline::Callee<_>| {
                callee.tracer(capspan::trace::Tracer::unobserved())
            };
            let pair = Pair::with_service(place, world.clone(), unobserved, service);
            let drawn = pair.caller_ids.drawn();
            let event = pair.pipeline.event("deliver");
            let answer = deliver(event, kind).await.unwrap();
            assert_eq!(answer, wanted(kind).1);
            pair.settle().await;
            let ids = (pair.caller_ids.drawn() - drawn, pair.callee_ids.drawn());
            assert_eq!(ids, (0, 0));
            pair.finish().await;
        })
        .await;
    });
}

#[test]
fn a_request_that_is_never_sent_is_a_canceled_event() {
    everywhere(async |place| {
        let (pair, seen) = serving(place, Does::Answers);
        drop(event(&pair).custom("greet").unwrap());
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  deliver CLIENT caller canceled
    event SERVER callee canceled
";
        assert_eq!(pair.tree(), wanted);
        assert!(seen.borrow().is_empty());
        pair.finish().await;
    });
}

#[test]
fn what_can_not_be_sent_is_refused_before_anything_begins() {
    everywhere(async |place| {
        let (pair, _) = serving(place, Does::Answers);
        let long = "x".repeat(257);
        assert!(event(&pair).custom("").unwrap_err().is_invalid());
        assert!(event(&pair).custom(&long).unwrap_err().is_limit());
        let many = vec![QueueMessage::default(); 10_001];
        let refused = event(&pair).queue("orders", &many).err().unwrap();
        assert!(refused.is_limit(), "{refused}");
        pair.settle().await;
        assert_eq!(pair.tree(), "request INTERNAL caller open\n");
        pair.finish().await;
    });
}
