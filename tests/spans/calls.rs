//! The calls in a session as spans, on both sides.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capnp::traits::HasTypeId;
use capspan::pipeline_capnp::event_dispatcher;
use capspan::session::CallSpans;
use capspan::trace::{SpanKind, SpanParent, SpanStatus};
use capspan_testkit::calls::{ends, number, pair};
use capspan_testkit::service::{Pair, Place, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

/// What a call returns, without the response, which refers to it as well.
async fn made(thing: &thing::Client) -> thing::Client {
    let response = thing.make_request().send().promise.await.unwrap();
    response.get().unwrap().get_thing().unwrap()
}

async fn taken(thing: &thing::Client) -> thing::Client {
    let response = thing.take_request().send().promise.await.unwrap();
    response.get().unwrap().get_thing().unwrap()
}

#[test]
fn calls_are_children_of_the_session_in_the_order_in_which_they_are_made() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await;
        thing.take_request().send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/number SERVER callee ok
      Thing/take SERVER callee ok
    Thing/take CLIENT caller ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn calls_on_what_a_call_has_returned_are_its_children() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let made = made(&thing).await;
        number(&thing).await;
        number(&made).await;
        drop((thing, made));
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/make CLIENT caller ok
      Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/make SERVER callee ok
        Thing/number SERVER callee ok
      Thing/number SERVER callee ok
    Thing/number CLIENT caller ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn a_call_back_on_an_argument_is_a_child_of_the_call_that_passed_it() {
    everywhere(async |place| {
        let pair = pair(place);
        let outside = World::new();
        let (thing, handle) = pair.open().into_parts();
        let mut call = thing.call_request();
        call.get().set_thing(outside.thing());
        call.send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        assert_eq!(outside.calls(), 1);
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/call CLIENT caller ok
      Thing/number SERVER caller ok
    session SERVER callee ok
      Thing/call SERVER callee ok
        Thing/number CLIENT callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn an_argument_that_is_stored_and_called_later_is_still_of_the_call_that_passed_it() {
    everywhere(async |place| {
        let pair = pair(place);
        let outside = World::new();
        let (thing, handle) = pair.open().into_parts();
        let mut store = thing.store_request();
        store.get().set_thing(outside.thing());
        store.send().promise.await.unwrap();
        // Back on its own side it is the original: its calls do not cross.
        let taken = taken(&thing).await;
        number(&taken).await;
        drop((taken, thing));
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/store CLIENT caller ok
    session SERVER callee ok
      Thing/store SERVER callee ok
      Thing/take SERVER callee ok
    Thing/take CLIENT caller ok
";
        ends(pair, tree).await;
    });
}

/// Calls the service again from within its answer.
struct Reentrant {
    service: thing::Client,
    caller: SpanParent,
}

impl thing::Server for Reentrant {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        mut results: thing::NumberResults,
    ) -> Result<(), capnp::Error> {
        assert!(SpanParent::current().is_observed());
        let work = SpanParent::current().start("work", SpanKind::Internal);
        let response = self.service.number_request().send().promise.await?;
        work.end();
        drop(self.caller.start("elsewhere", SpanKind::Internal));
        results.get().set_number(response.get()?.get_number());
        Ok(())
    }
}

#[test]
fn a_re_entrant_call_has_its_own_place_and_what_answers_it_runs_in_its_span() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let mut call = thing.call_request();
        call.get().set_thing(capnp_rpc::new_client(Reentrant {
            service: thing.clone(),
            caller: pair.request.parent(),
        }));
        call.send().promise.await.unwrap();
        drop(thing);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/call CLIENT caller ok
      Thing/number SERVER caller ok
        work INTERNAL caller closed
    session SERVER callee ok
      Thing/call SERVER callee ok
        Thing/number CLIENT callee ok
      Thing/number SERVER callee ok
    Thing/number CLIENT caller ok
  elsewhere INTERNAL caller closed
";
        ends(pair, tree).await;
    });
}

/// As a peer may do who would rather not be seen.
#[test]
fn a_call_by_the_id_of_what_delivers_events_is_told_of_as_well() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let id = event_dispatcher::Client::TYPE_ID;
        let hook = thing.into_client_hook();
        let call = hook.new_call(id, 0, None).send();
        assert!(call.promise.await.is_err());
        drop((call.pipeline, hook));
        pair.settle().await;
        drop(handle);
        let tree = format!(
            "\
request INTERNAL caller closed
  open CLIENT caller ok
    {id:#x}/0 CLIENT caller exception
    session SERVER callee ok
      {id:#x}/0 SERVER callee exception
"
        );
        ends(pair, &tree).await;
    });
}

