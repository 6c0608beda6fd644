//! Whose child a session is that is opened in a span of `tracing`'s; whose children those are that a service
//! makes.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook};
use capspan::pipeline::{Callee, EventContext, Service};
use capspan::session::CallSpans;
use capspan::trace::{InSpan, SpanParent};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;
use tokio::task::{spawn_local, yield_now};
use tracing::instrument::Instrument;
use tracing::{info, info_span, instrument};

use super::setting::{mark, observe, session};

#[instrument(skip_all)]
async fn outer(pair: &Pair) {
    yield_now().await;
    session(pair, "first").await;
    inner(pair).await;
    session(pair, "third").await;
}

#[instrument(skip_all)]
async fn inner(pair: &Pair) {
    yield_now().await;
    session(pair, "second").await;
}

#[test]
fn sessions_are_children_of_the_span_they_are_opened_in_nested_and_across_awaits() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let _observing = observe(&pair.caller);
        outer(&pair).await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
outer INTERNAL caller closed
  first CLIENT caller ok
    session SERVER callee ok
  inner INTERNAL caller closed
    second CLIENT caller ok
      session SERVER callee ok
  third CLIENT caller ok
    session SERVER callee ok
";
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

#[test]
fn futures_that_take_turns_are_each_in_their_own() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let _observing = observe(&pair.caller);
        let work = async |name| {
            for _ in 0..3 {
                yield_now().await;
            }
            session(&pair, name).await;
            mark(name);
        };
        let left = work("a").instrument(info_span!("left"));
        let right = work("b").instrument(info_span!("right"));
        let ours = work("c").in_span(pair.request.parent());
        futures::join!(left, right, ours, async {
            yield_now().await;
            assert!(!SpanParent::current().is_observed());
        });
        pair.settle().await;
        let of = |name: &str, service: &str| {
            format!(
                "  {name} CLIENT caller ok\n    session SERVER callee ok\n  {name} INTERNAL {service} closed\n"
            )
        };
        let wanted = format!(
            "request INTERNAL caller open\n{}left INTERNAL caller closed\n{}right INTERNAL caller closed\n{}",
            of("c", "caller"),
            of("a", "caller"),
            of("b", "caller")
        );
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}

#[test]
fn a_detached_task_is_in_the_span_that_it_is_given_and_in_none_otherwise() {
    everywhere(async |place| {
        let pair = Rc::new(Pair::new(place));
        let _observing = observe(&pair.caller);
        let task = |name: &'static str, turns| {
            let pair = pair.clone();
            async move {
                for _ in 0..turns {
                    yield_now().await;
                }
                session(&pair, name).await;
            }
        };
        async {
            spawn_local(task("own", 1).instrument(info_span!("detached")));
            spawn_local(task("current", 2).in_current_span());
            spawn_local(task("ours", 3).in_span(SpanParent::current()));
            spawn_local(task("none", 4));
        }
        .instrument(info_span!("spawner"))
        .await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
spawner INTERNAL caller closed
  detached INTERNAL caller closed
    own CLIENT caller ok
      session SERVER callee ok
  current CLIENT caller ok
    session SERVER callee ok
  ours CLIENT caller ok
    session SERVER callee ok
session SERVER callee ok
";
        assert_eq!(pair.tree(), wanted);
        let Ok(pair) = Rc::try_unwrap(pair) else {
            panic!("a task is alive")
        };
        pair.finish().await;
    });
}

#[test]
fn a_services_handler_is_in_the_callees_trace() {
    everywhere(async |place| {
        #[instrument(skip_all)]
        async fn look_up() {
            yield_now().await;
            info!("found");
        }
        let pair = Pair::serving(place, |_, world| async move {
            look_up().await;
            Ok(Client::new(world.thing().into_client_hook()))
        });
        let _observing = observe(&pair.caller);
        session(&pair, "open").instrument(info_span!("work")).await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
work INTERNAL caller closed
  open CLIENT caller ok
    session SERVER callee ok
      look_up INTERNAL callee closed
";
        assert_eq!(pair.tree(), wanted);
        assert_eq!(pair.spans.named("look_up").unwrap().events().len(), 1);
        pair.finish().await;
    });
}

/// Gives each session an object that looks something up in each call.
struct Looks(Rc<()>);

impl Service for Looks {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        let thing: thing::Client = capnp_rpc::new_client(Self(self.0.clone()));
        Ok(Client::new(thing.into_client_hook()))
    }
}

impl thing::Server for Looks {
    async fn number(
        self: Rc<Self>,
        _params: thing::NumberParams,
        _results: thing::NumberResults,
    ) -> capnp::Result<()> {
        #[instrument]
        async fn look_up() {
            yield_now().await;
            mark("read");
        }
        look_up().await;
        Ok(())
    }
}

#[test]
fn a_services_call_is_in_the_calls_span() {
    everywhere(async |place| {
        let calls = || CallSpans::new().interface::<thing::Client>("Thing", ["number"]);
        let configure = |callee: Callee<Looks>| callee.call_spans(calls());
        let mut pair = Pair::with_service(place, Default::default(), configure, Looks);
        pair.pipeline = pair.pipeline.call_spans(calls());
        let _observing = observe(&pair.caller);
        session(&pair, "open").instrument(info_span!("work")).await;
        pair.settle().await;
        let wanted = "\
request INTERNAL caller open
work INTERNAL caller closed
  open CLIENT caller ok
    Thing/number CLIENT caller ok
    session SERVER callee ok
      Thing/number SERVER callee ok
        look_up INTERNAL callee closed
          read INTERNAL callee closed
";
        assert_eq!(pair.tree(), wanted);
        pair.finish().await;
    });
}
