//! E1 to E6 after faults: what was written before one is on the caller's span, which is closed once; what is
//! written after it goes nowhere.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::enrich::Enricher;
use capspan::trace::{Outcome, SpanRecord, SpanUpdate};
use capspan_testkit::service::{LATENCY, Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;
use futures::FutureExt;
use tokio::task::spawn_local;

fn caller_span(pair: &Pair) -> SpanRecord {
    pair.spans.named("open").expect("the caller's session span")
}

/// Writes in each of its calls, and does not return from some.
struct Writer {
    caller: Enricher,
}

impl Writer {
    fn write(&self) {
        self.caller.set_attribute("rows", 3);
        self.caller.set_attribute("capspan.x", "reserved");
        self.caller.add_event("read");
    }
}

impl thing::Server for Writer {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        Ok(())
    }

    async fn never(
        self: Rc<Self>,
        _params: thing::NeverParams,
        _results: thing::NeverResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        std::future::pending().await
    }

    async fn fail(
        self: Rc<Self>,
        _params: thing::FailParams,
        _results: thing::FailResults,
    ) -> Result<(), capnp::Error> {
        self.write();
        Err(capnp::Error::failed("as it was asked to".into()))
    }
}

fn writing(place: Place) -> Pair {
    Pair::serving(place, |event, _| async move {
        let thing: thing::Client = capnp_rpc::new_client(Writer {
            caller: event.enricher().clone(),
        });
        Ok(Client::new(thing.into_client_hook()))
    })
}

/// What the writer wrote, and how it was counted.
fn assert_written(span: &SpanRecord) {
    assert_eq!(span.set_by_callee(), ["rows".into()]);
    assert_eq!(span.events().len(), 1);
    assert!(span.events()[0].is_by_callee());
    assert_eq!(span.dropped().reserved_keys, 1);
}

#[test]
fn e2_what_a_call_wrote_before_the_connection_is_lost_is_on_the_span() {
    at(Place::CONNECTED, async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        let never = thing.never_request().send();
        pair.settle().await;
        let event = pair.event();
        pair.cut();
        pair.settle().await;
        let span = caller_span(&pair);
        assert_eq!(span.outcome(), Some(Outcome::Disconnected));
        assert_written(&span);
        // It is over on both sides.
        assert!(!event.enricher().is_observed());
        event.enricher().set_name("late");
        assert!(event.enricher().flush().await.is_err());
        assert_eq!(pair.caller.late_updates(), 0);
        drop((never, thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e6_what_is_cut_off_on_its_way_is_not_on_the_span_and_harms_nothing() {
    at([Place::Distant], async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        let sent = thing.number_request().send().promise;
        // The call has arrived; what it wrote has left with its return.
        tokio::time::sleep(LATENCY + LATENCY / 2).await;
        pair.cut();
        assert!(sent.await.is_err());
        pair.settle().await;
        let span = caller_span(&pair);
        assert_eq!(span.outcome(), Some(Outcome::Disconnected));
        assert!(span.set_by_callee().is_empty() && span.dropped().is_empty());
        let keys: Vec<_> = span.attributes().iter().map(|own| &*own.key).collect();
        assert_eq!(keys, ["error.type"]);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_what_a_canceled_call_wrote_is_on_the_span() {
    everywhere(async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        let never = thing.never_request().send().promise;
        let given_up = tokio::time::timeout(LATENCY * 4, never).await;
        assert!(given_up.is_err());
        pair.settle().await;
        assert_written(&caller_span(&pair));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_what_a_canceled_session_wrote_before_is_on_the_span() {
    everywhere(async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        let never = spawn_local(thing.never_request().send().promise.map(drop));
        pair.settle().await;
        let event = pair.event();
        drop(handle);
        pair.settle().await;
        let span = caller_span(&pair);
        assert_eq!(span.outcome(), Some(Outcome::Canceled));
        assert_written(&span);
        event.enricher().set_name("late");
        pair.settle().await;
        assert_eq!(caller_span(&pair).name(), "open");
        assert!(never.is_finished());
        drop((thing, event));
        pair.finish().await;
    });
}

#[test]
fn e2_what_a_service_wrote_before_it_panicked_is_on_the_span() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, _| async move {
            event.enricher().set_attribute("rows", 3);
            panic!("as it was asked to");
        });
        let (thing, handle) = pair.open().into_parts();
        assert!(thing.number_request().send().promise.await.is_err());
        assert!(handle.done().await.is_err());
        pair.settle().await;
        let span = caller_span(&pair);
        assert!(!span.is_open());
        assert_eq!(span.set_by_callee(), ["rows".into()]);
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn e1_after_a_call_that_failed_the_callee_goes_on_writing() {
    everywhere(async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        assert!(thing.fail_request().send().promise.await.is_err());
        assert_written(&caller_span(&pair));
        let event = pair.event();
        event
            .enricher()
            .update(SpanUpdate::new().attribute("after", true));
        pair.settle().await;
        let span = caller_span(&pair);
        assert_eq!(span.set_by_callee(), ["rows".into(), "after".into()]);
        drop((thing, handle, event));
        pair.finish().await;
    });
}

#[test]
fn e3_an_enricher_keeps_neither_span_nor_session_open_when_the_connection_is_lost() {
    at(Place::CONNECTED, async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let kept = pair.event().enricher().clone();
        pair.cut();
        pair.settle().await;
        assert!(
            pair.spans
                .open()
                .iter()
                .all(|span| span.name() == "request")
        );
        drop((thing, handle));
        pair.finish().await;
        assert!(!kept.is_observed());
    });
}
