//! What the callee writes after the end of the span: refused to it (E3), and kept for the observer where
//! the caller wants that.

use capspan::trace::{
    EnrichRules, EnrichStatus, MemoryObserver, Noticed, SpanKind, SpanLimits, SpanStatus,
    SpanUpdate, Tracer,
};
use capspan_testkit::service::{Pair, everywhere};
use capspan_testkit::testkit_capnp::thing;

fn keeping() -> EnrichRules {
    EnrichRules::default().keep_late(true)
}

/// Where late updates are kept.
fn tracer() -> (Tracer, MemoryObserver) {
    let spans = MemoryObserver::new();
    let tracer = Tracer::new(spans.clone()).with_enrich_rules(keeping());
    (tracer, spans)
}

#[test]
fn e3_a_late_update_is_refused_and_told_to_who_wants_to_know() {
    everywhere(async |place| {
        for keeps in [false, true] {
            let pair = Pair::new(place);
            let rules = EnrichRules::default().keep_late(keeps);
            let tracer = pair.caller.clone().with_enrich_rules(rules);
            let span = tracer.root().start("mine", SpanKind::Client);
            let id = span.context().unwrap().span_id();
            let enricher = capspan::enrich::export(span.downgrade());
            let mut request = pair.client.start_event_request();
            request.get().set_enricher(enricher);
            let dispatcher = request.send().pipeline.get_dispatcher();
            let opened = dispatcher.open_session_request().send().promise;
            let opened = opened.await.unwrap();
            let event = pair.event();
            // The builder is gone as well.
            drop(span);
            pair.clock.advance(std::time::Duration::from_nanos(5));
            event.enricher().update(
                SpanUpdate::new()
                    .name("renamed")
                    .attribute("rows", 3)
                    .attribute("capspan.x", 3)
                    .event("e"),
            );
            let flushed = event.enricher().flush().await;
            assert_eq!(flushed, Ok(EnrichStatus::SpanEnded));
            assert_eq!(pair.caller.late_updates(), 1);
            let late = pair.spans.late();
            assert_eq!(late.len(), usize::from(keeps));
            if let [late] = &late[..] {
                assert_eq!((late.span_id(), late.service()), (id, "caller"));
                assert_eq!(late.time().unix_nanos(), 1_005);
                assert_eq!((late.name(), late.attributes().len()), (Some("renamed"), 1));
                assert!(late.events()[0].is_by_callee());
                assert_eq!(late.dropped().reserved_keys, 1);
            }
            let span = pair.spans.named("mine").unwrap();
            assert!(span.attributes().is_empty());
            drop((dispatcher, opened, event));
            pair.finish().await;
        }
    });
}

#[test]
fn e3_so_it_is_for_the_span_of_a_session() {
    everywhere(async |place| {
        let pair = Pair::new(place);
        let tracer = pair.caller.clone().with_enrich_rules(keeping());
        let request = pair.request.context().unwrap();
        let event = pair.pipeline.event("open").parent(tracer.child_of(request));
        let (thing, handle) = event.open_session::<thing::Client>().into_parts();
        thing.number_request().send().promise.await.unwrap();
        let event = pair.event();
        // It ends on the caller's side; a distant callee does not know of it yet.
        drop(handle);
        tokio::task::yield_now().await;
        event.enricher().set_attribute("late", true);
        pair.settle().await;
        let late = pair.spans.late();
        let span = pair.spans.named("open").unwrap();
        assert!(!span.is_open());
        // In time, and told of to nobody: in process, where it was over at once, both know.
        assert!(late.iter().all(|late| late.span_id() == span.span_id()));
        assert_eq!(late.len() as u64, pair.caller.late_updates());
        drop((thing, event));
        pair.finish().await;
    });
}

