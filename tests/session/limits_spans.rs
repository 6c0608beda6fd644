//! An idle limit has a look at every call, which changes nothing of the spans in which they run.

use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook};
use capspan::pipeline::{Callee, EventContext, Service};
use capspan::session::{CallSpans, TimeLimits};
use capspan::trace::{SpanKind, SpanParent, SpanRecord};
use capspan_testkit::run::PausedTime;
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;
use capspan_testkit::world::World;

#[test]
fn s3_with_an_idle_limit_a_services_calls_run_in_the_same_spans() {
    everywhere(async |place| {
        for calls in [None, Some(CallSpans::new())] {
            let limits = TimeLimits::new(PausedTime).idle(Duration::from_secs(10));
            let configure = |callee: Callee<Notes>| {
                let callee = callee.time_limits(limits);
                match calls.clone() {
                    Some(calls) => callee.call_spans(calls),
                    None => callee,
                }
            };
            let service = |alive| Notes { _alive: alive };
            let pair = Pair::with_service(place, World::new(), configure, service);
            let (thing, handle) = pair.open().into_parts();
            assert!(thing.number_request().send().promise.await.is_err());
            drop((thing, handle));
            pair.settle().await;
            let note = pair.spans.named("note").unwrap();
            let parent = match calls {
                None => pair.spans.named("session").unwrap(),
                Some(_) => {
                    let all = pair.spans.closed();
                    let is_call = |span: &&SpanRecord| span.name().starts_with("0x");
                    all.iter().find(is_call).unwrap().clone()
                }
            };
            assert_eq!(note.parent_span_id(), Some(parent.span_id()));
            pair.finish().await;
        }
    });
}

/// Its objects open a span in each call, and fail.
struct Notes {
    _alive: Rc<()>,
}

struct Note;

impl thing::Server for Note {
    async fn number(
        self: Rc<Self>,
        _: thing::NumberParams,
        _: thing::NumberResults,
    ) -> capnp::Result<()> {
        drop(SpanParent::current().start("note", SpanKind::Internal));
        Err(capnp::Error::failed("noted".into()))
    }
}

impl Service for Notes {
    async fn open_session(self: Rc<Self>, _: EventContext) -> capnp::Result<Client> {
        let note: thing::Client = capnp_rpc::new_client(Note);
        Ok(Client::new(note.into_client_hook()))
    }
}
