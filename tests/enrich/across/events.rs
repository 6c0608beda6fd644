//! Two events of one caller.

use std::cell::Cell;
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::session::Session;
use capspan::trace::MemoryObserver;
use capspan_testkit::service::{Pair, Place, everywhere};
use capspan_testkit::testkit_capnp::thing;
use tokio::task::spawn_local;

use super::setting::{Scribe, Target, calls_seen, each_sees_its_own, number, written};

fn scribes(place: Place) -> Pair {
    let to = Target::default();
    Pair::serving(place, move |event, _| {
        let scribe = Scribe::of_event(&to, &event);
        async { Ok(Client::new(scribe.into_client_hook())) }
    })
}

fn open(pair: &Pair, name: &str) -> Session<thing::Client> {
    let event = pair.pipeline.event(name);
    event.parent(pair.request.parent()).open_session()
}

#[test]
fn e2_what_a_call_writes_to_another_event_is_there_when_its_caller_sees_the_answer() {
    everywhere(async |place| {
        let pair = scribes(place);
        let (first, first_handle) = open(&pair, "written").into_parts();
        number(&first).await;
        let (second, handle) = open(&pair, "answered").into_parts();
        for call in 1..=200_i64 {
            number(&second).await;
            assert_eq!(calls_seen(&pair.spans), Some(call));
        }
        assert!(second.fail_request().send().promise.await.is_err());
        assert_eq!(calls_seen(&pair.spans), Some(201));
        drop((first, first_handle, second, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_so_it_is_for_more_updates_than_may_be_on_their_way() {
    everywhere(async |place| {
        let pair = scribes(place);
        let (first, first_handle) = open(&pair, "written").into_parts();
        number(&first).await;
        let (second, handle) = open(&pair, "answered").into_parts();
        each_sees_its_own(&second, &pair.spans).await;
        drop((first, first_handle, second, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_so_it_is_where_nobody_observes_the_event_that_answers() {
    everywhere(async |place| {
        let pair = scribes(place);
        let (first, first_handle) = open(&pair, "written").into_parts();
        number(&first).await;
        let unobserved = pair.pipeline.event("answered");
        let (second, handle) = unobserved.open_session::<thing::Client>().into_parts();
        for call in 1..=200_i64 {
            number(&second).await;
            assert_eq!(calls_seen(&pair.spans), Some(call));
        }
        drop((first, first_handle, second, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_what_a_handler_writes_to_another_event_is_there_when_it_has_answered() {
    everywhere(async |place| {
        let pair = scribes(place);
        let (first, first_handle) = open(&pair, "written").into_parts();
        number(&first).await;
        let (second, handle) = open(&pair, "answered").into_parts();
        number(&second).await;
        let others = written(&pair.spans).attributes().get("others").cloned();
        assert_eq!(others, Some(true.into()));
        drop((first, first_handle, second, handle));
        pair.finish().await;
    });
}

#[test]
fn e2_what_is_written_to_the_event_that_a_return_lets_go_of_is_on_the_span_before_it_closes() {
    everywhere(async |place| {
        for is_observed in [true, false] {
            let pair = scribes(place);
            let (last, first_handle) = open(&pair, "written").into_parts();
            number(&last).await;
            let second = match is_observed {
                true => open(&pair, "answered"),
                false => pair.pipeline.event("answered").open_session(),
            };
            let (second, handle) = second.into_parts();
            number(&second).await;
            let mut request = second.store_request();
            request.get().set_thing(last);
            request.send().promise.await.unwrap();
            pair.settle().await;
            let span = written(&pair.spans);
            assert!(!span.is_open());
            assert_eq!(calls_seen(&pair.spans), Some(2));
            assert_eq!(pair.caller.late_updates(), 0);
            drop((first_handle, second, handle));
            pair.finish().await;
        }
    });
}

#[test]
fn e2_so_it_is_where_the_last_is_let_go_of_before_the_return() {
    everywhere(async |place| {
        let pair = scribes(place);
        let (last, first_handle) = open(&pair, "written").into_parts();
        number(&last).await;
        let (second, handle) = open(&pair, "answered").into_parts();
        let mut request = second.swap_request();
        request.get().set_thing(last);
        request.send().promise.await.unwrap();
        number(&second).await;
        pair.settle().await;
        assert!(written(&pair.spans).is_open());
        let never = spawn_local(second.never_request().send().promise);
        pair.settle().await;
        let span = written(&pair.spans);
        assert!(!span.is_open());
        assert_eq!(calls_seen(&pair.spans), Some(2));
        assert_eq!(pair.caller.late_updates(), 0);
        never.abort();
        drop((first_handle, second, handle));
        pair.finish().await;
    });
}

/// The caller's object: notes what is on the span when it is called.
struct Asked {
    spans: MemoryObserver,
    saw: Rc<Cell<Option<i64>>>,
}

impl thing::Server for Asked {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        self.saw.set(calls_seen(&self.spans));
        Ok(())
    }
}

#[test]
fn e2_what_is_written_to_another_event_before_a_call_back_is_there_when_that_arrives() {
    everywhere(async |place| {
        let pair = scribes(place);
        let (first, first_handle) = open(&pair, "written").into_parts();
        number(&first).await;
        let (second, handle) = open(&pair, "answered").into_parts();
        let saw = Rc::new(Cell::new(None));
        let asked: thing::Client = capnp_rpc::new_client(Asked {
            spans: pair.spans.clone(),
            saw: saw.clone(),
        });
        let mut request = second.call_request();
        request.get().set_thing(asked);
        request.send().promise.await.unwrap();
        assert_eq!(saw.get(), Some(1));
        drop((first, first_handle, second, handle));
        pair.finish().await;
    });
}
