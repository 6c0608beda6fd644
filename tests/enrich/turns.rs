//! How updates travel over a connection: all of one turn in one message, before whatever must not overtake
//! them (E2), and never more at once than is allowed.

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::enrich::Enricher;
use capspan::trace::{EnrichStatus, MemoryObserver, SpanStatus, Value};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::taker::{Opened, Taker};
use capspan_testkit::testkit_capnp::thing;

/// An object that enriches the caller's span.
struct Writer {
    caller: Enricher,
    calls: Cell<i64>,
}

impl thing::Server for Writer {
    /// Writes several things in one turn.
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        self.calls.set(self.calls.get() + 1);
        self.caller.set_name("GET /");
        self.caller.set_attribute("call", self.calls.get());
        self.caller.set_attribute("rows", 1);
        self.caller.set_attribute("rows", 2);
        self.caller.add_event("read");
        self.caller.set_status(SpanStatus::Ok);
        Ok(())
    }

    /// Writes, and asks the object that it was given.
    async fn call(
        self: Rc<Self>,
        params: thing::CallParams,
        _results: thing::CallResults,
    ) -> Result<(), capnp::Error> {
        self.caller.set_attribute("asking", true);
        let thing = params.get()?.get_thing()?;
        thing.number_request().send().promise.await.map(drop)
    }

    /// Writes in one turn after the other, and never returns.
    async fn never(
        self: Rc<Self>,
        _params: thing::NeverParams,
        _results: thing::NeverResults,
    ) -> Result<(), capnp::Error> {
        for turn in 1..=200 {
            self.caller.set_attribute("turn", turn);
            self.caller.add_event("turn");
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        std::future::pending().await
    }
}

fn writing(place: Place) -> Pair {
    Pair::serving(place, |event, _| async move {
        let thing: thing::Client = capnp_rpc::new_client(Writer {
            caller: event.enricher().clone(),
            calls: Cell::new(0),
        });
        Ok(Client::new(thing.into_client_hook()))
    })
}

#[test]
fn what_is_written_in_one_turn_is_one_message() {
    at(Place::CONNECTED, async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        let opened = Opened::with(&pair, taker.client()).await;
        for call in 1..=3_i64 {
            let request = opened.thing.number_request();
            request.send().promise.await.unwrap();
            let taken = taker.taken();
            assert_eq!(taken.len(), usize::try_from(call).unwrap());
            let update = &taken.last().unwrap().update;
            assert_eq!(update.name.as_deref(), Some("GET /"));
            let attributes = update.attributes.iter();
            let values: Vec<_> = attributes.map(|known| known.value.clone()).collect();
            assert_eq!(values, [Value::from(call), 2.into()]);
            assert_eq!(update.events.len(), 1);
            assert_eq!(update.status, Some(SpanStatus::Ok));
        }
        drop(opened);
        pair.finish().await;
    });
}

#[test]
fn what_is_written_outside_of_a_call_goes_when_the_turn_ends() {
    everywhere(async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        for turn in 1..=3 {
            for rows in 0..50 {
                event.enricher().set_attribute("rows", rows);
                event.enricher().add_event("read");
            }
            assert_eq!(taker.count(), turn - 1, "not before the end of the turn");
            pair.settle().await;
            assert_eq!(taker.count(), turn);
            assert_eq!(taker.taken()[turn - 1].update.events.len(), 50);
        }
        drop((opened, event));
        pair.finish().await;
    });
}

#[test]
fn what_fills_a_message_does_not_wait_for_the_end_of_the_turn() {
    at(Place::CONNECTED, async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        for index in 0..3_000 {
            event.enricher().set_attribute(format!("key{index}"), index);
        }
        event.enricher().set_attribute("long", "x".repeat(60_000));
        event.enricher().set_attribute("longer", "x".repeat(60_000));
        pair.settle().await;
        let taken = taker.taken();
        let lengths = taken.iter().map(|taken| taken.update.attributes.len());
        assert_eq!(lengths.clone().sum::<usize>(), 3_002);
        assert!(lengths.max() <= Some(1024));
        assert!(taken.iter().all(|taken| taken.dropped.is_empty()));
        drop((opened, event));
        pair.finish().await;
    });
}