#[test]
fn e6_late_updates_keep_to_limits_and_rules() {
    let spans = MemoryObserver::new();
    let limits = SpanLimits::default().max_attributes(4).max_value_bytes(3);
    let rules = keeping().allow_keys(["a", "b", "c"]).allow_events(false);
    let tracer = Tracer::new(spans.clone())
        .with_limits(limits)
        .with_enrich_rules(rules);
    let weak = {
        let span = tracer.root().start("x", SpanKind::Client);
        span.downgrade()
    };
    let update = SpanUpdate::new()
        .attribute("a", "long")
        .attribute("b", 1)
        .attribute("c", 1)
        .attribute("d", 1)
        .event("e")
        .status(SpanStatus::error("reason"));
    assert_eq!(weak.enrich(&update), EnrichStatus::SpanEnded);
    let late = &spans.late()[0];
    assert_eq!((late.attributes().len(), late.events().len()), (2, 0));
    assert_eq!(*late.status(), SpanStatus::error("rea"));
    let dropped = late.dropped();
    assert_eq!((dropped.attributes, dropped.not_allowed), (1, 2));
    assert_eq!(dropped.cut_values, 2);
}

#[test]
fn e6_of_a_flood_of_late_updates_16_are_told_and_all_are_counted() {
    let (tracer, spans) = tracer();
    let span = tracer.root().start("x", SpanKind::Client);
    let handles = [span.downgrade(), span.downgrade()];
    let id = span.context().unwrap().span_id();
    span.end();
    for number in 0..1_000 {
        if number == 8 {
            span.set_name("the owner's own are not told");
        }
        let update = SpanUpdate::new().attribute("k", number);
        assert_eq!(handles[number % 2].enrich(&update), EnrichStatus::SpanEnded);
    }
    assert_eq!(span.dropped().late_updates, 1_001);
    drop(span);
    handles[0].enrich(&SpanUpdate::new().name("x"));
    assert_eq!(tracer.late_updates(), 1_002);
    assert_eq!(spans.late().len(), 16);
    let log = spans.log();
    let told = log.iter().filter(|noticed| **noticed == Noticed::Late(id));
    assert_eq!(told.count(), 16);
    assert_eq!(spans.closed_count(id), 1);
    // Another span has its own.
    let other = tracer.root().start("y", SpanKind::Client).downgrade();
    other.enrich(&SpanUpdate::new().name("x"));
    assert_eq!(spans.late().len(), 17);
}

#[test]
fn e3_who_keeps_an_enricher_keeps_no_span() {
    let (tracer, spans) = tracer();
    let weak = tracer.root().start("x", SpanKind::Client).downgrade();
    assert!(!weak.is_open());
    assert_eq!(spans.closed().len(), 1);
}

#[cfg(feature = "json")]
#[test]
fn a_late_update_is_a_line_of_its_own() {
    use capspan::trace::{JsonLines, ManualClock, SequentialIds, SpanEvent};
    let lines = JsonLines::new(Vec::new());
    let tracer = Tracer::new(lines.clone())
        .with_clock(ManualClock::default())
        .with_ids(SequentialIds::new())
        .with_service("users")
        .with_enrich_rules(keeping());
    let weak = tracer.root().start("x", SpanKind::Client).downgrade();
    let update = SpanUpdate::new()
        .name("y")
        .attribute("rows", 3)
        .attribute("capspan.x", 1)
        .event(SpanEvent::new("e"))
        .status(SpanStatus::Ok);
    weak.enrich(&update);
    lines.finish().unwrap();
    weak.enrich(&update);
    let text = lines.with_writer(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let text = text.unwrap();
    let late = text.lines().nth(1).unwrap();
    let wanted = concat!(
        r#"{"traceId":"00000000000000000000000000000001","spanId":"0000000000000001","#,
        r#""name":"late update","late":true,"service":"users","timeUnixNano":"0","newName":"y","#,
        r#""status":{"code":"OK"},"attributes":{"rows":3},"events":[{"name":"e","timeUnixNano":"0","#,
        r#""attributes":{},"byCallee":true}],"links":[],"dropped":{"reservedKeys":1}}"#,
    );
    assert_eq!(late, wanted);
    assert_eq!(text.lines().count(), 2, "nothing after the end");
}
