//! A service and a capability at hand, behind one interface: who opens a session, and what a failure leaves.

mod outer_span;

use std::cell::Cell;
use std::rc::Rc;

use capspan::pipeline::{Binding, CallOptions, ClientProvider, Path, Provided, Stub};
use capspan::trace::{Channel, Outcome, SpanKind, SpanUpdate, Value, with_current};
use capspan::{Error, Result};
use capspan_testkit::service::{Pair, Place, at, everywhere};
use capspan_testkit::testkit_capnp::thing;

const ONE_SESSION: &str = "\
request INTERNAL caller open
  users CLIENT caller ok
    session SERVER callee ok
";

fn binding(pair: &Pair) -> Binding {
    Binding::new(pair.pipeline.clone(), "users")
}

fn options(pair: &Pair) -> CallOptions {
    CallOptions::new().parent(pair.request.parent())
}

async fn number(thing: &thing::Client) -> capnp::Result<u32> {
    let response = thing.number_request().send().promise.await?;
    Ok(response.get()?.get_number())
}

#[test]
fn a_binding_opens_one_session_for_a_call_and_gives_the_span_to_be_written_to() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let binding = binding(&pair);
        let mut path = Path::new();
        let provided = binding
            .client_for_one_call(&mut path, &options(&pair))
            .unwrap();
        assert!(path.names().is_empty());
        let session = provided.session().unwrap();
        session.update(&SpanUpdate::new().attribute("rpc.method", "number"));
        session.parent().start("prepare", SpanKind::Internal).end();
        let thing: thing::Client = provided.into_client();
        number(&thing).await.unwrap();
        drop(thing);
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  users CLIENT caller ok
    prepare INTERNAL caller closed
    session SERVER callee ok
";
        assert_eq!(pair.tree(), wanted);
        let span = pair.spans.named("users").unwrap();
        let method = span.attributes().get("rpc.method");
        assert_eq!(method, Some(&Value::from("number")));
        drop(binding);
        pair.finish().await;
    });
}

#[test]
fn each_call_on_a_binding_has_a_session_of_its_own_in_the_span_that_is_current() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let binding = binding(&pair);
        for _ in 0..2 {
            let provided = with_current(pair.request.parent(), || {
                binding.client_for_one_call(&mut Path::new(), &CallOptions::new())
            });
            let thing: thing::Client = provided.unwrap().into_client();
            number(&thing).await.unwrap();
        }
        pair.settle().await;
        let one = ONE_SESSION.lines().skip(1).collect::<Vec<_>>().join("\n");
        let wanted = format!("request INTERNAL caller open\n{one}\n{one}\n");
        assert_eq!(pair.tree(), wanted);
        drop(binding);
        pair.finish().await;
    });
}

#[test]
fn a_binding_opens_spans_on_either_channel() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let operator = pair.caller.clone().with_channel(Channel::Internal);
        let operator = operator.root().start("proxy", SpanKind::Internal);
        let binding = binding(&pair);
        let options = options(&pair).internal_parent(operator.parent());
        let provided = binding.client_for_one_call(&mut Path::new(), &options);
        let provided = provided.unwrap();
        let session = provided.session().unwrap();
        session.update_internal(&SpanUpdate::new().name("seen by the operator"));
        assert!(session.parents().internal.is_observed());
        let thing: thing::Client = provided.into_client();
        number(&thing).await.unwrap();
        drop(thing);
        pair.settle().await;
        operator.end();
        let internal = "\
proxy INTERNAL caller closed internal
  seen by the operator CLIENT caller ok internal
";
        assert_eq!(pair.tree(), format!("{ONE_SESSION}{internal}"));
        drop(binding);
        pair.finish().await;
    });
}

#[test]
fn a_stub_gives_its_capability_and_no_session() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let (held, handle) = pair.open().into_parts();
        let stub = Stub::new(held);
        let (spans, mut path) = (pair.spans.open().len(), Path::new());
        let provided = stub
            .client_for_one_call(&mut path, &options(&pair))
            .unwrap();
        assert!(provided.session().is_none() && path.names().is_empty());
        let thing: thing::Client = provided.into_client();
        number(&thing).await.unwrap();
        assert_eq!(pair.events.borrow().len(), 1);
        assert_eq!(
            pair.spans.open().len(),
            spans + 1,
            "the callee's of the session"
        );
        drop((thing, stub));
        assert_eq!(handle.done().await.unwrap().outcome(), Outcome::Ok);
        drop(handle);
        pair.finish().await;
    });
}

#[test]
fn names_are_gathered_in_order_behind_a_binding_and_behind_a_stub() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let begins: [(Rc<dyn ClientProvider>, bool); 2] = [
            (Rc::new(binding(&pair)), true),
            (Rc::new(Stub::new(pair.world.thing())), false),
        ];
        for (begin, has_session) in begins {
            let first = begin.property("profile").unwrap();
            let second = (&first).property("picture").unwrap();
            let third = (&second as &dyn ClientProvider).property("size").unwrap();
            let mut path = Path::new();
            let provided = third.client_for_one_call(&mut path, &options(&pair));
            let provided = provided.unwrap();
            assert_eq!(path.names(), ["profile", "picture", "size"]);
            assert_eq!(provided.session().is_some(), has_session);
            number(&provided.into_client()).await.unwrap();
        }
        pair.settle().await;
        assert_eq!(pair.tree(), ONE_SESSION);
        pair.finish().await;
    });
}

/// Adds names of its own, and fails.
struct Fails;

