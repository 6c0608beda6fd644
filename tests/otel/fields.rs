//! What is exported is what the observer saw, field by field.

use std::rc::Rc;
use std::time::Duration;

use capnp::capability::{Client, FromClientHook as _};
use capspan::Tasks;
use capspan::export::Otel;
use capspan::pipeline::{Callee, EventContext, Pipeline, Service};
use capspan::session::CallSpans;
use capspan::trace::{
    Channel, EnrichRules, MemoryObserver, SpanContext, SpanEvent, SpanKind, SpanLimits, SpanStatus,
    SpanUpdate, TraceFlags, Tracer,
};
use capspan_testkit::exported::{Exported, Random, said_late, shown};
use capspan_testkit::greeter_capnp::greeter;
use capspan_testkit::run::run;
use opentelemetry::Key;
use opentelemetry::logs::AnyValue;

use crate::taken::{Taken, said_in_log};

const LONG: Duration = Duration::from_secs(60);

/// Who sees all, and what is exported.
fn observed() -> (Otel, Tracer, MemoryObserver, Taken) {
    let taken = Taken::new();
    let otel = Otel::builder()
        .build_with(taken.clone(), taken.clone())
        .unwrap();
    let spans = MemoryObserver::new();
    let tracer = Tracer::new((spans.clone(), otel.observer())).with_service("users");
    (otel, tracer, spans, taken)
}

#[test]
fn every_field_of_random_spans_is_exported() {
    for seed in 0..300 {
        let (otel, tracer, spans, taken) = observed();
        let mut random = Random::new(seed);
        let mut tracer = tracer.with_enrich_rules(EnrichRules::default().keep_late(true));
        if random.one_in(3) {
            let limits = SpanLimits::default()
                .max_attributes(4)
                .max_events(2)
                .max_links(2);
            tracer = tracer.with_limits(limits.max_name_bytes(9).max_value_bytes(6));
        }
        for service in ["users", "billing", ""] {
            let mut tracer = tracer.clone().with_service(service);
            if random.one_in(2) {
                tracer = tracer.with_channel(Channel::Internal);
            }
            random.span(&tracer.root(), 2);
            let remote = SpanContext::from_headers(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
                Some("rojo=00f067aa0ba902b7"),
            );
            random.span(&tracer.child_of(remote.unwrap()), 1);
        }
        let counts = otel.shutdown_blocking(LONG);
        let mut wanted: Vec<_> = spans.closed().iter().map(Exported::from).collect();
        // The SDK's own word for a service without a name.
        for span in wanted.iter_mut().filter(|span| span.service.is_empty()) {
            span.service = unknown_service();
        }
        let late = spans.late();
        assert_eq!(
            counts.exported,
            (wanted.len() + late.len()) as u64,
            "seed {seed}"
        );
        let mut exported = taken.exported();
        for list in [&mut wanted, &mut exported] {
            list.sort_by(|a, b| a.span_id.cmp(&b.span_id));
        }
        for (wanted, exported) in wanted.iter().zip(&exported) {
            assert_eq!(shown(wanted), shown(exported), "seed {seed}");
        }
        assert_eq!(wanted.len(), exported.len(), "seed {seed}");
        let memory = taken.memory.lock().unwrap();
        assert_eq!(late.len(), memory.logs.len(), "seed {seed}");
        for late in &late {
            let of_it = |log: &&(String, _)| is_of(&log.1, late);
            let (_, log) = memory.logs.iter().find(of_it).expect("it is exported");
            let mut wanted = said_late(late);
            if *late.status() == SpanStatus::Ok {
                wanted.insert("capspan.status".to_owned(), "ok".into());
            }
            if late.channel() == Channel::Internal {
                wanted.insert("capspan.channel".to_owned(), "internal".into());
            }
            wanted.retain(|_, value| !format!("{value:?}").ends_with("List([])"));
            assert_eq!(shown(&wanted), shown(&said_in_log(log)), "seed {seed}");
        }
    }
}

