//! All that an observer saw is what the collector prints, field by field.

use std::rc::Rc;

use capnp::capability::{Client, FromClientHook as _};
use capspan::Tasks;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::session::CallSpans;
use capspan::trace::{
    EnrichRules, MemoryObserver, SpanContext, SpanKind, SpanLimits, SpanRole, Tracer,
};
use capspan_interop::{Collector, Printed};
use capspan_testkit::exported::{Exported, Random};
use capspan_testkit::greeter_capnp::greeter;
use tokio::task::spawn_local;

use crate::{assert_same, printed, run, to};

struct Greeter(EventContext);

impl greeter::Server for Greeter {
    async fn greet(
        self: Rc<Self>,
        params: greeter::GreetParams,
        mut results: greeter::GreetResults,
    ) -> Result<(), capnp::Error> {
        let name = params.get()?.get_name()?.to_str()?;
        self.0.enricher().set_attribute("greeted", name);
        self.0.enricher().add_event("greets");
        if name.is_empty() {
            return Err(capnp::Error::failed("nobody to greet".to_owned()));
        }
        results.get().set_text(format!("Hello, {name}!"));
        Ok(())
    }
}

struct Greetings;

impl Service for Greetings {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
        event.enricher().set_name("greetings");
        let greeter: greeter::Client = capnp_rpc::new_client(Greeter(event));
        Ok(Client::new(greeter.into_client_hook()))
    }
}

/// A session with calls, one of which fails; each side has a service of its own.
async fn session(caller: Tracer, callee: Tracer) {
    let (tasks, driver) = Tasks::new();
    spawn_local(driver);
    let calls = CallSpans::new().interface::<greeter::Client>("Greeter", ["greet"]);
    let callee = Callee::new(Greetings, &tasks)
        .tracer(callee)
        .call_spans(calls.clone());
    let pipeline = Pipeline::new(callee.pipeline(), &tasks).call_spans(calls);
    let work = caller.root().start("work", SpanKind::Internal);
    let event = pipeline.event("greet").parent(work.parent());
    let (greeter, session): (greeter::Client, _) = event.open_session().into_parts();
    for name in ["Ada", "", "Bob"] {
        let mut request = greeter.greet_request();
        request.get().set_name(name);
        assert_eq!(request.send().promise.await.is_err(), name.is_empty());
    }
    drop(greeter);
    session.done().await.expect("it is done");
}

#[test]
fn a_session_and_random_spans() {
    run(async {
        let mut collector = Collector::start(None);
        let otel = to(&collector);
        let spans = MemoryObserver::new();
        let tracer = |service| Tracer::new((spans.clone(), otel.observer())).with_service(service);

        session(tracer("caller"), tracer("callee")).await;
        let mut random = Random::new(4711);
        for round in 0..50 {
            let rules = EnrichRules::default().keep_late(true);
            let mut tracer = tracer(["users", "billing"][round % 2]).with_enrich_rules(rules);
            if round % 3 == 0 {
                let limits = SpanLimits::default().max_attributes(4).max_value_bytes(6);
                tracer = tracer.with_limits(limits);
            }
            let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let remote = SpanContext::from_headers(header, Some("rojo=1"));
            let remote = tracer.child_of(remote.expect("a header as it is to be"));
            random.span(&[remote, tracer.root()][round % 2], 2);
        }
        let printed = printed(&mut collector, &otel).await;

        let closed = spans.closed();
        let calls = closed.iter().filter(|span| span.role() == SpanRole::Call);
        assert_eq!(calls.count(), 6);
        let wanted: Vec<_> = closed.iter().map(Exported::from).collect();
        let counts = otel.counts();
        // And the last one.
        assert_eq!(
            counts.exported,
            (wanted.len() + spans.late().len()) as u64 + 1
        );
        assert_same(wanted.iter().map(Printed::from).collect(), printed);
    });
}
