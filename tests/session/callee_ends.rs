//! What a caller learns of the end of a session that the callee ends, without asking for it.

use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::session::TimeLimits;
use capspan::trace::{Outcome, SpanStatus};
use capspan_testkit::run::{PausedTime, pass, until_idle};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;

const TOTAL: Duration = Duration::from_secs(30);
const TOTAL_REASON: &str = "the total time limit of 30s is reached";

fn assert_tree(pair: &Pair, caller: &str, callee: &str) {
    let wanted = format!(
        "request INTERNAL caller open\n  open CLIENT caller {caller}\n    session SERVER callee {callee}\n"
    );
    assert_eq!(pair.tree(), wanted);
}

async fn number(thing: &thing::Client) -> capnp::Result<()> {
    thing.number_request().send().promise.await.map(drop)
}

/// A callee that ends each session after a while.
fn limited(place: Place) -> Pair {
    let limits = TimeLimits::new(PausedTime).total(TOTAL);
    Pair::configured(place, |callee| callee.time_limits(limits))
}

#[test]
fn s8_a_caller_whose_calls_fail_learns_why_without_asking() {
    everywhere(async |place| {
        // Whether all is dropped as soon as a call fails, or later.
        for is_patient in [true, false] {
            let pair = limited(place);
            let (thing, handle) = pair.open().into_parts();
            number(&thing).await.unwrap();
            pass(TOTAL).await;
            until_idle().await;
            assert_tree(&pair, "open", "timeout");
            assert!(number(&thing).await.is_err());
            if is_patient {
                pair.settle().await;
                assert_eq!(handle.end().unwrap().reason(), Some(TOTAL_REASON));
            }
            drop((thing, handle));
            pair.settle().await;
            assert_tree(&pair, "timeout", "timeout");
            let span = pair.spans.named("open").unwrap();
            assert_eq!(*span.status(), SpanStatus::error(TOTAL_REASON));
            pair.finish().await;
        }
    });
}

#[test]
fn a_call_that_fails_in_a_session_that_goes_on_changes_nothing() {
    everywhere(async |place| {
        for handle_first in [true, false] {
            let pair = Pair::new(place);
            let (thing, handle) = pair.open().into_parts();
            assert!(thing.fail_request().send().promise.await.is_err());
            if !handle_first {
                number(&thing).await.unwrap();
                pair.settle().await;
                assert_tree(&pair, "open", "open");
            }
            let outcome = match handle_first {
                true => {
                    drop((handle, thing));
                    "canceled"
                }
                false => {
                    drop((thing, handle));
                    "ok"
                }
            };
            pair.settle().await;
            assert_tree(&pair, outcome, outcome);
            pair.finish().await;
        }
    });
}

#[test]
fn a_connection_that_is_lost_while_the_callee_is_asked_is_what_ends_a_session() {
    at(Place::CONNECTED, async |place| {
        let pair = Pair::new(place);
        let (thing, handle) = pair.open().into_parts();
        assert!(thing.fail_request().send().promise.await.is_err());
        let kept = number(&thing);
        pair.cut();
        assert!(kept.await.is_err());
        drop((thing, handle));
        pair.settle().await;
        assert_tree(&pair, "disconnected", "disconnected");
        pair.finish().await;
    });
}

#[test]
fn what_fails_to_open_and_is_dropped_at_once_has_failed() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |_, _| async {
            Err::<Client, _>(capnp::Error::failed("as it was asked to".into()))
        });
        let (thing, handle) = pair.open().into_parts();
        assert!(number(&thing).await.is_err());
        drop((thing, handle));
        pair.settle().await;
        assert_tree(&pair, "exception", "exception");
        pair.finish().await;
    });
}

#[test]
fn who_drops_all_before_the_answer_does_not_wait_for_it() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |_, world| async move {
            pass(TOTAL).await;
            let thing = world.thing().into_client_hook();
            Ok(Client::new(thing))
        });
        drop(pair.open());
        pair.settle().await;
        let open = pair.spans.named("open").unwrap();
        assert_eq!(open.outcome(), Some(Outcome::Ok));
        pass(TOTAL).await;
        pair.settle().await;
        assert_tree(&pair, "ok", "ok");
        pair.finish().await;
    });
}