/// The caller's object: notes what is on the caller's span when it is called.
struct Asked {
    spans: MemoryObserver,
    saw: Rc<Cell<Option<bool>>>,
}

impl thing::Server for Asked {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        let span = self.spans.named("open").expect("the caller's session span");
        self.saw
            .set(Some(span.attributes().get("asking").is_some()));
        Ok(())
    }
}

#[test]
fn e2_what_is_written_before_a_call_back_to_the_caller_is_there_when_that_arrives() {
    everywhere(async |place| {
        let pair = writing(place);
        let (thing, handle) = pair.open().into_parts();
        let saw = Rc::new(Cell::new(None));
        let asked: thing::Client = capnp_rpc::new_client(Asked {
            spans: pair.spans.clone(),
            saw: saw.clone(),
        });
        let mut request = thing.call_request();
        request.get().set_thing(asked);
        request.send().promise.await.unwrap();
        assert_eq!(saw.get(), Some(true));
        drop((thing, handle));
        pair.finish().await;
    });
}

#[test]
fn at_most_64_are_on_their_way_and_the_rest_waits_in_one() {
    at(Place::CONNECTED, async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        taker.keep_silent(true);
        let opened = Opened::with(&pair, taker.client()).await;
        let never = opened.thing.never_request().send();
        pair.settle().await;
        assert_eq!(taker.count(), 64);
        taker.keep_silent(false);
        pair.settle().await;
        let taken = taker.taken();
        assert_eq!(taken.len(), 65);
        let last = &taken[64].update;
        assert_eq!(last.attributes[0].value, 200.into());
        let events = taken.iter().map(|taken| taken.update.events.len());
        assert_eq!(events.sum::<usize>(), 200, "none is lost");
        drop((never, opened));
        pair.finish().await;
    });
}

#[test]
fn what_waits_for_room_is_bounded_and_the_caller_is_told_how_much_was_left_out() {
    at(Place::CONNECTED, async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        taker.keep_silent(true);
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        for _ in 0..64 {
            event.enricher().set_name("x");
            pair.settle().await;
        }
        for index in 0..5_000 {
            event.enricher().add_event(format!("event {index}"));
            event.enricher().set_attribute(format!("key{index}"), index);
        }
        event.enricher().set_attribute("key7", "the last word");
        taker.keep_silent(false);
        pair.settle().await;
        let taken = taker.taken();
        let last = &taken[64];
        assert_eq!(taken.len(), 65);
        let lengths = (last.update.events.len(), last.update.attributes.len());
        assert_eq!(lengths, (1024, 1024));
        assert_eq!(last.update.attributes[7].value, "the last word".into());
        assert_eq!(last.dropped.unsent, 2 * (5_000 - 1024));
        drop((opened, event));
        pair.finish().await;
    });
}

#[test]
fn what_the_caller_refuses_is_counted_and_told_with_the_next() {
    everywhere(async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        let opened = Opened::with(&pair, taker.client()).await;
        let event = pair.event();
        taker.answer(EnrichStatus::Overloaded);
        event.enricher().set_name("x");
        event.enricher().set_attribute("a", 1);
        pair.settle().await;
        assert!(event.enricher().is_observed());
        taker.answer(EnrichStatus::Applied);
        event.enricher().set_attribute("b", 1);
        pair.settle().await;
        let unsent: Vec<_> = taker.taken().iter().map(|t| t.dropped.unsent).collect();
        assert_eq!(unsent, [0, 2]);
        drop((opened, event));
        pair.finish().await;
    });
}

#[test]
fn a_caller_that_answers_nothing_is_given_up_and_calls_go_on() {
    at([Place::Connection], async |place| {
        let pair = writing(place);
        let taker = Taker::default();
        taker.keep_silent(true);
        let opened = Opened::with(&pair, taker.client()).await;
        for call in 0..1_100 {
            let observed = pair.event().enricher().is_observed();
            assert_eq!(observed, call <= 1024, "{call}");
            let request = opened.thing.number_request();
            request.send().promise.await.unwrap();
        }
        assert_eq!(taker.count(), 1024);
        drop(opened);
        pair.settle().await;
        taker.keep_silent(false);
        pair.finish().await;
    });
}