fn is_of(log: &opentelemetry_sdk::logs::SdkLogRecord, late: &capspan::trace::LateUpdate) -> bool {
    let context = log.trace_context().unwrap();
    let time = log
        .timestamp()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    context.span_id.to_string() == late.span_id().to_string()
        && time.as_nanos() == u128::from(late.time().unix_nanos())
}

fn unknown_service() -> String {
    let resource = opentelemetry_sdk::Resource::builder().build();
    resource.get(&Key::new("service.name")).unwrap().to_string()
}

struct Greeter;

impl greeter::Server for Greeter {
    async fn greet(
        self: Rc<Self>,
        params: greeter::GreetParams,
        mut results: greeter::GreetResults,
    ) -> Result<(), capnp::Error> {
        if params.get()?.get_name()?.is_empty() {
            return Err(capnp::Error::failed("nobody to greet".to_owned()));
        }
        results.get().set_text("Hello!");
        Ok(())
    }
}

impl Service for Greeter {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
        event.enricher().set_name("greetings");
        let greeter: greeter::Client = capnp_rpc::new_client(Greeter);
        Ok(Client::new(greeter.into_client_hook()))
    }
}

#[test]
fn calls_are_told_of_by_the_conventions_for_rpc() {
    let (otel, tracer, spans, taken) = observed();
    run(async {
        let (tasks, driver) = Tasks::new();
        tokio::task::spawn_local(driver);
        let calls = CallSpans::new().interface::<greeter::Client>("Greeter", ["greet"]);
        let callee = Callee::new(Greeter, &tasks).tracer(tracer.clone());
        let callee = callee.call_spans(calls.clone());
        let pipeline = Pipeline::new(callee.pipeline(), &tasks).call_spans(calls);
        let event = pipeline.event("greet").parent(tracer.root());
        let (greeter, session): (greeter::Client, _) = event.open_session().into_parts();
        for name in ["Ada", ""] {
            let mut request = greeter.greet_request();
            request.get().set_name(name);
            assert_eq!(request.send().promise.await.is_err(), name.is_empty());
        }
        drop(greeter);
        session.done().await.unwrap();
    });
    otel.shutdown_blocking(LONG);
    let wanted: Vec<_> = spans.closed().iter().map(Exported::from).collect();
    let exported = taken.exported();
    assert_eq!(shown(&wanted), shown(&exported));
    // Two calls, and both sides of each.
    let calls = exported.iter().filter(|span| span.name == "Greeter/greet");
    let calls: Vec<_> = calls.map(|span| &span.attributes).collect();
    assert_eq!(calls.len(), 4);
    for said in &calls {
        assert_eq!(said["rpc.system.name"], "capnproto".into());
        assert_eq!(said["rpc.method"], "Greeter/greet".into());
        assert!(!said.contains_key("rpc.system") && !said.contains_key("rpc.service"));
    }
    let failed = calls.iter().filter(|said| said.contains_key("error.type"));
    assert_eq!(failed.count(), 2);
    let session = exported
        .iter()
        .find(|span| span.name == "greetings")
        .unwrap();
    assert_eq!(session.attributes["capspan.original_name"], "greet".into());
    assert!(!session.attributes.contains_key("rpc.method"));
}