impl ClientProvider for Fails {
    fn client_for_one_call<'a>(
        &'a self,
        path: &mut Path<'a>,
        _call: &CallOptions,
    ) -> Result<Provided> {
        path.attempt(|path| {
            path.push("lost")?;
            Err(Error::overloaded("as it was asked to"))
        })
    }
}

#[test]
fn a_failed_attempt_leaves_no_span_no_session_and_no_name() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let refuses = Rc::new(Cell::new(true));
        let is_refusing = refuses.clone();
        let binding = binding(&pair).prepare(move |event, _| match is_refusing.get() {
            true => Err(Error::overloaded("shutting down")),
            false => Ok(event),
        });
        let property = binding.property("profile").unwrap();
        let fails = Fails.property("profile").unwrap();
        let drawn = pair.caller_ids.drawn();

        let mut path = Path::new();
        let options = options(&pair);
        let error = property
            .client_for_one_call(&mut path, &options)
            .unwrap_err();
        assert_eq!(error.reason(), "shutting down");
        let error = fails.client_for_one_call(&mut path, &options).unwrap_err();
        assert_eq!(error.reason(), "as it was asked to");
        assert!(path.names().is_empty());
        refuses.set(false);
        for _ in 0..Path::MAX_NAMES {
            path.push("x").unwrap();
        }
        let error = property
            .client_for_one_call(&mut path, &options)
            .unwrap_err();
        assert_eq!(
            error.reason(),
            "the path to a method would have 65 names; the limit is 64"
        );
        assert_eq!(path.names().len(), Path::MAX_NAMES);
        pair.settle().await;
        assert_eq!(pair.caller_ids.drawn(), drawn, "a span was opened");
        assert_eq!(pair.tree(), "request INTERNAL caller open\n");
        assert!(pair.events.borrow().is_empty(), "a session was opened");

        path.clear();
        let provided = property.client_for_one_call(&mut path, &options).unwrap();
        assert_eq!(path.names(), ["profile"]);
        number(&provided.into_client()).await.unwrap();
        pair.settle().await;
        assert_eq!(pair.tree(), ONE_SESSION);
        drop((property, fails));
        pair.finish().await;
    });
}

#[test]
fn a_binding_over_a_lost_connection_refuses_at_once() {
    at(Place::CONNECTED, async |place| {
        let pair = Pair::new(place);
        pair.cut();
        pair.settle().await;
        let binding = binding(&pair);
        let error = binding
            .client_for_one_call(&mut Path::new(), &options(&pair))
            .unwrap_err();
        assert!(error.is_disconnected(), "{error}");
        assert_eq!(pair.tree(), "request INTERNAL caller open\n");
        drop(binding);
        pair.finish().await;
    });
}

#[test]
fn what_the_service_refuses_is_seen_by_the_call_and_on_the_span() {
    everywhere(async |place| {
        let pair = Pair::serving(place, |_, _| async {
            Err(capnp::Error::overloaded("shutting down".into()))
        });
        let binding = binding(&pair);
        let provided = binding.client_for_one_call(&mut Path::new(), &options(&pair));
        let thing: thing::Client = provided.unwrap().into_client();
        let error = number(&thing).await.unwrap_err();
        assert!(error.to_string().contains("shutting down"), "{error}");
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
  users CLIENT caller overloaded
    session SERVER callee overloaded
";
        assert_eq!(pair.tree(), wanted);
        drop((thing, binding));
        pair.finish().await;
    });
}

#[test]
fn chains_of_names_are_bounded_where_they_are_made() {
    let mut chain: Rc<dyn ClientProvider> = Rc::new(Fails);
    for _ in 0..Path::MAX_NAMES {
        chain = Rc::new(chain.property("x").unwrap());
    }
    let error = chain.property("x").unwrap_err();
    assert!(error.is_limit(), "{error}");
    assert!(Fails.property("").unwrap_err().is_invalid());
    assert!(Fails.property(&"x".repeat(257)).unwrap_err().is_limit());
}

#[test]
fn the_session_lasts_until_all_that_came_of_the_call_is_dropped() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let binding = binding(&pair);
        let provided = binding.client_for_one_call(&mut Path::new(), &options(&pair));
        let thing: thing::Client = provided.unwrap().into_client();
        let response = thing.make_request().send().promise.await.unwrap();
        let made = response.get().unwrap().get_thing().unwrap();
        drop((thing, response));
        pair.settle().await;
        assert_eq!(pair.spans.open().len(), 3);
        number(&made).await.unwrap();
        drop(made);
        pair.settle().await;
        assert_eq!(pair.tree(), ONE_SESSION);
        drop(binding);
        pair.finish().await;
    });
}

#[test]
fn the_session_can_be_kept_beside_the_capability_and_canceled() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let binding = binding(&pair);
        let provided = binding.client_for_one_call(&mut Path::new(), &options(&pair));
        let (thing, session) = provided.unwrap().into_parts::<thing::Client>();
        number(&thing).await.unwrap();
        drop(session);
        pair.settle().await;
        assert_eq!(pair.tree(), ONE_SESSION.replace(" ok", " canceled"));
        assert!(number(&thing).await.is_err());
        drop((thing, binding));
        pair.finish().await;
    });
}

#[test]
fn what_is_not_used_ends_when_it_is_dropped() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let binding = binding(&pair);
        let provided = binding.client_for_one_call(&mut Path::new(), &options(&pair));
        drop(provided);
        pair.settle().await;
        assert_eq!(
            pair.spans.named("users").unwrap().outcome(),
            Some(Outcome::Ok)
        );
        assert_eq!(pair.spans.open().len(), 1);
        drop(binding);
        pair.finish().await;
    });
}