#[test]
fn a_call_that_fails_marks_its_own_spans() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        for kind in 0..4 {
            let mut fail = thing.fail_request();
            fail.get().set_kind(kind);
            fail.get().set_text("as asked");
            assert!(fail.send().promise.await.is_err());
        }
        drop(thing);
        pair.settle().await;
        drop(handle);
        let failed: Vec<_> = pair
            .spans
            .closed()
            .into_iter()
            .filter(|span| span.name() == "Thing/fail")
            .collect();
        assert_eq!(failed.len(), 8);
        for span in failed {
            let SpanStatus::Error(message) = span.status() else {
                panic!("{span:?}");
            };
            assert!(message.contains("as asked"), "{message}");
            let [event] = span.events() else {
                panic!("{span:?}");
            };
            assert_eq!(event.name(), "exception");
            let message = event.attributes().get("exception.message");
            assert!(
                message.is_some_and(|text| text
                    .as_text()
                    .is_some_and(|text| text.contains("as asked")))
            );
            assert_eq!(
                event.attributes().get("exception.type"),
                span.attributes().get("error.type")
            );
        }
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/fail CLIENT caller exception
    session SERVER callee ok
      Thing/fail SERVER callee exception
      Thing/fail SERVER callee overloaded
      Thing/fail SERVER callee exception
      Thing/fail SERVER callee exception
    Thing/fail CLIENT caller overloaded
    Thing/fail CLIENT caller exception
    Thing/fail CLIENT caller exception
";
        ends(pair, tree).await;
    });
}

#[test]
fn a_call_under_way_ends_as_its_session_does() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let never = thing.never_request().send();
        pair.settle().await;
        drop(handle);
        assert!(never.promise.await.is_err());
        drop((never.pipeline, thing));
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller canceled
    Thing/never CLIENT caller canceled
    session SERVER callee canceled
      Thing/never SERVER callee canceled
";
        ends(pair, tree).await;
    });
}

#[test]
fn a_call_under_way_is_disconnected_when_the_connection_is() {
    capspan_testkit::service::at(Place::CONNECTED, async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let never = thing.never_request().send();
        pair.settle().await;
        pair.cut();
        assert!(never.promise.await.is_err());
        drop((never.pipeline, thing, handle));
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller disconnected
    Thing/never CLIENT caller disconnected
    session SERVER callee disconnected
      Thing/never SERVER callee disconnected
";
        ends(pair, tree).await;
    });
}

#[test]
fn a_call_that_nobody_waits_for_is_canceled_and_the_session_goes_on() {
    everywhere(async |place| {
        let pair = pair(place);
        let (thing, handle) = pair.open().into_parts();
        let never = thing.never_request().send();
        pair.settle().await;
        drop(never);
        number(&thing).await;
        drop(thing);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    Thing/never CLIENT caller canceled
    session SERVER callee ok
      Thing/never SERVER callee canceled
      Thing/number SERVER callee ok
    Thing/number CLIENT caller ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn only_one_side_may_tell_of_calls() {
    everywhere(async |place| {
        let mut pair = Pair::new(place);
        pair.pipeline = pair.pipeline.clone().call_spans(CallSpans::new());
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await;
        drop(thing);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    0xbbaa3df2693cc593/0 CLIENT caller ok
    session SERVER callee ok
";
        ends(pair, tree).await;
    });
}

#[test]
fn the_methods_of_a_service_run_in_the_sessions_span_without_call_spans() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |event, _| async move {
            let service = capspan_testkit::world::World::new().thing();
            let inner: thing::Client = capnp_rpc::new_client(Reentrant {
                service,
                caller: event.parent().clone(),
            });
            Ok(Client::new(inner.into_client_hook()))
        });
        let (thing, handle) = pair.open().into_parts();
        number(&thing).await;
        drop(thing);
        pair.settle().await;
        drop(handle);
        let tree = "\
request INTERNAL caller closed
  open CLIENT caller ok
    session SERVER callee ok
      work INTERNAL callee closed
      elsewhere INTERNAL callee closed
";
        ends(pair, tree).await;
    });
}