#[test]
fn a_late_update_is_a_log_record_of_its_span() {
    let (otel, tracer, spans, taken) = observed();
    let tracer = tracer.with_enrich_rules(EnrichRules::default().keep_late(true));
    let span = tracer.root().start("work", SpanKind::Server);
    let callee = span.downgrade();
    let other = tracer
        .root()
        .start("other", SpanKind::Internal)
        .context()
        .unwrap();
    span.end();
    callee.enrich(
        &SpanUpdate::new()
            .name("after all")
            .attribute("rows", 3)
            .attribute("capspan.x", 1)
            .event(SpanEvent::new("done").attribute("k", "v"))
            .link(other.clone())
            .status(SpanStatus::error("too late")),
    );
    let counts = otel.shutdown_blocking(LONG);
    assert_eq!((counts.emitted, counts.exported), (3, 3));
    let memory = taken.memory.lock().unwrap();
    let [(service, log)] = &memory.logs[..] else {
        panic!("not one log record");
    };
    let late = &spans.late()[0];
    assert_eq!(service, "users");
    assert_eq!(log.event_name(), Some("capspan.late_update"));
    let context = log.trace_context().unwrap();
    assert_eq!(context.trace_id.to_string(), late.trace_id().to_string());
    assert_eq!(context.span_id.to_string(), late.span_id().to_string());
    assert_eq!(
        context.trace_flags.unwrap().to_u8(),
        TraceFlags::SAMPLED.to_u8()
    );
    let attribute = |wanted: &str| {
        let mut attributes = log.attributes_iter();
        let found = attributes.find(|(key, _)| key.as_str() == wanted);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(attribute("rows"), Some(AnyValue::Int(3)));
    assert_eq!(attribute("capspan.name"), Some("after all".into()));
    assert_eq!(attribute("capspan.status"), Some("error".into()));
    assert_eq!(attribute("capspan.status_message"), Some("too late".into()));
    assert_eq!(
        attribute("capspan.dropped.reserved_keys"),
        Some(AnyValue::Int(1))
    );
    let one = |key: &str| match attribute(key) {
        Some(AnyValue::ListAny(list)) => match &list[..] {
            [AnyValue::Map(map)] => map.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let event = one("capspan.events");
    assert_eq!(event[&Key::new("name")], "done".into());
    let time = late.events()[0].time().unix_nanos().to_string();
    assert_eq!(event[&Key::new("time_unix_nano")], time.into());
    let link = one("capspan.links");
    assert_eq!(
        link[&Key::new("span_id")],
        other.span_id().to_string().into()
    );
}

#[test]
fn each_service_is_a_resource() {
    let taken = Taken::new();
    let otel = Otel::builder()
        .resource_attribute("deployment.environment.name", "test")
        .resource_attribute("service.name", "whoever has no name")
        .build_with(taken.clone(), taken.clone())
        .unwrap();
    for service in ["users", "billing", "users", ""] {
        let tracer = Tracer::new(otel.observer()).with_service(service);
        tracer.root().start(service, SpanKind::Internal).end();
    }
    otel.shutdown_blocking(LONG);
    let memory = taken.memory.lock().unwrap();
    // Three requests: those of one service go together.
    assert_eq!(memory.batches, [2, 1, 1]);
    let services: Vec<_> = memory
        .spans
        .iter()
        .map(|(service, span)| (&**service, &*span.name))
        .collect();
    assert_eq!(
        services,
        [
            ("users", "users"),
            ("users", "users"),
            ("billing", "billing"),
            ("whoever has no name", "")
        ]
    );
    for resource in &memory.resources {
        let environment = resource.get(&Key::new("deployment.environment.name"));
        assert_eq!(environment, Some("test".into()));
        assert!(resource.get(&Key::new("telemetry.sdk.name")).is_some());
    }
}

#[test]
fn what_the_owner_has_said_of_its_span_stays() {
    let (otel, tracer, _, taken) = observed();
    let span = tracer.root().start("work", SpanKind::Client);
    span.set_attribute("error.type", "NoSuchUser");
    span.set_status(SpanStatus::error("no such user"));
    span.end();
    otel.shutdown_blocking(LONG);
    assert_eq!(
        taken.exported()[0].attributes["error.type"],
        "NoSuchUser".into()
    );
}

#[test]
fn spans_that_are_not_sampled_can_be_left_out() {
    let taken = Taken::new();
    let builder = Otel::builder().only_sampled(true);
    let otel = builder.build_with(taken.clone(), taken.clone()).unwrap();
    for flags in [None, Some(TraceFlags::NONE), Some(TraceFlags::SAMPLED)] {
        let tracer = Tracer::new(otel.observer()).with_new_trace_flags(flags);
        tracer
            .root()
            .start(format!("{flags:?}"), SpanKind::Internal)
            .end();
    }
    assert_eq!(otel.shutdown_blocking(LONG).emitted, 1);
    assert_eq!(taken.names(), ["Some(TraceFlags(1))"]);
}
