//! What is written on spans, and what is cut.

use capspan::trace::{EnrichRules, Redaction, Redactor, SpanKind, SpanUpdate, Tracer, Value};
use capspan_testkit::run::{PausedTime, run};
use std::time::Duration;

use super::setting::Meters;

const CHANGES: &str = "capspan.enrichment.changes";

struct Discreet;

impl Redactor for Discreet {
    fn value(&self, _event: Option<&str>, key: &str, _value: &Value) -> Redaction<Value> {
        match key {
            "secret" => Redaction::Drop,
            _ => Redaction::Keep,
        }
    }
}

fn result(name: &str) -> String {
    format!("capspan.enrichment.result={name}")
}

#[test]
fn what_callees_write_is_counted_by_what_became_of_it() {
    run(async {
        let meters = Meters::new();
        let rules = EnrichRules::default().redact(Discreet);
        let tracer = Tracer::new(meters.metrics.observer()).with_enrich_rules(rules);
        let watch = meters.metrics.watch(PausedTime).tracer(&tracer);
        let watching = tokio::task::spawn_local(watch.run());

        let span = tracer.root().start("work", SpanKind::Client);
        span.set_attribute("owner", "me").add_event("mine");
        let callee = span.downgrade();
        callee.enrich(
            &SpanUpdate::new()
                .name("better")
                .attribute("rows", 3)
                .attribute("plan", "pro")
                .attribute("owner", "you")
                .attribute("capspan.x", 1)
                .attribute("secret", "x")
                .event("e"),
        );
        callee.enrich(&SpanUpdate::new().attribute("rows", 4));
        assert!(meters.sums(CHANGES).is_empty(), "when the span ends");
        span.end();
        drop(span);
        // A name, two attributes, an event.
        let wanted = [("accepted", 4.0), ("redacted", 1.0), ("refused", 2.0)];
        let wanted = wanted.map(|(name, count)| (result(name), count));
        assert_eq!(meters.sums(CHANGES), wanted.clone().into());

        callee.enrich(&SpanUpdate::new().attribute("late", 1));
        assert_eq!(meters.sums(CHANGES), wanted.into(), "at the next look");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(meters.sums(CHANGES)[&result("late")], 1.0);

        // What came since the last look counts when that is over.
        callee.enrich(&SpanUpdate::new().attribute("late", 2));
        watching.abort();
        assert!(watching.await.unwrap_err().is_cancelled());
        assert_eq!(meters.sums(CHANGES)[&result("late")], 2.0);
    });
}

#[test]
fn what_is_cut_from_spans_is_counted_by_what_for() {
    let meters = Meters::new();
    let tracer = Tracer::new(meters.metrics.observer());
    for _ in 0..2 {
        let span = tracer.root().start("x".repeat(1_000), SpanKind::Internal);
        span.set_attribute("", 1);
        for n in 0..200 {
            span.set_attribute(format!("key.{n}"), n);
        }
    }
    let reason = |name| format!("capspan.dropped.reason={name}");
    let wanted = [
        ("attributes", 144.0),
        ("cutNames", 2.0),
        ("invalidKeys", 2.0),
    ];
    let wanted = wanted.map(|(name, count)| (reason(name), count));
    assert_eq!(meters.sums("capspan.span.dropped"), wanted.into());
}
