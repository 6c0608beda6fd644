//! What is told of a span.

use std::cell::RefCell;
use std::rc::Rc;

use capspan::export::{TracingHook, TracingSpans};
use capspan::trace::{
    Channel, EnrichRules, ManualClock, Outcome, SequentialIds, SpanEvent, SpanKind, SpanRecord,
    SpanStatus, SpanUpdate, Timestamp, Tracer,
};
use tracing::Level;

use super::setting::Seen;

fn tracer() -> Tracer {
    Tracer::new(TracingSpans::new())
        .with_clock(ManualClock::new(Timestamp::from_unix_nanos(7)))
        .with_ids(SequentialIds::new())
        .with_service("users")
}

#[test]
fn a_span_has_its_fields_from_the_start() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let tracer = tracer().with_channel(Channel::Internal);
    let span = tracer.root().start("look up", SpanKind::Server);
    let told = &seen.spans()[0];
    let context = span.context().unwrap();
    assert_eq!((&*told.name, &*told.target), ("work", "capspan"));
    assert_eq!((told.level, told.closed), (Level::INFO, 0));
    let fields: Vec<_> = told
        .fields
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let trace_id = context.trace_id().to_string();
    let span_id = context.span_id().to_string();
    let wanted = [
        ("otel.name", "look up"),
        ("otel.kind", "server"),
        ("capspan.trace_id", &trace_id),
        ("capspan.span_id", &span_id),
        ("capspan.service", "users"),
        ("capspan.channel", "internal"),
    ];
    assert_eq!(fields, wanted);
}

#[test]
fn what_is_written_on_a_span_is_told_once() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let span = tracer().root().start("first", SpanKind::Client);
    span.set_attribute("rows", 3)
        .set_attribute("text", "a\n\"b\"");
    span.set_attribute("rows", 3);
    span.set_attribute("rows", 4);
    span.set_name("second").set_name("third");
    let event = SpanEvent::new("cache\u{1b}[31m miss").attribute("key", "u1");
    span.downgrade()
        .enrich(&SpanUpdate::new().event(event).attribute("theirs", true));
    span.add_event("mine");
    span.add_link(
        tracer()
            .root()
            .start("other", SpanKind::Internal)
            .context()
            .unwrap(),
    );
    span.set_status(SpanStatus::error("no such\nuser"));
    span.set_outcome(Outcome::Exception).end();
    let told = seen.named("third");
    let wanted = [
        "DEBUG attributes attributes=rows=3",
        "DEBUG attributes attributes=text=\"a\\n\\\"b\\\"\"",
        "DEBUG attributes attributes=rows=4",
        "DEBUG renamed name=second previous=first",
        "DEBUG renamed name=third previous=second",
        "DEBUG attributes attributes=theirs=true",
        "INFO cache\\u{1b}[31m miss attributes=key=\"u1\" by_callee=true time_unix_nano=7",
        "INFO mine time_unix_nano=7",
        "DEBUG link span_id=0000000000000001 trace_id=00000000000000000000000000000001",
    ];
    assert_eq!(told.events, wanted);
    let of = |field: &str| -> Vec<String> {
        let fields = told.fields.iter().filter(|(name, _)| name == field);
        fields.map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(of("otel.name"), ["first", "second", "third"]);
    assert_eq!(of("capspan.original_name"), ["first"]);
    assert_eq!(of("otel.status_code"), ["error"]);
    assert_eq!(of("otel.status_description"), ["no such\nuser"]);
    assert_eq!(of("capspan.outcome"), ["exception"]);
    assert_eq!(of("error.type"), ["exception"]);
    assert_eq!(told.closed, 1);
}

#[test]
fn the_kind_of_an_error_is_what_the_span_says_and_there_is_none_without_an_error() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let root = tracer().root();
    let span = root.start("said", SpanKind::Internal);
    span.set_attribute("error.type", "404")
        .set_outcome(Outcome::Exception);
    drop(span);
    let span = root.start("status only", SpanKind::Internal);
    span.set_status(SpanStatus::error(""));
    drop(span);
    let span = root.start("canceled", SpanKind::Internal);
    span.set_outcome(Outcome::Canceled);
    drop(span);
    let span = root.start("fine", SpanKind::Internal);
    span.set_status(SpanStatus::Ok).set_outcome(Outcome::Ok);
    drop(span);
    assert_eq!(seen.named("said").get("error.type"), Some("404"));
    assert_eq!(seen.named("status only").get("error.type"), Some("_OTHER"));
    assert_eq!(seen.named("canceled").get("error.type"), None);
    let fine = seen.named("fine");
    assert_eq!(
        (fine.get("error.type"), fine.get("otel.status_code")),
        (None, Some("ok"))
    );
}

#[test]
fn a_late_update_is_an_event_of_its_own() {
    let seen = Seen::default();
    let _seeing = seen.observing();
    let tracer = tracer().with_enrich_rules(EnrichRules::default().keep_late(true));
    let span = tracer.root().start("over", SpanKind::Client);
    let weak = span.downgrade();
    span.end();
    let update = SpanUpdate::new()
        .name("n\n")
        .attribute("rows", 1)
        .event("e");
    weak.enrich(&update.status(SpanStatus::error("why")));
    assert_eq!(seen.named("over").events.len(), 0);
    let [late] = &seen.events()[..] else {
        panic!("{:?}", seen.events())
    };
    for said in [
        "INFO a callee wrote on a span after its end attributes=rows=1 ",
        "capspan.service=users",
        "capspan.span_id=0000000000000001",
        " events=e ",
        "status_code=error status_description=why",
    ] {
        assert!(late.contains(said), "{said}: {late}");
    }
}

#[test]
fn a_hook_is_told_of_both_ends() {
    #[derive(Clone, Default)]
    struct Hook(Rc<RefCell<Vec<String>>>);
    impl TracingHook for Hook {
        fn opened(&self, span: &tracing::Span, record: &SpanRecord) {
            span.record("otel.status_description", "by the hook");
            self.0
                .borrow_mut()
                .push(format!("opened {}", record.name()));
        }

        fn closing(&self, span: &tracing::Span, record: &SpanRecord) {
            assert!(!span.is_disabled());
            let said = (record.name(), record.attributes().len());
            self.0
                .borrow_mut()
                .push(format!("closing {} {}", said.0, said.1));
        }
    }
    let (seen, hook) = (Seen::default(), Hook::default());
    let _seeing = seen.observing();
    let tracer = Tracer::new(TracingSpans::new().with_hook(hook.clone()));
    let span = tracer.root().start("x", SpanKind::Internal);
    span.set_attribute("a", 1).set_name("y");
    span.end();
    assert_eq!(*hook.0.borrow(), ["opened x", "closing y 1"]);
    let told = seen.named("y");
    assert_eq!(told.get("otel.status_description"), Some("by the hook"));
}
